"""What `stream.socket` is on a `TLSStream`: the plain socket, with what an SSLSocket could tell about the connection.

Code that has a stream asks its socket for the peer's certificate, the cipher or the ALPN protocol, as Tornado itself
does. Those questions are answered by the connection, all others by the socket.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .. import Certificate, Connection, SSLContext

if TYPE_CHECKING:
    from .. import SSLSession

__all__ = ["SocketView"]

_RECEIVING = ("dup", "makefile", "read", "recv", "recv_into", "recvfrom", "recvfrom_into", "recvmsg", "recvmsg_into")
_PAST_TLS = {*_RECEIVING, "send", "sendall", "sendfile", "sendmsg", "sendto", "shutdown", "unwrap", "write"}
"""Methods of an SSLSocket that move plaintext or end TLS. On the plain socket they would move wire."""


class SocketView:
    """A socket, and the TLS connection over it: the read-only part of `ssl.SSLSocket`.

    Its questions raise ValueError as long as there is no connection, which is until the socket is connected.
    """

    __slots__ = ("_connection", "raw")

    def __init__(self, raw: Any, connection: Connection | None = None) -> None:
        #: The socket beneath: what is sent and received there is wire.
        self.raw = raw
        self._connection = connection

    def __getattr__(self, name: str) -> Any:
        if name in _PAST_TLS:
            raise AttributeError(f"socket.{name} would bypass TLS: use the stream's own methods")
        return getattr(self.raw, name)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.raw!r}>"

    @property
    def connection(self) -> Connection:
        """The `txmembio.Connection`."""
        if self._connection is None:
            raise ValueError("there is no TLS connection yet: the socket is not connected")
        return self._connection

    @connection.setter
    def connection(self, connection: Connection) -> None:
        self._connection = connection

    @property
    def context(self) -> SSLContext:
        """As `ssl.SSLSocket.context`, but one of ours."""
        return self.connection.context

    @property
    def server_side(self) -> bool:
        """As `ssl.SSLSocket.server_side`."""
        return self.connection.server_side

    @property
    def server_hostname(self) -> str | None:
        """As `ssl.SSLSocket.server_hostname`."""
        return self.connection.server_hostname

    @property
    def session(self) -> SSLSession | None:
        """As `ssl.SSLSocket.session`."""
        return self.connection.session

    @property
    def session_reused(self) -> bool | None:
        """As `ssl.SSLSocket.session_reused`."""
        return self.connection.session_reused

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """As `ssl.SSLSocket.getpeercert`."""
        if not self.connection.handshake_complete:
            raise ValueError("handshake not done yet")
        return self.connection.getpeercert(binary_form)

    def peer_certificate(self) -> Certificate | None:
        """As `txmembio.Connection.peer_certificate`."""
        return self.connection.peer_certificate()

    def get_verified_chain(self) -> list[bytes]:
        """As `ssl.SSLSocket.get_verified_chain`."""
        return self.connection.get_verified_chain()

    def get_unverified_chain(self) -> list[bytes]:
        """As `ssl.SSLSocket.get_unverified_chain`."""
        return self.connection.get_unverified_chain()

    def cipher(self) -> tuple[str, str, int] | None:
        """As `ssl.SSLSocket.cipher`."""
        return self.connection.cipher()

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """As `ssl.SSLSocket.shared_ciphers`."""
        return self.connection.shared_ciphers()

    def version(self) -> str | None:
        """As `ssl.SSLSocket.version`."""
        return self.connection.version()

    def group(self) -> str | None:
        """As `ssl.SSLSocket.group` of newer Pythons."""
        return self.connection.group()

    def selected_alpn_protocol(self) -> str | None:
        """As `ssl.SSLSocket.selected_alpn_protocol`."""
        return self.connection.selected_alpn_protocol()

    def selected_npn_protocol(self) -> None:
        """None: no OpenSSL of today has NPN."""

    def compression(self) -> None:
        """None: it is never negotiated (CRIME)."""

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """As `ssl.SSLSocket.get_channel_binding`."""
        return self.connection.get_channel_binding(cb_type)

    def pending(self) -> int:
        """0: what is decrypted is in the stream's buffer."""
        return 0
