"""MemoryBIO and SSLObject: the standard library's I/O-less classes, on the same C as Connection.

They keep the standard library's step-by-step semantics (each method is one OpenSSL operation, which may ask for more
wire by raising SSLWantReadError), so that what is written for ``ssl.SSLContext.wrap_bio`` runs on them unchanged. New
code is better served by :class:`txmembio.Connection`.
"""

from __future__ import annotations

import weakref
from operator import index
from typing import Any

from txmembio import errors
from txmembio._openssl.lib import NULL, ffi, give_scratch, lib, take_scratch
from txmembio.connection import Buffer, Connection
from txmembio.constants import SSLErrorNumber
from txmembio.context import SSLContext, require_context
from txmembio.facts import IN_TWO_PLACES
from txmembio.session import SSLSession

__all__ = ["MemoryBIO", "SSLObject"]

_BUSY: int = lib.TXM_BUSY
_CLOSED: int = lib.TXM_CLOSED
_FAILED: int = lib.TXM_FAILED
_MORE: int = lib.TXM_MORE
_TRUNCATED: int = lib.TXM_TRUNCATED
_WANT_WIRE: int = lib.TXM_WANT_WIRE


class MemoryBIO:
    """Bytes on their way between an SSLObject and the network: first in, first out, with an end."""

    __slots__ = ("__weakref__", "_at", "_chunks", "_ended", "pending")

    pending: int
    """Bytes that can be read."""

    def __init__(self) -> None:
        self._chunks: list[bytes] = []
        self._at = 0  # bytes of the first chunk that are gone
        self._ended = False
        self.pending = 0

    @property
    def eof(self) -> bool:
        """True once everything has been read and write_eof() was called."""
        return self._ended and not self.pending

    def read(self, size: int = -1, /) -> bytes:
        """At most `size` bytes, everything if it is negative or left out; b"" if there is nothing."""
        size = index(size)
        if not self.pending:
            return b""
        if size < 0 or size >= self.pending:
            out = self._joined()[self._at :]
            self._chunks.clear()
            self._at = self.pending = 0
            return out
        out = self._joined()[self._at : self._at + size]
        self._drop(size)
        return out

    def write(self, data: Buffer, /) -> int:
        """Appends; returns how many bytes. Raises SSLError after write_eof()."""
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        if self._ended:
            raise errors.make(errors.SSLError, SSLErrorNumber.SSL_ERROR_SSL, "cannot write() after write_eof()")
        if data:
            self._append(data)
        return len(data)

    def write_eof(self) -> None:
        """Says that nothing more will be written."""
        self._ended = True

    def _append(self, data: bytes) -> None:
        self._chunks.append(data)
        self.pending += len(data)

    def _joined(self) -> bytes:
        chunks = self._chunks
        if len(chunks) > 1:
            whole = b"".join(chunks)
            chunks.clear()
            chunks.append(whole)
        return chunks[0] if chunks else b""

    def _drop(self, count: int) -> None:
        self.pending -= count
        self._at += count
        if not self.pending:
            self._chunks.clear()
            self._at = 0


class SSLObject:
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
    _incoming: MemoryBIO
    _outgoing: MemoryBIO

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
        for name, bio in (("incoming", incoming), ("outgoing", outgoing)):
            if not isinstance(bio, MemoryBIO):
                raise TypeError(f"{name} is {bio!r}, expected a txmembio.MemoryBIO")
        self = cls.__new__(cls)
        context = require_context(context, "context")
        self._connection = context.connection(server_side, server_hostname, session)
        self._connection.owner = weakref.ref(self)
        self._incoming = incoming
        self._outgoing = outgoing
        return self

    # --- bytes ---

    def _operate(self, operation: int, data: Any, length: int) -> tuple[int, int]:
        """One operation; returns how much data was moved and the status, if that is no reason to raise."""
        connection = self._connection
        incoming = self._incoming
        c = connection._c
        if incoming._ended:
            c.eof = 1
        scratch = take_scratch()
        report = scratch.c.report
        try:
            while True:
                held = incoming._joined()  # lives until C is done, whatever a callback does with the BIO
                wire = ffi.from_buffer("char[]", held) + incoming._at if incoming._at else held
                target = scratch.c.plaintext if data is None else data
                status = lib.txm_operate(c, scratch.c, operation, wire, incoming.pending, target, length)
                if status & _BUSY:
                    give_scratch(scratch)
                    raise RuntimeError(IN_TWO_PLACES)
                if report.consumed:
                    incoming._drop(report.consumed)
                if report.wire:
                    self._outgoing._append(scratch.wire[: report.wire])
                if not status & _MORE:
                    break
        finally:
            if not report.status & _BUSY:
                lib.txm_leave(c)
        moved = report.plaintext
        if c.established and not connection.handshake_complete:
            connection.handshake_complete = True
        if status & _FAILED:
            # The option says that an end of the wire is as good as a close_notify (SSL_CTX_set_options(3)).
            forgiven = lib.SSL_OP_IGNORE_UNEXPECTED_EOF & self.context.options
            if status & _TRUNCATED and forgiven and report.ssl_error == lib.SSL_ERROR_ZERO_RETURN:
                status = _CLOSED
            else:
                error = self._failure(operation, status, report)
                give_scratch(scratch)
                self._report_callback_error()
                raise error
        if data is None and moved:
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
            if operation in (lib.TXM_OP_READ, lib.TXM_OP_WRITE):
                return errors.truncated("the connection has failed before")
            text = "Some I/O error occurred: the connection has failed before"
            return errors.make(errors.SSLSyscallError, SSLErrorNumber.SSL_ERROR_SYSCALL, text)
        if cause.library is not None and not cause.is_ssl(lib.SSL_R_UNEXPECTED_EOF_WHILE_READING):
            status &= ~_TRUNCATED  # the wire has ended, but this operation would have failed anyway
        return self._connection._failure(status, cause)

    def _report_callback_error(self) -> None:
        """As in the standard library, an exception in a callback goes to sys.unraisablehook: no method of ours was its
        caller. One that is not an Exception is raised, since it is meant to end things."""
        problem, self._connection.callback_error = self._connection.callback_error, None
        if problem is None:
            return
        if not isinstance(problem, Exception):
            raise problem
        errors.tell_unraisable(problem)

    def read(self, len: int = 1024, buffer: bytearray | memoryview | None = None) -> bytes | int:
        """Up to `len` bytes of plaintext, at most one record's; with a buffer, into it, returning how many. b"" (or 0)
        after the peer's close_notify."""
        if buffer is not None:
            with memoryview(buffer) as view:
                room = view.nbytes
            size = len if 0 < len <= room else room
            into = ffi.from_buffer("char[]", buffer, require_writable=True)
            try:
                return self._read(into, size) if size else 0
            finally:
                ffi.release(into)
        if len < 0:
            raise ValueError("size should not be negative")
        if len == 0:
            return b""
        moved = self._read(None, min(len, lib.TXM_PLAINTEXT_ROOM))
        if not moved:
            return b""
        plaintext, self._plaintext = self._plaintext, b""
        return plaintext

    def _read(self, into: Any, size: int) -> int:
        moved, status = self._operate(lib.TXM_OP_READ, into, size)
        if status & _WANT_WIRE:
            raise errors.want_read()
        if status & _CLOSED and lib.SSL_get_shutdown(self._connection._ssl) & lib.SSL_SENT_SHUTDOWN:
            raise _closed()
        return moved

    def write(self, data: Buffer) -> int:
        """Encrypts all of `data` into the outgoing BIO; returns how many bytes that were."""
        view = data if type(data) is bytes else bytes(memoryview(data))
        source = ffi.from_buffer("char[]", view)
        done = 0
        while True:
            moved, status = self._operate(lib.TXM_OP_WRITE, source + done, len(view) - done)
            if status & _WANT_WIRE:
                raise errors.want_read()
            if status & _CLOSED:
                raise _closed()
            done += moved
            if done >= len(view) or not moved:
                return done

    def do_handshake(self) -> None:
        """Goes on with the handshake."""
        _, status = self._operate(lib.TXM_OP_HANDSHAKE, NULL, 0)
        if status & _WANT_WIRE:
            raise errors.want_read()
        if status & _CLOSED:
            raise _closed()

    def unwrap(self) -> None:
        """Sends close_notify and waits for the peer's: raises SSLWantReadError until it has come."""
        _, status = self._operate(lib.TXM_OP_SHUTDOWN, NULL, 0)
        if status & _WANT_WIRE:  # ours is out; the peer's may have arrived already
            _, status = self._operate(lib.TXM_OP_SHUTDOWN, NULL, 0)
        if status & _WANT_WIRE:
            raise errors.want_read()

    def verify_client_post_handshake(self) -> None:
        """Asks the client for its certificate now (RFC 8446 section 4.6.2); it is checked while reading goes on."""
        self._operate(lib.TXM_OP_VERIFY_CLIENT, NULL, 0)

    def pending(self) -> int:
        """Plaintext that is decrypted already, in bytes."""
        return int(lib.SSL_pending(self._connection._ssl))

    # --- facts ---

    @property
    def context(self) -> SSLContext:
        """The context in force; an SNI callback may assign another."""
        return self._connection.context

    @context.setter
    def context(self, context: SSLContext) -> None:
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
        return self._connection.get_verified_chain()

    def get_unverified_chain(self) -> list[bytes]:
        """See :meth:`Connection.get_unverified_chain`."""
        return self._connection.get_unverified_chain()

    def selected_alpn_protocol(self) -> str | None:
        """See :meth:`Connection.selected_alpn_protocol`."""
        return self._connection.selected_alpn_protocol()

    def selected_npn_protocol(self) -> None:
        """None: NPN has not been in OpenSSL's TLS 1.3 times."""

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
