"""Builds `txmembio._openssl._lib`, and decides which OpenSSL it is linked with.

setuptools runs this file by itself, from the project's folder (`cffi_modules` in setup.py), so it imports nothing of
the package. Others ask it for `openssl_settings()`, `sources()` and `STRICT`; that needs no cffi.

Which OpenSSL, in this order (`build_windows.py` has another for Windows):

- `OPENSSL_DIR` in the environment, unless it is the system's own prefix: linked statically. Every OpenSSL 3 has the
  same SONAME, so one that is linked dynamically is replaced, without a word, by whichever libssl the process loaded
  first, which may be the system's through `import _hashlib`.
- What pkg-config calls `openssl` (`PKG_CONFIG` and `PKG_CONFIG_PATH` are honoured): dynamically.
- `-lssl -lcrypto`, wherever the compiler looks: dynamically.

`CFLAGS`, `CPPFLAGS` and `LDFLAGS` are honoured by setuptools itself. `TXMEMBIO_STRICT=1` compiles with `STRICT`.
"""

from __future__ import annotations

import os
import runpy
import shlex
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from cffi import FFI

FOLDER = Path(__file__).parent
"""This folder; relative when setuptools runs the file, which is how setuptools wants its sources named."""

GENERATED = "_lib.c"
"""What cffi writes here when it is asked to compile in place; not a source of ours."""

SYSTEM_PREFIX = Path("/usr")
"""Where the system's OpenSSL lives: an `OPENSSL_DIR` that says so asks for nothing special."""

STRICT = ["-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Werror"]
"""Warnings that our own C must not have, for gcc and clang."""

PREAMBLE = """
#include <openssl/ssl.h>
#include <openssl/err.h>
#include <openssl/rand.h>
#include <openssl/ec.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#if OPENSSL_VERSION_NUMBER < 0x30000000L
#error "txmembio needs OpenSSL 3.0 or newer"
#endif
#if defined(_WIN64) && defined(SIXTY_FOUR_BIT_LONG)
#error "these headers of OpenSSL were configured for another platform than Windows"
#endif
#include "optional.h"
#include "pump.h"
"""
"""What the code that cffi generates is compiled after."""

GENERATED_CODE_MAY = "".join(f'#pragma GCC diagnostic ignored "{flag}"\n' for flag in STRICT if flag != "-Werror")
"""Put before the generated code where warnings are errors: it is cffi's, not ours to mend."""

Settings = dict[str, list[str]]
"""Arguments of setuptools' `Extension`, by name."""


def sources() -> list[Path]:
    """Our own C files around OpenSSL. Those in fast/ are of the other extension, which setup.py describes."""
    return sorted(path for path in FOLDER.glob("*.c") if path.name != GENERATED)


def headers() -> list[Path]:
    """The declarations that cffi reads, in the order in which it has to."""
    return [*sorted((FOLDER / "cdef").glob("*.h")), FOLDER / "pump.h"]


def openssl_settings() -> Settings:
    """How to compile and link against the OpenSSL that was chosen.

    Raises ValueError, naming the folder and what was expected in it, if `OPENSSL_DIR` does not hold an OpenSSL.
    """
    settings = nothing_set()
    chosen = os.environ.get("OPENSSL_DIR")
    if sys.platform == "win32":
        windows = runpy.run_path(str(FOLDER / "build_windows.py"))
        target = Path(sys.base_prefix), sysconfig.get_platform()
        settings |= windows["openssl_settings"](os.environ, *target, Path("build"))
    elif chosen and Path(chosen).resolve() != SYSTEM_PREFIX:
        settings |= _static(Path(chosen).absolute())
    else:
        settings |= _dynamic()
    return settings


def nothing_set() -> Settings:
    """All the names, for what is added to them."""
    names = "include_dirs", "library_dirs", "libraries", "extra_compile_args", "extra_link_args", "extra_objects"
    return {name: [] for name in names}


def _static(folder: Path) -> Settings:
    """With the archives in `OPENSSL_DIR`, and none of their symbols visible outside."""
    multiarch = sysconfig.get_config_var("MULTIARCH") or "lib"
    _expect(folder, "include/openssl/ssl.h")
    libraries = [folder / "lib", folder / "lib64", folder / "lib" / multiarch]
    for library in libraries:
        archives = [library / "libssl.a", library / "libcrypto.a"]
        if all(archive.is_file() for archive in archives):
            break
    else:
        looked = ", ".join(str(library.relative_to(folder)) for library in dict.fromkeys(libraries))
        raise ValueError(
            f"OPENSSL_DIR={folder}: expected libssl.a and libcrypto.a in one of {looked}, found neither pair; "
            "an OpenSSL that is not the system's is linked statically"
        )
    settings: Settings = {
        # Debian keeps what depends on the machine (openssl/configuration.h) in a folder beside.
        "include_dirs": [str(path) for path in (folder / "include", folder / "include" / multiarch) if path.is_dir()],
        "extra_objects": [str(archive) for archive in archives],
        "extra_link_args": _needed_by(library),
    }
    if sys.platform != "darwin":  # ELF; macOS binds each symbol to the file it was linked with anyway
        # The first keeps the archives' symbols to ourselves; the second has ours bound to them whatever else is loaded.
        settings["extra_link_args"] += ["-Wl,--exclude-libs,ALL", "-Wl,-Bsymbolic"]
    return settings


def _needed_by(library: Path) -> list[str]:
    """What the archives themselves refer to (threads, zlib, …), as OpenSSL's build has written it down beside them."""
    description = library / "pkgconfig" / "libcrypto.pc"
    if description.is_file():
        for line in description.read_text().splitlines():
            key, _, value = line.partition(":")
            if key == "Libs.private":
                return shlex.split(value)
    return ["-ldl", "-pthread"] if sys.platform.startswith("linux") else ["-pthread"]


def _dynamic() -> Settings:
    """With what pkg-config says, or else with what the compiler finds by itself."""
    pkg_config = shutil.which(os.environ.get("PKG_CONFIG", "pkg-config"))
    asked = (
        subprocess.run([pkg_config, "--cflags", "--libs", "openssl"], capture_output=True, text=True)
        if pkg_config
        else None
    )
    if asked is None or asked.returncode:
        return {"libraries": ["ssl", "crypto"]}
    said = shlex.split(asked.stdout)
    return {
        "include_dirs": [word[2:] for word in said if word.startswith("-I")],
        "library_dirs": [word[2:] for word in said if word.startswith("-L")],
        "libraries": [word[2:] for word in said if word.startswith("-l")],
        "extra_compile_args": [word for word in said if word.startswith("-D")],
        "extra_link_args": [word for word in said if not word.startswith(("-I", "-L", "-l", "-D"))],
    }


def _expect(folder: Path, *names: str) -> None:
    absent = [name for name in names if not (folder / name).is_file()]
    if absent:
        raise ValueError(f"OPENSSL_DIR={folder}: expected {' and '.join(absent)} in it, found none")


def extension(settings: Settings, preamble: str = PREAMBLE) -> FFI:
    """What is compiled: the declarations, the preamble and our own C, with the settings of an OpenSSL."""
    from cffi import FFI

    ffi = FFI()
    for header in headers():
        ffi.cdef(header.read_text(encoding="utf-8"))
    ffi.set_source(
        "txmembio._openssl._lib",
        preamble,
        sources=[str(path) for path in sources()],
        depends=[str(path) for path in (*headers(), *sorted(FOLDER.glob("*.h")))],
        **{**settings, "include_dirs": [str(FOLDER), *settings["include_dirs"]]},
    )
    return ffi


def ffibuilder() -> FFI:
    """What setuptools builds; called through `cffi_modules`."""
    try:
        settings = openssl_settings()
    except ValueError as error:
        raise SystemExit(f"error: {error}") from None
    preamble = PREAMBLE
    if sys.platform != "win32":
        settings["extra_compile_args"] += ["-fvisibility=hidden"]  # nothing but PyInit__lib is for others
    if os.environ.get("TXMEMBIO_STRICT") == "1":
        settings["extra_compile_args"] += STRICT
        preamble = GENERATED_CODE_MAY + PREAMBLE
    return extension(settings, preamble)
