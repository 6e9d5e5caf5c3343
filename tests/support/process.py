"""Programs that run beside a test: started, listened to, and stopped by their own process id.

Nothing sleeps. A test waits for something the program says, or for its end; `DEADLINE` only turns a hang into a failure
that says what was awaited.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import IO

import txmembio

#: Seconds until a test gives up on a silent peer: long enough for a loaded machine, short enough to see a hang.
DEADLINE = 60.0

#: Bytes asked of a pipe at once.
PIPE_READ_SIZE = 65536


def environment() -> dict[str, str]:
    """What a child Python needs to import the txmembio that is being tested, wherever the child's own folder is."""
    package_parent = str(Path(txmembio.__file__).parents[1])
    return {**os.environ, "PYTHONPATH": package_parent, "PYTHONUNBUFFERED": "1"}


class Process:
    """A running program. What it says is gathered in `output` (standard output) and `errors` as it comes."""

    def __init__(
        self,
        command: Sequence[str | os.PathLike[str]],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: dict[str, str] | None = None,
        pass_fds: Sequence[int] = (),
    ) -> None:
        self.name = os.path.basename(command[0])
        self._popen = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=cwd,
            env=env,
            bufsize=0,
            pass_fds=pass_fds,
        )
        self._news = threading.Condition()
        self._output = bytearray()
        self._errors = bytearray()
        self._open_pipes = 2
        assert self._popen.stdout is not None and self._popen.stderr is not None and self._popen.stdin is not None
        self.stdin = self._popen.stdin
        self._threads = [
            threading.Thread(target=self._gather, args=(self._popen.stdout, self._output)),
            threading.Thread(target=self._gather, args=(self._popen.stderr, self._errors)),
        ]
        for thread in self._threads:
            thread.start()

    @property
    def output(self) -> bytes:
        """Standard output so far."""
        with self._news:
            return bytes(self._output)

    @property
    def errors(self) -> str:
        """Standard error so far."""
        with self._news:
            return self._errors.decode("utf-8", "replace")

    def wait_for(self, pattern: str) -> re.Match[str]:
        """The first match of `pattern` in what the program said, on standard output or standard error."""
        compiled = re.compile(pattern)

        def match() -> re.Match[str] | None:
            text = (self._output + b"\n" + self._errors).decode("utf-8", "replace")
            return compiled.search(text)

        with self._news:
            self._news.wait_for(lambda: match() or not self._open_pipes, DEADLINE)
            found = match()
        if found is None:
            raise AssertionError(f"{self.name} never said {pattern!r}:\n{self.transcript()}")
        return found

    def wait_for_output(self, size: int) -> bytes:
        """Standard output once there are `size` bytes of it."""
        with self._news:
            self._news.wait_for(lambda: len(self._output) >= size or not self._open_pipes, DEADLINE)
            if len(self._output) >= size:
                return bytes(self._output)
        raise AssertionError(f"{self.name} wrote less than {size} bytes:\n{self.transcript()}")

    def wait(self) -> int:
        """The exit status, once the program ends by itself and all it said is here."""
        try:
            status = self._popen.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"{self.name} did not end:\n{self.transcript()}") from None
        for thread in self._threads:
            thread.join(DEADLINE)
        return status

    def running(self) -> bool:
        """Whether it still runs."""
        return self._popen.poll() is None

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._popen.send_signal(number)

    def transcript(self) -> str:
        """All it said, for the message of a failure."""
        return f"--- output\n{self.output.decode('utf-8', 'replace')}\n--- errors\n{self.errors}"

    def stop(self) -> None:
        """Stop it, if it still runs, and wait for its end."""
        self.stdin.close()
        if self.running():
            self._popen.terminate()
            try:
                self._popen.wait(DEADLINE)
            except subprocess.TimeoutExpired:
                self._popen.kill()
        self.wait()
        for pipe in (self._popen.stdout, self._popen.stderr):
            if pipe is not None:
                pipe.close()

    def __enter__(self) -> Process:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.stop()

    def _gather(self, pipe: IO[bytes], into: bytearray) -> None:
        while data := pipe.read(PIPE_READ_SIZE):
            with self._news:
                into += data
                self._news.notify_all()
        with self._news:
            self._open_pipes -= 1
            self._news.notify_all()


def python(*arguments: str | os.PathLike[str], cwd: str | os.PathLike[str] | None = None) -> Process:
    """This Python, with the txmembio that is being tested."""
    return Process([sys.executable, *arguments], cwd=cwd, env=environment())
