"""BaseContext: an ``SSL_CTX`` and the rules in it; what the standard library has as ``_ssl._SSLContext``.

Its attributes are properties of this class and not of SSLContext, because programs that look through to them
(``super(ssl.SSLContext, ssl.SSLContext).verify_mode.__set__``, as pip's truststore does) find them one class up.
"""

from __future__ import annotations

import hashlib
import os
import warnings
from collections.abc import Callable
from operator import index
from typing import TYPE_CHECKING, Any

from txmembio import ciphers, errors, trust
from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate
from txmembio.constants import (
    CERT_NONE,
    CERT_OPTIONAL,
    CERT_REQUIRED,
    PROTOCOL_TLS,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    Options,
    SSLMethod,
    TLSVersion,
    VerifyFlags,
    VerifyMode,
)
from txmembio.loading import Path, read_file

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["BaseContext"]

VerifyCallback = Callable[[Certificate, int, int], bool]

# What the standard library enables in a context that nobody has configured: its --with-ssl-default-suites=python.
STDLIB_CIPHERS = b"@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"

_ONE_VERSION = {
    SSLMethod.PROTOCOL_TLSv1: TLSVersion.TLSv1,
    SSLMethod.PROTOCOL_TLSv1_1: TLSVersion.TLSv1_1,
    SSLMethod.PROTOCOL_TLSv1_2: TLSVersion.TLSv1_2,
}
"""The protocols that stand for one version alone."""

_STDLIB_OPTIONS = (
    Options.OP_ALL
    | Options.OP_NO_SSLv2
    | Options.OP_NO_SSLv3
    | Options.OP_NO_COMPRESSION
    | Options.OP_CIPHER_SERVER_PREFERENCE
    | Options.OP_SINGLE_DH_USE
    | Options.OP_SINGLE_ECDH_USE
    | Options.OP_ENABLE_MIDDLEBOX_COMPAT
)

_VERSION_OPTIONS = (
    Options.OP_NO_SSLv3 | Options.OP_NO_TLSv1 | Options.OP_NO_TLSv1_1 | Options.OP_NO_TLSv1_2 | Options.OP_NO_TLSv1_3
)
"""What minimum_version and maximum_version have replaced."""

_OLD_VERSIONS = (TLSVersion.SSLv3, TLSVersion.TLSv1, TLSVersion.TLSv1_1)
"""Versions that RFC 8996 and RFC 7568 have put an end to."""


def _deprecated(text: str, stacklevel: int = 3) -> None:
    """Warns as the standard library does, in the name of whoever called the caller of this."""
    warnings.warn(text, DeprecationWarning, stacklevel=stacklevel)


def _fitting(value: int, what: str, ctype: str) -> int:
    """`value` if it fits C's type. Raises TypeError for what is no integer, OverflowError for one that does not fit."""
    number = index(value)
    most = (1 << 8 * ffi.sizeof(ctype)) - 1
    if not 0 <= number <= most:
        raise OverflowError(f"{what} is {number:#x}, expected 0 to {most:#x}")
    return number


def c_words(value: str, what: str) -> bytes:
    """`value` as C takes it. Raises TypeError for anything but text, ValueError for NUL in it, where C would stop."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} {value!r}: embedded null character")
    return value.encode()


class BaseContext:
    """An ``SSL_CTX`` with exactly the standard library's defaults."""

    _native: Any  # the SSL_CTX *; not named _ctx, since truststore's subclass calls something else so
    _protocol: SSLMethod
    _wants: int  # TXM_WANTS_ bits, but for ALPN
    _groups: bytes | None
    _verify_callback: VerifyCallback | None
    _verdict: trust.Verdict | None  # the platform's, where it gives OpenSSL no roots
    _host_flags: int
    _check_hostname: bool
    _verify_mode: VerifyMode
    _post_handshake_auth: bool
    _trusted: Any  # a digest of all that was trusted
    _warns = True  # of what the standard library warns of
    _settled: bool  # the session-id context, which follows from the above, is up to date

    def __new__(cls, protocol: int | None = None, *args: object, **kwargs: object) -> Self:
        """`protocol` is one of the PROTOCOL_ constants, PROTOCOL_TLS when left out. Raises ValueError for another.

        Nothing here goes through a property, which a subclass may have replaced by one that is not ready yet.
        """
        self = super().__new__(cls)
        if protocol is None:
            _deprecated("ssl.SSLContext() without protocol argument is deprecated.")
            protocol = PROTOCOL_TLS
        try:
            self._protocol = SSLMethod(index(protocol))
        except ValueError:
            raise ValueError(f"invalid or unsupported protocol version: {protocol!r}") from None
        if self._warns and self._protocol not in (PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER):
            _deprecated(f"ssl.{self._protocol.name} is deprecated")
        method = {PROTOCOL_TLS_CLIENT: lib.TLS_client_method, PROTOCOL_TLS_SERVER: lib.TLS_server_method}
        lib.txm_errors_clear()
        ctx = lib.SSL_CTX_new(method.get(self._protocol, lib.TLS_method)())
        if ctx == NULL:
            raise errors.queued("making a context")
        self._native = ffi.gc(ctx, lib.SSL_CTX_free)
        lib.txm_context_prepare(ctx)
        self._wants = 0
        self._groups = self._verify_callback = self._verdict = None
        self._host_flags = lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
        self._verify_mode = CERT_NONE
        self._check_hostname = self._post_handshake_auth = self._settled = False
        self._trusted = hashlib.sha256()
        self._start_like_the_standard_library()
        return self

    def __init__(self, protocol: int | None = None) -> None:
        """As for the standard library's, all happens in ``__new__``, so that subclasses need not call this."""

    def _start_like_the_standard_library(self) -> None:
        ctx = self._native
        lib.SSL_CTX_clear_options(ctx, lib.SSL_CTX_get_options(ctx) & ~_STDLIB_OPTIONS)
        lib.SSL_CTX_set_options(ctx, _STDLIB_OPTIONS)
        if not lib.X509_VERIFY_PARAM_set_flags(lib.SSL_CTX_get0_param(ctx), lib.X509_V_FLAG_TRUSTED_FIRST):
            raise errors.queued("the default verify_flags")
        fixed = _ONE_VERSION.get(self._protocol)
        if fixed is not None:
            lib.SSL_CTX_set_min_proto_version(ctx, fixed)
            lib.SSL_CTX_set_max_proto_version(ctx, fixed)
        elif lib.SSL_CTX_get_min_proto_version(ctx) < TLSVersion.TLSv1_2:  # openssl.cnf may say more, 0 is nothing
            lib.SSL_CTX_set_min_proto_version(ctx, TLSVersion.TLSv1_2)
        if not lib.SSL_CTX_set_cipher_list(ctx, STDLIB_CIPHERS):
            raise errors.queued("the default cipher list")
        lib.SSL_CTX_set_dh_auto(ctx, 1)
        if self._protocol == PROTOCOL_TLS_CLIENT:
            self._check_hostname = True
            self._verify_mode = CERT_REQUIRED
            self._set_verify()

    @property
    def protocol(self) -> SSLMethod:
        """What it was made for."""
        return self._protocol

    def _want(self, bit: int, on: bool) -> None:
        self._wants = self._wants | bit if on else self._wants & ~bit

    # --- verification ---

    @property
    def verify_mode(self) -> VerifyMode:
        """Whether the peer must show a certificate, may, or is not asked. Raises ValueError where CERT_NONE would leave
        check_hostname without anything to check."""
        return self._verify_mode

    @verify_mode.setter
    def verify_mode(self, value: int) -> None:
        try:
            mode = VerifyMode(index(value))
        except ValueError:
            raise ValueError(f"invalid value for verify_mode: {value!r}") from None
        if mode == CERT_NONE and self._check_hostname:
            raise ValueError("Cannot set verify_mode to CERT_NONE when check_hostname is enabled.")
        self._verify_mode = mode
        self._set_verify()

    def _set_verify(self) -> None:
        bits = {
            CERT_NONE: lib.SSL_VERIFY_NONE,
            CERT_OPTIONAL: lib.SSL_VERIFY_PEER,
            CERT_REQUIRED: lib.SSL_VERIFY_PEER | lib.SSL_VERIFY_FAIL_IF_NO_PEER_CERT,
        }[self._verify_mode]
        if self._post_handshake_auth and bits and self._protocol != PROTOCOL_TLS_CLIENT:
            bits |= lib.SSL_VERIFY_POST_HANDSHAKE
        lib.txm_verify_set(self._native, bits)
        self._settled = False

    @property
    def check_hostname(self) -> bool:
        """Whether the peer's certificate must be for server_hostname. Turning it on turns CERT_NONE into
        CERT_REQUIRED."""
        return self._check_hostname

    @check_hostname.setter
    def check_hostname(self, value: object) -> None:
        self._check_hostname = bool(value)
        self._settled = False
        if self._check_hostname and self._verify_mode == CERT_NONE:
            self.verify_mode = CERT_REQUIRED

    @property
    def hostname_checks_common_name(self) -> bool:
        """Whether the subject's common name counts where a certificate has no subjectAltName (RFC 9525 says it must
        not)."""
        return not self._host_flags & lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT

    @hostname_checks_common_name.setter
    def hostname_checks_common_name(self, value: bool) -> None:
        self._settled = False
        if value:
            self._host_flags &= ~lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
        else:
            self._host_flags |= lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT

    @property
    def verify_flags(self) -> VerifyFlags:
        """How chains are checked."""
        return VerifyFlags(lib.X509_VERIFY_PARAM_get_flags(lib.SSL_CTX_get0_param(self._native)))

    @verify_flags.setter
    def verify_flags(self, value: int) -> None:
        value = _fitting(value, "verify_flags", "unsigned long")
        parameters = lib.SSL_CTX_get0_param(self._native)
        before = lib.X509_VERIFY_PARAM_get_flags(parameters)
        lib.X509_VERIFY_PARAM_clear_flags(parameters, before & ~value)
        if not lib.X509_VERIFY_PARAM_set_flags(parameters, value & ~before):
            raise errors.queued(f"setting verify_flags {value!r}")
        self._settled = False

    def set_verify_callback(self, callback: VerifyCallback | None) -> None:
        """`callback(certificate, depth, error) -> bool` decides on each certificate of a peer's chain: `error` is 0 or
        the X509_V_ERR_ number of what OpenSSL has against it, and True accepts it all the same. An exception refuses.
        It is asked only where verify_mode asks for a certificate. None takes the callback away."""
        if callback is not None and not callable(callback):
            raise TypeError(f"the verify callback is {callback!r}, expected a callable object or None")
        self._verify_callback = callback
        self._want(lib.TXM_WANTS_VERIFY, callback is not None or self._verdict is not None)
        self._settled = False

    def _on_verify(self, ok: bool, store: Any) -> bool:
        if self._verdict is not None and not ok and lib.X509_STORE_CTX_get_error(store) in trust.NO_ISSUER:
            ok = trust.asks_platform(self._verdict, self, store)
        if self._verify_callback is None:
            return ok
        x509 = lib.X509_STORE_CTX_get_current_cert(store)
        if x509 == NULL or not lib.X509_up_ref(x509):
            return ok
        number = 0 if ok else lib.X509_STORE_CTX_get_error(store)
        depth = lib.X509_STORE_CTX_get_error_depth(store)
        return bool(self._verify_callback(Certificate(x509), depth, number))

    @property
    def post_handshake_auth(self) -> bool:
        """Whether a client certificate can be asked for after the handshake (RFC 8446 section 4.6.2)."""
        return self._post_handshake_auth

    @post_handshake_auth.setter
    def post_handshake_auth(self, value: object) -> None:
        self._post_handshake_auth = bool(value)
        lib.SSL_CTX_set_post_handshake_auth(self._native, self._post_handshake_auth)
        self._set_verify()

    # --- versions and algorithms ---

    @property
    def options(self) -> Options:
        """OP_ bits."""
        return Options(lib.SSL_CTX_get_options(self._native))

    @options.setter
    def options(self, value: int) -> None:
        value = _fitting(value, "options", "uint64_t")
        before = lib.SSL_CTX_get_options(self._native)
        if value & ~before & _VERSION_OPTIONS:
            _deprecated("ssl.OP_NO_SSL*/ssl.OP_NO_TLS* options are deprecated")
        lib.SSL_CTX_clear_options(self._native, before & ~value)
        lib.SSL_CTX_set_options(self._native, value & ~before)

    @property
    def minimum_version(self) -> TLSVersion:
        """The lowest version allowed; TLSVersion.MINIMUM_SUPPORTED for whatever there is."""
        fixed = self._protocol in _ONE_VERSION  # as in the standard library, which then has nothing to say
        return TLSVersion(
            (not fixed and lib.SSL_CTX_get_min_proto_version(self._native)) or TLSVersion.MINIMUM_SUPPORTED
        )

    @minimum_version.setter
    def minimum_version(self, value: int) -> None:
        value = index(value)
        if value == TLSVersion.MAXIMUM_SUPPORTED:
            value = TLSVersion.TLSv1_3
        if value == TLSVersion.SSLv3:
            lib.SSL_CTX_clear_options(self._native, lib.SSL_OP_NO_SSLv3)
        number = 0 if value == TLSVersion.MINIMUM_SUPPORTED else value
        self._set_version(lib.SSL_CTX_set_min_proto_version, number, value)

    @property
    def maximum_version(self) -> TLSVersion:
        """The highest version allowed; TLSVersion.MAXIMUM_SUPPORTED for whatever there is."""
        fixed = self._protocol in _ONE_VERSION
        return TLSVersion(
            (not fixed and lib.SSL_CTX_get_max_proto_version(self._native)) or TLSVersion.MAXIMUM_SUPPORTED
        )

    @maximum_version.setter
    def maximum_version(self, value: int) -> None:
        value = index(value)
        if value == TLSVersion.MINIMUM_SUPPORTED:
            value = TLSVersion.TLSv1
        number = 0 if value == TLSVersion.MAXIMUM_SUPPORTED else value
        self._set_version(lib.SSL_CTX_set_max_proto_version, number, value)

    def _set_version(self, setter: Callable[[Any, int], int], number: int, value: int) -> None:
        if self._protocol in _ONE_VERSION:
            raise ValueError("The context's protocol doesn't support modification of highest and lowest version.")
        if value in _OLD_VERSIONS:
            _deprecated(f"ssl.TLSVersion.{TLSVersion(value).name} is deprecated", 4)
        known = value in TLSVersion._value2member_map_
        if not known or not setter(self._native, number):
            lib.txm_errors_clear()
            raise ValueError(f"Unsupported protocol version 0x{value:x}: expected a member of txmembio.TLSVersion")

    def set_ciphers(self, cipherlist: str) -> None:
        """Cipher suites of TLS 1.2 and earlier, in OpenSSL's notation (openssl-ciphers(1)). Raises SSLError if it
        selects none."""
        lib.txm_errors_clear()
        if not lib.SSL_CTX_set_cipher_list(self._native, c_words(cipherlist, "ciphers")):
            lib.txm_errors_clear()
            raise errors.make(errors.SSLError, 1, f"No cipher can be selected. (ciphers {cipherlist!r})")

    def set_ciphersuites(self, suites: str) -> None:
        """Cipher suites of TLS 1.3, names with colons between, in order of preference. Raises SSLError for an unknown
        name or an empty list."""
        lib.txm_errors_clear()
        if not lib.SSL_CTX_set_ciphersuites(self._native, c_words(suites, "cipher suites")) or not suites:
            lib.txm_errors_clear()
            raise errors.make(errors.SSLError, 1, f"No cipher can be selected. (TLS 1.3 cipher suites {suites!r})")

    def get_ciphers(self) -> list[dict[str, Any]]:
        """What is enabled, in order of preference, as dicts of the standard library's shape."""
        return ciphers.describe(self._native)

    def set_groups(self, groups: str) -> None:
        """Key-exchange groups, names with colons between, in order of preference (SSL_CTX_set1_groups_list(3)):
        "X25519:P-256", or "X25519MLKEM768" where OpenSSL has it. Raises ValueError for an unknown one."""
        lib.txm_errors_clear()
        words = c_words(groups, "groups")
        if not words or not lib.SSL_CTX_set1_groups_list(self._native, words):
            lib.txm_errors_clear()
            raise ValueError(
                f"groups is {groups!r}, expected names of groups that this OpenSSL has, with colons between"
            )
        self._groups = words

    def set_ecdh_curve(self, name: str | bytes) -> None:
        """The one group for key exchange, as in the standard library."""
        curve = os.fsdecode(name)
        try:
            self.set_groups(curve)
        except ValueError:
            raise ValueError(f"unknown elliptic curve name {name!r}") from None

    def set_signature_algorithms(self, algorithms: str) -> None:
        """Signature schemes accepted and used, names with colons between (SSL_CTX_set1_sigalgs_list(3)). Raises
        ValueError for an unknown one."""
        lib.txm_errors_clear()
        words = c_words(algorithms, "signature algorithms")
        if not words or not lib.SSL_CTX_set1_sigalgs_list(self._native, words):
            lib.txm_errors_clear()
            raise ValueError(f"signature algorithms are {algorithms!r}, expected names that this OpenSSL has")

    def load_dh_params(self, path: Path) -> None:
        """Parameters for finite-field Diffie-Hellman from a PEM file, instead of OpenSSL's own choice. Raises OSError
        for a file that cannot be read, SSLError for one that holds something else."""
        data = read_file(path, "dhParameters")
        if b"-----BEGIN DH PARAMETERS-----" not in data and b"-----BEGIN X9.42 DH PARAMETERS-----" not in data:
            text = f"[PEM: NO_START_LINE] no start line: {os.fsdecode(path)!r}: expected DH parameters in PEM"
            raise errors.make(errors.SSLError, 1, text, library="PEM", reason="NO_START_LINE")
        lib.txm_errors_clear()
        bio = lib.BIO_new_mem_buf(ffi.from_buffer(data), len(data))
        if bio == NULL:
            raise MemoryError("no memory for a BIO")
        parameters = lib.PEM_read_bio_Parameters(bio, NULL)
        lib.BIO_free(bio)
        if parameters == NULL:
            raise errors.queued(f"{os.fsdecode(path)!r}: expected DH parameters in PEM")
        if not lib.SSL_CTX_set0_tmp_dh_pkey(self._native, parameters):
            lib.EVP_PKEY_free(parameters)
            raise errors.queued(f"{os.fsdecode(path)!r}: using its DH parameters")

    @property
    def security_level(self) -> int:
        """OpenSSL's security level (SSL_CTX_set_security_level(3)); set it with "@SECLEVEL=" in set_ciphers()."""
        return int(lib.SSL_CTX_get_security_level(self._native))
