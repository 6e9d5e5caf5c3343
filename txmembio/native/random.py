"""OpenSSL's random numbers."""

from __future__ import annotations

from txmembio._openssl.lib import lib

__all__ = ["add_entropy", "is_seeded"]


def add_entropy(data: bytes, worth: float) -> None:
    """Mixes `data` in, as being worth so many random bytes (RAND_add(3))."""
    lib.RAND_add(data, len(data), worth)


def is_seeded() -> bool:
    """Whether there has been enough (RAND_status(3))."""
    return bool(lib.RAND_status())
