"""From raw rounds to medians, ratios, tables and the aims beside them."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Literal, NamedTuple, TypeVar

from benchmarks.slices import ALL_WORKS, DIRECTIONS, Direction, Work

BULK_BYTES = 16384
"""Messages of this many bytes and more are shown as GB/s, smaller ones as µs each."""

LIMITS = ("c-bare", "c-copying")
"""The contenders that the others are shown as multiples of."""

T = TypeVar("T")

RESAMPLES = 4000
"""Samples that the bootstrap draws: a hundred of them lie beyond each end of an interval."""


class Sample(NamedTuple):
    """One slice of one contender in one round: the raw material, as it stands in the JSON."""

    round: int
    contender: str
    direction: Direction
    size: int
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
            rounds = self._by_work.setdefault((sample.contender, Work(sample.direction, sample.size)), {})
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

    def outcome(self, results: Results, direction: Direction) -> tuple[Spread | None, str]:
        """The measured ratio and "met" or "missed"; (None, "not measured") where a contender was left out."""
        ratio = results.ratio(self.slower, self.faster, Work(direction, self.size))
        if ratio is None:
            return None, "not measured"
        met = ratio.median <= self.bound if self.kind == "at most" else ratio.median >= self.bound
        return ratio, "met" if met else "missed"


AIMS = (
    Aim(65536, "txmembio", "c-copying", "at most", 1.05),
    Aim(64, "txmembio", "c-bare", "at most", 1.7),
    Aim(64, "pyopenssl", "txmembio", "at least", 2.0),
)
"""What txmembio should reach in memory, each in both directions."""


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
    """A Markdown table for each size; *contenders* gives the name to print for each key, in order."""
    lines = []
    sizes = list(dict.fromkeys(work.size for work in results.works()))
    for size in sizes:
        unit = "GB/s" if size >= BULK_BYTES else "µs"
        head = [f"{direction}, {unit} | x bare C | x copying C" for direction in DIRECTIONS]
        lines += [f"### {size_name(size)}", "", f"| | {' | '.join(head)} |", "|---|" + "---:|" * 6]
        for key, name in contenders.items():
            cells = []
            for direction in DIRECTIONS:
                work = Work(direction, size)
                cells.append(_pace(results, key, work))
                cells += [str(results.ratio(key, limit, work) or "") for limit in LIMITS]
            lines.append(f"| {name} | {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)


def aims(results: Results, contenders: dict[str, str]) -> list[dict[str, Any]]:
    """Every aim's outcome in each direction: what is printed, and what stands in the JSON."""
    return [
        {
            "size": aim.size,
            "direction": direction,
            "what": f"{contenders.get(aim.slower, aim.slower)} / {contenders.get(aim.faster, aim.faster)}",
            "aim": f"{aim.kind} {aim.bound:.2f}",
            "ratio": ratio and ratio._asdict(),
            "outcome": outcome,
        }
        for aim in AIMS
        for direction in DIRECTIONS
        for ratio, outcome in [aim.outcome(results, direction)]
    ]


def aims_table(outcomes: list[dict[str, Any]]) -> str:
    """The outcomes of :func:`aims` as Markdown."""
    lines = ["### Aims", "", "| message | time of … over time of … | aim | measured | |", "|---|---|---|---:|---|"]
    for row in outcomes:
        measured = f"{row['ratio']['median']:.3f}" if row["ratio"] else ""
        message = f"{row['direction']} {size_name(row['size'])}"
        lines.append(f"| {message} | {row['what']} | {row['aim']} | {measured} | {row['outcome']} |")
    return "\n".join(lines) + "\n"
