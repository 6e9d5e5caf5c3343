"""How pyOpenSSL takes its arguments, and gives its errors."""

from __future__ import annotations

import warnings
from types import TracebackType
from typing import Any

from txmembio.native.errors import NativeError

__all__ = ["Raises", "as_bytes", "need_int"]


class Raises:
    """``with Raises(Error):`` has failures of OpenSSL come out as that class, with the error queue as its argument."""

    __slots__ = ("_kind",)

    def __init__(self, kind: type[Exception]) -> None:
        self._kind = kind

    def __enter__(self) -> None: ...

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if isinstance(error, NativeError):
            raise self._kind(error.queue) from None


def as_bytes(what: str, value: Any) -> Any:
    """Text as UTF-8, with the warning that it should have been bytes; anything else as it is."""
    if not isinstance(value, str):
        return value
    warnings.warn(f"str for {what} is no longer accepted, use bytes", DeprecationWarning, stacklevel=3)
    return value.encode()


def need_int(what: str, value: object) -> None:
    """Raises TypeError unless it is one."""
    if not isinstance(value, int):
        raise TypeError(f"{what} must be an integer")
