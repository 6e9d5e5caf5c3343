"""Twisted's own TLS classes over `TLSTransport`: what `txmembio.install("twisted")` puts into `twisted.protocols.tls`.

    TLSMemoryBIOProtocol      MemoryBIOProtocol
    BufferingTLSTransport     BufferingTransport
    TLSMemoryBIOFactory       stays, and makes these

Twisted's factories, its `startTLS` and its context factories stay what they are. A context factory still makes an
`OpenSSL.SSL.Connection`, of which the transport takes the core's connection beneath; failures still reach
`connectionLost` as `OpenSSL.SSL.Error`. What changes is the transport in between: time-outs, one call into C for each
event, writes that leave together, a close that ends. A context factory that makes something else instead, with the
methods of one, is served too (stand_in.py).

Where Twisted's transport and `TLSTransport` differ in what applications see, these classes side with Twisted's:

- What is written before the handshake is complete stays here until `handshakeCompleted` has returned, which may abort;
  and a producer is paused until then.
- A pull producer is asked for data all the time, unless the transport beneath is full: Twisted's `_PullToPush`.
- After `loseConnection`, what the peer still sends is delivered until its close_notify has come.
"""

from __future__ import annotations

from functools import cached_property
from types import ModuleType
from typing import TYPE_CHECKING, Any

from twisted.internet._producer_helpers import _PullToPush
from twisted.internet.error import ConnectionAborted
from twisted.internet.interfaces import IReactorTime
from twisted.protocols.policies import ProtocolWrapper

from .. import SSLEOFError, SSLError
from ..counters import Counters
from ..limits import HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, SHUTDOWN_TIMEOUT, UnderWay
from ..OpenSSL.SSL import Connection as Handle
from ..OpenSSL.SSL import Error
from .factory import TLSFactory
from .injection import Guard, unparsed
from .producer import ProducerProxy
from .reasons import ConnectionTruncated, PlaintextInjected
from .stand_in import Refusal, StandIn
from .starttls import _stack
from .transport import OPEN, TLSTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.interfaces import IProtocol, ITransport
    from twisted.python.failure import Failure

__all__ = ["BufferingTransport", "FactoryPart", "MemoryBIOProtocol", "put_into"]


class _Membrane(ProducerProxy):
    """With the names that Twisted's own has, which its tests and some programs look at."""

    __slots__ = ()

    @property
    def _producer(self) -> Any:
        return self.producer

    @property
    def _producerPaused(self) -> bool:
        return self.paused


class MemoryBIOProtocol(TLSTransport):
    """`TLSTransport` with the constructor, the handle and the failures of Twisted's `TLSMemoryBIOProtocol`. As there,
    a write leaves at once."""

    # No __slots__: programs set attributes of their own on it.

    _proxy = _Membrane
    writesThrough = False  # each write would be a call of the system

    def __init__(self, factory: Any, wrappedProtocol: IProtocol, _connectWrapped: bool = True) -> None:
        # There is no connection before makeConnection(): the context factory wants to see this transport first.
        super().__init__(factory, wrappedProtocol, None)  # type: ignore[arg-type]
        self._connectWrapped = _connectWrapped
        self._handle: Any = None
        self._guard: Guard | None = None

    def makeConnection(self, transport: ITransport) -> None:
        """Ask the context factory for a connection, then begin. After `startTLS` the protocol is connected already."""
        factory: Any = self.factory
        create = getattr(factory, "_creatorCallable", None) or factory._createConnection  # an older Twisted
        self._tlsConnection = create(self)
        self.attach(transport)
        if self._connectWrapped:
            self.call_application(lambda: self.wrappedProtocol.makeConnection(self))
            self.begin_handshake()
        elif not self._found_early():
            self.begin_handshake()

    def _found_early(self) -> bool:
        """After startTLS: whether plaintext had come behind it. From here to the end of the handshake, none may."""
        parsers = [each for each in _stack(self.wrappedProtocol) if not isinstance(each, ProtocolWrapper)]
        early = sum(map(unparsed, parsers))
        self._guard = Guard(parsers, lambda: self.connection.handshake_complete, self._found_plaintext)
        if early:
            self._found_plaintext(f"{early} bytes were in its buffer")
        return early > 0

    def _found_plaintext(self, where: str) -> None:
        self._abort(PlaintextInjected(where))

    @property
    def _tlsConnection(self) -> Any:
        """The handle, by the name that it has in Twisted's class: programs look at it, and put proxies in its place."""
        return self._handle

    @_tlsConnection.setter
    def _tlsConnection(self, handle: Any) -> None:
        before = self.connection
        connection: Any = handle.core if isinstance(handle, Handle) else StandIn(handle, before)
        if self.connected:
            self.factory.counters.connection_ended(before, "replaced")
            self.factory.counters.connection_began(connection)
        self.connection = connection
        self._handle = handle

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """As TLSTransport; then the handle, whose application data may be this transport, is let go."""
        super().connectionLost(reason)
        self._handle = None
        if self._guard is not None:
            self._guard.release()
            self._guard = None

    def write(self, data: bytes) -> None:
        """Encrypt and send now."""
        super().write(data)
        if self._held:
            self._flush()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """As TLSTransport, but for the pull producers."""
        if streaming or not self._writable:
            super().registerProducer(producer, streaming)
            return
        pulling = _PullToPush(producer, self)
        super().registerProducer(pulling, True)
        pulling.startStreaming()

    def unregisterProducer(self) -> None:
        """As TLSTransport."""
        if isinstance(self.producer, _PullToPush):
            self.producer.stopStreaming()
        super().unregisterProducer()

    def getHandle(self) -> Any:
        """The `OpenSSL.SSL.Connection`; None when the connection is gone."""
        return self._handle

    def getPeerCertificate(self) -> Any:
        """The peer's certificate as an `OpenSSL.crypto.X509`, None for none."""
        return None if self._handle is None else self._handle.get_peer_certificate()

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """What ALPN has chosen, None for nothing."""
        return None if self._handle is None else self._handle.get_alpn_proto_negotiated() or None

    def failVerification(self, reason: Failure) -> None:
        """For verify callbacks: end the connection, with `reason` for the application's `connectionLost`."""
        self._reason = reason
        self._abort(ConnectionAborted())

    def _fail(self, error: SSLError) -> None:
        """What programs know is an `OpenSSL.SSL.Error` with the queue in it."""
        known: Any
        if isinstance(error, SSLEOFError):
            known = ConnectionTruncated(str(error))
        elif isinstance(error, Refusal):
            known = error.known
        else:
            known = Error(self.connection.queue)  # type: ignore[attr-defined]
        known.__cause__ = error
        super()._fail(known)

    def _tell_application(self, plaintext: bytes) -> None:
        super()._tell_application(b"")
        if plaintext and self._phase == OPEN and self.connected:
            self.wrappedProtocol.dataReceived(plaintext)

    def _flush(self) -> None:
        if self._established:
            super()._flush()
        elif self._producer is not None:
            self._producer.wait_for_handshake()

    def _finish_writing(self) -> None:
        if self._established or not self._held:
            super()._finish_writing()
        elif self._producer is None:
            self._writable = False  # the end of the handshake leads here again

    def _start_timer(self, seconds: float | None, expired: Callable[[], None] | None = None) -> None:
        """Of transports that belong to no reactor, those of a test say, nobody would clear the timers away. With a
        clock of its own, a factory has time-outs all the same."""
        factory: Any = self.factory
        if seconds and factory.clock_is_reactor and not hasattr(self.transport, "reactor"):
            seconds = None
        super()._start_timer(seconds, expired)


class BufferingTransport(MemoryBIOProtocol):
    """The one that Twisted's factories make: small writes leave together."""

    writesThrough = True
    write = TLSTransport.write


class FactoryPart:
    """What `TLSTransport` asks of its factory: time-outs, counters, the cap on handshakes. Put into Twisted's
    `TLSMemoryBIOFactory` itself, not into a subclass: the depth of the stack below its constructor is what its warnings
    count with. State is made when it is first asked for, as the constructor knows nothing of it.
    """

    handshakeTimeout: float | None = HANDSHAKE_TIMEOUT
    shutdownTimeout: float | None = SHUTDOWN_TIMEOUT
    maxHandshakes: int | None = MAX_HANDSHAKES
    onHandshake = None
    sessions = None

    _clock: Any = None  # an older Twisted has none

    @cached_property
    def counters(self) -> Counters:
        """What has happened on the connections made here, in numbers."""
        return Counters()

    @cached_property
    def _under_way(self) -> UnderWay[TLSTransport]:
        return UnderWay()

    @property
    def clock(self) -> Any:
        """Runs the time-outs."""
        if self._clock is None:
            from twisted.internet import reactor  # not before it is needed: importing it installs it

            self._clock = reactor
        return self._clock

    @property
    def clock_is_reactor(self) -> bool:
        """Nobody has given the factory another."""
        from twisted.internet import reactor

        return self.clock is reactor

    def find_clock(self, transport: ITransport) -> None:
        """The same as with `TLSFactory`, where nobody has given the factory another clock than the reactor."""
        reactor = getattr(transport, "reactor", None)
        if self.clock_is_reactor and IReactorTime.providedBy(reactor):
            self._clock = reactor

    def handshake_began(self, tls: TLSTransport) -> None:
        """A connection is made. The cap is for servers."""
        if tls.connection.server_side:
            TLSFactory.handshake_began(self, tls)  # type: ignore[arg-type]
        else:
            self.counters.connection_began(tls.connection)

    handshake_completed = TLSFactory.handshake_completed
    keep_session = TLSFactory.keep_session
    connection_ended = TLSFactory.connection_ended


def put_into(tls: ModuleType) -> None:
    """Puts all this into `twisted.protocols.tls`, before anybody else has seen that. An older Twisted lets each write
    leave at once; with one of those, so do we."""
    ours: dict[str, type] = {"TLSMemoryBIOProtocol": MemoryBIOProtocol, "BufferingTLSTransport": BufferingTransport}
    factory = tls.TLSMemoryBIOFactory
    made_by_it = factory.protocol.__name__
    for name, part in vars(FactoryPart).items():
        if not name.startswith("__"):
            setattr(factory, name, part)
    factory.protocol = ours[made_by_it]
    for name, kind in ours.items():
        if hasattr(tls, name):
            setattr(tls, name, kind)
