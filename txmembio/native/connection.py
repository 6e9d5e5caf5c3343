"""NativeConnection: a Connection that can be taken through OpenSSL's operations one at a time.

Wire that an operation needs comes from :meth:`NativeConnection.feed`, wire that it makes joins what
:meth:`NativeConnection.wire_to_send` gives. The two ways of use do not exclude each other: an adapter may pump what
somebody else looks at, or asks for a step of.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Callable
from enum import IntEnum
from typing import TYPE_CHECKING, Any

from txmembio import errors
from txmembio._openssl.callbacks import handle_for
from txmembio._openssl.lib import NULL, Scratch, copied, ffi, give_scratch, lib, take_scratch
from txmembio.certificates import Certificate, PrivateKey
from txmembio.connection import Buffer, Connection
from txmembio.facts import IN_TWO_PLACES, Inside
from txmembio.names import ServerName
from txmembio.native.errors import Entry, check, entries, fail
from txmembio.native.x509 import NativeName
from txmembio.session import SSLSession

if TYPE_CHECKING:
    from txmembio.native.context import NativeContext, VerifyCallback

__all__ = ["NativeConnection", "Step", "Verdict"]

_BUSY: int = lib.TXM_BUSY
_CLOSED: int = lib.TXM_CLOSED
_FAILED: int = lib.TXM_FAILED
_MORE: int = lib.TXM_MORE
_TRUNCATED: int = lib.TXM_TRUNCATED
_WANT_WIRE: int = lib.TXM_WANT_WIRE
_PLAINTEXT_ROOM: int = lib.TXM_PLAINTEXT_ROOM

_WINDOW = 32 * 1024
"""Bytes of wire that a step is shown at once. More than any record has (5 + 2^14 + 2048: RFC 8446 section 5.2, RFC 5246
section 6.2.3), and little enough to be moved once a record."""

# Looked up once: an attribute of lib costs 14 ns a call.
_read_now = lib.txm_read_now
_write_now = lib.txm_write_now


class Step(IntEnum):
    """OpenSSL's operations."""

    HANDSHAKE = lib.TXM_OP_HANDSHAKE
    READ = lib.TXM_OP_READ
    WRITE = lib.TXM_OP_WRITE
    SHUTDOWN = lib.TXM_OP_SHUTDOWN
    PEEK = lib.TXM_OP_PEEK


class Verdict(IntEnum):
    """How one went."""

    DONE = 0
    WANT_WIRE = 1
    """It needs more wire; after SHUTDOWN: close_notify is out and the peer's has not come."""
    CLOSED = 2
    """The peer's close_notify was read; after SHUTDOWN: both are exchanged."""
    TRUNCATED = 3
    """The wire has ended without one."""
    FAILED = 4
    """For the reasons in :attr:`NativeConnection.queue`."""


class _Refused(Exception):
    """The ALPN callback has refused; nobody's mistake."""


class NativeConnection(Connection):
    """Made by :meth:`NativeContext.connection`."""

    __slots__ = (
        "_certificate_callback",
        "_ended",
        "_hello_name",
        "_incoming",
        "_info_callback",
        "_later",
        "_waits",
        "queue",
    )

    _context: NativeContext

    queue: list[Entry]
    """Why the last step has failed, oldest first."""

    def __init__(
        self,
        context: NativeContext,
        server_side: bool = False,
        server_hostname: ServerName | None = None,
        session: SSLSession | None = None,
    ) -> None:
        self._incoming = b""  # what the next step is shown: all there is, or _WINDOW bytes
        self._later: deque[memoryview] = deque()  # the rest
        self._ended = False
        self._waits = False  # read_now() has answered that there is nothing
        self._hello_name: bytes | None = None
        self._certificate_callback = context.certificate_callback
        self._info_callback = context.info_callback
        self.queue = []
        super().__init__(context, server_side, server_hostname, session)
        self._set_session_rules()

    def _take_callbacks(self, context: Any) -> None:
        super()._take_callbacks(context)
        self._listen()

    def _listen(self) -> None:
        """Tells C which callbacks of this connection's own there are. That of ALPN is looked for when it is needed:
        OpenSSL finds one there that the context was given after the connection was made."""
        wants = self._c.wants & ~(lib.TXM_WANTS_VERIFY | lib.TXM_WANTS_VERIFY_ALWAYS | lib.TXM_WANTS_INFO)
        wants |= lib.TXM_WANTS_ALPN
        if self._certificate_callback is not None:
            wants |= lib.TXM_WANTS_VERIFY | lib.TXM_WANTS_VERIFY_ALWAYS
        if self._info_callback is not None:
            wants |= lib.TXM_WANTS_INFO
        if self._handle is None:
            self._handle = handle_for(self)
            self._c.handle = self._handle
        self._c.wants = wants

    @property
    def _owner(self) -> Any:
        return self if self.owner is None else self.owner()

    # --- before the handshake ---

    def set_side(self, server_side: bool) -> None:
        """SSL_set_accept_state(3), SSL_set_connect_state(3)."""
        self.server_side = server_side
        with Inside(self._c):
            (lib.SSL_set_accept_state if server_side else lib.SSL_set_connect_state)(self._ssl)
            self._set_session_rules()

    def switch(self, context: NativeContext) -> None:
        """SSL_set_SSL_CTX(3): certificate, chain and callbacks become another context's; what was copied from the first
        (verification, options, versions) stays, and so does its choice of ALPN where the other one makes none."""
        context._settle()
        with Inside(self._c):
            lib.txm_errors_clear()
            if lib.SSL_set_SSL_CTX(self._ssl, context._native) == NULL:
                fail()
            self._context = context
            heard = self._c.wants & lib.TXM_WANTS_CLIENT_HELLO  # somebody has answered for the server name
            self._take_callbacks(context)
            self._c.wants |= heard
            self._set_session_rules()

    def set_verify(self, bits: int, callback: VerifyCallback | None) -> None:
        """SSL_set_verify(3), for this connection alone. Without a callback the one there was stays, as there."""
        if callback is not None:
            self._certificate_callback = callback
        self._listen()
        lib.SSL_set_verify(self._ssl, bits, NULL)  # NULL leaves the C side's callback in place
        self._set_session_rules()

    def _set_session_rules(self) -> None:
        """A server resumes a session only under the verify bits that it was made under: a resumed handshake asks for no
        certificate, so that one made where none is needed would get in where one is. OpenSSL compares the session-id
        context alone; the bits become part of it (SSL_set_session_id_context(3))."""
        if self.server_side:
            rules = hashlib.sha256(b"%d " % self.verify_bits + self._context._identity).digest()
            lib.SSL_set_session_id_context(self._ssl, rules, len(rules))

    @property
    def verify_bits(self) -> int:
        """SSL_VERIFY_ bits."""
        return int(lib.SSL_get_verify_mode(self._ssl))

    def set_info_callback(self, callback: Callable[[Any, int, int], None] | None) -> None:
        """SSL_set_info_callback(3)."""
        self._info_callback = callback
        self._listen()

    def add_options(self, bits: int) -> int:
        """SSL_set_options(3)."""
        return int(lib.SSL_set_options(self._ssl, bits))

    def use_certificate(self, certificate: Certificate) -> None:
        """SSL_use_certificate(3)."""
        check(lib.SSL_use_certificate, self._ssl, certificate._x509)

    def use_private_key(self, key: PrivateKey) -> None:
        """SSL_use_PrivateKey(3)."""
        check(lib.SSL_use_PrivateKey, self._ssl, key._pkey)

    def set_server_name(self, name: bytes) -> None:
        """What SNI says, unchecked (SSL_set_tlsext_host_name(3))."""
        check(lib.SSL_set_tlsext_host_name, self._ssl, ffi.from_buffer("char[]", name + b"\0"))

    def set_alpn_wire(self, protocols: bytes) -> None:
        """What a client offers, as RFC 7301 section 3.1 lists it."""
        lib.txm_errors_clear()
        if lib.SSL_set_alpn_protos(self._ssl, protocols, len(protocols)):  # 0 is success here
            fail()

    # --- wire ---

    def feed(self, data: Buffer) -> None:
        """Adds wire for steps to read."""
        data = bytes(data)
        if len(self._incoming) + len(data) <= _WINDOW and not self._later:
            self._incoming = self._incoming + data if self._incoming else data
        else:
            self._later.append(memoryview(data))
            self._refill()

    def _refill(self) -> None:
        pieces: list[Buffer] = [self._incoming]
        room = _WINDOW - len(self._incoming)
        while room > 0 and self._later:
            piece = self._later.popleft()
            if len(piece) > room:
                self._later.appendleft(piece[room:])
                piece = piece[:room]
            pieces.append(piece)
            room -= len(piece)
        self._incoming = b"".join(pieces)
        if self._ended and not self._later:  # no sooner: C takes the end of what it is shown for the end
            self._c.eof = 1

    def _drop(self, consumed: int) -> None:
        self._incoming = self._incoming[consumed:]
        if self._later:
            self._refill()

    def end_feed(self) -> None:
        """No more will come."""
        self._ended = True
        self._refill()

    @staticmethod
    def lend(data: Buffer) -> Any:
        """A buffer that step() can read `data` from; keep both until it is done."""
        return ffi.from_buffer("char[]", data)

    def take_wire(self, most: int) -> bytes:
        """Up to `most` bytes of what there is to send, b"" for nothing."""
        wire = self._wire
        taken, room = 0, most
        while taken < len(wire) and len(wire[taken]) <= room:
            room -= len(wire[taken])
            taken += 1
        pieces = wire[:taken]
        if room > 0 and taken < len(wire):  # joining what stays would make taking it all quadratic
            pieces.append(wire[taken][:room])
            wire[taken] = wire[taken][room:]
        del wire[:taken]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    # --- steps ---

    def read(self, length: int) -> bytes | Verdict:
        """step(READ): plaintext, or how it went instead."""
        incoming = self._incoming
        scratch = take_scratch()
        moved = _read_now(self._c, scratch.c, incoming, len(incoming), min(length, _PLAINTEXT_ROOM))
        if moved > 0:
            plaintext: bytes = scratch.plaintext[:moved]
            give_scratch(scratch)
            self._drop(len(incoming))
            self._waits = False
            return plaintext
        if moved == 0:
            give_scratch(scratch)
            self._waits = True
            return Verdict.WANT_WIRE
        verdict, plaintext = self._conclude(Step.READ, None, length, scratch)
        return verdict or plaintext

    def write(self, data: bytes) -> int | Verdict:
        """step(WRITE): how many bytes were taken, or how it went instead."""
        if self._incoming or not self.handshake_complete:
            verdict, moved = self.step(Step.WRITE, ffi.from_buffer("char[]", data), len(data))
            return verdict or int(moved)
        scratch = take_scratch()
        made = _write_now(self._c, scratch.c, data, len(data))
        if made >= 0:
            self._wire.append(scratch.wire[:made])
            give_scratch(scratch)
            self._waits = False
            return len(data)
        verdict, moved = self._conclude(Step.WRITE, ffi.from_buffer("char[]", data), len(data), scratch)
        return verdict or int(moved)

    def step(self, operation: int, data: Any = None, length: int = 0) -> tuple[Verdict, Any]:
        """One operation. Returns how it went, and for READ and PEEK (with no `data`) the plaintext, else how many bytes
        of `data`, a buffer of cffi's, were moved. What a callback has raised is raised here."""
        scratch = take_scratch()
        self._operate(operation, data, length, scratch)
        return self._conclude(operation, data, length, scratch)

    def _operate(self, operation: int, data: Any, length: int, scratch: Scratch) -> None:
        held = self._incoming  # lives until C is done, whatever a callback feeds
        if data is None:
            data, length = scratch.c.plaintext, min(length, _PLAINTEXT_ROOM)
        lib.txm_operate(self._c, scratch.c, operation, held, len(held), data, length)

    def _conclude(self, operation: int, data: Any, length: int, scratch: Scratch) -> tuple[Verdict, Any]:
        """The end of a step whose first call into C is done."""
        c, report = self._c, scratch.c.report
        reading = data is None
        self._waits = False
        try:
            while True:
                status = report.status
                if status & _BUSY:
                    return self._reentered(operation), b"" if reading else 0
                starved = False
                if report.consumed:
                    starved = bool(self._later) and report.consumed == len(self._incoming)
                    self._drop(report.consumed)
                if report.wire:
                    self._wire.append(scratch.wire[: report.wire])
                if not (status & _MORE or (starved and status & _WANT_WIRE)):
                    break
                self._operate(operation, data, length, scratch)
            moved: Any = report.plaintext
            if reading:
                moved = scratch.plaintext[:moved]
            if status & _FAILED:
                verdict = self._failed(status, report)
            elif status & _WANT_WIRE:
                verdict = Verdict.WANT_WIRE
            else:
                verdict = Verdict.CLOSED if status & _CLOSED else Verdict.DONE
        finally:
            if not report.status & _BUSY:
                lib.txm_leave(c)
            give_scratch(scratch)
        if c.established and not self.handshake_complete:
            self.handshake_complete = True
        if self.callback_error is not None:
            self._raise_it()
        return verdict, moved

    def _reentered(self, operation: int) -> Verdict:
        """A callback of this connection asks to close it, which cannot be: OpenSSL says so too. Anything else, or
        another thread, is a mistake."""
        nested = lib.txm_enter(self._c)
        if nested == 0:
            lib.txm_leave(self._c)
        if nested < 0 or operation != Step.SHUTDOWN:
            raise RuntimeError(IN_TWO_PLACES)
        self.queue = [("SSL routines", "", "shutdown while in init")]
        return Verdict.FAILED

    def _failed(self, status: int, report: Any) -> Verdict:
        codes = list(report.errors.codes)[: report.errors.count]
        if status & _TRUNCATED:
            if report.ssl_error == lib.SSL_ERROR_ZERO_RETURN:
                return Verdict.CLOSED  # SSL_OP_IGNORE_UNEXPECTED_EOF
            if all(lib.ERR_GET_REASON(code) == lib.SSL_R_UNEXPECTED_EOF_WHILE_READING for code in codes):
                return Verdict.TRUNCATED
        self.queue = entries(codes)  # empty where a connection that has failed is asked again: that is no end of wire
        return Verdict.FAILED

    def _raise_it(self) -> None:
        problem, self.callback_error = self.callback_error, None
        if problem is not None and not isinstance(problem, _Refused):
            raise problem

    def _raise_from_callback(self) -> None:
        if self.error is None:  # asked with SSL_VERIFY_NONE, where OpenSSL goes on whatever the answer
            self._raise_it()
        if isinstance(self.callback_error, _Refused):
            self.callback_error = None
        super()._raise_from_callback()

    def _failure(self, status: int, cause: errors.Cause) -> errors.SSLError:
        self.queue = entries(cause.codes)
        return super()._failure(status, cause)

    # --- what callbacks.py calls ---

    def on_client_hello(self, server_name: bytes | None) -> int | None:
        self._hello_name = server_name
        callback = self._context.servername_callback
        return None if callback is None else callback(self._owner)

    def on_alpn(self, offered: list[bytes]) -> bytes | None:
        choice = self._context.alpn_choice or self._alpn
        if choice is None:
            return None
        chosen: bytes | None = choice(self._owner, offered)
        if chosen == b"":
            raise _Refused
        return chosen

    def on_verify(self, ok: bool, store: Any) -> bool:
        x509 = lib.X509_STORE_CTX_get_current_cert(store)
        callback = self._certificate_callback
        if callback is None or x509 == NULL or not lib.X509_up_ref(x509):
            return ok
        number = lib.X509_STORE_CTX_get_error(store)
        depth = lib.X509_STORE_CTX_get_error_depth(store)
        return bool(callback(self._owner, Certificate(x509), number, depth, ok))

    def on_info(self, where: int, value: int) -> None:
        if self._info_callback is not None:
            self._tell(self._info_callback, where, value)

    def on_keylog(self, line: bytes) -> None:
        if self._context.keylog_callback is not None:
            self._tell(self._context.keylog_callback, line)

    def _tell(self, callback: Callable[..., None], *what: object) -> None:
        """Callbacks that cannot refuse anything: what they raise has nowhere to go."""
        try:
            callback(self._owner, *what)
        except Exception as problem:
            errors.tell_unraisable(problem)

    # --- facts ---

    @property
    def requested_name(self) -> bytes | None:
        """The host name in SNI: what the client has sent, or will send."""
        if self._hello_name is not None:
            return self._hello_name
        name = lib.SSL_get_servername(self._ssl, lib.TLSEXT_NAMETYPE_host_name)
        return None if name == NULL else bytes(ffi.string(name))

    @property
    def shutdown_bits(self) -> int:
        """1: we have sent close_notify, 2: the peer has (SSL_get_shutdown(3))."""
        return int(lib.SSL_get_shutdown(self._ssl))

    @shutdown_bits.setter
    def shutdown_bits(self, bits: int) -> None:
        lib.SSL_set_shutdown(self._ssl, bits)

    @property
    def plaintext_waiting(self) -> int:
        """Bytes of the record that is being read (SSL_pending(3))."""
        return int(lib.SSL_pending(self._ssl))

    @property
    def wanted(self) -> int:
        """1: nothing, 2: to write, 3: to read (SSL_want(3))."""
        return 3 if self._waits else int(lib.SSL_want(self._ssl))

    @property
    def cipher_names(self) -> list[str]:
        """What can be agreed on, in order of preference (SSL_get_cipher_list(3))."""
        names: list[str] = []
        while (name := lib.SSL_get_cipher_list(self._ssl, len(names))) != NULL:
            names.append(ffi.string(name).decode())
        return names

    @property
    def protocol_name(self) -> str:
        """The version as OpenSSL names it, agreed on or not (SSL_get_version(3))."""
        return str(ffi.string(lib.SSL_get_version(self._ssl)), "ascii")

    @property
    def protocol_number(self) -> int:
        """The version as on the wire (SSL_version(3))."""
        return int(lib.SSL_version(self._ssl))

    @property
    def state(self) -> bytes:
        """Where the handshake is, in words (SSL_state_string_long(3))."""
        return bytes(ffi.string(lib.SSL_state_string_long(self._ssl)))

    @property
    def alpn_protocol(self) -> bytes:
        """What was agreed on, b"" for nothing."""
        data, length = ffi.new("unsigned char **"), ffi.new("unsigned int *")
        lib.SSL_get0_alpn_selected(self._ssl, data, length)
        return copied(data[0], length[0]) if length[0] else b""

    @property
    def own_certificate(self) -> Certificate | None:
        """Ours."""
        x509 = lib.SSL_get_certificate(self._ssl)
        return Certificate(x509) if x509 != NULL and lib.X509_up_ref(x509) else None

    @property
    def peer_chain(self) -> list[Certificate] | None:
        """What the peer has sent (SSL_get_peer_cert_chain(3)): on a server without its own certificate."""
        return _chain(lib.SSL_get_peer_cert_chain(self._ssl))

    @property
    def verified_chain(self) -> list[Certificate] | None:
        """What that was completed to (SSL_get0_verified_chain(3))."""
        return _chain(lib.SSL_get0_verified_chain(self._ssl))

    @property
    def client_ca_names(self) -> list[NativeName]:
        """Whom the server trusts for clients (SSL_get_client_CA_list(3))."""
        stack = lib.SSL_get_client_CA_list(self._ssl)
        if stack == NULL:
            return []
        found = [ffi.cast("X509_NAME *", lib.OPENSSL_sk_value(stack, at)) for at in range(lib.OPENSSL_sk_num(stack))]
        return [NativeName(lib.X509_NAME_dup(name)) for name in found]

    def finished(self, own: bool) -> bytes | None:
        """The last Finished that we, or the peer, have sent (SSL_get_finished(3)); None before there is one."""
        room = ffi.new("char[]", 64)  # bytes; Finished is at most a SHA-512
        length = (lib.SSL_get_finished if own else lib.SSL_get_peer_finished)(self._ssl, room, 64)
        return copied(room, min(length, 64)) if length else None

    @property
    def client_random(self) -> bytes | None:
        """The ClientHello's random bytes (RFC 8446 section 4.1.2), None before there is a session."""
        return self._random(lib.SSL_get_client_random)

    @property
    def server_random(self) -> bytes | None:
        """The ServerHello's."""
        return self._random(lib.SSL_get_server_random)

    def _random(self, function: Any) -> bytes | None:
        if lib.SSL_get_session(self._ssl) == NULL:
            return None
        out = ffi.new("unsigned char[]", 32)  # bytes: RFC 8446 section 4.1.2
        return copied(out, function(self._ssl, out, 32))

    @property
    def master_key(self) -> bytes | None:
        """The session's secret (SSL_SESSION_get_master_key(3))."""
        session = lib.SSL_get_session(self._ssl)
        if session == NULL:
            return None
        length = lib.SSL_SESSION_get_master_key(session, NULL, 0)
        out = ffi.new("unsigned char[]", length)
        return copied(out, lib.SSL_SESSION_get_master_key(session, out, length))

    def export(self, label: bytes, length: int, context: bytes | None) -> bytes:
        """SSL_export_keying_material(3)."""
        out = ffi.new("unsigned char[]", max(length, 1))
        given = (context or b"", len(context or b""), context is not None)
        check(lib.SSL_export_keying_material, self._ssl, out, length, label, len(label), *given)
        return copied(out, length)

    # --- renegotiation ---

    def renegotiate(self) -> None:
        """Asks for it at the next step (SSL_renegotiate(3))."""
        check(lib.SSL_renegotiate, self._ssl)

    @property
    def renegotiating(self) -> bool:
        """It was asked for and is not over."""
        return bool(lib.SSL_renegotiate_pending(self._ssl))

    @property
    def renegotiations(self) -> int:
        """How many there have been."""
        return int(lib.SSL_total_renegotiations(self._ssl))


def _chain(stack: Any) -> list[Certificate] | None:
    if stack == NULL:
        return None
    out = []
    for at in range(lib.OPENSSL_sk_num(stack)):
        x509 = ffi.cast("X509 *", lib.OPENSSL_sk_value(stack, at))
        if lib.X509_up_ref(x509):
            out.append(Certificate(x509))
    return out
