"""The verify callback: what it is told, and that its verdict is the last word."""

from __future__ import annotations

from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Pair
from support.pki import PKI

#: X509_V_ERR_ numbers (openssl/x509_vfy.h).
NO_ISSUER, NO_FIRST_SIGNATURE, EXPIRED, HOSTNAME, APPLICATION = 20, 21, 10, 62, 50

Seen = list[tuple[bytes, int, int]]


class Recorder:
    """A callback that writes down what it was told, and answers with a function of the error."""

    def __init__(self, answer: Any = lambda error: error == 0) -> None:
        self.seen: Seen = []
        self.answer = answer

    def __call__(self, certificate: txmembio.Certificate, depth: int, error: int) -> Any:
        assert isinstance(certificate, txmembio.Certificate)
        self.seen.append((certificate.der, depth, error))
        return self.answer(error)


def asked_by_client(
    pki: PKI, version: txmembio.TLSVersion, credential: Any, callback: Any, hostname: str = "localhost"
) -> Pair:
    """A handshake in which the client asks `callback` about a server with this credential."""
    client = pair.client_context(pki, version)
    client.set_verify_callback(callback)
    ends = pair.unconnected(client, pair.server_context(pki, version, credential=credential), server_hostname=hostname)
    ends.attempt_handshake()
    return ends


def test_it_is_told_each_certificate_from_the_root_down(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    recorder = Recorder()
    assert asked_by_client(pki, tls_version, pki.server, recorder).complete
    leaf, intermediate = pki.server.chain_der
    assert recorder.seen == [(pki.ca.certificate_der, 2, 0), (intermediate, 1, 0), (leaf, 0, 0)]


def test_what_it_accepts_is_accepted(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    for credential, hostname, errors in (
        (pki.untrusted, "localhost", [NO_ISSUER, NO_FIRST_SIGNATURE, 0]),
        (pki.expired, "localhost", [0, 0, EXPIRED, 0]),
        (pki.server, "wrong.example", [HOSTNAME, 0, 0, 0]),
    ):
        recorder = Recorder(lambda error: True)
        ends = asked_by_client(pki, tls_version, credential, recorder, hostname)
        assert ends.complete
        assert sorted(error for _, _, error in recorder.seen) == sorted(errors)
        assert ends.client.connection.getpeercert(True) == credential.certificate_der


def test_what_it_refuses_is_refused_for_openssls_reason(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    error = asked_by_client(pki, tls_version, pki.untrusted, Recorder()).client.error
    assert isinstance(error, txmembio.SSLCertVerificationError)
    assert (error.verify_code, error.depth) == (NO_ISSUER, 0)


def test_an_objection_that_was_waved_through_is_not_the_reason(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    recorder = Recorder(lambda error: error in (0, NO_ISSUER))
    error = asked_by_client(pki, tls_version, pki.untrusted, recorder).client.error
    assert [number for _, _, number in recorder.seen] == [NO_ISSUER, NO_FIRST_SIGNATURE]
    assert error.verify_code == NO_FIRST_SIGNATURE
    assert error.verify_message == "unable to verify the first certificate"


def test_it_may_refuse_what_openssl_accepts(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    recorder = Recorder(lambda error: False)
    ends = asked_by_client(pki, tls_version, pki.server, recorder)
    error = ends.client.error
    assert [depth for _, depth, _ in recorder.seen] == [2]  # the first verdict was the last
    assert isinstance(error, txmembio.SSLCertVerificationError)
    assert (error.verify_code, error.depth) == (APPLICATION, 2)
    assert error.verify_message == "application verification failure"
    assert error.subject is not None and "O=txmembio tests" in error.subject
    assert ends.server.error.alert_received


def test_an_exception_refuses_and_is_the_cause(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    for credential in (pki.server, pki.untrusted):
        ends = asked_by_client(pki, tls_version, credential, Recorder(lambda error: 1 / 0))
        error = ends.client.error
        assert isinstance(error, txmembio.SSLCertVerificationError)
        assert isinstance(error.__cause__, ZeroDivisionError)
        assert ends.server.error.alert_received and not ends.server.connection.handshake_complete


def test_any_true_value_accepts_and_any_false_one_refuses(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    assert asked_by_client(pki, tls_version, pki.untrusted, Recorder(lambda error: "yes")).complete
    assert not asked_by_client(pki, tls_version, pki.server, Recorder(lambda error: None)).complete


def test_a_server_asks_about_clients(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    for credential, verdict in ((pki.client, True), (pki.untrusted_client, True), (pki.client, False)):
        recorder = Recorder(lambda error, verdict=verdict: verdict)
        server = pair.server_context(pki, tls_version, verify_client=True)
        server.set_verify_callback(recorder)
        ends = pair.unconnected(pair.client_context(pki, tls_version, credential=credential), server)
        ends.attempt_handshake()
        assert ends.complete is verdict
        assert recorder.seen
        if verdict:
            assert ends.server.connection.getpeercert(True) == credential.certificate_der
        else:
            assert ends.server.error.verify_code == APPLICATION


def test_it_is_not_asked_where_nobody_is_verified(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    recorder = Recorder(lambda error: 1 / 0)
    client = pair.client_context(pki, tls_version)
    client.set_verify_callback(recorder)
    client.check_hostname = False
    client.verify_mode = txmembio.CERT_NONE
    pair.connect(client, pair.server_context(pki, tls_version, credential=pki.untrusted))
    assert recorder.seen == []


def test_it_can_be_taken_away(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = pair.client_context(pki, tls_version)
    client.set_verify_callback(Recorder(lambda error: True))
    client.set_verify_callback(None)
    ends = pair.unconnected(client, pair.server_context(pki, tls_version, credential=pki.untrusted))
    ends.attempt_handshake()
    assert ends.client.error.verify_code == NO_ISSUER


def test_it_may_look_at_the_connection_and_may_not_pump_it(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = pair.client_context(pki, tls_version)
    ends = pair.unconnected(client, pair.server_context(pki, tls_version))
    seen: list[Any] = []

    def callback(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
        seen.append(ends.client.connection.server_name())
        with pytest.raises(RuntimeError, match="one thread at a time"):
            ends.client.connection.receive_wire(b"")
        return True

    client.set_verify_callback(callback)
    ends = pair.unconnected(client, pair.server_context(pki, tls_version))
    ends.handshake()
    assert seen == ["localhost"] * 3
