"""trio's own tests of TLS, unmodified, from its distribution, after install("ssl").

They need pyOpenSSL, as the peer that can renegotiate: so they have an environment of their own, and the txmembio that
is tested here is lent to it.
"""

from __future__ import annotations

import subprocess
import xml.etree.ElementTree as xml
from pathlib import Path

from support import suites, venvs
from support.process import environment

SUITE = "trio._tests.test_ssl"

TIME = 120
"""Seconds for the whole suite, which takes three."""

#: Runs the suite, all of it: `--run-slow` is its own option.
PROGRAM = f"""
import sys, txmembio
txmembio.install("ssl")
import ssl, pytest
assert ssl.SSLContext is txmembio.SSLContext
options = ["-q", "-p", "trio._tests.pytest_plugin", "-p", "no:cacheprovider", "--run-slow", "--pyargs", "{SUITE}"]
sys.exit(pytest.main([*options, "--junit-xml", sys.argv[1]]))
"""

RENEGOTIATION = (
    "the peer asks for a renegotiation, which create_default_context() has turned off, as one would for safety; on a"
    " bare SSLContext it works as in the standard library"
)

DEVIATIONS = {
    f"{test}[{version}]": RENEGOTIATION
    for test in ("test_renegotiation_simple", "test_renegotiation_randomized")
    for version in ("tls12", "tls13")
}


def run(program: str, folder: Path) -> suites.Outcome:
    """What became of the tests, by name."""
    python = venvs.python_with("trio", "trio", "trustme", "pyopenssl", "pytest", "cffi")
    report = folder / "report.xml"
    done = subprocess.run(
        [python, "-c", program, str(report)],
        capture_output=True,
        text=True,
        cwd=folder,
        env={**environment(), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        timeout=TIME,
    )
    assert done.returncode in (0, 1) and report.exists(), done.stdout + done.stderr  # all passed, or some failed
    outcome = suites.Outcome(output=done.stdout)
    for test in xml.parse(report).iter("testcase"):
        name = test.attrib["name"]
        for result in test:
            place = outcome.skipped if result.tag == "skipped" else outcome.failed
            place[name] = f"{result.attrib.get('message', '')}\n{result.text or ''}"
        if name not in outcome.failed and name not in outcome.skipped:
            outcome.passed[name] = ""
    return outcome


def test_trio(tmp_path: Path) -> None:
    outcome = run(PROGRAM, tmp_path)
    suites.check(outcome, DEVIATIONS, skips={})
    assert len(outcome.passed) > 50


def test_the_deviations_are_no_more_than_that(tmp_path: Path) -> None:
    """With renegotiation turned on again, as the standard library has it, every test passes."""
    allowing = f"""
import txmembio, txmembio.ssl
safe = txmembio.ssl.create_default_context
def create_default_context(*arguments, **more):
    context = safe(*arguments, **more)
    context.options &= ~txmembio.Options.OP_NO_RENEGOTIATION
    return context
txmembio.ssl.create_default_context = create_default_context
{PROGRAM}
"""
    suites.check(run(allowing, tmp_path), {}, skips={})
