"""Which files of Python there are to audit, and what they are called when they are imported. Nothing is imported."""

from __future__ import annotations

import os
import re
import site
import sys
import sysconfig
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
from importlib.machinery import PathFinder
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

__all__ = ["Source", "everything", "module_name", "of_argument"]

NOT_CODE = {"__pycache__", "node_modules", "site-packages", "dist-packages"}
"""Folders that a walk through somebody's project leaves out: caches, and environments within it."""

OWN = {"OpenSSL", "txmembio"}
"""The package that is audited for, and the one that stands in for it, are not what somebody else wants of them."""

TESTS = re.compile(r"tests?|test_.*|.*_test\.py|conftest\.py")
"""Names of folders and files that hold tests."""


@dataclass(frozen=True)
class Source:
    """A file, and whether it is a test of what was asked about."""

    path: Path
    test: bool


def everything() -> Iterator[Source]:
    """What is installed where this Python looks for packages, but not its standard library or the working directory."""
    for entry in _installed_on():
        yield from _walk(entry, OWN)


def of_argument(argument: str) -> list[Source]:
    """The files of a package, module, distribution or folder, or one file. Raises ValueError if it is none of these."""
    path = Path(argument)
    if os.sep in argument or argument.endswith(".py") or argument in (os.curdir, os.pardir):
        if not os.path.exists(path):
            raise ValueError(f"{argument!r} does not exist: expected a file or folder")
        return list(_of_path(path))
    for location in _of_package(argument):
        return list(_of_path(location))
    try:
        return list(_of_distribution(distribution(argument)))
    except (PackageNotFoundError, ValueError):
        pass
    if os.path.exists(path):
        return list(_of_path(path))
    raise ValueError(f"{argument!r} is not installed: expected a package, a module, a distribution, a folder or a file")


def module_name(path: Path) -> str:
    """What a file is called when it is imported: the folders above it count as far as they are packages."""
    parts = [] if path.name == "__init__.py" else [path.stem]
    folder = path.parent
    while (folder / "__init__.py").is_file():
        parts.append(folder.name)
        folder = folder.parent
    return ".".join(reversed(parts)) or path.stem


def _installed_on() -> list[Path]:
    """The entries of `sys.path` that hold what is installed, projects in development and `PYTHONPATH` included."""
    standard = {Path(sysconfig.get_path(name)).resolve() for name in ("stdlib", "platstdlib")}
    packages = {Path(sysconfig.get_path(name)).resolve() for name in ("purelib", "platlib")}
    packages |= {Path(entry).resolve() for entry in [*site.getsitepackages(), site.getusersitepackages()]}
    entries: list[Path] = []
    for path in (Path(entry).resolve() for entry in sys.path if entry):
        below_standard = any(path == folder or folder in path.parents for folder in standard)
        if path.is_dir() and path not in [Path.cwd(), *entries] and (path in packages or not below_standard):
            entries.append(path)
    return entries


def _of_package(name: str) -> Iterator[Path]:
    """Where a package or module lies. Only its first part is looked up as Python does: more would import that."""
    first, *rest = name.split(".")
    spec = PathFinder.find_spec(first) if first.isidentifier() else None
    if spec is None:
        return
    # A namespace package has folders alone; the one of our plugin for Twisted does not make Twisted.
    locations = [Path(location) for location in spec.submodule_search_locations or ()] or [Path(spec.origin or "")]
    for location in locations:
        found = location.joinpath(*rest)
        if found.is_dir():
            yield found
        elif found.with_suffix(".py").is_file():
            yield found.with_suffix(".py")


def _of_distribution(found: Distribution) -> Iterator[Source]:
    for file in found.files or ():
        if file.suffix == ".py":
            yield Source(Path(str(file.locate())), _is_test(file.parts))


def _of_path(path: Path) -> Iterator[Source]:
    if path.is_file():
        yield Source(path, False)
    else:
        yield from _walk(path)


def _walk(root: Path, without: Collection[str] = ()) -> Iterator[Source]:
    """The files below a folder, but for some of the packages directly in it."""
    errors: list[OSError] = []
    for current, folders, files in os.walk(root, onerror=errors.append):
        if Path(current) == root:
            folders[:] = [name for name in folders if name not in without]
        folders[:] = sorted(name for name in folders if _may_hold_code(Path(current, name)))
        for name in sorted(files):
            if name.endswith(".py"):
                path = Path(current, name)
                yield Source(path, _is_test(path.relative_to(root).parts))
    # Whoever reads a folder that cannot be listed is told why.
    yield from (Source(Path(error.filename), False) for error in errors)


def _may_hold_code(folder: Path) -> bool:
    return not (folder.name.startswith(".") or folder.name in NOT_CODE or os.path.exists(folder / "pyvenv.cfg"))


def _is_test(parts: Iterable[str]) -> bool:
    return any(TESTS.fullmatch(part) for part in parts)
