"""Files that may change while a program runs: which there are in a folder, and whether they are still the same."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

__all__ = ["PEM_SUFFIX", "Signature", "pem_names", "signature"]

PEM_SUFFIX = ".pem"
"""How the names of those files in a folder end that count, in either case."""

Signature = tuple[object, ...]
"""What files look like from outside. Equal ones mean that nothing has changed."""


def signature(paths: Iterable[str]) -> Signature:
    """
    Names, sizes, inodes and times of the files at *paths*, and of the PEM files in the folders there. Reads none.

    Links are followed. The time at which the inode changed (ctime) is among them: a copy that keeps the time of
    modification sets it, and so does renaming. What cannot be looked at counts with its error.
    """
    return tuple(look for path in paths for look in _looks(path))


def _looks(path: str) -> list[object]:
    if not os.path.isdir(path):
        return [_look(path)]
    looks: list[object] = [path]  # and not its own times, which change with files that do not count
    try:
        looks += [_look(os.path.join(path, name)) for name in sorted(pem_names(path))]
    except (OSError, ValueError) as error:
        looks.append(str(error))
    return looks


def _look(path: str) -> object:
    try:
        status = os.stat(path)
    except OSError as error:
        return path, error.errno
    return path, status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino, status.st_dev


def pem_names(folder: str) -> Iterator[str]:
    """The paths within *folder* of its PEM files. Links are followed, each folder they lead to once. Raises OSError
    when the folder cannot be read, ValueError when one in it, which it names, cannot."""
    seen = set()

    def refuse(error: OSError) -> None:
        if error.filename == folder:
            raise error
        raise ValueError(f"{os.path.relpath(error.filename, folder)}: {error.strerror}") from error

    for path, subfolders, names in os.walk(folder, onerror=refuse, followlinks=True):
        real = os.path.realpath(path)
        if real in seen:
            subfolders.clear()
            continue
        seen.add(real)
        subfolders.sort()  # which path of several a folder is found by must not change from one start to the next
        for name in names:
            if name.lower().endswith(PEM_SUFFIX):
                yield os.path.relpath(os.path.join(path, name), folder)
