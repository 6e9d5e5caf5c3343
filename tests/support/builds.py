"""Building packages and environments, for the packaging tests.

Nothing is built in the checkout itself: what lies about there would get into the result, and the other way round.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import venv
from collections.abc import Mapping
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[2]

LEFT_BEHIND = shutil.ignore_patterns(
    ".*", "build", "dist", "*.egg-info", "__pycache__", "*.so", "*.pyd", "_lib.c", "dropin.cache"
)
"""What a fresh clone has not: results of builds, environments, caches; and git's own folder."""


def run(*command: str | Path, cwd: Path, env: Mapping[str, str] | None = None) -> str:
    """What the command printed; fails the test with all of it if the command fails."""
    done = subprocess.run(
        [str(word) for word in command],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode:
        pytest.fail(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


def only(folder: Path, pattern: str) -> Path:
    """The one file in the folder that the pattern describes."""
    (found,) = folder.glob(pattern)
    return found


def sources(folder: Path) -> Path:
    """A copy of the checkout's sources."""
    return Path(shutil.copytree(CHECKOUT, folder / "source", ignore=LEFT_BEHIND))


def environment(folder: Path, *requirements: str | Path) -> Path:
    """The Python of a new virtual environment with these installed."""
    venv.create(folder, with_pip=False)
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python)
    run(*pip, "install", *requirements, cwd=folder)
    return python
