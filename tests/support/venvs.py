"""Virtual environments for packages that must not be in the one that is tested: pyOpenSSL, for one."""

from __future__ import annotations

import functools
import subprocess
import sys
from pathlib import Path

import pytest

#: The checkout, where the environments are kept between runs.
CLONE = Path(__file__).parents[2]


def python_with(name: str, *packages: str) -> str:
    """The Python of an environment with these packages, made the first time it is asked for and kept in the clone under
    this name. Skips the test where it cannot be made."""
    python, problem = _environment(name, packages)
    if problem:
        pytest.skip(f"{', '.join(packages)} cannot be installed: {problem}")
    return python


@functools.cache
def _environment(name: str, packages: tuple[str, ...]) -> tuple[str, str]:
    """The path of its Python, and what went wrong, if something did."""
    folder = CLONE / ".peer-venv" / "{}.{}-{}".format(*sys.version_info[:2], name)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    complete = folder / "complete"  # written last: an environment without it was interrupted, and is made again
    if not complete.exists():
        commands = [
            [sys.executable, "-m", "venv", "--clear", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *packages],
        ]
        for command in commands:
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                return str(python), (done.stderr or done.stdout).strip().splitlines()[-1]
        complete.touch()
    return str(python), ""
