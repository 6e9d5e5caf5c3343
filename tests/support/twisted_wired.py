"""A `TLSTransport` on one of Twisted's own TCP transports, over a real socket; the reactor does only what it is told.

    wired = Wired(pki, Application())       # the handshake is complete
    wired.say(b"hello")                     # from the peer, a bare `Connection` on the other socket
    wired.turn()                            # what a turn of the reactor would do
    wired.hear()                            # what the peer has decrypted by now

Both sockets are of this machine, where what one has sent is there for the other when the call returns.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable
from types import TracebackType
from typing import Any

from twisted.internet import main, tcp
from twisted.internet.address import IPv4Address
from twisted.internet.task import Clock
from twisted.python.failure import Failure

import txmembio
from txmembio.twisted import TLSFactory, TLSTransport
from txmembio.twisted.beneath import unsent_wire

from . import pair
from .pki import PKI
from .twisted_ends import Once

ADDRESS = IPv4Address("TCP", "127.0.0.1", 0)


class Reactor(Clock):
    """Knows what waits to be read and to be written, and does nothing by itself."""

    def __init__(self) -> None:
        super().__init__()
        self.readers: set[Any] = set()
        self.writers: set[Any] = set()
        self.addReader, self.removeReader = self.readers.add, self.readers.discard
        self.addWriter, self.removeWriter = self.writers.add, self.writers.discard


class Wired:
    """Both ends. `through` False turns the short cut off; `wrap` makes a factory around the TLS factory; `kind` is the
    class of the transport beneath."""

    def __init__(
        self,
        pki: PKI,
        application: Any,
        *,
        through: bool = True,
        kind: type[tcp.Server] = tcp.Server,
        wrap: Callable[[Any], Any] = lambda factory: factory,
        shake: bool = True,
    ) -> None:
        self.reactor = Reactor()
        self.application = application

        class Transport(TLSTransport):
            writesThrough = through

        version = txmembio.TLSVersion.TLSv1_3
        client, server = pair.client_context(pki, version), pair.server_context(pki, version)
        tls_factory = TLSFactory(server, False, Once(application), clock=self.reactor)
        tls_factory.protocol = Transport
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.socket = socket.create_connection(listener.getsockname())
            accepted = listener.accept()[0]
        for each in (self.socket, accepted):
            each.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.socket.setblocking(False)
        protocol = wrap(tls_factory).buildProtocol(ADDRESS)
        self.transport: Any = kind(accepted, protocol, ("127.0.0.1", 0), None, 0, self.reactor)  # type: ignore[arg-type]
        protocol.makeConnection(self.transport)
        self.tls: Any = application.transport
        self.peer = client.connection(server_hostname="localhost")
        self.heard = b""
        self.peer_wire = 0
        """Bytes that the peer has received since this was last set to 0."""
        if shake:
            self.shake()

    def shake(self) -> None:
        """Complete the handshake."""
        self.peer.do_handshake()
        while True:
            sent = self._send_from_peer()
            self.turn()
            before = self.peer_wire
            self.hear()
            if not sent and self.peer_wire == before:
                break
        assert self.tls.connection.handshake_complete
        self.peer_wire = 0

    def _send_from_peer(self) -> bool:
        wire = self.peer.wire_to_send()
        if wire:
            self.socket.setblocking(True)
            self.socket.sendall(wire)
            self.socket.setblocking(False)
        return bool(wire)

    def say(self, plaintext: bytes) -> None:
        """From the peer, and the transport reads it."""
        self.peer.send_plaintext(plaintext)
        self._send_from_peer()
        self.read()

    def read(self) -> None:
        """The reactor finds the transport readable."""
        if self.transport in self.reactor.readers:
            self._done(self.transport.doRead())

    def turn(self) -> None:
        """The reactor runs what is due, finds the transport readable and writable, and deals with what they say."""
        self.reactor.advance(0)
        self.read()
        if self.transport in self.reactor.writers:
            self._done(self.transport.doWrite())

    def _done(self, why: Any) -> None:
        if why:
            self.reactor.readers.discard(self.transport)
            self.reactor.writers.discard(self.transport)
            self.transport.connectionLost(Failure(why))

    @property
    def queued(self) -> int:
        """Bytes of wire that wait in the transport's own buffers."""
        return unsent_wire(self.transport)

    def hear(self) -> bytes:
        """The peer reads all there is; returns all plaintext it has ever had."""
        with contextlib.suppress(BlockingIOError):
            while wire := self.socket.recv(2**20):
                self.peer_wire += len(wire)
                self.heard += self.peer.receive_wire(wire)
        return self.heard

    def settle(self) -> None:
        """Turn and hear until nothing moves."""
        while True:
            before = self.peer_wire, self.queued
            self.turn()
            self.hear()
            if before == (self.peer_wire, self.queued) and not self.queued:
                return

    def reset(self) -> None:
        """The peer's socket goes away at once."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self) -> None:
        """Both ends."""
        self.socket.close()
        if hasattr(self.transport, "socket"):
            self.transport.connectionLost(Failure(main.CONNECTION_DONE))

    def __enter__(self) -> Wired:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
