"""The OpenSSL that runs, beside contexts and connections: its version, its randomness, the places it looks in."""

from __future__ import annotations

import os

from txmembio import errors
from txmembio._openssl.lib import ffi, lib

__all__ = ["add_randomness", "built_in_paths", "has_randomness", "random_bytes", "version_info"]

MOST_RANDOM = (1 << 31) - 1
"""Bytes that one call can be asked for: a C int."""


def version_info(number: int) -> tuple[int, int, int, int, int]:
    """(major, minor, fix, patch, status) of an OPENSSL_VERSION_NUMBER. OpenSSL 3 writes 0xMNN00PP0: fix is 0."""
    return number >> 28, number >> 20 & 0xFF, number >> 12 & 0xFF, number >> 4 & 0xFF, number & 0xF


def built_in_paths() -> tuple[str, str, str, str]:
    """(variable, file, variable, folder): where OpenSSL looks for trusted certificates, and the variables of the
    environment that say otherwise (X509_get_default_cert_file(3)). Whether anything is there is another question."""
    return (
        ffi.string(lib.X509_get_default_cert_file_env()).decode(),
        os.fsdecode(ffi.string(lib.X509_get_default_cert_file())),
        ffi.string(lib.X509_get_default_cert_dir_env()).decode(),
        os.fsdecode(ffi.string(lib.X509_get_default_cert_dir())),
    )


def random_bytes(count: int) -> bytes:
    """`count` bytes from OpenSSL's generator (RAND_bytes(3)). Raises ValueError for less than none, SSLError where the
    generator has no seed."""
    if count < 0:
        raise ValueError("num must be positive")
    if count > MOST_RANDOM:
        raise OverflowError(f"num is {count}, expected at most {MOST_RANDOM}")
    out = bytearray(count)
    lib.txm_errors_clear()
    if count and lib.RAND_bytes(ffi.from_buffer("unsigned char[]", out), count) != 1:
        raise errors.queued(f"making {count} random bytes")
    return bytes(out)


def has_randomness() -> bool:
    """True if the generator is seeded, which it does by itself where the operating system can (RAND_status(3))."""
    return bool(lib.RAND_status())


def add_randomness(string: str | bytes | bytearray | memoryview, entropy: float, /) -> None:
    """Mixes bytes into the generator; `entropy` is a lower bound, in bytes, for how much of it nobody can guess
    (RAND_add(3))."""
    data = string.encode() if isinstance(string, str) else bytes(memoryview(string))
    lib.RAND_add(data, len(data), entropy)
