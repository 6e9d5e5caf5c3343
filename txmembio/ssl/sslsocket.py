"""SSLSocket: a ``socket.socket`` that speaks TLS, with the standard library's methods."""

from __future__ import annotations

import errno
import socket
import warnings
from collections.abc import Callable
from typing import Any, NoReturn

from txmembio import SSLContext, SSLEOFError, SSLError, SSLSession
from txmembio.inner import as_der
from txmembio.names import encoded_hostname
from txmembio.ssl.engine import Engine

__all__ = ["CHANNEL_BINDING_TYPES", "SSLSocket"]

CHANNEL_BINDING_TYPES = ["tls-unique"]
"""The standard library's list; the other types that get_channel_binding() knows work as well."""

PREMATURE = "Closed before TLS handshake with data in recv buffer."


class SSLSocket(socket.socket):
    """A socket in a TLS session. Made by :meth:`txmembio.SSLContext.wrap_socket`, which takes over the socket it is
    given. Until it is connected, and after unwrap(), it is a plain one.

    Blocking, time-outs and non-blocking mode are the socket's own: in the last, SSLWantReadError and SSLWantWriteError
    say what to wait for. One thread may read while another writes.
    """

    _sslobj: Engine | None
    _context: SSLContext
    _session: SSLSession | None
    _connected: bool
    server_side: bool
    server_hostname: str | None
    do_handshake_on_connect: bool
    suppress_ragged_eofs: bool

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise TypeError(
            f"{type(self).__name__} does not have a public constructor. Instances are returned by"
            " SSLContext.wrap_socket()."
        )

    @classmethod
    def _create(
        cls,
        sock: socket.socket,
        server_side: bool = False,
        do_handshake_on_connect: bool = True,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | bytes | None = None,
        context: SSLContext | None = None,
        session: SSLSession | None = None,
    ) -> SSLSocket:
        if sock.getsockopt(socket.SOL_SOCKET, socket.SO_TYPE) != socket.SOCK_STREAM:
            raise NotImplementedError("only stream sockets are supported")
        if server_side and server_hostname:
            raise ValueError("server_hostname can only be specified in client mode")
        if server_side and session is not None:
            raise ValueError("session can only be specified in client mode")
        assert context is not None
        if context.check_hostname and not server_hostname:
            raise ValueError("check_hostname requires server_hostname")
        timeout = sock.gettimeout()
        same: dict[str, Any] = {"family": sock.family, "type": sock.type, "proto": sock.proto, "fileno": sock.fileno()}
        self = cls.__new__(cls, **same)
        super(SSLSocket, self).__init__(**same)
        sock.detach()
        self._context = context
        self._session = session
        self._sslobj = None
        self.server_side = server_side
        self.do_handshake_on_connect = do_handshake_on_connect
        self.suppress_ragged_eofs = suppress_ragged_eofs
        try:
            self.server_hostname = encoded_hostname(server_hostname)
            self._connected = self._is_connected()
            self.settimeout(timeout)
            if self._connected:
                self._sslobj = self._new_engine()
                if do_handshake_on_connect:
                    if timeout == 0.0:
                        raise ValueError("do_handshake_on_connect should not be specified for non-blocking sockets")
                    self.do_handshake()
        except BaseException:
            self.close()  # nobody else has it any more
            raise
        return self

    def _is_connected(self) -> bool:
        """Whether there is a peer. Raises SSLError where there was one that has gone and left data behind: nobody must
        take that for something that came through TLS (CVE-2023-40217)."""
        try:
            self.getpeername()
        except OSError as error:
            if error.errno != errno.ENOTCONN:
                raise
            number = error.errno
        else:
            return True
        self.setblocking(False)
        try:
            left = super().recv(1)
        except OSError as error:
            # EINVAL is what a UNIX socket says.
            if error.errno not in (errno.ENOTCONN, errno.EINVAL):
                raise
            return False
        if not left:
            return False
        refusal = SSLError(number, PREMATURE)
        refusal.reason = PREMATURE
        refusal.library = None  # type: ignore[assignment]
        raise refusal

    def _new_engine(self) -> Engine:
        return Engine(self, self._context, self.server_side, self.server_hostname, self._session)

    # --- connecting ---

    def _real_connect(self, address: Any, connect: Callable[[Any], int | None]) -> int | None:
        if self.server_side:
            raise ValueError("can't connect in server-side mode")
        if self._connected or self._sslobj is not None:
            raise ValueError("attempt to connect already-connected SSLSocket!")
        self._sslobj = self._new_engine()
        try:
            number = connect(address)
            if not number:
                self._connected = True
                if self.do_handshake_on_connect:
                    self.do_handshake()
            return number
        except (OSError, ValueError):
            self._sslobj = None
            raise

    def connect(self, addr: Any) -> None:
        """Connects, and does the handshake unless do_handshake_on_connect is False."""
        self._real_connect(addr, super().connect)

    def connect_ex(self, addr: Any) -> int:
        """The same, but returns the error number of a connection that failed; the handshake raises."""
        return self._real_connect(addr, super().connect_ex) or 0

    def accept(self) -> tuple[SSLSocket, Any]:
        """A connection from a client, which is wrapped as this socket is, and its address."""
        plain, address = super().accept()
        accepted = self.context.wrap_socket(
            plain,
            do_handshake_on_connect=self.do_handshake_on_connect,
            suppress_ragged_eofs=self.suppress_ragged_eofs,
            server_side=True,
        )
        return accepted, address

    def do_handshake(self, block: bool = False) -> None:
        """Does the handshake; with `block`, on a non-blocking socket too until it is done."""
        self._check_connected()
        timeout = self.gettimeout()
        try:
            if timeout == 0.0 and block:
                self.settimeout(None)
            self._tls("do_handshake()").do_handshake()
        finally:
            if timeout == 0.0 and block:
                self.settimeout(timeout)

    def unwrap(self) -> socket.socket:
        """Ends TLS on both sides; the socket is a plain one then, and is returned. Nothing that the peer sends behind
        its close_notify is lost."""
        plain: socket.socket = self._tls(f"No SSL wrapper around {self}").shutdown()
        self._sslobj = None
        return plain

    def verify_client_post_handshake(self) -> None:
        """Asks the client for its certificate, with what is written next (RFC 8446 section 4.6.2)."""
        self._tls(f"No SSL wrapper around {self}").verify_client_post_handshake()

    def shutdown(self, how: int) -> None:
        """Shuts the socket down, without a word to the peer's TLS."""
        self._checkClosed()
        self._sslobj = None
        super().shutdown(how)

    def _real_close(self) -> None:
        self._sslobj = None
        super()._real_close()  # type: ignore[misc]

    def _checkClosed(self, msg: str | None = None) -> None:
        """For subclasses, as in the standard library."""

    def _check_connected(self) -> None:
        if not self._connected:
            # After a connect() that had to wait the flag is not set; this knows, and raises ENOTCONN.
            self.getpeername()

    def _tls(self, otherwise: str) -> Engine:
        if self._sslobj is None:
            raise ValueError(otherwise)
        return self._sslobj

    def dup(self) -> NoReturn:
        """Raises NotImplementedError: a TLS session has one socket."""
        raise NotImplementedError(f"Can't dup() {type(self).__name__} instances")

    # --- reading ---

    def read(self, len: int = 1024, buffer: Any = None) -> Any:
        """At most `len` bytes, or with a buffer, into it, returning how many. b"" (or 0) at the end."""
        self._checkClosed()
        engine = self._tls("Read on closed or unwrapped SSL socket.")
        try:
            return engine.read(len, buffer)
        except SSLEOFError:
            if not self.suppress_ragged_eofs:
                raise
            return b"" if buffer is None else 0

    def recv(self, buflen: int = 1024, flags: int = 0) -> bytes:
        """At most `buflen` bytes, no more than one record's; b"" at the end."""
        self._checkClosed()
        if self._sslobj is None:
            return super().recv(buflen, flags)
        self._no_flags(flags, "recv")
        data: bytes = self.read(buflen)
        return data

    def recv_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> int:
        """The same into a buffer; returns how many bytes."""
        self._checkClosed()
        if nbytes is None:
            nbytes = 1024
            if buffer is not None:
                with memoryview(buffer) as view:
                    nbytes = view.nbytes or 1024
        if self._sslobj is None:
            return super().recv_into(buffer, nbytes, flags)
        self._no_flags(flags, "recv_into")
        count: int = self.read(nbytes, buffer)
        return count

    def recvfrom(self, buflen: int = 1024, flags: int = 0) -> tuple[bytes, Any]:
        """Only before and after TLS."""
        self._checkClosed()
        if self._sslobj is not None:
            raise ValueError(f"recvfrom not allowed on instances of {type(self)}")
        return super().recvfrom(buflen, flags)

    def recvfrom_into(self, buffer: Any, nbytes: int | None = None, flags: int = 0) -> tuple[int, Any]:
        """Only before and after TLS."""
        self._checkClosed()
        if self._sslobj is not None:
            raise ValueError(f"recvfrom_into not allowed on instances of {type(self)}")
        return super().recvfrom_into(buffer, nbytes or 0, flags)

    def recvmsg(self, *args: object, **kwargs: object) -> NoReturn:
        """Never: it would hand out wire for plaintext."""
        raise NotImplementedError(f"recvmsg not allowed on instances of {type(self)}")

    def recvmsg_into(self, *args: object, **kwargs: object) -> NoReturn:
        """Never: it would hand out wire for plaintext."""
        raise NotImplementedError(f"recvmsg_into not allowed on instances of {type(self)}")

    def pending(self) -> int:
        """Plaintext that is decrypted already, in bytes."""
        self._checkClosed()
        return 0 if self._sslobj is None else int(self._sslobj.pending())

    # --- writing ---

    def write(self, data: Any) -> int:
        """Sends some of `data`; returns how many bytes of it."""
        self._checkClosed()
        return self._tls("Write on closed or unwrapped SSL socket.").write(data)

    def send(self, data: Any, flags: int = 0) -> int:
        """Sends some of `data`; returns how many bytes of it."""
        self._checkClosed()
        if self._sslobj is None:
            return super().send(data, flags)
        self._no_flags(flags, "send")
        return self._sslobj.write(data)

    def sendall(self, data: Any, flags: int = 0) -> None:
        """Sends all of `data`."""
        self._checkClosed()
        if self._sslobj is None:
            return super().sendall(data, flags)
        self._no_flags(flags, "sendall")
        with memoryview(data) as given, given.cast("B") as view:
            sent = 0
            while sent < len(view):
                with view[sent:] as rest:
                    sent += self.send(rest)
        return None

    def sendto(self, data: Any, flags_or_addr: Any, addr: Any = None) -> int:
        """Only before and after TLS."""
        self._checkClosed()
        if self._sslobj is not None:
            raise ValueError(f"sendto not allowed on instances of {type(self)}")
        return super().sendto(data, flags_or_addr) if addr is None else super().sendto(data, flags_or_addr, addr)

    def sendmsg(self, *args: object, **kwargs: object) -> NoReturn:
        """Never: it would send plaintext for wire."""
        raise NotImplementedError(f"sendmsg not allowed on instances of {type(self)}")

    def sendfile(self, file: Any, offset: int = 0, count: int | None = None) -> int:
        """Sends a file, read piece by piece; os.sendfile() is for plain sockets. Returns how many bytes."""
        if self._sslobj is None:
            return super().sendfile(file, offset, count)
        sent: int = self._sendfile_use_send(file, offset, count)  # type: ignore[attr-defined]
        return sent

    def _no_flags(self, flags: int, what: str) -> None:
        if flags != 0:
            raise ValueError(f"non-zero flags not allowed in calls to {what}() on {type(self)}")

    # --- facts ---

    @property
    def context(self) -> SSLContext:
        """The context in force; an SNI callback may assign another."""
        return self._context

    @context.setter
    def context(self, context: SSLContext) -> None:
        if self._sslobj is not None:
            self._sslobj.context = context
        self._context = context

    @property
    def session(self) -> SSLSession | None:
        """The session, to resume later; a client may assign one before the handshake."""
        return None if self._sslobj is None else self._sslobj.session

    @session.setter
    def session(self, session: SSLSession) -> None:
        self._session = session
        if self._sslobj is not None:
            self._sslobj.session = session

    @property
    def session_reused(self) -> bool | None:
        """True if an earlier session was resumed, None where there is no connection."""
        return None if self._sslobj is None else bool(self._sslobj.session_reused)

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """See :meth:`txmembio.SSLObject.getpeercert`."""
        self._checkClosed()
        self._check_connected()
        certificate: dict[str, Any] | bytes | None = self._tls(
            "getpeercert() on closed or unwrapped SSL socket."
        ).getpeercert(binary_form)
        return certificate

    def get_verified_chain(self) -> list[bytes]:
        """See :meth:`txmembio.SSLObject.get_verified_chain`."""
        chain = self._tls("get_verified_chain() on closed or unwrapped SSL socket.").get_verified_chain()
        return as_der([certificate.der for certificate in chain or ()])

    def get_unverified_chain(self) -> list[bytes]:
        """See :meth:`txmembio.SSLObject.get_unverified_chain`."""
        chain = self._tls("get_unverified_chain() on closed or unwrapped SSL socket.").get_unverified_chain()
        return as_der([certificate.der for certificate in chain or ()])

    def selected_npn_protocol(self) -> None:
        """None: ALPN has replaced NPN (RFC 7301)."""
        self._checkClosed()
        warnings.warn("ssl NPN is deprecated, use ALPN instead", DeprecationWarning, stacklevel=2)

    def selected_alpn_protocol(self) -> str | None:
        """See :meth:`txmembio.SSLObject.selected_alpn_protocol`."""
        self._checkClosed()
        return None if self._sslobj is None else self._sslobj.selected_alpn_protocol()

    def cipher(self) -> tuple[str, str, int] | None:
        """See :meth:`txmembio.SSLObject.cipher`."""
        self._checkClosed()
        return None if self._sslobj is None else self._sslobj.cipher()

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """See :meth:`txmembio.SSLObject.shared_ciphers`."""
        self._checkClosed()
        return None if self._sslobj is None else self._sslobj.shared_ciphers()

    def compression(self) -> str | None:
        """None: there is no compression (RFC 7457 section 2.6)."""
        self._checkClosed()
        return None

    def version(self) -> str | None:
        """See :meth:`txmembio.SSLObject.version`."""
        return None if self._sslobj is None else self._sslobj.version()

    def group(self) -> str | None:
        """See :meth:`txmembio.SSLObject.group`."""
        return None if self._sslobj is None else self._sslobj.group()

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """See :meth:`txmembio.SSLObject.get_channel_binding`."""
        if self._sslobj is not None:
            binding: bytes | None = self._sslobj.get_channel_binding(cb_type)
            return binding
        if cb_type not in CHANNEL_BINDING_TYPES:
            raise ValueError(f"{cb_type} channel binding type not implemented")
        return None

    def export_keying_material(self, label: str | bytes, length: int, context: bytes | None = None) -> bytes:
        """See :meth:`txmembio.SSLObject.export_keying_material`."""
        secret: bytes = self._tls("export_keying_material() on closed or unwrapped SSL socket.").export_keying_material(
            label, length, context
        )
        return secret


SSLContext.sslsocket_class = SSLSocket
