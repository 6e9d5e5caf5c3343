"""Where Windows looks for OpenSSL's DLLs while the extension is imported.

Python has Windows look beside the extension, in the system's own folders and in those of ``os.add_dll_directory()``;
``PATH`` is not among them. The extension may be linked with the DLLs that CPython brought for its own ``ssl``, in its
folder ``DLLs``; that one is looked in as well, but only until the import is done.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

__all__ = ["within_reach"]

PLATFORM = sys.platform


@contextmanager
def within_reach(package: str) -> Iterator[None]:
    """For the import of the extension, which is in the folder `package`. Raises ImportError, naming the DLLs and where
    they were looked for, if it is there but cannot be loaded."""
    if PLATFORM != "win32":
        yield
        return
    dlls = os.path.join(sys.base_prefix, "DLLs")
    # By name, since other platforms, where the types are checked, too, do not have it.
    add_folder = getattr(os, "add_dll_directory")  # noqa: B009
    try:
        with add_folder(dlls) if os.path.isdir(dlls) else nullcontext():
            yield
    except ModuleNotFoundError:
        raise
    except ImportError as error:
        needed = _needed_by(os.path.join(package, "_lib.pyd"))
        if not needed:
            raise
        raise ImportError(
            f"{error} ({package}): it needs {' and '.join(needed)}, looked for in {package}, in {dlls} and where"
            " os.add_dll_directory() was told; put them there, or set OPENSSL_DIR and build txmembio again"
        ) from error


def _needed_by(extension: str) -> list[str]:
    """OpenSSL's DLLs that a file names; none where it is linked statically, or cannot be read."""
    try:
        with open(extension, "rb") as file:
            code = file.read()
    except OSError:
        return []
    return sorted({name.decode() for name in re.findall(rb"lib(?:ssl|crypto)-[\w-]+\.dll", code)}, reverse=True)
