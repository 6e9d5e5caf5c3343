"""A short run of the pump's fuzzer under the Address- and UndefinedBehaviorSanitizers; `make fuzz` is the long one."""

from __future__ import annotations

import os
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
RUNS = 400  # inputs; each is two connections and up to 64 events, about 10 ms with the sanitizers on


def test_pump_holds_its_invariants(tmp_path: Path) -> None:
    compiler = shutil.which(os.environ.get("CC", "cc"))
    if compiler is None:
        pytest.skip("no C compiler (cc)")
    if sys.platform == "win32":
        pytest.skip("the sanitizers' flags are those of gcc and clang")
    folder = HERE.parents[1] / "txmembio" / "_openssl"
    if not folder.is_dir():
        pytest.skip("the C sources are not beside the tests: not a checkout")
    recipe = runpy.run_path(str(folder / "build.py"))
    settings = recipe["openssl_settings"]()
    binary = tmp_path / "pump_fuzzer"
    flags = [f"-I{include}" for include in (folder, *settings["include_dirs"])]
    libraries = [f"-L{where}" for where in settings["library_dirs"]] + [f"-l{name}" for name in settings["libraries"]]
    build = subprocess.run(
        [
            compiler, "-g", "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-Wall", "-Wextra",
            "-Werror", "-DTXM_FUZZ_STANDALONE", *flags, *settings["extra_compile_args"], str(HERE / "pump_fuzzer.c"),
            *map(str, recipe["sources"]()), "-o", str(binary), *settings["extra_objects"], *libraries,
            *settings["extra_link_args"], "-ldl",
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
