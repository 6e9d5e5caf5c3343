"""For tests of the benchmarks, which are never installed."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The checkout.
ROOT = Path(__file__).parents[2]

#: Seconds that a benchmark may take before it counts as hung; it takes a few.
LONGEST = 300

RUN = "import runpy, sys; sys.path.append({root!r}); runpy.run_module({module!r}, run_name='__main__', alter_sys=True)"


@contextmanager
def within_reach() -> Iterator[None]:
    """Has the checkout on the path, for importing `benchmarks`; last, since txmembio and its plugin have to come from
    where they are installed."""
    before = sys.path[:]
    sys.path.append(str(ROOT))
    try:
        yield
    finally:
        sys.path[:] = before


def run(module: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """`python -m module` in `folder`, with the same txmembio that these tests import."""
    command = [sys.executable, "-c", RUN.format(root=str(ROOT), module=module), *arguments]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=LONGEST, check=False)
