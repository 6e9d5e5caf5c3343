"""A program that runs another and watches who asks for `OpenSSL` (pyOpenSSL) in it.

    python import_watch.py SCRIPT ARGS…
    python import_watch.py --preload SCRIPT ARGS…    after Twisted's modules that look for OpenSSL have been imported

Says `OpenSSL asked for by …` on standard error, and breaks the import, when the frame that asks is txmembio's. With
`--preload`, any frame on the way to it counts: Twisted's own imports are done by then, and only what txmembio makes
Twisted do can be left.
"""

from __future__ import annotations

import builtins
import contextlib
import importlib
import os
import runpy
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Any

#: The modules of Twisted that import OpenSSL when they are imported.
TWISTED_ASKS = [
    "twisted.internet.endpoints",
    "twisted.internet.ssl",
    "twisted.protocols.tls",
    "twisted.web.client",
    "twisted.mail.smtp",
]


def modules_on_the_stack(frame: FrameType | None) -> Iterator[str]:
    """The modules of the frames, innermost first, without the machinery of import."""
    while frame is not None:
        name = frame.f_globals.get("__name__", "")
        if not name.startswith("importlib"):
            yield name
        frame = frame.f_back


def is_txmembio(name: str) -> bool:
    """Whether a module of this name is ours."""
    return name.partition(".")[0] == "txmembio"


class Watch:
    """Sees `import` statements (through `builtins.__import__`) and everything else (through `sys.meta_path`)."""

    def __init__(self, whole_stack: bool) -> None:
        self.whole_stack = whole_stack
        self.original = builtins.__import__

    def check(self, name: str, frame: FrameType | None) -> None:
        """Complain if txmembio asks for pyOpenSSL."""
        if name.partition(".")[0] != "OpenSSL":
            return
        stack = list(modules_on_the_stack(frame))
        if any(map(is_txmembio, stack if self.whole_stack else stack[:1])):
            message = f"OpenSSL asked for by {' < '.join(stack)}"
            os.write(2, message.encode() + b"\n")
            raise AssertionError(message)

    def statement(self, name: str, *arguments: Any, **more: Any) -> Any:
        """Stands in for `__import__`."""
        self.check(name, sys._getframe(1))
        return self.original(name, *arguments, **more)

    def find_spec(self, name: str, path: object = None, target: object = None) -> None:
        """Stands first in `sys.meta_path`, and finds nothing."""
        frame: FrameType | None = sys._getframe(1)
        while frame is not None and frame.f_globals.get("__name__") == __name__:
            frame = frame.f_back  # our own __import__
        self.check(name, frame)


def main(arguments: list[str]) -> None:
    preload = arguments[0] == "--preload"
    if preload:
        del arguments[0]
        for name in TWISTED_ASKS:
            with contextlib.suppress(ImportError):  # without pyOpenSSL, some of these do not import
                importlib.import_module(name)
    watch = Watch(whole_stack=preload)
    builtins.__import__ = watch.statement
    sys.meta_path.insert(0, watch)
    sys.argv[:] = arguments
    runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
