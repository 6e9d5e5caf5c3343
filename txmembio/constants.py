"""The standard library's enumerations, with its names and values.

They are integers, so the ones of ``ssl`` itself are as welcome in every call; ``ssl`` is not imported, since the core
must not be the one who brings it in.
"""

from __future__ import annotations

import enum

from txmembio._openssl.lib import ffi, lib
from txmembio.asn1 import ASN1Object

OPENSSL_VERSION: str = ffi.string(lib.OpenSSL_version(lib.OPENSSL_VERSION)).decode()
"""The OpenSSL that is running, in its own words: "OpenSSL 3.0.19 27 Jan 2026"."""

OPENSSL_VERSION_NUMBER: int = lib.OpenSSL_version_num()
"""The same as a number (OpenSSL_version_num(3))."""

OPENSSL_BUILD_VERSION_NUMBER: int = lib.OPENSSL_VERSION_NUMBER
"""The OpenSSL whose headers this was compiled with."""

HAS_SSLv3: bool = bool(lib.TXM_HAS_SSLv3)
HAS_TLSv1: bool = bool(lib.TXM_HAS_TLSv1)
HAS_TLSv1_1: bool = bool(lib.TXM_HAS_TLSv1_1)
HAS_PSK: bool = bool(lib.TXM_HAS_PSK)
"""What a build of OpenSSL can leave out, under the standard library's names."""

has_handshake_rtt: bool = bool(lib.TXM_HAS_HANDSHAKE_RTT)
"""Connection.handshake_rtt() works (OpenSSL 3.2)."""


class TLSVersion(enum.IntEnum):
    """Protocol versions, as on the wire (RFC 8446 section 4.2.1), and two that mean "whatever this OpenSSL can do"."""

    MINIMUM_SUPPORTED = -2
    SSLv3 = 0x0300
    TLSv1 = 0x0301
    TLSv1_1 = 0x0302
    TLSv1_2 = 0x0303
    TLSv1_3 = 0x0304
    MAXIMUM_SUPPORTED = -1


class _SSLMethod(enum.IntEnum):
    """What a context is for. PROTOCOL_TLS can be either side."""

    PROTOCOL_TLS = 2
    PROTOCOL_TLSv1 = 3
    PROTOCOL_TLSv1_1 = 4
    PROTOCOL_TLSv1_2 = 5
    PROTOCOL_TLS_CLIENT = 16
    PROTOCOL_TLS_SERVER = 17


SSLMethod = _SSLMethod
"""The standard library has a name for it that looks private, and shows it in every repr()."""

PROTOCOL_TLS = SSLMethod.PROTOCOL_TLS
PROTOCOL_TLSv1 = SSLMethod.PROTOCOL_TLSv1
PROTOCOL_TLSv1_1 = SSLMethod.PROTOCOL_TLSv1_1
PROTOCOL_TLSv1_2 = SSLMethod.PROTOCOL_TLSv1_2
PROTOCOL_TLS_CLIENT = SSLMethod.PROTOCOL_TLS_CLIENT
PROTOCOL_TLS_SERVER = SSLMethod.PROTOCOL_TLS_SERVER


# Until Python 3.5 the name of PROTOCOL_TLS; an attribute and no member, as in the standard library.
setattr(SSLMethod, "PROTOCOL_SSLv23", SSLMethod.PROTOCOL_TLS)  # noqa: B010  (mypy knows only members)


class VerifyMode(enum.IntEnum):
    """Whether the peer must show a certificate."""

    CERT_NONE = 0
    CERT_OPTIONAL = 1
    CERT_REQUIRED = 2


CERT_NONE = VerifyMode.CERT_NONE
CERT_OPTIONAL = VerifyMode.CERT_OPTIONAL
CERT_REQUIRED = VerifyMode.CERT_REQUIRED


class VerifyFlags(enum.IntFlag):
    """How chains are checked (X509_VERIFY_PARAM_set_flags(3))."""

    VERIFY_DEFAULT = 0
    VERIFY_CRL_CHECK_LEAF = lib.X509_V_FLAG_CRL_CHECK
    VERIFY_CRL_CHECK_CHAIN = lib.X509_V_FLAG_CRL_CHECK | lib.X509_V_FLAG_CRL_CHECK_ALL
    VERIFY_X509_STRICT = lib.X509_V_FLAG_X509_STRICT
    VERIFY_ALLOW_PROXY_CERTS = lib.X509_V_FLAG_ALLOW_PROXY_CERTS
    VERIFY_X509_TRUSTED_FIRST = lib.X509_V_FLAG_TRUSTED_FIRST
    VERIFY_X509_PARTIAL_CHAIN = lib.X509_V_FLAG_PARTIAL_CHAIN


HOSTFLAG_ALWAYS_CHECK_SUBJECT: int = lib.X509_CHECK_FLAG_ALWAYS_CHECK_SUBJECT
HOSTFLAG_MULTI_LABEL_WILDCARDS: int = lib.X509_CHECK_FLAG_MULTI_LABEL_WILDCARDS
HOSTFLAG_NEVER_CHECK_SUBJECT: int = lib.X509_CHECK_FLAG_NEVER_CHECK_SUBJECT
HOSTFLAG_NO_PARTIAL_WILDCARDS: int = lib.X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS
HOSTFLAG_NO_WILDCARDS: int = lib.X509_CHECK_FLAG_NO_WILDCARDS
HOSTFLAG_SINGLE_LABEL_SUBDOMAINS: int = lib.X509_CHECK_FLAG_SINGLE_LABEL_SUBDOMAINS
"""How names are compared (X509_check_host(3))."""


class Options(enum.IntFlag):
    """Behaviour of a context (SSL_CTX_set_options(3)). Values are OpenSSL's own and may differ between versions."""

    # By value, as the standard library sorts them.
    OP_NO_SSLv2 = lib.SSL_OP_NO_SSLv2
    OP_SINGLE_DH_USE = lib.SSL_OP_SINGLE_DH_USE
    OP_SINGLE_ECDH_USE = lib.SSL_OP_SINGLE_ECDH_USE
    OP_LEGACY_SERVER_CONNECT = lib.SSL_OP_LEGACY_SERVER_CONNECT
    OP_ENABLE_KTLS = lib.SSL_OP_ENABLE_KTLS
    OP_IGNORE_UNEXPECTED_EOF = lib.SSL_OP_IGNORE_UNEXPECTED_EOF
    OP_NO_TICKET = lib.SSL_OP_NO_TICKET
    OP_NO_COMPRESSION = lib.SSL_OP_NO_COMPRESSION
    OP_ENABLE_MIDDLEBOX_COMPAT = lib.SSL_OP_ENABLE_MIDDLEBOX_COMPAT
    OP_PRIORITIZE_CHACHA = lib.SSL_OP_PRIORITIZE_CHACHA
    OP_CIPHER_SERVER_PREFERENCE = lib.SSL_OP_CIPHER_SERVER_PREFERENCE
    OP_NO_SSLv3 = lib.SSL_OP_NO_SSLv3
    OP_NO_TLSv1 = lib.SSL_OP_NO_TLSv1
    OP_NO_TLSv1_2 = lib.SSL_OP_NO_TLSv1_2
    OP_NO_TLSv1_1 = lib.SSL_OP_NO_TLSv1_1
    OP_NO_TLSv1_3 = lib.SSL_OP_NO_TLSv1_3
    OP_NO_RENEGOTIATION = lib.SSL_OP_NO_RENEGOTIATION
    # Without what would turn off a countermeasure against BEAST (CVE-2011-3389), as in the standard library.
    OP_ALL = lib.SSL_OP_ALL & ~lib.SSL_OP_DONT_INSERT_EMPTY_FRAGMENTS


class Purpose(ASN1Object, enum.Enum):
    """What the peer is to prove with its certificate: SERVER_AUTH makes a client's context, CLIENT_AUTH a server's.
    ``oid`` is the extended key usage, dotted (RFC 5280 section 4.2.1.12)."""

    SERVER_AUTH = "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH = "1.3.6.1.5.5.7.3.2"


class SSLErrorNumber(enum.IntEnum):
    """``errno`` of an SSLError, as in the standard library."""

    SSL_ERROR_SSL = 1
    SSL_ERROR_WANT_READ = 2
    SSL_ERROR_WANT_WRITE = 3
    SSL_ERROR_WANT_X509_LOOKUP = 4
    SSL_ERROR_SYSCALL = 5
    SSL_ERROR_ZERO_RETURN = 6
    SSL_ERROR_WANT_CONNECT = 7
    SSL_ERROR_EOF = 8
    SSL_ERROR_INVALID_ERROR_CODE = 10


class AlertDescription(enum.IntEnum):
    """Alerts (RFC 8446 section 6; those of earlier versions from RFC 5246 section 7.2, RFC 6066 and RFC 7301)."""

    ALERT_DESCRIPTION_CLOSE_NOTIFY = 0
    ALERT_DESCRIPTION_UNEXPECTED_MESSAGE = 10
    ALERT_DESCRIPTION_BAD_RECORD_MAC = 20
    ALERT_DESCRIPTION_RECORD_OVERFLOW = 22
    ALERT_DESCRIPTION_DECOMPRESSION_FAILURE = 30
    ALERT_DESCRIPTION_HANDSHAKE_FAILURE = 40
    ALERT_DESCRIPTION_BAD_CERTIFICATE = 42
    ALERT_DESCRIPTION_UNSUPPORTED_CERTIFICATE = 43
    ALERT_DESCRIPTION_CERTIFICATE_REVOKED = 44
    ALERT_DESCRIPTION_CERTIFICATE_EXPIRED = 45
    ALERT_DESCRIPTION_CERTIFICATE_UNKNOWN = 46
    ALERT_DESCRIPTION_ILLEGAL_PARAMETER = 47
    ALERT_DESCRIPTION_UNKNOWN_CA = 48
    ALERT_DESCRIPTION_ACCESS_DENIED = 49
    ALERT_DESCRIPTION_DECODE_ERROR = 50
    ALERT_DESCRIPTION_DECRYPT_ERROR = 51
    ALERT_DESCRIPTION_PROTOCOL_VERSION = 70
    ALERT_DESCRIPTION_INSUFFICIENT_SECURITY = 71
    ALERT_DESCRIPTION_INTERNAL_ERROR = 80
    ALERT_DESCRIPTION_INAPPROPRIATE_FALLBACK = 86
    ALERT_DESCRIPTION_USER_CANCELLED = 90
    ALERT_DESCRIPTION_NO_RENEGOTIATION = 100
    ALERT_DESCRIPTION_MISSING_EXTENSION = 109
    ALERT_DESCRIPTION_UNSUPPORTED_EXTENSION = 110
    ALERT_DESCRIPTION_CERTIFICATE_UNOBTAINABLE = 111
    ALERT_DESCRIPTION_UNRECOGNIZED_NAME = 112
    ALERT_DESCRIPTION_BAD_CERTIFICATE_STATUS_RESPONSE = 113
    ALERT_DESCRIPTION_BAD_CERTIFICATE_HASH_VALUE = 114
    ALERT_DESCRIPTION_UNKNOWN_PSK_IDENTITY = 115
    ALERT_DESCRIPTION_CERTIFICATE_REQUIRED = 116
    ALERT_DESCRIPTION_NO_APPLICATION_PROTOCOL = 120


def alert_name(number: int) -> str:
    """An alert as RFC 8446 spells it: 48 is ``unknown_ca``."""
    try:
        return AlertDescription(number).name.removeprefix("ALERT_DESCRIPTION_").lower()
    except ValueError:
        return f"alert {number}"
