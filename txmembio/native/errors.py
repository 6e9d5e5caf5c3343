"""OpenSSL's error queue, entry by entry."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NoReturn

from txmembio._openssl.lib import NULL, ffi, lib

__all__ = ["Entry", "NativeError", "check", "entries", "fail"]

Entry = tuple[str, str, str]
"""Library, function and reason in OpenSSL's words. Functions have had no names there since 3.0: that one is empty."""


class NativeError(Exception):
    """A call into OpenSSL has failed; :attr:`queue` says why, oldest entry first, and may be empty."""

    def __init__(self, queue: list[Entry]) -> None:
        super().__init__(queue)
        self.queue = queue


def _words(text: Any) -> str:
    return "" if text == NULL else ffi.string(text).decode("utf-8", "replace")


def entries(codes: Iterable[int]) -> list[Entry]:
    """What the codes of ERR_get_error(3) mean."""
    return [(_words(lib.ERR_lib_error_string(code)), "", _words(lib.ERR_reason_error_string(code))) for code in codes]


def fail() -> NoReturn:
    """Raises NativeError with this thread's queue, and empties that."""
    errors = ffi.new("txm_errors *")
    lib.txm_errors_take(errors)
    raise NativeError(entries(list(errors.codes)[: errors.count]))


def check(function: Any, *arguments: Any) -> None:
    """Calls one of OpenSSL's functions that return 1 for success. Raises NativeError for anything that is not positive,
    with what this call has to say alone."""
    lib.txm_errors_clear()
    if function(*arguments) <= 0:
        fail()
