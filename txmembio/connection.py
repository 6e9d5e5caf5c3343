"""One TLS connection, without I/O.

    wire  ──►  receive_wire(data)   ──►  pump.c  ──►  plaintext
    wire  ◄──  wire_to_send()       ◄──  pump.c  ◄──  send_plaintext(data)

An adapter's duties, each of which a docstring below repeats where it applies:

1. A client calls :meth:`Connection.do_handshake` once, and sends what :meth:`Connection.wire_to_send` gives.
2. What arrives goes to :meth:`Connection.receive_wire`, the end of it to :meth:`Connection.receive_wire_eof`.
3. After each call: if :attr:`Connection.changed`, set it to False and look: send what there is to send, and see whether
   the handshake is complete, the peer has closed, or the connection has failed. If it is not set, all the call did was
   to move plaintext, and there is nothing to look at; that is the hot path.

Failure is latched: once :attr:`Connection.error` is set, receiving and sending raise it, whatever OpenSSL would say
the second time. Plaintext that came before the failure is handed over first.

Nothing here blocks, waits or knows a socket. A connection is used by one thread at a time; a second one gets
RuntimeError and has changed nothing.

Two more ways for adapters that own the memory or the socket: :meth:`Connection.receive_wire_into` decrypts where the
plaintext is wanted, :meth:`Connection.send_plaintext_through` hands wire over where it was encrypted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txmembio import errors
from txmembio._openssl.callbacks import handle_for
from txmembio._openssl.crossing import address_of, hasten
from txmembio._openssl.lib import NULL, Scratch, copied, ffi, give_scratch, lib, pop_scratch, take_scratch, trim_scratch
from txmembio.constants import AlertDescription, SSLErrorNumber, alert_name
from txmembio.facts import IN_TWO_PLACES, Facts, Inside
from txmembio.names import ServerName
from txmembio.session import SSLSession

if TYPE_CHECKING:
    from collections.abc import Callable

    from txmembio.context import SSLContext

__all__ = ["Connection"]

MAX_UNREAD_WIRE = 65536
"""Bytes kept of what follows the peer's close_notify: one read of any adapter here, for a return to plaintext. A peer
that sends more than that behind its own close has failed."""

MOST_PLAINTEXT: int = lib.TXM_PLAINTEXT_ROOM
"""Bytes of plaintext that one receive_wire_onto() gives at most: eight full records (RFC 8446 section 5.1)."""

SENT_AT_ONCE = 4 * 16384
"""Bytes of plaintext that one send_plaintext_through() takes at most: four full records, whose wire is sure to fit the
scratch and stays in a second-level cache until the kernel has copied it. Six were no faster."""

COPIED_TWICE = 2048
"""Bytes up to which a copy more is cheaper than the two memoryviews that save it, some 250 ns."""

# Looked up once: an attribute of lib costs 14 ns a call.
_receive = lib.txm_receive
_receive_into = lib.txm_receive_into
_send = lib.txm_send
_send_held = lib.txm_send_held
_leave = lib.txm_leave
_from_buffer = ffi.from_buffer
_release = ffi.release
_CHARS = ffi.typeof("char[]")

_MORE: int = lib.TXM_MORE
_ESTABLISHED: int = lib.TXM_ESTABLISHED
_CLOSED: int = lib.TXM_CLOSED
_FAILED: int = lib.TXM_FAILED
_TRUNCATED: int = lib.TXM_TRUNCATED
_WANT_WIRE: int = lib.TXM_WANT_WIRE
_BUSY: int = lib.TXM_BUSY

Buffer = bytes | bytearray | memoryview

_REFUSALS = frozenset(int(alert) for alert in AlertDescription if alert)
"""Alerts that refuse: all but close_notify."""


class Connection(Facts):
    """One side of a TLS connection. Made by :meth:`txmembio.SSLContext.connection`."""

    __slots__ = (
        "__weakref__",
        "_alpn",
        "_not_taken",
        "_refused_name",
        "_unread",
        "callback_error",
        "changed",
        "closed",
        "error",
        "message_error",
        "owner",
        "peer_closed",
        "plaintext_pending",
        "server_hostname",
    )

    changed: bool
    """A call did more than move plaintext. The adapter sets it back to False when it has looked."""
    handshake_complete: bool
    """Both sides have said Finished; plaintext can travel."""
    peer_closed: bool
    """The peer's close_notify was received: a clean end of its plaintext."""
    closed: bool
    """close() was called: nothing can be sent any more."""
    error: errors.SSLError | None
    """Why the connection has failed; what every later call raises."""
    plaintext_pending: int
    """Bytes of plaintext kept until the handshake is complete."""
    plaintext_held: bool
    """The last receive_wire_into() or receive_wire_onto() ran out of room: the next gets more, without any wire."""
    server_hostname: str | None
    """The name or address that a client wants to reach, as it was given."""

    def __init__(
        self,
        context: SSLContext,
        server_side: bool = False,
        server_hostname: ServerName | None = None,
        session: SSLSession | None = None,
    ) -> None:
        """Called by the context, which has checked the arguments."""
        trim_scratch()
        lib.txm_errors_clear()
        made = lib.txm_connection_new(context._native, server_side)
        if made == NULL:
            raise errors.queued("making a connection")
        # 15 KB is what an SSL* takes on OpenSSL 3.0: a hint for the garbage collector of PyPy.
        self.adopt(ffi.gc(made, lib.txm_connection_free, 15_000), address_of(made))
        self._ssl: Any = made.ssl
        self._context = context
        self._identity = context._identity
        self._unread = b""
        self._not_taken = b""
        self._refused_name = ""
        self._asked_after = None
        self._alpn: Any = None  # a callback, or the list in C's memory, which C only borrows
        self.server_side = server_side
        self.server_hostname = server_hostname.given if server_hostname is not None else None
        self.changed = self.peer_closed = self.closed = False
        self.error = self.callback_error = self.message_error = self.owner = None
        self.plaintext_pending = 0
        self._take_callbacks(context)
        if server_hostname is not None:
            server_hostname.apply(self._ssl, check=context.check_hostname, flags=context._host_flags)
        if session is not None:
            self.set_session(session)

    callback_error: BaseException | None
    message_error: Exception | None
    owner: Any
    """Whoever stands for this connection towards callbacks; None for the connection itself."""

    # --- before the handshake ---

    def _take_callbacks(self, context: SSLContext) -> None:
        """Which callbacks C is to make. ALPN stays as it was where the context says nothing of it, so that a server
        name that switches contexts does not lose it."""
        wants = context._wants
        if context._alpn is not None:
            self._alpn = context._alpn
        if isinstance(self._alpn, ffi.CData):
            self._c.alpn, self._c.alpn_length = self._alpn, len(self._alpn)
        elif self._alpn is not None:
            wants |= lib.TXM_WANTS_ALPN
        if wants and self._handle is None:
            self._handle = handle_for(self)
            self._c.handle = self._handle
        self._c.wants = wants

    @property
    def context(self) -> SSLContext:
        """The context that applies. Assigned in an SNI callback, another one takes over entirely: certificate,
        verification, versions, ciphers, tickets; groups and ALPN too, unless the new one has none of its own. Ticket
        keys stay those of the context that the connection was made with (SSL_set_SSL_CTX(3)).
        On a client, what the new one says of the server's name applies, too. Later it is too late for most of these:
        raises ValueError once the handshake is complete, and on a client without a name for a context that checks it.
        """
        return self._context

    @context.setter
    def context(self, context: SSLContext) -> None:
        from txmembio.context import require_context

        context = require_context(context, "the context of a connection")
        if context is self._context:
            return
        if self.handshake_complete:
            raise ValueError("the context cannot be changed once the handshake is complete")
        if not self.server_side and context.check_hostname and not self.server_hostname:
            raise ValueError("check_hostname requires server_hostname")
        context._settle()
        with Inside(self._c):
            lib.txm_errors_clear()
            # See SSLContext.connection(): OpenSSL's own session of a key has none.
            identity = b"" if context._psk_client is not None and not self.server_side else context._identity
            if not lib.txm_connection_switch(
                self._c, context._native, context._groups or NULL, identity, len(identity)
            ):
                raise errors.queued("switching to another context")
            self._context = context
            self._identity = context._identity
            self._take_callbacks(context)
            if not self.server_side:
                self._take_name(context)

    def _take_name(self, context: SSLContext) -> None:
        """After a client's switch: whom it expects, and no session that other rules have made."""
        # An empty session-id context cannot tell those apart; elsewhere OpenSSL compares, and refuses.
        if context._psk_client is not None and not lib.SSL_set_session(self._ssl, NULL):
            raise errors.queued("taking back a session")
        if self.server_hostname is not None:
            name = ServerName(self.server_hostname)
            name.apply(self._ssl, check=context.check_hostname, flags=context._host_flags)

    def set_alpn_protocols(self, protocols: list[str]) -> None:
        """ALPN for this connection alone: what a client offers, what a server picks from, in order of preference
        (RFC 7301). Raises SSLError for a protocol that is not 1 to 255 bytes, ValueError once the handshake is
        complete."""
        from txmembio.context import alpn_wire

        if self.handshake_complete:
            raise ValueError("ALPN is negotiated by the handshake, which is complete")
        wire = alpn_wire(protocols)
        with Inside(self._c):
            if lib.SSL_set_alpn_protos(self._ssl, wire, len(wire)):  # 0 is success here
                raise errors.queued(f"setting ALPN protocols {protocols!r}")
            self._alpn = ffi.new("unsigned char[]", list(wire))
            self._c.alpn, self._c.alpn_length = self._alpn, len(wire)
            self._c.wants &= ~lib.TXM_WANTS_ALPN

    def set_session(self, session: SSLSession) -> None:
        """Offers a session of an earlier connection. Clients only, before the handshake; raises ValueError otherwise,
        and for a session of another context or of a server that the peer's name would not be right for: nothing of
        that is verified again when a session is resumed. One from before the context's rules were changed is not
        offered, and the handshake will be a full one; so it is with one from bytes where the context has a callback
        for pre-shared keys."""
        if self.server_side:
            raise ValueError("session can only be specified in client mode")
        # Resuming skips verification, so a session is only good where the same rules had made it.
        if session._context is not None and session._context is not self._context:
            raise ValueError("Session refers to a different SSLContext.")
        if self.handshake_complete:
            raise ValueError("Cannot set session after handshake.")
        if self._context.check_hostname and self.server_hostname is not None:
            certificate = lib.SSL_SESSION_get0_peer(session._session)
            name = ServerName(self.server_hostname)
            if certificate != NULL and not name.fits(certificate, self._context._host_flags):
                raise ValueError(f"the session was made with a server whose certificate is not for {name.given!r}")
        length = ffi.new("unsigned int *")
        rules = lib.SSL_SESSION_get0_id_context(session._session, length)
        expected = self._identity
        if self._context._psk_client is not None:
            # Its sessions say nothing of the rules (SSLContext.connection()); what we have noted does.
            if session._context is not self._context or session._identity != expected:
                return
            expected = b""
        if copied(rules, length[0]) != expected:  # OpenSSL would fail the handshake instead
            return
        # A copy: OpenSSL changes a session when tickets arrive, and the caller's may be offered elsewhere too.
        copy = lib.SSL_SESSION_dup(session._session)
        if copy == NULL:
            raise errors.queued("copying a session")
        with Inside(self._c):
            ok = lib.SSL_set_session(self._ssl, copy)
            lib.SSL_SESSION_free(copy)
            if not ok:
                raise errors.queued("offering a session")

    # --- wire to plaintext ---

    def do_handshake(self) -> bool:
        """Starts the handshake, or goes on with it. Returns True when it is complete.

        A client must call this once, then send wire_to_send(). A server need not: receive_wire() does the rest.
        Raises what receive_wire() raises.
        """
        if not self.handshake_complete:
            self.receive_wire(b"")
        return self.handshake_complete

    def receive_wire(self, data: Buffer, /) -> bytes:
        """Takes what has arrived; returns the plaintext in it, b"" if there is none yet.

        Afterwards look at :attr:`changed`. Raises SSLError (SSLCertVerificationError for the peer's certificate) if the
        wire is bad or the handshake is refused and this call gave no plaintext; otherwise the next call raises it. The
        alert for the peer is then in wire_to_send().
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self.plaintext_held:
            data = self._not_taken + data
        try:
            scratch = pop_scratch()
        except IndexError:
            scratch = take_scratch()
        area, plaintext, _ = scratch
        moved = _receive(self._c, area, data, len(data))
        if moved >= 0:
            result: bytes = plaintext[:moved]
            give_scratch(scratch)
            if self.plaintext_held:
                self._nothing_is_held()
            if self._kept:
                self._send_kept()
            return result
        return self._receive_the_rest(data, scratch)

    def _receive_the_rest(self, data: bytes, scratch: Scratch) -> bytes:
        """The end of a receive_wire() that has more to tell than plaintext: its first call into C is done, and the
        connection is held."""
        if scratch.c.report.status & _BUSY:
            give_scratch(scratch)
            raise RuntimeError(IN_TWO_PLACES)
        self._nothing_is_held()
        pieces: list[bytes] = []
        try:
            status, taken = self._pump(_receive, data, scratch, pieces)
            if status & _FAILED and self.error is None:
                self.error = self._failure(status, errors.Cause(scratch.c.report.errors))
                self.changed = True
        finally:
            _leave(self._c)
        give_scratch(scratch)
        self._take_note(status, data, taken)
        plaintext = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        if self.error is not None and not plaintext:
            raise self.error.with_traceback(None)
        return plaintext

    def _take_note(self, status: int, data: bytes, taken: int) -> None:
        """What a receiving call has done besides moving plaintext."""
        if self._wire:
            self.changed = True
        if status & _ESTABLISHED:
            self.handshake_complete = self.changed = True
        if self._kept:
            self._send_kept()
        if status & _CLOSED:
            self.peer_closed = self.changed = True
            self._keep_unread(data[taken:])
        if self.callback_error is not None:
            self._raise_from_callback()

    def receive_wire_into(self, data: Buffer, plaintext: bytearray | memoryview) -> int:
        """receive_wire() that decrypts straight into the caller's memory. Returns how many bytes it has put there.

        What finds no room is kept, and :attr:`plaintext_held` says so: then call again, with b"", before giving more
        wire. Raises what receive_wire() raises, TypeError or BufferError for memory that cannot be written to.
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        lent = _from_buffer(_CHARS, plaintext, True)
        if self.plaintext_held:
            data = self._not_taken + data
        scratch = take_scratch()
        try:
            moved: int = _receive_into(self._c, scratch.c, data, len(data), lent, len(lent))
        finally:
            _release(lent)
        if moved < 0:
            return self._receive_part(data, scratch)
        give_scratch(scratch)
        if self.plaintext_held:
            self._nothing_is_held()
        if self._kept:
            self._send_kept()
        return moved

    def receive_wire_onto(self, data: bytes, plaintext: bytearray, room: int) -> int:
        """receive_wire_into() for a buffer that grows: appends at most `room` bytes to it, and no more than
        MOST_PLAINTEXT. Returns how many."""
        if self.plaintext_held:
            data = self._not_taken + data
        try:
            scratch = pop_scratch()
        except IndexError:
            scratch = take_scratch()
        c, area, _ = scratch
        if room > MOST_PLAINTEXT:
            room = MOST_PLAINTEXT
        moved: int = _receive_into(self._c, c, data, len(data), c.plaintext, room)
        if moved < 0:
            piece = area[: c.report.plaintext]
            moved = self._receive_part(data, scratch)
            plaintext += piece
            return moved
        if self.plaintext_held:
            self._nothing_is_held()
        if moved > COPIED_TWICE:
            with memoryview(area) as whole, whole[:moved] as piece:
                plaintext += piece
        else:
            plaintext += area[:moved]
        give_scratch(scratch)
        if self._kept:
            self._send_kept()
        return moved

    def _nothing_is_held(self) -> None:
        """C has taken what was. Not before: it may have said that somebody else is inside."""
        self._not_taken = b""
        self.plaintext_held = False

    def _receive_part(self, data: bytes, scratch: Scratch) -> int:
        """The end of a receive_wire_into() that has more to tell than a number; the connection is held."""
        report = scratch.c.report
        status, taken, moved = report.status, report.consumed, report.plaintext
        if status & _BUSY:
            give_scratch(scratch)
            raise RuntimeError(IN_TWO_PLACES)
        self._nothing_is_held()
        try:
            if report.wire:
                self._wire.append(scratch.wire[: report.wire])
            if status & _MORE:
                self.plaintext_held = True
                self._not_taken = data[taken:]
            if status & _FAILED and self.error is None:
                self.error = self._failure(status, errors.Cause(report.errors))
                self.changed = True
        finally:
            _leave(self._c)
        give_scratch(scratch)
        self._take_note(status, data, taken)
        if self.error is not None and not moved:
            raise self.error.with_traceback(None)
        return int(moved)

    def _pump(self, call: Any, data: bytes, scratch: Scratch, pieces: list[bytes]) -> tuple[int, int]:
        """Puts away what a call of `call` (txm_receive or txm_send) produced, and calls again until it has no more.
        Returns the status bits of all calls together, and how many bytes of `data` were taken."""
        report = scratch.c.report
        lent = None
        taken = 0
        every = 0
        while True:
            status = report.status
            every |= status
            if report.plaintext:
                pieces.append(scratch.plaintext[: report.plaintext])
            if report.wire:
                self._wire.append(scratch.wire[: report.wire])
            taken += report.consumed
            if not status & _MORE:
                return every, taken
            if lent is None:
                lent = ffi.from_buffer("char[]", data)
            call(self._c, scratch.c, lent + taken, len(data) - taken)

    def receive_wire_eof(self) -> None:
        """Says that no more wire will come.

        Returns None if the peer had sent close_notify. Otherwise raises SSLEOFError, since what was received may have
        been cut short by anybody (RFC 8446 section 6.1), and the same again whenever asked; or the error of before.
        """
        self._c.eof = 1
        if self.peer_closed:
            return
        self.receive_wire(b"")

    def unread_wire(self) -> bytes:
        """Bytes that followed the peer's close_notify, for a return to plaintext; b"" for none. Empties it."""
        unread, self._unread = self._unread, b""
        return unread

    def _keep_unread(self, rest: bytes) -> None:
        if len(self._unread) + len(rest) > MAX_UNREAD_WIRE:
            self._unread = b""
            text = f"the peer sent more than {MAX_UNREAD_WIRE} bytes behind its close_notify"
            self.error = errors.make(errors.SSLError, SSLErrorNumber.SSL_ERROR_SSL, text)
            return
        self._unread += rest

    # --- plaintext to wire ---

    def plaintext_to_wire(self, data: Buffer, /) -> bytes:
        """send_plaintext() and wire_to_send() in one: encrypts, and returns everything there is to send."""
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._wire or self._kept:
            self.send_plaintext(data)
            return self.wire_to_send()
        try:
            scratch = pop_scratch()
        except IndexError:
            scratch = take_scratch()
        area, _, wire = scratch
        moved = _send(self._c, area, data, len(data))
        if moved >= 0:
            result: bytes = wire[:moved]
            give_scratch(scratch)
            return result
        return self._send_the_rest_and_take(data, scratch)

    def _send_the_rest_and_take(self, data: bytes, scratch: Scratch) -> bytes:
        self._send_the_rest(data, scratch)
        return self.wire_to_send()

    def send_plaintext_through(self, data: Buffer, send: Callable[[bytes | memoryview], int]) -> int:
        """Encrypts, and hands the wire to `send` from where it was encrypted, without a copy.

        For a loop that says when a socket can be written to, and `send` is that socket's. Takes no more than
        SENT_AT_ONCE bytes of data; returns how many. Wire that `send` did not take, since it returned less or raised
        BlockingIOError, is left in wire_to_send(), :attr:`changed` says so, and it has to go out before this is called
        again. What else `send` raises passes through. Raises what send_plaintext() raises.
        """
        if getattr(data, "itemsize", 1) != 1:
            with memoryview(data) as items, items.cast("B") as octets:
                return self.send_plaintext_through(octets, send)
        if len(data) > SENT_AT_ONCE:
            with memoryview(data) as whole, whole[:SENT_AT_ONCE] as part:
                return self.send_plaintext_through(part, send)
        taken = len(data)
        if self._wire or self._kept or not self.handshake_complete:
            self.send_plaintext(data)
            self.changed = True
            return taken
        scratch = take_scratch()
        if type(data) is bytes:
            moved = _send(self._c, scratch.c, data, taken)
        else:
            lent = _from_buffer(_CHARS, data)
            try:
                moved = _send(self._c, scratch.c, lent, taken)
            finally:
                _release(lent)  # or the caller could not resize its memory while a traceback has this frame
        if moved < 0:
            self._send_the_rest(bytes(data), scratch)
            self.changed = True
            return taken
        try:
            if moved > COPIED_TWICE:
                with memoryview(scratch.wire) as room, room[:moved] as wire:
                    self._send_through(wire, send)
            else:
                self._send_through(scratch.wire[:moved], send)
        finally:
            give_scratch(scratch)
        return taken

    def _send_through(self, wire: bytes | memoryview, send: Callable[[bytes | memoryview], int]) -> None:
        sent = 0
        try:
            sent = send(wire)
        except BlockingIOError:
            pass
        finally:
            if sent < len(wire):
                self._wire.append(bytes(wire[sent:]))
                self.changed = True

    def send_plaintext(self, data: Buffer) -> None:
        """Encrypts. Then send wire_to_send().

        Before the handshake is complete the data is kept, in order, and goes out in the call that completes it; see
        :attr:`plaintext_pending`. Raises the latched error if the connection has failed, SSLError after close().
        """
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._kept and self.handshake_complete:  # a renegotiation is under way, or was
            self._send_kept()
            if self._kept:
                self._kept.append(data)
                self.plaintext_pending += len(data)
                return
        scratch = take_scratch()
        moved = _send_held(self._c, scratch.c, data, len(data))
        if moved >= 0:
            self._wire.append(scratch.wire[:moved])
            _leave(self._c)
            give_scratch(scratch)
        else:
            self._send_the_rest(data, scratch)

    def _send_the_rest(self, data: bytes, scratch: Scratch) -> None:
        """The end of a send that does not just hand over its wire: its first call into C is done, and the connection is
        held."""
        if scratch.c.report.status & _BUSY:
            give_scratch(scratch)
            raise RuntimeError(IN_TWO_PLACES)
        try:
            status, taken = self._pump(_send_held, data, scratch, [])
            if status & _FAILED and self.error is None:
                self.error = self._failure(status, errors.Cause(scratch.c.report.errors))
                self.changed = True
            if status & _WANT_WIRE and taken < len(data) and not self.closed:
                self._kept.append(data[taken:])
                self.plaintext_pending += len(data) - taken
        finally:
            _leave(self._c)
        give_scratch(scratch)
        if self.error is not None:
            raise self.error.with_traceback(None)
        if self.closed:
            text = "send_plaintext() after close(): close_notify has been sent"
            raise errors.make(errors.SSLError, SSLErrorNumber.SSL_ERROR_SSL, text)

    def _send_kept(self) -> None:
        """Sends what was kept for the end of the handshake, and keeps what OpenSSL still does not take: on a bare
        context, a TLS 1.2 peer can renegotiate."""
        if not self.handshake_complete:
            return
        kept = b"".join(self._kept)
        self._kept.clear()
        self.plaintext_pending = 0
        if kept and self.error is None and not self.closed:
            self.send_plaintext(kept)
            if self._wire:
                self.changed = True

    def wire_to_send(self) -> bytes:
        """Everything there is to send, b"" for nothing. Empties it: the caller now has to send it, in order."""
        if not self._wire:
            return b""
        with Inside(self._c):
            out = self._wire[0] if len(self._wire) == 1 else b"".join(self._wire)
            self._wire.clear()
        return out

    def close(self) -> None:
        """Ends our side: queues close_notify (RFC 8446 section 6.1). Then send wire_to_send().

        The peer can go on sending until its own close_notify. Before the handshake is complete OpenSSL has no
        close_notify to give: plaintext that was kept is dropped and nothing is sent; the caller just ends the wire.
        """
        if self.closed:
            return
        self.closed = True
        self._c.sendable = 0
        self._kept.clear()
        self.plaintext_pending = 0
        if self.error is not None or not self.handshake_complete:
            return
        scratch = take_scratch()
        status = lib.txm_operate(self._c, scratch.c, lib.TXM_OP_SHUTDOWN, b"", 0, NULL, 0)
        if status & _BUSY:
            self.closed = False
            self._c.sendable = 1
            give_scratch(scratch)
            raise RuntimeError(IN_TWO_PLACES)
        if scratch.c.report.wire:
            self._wire.append(scratch.wire[: scratch.c.report.wire])
            self.changed = True
        _leave(self._c)
        give_scratch(scratch)

    # --- client authentication after the handshake ---

    def request_client_certificate(self) -> None:
        """Asks the client for its certificate now (RFC 8446 section 4.6.2). Then send wire_to_send().

        For servers in TLS 1.3 whose context has verify_mode set and, so that it is not all done in the handshake,
        post_handshake_auth. The answer comes in receive_wire(): :attr:`client_certificate_requested` is then False, and
        peer_certificate() is what the client has shown, None if it had none to show and need not. A refused one is a
        failure like any other. New tickets follow the answer, so it sets :attr:`changed` unless num_tickets is 0.

        Raises SSLError, and nothing has happened, where the above is not so, where the client did not offer it (its own
        post_handshake_auth), or where a request is under way; the latched error if there is one.
        """
        if self.error is not None:
            raise self.error.with_traceback(None)
        c, scratch = self._c, take_scratch()
        if lib.txm_operate(c, scratch.c, lib.TXM_OP_VERIFY_CLIENT, b"", 0, NULL, 0) & _BUSY:
            give_scratch(scratch)
            raise RuntimeError(IN_TWO_PLACES)
        try:
            if scratch.c.report.status & _FAILED:
                cause = errors.Cause(scratch.c.report.errors)
                text = f"{cause}: asking the client for a certificate"
                raise errors.make(errors.SSLError, SSLErrorNumber.SSL_ERROR_SSL, text, cause)
            self._asked_after = self._peer_finished()
            status = lib.txm_operate(c, scratch.c, lib.TXM_OP_HANDSHAKE, b"", 0, NULL, 0)
            if scratch.c.report.wire:
                self._wire.append(scratch.wire[: scratch.c.report.wire])
            self.changed = True
            if status & _FAILED:
                self.error = self._failure(status, errors.Cause(scratch.c.report.errors))
                raise self.error
        finally:
            _leave(c)
            give_scratch(scratch)

    # --- errors ---

    def _failure(self, status: int, cause: errors.Cause) -> errors.SSLError:
        c = self._c
        if status & _TRUNCATED:
            where = "without close_notify" if self.handshake_complete else "during the handshake"
            return errors.truncated(f"the peer closed the connection {where}", cause)
        details: dict[str, object] = {}
        if c.alert_sent >= 0:
            details.update(alert=alert_name(c.alert_sent), alert_number=c.alert_sent, alert_received=False)
        if not cause.is_ssl(lib.SSL_R_CERTIFICATE_VERIFY_FAILED):
            text = str(cause) if cause.library else "OpenSSL gave no reason"
            text += self._refused_name
            return errors.make(errors.SSLError, SSLErrorNumber.SSL_ERROR_SSL, text, cause, **details)
        code = c.verify_error or lib.SSL_get_verify_result(self._ssl)
        kind = {lib.X509_V_ERR_HOSTNAME_MISMATCH: "Hostname", lib.X509_V_ERR_IP_ADDRESS_MISMATCH: "IP address"}.get(
            code
        )
        if kind is not None and self.server_hostname is not None:
            message = f"{kind} mismatch, certificate is not valid for {self.server_hostname!r}."
        else:
            message = ffi.string(lib.X509_verify_cert_error_string(code)).decode()
        subject = None
        if c.verify_subject != NULL:
            subject = ffi.string(c.verify_subject).decode("utf-8", "replace") or None
        reached = f", connecting to {self.server_hostname!r}" if self.server_hostname else ""
        text = f"{cause}: {message} (certificate {c.verify_depth} of the chain: {subject}{reached})"
        details.update(
            verify_code=code,
            verify_message=message,
            depth=c.verify_depth,
            subject=subject,
            hostname=self.server_hostname,
        )
        return errors.make(errors.SSLCertVerificationError, SSLErrorNumber.SSL_ERROR_SSL, text, cause, **details)

    def _raise_from_callback(self) -> None:
        """An exception of a callback has refused the handshake: it is the cause of the failure, unless it is one that
        must not be kept (KeyboardInterrupt and the like)."""
        problem, self.callback_error = self.callback_error, None
        if problem is None:
            return
        if not isinstance(problem, Exception):
            raise problem
        if self.error is not None:
            self.error.__cause__ = problem
        else:  # a keylog callback cannot refuse; losing its exception silently would be worse than telling
            errors.tell_unraisable(problem)

    # --- what callbacks.py calls ---

    def on_client_hello(self, server_name: bytes | None) -> int | None:
        """The SNI callback's answer: None to go on, or the alert to refuse with."""
        callback = self._context._sni_callback
        if callback is None:
            return None
        name = None if server_name is None else server_name.decode("ascii")
        try:
            alert = callback(self.owner() if self.owner is not None else self, name, self._context)
        except Exception as problem:
            if self.owner is None:
                raise
            self.callback_error = problem
            return AlertDescription.ALERT_DESCRIPTION_HANDSHAKE_FAILURE  # the standard library's for this
        if alert is None:
            return None
        if not isinstance(alert, int) or alert not in _REFUSALS:
            raise TypeError(f"the SNI callback returned {alert!r}, expected None or the number of an alert")
        self._refused_name = f": the server name {name!r} was refused" if name else ": no server name was given"
        return alert

    def on_info(self, where: int, value: int) -> None:
        """A step of the handshake, or an alert: only where TXM_WANTS_INFO is set, which nothing here does."""

    def on_alpn(self, offered: list[bytes]) -> bytes | None:
        """The ALPN callback's answer: one of those offered, or None to go on without."""
        chosen = self._alpn([protocol.decode("utf-8", "replace") for protocol in offered])
        if chosen is not None and not isinstance(chosen, str):
            raise TypeError(f"the ALPN callback chose {chosen!r}, expected one of those offered, or None")
        return None if chosen is None else chosen.encode()

    def on_verify(self, ok: bool, store: Any) -> bool:
        """The verify callback's verdict on one certificate of the peer's chain."""
        return self._context._on_verify(ok, store)

    def on_keylog(self, line: bytes) -> None:
        """One line for the key log."""
        self._context._on_keylog(line)

    def on_message(self, sent: bool, version: int, content_type: int, data: bytes) -> None:
        """One message of the protocol, for the context's message callback. It cannot refuse: an exception is raised
        when the step is done."""
        try:
            self._context._on_message(
                self.owner() if self.owner is not None else self, sent, version, content_type, data
            )
        except Exception as problem:
            if self.owner is None:
                raise
            self.message_error = problem

    def on_psk_client(self, hint: bytes | None) -> tuple[bytes, bytes]:
        """The client's identity and pre-shared key."""
        return self._context._on_psk_client(hint)

    def on_psk_server(self, identity: bytes | None) -> bytes:
        """The pre-shared key for a client's identity."""
        return self._context._on_psk_server(identity)


hasten(Connection)
