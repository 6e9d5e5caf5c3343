"""SSLContext: what one side of many connections has in common. The standard library's, with more."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
from collections.abc import Callable, Sequence
from operator import index
from typing import TYPE_CHECKING, Any, ClassVar

from txmembio import ciphers, errors, trust
from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate, Password, PrivateKey
from txmembio.connection import Connection
from txmembio.constants import (
    CERT_NONE,
    CERT_OPTIONAL,
    CERT_REQUIRED,
    PROTOCOL_TLS,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    Options,
    Purpose,
    SSLMethod,
    TLSVersion,
    VerifyFlags,
    VerifyMode,
)
from txmembio.keylog import KeyLog, key_log
from txmembio.loading import Path, cadata_bytes, pem_certificates, pem_key, read_file, trusted_in
from txmembio.names import ServerName
from txmembio.session import SSLSession

if TYPE_CHECKING:
    from txmembio.sslobject import MemoryBIO, SSLObject

__all__ = ["SSLContext", "create_default_context", "require_context"]

SNICallback = Callable[[Any, str | None, "SSLContext"], int | None]
ALPNCallback = Callable[[list[str]], str | None]
VerifyCallback = Callable[[Certificate, int, int], bool]

# What the standard library enables in a context that nobody has configured: its --with-ssl-default-suites=python.
_STDLIB_CIPHERS = b"@SECLEVEL=2:ECDH+AESGCM:ECDH+CHACHA20:ECDH+AES:DHE+AES:!aNULL:!eNULL:!aDSS:!SHA1:!AESCCM"

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


MAX_ALPN_LIST = 65533
"""Bytes of an ALPN list in wire format: what a two-byte length in a two-byte extension leaves (RFC 7301 section
3.1)."""


def require_context(value: object, what: str) -> SSLContext:
    """`value` if it is one of our contexts. Raises TypeError otherwise, which for one of the standard library's says
    what to pass instead: its certificates live in another OpenSSL, where nobody can fetch them from."""
    if isinstance(value, SSLContext):
        return value
    kind = type(value)
    name = f"{kind.__module__}.{kind.__qualname__}"
    if any(base.__module__ in ("ssl", "_ssl") and base.__name__.endswith("SSLContext") for base in kind.__mro__):
        raise TypeError(
            f"{what} is the standard library's {name}, whose certificates and keys cannot be read out of it:"
            " expected a txmembio.SSLContext (txmembio.create_default_context() takes the same arguments)"
        )
    raise TypeError(f"{what} is {value!r} ({name}), expected a txmembio.SSLContext")


def _flags(value: int, what: str, ctype: str) -> int:
    """`value` if it fits C's type. Raises TypeError for what is no integer, OverflowError for one that does not fit."""
    number = index(value)
    most = (1 << 8 * ffi.sizeof(ctype)) - 1
    if not 0 <= number <= most:
        raise OverflowError(f"{what} is {number:#x}, expected 0 to {most:#x}")
    return number


def _words(value: str, what: str) -> bytes:
    """`value` as C takes it. Raises TypeError for anything but text, ValueError for NUL in it, where C would stop."""
    if not isinstance(value, str):
        raise TypeError(f"{what} must be str, not {type(value).__name__}")
    if "\0" in value:
        raise ValueError(f"{what} {value!r}: embedded null character")
    return value.encode()


def alpn_wire(protocols: Sequence[str | bytes]) -> bytes:
    """Protocols as RFC 7301 section 3.1 lists them. Raises SSLError, as the standard library does, for one that is not
    1 to 255 bytes long, or a list over 65533 bytes."""
    if isinstance(protocols, (str, bytes)):
        raise TypeError(f"ALPN protocols are {protocols!r}, expected a list of such names")
    wire = bytearray()
    for protocol in protocols:
        name = protocol.encode() if isinstance(protocol, str) else bytes(memoryview(protocol))
        if not 1 <= len(name) <= 255:
            raise errors.make(
                errors.SSLError, 1, f"ALPN protocols must be 1 to 255 in length: {protocol!r} has {len(name)} bytes"
            )
        wire += bytes([len(name)]) + name
    if len(wire) > MAX_ALPN_LIST:
        raise errors.make(
            errors.SSLError, 1, f"a list of ALPN protocols of {len(wire)} bytes, expected at most {MAX_ALPN_LIST}"
        )
    return bytes(wire)


class SSLContext:
    """Certificates, trust and rules of many connections. A new one has exactly the standard library's defaults;
    :func:`create_default_context` makes a safe one.

    It may be changed between connections; each takes what is set when it is made. Change it from one thread at a time.
    """

    sslobject_class: ClassVar[type[SSLObject]]
    """What wrap_bio() makes."""
    _ctx: Any  # the SSL_CTX *
    _protocol: SSLMethod
    _wants: int  # TXM_WANTS_ bits, but for ALPN
    _alpn: Any  # a callback, or protocols in wire format in C's memory, or None
    _alpn_protocols: list[str]
    _groups: bytes | None
    _sni_callback: SNICallback | None
    _verify_callback: VerifyCallback | None
    _keylog: KeyLog | None
    _host_flags: int
    _check_hostname: bool
    _verify_mode: VerifyMode
    _post_handshake_auth: bool
    _session_id_context: bytes | None
    _trusted: Any  # a digest of all that was trusted
    _settled: bool  # the session-id context is up to date
    _identity: bytes  # it, once it is settled

    def __new__(cls, protocol: int | None = None, *args: object, **kwargs: object) -> SSLContext:
        """`protocol` is one of the PROTOCOL_ constants, PROTOCOL_TLS when left out. Raises ValueError for another."""
        self = super().__new__(cls)
        protocol = PROTOCOL_TLS if protocol is None else protocol
        try:
            self._protocol = SSLMethod(index(protocol))
        except ValueError:
            raise ValueError(f"invalid or unsupported protocol version: {protocol!r}") from None
        method = {PROTOCOL_TLS_CLIENT: lib.TLS_client_method, PROTOCOL_TLS_SERVER: lib.TLS_server_method}
        lib.txm_errors_clear()
        ctx = lib.SSL_CTX_new(method.get(self.protocol, lib.TLS_method)())
        if ctx == NULL:
            raise errors.queued("making a context")
        self._ctx = ffi.gc(ctx, lib.SSL_CTX_free)
        lib.txm_context_prepare(ctx)
        self._wants = 0
        self._alpn = self._groups = self._sni_callback = self._verify_callback = self._keylog = None
        self._alpn_protocols = []
        self._host_flags = lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
        self._verify_mode = CERT_NONE
        self._check_hostname = self._post_handshake_auth = self._settled = False
        self._session_id_context = None
        self._trusted = hashlib.sha256()
        self._start_like_the_standard_library()
        return self

    @property
    def protocol(self) -> SSLMethod:
        """What it was made for."""
        return self._protocol

    def __init__(self, protocol: int | None = None) -> None:
        """As for the standard library's, all happens in ``__new__``, so that subclasses need not call this."""

    def _start_like_the_standard_library(self) -> None:
        self.options = _STDLIB_OPTIONS
        self.verify_flags |= VerifyFlags.VERIFY_X509_TRUSTED_FIRST
        fixed = _ONE_VERSION.get(self.protocol)
        if fixed is not None:
            lib.SSL_CTX_set_min_proto_version(self._ctx, fixed)
            lib.SSL_CTX_set_max_proto_version(self._ctx, fixed)
        elif self._policy_minimum() < TLSVersion.TLSv1_2:
            lib.SSL_CTX_set_min_proto_version(self._ctx, TLSVersion.TLSv1_2)
        if not lib.SSL_CTX_set_cipher_list(self._ctx, _STDLIB_CIPHERS):
            raise errors.queued("the default cipher list")
        lib.SSL_CTX_set_dh_auto(self._ctx, 1)
        if self.protocol == PROTOCOL_TLS_CLIENT:
            self.check_hostname = True

    def _policy_minimum(self) -> int:
        """The lowest version that openssl.cnf allows, 0 where it says nothing."""
        return int(lib.SSL_CTX_get_min_proto_version(self._ctx))

    # --- connections ---

    def connection(
        self,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> Connection:
        """A new connection, without I/O.

        `server_hostname` is the name or IP address a client wants to reach: it goes into SNI, and the peer's
        certificate must be for it if :attr:`check_hostname`. `session` is offered for resumption. Raises ValueError
        where they do not go together, SSLError where the context is for the other side.
        """
        self._check_side(server_side, server_hostname, session)
        self._settle()
        name = None if server_hostname is None else ServerName(server_hostname)
        return Connection(self, bool(server_side), name, session)

    def _check_side(self, server_side: bool, server_hostname: object, session: object) -> None:
        if server_side and self.protocol == PROTOCOL_TLS_CLIENT:
            raise errors.make(errors.SSLError, 1, "Cannot create a server socket with a PROTOCOL_TLS_CLIENT context")
        if not server_side and self.protocol == PROTOCOL_TLS_SERVER:
            raise errors.make(errors.SSLError, 1, "Cannot create a client socket with a PROTOCOL_TLS_SERVER context")
        if server_side and server_hostname is not None:
            raise ValueError("server_hostname can only be specified in client mode")
        if server_side and session is not None:
            raise ValueError("session can only be specified in client mode")
        if session is not None and not isinstance(session, SSLSession):
            raise TypeError("Value is not a SSLSession.")
        if not server_side and self.check_hostname and not server_hostname:
            raise ValueError("check_hostname requires server_hostname")

    def wrap_bio(
        self,
        incoming: MemoryBIO,
        outgoing: MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: SSLSession | None = None,
    ) -> SSLObject:
        """An SSLObject that reads wire from `incoming` and writes it to `outgoing`, as in the standard library."""
        from txmembio import sslobject  # noqa: F401  (sets sslobject_class)

        return self.sslobject_class._create(
            incoming, outgoing, server_side=server_side, server_hostname=server_hostname, session=session, context=self
        )

    def _settle(self) -> None:
        """Before a connection takes the context: the session-id context follows from who may authenticate how, so that
        sessions can be resumed in every process with this configuration, and never under another one."""
        if self._settled:
            return
        identity = self._session_id_context
        if identity is None:
            identity = hashlib.sha256(self._rules().encode() + self._trusted.digest()).digest()
        self._identity = identity
        if not lib.SSL_CTX_set_session_id_context(self._ctx, identity, len(identity)):
            raise errors.queued(f"setting the session-id context {identity!r}")
        self._settled = True

    def _rules(self) -> str:
        """All that decides whether a peer is accepted, but for whom we trust: the same text in every process."""
        callback = self._verify_callback
        rules = (
            int(self._verify_mode),
            self._post_handshake_auth,
            int(self.verify_flags),
            lib.SSL_CTX_get_verify_depth(self._ctx),
            self._check_hostname and self._host_flags,
            callback and (getattr(callback, "__module__", ""), getattr(callback, "__qualname__", "")),
        )
        return repr(rules)

    @property
    def session_id_context(self) -> bytes | None:
        """Sessions are resumed only under the same one (SSL_CTX_set_session_id_context(3)), at most 32 bytes. None, the
        default: derived from the rules for client authentication, the same in every process that has the same."""
        return self._session_id_context

    @session_id_context.setter
    def session_id_context(self, value: bytes | None) -> None:
        value = None if value is None else bytes(memoryview(value))
        if value is not None and not 1 <= len(value) <= lib.SSL_MAX_SID_CTX_LENGTH:
            raise ValueError(
                f"session_id_context is {value!r}, expected 1 to {lib.SSL_MAX_SID_CTX_LENGTH} bytes, or None"
            )
        self._session_id_context = value
        self._settled = False

    # --- our certificate ---

    def load_cert_chain(self, certfile: Path, keyfile: Path | None = None, password: Password | None = None) -> None:
        """Our certificate, the chain behind it, and its key, from PEM files; the key from `certfile` if `keyfile` is
        left out. May be called once for each kind of key, and again to replace one; connections that exist keep theirs.

        Raises OSError for a file that cannot be read, SSLError for one that holds something else or a key that does not
        belong to the certificate, whatever a password callback raises. A failed call leaves the context as it was.
        """
        if certfile is None:
            raise TypeError("certfile should be a valid filesystem path")
        where = os.fsdecode(certfile)
        data = read_file(certfile, "certfile")
        key_where = where if keyfile is None else os.fsdecode(keyfile)
        key_data = data if keyfile is None else read_file(keyfile, "keyfile")
        self._use(pem_certificates(data, repr(where)), pem_key(key_data, password, repr(key_where)), where, key_where)

    def use_cert_chain(
        self, certificate: bytes, private_key: bytes | None = None, password: Password | None = None
    ) -> None:
        """The same from bytes: PEM, where the chain follows the certificate and the key may stand beside it, or DER,
        one certificate and one key (PKCS #8 or its kind's older form)."""
        if b"-----BEGIN" in certificate:
            chain = pem_certificates(certificate, "certificate")
        else:
            chain = [Certificate.from_der(certificate)]
        keys = certificate if private_key is None else private_key
        if b"-----BEGIN" in keys:
            key = pem_key(keys, password, "private_key")
        elif private_key is not None:
            key = PrivateKey.from_der(private_key)
        else:
            raise errors.make(errors.SSLError, 1, "private_key is missing: a certificate in DER has none beside it")
        self._use(chain, key, "certificate", "private_key")

    def _use(self, chain: list[Certificate], key: PrivateKey, where: str, key_where: str) -> None:
        leaf = chain[0]
        lib.txm_errors_clear()
        if not lib.X509_check_private_key(leaf._x509, key._pkey):
            raise errors.queued(
                f"the private key of {key_where!r} does not belong to the certificate of {where!r} ({leaf!r})"
            )
        # OpenSSL looks at one certificate at a time and may refuse the last (for a weak key, say): so all of them go
        # into a context that nobody uses first.
        trial = ffi.gc(lib.SSL_CTX_new(lib.TLS_method()), lib.SSL_CTX_free)
        if trial == NULL:
            raise errors.queued("making a context")
        lib.SSL_CTX_set_security_level(trial, self.security_level)
        for ctx in (trial, self._ctx):
            if not lib.SSL_CTX_use_certificate(ctx, leaf._x509):
                raise errors.queued(f"using the certificate of {where!r} ({leaf!r})")
            if not lib.SSL_CTX_use_PrivateKey(ctx, key._pkey):
                raise errors.queued(f"using the private key of {key_where!r}")
            lib.SSL_CTX_clear_chain_certs(ctx)
            for certificate in chain[1:]:
                if not lib.SSL_CTX_add1_chain_cert(ctx, certificate._x509):
                    raise errors.queued(f"using the chain of {where!r} ({certificate!r})")

    @property
    def certificate(self) -> Certificate | None:
        """Our own certificate, the last one set; None while there is none."""
        x509 = lib.SSL_CTX_get0_certificate(self._ctx)
        return Certificate(x509) if x509 != NULL and lib.X509_up_ref(x509) else None

    # --- whom we trust ---

    def load_verify_locations(
        self, cafile: Path | None = None, capath: Path | None = None, cadata: str | bytes | None = None
    ) -> None:
        """Certificates (and revocation lists) to trust: a PEM file, a folder as ``openssl rehash`` makes it, text in
        PEM or bytes in DER or PEM. Raises TypeError if all are left out, OSError for a path that cannot be read,
        SSLError for contents that are none."""
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata cannot be all omitted")
        if cadata is not None:
            self._trust(cadata_bytes(cadata), "cadata")
        if cafile is not None:
            where = os.fsdecode(cafile)
            self._trust(read_file(cafile, "cafile"), f"cafile {where!r}")
        if capath is not None:
            folder = os.fsencode(capath)
            if not os.path.isdir(folder):
                number = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
                raise OSError(number, f"capath: {os.strerror(number)}", os.fsdecode(folder))
            self._settled = False
            self._trusted.update(folder)
            lib.txm_errors_clear()
            if not lib.SSL_CTX_load_verify_dir(self._ctx, folder):
                raise errors.queued(f"capath {os.fsdecode(folder)!r}")

    def _trust(self, data: bytes, what: str) -> None:
        store = lib.SSL_CTX_get_cert_store(self._ctx)
        lib.txm_errors_clear()
        certificates, crls = trusted_in(data, what)
        for certificate in certificates:
            if not lib.X509_STORE_add_cert(store, certificate._x509):
                raise errors.queued(f"{what}: {certificate!r}")
        for crl in crls:
            if not lib.X509_STORE_add_crl(store, crl):
                raise errors.queued(f"{what}: a certificate revocation list")
        self._trusted.update(data)
        self._settled = False

    def load_default_certs(self, purpose: Purpose = Purpose.SERVER_AUTH) -> None:
        """Trusts what the platform trusts; ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured. Raises TypeError for
        anything but a purpose, SSLError where OpenSSL fails."""
        if not hasattr(purpose, "oid"):
            raise TypeError(f"purpose is {purpose!r}, expected a member of txmembio.Purpose")
        trust.load_platform_roots(self._ctx)
        self._trusted.update(b"platform")
        self._settled = False

    def set_default_verify_paths(self) -> None:
        """Trusts what OpenSSL finds in its own default places, and nothing else."""
        if not lib.SSL_CTX_set_default_verify_paths(self._ctx):
            raise errors.queued("setting the default verify paths")
        self._trusted.update(b"default paths")
        self._settled = False

    def add_client_ca_names(self, cadata: str | bytes) -> None:
        """Names that a server sends along when it asks for a client certificate, to help the client choose one
        (RFC 8446 section 4.2.4): the subjects of these certificates."""
        for certificate in trusted_in(cadata_bytes(cadata), "cadata")[0]:
            if not lib.SSL_CTX_add_client_CA(self._ctx, certificate._x509):
                raise errors.queued(f"naming {certificate!r} to clients")

    def get_ca_certs(self, binary_form: bool = False) -> list[Any]:
        """The trusted certificates that are CAs, as dicts or DER. Those of a folder appear once they have been used."""
        found = [certificate for certificate in self._stored() if certificate.is_ca]
        return [certificate.der if binary_form else certificate.as_dict() for certificate in found]

    def cert_store_stats(self) -> dict[str, int]:
        """How many certificates ("x509"), CAs among them ("x509_ca") and revocation lists ("crl") are loaded."""
        certificates = self._stored()
        cas = sum(certificate.is_ca for certificate in certificates)
        return {"x509": len(certificates), "crl": self._objects(lib.X509_LU_CRL), "x509_ca": cas}

    def _objects(self, kind: int) -> int:
        store = lib.SSL_CTX_get_cert_store(self._ctx)
        lib.X509_STORE_lock(store)
        try:
            stack = lib.X509_STORE_get0_objects(store)
            found = [
                ffi.cast("X509_OBJECT *", lib.OPENSSL_sk_value(stack, at)) for at in range(lib.OPENSSL_sk_num(stack))
            ]
            return sum(lib.X509_OBJECT_get_type(entry) == kind for entry in found)
        finally:
            lib.X509_STORE_unlock(store)

    def _stored(self) -> list[Certificate]:
        store = lib.SSL_CTX_get_cert_store(self._ctx)
        out = []
        lib.X509_STORE_lock(store)
        try:
            stack = lib.X509_STORE_get0_objects(store)
            for at in range(lib.OPENSSL_sk_num(stack)):
                x509 = lib.X509_OBJECT_get0_X509(ffi.cast("X509_OBJECT *", lib.OPENSSL_sk_value(stack, at)))
                if x509 != NULL and lib.X509_up_ref(x509):
                    out.append(Certificate(x509))
        finally:
            lib.X509_STORE_unlock(store)
        return out

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
        if self._post_handshake_auth and bits and self.protocol != PROTOCOL_TLS_CLIENT:
            bits |= lib.SSL_VERIFY_POST_HANDSHAKE
        lib.txm_verify_set(self._ctx, bits)
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
        return VerifyFlags(lib.X509_VERIFY_PARAM_get_flags(lib.SSL_CTX_get0_param(self._ctx)))

    @verify_flags.setter
    def verify_flags(self, value: int) -> None:
        value = _flags(value, "verify_flags", "unsigned long")
        parameters = lib.SSL_CTX_get0_param(self._ctx)
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
        self._want(lib.TXM_WANTS_VERIFY, callback is not None)
        self._settled = False

    def _on_verify(self, ok: bool, store: Any) -> bool:
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
        lib.SSL_CTX_set_post_handshake_auth(self._ctx, self._post_handshake_auth)
        self._set_verify()

    # --- versions and algorithms ---

    @property
    def options(self) -> Options:
        """OP_ bits."""
        return Options(lib.SSL_CTX_get_options(self._ctx))

    @options.setter
    def options(self, value: int) -> None:
        value = _flags(value, "options", "uint64_t")
        before = lib.SSL_CTX_get_options(self._ctx)
        lib.SSL_CTX_clear_options(self._ctx, before & ~value)
        lib.SSL_CTX_set_options(self._ctx, value & ~before)

    @property
    def minimum_version(self) -> TLSVersion:
        """The lowest version allowed; TLSVersion.MINIMUM_SUPPORTED for whatever there is."""
        fixed = self.protocol in _ONE_VERSION  # as in the standard library, which then has nothing to say
        return TLSVersion((not fixed and lib.SSL_CTX_get_min_proto_version(self._ctx)) or TLSVersion.MINIMUM_SUPPORTED)

    @minimum_version.setter
    def minimum_version(self, value: int) -> None:
        value = index(value)
        if value == TLSVersion.MAXIMUM_SUPPORTED:
            value = TLSVersion.TLSv1_3
        number = 0 if value == TLSVersion.MINIMUM_SUPPORTED else value
        self._set_version(lib.SSL_CTX_set_min_proto_version, number, value)

    @property
    def maximum_version(self) -> TLSVersion:
        """The highest version allowed; TLSVersion.MAXIMUM_SUPPORTED for whatever there is."""
        fixed = self.protocol in _ONE_VERSION
        return TLSVersion((not fixed and lib.SSL_CTX_get_max_proto_version(self._ctx)) or TLSVersion.MAXIMUM_SUPPORTED)

    @maximum_version.setter
    def maximum_version(self, value: int) -> None:
        value = index(value)
        if value == TLSVersion.MINIMUM_SUPPORTED:
            value = TLSVersion.TLSv1
        number = 0 if value == TLSVersion.MAXIMUM_SUPPORTED else value
        self._set_version(lib.SSL_CTX_set_max_proto_version, number, value)

    def _set_version(self, setter: Callable[[Any, int], int], number: int, value: int) -> None:
        if self.protocol in _ONE_VERSION:
            raise ValueError("The context's protocol doesn't support modification of highest and lowest version.")
        known = value in TLSVersion._value2member_map_
        if not known or not setter(self._ctx, number):
            lib.txm_errors_clear()
            raise ValueError(f"Unsupported protocol version 0x{value:x}: expected a member of txmembio.TLSVersion")

    def set_ciphers(self, cipherlist: str) -> None:
        """Cipher suites of TLS 1.2 and earlier, in OpenSSL's notation (openssl-ciphers(1)). Raises SSLError if it
        selects none."""
        lib.txm_errors_clear()
        if not lib.SSL_CTX_set_cipher_list(self._ctx, _words(cipherlist, "ciphers")):
            lib.txm_errors_clear()
            raise errors.make(errors.SSLError, 1, f"No cipher can be selected. (ciphers {cipherlist!r})")

    def set_ciphersuites(self, suites: str) -> None:
        """Cipher suites of TLS 1.3, names with colons between, in order of preference. Raises SSLError for an unknown
        name or an empty list."""
        lib.txm_errors_clear()
        if not lib.SSL_CTX_set_ciphersuites(self._ctx, _words(suites, "cipher suites")) or not suites:
            lib.txm_errors_clear()
            raise errors.make(errors.SSLError, 1, f"No cipher can be selected. (TLS 1.3 cipher suites {suites!r})")

    def get_ciphers(self) -> list[dict[str, Any]]:
        """What is enabled, in order of preference, as dicts of the standard library's shape."""
        return ciphers.describe(self._ctx)

    def set_groups(self, groups: str) -> None:
        """Key-exchange groups, names with colons between, in order of preference (SSL_CTX_set1_groups_list(3)):
        "X25519:P-256", or "X25519MLKEM768" where OpenSSL has it. Raises ValueError for an unknown one."""
        lib.txm_errors_clear()
        words = _words(groups, "groups")
        if not words or not lib.SSL_CTX_set1_groups_list(self._ctx, words):
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
        words = _words(algorithms, "signature algorithms")
        if not words or not lib.SSL_CTX_set1_sigalgs_list(self._ctx, words):
            lib.txm_errors_clear()
            raise ValueError(f"signature algorithms are {algorithms!r}, expected names that this OpenSSL has")

    def load_dh_params(self, path: Path) -> None:
        """Parameters for finite-field Diffie-Hellman from a PEM file, instead of OpenSSL's own choice. Raises OSError
        for a file that cannot be read, SSLError for one that holds something else."""
        data = read_file(path, "dhParameters")
        lib.txm_errors_clear()
        bio = lib.BIO_new_mem_buf(ffi.from_buffer(data), len(data))
        if bio == NULL:
            raise MemoryError("no memory for a BIO")
        parameters = lib.PEM_read_bio_Parameters(bio, NULL)
        lib.BIO_free(bio)
        if parameters == NULL:
            raise errors.queued(f"{os.fsdecode(path)!r}: expected DH parameters in PEM")
        if not lib.SSL_CTX_set0_tmp_dh_pkey(self._ctx, parameters):
            lib.EVP_PKEY_free(parameters)
            raise errors.queued(f"{os.fsdecode(path)!r}: using its DH parameters")

    @property
    def security_level(self) -> int:
        """OpenSSL's security level (SSL_CTX_set_security_level(3)); set it with "@SECLEVEL=" in set_ciphers()."""
        return int(lib.SSL_CTX_get_security_level(self._ctx))

    # --- names: SNI and ALPN ---

    def set_alpn_protocols(self, alpn_protocols: Sequence[str]) -> None:
        """What a client offers and a server picks from, in order of preference (RFC 7301). Nothing in common means that
        no protocol is agreed on, and the handshake goes on, as in the standard library."""
        wire = alpn_wire(alpn_protocols)
        if lib.SSL_CTX_set_alpn_protos(self._ctx, wire, len(wire)):  # 0 is success here
            raise errors.queued(f"setting ALPN protocols {alpn_protocols!r}")
        self._alpn_protocols = [name if isinstance(name, str) else bytes(name).decode() for name in alpn_protocols]
        self._alpn = ffi.new("unsigned char[]", list(wire)) if wire else None

    @property
    def alpn_protocols(self) -> list[str]:
        """What set_alpn_protocols() was given."""
        return list(self._alpn_protocols)

    def set_alpn_callback(self, callback: ALPNCallback | None) -> None:
        """On a server: `callback(offered) -> chosen` picks one of the client's protocols, or None to go on without. An
        exception, or a choice that was not offered, refuses the handshake. None takes the callback away, and
        set_alpn_protocols() applies again."""
        if callback is None:
            self.set_alpn_protocols(self._alpn_protocols)
        elif callable(callback):
            self._alpn = callback
        else:
            raise TypeError(f"the ALPN callback is {callback!r}, expected a callable object or None")

    @property
    def alpn_callback(self) -> ALPNCallback | None:
        """What set_alpn_callback() was given."""
        return None if self._alpn is None or isinstance(self._alpn, ffi.CData) else self._alpn

    @property
    def sni_callback(self) -> SNICallback | None:
        """`callback(connection, server_name, context)`, called on a server for every ClientHello, before OpenSSL looks
        at a session ticket; `server_name` is None where the client sent none. It may assign ``connection.context``. It
        returns None to go on, or the number of the alert to refuse with; an exception refuses with internal_error.

        `connection` is the SSLObject, or the Connection where there is none."""
        return self._sni_callback

    @sni_callback.setter
    def sni_callback(self, callback: SNICallback | None) -> None:
        if self.protocol == PROTOCOL_TLS_CLIENT:
            raise ValueError("sni_callback cannot be set on TLS_CLIENT context")
        if callback is not None and not callable(callback):
            raise TypeError("not a callable object")
        self._sni_callback = callback
        self._want(lib.TXM_WANTS_CLIENT_HELLO, callback is not None)

    def set_servername_callback(self, server_name_callback: SNICallback | None) -> None:
        """The standard library's older spelling of :attr:`sni_callback`; the name is "" where there is none."""
        self.sni_callback = server_name_callback

    def _want(self, bit: int, on: bool) -> None:
        self._wants = self._wants | bit if on else self._wants & ~bit

    # --- tickets and sessions ---

    @property
    def num_tickets(self) -> int:
        """How many TLS 1.3 tickets a server sends after a full handshake. Servers only."""
        return int(lib.SSL_CTX_get_num_tickets(self._ctx))

    @num_tickets.setter
    def num_tickets(self, value: int) -> None:
        if value < 0:
            raise ValueError("value must be non-negative")
        if self.protocol != PROTOCOL_TLS_SERVER:
            raise ValueError("SSLContext is not a server context.")
        if not lib.SSL_CTX_set_num_tickets(self._ctx, value):
            raise ValueError("failed to set num tickets.")

    def set_ticket_keys(self, keys: Sequence[bytes]) -> None:
        """Keys for session tickets, of 48 or 80 bytes each, in nginx's format: the first encrypts, all decrypt, and a
        ticket under another than the first is renewed. The same keys in several processes let each resume what another
        began. They count on the context that connections are made with, not on those an SNI callback switches to.
        Raises ValueError for none, more than 32, or keys of another or different lengths."""
        lengths = {len(key) for key in keys}
        if lengths not in ({48}, {80}) or not 1 <= len(keys) <= lib.TXM_TICKET_KEYS:
            raise ValueError(
                f"{len(keys)} ticket keys of {sorted(lengths)} bytes, expected 1 to {lib.TXM_TICKET_KEYS},"
                " each of 48 bytes or each of 80"
            )
        lib.txm_errors_clear()
        if not lib.txm_ticket_keys_set(self._ctx, b"".join(keys), len(keys[0]), len(keys)):
            raise errors.queued("setting session ticket keys")

    def session_stats(self) -> dict[str, int]:
        """Counters of handshakes and resumptions (SSL_CTX_sess_number(3)), under the standard library's names."""
        names = {
            "number": lib.SSL_CTX_sess_number,
            "connect": lib.SSL_CTX_sess_connect,
            "connect_good": lib.SSL_CTX_sess_connect_good,
            "connect_renegotiate": lib.SSL_CTX_sess_connect_renegotiate,
            "accept": lib.SSL_CTX_sess_accept,
            "accept_good": lib.SSL_CTX_sess_accept_good,
            "accept_renegotiate": lib.SSL_CTX_sess_accept_renegotiate,
            "hits": lib.SSL_CTX_sess_hits,
            "misses": lib.SSL_CTX_sess_misses,
            "timeouts": lib.SSL_CTX_sess_timeouts,
            "cache_full": lib.SSL_CTX_sess_cache_full,
        }
        return {name: int(count(self._ctx)) for name, count in names.items()}

    # --- key log ---

    @property
    def keylog_filename(self) -> str | None:
        """A file that every connection's secrets are appended to, for a protocol analyser; whoever has it can read
        everything. None, the default, for none. Raises OSError where it cannot be opened."""
        return None if self._keylog is None else self._keylog.path

    @keylog_filename.setter
    def keylog_filename(self, value: Path | None) -> None:
        log = None if value is None else key_log(value)
        self._keylog = log
        self._want(lib.TXM_WANTS_KEYLOG, log is not None)
        lib.txm_keylog_enable(self._ctx, log is not None)

    def _on_keylog(self, line: bytes) -> None:
        if self._keylog is not None:
            self._keylog.write(line)

    def __repr__(self) -> str:
        return f"<{type(self).__module__}.{type(self).__name__} {self.protocol.name}, {self._verify_mode.name}>"


def create_default_context(
    purpose: Purpose = Purpose.SERVER_AUTH,
    *,
    cafile: Path | None = None,
    capath: Path | None = None,
    cadata: str | bytes | None = None,
) -> SSLContext:
    """A context with the settings a careful engineer would choose: TLS 1.2 and 1.3, forward secrecy and AEAD only, no
    renegotiation, no compression; and the system's policy where that is stricter.

    Purpose.SERVER_AUTH makes one for clients, which verify the server's chain and name against `cafile`, `capath`,
    `cadata`, or, if all are left out, the platform's roots. Purpose.CLIENT_AUTH makes one for servers, which ask for no
    client certificate unless told to. ``SSLKEYLOGFILE`` is honoured. Raises what load_verify_locations() raises.
    """
    oid = getattr(purpose, "oid", None)
    if oid not in (Purpose.SERVER_AUTH.oid, Purpose.CLIENT_AUTH.oid):
        raise TypeError(f"purpose is {purpose!r}, expected a member of txmembio.Purpose")
    client = oid == Purpose.SERVER_AUTH.oid
    context = SSLContext(PROTOCOL_TLS_CLIENT if client else PROTOCOL_TLS_SERVER)
    ciphers.keep_forward_secret_aead(context._ctx)
    context.options |= Options.OP_NO_RENEGOTIATION | Options.OP_PRIORITIZE_CHACHA
    context.hostname_checks_common_name = False
    if cafile is not None or capath is not None or cadata is not None:
        context.load_verify_locations(cafile, capath, cadata)
    elif client:
        context.load_default_certs(Purpose.SERVER_AUTH)
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog and not sys.flags.ignore_environment:
        context.keylog_filename = keylog
    return context
