"""The exceptions of PEP 748.

Four of the five are the ones of :mod:`txmembio.errors` under the PEP's names, as the PEP wants it of the ``ssl`` module
too: so ``except ssl.SSLError`` in somebody else's code catches them, and they tell the alert and the verify code.
"""

from __future__ import annotations

from txmembio import errors
from txmembio.constants import SSLErrorNumber

__all__ = [
    "ConfigurationError",
    "RaggedEOF",
    "TLSError",
    "WantReadError",
    "WantWriteError",
    "configuration_error",
    "want_read",
    "want_write",
]

TLSError = errors.SSLError
"""Whatever goes wrong with TLS."""

WantReadError = errors.SSLWantReadError
"""More wire has to come from the peer first. Buffers, and sockets that do not block."""

WantWriteError = errors.SSLWantWriteError
"""Wire has to be sent first. Sockets that do not block."""

RaggedEOF = errors.SSLEOFError
"""The wire has ended without close_notify: what was received may have been cut short (RFC 8446 section 6.1)."""


class ConfigurationError(TLSError):
    """A configuration asks for what this implementation, or the OpenSSL it runs on, does not have, or for what cannot
    be: the text names the field, its value and what was expected."""


# Errors with all attributes that those of the core have.


def configuration_error(text: str) -> errors.SSLError:
    return errors.make(ConfigurationError, SSLErrorNumber.SSL_ERROR_SSL, text)


def want_read(text: str) -> errors.SSLError:
    return errors.make(WantReadError, SSLErrorNumber.SSL_ERROR_WANT_READ, text)


def want_write(text: str) -> errors.SSLError:
    return errors.make(WantWriteError, SSLErrorNumber.SSL_ERROR_WANT_WRITE, text)
