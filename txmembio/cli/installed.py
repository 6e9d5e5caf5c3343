"""Which neighbours are installed, found out without importing them."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

__all__ = ["is_installed", "version_of"]


def is_installed(package: str) -> bool:
    """Whether `import package` finds a package, not just the folder `twisted/plugins` that every installation of ours
    has and that passes for a namespace package."""
    spec = find_spec(package)
    return spec is not None and spec.origin is not None


def version_of(package: str, distribution: str) -> str | None:
    """The version of the distribution that `package` comes from; "unknown" if nobody has written it down, None if the
    package cannot be imported."""
    if not is_installed(package):
        return None
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "unknown"
