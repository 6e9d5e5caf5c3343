"""The other process of :mod:`benchmarks.remote`: ``python -m benchmarks.worker CONTENDER LIBRARY PEM``.

It makes the contender and says so in a line of JSON; then it answers each line of its input with one of its output: the
contender's preparation, or one slice. It ends with its input.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from benchmarks.c_loop import Library
from benchmarks.contenders import python_contender
from benchmarks.slices import LocalLane, Work


def _say(answer: Any) -> None:
    print(json.dumps(answer), flush=True)


def main(arguments: list[str]) -> int:
    """Serves the process that started this one."""
    key, library, pem = arguments
    lane = LocalLane(python_contender(key, Library(Path(library)), Path(pem)))
    _say({"name": lane.name, "library": lane.library, "directions": lane.directions})
    for line in sys.stdin:
        question = json.loads(line)
        if "work" in question:
            _say(lane.slice(Work(*question["work"])))
        else:
            lane.prepare([Work(*work) for work in question["works"]], question["seconds"])
            _say(None)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
