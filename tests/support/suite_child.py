"""What `support.suites` starts: a Python that does the prelude, then runs the tests of modules, and writes what became
of each, one JSON object on a line. Run by its path; nothing of this repository is imported here but what the prelude
asks for.

Only modules that do not bring `ssl` along are imported before the prelude (`unittest` does, before Python 3.11).
"""

from __future__ import annotations

import faulthandler
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TextIO


class Record:
    """The results, written as they come, so that a crash leaves what was known until then. Every test that begins has a
    line that says so, and one when it has ended."""

    def __init__(self, file: TextIO, notes: Callable[[str], object] | None) -> None:
        self._file = file
        self._notes = notes
        self._under_way: dict[str | None, int] = {}  # how many results each has

    def begin(self, test: str) -> None:
        self._under_way[test] = 0
        self._write(begun=test)

    def add(self, test: str, outcome: str, reason: str = "", below: str | None = None) -> None:
        """`below` is the test whose part, or subtest, this is; what is no part of any test is written at once."""
        for parent in (test, below):
            if parent in self._under_way:
                self._under_way[parent] += 1
        self._write(id=test, outcome=outcome, reason=reason)

    def end(self, test: str) -> None:
        """A test of which nobody has said anything has failed: its subtests did, or whoever ran it has lost it."""
        if not self._under_way.pop(test, 0):
            self.add(test, "failed", "ended without a result")
        notes = self._notes(test) if self._notes is not None else None
        if notes is not None:
            self._write(id=test, notes=notes)

    def finish(self, epilogue: object) -> None:
        self._write(end=True, epilogue=epilogue)

    def _write(self, **line: object) -> None:
        self._file.write(json.dumps(line) + "\n")
        self._file.flush()


def load(name: str, record: Record, find: Callable[[Any], Any]) -> Any:
    """The tests of the module `name`, as `find` makes them of it; None if it cannot be imported, or says that it should
    be skipped."""
    import importlib
    import traceback
    import unittest

    try:
        return find(importlib.import_module(name))
    except unittest.SkipTest as skip:
        record.add(f"import {name}", "skipped", str(skip))
    except BaseException as error:
        record.add(f"import {name}", "error", "".join(traceback.format_exception(error)))
    return None


def single_tests(suite: Any) -> Iterator[Any]:
    """The tests of a suite, and of the suites in it."""
    try:
        inner = iter(suite)
    except TypeError:
        yield suite
        return
    for test in inner:
        yield from single_tests(test)


def chosen(suites: list[Any], patterns: Sequence[str], make: Callable[[list[Any]], Any]) -> Any:
    """One suite of all, or of those tests whose id fits one of the patterns."""
    from fnmatch import fnmatchcase

    if not patterns:
        return make(suites)
    tests = [test for suite in suites for test in single_tests(suite)]
    return make([test for test in tests if any(fnmatchcase(test.id(), pattern) for pattern in patterns)])


def run_unittest(modules: Sequence[str], patterns: Sequence[str], record: Record) -> None:
    import traceback
    import unittest

    class Result(unittest.TestResult):
        def startTest(self, test: Any) -> None:
            super().startTest(test)
            record.begin(test.id())

        def stopTest(self, test: Any) -> None:
            super().stopTest(test)
            record.end(test.id())

        def addSuccess(self, test: Any) -> None:
            record.add(test.id(), "passed")

        def addError(self, test: Any, err: Any) -> None:
            record.add(test.id(), "error", "".join(traceback.format_exception(*err)))

        def addFailure(self, test: Any, err: Any) -> None:
            record.add(test.id(), "failed", "".join(traceback.format_exception(*err)))

        def addSkip(self, test: Any, reason: str) -> None:
            below = getattr(test, "test_case", None)
            record.add(test.id(), "skipped", str(reason), below and below.id())

        def addExpectedFailure(self, test: Any, err: Any) -> None:
            record.add(test.id(), "xfail", "".join(traceback.format_exception(*err)))

        def addUnexpectedSuccess(self, test: Any) -> None:
            record.add(test.id(), "failed", "unexpected success")

        def addSubTest(self, test: Any, subtest: Any, err: Any) -> None:
            if err is not None:
                kind = "failed" if issubclass(err[0], test.failureException) else "error"
                record.add(subtest.id(), kind, "".join(traceback.format_exception(*err)), test.id())

    loader = unittest.TestLoader()
    suites = [suite for name in modules if (suite := load(name, record, loader.loadTestsFromModule)) is not None]
    chosen(suites, patterns, unittest.TestSuite)(Result())


def run_trial(modules: Sequence[str], patterns: Sequence[str], record: Record) -> None:
    from twisted.trial import reporter, runner

    def text(failure: Any) -> str:
        if isinstance(failure, tuple):
            import traceback

            return "".join(traceback.format_exception(*failure))
        return str(failure.getTraceback()) if hasattr(failure, "getTraceback") else str(failure)

    class Reporter(reporter.Reporter):
        def startTest(self, test: Any) -> None:
            super().startTest(test)
            record.begin(test.id())

        def stopTest(self, test: Any) -> None:
            super().stopTest(test)
            record.end(test.id())

        def addSuccess(self, test: Any) -> None:
            super().addSuccess(test)
            record.add(test.id(), "passed")

        def addError(self, test: Any, error: Any) -> None:
            super().addError(test, error)
            record.add(test.id(), "error", text(error))

        def addFailure(self, test: Any, fail: Any) -> None:
            super().addFailure(test, fail)
            record.add(test.id(), "failed", text(fail))

        def addSkip(self, test: Any, reason: Any) -> None:
            super().addSkip(test, reason)
            record.add(test.id(), "skipped", str(reason))

        def addExpectedFailure(self, test: Any, error: Any, todo: Any = None) -> None:
            super().addExpectedFailure(test, error, todo)
            record.add(test.id(), "xfail", text(error))

        def addUnexpectedSuccess(self, test: Any, todo: Any = None) -> None:
            super().addUnexpectedSuccess(test, todo)
            record.add(test.id(), "failed", "unexpected success")

        def done(self) -> None:
            """No summary: it is made elsewhere, and trial's fails over some tests of Twisted's own."""

    loader = runner.TestLoader()
    suites = [suite for name in modules if (suite := load(name, record, loader.loadModule)) is not None]
    runner.TrialRunner(Reporter).run(chosen(suites, patterns, runner.TrialSuite))


RUNNERS = {"unittest": run_unittest, "trial": run_trial}


def main() -> None:
    del sys.path[0]  # this file's folder, whose modules no suite should meet
    with open(sys.argv[1], encoding="utf-8") as file:
        order: dict[str, Any] = json.load(file)
    results = sys.argv[2]
    sys.argv[1:] = []
    faulthandler.enable()
    prelude: dict[str, Any] = {"__name__": "prelude"}
    with open(results, "w", encoding="utf-8") as file:
        exec(compile(order["prelude"], "<prelude>", "exec"), prelude)
        record = Record(file, prelude.get("notes"))
        RUNNERS[order["runner"]](order["modules"], order["only"], record)
        epilogue = prelude.get("epilogue")
        record.finish(epilogue() if epilogue is not None else {})


if __name__ == "__main__":
    main()
