"""The bed of `make test-wine`: a Windows CPython under wine, with Twisted's IOCP reactor and with our extension.

Made once, in a folder of the user's cache, and made anew when one of the lists in tests/wine or this file has changed.
What is downloaded is pinned by its hash, and fetched by this Python's pip as that is configured. Our own part, the
extension, is compiled before each run, if its sources have changed.

The interpreter is the one that python.org publishes; who has signed it is looked at where osslsigncode is installed.
"""

from __future__ import annotations

import hashlib
import io
import os
import runpy
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

CHECKOUT = Path(__file__).parents[2]

LISTS = CHECKOUT / "tests" / "wine"

#: Where the bed is kept: about a gigabyte.
FOLDER = Path(
    os.environ.get("TXMEMBIO_WINE_BED")
    or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "txmembio-wine"
)

COMPILER = "x86_64-w64-mingw32-gcc"
DLLTOOL = "x86_64-w64-mingw32-dlltool"

PROGRAMS = {
    "wine": "wine, wine64",
    "wineserver": "wine",
    COMPILER: "gcc-mingw-w64-x86-64-win32",
    DLLTOOL: "gcc-mingw-w64-x86-64-win32",
}
"""What there is no bed without, and the Debian packages it is in."""

PLATFORM = "win-amd64"

SIGNED_BY = "O=Python Software Foundation"

SIGNED_AT = "1713000000"
"""Seconds: 2024-04-13, a time at which the signer's certificate was valid. It expired in 2025, and the lists of revoked
certificates are not asked for."""

MARK = "txmembio-wine-bed"
"""The file that says of a folder that it may be deleted."""

#: Seconds for each step: the downloads are a hundred megabytes.
DEADLINE = 600.0

BCRYPTPRIMITIVES = """
#include <windows.h>
#include <ntsecapi.h>
__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T size) { return RtlGenRandom(data, (ULONG)size); }
"""
"""What wine 8 lacks, and Python extensions in Rust (the package cryptography) need."""

CONFIGURATION = {
    "#  undef SIXTY_FOUR_BIT\n": "#  define SIXTY_FOUR_BIT\n",
    "#  define SIXTY_FOUR_BIT_LONG\n": "#  undef SIXTY_FOUR_BIT_LONG\n",
    "#define OPENSSL_CONFIGURATION_H\n": "#define OPENSSL_CONFIGURATION_H\n#define OPENSSL_SYS_MINGW64 1\n",
}
"""What makes OpenSSL's headers of a 64-bit Linux those of a 64-bit Windows."""


def missing() -> str | None:
    """What is not installed that is needed; None if everything is there."""
    absent = [name for name in PROGRAMS if shutil.which(name) is None]
    if not (_headers() / "openssl" / "ssl.h").is_file():
        absent.append("OpenSSL's headers")
    if not absent:
        return None
    lines = (LISTS / "apt-packages.txt").read_text(encoding="utf-8").splitlines()
    packages = " ".join(line.split()[0] for line in lines if line and not line.startswith("#"))
    return f"not installed: {', '.join(absent)} (apt-get install --no-install-recommends {packages})"


def run(*command: str | Path, env: dict[str, str] | None = None, cwd: Path | None = None) -> str:
    """What a program says. Raises RuntimeError with all of it if the program fails."""
    done = subprocess.run(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        env=env,
        cwd=cwd,
        timeout=DEADLINE,
    )
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, command))} failed:\n{done.stdout}")
    return done.stdout


class Bed:
    """The folders, and what to do to have something in them."""

    def __init__(self, folder: Path = FOLDER) -> None:
        self.folder = folder.absolute()
        self.python = self.folder / "cp311"
        self.prefix = self.folder / "prefix"
        self.site = self.folder / "site"
        self.tree = self.folder / "tree"

    def environment(self) -> dict[str, str]:
        """For every program under wine: this bed's drives and registry, and no window for anything."""
        return {
            **os.environ,
            "WINEPREFIX": str(self.prefix),
            "WINEARCH": "win64",
            "WINEDEBUG": "-all",
            "WINEDLLOVERRIDES": "mscoree,mshtml=",  # no questions about .NET and a browser
        }

    def make(self) -> None:
        """Everything but our own part, unless it is there. Raises RuntimeError if a step fails, or if the folder holds
        something else than a bed."""
        wanted, stamp = self._wanted(), self.folder / "complete"  # the stamp is written last
        if stamp.is_file() and stamp.read_text() == wanted:
            return
        mark = self.folder / MARK  # written first
        if self.folder.exists() and any(self.folder.iterdir()):
            if not mark.is_file():
                raise RuntimeError(f"{self.folder}: expected an empty folder, or one with {MARK} in it")
            shutil.rmtree(self.folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        mark.touch()
        self._interpreter()
        self._signatures()
        self._prefix()
        self._packages()
        self._headers()
        stamp.write_text(wanted)

    def _wanted(self) -> str:
        digest = hashlib.sha256()
        for path in (LISTS / "interpreter.txt", LISTS / "requirements.txt", Path(__file__)):
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _interpreter(self) -> None:
        downloads = self.folder / "downloads"
        _pip("download", "--no-deps", "--no-binary=:all:", "-r", LISTS / "interpreter.txt", "--dest", downloads)
        (sdist,) = downloads.glob("*.tar.gz")
        with tarfile.open(sdist) as outer:
            (name,) = (name for name in outer.getnames() if name.endswith("/data.zip"))
            data = outer.extractfile(name)
            assert data is not None
            with zipfile.ZipFile(io.BytesIO(data.read())) as inner:
                inner.extractall(self.folder)

    def _signatures(self) -> None:
        if shutil.which("osslsigncode") is None:
            self._note("signatures: not looked at, since osslsigncode is not installed")
            return
        # Not Microsoft's run-time library, which lies beside: its root is not among those of Debian.
        files = [*self.python.glob("python*.*"), *(self.python / "DLLs").glob("*.pyd")]
        files += list((self.python / "DLLs").glob("*.dll"))
        look = ["osslsigncode", "verify", "-ignore-timestamp", "-ignore-crl", "-time", SIGNED_AT]
        for file in files:
            said = run(*look, "-CAfile", "/etc/ssl/certs/ca-certificates.crt", "-in", file)
            if "Succeeded" not in said.splitlines() or SIGNED_BY not in said:
                raise RuntimeError(f"{file} is not signed by the Python Software Foundation:\n{said}")
        self._note(f"signatures: all {len(files)} programs and DLLs of CPython are the Python Software Foundation's")

    def _note(self, text: str) -> None:
        with open(self.folder / "notes", "a", encoding="utf-8") as file:
            file.write(f"{text}\n")

    def _prefix(self) -> None:
        run("wine", "wineboot", "--init", env=self.environment())
        run("wine", "winecfg", "-v", "win10", env=self.environment())
        source, dll = self.folder / "bcryptprimitives.c", self.folder / "bcryptprimitives.dll"
        source.write_text(BCRYPTPRIMITIVES)
        run(COMPILER, "-shared", "-O2", "-o", dll, source, "-ladvapi32")
        shutil.copy(dll, self.prefix / "drive_c" / "windows" / "system32")

    def _packages(self) -> None:
        """Downloaded here, as this Python's pip is configured; installed by the other one, as it is done on Windows."""
        wheels = self.folder / "wheels"
        target = ["--platform=win_amd64", "--python-version=3.11", "--implementation=cp", "--only-binary=:all:"]
        _pip("download", "--no-deps", *target, "-r", LISTS / "requirements.txt", "--dest", wheels)
        environment = {**self.environment(), "PIP_CONFIG_FILE": "nul", "PYTHONUTF8": "1"}
        for name in [name for name in environment if name.startswith("PIP_") and name != "PIP_CONFIG_FILE"]:
            del environment[name]
        options = ["--quiet", "--no-index", "--no-deps", "--no-warn-script-location", "--disable-pip-version-check"]
        command: list[str | Path] = [
            "wine",
            self.python / "python.exe",
            *("-m", "pip", "install", *options, "--require-hashes"),
            *("--find-links", windows_path(wheels), "--target", windows_path(self.site)),
            *("-r", windows_path(LISTS / "requirements.txt")),
        ]
        # Pipes: without a console, and with files, Python cannot use its standard streams under wine.
        done = subprocess.run(command, input="", capture_output=True, text=True, env=environment, timeout=DEADLINE)
        if done.returncode:
            raise RuntimeError(f"installing what tests/wine/requirements.txt lists failed:\n{done.stdout}{done.stderr}")

    def _headers(self) -> None:
        """OpenSSL's, from here: they only differ in how they were configured."""
        include = self.folder / "include"
        for part in (_headers(), _headers() / (sysconfig.get_config_var("MULTIARCH") or "")):
            if (part / "openssl").is_dir():
                shutil.copytree(part / "openssl", include / "openssl", dirs_exist_ok=True)
        file = include / "openssl" / "configuration.h"
        text = file.read_text()
        for before, after in CONFIGURATION.items():
            if text.count(before) != 1:
                raise RuntimeError(f"{file} does not say {before.strip()!r} once, so it is another than was expected")
            text = text.replace(before, after)
        file.write_text(text)

    def build(self) -> None:
        """Our own part, of the checkout's sources, unless these have not changed: as setup.py builds it on Windows, but
        by another compiler."""
        sources = sorted(_sources())
        digest = hashlib.sha256()
        for path in sources:
            digest.update(path.as_posix().encode() + path.read_bytes())
        stamp = self.folder / "built"
        if stamp.is_file() and stamp.read_text() == digest.hexdigest():
            return
        stamp.unlink(missing_ok=True)
        shutil.rmtree(self.tree, ignore_errors=True)
        for path in sources:
            to = self.tree / path.relative_to(CHECKOUT)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, to)
        self._extension()
        stamp.write_text(digest.hexdigest())

    def _extension(self) -> None:
        scripts = CHECKOUT / "txmembio" / "_openssl"
        build: dict[str, Any] = runpy.run_path(str(scripts / "build.py"))
        windows: dict[str, Any] = runpy.run_path(str(scripts / "build_windows.py"))
        settings: dict[str, list[str]] = build["nothing_set"]()
        settings |= windows["openssl_settings"](
            {"OPENSSL_INCLUDE_DIR": str(self.folder / "include")}, self.python, PLATFORM, self.folder, _import_library
        )
        work = self.folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir()
        build["extension"](settings).emit_c_code(str(work / "_lib.c"))
        include = [str(scripts), str(self.python / "include"), *settings["include_dirs"]]
        # MS_WIN64 is what Python's own pyconfig.h leaves to the compiler, and this one does not know.
        flags = ["-O2", "-DMS_WIN64", *(f"-I{folder}" for folder in include)]
        # Our own C without a warning, like everywhere; what cffi has generated is not ours to mend.
        compile_ = [([*flags, *build["STRICT"]], path) for path in build["sources"]()] + [(flags, work / "_lib.c")]
        for arguments, path in compile_:
            run(COMPILER, *arguments, "-c", path, "-o", work / f"{path.stem}.o")
        # The stable ABI's library: the same file serves every CPython from 3.10 on.
        python = str(self.python / "libs" / "python3.lib")
        needed = [*settings["extra_objects"], python, *(f"-l{name}" for name in settings["libraries"])]
        link = [COMPILER, "-shared", "-static-libgcc", "-s", "-o"]
        to = self.tree / "txmembio" / "_openssl"
        run(*link, to / "_lib.pyd", *sorted(work.glob("*.o")), *needed)
        hot = [*flags, *build["STRICT"], *sorted((scripts / "fast").glob("*.c"))]
        run(*link, to / "_crossing.pyd", *hot, python)


def _pip(*arguments: str | Path) -> None:
    run(sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments, "--require-hashes")


def _headers() -> Path:
    return Path("/usr/include")


def _sources() -> Iterator[Path]:
    for pattern in ("txmembio/**/*.py", "txmembio/**/*.[ch]", "twisted/plugins/*.py"):
        for path in CHECKOUT.glob(pattern):
            if path.name != "_lib.c":
                yield path


def _import_library(definition: Path, library: Path, architecture: str) -> None:
    run(DLLTOOL, "--machine", "i386:x86-64", "--input-def", definition, "--output-lib", library)


def windows_path(path: Path) -> str:
    """How programs under wine call a file of ours."""
    return "Z:" + str(path.absolute()).replace("/", "\\")
