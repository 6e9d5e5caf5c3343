"""What a connection is at the bottom, with the two hot calls in C where there is C for them.

:class:`Crossing` is the base of :class:`txmembio.Connection`. There are two that behave alike. One is made of Python,
and its connections cross into the pump through cffi; it works everywhere. The other, in fast/, is for CPython's
stable ABI, takes about half of the time for a message of 64 bytes, and calls the same Python for all but the plain
case. It is optional: where it was not built (PyPy, free-threaded Python), where it is not wanted
(`TXMEMBIO_CROSSING=cffi` in the environment), and in a second interpreter of the process, there is the one in Python.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from txmembio._openssl.lib import Scratch, ffi, give_scratch, lib, take_scratch

__all__ = ["IN_C", "Chunks", "Crossing", "Steps", "address_of", "hasten", "hasten_facades"]

try:
    if os.environ.get("TXMEMBIO_CROSSING") == "cffi":
        raise ImportError("not wanted")
    from txmembio._openssl import _crossing

    # One that an earlier build left behind would look for everything in the wrong places.
    if (ffi.sizeof("txm_connection"), ffi.sizeof("txm_scratch")) != (_crossing.CONNECTION_SIZE, _crossing.SCRATCH_SIZE):
        raise ImportError("not built with this _lib")
except ImportError:
    IN_C = False
else:
    IN_C = True


def address_of(pointer: Any) -> int:
    """Where a pointer of cffi's points to."""
    return int(ffi.cast("uintptr_t", pointer))


if TYPE_CHECKING or not IN_C:

    class Crossing:
        """The state that both sides of the boundary look at."""

        __slots__ = ("_c", "_handle", "_kept", "_wire", "handshake_complete", "plaintext_held")

        _c: Any
        """The ``txm_connection *``."""
        _handle: Any
        """What C calls back with; it only borrows it."""
        _kept: list[bytes]
        _wire: list[bytes]
        handshake_complete: bool
        plaintext_held: bool

        def adopt(self, c: Any, address: int) -> None:
            """Takes a connection, once."""
            self._c = c
            self._handle = None
            self._kept = []
            self._wire = []
            self.handshake_complete = self.plaintext_held = False

else:
    Crossing = _crossing.Crossing


if TYPE_CHECKING or not IN_C:

    class Chunks:
        """What a MemoryBIO holds. The one in C has read(), write() and pending, too."""

        __slots__ = ("_at", "_chunks", "_ended")

        def __init__(self) -> None:
            self._chunks: list[bytes] = []
            self._at = 0  # bytes of the first chunk that are gone
            self._ended = False

    class Steps:
        """What an SSLObject is made of. The one in C has read() and write(), too."""

        _connection: Any
        _incoming: Any
        _outgoing: Any
        _failed_later: Any = None  # why the last read ended, which gave plaintext all the same
        _drained: bool = False  # reading has no more to give before there is more wire

        def _begin(self, connection: Any, address: int, incoming: Any, outgoing: Any) -> None:
            """Once, before anything else; `address` is that of the connection's C."""
            self._connection, self._incoming, self._outgoing = connection, incoming, outgoing

else:
    Chunks = _crossing.Chunks
    Steps = _crossing.Steps


def hasten_facades(want_read: type[Exception], arguments: tuple[object, ...], in_two_places: str) -> None:
    """Hands over what :class:`Steps` says: that more wire is wanted, and that another call is inside."""
    if IN_C:
        functions = (address_of(ffi.addressof(lib, name)) for name in ("txm_read", "txm_write", "txm_leave"))
        _crossing.set_up_facades(*functions, want_read, arguments, in_two_places)


def _take() -> tuple[Scratch, int]:
    scratch = take_scratch()
    return scratch, address_of(scratch.c)


def hasten(connection: type[Any]) -> None:
    """Puts C in front of a class's `receive_wire` and `plaintext_to_wire`, where there is C for them."""
    if not IN_C:
        return
    _crossing.set_up(
        address_of(ffi.addressof(lib, "txm_receive_into")),
        address_of(ffi.addressof(lib, "txm_send")),
        _take,
        give_scratch,
        connection.receive_wire,
        connection.plaintext_to_wire,
        connection._receive_the_rest,
        connection._send_the_rest_and_take,
    )
    connection.receive_wire = _crossing.Crossing.receive_wire
    connection.plaintext_to_wire = _crossing.Crossing.plaintext_to_wire
