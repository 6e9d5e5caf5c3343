"""Test suites of others, run unmodified in a child Python, and what became of each test.

    outcome = suites.run(["tornado.test.iostream_test"], prelude='import txmembio; txmembio.install("tornado")')
    suites.check(outcome, DEVIATIONS)

Each test has an id, the one that its runner gives it:

- `package.module.Class.test`; a subtest that failed has its own, `package.module.Class.test (size=3)`, and then the
  test itself has none;
- `setUpClass (package.module.Class)`, `setUpModule (package.module)` for a fixture that failed, or skipped its tests;
- `import package.module` for a module that could not be imported, or skipped itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.process import environment

CHILD = Path(__file__).with_name("suite_child.py")

#: Lines of the child's output that a report has: the tracebacks of a few threads.
TAIL_LINES = 60

#: Seconds that a child has for its last words, the tracebacks of all threads, once its time is over.
GRACE = 10.0


class SuiteError(AssertionError):
    """The child did not get to its end: it crashed, or its time was over."""


@dataclass
class Outcome:
    """What became of the tests, by id. The values are reasons: a traceback, or what a skip said."""

    passed: dict[str, str] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    skipped: dict[str, str] = field(default_factory=dict)
    xfailed: dict[str, str] = field(default_factory=dict)
    """Tests that their authors expect to fail (trial's *todo*), and that did."""
    notes: dict[str, Any] = field(default_factory=dict)
    """What the prelude's `notes()` said of each test."""
    epilogue: dict[str, Any] = field(default_factory=dict)
    """What the prelude's `epilogue()` returned."""
    output: str = ""
    """Standard output and standard error of the child."""

    def __str__(self) -> str:
        return (
            f"{len(self.passed)} passed, {len(self.failed)} failed, {len(self.skipped)} skipped,"
            f" {len(self.xfailed)} failed as expected"
        )

    def _add(self, test: str, outcome: str, reason: str) -> None:
        """A test may have more than one result, its own and its clean-up's say: then the worst of them counts."""
        places = {"passed": self.passed, "xfail": self.xfailed, "skipped": self.skipped}
        if outcome in places:
            if test not in self.failed:
                places[outcome][test] = reason
            return
        for place in places.values():
            place.pop(test, None)
        self.failed[test] = "\n".join(filter(None, [self.failed.get(test), reason]))


def run(
    modules: Sequence[str],
    *,
    prelude: str = "",
    python: str | os.PathLike[str] = sys.executable,
    options: Sequence[str] = (),
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    timeout: float,
    runner: str = "unittest",
    only: Sequence[str] = (),
) -> Outcome:
    """Runs the tests of `modules` in a child Python, all in the order of the runner.

    `prelude` is Python that the child executes before it imports `unittest`, Twisted or anything of the suite. It may
    define `epilogue() -> dict`, called at the end, and `notes(test_id) -> object`, called when a test has ended; both
    return what JSON can carry, and None is no note. `options` are the interpreter's (`-W error`), `env` is its whole
    environment, :func:`support.process.environment` when left out. `cwd` is a new folder when left out. `timeout` is in
    seconds, for all. `runner` is "unittest" or "trial". `only` are patterns for ids, like those of a shell for files.

    Raises SuiteError for a child that crashes, ends before its time, or is not through in time. What it says has the
    test that was under way, and the last lines of the output.
    """
    order = {"prelude": prelude, "modules": list(modules), "runner": runner, "only": list(only)}
    with tempfile.TemporaryDirectory(prefix="txmembio-suite-") as name:
        folder = Path(name)
        (folder / "order.json").write_text(json.dumps(order), encoding="utf-8")
        (folder / "cwd").mkdir()
        results, output = folder / "results.jsonl", folder / "output"
        results.touch()
        command = [os.fspath(python), *options, os.fspath(CHILD), os.fspath(folder / "order.json"), os.fspath(results)]
        with output.open("wb") as file:
            end = _finish(command, file.fileno(), env or environment(), cwd or folder / "cwd", timeout)
        said = output.read_text(encoding="utf-8", errors="replace")
        return _read(results, said, end)


def _finish(
    command: list[str], output: int, env: Mapping[str, str], cwd: str | os.PathLike[str], timeout: float
) -> str:
    """Lets the child run; returns how it ended, "" if well. It is the first of a session of its own, so that what it
    has started ends with it."""
    child = subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=env, cwd=cwd, start_new_session=True
    )
    try:
        try:
            status = child.wait(timeout)
        except subprocess.TimeoutExpired:
            child.send_signal(signal.SIGABRT)  # faulthandler then writes where each thread is
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(GRACE)
            return f"was not through after {timeout:g} seconds"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
    if status < 0:
        return f"was ended by {signal.Signals(-status).name}"
    return f"ended with exit status {status}" if status else ""


def _read(results: Path, output: str, end: str) -> Outcome:
    outcome = Outcome(output=output)
    under_way = ""
    complete = False
    for text in results.read_text(encoding="utf-8").splitlines():
        try:
            line = json.loads(text)
        except ValueError:
            break  # the line that a crash has cut short
        if "begun" in line:
            under_way = line["begun"]
        elif "notes" in line:
            outcome.notes[line["id"]] = line["notes"]
        elif "end" in line:
            complete, under_way, outcome.epilogue = True, "", line["epilogue"]
        else:
            outcome._add(line["id"], line["outcome"], line["reason"])
    if not end and not complete:
        end = "ended before the tests did"
    if end:
        tail = "\n".join(output.splitlines()[-TAIL_LINES:])
        last = f"; the last test that had begun is {under_way}" if under_way else ""
        raise SuiteError(f"the child {end} ({outcome}){last}\n--- the end of its output\n{tail}")
    return outcome


def check(outcome: Outcome, deviations: Mapping[str, str], skips: Mapping[str, str] | None = None) -> None:
    """Asserts that what failed is what `deviations` lists, id for id, each with a reason. With `skips`, the same of
    what was skipped; another run's `skipped` will do. Raises AssertionError with everything that is not so."""
    wrong = _difference("failed", outcome.failed, deviations, outcome)
    if skips is not None:
        wrong += _difference("skipped", outcome.skipped, skips, outcome)
    if not outcome.passed:
        wrong.append("no test has passed")
    wrong += [f"{test}: the list gives no reason" for test, reason in deviations.items() if not reason.strip()]
    if wrong:
        raise AssertionError(f"{outcome}, but:\n\n" + "\n".join(wrong))


def _difference(what: str, found: Mapping[str, str], listed: Mapping[str, str], outcome: Outcome) -> list[str]:
    wrong = [f"{test} {what} and is not in the list:\n{reason}" for test, reason in found.items() if test not in listed]
    for test in listed:
        if test in found:
            continue
        places = {
            "passed": outcome.passed,
            "failed": outcome.failed,
            "skipped": outcome.skipped,
            "xfailed": outcome.xfailed,
        }
        became = next((name for name, place in places.items() if test in place), "there is no such test, or it passed")
        wrong.append(f"{test} is in the list of what {what}, and is not one: {became}")
    return wrong
