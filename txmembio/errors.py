"""Every exception, and the one place where OpenSSL's error queue becomes one.

The classes are the ones of the interpreter's ``_ssl`` where it has one, so ``except ssl.SSLError`` catches ours. Each
instance carries as data what its text says; attributes that do not apply are None:

========================  ==================================================================================
``library``, ``reason``   OpenSSL's library and reason, as in the standard library: "SSL", "WRONG_VERSION_NUMBER"
``alert``                 the TLS alert that was sent or received, in the spelling of RFC 8446: "unknown_ca"
``alert_number``          the same as a number (RFC 8446 section 6)
``alert_received``        True if the peer sent it, False if we did, None if there was none
``verify_code``           the X509_V_ERR_ number (X509_STORE_CTX_get_error(3))
``verify_message``        OpenSSL's words for it
``depth``                 which certificate of the chain it was: 0 is the peer's own
``subject``               whose certificate that is, in the form of RFC 2253
``hostname``              the name or address that the certificate should have been for
========================  ==================================================================================
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from txmembio._openssl.lib import ffi, lib
from txmembio.constants import SSLErrorNumber, alert_name

if TYPE_CHECKING:
    import _ssl

    class SSLError(_ssl.SSLError):
        """An error of the TLS layer: the interpreter's ``_ssl.SSLError``, with this module's attributes on it."""

        alert: str | None
        alert_number: int | None
        alert_received: bool | None
        verify_code: Any  # int | None; typeshed says int for SSLCertVerificationError
        verify_message: Any  # str | None
        depth: int | None
        subject: str | None
        hostname: str | None

    class SSLZeroReturnError(SSLError, _ssl.SSLZeroReturnError): ...

    class SSLWantReadError(SSLError, _ssl.SSLWantReadError): ...

    class SSLWantWriteError(SSLError, _ssl.SSLWantWriteError): ...

    class SSLSyscallError(SSLError, _ssl.SSLSyscallError): ...

    class SSLEOFError(SSLError, _ssl.SSLEOFError): ...

    class SSLCertVerificationError(SSLError, _ssl.SSLCertVerificationError): ...

else:
    try:  # the C module alone: importing it does not import ssl
        from _ssl import (
            SSLCertVerificationError,
            SSLEOFError,
            SSLError,
            SSLSyscallError,
            SSLWantReadError,
            SSLWantWriteError,
            SSLZeroReturnError,
        )
    except ImportError:  # an interpreter without ssl

        class SSLError(OSError):
            """An error of the TLS layer; as in the standard library."""

            def __str__(self):
                return self.strerror if isinstance(self.strerror, str) else str(self.args)

        class SSLZeroReturnError(SSLError):
            """The peer has closed cleanly, with close_notify."""

        class SSLWantReadError(SSLError):
            """More wire is needed."""

        class SSLWantWriteError(SSLError):
            """Wire must be sent first."""

        class SSLSyscallError(SSLError):
            """A system call failed."""

        class SSLEOFError(SSLError):
            """The wire ended without close_notify."""

        class SSLCertVerificationError(SSLError, ValueError):
            """The peer's certificate was refused."""


__all__ = [
    "InstallError",
    "SSLCertVerificationError",
    "SSLEOFError",
    "SSLError",
    "SSLSyscallError",
    "SSLWantReadError",
    "SSLWantWriteError",
    "SSLZeroReturnError",
    "UnavailableError",
]


class InstallError(RuntimeError):
    """:func:`txmembio.install` can't: the text names the module that got there first, or the package that is
    missing."""


class UnavailableError(NotImplementedError):
    """The OpenSSL that is loaded does not have this; ``txmembio.has_…`` says so beforehand."""


# OpenSSL's libraries by the names the standard library gives them (openssl/err.h).
_LIBRARIES = {
    lib.ERR_LIB_SYS: "SYS",
    lib.ERR_LIB_RSA: "RSA",
    lib.ERR_LIB_EVP: "EVP",
    lib.ERR_LIB_PEM: "PEM",
    lib.ERR_LIB_X509: "X509",
    lib.ERR_LIB_ASN1: "ASN1",
    lib.ERR_LIB_CONF: "CONF",
    lib.ERR_LIB_CRYPTO: "CRYPTO",
    lib.ERR_LIB_EC: "EC",
    lib.ERR_LIB_SSL: "SSL",
    lib.ERR_LIB_BIO: "BIO",
    lib.ERR_LIB_PKCS12: "PKCS12",
    lib.ERR_LIB_RAND: "RAND",
    lib.ERR_LIB_X509V3: "X509V3",
    lib.ERR_LIB_PROV: "PROV",
    lib.ERR_LIB_OSSL_STORE: "OSSL_STORE",
    lib.ERR_LIB_OSSL_DECODER: "OSSL_DECODER",
}

# What OpenSSL's terse reasons mean to the person who reads them.
_HINTS = {
    "HTTP_REQUEST": "the peer sent plain HTTP to a TLS port",
    "HTTPS_PROXY_REQUEST": "the peer sent a plain HTTP proxy request to a TLS port",
    "WRONG_VERSION_NUMBER": "what the peer sent is not TLS, or not a version of it that is enabled here",
    "PACKET_LENGTH_TOO_LONG": "what the peer sent is not TLS",
    "NO_SHARED_CIPHER": "no cipher suite is enabled on both sides, or no certificate here fits one",
    "UNSUPPORTED_PROTOCOL": "no TLS version is enabled on both sides",
    "NO_SUITABLE_KEY_SHARE": "no key-exchange group is enabled on both sides",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "a client certificate is required here and the peer sent none",
}


class Cause:
    """One failure as OpenSSL's queue told it: the newest error's library, reason and text, and the text beside it."""

    __slots__ = ("codes", "data", "library", "number", "reason", "text")

    def __init__(self, errors: Any) -> None:
        self.library: str | None = None
        self.reason: str | None = None
        self.number = 0
        self.text = ""
        self.data = ffi.string(errors.data).decode("utf-8", "replace")
        self.codes: list[int] = list(errors.codes)[: errors.count]  # all of the queue, oldest first
        if not errors.count:
            return
        code = errors.codes[errors.count - 1]
        library = lib.ERR_GET_LIB(code)
        self.number = lib.ERR_GET_REASON(code)
        self.library = _LIBRARIES.get(library, f"lib{library}")
        text = lib.ERR_reason_error_string(code)
        self.text = ffi.string(text).decode() if text != ffi.NULL else f"error {self.number}"
        # Newer OpenSSL renamed the texts of SSL 3's alerts but not the reasons, which programs compare with. "PEM lib"
        # and its like only point at another library: no reason of their own.
        if not self.text.endswith(" lib"):
            name = self.text.replace("ssl/tls alert", "sslv3 alert")
            self.reason = re.sub(r"[^A-Z0-9]+", "_", name.upper()).strip("_")

    def is_ssl(self, number: int) -> bool:
        """True for reason `number` (an SSL_R_ constant) of the SSL library."""
        return self.library == "SSL" and self.number == number

    @property
    def alert(self) -> int | None:
        """The alert the peer sent, if that is what this is: OpenSSL keeps them as reasons from 1000 on."""
        received = self.library == "SSL" and self.number >= lib.SSL_AD_REASON_OFFSET
        return self.number - lib.SSL_AD_REASON_OFFSET if received else None

    def __str__(self) -> str:
        tag = f"[{self.library}: {self.reason}] " if self.reason else f"[{self.library}] " if self.library else ""
        hint = _HINTS.get(self.reason or "")
        return f"{tag}{self.text}" + (f": {hint}" if hint else "")


def make(kind: type[SSLError], number: int, text: str, cause: Cause | None = None, **details: object) -> SSLError:
    """An exception with every attribute of this module's table set."""
    error = kind(int(number), text)
    given: dict[str, object] = {
        "library": cause.library if cause else None,
        "reason": cause.reason if cause else None,
        "alert": None,
        "alert_number": None,
        "alert_received": None,
        "verify_code": None,
        "verify_message": None,
        "depth": None,
        "subject": None,
        "hostname": None,
        **details,
    }
    if cause is not None and cause.alert is not None:
        given.update(alert=alert_name(cause.alert), alert_number=cause.alert, alert_received=True)
    for name, value in given.items():
        setattr(error, name, value)
    return error


def queued(what: str, kind: type[SSLError] = SSLError) -> SSLError:
    """The exception for a call outside the pump that failed: empties this thread's queue. `what` says what was tried,
    with names and values."""
    errors = ffi.new("txm_errors *")
    lib.txm_errors_take(errors)
    cause = Cause(errors)
    text = f"{cause}" if cause.library else "OpenSSL gave no reason"
    return make(kind, SSLErrorNumber.SSL_ERROR_SSL, f"{text}: {what}", cause)


class WantRead(SSLWantReadError):
    """One that costs next to nothing, since a program gets it for every read: what make() sets is in the class."""

    library = reason = alert = alert_number = alert_received = None  # type: ignore[assignment]
    verify_code = verify_message = depth = subject = hostname = None

    def __reduce__(self) -> tuple[type, tuple[object, ...]]:
        return SSLWantReadError, self.args


WantRead.__name__ = WantRead.__qualname__ = SSLWantReadError.__name__
WantRead.__module__ = SSLWantReadError.__module__

WANT_READ = (int(SSLErrorNumber.SSL_ERROR_WANT_READ), "The operation did not complete (read)")
"""What it is made with."""


def want_read() -> SSLError:
    """What a facade raises when an operation needs more wire."""
    return WantRead(*WANT_READ)


def truncated(where: str, cause: Cause | None = None) -> SSLError:
    """The wire ended without close_notify; `where` says at which point."""
    tag = f"[SSL: {cause.reason}] " if cause and cause.reason == "UNEXPECTED_EOF_WHILE_READING" else ""
    text = f"{tag}EOF occurred in violation of protocol: {where}"
    return make(SSLEOFError, SSLErrorNumber.SSL_ERROR_EOF, text, cause)


class _Finaliser:
    """Raises where nobody can catch it. Only the interpreter can make what sys.unraisablehook() takes."""

    def __init__(self, problem: BaseException) -> None:
        self.problem = problem

    def __del__(self) -> None:
        try:
            raise self.problem
        finally:
            del self  # or the traceback would keep it


def tell_unraisable(problem: BaseException) -> None:
    """Gives an exception of a callback, which has no caller to raise it to, to sys.unraisablehook()."""
    _Finaliser(problem)
