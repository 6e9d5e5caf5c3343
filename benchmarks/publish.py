"""Puts what was measured into the documentation: ``python -m benchmarks.publish end_to_end.json``.

The JSON is what ``python -m benchmarks.end_to_end --json`` has written. In ``docs/performance.md`` what stands between
a comment ``<!-- figures: NAME -->`` and the next ``<!-- end of figures -->`` is replaced: NAME is ``setting``,
``tables`` or ``aims``. The charts go to ``docs/performance/``.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import end_to_end_aims as aims
from benchmarks.end_to_end import heading
from benchmarks.end_to_end_report import Results, Sample, busy_loads, family_tables, number
from benchmarks.end_to_end_works import SHOWN
from benchmarks.plot import OURS, PEER, PLAIN, Bar, Group, chart
from benchmarks.remote import ROOT

DOCS = ROOT / "docs"

CHARTS = {
    "echo": ("What an echo costs", ("echo", "echo-16k")),
    "bulk": ("What a gigabyte costs", ("up", "down")),
    "connections": ("What a connection costs", ("handshake", "resume", "idle-pss")),
}
"""By the name of the file: a title, and the figures in it."""

LIMITS = ("c-tls", "c-s_server")
"""Contenders that show what can be reached, as plain TCP does."""


def _colour(key: str) -> str:
    if "txmembio" in key or key in ("twisted-shim", "twisted-installed"):
        return OURS
    return PLAIN if key in LIMITS or key.endswith(("-plain", "-through")) else PEER


def _bars(results: Results, names: dict[str, str], figure: str) -> Group:
    shown = SHOWN[figure]
    bars = [
        Bar(name, cost.median, number(cost.median, figure), _colour(key))
        for key, name in names.items()
        if (cost := results.cost(key, figure)) is not None and key != "c-loop"
    ]
    return Group(f"{shown.name}, {shown.unit}", tuple(bars))


def charts(results: Results, names: dict[str, str]) -> dict[str, str]:
    """The pictures, by the names of their files without the suffix."""
    return {
        name: chart(title, [group for figure in figures if (group := _bars(results, names, figure)).bars])
        for name, (title, figures) in CHARTS.items()
    }


def blocks(document: dict[str, Any]) -> dict[str, str]:
    """What stands in the documentation, by the names in its comments."""
    results = Results(Sample(**sample) for sample in document["samples"])
    names = {each["key"]: each["name"] for each in document["contenders"]}
    return {
        "setting": heading(document) + "\n" + busy_loads(results, names),
        "tables": family_tables(results, names),
        "aims": aims.table(document["aims"]),
    }


def replaced(page: str, contents: dict[str, str]) -> str:
    """*page* with *contents* between its comments. Raises ValueError when it has a comment that nothing is for."""

    def block(match: re.Match[str]) -> str:
        name = match[2]
        if name not in contents:
            raise ValueError(f"the page asks for figures {name!r}: expected one of {', '.join(contents)}")
        return f"{match[1]}\n{contents[name].strip()}\n\n{match[3]}"

    return re.sub(r"(<!-- figures: (\w+) -->\n).*?(<!-- end of figures -->)", block, page, flags=re.DOTALL)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.publish", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("json", type=Path, metavar="END_TO_END.json")
    parser.add_argument("--docs", type=Path, default=DOCS, metavar="FOLDER", help="where performance.md is")
    options = parser.parse_args(arguments)
    document = json.loads(options.json.read_text())
    if document["settings"]["quick"]:
        print("benchmarks.publish: these figures are of a run with --quick, and mean little", file=sys.stderr)
    page = options.docs / "performance.md"
    page.write_text(replaced(page.read_text(encoding="utf-8"), blocks(document)), encoding="utf-8")
    results = Results(Sample(**sample) for sample in document["samples"])
    names = {each["key"]: each["name"] for each in document["contenders"]}
    folder = options.docs / "performance"
    folder.mkdir(exist_ok=True)
    for name, picture in charts(results, names).items():
        (folder / f"{name}.svg").write_text(picture, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
