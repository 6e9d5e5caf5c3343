"""Ticket keys in a real Redis: several processes make, rotate and share them, and go on while it is gone."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

import txmembio
from support import pair
from support.peers import escape
from support.pki import PKI
from support.redis_server import Redis
from support.ticket_visits import Visitor, servers
from support.waiting import wait_until
from txmembio.redis_tickets import DEFAULT_NAME, RedisStore, SharedTicketKeys, from_url

redis_client = pytest.importorskip("redis", reason="the package redis is not installed")

#: Seconds between two keys, and those that a key decrypts afterwards: short enough to see several rotations, and long
#: beside the tenth of it in which a process looks again.
ROTATE, LIFETIME = 2.0, 20.0

NOTICED = r"ticket keys in .*: \d+ in use"
MISSED = r"ticket keys in .*: the last good ones stay in use: "


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[Redis]:
    with Redis(tmp_path) as server:
        yield server


def url(redis: Redis, query: str = "") -> str:
    return f"redis://127.0.0.1:{redis.port}/0{query}"


def stored(redis: Redis) -> list[bytes]:
    """The keys in the store, the newest first."""
    with redis_client.Redis(port=redis.port) as client:
        value = client.get(DEFAULT_NAME)
    return [] if value is None else [base64.b64decode(entry["key"]) for entry in json.loads(value)["keys"]]


def test_the_store_does_what_is_asked_of_it(redis: Redis) -> None:
    store = RedisStore(url(redis), name="other")
    value, now = store.read()
    assert value is None and now > 1e9
    assert store.lock(b"one", 10.0)
    assert not store.lock(b"two", 10.0)
    assert not store.write(b"two", b"from two", 10.0), "the lock is another's"
    assert store.read()[0] is None
    assert store.write(b"one", b"from one", 10.0)
    value, later = store.read()
    assert value == b"from one" and now <= later
    assert not store.write(b"one", b"again", 10.0), "the lock was given back"
    assert store.lock(b"two", 0.001), "and can be taken"
    wait_until(lambda: store.lock(b"three", 10.0), "a lock runs out")
    assert store.write(b"three", b"short", 0.05)
    wait_until(lambda: store.read()[0] is None, "what is stored does not stay for ever")
    store.close()
    assert store.read()[0] is None, "it can be used again"
    store.close()


def test_a_store_that_is_away_is_an_error_that_names_it(redis: Redis) -> None:
    source = from_url(url(redis))
    before = source.load()
    redis.kill()
    with pytest.raises(OSError, match=rf"'{DEFAULT_NAME}' of redis://127.0.0.1:{redis.port}/0: "):
        source.load()
    redis.start()
    assert source.load() is None and before is not None
    assert stored(redis) == [before[1], before[0]], "the store has been given what it had lost"
    source.close()


def test_a_wrong_password_is_an_error_without_it(redis: Redis) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.config_set("requirepass", "sesame")
    right, wrong = (from_url(f"redis://:{word}@127.0.0.1:{redis.port}/0") for word in ("sesame", "mesame"))
    assert right.load()
    with pytest.raises(OSError, match=rf"redis://:…@127.0.0.1:{redis.port}/0: ") as caught:
        wrong.load()
    assert "mesame" not in str(caught.value)
    for each in right, wrong:
        each.close()


def test_what_others_keep_under_that_name_is_left_alone(redis: Redis) -> None:
    with redis_client.Redis(port=redis.port) as client:
        client.rpush(DEFAULT_NAME, "a list")
        source = from_url(url(redis))
        with pytest.raises(OSError, match="WRONGTYPE"):
            source.load()
        assert client.lrange(DEFAULT_NAME, 0, -1) == [b"a list"]
    source.close()


def test_two_members_have_the_same_keys(redis: Redis) -> None:
    one, two = SharedTicketKeys(RedisStore(url(redis))), SharedTicketKeys(RedisStore(url(redis)))
    keys = one.load()
    assert keys is not None and keys == two.load() == [*reversed(stored(redis))]
    for each in one, two:
        each.close()


def test_three_processes_while_keys_are_rotated_and_redis_is_killed_and_comes_back(redis: Redis, pki: PKI) -> None:
    """A client that reconnects resumes at every single visit, wherever it lands."""
    ticket_keys = escape(url(redis, f"?rotate={ROTATE}&lifetime={LIFETIME}"))
    arguments = f"certificate={escape(pki.server.combined_file)}:ticketKeys={ticket_keys}"
    with servers(3, arguments) as (processes, port):
        for process in processes:
            process.wait_for(NOTICED)
        visitor = Visitor(pair.client_context(pki, txmembio.TLSVersion.TLSv1_3), port)
        used: set[bytes] = set()

        def visit_until_rotated(times: int) -> None:
            """Visits until tickets have come under that many keys that were not seen before."""
            new: set[bytes] = set()
            while len(new) < times:
                visitor.visit()
                new |= {key for key in stored(redis) if visitor.has_ticket_under(key)} - used
            used.update(new)

        visit_until_rotated(3)
        visitor.visit_all(3)
        redis.kill()
        for process in processes:
            process.wait_for(MISSED)
        visitor.visit_all(3)
        redis.start()
        wait_until(lambda: bool(stored(redis)), "somebody writes the keys that are known")
        assert used & set(stored(redis)), "so that tickets stay good"
        visit_until_rotated(2)
        visitor.visit_all(3)
        assert len(used) >= 5
        for process in processes:
            assert len(re.findall(MISSED, process.errors)) == 1, "told once"
            assert "Traceback" not in process.errors and "Unhandled" not in process.errors


def test_processes_start_and_serve_without_redis(pki: PKI, redis: Redis) -> None:
    """With keys of their own, until it is there."""
    redis.kill()
    arguments = f"certificate={escape(pki.server.combined_file)}:ticketKeys={escape(url(redis))}"
    with servers(1, arguments) as ([process], port):
        process.wait_for(MISSED)
        visitor = Visitor(pair.client_context(pki), port)
        visitor.visit_all(1, least=3)
        redis.start()
        process.wait_for(NOTICED)
        later = Visitor(visitor.context, port)
        later.visit_all(1, least=3)
        assert later.has_ticket_under(stored(redis)[1])
