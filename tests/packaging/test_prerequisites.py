"""What is missing on a machine is named, with what to install, before anything is built."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from support.builds import CHECKOUT

SCRIPT = CHECKOUT / "tools" / "prerequisites.py"

NOT_WINDOWS = pytest.mark.skipif(sys.platform == "win32", reason="on Windows nothing is compiled to find out")

PRETEND = "import runpy, sys; {pretence}; runpy.run_path({script!r}, run_name='__main__')"
"""Runs the script in a Python that is made to look different first."""


def check(env: Mapping[str, str] | None = None, pretence: str | None = None) -> subprocess.CompletedProcess[str]:
    """Run the script, on this machine or on one changed a little."""
    code = [str(SCRIPT)] if pretence is None else ["-c", PRETEND.format(pretence=pretence, script=str(SCRIPT))]
    return subprocess.run([sys.executable, *code], env={**os.environ, **(env or {})}, capture_output=True, text=True)


def assert_names(done: subprocess.CompletedProcess[str], thing: str, *installs: str) -> None:
    """It failed in the way it should: one paragraph about this thing, with a line for each system."""
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = [line.strip() for line in done.stderr.splitlines()]
    (at,) = (number for number, line in enumerate(lines) if thing in line)
    paragraph = lines[at + 1 : at + 7]
    assert paragraph[0].startswith("tried:")
    for line, system, install in zip(
        paragraph[1:], ("Debian, Ubuntu:", "Fedora:", "Alpine:", "macOS:", "Windows:"), installs, strict=True
    ):
        assert line.startswith(system)
        assert install in line


def without_openssl(folder: Path) -> Path:
    """A root for the compiler that has everything this machine has, but no folder `openssl` with headers."""
    root = folder / "root"
    for name in ("lib", "lib64"):
        if Path("/", name).exists():
            (root / "usr").mkdir(parents=True, exist_ok=True)
            (root / name).symlink_to(Path("/", name).resolve())
    for entry in Path("/usr").iterdir():
        if entry.name != "include":
            (root / "usr" / entry.name).symlink_to(entry)
    mirror(Path("/usr/include"), root / "usr" / "include")
    return root


def mirror(source: Path, target: Path) -> None:
    """Links to everything in a folder, except `openssl` in it or in one of its folders named after a machine."""
    target.mkdir(parents=True)
    for entry in source.iterdir():
        if entry.name.endswith("-linux-gnu"):
            mirror(entry, target / entry.name)
        elif entry.name != "openssl":
            (target / entry.name).symlink_to(entry)


def test_nothing_is_missing_where_this_was_built() -> None:
    done = check()
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("prerequisites: all there")


def test_old_python() -> None:
    done = check(pretence="sys.version_info = (3, 9, 18)")
    assert_names(
        done,
        "Python 3.10 or newer",
        "apt-get install python3",
        "dnf install python3",
        "apk add python3",
        "brew install python",
        "winget install Python.Python",
    )


def test_no_venv() -> None:
    done = check(pretence="sys.modules['ensurepip'] = None")
    assert "has no module ensurepip" in done.stderr
    assert_names(done, "Python's venv", "python3-venv", "python-pip-wheel", "py3-pip", "brew install python", "winget")


@NOT_WINDOWS
def test_no_compiler(tmp_path: Path) -> None:
    done = check({"PATH": str(tmp_path), "CC": "cc"})
    assert "cc is not on PATH" in done.stderr
    assert_names(done, "a C compiler", "gcc libc6-dev", "gcc glibc-devel", "gcc musl-dev", "xcode-select", "BuildTools")


@NOT_WINDOWS
def test_compiler_without_a_c_library() -> None:
    done = check({"CFLAGS": "-nostdinc"})
    assert "stdio.h" in done.stderr
    assert_names(done, "a C compiler", "gcc libc6-dev", "gcc glibc-devel", "gcc musl-dev", "xcode-select", "BuildTools")


@NOT_WINDOWS
def test_no_python_headers() -> None:
    done = check(
        pretence="import sysconfig; old = sysconfig.get_paths; "
        "sysconfig.get_paths = lambda *a: {**old(*a), 'include': '/nonexistent', 'platinclude': '/nonexistent'}"
    )
    assert "Python.h" in done.stderr.splitlines()[3]
    packages = ("python3-dev", "python3-devel", "python3-dev", "brew install python", "winget")
    assert_names(done, "Python's headers", *packages)


OPENSSL_PACKAGES = ("libssl-dev", "openssl-devel", "openssl-dev", "openssl@3", "OPENSSL_DIR")


@pytest.mark.skipif(
    not sys.platform.startswith("linux") or not Path("/usr/include/openssl").is_dir(),
    reason="hides /usr/include/openssl from the compiler, and there is none",
)
@pytest.mark.skipif(shutil.which("gcc") is None, reason="gcc is not installed (the test needs its --sysroot)")
def test_no_openssl_headers(tmp_path: Path) -> None:
    done = check({"CC": f"gcc --sysroot={without_openssl(tmp_path)}"})
    assert "openssl/ssl.h" in done.stderr.splitlines()[3]
    assert_names(done, "OpenSSL's headers and library, 3.0 or newer", *OPENSSL_PACKAGES)


@NOT_WINDOWS
def test_headers_of_an_older_openssl(tmp_path: Path) -> None:
    (tmp_path / "openssl").mkdir()
    (tmp_path / "openssl" / "ssl.h").write_text("#define OPENSSL_VERSION_NUMBER 0x1010117fL\n")
    done = check({"CFLAGS": f"-I{tmp_path}"})
    assert "older than OpenSSL 3.0" in done.stderr
    assert_names(done, "OpenSSL's headers and library, 3.0 or newer", *OPENSSL_PACKAGES)


@NOT_WINDOWS
def test_no_openssl_in_the_folder_that_was_named(tmp_path: Path) -> None:
    done = check({"OPENSSL_DIR": str(tmp_path)})
    assert f"OPENSSL_DIR={tmp_path}: expected include/openssl/ssl.h" in done.stderr
    assert_names(done, "OpenSSL's headers and library, 3.0 or newer", *OPENSSL_PACKAGES)


@NOT_WINDOWS
@pytest.mark.skipif(shutil.which("cc") is None, reason="cc is not installed")
def test_no_libffi_headers_where_cffi_has_to_be_compiled(tmp_path: Path) -> None:
    (tmp_path / "ffi.h").write_text("#error this machine has no ffi.h\n")
    done = check({"CFLAGS": f"-I{tmp_path}"}, pretence="import platform; platform.machine = lambda: 'sparc64'")
    assert "not published ready built" in done.stderr
    assert_names(
        done, "libffi's headers", "libffi-dev", "libffi-devel", "libffi-dev", "brew install libffi", "none needed"
    )


@NOT_WINDOWS
def test_libffi_headers_are_not_needed_where_cffi_is_published_ready_built(tmp_path: Path) -> None:
    (tmp_path / "ffi.h").write_text("#error this machine has no ffi.h\n")
    done = check({"CFLAGS": f"-I{tmp_path}"}, pretence="import platform; platform.machine = lambda: 'x86_64'")
    assert done.returncode == 0


@NOT_WINDOWS
def test_make_names_a_python_that_is_not_there(tmp_path: Path) -> None:
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    done = subprocess.run(
        [make, "--directory", str(CHECKOUT), f"VENV={tmp_path / 'venv'}", "PYTHON=python-that-is-not-there", "demo"],
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    assert "python-that-is-not-there is not on PATH" in done.stderr
    assert "apt-get install python3 python3-venv python3-dev" in done.stderr
