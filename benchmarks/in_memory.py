"""TLS in memory against its limit and its peers: ``python -m benchmarks.in_memory``, run by ``make bench``.

One connection in one process, TLS 1.3 with AES-128-GCM and a P-256 certificate: what it costs to turn one message of
plaintext into wire, one message's wire into plaintext, and to shake hands, on either side, for the C loop, for txmembio
and for what else there is.
``docs/benchmarks.md`` says how to read the figures.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks import options as command_line
from benchmarks import report
from benchmarks.c_loop import CIPHER_SUITE, Library, build, c_contenders
from benchmarks.contenders import PYTHON_CONTENDERS, python_contender
from benchmarks.options import progress
from benchmarks.remote import RemoteLane, python_with_pyopenssl
from benchmarks.setting import machine, make_pem
from benchmarks.slices import ALL_WORKS, SIDES, BenchmarkError, Lane, LocalLane, Work

ROUNDS, QUICK_ROUNDS = 9, 3
"""Rounds: enough for quartiles; and enough to see that everything runs."""

SLICE_SECONDS, QUICK_SLICE_SECONDS = 0.06, 0.002
"""Seconds of each slice: several turns of the operating system's scheduler; and as little as can be timed."""


def _lanes(stack: ExitStack, without: set[str]) -> list[Lane]:
    """Builds the C loop, makes the certificate and starts every contender; *stack* ends it all."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    pem = make_pem(folder)
    path = build(folder)
    library = Library(path)
    lanes: list[Lane] = [LocalLane(contender) for contender in c_contenders(library, pem)]
    for key in PYTHON_CONTENDERS:
        if key in without:
            continue
        if key == "pyopenssl":
            lanes.append(RemoteLane(key, python_with_pyopenssl(), path, pem))
        else:
            lanes.append(LocalLane(python_contender(key, library, pem)))
        stack.callback(lanes[-1].close)
        if key.startswith("txmembio") and lanes[-1].library != library.version:
            raise BenchmarkError(
                f"txmembio runs with {lanes[-1].library}, the C loop with {library.version}: "
                "set OPENSSL_DIR to what it was when txmembio was built"
            )
    return lanes


def measure(lanes: Sequence[Lane], works: Sequence[Work], rounds: int, seconds: float) -> list[report.Sample]:
    """Has all of *lanes* do what they can of *works*, in turn, *rounds* times over."""
    for lane in lanes:
        progress(f"checking {lane.name}")
        lane.prepare([work for work in works if work.direction in lane.directions], seconds)
    samples = []
    for number in range(rounds):
        progress(f"round {number + 1} of {rounds}")
        # Another one goes first in each round: a slice is not always followed, or preceded, by the same other.
        turn = [*lanes[number % len(lanes) :], *lanes[: number % len(lanes)]]
        for work in works:
            for lane in turn:
                if work.direction in lane.directions:
                    done = lane.slice(work)
                    sample = report.Sample(number, lane.key, *work, done.messages, done.wall, done.cpu)
                    samples.append(sample)
    return samples


def _heading(where: dict[str, Any], rounds: int, seconds: float) -> str:
    return f"""\
TLS 1.3, {CIPHER_SUITE}, in memory; {where["python"]}, {where["platform"]}, {where["processors"]} processors.
{rounds} rounds, in each {seconds * 1000:g} ms for each contender and work; processor time for one message or handshake.
x: times the C loop's time, paired within each round: median (quartiles); 1.00 is as fast, less is faster.
"""


def main(arguments: list[str] | None = None) -> int:
    """The command line. The status is 0 whether or not an aim was met, 2 when nothing could be measured."""
    parser = command_line.parser("in_memory", __doc__, ROUNDS, QUICK_ROUNDS, PYTHON_CONTENDERS)
    parser.add_argument("--side", choices=SIDES, help="measure this side only")
    options = command_line.parse(parser, arguments)
    seconds = QUICK_SLICE_SECONDS if options.quick else SLICE_SECONDS
    works = [work for work in ALL_WORKS if options.side in (None, work.side)]
    where = machine()
    try:
        with ExitStack() as stack:
            lanes = _lanes(stack, set(options.without))
            samples = measure(lanes, works, options.rounds, seconds)
    except BenchmarkError as error:
        print(f"benchmarks.in_memory: {error}", file=sys.stderr)
        return 2

    results = report.Results(samples)
    names = {lane.key: lane.name for lane in lanes}
    outcomes = report.aims(results, names, lanes[0].library)
    text = "\n".join(
        (
            _heading(where, options.rounds, seconds),
            report.tables(results, {lane.key: f"{lane.name} ({lane.library})" for lane in lanes}),
            report.aims_table(outcomes),
        )
    )
    print(text)
    if options.markdown is not None:
        options.markdown.write_text(text)
    if options.json is not None:
        document = {
            "machine": where,
            "settings": {
                "rounds": options.rounds,
                "slice_seconds": seconds,
                "quick": options.quick,
                "cipher_suite": CIPHER_SUITE,
            },
            "contenders": [{"key": lane.key, "name": lane.name, "library": lane.library} for lane in lanes],
            "aims": outcomes,
            "summary": results.summary(),
            "samples": [sample._asdict() for sample in samples],
        }
        options.json.write_text(json.dumps(document, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
