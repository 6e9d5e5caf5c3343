"""What a connection can tell about itself and its peer once, and while, it is negotiated.

Every method looks at the ``SSL *`` under the connection's one-thread-at-a-time rule: from another thread than the one
that is inside, it raises RuntimeError; from a callback of the connection itself it is fine.
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from txmembio import errors
from txmembio._openssl.crossing import Crossing
from txmembio._openssl.lib import NULL, copied, ffi, lib
from txmembio.certificates import Certificate
from txmembio.session import SSLSession

if TYPE_CHECKING:
    from txmembio.context import SSLContext

__all__ = ["CHANNEL_BINDING_TYPES", "Facts", "Inside", "Negotiated", "Traffic"]

CHANNEL_BINDING_TYPES = ["tls-unique", "tls-exporter", "tls-server-end-point"]
"""RFC 5929 sections 3 and 4, and RFC 9266."""

MAX_EXPORT = 4096
"""Bytes that one call of export_keying_material() gives at most; protocols ask for 16 to 64."""

IN_TWO_PLACES = (
    "a Connection is used by one thread at a time, and a callback cannot pump the connection that called it:"
    " somebody is inside this one"
)


class Inside:
    """Keeps other threads out of a connection while its facts are read."""

    __slots__ = ("_c", "_nested")

    def __init__(self, c: Any) -> None:
        self._c = c
        self._nested = 0

    def __enter__(self) -> None:
        self._nested = lib.txm_enter(self._c)
        if self._nested < 0:
            raise RuntimeError(IN_TWO_PLACES)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._nested == 0:
            lib.txm_leave(self._c)


class Negotiated(NamedTuple):
    """What a handshake has agreed on, in the words of :class:`txmembio.Connection`'s methods of these names."""

    version: str
    cipher: str
    group: str | None
    alpn: str | None
    resumed: bool


class Traffic(NamedTuple):
    """What one connection has carried so far, in bytes. The wire is what OpenSSL has read and written: handshake,
    record headers and padding are in it, the headers of TCP are not."""

    wire_received: int
    wire_sent: int
    plaintext_received: int
    plaintext_sent: int


class Facts(Crossing):
    """The part of a Connection that only looks. `_c` is its ``txm_connection *``, `_ssl` the ``SSL *`` in it."""

    __slots__ = ("_asked_after", "_context", "_identity", "_ssl", "server_side")

    _asked_after: bytes | None  # the client's Finished when it was asked for a certificate, until it has answered

    _ssl: Any
    _context: SSLContext
    _identity: bytes  # the session-id context of the rules that the context had when this was made
    server_side: bool

    # --- what was agreed on ---

    def negotiated(self) -> Negotiated | None:
        """What the next methods and :attr:`session_reused` tell, at the price of one; None before the handshake is
        complete."""
        if not self.handshake_complete:
            return None
        out = ffi.new("txm_negotiated *")
        if lib.txm_negotiated_get(self._c, out) < 0:
            raise RuntimeError(IN_TWO_PLACES)
        alpn = copied(out.alpn, out.alpn_length).decode("utf-8", "replace") if out.alpn_length else None
        return Negotiated(
            ffi.string(out.version).decode(), _text(out.cipher) or "", _text(out.group), alpn, bool(out.resumed)
        )

    def version(self) -> str | None:
        """The protocol version as OpenSSL names it, "TLSv1.3"; None before the handshake is complete."""
        with Inside(self._c):
            return ffi.string(lib.SSL_get_version(self._ssl)).decode() if self.handshake_complete else None

    def cipher(self) -> tuple[str, str, int] | None:
        """(name, version that defined it, secret bits) of the cipher suite, None before there is one."""
        with Inside(self._c):
            return _cipher(lib.SSL_get_current_cipher(self._ssl))

    def shared_ciphers(self) -> list[tuple[str, str, int]] | None:
        """On a server: the suites that both sides have, in the client's order; None on a client and before."""
        with Inside(self._c):
            theirs = lib.SSL_get_client_ciphers(self._ssl) if self.server_side else NULL
            if theirs == NULL:
                return None
            ours = {_cipher(cipher) for cipher in _stack(lib.SSL_get_ciphers(self._ssl))}
            both = [mine for cipher in _stack(theirs) if (mine := _cipher(cipher)) in ours and mine is not None]
            return both

    def group(self) -> str | None:
        """The key-exchange group, "x25519" or "X25519MLKEM768"; None before the handshake is complete, and where the
        key exchange had none (RFC 8446 section 4.2.7)."""
        with Inside(self._c):
            if not self.handshake_complete:
                return None
            number = lib.SSL_get_negotiated_group(self._ssl)
            name = lib.SSL_group_to_name(self._ssl, number) if number else NULL
            return ffi.string(name).decode() if name != NULL else None

    def selected_alpn_protocol(self) -> str | None:
        """The protocol of the application layer that was agreed on (RFC 7301), None for none."""
        with Inside(self._c):
            data, length = ffi.new("unsigned char **"), ffi.new("unsigned int *")
            lib.SSL_get0_alpn_selected(self._ssl, data, length)
            return copied(data[0], length[0]).decode("utf-8", "replace") if length[0] else None

    def server_name(self) -> str | None:
        """The host name that the client asked for (RFC 6066 section 3): what was received on a server, what is sent on
        a client. None for none."""
        with Inside(self._c):
            name = lib.SSL_get_servername(self._ssl, lib.TLSEXT_NAMETYPE_host_name)
            return ffi.string(name).decode("ascii", "replace") if name != NULL else None

    def handshake_rtt(self) -> float:
        """Round-trip time of the handshake in seconds (SSL_get_handshake_rtt(3)). Raises UnavailableError where
        ``txmembio.has_handshake_rtt`` is False, ValueError before it is known."""
        if not lib.TXM_HAS_HANDSHAKE_RTT:
            raise errors.UnavailableError("handshake_rtt() needs OpenSSL 3.2 or later")
        with Inside(self._c):
            microseconds = ffi.new("uint64_t *")
            if lib.SSL_get_handshake_rtt(self._ssl, microseconds) <= 0:
                raise ValueError("the handshake's round-trip time is not known")
            return int(microseconds[0]) / 1e6

    def traffic(self) -> Traffic:
        """How many bytes the connection has carried so far. At any time, and from any thread: C counts as it goes."""
        c = self._c
        return Traffic(c.wire_received, c.wire_sent, c.plaintext_received, c.plaintext_sent)

    # --- the peer ---

    def getpeercert(self, binary_form: bool = False) -> dict[str, Any] | bytes | None:
        """The peer's certificate: DER, or the standard library's dict, which is empty unless it was verified. None when
        there is none. Raises ValueError before the handshake is complete."""
        if not self.handshake_complete:
            raise ValueError("handshake not done yet")
        with Inside(self._c):
            certificate = self._peer_certificate()
            if certificate is None:
                return None
            if binary_form:
                return certificate.der
            return certificate.as_dict() if lib.SSL_get_verify_mode(self._ssl) & lib.SSL_VERIFY_PEER else {}

    def peer_certificate(self) -> Certificate | None:
        """The peer's certificate, None when there is none (yet)."""
        with Inside(self._c):
            return self._peer_certificate()

    def _peer_certificate(self) -> Certificate | None:
        x509 = lib.SSL_get1_peer_certificate(self._ssl)
        return None if x509 == NULL else Certificate(x509)

    @property
    def client_certificate_requested(self) -> bool:
        """On a server: True from request_client_certificate() until the client has answered."""
        with Inside(self._c):
            # An answer ends with a Finished of its own (RFC 8446 section 4.4).
            if self._asked_after is not None and self._peer_finished() != self._asked_after:
                self._asked_after = None
            return self._asked_after is not None

    def _peer_finished(self) -> bytes:
        """The peer's last Finished, b"" before there is one."""
        room = ffi.new("char[]", 64)  # bytes; Finished is at most a SHA-512
        return copied(room, min(int(lib.SSL_get_peer_finished(self._ssl, room, 64)), 64))

    def get_unverified_chain(self) -> list[bytes]:
        """The certificates as the peer sent them, its own first, in DER. Nobody has checked them."""
        with Inside(self._c):
            chain = _certificates(lib.SSL_get_peer_cert_chain(self._ssl))
            # SSL_get_peer_cert_chain(3): on a server the peer's own certificate is not in it.
            own = self._peer_certificate() if self.server_side else None
            return [own.der, *chain] if own is not None else chain

    def get_verified_chain(self) -> list[bytes]:
        """The chain that was verified, from the peer's certificate to the root, in DER; empty where none was."""
        with Inside(self._c):
            return _certificates(lib.SSL_get0_verified_chain(self._ssl))

    # --- secrets that both sides share ---

    def get_channel_binding(self, cb_type: str = "tls-unique") -> bytes | None:
        """Bytes that tie another protocol's authentication to this connection, None before the handshake is complete.

        "tls-unique" and "tls-server-end-point" are RFC 5929's; "tls-exporter" is RFC 9266's, and takes the first one's
        place in TLS 1.3. Raises ValueError for another type.
        """
        if cb_type not in CHANNEL_BINDING_TYPES:
            raise ValueError(f"{cb_type} channel binding type not implemented: expected one of {CHANNEL_BINDING_TYPES}")
        if not self.handshake_complete:
            return None
        if cb_type == "tls-exporter":
            return self.export_keying_material("EXPORTER-Channel-Binding", 32, b"")
        with Inside(self._c):
            if cb_type == "tls-server-end-point":
                return self._server_end_point()
            # The first Finished of the handshake: the client's in a full one, the server's in a resumed one.
            room = ffi.new("char[]", 64)  # bytes; Finished is at most a SHA-512
            ours = bool(lib.SSL_session_reused(self._ssl)) == self.server_side
            length = (lib.SSL_get_finished if ours else lib.SSL_get_peer_finished)(self._ssl, room, 64)
            return copied(room, min(length, 64)) if length else None

    def _server_end_point(self) -> bytes | None:
        if self.server_side:
            x509 = lib.SSL_get_certificate(self._ssl)
            if x509 == NULL or not lib.X509_up_ref(x509):
                return None
            certificate: Certificate | None = Certificate(x509)
        else:
            certificate = self._peer_certificate()
        if certificate is None:
            return None
        # RFC 5929 section 4.1: the signature's own hash, but SHA-256 instead of MD5 and SHA-1.
        name = certificate.signature_digest
        kind = lib.EVP_get_digestbyname(("SHA256" if name in (None, "MD5", "SHA1") else str(name)).encode())
        digest, size = ffi.new("unsigned char[64]"), ffi.new("unsigned int *")
        if kind == NULL or not lib.EVP_Digest(certificate.der, len(certificate.der), digest, size, kind, NULL):
            raise errors.queued("tls-server-end-point")
        return copied(digest, size[0])

    def export_keying_material(self, label: str | bytes, length: int, context: bytes | None = None) -> bytes:
        """`length` bytes (1 to 4096) that only the two ends know (RFC 5705, RFC 8446 section 7.5). In TLS 1.2 no
        context and an empty one differ. Raises ValueError before the handshake is complete or for another length."""
        if not self.handshake_complete:
            raise ValueError("export_keying_material() before the handshake is complete")
        if not 1 <= length <= MAX_EXPORT:
            raise ValueError(f"length is {length}, expected 1 to {MAX_EXPORT} bytes")
        name = label.encode() if isinstance(label, str) else label
        out = ffi.new("unsigned char[]", length)
        with Inside(self._c):
            lib.txm_errors_clear()
            if not lib.SSL_export_keying_material(
                self._ssl, out, length, name, len(name), context or b"", len(context or b""), context is not None
            ):
                raise errors.queued(f"exporting keying material for {label!r}")
        return copied(out)

    # --- sessions ---

    @property
    def session(self) -> SSLSession | None:
        """The session to resume later; in TLS 1.3 the one of the last ticket, so ask when the connection ends. None
        before there is one."""
        with Inside(self._c):
            session = lib.SSL_get1_session(self._ssl)
            if session == NULL:
                return None
            # A copy: OpenSSL marks a connection's own session as not resumable when that is freed without a close.
            copy = lib.SSL_SESSION_dup(session)
            lib.SSL_SESSION_free(session)
            if copy == NULL:
                raise errors.queued("copying a session")
            return SSLSession(copy, self._context, self._identity)

    @property
    def session_reused(self) -> bool:
        """True if this handshake resumed an earlier session."""
        with Inside(self._c):
            return bool(lib.SSL_session_reused(self._ssl))


def _text(string: Any) -> str | None:
    return ffi.string(string).decode() if string != NULL else None


def _stack(stack: Any) -> list[Any]:
    if stack == NULL:
        return []
    return [lib.OPENSSL_sk_value(stack, at) for at in range(lib.OPENSSL_sk_num(stack))]


def _certificates(stack: Any) -> list[bytes]:
    out = []
    for entry in _stack(stack):
        x509 = ffi.cast("X509 *", entry)
        if lib.X509_up_ref(x509):
            out.append(Certificate(x509).der)
    return out


def _cipher(cipher: Any) -> tuple[str, str, int] | None:
    if cipher == NULL:
        return None
    cipher = ffi.cast("SSL_CIPHER *", cipher)
    name, version = lib.SSL_CIPHER_get_name(cipher), lib.SSL_CIPHER_get_version(cipher)
    return ffi.string(name).decode(), ffi.string(version).decode(), int(lib.SSL_CIPHER_get_bits(cipher, NULL))
