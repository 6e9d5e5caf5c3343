"""One TLS connection in Twisted: the protocol of the transport beneath, and the transport of the application.

    transport beneath ──dataReceived──►  TLSTransport  ──dataReceived──►  the application's protocol
    transport beneath ◄─────write──────  TLSTransport  ◄─────write──────  the application's protocol
              wire                                           plaintext

Receiving. Each chunk of wire becomes at most one `dataReceived`. `Connection.changed` says whether the chunk did more
than carry plaintext; only then is there more to look at, in this order: announce the finished handshake, deliver the
plaintext, send what OpenSSL wants to send (with what the application has written meanwhile, in one piece; when the
handshake had been complete before, OpenSSL's part goes first), then deal with an error or the peer's close_notify.

Sending. Small writes are held and encrypted together: until the call into the application that is under way ends, or
else until the end of the reactor's turn. What is held never reaches `HELD_LIMIT`. All wire leaves through `_send_wire`,
straight to the socket where that makes no difference but in time (beneath.py says when it makes none).

Closing. `_phase` only ever grows: OPEN, CLOSING once the transport beneath has been told `loseConnection`, ABORTING
once it has been told `abortConnection`. An orderly close goes through these steps before, each as soon as it can:

    loseConnection()     nothing more is delivered; writes are dropped, except those of a producer still registered
    no producer left     what is held is encrypted, close_notify after it; the shutdown time-out starts
    peer's close_notify  the transport beneath is told loseConnection()

`connectionLost` gets one of these reasons, so that clean and unclean can be told apart:

    ConnectionDone       the peer sent close_notify; or we did, and then the peer's transport ended
    ConnectionTruncated  the peer's transport ended without close_notify
    an SSLError          the handshake failed, or what the peer sent was not valid TLS, or it sent a fatal alert
    HandshakeTimeout     the handshake took too long, or (TooManyHandshakes) had to make way for a newer one
    ShutdownTimeout      the close took too long
    PlaintextInjected    plaintext came behind STARTTLS (starttls.py)
    ConnectionAborted    abortConnection() was called
    anything else        what the transport beneath reported, such as ConnectionLost for a reset

ConnectionTruncated and the time-outs are subclasses of Twisted's ConnectionLost, as ConnectionAborted is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IConsumer,
    IDelayedCall,
    IHalfCloseableProtocol,
    IHandshakeListener,
    INegotiated,
    IProtocol,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITransport,
)
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from .. import Certificate, Connection, SSLEOFError, SSLError
from ..limits import ANSWER_LIMIT
from .beneath import Through, provide, unsent_wire
from .producer import FlowControl, ProducerProxy
from .reasons import ConnectionTruncated, HandshakeTimeout, ShutdownTimeout, TooManyHandshakes

if TYPE_CHECKING:
    from .factory import TLSFactory

__all__ = ["TLSTransport"]

#: Bytes of plaintext. Holding more than four full records saves nothing, and without a bound a fast producer
#: has all its output joined into one huge buffer. It is also Twisted's own high-water mark for a transport's buffer.
HELD_LIMIT = 64 * 1024

#: Bytes of plaintext: one full record (RFC 8446 section 5.1). A write of this size gains nothing by waiting for others.
DIRECT_WRITE = 16 * 1024

#: Reachable through the transport beneath, but they would put bytes on the wire beside the TLS connection.
_NOT_PASSED_ON = frozenset({"startTLS", "writeSomeData"})

OPEN, CLOSING, ABORTING = range(3)


# FlowControl is a ProtocolWrapper, as web servers that hand a connection over to another protocol (for WebSockets,
# say) recognise a transport whose `wrappedProtocol` is the one to replace. So it is looked up for each delivery.
@implementer(ISSLTransport, INegotiated, IConsumer, IPushProducer, ISystemHandle)
class TLSTransport(FlowControl):
    """TLS over any Twisted transport. Made by `TLSFactory`; the application meets it as `self.transport`.

    Beside what is documented here it provides every interface that the transport beneath provides (`ITCPTransport`,
    `IUNIXTransport`, …), and passes on to it every method it does not have itself; except `ITLSTransport`, since a
    `startTLS` passed on would begin TLS beneath this one.
    """

    # `__provides__`, which zope sets, stays in the instance's dictionary: as a slot, it would be asked of `__getattr__`
    # while it is not set, and so of the transport beneath.
    __slots__ = (
        "_answered",
        "_delivering",
        "_established",
        "_flush_call",
        "_half_closing",
        "_held",
        "_held_size",
        "_phase",
        "_read_closed",
        "_reason",
        "_session_due",
        "_through",
        "_timer",
        "_unsent",
        "_writable",
        "began",
        "connected",
        "connection",
        "disconnecting",
        "factory",
        "transport",
        "wrappedProtocol",
    )

    disconnecting: bool

    #: False sends all wire by the `write` of the transport beneath: to compare.
    writesThrough = True

    def __init__(self, factory: TLSFactory, wrappedProtocol: IProtocol, connection: Connection) -> None:
        self.factory: TLSFactory = factory
        self.wrappedProtocol = wrappedProtocol
        #: The `txmembio.Connection`: version, cipher, group, session, channel binding, …
        self.connection = connection
        self.transport: Any = None
        self.connected = False
        #: Seconds of the factory's clock at the moment the connection was made.
        self.began = 0.0
        #: True from the moment the connection is being closed, by either side.
        self.disconnecting = False
        self._established = False  # the application knows that the handshake is complete
        self._phase = OPEN
        self._read_closed = False  # an IHalfCloseableProtocol knows that the peer sends no more
        self._half_closing = False  # loseWriteConnection was called
        self._writable = False  # write() still takes data
        self._reading_paused = False
        self._delivering = False  # a call into the application is under way, and will be followed by a flush
        self._held: list[bytes] = []
        self._held_size = 0
        self._flush_call: IDelayedCall | None = None
        self._producer: ProducerProxy | None = None
        self._timer: IDelayedCall | None = None  # of the handshake, then of the shutdown
        self._answered = 0  # bytes of wire that the peer has caused since the handshake, or since it last read them
        self._unsent = 0  # at the last look of the shutdown's timer
        self._through: Through | None = None  # the way for wire that may bypass the transport beneath
        # TLS 1.3 tickets come after the handshake: looked for with the first plaintext, which seldom comes before them
        self._session_due = getattr(factory, "sessions", None) is not None
        self._reason: Failure | None = None  # decided before the transport beneath reported the end
        if IHalfCloseableProtocol.providedBy(wrappedProtocol):  # client endpoints ask before there is a connection
            directlyProvides(self, IHalfCloseableProtocol)

    def __getattr__(self, name: str) -> Any:
        if name in _NOT_PASSED_ON:
            raise AttributeError(f"this connection speaks TLS already; {name} of the transport beneath would bypass it")
        return getattr(self.transport, name)

    # IProtocol: what the transport beneath calls

    def makeConnection(self, transport: ITransport) -> None:
        """Connect the application's protocol to this transport, then begin the handshake."""
        self.attach(transport)
        self.call_application(lambda: self.wrappedProtocol.makeConnection(self))
        self.begin_handshake()

    def attach(self, transport: ITransport, socket_of: Any = None) -> None:
        """Take `transport` as the one beneath: what makeConnection() does first, and startTLS() instead of it.

        :param socket_of: the transport that `transport` only stands for.
        """
        provide(self, transport, IHalfCloseableProtocol.providedBy(self))
        self.transport = transport
        if self.writesThrough:
            self._through = Through.of(self, transport, socket_of or transport)
        self.connected = self._writable = True
        self.factory.registerProtocol(self)
        self.factory.find_clock(transport)
        self.began = self.factory.clock.seconds()
        self._start_timer(self.factory.handshakeTimeout, self._handshake_timed_out)
        self.factory.handshake_began(self)

    def begin_handshake(self) -> None:
        """Say hello, if this is a client, unless the connection is ending already."""
        if self._phase == OPEN and self.connected:
            try:
                self.connection.do_handshake()
            except SSLError as error:
                self._fail(error)
            else:
                self._look(b"")

    def dataReceived(self, data: bytes) -> None:
        """Take wire from the transport beneath; deliver its plaintext, if there is any, in one call."""
        connection = self.connection
        try:
            plaintext = connection.receive_wire(data)
        except SSLError as error:
            self._fail(error)
            return
        if connection.changed:
            self._look(plaintext)
        elif plaintext:
            # call_application(), written out: this is the path of nearly every chunk
            outermost = not self._delivering
            self._delivering = True
            try:
                self.wrappedProtocol.dataReceived(plaintext)
            finally:
                if outermost:
                    self._delivering = False
                    if self._held:
                        self._flush()

    def connectionLost(self, reason: Failure) -> None:  # type: ignore[override]
        """The transport beneath is gone: tell the application why, in the terms listed at the top of this module."""
        if self.wrappedProtocol is None:
            return  # it has been told, by _give_up()
        self.factory.keep_session(self)  # at the end of the wire, OpenSSL gives up the session
        through, self._through = self._through, None  # it refers to this transport
        if through is not None and through.failed and isinstance(reason.value, ConnectionDone):
            reason = Failure(ConnectionLost("the socket failed while it was written to"))
        reason = self._final_reason(reason)
        self.connected = self._writable = False
        self.disconnecting = True
        self._start_timer(None)
        if self._flush_call is not None:
            self._flush_call.cancel()
            self._flush_call = None
        self._drop_held()
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.stop()
        self.factory.unregisterProtocol(self)
        self.factory.connection_ended(self, reason, self._established)
        try:
            self.wrappedProtocol.connectionLost(reason)
        finally:
            # Each refers to the other.
            self.wrappedProtocol = None  # type: ignore[assignment]

    # IHalfCloseableProtocol, if the application is one: else a transport beneath whose receiving half ends would close
    # the other half as well.

    def readConnectionLost(self) -> None:
        """The transport beneath receives no more. Behind the peer's close_notify that is no loss; without, it is."""
        if not self._read_closed and self._phase == OPEN:
            self._reason = self._final_reason(Failure(ConnectionDone()))
            self._close_transport()

    def writeConnectionLost(self) -> None:
        """The transport beneath cannot send any more. If it cannot receive either, that is the end."""
        if self._read_closed:
            self._abort(ConnectionLost("the transport beneath can neither receive nor send any more"))

    # ITransport and ITCPTransport

    def write(self, data: bytes) -> None:
        """Send plaintext. Before the handshake is complete it is kept, in order; on a closing connection it is dropped.

        :raises TypeError: for anything but bytes.
        """
        if not isinstance(data, bytes):
            raise TypeError(f"write() takes bytes, not {type(data).__name__}")
        if not data or not self._writable:
            return
        self._held.append(data)
        self._held_size = size = self._held_size + len(data)
        if size >= HELD_LIMIT:
            self._flush()
        elif not self._delivering:
            if len(data) >= DIRECT_WRITE:
                self._flush()
            elif self._flush_call is None:
                self._flush_call = self.factory.clock.callLater(0, self._flush_later)

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        """`write(b"".join(iovec))`."""
        self.write(b"".join(iovec))

    def loseConnection(self) -> None:
        """Close in order: what was written goes out first, then close_notify, then the peer has its turn.

        With a producer registered, that begins when it is unregistered; before the handshake is complete, when it is,
        unless nothing was written at all. Data that still arrives is discarded.
        """
        if self.disconnecting or not self.connected:
            return
        self.disconnecting = True
        # Left set: from now on each chunk of wire takes the path where its plaintext is discarded.
        self.connection.changed = True
        if self._reading_paused:
            self._reading_paused = False
            self.transport.resumeProducing()
        self._finish_writing()

    def loseWriteConnection(self) -> None:
        """Close the sending half: close_notify after what was written, while the peer's data is still received.

        As with `loseConnection`, a registered producer comes first. Only TLS 1.3 has this; a TLS 1.2 peer answers with
        its own close_notify and closes (RFC 5246 section 7.2.1). A protocol that provides `IHalfCloseableProtocol` is
        told by `writeConnectionLost` when close_notify has gone out, by `readConnectionLost` when the peer's has come
        in. The transport beneath stays as it is.
        """
        if self.connected and not self.disconnecting:
            self._half_closing = True
            self._finish_writing()

    def abortConnection(self) -> None:
        """Close at once: no close_notify, nothing more is sent or delivered. The reason will be `ConnectionAborted`.

        A transport beneath without `abortConnection` (a process, say) is told `loseConnection` instead, and not waited
        for.
        """
        if self.connected:
            self._abort(ConnectionAborted())

    def requestClientCertificate(self) -> None:
        """On a TLS 1.3 server: ask the client for a certificate now, as `Connection.request_client_certificate` does;
        `connection.client_certificate_requested` is False again when it has answered. Raises what that raises.
        """
        self.connection.request_client_certificate()
        self._send_wire(self.connection.wire_to_send())

    def getPeerCertificate(self) -> Certificate | None:
        """The peer's certificate, whether or not it was verified: `connection.context.verify_mode` says if it was.

        None before the handshake is complete and when the peer sent none.
        """
        return self.connection.peer_certificate() if self.connection.handshake_complete else None

    @property
    def negotiatedProtocol(self) -> bytes | None:
        """The application protocol that ALPN chose (RFC 7301), or None: no agreement, or no handshake yet."""
        name = self.connection.selected_alpn_protocol()
        return None if name is None else name.encode()

    def getHandle(self) -> Connection:
        """The `txmembio.Connection`, the same as `connection`."""
        return self.connection

    # ISSLTransport promises these of every TLS transport; over a pipe, say, there is nothing to set.

    def getTcpNoDelay(self) -> bool:
        """TCP_NODELAY of the transport beneath; False if it has no such thing."""
        return bool(self._tcp_option("getTcpNoDelay"))

    def setTcpNoDelay(self, enabled: bool) -> None:
        """Set TCP_NODELAY of the transport beneath, if it has such a thing."""
        self._tcp_option("setTcpNoDelay", enabled)

    def getTcpKeepAlive(self) -> bool:
        """SO_KEEPALIVE of the transport beneath; False if it has no such thing."""
        return bool(self._tcp_option("getTcpKeepAlive"))

    def setTcpKeepAlive(self, enabled: bool) -> None:
        """Set SO_KEEPALIVE of the transport beneath, if it has such a thing."""
        self._tcp_option("setTcpKeepAlive", enabled)

    def _tcp_option(self, method: str, *arguments: bool) -> object:
        function = getattr(self.transport, method, None)
        try:
            return None if function is None else function(*arguments)
        except OSError:  # a UNIX socket, of which older versions of Twisted ask it nevertheless
            return None

    # Receiving

    def _look(self, plaintext: bytes) -> None:
        """The last call into the connection did more than carry `plaintext`: see what, in the application's order."""
        connection = self.connection
        connection.changed = self.disconnecting or self._session_due
        if self._phase == ABORTING:
            return
        if self._established:
            wire = connection.wire_to_send()
            if wire:
                self._send_wire(wire)
                self._count_answer(len(wire))
        try:
            if plaintext or not self._established:
                self.call_application(lambda: self._tell_application(plaintext))
        finally:
            # The end of the handshake, and tickets, in one piece with the application's first words.
            if self._phase == OPEN and self.connected:
                wire = connection.wire_to_send()
                if wire:
                    self._send_wire(wire)
        if not self.connected:
            return
        if connection.error is not None:
            self._fail(connection.error)
        elif connection.peer_closed:
            self._peer_closed()
        elif self._ending:
            self._finish_writing()

    def _tell_application(self, plaintext: bytes) -> None:
        if self.connection.handshake_complete and not self._established and self.connected and self._phase == OPEN:
            self._established = True
            self._start_timer(None)
            self.factory.handshake_completed(self)
            if self._phase == OPEN and IHandshakeListener.providedBy(self.wrappedProtocol):
                self.wrappedProtocol.handshakeCompleted()
            if self._producer is not None:
                self._producer.handshake_complete()
        if plaintext and not self.disconnecting:
            if self._session_due:
                self._session_due = False
                self.factory.keep_session(self)
            self.wrappedProtocol.dataReceived(plaintext)

    def _count_answer(self, size: int) -> None:
        self._answered += size
        if self._answered > ANSWER_LIMIT:
            if unsent_wire(self.transport) > ANSWER_LIMIT:
                self._abort(
                    ConnectionLost(f"more than {ANSWER_LIMIT} bytes of answers wait for a peer that reads none")
                )
            self._answered = 0

    def _peer_closed(self) -> None:
        """close_notify has come in; nothing will follow it."""
        if self._phase != OPEN:
            return
        application: Any = self.wrappedProtocol
        if (
            not self.disconnecting
            and IHalfCloseableProtocol.providedBy(application)
            and self.connection.version() == "TLSv1.3"
        ):
            if not self._read_closed:
                self._read_closed = True
                self.call_application(application.readConnectionLost)
            if not self.connection.closed:
                return  # the application may go on sending, and has to call loseConnection()
        self._send_close_notify()
        self._close_transport()

    # Sending

    def call_application(self, call: Callable[[], object]) -> None:
        """Call into the application, for this adapter; what it writes meanwhile goes out together at the end."""
        outermost = not self._delivering
        self._delivering = True
        try:
            call()
        finally:
            if outermost:
                self._delivering = False
                if self._held:
                    self._flush()

    def _flush_later(self) -> None:
        self._flush_call = None
        if self._held:
            self._flush()

    def _flush(self) -> None:
        """Encrypt and send what is held."""
        connection = self.connection
        held = self._held
        plaintext = held[0] if len(held) == 1 else b"".join(held)
        held.clear()
        self._held_size = 0
        try:
            wire = connection.plaintext_to_wire(plaintext)
        except SSLError as error:
            self._fail(error)
            return
        if wire:
            self._send_wire(wire)
        if connection.plaintext_pending > HELD_LIMIT and not self._established and self._producer is not None:
            self._producer.wait_for_handshake()

    def _take_held(self) -> bytes:
        held = self._held
        plaintext = held[0] if len(held) == 1 else b"".join(held)
        self._drop_held()
        return plaintext

    def _drop_held(self) -> None:
        self._held.clear()
        self._held_size = 0

    def _send_wire(self, wire: bytes) -> None:
        """The only way out."""
        through = self._through
        if through is not None:
            wire = through.send(wire)
            if not wire:
                return
        self.transport.write(wire)

    # Closing

    @property
    def _ending(self) -> bool:
        """The application has asked for an end to its plaintext."""
        return self.disconnecting or self._half_closing

    def _finish_writing(self) -> None:
        """As soon as nothing has to go before it, send close_notify; then wait for the peer's, if it is not here."""
        connection = self.connection
        if self._phase != OPEN or self._producer is not None or not self.connected:
            return
        self._writable = False
        if not connection.handshake_complete:
            if self._held:
                self._flush()
            if self.disconnecting and not connection.plaintext_pending:
                self._close_transport()  # there is nothing that the peer is owed
            return  # the end of the handshake leads here again
        if not connection.closed:
            self._send_close_notify()
            half_closeable = IHalfCloseableProtocol(self.wrappedProtocol, None) if self._half_closing else None
            if half_closeable is not None and not self.disconnecting:
                self.call_application(half_closeable.writeConnectionLost)
        if connection.peer_closed:
            self._close_transport()
        elif self.disconnecting and self._phase == OPEN and self._timer is None:
            self._start_shutdown_timer()

    def _send_close_notify(self) -> None:
        """What is held, and close_notify after it, in one piece of wire."""
        connection = self.connection
        self._writable = False
        try:
            if self._held:
                connection.send_plaintext(self._take_held())
            connection.close()
            wire = connection.wire_to_send()
        except SSLError as error:
            self._fail(error)
            return
        if wire:
            self._send_wire(wire)

    def _fail(self, error: SSLError) -> None:
        """TLS has failed: send the alert, and close. The application hears of it when the transport beneath is gone."""
        error.__traceback__ = None  # its frames refer to this transport, and the connection keeps the error
        if self._phase != OPEN:
            return
        self._reason = Failure(error)
        wire = self.connection.wire_to_send()
        if wire:
            self._send_wire(wire)
        self._close_transport()

    def _close_transport(self) -> None:
        """Everything has been said: have the transport beneath send it and close, within the shutdown time-out."""
        if self._phase == OPEN and self.connected:
            self._stop_application(CLOSING)
            self._start_shutdown_timer()
            self.transport.loseConnection()

    def _abort(self, exception: Exception) -> None:
        if self._phase != ABORTING and self.connected:
            self._stop_application(ABORTING)
            if self._reason is None:
                self._reason = Failure(exception)
            abort = getattr(self.transport, "abortConnection", None)
            if abort is not None:
                abort()
            else:
                self.transport.loseConnection()
                self._start_timer(0, self._give_up)  # a process that takes no more would be waited for without end

    def _give_up(self) -> None:
        self._timer = None
        self.connectionLost(Failure(ConnectionAborted()))

    def _stop_application(self, phase: int) -> None:
        """From here on the application neither receives nor sends."""
        self._phase = phase
        self.disconnecting = self.connection.changed = True
        self._writable = False
        self._drop_held()
        if self._producer is not None:
            self._producer.detach()  # a transport would wait for it before closing

    def _final_reason(self, reason: Failure) -> Failure:
        """What the application is told when the transport beneath reports `reason`."""
        decided, self._reason = self._reason, None
        if decided is not None:
            return decided
        if self._phase == CLOSING:
            # A peer that closes its socket right behind its close_notify answers ours with a reset: no loss.
            if self.connection.peer_closed and isinstance(reason.value, ConnectionLost):
                return Failure(ConnectionDone())
            return reason
        if not isinstance(reason.value, ConnectionDone) or (self.disconnecting and self.connection.closed):
            return reason
        try:
            self.connection.receive_wire_eof()
        except SSLError as error:
            error.__traceback__ = None
            if not isinstance(error, SSLEOFError):
                return Failure(error)
            truncated = ConnectionTruncated(str(error))
            truncated.__cause__ = error
            return Failure(truncated)
        return reason

    # Time-outs

    def _start_timer(self, seconds: float | None, expired: Callable[[], None] | None = None) -> None:
        """Replace the timer; without `expired`, or with `seconds` None, there is none from here on."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
        if seconds is not None and expired is not None:
            self._timer = self.factory.clock.callLater(seconds, expired)

    def _start_shutdown_timer(self) -> None:
        self._unsent = unsent_wire(self.transport)
        self._start_timer(self.factory.shutdownTimeout, self._shutdown_timed_out)

    def make_way(self) -> None:
        """Give up the handshake, for the factory: too many are under way."""
        seconds = self.factory.clock.seconds() - self.began
        cap = self.factory.maxHandshakes
        self._abort(TooManyHandshakes(f"more than {cap} were under way, this one for {seconds:.3g} s"))

    def _handshake_timed_out(self) -> None:
        self._timer = None
        self._abort(HandshakeTimeout(f"not complete after {self.factory.handshakeTimeout:g} seconds"))

    def _shutdown_timed_out(self) -> None:
        """Give up, unless the peer is still taking what was written before the close: a long download is no hang."""
        self._timer = None
        if unsent_wire(self.transport) < self._unsent:
            self._start_shutdown_timer()
        else:
            self._abort(ShutdownTimeout(f"no progress in {self.factory.shutdownTimeout:g} seconds"))
