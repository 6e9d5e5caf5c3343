"""SSLObject: the standard library's I/O-less class, on the same C as Connection.

It keeps the standard library's step-by-step semantics (each method is one OpenSSL operation, which may ask for more
wire by raising SSLWantReadError), so that what is written for ``ssl.SSLContext.wrap_bio`` runs on them unchanged. New
code is better served by :class:`txmembio.Connection`.
"""

from __future__ import annotations

import warnings
import weakref
from operator import index
from typing import TYPE_CHECKING, Any

from txmembio import errors
from txmembio._openssl.crossing import IN_C, Steps, address_of, hasten_facades
from txmembio._openssl.lib import NULL, Scratch, ffi, give_scratch, lib, pop_scratch, take_scratch
from txmembio.connection import Buffer, Connection
from txmembio.constants import SSLErrorNumber
from txmembio.context import SSLContext, require_context
from txmembio.errors import want_read
from txmembio.facts import IN_TWO_PLACES
from txmembio.inner import InnerObject, as_der
from txmembio.memorybio import MemoryBIO, in_one_piece
from txmembio.session import SSLSession

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["SSLObject"]

_BUSY: int = lib.TXM_BUSY
_CLOSED: int = lib.TXM_CLOSED
_FAILED: int = lib.TXM_FAILED
_MORE: int = lib.TXM_MORE
_TRUNCATED: int = lib.TXM_TRUNCATED
_WANT_WIRE: int = lib.TXM_WANT_WIRE
_NOT_HERE: int = lib.TXM_NOT_HERE
_READ: int = lib.TXM_OP_READ
_WRITE: int = lib.TXM_OP_WRITE
_ROOM: int = lib.TXM_PLAINTEXT_ROOM
_LEFT: int = lib.TXM_LEFT

# Looked up once: an attribute of lib costs 14 ns a call.
_txm_read = lib.txm_read
_txm_write = lib.txm_write
count = len  # read() has a parameter of the other name
COPIED_TWICE = 2048
"""Bytes of wire up to which one more copy is cheaper than decrypting into somebody's buffer, which takes 400 ns."""

_from_buffer = ffi.from_buffer
_release = ffi.release
_CHARS = ffi.typeof("char[]")


class SSLObject(Steps):
    """TLS between two MemoryBIOs, with the standard library's methods. Made by :meth:`txmembio.SSLContext.wrap_bio`.

    Every method that moves bytes raises SSLWantReadError when it needs more wire, SSLEOFError when the wire ended
    without close_notify, and another SSLError when it has failed.
    """

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError(
            f"{type(self).__name__} does not have a public constructor. Instances are returned by"
            " SSLContext.wrap_bio()."
        )

    _connection: Connection
    _c: Any  # the txm_connection * in it
    _incoming: MemoryBIO
    _outgoing: MemoryBIO
    _failed_later: errors.SSLError | None

    @classmethod
    def _create(
        cls,
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
        context: SSLContext | None = None,
    ) -> SSLObject:
        return cls.between(
            incoming, outgoing, require_context(context, "context"), server_side, server_hostname, session
        )

    @classmethod
    def between(
        cls,
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
        context: SSLContext,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
        owner: Any = None,
    ) -> Self:
        """An object of just this class, whatever the context's sslobject_class is. `owner` is what callbacks get for
        the connection, the object itself when left out; it is not kept alive."""
        for name, bio in (("incoming", incoming), ("outgoing", outgoing)):
            if not isinstance(bio, MemoryBIO):
                raise TypeError(f"{name} is {bio!r}, expected a txmembio.MemoryBIO")
        self = cls.__new__(cls)
        connection = context.connection(server_side, server_hostname, session)
        connection.owner = weakref.ref(self if owner is None else owner)
        self._c = connection._c
        self._begin(connection, address_of(self._c), incoming, outgoing)
        return self

    # --- bytes ---

    def _operate(self, operation: int, data: Any, length: int) -> tuple[int, int]:
        """One operation; returns how much data was moved and the status, if that is no reason to raise."""
        incoming = self._incoming
        c = self._c
        if incoming._ended:
            c.eof = 1
        self._drained = False
        scratch = take_scratch()
        report = scratch.c.report
        try:
            while True:
                held = incoming._joined()  # lives until C is done, whatever a callback does with the BIO
                wire = ffi.from_buffer("char[]", held) + incoming._at if incoming._at else held
                target = scratch.c.plaintext if data is None else data
                lib.txm_operate(c, scratch.c, operation, wire, len(held) - incoming._at, target, length)
                status = self._put_away(scratch)
                if not status & _MORE:
                    break
        finally:
            if not report.status & _BUSY:
                lib.txm_leave(c)
        return self._concluded(operation, status, scratch, data is None)

    def _put_away(self, scratch: Scratch) -> int:
        """The bytes of a call of C, which has the connection in its hand; returns the status."""
        report = scratch.c.report
        status: int = report.status
        if status & _BUSY:
            give_scratch(scratch)
            raise RuntimeError(IN_TWO_PLACES)
        if report.consumed:
            self._incoming._drop(report.consumed)
        if report.wire:
            self._outgoing._chunks.append(scratch.wire[: report.wire])
        return status

    def _put_away_and_leave(self, scratch: Scratch) -> int:
        """The same for the one call that was made."""
        busy = scratch.c.report.status & _BUSY  # then whoever is inside stays there
        try:
            return self._put_away(scratch)
        finally:
            if not busy:
                lib.txm_leave(self._c)

    def _concluded(self, operation: int, status: int, scratch: Scratch, plaintext: bool) -> tuple[int, int]:
        """The end of an operation: see above. With `plaintext` it is kept for read()."""
        connection = self._connection
        report = scratch.c.report
        moved: int = report.plaintext
        if connection._c.established and not connection.handshake_complete:
            connection.handshake_complete = True
        if status & _FAILED:
            # The option says that an end of the wire is as good as a close_notify (SSL_CTX_set_options(3)).
            forgiven = lib.SSL_OP_IGNORE_UNEXPECTED_EOF & self.context.options
            if status & _TRUNCATED and forgiven and report.ssl_error == lib.SSL_ERROR_ZERO_RETURN:
                status = _CLOSED
            else:
                error = self._failure(operation, status, report)
                if not moved or operation != _READ:
                    give_scratch(scratch)
                    self._report_callback_error()
                    try:
                        raise error
                    finally:
                        del error  # or its traceback would keep this frame, and that the connection
                self._failed_later = error
        if plaintext and moved:
            self._plaintext = scratch.plaintext[:moved]
        give_scratch(scratch)
        self._report_callback_error()
        return moved, status

    _plaintext = b""

    def _failure(self, operation: int, status: int, report: Any) -> errors.SSLError:
        """The exception for an operation that failed, as the standard library chooses it."""
        cause = errors.Cause(report.errors)
        if cause.library is None and report.ssl_error == lib.SSL_ERROR_SYSCALL and not status & _TRUNCATED:
            # What OpenSSL answers once it has failed and said why: read and write return 0 then, the handshake -1.
            if operation in (_READ, _WRITE):
                return errors.truncated("the connection has failed before")
            text = "Some I/O error occurred: the connection has failed before"
            return errors.make(errors.SSLSyscallError, SSLErrorNumber.SSL_ERROR_SYSCALL, text)
        if cause.library is not None and not cause.is_ssl(lib.SSL_R_UNEXPECTED_EOF_WHILE_READING):
            status &= ~_TRUNCATED  # the wire has ended, but this operation would have failed anyway
        return self._connection._failure(status, cause)

    def _report_callback_error(self) -> None:
        """As in the standard library, an exception in a callback goes to sys.unraisablehook: no method of ours was its
        caller. One that is not an Exception is raised, since it is meant to end things."""
        connection = self._connection
        problem, connection.callback_error = connection.callback_error, None
        if problem is not None:
            if not isinstance(problem, Exception):
                raise problem
            errors.tell_unraisable(problem)
        if connection.message_error is not None:
            problem, connection.message_error = connection.message_error, None
            raise problem

    def _read(self, len: int = 1024, buffer: bytearray | memoryview | None = None) -> bytes | int:
        if type(len) is not int:
            len = index(len)
        if buffer is not None:
            return self._read_into(len, buffer)
        incoming = self._incoming
        chunks = incoming._chunks
        if chunks:
            wire = chunks[0]
        elif self._drained and not incoming._ended and len > 0:
            raise want_read()
        else:
            wire = b""
        if len <= 0 or count(chunks) > 1 or incoming._ended or self._failed_later is not None:
            return self._read_slowly(len)
        try:
            scratch = pop_scratch()
        except IndexError:
            scratch = take_scratch()
        area, plaintext, _ = scratch
        moved = _txm_read(self._c, area, wire, incoming._at, count(wire), NULL, len if len < _ROOM else _ROOM)
        if moved >= 0:
            if moved < _LEFT:
                chunks.clear()
                incoming._at = 0
                self._drained = True
            else:
                moved -= _LEFT
                self._some_left(scratch, wire)
            result: bytes = plaintext[:moved]
            give_scratch(scratch)
            return result
        if moved == _NOT_HERE:
            give_scratch(scratch)
            return self._read_slowly(len)
        return self._end_of_read(scratch)

    def _some_left(self, scratch: Scratch, wire: bytes) -> None:
        """After a read that did not take all there was of the one chunk of wire."""
        incoming = self._incoming
        incoming._at += scratch.c.report.consumed
        if incoming._at == len(wire):
            incoming._chunks.clear()
            incoming._at = 0
        self._drained = False

    def _read_slowly(self, len: int) -> bytes:
        """Reads where there is more to look at than in the usual case."""
        if len <= 0:
            if len < 0:
                raise ValueError("size should not be negative")
            return b""
        error, self._failed_later = self._failed_later, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        self._incoming._joined()
        if not self._read_steps(None, min(len, _ROOM)):
            return b""
        plaintext, self._plaintext = self._plaintext, b""
        return plaintext

    def _end_of_read(self, scratch: Scratch) -> bytes:
        """After a txm_read() that has more to tell than a number."""
        if not self._after_read(scratch, True):
            return b""
        plaintext, self._plaintext = self._plaintext, b""
        return plaintext

    def _after_read(self, scratch: Scratch, plaintext: bool) -> int:
        """How much a txm_read() has moved that has more to tell than that. Raises what there is to raise."""
        status = self._put_away_and_leave(scratch)
        self._drained = bool(status & _WANT_WIRE and not self._incoming._chunks)
        moved, status = self._concluded(_READ, status, scratch, plaintext)
        return self._judged(moved, status)

    def _read_into(self, len: int, buffer: bytearray | memoryview) -> int:
        incoming = self._incoming
        chunks = incoming._chunks
        if type(buffer) is bytearray and not (chunks and count(chunks[0]) > COPIED_TWICE):
            room = count(buffer)
            if not chunks and self._drained and room and not incoming._ended:
                raise want_read()
            plaintext = self._read(len if 0 < len <= room else room)
            moved = count(plaintext)  # type: ignore[arg-type]  # without a buffer it returns bytes
            buffer[:moved] = plaintext  # type: ignore[assignment]
            return moved
        try:
            into = _from_buffer(_CHARS, buffer, True)
        except BufferError as problem:  # a TypeError to the standard library
            raise TypeError(str(problem)) from None
        try:
            return self._read_lent(len, into)
        finally:
            _release(into)  # or the caller could not resize its memory while a traceback has this frame

    def _read_lent(self, len: int, into: Any) -> int:
        incoming = self._incoming
        chunks = incoming._chunks
        room = count(into)
        size = len if 0 < len <= room else room
        if not size:
            return 0
        if self._drained and not chunks and not incoming._ended:
            raise want_read()
        error, self._failed_later = self._failed_later, None
        if error is not None:
            try:
                raise error
            finally:
                del error
        if count(chunks) > 1 or incoming._ended:
            return self._read_steps(into, size)
        wire = chunks[0] if chunks else b""
        scratch = take_scratch()
        moved = _txm_read(self._c, scratch[0], wire, incoming._at, count(wire), into, size)
        if moved == _NOT_HERE:
            give_scratch(scratch)
            return self._read_steps(into, size)
        if moved < 0:
            return self._after_read(scratch, False)
        if moved < _LEFT:
            chunks.clear()
            incoming._at = 0
            self._drained = True
        else:
            moved -= _LEFT
            self._some_left(scratch, wire)
        give_scratch(scratch)
        into_it: int = moved
        return into_it

    def _read_steps(self, into: Any, size: int) -> int:
        return self._judged(*self._operate(_READ, into, size))

    def _judged(self, moved: int, status: int) -> int:
        if status & _WANT_WIRE:
            raise want_read()
        if status & _CLOSED and not moved and lib.SSL_get_shutdown(self._connection._ssl) & lib.SSL_SENT_SHUTDOWN:
            raise _closed()
        return moved

    def _write(self, data: Buffer) -> int:
        if type(data) is not bytes:
            data = in_one_piece(data)
        try:
            scratch = pop_scratch()
        except IndexError:
            scratch = take_scratch()
        moved = _txm_write(self._c, scratch[0], data, len(data))
        if moved >= 0:
            self._outgoing._chunks.append(scratch[2][:moved])
            give_scratch(scratch)
            return len(data)
        if moved != _NOT_HERE:
            self._after_write(scratch)
        else:
            give_scratch(scratch)
        return self._write_slowly(data)

    def _after_write(self, scratch: Scratch) -> None:
        """After a txm_write() that did not go through: raises why, or returns where the rest is _operate()'s work."""
        status = self._put_away_and_leave(scratch)
        _, status = self._concluded(_WRITE, status, scratch, False)
        if status & _WANT_WIRE and not self._incoming.pending:  # a renegotiation reads, too
            raise want_read()
        if status & _CLOSED:
            raise _closed()

    def _write_slowly(self, data: bytes) -> int:
        source = ffi.from_buffer("char[]", data)
        done = 0
        while True:
            moved, status = self._operate(_WRITE, source + done, len(data) - done)
            if status & _WANT_WIRE:
                raise want_read()
            if status & _CLOSED:
                raise _closed()
            done += moved
            if done >= len(data) or not moved:
                return done

    if TYPE_CHECKING or not IN_C:

        def read(self, len: int = 1024, buffer: bytearray | memoryview | None = None) -> bytes | int:
            """Up to `len` bytes of plaintext, a record's, or those of several full ones; with a buffer, into it,
            returning how many. b"" (or 0) after the peer's close_notify."""
            return self._read(len, buffer)

        def write(self, data: Buffer) -> int:
            """Encrypts all of `data` into the outgoing BIO; returns how many bytes that were."""
            return self._write(data)

    def do_handshake(self) -> None:
        """Goes on with the handshake."""
        _, status = self._operate(lib.TXM_OP_HANDSHAKE, NULL, 0)
        if status & _WANT_WIRE:
            raise want_read()
        if status & _CLOSED:
            raise _closed()

    def unwrap(self) -> None:
        """Sends close_notify and waits for the peer's: raises SSLWantReadError until it has come."""
        _, status = self._operate(lib.TXM_OP_SHUTDOWN, NULL, 0)
        if status & _WANT_WIRE:  # ours is out; the peer's may have arrived already
            _, status = self._operate(lib.TXM_OP_SHUTDOWN, NULL, 0)
        if status & _WANT_WIRE:
            raise want_read()

    def verify_client_post_handshake(self) -> None:
        """Asks the client for its certificate now (RFC 8446 section 4.6.2); it is checked while reading goes on."""
        self._operate(lib.TXM_OP_VERIFY_CLIENT, NULL, 0)

    def pending(self) -> int:
        """Plaintext that is decrypted already, in bytes."""
        return int(lib.SSL_pending(self._connection._ssl))

    @property
    def wire_wanted(self) -> int:
        """How many bytes OpenSSL asked for when the last method raised SSLWantReadError: the header of a record, or the
        rest of one. Who gives it just that leaves what follows the TLS session where it is."""
        return int(self._connection._c.asked)

    # --- facts ---

    @property
    def owner(self) -> Any:
        """What callbacks get for this connection: the object itself, or the socket it works for."""
        return self._connection.owner()

    @property
    def _sslobj(self) -> InnerObject:
        """What the standard library has here."""
        return InnerObject(self)

    @property
    def context(self) -> SSLContext:
        """The context in force; an SNI callback may assign another. After the handshake that is too late to change
        anything but what this tells, as in the standard library."""
        return self._connection.context

    @context.setter
    def context(self, context: SSLContext) -> None:
        if self._connection.handshake_complete:
            self._connection._context = require_context(context, "the context of a connection")
        else:
            self._connection.context = context

    @property
    def session(self) -> SSLSession | None:
        """The session, to resume later; a client may assign one before the handshake."""
        return self._connection.session

    @session.setter
    def session(self, session: SSLSession) -> None:
        if not isinstance(session, SSLSession):
            raise TypeError("Value is not a SSLSession.")
        if self.server_side:
            raise ValueError("Cannot set session for server-side SSLSocket.")
        self._connection.set_session(session)

    @property
    def session_reused(self) -> bool:
        """True if an earlier session was resumed."""
        return self._connection.session_reused

    @property
    def server_side(self) -> bool:
        """Which side this is."""
        return self._connection.server_side

    @property
    def server_hostname(self) -> str | None:
        """The name a client wants to reach, in A-labels (RFC 5890 section 2.3.2.1)."""
        name = self._connection.server_hostname
        return name if name is None or name.isascii() else name.encode("idna").decode()

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """See :meth:`Connection.getpeercert`."""
        return self._connection.getpeercert(binary_form)

    def get_verified_chain(self) -> list[bytes]:
        """See :meth:`Connection.get_verified_chain`."""
        return as_der(self._connection.get_verified_chain())

    def get_unverified_chain(self) -> list[bytes]:
        """See :meth:`Connection.get_unverified_chain`."""
        return as_der(self._connection.get_unverified_chain())

    def selected_alpn_protocol(self) -> str | None:
        """See :meth:`Connection.selected_alpn_protocol`."""
        return self._connection.selected_alpn_protocol()

    def selected_npn_protocol(self) -> None:
        """None: ALPN has replaced NPN (RFC 7301)."""
        warnings.warn("ssl NPN is deprecated, use ALPN instead", DeprecationWarning, stacklevel=2)

    def cipher(self) -> tuple[str, str, int] | None:
        """See :meth:`Connection.cipher`."""
        return self._connection.cipher()

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """See :meth:`Connection.shared_ciphers`."""
        return self._connection.shared_ciphers()

    def compression(self) -> None:
        """None: there is no compression (RFC 7457 section 2.6)."""

    def version(self) -> str | None:
        """See :meth:`Connection.version`."""
        return self._connection.version()

    def group(self) -> str | None:
        """See :meth:`Connection.group`."""
        return self._connection.group()

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """See :meth:`Connection.get_channel_binding`."""
        return self._connection.get_channel_binding(cb_type)

    def export_keying_material(self, label: str | bytes, length: int, context: bytes | None = None) -> bytes:
        """See :meth:`Connection.export_keying_material`."""
        return self._connection.export_keying_material(label, length, context)


def _closed() -> errors.SSLError:
    text = "TLS/SSL connection has been closed (EOF)"
    return errors.make(errors.SSLZeroReturnError, SSLErrorNumber.SSL_ERROR_ZERO_RETURN, text)


SSLContext.sslobject_class = SSLObject
hasten_facades(errors.WantRead, errors.WANT_READ, IN_TWO_PLACES)
