"""What the packaging tests share: a source distribution, a wheel, and an environment that the wheel is installed in."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from support.builds import environment, only, run, sources


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A source distribution."""
    folder = tmp_path_factory.mktemp("sdist")
    run(sys.executable, "-m", "build", "--no-isolation", "--sdist", "--outdir", folder, sources(folder), cwd=folder)
    return only(folder, "*.tar.gz")


@pytest.fixture(scope="session")
def wheel(sdist: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel, built as pip builds it for a user: from the source distribution, with the tools pyproject.toml names."""
    folder = tmp_path_factory.mktemp("wheel")
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--wheel-dir", folder, sdist, cwd=folder)
    return only(folder, "*.whl")


@pytest.fixture(scope="session")
def twisted_python(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment with the wheel and what its `demo` extra brings: Twisted without pyOpenSSL."""
    return environment(tmp_path_factory.mktemp("twisted"), f"{wheel}[demo]")
