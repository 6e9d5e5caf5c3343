"""A Redis of the test's own, which keeps nothing on disk, and can be killed and started again."""

from __future__ import annotations

from pathlib import Path

from . import peers
from .process import Process
from .waiting import free_port, wait_for_port


class Redis:
    """`redis-server` on a free port of 127.0.0.1, until the `with` block ends."""

    def __init__(self, folder: Path) -> None:
        self._program = peers.require("redis-server")
        self._folder = folder
        self.port = free_port()
        self._process: _Killable | None = None

    def start(self) -> None:
        """Start it, without data, and wait until it listens."""
        command = [self._program, "--port", str(self.port), "--bind", "127.0.0.1", "--dir", str(self._folder)]
        self._process = _Killable([*command, "--save", "", "--appendonly", "no"])
        wait_for_port(self._process, self.port)

    def kill(self) -> None:
        """End it at once, and all that it knew."""
        assert self._process is not None
        self._process.kill()
        self._process = None

    def __enter__(self) -> Redis:
        self.start()
        return self

    def __exit__(self, *error: object) -> None:
        if self._process is not None:
            self._process.stop()


class _Killable(Process):
    def kill(self) -> None:
        self._popen.kill()
        self.stop()
