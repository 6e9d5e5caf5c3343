"""Reads what callgrind has counted: instructions by the file and the function they lie in, and calls."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

OURS = "txmembio/_openssl/_lib"
"""In the name of txmembio's extension."""

PARTS = ("openssl", "memory", "libc", "c", "cffi", "python")
"""Where instructions lie: OpenSSL; the C library's functions that copy, compare and search; the rest of it, which is
malloc() and locks; the contender's own C, generated wrappers included; cffi's backend; CPython and everything else."""

_MEMORY = re.compile(r"_*(mem(cpy|move|set|cmp|chr|pcpy)|str(n?cmp|n?len|n?cpy|r?chr|n?casecmp))(_|$)")
_LIBC = re.compile(r"lib(c|pthread)[.-]|ld-(linux|musl)|libc\.musl")
_OPENSSL = re.compile(r"lib(ssl|crypto)[.-]")
_DEFINED = re.compile(r"^\w[\w *]*?\b(\w+)\([^;]*$", re.MULTILINE)

_FOLDER = Path(__file__).parent
SOURCES = (*sorted((_FOLDER.parent / "txmembio" / "_openssl").glob("*.c")), _FOLDER / "c_loop.c")
"""txmembio's own C, and the C loop's."""


class Profile(NamedTuple):
    """One count."""

    name: str
    """What counting.c had written into it."""
    functions: Counter[tuple[str, str]]
    """Instructions by object file and function, without those of functions called."""
    crossings: int
    """Calls into txmembio's extension from Python: from anything that is not itself or OpenSSL."""


def own_functions() -> frozenset[str]:
    """The functions of :data:`SOURCES`. Only names tell them from an OpenSSL that is linked statically."""
    texts = (path.read_text(encoding="utf-8") for path in SOURCES)
    return frozenset(name for text in texts for name in _DEFINED.findall(text))


_OWN = own_functions()


def _is_own(function: str) -> bool:
    name = re.split(r"[.']", function, maxsplit=1)[0]  # foo.part.0 is a piece of foo; foo'2 is foo called by itself
    return name in _OWN or name.startswith(("_cffi_", "txm_", "0x", "PyInit_", "???"))


def part(object_file: str, function: str) -> str:
    """Which of :data:`PARTS` a function belongs to."""
    file = object_file.rpartition("/")[2]
    if OURS in object_file or file == "c_loop.so":
        return "c" if _is_own(function) else "openssl"
    if _OPENSSL.match(file):
        return "openssl"
    if _LIBC.match(file):
        return "memory" if _MEMORY.match(function) else "libc"
    if file.startswith("libffi"):  # what ctypes calls directly counts as libffi's own
        return "c"
    return "cffi" if file.startswith("_cffi_backend") else "python"


def read(path: Path) -> Profile:
    """Reads a file that callgrind wrote with ``--compress-strings=no --compress-pos=no``."""
    name, crossings = "", 0
    functions: Counter[tuple[str, str]] = Counter()
    here = caller = callee = called = ""
    inclusive = False
    for key, value in _lines(path):
        if key == "desc" and value.startswith("Trigger: Client Request: "):
            name = value.rpartition(": ")[2]
        elif key == "ob":
            here = callee = value
        elif key == "fn":
            caller, callee = value, here
        elif key == "cob":
            callee = value
        elif key == "cfn":
            called = value
        elif key == "calls":
            # Neither what an OpenSSL that is linked statically has the C library call back, nor what libssl calls back.
            from_outside = OURS in callee and OURS not in here and part(here, caller) != "openssl"
            if from_outside and part(callee, called) == "c":
                crossings += int(value.split()[0])
            callee, inclusive = here, True
        elif key == "":
            if inclusive:  # the line after calls= has what the function called took, which is counted with itself
                inclusive = False
            else:
                functions[here, caller] += int(value)
    return Profile(name, functions, crossings)


def _lines(path: Path) -> Iterator[tuple[str, str]]:
    """The lines that matter, as key and value; the key of a line of costs is empty."""
    with path.open(encoding="utf-8", errors="replace") as file:
        for line in file:
            if line[0].isdigit():
                yield "", line.split()[1]
            elif line.startswith("desc:"):
                yield "desc", line[6:].strip()
            else:
                key, equals, value = line.rstrip("\n").partition("=")
                if equals:
                    yield key, value


def by_part(functions: Counter[tuple[str, str]]) -> dict[str, int]:
    """Instructions by :data:`PARTS`."""
    found = dict.fromkeys(PARTS, 0)
    for (object_file, function), instructions in functions.items():
        found[part(object_file, function)] += instructions
    return found
