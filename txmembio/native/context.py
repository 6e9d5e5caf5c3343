"""NativeContext: an SSLContext with OpenSSL's own defaults, and the settings that only OpenSSL's API has."""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterable
from typing import Any

from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate, Password, PasswordSource, PrivateKey
from txmembio.constants import CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED
from txmembio.context import SSLContext
from txmembio.errors import SSLError
from txmembio.loading import Path
from txmembio.names import ServerName
from txmembio.native.connection import NativeConnection
from txmembio.native.errors import NativeError, check, fail
from txmembio.native.store import NativeStore
from txmembio.native.x509 import NativeName
from txmembio.session import SSLSession

__all__ = ["NativeContext"]

VerifyCallback = Callable[[Any, Certificate, int, int, bool], bool]
"""(owner of the connection, certificate, X509_V_ERR_ number, depth, OpenSSL's own verdict) -> verdict"""


class NativeContext(SSLContext):
    """A context as SSL_CTX_new(3) leaves it. Methods that fail raise NativeError.

    The callbacks below are given the connection's owner. A connection takes those that are set when it is made.
    """

    info_callback: Callable[[Any, int, int], None] | None
    """(owner, where, value): SSL_CTX_set_info_callback(3)."""
    keylog_callback: Callable[[Any, bytes], None] | None
    """(owner, line): SSL_CTX_set_keylog_callback(3)."""
    certificate_callback: VerifyCallback | None
    """Decides on each certificate of a peer's chain, and is asked with SSL_VERIFY_NONE too, where its verdict does not
    count."""

    _warns = False  # whoever asks for an old protocol here asks OpenSSL
    _servername_callback: Callable[[Any], int | None] | None
    _alpn_choice: Callable[[Any, list[bytes]], bytes | None] | None
    _password: tuple[PasswordSource, Any]

    def _start_like_the_standard_library(self) -> None:
        """It does not: this one starts as OpenSSL makes it."""
        self.info_callback = self.keylog_callback = self.certificate_callback = None
        self._servername_callback = self._alpn_choice = None
        # One context's sessions are nobody else's, until somebody says whose they are.
        self._session_id_context = secrets.token_bytes(16)
        # Without a callback of ours OpenSSL would ask for passwords at the terminal.
        lib.SSL_CTX_set_default_passwd_cb(self._native, lib.txm_py_password)
        self.set_verify(lib.SSL_VERIFY_NONE, None)

    def connection(
        self,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> NativeConnection:
        """A new connection. Which side it is can still be changed."""
        self._settle()
        name = None if server_hostname is None else ServerName(server_hostname)
        return NativeConnection(self, bool(server_side), name, session)

    # --- our certificate ---

    def use_certificate(self, certificate: Certificate) -> None:
        """SSL_CTX_use_certificate(3)."""
        check(lib.SSL_CTX_use_certificate, self._native, certificate._x509)

    def use_private_key(self, key: PrivateKey) -> None:
        """SSL_CTX_use_PrivateKey(3)."""
        check(lib.SSL_CTX_use_PrivateKey, self._native, key._pkey)

    def check_private_key(self) -> None:
        """Whether key and certificate belong together (SSL_CTX_check_private_key(3))."""
        check(lib.SSL_CTX_check_private_key, self._native)

    def add_chain_certificate(self, certificate: Certificate) -> None:
        """SSL_CTX_add_extra_chain_cert(3)."""
        lib.txm_errors_clear()
        copy = lib.X509_dup(certificate._x509)  # it keeps what it is given
        if copy == NULL:  # it cannot be encoded, as an empty one
            fail()
        try:
            check(lib.SSL_CTX_add_extra_chain_cert, self._native, copy)
        except NativeError:
            lib.X509_free(copy)
            raise

    def use_certificate_chain_file(self, path: Path) -> None:
        """SSL_CTX_use_certificate_chain_file(3): PEM, our own certificate first."""
        check(lib.SSL_CTX_use_certificate_chain_file, self._native, os.fsencode(path))

    def use_certificate_file(self, path: Path, kind: int) -> None:
        """SSL_CTX_use_certificate_file(3); `kind` is 1 for PEM, 2 for DER."""
        check(lib.SSL_CTX_use_certificate_file, self._native, os.fsencode(path), kind)

    def use_private_key_file(self, path: Path, kind: int) -> None:
        """SSL_CTX_use_PrivateKey_file(3); `kind` is 1 for PEM, 2 for DER."""
        try:
            check(lib.SSL_CTX_use_PrivateKey_file, self._native, os.fsencode(path), kind)
        finally:
            self._raise_from_password()

    def set_password(self, password: Password) -> None:
        """For keys in files that are encrypted."""
        source = PasswordSource(password)
        self._password = (source, ffi.new_handle(source))
        lib.SSL_CTX_set_default_passwd_cb_userdata(self._native, self._password[1])

    def _raise_from_password(self) -> None:
        source = getattr(self, "_password", (None,))[0]
        if source is not None and source.error is not None:
            problem, source.error = source.error, None
            raise problem from None

    # --- whom we trust ---

    def load_locations(self, file: Path | None, folder: Path | None) -> None:
        """SSL_CTX_load_verify_locations(3)."""
        paths = [NULL if path is None else os.fsencode(path) for path in (file, folder)]
        check(lib.SSL_CTX_load_verify_locations, self._native, *paths)

    @property
    def store(self) -> NativeStore:
        """Who is trusted; what is added to it counts here."""
        return NativeStore.borrowed(lib.SSL_CTX_get_cert_store(self._native))

    def set_client_ca_file(self, path: Path) -> None:
        """Whom clients are told that we trust: the subjects in a PEM file (SSL_load_client_CA_file(3))."""
        lib.txm_errors_clear()
        names = lib.SSL_load_client_CA_file(os.fsencode(path))
        if names == NULL:
            fail()
        lib.SSL_CTX_set_client_CA_list(self._native, names)

    def set_client_ca_names(self, names: Iterable[NativeName]) -> None:
        """The same as names."""
        copies = [name.copy() for name in names]  # all, before there is a stack that somebody would have to free
        stack = lib.OPENSSL_sk_new_null()
        for copy in copies:
            check(lib.OPENSSL_sk_push, stack, copy.release())
        lib.SSL_CTX_set_client_CA_list(self._native, stack)

    def add_client_ca(self, certificate: Certificate) -> None:
        """One more of them: this certificate's subject."""
        check(lib.SSL_CTX_add_client_CA, self._native, certificate._x509)

    def set_verify(self, bits: int, callback: VerifyCallback | None) -> None:
        """SSL_CTX_set_verify(3), with SSL_VERIFY_ bits."""
        self.certificate_callback = callback
        self._verify_mode = (
            CERT_NONE
            if not bits & lib.SSL_VERIFY_PEER
            else CERT_REQUIRED
            if bits & lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT
            else CERT_OPTIONAL
        )
        lib.txm_verify_set(self._native, bits)

    @property
    def verify_bits(self) -> int:
        """SSL_VERIFY_ bits."""
        return int(lib.SSL_CTX_get_verify_mode(self._native))

    @property
    def verify_depth(self) -> int:
        """How long a chain may be (SSL_CTX_set_verify_depth(3))."""
        return int(lib.SSL_CTX_get_verify_depth(self._native))

    @verify_depth.setter
    def verify_depth(self, depth: int) -> None:
        lib.SSL_CTX_set_verify_depth(self._native, depth)

    # --- behaviour ---

    def add_options(self, bits: int) -> int:
        """SSL_CTX_set_options(3): returns all that are set now."""
        return int(lib.SSL_CTX_set_options(self._native, bits))

    def add_mode(self, bits: int) -> int:
        """SSL_CTX_set_mode(3): returns all that are set now."""
        return int(lib.SSL_CTX_set_mode(self._native, bits))

    def clear_mode(self, bits: int) -> int:
        """SSL_CTX_clear_mode(3): returns all that are set now."""
        return int(lib.SSL_CTX_clear_mode(self._native, bits))

    def set_version_bounds(self, lowest: int | None = None, highest: int | None = None) -> None:
        """Protocol versions as on the wire, 0 for whatever there is; None changes nothing."""
        if lowest is not None:
            check(lib.SSL_CTX_set_min_proto_version, self._native, lowest)
        if highest is not None:
            check(lib.SSL_CTX_set_max_proto_version, self._native, highest)

    def set_cipher_words(self, ciphers: bytes) -> None:
        """SSL_CTX_set_cipher_list(3)."""
        check(lib.SSL_CTX_set_cipher_list, self._native, ciphers)

    def set_ciphersuite_words(self, suites: bytes) -> None:
        """SSL_CTX_set_ciphersuites(3)."""
        check(lib.SSL_CTX_set_ciphersuites, self._native, suites)

    def set_alpn_wire(self, protocols: bytes) -> None:
        """What a client offers, as RFC 7301 section 3.1 lists it (SSL_CTX_set_alpn_protos(3))."""
        lib.txm_errors_clear()
        if lib.SSL_CTX_set_alpn_protos(self._native, protocols, len(protocols)):  # 0 is success here
            fail()

    # --- callbacks ---

    @property
    def alpn_choice(self) -> Callable[[Any, list[bytes]], bytes | None] | None:
        """On a server: (owner, protocols offered) -> the chosen one, None to go on without, b"" to refuse."""
        return self._alpn_choice

    @alpn_choice.setter
    def alpn_choice(self, callback: Callable[[Any, list[bytes]], bytes | None] | None) -> None:
        self._alpn_choice = self._alpn = callback

    @property
    def servername_callback(self) -> Callable[[Any], int | None] | None:
        """On a server, for every ClientHello, before OpenSSL looks at a session ticket: (owner) -> None to go on, or
        the alert to refuse with."""
        return self._servername_callback

    @servername_callback.setter
    def servername_callback(self, callback: Callable[[Any], int | None] | None) -> None:
        self._servername_callback = callback
        self._want(lib.TXM_WANTS_CLIENT_HELLO, callback is not None)

    def enable_keylog(self) -> None:
        """Has OpenSSL call keylog_callback."""
        self._want(lib.TXM_WANTS_KEYLOG, True)
        lib.txm_keylog_enable(self._native, 1)

    # --- sessions ---

    @property
    def session_cache_mode(self) -> int:
        """SSL_SESS_CACHE_ bits (SSL_CTX_set_session_cache_mode(3))."""
        return int(lib.SSL_CTX_get_session_cache_mode(self._native))

    @session_cache_mode.setter
    def session_cache_mode(self, bits: int) -> None:
        lib.SSL_CTX_set_session_cache_mode(self._native, bits)

    @property
    def session_timeout(self) -> int:
        """Seconds that a session is good for (SSL_CTX_set_timeout(3))."""
        return int(lib.SSL_CTX_get_timeout(self._native))

    @session_timeout.setter
    def session_timeout(self, seconds: int) -> None:
        lib.SSL_CTX_set_timeout(self._native, seconds)

    def use_default_paths(self) -> None:
        """SSL_CTX_set_default_verify_paths(3), and the platform's roots where OpenSSL was built to look elsewhere."""
        try:
            self.load_default_certs()
        except SSLError as problem:
            raise NativeError([("x509 certificate routines", "", str(problem))]) from problem

    def use_dh_file(self, path: Path) -> None:
        """Diffie-Hellman parameters from a PEM file (SSL_CTX_set0_tmp_dh_pkey(3))."""
        try:
            self.load_dh_params(path)
        except OSError as problem:  # SSLError is one
            raise NativeError([("system library", "", str(problem))]) from problem
