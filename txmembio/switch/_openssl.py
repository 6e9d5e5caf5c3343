"""In the place of pyOpenSSL: `import OpenSSL` finds `txmembio.OpenSSL`."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import TYPE_CHECKING, Any

from txmembio import InstallError
from txmembio.switch._importers import importer

if TYPE_CHECKING:
    from importlib.metadata import Distribution

__all__ = ["applied", "apply", "check"]

TAKEN = "OpenSSL"
"""The package whose place is taken."""

OURS = "txmembio.OpenSSL"

NEEDED = {"cryptography": "cryptography", "service_identity": "service-identity"}
"""What Twisted imports unconditionally once there is an `OpenSSL`: module, and the distribution that has it."""

DECIDED = (
    "twisted.internet.tcp",
    "twisted.internet.posixbase",
    "twisted.internet.iocpreactor.tcp",
    "twisted.internet.endpoints",
    "twisted.web.client",
    "twisted.protocols.amp",
    "twisted.words.protocols.jabber.xmlstream",
    "twisted.internet.iocpreactor.reactor",
)
"""Modules that look for `OpenSSL` once, when they are imported, and do without TLS from then on if there is none."""


def check() -> None:
    """Raises InstallError if pyOpenSSL is in use, if Twisted has already found that there is none, or if what Twisted
    needs beside it is missing."""
    if TAKEN in sys.modules:
        raise InstallError(
            f'install("OpenSSL") comes too late: pyOpenSSL was imported before{_by(TAKEN)}.'
            " Call txmembio.install() first of all, or use `python -m txmembio run`"
        )
    for name in DECIDED:
        if name in sys.modules:
            raise InstallError(
                f'install("OpenSSL") comes too late: {name} was imported before{_by(name)}, and has found no OpenSSL.'
                " Call txmembio.install() first of all, or use `python -m txmembio run`"
            )
    absent = [distribution for module, distribution in NEEDED.items() if not _is_there(module)]
    if absent:
        raise InstallError(
            f'install("OpenSSL") needs {" and ".join(absent)}, which Twisted imports beside OpenSSL:'
            " pip install 'txmembio[openssl]'"
        )


def _by(name: str) -> str:
    who = importer(name)
    return f" by {who}" if who else ""


def _is_there(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ValueError:  # in sys.modules without a spec: somebody's stand-in, and there
        return True


def apply() -> Callable[[], None]:
    """Puts a finder before all others. Nothing is imported before somebody asks for `OpenSSL`."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)

    def undo() -> None:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name == TAKEN or name.startswith(f"{TAKEN}.")]:
            del sys.modules[name]

    return undo


def applied() -> bool:
    """Whether the finder is there."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder(MetaPathFinder, Loader):
    """Answers for `OpenSSL` and what is below it with the modules of `txmembio.OpenSSL`: one module, two names."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """For other modules, and for those that `txmembio.OpenSSL` does not have, None."""
        if fullname != TAKEN and not fullname.startswith(f"{TAKEN}."):
            return None
        ours = importlib.util.find_spec(_our(fullname))
        if ours is None:
            return None
        spec = ModuleSpec(fullname, self, origin=ours.origin, is_package=ours.submodule_search_locations is not None)
        spec.has_location = ours.has_location
        return spec

    def find_distributions(self, context: Any = None) -> Iterator[Distribution]:
        """For `importlib.metadata`: it has a pyOpenSSL, too. Those who ask about certain folders are told of what is
        there only."""
        name = getattr(context, "name", None)
        if "path" in getattr(context, "__dict__", ()) or (name and re.sub(r"[-_.]+", "-", name).lower() != "pyopenssl"):
            return
        from txmembio.switch._metadata import PyOpenSSL

        yield PyOpenSSL()

    def exec_module(self, module: ModuleType) -> None:
        """The import system takes what is in `sys.modules` when this returns."""
        name = module.__name__
        sys.modules[name] = importlib.import_module(_our(name))


def _our(name: str) -> str:
    return OURS + name.removeprefix(TAKEN)
