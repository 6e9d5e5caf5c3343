"""Which OpenSSL the extension is linked with on Windows.

`build.py` runs this file by itself, as setuptools runs that one, so it imports nothing of the package. In this order:

- `OPENSSL_DIR` in the environment: a folder with OpenSSL's headers and libraries in one of `LAYOUTS`. Archives are
  preferred; with import libraries, OpenSSL's DLLs have to be found at run time.
- The DLLs that CPython came with, for its own `ssl`. Import libraries are made of what they export; the headers, which
  CPython does not come with, are those in `OPENSSL_INCLUDE_DIR`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

SYSTEM_LIBRARIES = ["ws2_32", "crypt32", "advapi32", "user32"]
"""What OpenSSL's archives refer to."""

ARCHITECTURES = {"win-amd64": ("x64", "64"), "win32": ("x86", "32"), "win-arm64": ("arm64", "")}
"""How Microsoft's tools and the names of libraries call the platforms of sysconfig.get_platform()."""

LAYOUTS = (
    # What OpenSSL's own build calls `_static` are archives that lie beside import libraries; either alone has
    # the plain name. Always those for the run-time library that extensions share with CPython (/MD).
    ("lib/VC/{architecture}/MD", "lib{}_static.lib"),  # the installers of Shining Light
    ("lib/VC/static", "lib{}{bits}MD.lib"),  # the same, older
    ("lib", "lib{}_static.lib"),  # `nmake install`
    ("lib/VC/{architecture}/MD", "lib{}.lib"),
    ("lib/VC", "lib{}{bits}MD.lib"),
    ("lib", "lib{}.lib"),  # `nmake install`, vcpkg, conda's Library, FireDaemon's x64
    ("", "lib{}.lib"),  # CPython's own dependencies, openssl-bin-*/amd64
    ("lib", "lib{}.a"),  # MinGW
    ("lib", "lib{}.dll.a"),
)
"""Where the libraries are, below `OPENSSL_DIR`, and what they are called; the first pair that is there is taken."""

NAMES = ("ssl", "crypto")

MakeImportLibrary = Callable[[Path, Path, str], None]
"""Makes a library, the second path, of a module definition file, the first, for an architecture of `ARCHITECTURES`."""

PE_DIRECTORIES = {0x10B: 96, 0x20B: 112}
"""Where the data directories begin in the optional header of PE32 and PE32+, by its magic number."""


def openssl_settings(
    environment: Mapping[str, str],
    python: Path,
    platform: str,
    folder: Path,
    make_import_library: MakeImportLibrary | None = None,
) -> dict[str, list[str]]:
    """How to compile and link for the CPython in the folder `python` (its `sys.base_prefix`) on `platform`, as
    sysconfig.get_platform() calls it. Import libraries are made in `folder`, by setuptools' compiler unless another
    way is given.

    Raises ValueError, naming the folder and what was expected in it, if there is no OpenSSL.
    """
    if platform not in ARCHITECTURES:
        raise ValueError(f"platform {platform!r}: expected one of {', '.join(ARCHITECTURES)}")
    chosen = environment.get("OPENSSL_DIR")
    if chosen:
        return _in_folder(Path(chosen), platform)
    include = environment.get("OPENSSL_INCLUDE_DIR")
    if not include:
        raise ValueError(
            "neither OPENSSL_DIR nor OPENSSL_INCLUDE_DIR is set; expected OPENSSL_DIR to name a folder with OpenSSL's"
            f" include and lib, or OPENSSL_INCLUDE_DIR one with headers for the OpenSSL in {python / 'DLLs'}"
        )
    return _of_python(Path(include), python / "DLLs", platform, folder, make_import_library or with_setuptools)


def _in_folder(chosen: Path, platform: str) -> dict[str, list[str]]:
    include = chosen / "include"
    if not (include / "openssl" / "ssl.h").is_file():
        raise ValueError(f"OPENSSL_DIR={chosen}: expected include/openssl/ssl.h in it, found none")
    architecture, bits = ARCHITECTURES[platform]
    looked = []
    for place, pattern in LAYOUTS:
        names = [pattern.format(name, bits=bits) for name in NAMES]
        where = chosen / place.format(architecture=architecture)
        if all((where / name).is_file() for name in names):
            return {
                "include_dirs": [str(include)],
                "extra_objects": [str(where / name) for name in names],
                "libraries": SYSTEM_LIBRARIES,
            }
        looked.append((where / names[0]).relative_to(chosen).as_posix())
    raise ValueError(
        f"OPENSSL_DIR={chosen}: expected libssl and libcrypto in it, found neither of {', '.join(looked)} with its pair"
    )


def _of_python(
    include: Path, dlls: Path, platform: str, folder: Path, make_import_library: MakeImportLibrary
) -> dict[str, list[str]]:
    headers = _version_of_headers(include)
    found = {name: sorted(dlls.glob(f"lib{name}-[0-9]*.dll")) for name in NAMES}
    for name, files in found.items():
        if len(files) != 1:
            said = ", ".join(file.name for file in files) or "none"
            raise ValueError(
                f"{dlls}: expected one lib{name}-*.dll of Python's own in it, found {said}; set OPENSSL_DIR"
            )
    code = {name: files[0].read_bytes() for name, files in found.items()}
    library = _version_of_library(code["crypto"])
    if library is None or library < (3, 0):
        said = "one that does not tell its version" if library is None else "{}.{}".format(*library)
        raise ValueError(f"{found['crypto'][0]}: expected OpenSSL 3.0 or newer, found {said}; set OPENSSL_DIR")
    if headers[0] != library[0] or headers[1] > library[1]:
        raise ValueError(
            f"OPENSSL_INCLUDE_DIR={include}: expected the headers of OpenSSL {library[0]}.{library[1]}, which"
            f" {dlls} has, or of an older {library[0]}.x; found those of {headers[0]}.{headers[1]}"
        )
    folder = folder / f"openssl-{platform}"
    folder.mkdir(parents=True, exist_ok=True)
    libraries = []
    for name, (dll,) in found.items():
        definition, made = folder / f"{dll.stem}.def", folder / f"{dll.stem}.lib"
        lines = [f"LIBRARY {dll.name}", "EXPORTS", *(f"    {symbol}" for symbol in exports(code[name]))]
        definition.write_text("\n".join(lines) + "\n", encoding="ascii")
        made.unlink(missing_ok=True)
        make_import_library(definition, made, ARCHITECTURES[platform][0])
        libraries.append(str(made))
    return {"include_dirs": [str(include)], "extra_objects": libraries}


def _version_of_headers(include: Path) -> tuple[int, int]:
    file = include / "openssl" / "opensslv.h"
    if not file.is_file():
        raise ValueError(f"OPENSSL_INCLUDE_DIR={include}: expected openssl/opensslv.h in it, found none")
    said = dict(re.findall(r"#\s*define\s+OPENSSL_VERSION_(MAJOR|MINOR)\s+(\d+)", file.read_text(encoding="utf-8")))
    if len(said) != 2:
        raise ValueError(f"{file}: expected the headers of OpenSSL 3.0 or newer, found no OPENSSL_VERSION_MAJOR")
    return int(said["MAJOR"]), int(said["MINOR"])


def _version_of_library(code: bytes) -> tuple[int, int] | None:
    """What OpenSSL_version(OPENSSL_VERSION) would say, read without running it."""
    said = re.search(rb"OpenSSL (\d+)\.(\d+)\.\d+\w* +\d+ \w{3} \d{4}", code)
    return (int(said[1]), int(said[2])) if said else None


def exports(code: bytes) -> list[str]:
    """The names that a DLL exports (Microsoft's "PE Format", the .edata section). Raises ValueError for what is no
    DLL."""
    try:
        if code[:2] != b"MZ":
            raise ValueError("no MZ")
        (header,) = struct.unpack_from("<I", code, 0x3C)
        signature, sections, optional_size = struct.unpack_from("<4s2xH12xH", code, header)
        optional = header + 24
        (magic,) = struct.unpack_from("<H", code, optional)
        if signature != b"PE\0\0" or magic not in PE_DIRECTORIES:
            raise ValueError("no PE header")
        (table,) = struct.unpack_from("<I", code, optional + PE_DIRECTORIES[magic])
        first_section = optional + optional_size
        placed = [struct.unpack_from("<3I", code, first_section + 40 * at + 12) for at in range(sections)]

        def offset(address: int) -> int:
            """Where in the file is what will be at this address, relative to the image."""
            for start, size, raw in placed:
                if start <= address < start + size:
                    return int(raw + address - start)
            raise ValueError(f"address {address:#x} is in no section")

        count, _, names = struct.unpack_from("<3I", code, offset(table) + 24)
        where = struct.unpack_from(f"<{count}I", code, offset(names))
        return [code[(at := offset(address)) : code.index(b"\0", at)].decode("ascii") for address in where]
    except struct.error as error:
        raise ValueError(f"the file is cut short: {error}") from None


def with_setuptools(definition: Path, library: Path, architecture: str) -> None:
    """By the `lib` that belongs to the compiler that setuptools finds. Raises ValueError if it finds none."""
    from distutils.ccompiler import new_compiler  # setuptools', which runs this file
    from distutils.errors import DistutilsError

    compiler: Any = new_compiler()
    if compiler.compiler_type != "msvc":
        raise ValueError(f"expected Microsoft's compiler, found {compiler.compiler_type}; set OPENSSL_DIR")
    try:
        compiler.initialize()
        machine = f"/MACHINE:{architecture.upper()}"
        compiler.spawn([compiler.lib, "/NOLOGO", machine, f"/DEF:{definition}", f"/OUT:{library}"])
    except DistutilsError as error:
        raise ValueError(f"making {library}: {error}") from None
