"""Every scenario over an emulated completion port, in each setting of its faults: what both ends have received, by size
and hash, over which version, and why they were told that it was over.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from completion_ports import certificates
from completion_ports.expectations import problem
from completion_ports.scenarios import SCENARIOS
from support.iocp import VARIABLE, Faults
from support.pki import PKI
from support.port_runs import Run, run

VERSIONS = ["TLSv1_2", "TLSv1_3"]

#: Bytes that each side sends: some full records, and more than the buffers beneath take from a producer.
SIZE = 100_000

#: Bytes that each side sends where there is more time for it, or less.
MEGABYTES, LITTLE = 3_000_000, 3_000

ALL_AT_ONCE = Faults(never_at_once=True, max_send=1000, max_receive=64, close_code=64)

#: The settings: what the port does, how much each side sends.
SETTINGS = {
    "default": (Faults(), SIZE),
    "never_at_once": (Faults(never_at_once=True), SIZE),
    "max_send": (Faults(max_send=1000), SIZE),
    "max_receive": (Faults(max_receive=64), SIZE),
    "close_64": (Faults(close_code=64), SIZE),
    "all": (ALL_AT_ONCE, SIZE),
    "a few bytes": (Faults(never_at_once=True, max_receive=7), LITTLE),
    "megabytes": (Faults(), MEGABYTES),
    "megabytes never at once": (Faults(never_at_once=True, max_send=1000), MEGABYTES),
}

#: Those in which everything is tried, and what is tried in the others.
EVERYTHING = ["default", "never_at_once", "max_send", "max_receive", "close_64", "all"]
SOME = {
    "a few bytes": [
        "endpoint_strings",
        "tls_in_tls",
        "starttls",
        "bulk",
        "keep_alive",
        "half_close",
        "untrusted_client",
    ],
    "megabytes": ["bulk", "push_producer", "pull_producer"],
    "megabytes never at once": ["bulk"],
}

TRIED = {setting: list(SCENARIOS) for setting in EVERYTHING} | SOME


@pytest.fixture(scope="module")
def certificate_folder(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificates.write(pki, folder)
    return folder


@pytest.fixture(scope="module")
def ran(certificate_folder: Path) -> Callable[[str], Run]:
    """The run of all that is tried in a setting; there is one, even if it fails."""

    @functools.cache
    def attempted(setting: str) -> Run | Exception:
        faults, size = SETTINGS[setting]
        try:
            return run(certificate_folder, *TRIED[setting], "--size", str(size), faults=faults)
        except Exception as error:
            return error

    def in_setting(setting: str) -> Run:
        outcome = attempted(setting)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return in_setting


@pytest.mark.parametrize("setting", SETTINGS)
def test_what_runs_is_twisteds_own_reactor(ran: Callable[[str], Run], setting: str) -> None:
    header = ran(setting).header
    assert header["reactor"] == "twisted.internet.iocpreactor.reactor.IOCPReactor"
    if sys.platform != "win32":
        assert header["port"] == "support.iocp.kernel"
        assert header["faults"] == str(SETTINGS[setting][0])
    assert ran(setting).status == 0, ran(setting).errors


def test_the_environments_faults_are_those_of_nobody_else(
    certificate_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run without faults has none."""
    monkeypatch.setenv(VARIABLE, "max_send=1000")
    done = run(certificate_folder, "bulk", "--tls", "TLSv1_3", "--size", "1000")
    assert done.status == 0 and done.header["faults"] == ""


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize(("setting", "name"), [(setting, name) for setting in SETTINGS for name in TRIED[setting]])
def test_scenario(ran: Callable[[str], Run], setting: str, name: str, version: str) -> None:
    line = ran(setting).lines[name, version]
    assert line["ok"], line["problem"]
    assert problem(name, version, SETTINGS[setting][1], line["facts"]) is None


def test_a_reactor_that_is_not_installed(certificate_folder: Path) -> None:
    """A program may make its own. What the adapter does later has to be done on that one: small writes from a timer,
    time-outs (where Twisted's coalescing asked the installed one, replies stalled: twisted#12048).
    """
    names = ["keep_alive", "endpoint_strings", "starttls", "handshake_timeout", "shutdown_timeout"]
    done = run(certificate_folder, *names, "--own-reactor")
    assert done.status == 0, done.errors
    assert len(done.lines) == 2 * len(names) and all(line["ok"] for line in done.lines.values())


def test_the_facts_are_looked_at(certificate_folder: Path) -> None:
    """What was sent has to be what was expected: a run with another size is not."""
    line = run(certificate_folder, "bulk", "--size", "1000", "--tls", "TLSv1_3").lines["bulk", "TLSv1_3"]
    assert problem("bulk", "TLSv1_3", 1000, line["facts"]) is None
    trouble = problem("bulk", "TLSv1_3", 1001, line["facts"])
    assert trouble is not None and "client's received is 1000, not 1001" in trouble and "server's sha256" in trouble
    assert problem("bulk", "TLSv1_2", 1000, line["facts"])
    assert problem("close_after_write", "TLSv1_3", 1000, line["facts"])
