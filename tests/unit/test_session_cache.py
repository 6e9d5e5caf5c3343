"""The cache of clients: what is offered where, how often, and for how long."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Hashable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI
from txmembio import session_cache
from txmembio.session_cache import MAX_AGE, SessionCache

TLS13 = txmembio.TLSVersion.TLSv1_3


class Now:
    """A clock that can be moved on."""

    def __init__(self) -> None:
        self.ahead = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def cache(now: Now) -> SessionCache:
    return SessionCache(now=now)


def meet(cache: SessionCache, contexts: Contexts, where: Hashable = 443, hostname: str = "localhost") -> Pair:
    """A connection with the cache's help, with some plaintext exchanged; the cache is not yet told of its end."""
    ends = pair.unconnected(*contexts, server_hostname=hostname)
    cache.offer(ends.client.connection, where)
    ends.handshake()
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    return ends


def visit(cache: SessionCache, contexts: Contexts, where: Hashable = 443, hostname: str = "localhost") -> bool:
    """The same with an orderly end; whether it resumed."""
    ends = meet(cache, contexts, where, hostname)
    ends.client.connection.close()
    ends.settle()
    cache.keep(ends.client.connection)
    reused: bool = ends.client.connection.session_reused
    return reused


def test_the_second_visit_resumes(cache: SessionCache, contexts: Contexts) -> None:
    assert [visit(cache, contexts) for _ in range(6)] == [False] + [True] * 5
    assert (cache.hits, cache.misses, cache.resumed) == (5, 1, 5)
    assert contexts[1].session_stats()["hits"] == 5


@pytest.mark.parametrize(
    "elsewhere", [{"where": 444}, {"hostname": "127.0.0.1"}, {"where": ("127.0.0.1", 443)}], ids=str
)
def test_nothing_is_offered_elsewhere(cache: SessionCache, contexts: Contexts, elsewhere: dict[str, object]) -> None:
    visit(cache, contexts)
    assert not visit(cache, contexts, **elsewhere)  # type: ignore[arg-type]
    assert (cache.hits, cache.misses) == (0, 2)


def test_a_name_is_the_same_in_capitals(cache: SessionCache, contexts: Contexts) -> None:
    visit(cache, contexts)
    assert visit(cache, contexts, hostname="LOCALHOST")


def test_nothing_is_offered_on_another_context(
    cache: SessionCache, contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    visit(cache, contexts)
    assert not visit(cache, (pair.client_context(pki, tls_version), contexts[1]))
    assert visit(cache, contexts)


@pytest.mark.parametrize("change", ["verify_mode", "trust", "certificate", "callback"])
def test_nothing_is_offered_under_other_rules(cache: SessionCache, contexts: Contexts, pki: PKI, change: str) -> None:
    client, _ = contexts
    if change == "verify_mode":
        client.check_hostname, client.verify_mode = False, txmembio.CERT_NONE
    visit(cache, contexts)
    if change == "verify_mode":
        client.verify_mode, client.check_hostname = txmembio.CERT_REQUIRED, True
    elif change == "trust":
        client.load_verify_locations(pki.untrusted_ca.certificate_file)
    elif change == "certificate":
        client.load_cert_chain(pki.client.chain_file, pki.client.key_file)
    else:
        client.set_verify_callback(lambda certificate, depth, error: not error)
    assert not visit(cache, contexts)
    assert visit(cache, contexts)


def test_what_was_begun_under_other_rules_is_not_kept(cache: SessionCache, contexts: Contexts) -> None:
    client, _ = contexts
    client.check_hostname, client.verify_mode = False, txmembio.CERT_NONE
    ends = meet(cache, contexts)
    client.verify_mode, client.check_hostname = txmembio.CERT_REQUIRED, True
    assert not visit(cache, contexts)
    cache.keep(ends.client.connection)
    cache.clear()
    cache.keep(meet(cache, contexts).client.connection)
    assert len(cache) == 1


def test_a_ticket_of_tls13_is_offered_once(cache: SessionCache, contexts: Contexts, tls_version: object) -> None:
    """In TLS 1.2 a session is for many connections."""
    visit(cache, contexts)
    first, second = meet(cache, contexts), meet(cache, contexts)
    assert first.client.connection.session_reused
    assert second.client.connection.session_reused is (tls_version is not TLS13)


def test_a_used_ticket_does_not_come_back(cache: SessionCache, contexts: Contexts, tls_version: object) -> None:
    contexts[1].num_tickets = 1
    visit(cache, contexts)
    contexts[1].num_tickets = 0  # so that the resumed connection earns no other
    assert visit(cache, contexts)
    assert visit(cache, contexts) is (tls_version is not TLS13)


def test_tickets_are_there_before_the_connection_ends(cache: SessionCache, contexts: Contexts) -> None:
    """Once they have arrived and keep() is called: long-lived connections help the others of a pool."""
    first = meet(cache, contexts)
    assert cache.keep(first.client.connection)
    assert not cache.keep(first.client.connection), "nothing new"
    assert visit(cache, contexts)
    assert cache.resumed == 1


def test_the_newest_few_are_kept(contexts: Contexts) -> None:
    cache = SessionCache(max_sessions=2)
    open_ones = [meet(cache, contexts) for _ in range(5)]
    for ends in open_ones:
        cache.keep(ends.client.connection)
    assert len(cache) == 2
    newest = open_ones[-1].client.connection.session
    ends = pair.unconnected(*contexts)
    cache.offer(ends.client.connection, 443)
    ends.handshake()
    assert newest is not None and ends.client.connection.session_reused


def test_the_servers_used_last_are_kept(contexts: Contexts) -> None:
    cache = SessionCache(max_servers=2)
    for port in (1, 2):
        visit(cache, contexts, port)
    assert visit(cache, contexts, 1)
    visit(cache, contexts, 3)
    assert visit(cache, contexts, 1)
    assert not visit(cache, contexts, 2)


def test_expired_sessions_are_not_offered(cache: SessionCache, contexts: Contexts, now: Now) -> None:
    visit(cache, contexts)
    now.ahead = 7201  # OpenSSL's time-out, and the server's hint, is two hours
    assert not visit(cache, contexts)
    assert cache.hits == 0


def test_resumption_does_not_put_off_verification_for_ever(contexts: Contexts, now: Now) -> None:
    cache = SessionCache(now=now, max_age=100)
    assert not visit(cache, contexts)
    for now.ahead in (40, 80):
        assert visit(cache, contexts)
    now.ahead = 120
    assert not visit(cache, contexts)
    assert MAX_AGE <= 7 * 86400, "RFC 8446 section 4.6.1"


def test_a_session_ends_with_the_servers_certificate(
    cache: SessionCache, pki: PKI, tls_version: txmembio.TLSVersion, now: Now
) -> None:
    soon = pki.issue("localhost", not_after=datetime.now(timezone.utc) + timedelta(seconds=1000))
    contexts = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version, credential=soon)
    visit(cache, contexts)
    now.ahead = 990
    assert visit(cache, contexts)
    now.ahead = 1001
    assert not visit(cache, contexts)


def test_nothing_is_kept_of_a_handshake_that_failed(
    cache: SessionCache, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    contexts = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version, credential=pki.untrusted)
    ends = pair.unconnected(*contexts)
    cache.offer(ends.client.connection, 443)
    ends.attempt_handshake()
    assert not cache.keep(ends.client.connection)
    assert len(cache) == 0 and cache.misses == 1


def test_nothing_is_kept_of_a_handshake_that_was_cut_off(cache: SessionCache, contexts: Contexts) -> None:
    ends = pair.unconnected(*contexts)
    cache.offer(ends.client.connection, 443)
    ends.client.start()
    with pytest.raises(txmembio.SSLEOFError):
        ends.client.connection.receive_wire_eof()
    assert not cache.keep(ends.client.connection)
    assert len(cache) == 0


def test_a_connection_that_failed_takes_its_session_with_it(cache: SessionCache, contexts: Contexts) -> None:
    """RFC 5246 section 7.2.2; or a server that chokes on it would be offered it again."""
    visit(cache, contexts)
    ends = meet(cache, contexts)
    with pytest.raises(txmembio.SSLError):
        ends.client.connection.receive_wire(b"this is no TLS record at all")
    cache.keep(ends.client.connection)
    assert len(cache) == 0
    assert not visit(cache, contexts)


def test_a_missing_close_notify_takes_nothing_away(cache: SessionCache, contexts: Contexts) -> None:
    """What has been kept before stays. OpenSSL does not hand it out any more, so adapters ask before the end."""
    ends = meet(cache, contexts)
    assert cache.keep(ends.client.connection)
    with pytest.raises(txmembio.SSLEOFError):
        ends.client.connection.receive_wire_eof()
    assert not cache.keep(ends.client.connection)
    assert visit(cache, contexts)


def test_a_server_that_has_other_keys_now_is_just_a_full_handshake(cache: SessionCache, contexts: Contexts) -> None:
    contexts[1].set_ticket_keys([b"k" * 80])
    visit(cache, contexts)
    contexts[1].set_ticket_keys([b"l" * 80])
    assert not visit(cache, contexts)
    assert visit(cache, contexts)
    assert (cache.hits, cache.resumed) == (2, 1)


def test_connections_that_were_not_offered_anything_are_left_alone(cache: SessionCache, contexts: Contexts) -> None:
    ends = pair.connect(*contexts)
    assert not cache.keep(ends.client.connection)
    assert len(cache) == 0


def test_clear_forgets_all(cache: SessionCache, contexts: Contexts) -> None:
    visit(cache, contexts)
    assert len(cache) > 0
    cache.clear()
    assert len(cache) == 0
    assert not visit(cache, contexts)


def test_the_cache_keeps_neither_contexts_nor_connections(cache: SessionCache, pki: PKI) -> None:
    contexts = pair.client_context(pki), pair.server_context(pki)
    ends = meet(cache, contexts)
    cache.keep(ends.client.connection)
    assert len(cache) == 1
    gone = weakref.ref(ends.client.connection), weakref.ref(contexts[0])
    del ends, contexts
    gc.collect()
    assert [each() for each in gone] == [None, None]
    assert len(cache) == 0


def test_several_threads(contexts: Contexts) -> None:
    cache = SessionCache(max_sessions=3)
    problems: list[BaseException] = []
    resumed = []

    def work() -> None:
        try:
            for _ in range(20):
                resumed.append(visit(cache, contexts))
        except BaseException as problem:
            problems.append(problem)

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not problems
    assert cache.hits + cache.misses == 80 and cache.resumed == sum(resumed)
    assert cache.resumed > 60 and len(cache) <= 3


def test_bounds_are_positive() -> None:
    for setting in ("max_servers", "max_sessions", "max_age"):
        bad: dict[str, Any] = {setting: 0}
        with pytest.raises(ValueError, match=f"{setting} is 0, expected a positive number"):
            SessionCache(**bad)


@pytest.fixture(autouse=True)
def the_common_cache_is_not_touched() -> Iterator[None]:
    common = session_cache.sessions
    before = common.hits + common.misses
    yield
    assert common.hits + common.misses == before
