"""The bed, made the first time, and a summary of what ran on it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from completion_ports.certificates import write
from support import wine_bed
from support.pki import PKI
from support.wine import Wine, running
from support.wine_bed import Bed

SUMMARY: list[str] = []


@pytest.fixture(scope="session")
def bed() -> Bed:
    """With everything on it. Skips where wine or the compiler is not installed."""
    absent = wine_bed.missing()
    if absent:
        pytest.skip(absent)
    bed = Bed()
    bed.make()
    bed.build()
    SUMMARY.extend((bed.folder / "notes").read_text(encoding="utf-8").splitlines())
    return bed


@pytest.fixture(scope="session")
def wine(bed: Bed) -> Iterator[Wine]:
    """Windows' Python."""
    with running(bed) as wine:
        yield wine


@pytest.fixture(scope="session")
def certificates(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder that the scenarios of completion_ports want."""
    folder = tmp_path_factory.mktemp("certificates")
    write(pki, folder)
    return folder


@pytest.fixture(scope="session")
def summary() -> list[str]:
    """What is said at the end of the run: versions and counts."""
    return SUMMARY


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    if SUMMARY:
        terminalreporter.section("under wine")
        for line in SUMMARY:
            terminalreporter.line(line)
