"""The two processes of an end-to-end measurement: the server that is measured, and the load.

Where this process may run on two processors or more, the server has one of them and the load another, so that neither
is moved about and what the kernel does for one is not counted for the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import txmembio
from benchmarks.remote import ROOT, SECONDS_TO_END
from benchmarks.slices import BenchmarkError

PATIENCE = 300
"""Seconds that one work of one contender may take until it counts as hung; most take less than one."""


def processors() -> tuple[int, int] | None:
    """The processor of servers and the one of the load; None where there are not two."""
    if not hasattr(os, "sched_getaffinity"):
        return None
    allowed = sorted(os.sched_getaffinity(0))
    return (allowed[-1], allowed[0]) if len(allowed) > 1 else None


RUN = """import runpy, sys
sys.path[:] = [{where!r}, *filter(None, sys.path), {root!r}]
runpy.run_module({module!r}, None, '__main__', True)"""
# A module of the checkout's, and txmembio from where this process has it: the checkout, or where it is installed.


class Talk:
    """A process that is told something in a line, and answers in one."""

    def __init__(self, command: list[str], what: str, processor: int | None) -> None:
        self._what = what
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1
        )
        if processor is not None:
            os.sched_setaffinity(self._process.pid, {processor})

    def say(self, line: str) -> None:
        """Sends *line*."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it is gone: there is no answer, which says so
            self._process.stdin.write(line + "\n")

    def hear(self) -> str:
        """The next line. Raises BenchmarkError when the process ends instead, or says nothing for too long."""
        assert self._process.stdout is not None
        too_long = threading.Timer(PATIENCE, self._process.kill)
        too_long.start()
        try:
            line = self._process.stdout.readline()
        finally:
            too_long.cancel()
        if not line:
            raise BenchmarkError(f"{self._what} ended with status {self._process.wait()}; its own words are above")
        return line.strip()

    def close(self) -> None:
        """Ends it, by closing its input; kills it if it does not end."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Server:
    """A server that is measured: *module*'s, which is told *key* and *pem*."""

    def __init__(self, module: str, key: str, pem: Path) -> None:
        pinned = processors()
        where = str(Path(txmembio.__file__).parents[1])
        command = [sys.executable, "-c", RUN.format(where=where, root=str(ROOT), module=module), key, str(pem)]
        self._talk = Talk(command, f"{key}'s server", pinned and pinned[0])
        try:
            hello = json.loads(self._talk.hear())
        except BaseException:
            self.close()
            raise
        self.name: str = hello["name"]
        self.port: int = hello["port"]
        self.libraries: dict[str, str] = hello["libraries"]
        self.mapped: list[str] = hello["mapped"]

    def ask(self, question: str) -> Any:
        """Its answer: ``cpu`` in seconds, ``memory`` in bytes."""
        self._talk.say(question)
        return json.loads(self._talk.hear())

    def close(self) -> None:
        """Ends it."""
        self._talk.close()


class Load:
    """One run of the load, connected and warmed up once this is made; ``load.c`` says what its arguments are."""

    def __init__(
        self, program: Path, tls: bool, port: int, mode: str, connections: int, amount: int, size: int
    ) -> None:
        pinned = processors()
        command = [str(program), "tls" if tls else "plain", str(port), mode]
        command += [str(connections), str(amount), str(size)]
        self._talk = Talk(command, f"the load ({mode})", pinned and pinned[1])
        try:
            self._talk.hear()
        except BaseException:
            self.close()
            raise

    def go(self) -> tuple[float, float]:
        """Does the work; returns the seconds that took by the wall clock, and of the load's own processor time."""
        self._talk.say("go")
        _, wall, cpu = self._talk.hear().split()
        return int(wall) / 1e9, int(cpu) / 1e9

    def close(self) -> None:
        """Has it close its connections, and ends it."""
        self._talk.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()
