"""What OpenSSL says of itself."""

from __future__ import annotations

from txmembio._openssl.lib import ffi, lib

__all__ = ["openssl_words"]


def openssl_words(what: int) -> bytes:
    """OpenSSL_version(3): 0 its version, 1 its compiler's flags, 2 its build date, 3 its platform, 4 its folder."""
    return bytes(ffi.string(lib.OpenSSL_version(what)))
