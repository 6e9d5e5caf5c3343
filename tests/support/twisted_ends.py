"""A `TLSTransport` over a transport in memory, its peer a bare `Connection`: OpenSSL is real, time is a `Clock`.

    ends = Ends(pki, tls_version)           # a server's transport; is_client=True for a client's
    ends.settle()                           # wire moves both ways until neither has more to send
    ends.say(b"hello")                      # from the peer
    assert ends.application.received == b"hello"
    assert ends.events == ["connectionMade", "handshakeCompleted", "dataReceived"]

`Application.on` names what the application does inside each of its callbacks. Nothing here waits.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, ITCPTransport
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

import txmembio
from txmembio.twisted import TLSFactory, TLSTransport

from . import pair
from .pki import PKI

#: Content types of TLS records (RFC 8446 section 5.1). In TLS 1.3 everything encrypted has the last one.
ALERT, HANDSHAKE, APPLICATION_DATA = 21, 22, 23


def records(wire: bytes) -> Iterator[tuple[int, int]]:
    """The records in `wire`: their content types and lengths in bytes, without their headers."""
    while wire:
        length = int.from_bytes(wire[3:5], "big")
        assert len(wire) >= 5 + length, "a record is incomplete"
        yield wire[0], length
        wire = wire[5 + length :]


@implementer(IHandshakeListener)
class Application(Protocol):
    """Writes down what happens to it, and does what `on` says: `on["dataReceived"] = lambda application: …`."""

    def __init__(self, events: list[str] | None = None, **on: Callable[[Application], object]) -> None:
        self.events: list[str] = [] if events is None else events
        self.on = on
        self.received = b""
        self.reason: Failure | None = None

    def happened(self, event: str) -> None:
        self.events.append(event)
        if event in self.on:
            self.on[event](self)

    def connectionMade(self) -> None:
        self.happened("connectionMade")

    def handshakeCompleted(self) -> None:
        self.happened("handshakeCompleted")

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.happened("dataReceived")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None, "connectionLost was called twice"
        self.reason = reason
        self.happened("connectionLost")


@implementer(IHalfCloseableProtocol)
class HalfCloseable(Application):
    """The same for a protocol that can do with one half of a connection."""

    def readConnectionLost(self) -> None:
        self.happened("readConnectionLost")

    def writeConnectionLost(self) -> None:
        self.happened("writeConnectionLost")


class Once(Factory):
    """Gives out one protocol, and keeps no reference to it."""

    def __init__(self, application: Application) -> None:
        self.applications = [application]

    def buildProtocol(self, addr: object) -> Application:
        return self.applications.pop()


class Beneath(StringTransport):
    """The transport beneath: keeps each `write` apart, and writes down what it is told."""

    def __init__(self, events: list[str]) -> None:
        super().__init__()
        directlyProvides(self, ITCPTransport)
        self.events = events
        self.chunks: list[bytes] = []
        self.noDelay = False

    def write(self, data: bytes) -> None:
        self.events.append("write")
        self.chunks.append(data)

    def take(self) -> bytes:
        """Everything written since the last call."""
        wire = b"".join(self.chunks)
        self.chunks.clear()
        return wire

    def loseConnection(self) -> None:
        self.events.append("loseConnection")
        self.disconnecting = True

    def abortConnection(self) -> None:
        self.events.append("abortConnection")
        self.disconnecting = self.disconnected = True

    def setTcpNoDelay(self, enabled: bool) -> None:
        self.noDelay = enabled

    def getTcpNoDelay(self) -> bool:
        return self.noDelay


class Ends:
    """`tls` between `application` and `beneath`, and `peer` at the other end of the wire."""

    def __init__(
        self,
        pki: PKI,
        version: txmembio.TLSVersion | None = None,
        application: Application | None = None,
        *,
        is_client: bool = False,
        client_context: txmembio.SSLContext | None = None,
        server_context: txmembio.SSLContext | None = None,
        connect: bool = True,
        **settings: Any,
    ) -> None:
        client = client_context or pair.client_context(pki, version)
        server = server_context or pair.server_context(pki, version)
        self.clock = Clock()
        self.application = application or Application()
        self.events = self.application.events
        self.beneath = Beneath(self.events)
        factory = TLSFactory(
            client if is_client else server,
            is_client,
            Once(self.application),
            hostname="localhost" if is_client else None,
            clock=self.clock,
            **settings,
        )
        built = factory.buildProtocol(None)
        assert built is not None
        self.tls: TLSTransport = built
        self.peer = server.connection(server_side=True) if is_client else client.connection(server_hostname="localhost")
        self.heard = b""
        """The plaintext that the peer has received."""
        self.peer_error: txmembio.SSLError | None = None
        if connect:
            self.connect()

    def connect(self) -> None:
        """Give `tls` its transport."""
        self.tls.makeConnection(self.beneath)
        self.peer.do_handshake()

    def to_peer(self) -> bool:
        """Move wire to the peer; True if there was any."""
        wire = self.beneath.take()
        if wire and self.peer_error is None:
            try:
                self.heard += self.peer.receive_wire(wire)
            except txmembio.SSLError as error:
                self.peer_error = error
        return bool(wire)

    def from_peer(self) -> bool:
        """Move wire from the peer, in one piece; True if there was any."""
        wire = self.peer.wire_to_send()
        if wire and self.tls.connected:
            self.tls.dataReceived(wire)
        return bool(wire)

    def settle(self) -> None:
        """End the reactor's turn, and move wire until neither end has any."""
        self.clock.advance(0)
        while self.to_peer() | self.from_peer():
            self.clock.advance(0)

    def say(self, plaintext: bytes) -> None:
        """The peer sends `plaintext`, and it arrives."""
        self.peer.send_plaintext(plaintext)
        self.from_peer()

    def lose(self, exception: Exception | None = None) -> None:
        """The transport beneath is gone: the peer closed its socket, unless `exception` says something else."""
        if self.beneath.producer is not None:
            self.beneath.producer.stopProducing()
        self.tls.connectionLost(Failure(exception or ConnectionDone()))

    def forget(self) -> None:
        """Begin a new list of events."""
        self.events.clear()


def connected(pki: PKI, version: txmembio.TLSVersion, application: Application | None = None, **options: Any) -> Ends:
    """Ends whose handshake is done, with nothing on the wire and no events."""
    ends = Ends(pki, version, application, **options)
    ends.settle()
    assert "handshakeCompleted" in ends.events
    ends.forget()
    return ends
