"""The two processes of an end-to-end measurement: the server that is measured, and the load.

Where this process may run on two processors or more, the server has one of them and the load another, so that neither
is moved about and what the kernel does for one is not counted for the other.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import resource
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

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


class Talk:
    """A process that is told something in a line, and answers in one."""

    def __init__(self, command: list[str], what: str, processor: int | None, stderr: int | None = None) -> None:
        self._what = what
        self._process = subprocess.Popen(
            command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=stderr, text=True, bufsize=1
        )
        self.pid = self._process.pid
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

    def close(self, at_once: bool = False) -> None:
        """Ends it, by closing its input, or *at_once*; kills it if it does not end."""
        if at_once:
            self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(SECONDS_TO_END)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def processor_seconds(pid: int) -> float:
    """Seconds of processor time that all threads of a process have used so far, in user mode and in the kernel.

    It is the clock that clock_getcpuclockid(3) names, with a resolution of nanoseconds (`/proc/PID/stat` has ticks of
    ten milliseconds). The number is as <linux/posix-timers.h> makes it: the process's complement, and CPUCLOCK_SCHED.
    """
    return time.clock_gettime((~pid << 3) | 2)


def memory(pid: int) -> dict[str, int]:
    """Bytes of a process's memory: ``pss``, with its share of what it shares with others, and ``rss``, with it all."""
    found = {}
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        for line in rollup:
            name, _, size = line.partition(":")
            if name in ("Pss", "Rss"):
                found[name.lower()] = int(size.split()[0]) * 1024
    return found


class Server:
    """A server that is measured: *command*, which says hello as :mod:`benchmarks.serving` has it."""

    def __init__(self, command: Sequence[str | Path], what: str, path: str = "") -> None:
        pinned = processors()
        self._talk = Talk([*map(str, command)], f"{what}'s server", pinned and pinned[0])
        try:
            hello = json.loads(self._talk.hear())
        except BaseException:
            self.close()
            raise
        self.ports: list[int] = hello["ports"]
        self.web: int | None = hello["web"]
        self.library: str | None = hello["library"]
        self.over: str = hello.get("over", "")

    def mapped(self) -> list[str]:
        """The files of libssl that are mapped into it: none if it has one linked into something else."""
        with open(f"/proc/{self._talk.pid}/maps") as maps:
            return sorted({line.split()[-1] for line in maps if "/libssl" in line})

    def cpu(self, certificate: int = 0) -> float:
        """Seconds of processor time so far."""
        return processor_seconds(self._talk.pid)

    def memory(self) -> dict[str, int]:
        """What :func:`memory` says, after what can be freed has been."""
        self._talk.say("settle")
        self._talk.hear()
        return memory(self._talk.pid)

    def close(self) -> None:
        """Ends it."""
        self._talk.close()


class OpenSSLServer:
    """``openssl s_server``, which says back every line reversed: one process for each certificate."""

    web = None
    over = ""

    def __init__(self, pems: Sequence[Path]) -> None:
        pinned = processors()
        version = subprocess.run(["openssl", "version"], capture_output=True, text=True, check=True).stdout
        self.library = version.partition(" (")[0].strip()
        self.ports = []
        self._talks: list[Talk] = []
        try:
            for pem in pems:
                command = ["openssl", "s_server", "-rev", "-accept", "127.0.0.1:0", "-cert", str(pem), "-key", str(pem)]
                self._talks.append(Talk(command, "openssl s_server", pinned and pinned[0], subprocess.DEVNULL))
                while not (line := self._talks[-1].hear()).startswith("ACCEPT"):
                    pass
                self.ports.append(int(line.rpartition(":")[2]))
        except BaseException:
            self.close()
            raise

    def mapped(self) -> list[str]:
        """See :class:`Server`."""
        with open(f"/proc/{self._talks[0].pid}/maps") as maps:
            return sorted({line.split()[-1] for line in maps if "/libssl" in line})

    def cpu(self, certificate: int = 0) -> float:
        """See :class:`Server`; of the process for this certificate."""
        return processor_seconds(self._talks[certificate].pid)

    def close(self) -> None:
        """Ends them."""
        for talk in self._talks:
            talk.close(at_once=True)


class Done(NamedTuple):
    """What a load says: seconds by the wall clock and of its own processor time, and what only some works have."""

    wall: float
    cpu: float
    median: float = 0.0
    """Seconds of latency, and the 99th percentile of it."""
    tail: float = 0.0
    records: int = 0


class Load:
    """One run of the load, connected and warmed up once this is made; ``load.c`` says what its arguments are."""

    def __init__(
        self, program: Path, tls: bool, port: int, mode: str, connections: int, amount: int, size: int, rate: int = 0
    ) -> None:
        pinned = processors()
        command = [str(program), "tls" if tls else "plain", str(port), mode]
        command += [str(connections), str(amount), str(size), str(rate)]
        self._talk = Talk(command, f"the load ({mode})", pinned and pinned[1])
        try:
            self._talk.hear()
        except BaseException:
            self.close()
            raise

    def go(self) -> Done:
        """Does the work."""
        self._talk.say("go")
        _, wall, cpu, median, tail, records = self._talk.hear().split()
        return Done(int(wall) / 1e9, int(cpu) / 1e9, int(median) / 1e9, int(tail) / 1e9, int(records))

    def close(self) -> None:
        """Has it close its connections, and ends it."""
        self._talk.close()

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self.close()


def fetch(url: str, connections: int, seconds: int) -> tuple[int, Done]:
    """The requests that wrk made of *url* in *seconds*, and what that took. Raises BenchmarkError if any went wrong."""
    pinned = processors()

    def pin() -> None:
        if pinned is not None:
            os.sched_setaffinity(0, {pinned[1]})

    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = ["wrk", "--threads", "1", "--connections", str(connections), "--duration", f"{seconds}s", url]
    finished = subprocess.run(command, capture_output=True, text=True, check=False, preexec_fn=pin)
    wall, after = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    made = re.search(r"(\d+) requests in", finished.stdout)
    if finished.returncode != 0 or made is None or re.search("Socket errors|Non-2xx", finished.stdout):
        raise BenchmarkError(f"wrk failed on {url}:\n{finished.stdout}{finished.stderr}")
    used = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return int(made[1]), Done(wall, used)
