"""Who has imported a module, for errors that name whoever got there first."""

from __future__ import annotations

import sys
from types import BuiltinFunctionType, FunctionType, ModuleType

__all__ = ["importer", "importers"]


def importer(name: str) -> str | None:
    """The module that seems to have imported the module `name` first; None if nobody who still has it."""
    return next(iter(importers(name)), None)


def importers(name: str) -> list[str]:
    """The modules that have the module `name`, a submodule of it, or something made in it among their globals, as far
    as that shows: not those that have imported it inside a function. The likeliest to have been the first comes first.

    Modules are entered into `sys.modules` before what they import, so that is the last one that stands before `name`.
    """
    modules = list(sys.modules.items())
    if name not in sys.modules:
        return []
    place = [key for key, _ in modules].index(name)
    before: list[str] = []
    after: list[str] = []
    for index, (key, module) in enumerate(modules):
        if _is_in(key, name) or _is_in(key, "txmembio") or not issubclass(type(module), ModuleType):
            continue
        if any(_is_in(_origin(value), name) for value in list(_namespace(module).values())):
            (before if index < place else after).append(key)
    return [*reversed(before), *after]


def _is_in(module: str, package: str) -> bool:
    return module == package or module.startswith(f"{package}.")


def _origin(value: object) -> str:
    """The module that `value` is, or was made in; "" if that is not known."""
    kind = type(value)  # `isinstance` would ask a proxy whose place it takes
    if issubclass(kind, ModuleType):
        origin = _namespace(value).get("__name__")
    elif issubclass(kind, (type, FunctionType, BuiltinFunctionType)):
        origin = getattr(value, "__module__", None)
    else:
        return ""
    return origin if isinstance(origin, str) else ""


def _namespace(module: object) -> dict[str, object]:
    """A module's globals. Plain `vars()` would load a module that is only to be loaded when it is first used."""
    namespace: dict[str, object] = object.__getattribute__(module, "__dict__")
    return namespace
