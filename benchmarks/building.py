"""Compiles the benchmarks' own C, on demand, against the OpenSSL that txmembio has."""

from __future__ import annotations

import os
import runpy
import shlex
import subprocess
from pathlib import Path

from benchmarks.slices import BenchmarkError


def compile_c(source: Path, target: Path, *arguments: str) -> None:
    """Compiles *source* into *target*, with *arguments* for the compiler.

    txmembio's own build says which OpenSSL to link with, and how: given the same ``OPENSSL_DIR`` both have the same.
    ``CC`` names another compiler. Raises BenchmarkError with the compiler's words.
    """
    command = [*shlex.split(os.environ.get("CC", "cc")), "-O2", *arguments, str(source), "-o", str(target)]
    command += _openssl_arguments()
    try:
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise BenchmarkError(
            f"{source.name} needs a C compiler: no {command[0]!r} was found; CC can name one"
        ) from error
    if finished.returncode != 0:
        raise BenchmarkError(f"{source.name} was not built by {shlex.join(command)}:\n{finished.stderr}")


def _openssl_arguments() -> list[str]:
    """The compiler's arguments for what ``openssl_settings()`` in txmembio's build script decides for setuptools."""
    script = Path(__file__).parent.parent / "txmembio" / "_openssl" / "build.py"
    try:
        settings: dict[str, list[str]] = runpy.run_path(str(script))["openssl_settings"]()
    except ValueError as error:  # OPENSSL_DIR is wrong, and the message says how
        raise BenchmarkError(str(error)) from error
    return [
        *settings.get("extra_compile_args", []),
        *(f"-I{folder}" for folder in settings.get("include_dirs", [])),
        *settings.get("extra_objects", []),
        *(f"-L{folder}" for folder in settings.get("library_dirs", [])),
        *(f"-l{name}" for name in settings.get("libraries", [])),
        *settings.get("extra_link_args", []),
    ]
