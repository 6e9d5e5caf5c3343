"""A thousand connections that send one byte of TLS and stop: what becomes of them, and of everybody else."""

from __future__ import annotations

import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, quoteStringArgument, serverFromString
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure

from support import pair
from support.pki import PKI
from support.process import DEADLINE
from txmembio.counters import Counters
from txmembio.twisted import wrapClientTLS

pytestmark = pytest.mark.usefixtures("many_descriptors")

COUNT = 1000

#: The first byte of every handshake record (RFC 8446 section 5.1).
ONE_BYTE = b"\x16"

#: Seconds: the shortened time-out. It has to be longer than it takes to connect them all, a few tenths of a second.
TIMEOUT = 5


class Answering(Protocol):
    def connectionMade(self) -> None:
        self.factory.watch()

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data.upper())

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.watch()


class Watching(Factory):
    """A server's factory that can be waited for: `until` something is true of its connections."""

    protocol = Answering
    noisy = False

    def __init__(self) -> None:
        self.waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []

    def until(self, true: Callable[[], bool]) -> Deferred[None]:
        done: Deferred[None] = Deferred()
        self.waiting.append((true, done))
        self.watch()
        return done.addTimeout(DEADLINE, reactor)

    def watch(self) -> None:
        for waiting in [waiting for waiting in self.waiting if waiting[0]()]:
            self.waiting.remove(waiting)
            waiting[1].callback(None)


class Asking(Protocol):
    def __init__(self) -> None:
        self.answer: Deferred[bytes] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"hello")

    def dataReceived(self, data: bytes) -> None:
        self.answer.callback(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(None)


@contextlib.asynccontextmanager
async def server(pki: PKI, keys: str) -> AsyncIterator[tuple[int, Watching, Counters]]:
    """Its port, the factory of its protocols, and what it counts."""
    key, certificate = map(quoteStringArgument, (pki.server.key_file, pki.server.chain_file))
    endpoint: Any = serverFromString(
        reactor, f"membiotls:0:interface=127.0.0.1:backlog={COUNT}:privateKey={key}:certKey={certificate}:{keys}"
    )
    factory = Watching()
    port = await endpoint.listen(factory)
    try:
        yield port.getHost().port, factory, endpoint.counters
        await factory.until(lambda: endpoint.counters.connections_open == 0)
    finally:
        await port.stopListening()


@contextlib.asynccontextmanager
async def lorises(port: int) -> AsyncIterator[list[socket.socket]]:
    """A thousand sockets, connected, each of which has sent one byte."""

    def connect() -> list[socket.socket]:
        sockets = []
        for _ in range(COUNT):
            sockets.append(socket.create_connection(("127.0.0.1", port), DEADLINE))
            sockets[-1].sendall(ONE_BYTE)
        return sockets

    sockets = await deferToThread(connect)
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


async def converse(pki: PKI, port: int) -> bytes:
    """What an honest client is answered."""
    endpoint = wrapClientTLS(pair.client_context(pki), "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", port))
    asking = await endpoint.connect(Factory.forProtocol(Asking))
    assert isinstance(asking, Asking)
    answer = await asking.answer.addTimeout(DEADLINE, reactor)
    assert asking.transport is not None
    asking.transport.loseConnection()
    await asking.lost.addTimeout(DEADLINE, reactor)
    return answer


def is_closed(peer: socket.socket) -> bool:
    """The other end has closed or reset the connection."""
    peer.setblocking(False)
    try:
        return peer.recv(1) == b""
    except BlockingIOError:
        return False
    except ConnectionResetError:
        return True


@pytest_twisted.ensureDeferred
async def test_they_are_gone_after_the_time_out_and_others_are_served_meanwhile(pki: PKI) -> None:
    async with (
        server(pki, f"handshakeTimeout={TIMEOUT}:maxHandshakes=none") as (port, factory, counters),
        lorises(port) as sockets,
    ):
        await factory.until(lambda: counters.handshakes_begun == COUNT)
        assert await converse(pki, port) == b"HELLO"
        assert counters.handshakes_under_way == COUNT, "they were to be there when the client was served"
        await factory.until(lambda: counters.connections_open == 0)
        assert all(map(is_closed, sockets))
        assert counters.failures == {"timeout": COUNT}
        assert counters.endings == {"clean": 1}
        assert counters.traffic().wire_received > COUNT


@pytest_twisted.ensureDeferred
async def test_more_than_the_cap_make_way_and_others_are_served(pki: PKI) -> None:
    """Whoever holds all places without a time-out to free them still keeps nobody out."""
    cap = 100
    async with server(pki, f"handshakeTimeout=none:maxHandshakes={cap}") as (port, factory, counters):
        async with lorises(port) as sockets:
            await factory.until(lambda: counters.failures == {"displaced": COUNT - cap})
            assert counters.handshakes_under_way == cap
            assert [is_closed(each) for each in sockets] == [True] * (COUNT - cap) + [False] * cap, (
                "the oldest go first"
            )
            for _ in range(5):
                assert await converse(pki, port) == b"HELLO"
            # The first of these took the place of one more; the others found that place free again.
            await factory.until(lambda: counters.failures == {"displaced": COUNT - cap + 1})
            assert counters.handshakes_under_way == cap - 1
        await factory.until(lambda: counters.connections_open == 0)
        assert (counters.handshakes_completed, counters.endings) == (5, {"clean": 5})
