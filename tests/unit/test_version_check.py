"""Which OpenSSL: the check at import, and the file that is really mapped."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import txmembio
from support.process import environment
from txmembio._openssl import lib


def number(major: int, minor: int, patch: int = 0) -> int:
    """OPENSSL_VERSION_NUMBER, as openssl/opensslv.h puts it together: MNN00PP0."""
    return major << 28 | minor << 20 | patch << 4


@pytest.mark.parametrize(
    ("built", "running"),
    [
        ((3, 0, 0), (3, 0, 0)),
        ((3, 0, 13), (3, 0, 2)),  # within a minor version nothing is added
        ((3, 0, 13), (3, 5, 0)),
        ((3, 2, 1), (3, 3, 0)),
        ((4, 0, 0), (4, 1, 0)),
    ],
)
def test_the_same_major_version_and_no_older_minor_one_will_do(
    built: tuple[int, int, int], running: tuple[int, int, int]
) -> None:
    lib._check_version(number(*built), number(*running))


@pytest.mark.parametrize(
    ("built", "running"),
    [((3, 2, 1), (3, 0, 13)), ((3, 0, 0), (4, 0, 0)), ((4, 0, 0), (3, 9, 0)), ((3, 10, 0), (3, 9, 0))],
)
def test_any_other_is_refused_with_both_versions_the_file_and_what_to_do(
    built: tuple[int, int, int], running: tuple[int, int, int]
) -> None:
    with pytest.raises(ImportError) as caught:
        lib._check_version(number(*built), number(*running))
    text = str(caught.value)
    assert "OpenSSL " + ".".join(map(str, built)) in text
    assert ".".join(map(str, running)) in text
    assert str(lib.library_path()) in text
    assert f"expected {built[0]}.{built[1]} or a later {built[0]}.x" in text
    assert "\n" not in text


def test_the_version_that_runs_is_the_one_that_is_told() -> None:
    running = txmembio.OPENSSL_VERSION_NUMBER
    assert txmembio.OPENSSL_VERSION.startswith(f"OpenSSL {running >> 28}.{running >> 20 & 0xFF}.")


@pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="the system does not tell what is mapped (/proc)")
def test_the_library_path_is_a_file_that_is_mapped() -> None:
    path = txmembio.openssl_library()
    assert path is not None
    mapped = {line.split()[-1] for line in Path("/proc/self/maps").read_text().splitlines() if "/" in line}
    assert str(Path(path).resolve()) in {str(Path(name).resolve()) for name in mapped}


def test_an_openssl_too_old_stops_the_import_itself(tmp_path: Path) -> None:
    """Not only the function: `import txmembio` in a process where the compiled number is newer than the running one."""
    program = """
import sys
from txmembio._openssl import _lib

class Newer:
    OPENSSL_VERSION_NUMBER = 0x90000000
    def __getattr__(self, name):
        return getattr(_lib.lib, name)

sys.modules["txmembio._openssl._lib"] = type(sys)("stand-in")
sys.modules["txmembio._openssl._lib"].ffi = _lib.ffi
sys.modules["txmembio._openssl._lib"].lib = Newer()
import txmembio
txmembio.SSLContext
"""
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, env=environment(), cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("ImportError: txmembio was built with OpenSSL 9.0.0, but")
