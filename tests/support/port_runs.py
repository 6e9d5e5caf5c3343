"""Runs of the scenarios in `completion_ports/`, each in a process of its own, and what they have said."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from completion_ports.run import DEADLINE, LOOK, LOOKS

from .iocp import Faults
from .process import environment

SCENARIOS = Path(__file__).parents[1] / "completion_ports"

#: Seconds after which a run begins no other scenario, and those after which it is killed: by then the last scenario has
#: had twice the time that it can take. Only so that a hang becomes a failure.
BUDGET = 240.0
RUN_DEADLINE = BUDGET + 2 * (DEADLINE + LOOK * LOOKS)


@dataclass(frozen=True)
class Run:
    """What a run has said."""

    status: int
    header: dict[str, Any]
    lines: dict[tuple[str, str], dict[str, Any]]
    """By scenario and version."""
    errors: str


def run(certificates: Path, *arguments: str, faults: Faults | None = None, mutation: str | None = None) -> Run:
    """Run the scenarios that `arguments` name, as `run.py` takes them, perhaps with a mistake in the adapter."""
    program = [str(SCENARIOS / "run.py")] if mutation is None else [str(SCENARIOS / "mutate.py"), mutation]
    options = ["--faults", str(faults or Faults()), "--budget", str(BUDGET)]
    done = subprocess.run(
        [sys.executable, *program, str(certificates), *options, *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=RUN_DEADLINE,
    )
    said = [json.loads(line) for line in done.stdout.splitlines()]
    assert said, done.stderr
    return Run(
        status=done.returncode,
        header=said[0],
        lines={(line["scenario"], line["tls"]): line for line in said[1:]},
        errors=done.stderr,
    )
