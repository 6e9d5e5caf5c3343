"""A contender in another process, in step with this one: pyOpenSSL, in a virtual environment of its own.

pyOpenSSL's wheel carries its own libssl, and its presence in txmembio's environment would hide a mistake there. So it
lives in ``.bench-venv``, made on demand; its worker runs a slice when it is asked for one, so that it takes its turn in
every round, and blocks on a pipe in between.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.slices import BenchmarkError, Direction, Slice, Work

ROOT = Path(__file__).resolve().parent.parent
"""The clone: where the worker imports ``benchmarks`` from."""

ENVIRONMENT = ROOT / ".bench-venv"
"""The virtual environment that pyOpenSSL is installed in."""

SECONDS_TO_END = 10
"""Seconds that a worker has to end in once its pipe is closed, before it is killed."""


def python_with_pyopenssl() -> Path:
    """The interpreter of the environment with pyOpenSSL in it, which is made if there is none.

    Raises BenchmarkError when it cannot be made, with the installer's words.
    """
    python = ENVIRONMENT / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    probe = [str(python), "-c", "import OpenSSL.SSL"]
    if python.exists() and subprocess.run(probe, capture_output=True, check=False).returncode == 0:
        return python
    print(f"making {ENVIRONMENT.name}, for pyOpenSSL", file=sys.stderr)
    for command in (
        [sys.executable, "-m", "venv", "--clear", str(ENVIRONMENT)],
        [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "pyopenssl"],
    ):
        finished = subprocess.run(command, capture_output=True, text=True, check=False)
        if finished.returncode != 0:
            raise BenchmarkError(
                f"{finished.stderr.strip()}\npyOpenSSL could not be installed in {ENVIRONMENT}; "
                "--without pyopenssl measures the others"
            )
    (ENVIRONMENT / ".gitignore").write_text("*\n")
    return python


class RemoteLane:
    """A contender that runs in a worker; :class:`~benchmarks.slices.Lane` says what the methods do."""

    def __init__(self, key: str, python: Path, library: Path, pem: Path) -> None:
        command = [str(python), "-m", "benchmarks.worker", key, str(library), str(pem)]
        self._worker = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        try:
            hello = self._answer()
        except BaseException:
            self.close()
            raise
        self.key = key
        self.name: str = hello["name"]
        self.library: str = hello["library"]
        self.directions: tuple[Direction, ...] = tuple(hello["directions"])

    def prepare(self, works: Sequence[Work], seconds: float) -> None:
        """See :class:`~benchmarks.slices.Lane`."""
        self._ask(works=works, seconds=seconds)

    def slice(self, work: Work) -> Slice:
        """See :class:`~benchmarks.slices.Lane`."""
        return Slice(*self._ask(work=work))

    def close(self) -> None:
        """See :class:`~benchmarks.slices.Lane`."""
        if self._worker.stdin is not None:
            self._worker.stdin.close()
        try:
            self._worker.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._worker.kill()
            self._worker.wait()
        if self._worker.stdout is not None:
            self._worker.stdout.close()

    def _ask(self, **question: Any) -> Any:
        assert self._worker.stdin is not None
        try:
            self._worker.stdin.write(json.dumps(question) + "\n")
            self._worker.stdin.flush()
        except BrokenPipeError:
            pass  # the worker is gone: there is no answer, which says so
        return self._answer()

    def _answer(self) -> Any:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            raise BenchmarkError(f"the worker ended with status {self._worker.wait()}; its own words are above")
        return json.loads(line)
