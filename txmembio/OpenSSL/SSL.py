"""``OpenSSL.SSL``: contexts and connections."""

from __future__ import annotations

from txmembio.native.version import openssl_words
from txmembio.OpenSSL import _constants
from txmembio.OpenSSL._connection import Connection, Session
from txmembio.OpenSSL._constants import *  # noqa: F403
from txmembio.OpenSSL._context import NO_OVERLAPPING_PROTOCOLS, Context
from txmembio.OpenSSL._errors import (
    Error,
    SysCallError,
    WantReadError,
    WantWriteError,
    WantX509LookupError,
    ZeroReturnError,
)
from txmembio.OpenSSL._keys import FILETYPE_ASN1, FILETYPE_PEM
from txmembio.OpenSSL._verification_codes import X509VerificationCodes

__all__ = [
    *_constants.__all__,
    "FILETYPE_ASN1",
    "FILETYPE_PEM",
    "NO_OVERLAPPING_PROTOCOLS",
    "Connection",
    "ConnectionType",
    "Context",
    "ContextType",
    "Error",
    "OpenSSL_version",
    "SSLeay_version",
    "Session",
    "SysCallError",
    "WantReadError",
    "WantWriteError",
    "WantX509LookupError",
    "X509VerificationCodes",
    "ZeroReturnError",
]

ConnectionType = Connection
ContextType = Context


def OpenSSL_version(type: int) -> bytes:
    """OpenSSL about itself; `type` is one of the OPENSSL_ constants (OpenSSL_version(3))."""
    return openssl_words(type)


SSLeay_version = OpenSSL_version
