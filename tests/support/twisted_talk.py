"""Protocols and producers that talk over real transports, for tests on the reactor: each step of a test waits for the
event that lets it go on, none for a time.

    async with listening(endpoint) as (port, accepting):
        accepted = accepting.made
        client = await connecting.connect(Factory.forProtocol(End))
        server = await accepted
        Pushing(client.tls, content(b"seed"))
        await server.until(SIZE)
        await close(client, server)
"""

from __future__ import annotations

import hashlib
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.interfaces import (
    IHandshakeListener,
    IPullProducer,
    IPushProducer,
    IReactorUNIX,
)
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio
from txmembio.twisted import TLSTransport, wrapClientTLS, wrapServerTLS

from . import pair
from .pki import PKI
from .reactors import need, need_processes

MEGABYTE = 1024 * 1024

#: Bytes that each side sends.
SIZE = 5 * MEGABYTE

#: What one write of a producer has, in bytes: no multiple of anything.
PIECE = 10_007

#: Bytes of a socket's buffers in the tests of back-pressure (Linux doubles it): little beside SIZE.
SOCKET_BUFFER = 64 * 1024


def socket_of(tls: TLSTransport) -> socket.socket:
    """The socket at the bottom."""
    below: Any = tls.transport
    while isinstance(below, TLSTransport):
        below = below.transport
    handle: socket.socket = below.getHandle()
    return handle


def content(seed: bytes) -> bytes:
    """SIZE bytes that repeat nowhere near."""
    return hashlib.shake_128(seed).digest(SIZE)


@implementer(IHandshakeListener)
class End(Protocol):
    """One side of a conversation, with a Deferred for each thing there is to wait for."""

    def __init__(self) -> None:
        self.made: Deferred[None] = Deferred()
        self.handshaken: Deferred[None] = Deferred()
        self.lost: Deferred[BaseException] = Deferred()
        """Fires with the reason's exception."""
        self.received = bytearray()
        self.waiting: list[tuple[int, Deferred[None]]] = []

    @property
    def tls(self) -> TLSTransport:
        assert isinstance(self.transport, TLSTransport)
        return self.transport

    def connectionMade(self) -> None:
        self.made.callback(None)

    def handshakeCompleted(self) -> None:
        self.handshaken.callback(None)

    def until(self, size: int) -> Deferred[None]:
        """Fires when `size` bytes have been received in all."""
        reached: Deferred[None] = Deferred()
        self.waiting.append((size, reached))
        self.dataReceived(b"")
        return reached

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        for wanted in list(self.waiting):
            if len(self.received) >= wanted[0]:
                self.waiting.remove(wanted)
                wanted[1].callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert isinstance(reason.value, BaseException)
        self.lost.callback(reason.value)


class OpenSSL(ProcessProtocol):
    """The program openssl with these arguments; what it says on either of its outputs."""

    transport: Any

    def __init__(self, arguments: str) -> None:
        need_processes()
        self.said = b""
        self.ended: Deferred[None] = Deferred()
        self.waiting: list[tuple[bytes, Deferred[None]]] = []
        reactor.spawnProcess(self, "openssl", ["openssl", *arguments.split()], env=None)

    def until(self, words: bytes) -> Deferred[None]:
        """Fires when it has said `words`."""
        said: Deferred[None] = Deferred()
        self.waiting.append((words, said))
        self.outReceived(b"")
        return said

    def outReceived(self, data: bytes) -> None:
        self.said += data
        for wanted in list(self.waiting):
            if wanted[0] in self.said:
                self.waiting.remove(wanted)
                wanted[1].callback(None)

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        self.ended.callback(None)


class Accepting(Factory):
    """A server's factory: makes `protocol`s, and says when the next one is connected."""

    noisy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.made: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: object) -> Any:
        protocol = self.make()
        made, self.made = self.made, Deferred()
        made.callback(protocol)
        return protocol


@asynccontextmanager
async def listening(endpoint: Any, make: Callable[[], Any] = End) -> AsyncIterator[tuple[Any, Accepting]]:
    """A server at `endpoint`: its port, and the factory of its protocols."""
    accepting = Accepting(make)
    port = await endpoint.listen(accepting)
    try:
        yield port, accepting
    finally:
        await port.stopListening()


def tcp_server(context: txmembio.SSLContext, **settings: Any) -> Any:
    """The endpoint of a server on a free port."""
    return wrapServerTLS(context, TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1"), **settings)


def tcp_client(context: txmembio.SSLContext, port: Any) -> Any:
    """The endpoint of a client of that server."""
    return wrapClientTLS(context, "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port))


@asynccontextmanager
async def conversation(
    pki: PKI,
    version: txmembio.TLSVersion,
    make_client: Callable[[], Any] = End,
    make_server: Callable[[], Any] = End,
    *,
    path: Path | None = None,
    twice: bool = False,
    **server_settings: Any,
) -> AsyncIterator[tuple[Any, Any]]:
    """A client's and a server's protocol, connected: over a UNIX socket at `path`, with TLS `twice`, if asked."""
    server_context, client_context = pair.server_context(pki, version), pair.client_context(pki, version)
    if path is None:
        endpoint = tcp_server(server_context, **server_settings)
    else:
        need(IReactorUNIX)
        endpoint = wrapServerTLS(server_context, UNIXServerEndpoint(reactor, str(path)), **server_settings)
    if twice:
        endpoint = wrapServerTLS(server_context, endpoint)
    async with listening(endpoint, make_server) as (port, accepting):
        accepted = accepting.made
        if path is None:
            connecting = tcp_client(client_context, port)
        else:
            connecting = wrapClientTLS(client_context, "localhost", UNIXClientEndpoint(reactor, str(path)))
        if twice:
            connecting = wrapClientTLS(client_context, "localhost", connecting)
        client = await connecting.connect(Factory.forProtocol(make_client))
        yield client, await accepted


async def close(client: End, server: End) -> tuple[BaseException, BaseException]:
    """Close from the client's side; the reasons of client and server."""
    client.tls.loseConnection()
    first, second = await gatherResults([client.lost, server.lost])
    return first, second


@implementer(IPushProducer)
class Pushing:
    """Sends `data` a piece at a time, one for each turn of the reactor, as long as it is not paused."""

    def __init__(self, tls: TLSTransport, data: bytes) -> None:
        self.tls = tls
        self.data = data
        self.at = 0
        self.running = self.stopped = False
        self.pauses = 0
        self.most_unsent = 0
        self.paused: Deferred[None] = Deferred()
        tls.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        assert not self.running, "resumed without a pause"
        self.running = True
        self.produce()

    def produce(self) -> None:
        if not self.running or self.stopped:
            return
        if self.at >= len(self.data):
            self.running = False
            self.tls.unregisterProducer()
            return
        self.at += PIECE
        self.tls.write(self.data[self.at - PIECE : self.at])
        self.most_unsent = max(self.most_unsent, unsent(self.tls))
        reactor.callLater(0, self.produce)

    def pauseProducing(self) -> None:
        assert self.running, "paused twice"
        self.running = False
        self.pauses += 1
        if self.pauses == 1:
            self.paused.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


@implementer(IPullProducer)
class Pulled:
    """Sends `data` a piece at a time, when asked."""

    def __init__(self, tls: TLSTransport, data: bytes) -> None:
        self.tls = tls
        self.data = data
        self.at = 0
        self.most_unsent = 0
        self.half: Deferred[None] = Deferred()
        tls.registerProducer(self, False)

    def resumeProducing(self) -> None:
        if self.at:  # the first time is at once, whatever there is to send
            self.most_unsent = max(self.most_unsent, unsent(self.tls))
        self.at += PIECE
        self.tls.write(self.data[self.at - PIECE : self.at])
        if self.at >= len(self.data):
            self.tls.unregisterProducer()

    def stopProducing(self) -> None: ...


def unsent(tls: TLSTransport) -> int:
    """Bytes that the transport at the bottom still has in its own buffers, if they can be seen."""
    if not hasattr(tls, "dataBuffer"):  # a process
        return 0
    return len(tls.dataBuffer) - tls.offset + tls._tempDataLen  # type: ignore[no-any-return]
