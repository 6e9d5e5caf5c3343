"""What one crossing from Python into C costs, piece by piece: ``python -m benchmarks.boundary [--json FILE]``.

A call such as ``Connection.receive_wire()`` is a handful of small steps around the encryption itself: a method call, a
crossing into C, a status read back, a slice of scratch space copied into a ``bytes``. This script builds a toy cffi
module (API mode, the limited API, as txmembio's own is built) in a temporary folder and times the alternatives for each
step side by side, so that a choice made in the core can be checked against a figure.

Every statement is timed in turn, in several rounds; the figure is the median over the rounds, less the median of an
empty statement. The machine may be shared: read the differences, not the third digit.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import platform
import statistics
import sys
import tempfile
import threading
import timeit
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

SCRATCH_BYTES = 1 << 18
"""Bytes of toy scratch space: more than the largest slice timed below, 64 KiB."""

SLICE_SECONDS = 0.02
"""Seconds given to each statement in each round: long against the clock's resolution, and all of it in ten seconds."""

DECLARATIONS = """
typedef struct { int status; int flags; long long wire; long long plaintext; } toy_status;
void toy_empty(void);
long long toy_one(void *ssl);
long long toy_one_number(long long number);
long long toy_numbers(int a, long long b, long long c);
long long toy_long(void *ssl, char *scratch);
toy_status toy_struct(void *ssl, char *scratch);
void toy_out(void *ssl, char *scratch, toy_status *out);
long long toy_pointer(const char *data, long long length);
long long toy_void_pointer(const void *data, long long length);
long long toy_six(void *ssl, void *scratch, const char *data, long long length, int flags, toy_status *out);
"""

SOURCE = """
typedef struct { int status; int flags; long long wire; long long plaintext; } toy_status;
static void toy_empty(void) {}
static long long toy_one(void *ssl) { return ssl == 0; }
static long long toy_one_number(long long number) { return number; }
static long long toy_numbers(int a, long long b, long long c) { return a + b + c; }
static long long toy_long(void *ssl, char *scratch) { return ssl == (void *)scratch; }
static toy_status toy_struct(void *ssl, char *scratch) {
    toy_status status = {ssl == (void *)scratch, 0, 86, 64};
    return status;
}
static void toy_out(void *ssl, char *scratch, toy_status *out) {
    out->status = ssl == (void *)scratch; out->flags = 0; out->wire = 86; out->plaintext = 64;
}
static long long toy_pointer(const char *data, long long length) { return data[0] + length; }
static long long toy_void_pointer(const void *data, long long length) { return (data != 0) + length; }
static long long toy_six(void *ssl, void *scratch, const char *data, long long length, int flags, toy_status *out) {
    out->status = flags; out->flags = ssl == scratch; out->wire = length; out->plaintext = data[0];
    return length;
}
"""


class Statement(NamedTuple):
    """One thing to time: the group it is compared within, what it is, and the code."""

    group: str
    name: str
    code: str


def _statements() -> list[Statement]:
    """All the statements, in the order they are printed; the names they use are those of :func:`_namespace`."""
    listed: list[Statement] = []

    def labelled(name: str, *statements: tuple[str, str]) -> None:
        listed.extend(Statement(name, label, code) for label, code in statements)

    labelled(
        "a crossing (cffi releases and takes the GIL in each)",
        ("no arguments, no result", "empty()"),
        ("the same through lib.x", "lib.toy_empty()"),
        ("1 pointer -> long long", "one(ssl)"),
        ("2 pointers -> long long", "returns_long(ssl, scratch)"),
        ("1 number -> long long", "one_number(64)"),
        ("3 numbers -> long long", "numbers_in(1, 64, 128)"),
        ("6 arguments, one of them bytes, -> long long", "six(ssl, scratch, data64, 64, 0, out)"),
        ("a Python function that does nothing", "python_function()"),
    )
    labelled(
        "the status",
        ("long long, one test", "status = returns_long(ssl, scratch)\nif status: pass"),
        (
            "long long, 3 fields unpacked by >> and &",
            "s = returns_long(ssl, scratch)\ns & 255; (s >> 8) & 0xffffff; s >> 32",
        ),
        ("struct by value, no field read", "status = returns_struct(ssl, scratch)"),
        ("struct by value, 1 field read", "status = returns_struct(ssl, scratch)\nstatus.status"),
        (
            "struct by value, 3 fields read",
            "status = returns_struct(ssl, scratch)\nstatus.status; status.wire; status.plaintext",
        ),
        ("out-struct made once, 1 field read", "writes_struct(ssl, scratch, out)\nout.status"),
        (
            "out-struct made once, 3 fields read",
            "writes_struct(ssl, scratch, out)\nout.status; out.wire; out.plaintext",
        ),
        ("one field read alone", "out.wire"),
        ("long long * made once, [0] read alone", "numbers[0]"),
        ("ffi.new of the out-struct per call", "new('toy_status *')"),
    )
    labelled(
        "passing the caller's bytes",
        ("bytes -> const char *", "takes_char(data64, 64)"),
        ("bytes -> const char *, with len(data)", "takes_char(data64, len(data64))"),
        ("ffi.from_buffer(bytes) -> const char *", "takes_char(from_buffer(data64), 64)"),
        ("ffi.from_buffer('char[]', bytes)", "takes_char(from_buffer('char[]', data64), 64)"),
        ("with ffi.from_buffer(bytes) as p (released)", "with from_buffer(data64) as p: takes_char(p, 64)"),
        ("ffi.from_buffer(memoryview)", "takes_char(from_buffer(view64), 64)"),
        ("bytes(memoryview) -> const char *, 64 B", "takes_char(bytes(view64), 64)"),
        ("bytes(memoryview) -> const char *, 64 KiB", "takes_char(bytes(view65536), 65536)"),
        ("bytes -> const void *", "takes_void(data64, 64)"),
        ("type(data) is bytes", "type(data64) is bytes"),
        ("isinstance(data, bytes)", "isinstance(data64, bytes)"),
    )
    for size in (64, 16384, 65536):
        labelled(
            f"copying the result out: {size} B",
            ("buffer made once, [:n]", f"made_once[:{size}]"),
            ("buffer made once, [a:b]", f"made_once[128:{128 + size}]"),
            ("ffi.buffer(p, n)[:]", f"buffer(scratch, {size})[:]"),
            ("ffi.buffer(p, size)[a:b]", f"buffer(scratch, SCRATCH_BYTES)[128:{128 + size}]"),
            ("ffi.buffer(p + a, n)[:]", f"buffer(scratch + 128, {size})[:]"),
            ("ffi.unpack(p, n)", f"unpack(scratch, {size})"),
            ("bytes(memoryview[:n])", f"bytes(view[:{size}])"),
            ("memoryview[:n].tobytes()", f"view[:{size}].tobytes()"),
            ("bytes(bytearray) of the same size (a floor: one allocation, one copy)", f"bytes(array{size})"),
        )
    labelled(
        "finding scratch space that belongs to this thread",
        ("list.pop() and append()", "free_append(free_pop())"),
        ("list.pop() and append(), looked up each time", "s = free.pop()\nfree.append(s)"),
        ("threading.local attribute", "local.scratch"),
        (
            "threading.local attribute, test a busy flag, set, clear",
            "s = local.scratch\nif s[0]: pass\ns[0] = 1\ns[0] = 0",
        ),
        ("dict[threading.get_ident()]", "by_thread[get_ident()]"),
        ("a module's global", "scratch"),
        ("an attribute of self (__slots__)", "slotted.changed"),
        ("get_ident() alone", "get_ident()"),
    )
    labelled(
        "guarding a call",
        ("try/finally", "try: pass\nfinally: pass"),
        ("try/except, nothing raised", "try: pass\nexcept ValueError: pass"),
        ("with threading.Lock()", "with lock: pass"),
        ("lock.acquire(False), lock.release()", "acquire(False)\nrelease()"),
        ("with threading.RLock()", "with rlock: pass"),
        (
            "a flag: test, set, clear (try/finally)",
            "if slotted.busy: pass\nslotted.busy = True\ntry: pass\nfinally: slotted.busy = False",
        ),
        ("with a @contextmanager", "with managed(): pass"),
        ("with a class of one's own", "with guard: pass"),
    )
    labelled(
        "plain Python",
        ("method call, no arguments (__slots__)", "slotted.method()"),
        ("method call, one argument", "slotted.takes(data64)"),
        ("bound method kept", "bound(data64)"),
        ("attribute read (__slots__)", "slotted.changed"),
        ("attribute read (__dict__)", "dictionary.changed"),
        ("attribute write (__slots__)", "slotted.changed = False"),
        ("property read", "slotted.prop"),
        ("tuple of 2 made and unpacked", "a, b = pair()"),
        ("len(data)", "len(data64)"),
        ("list.append, b''.join, clear", "pieces.append(data64)\nb''.join(pieces)\npieces.clear()"),
        ("bytearray += 64 B, bytes(), clear", "kept.extend(data64)\nbytes(kept)\nkept.clear()"),
    )
    return listed


def _build(folder: Path) -> Any:
    """Builds the toy module in *folder* and imports it; returns the module, with ``ffi`` and ``lib``."""
    from cffi import FFI  # imported here: it is only needed to build, and it is not a dependency at run time

    builder = FFI()
    builder.cdef(DECLARATIONS)
    builder.set_source("_toy_boundary", SOURCE)
    path = builder.compile(tmpdir=str(folder), verbose=False)
    spec = importlib.util.spec_from_file_location("_toy_boundary", path)
    if spec is None or spec.loader is None:
        raise RuntimeError(f"cannot import the toy module built at {path}")
    module: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class _Slotted:
    __slots__ = ("busy", "changed")

    def __init__(self) -> None:
        self.busy = False
        self.changed = False

    def method(self) -> None:
        pass

    def takes(self, data: bytes) -> None:
        pass

    @property
    def prop(self) -> bool:
        return self.changed


class _Dictionary:
    def __init__(self) -> None:
        self.changed = False


class _Guard:
    __slots__ = ()

    def __enter__(self) -> None:
        pass

    def __exit__(self, *exception: object) -> None:
        pass


def _namespace(toy: Any) -> dict[str, Any]:
    """The names that the statements use."""
    from contextlib import contextmanager

    @contextmanager
    def managed() -> Any:
        yield

    ffi, lib = toy.ffi, toy.lib
    scratch = ffi.new("char[]", SCRATCH_BYTES)
    local = threading.local()
    local.scratch = [0, scratch]
    free = [scratch]
    slotted = _Slotted()
    lock = threading.Lock()
    names: dict[str, Any] = {
        "lib": lib,
        "empty": lib.toy_empty,
        "one": lib.toy_one,
        "one_number": lib.toy_one_number,
        "numbers_in": lib.toy_numbers,
        "returns_long": lib.toy_long,
        "returns_struct": lib.toy_struct,
        "writes_struct": lib.toy_out,
        "takes_char": lib.toy_pointer,
        "takes_void": lib.toy_void_pointer,
        "six": lib.toy_six,
        "new": ffi.new,
        "buffer": ffi.buffer,
        "unpack": ffi.unpack,
        "from_buffer": ffi.from_buffer,
        "ssl": ffi.new("char[]", 8),
        "scratch": scratch,
        "out": ffi.new("toy_status *"),
        "numbers": ffi.new("long long[4]"),
        "made_once": ffi.buffer(scratch),
        "view": memoryview(ffi.buffer(scratch)),
        "SCRATCH_BYTES": SCRATCH_BYTES,
        "local": local,
        "free": free,
        "free_pop": free.pop,
        "free_append": free.append,
        "by_thread": {threading.get_ident(): scratch},
        "get_ident": threading.get_ident,
        "acquire": lock.acquire,
        "release": lock.release,
        "lock": lock,
        "rlock": threading.RLock(),
        "managed": managed,
        "guard": _Guard(),
        "slotted": slotted,
        "bound": slotted.takes,
        "dictionary": _Dictionary(),
        "python_function": lambda: None,
        "pair": lambda: (1, 2),
        "pieces": [],
        "kept": bytearray(),
    }
    for size in (64, 16384, 65536):
        data = bytes(range(256)) * (size // 256) or bytes(size)
        names[f"data{size}"] = data
        names[f"view{size}"] = memoryview(data)
        names[f"array{size}"] = bytearray(data)
    return names


def measure(rounds: int, slice_seconds: float = SLICE_SECONDS) -> dict[str, dict[str, float]]:
    """Times every statement; returns nanoseconds by group and name, each less the cost of an empty statement."""
    with tempfile.TemporaryDirectory() as folder:
        names = _namespace(_build(Path(folder)))
        statements = _statements()
        timers: list[tuple[Callable[[int], float], int]] = []
        for code in ["pass", *(statement.code for statement in statements)]:
            timer = timeit.Timer(code, globals=names)
            once = timer.timeit(1000) / 1000
            timers.append((timer.timeit, max(1, int(slice_seconds / once))))
        seconds: list[list[float]] = [[] for _ in timers]
        for _ in range(rounds):
            for times, (run, count) in zip(seconds, timers, strict=True):
                times.append(run(count) / count)
    empty, *rest = (statistics.median(times) * 1e9 for times in seconds)
    found: dict[str, dict[str, float]] = {}
    for statement, nanoseconds in zip(statements, rest, strict=True):
        found.setdefault(statement.group, {})[statement.name] = max(0.0, nanoseconds - empty)
    return found


def report(found: dict[str, dict[str, float]]) -> str:
    """The figures of :func:`measure` as Markdown."""
    lines = [f"{platform.python_implementation()} {platform.python_version()}, ns for each, medians", ""]
    for group, figures in found.items():
        lines += [f"**{group}**", "", "| | ns |", "|---|---:|"]
        lines += [f"| {name} | {nanoseconds:.0f} |" for name, nanoseconds in figures.items()]
        lines.append("")
    return "\n".join(lines)


def main(arguments: list[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.boundary", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=7, metavar="N", help="rounds over all statements (default 7)")
    parser.add_argument("--quick", action="store_true", help="one short round: a smoke test, not a measurement")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures (nanoseconds) to FILE as well")
    options = parser.parse_args(arguments)
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: expected 1 or more")
    found = measure(1, 0.0005) if options.quick else measure(options.rounds)
    print(report(found))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
