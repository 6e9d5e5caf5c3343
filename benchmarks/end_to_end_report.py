"""From the rounds of an end-to-end run to medians, ratios and tables: all from what stands in the JSON."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import inf
from statistics import median
from typing import Any, NamedTuple

from benchmarks.end_to_end_works import SHOWN
from benchmarks.report import Spread, interval

C_LOOP = "c-loop"
"""The key of the C loop: what the ciphers alone take."""

BUSY = 0.7
"""The part of a work's time from which on the load may be what a server waits for."""


class Sample(NamedTuple):
    """One figure of one contender in one round: the raw material, as it stands in the JSON."""

    round: int
    contender: str
    figure: str
    """The key of the work, or of what else it had to show."""
    units: float
    """GB, messages, turns, connections."""
    total: float
    """Seconds of the server's processor time for all of them; seconds of latency or bytes, where that is measured."""
    wall: float = 0.0
    """Seconds by the clock on the wall."""
    load_cpu: float = 0.0
    """Seconds of the load's processor time: beside `wall`, how busy it was."""

    @property
    def each(self) -> float:
        """For one unit."""
        return self.total / self.units


class Ratio(NamedTuple):
    """How much of one figure another is, or by how much it is more, and the 95 % confidence interval of that."""

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

    @classmethod
    def of_excess(cls, ours: Sequence[float], theirs: Sequence[float]) -> Ratio:
        """By how much ours are more: the median of the differences within each round."""
        more = [each - other for each, other in zip(ours, theirs, strict=True)]
        return cls(median(more), *interval(more, median))

    def __str__(self) -> str:
        return f"{self.median:.2f} [{self.low:.2f}, {self.high:.2f}]"


class Results:
    """The samples of one run, found by contender and figure."""

    def __init__(self, samples: Iterable[Sample]) -> None:
        self._each: dict[tuple[str, str], dict[int, float]] = {}
        self._busy: dict[tuple[str, str], list[float]] = {}
        for sample in samples:
            place = sample.contender, sample.figure
            self._each.setdefault(place, {})[sample.round] = sample.each
            if sample.wall:
                self._busy.setdefault(place, []).append(sample.load_cpu / sample.wall)

    def figures(self, contenders: Iterable[str]) -> list[str]:
        """The keys of what was measured of any of *contenders*, in the order of a report."""
        measured = {figure for contender, figure in self._each if contender in contenders}
        return [key for key in SHOWN if key in measured]

    def cost(self, contender: str, figure: str) -> Spread | None:
        """Of one unit, in seconds or bytes; None if *contender* has no such figure."""
        rounds = self._each.get((contender, figure))
        return Spread.of([*rounds.values()]) if rounds else None

    def ratio(self, contender: str, to: str, figure: str) -> Ratio | None:
        """The figure of *contender* over that of *to*; None if either is missing, or that is nothing."""
        ours, theirs = self._each.get((contender, figure)), self._each.get((to, figure))
        if not ours or not theirs or min(theirs.values()) <= 0:
            return None
        return Ratio.of_costs([ours[number] for number in ours], [theirs[number] for number in ours])

    def above(self, side: Sequence[str], figure: str) -> list[float] | None:
        """What the first of *side* takes above the others of it together, round by round; None if one is missing, or
        there is none.
        """
        rounds = [self._each.get((key, figure)) for key in side]
        if not rounds or not all(rounds):
            return None
        whole, *parts = (each for each in rounds if each)
        return [whole[number] - sum(part[number] for part in parts) for number in whole]

    def load_share(self, contender: str, figure: str) -> float | None:
        """How busy the load was, 1 being all of the time; None where there was no load."""
        shares = self._busy.get((contender, figure))
        return median(shares) if shares else None

    def summary(self) -> list[dict[str, Any]]:
        """Every spread, for the JSON, in seconds and bytes."""
        return [
            {
                "contender": contender,
                "figure": figure,
                "each": Spread.of([*rounds.values()])._asdict(),
                "load_share": self.load_share(contender, figure),
            }
            for (contender, figure), rounds in self._each.items()
        ]


class Family(NamedTuple):
    """Contenders that stand in one table, and whom those of ours in it are compared with."""

    title: str
    members: tuple[str, ...]
    """What their keys begin with."""
    ours: str
    peers: tuple[str, ...]


FAMILIES = (
    Family(
        "Twisted",
        ("twisted",),
        "twisted-txmembio",
        ("twisted-plain", "twisted-through", "twisted-pyopenssl-system", "twisted-pyopenssl", "c-tls", "c-s_server"),
    ),
    Family("Tornado", ("tornado",), "tornado-txmembio", ("tornado-plain", "tornado-ssl", "c-tls")),
    Family(
        "asyncio",
        ("asyncio", "aiofastnet"),
        "asyncio-txmembio",
        ("asyncio-plain", "asyncio-ssl", "aiofastnet-ssl"),
    ),
    Family("uvloop", ("uvloop",), "uvloop-txmembio", ("uvloop-plain", "uvloop-ssl", "aiofastnet-ssl")),
    Family("C", ("c",), "", ()),
)


def number(seconds: float, figure: str) -> str:
    """As a *figure* is shown, without its unit."""
    shown = SHOWN[figure]
    return f"{seconds * shown.scale:.{shown.decimals}f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def costs(results: Results, names: dict[str, str], figures: Sequence[str]) -> str:
    """Markdown: the median of each of *figures*, a row for each contender in *names* that has any."""
    head = [f"{SHOWN[figure].column}, {SHOWN[figure].unit}".removesuffix(", ") for figure in figures]
    lines = [_row("", *head), "|---|" + "---:|" * len(figures)]
    for key, name in names.items():
        spreads = {figure: results.cost(key, figure) for figure in figures}
        if any(spreads.values()):
            cells = (number(each.median, figure) if each else "" for figure, each in spreads.items())
            lines.append(_row(name, *cells))
    return "\n".join(lines)


def comparison(results: Results, ours: str, peers: Sequence[str], names: dict[str, str]) -> str:
    """Markdown: *ours* over each of *peers*, a row for each figure."""
    peers = [peer for peer in peers if peer in names]
    lines = [_row("", *(f"over {names[peer]}" for peer in peers)), "|---|" + "---:|" * len(peers)]
    for figure in results.figures([ours]):
        cells = [str(results.ratio(ours, peer, figure) or "") for peer in peers]
        lines.append(_row(SHOWN[figure].name, *cells))
    return "\n".join(lines)


def family_tables(results: Results, names: dict[str, str]) -> str:
    """Both for each family of which there is someone."""
    parts = []
    for family in FAMILIES:
        members = {key: name for key, name in names.items() if key.partition("-")[0] in family.members}
        figures = results.figures(members)
        if not figures:
            continue
        parts.append(f"#### {family.title}")
        for per_connection in (False, True):  # two tables: one would be too wide to read
            shown = [figure for figure in figures if SHOWN[figure].per_connection is per_connection]
            parts += [costs(results, members, shown)] if shown else []
        if family.ours in names and set(family.peers) & set(names):
            parts += [f"{names[family.ours]}, as a multiple:", comparison(results, family.ours, family.peers, names)]
    return "\n\n".join(parts) + "\n"


def busy_loads(results: Results, names: dict[str, str]) -> str:
    """A list of what the load was so busy with that a server may have waited for it."""
    found: dict[str, list[str]] = {}
    most = 0.0
    for figure in results.figures(names):
        for key, name in names.items():
            share = results.load_share(key, figure) or 0.0
            most = max(most, share)
            if share > BUSY:
                found.setdefault(SHOWN[figure].name, []).append(f"{name} ({share:.0%})")
    if not found:
        return f"The load was busy for {most:.0%} of a work's time at most.\n"
    lines = [
        f"WARNING: the load was busy for more than {BUSY:.0%} of the time, so a server may have waited for it:",
        "",
    ]
    return "\n".join([*lines, *(f"- {work}: {', '.join(who)}" for work, who in found.items())]) + "\n"
