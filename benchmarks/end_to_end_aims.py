"""What txmembio aims for end to end, beside what was measured."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

from benchmarks.end_to_end_report import C_LOOP, Ratio, Results
from benchmarks.end_to_end_works import SHOWN

Side = tuple[str, ...]
"""A contender, by key, and those whose cost is taken away from its own: with plain TCP's taken away, a *tax*."""


class Aim(NamedTuple):
    """How much of *theirs* *ours* should be at most; as *excess*, by how many bytes it should be more at most. With
    nobody beside it, what *ours* should be at most.
    """

    figure: str
    ours: Side
    theirs: Side
    bound: float
    kind: Literal["ratio", "excess"] = "ratio"
    one_libssl: bool = True
    """Whether it is only fair if both have the same libssl."""

    def measured(self, results: Results) -> Ratio | None:
        """None if someone is missing, or if theirs cannot be told from nothing."""
        ours = results.above(self.ours, self.figure)
        if ours and not self.theirs:
            return Ratio.of_costs(ours, [1.0] * len(ours))
        theirs = results.above(self.theirs, self.figure)
        if not ours or not theirs:
            return None
        if self.kind == "excess":
            return Ratio.of_excess(ours, theirs)
        if len(self.ours) == len(self.theirs) == 1:
            return results.ratio(self.ours[0], self.theirs[0], self.figure)
        return Ratio.of_differences(ours, theirs)


_OURS, _OFF, _PLAIN, _THROUGH = "twisted-txmembio", "twisted-txmembio-off", "twisted-plain", "twisted-through"
_SYSTEM, _WHEEL = "twisted-pyopenssl-system", "twisted-pyopenssl"
_C_TAX = ("c-tls", "c-plain")
_FASTER = round(1 / 1.3, 2)  # 1.3 times as fast


def _tornado(figure: str, above: bool, bound: float) -> Aim:
    beneath = ("tornado-plain", C_LOOP) if above else ()
    return Aim(figure, ("tornado-txmembio", *beneath), ("tornado-ssl", *beneath), bound)


AIMS = {
    "Twisted": (
        Aim("echo", (_OURS,), (_PLAIN,), 1.0),
        Aim("echo", (_OURS,), (_SYSTEM,), 0.5),
        Aim("echo", (_OURS,), (_WHEEL,), 0.5, one_libssl=False),
        Aim("echo", (_OFF, _PLAIN), (_SYSTEM, _PLAIN), 0.25),
        Aim("echo", (_OFF, _PLAIN), (_WHEEL, _PLAIN), 0.25, one_libssl=False),
        Aim("up", (_OURS,), (_SYSTEM,), _FASTER),
        Aim("up", (_OURS,), (_WHEEL,), _FASTER, one_libssl=False),
        Aim("down", (_OURS,), (_SYSTEM,), _FASTER),
        Aim("down", (_OURS,), (_WHEEL,), _FASTER, one_libssl=False),
        *(Aim(figure, (_OURS, _THROUGH), _C_TAX, 1.25) for figure in ("echo", "echo-16k", "up", "down")),
        *(Aim(figure, (_OURS,), ("c-s_server",), 1.2) for figure in ("handshake", "handshake-rsa", "resume")),
        Aim("idle-pss", (_OURS, _PLAIN), _C_TAX, 3 * 1024, "excess"),
        Aim("writes", (_OURS,), (_PLAIN,), 1.3),
        Aim("writes-records", (_OURS,), (), 1.0),
    ),
    "Tornado": (
        *(_tornado(figure, True, 0.5) for figure in ("up", "up-pieces", "echo-1", "echo")),
        *(_tornado(figure, False, 1.0) for figure in ("down", "down-large")),
    ),
    "txmembio.ssl under asyncio": (
        Aim("up", ("asyncio-txmembio",), ("asyncio-ssl",), 0.5),
        *(
            Aim(figure, ("asyncio-txmembio",), ("asyncio-ssl",), 1.0)
            for figure in ("down", "echo-1", "echo", "echo-16k-1", "echo-16k", "writes", "handshake", "resume")
        ),
    ),
}
"""By what the table of each is called."""


def _said(side: Side, names: dict[str, str]) -> str:
    if not side:
        return ""
    first, *rest = (names.get(key, key) for key in side)
    return f"{first}, above {' and '.join(rest)}" if rest else first


def outcomes(results: Results, names: dict[str, str], libraries: dict[str, str]) -> list[dict[str, Any]]:
    """Every aim's outcome: what is printed, and what stands in the JSON. *libraries* says of each contender with TLS
    which libssl it has: where two differ that should not, there is no outcome.
    """
    rows = []
    for group, aims in AIMS.items():
        for aim in aims:
            measured = aim.measured(results)
            who = {libraries[key] for key in (*aim.ours, *aim.theirs) if key in libraries}
            outcome = "not measured"
            if measured is not None:
                outcome = "met" if measured.median <= aim.bound else "missed"
                if aim.one_libssl and len(who) > 1:
                    outcome = "not comparable"
            rows.append(
                {
                    "group": group,
                    "figure": aim.figure,
                    "ours": _said(aim.ours, names),
                    "theirs": _said(aim.theirs, names),
                    "kind": aim.kind,
                    "bound": aim.bound,
                    "measured": measured and measured._asdict(),
                    "outcome": outcome,
                }
            )
    return rows


def table(rows: list[dict[str, Any]]) -> str:
    """Markdown: the outcomes that :func:`outcomes` has found."""
    lines: list[str] = []
    for group in dict.fromkeys(row["group"] for row in rows if row["outcome"] != "not measured"):
        lines += [f"#### {group}", "", "| | of this | over this | aim: at most | measured | |"]
        lines.append("|---|---|---|---:|---:|---|")
        for row in rows:
            if row["group"] != group:
                continue
            scale, unit = (1024, " KiB more") if row["kind"] == "excess" else (1, "")
            measured = row["measured"] and Ratio(*(each / scale for each in row["measured"].values()))
            aim = f"{row['bound'] / scale:.2f}{unit}"
            cells = [SHOWN[row["figure"]].name, row["ours"], row["theirs"], aim, str(measured or ""), row["outcome"]]
            lines.append(f"| {' | '.join(cells)} |")
        lines.append("")
    return "\n".join(lines)
