"""`install("twisted")`: what programs for Twisted see of it, over real sockets. They run in a Python of their own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from support import process
from support.pki import PKI

PROGRAM = Path(process.__file__).with_name("installed_twisted.py")

DONE = "twisted.internet.error.ConnectionDone"
LOST = "twisted.internet.error.ConnectionLost"
TRUNCATED = "txmembio.twisted.reasons.ConnectionTruncated"
OPENSSL_ERROR = "OpenSSL.SSL.Error"


@pytest.fixture(scope="module")
def seen(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What each scenario of the program saw."""
    folder = tmp_path_factory.mktemp("installed")
    for name, contents in {
        "ca.pem": pki.ca.certificate,
        "intermediate.pem": pki.intermediate.certificate,
        "server.pem": pki.server.certificate,
        "server.key": pki.server.private_key,
    }.items():
        (folder / name).write_bytes(contents)
    done = subprocess.run(
        # Twisted's Agent itself makes readBody() complain.
        [sys.executable, "-W", "error", "-W", "ignore:Using readBody", str(PROGRAM), str(folder)],
        env=process.environment(),
        capture_output=True,
        text=True,
        timeout=process.DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    results: dict[str, Any] = json.loads(done.stdout)
    return results


def test_handles_certificates_and_isinstance_mean_what_they_did(seen: dict[str, Any]) -> None:
    answer, *facts, reasons = seen["Conversation"]
    assert answer == "HELLO"
    assert facts == [True, True, True, True, "TLSv1.3", True, True, "Factory", True, True, None]
    assert reasons == [DONE, DONE]


def test_a_site_and_an_agent(seen: dict[str, Any]) -> None:
    assert seen["Web"] == [200, "secure"]


def test_a_wrong_name_reaches_connection_lost_as_service_identity_has_it(seen: dict[str, Any]) -> None:
    assert seen["WrongName"][0] == "service_identity.exceptions.VerificationError"


def test_an_untrusted_certificate_is_an_openssl_error_with_its_queue(seen: dict[str, Any]) -> None:
    assert seen["Untrusted"] == [OPENSSL_ERROR, "certificate verify failed", OPENSSL_ERROR, "tlsv1 alert unknown ca"]


def test_plain_text_on_a_tls_port(seen: dict[str, Any]) -> None:
    assert seen["PlainText"] == [OPENSSL_ERROR, "http request"]


def test_an_end_without_close_notify_is_a_lost_connection(seen: dict[str, Any]) -> None:
    assert seen["Truncated"][:2] == [TRUNCATED, LOST]


def test_a_handshake_that_stalls_ends(seen: dict[str, Any]) -> None:
    assert seen["StalledHandshake"][0] == "txmembio.twisted.reasons.HandshakeTimeout"
    assert LOST in seen["StalledHandshake"]


def test_a_close_that_the_peer_does_not_answer_ends(seen: dict[str, Any]) -> None:
    assert seen["StalledShutdown"][0] == "txmembio.twisted.reasons.ShutdownTimeout"
    assert LOST in seen["StalledShutdown"]


def test_start_tls(seen: dict[str, Any]) -> None:
    assert seen["StartTLS"] == ["inside", True, True, True, [DONE, DONE]]


def test_what_is_injected_behind_start_tls_is_not_processed(seen: dict[str, Any]) -> None:
    lines, reason = seen["InjectedBehindStartTLS"]
    assert lines == ["EHLO", "STARTTLS"]
    assert reason == "txmembio.twisted.reasons.PlaintextInjected"


def test_a_listener_that_aborts_keeps_what_was_written_to_itself(seen: dict[str, Any]) -> None:
    assert seen["AbortedByTheListener"] == ""


def test_what_arrives_after_lose_connection_is_delivered(seen: dict[str, Any]) -> None:
    assert seen["LateData"] == 300_000
