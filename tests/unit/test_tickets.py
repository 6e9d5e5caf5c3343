"""Ticket keys: what files hold them, what contexts do with them, and how processes that share a store rotate them."""

from __future__ import annotations

import base64
import gc
import json
import os
import weakref
from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI
from txmembio.redis_tickets import LOCK_SECONDS, SharedTicketKeys, from_url, shown
from txmembio.tickets import MAX_KEYS, TicketKeyFiles, TicketKeys, parse_ticket_keys

HOUR = 3600.0


def key(length: int = 80) -> bytes:
    return os.urandom(length)


def lines(keys: Sequence[bytes]) -> bytes:
    """As HAProxy wants them."""
    return b"".join(base64.b64encode(each) + b"\n" for each in keys)


def session_of(ends: Pair) -> txmembio.SSLSession:
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    assert session is not None and session.has_ticket
    return session


def encrypted_with(session: txmembio.SSLSession) -> Callable[[bytes], bool]:
    """Whether the session's ticket begins with the name of a key (RFC 5077 section 4)."""
    written = session.to_bytes()
    return lambda key: key[:16] in written


# --- what files hold


@pytest.mark.parametrize("length", [48, 80])
def test_a_file_of_nginx_is_one_key(length: int) -> None:
    one = key(length)
    assert parse_ticket_keys(one) == [one]


@pytest.mark.parametrize("length", [48, 80])
@pytest.mark.parametrize("ending", [b"\n", b"\r\n"])
def test_of_a_file_of_haproxy_the_last_three_count_and_the_one_before_the_last_encrypts(
    length: int, ending: bytes
) -> None:
    keys = [key(length) for _ in range(5)]
    # HAProxy has the two secrets of a long key in the other order.
    written = lines([each[:16] + each[48:] + each[16:48] if length == 80 else each for each in keys])
    assert parse_ticket_keys(written.replace(b"\n", ending)) == [keys[3], keys[4], keys[2]]
    assert parse_ticket_keys(written.rstrip()) == [keys[3], keys[4], keys[2]]


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (b"", "0 bytes, expected 48 or 80"),
        (b"\x80" * 47, "47 bytes, expected 48 or 80"),
        (b"\x80" * 96, r"96 bytes, expected 48 or 80 \(one key, as in nginx\), or lines of base64"),
        (b"x" * 64, "64 bytes, expected 48 or 80"),
        (lines([b"k" * 80] * 1), "109 bytes, expected 48 or 80"),
        (lines([b"k" * 80, b"l" * 80]), "2 lines of base64, expected 3 keys or more"),
        (lines([b"k" * 80, b"l" * 79, b"m" * 80]), "line 2: a key of 79 bytes, expected 48 or 80"),
        (lines([b"k" * 80, b"l" * 80]) + b"what?\n", "line 3: expected a key in base64"),
        (lines([b"k" * 80, b"l" * 48, b"m" * 80]), r"keys of \[48, 80\] bytes, expected all of 48 bytes or all of 80"),
        (lines([b"k" * 80, b"l" * 80, b"l" * 16 + b"m" * 64]), "two keys with the same name"),
        (b"-----BEGIN PRIVATE KEY-----\nAAAA\n", "line 1: expected a key in base64"),
        (lines([b"k" * 80]) * 700, "larger than 65536 bytes"),
    ],
)
def test_what_is_no_key_is_refused_by_name(data: bytes, problem: str) -> None:
    with pytest.raises(ValueError, match="^'/etc/t.key'.*" + problem):
        parse_ticket_keys(data, "'/etc/t.key'")


@given(st.binary(max_size=400))
def test_any_bytes_are_keys_or_a_value_error(data: bytes) -> None:
    try:
        keys = parse_ticket_keys(data)
    except ValueError:
        return
    assert {len(each) for each in keys} in ({48}, {80})


def test_several_files_are_read_in_their_order(tmp_path: Path) -> None:
    keys = [key(), key(), key()]
    paths = [tmp_path / name for name in "cab"]
    for path, each in zip(paths, keys, strict=True):
        path.write_bytes(each)
    assert TicketKeyFiles(paths).load() == keys


def test_several_files_are_one_key_each(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(key())
    (tmp_path / "haproxy").write_bytes(lines([key(), key(), key()]))
    with pytest.raises(ValueError, match=r"haproxy'.*: 327 bytes, expected one key of 48 or 80 bytes in each of"):
        TicketKeyFiles([tmp_path / "one", tmp_path / "haproxy"]).load()


def test_files_are_read_again_when_they_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "t.key").write_bytes(first := key())
    files = TicketKeyFiles(["t.key"])
    monkeypatch.chdir("/")
    assert files.load() == [first]
    assert files.load() is None
    (tmp_path / "new").write_bytes(second := key())
    os.replace(tmp_path / "new", tmp_path / "t.key")
    assert files.load() == [second]
    assert files.load() is None


def test_a_bad_file_is_bad_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "t.key"
    files = TicketKeyFiles([path])
    for _ in range(2):
        with pytest.raises(FileNotFoundError) as missing:
            files.load()
        assert missing.value.filename == str(path)
    path.write_bytes(b"short")
    for _ in range(2):
        with pytest.raises(ValueError, match=r"t\.key': 5 bytes"):
            files.load()
    path.write_bytes(good := key(48))
    assert files.load() == [good]


def test_no_file_is_refused() -> None:
    with pytest.raises(ValueError, match="no ticket key file"):
        TicketKeyFiles([])


# --- what contexts do with them


def test_a_ticket_is_good_in_every_context_that_has_its_key(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = pair.client_context(pki, tls_version)
    one, other = pair.server_context(pki, tls_version), pair.server_context(pki, tls_version)
    shared = key()
    for server in one, other:
        TicketKeys([shared]).use_in(server)
    session = session_of(pair.connect(client, one))
    assert encrypted_with(session)(shared)
    assert pair.connect(client, other, session=session).client.connection.session_reused


def test_a_resumed_handshake_earns_a_new_ticket(contexts: Contexts, tls_version: txmembio.TLSVersion) -> None:
    """In TLS 1.3, where each is for one use, so that a chain of resumptions does not break."""
    TicketKeys([key()]).use_in(contexts[1])
    session = session_of(pair.connect(*contexts))
    for _ in range(5):
        ends = pair.connect(*contexts, session=session)
        assert ends.client.connection.session_reused
        following = session_of(ends)
        if tls_version is txmembio.TLSVersion.TLSv1_3:
            assert following.id != session.id
        session = following


def test_replaced_keys_reach_contexts_that_exist_and_those_that_come(pki: PKI, contexts: Contexts) -> None:
    client, server = contexts
    keys = TicketKeys([old := key()])
    keys.use_in(server)
    session = session_of(pair.connect(client, server))
    keys.replace([new := key(), old])
    assert keys.keys == (new, old)
    later = pair.server_context(pki)
    keys.use_in(later)
    for context in server, later:
        ends = pair.connect(client, context, session=session)
        assert ends.client.connection.session_reused
        assert encrypted_with(session_of(ends))(new)
    keys.replace([key()])
    assert not pair.connect(client, server, session=session).client.connection.session_reused


def test_without_keys_contexts_keep_their_own_until_there_are_some(contexts: Contexts) -> None:
    keys = TicketKeys()
    keys.use_in(contexts[1])
    session = session_of(pair.connect(*contexts))
    assert pair.connect(*contexts, session=session).client.connection.session_reused
    keys.replace([shared := key()])
    assert encrypted_with(session_of(pair.connect(*contexts)))(shared)


def test_keys_do_not_keep_contexts(pki: PKI) -> None:
    keys = TicketKeys([key()])
    keys.use_in(context := pair.server_context(pki))
    gone = weakref.ref(context)
    del context
    gc.collect()
    assert gone() is None
    keys.replace([key()])


@pytest.mark.parametrize(
    "bad", [[], [b"short"], [b"k" * 48, b"l" * 80], [bytes([n]) * 80 for n in range(MAX_KEYS + 1)]]
)
def test_bad_keys_replace_nothing(contexts: Contexts, bad: list[bytes]) -> None:
    keys = TicketKeys([good := key()])
    keys.use_in(contexts[1])
    with pytest.raises(ValueError, match="keys"):
        keys.replace(bad)
    assert keys.keys == (good,)
    assert encrypted_with(session_of(pair.connect(*contexts)))(good)


# --- keys in a store


class Store:
    """A store in memory, with its own time, that can be away."""

    def __init__(self) -> None:
        self.value: bytes | None = None
        self.time = 1_000_000.0
        self.locked: tuple[bytes, float] | None = None
        self.away = False
        self.writes = 0
        self.on_lock: Callable[[], object] = lambda: None

    def read(self) -> tuple[bytes | None, float]:
        if self.away:
            raise ConnectionRefusedError("the store is away")
        return self.value, self.time

    def lock(self, token: bytes, seconds: float) -> bool:
        if self.locked is not None and self.time < self.locked[1]:
            return False
        self.locked = token, self.time + seconds
        self.on_lock()
        return True

    def write(self, token: bytes, value: bytes, seconds: float) -> bool:
        if self.locked is None or self.locked[0] != token or self.time >= self.locked[1]:
            return False
        self.value, self.locked = value, None
        self.writes += 1
        return True

    def close(self) -> None: ...

    def __repr__(self) -> str:
        return "a store in memory"


class Member:
    """One of the processes: what it encrypts with, and all that it can decrypt."""

    def __init__(self, store: Store, **settings: Any) -> None:
        self.source = SharedTicketKeys(store, **{"rotate": HOUR, "lifetime": 2 * HOUR, **settings})
        self.keys: list[bytes] = []

    def look(self) -> None:
        self.keys = self.source.load() or self.keys

    @property
    def encrypts(self) -> bytes:
        return self.keys[0]


def test_the_first_one_makes_the_keys_and_all_have_them() -> None:
    store = Store()
    members = [Member(store) for _ in range(3)]
    for member in members:
        member.look()
    assert members[0].keys == members[1].keys == members[2].keys
    assert [len(each) for each in members[0].keys] == [80, 80]
    assert store.writes == 1
    assert members[0].source.load() is None, "nothing new"


def test_no_ticket_is_ever_encrypted_with_a_key_that_somebody_does_not_know() -> None:
    """Whoever is due looks in any order; each at least once an interval."""
    store = Store()
    members = [Member(store) for _ in range(4)]
    for member in members:
        member.look()
    seen = set()
    for step in range(200):
        store.time += HOUR / 4
        member = members[step % 4]
        member.look()
        for encrypting in members:
            assert all(encrypting.encrypts in decrypting.keys for decrypting in members)
            seen.add(encrypting.encrypts)
    assert len(seen) >= 45, "the keys were rotated every hour or so"


def test_old_keys_are_kept_for_the_lifetime_of_a_ticket_and_not_longer() -> None:
    store = Store()
    member = Member(store)
    member.look()
    last_used: dict[bytes, float] = {}
    for _ in range(100):
        last_used[member.encrypts] = store.time
        store.time += HOUR / 6
        member.look()
        for each, at in last_used.items():
            if store.time - at <= 2 * HOUR:
                assert each in member.keys
            if store.time - at > 2 * HOUR + HOUR / 3:
                assert each not in member.keys
                assert store.value is not None and base64.b64encode(each) not in store.value, "nor in the store"


def test_last_good_keys_are_kept_while_the_store_is_away() -> None:
    store = Store()
    members = [Member(store), Member(store)]
    for member in members:
        member.look()
    before = members[0].keys
    store.away = True
    store.time += 10 * HOUR
    with pytest.raises(OSError, match="the store is away"):
        members[0].look()
    assert members[0].keys == before
    store.away = False
    for member in members:
        member.look()
    assert members[0].keys == members[1].keys
    assert members[0].keys[1] not in before and before[0] in members[0].keys
    assert members[0].encrypts == before[1], "what was upcoming, and so is known to all"


def test_a_store_that_comes_back_empty_is_given_the_keys_again() -> None:
    store = Store()
    members = [Member(store), Member(store)]
    for member in members:
        member.look()
    before = members[0].keys
    store.value = None
    for member in members:
        member.look()
        assert member.keys == before
    Member(store).look()
    assert store.writes == 2


def test_keys_of_a_store_that_came_back_with_others_are_used_beside_those_known() -> None:
    """As after a restore from an old copy: tickets of all sides stay good for as long as they live."""
    store, elsewhere = Store(), Store()
    member, other = Member(store), Member(elsewhere)
    member.look()
    other.look()
    before = member.keys
    store.value = elsewhere.value
    member.look()
    assert member.keys == [*other.keys, before[1], before[0]]
    for _ in range(5):
        store.time += HOUR / 2
        member.look()
    assert not set(before) & set(member.keys)


def test_whoever_does_not_get_the_lock_uses_what_there_is() -> None:
    store = Store()
    member = Member(store)
    store.lock(b"somebody else", 5.0)
    member.look()
    assert member.keys == [] and store.value is None
    assert member.source.interval <= 1.0, "and looks again soon"
    store.time += 6.0
    member.look()
    assert member.keys and store.writes == 1


def test_a_lock_that_has_run_out_writes_nothing() -> None:
    store = Store()
    slow, quick = Member(store), Member(store)

    def while_slow_has_the_lock() -> None:
        store.on_lock = lambda: None
        store.time += LOCK_SECONDS + 1
        quick.look()

    store.on_lock = while_slow_has_the_lock
    slow.look()
    assert store.writes == 1
    slow.look()
    assert slow.keys == quick.keys


def test_a_clock_that_was_set_back_does_not_stop_rotation() -> None:
    store = Store()
    member = Member(store)
    member.look()
    store.time -= 1000 * HOUR
    member.look()
    first = member.keys
    store.time += HOUR
    member.look()
    assert store.writes == 3 and first[1] == member.encrypts


STORED = {"version": 1, "keys": [{"made": 1.0, "key": base64.b64encode(bytes([n]) * 80).decode()} for n in range(2)]}


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"\xff",
        b"null",
        b"[]",
        b"[" * 60_000,
        b"{}",
        json.dumps({**STORED, "version": 2}).encode(),
        json.dumps({**STORED, "keys": []}).encode(),
        json.dumps({**STORED, "keys": [STORED["keys"]]}).encode(),
        json.dumps({**STORED, "keys": [{"made": 1.0, "key": "AAAA"}] * 2}).encode(),
        json.dumps({**STORED, "keys": [{"made": 1.0, "key": "?" * 108}] * 2}).encode(),
        json.dumps({**STORED, "keys": [{"made": 1.0, "key": 5}] * 2}).encode(),
        json.dumps(STORED).replace("1.0", "NaN").encode(),
        json.dumps(STORED).replace("1.0", "1" + "0" * 400).encode(),
        json.dumps(STORED).replace("1.0", "true").encode(),
        json.dumps({**STORED, "keys": [STORED["keys"]] * 40}).encode(),
        json.dumps(STORED).encode() + b" " * 100_000,
    ],
    ids=range(17),
)
def test_what_others_have_put_into_the_store_is_refused_and_left_there(value: bytes) -> None:
    store = Store()
    member = Member(store)
    member.look()
    before = member.keys
    store.value = value
    with pytest.raises(ValueError, match=r"a store in memory holds no ticket keys of txmembio's \(.*delete it"):
        member.look()
    assert member.keys == before and store.value == value
    store.value = None
    member.look()
    assert member.keys == before and store.value is not None


def test_stored_keys_are_a_format_that_others_can_read() -> None:
    store = Store()
    Member(store, random=lambda size: b"".join(next(counted) for _ in range(size))).look()
    assert store.value is not None
    assert json.loads(store.value) == {
        "version": 1,
        "keys": [
            {"made": 1_000_000.0, "key": base64.b64encode(each).decode()} for each in (COUNTED[:80], COUNTED[80:])
        ],
    }


COUNTED = bytes(range(160))
counted = (COUNTED[at : at + 1] for at in range(160))


@pytest.mark.parametrize(
    ("settings", "problem"),
    [
        ({"rotate": 0}, "rotate is 0 and lifetime"),
        ({"rotate": float("nan")}, "rotate is nan"),
        ({"rotate": float("inf")}, "rotate is inf"),
        ({"lifetime": -1}, "and lifetime -1"),
        (
            {"rotate": 60.0, "lifetime": 7200.0},
            "rotate is 60 seconds, expected 553.846 or more, so that the keys of 7200",
        ),
    ],
)
def test_settings_that_cannot_work(settings: dict[str, Any], problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        SharedTicketKeys(Store(), **settings)


def test_most_keys_at_once_are_as_many_as_a_context_takes() -> None:
    """The shortest interval for a lifetime, with a store that came back with a full list of other keys."""
    settings = {"rotate": HOUR / 13, "lifetime": HOUR}
    store, elsewhere = Store(), Store()
    member, other = Member(store, **settings), Member(elsewhere, **settings)
    for _ in range(40):
        for each in member, other:
            each.look()
        store.time = elsewhere.time = store.time + HOUR / 13
    store.value = elsewhere.value
    member.look()
    assert 28 <= len(member.keys) <= MAX_KEYS
    TicketKeys(member.keys)


# --- the URL of a store

needs_redis = pytest.mark.skipif(find_spec("redis") is None, reason="the package redis is not installed")


@needs_redis
def test_a_url_says_all_of_it() -> None:
    source = from_url("redis://user:secret@db.example:6380/5?name=keys&rotate=3600&lifetime=60")
    assert (source.rotate, source.lifetime) == (3600.0, 60.0)
    assert repr(source) == "ticket keys in 'keys' of redis://user:…@db.example:6380/5"
    assert repr(from_url("unix:///run/redis.sock")) == "ticket keys in 'txmembio:ticket-keys' of unix:///run/redis.sock"


@needs_redis
@pytest.mark.parametrize(
    ("url", "problem"),
    [
        ("http://host/", "http://host/: expected a URL that begins with redis://, rediss:// or unix://"),
        ("redis://host/?colour=red", "colour='red' in the URL: expected name=, rotate= and lifetime="),
        ("redis://host/?rotate=1&rotate=2", "rotate='2' in the URL: expected name=, rotate= and lifetime=, each once"),
        ("redis://host/?rotate=soon", "rotate='soon' in the URL: expected a number of seconds"),
        ("redis://host/?rotate=1", "rotate is 1 seconds, expected 553.846 or more"),
        ("redis://host:port/", "(?i)port"),
    ],
)
def test_urls_that_cannot_be_used(url: str, problem: str) -> None:
    with pytest.raises(ValueError, match=problem):
        from_url(url)


@pytest.mark.parametrize(
    ("url", "without"),
    [
        ("redis://:secret@host/1?x=secret", "redis://:…@host/1"),
        ("redis://user@host", "redis://user@host"),
        ("redis://[secret", "redis://…"),
    ],
)
def test_no_password_is_shown(url: str, without: str) -> None:
    assert shown(url) == without


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "redis", None)
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'txmembio\[redis\]'"):
        from_url("redis://localhost")
