"""`OPENSSL_DIR`: an OpenSSL of one's own is linked statically, stays private, and is really the one that is used."""

from __future__ import annotations

import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from support.builds import environment, only, run, sources

pytestmark = [
    pytest.mark.packaging,
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="looks into ELF files with GNU binutils"),
]

MULTIARCH = sysconfig.get_config_var("MULTIARCH") or ""

SAY_LIBRARY = """
import {first}
import txmembio, txmembio._openssl._lib as module
print(txmembio.openssl_library())
print(module.__file__)
context = txmembio.create_default_context()
"""


@pytest.fixture(scope="session")
def openssl_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as OpenSSL's `make install` leaves it, filled from the system's development package."""
    include = Path("/usr/include")
    archives = [
        path
        for name in ("libssl.a", "libcrypto.a")
        for path in (Path("/usr/lib") / MULTIARCH / name, Path("/usr/lib64") / name, Path("/usr/lib") / name)
        if path.is_file()
    ]
    if {path.name for path in archives} != {"libssl.a", "libcrypto.a"}:
        pytest.skip("the system has no libssl.a and libcrypto.a (libssl-dev, openssl-libs-static)")
    folder = tmp_path_factory.mktemp("openssl")
    shutil.copytree(include / "openssl", folder / "include" / "openssl")
    if MULTIARCH and (include / MULTIARCH / "openssl").is_dir():
        shutil.copytree(include / MULTIARCH / "openssl", folder / "include" / MULTIARCH / "openssl")
    (folder / "lib64").mkdir()
    for archive in archives:
        shutil.copy(archive, folder / "lib64")
    return folder


@pytest.fixture(scope="session")
def static_python(openssl_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The Python of an environment whose txmembio was built with that folder."""
    folder = tmp_path_factory.mktemp("static")
    build = (sys.executable, "-m", "build", "--no-isolation", "--wheel", "--outdir", folder, sources(folder))
    run(*build, cwd=folder, env={"OPENSSL_DIR": str(openssl_dir)})
    return environment(folder / "environment", only(folder, "*.whl"))


@pytest.fixture(scope="session")
def extension(static_python: Path) -> Path:
    """The shared object in that environment."""
    return only(static_python.parents[1], "lib/python*/site-packages/txmembio/_openssl/_lib*.so")


def test_needs_no_libssl(extension: Path) -> None:
    needed = [
        line for line in run("readelf", "--dynamic", extension, cwd=extension.parent).splitlines() if "NEEDED" in line
    ]
    assert needed
    assert not [line for line in needed if "libssl" in line or "libcrypto" in line]


def test_shows_nothing_but_its_module(extension: Path) -> None:
    exported = run("nm", "--dynamic", "--defined-only", extension, cwd=extension.parent).split()[2::3]
    assert [name for name in exported if name not in ("_init", "_fini")] == ["PyInit__lib"]


@pytest.mark.parametrize("first", ["_hashlib, ssl", "sys"])
def test_uses_its_own_whichever_was_loaded_first(static_python: Path, tmp_path: Path, first: str) -> None:
    library, module = run(static_python, "-c", SAY_LIBRARY.format(first=first), cwd=tmp_path).splitlines()
    assert Path(library).samefile(module)


@pytest.mark.parametrize(
    ("present", "said"),
    [
        ((), "expected include/openssl/ssl.h in it"),
        (("include/openssl/ssl.h",), "expected libssl.a and libcrypto.a in one of lib, lib64"),
        (("include/openssl/ssl.h", "lib/libssl.a"), "expected libssl.a and libcrypto.a in one of lib, lib64"),
    ],
    ids=["empty", "no-archives", "half"],
)
def test_says_what_the_folder_lacks(tmp_path: Path, present: tuple[str, ...], said: str) -> None:
    folder = tmp_path / "openssl"
    folder.mkdir()
    for name in present:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    done = subprocess.run(
        [sys.executable, "setup.py", "--quiet", "build_ext"],
        cwd=sources(tmp_path),
        env={"OPENSSL_DIR": str(folder), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: OPENSSL_DIR={folder}: ")
    assert said in last
