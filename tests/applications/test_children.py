"""Pythons that a program starts have the switch as well, if `run` was told so."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.applications import STOCK, Applications

pytestmark = [pytest.mark.applications, pytest.mark.skipif(STOCK is not None, reason="pyOpenSSL needs no switch")]

TESTS = """
import os
from twisted.internet import ssl
from twisted.trial.unittest import TestCase

class Tests(TestCase):
    def test_where(self):
        with open(os.environ["TOLD"], "a") as told:
            print(os.getpid(), ssl.SSL.__name__, file=told)

    test_too = test_three = test_four = test_where
"""

SPAWNING = """
import multiprocessing

def where():
    import OpenSSL
    return OpenSSL.__name__

if __name__ == "__main__":
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.apply(where))
"""


def test_workers_of_trial(apps: Applications, tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(TESTS)
    told = tmp_path / "told"
    command = ("-m", "twisted.trial", "-j2", "test_it")
    with apps.run(*command, cwd=tmp_path, children=True, TOLD=str(told)) as process:
        assert process.wait() == 0, process.transcript()
    answers = [line.split() for line in told.read_text().splitlines()]
    assert {name for _, name in answers} == {"txmembio.OpenSSL.SSL"}
    assert len(answers) == 4


@pytest.mark.parametrize("children", [True, False], ids=["with children", "without"])
def test_spawned_workers(children: bool, apps: Applications, tmp_path: Path) -> None:
    program = apps.script(tmp_path, SPAWNING)
    with apps.run(program, cwd=tmp_path, children=children) as process:
        status = process.wait()
    if children:
        assert (status, process.output.strip()) == (0, b"txmembio.OpenSSL"), process.transcript()
    else:
        assert "No module named 'OpenSSL'" in process.errors


def test_the_line_in_the_program_itself_is_for_spawned_workers_too(apps: Applications, tmp_path: Path) -> None:
    """They import the program's main module, and with it the line."""
    install = f"import txmembio\ntxmembio.install(*{apps.targets.split(',')})\n"
    program = apps.script(tmp_path, install + SPAWNING)
    done = apps.finish(program, cwd=tmp_path, switch=False)
    assert done.output.strip() == b"txmembio.OpenSSL"
