"""What pyproject.toml cannot say: the C extensions, the stable ABI's tag, and the folder of Twisted's plugins."""

from __future__ import annotations

import sys
import sysconfig

from setuptools import Extension, find_packages, setup

OLDEST_PYTHON = "cp310"
"""The oldest CPython whose stable ABI the wheel claims; the same as `requires-python`."""


def stable_abi() -> bool:
    """Whether cffi builds against the limited API here: CPython, neither free-threaded nor a debugging build."""
    return (
        sys.implementation.name == "cpython"
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and not hasattr(sys, "gettotalrefcount")
    )


def crossing() -> list[Extension]:
    """The hot calls without cffi. Optional: txmembio/_openssl/crossing.py does without where it cannot be built."""
    if not stable_abi():
        return []
    folder = "txmembio/_openssl"
    return [
        Extension(
            "txmembio._openssl._crossing",
            [f"{folder}/fast/{name}.c" for name in ("crossing", "memorybio", "sslobject")],
            include_dirs=[folder],
            depends=[f"{folder}/pump.h", f"{folder}/fast/fast.h"],
            # Nothing but PyInit__crossing is for others.
            extra_compile_args=[] if sys.platform == "win32" else ["-fvisibility=hidden"],
            py_limited_api=True,
            optional=True,
        )
    ]


setup(
    # `twisted.plugins` without an `__init__.py`: Twisted finds the plugin there, and owns the package.
    packages=[*find_packages(include=["txmembio", "txmembio.*"]), "twisted.plugins"],
    package_data={"txmembio": ["py.typed"], "txmembio._openssl": ["*.pyi"]},
    include_package_data=False,
    ext_modules=crossing(),
    cffi_modules=["txmembio/_openssl/build.py:ffibuilder"],
    # Without this option the wheel is tagged for one Python only, although the extensions inside are abi3.
    options={"bdist_wheel": {"py_limited_api": OLDEST_PYTHON}} if stable_abi() else {},
)
