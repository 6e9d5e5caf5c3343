"""What pyproject.toml cannot say: the C extension, the stable ABI's tag, and the folder of Twisted's plugins."""

from __future__ import annotations

import sys
import sysconfig

from setuptools import find_packages, setup

OLDEST_PYTHON = "cp310"
"""The oldest CPython whose stable ABI the wheel claims; the same as `requires-python`."""


def stable_abi() -> bool:
    """Whether cffi builds against the limited API here: CPython, neither free-threaded nor a debugging build."""
    return (
        sys.implementation.name == "cpython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and not hasattr(sys, "gettotalrefcount")
    )


setup(
    # `twisted.plugins` without an `__init__.py`: Twisted finds the plugin there, and owns the package.
    packages=[*find_packages(include=["txmembio", "txmembio.*"]), "twisted.plugins"],
    package_data={"txmembio": ["py.typed"], "txmembio._openssl": ["*.pyi"]},
    include_package_data=False,
    cffi_modules=["txmembio/_openssl/build.py:ffibuilder"],
    # Without this option the wheel is tagged for one Python only, although the extension inside is abi3.
    options={"bdist_wheel": {"py_limited_api": OLDEST_PYTHON}} if stable_abi() else {},
)
