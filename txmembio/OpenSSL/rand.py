"""pyOpenSSL's last two functions about random numbers. ``os.urandom()`` is the better source: it needs neither."""

from __future__ import annotations

from txmembio.native.random import add_entropy, is_seeded
from txmembio.OpenSSL._arguments import need_int

__all__ = ["add", "status"]


def add(buffer: bytes, entropy: int) -> None:
    """Mixes `buffer` into OpenSSL's generator, as being worth `entropy` bytes (RAND_add(3))."""
    if not isinstance(buffer, bytes):
        raise TypeError("buffer must be a byte string")
    need_int("entropy", entropy)
    add_entropy(buffer, entropy)


def status() -> int:
    """1 if the generator has been seeded, 0 otherwise."""
    return int(is_seeded())
