"""A short run of the pump's fuzzer, under AddressSanitizer and UndefinedBehaviorSanitizer; ``make fuzz`` is the long one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNS = 400  # inputs; each is two connections and up to 64 events, about 10 ms with the sanitizers on


def openssl_flags() -> list[str]:
    """Where the compiler finds the OpenSSL that txmembio was built with."""
    found = subprocess.run(["pkg-config", "--cflags", "--libs", "openssl"], capture_output=True, text=True)
    return found.stdout.split() if found.returncode == 0 else ["-lssl", "-lcrypto"]


def test_pump_holds_its_invariants(tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    if sys.platform == "win32":
        pytest.skip("the sanitizers' flags are those of gcc and clang")
    folder = HERE.parents[1] / "txmembio" / "_openssl"
    if not folder.is_dir():
        pytest.skip("the C sources are not beside the tests: not a checkout")
    binary = tmp_path / "pump_fuzzer"
    sources = [folder / name for name in ("pump.c", "buffers.c", "callbacks.c", "certificates.c", "library.c", "ticket_keys.c")]
    build = subprocess.run(
        [
            compiler, "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra",
            "-Werror", "-DTXM_FUZZ_STANDALONE", f"-I{folder}", str(HERE / "pump_fuzzer.c"), *map(str, sources),
            "-o", str(binary), *openssl_flags(), "-ldl",
        ],
        capture_output=True,
        text=True,
    )  # fmt: skip
    if "cannot find" in build.stderr and "asan" in build.stderr:
        pytest.skip("no AddressSanitizer runtime (libasan) for this compiler")
    assert build.returncode == 0, build.stderr
    run = subprocess.run([str(binary), "1", str(RUNS)], capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-8000:]
    assert "every invariant held" in run.stdout
