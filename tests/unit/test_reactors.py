"""The option that chooses the reactor of the tests: what runs is what was asked for, or nothing does."""

from __future__ import annotations

import select
import subprocess
import sys
from pathlib import Path

import pytest

from support import reactors
from support.process import DEADLINE, environment

pytest.importorskip("pytest_twisted")

TESTS = Path(__file__).parents[1]

#: A test file's contents: passes where `WANTED` runs, in the tests and in the programs that they start.
LOOK = """
import subprocess, sys
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.task import deferLater
from support import reactors
from support.process import environment

PROGRAM = "from twisted.internet import reactor; from support import reactors; print(reactors.shown(reactor))"

@pytest_twisted.ensureDeferred
async def test_look(tmp_path):
    assert reactor.running and await deferLater(reactor, 0, lambda: 1) == 1
    (tmp_path / "program.py").write_text(PROGRAM)
    command = reactors.program(tmp_path / "program.py")
    child = subprocess.run(command, env=environment(), capture_output=True, text=True, check=True).stdout.strip()
    assert reactors.shown(reactor) == child
    assert child == "WANTED"
"""

#: What each choice is.
WANTED = {
    "epoll": "twisted.internet.epollreactor.EPollReactor",
    "select": "twisted.internet.selectreactor.SelectReactor",
    "poll": "twisted.internet.pollreactor.PollReactor",
    "asyncio": "twisted.internet.asyncioreactor.AsyncioSelectorReactor on asyncio.unix_events._UnixSelectorEventLoop",
    "uvloop": "twisted.internet.asyncioreactor.AsyncioSelectorReactor on uvloop.Loop",
    "iocp": "twisted.internet.iocpreactor.reactor.IOCPReactor",
}

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="knows the names of Linux's reactors")


def run_pytest(folder: Path, *options: str, wanted: str = "") -> subprocess.CompletedProcess[str]:
    """A run of that one test, with the configuration of these."""
    (folder / "test_look.py").write_text(LOOK.replace("WANTED", wanted))
    (folder / "conftest.py").write_text((TESTS / "conftest.py").read_text())
    (folder / "pytest.ini").write_text(f"[pytest]\npythonpath = {TESTS}\nfilterwarnings = error\n")
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *options, str(folder)]
    return subprocess.run(command, env=environment(), cwd=folder, capture_output=True, text=True, timeout=DEADLINE)


def test_every_choice_is_here() -> None:
    assert set(WANTED) == set(reactors.CHOICES)


@pytest.mark.parametrize("name", WANTED)
def test_what_runs_is_what_was_asked_for(tmp_path: Path, name: str) -> None:
    if name == "uvloop":
        pytest.importorskip("uvloop")
    done = run_pytest(tmp_path, f"--twisted-reactor={name}", wanted=WANTED[name])
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"reactor: {name}, {WANTED[name]}\n" in done.stdout


def test_without_a_choice_it_is_epoll(tmp_path: Path) -> None:
    assert run_pytest(tmp_path, wanted=WANTED["epoll"]).returncode == 0


def test_a_wrong_reactor_ends_the_run_at_once(tmp_path: Path) -> None:
    """A plugin of somebody else's has installed another."""
    (tmp_path / "early.py").write_text("from twisted.internet import pollreactor\npollreactor.install()\n")
    done = run_pytest(tmp_path, "-p", "early", "--twisted-reactor=select")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    expected = "--twisted-reactor: select, an instance of SelectReactor, cannot run: "
    assert f"{expected}twisted.internet.pollreactor.PollReactor is installed already" in done.stderr
    assert "test_look" not in done.stdout


def test_pytest_twisteds_own_option_is_refused(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--reactor=asyncio")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "--twisted-reactor" in done.stderr


@pytest.mark.parametrize("arguments", [(), ("-m",)])
def test_no_program(arguments: tuple[str, ...]) -> None:
    command = reactors.program(*arguments)
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=DEADLINE)
    assert done.returncode == 1 and done.stderr.startswith("usage: "), done.stderr


def test_an_unknown_reactor_is_refused(tmp_path: Path) -> None:
    done = run_pytest(tmp_path, "--twisted-reactor=kqueue")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "invalid choice: 'kqueue'" in done.stderr
