"""``OpenSSL._util``: private in pyOpenSSL, and used all the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from cffi import FFI

from txmembio.native.x509 import NativeName
from txmembio.OpenSSL._arguments import as_bytes as text_to_bytes_and_warn
from txmembio.OpenSSL._missing import missing

__all__ = ["ffi", "lib", "text_to_bytes_and_warn"]

ffi = FFI()
"""For memory that is handed to `lib`."""


class _Library:
    """The few of OpenSSL's functions that programs call past pyOpenSSL. Any other raises NotImplementedError."""

    def X509_NAME_oneline(self, name: NativeName, buffer: Any, size: int) -> Any:
        """Writes a name's old notation into `buffer`, and returns that."""
        ffi.buffer(buffer, size)[:] = name.oneline(size).ljust(size, b"\0")
        return buffer

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith("__"):
            raise AttributeError(name)
        raise missing(f"_util.lib.{name}", "OpenSSL's own functions are not passed through")


lib = _Library()
