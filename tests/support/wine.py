"""Programs on the bed of wine_bed.py: the Windows CPython, with the txmembio of the checkout."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from .process import Process
from .wine_bed import CHECKOUT, Bed, windows_path

#: Seconds for a program, on a machine that does much else: only so that a hang becomes a failure.
DEADLINE = 300.0

KEEPS_THE_DESKTOP = """
from twisted.internet import reactor
print("there", flush=True)
input()
"""
"""A program that wants a desktop, until it is told to end. Wine starts `explorer.exe` for the first that does, with the
pipes of that program, and ends it a few seconds after the last: whoever reads from these pipes waits until then."""


class Wine:
    """Runs Windows' Python on a bed."""

    def __init__(self, bed: Bed) -> None:
        self.bed = bed

    def run(self, *arguments: str, deadline: float = DEADLINE, path: tuple[Path, ...] = ()) -> tuple[int, str, str]:
        """The exit status of `python.exe` with these arguments, what it has printed, and what it has complained of. The
        folders of `path` come first on `sys.path`. At the deadline it is ended, with what it has started, and the test
        fails.
        """
        popen = subprocess.Popen(
            [*self._python(), *arguments],
            # Pipes all three: CPython cannot use files and /dev/null as its standard streams under wine.
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=self._environment(path),
            cwd=self.bed.folder,  # which `-c` and `-m` put first on the path
            start_new_session=True,
        )
        try:
            output, errors = popen.communicate(b"", timeout=deadline)
        except subprocess.TimeoutExpired:
            os.killpg(popen.pid, signal.SIGKILL)
            output, errors = popen.communicate()
            said = _text(output) + _text(errors)
            raise AssertionError(f"python.exe {' '.join(arguments)}: not done in {deadline} s:\n{said}") from None
        return popen.returncode, _text(output), _text(errors)

    def start(self, *arguments: str) -> Process:
        """`python.exe`, to be listened to, and stopped by its `with` block."""
        return Process([*self._python(), *arguments], env=self._environment(()), cwd=self.bed.folder)

    def version(self) -> str:
        """Wine's own."""
        return subprocess.run(["wine", "--version"], capture_output=True, text=True, check=True).stdout.strip()

    def _python(self) -> list[str]:
        return ["wine", str(self.bed.python / "python.exe")]

    def _environment(self, path: tuple[Path, ...]) -> dict[str, str]:
        site = self.bed.site
        # pywin32 names its two folders in a .pth file, which nobody reads where `pip install --target` puts it.
        folders = [*path, self.bed.tree, site, site / "win32", site / "win32" / "lib"]
        # What is for the Pythons and the OpenSSL of this side says nothing to those of the other.
        others = ("PYTHON", "PIP_", "SSL_CERT_", "OPENSSL_", "TXMEMBIO_", "PYTEST_", "COV_")
        return {
            **{name: value for name, value in self.bed.environment().items() if not name.startswith(others)},
            "PYTHONPATH": ";".join(map(windows_path, folders)),
            # Beside the sources, Linux's Python would find files whose code says that it is on drive Z.
            "PYTHONPYCACHEPREFIX": windows_path(self.bed.folder / "pycache"),
            "PYTHONUTF8": "1",
            "PYTHONUNBUFFERED": "1",
        }


@contextmanager
def running(bed: Bed) -> Iterator[Wine]:
    """Wine's server for this bed, and what it starts besides the programs, a desktop among them: those would otherwise
    hold the pipes of the one they are started for. Ends all that runs on this bed after the block.
    """
    wine = Wine(bed)
    keeper = None

    def quietly(*command: str) -> None:
        nothing = subprocess.DEVNULL
        subprocess.run(
            command, env=bed.environment(), stdin=nothing, stdout=nothing, stderr=nothing, check=True, timeout=DEADLINE
        )

    quietly("wineserver", "--persistent")
    try:
        quietly("wine", "cmd", "/c", "exit")
        keeper = wine.start("-c", KEEPS_THE_DESKTOP)
        keeper.wait_for("there")
        yield wine
    finally:
        quietly("wineserver", "--kill")
        if keeper is not None:
            keeper.stop()


def checkout(*parts: str) -> str:
    """A file or folder of the checkout, as programs under wine call it."""
    return windows_path(CHECKOUT.joinpath(*parts))


def _text(output: bytes) -> str:
    return output.decode("utf-8", "replace").replace("\r\n", "\n")
