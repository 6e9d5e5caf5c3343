"""The single import point of the C extension: checks that the OpenSSL it meets is one it was built for, and lends
scratch.

Scratch is where a call of the pump puts the bytes it produces. There is a pool of them, and a call owns one from the
moment it takes it until it has copied the result out. So whatever runs in between on the same thread (a callback, a
finaliser, a signal handler, a greenlet) or on another one simply takes the next; ``list.pop`` and ``list.append`` are
atomic. A scratch that an exception kept from coming back is freed, cleansed, by its finaliser. The pool shrinks to
:data:`KEPT` whenever a connection is made, so threads that have ended leave nothing behind for long.
"""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from txmembio._openssl import dlls

try:
    with dlls.within_reach(os.path.dirname(__file__)):
        from txmembio._openssl._lib import ffi, lib
except ModuleNotFoundError as missing:
    if missing.name != "txmembio._openssl._lib":
        raise
    raise ImportError(
        f"txmembio's C extension is not in {os.path.dirname(__file__)}:"
        " install the package, or build a checkout in place with `make develop`"
    ) from None

__all__ = [
    "KEPT",
    "NULL",
    "Scratch",
    "copied",
    "ffi",
    "give_scratch",
    "lib",
    "library_path",
    "pop_scratch",
    "scratch_count",
    "take_scratch",
    "trim_scratch",
]

NULL = ffi.NULL

KEPT = 2
"""Scratches kept while idle (each about 270 KB): one for the thread that runs the loop, one for whatever interrupts
it. crossing.c keeps one more for itself."""


def copied(pointer: Any, length: int | None = None) -> bytes:
    """The bytes that a pointer of cffi's points to: `length` of them, or a whole array."""
    out: bytes = (ffi.buffer(pointer) if length is None else ffi.buffer(pointer, length))[:]
    return out


def _version_text(number: int) -> str:
    """OPENSSL_VERSION_NUMBER as people write it: 0x300000d0 is 3.0.13 (openssl/opensslv.h: MNN00PP0)."""
    return f"{number >> 28}.{number >> 20 & 0xFF}.{number >> 4 & 0xFF}"


def _check_version(built: int, running: int) -> None:
    """Raises ImportError unless code built against one OpenSSL can run with another (same major, not an older
    minor)."""
    if built >> 28 != running >> 28 or built >> 20 > running >> 20:
        raise ImportError(
            f"txmembio was built with OpenSSL {_version_text(built)}, but the one loaded is {_version_text(running)}"
            f" ({library_path() or 'file unknown'}): expected {built >> 28}.{built >> 20 & 0xFF} or a later"
            f" {built >> 28}.x; rebuild txmembio, or set OPENSSL_DIR to link one statically"
        )


def library_path() -> str | None:
    """The file that OpenSSL's code was loaded from: the system's libssl, or this package's own extension when linked
    statically. None where the platform cannot say."""
    room = 4096  # bytes; PATH_MAX on Linux
    path = ffi.new("char[]", room)
    return ffi.string(path).decode(errors="replace") if lib.txm_library_path(path, room) else None


_check_version(lib.OPENSSL_VERSION_NUMBER, lib.OpenSSL_version_num())
if not lib.txm_init():
    raise ImportError("OpenSSL could not be initialised")


class Scratch(NamedTuple):
    """One scratch area, and the two buffer objects over it that results are copied out of. A tuple, since the hot path
    takes it apart."""

    c: Any
    """The ``txm_scratch *``, which has the report of the last call in it."""
    plaintext: Any
    wire: Any


def _new_scratch() -> Scratch:
    made = lib.txm_scratch_new()
    if made == NULL:
        raise MemoryError("no memory for a scratch area")
    c = ffi.gc(made, lib.txm_scratch_free, ffi.sizeof("txm_scratch"))
    return Scratch(c, ffi.buffer(c.plaintext, lib.TXM_PLAINTEXT_ROOM), ffi.buffer(c.wire, lib.TXM_WIRE_ROOM))


_pool: list[Scratch] = []

# Bound once: as methods of an imported list they would cost 50 ns more a call.
pop_scratch = _pool.pop
"""Takes a scratch out of the pool. Raises IndexError when it is empty; then :func:`take_scratch` makes one."""
give_scratch = _pool.append
"""Puts a scratch back, once its bytes are copied out."""


def take_scratch() -> Scratch:
    """A scratch of one's own, from the pool or new."""
    try:
        return pop_scratch()
    except IndexError:
        return _new_scratch()


def trim_scratch() -> None:
    """Frees what the pool holds beyond :data:`KEPT`."""
    while len(_pool) > KEPT:
        try:
            pop_scratch()
        except IndexError:  # another thread took them
            return


def scratch_count() -> int:
    """Scratches alive in this process, idle or in use."""
    return int(lib.txm_live_scratches())
