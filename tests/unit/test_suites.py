"""`support.suites`: that it tells what became of the tests of a suite, and that a list which is not true is caught."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from support import suites
from support.process import environment

#: Seconds for suites of a few tests.
TIMEOUT = 60.0

#: One test for every way that one can end.
ENDS = """
import unittest

class Tests(unittest.TestCase):
    def test_passes(self): pass
    def test_fails(self): self.assertEqual("sought", "found")
    def test_breaks(self): raise LookupError("broken")
    def test_is_skipped(self): self.skipTest("not today")
    @unittest.expectedFailure
    def test_fails_as_expected(self): self.fail("as expected")
    @unittest.expectedFailure
    def test_passes_against_expectation(self): pass
    def test_breaks_in_its_clean_up(self): self.addCleanup(lambda: 1 / 0)
    def test_parts(self):
        for number in range(4):
            with self.subTest(number=number):
                if number == 2:
                    self.skipTest("an even one")
                self.assertLess(number, 3)
    def test_good_parts(self):
        for number in range(4):
            with self.subTest(number=number):
                pass

class NotSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise RuntimeError("nothing is ready")
    def test_never_begins(self): pass

class SkippedInSetUp(unittest.TestCase):
    @classmethod
    def setUpClass(cls): raise unittest.SkipTest("not here")
    def test_never_begins(self): pass
"""

#: The same for trial.
TRIAL_ENDS = """
from twisted.internet import defer, reactor
from twisted.trial import unittest

class Tests(unittest.TestCase):
    def test_passes(self):
        done = defer.Deferred()
        reactor.callLater(0, done.callback, None)
        return done
    def test_fails(self): return defer.fail(self.failureException("in the end"))
    def test_breaks(self): raise LookupError("broken")
    def test_is_skipped(self): raise unittest.SkipTest("not today")
    def test_todo(self): self.fail("as expected")
    test_todo.todo = "some day"
    def test_done(self): pass
    test_done.todo = "some day"
    def test_leaves_a_call(self): reactor.callLater(3600, print)
    def test_logs_an_error(self):
        from twisted.python import log
        log.err(LookupError("logged"))
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder from which the children import."""
    path = os.pathsep.join([str(tmp_path), environment()["PYTHONPATH"]])
    monkeypatch.setattr(suites, "environment", lambda: {**environment(), "PYTHONPATH": path})
    return tmp_path


def run(folder: Path, source: str, prelude: str = "", runner: str = "unittest") -> suites.Outcome:
    (folder / "theirs.py").write_text(source)
    return suites.run(["theirs"], prelude=prelude, timeout=TIMEOUT, runner=runner)


def last_lines(reasons: dict[str, str]) -> dict[str, str]:
    return {test: reason.strip().splitlines()[-1] if reason else "" for test, reason in reasons.items()}


def test_every_end_of_a_test_is_told(folder: Path) -> None:
    outcome = run(folder, ENDS)
    assert set(outcome.passed) == {"theirs.Tests.test_passes", "theirs.Tests.test_good_parts"}
    assert last_lines(outcome.failed) == {
        "theirs.Tests.test_fails": "+ found",
        "theirs.Tests.test_breaks": "LookupError: broken",
        "theirs.Tests.test_passes_against_expectation": "unexpected success",
        "theirs.Tests.test_breaks_in_its_clean_up": "ZeroDivisionError: division by zero",
        "theirs.Tests.test_parts (number=3)": "AssertionError: 3 not less than 3",
        "setUpClass (theirs.NotSetUp)": "RuntimeError: nothing is ready",
    }
    assert outcome.skipped == {
        "theirs.Tests.test_is_skipped": "not today",
        "theirs.Tests.test_parts (number=2)": "an even one",
        "setUpClass (theirs.SkippedInSetUp)": "not here",
    }
    assert set(outcome.xfailed) == {"theirs.Tests.test_fails_as_expected"}
    assert str(outcome) == "2 passed, 6 failed, 3 skipped, 1 failed as expected"


def test_every_end_of_a_test_of_trial_is_told(folder: Path) -> None:
    pytest.importorskip("twisted.trial", reason="Twisted is not installed")
    outcome = run(folder, TRIAL_ENDS, runner="trial")
    assert set(outcome.passed) == {"theirs.Tests.test_passes"}
    assert set(outcome.failed) == {
        f"theirs.Tests.{name}"
        for name in ("test_fails", "test_breaks", "test_done", "test_leaves_a_call", "test_logs_an_error")
    }
    assert "DirtyReactorAggregateError" in outcome.failed["theirs.Tests.test_leaves_a_call"]
    assert "LookupError: logged" in outcome.failed["theirs.Tests.test_logs_an_error"]
    assert outcome.skipped == {"theirs.Tests.test_is_skipped": "not today"}
    assert set(outcome.xfailed) == {"theirs.Tests.test_todo"}


def test_a_module_that_cannot_be_set_up_is_told(folder: Path) -> None:
    source = "import unittest\ndef setUpModule(): raise RuntimeError('nothing is ready')\n"
    outcome = run(folder, source + "class Tests(unittest.TestCase):\n  def test(self): pass\n")
    assert last_lines(outcome.failed) == {"setUpModule (theirs)": "RuntimeError: nothing is ready"}
    assert not outcome.passed


@pytest.mark.parametrize("runner", ["unittest", "trial"])
def test_modules_that_cannot_be_imported_are_told(runner: str, folder: Path) -> None:
    if runner == "trial":
        pytest.importorskip("twisted.trial", reason="Twisted is not installed")
    (folder / "skips_itself.py").write_text("import unittest\nraise unittest.SkipTest('not on this machine')\n")
    outcome = suites.run(["no_such_module", "skips_itself"], timeout=TIMEOUT, runner=runner)
    assert last_lines(outcome.failed) == {
        "import no_such_module": "ModuleNotFoundError: No module named 'no_such_module'"
    }
    assert outcome.skipped == {"import skips_itself": "not on this machine"}


def test_the_prelude_comes_first_and_has_the_last_word(folder: Path) -> None:
    """Before `unittest`, even; where importing that brings `ssl` along, the prelude could not replace it."""
    prelude = """
import sys
seen = sorted({"unittest", "ssl", "_ssl", "asyncio", "theirs"} & set(sys.modules))
counted = []
def notes(test):
    counted.append(test)
    return {"number": len(counted)} if test.endswith("passes") else None
def epilogue():
    return {"seen": seen, "theirs": "theirs" in sys.modules, "argv": sys.argv[1:], "path": sys.path[0]}
"""
    outcome = run(folder, ENDS, prelude)
    assert outcome.epilogue == {"seen": [], "theirs": True, "argv": [], "path": str(folder)}
    assert set(outcome.notes) == {"theirs.Tests.test_passes"}


def test_what_the_child_says_is_kept(folder: Path) -> None:
    outcome = run(folder, f"import sys; print('on one'); print('on the other', file=sys.stderr)\n{ENDS}")
    assert {"on one", "on the other"} <= set(outcome.output.splitlines())


def test_single_tests_can_be_chosen(folder: Path) -> None:
    (folder / "theirs.py").write_text(ENDS)
    outcome = suites.run(["theirs"], timeout=TIMEOUT, only=["*.test_passes", "*.test_bre*s"])
    assert set(outcome.passed) == {"theirs.Tests.test_passes"}
    assert set(outcome.failed) == {"theirs.Tests.test_breaks"}


def test_a_list_that_is_true_is_accepted(folder: Path) -> None:
    outcome = run(folder, ENDS)
    suites.check(outcome, dict.fromkeys(outcome.failed, "so it is"))
    suites.check(outcome, dict.fromkeys(outcome.failed, "so it is"), outcome.skipped)


@pytest.mark.parametrize(
    ("deviations", "skips", "complaint"),
    [
        ({}, None, r"theirs\.Tests\.test_breaks failed and is not in the list:\n(.*\n)*LookupError: broken"),
        (
            {"theirs.Tests.test_passes": "no"},
            None,
            r"test_passes is in the list of what failed, and is not one: passed",
        ),
        ({"theirs.Tests.test_is_skipped": "no"}, None, r"test_is_skipped is in the list .*: skipped"),
        ({"theirs.Tests.test_gone": "no"}, None, r"test_gone is in the list .*: there is no such test"),
        ({"theirs.Tests.test_breaks": " "}, None, r"test_breaks: the list gives no reason"),
        ({}, {}, r"theirs\.Tests\.test_is_skipped skipped and is not in the list:\nnot today"),
        ({}, {"theirs.Tests.test_passes": "no"}, r"test_passes is in the list of what skipped, .*: passed"),
    ],
)
def test_a_list_that_is_not_true_is_caught(
    deviations: dict[str, str], skips: dict[str, str] | None, complaint: str, folder: Path
) -> None:
    outcome = run(folder, ENDS)
    listed = {} if complaint.startswith(r"theirs\.Tests\.test_breaks") else dict.fromkeys(outcome.failed, "so it is")
    if skips:
        skips = outcome.skipped | skips
    with pytest.raises(AssertionError, match=complaint):
        suites.check(outcome, listed | deviations, skips)


def test_nothing_run_is_nothing_shown(folder: Path) -> None:
    with pytest.raises(AssertionError, match="no test has passed"):
        suites.check(run(folder, ""), {})


#: The second test's body is for each test to fill in.
TWO_TESTS = """
import os, sys, unittest
class Tests(unittest.TestCase):
  def test_first(self): pass
  def test_second(self): """


@pytest.mark.parametrize(
    ("what", "complaint"),
    [
        ("print('last words', flush=True); os._exit(3)", "ended with exit status 3 "),
        ("print('last words', flush=True); os._exit(0)", "ended before the tests did "),
        ("print('last words', flush=True); os.abort()", "was ended by SIGABRT "),
    ],
)
def test_a_crash_is_told_with_what_was_said_last(what: str, complaint: str, folder: Path) -> None:
    with pytest.raises(suites.SuiteError) as caught:
        run(folder, TWO_TESTS + what)
    text = str(caught.value)
    assert complaint in text and "(1 passed, 0 failed" in text
    assert "the last test that had begun is theirs.Tests.test_second\n" in text
    assert "last words" in text


def test_a_crash_at_the_very_end_is_told(folder: Path) -> None:
    with pytest.raises(suites.SuiteError, match="was ended by SIGKILL "):
        run(folder, TWO_TESTS + "__import__('atexit').register(os.kill, os.getpid(), 9)")


def test_a_prelude_that_raises_is_told(folder: Path) -> None:
    with pytest.raises(suites.SuiteError, match=r"exit status 1 (.*\n)*RuntimeError: not today"):
        run(folder, ENDS, "raise RuntimeError('not today')")


def test_a_hang_is_told_with_the_place(folder: Path) -> None:
    """It is the time-out that is tested, so one has to pass; what counts is that there is an end and what is told."""
    wait = "print('last words', flush=True); wait()\ndef wait(): os.read(os.pipe()[0], 1)"
    (folder / "theirs.py").write_text(TWO_TESTS + wait)
    with pytest.raises(suites.SuiteError) as caught:
        suites.run(["theirs"], timeout=3)
    text = str(caught.value)
    assert "was not through after 3 seconds (1 passed" in text and "last words" in text
    assert "theirs.py" in text and "in wait" in text


def test_what_the_child_has_started_ends_with_it(folder: Path) -> None:
    """The grandchild holds one end of a pipe, which has an end when the grandchild has."""
    os.mkfifo(folder / "pipe")
    reader = os.open(folder / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    try:
        grandchild = "import os, signal; os.write(os.open('pipe', os.O_WRONLY), b'here'); print(); signal.pause()"
        prelude = f"""
import subprocess, sys
command = [sys.executable, "-c", {grandchild!r}]
subprocess.Popen(command, cwd={str(folder)!r}, stdout=subprocess.PIPE).stdout.readline()
"""
        assert run(folder, TWO_TESTS + "pass", prelude).passed
        os.set_blocking(reader, True)
        assert os.read(reader, 100) == b"here"
        assert os.read(reader, 100) == b""
    finally:
        os.close(reader)


def test_another_python_and_its_options_can_be_given(folder: Path) -> None:
    (folder / "theirs.py").write_text(ENDS)
    prelude = "import sys\ndef epilogue(): return {'optimize': sys.flags.optimize, 'executable': sys.executable}"
    outcome = suites.run(["theirs"], prelude=prelude, timeout=TIMEOUT, python=sys.executable, options=["-O"])
    assert outcome.epilogue == {"optimize": 1, "executable": sys.executable}
