"""`install("ssl")`: `import ssl` finds txmembio.ssl from then on, and `import _ssl` the module that goes with it.

That is for whoever imports them afterwards. Who has the interpreter's own `ssl` already would go on with it, and the
two have nothing to say to each other: so it must not have been imported by anybody. Its `_ssl` alone may be there; the
core takes its exceptions from it, and code that catches those catches ours.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from importlib.util import find_spec

from txmembio import InstallError

from ._importers import importers

__all__ = ["applied", "apply", "check"]

NEEDED = ("socket", "select")
"""Modules of the interpreter that sockets are made of; some platforms have none."""


def applied() -> bool:
    """Whether it is done."""
    return "txmembio.ssl" in sys.modules and sys.modules.get("ssl") is sys.modules["txmembio.ssl"]


def check() -> None:
    """Raises InstallError where somebody has imported `ssl`, or the interpreter has no sockets."""
    if sys.modules.get("ssl") is not None:  # None: whoever imports it gets ModuleNotFoundError
        who = [name for name in importers("ssl") if name != "_ssl"]  # its classes say that they are from ssl
        by = f" by {who[0]!r}" if who else ""
        raise InstallError(
            f"'ssl' cannot be installed: the standard library's ssl has been imported already{by}; call"
            " txmembio.install('ssl') before that, or start the program with `python -m txmembio run --install ssl`"
        )
    for name in NEEDED:
        if name not in sys.modules and find_spec(name) is None:
            raise InstallError(f"'ssl' cannot be installed: this Python has no module {name!r}")


def apply() -> Callable[[], None]:
    """Does it; returns what undoes it."""
    import txmembio.ssl
    from txmembio.ssl.lowlevel import lowlevel

    before = sys.modules.get("_ssl")
    sys.modules["ssl"] = txmembio.ssl
    sys.modules["_ssl"] = lowlevel

    def undo() -> None:
        del sys.modules["ssl"]
        if before is None:
            del sys.modules["_ssl"]
        else:
            sys.modules["_ssl"] = before

    return undo
