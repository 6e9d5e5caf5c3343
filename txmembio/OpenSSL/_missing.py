"""What to raise for those parts of pyOpenSSL that are not here."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NoReturn

__all__ = ["Missing", "absent", "missing"]


class Missing(NotImplementedError, AttributeError):
    """Not here. Also an AttributeError, so that hasattr() and getattr() with a default answer as they should."""


def missing(name: str, why: str) -> Missing:
    """The exception for `name`, which says where to ask for it."""
    return Missing(
        f"txmembio has no OpenSSL.{name} ({why}): if you need it, please say so at the project's issue tracker"
    )


def absent(name: str, why: str) -> Callable[..., Any]:
    """A method or function that raises it. What audits look for on it is the attribute `__not_implemented__`."""

    def stub(*args: object, **kwargs: object) -> NoReturn:
        raise missing(name, why)

    stub.__name__ = name.rpartition(".")[2]
    stub.__qualname__ = name
    stub.__doc__ = f"Not here: {why}. Raises NotImplementedError."
    stub.__not_implemented__ = why  # type: ignore[attr-defined]
    return stub
