"""In Twisted's own factories and `startTLS`: our transport in the place of `TLSMemoryBIOProtocol`."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

from txmembio import InstallError
from txmembio.switch._importers import importer

__all__ = ["applied", "apply", "check"]

TAKEN = "twisted.protocols.tls"
"""The module whose classes are replaced, as soon as it has been imported."""


def check() -> None:
    """Raises InstallError if the module is there already, and others have its classes."""
    if TAKEN in sys.modules:
        who = importer(TAKEN)
        raise InstallError(
            f'install("twisted") comes too late: {TAKEN} was imported before{f" by {who}" if who else ""}.'
            " Call txmembio.install() first of all, or use `python -m txmembio run`"
        )


def apply() -> Callable[[], None]:
    """Has the module changed when it is imported. Twisted itself is not imported here."""
    finder = _Finder()
    sys.meta_path.insert(0, finder)
    return lambda: sys.meta_path.remove(finder)


def applied() -> bool:
    """Whether that will happen, or has."""
    return any(isinstance(finder, _Finder) for finder in sys.meta_path)


class _Finder(MetaPathFinder):
    """Has others find the module, and changes it behind its own loader."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """For other modules, None."""
        if fullname != TAKEN:
            return None
        for finder in sys.meta_path:
            find = None if finder is self else getattr(finder, "find_spec", None)
            spec: ModuleSpec | None = None if find is None else find(fullname, path, target)
            if spec is not None:
                if spec.loader is not None:
                    spec.loader = _Loader(spec.loader)
                return spec
        return None


class _Loader(Loader):
    """Another loader, and what is to be done after it; all else is the other one's."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def __getattr__(self, name: str) -> object:
        return getattr(self._loader, name)

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        from txmembio.twisted.memory_bio import put_into

        put_into(module)
