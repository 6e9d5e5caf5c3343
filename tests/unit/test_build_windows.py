"""What build_windows.py decides, and where the extension's DLLs are looked for: on any system, with made-up files."""

from __future__ import annotations

import runpy
import struct
import sys
from collections.abc import Callable
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

import txmembio
from txmembio._openssl import dlls

SCRIPT = Path(txmembio.__file__).parent / "_openssl" / "build_windows.py"

BUILD: dict[str, Any] = runpy.run_path(str(SCRIPT))

OPENSSL_3_0 = b"OpenSSL 3.0.13 30 Jan 2024\0"


def a_dll(*names: str, text: bytes = b"", plus: bool = True) -> bytes:
    """A file that exports the names and nothing else: a header, one section, and in it the table (Microsoft's "PE
    Format"). PE32+, or PE32, which is for 32 bits."""
    magic, directories = (0x20B, 112) if plus else (0x10B, 96)
    optional = struct.pack("<H", magic).ljust(directories, b"\0") + struct.pack("<II", 0x1000, 0x1000)
    header = b"MZ".ljust(0x3C, b"\0") + struct.pack("<I", 0x40)
    header += b"PE\0\0" + struct.pack("<HH12xHH", 0x8664, 1, len(optional), 0x2022) + optional
    raw = len(header) + 40
    header += struct.pack("<8sIIII16x", b".edata", 0x1000, 0x1000, 0x1000, raw)
    at, pointers, texts = 0x1000 + 40 + 4 * len(names), b"", b""
    for name in names:
        pointers += struct.pack("<I", at + len(texts))
        texts += name.encode() + b"\0"
    table = struct.pack("<24xIII4x", len(names), 0, 0x1000 + 40) + pointers + texts
    return header + (table + text).ljust(0x1000, b"\0")


def headers(folder: Path, major: int = 3, minor: int = 0) -> Path:
    """A folder with as much of OpenSSL's headers as is looked at."""
    (folder / "openssl").mkdir(parents=True)
    (folder / "openssl" / "ssl.h").touch()
    lines = f"# define OPENSSL_VERSION_MAJOR  {major}\n# define OPENSSL_VERSION_MINOR  {minor}\n"
    (folder / "openssl" / "opensslv.h").write_text(lines)
    return folder


def python(folder: Path, *, text: bytes = OPENSSL_3_0, suffix: str = "-3") -> Path:
    """A CPython's folder, as far as it matters."""
    (folder / "DLLs").mkdir(parents=True)
    (folder / "DLLs" / f"libssl{suffix}.dll").write_bytes(a_dll("SSL_new", "SSL_read"))
    (folder / "DLLs" / f"libcrypto{suffix}.dll").write_bytes(a_dll("BIO_new", text=text))
    return folder


def settings(tmp_path: Path, platform: str = "win-amd64", **environment: str) -> dict[str, list[str]]:
    """What the build would do, with import libraries that hold what they are made of."""

    def make(definition: Path, library: Path, architecture: str) -> None:
        library.write_text(f"{architecture}\n{definition.read_text()}")

    found: dict[str, list[str]] = BUILD["openssl_settings"](
        environment, tmp_path / "python", platform, tmp_path / "build", make
    )
    return found


# Python's own


@pytest.mark.parametrize("suffix", ["-3", "-3-x64", "-3-arm64"])
def test_import_libraries_are_made_of_pythons_own_dlls(tmp_path: Path, suffix: str) -> None:
    python(tmp_path / "python", suffix=suffix)
    include = headers(tmp_path / "include")
    found = settings(tmp_path, OPENSSL_INCLUDE_DIR=str(include))
    assert found["include_dirs"] == [str(include)]
    libraries = [Path(name) for name in found["extra_objects"]]
    assert [path.name for path in libraries] == [f"libssl{suffix}.lib", f"libcrypto{suffix}.lib"]
    assert libraries[0].read_text() == f"x64\nLIBRARY libssl{suffix}.dll\nEXPORTS\n    SSL_new\n    SSL_read\n"


def test_neither_variable(tmp_path: Path) -> None:
    python(tmp_path / "python")
    with pytest.raises(ValueError, match="neither OPENSSL_DIR nor OPENSSL_INCLUDE_DIR is set; expected"):
        settings(tmp_path)


def test_a_folder_without_headers(tmp_path: Path) -> None:
    python(tmp_path / "python")
    with pytest.raises(ValueError, match=r"OPENSSL_INCLUDE_DIR=.*: expected openssl/opensslv.h in it, found none"):
        settings(tmp_path, OPENSSL_INCLUDE_DIR=str(tmp_path))
    (tmp_path / "openssl").mkdir()
    (tmp_path / "openssl" / "opensslv.h").write_text("# define OPENSSL_VERSION_NUMBER 0x1010117fL\n")
    with pytest.raises(ValueError, match=r"expected the headers of OpenSSL 3.0 or newer"):
        settings(tmp_path, OPENSSL_INCLUDE_DIR=str(tmp_path))


@pytest.mark.parametrize(
    ("major", "minor", "text", "fits"),
    [
        (3, 0, b"OpenSSL 3.0.13 30 Jan 2024", True),
        (3, 0, b"OpenSSL 3.5.4 30 Sep 2025", True),
        (3, 5, b"OpenSSL 3.0.13 30 Jan 2024", False),
        (4, 0, b"OpenSSL 3.5.4 30 Sep 2025", False),
        (3, 5, b"OpenSSL 4.0.0 1 Apr 2026", False),
    ],
)
def test_headers_of_another_version(tmp_path: Path, major: int, minor: int, text: bytes, fits: bool) -> None:
    """The same rule as at import: the same major version, and a library that is not the older one."""
    python(tmp_path / "python", text=text)
    include = headers(tmp_path / "include", major, minor)
    if fits:
        assert settings(tmp_path, OPENSSL_INCLUDE_DIR=str(include))["extra_objects"]
    else:
        with pytest.raises(ValueError, match=f"found those of {major}.{minor}"):
            settings(tmp_path, OPENSSL_INCLUDE_DIR=str(include))


@pytest.mark.parametrize(
    ("suffix", "text", "said"),
    [
        ("-1_1", b"OpenSSL 1.1.1t  7 Feb 2023", "expected OpenSSL 3.0 or newer, found 1.1; set OPENSSL_DIR"),
        ("-3", b"nothing of the kind", "found one that does not tell its version"),
    ],
)
def test_a_python_whose_openssl_will_not_do(tmp_path: Path, suffix: str, text: bytes, said: str) -> None:
    python(tmp_path / "python", suffix=suffix, text=text)
    with pytest.raises(ValueError, match=said):
        settings(tmp_path, OPENSSL_INCLUDE_DIR=str(headers(tmp_path / "include")))


def test_a_python_without_openssl(tmp_path: Path) -> None:
    include = str(headers(tmp_path / "include"))
    with pytest.raises(ValueError, match=r"DLLs: expected one libssl-.*, found none; set OPENSSL_DIR"):
        settings(tmp_path, OPENSSL_INCLUDE_DIR=include)
    python(tmp_path / "python")
    (tmp_path / "python" / "DLLs" / "libssl-9.dll").touch()
    with pytest.raises(ValueError, match=r"found libssl-3.dll, libssl-9.dll"):
        settings(tmp_path, OPENSSL_INCLUDE_DIR=include)


# OPENSSL_DIR


@pytest.mark.parametrize(
    ("platform", "libraries"),
    [
        ("win-amd64", ["lib/VC/x64/MD/libssl_static.lib", "lib/VC/x64/MD/libcrypto_static.lib"]),
        ("win32", ["lib/VC/x86/MD/libssl.lib", "lib/VC/x86/MD/libcrypto.lib"]),
        ("win-arm64", ["lib/VC/arm64/MD/libssl.lib", "lib/VC/arm64/MD/libcrypto.lib"]),
        ("win-amd64", ["lib/VC/static/libssl64MD.lib", "lib/VC/static/libcrypto64MD.lib"]),
        ("win32", ["lib/VC/libssl32MD.lib", "lib/VC/libcrypto32MD.lib"]),
        ("win-amd64", ["lib/libssl_static.lib", "lib/libcrypto_static.lib"]),
        ("win-amd64", ["lib/libssl.lib", "lib/libcrypto.lib"]),
        ("win-amd64", ["libssl.lib", "libcrypto.lib"]),
        ("win-amd64", ["lib/libssl.a", "lib/libcrypto.a"]),
        ("win-amd64", ["lib/libssl.dll.a", "lib/libcrypto.dll.a"]),
    ],
)
def test_layouts(tmp_path: Path, platform: str, libraries: list[str]) -> None:
    """Of the distributions that there are. With a space in the path, like that of Program Files."""
    chosen = tmp_path / "Program Files" / "OpenSSL"
    include = headers(chosen / "include")
    for name in libraries:
        (chosen / name).parent.mkdir(parents=True, exist_ok=True)
        (chosen / name).touch()
    found = settings(tmp_path, platform, OPENSSL_DIR=str(chosen), OPENSSL_INCLUDE_DIR="not looked at")
    assert found["extra_objects"] == [str(chosen / name) for name in libraries]
    assert found["include_dirs"] == [str(include)] and "ws2_32" in found["libraries"]


def test_archives_come_before_import_libraries(tmp_path: Path) -> None:
    headers(tmp_path / "include")
    (tmp_path / "lib").mkdir()
    for name in ("libssl.lib", "libcrypto.lib", "libssl_static.lib"):
        (tmp_path / "lib" / name).touch()
    half = settings(tmp_path, OPENSSL_DIR=str(tmp_path))["extra_objects"]
    assert [Path(name).name for name in half] == ["libssl.lib", "libcrypto.lib"]
    (tmp_path / "lib" / "libcrypto_static.lib").touch()
    both = settings(tmp_path, OPENSSL_DIR=str(tmp_path))["extra_objects"]
    assert [Path(name).name for name in both] == ["libssl_static.lib", "libcrypto_static.lib"]


def test_a_folder_that_is_no_openssl(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"OPENSSL_DIR=.*: expected include/openssl/ssl.h in it, found none"):
        settings(tmp_path, OPENSSL_DIR=str(tmp_path))
    headers(tmp_path / "include")
    with pytest.raises(ValueError, match=r"neither of lib/VC/x64/MD/libssl_static.lib, .*lib/libssl.lib.* with its"):
        settings(tmp_path, OPENSSL_DIR=str(tmp_path))
    with pytest.raises(ValueError, match="platform 'mingw_x86_64': expected one of win-amd64, win32, win-arm64"):
        settings(tmp_path, "mingw_x86_64", OPENSSL_DIR=str(tmp_path))


# Reading DLLs


@pytest.mark.parametrize("plus", [True, False])
def test_exports(plus: bool) -> None:
    assert BUILD["exports"](a_dll("a", "SSL_new", "_c", plus=plus)) == ["a", "SSL_new", "_c"]
    assert BUILD["exports"](a_dll(plus=plus)) == []


def test_what_is_no_dll() -> None:
    whole = a_dll("SSL_new")
    for broken in (b"", b"MZ", b"\x7fELF" + bytes(200), whole[:100], whole[:0x40] + b"XX" + whole[0x42:]):
        with pytest.raises(ValueError, match=r"no MZ|no PE header|cut short"):
            BUILD["exports"](broken)
    # A table in no section, and a name without an end.
    with pytest.raises(ValueError, match="address 0x9000000 is in no section"):
        BUILD["exports"](whole.replace(struct.pack("<II", 0x1000, 0x1000), struct.pack("<II", 0x9000000, 0x1000), 1))


# Finding DLLs


@pytest.fixture
def on_windows(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[str]:
    """Makes this a Windows; the folders that DLLs are looked for in, as they are added and taken away."""
    said: list[str] = []

    @contextmanager
    def add(folder: str) -> Any:
        said.append(f"+{folder}")
        yield
        said.append(f"-{folder}")

    monkeypatch.setattr(dlls, "PLATFORM", "win32")
    monkeypatch.setattr("os.add_dll_directory", add, raising=False)
    monkeypatch.setattr(sys, "base_prefix", str(tmp_path))
    return said


def test_pythons_folder_is_looked_in_while_the_extension_is_imported(on_windows: list[str], tmp_path: Path) -> None:
    with dlls.within_reach(str(tmp_path)):
        assert on_windows == []  # an embedded Python has no such folder
    folder = tmp_path / "DLLs"
    folder.mkdir()
    with dlls.within_reach(str(tmp_path)):
        assert on_windows == [f"+{folder}"]
    assert on_windows == [f"+{folder}", f"-{folder}"]


def load(package: Path, error: Callable[[], ImportError]) -> None:
    with dlls.within_reach(str(package)):
        raise error()


def failed() -> ImportError:
    return ImportError("DLL load failed while importing _lib: The specified module could not be found.")


def test_what_cannot_be_loaded_is_named(on_windows: list[str], tmp_path: Path) -> None:
    (tmp_path / "_lib.pyd").write_bytes(b"KERNEL32.dll\0libcrypto-3-x64.dll\0libssl-3-x64.dll\0libssl-3-x64.dll\0")
    with pytest.raises(ImportError) as caught:
        load(tmp_path, failed)
    text = str(caught.value)
    assert text.startswith("DLL load failed while importing _lib: The specified module could not be found.")
    assert "it needs libssl-3-x64.dll and libcrypto-3-x64.dll, looked for in" in text
    assert str(tmp_path / "DLLs") in text and "os.add_dll_directory()" in text and "\n" not in text


def test_other_trouble_is_left_as_it_is(on_windows: list[str], tmp_path: Path) -> None:
    with pytest.raises(ModuleNotFoundError, match="No module"):
        load(tmp_path, lambda: ModuleNotFoundError("No module named 'txmembio._openssl._lib'"))
    with pytest.raises(ImportError, match=r"could not be found\.$"):  # there is no file to read
        load(tmp_path, failed)
    (tmp_path / "_lib.pyd").write_bytes(b"KERNEL32.dll\0")  # linked statically
    with pytest.raises(ImportError, match=r"could not be found\.$"):
        load(tmp_path, failed)


def test_elsewhere_nothing_is_done(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(dlls, "PLATFORM", "linux")
    with pytest.raises(ImportError, match=r"could not be found\.$"):
        load(tmp_path, failed)
