"""Twenty thousand HTTPS requests over two hundred connections, some of which break off: nothing is left of them.

`tornado_soak.py` says in which ways. `TXMEMBIO_SOAK_REQUESTS` makes it another number; `make soak` makes it two hundred
thousand, a matter of minutes.
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

REQUESTS = int(os.environ.get("TXMEMBIO_SOAK_REQUESTS", "20000"))

CONNECTIONS = 200

#: Seconds until a hang is a failure: ten times what it takes.
PATIENCE = 120 + REQUESTS // 50

#: Bytes by which the second half may leave the process larger than the first, at most. What an allocator keeps varies
#: by a few hundred KB. Each half makes a new connection for one request in twelve: leaked, each of these 833 would take
#: 20 KB for its SSL alone.
SLACK = 2 << 20

#: Objects of any kind that one half may leave more than the other: caches of the interpreter and of Tornado.
FEW = 100

KINDS = {
    "is_answered",
    "sends_a_body",
    "closes",
    "asks_the_server_to_close",
    "is_aborted_by_the_server",
    "resets",
    "stops_in_a_request",
    "stops_in_a_body",
    "stops_in_an_answer",
    "leaves_without_close_notify",
}


@pytest.fixture(scope="module")
def soak(pki: PKI) -> dict[str, Any]:
    """What the process held before, after the first half, and after the second; and what it had done."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "stress.tornado_soak",
            str(REQUESTS),
            str(CONNECTIONS),
            pki.server.chain_file,
            pki.server.key_file,
            pki.ca.certificate_file,
        ],
        cwd=Path(__file__).parents[1],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    # Nothing on standard error: no exception was left to the log, and nothing was warned of.
    assert (done.returncode, done.stderr) == (0, "")
    report: dict[str, Any] = json.loads(done.stdout)
    print(report["done"], [state["memory"] for state in report["states"]])
    return report


@pytest.fixture(scope="module")
def states(soak: dict[str, Any]) -> list[dict[str, Any]]:
    """The three states."""
    found: list[dict[str, Any]] = soak["states"]
    return found


def test_all_requests_were_made_in_all_ways(soak: dict[str, Any], states: list[dict[str, Any]]) -> None:
    done = soak["done"]
    assert set(done) == {*KINDS, "stops_in_the_handshake"}
    assert sum(done[kind] for kind in KINDS) == REQUESTS
    before, first, second = (state["served"] for state in states)
    for earlier, later in ((before, first), (first, second)):
        assert later["handshakes_completed"] - earlier["handshakes_completed"] >= CONNECTIONS
        assert later["handshakes_resumed"] > earlier["handshakes_resumed"]
    assert second["handshakes_failed"] - before["handshakes_failed"] == done["stops_in_the_handshake"]
    assert second["handshakes_begun"] == second["handshakes_completed"] + second["handshakes_failed"]
    assert set(second["failures"]) == {"truncated"}
    assert set(second["endings"]) >= {"clean", "lost", "truncated"}


def test_no_connection_scratch_or_task_is_left(states: list[dict[str, Any]]) -> None:
    for state in states:
        assert (state["connections"], state["tasks"]) == (0, 1), "the program's own task"
        assert state["scratches"] <= KEPT


def test_no_descriptor_is_left(states: list[dict[str, Any]]) -> None:
    assert len({state["descriptors"] for state in states}) == 1


def test_no_object_is_left(states: list[dict[str, Any]]) -> None:
    # A session may come or go with the ticket that came last: those are in a cache of a fixed size.
    kept = {"txmembio.session.SSLSession", "txmembio.session_cache._Kept"}
    before, first, second = ({k: v for k, v in state["objects"].items() if k not in kept} for state in states)
    assert "txmembio.tornado.server.HTTPServer" in before, "so the names here are the right ones"
    assert not any("TLSStream" in name for name in before)
    assert first == before
    assert second == before
    assert all(states[2]["objects"][name] < 10 for name in kept)
    assert abs(states[2]["all_objects"] - states[1]["all_objects"]) < FEW


def test_the_second_half_adds_no_memory(states: list[dict[str, Any]]) -> None:
    assert states[2]["memory"] - states[1]["memory"] < SLACK
