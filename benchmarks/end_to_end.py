"""What connections cost a server, sockets and event loop included: ``python -m benchmarks.end_to_end``.

Each contender is a server in a process of its own. In every round each of them does each kind of work, in turn, for the
same clients (``load.c``, and wrk for HTTP), while its processor time is looked at. ``docs/benchmarks.md`` says how that
is done, ``docs/performance.md`` what came of it.
"""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import trustme

from benchmarks import end_to_end_aims as aims
from benchmarks import options as command_line
from benchmarks.building import compile_c
from benchmarks.c_loop import CIPHER_SUITE, CLoop, Library, Mode, build
from benchmarks.end_to_end_contenders import CONTENDERS, CONTENDERS_BY_KEY, HANDSHAKES_ONLY, Contender, Starter
from benchmarks.end_to_end_report import C_LOOP, Results, Sample, busy_loads, family_tables
from benchmarks.end_to_end_works import GB, MEMORY_FIGURES, WORKS, WORKS_BY_KEY, Work
from benchmarks.options import progress
from benchmarks.processes import Load, OpenSSLServer, Server, fetch, processors
from benchmarks.setting import machine, make_pem, versions
from benchmarks.slices import BenchmarkError, LocalLane
from benchmarks.slices import Work as InMemory

ROUNDS, QUICK_ROUNDS = 5, 1
"""Rounds: enough for an interval around a median; and enough to see that everything runs."""

MEMORY_ROUNDS = 2
"""Rounds, at most, in which memory is measured: it is the same every time but for a few hundredths."""

C_LOOP_SECONDS, QUICK_C_LOOP_SECONDS = 0.06, 0.002
"""Seconds of each of the C loop's slices."""

WARM_CONNECTIONS = 50
"""Connections that a server has had, and lost, before its memory is looked at: what it makes once is made."""


class Entrant:
    """A contender that takes part: its server of this round, made anew for each. Where in memory its code and data lie
    makes a difference of some hundredths, which is another one in each process.
    """

    def __init__(self, contender: Contender, starter: Starter, program: Path, quick: bool) -> None:
        self.contender = contender
        self._quick = quick
        self._starter = starter
        self._program = program
        self._server: Server | OpenSSLServer | None = None
        server = self._begin()
        self.library = server.library
        self.over = server.over
        self.mapped = server.mapped() if contender.tls else []

    def _begin(self) -> Server | OpenSSLServer:
        if self._server is None:
            self._server = self._starter.start(self.contender)
        return self._server

    def does(self, work: Work) -> bool:
        """Whether this contender has such work."""
        if self.contender.key == HANDSHAKES_ONLY:
            return work.mode in ("handshake", "resume")
        return self.contender.does(work.who)

    def measure(self, work: Work, number: int) -> list[Sample]:
        """Does *work* once, in round *number*."""
        if work.mode == "idle":
            return self._idle(work, number)
        server, key = self._begin(), self.contender.key
        certificate = ("ecdsa", "rsa").index(work.certificate)
        if work.mode == "web":
            url = f"http{'s' * self.contender.tls}://127.0.0.1:{server.web}/"
            before = server.cpu()
            requests, done = fetch(url, work.connections, work.amount)
            return [Sample(number, key, work.key, requests, server.cpu() - before, done.wall, done.cpu)]
        with self._load(work, server.ports[certificate], work.connections) as load:
            before = server.cpu(certificate)
            done = load.go()
            cpu = server.cpu(certificate) - before
        if work.mode == "latency":
            figures = {"p50": done.median, "p99": done.tail}
            return [
                Sample(number, key, f"{work.key}-{name}", 1, seconds, done.wall, done.cpu)
                for name, seconds in figures.items()
            ]
        samples = [Sample(number, key, work.key, work.units, cpu, done.wall, done.cpu)]
        if work.mode == "writes" and self.contender.tls:
            samples.append(Sample(number, key, f"{work.key}-records", work.units, done.records))
        return samples

    def _load(self, work: Work, port: int, connections: int) -> Load:
        return Load(self._program, self.contender.tls, port, work.mode, connections, work.amount, work.size, work.rate)

    def _idle(self, work: Work, number: int) -> list[Sample]:
        """On a server of its own: in one that has worked already, connections lie where others left room."""
        if not self._quick:
            self.close()
        server = self._begin()
        assert isinstance(server, Server)
        self._load(work, server.ports[0], min(WARM_CONNECTIONS, work.connections)).close()
        before = server.memory()
        with self._load(work, server.ports[0], work.connections):
            after = server.memory()
        if not self._quick:
            self.close()
        return [
            Sample(number, self.contender.key, figure, work.units, after[name] - before[name])
            for name, figure in MEMORY_FIGURES.items()
        ]

    def close(self) -> None:
        """Ends the server."""
        if self._server is not None:
            self._server.close()
        self._server = None


class Limit:
    """The C loop in this process: the same work in memory, so what the ciphers alone take."""

    name = "C loop, in memory"

    def __init__(self, library: Library, pem: Path, seconds: float) -> None:
        self.library = library.version
        self._lane = LocalLane(CLoop(C_LOOP, self.name, library, pem, Mode.BARE))
        self._lane.prepare([InMemory(*each) for each in sorted({each for w in WORKS for each in w.in_memory})], seconds)

    def measure(self, work: Work, number: int) -> Sample:
        """One message of each kind that *work* has in memory, in the units of that work."""
        cpu = wall = 0.0
        for each in work.in_memory:
            done = self._lane.slice(each)
            scale = 1 if work.mode == "echo" else GB / each.size
            cpu, wall = cpu + done.cpu / done.messages * scale, wall + done.wall / done.messages * scale
        return Sample(number, C_LOOP, work.key, 1, cpu, wall)


def measure(entrants: Sequence[Entrant], limit: Limit, works: Sequence[Work], rounds: int) -> list[Sample]:
    """Has all of *entrants* do all of *works*, in turn, *rounds* times over, or until it is interrupted."""
    samples: list[Sample] = []
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        # Another one goes first in each round: nobody always follows, or precedes, the same other.
        first = number % len(entrants)
        try:
            samples += _round([*entrants[first:], *entrants[:first]], limit, works, number)
        except KeyboardInterrupt:
            if not samples:
                raise
            progress(f"interrupted in round {number + 1}, which does not count")
            break
    return samples


def _round(turn: Sequence[Entrant], limit: Limit, works: Sequence[Work], number: int) -> list[Sample]:
    samples = []
    for work in works:
        if work.mode == "idle" and number >= MEMORY_ROUNDS:
            continue
        for entrant in turn:
            if entrant.does(work):
                samples += entrant.measure(work, number)
        if work.in_memory:
            samples.append(limit.measure(work, number))
    for entrant in turn:
        entrant.close()
    return samples


def taking_part(
    wanted: Iterable[Contender], starter: Starter, program: Path, quick: bool
) -> tuple[list[Entrant], dict[str, str]]:
    """Those of *wanted* that can be started, and for the others, by key, why not."""
    entrants, absent = [], {}
    for contender in wanted:
        progress(f"starting {contender.key}")
        try:
            entrants.append(Entrant(contender, starter, program, quick))
        except BenchmarkError as error:
            absent[contender.key] = str(error)
            progress(f"{contender.key} is left out: {error}")
    if not entrants:
        raise BenchmarkError("there is nobody to measure")
    return entrants, absent


def heading(document: dict[str, Any]) -> str:
    where, settings = document["machine"], document["settings"]
    usual = next(each["library"] for each in document["contenders"] if each["key"] == C_LOOP)
    others = [each for each in document["contenders"] if each["library"] not in (None, usual)]
    lines = [
        f"TLS 1.3, {settings['cipher_suite']}, over loopback; {where['python']}, {where['versions']},",
        f"{where['platform']}, {where['processors']} processors{where['pinned']}.",
        f"{settings['rounds']} rounds; the server's processor time, user and system, for one unit: medians. Ratios and",
        "differences are taken within each round, with their [95 % confidence interval].",
        "",
    ]
    lines.append(f"The libssl of all is {usual}{', but for these:' if others else '.'}")
    lines += [f"- {each['name']}: {each['library']}" for each in others]
    lines += [f"- over it, {each['name']}: {each['over']}" for each in document["contenders"] if each["over"]]
    lines += [f"- left out: {key} ({reason})" for key, reason in document["absent"].items()]
    return "\n".join(lines) + "\n"


def render(document: dict[str, Any]) -> str:
    """Markdown of all there is in *document*, which is what stands in the JSON."""
    results = Results(Sample(**sample) for sample in document["samples"])
    names = {each["key"]: each["name"] for each in document["contenders"]}
    tables = ["### Figures", "", family_tables(results, names), busy_loads(results, names)]
    return "\n".join([heading(document), *tables, "### Aims", "", aims.table(document["aims"])])


def _document(
    entrants: Sequence[Entrant], limit: Limit, absent: dict[str, str], samples: list[Sample]
) -> dict[str, Any]:
    where = machine()
    where["versions"] = versions("twisted", "tornado", "uvloop", "aiofastnet")
    where["pinned"] = ", servers and load on one each" if processors() else ""
    everyone: list[dict[str, Any]] = [
        {
            "key": entrant.contender.key,
            "name": entrant.contender.name,
            "over": entrant.over,
            "library": entrant.library,
            "mapped": entrant.mapped,
        }
        for entrant in entrants
    ]
    everyone.append({"key": C_LOOP, "name": limit.name, "over": "", "library": limit.library, "mapped": []})
    names = {each["key"]: each["name"] for each in everyone}
    libraries = {each["key"]: each["library"] for each in everyone if each["library"]}
    results = Results(samples)
    return {
        "machine": where,
        "contenders": everyone,
        "absent": absent,
        "aims": aims.outcomes(results, names, libraries),
        "summary": results.summary(),
        "samples": [sample._asdict() for sample in samples],
    }


def main(arguments: list[str] | None = None) -> int:
    """The command line. The status is 0 whether or not an aim was met, 2 when nothing could be measured."""
    parser = command_line.parser("end_to_end", __doc__, ROUNDS, QUICK_ROUNDS, CONTENDERS_BY_KEY)
    parser.add_argument("--work", action="append", choices=WORKS_BY_KEY, help="only this; can be given more than once")
    parser.add_argument(
        "--only", action="append", choices=CONTENDERS_BY_KEY, help="only this contender; can be given more than once"
    )
    options = command_line.parse(parser, arguments)
    works = [work.scaled(options.quick) for work in WORKS if not options.work or work.key in options.work]
    wanted = [
        each
        for each in CONTENDERS
        if each.key not in options.without and (not options.only or each.key in options.only)
    ]
    try:
        if not sys.platform.startswith("linux"):
            raise BenchmarkError("end to end is measured on Linux: the load needs epoll, memory is read from /proc")
        with ExitStack() as stack:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
            pems = [make_pem(folder), make_pem(folder, trustme.KeyType.RSA)]
            program = folder / "load"
            compile_c(Path(__file__).parent / "load.c", program)
            limit = Limit(Library(build(folder)), pems[0], QUICK_C_LOOP_SECONDS if options.quick else C_LOOP_SECONDS)
            entrants, absent = taking_part(wanted, Starter(folder, pems), program, options.quick)
            for entrant in entrants:
                stack.callback(entrant.close)
            if shutil.which("wrk") is None and any(work.mode == "web" for work in works):
                absent["web"] = "wrk is not on PATH"
                works = [work for work in works if work.mode != "web"]
            samples = measure(entrants, limit, works, options.rounds)
    except BenchmarkError as error:
        print(f"benchmarks.end_to_end: {error}", file=sys.stderr)
        return 2
    document = _document(entrants, limit, absent, samples)
    rounds = max(sample.round for sample in samples) + 1
    document["settings"] = {"rounds": rounds, "quick": options.quick, "cipher_suite": CIPHER_SUITE}
    text = render(document)
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)
    if options.json is not None:
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
