"""The in-memory scenarios in instructions instead of seconds: ``python -m benchmarks.instructions``.

callgrind (valgrind) counts what a message, or a handshake, takes. Two runs of the same code give the same figures, on a
busy machine too, so this is where a few per cent can be seen, and what ``--check`` compares with the figures that
``instructions.json`` holds. ``docs/benchmarks.md`` says what the figures can tell and what they cannot.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

import txmembio
from benchmarks import callgrind
from benchmarks.building import compile_c
from benchmarks.c_loop import build
from benchmarks.callgrind import PARTS
from benchmarks.counted import COUNTED, NOTHING, REFERENCE
from benchmarks.report import size_name
from benchmarks.setting import make_pem
from benchmarks.slices import BenchmarkError, Work

ROOT = Path(__file__).resolve().parent.parent
"""The clone."""

STORED = Path(__file__).with_suffix(".json")
"""The figures that ``--check`` compares with."""

BAND = 0.05
"""How much more than stored is too much, as a part of it."""

WIDE_BAND = 0.25
"""The same where the stored figure is another Python's, or another cffi's, and was made comparable by the reference."""

LOOSE_INSTRUCTIONS = 60
"""Instructions that a figure may be off by in any case: a part of a small figure is less than what is not the same in
every run (where memory happens to lie, and how long a chain of a hash table is)."""

LIMITS = ("c-bare", "c-copying")
CHECKED = ("txmembio", "txmembio-ssl")
SHOWN = ("txmembio", "txmembio-two", "txmembio-ssl", "ssl")

SECONDS = 300
"""Seconds after which callgrind counts as hung; it takes 20."""

RUN = (
    "import runpy, sys; sys.path.insert(0, {package!r}); sys.path.append({root!r});"
    " runpy.run_module('benchmarks.counted', run_name='__main__', alter_sys=True)"
)
"""The counted process has txmembio from where this one has it, installed or not."""


class Figure(NamedTuple):
    """Instructions for one message or handshake."""

    parts: dict[str, float]
    """By :data:`~benchmarks.callgrind.PARTS`."""
    crossings: float
    """Calls from Python into txmembio's extension."""

    @property
    def total(self) -> float:
        """All of them."""
        return sum(self.parts.values())

    @property
    def below(self) -> float:
        """OpenSSL's, and those that move and compare memory."""
        return self.parts["openssl"] + self.parts["memory"]


Figures = dict[tuple[str, Work], Figure]


class Tax(NamedTuple):
    """What a contender takes beside the C loop, in one run: the figures that are stored and compared."""

    instructions: float
    """What is neither OpenSSL's nor memory's, nor malloc()'s and locks' in the C loop: Python, cffi, our C."""
    relative: float
    """The same as a multiple of the reference's, which depends less on how Python and cffi were built."""
    below: float
    """OpenSSL's and memory's as a multiple of the C loop's: 1.00 if OpenSSL is called for nothing, and nothing is
    copied, but what the C loop does too."""
    crossings: float
    """Calls from Python into txmembio's extension."""


def count(asked: Mapping[str, Iterable[Work]], package: Path | None = None) -> Figures:
    """Runs callgrind: for each contender in *asked* these works, and the reference.

    *package* is the folder that has the ``txmembio`` to count, by default the one that is imported here. Raises
    BenchmarkError where that cannot be done.
    """
    valgrind = shutil.which("valgrind")
    if valgrind is None:
        raise BenchmarkError("no valgrind was found on PATH (the package valgrind has it)")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        pem, loop, counting = make_pem(folder), build(folder), folder / "counting.so"
        compile_c(Path(__file__).with_name("counting.c"), counting, "-shared", "-fPIC")
        code = RUN.format(package=str(package or Path(txmembio.__file__).parent.parent), root=str(ROOT))
        works = [f"{key}={','.join(str(COUNTED.index(work)) for work in works)}" for key, works in asked.items()]
        command = [
            valgrind,
            "--tool=callgrind",
            "--instr-atstart=no",
            "--collect-atstart=no",
            "--dump-line=no",
            "--compress-strings=no",
            "--compress-pos=no",
            f"--callgrind-out-file={folder / 'counted'}",
            *(sys.executable, "-c", code, str(loop), str(counting), str(pem), *works),
        ]
        # The order of sets, and so of what is done with them, is the same in every run.
        environment = {**os.environ, "PYTHONHASHSEED": "0", "PYTHONDONTWRITEBYTECODE": "1"}
        finished = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        if finished.returncode != 0:
            raise BenchmarkError(f"counting ended with status {finished.returncode}:\n{finished.stderr}")
        return _figures(callgrind.read(path) for path in folder.glob("counted.*"))


class _Counted(NamedTuple):
    """One of callgrind's files: what was done so many *times*, with the counter switched on *switched* times for it."""

    times: int
    switched: int
    parts: dict[str, int]
    crossings: int


def _figures(profiles: Iterable[callgrind.Profile]) -> Figures:
    """Figures for one message each, from counts of many."""
    found: dict[tuple[str, Work], list[_Counted]] = {}
    for profile in profiles:
        if not profile.name:
            continue  # what is written when the process ends
        contender, direction, size, side, done, switched = profile.name.split(":")
        counted = _Counted(int(done), int(switched), callgrind.by_part(profile.functions), profile.crossings)
        found.setdefault((contender, Work(direction, int(size), side)), []).append(counted)  # type: ignore[arg-type]
    nothing = max(found.pop((NOTHING, Work("encrypt", 0))), key=lambda counted: counted.times)
    figures = {}
    for (contender, work), several in found.items():
        most = max(several, key=lambda counted: counted.times)  # the others were to warm up
        once = next((each for each in several if each.times == 1), None)
        if once is not None:  # what one message takes is the difference, whatever the loop around it takes
            times, crossings = most.times - 1, most.crossings - once.crossings
            parts = {part: float(most.parts[part] - once.parts[part]) for part in PARTS}
        else:
            times, crossings = most.times, most.crossings
            # The C loop switches the counter itself, without the Python that this takes elsewhere.
            each = 0.0 if contender in LIMITS else most.switched / nothing.times
            parts = {part: most.parts[part] - each * nothing.parts[part] for part in PARTS}
        figures[contender, work] = Figure({part: parts[part] / times for part in PARTS}, crossings / times)
    return figures


def taxes(figures: Figures) -> dict[tuple[str, Work], Tax]:
    """The figures of txmembio's contenders beside the C loop's: the copying one's, for handshakes the bare one's."""
    reference = figures[REFERENCE, Work("encrypt", 64)].total
    found = {}
    for contender, work in ((contender, work) for contender in CHECKED for work in COUNTED):
        figure, limit = figures.get((contender, work)), figures.get(("c-copying" if work.size else "c-bare", work))
        if figure is not None and limit is not None:
            tax = figure.total - figure.below - limit.parts["libc"]
            found[contender, work] = Tax(tax, tax / reference, figure.below / limit.below, figure.crossings)
    return found


@cache
def environment() -> str:
    """What a tax in instructions depends on beside txmembio: this Python, this cffi and this C library."""
    interpreter = Path(os.path.realpath(sys.executable))
    shared = Path(sysconfig.get_config_var("LIBDIR") or "", sysconfig.get_config_var("INSTSONAME") or "")
    python = _digest(shared if shared.is_file() and sysconfig.get_config_var("Py_ENABLE_SHARED") else interpreter)
    cffi = _digest(Path(str(importlib.import_module("_cffi_backend").__file__)))
    implementation = f"{platform.python_implementation()} {platform.python_version()} ({python})"
    libc = " ".join(platform.libc_ver()).strip() or "another C library"
    return f"{implementation}, cffi {metadata.version('cffi')} ({cffi}), {libc}, {platform.machine()}"


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:10]


def work_name(work: Work) -> str:
    """*work* as people say it."""
    return f"{work.direction} {size_name(work.size)}" if work.size else f"{work.direction}, {work.side}"


def _name(contender: str, work: Work) -> str:
    return f"{contender}: {work_name(work)}"


def check(found: dict[tuple[str, Work], Tax], stored: dict[str, Any], where: str) -> tuple[list[str], list[str]]:
    """What is worse than stored, and what else there is to say: where nothing was stored, what is better."""
    problems, remarks = [], []
    anywhere: dict[str, dict[str, float]] = stored.get("anywhere", {})
    here: dict[str, float] | None = stored.get("environments", {}).get(where)
    if here is None:
        remarks.append(
            f"no figures are stored for {where}: instructions are compared by way of the reference, within "
            f"{WIDE_BAND:.0%}; `python -m benchmarks.instructions --update` stores this environment's"
        )

    def compare(name: str, what: str, now: float, before: float, band: float, loose: float, digits: int) -> None:
        text = f"{name}: {what} {now:.{digits}f}, stored {before:.{digits}f} ({now / before - 1:+.1%})"
        if now > before + max(before * band, loose):
            problems.append(f"{text}, at most {band:+.0%} is allowed")
        elif now < before - max(before * band, loose):
            remarks.append(f"{text}: better, and worth storing (--update)")

    for (contender, work), tax in found.items():
        name = _name(contender, work)
        if name not in anywhere:
            problems.append(f"{name}: nothing is stored; `python -m benchmarks.instructions --update` stores it")
            continue
        known = anywhere[name]
        compare(name, "calls into C", tax.crossings, known["crossings"], 0.0, 0.01, 2)
        compare(name, "OpenSSL and memory, times the C loop's,", tax.below, known["below"], BAND, 0.0, 3)
        if here is not None and name in here:
            compare(name, "Python, cffi and our C", tax.instructions, here[name], BAND, LOOSE_INSTRUCTIONS, 0)
        else:
            compare(name, "Python, cffi and our C, in references,", tax.relative, known["relative"], WIDE_BAND, 0.0, 3)
    return problems, remarks


def updated(found: dict[tuple[str, Work], Tax], stored: dict[str, Any], where: str) -> dict[str, Any]:
    """*stored* with these figures in it, and other environments' as they were."""
    anywhere = {
        _name(*key): {
            "crossings": round(tax.crossings, 2),
            "below": round(tax.below, 4),
            "relative": round(tax.relative, 3),
        }
        for key, tax in found.items()
    }
    here = {_name(*key): round(tax.instructions) for key, tax in found.items()}
    environments = {**stored.get("environments", {}), where: here}
    return {"anywhere": anywhere, "environments": dict(sorted(environments.items()))}


def table(figures: Figures) -> str:
    """All figures as Markdown."""
    lines = []
    for work in COUNTED:
        rows = {key: figures[key, work] for key in (*LIMITS, *SHOWN) if (key, work) in figures}
        if not rows:
            continue
        limits = [limit for limit in LIMITS if limit in rows]
        head = ["total", *(f"x {limit}" for limit in limits), *PARTS, "calls into C"]
        lines += [f"### {work_name(work)}", "", f"| | {' | '.join(head)} |", "|---|" + "---:|" * len(head)]
        for key, figure in rows.items():
            cells = [f"{figure.total:,.0f}", *(f"{figure.total / rows[limit].total:.2f}" for limit in limits)]
            cells += [f"{figure.parts[part]:,.0f}" for part in PARTS]
            lines.append(f"| {key} | {' | '.join(cells)} | {figure.crossings:.0f} |")
        lines.append("")
    return "\n".join(lines)


def everything(contenders: Sequence[str]) -> Mapping[str, Iterable[Work]]:
    """What to ask :func:`count` for to have all works of *contenders* and of the C loop."""
    return dict.fromkeys((*LIMITS, *contenders), COUNTED)


def main(arguments: list[str] | None = None) -> int:
    """The command line. The status is 1 if ``--check`` found something worse, 2 if nothing could be counted."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.instructions", description=(__doc__ or "").splitlines()[0]
    )
    what = parser.add_mutually_exclusive_group()
    what.add_argument("--check", action="store_true", help=f"compare with {STORED.name}, which is quicker")
    what.add_argument("--update", action="store_true", help=f"store the figures in {STORED.name}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures to FILE as well")
    options = parser.parse_args(arguments)
    try:
        figures = count(everything(CHECKED if options.check or options.update else SHOWN))
    except BenchmarkError as error:
        print(f"benchmarks.instructions: {error}", file=sys.stderr)
        return 2
    if options.json is not None:
        rows = [{"contender": key, **work._asdict(), **figure._asdict()} for (key, work), figure in figures.items()]
        options.json.write_text(json.dumps({"environment": environment(), "figures": rows}, indent=1) + "\n")
    stored = json.loads(STORED.read_text(encoding="utf-8")) if STORED.is_file() else {}
    if options.update:
        document = updated(taxes(figures), stored, environment())
        STORED.write_text(json.dumps(document, indent=1) + "\n", encoding="utf-8")
        return 0
    if not options.check:
        print(f"{environment()}\n{txmembio.OPENSSL_VERSION}\n\n{table(figures)}")
        return 0
    problems, remarks = check(taxes(figures), stored, environment())
    print("\n".join([*remarks, *problems] or ["as stored"]))
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
