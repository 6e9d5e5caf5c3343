"""Sessions in Twisted: clients resume by themselves, and servers' ticket keys are kept up to date while they listen."""

from __future__ import annotations

import os
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, clientFromString, serverFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock, deferLater
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure

import txmembio
from support import pair
from support.peers import escape
from support.pki import PKI
from support.process import DEADLINE
from txmembio.session_cache import SessionCache, sessions
from txmembio.tickets import TicketKeyFiles
from txmembio.twisted import TLSFactory, TLSTransport, wrapClientTLS, wrapServerTLS
from txmembio.twisted.tickets import TicketKeyUpdates

TLS13 = txmembio.TLSVersion.TLSv1_3


class Echo(Protocol):
    """Answers; leaves it to the client to close."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Ask(Protocol):
    """Asks, and has the answer; `close()` says good-bye."""

    def __init__(self) -> None:
        self.answered: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()

    @property
    def tls(self) -> TLSTransport:
        assert isinstance(self.transport, TLSTransport)
        return self.transport

    @property
    def resumed(self) -> bool:
        reused: bool = self.tls.connection.session_reused
        return reused

    def connectionMade(self) -> None:
        self.tls.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        if not self.answered.called:
            self.answered.callback(None)

    async def close(self, *, abort: bool = False) -> None:
        if abort:
            self.tls.abortConnection()
        else:
            self.tls.loseConnection()
        await self.ended

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


@asynccontextmanager
async def listening(endpoint: Any) -> AsyncIterator[int]:
    """The port of a server at `endpoint`."""
    port = await endpoint.listen(Factory.forProtocol(Echo))
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()


@asynccontextmanager
async def serving(context: txmembio.SSLContext) -> AsyncIterator[int]:
    """The port of a server with this context."""
    async with listening(wrapServerTLS(context, TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))) as port:
        yield port


def client_of(context: txmembio.SSLContext, port: int, hostname: str = "localhost", **settings: Any) -> Any:
    return wrapClientTLS(context, hostname, TCP4ClientEndpoint(reactor, "127.0.0.1", port), **settings)


async def ask(endpoint: Any) -> Ask:
    """A connection that has its answer."""
    protocol: Ask = await endpoint.connect(Factory.forProtocol(Ask))
    await protocol.answered
    return protocol


async def visit(endpoint: Any, *, abort: bool = False) -> bool:
    """A whole connection; whether it resumed."""
    protocol = await ask(endpoint)
    resumed = protocol.resumed
    await protocol.close(abort=abort)
    return resumed


# --- clients


@pytest_twisted.ensureDeferred
async def test_clients_resume_by_themselves(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    resumed = sessions.resumed
    async with serving(server) as port:
        assert [await visit(client_of(client, port)) for _ in range(4)] == [False, True, True, True]
    assert server.session_stats()["hits"] == 3
    assert sessions.resumed == resumed + 3


@pytest_twisted.ensureDeferred
async def test_clients_of_endpoint_strings_resume_too(pki: PKI, tmp_path: Path) -> None:
    async with serving(pair.server_context(pki)) as port:
        below = escape(f"tcp:127.0.0.1:{port}")
        client = clientFromString(reactor, f"membiotls:localhost:endpoint={below}:trustRoots={escape(pki.roots)}")
        assert [await visit(client) for _ in range(2)] == [False, True]


@pytest_twisted.ensureDeferred
async def test_sessions_can_be_kept_apart_or_not_at_all(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = pair.client_context(pki, tls_version)
    before = sessions.hits + sessions.misses
    own = SessionCache()
    async with serving(pair.server_context(pki, tls_version)) as port:
        assert [await visit(client_of(client, port, sessions=None)) for _ in range(2)] == [False, False]
        assert [await visit(client_of(client, port, sessions=own)) for _ in range(2)] == [False, True]
    assert sessions.hits + sessions.misses == before and (own.misses, own.hits, own.resumed) == (1, 1, 1)


@pytest_twisted.ensureDeferred
async def test_another_port_is_another_server(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    own = SessionCache()
    async with serving(server) as one, serving(server) as other:
        for port in (one, other):
            assert not await visit(client_of(client, port, sessions=own))
        for port in (one, other):
            assert await visit(client_of(client, port, sessions=own))


@pytest_twisted.ensureDeferred
async def test_a_connection_that_stays_open_helps_the_next(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """A pool opens several at a time: the tickets of the first are there as soon as it has its answer."""
    client, own = pair.client_context(pki, tls_version), SessionCache()
    async with serving(pair.server_context(pki, tls_version)) as port:
        first = await ask(client_of(client, port, sessions=own))
        assert await visit(client_of(client, port, sessions=own))
        await first.close()


@pytest_twisted.ensureDeferred
async def test_a_pool_that_is_opened_at_once_resumes_at_once(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """As many connections as it had before: each has earned a session."""
    client, own = pair.client_context(pki, tls_version), SessionCache()
    async with serving(pair.server_context(pki, tls_version)) as port:
        for expected in (False, True):
            pool = await gatherResults(
                [Deferred.fromCoroutine(ask(client_of(client, port, sessions=own))) for _ in range(4)]
            )
            assert [protocol.resumed for protocol in pool] == [expected] * 4
            for protocol in pool:
                await protocol.close()


@pytest_twisted.ensureDeferred
async def test_an_aborted_connection_keeps_what_it_has_earned(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, own = pair.client_context(pki, tls_version), SessionCache()
    async with serving(pair.server_context(pki, tls_version)) as port:
        assert [await visit(client_of(client, port, sessions=own), abort=True) for _ in range(2)] == [False, True]


@pytest_twisted.ensureDeferred
async def test_nothing_is_kept_of_a_refused_handshake(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, own = pair.client_context(pki, tls_version), SessionCache()
    async with serving(pair.server_context(pki, tls_version, credential=pki.untrusted)) as port:
        protocol: Ask = await client_of(client, port, sessions=own).connect(Factory.forProtocol(Ask))
        await protocol.ended
    assert len(own) == 0 and own.misses == 1


def test_without_name_and_address_nothing_is_kept(pki: PKI) -> None:
    """Of a process, say: there is no telling whether the next one is the same server."""
    context = pair.client_context(pki)
    context.check_hostname = False
    own = SessionCache()
    TLSFactory(context, True, Factory.forProtocol(Ask), sessions=own, clock=Clock()).buildProtocol(None)
    assert own.misses == 0


def test_servers_take_no_part(pki: PKI) -> None:
    own = SessionCache()
    factory = TLSFactory(pair.server_context(pki), False, Factory.forProtocol(Echo), sessions=own, clock=Clock())
    factory.buildProtocol(None)
    assert own.misses == 0


def test_what_is_no_cache_is_refused(pki: PKI) -> None:
    with pytest.raises(TypeError, match=r"sessions must be a txmembio\.session_cache\.SessionCache or None, not dict"):
        client_of(pair.client_context(pki), 1, sessions={})


# --- ticket keys


class Source:
    """Gives what `answers` says next, again and again the last."""

    def __init__(self, *answers: Any, blocks: bool = False, interval: float | None = 2.0) -> None:
        self.answers = list(answers)
        self.blocks = blocks
        self.interval = interval
        self.asked = 0
        self.closed = 0
        self.before: Callable[[], object] = lambda: None

    def load(self) -> list[bytes] | None:
        self.before()
        self.asked += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        loaded: list[bytes] | None = answer
        return loaded

    def close(self) -> None:
        self.closed += 1

    def __repr__(self) -> str:
        return "the source"


ONE, TWO = bytes(80), bytes([1]) * 80


def test_keys_are_looked_for_while_somebody_listens_and_no_longer() -> None:
    clock, source = Clock(), Source([ONE], None, [TWO, ONE], None)
    updates = TicketKeyUpdates(clock, source)
    assert list(updates.keys.keys) == [ONE] and clock.getDelayedCalls() == []
    updates.start()
    updates.start()
    assert source.asked == 2
    clock.advance(1.9)
    assert source.asked == 2 and list(updates.keys.keys) == [ONE]
    clock.advance(0.1)
    assert source.asked == 3 and list(updates.keys.keys) == [TWO, ONE]
    updates.stop()
    clock.advance(2)
    assert source.asked == 4
    updates.stop()
    assert clock.getDelayedCalls() == [] and source.closed == 1
    updates.start()
    assert source.asked == 5 and len(clock.getDelayedCalls()) == 1


def test_a_source_may_want_to_be_asked_once() -> None:
    clock, source = Clock(), Source([ONE], None, interval=None)
    updates = TicketKeyUpdates(clock, source)
    updates.start()
    assert clock.getDelayedCalls() == []
    updates.stop()
    assert source.closed == 1


def test_a_source_without_keys_is_an_error_at_once() -> None:
    with pytest.raises(OSError, match="no such thing"):
        TicketKeyUpdates(Clock(), Source(OSError("no such thing")))


def test_a_source_that_somebody_else_has_used_is_refused() -> None:
    """It would say that there is nothing new."""
    with pytest.raises(ValueError, match="the source cannot be used here"):
        TicketKeyUpdates(Clock(), Source(None))


def test_each_problem_is_logged_once_and_so_is_its_end() -> None:
    away, bad = OSError("it is away"), ValueError("it is bad")
    clock = Clock()
    updates = TicketKeyUpdates(
        clock, Source([ONE], away, away, away, bad, bad, None, None, [TWO], None, [b"short"], None)
    )
    with capturedLogs() as logged:
        updates.start()
        for _ in range(12):
            clock.advance(2)
    assert [(event["log_level"].name, formatEvent(event)) for event in logged] == [
        ("error", "the source: the last good ones stay in use: it is away"),
        ("error", "the source: the last good ones stay in use: it is bad"),
        ("info", "the source: there again"),
        ("info", "the source: 1 in use"),
        (
            "error",
            "the source: the last good ones stay in use: ticket keys: keys of [5] bytes, expected all of 48 bytes or"
            " all of 80",
        ),
        ("info", "the source: there again"),
    ]
    assert updates.keys.keys == (TWO,)


def test_a_mistake_in_a_source_is_logged_with_its_traceback_and_does_not_end_it() -> None:
    clock = Clock()
    updates = TicketKeyUpdates(clock, Source([ONE], ZeroDivisionError("oh"), [TWO]))
    with capturedLogs() as logged:
        updates.start()
        clock.advance(2)
    assert logged[0]["log_failure"].check(ZeroDivisionError)
    assert updates.keys.keys == (TWO,)


@pytest_twisted.ensureDeferred
async def test_a_source_that_blocks_has_a_thread_of_its_own() -> None:
    """And the reactor goes on meanwhile."""
    source, go_on = Source([ONE], blocks=True, interval=1000.0), threading.Event()
    threads = []

    def wait() -> None:
        threads.append(threading.current_thread())
        go_on.wait(DEADLINE)

    source.before = wait
    updates = TicketKeyUpdates(reactor, source)
    assert updates.keys.keys == ()
    updates.start()
    await deferLater(reactor, 0)
    updates.stop()
    updates.start()
    assert source.asked == 0, "one look at a time"
    go_on.set()
    while not updates.keys.keys:
        await deferLater(reactor, 0.01)
    assert threads[0] is not threading.current_thread() and len(threads) == 1
    updates.stop()
    assert source.closed == 1


@pytest_twisted.ensureDeferred
async def test_a_look_that_ends_after_the_last_user_leaves_nothing() -> None:
    source, go_on = Source([ONE], blocks=True), threading.Event()
    source.before = lambda: go_on.wait(DEADLINE)
    updates = TicketKeyUpdates(reactor, source)
    updates.start()
    updates.stop()
    before = set(map(id, reactor.getDelayedCalls()))
    go_on.set()
    while not source.closed:
        await deferLater(reactor, 0.01)
    assert set(map(id, reactor.getDelayedCalls())) <= before


@pytest_twisted.ensureDeferred
async def test_ports_start_and_stop_the_updates(pki: PKI) -> None:
    clock, source = Clock(), Source([ONE], None)
    updates = TicketKeyUpdates(clock, source)
    server = pair.server_context(pki)
    updates.keys.use_in(server)
    below = updates.around(TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"))
    endpoint = wrapServerTLS(server, below)
    assert clock.getDelayedCalls() == []
    async with listening(endpoint) as port:
        assert len(clock.getDelayedCalls()) == 1
        async with listening(endpoint):
            assert len(clock.getDelayedCalls()) == 1
        assert len(clock.getDelayedCalls()) == 1
        assert not await visit(client_of(pair.client_context(pki), port))
    assert clock.getDelayedCalls() == [] and source.closed == 1


@pytest.mark.parametrize("form", ["file", "folder"])
@pytest_twisted.ensureDeferred
async def test_servers_with_one_key_file_resume_each_others_sessions(
    form: str, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """From endpoint strings of both forms, for every certificate of a folder."""
    (tmp_path / "t.key").write_bytes(os.urandom(80))
    names = pki.issue("localhost", "other.example", name="both")
    where = f"0:certificate={escape(names.combined_file)}"
    if form == "folder":
        (tmp_path / "pems").mkdir()
        (tmp_path / "pems" / "both.pem").write_bytes(Path(names.combined_file).read_bytes())
        (tmp_path / "pems" / "default.pem").write_bytes(Path(pki.server.combined_file).read_bytes())
        where = f"{escape(str(tmp_path / 'pems'))}:0"
    server = f"membiotls:{where}:interface=127.0.0.1:ticketKeys={escape(str(tmp_path / 't.key'))}"
    client = pair.client_context(pki, tls_version)
    one, other = serverFromString(reactor, server), serverFromString(reactor, server)
    async with listening(one) as first, listening(other) as second:
        protocol = await ask(client_of(client, first, "other.example", sessions=None))
        session = protocol.tls.connection.session
        await protocol.close()

        class Resuming(SessionCache):
            def offer(self, connection: txmembio.Connection, where: object) -> bool:
                assert session is not None
                connection.set_session(session)
                return True

        assert await visit(client_of(client, second, "other.example", sessions=Resuming()))


@pytest_twisted.ensureDeferred
async def test_key_files_are_read_again_while_an_endpoint_listens(pki: PKI, tmp_path: Path) -> None:
    path = tmp_path / "t.key"
    path.write_bytes(os.urandom(80))
    certificate, keys = escape(pki.server.combined_file), escape(str(path))
    description = f"membiotls:0:interface=127.0.0.1:certificate={certificate}:ticketKeys={keys}:reloadInterval=0.02"
    client = pair.client_context(pki)
    async with listening(serverFromString(reactor, description)) as port:
        assert [await visit(client_of(client, port)) for _ in range(2)] == [False, True]
        (tmp_path / "new").write_bytes(new := os.urandom(80))
        os.replace(tmp_path / "new", path)
        name = b""
        while name != new[:16]:
            protocol = await ask(client_of(client, port, sessions=None))
            session = protocol.tls.connection.session
            assert session is not None
            name = new[:16] if new[:16] in session.to_bytes() else b""
            await protocol.close()
    assert TicketKeyFiles([path]).load() == [new]
