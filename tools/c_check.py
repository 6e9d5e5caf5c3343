"""Compiles our own C with every warning an error, by each compiler there is: ``make c-check``.

What includes Python's or valgrind's headers is left out where they are not installed. What cffi generates is not looked
at: it is not ours to mend. Exits 1 if a file does not pass, or if there is no compiler.
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

CHECKOUT = Path(__file__).parents[1]
BUILD_SCRIPT = CHECKOUT / "txmembio" / "_openssl" / "build.py"

LINUX_ONLY = ("epoll_server.c", "load.c")
"""Of the benchmarks, as they need epoll."""

COMPILERS = ("gcc", "clang")
"""Tried besides $CC."""

OPTIMISATION = "-O2"
"""Some warnings (a variable that may be uninitialised) need the optimiser's view of the code."""


VALGRIND = Path("/usr/include/valgrind/callgrind.h")
"""What counting.c includes."""


def _can_be_built(benchmark: Path) -> bool:
    if benchmark.name == "counting.c":
        return VALGRIND.is_file()
    return sys.platform.startswith("linux") or benchmark.name not in LINUX_ONLY


def main() -> int:
    build = runpy.run_path(str(BUILD_SCRIPT))
    settings = build["openssl_settings"]()
    flags = [OPTIMISATION, *build["STRICT"], *settings["extra_compile_args"]]
    flags += [f"-I{folder}" for folder in (build["FOLDER"], *settings["include_dirs"])]
    sources = build["sources"]()
    python = Path(sysconfig.get_path("include"))
    if (python / "Python.h").is_file():
        flags.append(f"-I{python}")
        sources += sorted((build["FOLDER"] / "fast").glob("*.c"))
    named = [os.environ["CC"]] if "CC" in os.environ else []
    compilers = [name for name in dict.fromkeys([*named, *COMPILERS]) if shutil.which(shlex.split(name)[0])]
    if not compilers:
        print(f"c-check: none of {', '.join([*named, *COMPILERS])} is on PATH", file=sys.stderr)
        return 1
    benchmarks = sorted((CHECKOUT / "benchmarks").glob("*.c"))
    sources += [path for path in benchmarks if _can_be_built(path)]
    passed = True
    for compiler in compilers:
        for source in sources:
            command = [*shlex.split(compiler), *flags, "-c", str(source), "-o", os.devnull]
            passed = subprocess.run(command).returncode == 0 and passed
        print(f"c-check: {compiler}: {' '.join(path.name for path in sources)}")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
