"""Whether `txmembio.OpenSSL` has what a path of `txmembio.cli.audit_uses` asks for.

It is asked itself: a list would not stay true. What it leaves out of pyOpenSSL's public names is there as a
placeholder, which raises NotImplementedError when it is read, or says in an attribute `__not_implemented__` why it is
one; that is not supplied.
"""

from __future__ import annotations

import inspect
import socket
import sys
import warnings
from dataclasses import dataclass
from importlib import import_module
from types import ModuleType

__all__ = ["Answer", "ask"]

OURS = "txmembio.OpenSSL"
"""The package that stands in for `OpenSSL`."""


@dataclass(frozen=True)
class Answer:
    """`name` is how pyOpenSSL's documentation calls it: `SSL.Context.set_verify`. `why` says more of what is not
    supplied, if more is known; `module` is whether it is a module."""

    name: str
    supplied: bool
    why: str | None = None
    module: bool = False


class _Lacking(Exception):
    """The name is not there; the argument says more, if more is known."""


class _Lost(Exception):
    """What the value is cannot be told."""


@dataclass(frozen=True)
class _Instance:
    """Some object of a class of ours: only the class is at hand. `sure` is whether it can be nothing else."""

    kind: type
    sure: bool


def ask(path: str) -> Answer | None:
    """None if the path cannot be followed: what it leads through may be anything."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # a name that is deprecated is supplied
        return _ask(path)


def _ask(path: str) -> Answer | None:
    value: object = import_module(OURS)
    name = ""
    parts = path.split(".")[1:]
    for place, part in enumerate(parts, 1):
        attribute, *calls = part.split("()")
        name = f"{_owner(value, name)}.{attribute}".lstrip(".")
        if attribute == "*":
            return Answer(name, True)
        try:
            value = _attribute(value, attribute)
            for _ in calls:
                value = _result(value)
        except _Lacking as lacking:
            return Answer(name, False, str(lacking) or None)
        except _Lost:
            return Answer(name, True) if place == len(parts) and not calls else None
    return Answer(name or "OpenSSL", True, module=isinstance(value, ModuleType))


def _owner(value: object, name: str) -> str:
    """What stands before an attribute of `value`, which was reached as `name`."""
    kind = value.kind if isinstance(value, _Instance) else value
    if not isinstance(kind, type):
        return name
    modules = {name: vars(import_module(f"{OURS}.{name}")) for name in ("crypto", "SSL")}
    homes = [name for name, names in modules.items() if names.get(kind.__name__) is kind]
    return f"{homes[0] if homes else kind.__module__.rpartition('.')[2]}.{kind.__name__}"


def _attribute(owner: object, attribute: str) -> object:
    if isinstance(owner, _Instance):
        return _of_instance(owner, attribute)
    static = isinstance(owner, type)
    try:
        value: object = inspect.getattr_static(owner, attribute) if static else getattr(owner, attribute)
    except NotImplementedError as error:
        raise _Lacking(str(error)) from None
    except AttributeError:
        if isinstance(owner, ModuleType) and owner.__name__.startswith(OURS):
            return _submodule(owner, attribute)
        raise _Lacking from None
    if isinstance(owner, ModuleType) and attribute.startswith("DTLS_"):
        _ask_context(value)
    return _there(value)


def _ask_context(method: object) -> None:
    """A method's number is there, and is supplied if a context can be made with it."""
    context = import_module(f"{OURS}.SSL").Context
    try:
        context(method)
    except NotImplementedError as error:
        raise _Lacking(str(error)) from None


def _submodule(owner: ModuleType, name: str) -> ModuleType:
    try:
        return import_module(f"{owner.__name__}.{name}")
    except ModuleNotFoundError as error:
        if error.name != f"{owner.__name__}.{name}":
            raise
        raise _Lacking from None


def _of_instance(owner: _Instance, attribute: str) -> object:
    try:
        return _there(inspect.getattr_static(owner.kind, attribute))
    except AttributeError:
        annotated = any(attribute in getattr(base, "__annotations__", ()) for base in owner.kind.__mro__)
        if annotated or not owner.sure or _answers(owner.kind, attribute):
            raise _Lost from None
        raise _Lacking from None


def _answers(kind: type, attribute: str) -> bool:
    """Whether an instance has what its class has not: a connection what it keeps for itself, and its socket's; a name,
    whose attributes are those of X.500, whatever is not private."""
    modules = {name: import_module(f"{OURS}.{name}") for name in ("crypto", "SSL")}
    if issubclass(kind, modules["SSL"].Connection):
        connection = modules["SSL"].Connection(modules["SSL"].Context(modules["SSL"].TLS_METHOD))
        return attribute in vars(connection) or hasattr(socket.socket, attribute)
    return issubclass(kind, modules["crypto"].X509Name) and not attribute.startswith("_")


def _there(value: object) -> object:
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    function = function.fget if isinstance(function, property) else function
    why = getattr(function, "__not_implemented__", None)
    if why is not None:
        raise _Lacking(str(why))
    return value


def _result(value: object) -> object:
    """What calling it gives."""
    if isinstance(value, type):
        return _Instance(value, True)
    function = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
    annotation = getattr(function, "__annotations__", {}).get("return")
    text = annotation if isinstance(annotation, str) else getattr(annotation, "__name__", "")
    names = getattr(sys.modules.get(getattr(function, "__module__", "")), "__dict__", {})
    alternatives = [alternative.strip() for alternative in text.split("|") if alternative.strip() != "None"]
    for kind in map(names.get, alternatives):
        if isinstance(kind, type) and kind.__module__.startswith(OURS):
            return _Instance(kind, len(alternatives) == 1)
    raise _Lost
