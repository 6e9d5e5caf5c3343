"""Mistakes in the adapter that a completion port brings out: each is caught by a scenario, which passes without it.

A hang is caught too: at a scenario's deadline `run.py` looks at whether anything moves. The mistakes
themselves are in `mutate.py`.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from completion_ports import certificates
from completion_ports.mutate import MUTATIONS
from support.iocp import Faults
from support.pki import PKI
from support.port_runs import run

#: What is said of a scenario that hangs: nothing moves any more. And the seconds after which somebody looks.
HANGS, DEADLINE = "stuck", "2"

#: How it then ends what it has waited for.
CANCELLED = "twisted.internet.defer.CancelledError"

#: What each mistake does to a scenario: the scenario, and what it complains of.
CAUGHT = {
    "drop_last_chunk": ("bulk", HANGS),  # the end never comes
    "read_before_reply": ("wrapped_endpoints", HANGS),  # each side waits for the other
    "partial_send_is_whole": ("half_close", "alert is 'bad_record_mac'"),  # the stream goes on amid a record
    "paused_for_good": ("push_producer", HANGS),
}

#: In which settings of the port.
SETTINGS = {"default": Faults(), "faults": Faults(never_at_once=True, max_send=1000, close_code=64)}


@pytest.fixture(scope="module")
def certificate_folder(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("certificates")
    certificates.write(pki, folder)
    return folder


def raised(errors: str) -> set[str]:
    """The exceptions in tracebacks, but for the one that only carries another."""
    carried = re.findall(r"<class '([\w.]+)'>", errors)
    plain = re.findall(r"^(?:Failure: )?([\w.]+)(?::.*)?$", errors, re.MULTILINE)
    return {*carried, *plain} - {"twisted.internet.defer.FirstError"}


def test_every_mistake_is_here() -> None:
    assert set(CAUGHT) == set(MUTATIONS)


@pytest.mark.parametrize("setting", SETTINGS)
@pytest.mark.parametrize("mutation", CAUGHT)
def test_caught(certificate_folder: Path, mutation: str, setting: str) -> None:
    scenario, complaint = CAUGHT[mutation]
    arguments = [scenario, "--tls", "TLSv1_3"]
    without = run(certificate_folder, *arguments, faults=SETTINGS[setting])
    assert without.status == 0 and without.lines[scenario, "TLSv1_3"]["ok"], without.errors
    if complaint is HANGS:
        arguments += ["--deadline", DEADLINE]
    with_it = run(certificate_folder, *arguments, faults=SETTINGS[setting], mutation=mutation)
    line = with_it.lines[scenario, "TLSv1_3"]
    assert with_it.status == 1 and not line["ok"]
    assert complaint in line["problem"]
    if complaint is HANGS:
        assert raised(with_it.errors) == {CANCELLED}, with_it.errors  # nothing has crashed
