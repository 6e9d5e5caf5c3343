"""One TLS connection in Tornado: an `SSLIOStream` whose socket never meets OpenSSL.

    socket ──recv──►  TLSStream  ──►  Connection.receive_wire_onto      ──►  the stream's read buffer
    socket ◄──send──  TLSStream  ◄──  Connection.send_plaintext_through ◄──  the stream's write buffer
            wire                                                              plaintext

Reading and writing are Tornado's own, down to the two places where it would ask the socket: `_read_to_buffer` and
`read_from_fd` receive wire and decrypt it straight into the buffer that Tornado keeps, or the caller's; `write_to_fd`
encrypts a few records and sends them from where they were encrypted. A write is done when its wire has been sent, so
`_unsent` holds at most one such piece, and whatever Connection wanted to say besides.

What is overridden of Tornado's underscored methods is the same from Tornado 6.2 on; tests/conformance runs Tornado's
own suites on it.
"""

from __future__ import annotations

from asyncio import SelectorEventLoop
from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol, cast

from tornado.concurrent import Future
from tornado.iostream import IOStream, SSLIOStream, StreamBufferFullError, StreamClosedError
from tornado.log import gen_log

from .. import Connection, SSLContext, SSLEOFError, SSLError
from ..connection import SENT_AT_ONCE
from ..limits import ANSWER_LIMIT, HANDSHAKE_TIMEOUT
from .options import context_for
from .view import SocketView

if TYPE_CHECKING:
    from socket import socket as Socket

    from .layer import Pair

__all__ = ["TLSStream", "Watcher", "check_timeout"]

#: Bytes of plaintext that one turn of the loop encrypts for one stream, as long as the socket takes it all: about a
#: millisecond of work. What is left waits until the others have had their turn.
SENT_IN_A_TURN = 1024 * 1024

#: Bytes of wire that one recv() of the handshake takes. A flight with a long chain of certificates is 10 KB.
HANDSHAKE_READ = 16 * 1024

#: Bytes of wire that are read for nothing before a socket is closed: more than tickets take, and no feast for a peer
#: that goes on sending.
DISCARDED = 64 * 1024

#: Bytes: the rest of a record that had come in part before. With room for it, a chunk of wire decrypts in one go.
CARRIED_OVER = 16 * 1024


class Watcher(Protocol):
    """Who counts and limits the connections of a server, or keeps the sessions of a client."""

    def handshake_began(self, stream: TLSStream) -> None:
        """There is a `stream.connection`, and nothing has been sent on it."""

    def handshake_completed(self, stream: TLSStream) -> None:
        """Plaintext can travel. What this raises closes the stream."""

    def connection_ended(self, stream: TLSStream) -> None:
        """The stream is being closed; `stream.error` says why, if it is for an error."""


class TLSStream(SSLIOStream):
    """TLS over a socket, as Tornado's `SSLIOStream` with everything that this has.

    :param socket: a plain one; connected, or to be connected by `connect()`.
    :param ssl_options: what `context_for` takes: a `txmembio.SSLContext`, a dict, or (clients) True, which is the
        default. Not a standard `ssl.SSLContext`.
    :param server_side: True to answer the handshake, which then begins at once, False to begin it.
    :param server_hostname: (clients) the server's name or address: sent as SNI (RFC 6066 section 3), and what its
        certificate must be for. May also be given to `connect()`.
    :param handshake_timeout: seconds from the connection to the end of the handshake; None for no limit. Then the
        stream is closed, with a TimeoutError as its `error`.
    :param watcher: told of the beginning, the handshake and the end.
    :param arrived: wire that was received before.
    :param connection: one that the context has made for these two; then the socket is connected, too.
    :param kwargs: those of `IOStream`: `max_buffer_size`, `read_chunk_size`, `max_write_buffer_size`.
    :raises TypeError, ValueError: `ssl_options` cannot be used; the context checks host names and there is none.

    A stream that ends without the peer's close_notify has an `ssl.SSLEOFError` as its `error` (RFC 8446 section 6.1).
    A stream that fails has the `ssl.SSLError`, `ssl.SSLCertVerificationError` for certificates.
    """

    __slots__ = (
        "_allowance",
        "_arrived",
        "_context",
        "_drained",
        "_early",
        "_ended",
        "_handshake_timeout",
        "_hello_due",
        "_reads_itself",
        "_recv",
        "_room",
        "_send",
        "_server_side",
        "_short_is_all",
        "_taken",
        "_timer",
        "_unsent",
        "_watcher",
        "connection",
    )

    socket: Any
    #: The `txmembio.Connection`: version, cipher, group, session, …; None until the socket is connected.
    connection: Connection | None

    def __init__(
        self,
        socket: Socket | Pair,
        *args: Any,
        ssl_options: SSLContext | Mapping[str, Any] | bool | None = None,
        server_side: bool = False,
        server_hostname: str | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        watcher: Watcher | None = None,
        arrived: bytes = b"",
        connection: Connection | None = None,
        **kwargs: Any,
    ) -> None:
        check_timeout(handshake_timeout)
        if hasattr(socket, "do_handshake"):
            raise TypeError(f"socket is {socket!r}, which speaks TLS itself; expected the plain socket, not wrapped")
        if ssl_options is None and not server_side:
            ssl_options = True
        self._context = context_for(ssl_options, server_side)
        view = SocketView(socket)
        # Not SSLIOStream's own, which makes a standard context.
        super(SSLIOStream, self).__init__(cast("Socket", view), *args, **kwargs)
        self._ssl_options = cast(Any, self._context)
        self._ssl_accepting = True
        self._handshake_reading = self._handshake_writing = False
        self._server_hostname = server_hostname
        self._server_side = server_side
        self._handshake_timeout = handshake_timeout
        self._watcher = watcher
        self.connection = None
        self._recv = view.raw.recv
        self._send = view.raw.send
        self._arrived = arrived  # wire that somebody else has received
        self._early = b""  # plaintext that came with the end of the handshake
        self._drained = False  # the last recv() took all there was
        self._ended = False  # the connection has failed, or the peer has sent close_notify
        self._unsent = b""  # wire that the socket would not take
        self._taken = 0  # how much of the write buffer is in it
        self._allowance = 0  # bytes that may be encrypted in this turn
        self._hello_due = False
        self._timer: object | None = None
        chunk = self.read_chunk_size
        self._room = chunk if chunk < 65536 else chunk + CARRIED_OVER
        if hasattr(view.raw, "loop_for"):  # a stream, or a pair of them
            self.io_loop = view.raw.loop_for(self)
        # Where a descriptor that stays readable is reported again and again, a recv() that was not filled has emptied
        # the socket. Others (uvloop's) tell of an error once, and all has to be read then.
        self._short_is_all = isinstance(getattr(self.io_loop, "asyncio_loop", None), SelectorEventLoop)
        # A subclass that reads in its own way is asked for every byte.
        self._reads_itself = type(self).read_from_fd is not TLSStream.read_from_fd
        try:
            view.getpeername()
        except OSError as error:
            if server_side or connection is not None:  # the peer is gone already
                self.close(exc_info=error)
            return
        self._begin(connection or self._context.connection(server_side, server_hostname))

    # --- the handshake ---

    def _begin(self, connection: Connection) -> None:
        """The socket is connected. The first step follows in the next turn of the loop, as with `SSLIOStream`."""
        self.connection = self.socket.connection = connection
        if self._handshake_timeout is not None:
            self._timer = self.io_loop.call_later(self._handshake_timeout, self._handshake_timed_out)
        if self._watcher is not None:
            self._watcher.handshake_began(self)
        self._hello_due = not self._server_side
        self._handshake_reading = True
        self._add_io_state(self.io_loop.WRITE if self._hello_due or self._arrived else self.io_loop.READ)

    def connect(  # type: ignore[override]
        self, address: Any, server_hostname: str | None = None
    ) -> Future[SSLIOStream]:
        """Connects the socket, and performs the handshake; returns a Future for this stream.

        It fails with the error: OSError, `ssl.SSLError`, TimeoutError, ValueError if the context checks host names and
        there is none.
        """
        self._server_hostname = server_hostname or self._server_hostname
        return super().connect(address, self._server_hostname)

    def _handle_connect(self) -> None:
        IOStream._handle_connect(self)  # SSLIOStream's would wrap the socket
        if not self.closed():
            try:
                self._begin(self._context.connection(server_hostname=self._server_hostname))
            except (TypeError, ValueError, OSError) as error:
                self.close(exc_info=error)

    def wait_for_handshake(self) -> Future[SSLIOStream]:
        """A Future for this stream when the handshake is complete. To be called once; `connect()` does it itself.

        It fails with `error` if the stream is closed before that, StreamClosedError if there was none.
        """
        if self.closed():
            failed: Future[SSLIOStream] = Future()
            failed.set_exception(self.error or StreamClosedError())
            failed.exception()
            return failed
        return super().wait_for_handshake()

    def _do_ssl_handshake(self) -> None:
        connection = self.connection
        if connection is None:
            return
        try:
            if self._hello_due:
                self._hello_due = False
                connection.do_handshake()
            else:
                wire = self._receive(HANDSHAKE_READ)
                if wire:
                    self._early = connection.receive_wire(wire)
            if connection.peer_closed and not connection.handshake_complete:
                raise ConnectionAbortedError("the peer sent close_notify in place of its handshake")
        except Exception as error:  # a stream beneath may have failed with anything
            self._send_answers()
            self._handshake_failed(error)
            return
        if connection.changed:
            self._look()
        if connection.handshake_complete and not self.closed():
            self._handshake_completed()

    def _handshake_completed(self) -> None:
        self._ssl_accepting = self._handshake_reading = self._handshake_writing = False
        self._drained = False
        self._stop_timer()
        if self._watcher is not None:
            self._watcher.handshake_completed(self)
            if self.closed():
                return
        self._finish_ssl_connect()
        if self._write_futures:  # also those of writes of nothing
            self._handle_write()

    def _handshake_failed(self, error: Exception) -> None:
        if isinstance(error, SSLError) and not self._is_connreset(error):
            try:
                peer = self.socket.getpeername()
            except OSError:
                peer = "(not connected)"
            # Tornado's own words, which programs and tests look for in logs.
            # The error as text: a handler that keeps records would keep the traceback, and with it this stream.
            gen_log.warning("SSL Error on %s %s: %s", self._descriptor(), peer, str(error))
        elif not isinstance(error, OSError):
            gen_log.warning("error on read: %s", str(error))  # Tornado's, too
        self.close(exc_info=error)

    def _handshake_timed_out(self) -> None:
        self._timer = None
        text = f"the TLS handshake was not complete within {self._handshake_timeout:g} seconds"
        self.close(exc_info=TimeoutError(text))

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self.io_loop.remove_timeout(self._timer)
            self._timer = None

    # --- wire to plaintext ---

    def _handle_read(self) -> None:
        self._drained = False
        if self._ssl_accepting:
            self._do_ssl_handshake()
            # The segment that ended the handshake may have held all that the peer had to say: a read that waits for it
            # is served now, since the socket may stay silent.
            if self._ssl_accepting or self.closed() or not self.reading():
                return
        IOStream._handle_read(self)

    def _receive(self, size: int) -> bytes | None:
        """Wire, if there is any now. Raises SSLEOFError at its end."""
        if self._arrived:
            arrived, self._arrived = self._arrived, b""
            return arrived
        if self._drained:  # asking again would be a system call for nothing: the loop says when there is more
            return None
        try:
            wire: bytes = self._recv(size)
        except BlockingIOError:
            self._drained = True
            return None
        if not wire:
            assert self.connection is not None
            self.connection.receive_wire_eof()
        elif len(wire) < size:
            self._drained = self._short_is_all
        return wire

    def _more_wire(self) -> bytes | None:
        """What to give to the connection: b"" if it has plaintext left, None if there is nothing now. Raises what ends
        the stream."""
        connection = self.connection
        assert connection is not None
        if connection.plaintext_held:
            return b""
        if self._ended and connection.error is not None:
            raise connection.error.with_traceback(None)
        return self._receive(self.read_chunk_size) or None

    def _goes_on(self, wire: bytes) -> bytes | None:
        """What to give to the connection when `wire` has yielded nothing; None to wait for the socket."""
        connection = self.connection
        assert connection is not None
        if connection.changed:
            self._look()
        if self._ended or self.closed():
            return None
        if connection.plaintext_held:  # it had no room for its answers
            return b""
        # Nothing given, and nothing got: what was held is the beginning of a record.
        return None if wire else self._receive(self.read_chunk_size) or None

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """Decrypts straight into `buf`. Returns how many bytes, None for none now, 0 at the end."""
        if self._ssl_accepting:
            return None
        if self._early:
            length = min(len(buf), len(self._early))
            buf[:length] = self._early[:length]
            self._early = self._early[length:]
            return length
        connection = self.connection
        assert connection is not None
        if self._ended and connection.error is None and not connection.plaintext_held:
            return 0
        try:
            wire = self._more_wire()
            if wire is None:
                return None
            length = connection.receive_wire_into(wire, buf)
            while not length and (again := self._goes_on(wire)) is not None:
                wire = again
                length = connection.receive_wire_into(wire, buf)
        except SSLError:
            self._send_answers()
            raise
        if connection.changed:
            self._look()
        return length or (0 if self._ended else None)

    def _read_to_buffer(self) -> int | None:
        # Tornado's makes a new buffer of 64 KiB for each read, and copies out of it.
        if self._user_read_buffer or self._early or self._ended or self._ssl_accepting or self._reads_itself:
            return super()._read_to_buffer()
        connection = self.connection
        assert connection is not None
        try:
            wire = self._more_wire()
            if wire is None:
                return 0
            length = connection.receive_wire_onto(wire, self._read_buffer, self._room)
            while not length and (again := self._goes_on(wire)) is not None:
                wire = again
                length = connection.receive_wire_onto(wire, self._read_buffer, self._room)
        except OSError as error:
            self._send_answers()
            self.close(exc_info=error)
            if self._is_connreset(error):  # not an error worth a log entry
                return None
            raise
        self._read_buffer_size += length
        if connection.changed:
            self._look()
        if self._ended and not length and connection.error is None and not self.closed():
            self.close()
        if self._read_buffer_size > self.max_buffer_size:
            gen_log.error("Reached maximum read buffer size")
            full = StreamBufferFullError("Reached maximum read buffer size")
            self.close(exc_info=full)
            raise full
        return length

    def _look(self) -> None:
        """The last call of the connection did more than move plaintext."""
        connection = self.connection
        assert connection is not None
        connection.changed = False
        self._ended = connection.peer_closed or connection.error is not None
        self._send_answers()

    # --- plaintext to wire ---

    def writing(self) -> bool:
        """True as long as something waits for the socket. What waits for the handshake does not."""
        return bool(self._unsent) or (not self._ssl_accepting and IOStream.writing(self))

    def _handle_write(self) -> None:
        if self._ssl_accepting:
            if self._hello_due or self._arrived:
                self._do_ssl_handshake()
            else:
                self._flush_answers()
            return
        self._allowance = SENT_IN_A_TURN
        if self._unsent and not self._write_buffer:
            self._flush_answers()
        if not self.closed():
            IOStream._handle_write(self)

    def write_to_fd(self, data: memoryview) -> int:
        """Encrypts the first few records' worth of `data` and sends the wire. Returns how many bytes of it are gone."""
        try:
            if self._unsent:
                if not self._flush():
                    return 0
                if self._taken:
                    taken, self._taken = self._taken, 0
                    return taken
            if self._allowance <= 0:
                return 0
            connection = self.connection
            assert connection is not None
            taken = connection.send_plaintext_through(data, self._send)
            self._allowance -= taken
            if connection.changed:
                connection.changed = False
                self._unsent = connection.wire_to_send()
                if self._unsent:
                    self._taken = taken
                    return 0
            return taken
        except ConnectionError as error:
            raise self._reason_behind(error) from error
        finally:
            del data  # as the base class does: it may be a view of somebody's memory

    def _flush(self) -> bool:
        """Sends what is unsent. Returns whether all of it is gone."""
        try:
            sent = self._send(self._unsent)
        except BlockingIOError:
            return False
        self._unsent = self._unsent[sent:]
        return not self._unsent

    def _send_answers(self) -> None:
        """Sends what the connection has to say of its own: handshake, alerts, answers to the peer's requests."""
        assert self.connection is not None
        wire = self.connection.wire_to_send()
        if wire:
            self._unsent += wire
            self._flush_answers()

    def _flush_answers(self) -> None:
        try:
            flushed = not self._unsent or self._flush()
        except OSError:
            # Nobody listens there any more. What the peer has said before is still to be read, and then its end.
            self._unsent = b""
            flushed = True
        self._handshake_writing = self._ssl_accepting and not flushed
        if flushed:
            return
        if len(self._unsent) > ANSWER_LIMIT + 2 * SENT_AT_ONCE:
            self.close(exc_info=ConnectionAbortedError("the peer asks for answers, and does not read them"))
        else:
            self._add_io_state(self.io_loop.WRITE)

    def _reason_behind(self, error: ConnectionError) -> OSError:
        """Why the peer does not take our wire: often it has said so in an alert, which has arrived but was not read."""
        assert self.connection is not None
        try:
            self._drained = False
            wire = self._more_wire()
            if wire and not self._user_read_buffer:
                self._read_buffer_size += self.connection.receive_wire_onto(wire, self._read_buffer, self._room)
        except SSLEOFError:
            pass
        except SSLError as alert:
            return alert
        except OSError:
            pass
        return error

    # --- the end ---

    def close_fd(self) -> None:
        """Sends close_notify if everything that was written is gone and nothing has failed, and waits for nothing."""
        self._stop_timer()
        connection = self.connection
        if connection is not None:
            # Behind a write that was cut short, close_notify would say that this was all.
            if self.error is None and not self._write_buffer:
                connection.close()
            wire = self._unsent + connection.wire_to_send()
            self._unsent = b""
            if wire:
                with suppress(OSError):  # BlockingIOError too: nobody waits
                    self._send(wire)
            if self.error is None:
                self._discard_what_arrived()
            if self._watcher is not None:
                self._watcher.connection_ended(self)
        super().close_fd()

    def _discard_what_arrived(self) -> None:
        """Closing a socket that holds something unread resets the connection, and the peer may lose what it has not
        read yet: a TLS 1.3 server's tickets, unread by a client that only writes, are enough for that."""
        with suppress(OSError):
            for _ in range(DISCARDED // HANDSHAKE_READ):
                if not self._recv(HANDSHAKE_READ):
                    return

    def _descriptor(self) -> int:
        try:
            return int(self.socket.fileno())
        except (OSError, AttributeError):
            return -1

    def start_tls(
        self,
        server_side: bool,
        ssl_options: Any = None,
        server_hostname: str | None = None,
    ) -> Future[SSLIOStream]:
        """TLS in TLS: `wrap_stream` of this stream, with what `IOStream.start_tls` checks and hands over."""
        from .wrapping import start_tls_over

        return start_tls_over(self, server_side, ssl_options, server_hostname)


def check_timeout(seconds: float | None) -> None:
    """Raises ValueError unless `seconds` is a time to wait, or None."""
    if seconds is not None and not seconds > 0:
        raise ValueError(
            f"handshake_timeout must be a positive number of seconds, or None for no limit, not {seconds!r}"
        )
