"""Ten thousand connections, twice, opened and closed in every way there is: nothing is left of them.

`connections.py` says which ways. `TXMEMBIO_STRESS_CONNECTIONS` makes it another number; ten thousand take a core half a
minute.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support.pki import PKI
from support.process import environment
from txmembio._openssl.lib import KEPT

pytestmark = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="/proc says how many descriptors and how much memory a process has"
)

COUNT = int(os.environ.get("TXMEMBIO_STRESS_CONNECTIONS", "10000"))

#: Seconds until a hang is a failure: ten times what it takes.
PATIENCE = 600

#: Bytes by which the second batch may leave the process larger than the first, at most. What an allocator keeps varies
#: by a few hundred KB from batch to batch. Of ten thousand connections, each can leak a hundred bytes until this is
#: reached: less than any object of ours, and a hundred and fiftieth of an SSL.
SLACK = 1 << 20

#: Objects of any kind that one batch may leave more than the other: caches of the interpreter and of Twisted, and its
#: heap of timers, from which cancelled ones are taken out when they are more than fifty, each a call and two methods.
#: A fiftieth of an object for each connection.
FEW = 200

#: How connections must have ended, so that it is known that all of these ways were gone.
FAILURES = {"truncated", "http_request", "alert_unknown_ca", "timeout"}
ENDINGS = {"clean", "aborted", "truncated", "lost", "timeout", "decryption_failed_or_bad_record_mac"}


@pytest.fixture(scope="module")
def states(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """What the process held before, after the first batch, and after the second."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "stress.connections",
            str(COUNT),
            pki.server.chain_file,
            pki.server.key_file,
            pki.ca.certificate_file,
            str(tmp_path_factory.mktemp("sockets")),
        ],
        cwd=Path(__file__).parents[1],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stderr) == (0, "")
    states: list[dict[str, Any]] = json.loads(done.stdout)
    return states


def test_all_ways_were_gone(states: list[dict[str, Any]]) -> None:
    before, first, second = (state["served"] for state in states)
    assert first["handshakes_begun"] - before["handshakes_begun"] == COUNT
    assert second["handshakes_begun"] - first["handshakes_begun"] == COUNT
    assert set(second["failures"]) >= FAILURES
    assert set(second["endings"]) >= ENDINGS
    assert second["handshakes_begun"] == second["handshakes_failed"] + second["handshakes_completed"]
    assert second["handshakes_completed"] == sum(second["endings"].values())
    assert second["handshakes_resumed"] > before["handshakes_resumed"]
    assert set(second["versions"]) == {"TLSv1.2", "TLSv1.3"}


def test_no_connection_context_or_scratch_is_left(states: list[dict[str, Any]]) -> None:
    for state in states:
        assert (state["connections"], state["contexts"], state["delayed_calls"]) == (0, 0, 0)
        assert state["scratches"] <= KEPT


def test_no_descriptor_is_left(states: list[dict[str, Any]]) -> None:
    assert len({state["descriptors"] for state in states}) == 1


def test_no_object_is_left(states: list[dict[str, Any]]) -> None:
    before, first, second = (state["objects"] for state in states)
    assert "txmembio.context.SSLContext" in before, "the ones that last; so the names here are the right ones"
    assert first == before
    assert second == before
    assert abs(states[2]["all_objects"] - states[1]["all_objects"]) < FEW


def test_the_second_batch_adds_no_memory(states: list[dict[str, Any]]) -> None:
    assert states[2]["memory"] - states[1]["memory"] < SLACK
