"""TLS in memory, for Twisted and Tornado, over OpenSSL, without pyOpenSSL.

    wire  ──►  adapter  ──►  Connection.receive_wire(data)   ──►  pump.c  ──►  plaintext  ──►  application
    wire  ◄──  adapter  ◄──  Connection.send_plaintext(data) ◄──  pump.c  ◄──  plaintext  ◄──  application

*Wire* is the bytes on the network, *plaintext* the bytes of the application. A :class:`Connection` turns one into the
other and knows no socket; ``txmembio.twisted`` carries its wire. A :class:`SSLContext`, the standard library's with
more, says how.

Importing this package changes nothing anywhere, and imports no framework, no ``ssl`` and no ``socket``.
"""

from __future__ import annotations

from txmembio._openssl.lib import ffi as _ffi
from txmembio._openssl.lib import lib as _lib
from txmembio._openssl.lib import library_path as openssl_library
from txmembio._version import __version__
from txmembio.certificates import Certificate, PrivateKey
from txmembio.connection import Connection
from txmembio.constants import (
    CERT_NONE,
    CERT_OPTIONAL,
    CERT_REQUIRED,
    PROTOCOL_TLS,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    AlertDescription,
    Options,
    Purpose,
    SSLErrorNumber,
    TLSVersion,
    VerifyFlags,
    VerifyMode,
)
from txmembio.context import SSLContext, create_default_context
from txmembio.errors import (
    InstallError,
    SSLCertVerificationError,
    SSLEOFError,
    SSLError,
    SSLSyscallError,
    SSLWantReadError,
    SSLWantWriteError,
    SSLZeroReturnError,
    UnavailableError,
)
from txmembio.session import SSLSession
from txmembio.sslobject import MemoryBIO, SSLObject

OPENSSL_VERSION: str = _ffi.string(_lib.OpenSSL_version(_lib.OPENSSL_VERSION)).decode()
"""The OpenSSL that is running, in its own words: "OpenSSL 3.0.19 27 Jan 2026"."""

OPENSSL_VERSION_NUMBER: int = _lib.OpenSSL_version_num()
"""The same as a number (OpenSSL_version_num(3))."""

has_handshake_rtt: bool = bool(_lib.TXM_HAS_HANDSHAKE_RTT)
"""Connection.handshake_rtt() works (OpenSSL 3.2)."""

__all__ = [
    "CERT_NONE",
    "CERT_OPTIONAL",
    "CERT_REQUIRED",
    "OPENSSL_VERSION",
    "OPENSSL_VERSION_NUMBER",
    "PROTOCOL_TLS",
    "PROTOCOL_TLS_CLIENT",
    "PROTOCOL_TLS_SERVER",
    "AlertDescription",
    "Certificate",
    "Connection",
    "InstallError",
    "MemoryBIO",
    "Options",
    "PrivateKey",
    "Purpose",
    "SSLCertVerificationError",
    "SSLContext",
    "SSLEOFError",
    "SSLError",
    "SSLErrorNumber",
    "SSLObject",
    "SSLSession",
    "SSLSyscallError",
    "SSLWantReadError",
    "SSLWantWriteError",
    "SSLZeroReturnError",
    "TLSVersion",
    "UnavailableError",
    "VerifyFlags",
    "VerifyMode",
    "__version__",
    "create_default_context",
    "has_handshake_rtt",
    "openssl_library",
]
