"""Tornado's own tests, as they are in its wheel, under `install("tornado")`.

A TLS test is one in which Tornado alone hands sockets to OpenSSL. Under the switch it must pass, make as many streams
of ours, and hand over none.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from support import suites

tornado_test = pytest.importorskip("tornado.test", reason="Tornado is not installed")

#: What has to do with TLS.
SUITES = [
    "tornado.test.httpserver_test",
    "tornado.test.iostream_test",
    "tornado.test.simple_httpclient_test",
    "tornado.test.tcpclient_test",
    "tornado.test.tcpserver_test",
    "tornado.test.websocket_test",
]

#: Everything else.
OTHERS = sorted(
    {f"tornado.test.{path.stem}" for path in Path(tornado_test.__path__[0]).glob("*_test.py")} - set(SUITES)
)

#: Seconds for one run of either, on a loaded machine.
TIMEOUT = 400.0

DEVIATIONS = {
    f"tornado.test.iostream_test.{case}.test_async_read_error_logging": "It puts a function of its own into the stream"
    " in the place of read_from_fd(), through which our reads do not go: they decrypt into the stream's buffer."
    for case in ("TestIOStreamSSL", "TestIOStreamSSLContext")
}

#: Counts, for each test, streams of ours, and sockets that OpenSSL is given. The log is set as Tornado's runner does.
COUNTING = """
import logging, ssl
from collections import Counter
logging.basicConfig(level=logging.INFO)
logging.getLogger("tornado.access").setLevel(logging.CRITICAL)

made = Counter()

def counted(owner, name, what):
    call = getattr(owner, name)
    def counting(*args, **kwargs):
        made[what] += 1
        return call(*args, **kwargs)
    setattr(owner, name, counting)

def notes(test):
    said = dict(made)
    made.clear()
    return said or None

counted(ssl.SSLContext, "_wrap_socket", "sockets")
"""

SWITCHED = (
    COUNTING
    + """
import txmembio
txmembio.install("tornado")
from txmembio.tornado import TLSStream
counted(TLSStream, "__init__", "streams")
"""
)


@pytest.fixture(scope="module")
def stock() -> suites.Outcome:
    """Tornado alone."""
    return suites.run(SUITES, prelude=COUNTING, timeout=TIMEOUT)


@pytest.fixture(scope="module")
def switched() -> suites.Outcome:
    """Tornado under the switch."""
    return run_switched(SUITES)


def run_switched(modules: list[str]) -> suites.Outcome:
    """What fails is run once more, on its own: a few of Tornado's tests wait a hundredth of a second for something."""
    outcome = suites.run(modules, prelude=SWITCHED, timeout=TIMEOUT)
    if outcome.failed:
        again = suites.run(modules, prelude=SWITCHED, timeout=TIMEOUT, only=list(outcome.failed))
        for test in again.passed:
            outcome.passed[test] = outcome.failed.pop(test)
            outcome.notes[test] = again.notes.get(test)
    return outcome


def test_all_pass(stock: suites.Outcome, switched: suites.Outcome) -> None:
    suites.check(switched, DEVIATIONS, stock.skipped)
    assert not set(stock.passed) - set(switched.passed) - set(DEVIATIONS)


def test_every_tls_test_has_streams_of_ours_and_gives_openssl_no_socket(
    stock: suites.Outcome, switched: suites.Outcome
) -> None:
    tls = {test: stock.notes.get(test, {}).get("sockets") for test in stock.passed}
    tls = {test: sockets for test, sockets in tls.items() if sockets}
    assert len(tls) > 100
    seen = {test: switched.notes.get(test) or {} for test in tls}
    assert not {test: notes for test, notes in seen.items() if notes.get("sockets")}
    assert {test: notes.get("streams", 0) for test, notes in seen.items()} == tls


def test_no_other_test_gives_openssl_a_socket(switched: suites.Outcome) -> None:
    assert not [test for test, notes in switched.notes.items() if notes and notes.get("sockets")]


def test_the_rest_of_tornado_passes_too() -> None:
    suites.check(run_switched(OTHERS), {})
