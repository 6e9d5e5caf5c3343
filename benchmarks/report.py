"""From raw rounds to medians, ratios, tables and the aims beside them."""

from __future__ import annotations

import random
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from benchmarks.slices import ALL_WORKS, DIRECTIONS, HANDSHAKES, SIDES, Direction, Side, Work

BULK_BYTES = 16384
"""Messages of this many bytes and more are shown as GB/s, smaller ones as µs each."""

LIMITS = ("c-bare", "c-copying")
"""The contenders that the others are shown as multiples of."""

LIMIT_NAMES = {"c-bare": "bare C", "c-copying": "copying C"}
"""What the tables' heads call them."""

T = TypeVar("T")

RESAMPLES = 4000
"""Samples that the bootstrap draws: a hundred of them lie beyond each end of an interval."""


class Sample(NamedTuple):
    """One slice of one contender in one round: the raw material, as it stands in the JSON."""

    round: int
    contender: str
    direction: Direction
    size: int
    side: Side
    messages: int
    wall: float
    cpu: float

    @property
    def cpu_each(self) -> float:
        """Seconds of processor time for one message."""
        return self.cpu / self.messages

    @property
    def wall_each(self) -> float:
        """Seconds by the wall's clock for one message."""
        return self.wall / self.messages


class Spread(NamedTuple):
    """The middle of some figures and how far they lie apart: median, quartiles, smallest, largest."""

    median: float
    low: float
    high: float
    least: float
    most: float

    @classmethod
    def of(cls, figures: Sequence[float]) -> Spread:
        """The spread of *figures*, of which there must be one at least."""
        low, median, high = (
            statistics.quantiles(figures, n=4, method="inclusive") if len(figures) > 1 else [figures[0]] * 3
        )
        return cls(median, low, high, min(figures), max(figures))

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.low:.2f}-{self.high:.2f})"


def interval(rounds: Sequence[T], statistic: Callable[[Sequence[T]], float]) -> tuple[float, float]:
    """A 95 % confidence interval of *statistic* of *rounds*, by the bootstrap: what it lies within for
    :data:`RESAMPLES` samples of as many rounds, drawn with replacement. The same rounds give the same interval.
    """
    draw = random.Random(0)
    found = sorted(statistic(draw.choices(rounds, k=len(rounds))) for _ in range(RESAMPLES))
    return found[RESAMPLES // 40], found[-RESAMPLES // 40 - 1]


class Results:
    """The samples of one run, found by contender and work."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self.samples = tuple(samples)
        self._by_work: dict[tuple[str, Work], dict[int, Sample]] = {}
        for sample in self.samples:
            rounds = self._by_work.setdefault((sample.contender, Work(sample.direction, sample.size, sample.side)), {})
            rounds[sample.round] = sample

    def seconds(self, contender: str, work: Work, clock: Literal["cpu", "wall"] = "cpu") -> Spread | None:
        """Seconds for one message, or None if *contender* did no such work."""
        rounds = self._by_work.get((contender, work))
        if rounds is None:
            return None
        return Spread.of([getattr(sample, f"{clock}_each") for sample in rounds.values()])

    def ratio(self, contender: str, to: str, work: Work, clock: Literal["cpu", "wall"] = "cpu") -> Spread | None:
        """The time of *contender* over the time of *to*, paired round by round, or None if either did no such work."""
        ours, theirs = self._by_work.get((contender, work)), self._by_work.get((to, work))
        if ours is None or theirs is None:
            return None
        each = f"{clock}_each"
        return Spread.of([getattr(ours[number], each) / getattr(theirs[number], each) for number in ours])

    def works(self) -> list[Work]:
        """The kinds of work that were measured, in the order of a report."""
        measured = {work for _, work in self._by_work}
        return [work for work in ALL_WORKS if work in measured]

    def summary(self) -> list[dict[str, Any]]:
        """Every spread, for the JSON."""
        rows: list[dict[str, Any]] = []
        for contender, work in self._by_work:
            row: dict[str, Any] = {"contender": contender, **work._asdict()}
            for clock in ("cpu", "wall"):
                seconds = self.seconds(contender, work, clock)
                row[f"{clock}_seconds"] = seconds and seconds._asdict()
                for limit in LIMITS:
                    ratio = self.ratio(contender, limit, work, clock)
                    row[f"{clock}_ratio_to_{limit}"] = ratio and ratio._asdict()
            rows.append(row)
        return rows


class Aim(NamedTuple):
    """What a message of *size* bytes should reach: *slower*'s time over *faster*'s, no more or no less than *bound*."""

    size: int
    slower: str
    faster: str
    kind: Literal["at most", "at least"]
    bound: float
    bound_from_3_5: float | None = None
    """The bound where it is another one on OpenSSL 3.5 and newer, which take more for what is not the cipher."""

    def bound_on(self, library: str) -> float:
        """The bound on that OpenSSL, named as OpenSSL_version(3) does."""
        version = re.match(r"OpenSSL (\d+)\.(\d+)", library)
        newer = version is not None and (int(version[1]), int(version[2])) >= (3, 5)
        return self.bound_from_3_5 if newer and self.bound_from_3_5 is not None else self.bound

    def outcome(self, results: Results, work: Work, library: str) -> tuple[Spread | None, str]:
        """The measured ratio and "met" or "missed"; (None, "not measured") where a contender was left out."""
        ratio = results.ratio(self.slower, self.faster, work)
        if ratio is None:
            return None, "not measured"
        bound = self.bound_on(library)
        met = ratio.median <= bound if self.kind == "at most" else ratio.median >= bound
        return ratio, "met" if met else "missed"


AIMS = (
    Aim(65536, "txmembio", "c-copying", "at most", 1.03, 1.05),
    Aim(65536, "txmembio", "c-bare", "at most", 1.07, 1.15),
    Aim(64, "txmembio", "c-bare", "at most", 1.5),
    Aim(64, "pyopenssl", "txmembio", "at least", 2.5),
)
"""What txmembio should reach in memory, each in both directions and on both sides."""


def size_name(size: int) -> str:
    """*size* as people say it: 64 B, 16 KiB."""
    return f"{size} B" if size < 1024 else f"{size // 1024} KiB"


def _pace(results: Results, contender: str, work: Work) -> str:
    seconds = results.seconds(contender, work)
    if seconds is None:
        return ""
    if work.size >= BULK_BYTES:
        return f"{work.size / seconds.median / 1e9:.2f}"
    return f"{seconds.median * 1e6:.2f}"


def tables(results: Results, contenders: dict[str, str]) -> str:
    """A Markdown table for each side and size, and one of each side's handshakes.

    *contenders* gives the name to print for each key, in order.
    """
    lines = []
    measured = results.works()
    for side in SIDES:
        sizes = dict.fromkeys(work.size for work in measured if work.side == side and work.direction in DIRECTIONS)
        for size in sizes:
            lines += [f"### {size_name(size)}, {side}", "", *_table(results, contenders, size, side, DIRECTIONS), ""]
    for side in SIDES:
        if any(work.side == side and work.direction in HANDSHAKES for work in measured):
            lines += [f"### Handshake, {side}", "", *_table(results, contenders, 0, side, HANDSHAKES), ""]
    return "\n".join(lines)


def _table(
    results: Results, contenders: dict[str, str], size: int, side: Side, directions: tuple[Direction, ...]
) -> list[str]:
    unit = "GB/s" if size >= BULK_BYTES else "µs"
    works = [Work(direction, size, side) for direction in directions]
    limits = LIMITS if size else LIMITS[:1]  # a handshake has no result to copy
    head = [f"{work.direction}, {unit} | {' | '.join(f'x {LIMIT_NAMES[limit]}' for limit in limits)}" for work in works]
    lines = [f"| | {' | '.join(head)} |", "|---|" + "---:|" * (1 + len(limits)) * len(works)]
    for key, name in contenders.items():
        cells = []
        for work in works:
            cells.append(_pace(results, key, work))
            cells += [str(results.ratio(key, limit, work) or "") for limit in limits]
        if any(cells):
            lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def aims(results: Results, contenders: dict[str, str], library: str) -> list[dict[str, Any]]:
    """Every aim's outcome in each direction and on each side, on that OpenSSL: what is printed, and what stands in the
    JSON."""
    outcomes = []
    for aim in AIMS:
        for work in (Work(direction, aim.size, side) for side in SIDES for direction in DIRECTIONS):
            ratio, outcome = aim.outcome(results, work, library)
            outcomes.append(
                {
                    **work._asdict(),
                    "what": f"{contenders.get(aim.slower, aim.slower)} / {contenders.get(aim.faster, aim.faster)}",
                    "aim": f"{aim.kind} {aim.bound_on(library):.2f}",
                    "ratio": ratio and ratio._asdict(),
                    "outcome": outcome,
                }
            )
    return outcomes


def aims_table(outcomes: list[dict[str, Any]]) -> str:
    """The outcomes of :func:`aims` as Markdown."""
    lines = ["### Aims", "", "| message | time of … over time of … | aim | measured | |", "|---|---|---|---:|---|"]
    for row in outcomes:
        measured = f"{row['ratio']['median']:.3f}" if row["ratio"] else ""
        message = f"{row['direction']} {size_name(row['size'])}, {row['side']}"
        lines.append(f"| {message} | {row['what']} | {row['aim']} | {measured} | {row['outcome']} |")
    return "\n".join(lines) + "\n"
