"""The opt-in switch: txmembio in the place of other people's TLS, for programs that know nothing of it.

    install("ssl")         in the place of the standard library's `ssl`
    install("OpenSSL")     in the place of pyOpenSSL
    install("twisted")     in Twisted's own factories and `startTLS`; brings "OpenSSL" along
    install("tornado")     in Tornado's streams, servers and clients

Each target is a module of this package, which is imported when it is asked for and has three functions:

    check()      raises InstallError if it cannot be done; changes nothing, and imports no framework
    apply()      does it, and returns what undoes it
    applied()    whether it is done
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import ExitStack
from importlib import import_module
from typing import Protocol, cast

__all__ = ["DEFAULT", "TARGETS", "install"]

TARGETS = {"ssl": "_ssl", "OpenSSL": "_openssl", "twisted": "_twisted", "tornado": "_tornado"}
"""Names of modules of this package, in the order in which they are applied: Twisted's interfaces import `ssl`."""

IMPLIED = {"twisted": ("OpenSSL",)}

DEFAULT = ("OpenSSL",)
"""What `install()` installs."""

_lock = threading.Lock()


class Target(Protocol):
    """What the modules of this package have in common."""

    def check(self) -> None: ...

    def apply(self) -> Callable[[], None]: ...

    def applied(self) -> bool: ...


def install(*targets: str) -> None:
    """Puts txmembio in the place of what `targets` name, in the whole process and for good; without any, of pyOpenSSL.

    All or nothing: what cannot be done is found out before anything is changed. The order of the arguments does not
    matter, and what is installed already stays as it is.

    :raises ValueError: a target that there is not; the text names those that there are.
    :raises InstallError: a target cannot be installed. The text names the module that was imported too early, and who
        has imported it, or the package that is missing.
    """
    with _lock, ExitStack() as undoing:
        waiting = [target for target in map(_module, in_order(targets or DEFAULT)) if not target.applied()]
        for target in waiting:
            target.check()
        for target in waiting:
            undoing.callback(target.apply())
        undoing.pop_all()


def in_order(targets: tuple[str, ...]) -> list[str]:
    """`targets` and what they imply, each once, as they are to be applied. Raises TypeError and ValueError."""
    wanted = set()
    for target in targets:
        if not isinstance(target, str):
            raise TypeError(f"a target is {target!r}, expected one of {_choice()}")
        if target not in TARGETS:
            raise ValueError(f"{target!r} is no target of install(): expected {_choice()}")
        wanted |= {target, *IMPLIED.get(target, ())}
    return [target for target in TARGETS if target in wanted]


def _choice() -> str:
    *others, last = map(repr, TARGETS)
    return f"{', '.join(others)} or {last}"


def _module(target: str) -> Target:
    return cast(Target, import_module(f"{__name__}.{TARGETS[target]}"))
