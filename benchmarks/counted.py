"""What callgrind counts: ``benchmarks.instructions`` runs this module inside of valgrind.

Each contender does each kind of work some times over; :data:`Count` says what a count stands for. Nothing is counted
but that: neither starting up, nor warming up, nor what a peer does in a handshake.
"""

from __future__ import annotations

import ctypes
import gc
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.c_loop import CLoop, Library, Mode
from benchmarks.contenders import PythonContender, python_contender
from benchmarks.slices import HANDSHAKES, Side, Work, message

REPETITIONS = {0: 4, 64: 200, 16384: 20, 65536: 10}
"""How often each work is done, by its size (0 for handshakes): enough for what happens only now and then."""

WARM_UP = {0: 2, 64: 30, 16384: 3, 65536: 3}
"""How often it is done before: CPython specialises a function's bytecode after a few calls, the linker binds a symbol
when it is first called, and OpenSSL fetches an algorithm."""

COUNTED = [
    *(Work(direction, size) for size in (64, 16384, 65536) for direction in ("encrypt", "decrypt")),
    *(Work(direction, 0, side) for side in ("client", "server") for direction in HANDSHAKES),
]
"""The works that are counted. What becomes of messages is the same on both sides."""

REFERENCE = "reference"
"""A contender that is no TLS at all: :func:`reference`."""

NOTHING = "nothing"
"""A contender that does nothing: what switching the counter on and off takes."""


class Counting:
    """The library made of ``counting.c``."""

    def __init__(self, path: Path) -> None:
        library = ctypes.PyDLL(str(path))  # which does not let go of the interpreter's lock
        self.toggle: Callable[[], Any] = library.counting_toggle
        self.address = ctypes.cast(library.counting_toggle, ctypes.c_void_p).value
        self._dump = library.counting_dump
        self.begin: Callable[[], int] = library.counting_begin

    def dump(self, contender: str, work: Work, count: int, switched: int) -> None:
        """Ends a count: of *work*, done *count* times, the counter having been switched on *switched* times."""
        self._dump(":".join(map(str, (contender, *work, count, switched))).encode())


def reference() -> Callable[[], object]:
    """A function of a few steps such as txmembio's are made of, which are none of txmembio's own code.

    Method calls, attributes, three arguments into C through cffi, and a piece of its memory copied out: what they take
    depends on how this Python and this cffi were built. OpenSSL's part is a copy of a few bytes.
    """
    from txmembio._openssl.lib import ffi, lib

    context = lib.SSL_CTX_new(lib.TLS_method())
    ssl = lib.SSL_new(context)
    area = ffi.new("char[]", 4096)
    get_finished = lib.SSL_get_finished

    class Steps:
        __slots__ = ("buffer", "changed", "pool")

        def __init__(self) -> None:
            self.buffer = ffi.buffer(area)
            self.changed = False
            self.pool = [None] * 8

        def step(self, length: int) -> bytes:
            taken = self.pool.pop()
            done = get_finished(ssl, area, length)
            self.pool.append(taken)
            if self.changed or done > length:
                return b""
            piece: bytes = self.buffer[:length]
            return piece

    steps = Steps()

    def several() -> None:
        for _ in range(REPETITIONS[64]):
            steps.step(64)

    several.keep = context  # type: ignore[attr-defined]
    return several


def _count_messages(counting: Counting, contender: Any, work: Work) -> None:
    connected = contender.connected(work.side)
    data = message(work.size)
    toggle = counting.toggle
    for count in (WARM_UP[work.size], 1, REPETITIONS[work.size] + 1):
        if work.direction == "encrypt":
            toggle()
            connected.encrypt_many(data, count)
            toggle()
        else:
            connected.make_batch(data, count)
            toggle()
            connected.decrypt_batch()
            toggle()
        counting.dump(contender.key, work, count, 1)


def _count_handshakes(counting: Counting, contender: Any, work: Work) -> None:
    switched = 0

    def switch() -> None:
        nonlocal switched
        switched += 1

    contender.watched_handshakes(work, 1, *_watch(contender, switch, None))
    contender.watched_handshakes(work, WARM_UP[0], *_watch(contender, counting.toggle, counting.address))
    counting.dump(contender.key, work, 0, 0)
    count = REPETITIONS[0]
    contender.watched_handshakes(work, count, *_watch(contender, counting.toggle, counting.address))
    counting.dump(contender.key, work, count, count * switched // 2)


def _watch(contender: Any, function: Callable[[], None], address: int | None) -> tuple[Any, Any]:
    return (address, address) if isinstance(contender, CLoop) else (function, function)


def _contender(key: str, library: Library, pem: Path) -> CLoop | PythonContender:
    if key in ("c-bare", "c-copying"):
        return CLoop(key, key, library, pem, Mode.BARE if key == "c-bare" else Mode.COPYING)
    return python_contender(key, library, pem)


def _count_nothing(counting: Counting) -> None:
    for count in (10, 100):
        for _ in range(count):
            counting.toggle()
            counting.toggle()
        counting.dump(NOTHING, Work("encrypt", 0), count, count)


def _count_reference(counting: Counting) -> None:
    several = reference()
    for count in (0, REPETITIONS[64]):  # the first time is to warm up
        counting.toggle()
        several()
        counting.toggle()
        counting.dump(REFERENCE, Work("encrypt", 64), count, 1)


def main(arguments: list[str]) -> int:
    """Does everything that was asked for: the C loop's library, the counter's, the certificate, then contenders with
    the numbers of their works in :data:`COUNTED`."""
    loop, counting_path, pem, *asked = arguments
    counting = Counting(Path(counting_path))
    library = Library(Path(loop))
    contenders = [
        (_contender(key, library, Path(pem)), [COUNTED[int(number)] for number in numbers.split(",")])
        for key, _, numbers in (each.partition("=") for each in asked)
    ]
    sides: tuple[Side, ...] = ("client", "server")
    for contender, works in contenders:
        for side in sides:
            for size in sorted({work.size for work in works if work.size and work.side == side}):
                contender.connected(side).check(message(size))
    gc.collect()
    gc.freeze()
    gc.disable()
    if not counting.begin():
        print("benchmarks.counted: this is for valgrind to run", file=sys.stderr)
        return 2
    _count_nothing(counting)
    _count_reference(counting)
    for contender, works in contenders:
        for work in works:
            if work.direction in contender.directions:
                (_count_messages if work.size else _count_handshakes)(counting, contender, work)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
