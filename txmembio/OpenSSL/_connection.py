"""``OpenSSL.SSL.Connection`` over NativeConnection."""

from __future__ import annotations

import socket as sockets
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

from txmembio.native.connection import NativeConnection, Step, Verdict
from txmembio.OpenSSL._arguments import Raises, as_bytes, need_int
from txmembio.OpenSSL._certificates import X509, from_core, to_core
from txmembio.OpenSSL._context import Context, alpn_wire, certificate_callback
from txmembio.OpenSSL._errors import Error, SysCallError, WantReadError, WantWriteError, ZeroReturnError
from txmembio.OpenSSL._keys import key_to_core
from txmembio.OpenSSL._missing import absent
from txmembio.OpenSSL._names import X509Name
from txmembio.OpenSSL._wires import SocketWire

if TYPE_CHECKING:
    from txmembio.certificates import Certificate
    from txmembio.session import SSLSession

__all__ = ["Connection", "Session"]

MOST_AT_ONCE = 2**31 - 1
"""Bytes that one send() takes at most: OpenSSL's int."""

_HANDSHAKE, _READ, _WRITE, _SHUTDOWN, _PEEK = (
    int(step) for step in (Step.HANDSHAKE, Step.READ, Step.WRITE, Step.SHUTDOWN, Step.PEEK)
)
_WANT_WIRE = Verdict.WANT_WIRE
_SENT_SHUTDOWN = 1
"""A bit of shutdown_bits: our close_notify is out (SSL_get_shutdown(3))."""


class Session:
    """A session to resume, from Connection.get_session()."""

    def __init__(self) -> None:
        raise TypeError("a Session comes from Connection.get_session()")

    _session: SSLSession
    context: Context
    """The context it was made under, the only one it can be used with."""

    @classmethod
    def around(cls, session: SSLSession, context: Context) -> Session:
        """One of the core's."""
        self = cls.__new__(cls)
        self._session = session
        self.context = context
        return self

    @property
    def native(self) -> SSLSession:
        """It as the core knows it."""
        return self._session


class Connection:
    """One TLS connection: in memory (bio_write(), bio_read()) when made without a socket, else on that socket."""

    def __init__(self, context: Context, socket: Any = None) -> None:
        """Raises TypeError unless `context` is a Context, and `socket` None, a socket or a file descriptor."""
        if not isinstance(context, Context):
            raise TypeError("context must be a Context instance")
        self._socket = socket  # first, since __getattr__ looks for it
        self._wire = None if socket is None else SocketWire(socket)
        self._context = context
        self._app_data: Any = None
        self._sided = False  # set_accept_state() or set_connect_state() has been called
        self._quick = False  # it has, and there is no socket: the core's short ways can be taken
        self._taken = 0  # bytes that a send() has encrypted and could not say so, having raised WantWriteError
        self._core: NativeConnection = context._core.connection(context._server)
        self._core.owner = weakref.ref(self)

    def __getattr__(self, name: str) -> Any:
        """Whatever is not here is the socket's."""
        if self.__dict__.get("_socket") is None:
            raise AttributeError(f"'{type(self).__name__}' object has no attribute '{name}'")
        return getattr(self._socket, name)

    @property
    def core(self) -> NativeConnection:
        """The core's connection, for a transport that pumps it. Not one of pyOpenSSL's attributes."""
        return self._core

    # --- steps ---

    def _step(self, step: int, data: Any = None, length: int = 0) -> Any:
        """One operation. On a socket, its wire is carried until the operation is over."""
        self._need_side(step)
        wire = self._wire
        if wire is None:
            verdict, moved = self._core.step(step, data, length)
        elif self._taken and step == _WRITE:
            wire.send(self._core)
            told = min(length, self._taken)
            self._taken -= told
            return told
        else:
            verdict, moved = self._carried(wire, step, data, length)
        if verdict:
            self._fail(verdict)
        return moved

    def _carried(
        self, wire: SocketWire, step: int, data: Any = None, length: int = 0, reads: bool = True
    ) -> tuple[Verdict, Any]:
        """A step on a socket: sends what it makes, and unless told otherwise `reads` what it needs. Raises
        WantReadError, WantWriteError and SysCallError if what has happened to its wire is what its caller must hear."""
        while True:
            verdict, moved = self._core.step(step, data, length)
            try:
                wire.send(self._core)
            except (WantWriteError, SysCallError) as problem:
                if step == _WRITE and verdict is Verdict.DONE:
                    self._taken = moved
                if self._matters(problem, step, verdict):
                    raise
            if verdict is not _WANT_WIRE or not reads:
                return verdict, moved
            wire.receive(self._core)

    def _matters(self, problem: Error, step: int, verdict: Verdict) -> bool:
        """Whether a step ends with what has happened to its wire, rather than with what it has found itself."""
        if step == _SHUTDOWN:
            return verdict in (_WANT_WIRE, Verdict.CLOSED)
        if verdict is Verdict.DONE:
            return step == _WRITE or (step == _HANDSHAKE and isinstance(problem, WantWriteError))
        if verdict is not _WANT_WIRE:
            return False
        if step not in (_READ, _PEEK) or not self._core.handshake_complete:
            return True
        # A reader goes on reading while somebody else's wire is stuck: who has called send() or shutdown() is told. It
        # also does when nothing can leave any more, since the peer's last words may be waiting.
        theirs = self._taken or self._core.shutdown_bits & _SENT_SHUTDOWN
        return isinstance(problem, WantWriteError) and not theirs

    def _need_side(self, step: int) -> None:
        if not self._sided:
            raise Error([("SSL routines", "", "connection type not set" if step == _HANDSHAKE else "uninitialized")])

    def _fail(self, verdict: Verdict) -> NoReturn:
        if verdict is _WANT_WIRE:
            raise WantReadError
        if verdict is Verdict.CLOSED:
            raise ZeroReturnError
        if verdict is Verdict.TRUNCATED:
            raise SysCallError(-1, "Unexpected EOF")
        raise Error(self._core.queue)

    def do_handshake(self) -> None:
        """Goes on with the handshake. Raises WantReadError while it needs more wire."""
        self._step(_HANDSHAKE)

    def send(self, buf: Any, flags: int = 0) -> int:
        """Encrypts; returns how many bytes were taken."""
        if self._quick and type(buf) is bytes and 0 < len(buf) <= MOST_AT_ONCE:
            taken = self._core.write(buf)
            if type(taken) is int:
                return taken
            self._fail(Verdict(taken))
        data = _sendable(buf)
        self._need_side(_WRITE)
        return int(self._step(_WRITE, data, len(data))) if len(data) else 0

    write = send

    def sendall(self, buf: Any, flags: int = 0) -> int:
        """Encrypts all of it."""
        data = _sendable(buf)
        done = 0
        while done < len(data):
            done += int(self._step(_WRITE, data + done, len(data) - done))
        return done

    def recv(self, bufsiz: int, flags: int | None = None) -> bytes:
        """Up to `bufsiz` bytes of plaintext, at most one record's."""
        if self._quick and flags is None and bufsiz > 0:
            plaintext = self._core.read(bufsiz)
            if type(plaintext) is bytes:
                return plaintext
            self._fail(plaintext)  # type: ignore[arg-type]  # a Verdict
        step = _PEEK if flags is not None and flags & sockets.MSG_PEEK else _READ
        data: bytes = self._step(step, None, bufsiz)
        return data

    read = recv

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int | None = None) -> int:
        """The same into `buffer`; returns how many bytes."""
        with memoryview(buffer).cast("B") as view:
            room = len(view) if nbytes is None else min(nbytes, len(view))
            data = self.recv(room, flags)
            view[: len(data)] = data
        return len(data)

    def shutdown(self) -> bool:
        """Sends close_notify: True when the peer's was read before, else False. Called again it reads the peer's: True,
        or WantReadError while that has not come (SSL_shutdown(3)). Raises WantWriteError while ours cannot leave."""
        self._need_side(_SHUTDOWN)
        core, wire = self._core, self._wire
        reads = bool(core.shutdown_bits & _SENT_SHUTDOWN) and not (wire is not None and wire.stuck)
        if wire is None:
            verdict, _ = core.step(_SHUTDOWN)
        else:
            verdict, _ = self._carried(wire, _SHUTDOWN, reads=reads)
        if verdict is Verdict.CLOSED:
            return True
        if verdict is _WANT_WIRE and not reads:
            return False
        self._fail(verdict)

    def bio_write(self, buf: Any) -> int:
        """Wire that has arrived; returns how many bytes that were."""
        data = as_bytes("buf", buf)
        self._need_memory()
        if type(data) is not bytes:
            data = bytes(memoryview(data))
        self._core.feed(data)
        return len(data)

    def bio_read(self, bufsiz: int) -> bytes:
        """Up to `bufsiz` bytes of wire to send. Raises WantReadError for none."""
        self._need_memory()
        need_int("bufsiz", bufsiz)
        wire = self._core.take_wire(bufsiz)
        if not wire:
            raise WantReadError
        return wire

    def bio_shutdown(self) -> None:
        """No more wire will arrive."""
        self._need_memory()
        self._core.end_feed()

    def _need_memory(self) -> None:
        if self._wire is not None:
            raise TypeError("Connection sock was not None")

    def pending(self) -> int:
        """Plaintext that is decrypted already, in bytes."""
        return self._core.plaintext_waiting

    def want_read(self) -> bool:
        """Whether the last operation needs more wire."""
        return self._core.wanted == 3

    def want_write(self) -> bool:
        """Whether the last operation has wire that could not leave."""
        return self._core.wanted == 2

    # --- set-up ---

    def set_accept_state(self) -> None:
        """This is the server."""
        self._take_side(True)

    def set_connect_state(self) -> None:
        """This is the client."""
        self._take_side(False)

    def _take_side(self, server_side: bool) -> None:
        self._core.set_side(server_side)
        self._sided = True
        self._quick = self._wire is None

    def get_context(self) -> Context:
        """The context in force."""
        return self._context

    def set_context(self, context: Context) -> None:
        """Another context's certificate, chain and ALPN callback. Verification stays as it was."""
        if not isinstance(context, Context):
            raise TypeError("context must be a Context instance")
        with Raises(Error):
            self._core.switch(context._core)
        self._context = context

    def set_options(self, options: int) -> int:
        """Adds OP_ bits; returns all that are set now."""
        need_int("options", options)
        return self._core.add_options(options)

    def set_verify(self, mode: int, callback: Any = None) -> None:
        """Context.set_verify() for this connection alone."""
        need_int("mode", mode)
        self._core.set_verify(mode, certificate_callback(callback))

    def get_verify_mode(self) -> int:
        """VERIFY_ bits."""
        return self._core.verify_bits

    def use_certificate(self, cert: Any) -> None:
        """Context.use_certificate() for this connection alone."""
        with Raises(Error):
            self._core.use_certificate(to_core(cert))

    def use_privatekey(self, pkey: Any) -> None:
        """Context.use_privatekey() for this connection alone."""
        with Raises(Error):
            self._core.use_private_key(key_to_core(pkey))

    def set_tlsext_host_name(self, name: bytes) -> None:
        """The server name to ask for (RFC 6066 section 3)."""
        if not isinstance(name, bytes):
            raise TypeError("name must be a byte string")
        if b"\0" in name:
            raise TypeError("name must not contain NUL byte")
        with Raises(Error):
            self._core.set_server_name(name)

    def get_servername(self) -> bytes | None:
        """The server name that was asked for."""
        return self._core.requested_name

    def set_alpn_protos(self, protos: list[bytes]) -> None:
        """What a client offers (RFC 7301)."""
        with Raises(Error):
            self._core.set_alpn_wire(alpn_wire(protos))

    def set_info_callback(self, callback: Callable[[Connection, int, int], None]) -> None:
        """Context.set_info_callback() for this connection alone."""
        self._core.set_info_callback(callback)

    def get_app_data(self) -> Any:
        """What set_app_data() was given."""
        return self._app_data

    def set_app_data(self, data: Any) -> None:
        """Anything."""
        self._app_data = data

    def get_session(self) -> Session | None:
        """The session, to resume later; None before there is one."""
        session = self._core.session
        return None if session is None else Session.around(session, self._context)

    def set_session(self, session: Session) -> None:
        """Offers a session of an earlier connection under the same context. Raises ValueError for another's."""
        if not isinstance(session, Session):
            raise TypeError("session must be a Session instance")
        if session.context is not self._context:
            raise ValueError("session must have been created by a Connection using the same Context as this one")
        self._core.set_session(session.native)

    # --- facts ---

    def get_certificate(self, *, as_cryptography: bool = False) -> Any:
        """Ours, None for none."""
        return _shaped(self._core.own_certificate, as_cryptography)

    def get_peer_certificate(self, *, as_cryptography: bool = False) -> Any:
        """The peer's, None for none: an X509, or one of cryptography's."""
        return _shaped(self._core.peer_certificate(), as_cryptography)

    def get_peer_cert_chain(self, *, as_cryptography: bool = False) -> list[Any] | None:
        """What the peer has sent, None for nothing."""
        return _all_shaped(self._core.peer_chain, as_cryptography)

    def get_verified_chain(self, *, as_cryptography: bool = False) -> list[Any] | None:
        """What that was completed to, None for nothing."""
        return _all_shaped(self._core.verified_chain, as_cryptography)

    def get_client_ca_list(self, *, as_cryptography: bool = False) -> list[Any]:
        """Whom the server trusts for clients."""
        names = [X509Name.around(name) for name in self._core.client_ca_names]
        return [name.to_cryptography() for name in names] if as_cryptography else names

    def get_alpn_proto_negotiated(self) -> bytes:
        """The protocol that was agreed on, b"" for none."""
        return self._core.alpn_protocol

    def get_cipher_list(self) -> list[str]:
        """What can be agreed on, in order of preference."""
        return self._core.cipher_names

    def get_cipher_name(self) -> str | None:
        """The cipher suite that was agreed on."""
        cipher = self._core.cipher()
        return None if cipher is None else cipher[0]

    def get_cipher_bits(self) -> int | None:
        """Its secret bits."""
        cipher = self._core.cipher()
        return None if cipher is None else cipher[2]

    def get_cipher_version(self) -> str | None:
        """The version that defined it."""
        cipher = self._core.cipher()
        return None if cipher is None else cipher[1]

    def get_protocol_version_name(self) -> str:
        """ "TLSv1.3"."""
        return self._core.protocol_name

    def get_protocol_version(self) -> int:
        """The same as a _VERSION constant."""
        return self._core.protocol_number

    def get_group_name(self) -> str | None:
        """The key-exchange group, None before the handshake is complete."""
        return self._core.group()

    def get_finished(self) -> bytes | None:
        """Our last Finished, None before there is one."""
        return self._core.finished(own=True)

    def get_peer_finished(self) -> bytes | None:
        """The peer's."""
        return self._core.finished(own=False)

    def get_shutdown(self) -> int:
        """SENT_SHUTDOWN and RECEIVED_SHUTDOWN bits."""
        return self._core.shutdown_bits

    def set_shutdown(self, state: int) -> None:
        """Says that these have happened."""
        need_int("state", state)
        self._core.shutdown_bits = state

    def get_state_string(self) -> bytes:
        """Where the handshake is, in OpenSSL's words."""
        return self._core.state

    def client_random(self) -> bytes | None:
        """The ClientHello's random bytes, None before there is a session."""
        return self._core.client_random

    def server_random(self) -> bytes | None:
        """The ServerHello's."""
        return self._core.server_random

    def master_key(self) -> bytes | None:
        """The session's secret."""
        return self._core.master_key

    def export_keying_material(self, label: bytes, olen: int, context: bytes | None = None) -> bytes:
        """`olen` bytes that only the two ends know (RFC 5705)."""
        with Raises(Error):
            return self._core.export(label, olen, context)

    # --- renegotiation ---

    def renegotiate(self) -> bool:
        """Asks for it at the next operation; False if it was asked for already."""
        if self._core.renegotiating:
            return False
        with Raises(Error):
            self._core.renegotiate()
        return True

    def renegotiate_pending(self) -> bool:
        """Asked for and not over."""
        return self._core.renegotiating

    def total_renegotiations(self) -> int:
        """How many there have been."""
        return self._core.renegotiations

    # --- sockets ---

    def connect(self, addr: Any) -> Any:
        """The socket's connect(), as a client."""
        self.set_connect_state()
        return self._socket.connect(addr)

    def connect_ex(self, addr: Any) -> int:
        """The socket's connect_ex(), as a client."""
        self.set_connect_state()
        return int(self._socket.connect_ex(addr))

    def accept(self) -> tuple[Connection, Any]:
        """The socket's accept(), with a server's Connection around what it gives."""
        client, address = self._socket.accept()
        connection = Connection(self._context, client)
        connection.set_accept_state()
        return connection, address

    def sock_shutdown(self, *args: Any, **kwargs: Any) -> Any:
        """The socket's shutdown()."""
        return self._socket.shutdown(*args, **kwargs)

    def makefile(self, *args: object, **kwargs: object) -> NoReturn:
        """Raises NotImplementedError, as it always has."""
        raise NotImplementedError("Cannot make file object of OpenSSL.SSL.Connection")

    # --- not here ---

    request_ocsp = absent("SSL.Connection.request_ocsp", "no OCSP stapling")
    get_selected_srtp_profile = absent("SSL.Connection.get_selected_srtp_profile", "no DTLS")
    set_ciphertext_mtu = absent("SSL.Connection.set_ciphertext_mtu", "no DTLS")
    get_cleartext_mtu = absent("SSL.Connection.get_cleartext_mtu", "no DTLS")
    DTLSv1_listen = absent("SSL.Connection.DTLSv1_listen", "no DTLS")
    DTLSv1_get_timeout = absent("SSL.Connection.DTLSv1_get_timeout", "no DTLS")
    DTLSv1_handle_timeout = absent("SSL.Connection.DTLSv1_handle_timeout", "no DTLS")


def _sendable(buf: Any) -> Any:
    """What send() was given, where C can read it. Raises ValueError for more than one call takes."""
    data = as_bytes("buf", buf)
    if len(data) > MOST_AT_ONCE:
        raise ValueError("Cannot send more than 2**31-1 bytes at once.")
    return NativeConnection.lend(data)


def _shaped(certificate: Certificate | None, as_cryptography: bool) -> Any:
    if certificate is None:
        return None
    x509: X509 = from_core(certificate)
    return x509.to_cryptography() if as_cryptography else x509


def _all_shaped(chain: list[Certificate] | None, as_cryptography: bool) -> list[Any] | None:
    return None if chain is None else [_shaped(certificate, as_cryptography) for certificate in chain]
