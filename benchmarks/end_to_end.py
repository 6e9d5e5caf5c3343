"""What connections cost a server, sockets and event loop included: ``python -m benchmarks.end_to_end``.

Each contender is a server in a process of its own. In every round each of them does each kind of work, in turn, for the
same clients (``load.c``), and is asked for the processor time it took. ``docs/benchmarks.md`` says how to read the
figures.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from benchmarks import end_to_end_report as report
from benchmarks.building import compile_c
from benchmarks.c_loop import CIPHER_SUITE, CLoop, Library, Mode, build
from benchmarks.end_to_end_report import C_LOOP, Sample
from benchmarks.processes import Load, Server, processors
from benchmarks.setting import machine, make_pem
from benchmarks.slices import BenchmarkError, LocalLane
from benchmarks.slices import Work as InMemory

GB = 1e9
"""Bytes."""

CONTENDERS = {
    "tornado-plain": "benchmarks.tornado_server",
    "tornado-ssl": "benchmarks.tornado_server",
    "tornado-txmembio": "benchmarks.tornado_server",
}
"""The module that is the server of each contender."""

ROUNDS, QUICK_ROUNDS = 15, 2
"""Rounds: enough for a narrow interval around a median; and enough to see that everything runs."""

MEMORY_ROUNDS = 5
"""Rounds, at most, in which memory is measured: it is the same every time but for a few hundredths."""

C_LOOP_SECONDS, QUICK_C_LOOP_SECONDS = 0.06, 0.002
"""Seconds of each of the C loop's slices."""


class Work(NamedTuple):
    """One kind of work: what ``load.c`` is told, how many units that is, and what it is in memory."""

    key: str
    mode: str
    connections: int
    amount: int
    quick_amount: int
    size: int
    units: float
    """What the figures are for one of: GB of plaintext, messages, connections; in *amount*."""
    in_memory: tuple[InMemory, ...] = ()
    """The same work for the C loop, so many bytes at a time, if it has it."""

    def scaled(self, quick: bool) -> tuple[int, int, float]:
        """Connections, amount and units of this run."""
        if not quick:
            return self.connections, self.amount, self.units
        if not self.amount:
            return self.quick_amount, 0, self.quick_amount
        return self.connections, self.quick_amount, self.units * self.quick_amount / self.amount


RECORD = 16384
"""Bytes of plaintext in a full record, as bulk data is sent."""

_DECRYPT, _ENCRYPT = (InMemory("decrypt", RECORD),), (InMemory("encrypt", RECORD),)
_BULK, _QUICK_BULK = 2**27, 2**21  # bytes: less than a tenth of a second; and as few as make sense

WORKS = (
    Work("up", "up", 1, _BULK, _QUICK_BULK, 0, _BULK / GB, _DECRYPT),
    Work("up-pieces", "up-pieces", 1, _BULK, _QUICK_BULK, 0, _BULK / GB, _DECRYPT),
    Work("down", "down", 1, _BULK, _QUICK_BULK, 2**16, _BULK / GB, _ENCRYPT),
    Work("down-large", "down", 1, _BULK, _QUICK_BULK, 2**20, _BULK / GB, _ENCRYPT),
    Work("echo", "echo", 50, 200, 10, 100, 50 * 200, (InMemory("decrypt", 100), InMemory("encrypt", 100))),
    Work("handshake", "handshake", 16, 300, 20, 0, 300),
    Work("resume", "resume", 16, 300, 20, 0, 300),
    Work("idle", "idle", 1000, 0, 20, 0, 1000),
)
"""Everything that is measured, in the order in which it is measured and shown."""

WARM_CONNECTIONS = 20
"""Connections that a server has had, and lost, before its memory is looked at: what it makes once is made."""


class Contender:
    """A server, made anew for each round: where in memory its code and data lie makes a difference of some hundredths,
    which is another one in each process.
    """

    def __init__(self, key: str, program: Path, pem: Path) -> None:
        self.key = key
        self.tls = not key.endswith("-plain")
        self._program = program
        self._pem = pem
        self._server = self._start()
        self.name = self._server.name
        self.libraries = self._server.libraries
        self.mapped = self._server.mapped

    def _start(self) -> Server:
        return Server(CONTENDERS[self.key], self.key, self._pem)

    def begin_round(self) -> None:
        """Has a new server."""
        self._server.close()
        self._server = self._start()

    def measure(self, work: Work, number: int, quick: bool) -> Sample:
        """Does *work* once, in round *number*."""
        connections, amount, units = work.scaled(quick)
        if work.mode == "idle":
            return self._idle(work, number, connections)
        with Load(self._program, self.tls, self._server.port, work.mode, connections, amount, work.size) as load:
            before = self._server.ask("cpu")
            wall, load_cpu = load.go()
            cpu = self._server.ask("cpu") - before
        return Sample(number, self.key, work.key, units, cpu, wall, load_cpu, None)

    def _idle(self, work: Work, number: int, connections: int) -> Sample:
        """On a server of its own: in one that has worked already, connections lie where others left room."""
        server = self._start()
        try:
            Load(self._program, self.tls, server.port, "idle", min(WARM_CONNECTIONS, connections), 0, 0).close()
            before, began = server.ask("memory"), server.ask("cpu")
            with Load(self._program, self.tls, server.port, "idle", connections, 0, 0):
                cpu = server.ask("cpu") - began
                memory = server.ask("memory") - before
        finally:
            server.close()
        return Sample(number, self.key, work.key, connections, cpu, 0.0, 0.0, memory)

    def close(self) -> None:
        """Ends the server."""
        self._server.close()


class Limit:
    """The C loop in this process: the same work in memory, so what the ciphers alone take."""

    key = C_LOOP
    name = "C loop, in memory"

    def __init__(self, library: Library, pem: Path, seconds: float) -> None:
        self.libraries = {"libssl": library.version}
        self._lane = LocalLane(CLoop(C_LOOP, self.name, library, pem, Mode.BARE))
        self._lane.prepare([InMemory(*each) for each in sorted({each for w in WORKS for each in w.in_memory})], seconds)

    def measure(self, work: Work, number: int, quick: bool) -> Sample:
        """One message of each kind that *work* has in memory, in the units of that work."""
        cpu = wall = 0.0
        for each in work.in_memory:
            done = self._lane.slice(each)
            scale = 1 if work.mode == "echo" else GB / each.size
            cpu, wall = cpu + done.cpu / done.messages * scale, wall + done.wall / done.messages * scale
        return Sample(number, self.key, work.key, 1, cpu, wall, 0.0, None)


def measure(
    contenders: Sequence[Contender],
    limit: Limit,
    works: Sequence[Work],
    rounds: int,
    quick: bool,
    progress: Callable[[str], None],
) -> list[Sample]:
    """Has all of *contenders* do all of *works*, in turn, *rounds* times over."""
    samples = []
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        for contender in contenders:
            contender.begin_round()
        # Another one goes first in each round: nobody always follows, or precedes, the same other.
        first = number % len(contenders)
        turn = [*contenders[first:], *contenders[:first]]
        for work in works:
            if work.mode == "idle" and number >= MEMORY_ROUNDS:
                continue
            samples += [contender.measure(work, number, quick) for contender in turn]
            if work.in_memory:
                samples.append(limit.measure(work, number, quick))
    return samples


def _same_libssl(contenders: Sequence[Contender], limit: Limit) -> bool:
    """Whether all TLS here is done by one file, and it is also what the C loop has."""
    mapped = {tuple(contender.mapped) for contender in contenders if contender.tls}
    versions = {version for contender in contenders for version in contender.libraries.values()}
    one_file = len(mapped) == 1 and len(next(iter(mapped))) == 1
    return one_file and versions == set(limit.libraries.values())


def _heading(where: dict[str, Any], libssl: str, rounds: int) -> str:
    return f"""\
TLS 1.3, {CIPHER_SUITE}, over loopback; {where["python"]}, {where["packages"]}, {where["platform"]},
{where["processors"]} processors{where["pinned"]}. {libssl}
{rounds} rounds; processor time of the server's process, user and system: median (quartiles). Ratios and differences
are taken within each round; ratios with their [95 % confidence interval].
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line. The status is 0 whether or not an aim was met, 2 when nothing could be measured."""
    keys = [work.key for work in WORKS]
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.end_to_end", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--quick", action="store_true", help="a smoke test of a few seconds: its figures mean little")
    parser.add_argument("--rounds", type=int, metavar="N", help=f"default {ROUNDS}, with --quick {QUICK_ROUNDS}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write raw rounds and all figures to FILE as well")
    parser.add_argument("--work", action="append", choices=keys, help="only this work; can be given more than once")
    parser.add_argument(
        "--without",
        action="append",
        default=[],
        choices=sorted(CONTENDERS),
        help="leave this contender out; can be given more than once",
    )
    options = parser.parse_args(arguments)
    rounds = options.rounds if options.rounds is not None else QUICK_ROUNDS if options.quick else ROUNDS
    if rounds < 1:
        parser.error(f"--rounds {rounds}: expected 1 or more")
    seconds = QUICK_C_LOOP_SECONDS if options.quick else C_LOOP_SECONDS
    works = [work for work in WORKS if not options.work or work.key in options.work]

    def progress(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        if not sys.platform.startswith("linux"):
            raise BenchmarkError("end to end is measured on Linux: the load needs epoll, memory is read from /proc")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pem = make_pem(folder)
            program = folder / "load"
            compile_c(Path(__file__).parent / "load.c", program)
            limit = Limit(Library(build(folder)), pem, seconds)
            contenders = []
            for key in CONTENDERS:
                if key not in options.without:
                    progress(f"starting {key}")
                    contenders.append(Contender(key, program, pem))
                    stack.callback(contenders[-1].close)
            samples = measure(contenders, limit, works, rounds, options.quick, progress)
    except BenchmarkError as error:
        print(f"benchmarks.end_to_end: {error}", file=sys.stderr)
        return 2

    one = _same_libssl(contenders, limit)
    files = sorted({file for contender in contenders if contender.tls for file in contender.mapped})
    version = limit.libraries["libssl"]
    libssl = f"{version}, the same {files[0]} for all." if one else f"NOT ONE libssl: {', '.join(files)}; {version}."
    where = machine()
    where["packages"] = report.packages("tornado")
    where["pinned"] = ", servers and load on one each" if processors() else ""
    results = report.Results(samples)
    everyone: list[Contender | Limit] = [*contenders, limit]
    names = {each.key: each.name for each in everyone}
    outcomes = report.aims(results, one)
    print(_heading(where, libssl, rounds))
    print(report.tables(results, names))
    print(report.aims_table(outcomes))
    if options.json is not None:
        document = {
            "machine": where,
            "settings": {"rounds": rounds, "quick": options.quick, "cipher_suite": CIPHER_SUITE, "same_libssl": one},
            "contenders": [{"key": each.key, "name": each.name, "libraries": each.libraries} for each in everyone],
            "aims": outcomes,
            "summary": results.summary(),
            "samples": [sample._asdict() for sample in samples],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
