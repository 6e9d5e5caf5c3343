"""``OpenSSL.SSL.Context`` over NativeContext."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from txmembio.constants import PROTOCOL_TLS, PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER
from txmembio.native.context import NativeContext
from txmembio.OpenSSL import _constants as c
from txmembio.OpenSSL._arguments import Raises, as_bytes, need_int
from txmembio.OpenSSL._certificates import X509, from_core, to_core
from txmembio.OpenSSL._errors import Error
from txmembio.OpenSSL._keys import FILETYPE_PEM, curve_name, key_to_core
from txmembio.OpenSSL._missing import absent, missing
from txmembio.OpenSSL._names import X509Name
from txmembio.OpenSSL._stores import X509Store

if TYPE_CHECKING:
    from os import PathLike

    from txmembio.certificates import Certificate
    from txmembio.OpenSSL._connection import Connection

    Path = str | bytes | PathLike[str] | PathLike[bytes]

__all__ = ["NO_OVERLAPPING_PROTOCOLS", "Context", "alpn_wire", "certificate_callback"]

VerifyCallback = Callable[["Connection", X509, int, int, int], bool]

UNRECOGNIZED_NAME = 112
"""The alert for a server-name callback that failed (RFC 6066 section 3): what OpenSSL sends for it."""


class _NoOverlap:
    def __repr__(self) -> str:
        return "NO_OVERLAPPING_PROTOCOLS"


NO_OVERLAPPING_PROTOCOLS: Any = _NoOverlap()
"""What an ALPN callback returns to go on without a protocol."""

# What each method is made with: the core's protocol, and the one version it stands for.
_METHODS = {
    c.SSLv23_METHOD: (PROTOCOL_TLS, None),
    c.TLSv1_METHOD: (PROTOCOL_TLS, c.TLS1_VERSION),
    c.TLSv1_1_METHOD: (PROTOCOL_TLS, c.TLS1_1_VERSION),
    c.TLSv1_2_METHOD: (PROTOCOL_TLS, c.TLS1_2_VERSION),
    c.TLS_METHOD: (PROTOCOL_TLS, None),
    c.TLS_SERVER_METHOD: (PROTOCOL_TLS_SERVER, None),
    c.TLS_CLIENT_METHOD: (PROTOCOL_TLS_CLIENT, None),
}

_ABSENT_METHODS = {
    c.SSLv2_METHOD: "SSLv2_METHOD",
    c.SSLv3_METHOD: "SSLv3_METHOD",
    c.DTLS_METHOD: "DTLS_METHOD",
    c.DTLS_SERVER_METHOD: "DTLS_SERVER_METHOD",
    c.DTLS_CLIENT_METHOD: "DTLS_CLIENT_METHOD",
}


def alpn_wire(protocols: Sequence[bytes]) -> bytes:
    """Protocols as RFC 7301 section 3.1 lists them. Raises ValueError for an empty list, which OpenSSL's versions
    take differently."""
    if not protocols:
        raise ValueError("at least one protocol must be specified")
    return b"".join(bytes([len(protocol)]) + protocol for protocol in protocols)


def certificate_callback(callback: VerifyCallback | None) -> Any:
    """A verify callback of pyOpenSSL's shape, as the core calls it. Raises TypeError for what cannot be called."""
    if callback is None:
        return None
    if not callable(callback):
        raise TypeError("callback must be callable")

    def decide(connection: Connection, certificate: Certificate, number: int, depth: int, ok: bool) -> bool:
        return bool(callback(connection, from_core(certificate), number, depth, int(ok)))

    return decide


class Context:
    """What many connections have in common. Unlike pyOpenSSL's since 26.2, it may be changed at any time; connections
    that exist keep what they were made with."""

    def __init__(self, method: int) -> None:
        """`method` is one of the _METHOD constants. Raises ValueError for any other number."""
        need_int("method", method)
        if method in _ABSENT_METHODS:
            raise missing(f"SSL.{_ABSENT_METHODS[method]}", "there is no DTLS or SSL 2 or 3 here")
        try:
            protocol, version = _METHODS[method]
        except KeyError:
            raise ValueError("No such protocol") from None
        self._core = NativeContext(protocol)
        self._server = method == c.TLS_SERVER_METHOD
        self._app_data: Any = None
        self._passphrase: Callable[[int, bool, Any], bytes] | None = None
        if version is not None:
            with Raises(Error):
                self._core.set_version_bounds(version, version)

    @property
    def _context(self) -> NativeContext:
        """What programs hand to functions of ``OpenSSL._util.lib``."""
        return self._core

    # --- versions and algorithms ---

    def set_min_proto_version(self, version: int) -> None:
        """The lowest version, one of the _VERSION constants; 0 for the lowest there is."""
        with Raises(Error):
            self._core.set_version_bounds(lowest=version)

    def set_max_proto_version(self, version: int) -> None:
        """The highest version; 0 for the highest there is."""
        with Raises(Error):
            self._core.set_version_bounds(highest=version)

    def set_cipher_list(self, cipher_list: bytes) -> None:
        """Cipher suites of TLS 1.2 and earlier, in OpenSSL's notation (openssl-ciphers(1))."""
        cipher_list = as_bytes("cipher_list", cipher_list)
        if not isinstance(cipher_list, bytes):
            raise TypeError("cipher_list must be a byte string.")
        with Raises(Error):
            self._core.set_cipher_words(cipher_list)

    def set_tls13_ciphersuites(self, ciphersuites: bytes) -> None:
        """Cipher suites of TLS 1.3, names with colons between."""
        if not isinstance(ciphersuites, bytes):
            raise TypeError("ciphersuites must be a byte string.")
        with Raises(Error):
            self._core.set_ciphersuite_words(ciphersuites)

    def set_tmp_ecdh(self, curve: Any) -> None:
        """The one curve for key exchange: one of cryptography's, or of crypto.get_elliptic_curves()."""
        name = curve_name(curve)
        try:
            self._core.set_groups(name)
        except ValueError:
            raise Error([("SSL routines", "", "unsupported elliptic curve")]) from None

    def load_tmp_dh(self, dhfile: Path) -> None:
        """Parameters for finite-field Diffie-Hellman, from a PEM file."""
        with Raises(Error):
            self._core.use_dh_file(dhfile)

    # --- our certificate ---

    def use_certificate(self, cert: Any) -> None:
        """Ours: an X509, or a certificate of cryptography's."""
        with Raises(Error):
            self._core.use_certificate(to_core(cert))

    def use_certificate_file(self, certfile: Path, filetype: int = FILETYPE_PEM) -> None:
        """Ours, from a file."""
        need_int("filetype", filetype)
        with Raises(Error):
            self._core.use_certificate_file(certfile, filetype)

    def use_certificate_chain_file(self, certfile: Path) -> None:
        """Ours and the chain behind it, from a PEM file."""
        with Raises(Error):
            self._core.use_certificate_chain_file(certfile)

    def add_extra_chain_cert(self, certobj: Any) -> None:
        """One more for the chain behind ours."""
        with Raises(Error):
            self._core.add_chain_certificate(to_core(certobj))

    def use_privatekey(self, pkey: Any) -> None:
        """Our key: a PKey, or a private key of cryptography's."""
        with Raises(Error):
            self._core.use_private_key(key_to_core(pkey))

    def use_privatekey_file(self, keyfile: Path, filetype: int = FILETYPE_PEM) -> None:
        """Our key, from a file."""
        need_int("filetype", filetype)
        with Raises(Error):
            self._core.use_private_key_file(keyfile, filetype)

    def set_passwd_cb(self, callback: Callable[[int, bool, Any], bytes], userdata: Any = None) -> None:
        """`callback(length at most, whether to ask twice, userdata) -> bytes` is asked when a key in a file is
        encrypted; b"" refuses, and what is too long is cut."""
        if not callable(callback):
            raise TypeError("callback must be callable")
        most = 1024  # bytes: OpenSSL's PEM_BUFSIZE

        def password() -> bytes:
            answer = callback(most, False, userdata)
            if not isinstance(answer, bytes):
                raise ValueError("Bytes expected")
            return answer[:most]

        self._core.set_password(password)

    def check_privatekey(self) -> None:
        """Raises Error unless key and certificate belong together."""
        with Raises(Error):
            self._core.check_private_key()

    # --- whom we trust ---

    def load_verify_locations(self, cafile: Path | None, capath: Path | None = None) -> None:
        """A PEM file, or a folder as ``openssl rehash`` makes it, or both."""
        with Raises(Error):
            self._core.load_locations(cafile, capath)

    def set_default_verify_paths(self) -> None:
        """What OpenSSL finds in its own default places; ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured."""
        with Raises(Error):
            self._core.use_default_paths()

    def get_cert_store(self) -> X509Store:
        """Who is trusted; what is added to it counts here."""
        return X509Store.around(self._core.store)

    def set_verify(self, mode: int, callback: VerifyCallback | None = None) -> None:
        """VERIFY_ bits, and who decides on each certificate of the peer's chain: callback(connection, X509, error
        number, depth, OpenSSL's own verdict) -> bool. An exception refuses, and comes out of the call that led to
        it."""
        need_int("mode", mode)
        self._core.set_verify(mode, certificate_callback(callback))

    def get_verify_mode(self) -> int:
        """VERIFY_ bits."""
        return self._core.verify_bits

    def set_verify_depth(self, depth: int) -> None:
        """How long a chain may be."""
        need_int("depth", depth)
        self._core.verify_depth = depth

    def get_verify_depth(self) -> int:
        """How long a chain may be."""
        return self._core.verify_depth

    def load_client_ca(self, cafile: bytes) -> None:
        """Whom clients are told that we trust: the subjects in a PEM file."""
        with Raises(Error):
            self._core.set_client_ca_file(as_bytes("cafile", cafile))

    def set_client_ca_list(self, certificate_authorities: Sequence[X509Name]) -> None:
        """The same, as names."""
        names = []
        for name in certificate_authorities:
            if not isinstance(name, X509Name):
                raise TypeError(f"client CAs must be X509Name objects, not {type(name).__name__} objects")
            names.append(name._core)
        with Raises(Error):
            self._core.set_client_ca_names(names)

    def add_client_ca(self, certificate_authority: Any) -> None:
        """One more of them: this certificate's subject."""
        with Raises(Error):
            self._core.add_client_ca(to_core(certificate_authority))

    # --- behaviour ---

    def set_options(self, options: int) -> int:
        """Adds OP_ bits; returns all that are set now."""
        need_int("options", options)
        return self._core.add_options(options)

    def set_mode(self, mode: int) -> int:
        """Adds MODE_ bits; returns all that are set now."""
        need_int("mode", mode)
        return self._core.add_mode(mode)

    def clear_mode(self, mode_to_clear: int) -> int:
        """Takes MODE_ bits away; returns all that are set now."""
        return self._core.clear_mode(mode_to_clear)

    def get_app_data(self) -> Any:
        """What set_app_data() was given."""
        return self._app_data

    def set_app_data(self, data: Any) -> None:
        """Anything."""
        self._app_data = data

    # --- sessions ---

    def set_session_id(self, buf: bytes) -> None:
        """Sessions are resumed only under the same one, at most 32 bytes. Left out: every context has its own."""
        buf = as_bytes("buf", buf)
        try:
            self._core.session_id_context = bytes(buf)
        except ValueError:
            raise Error([("SSL routines", "", "ssl session id context too long")]) from None

    def set_session_cache_mode(self, mode: int) -> int:
        """SESS_CACHE_ bits; returns those of before."""
        need_int("mode", mode)
        before = self._core.session_cache_mode
        self._core.session_cache_mode = mode
        return before

    def get_session_cache_mode(self) -> int:
        """SESS_CACHE_ bits."""
        return self._core.session_cache_mode

    def set_timeout(self, timeout: int) -> int:
        """Seconds that a session is good for; returns those of before."""
        need_int("timeout", timeout)
        before = self._core.session_timeout
        self._core.session_timeout = timeout
        return before

    def get_timeout(self) -> int:
        """Seconds that a session is good for."""
        return self._core.session_timeout

    # --- callbacks ---

    def set_info_callback(self, callback: Callable[[Connection, int, int], None]) -> None:
        """`callback(connection, where, value)` is told of each step of a handshake, and of alerts."""
        self._core.info_callback = callback

    def set_keylog_callback(self, callback: Callable[[Connection, bytes], None]) -> None:
        """`callback(connection, line)` is given the secrets, as protocol analysers read them."""
        self._core.keylog_callback = callback
        self._core.enable_keylog()

    def set_tlsext_servername_callback(self, callback: Callable[[Connection], None]) -> None:
        """`callback(connection)` is called on a server for every ClientHello, with get_servername() None where there is
        none, and may call set_context(). An exception goes to sys.excepthook() and refuses."""

        def told(connection: Connection) -> int | None:
            try:
                callback(connection)
            except Exception:
                sys.excepthook(*sys.exc_info())
                return UNRECOGNIZED_NAME
            return None

        self._core.servername_callback = told

    def set_alpn_protos(self, protos: list[bytes]) -> None:
        """What a client offers (RFC 7301)."""
        with Raises(Error):
            self._core.set_alpn_wire(alpn_wire(protos))

    def set_alpn_select_callback(self, callback: Callable[[Connection, list[bytes]], Any]) -> None:
        """On a server: `callback(connection, offered)` returns one of those offered, b"" to refuse, or
        NO_OVERLAPPING_PROTOCOLS to go on without. An exception refuses, and comes out of the call that led to it."""

        def choose(connection: Connection, offered: list[bytes]) -> bytes | None:
            chosen = callback(connection, offered)
            if chosen is NO_OVERLAPPING_PROTOCOLS:
                return None
            if not isinstance(chosen, bytes):
                raise TypeError(
                    "ALPN callback must return a bytestring or the special NO_OVERLAPPING_PROTOCOLS sentinel value."
                )
            return chosen

        self._core.alpn_choice = choose

    # --- not here ---

    set_ocsp_server_callback = absent("SSL.Context.set_ocsp_server_callback", "no OCSP stapling")
    set_ocsp_client_callback = absent("SSL.Context.set_ocsp_client_callback", "no OCSP stapling")
    set_tlsext_use_srtp = absent("SSL.Context.set_tlsext_use_srtp", "no DTLS")
    set_cookie_generate_callback = absent("SSL.Context.set_cookie_generate_callback", "no DTLS")
    set_cookie_verify_callback = absent("SSL.Context.set_cookie_verify_callback", "no DTLS")
