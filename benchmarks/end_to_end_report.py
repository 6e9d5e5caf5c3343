"""From the rounds of an end-to-end run to medians, ratios, tables and the aims beside them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import metadata
from math import inf
from statistics import median
from typing import Any, Literal, NamedTuple

from benchmarks.report import Spread, interval

C_LOOP = "c-loop"
"""The key of the C loop: what the ciphers alone take."""


class Sample(NamedTuple):
    """One work of one contender in one round: the raw material, as it stands in the JSON."""

    round: int
    contender: str
    work: str
    units: float
    """GB, messages or connections."""
    cpu: float
    """Seconds of the server's processor time."""
    wall: float
    """Seconds by the clock on the wall."""
    load_cpu: float
    """Seconds of the load's processor time: beside `wall`, how busy it was."""
    memory: int | None
    """Bytes by which the server's own memory grew, where that is what was measured."""

    @property
    def each(self) -> float:
        """Seconds of processor time for one unit; bytes, where memory was measured."""
        return (self.cpu if self.memory is None else self.memory) / self.units


class Shown(NamedTuple):
    """How the figures of a work are shown: what it is called, and 1/*scale* of a second or a byte as *unit*."""

    name: str
    unit: str
    scale: float
    decimals: int


SHOWN = {
    "up": Shown("bulk upload, into a buffer", "s/GB", 1, 3),
    "up-pieces": Shown("bulk upload, in pieces", "s/GB", 1, 3),
    "down": Shown("bulk download, 64 KiB writes", "s/GB", 1, 3),
    "down-large": Shown("bulk download, 1 MiB writes", "s/GB", 1, 3),
    "echo": Shown("echo of 100 B, 50 connections", "µs", 1e6, 1),
    "handshake": Shown("connection, full handshake", "µs", 1e6, 0),
    "resume": Shown("connection, resumed", "µs", 1e6, 0),
    "idle": Shown("idle connection, memory", "KiB", 1 / 1024, 1),
}
"""By the key of the work."""


class Family(NamedTuple):
    """Contenders that are compared with each other: plain TCP, the peer and ours, by key."""

    plain: str
    peer: str
    ours: str


TORNADO = Family("tornado-plain", "tornado-ssl", "tornado-txmembio")


class Ratio(NamedTuple):
    """What ours takes of what the peer takes, and the 95 % confidence interval of that."""

    median: float
    low: float
    high: float

    @classmethod
    def of_costs(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """The median of the ratios within each round."""
        ratios = [each / other for each, other in zip(ours, theirs, strict=True)]
        return cls(median(ratios), *interval(ratios, median))

    @classmethod
    def of_differences(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio | None:
        """The ratio of the medians: of differences, one of which may be close to nothing in a round. None where theirs
        cannot be told from nothing.
        """

        def ratio(rounds: Sequence[tuple[float, float]]) -> float:
            each, other = (median(column) for column in zip(*rounds, strict=True))
            return each / other if other > 0 else inf

        rounds = [*zip(ours, theirs, strict=True)]
        found = cls(ratio(rounds), *interval(rounds, ratio))
        return found if inf not in found else None

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}-{self.high:.2f}]"


class Results:
    """The samples of one run, found by contender and work."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._each: dict[tuple[str, str], dict[int, float]] = {}
        for sample in samples:
            self._each.setdefault((sample.contender, sample.work), {})[sample.round] = sample.each

    def works(self) -> list[str]:
        """The keys of what was measured, in the order of a report."""
        return [key for key in SHOWN if any(work == key for _, work in self._each)]

    def cost(self, contender: str, work: str) -> Spread | None:
        """Of one unit, in seconds or bytes; None if *contender* did no such work."""
        rounds = self._each.get((contender, work))
        return Spread.of([*rounds.values()]) if rounds else None

    def ratio(self, contender: str, to: str, work: str) -> Ratio | None:
        """The cost of *contender* over that of *to*; None if either did no such work."""
        ours, theirs = self._each.get((contender, work)), self._each.get((to, work))
        if not ours or not theirs:
            return None
        return Ratio.of_costs([ours[number] for number in ours], [theirs[number] for number in ours])

    def above(self, contender: str, plain: str, work: str) -> list[float] | None:
        """What *contender* takes above *plain*'s and the C loop's together, round by round; None if one is missing."""
        rounds = [self._each.get((key, work)) for key in (contender, plain, C_LOOP)]
        whole, transport, ciphers = rounds
        if not whole or not transport or not ciphers:
            return None
        return [whole[number] - transport[number] - ciphers[number] for number in whole]

    def above_ratio(self, family: Family, work: str) -> Ratio | None:
        """Ours over the peer's, both above plain and the C loop; None if one is missing, or cannot be told."""
        ours, theirs = self.above(family.ours, family.plain, work), self.above(family.peer, family.plain, work)
        return Ratio.of_differences(ours, theirs) if ours and theirs else None

    def summary(self) -> list[dict[str, Any]]:
        """Every spread, for the JSON, in seconds and bytes."""
        return [
            {"contender": contender, "work": work, "each": Spread.of([*rounds.values()])._asdict()}
            for (contender, work), rounds in self._each.items()
        ]


class Aim(NamedTuple):
    """What ours should take of what the peer takes, at most: as a whole, or above plain TCP and the C loop."""

    work: str
    of: Literal["whole", "above"]
    bound: float


AIMS = (
    Aim("up", "above", 0.5),
    Aim("up-pieces", "above", 0.5),
    Aim("echo", "above", 0.5),
    Aim("down", "whole", 1.0),
    Aim("down-large", "whole", 1.0),
    Aim("idle", "whole", 1.0),
)
"""What txmembio should reach on Tornado."""


def aims(results: Results, same_libssl: bool, family: Family = TORNADO) -> list[dict[str, Any]]:
    """Every aim's outcome: what is printed, and what stands in the JSON. With different libraries there is none."""
    rows = []
    for aim in AIMS:
        if aim.of == "whole":
            ratio = results.ratio(family.ours, family.peer, aim.work)
        else:
            ratio = results.above_ratio(family, aim.work)
        outcome = "not measured"
        if ratio is not None:
            outcome = "met" if ratio.median <= aim.bound else "missed"
        if not same_libssl:
            outcome = "not comparable"
        rows.append({**aim._asdict(), "ratio": ratio and ratio._asdict(), "outcome": outcome})
    return rows


def _shown(spread: Spread | None, shown: Shown) -> str:
    if spread is None:
        return ""
    median, low, high = (f"{each * shown.scale:.{shown.decimals}f}" for each in spread[:3])
    return f"{median} ({low}-{high})"


def tables(results: Results, names: dict[str, str], family: Family = TORNADO) -> str:
    """Markdown: what each contender takes, and what ours takes of the peer's. *names* are printed, in their order."""
    lines = ["### Cost", "", f"| | | {' | '.join(names.values())} |", "|---|---|" + "---:|" * len(names)]
    for work in results.works():
        shown = SHOWN[work]
        cells = [_shown(results.cost(key, work), shown) for key in names]
        lines.append(f"| {shown.name} | {shown.unit} | {' | '.join(cells)} |")
    if family.ours not in names or family.peer not in names:
        return "\n".join([*lines, ""])
    ours, peer = names[family.ours], names[family.peer]
    lines += ["", f"### {ours} beside {peer.rpartition(' ')[2]}", ""]
    lines += ["| | whole | above plain TCP and the C loop | | |", "|---|---:|---:|---:|---:|"]
    lines.append(f"| | {ours} / {peer} | {ours} | {peer} | the one / the other |")
    for work in results.works():
        shown = SHOWN[work]
        cells = [str(results.ratio(family.ours, family.peer, work) or "")]
        for key in (family.ours, family.peer):
            above = results.above(key, family.plain, work)
            cells.append(_shown(Spread.of(above) if above else None, shown))
        cells.append(str(results.above_ratio(family, work) or ""))
        lines.append(f"| {shown.name}, {shown.unit} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def aims_table(outcomes: list[dict[str, Any]]) -> str:
    """The outcomes of :func:`aims` as Markdown."""
    lines = ["### Aims", "", "| | txmembio's over SSLIOStream's | aim | measured | |", "|---|---|---|---:|---|"]
    for row in outcomes:
        unit = "memory" if row["work"] == "idle" else "processor time"
        what = unit if row["of"] == "whole" else f"{unit} above plain TCP's and the C loop's"
        measured = str(Ratio(**row["ratio"])) if row["ratio"] else ""
        lines.append(
            f"| {SHOWN[row['work']].name} | {what} | at most {row['bound']:.2f} | {measured} | {row['outcome']} |"
        )
    return "\n".join(lines) + "\n"


def packages(*names: str) -> str:
    """*names* with their versions, as a heading has them."""
    return ", ".join(f"{name.capitalize()} {metadata.version(name)}" for name in names)
