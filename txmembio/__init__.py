"""TLS in memory, for Twisted and Tornado, over OpenSSL, without pyOpenSSL.

    wire  ──►  adapter  ──►  Connection.receive_wire(data)   ──►  pump.c  ──►  plaintext  ──►  application
    wire  ◄──  adapter  ◄──  Connection.send_plaintext(data) ◄──  pump.c  ◄──  plaintext  ◄──  application

*Wire* is the bytes on the network, *plaintext* the bytes of the application. A :class:`Connection` turns one into the
other and knows no socket; ``txmembio.twisted`` carries its wire. A :class:`SSLContext`, the standard library's with
more, says how.

Importing this package changes nothing anywhere, and imports no framework, no ``ssl`` and no ``socket``. The names below
are fetched when they are first asked for: Twisted imports this package for every endpoint string it does not know
itself, and that must cost nothing, and break nothing where the C extension cannot be loaded.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from txmembio._version import __version__

if TYPE_CHECKING:
    from txmembio._openssl.lib import library_path as openssl_library
    from txmembio.certificates import Certificate, PrivateKey
    from txmembio.connection import Connection
    from txmembio.constants import (
        CERT_NONE,
        CERT_OPTIONAL,
        CERT_REQUIRED,
        OPENSSL_BUILD_VERSION_NUMBER,
        OPENSSL_VERSION,
        OPENSSL_VERSION_NUMBER,
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
        has_handshake_rtt,
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
    from txmembio.memorybio import MemoryBIO
    from txmembio.session import SSLSession
    from txmembio.sslobject import SSLObject
    from txmembio.switch import install

__all__ = [
    "CERT_NONE",
    "CERT_OPTIONAL",
    "CERT_REQUIRED",
    "OPENSSL_BUILD_VERSION_NUMBER",
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
    "install",
    "openssl_library",
]

# Where each name lives: the imports above, once more for run time.
_MODULES = {
    "certificates": ("Certificate", "PrivateKey"),
    "connection": ("Connection",),
    "context": ("SSLContext", "create_default_context"),
    "errors": tuple(name for name in __all__ if name.endswith("Error")),
    "session": ("SSLSession",),
    "memorybio": ("MemoryBIO",),
    # Importing it also gives SSLContext.wrap_bio() what it makes.
    "sslobject": ("SSLObject",),
    "switch": ("install",),
}
_MODULE_OF = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    if name == "openssl_library":
        value = import_module("txmembio._openssl.lib").library_path
    else:
        value = getattr(import_module(f"txmembio.{_MODULE_OF.get(name, 'constants')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
