"""Certificates of servers and of clients: whose are accepted, and what the error says of those that are not."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI, Credential

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3

# Client certificates


@pytest.fixture
def closed_server(pki: PKI, tls_version: txmembio.TLSVersion) -> txmembio.SSLContext:
    """One that requires a certificate."""
    return pair.server_context(pki, tls_version, verify_client=True)


def test_a_client_certificate_is_seen_by_the_server(
    closed_server: txmembio.SSLContext, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    credential = pki.issue("client@example.com", name="via-intermediate")
    _client, server = pair.connect(
        pair.client_context(pki, tls_version, credential=credential), closed_server
    ).connections
    assert server.getpeercert(binary_form=True) == credential.certificate_der
    details = server.getpeercert()
    assert isinstance(details, dict) and details["subjectAltName"] == (("email", "client@example.com"),)
    assert server.get_unverified_chain() == credential.chain_der
    assert server.get_verified_chain() == [*credential.chain_der, pki.ca.certificate_der]


def test_a_client_without_the_certificate_is_refused(
    closed_server: txmembio.SSLContext, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    client, server = pair.unconnected(pair.client_context(pki, tls_version), closed_server).refusal()
    assert server.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    assert client.alert_received and not server.alert_received
    assert client.alert == {TLS12: "handshake_failure", TLS13: "certificate_required"}[tls_version]


def test_a_client_certificate_nobody_vouches_for_is_refused(
    closed_server: txmembio.SSLContext, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    client_context = pair.client_context(pki, tls_version, credential=pki.untrusted_client)
    client, server = pair.unconnected(client_context, closed_server).refusal()
    assert isinstance(server, txmembio.SSLCertVerificationError)
    assert server.verify_code in (20, 21) and server.depth == 0
    assert client.alert_received and client.alert == server.alert == "unknown_ca"


# Certificates of servers


def test_the_chains_of_the_server(ends: Pair, pki: PKI) -> None:
    client, server = ends.connections
    assert client.get_unverified_chain() == pki.server.chain_der
    assert client.get_verified_chain() == [*pki.server.chain_der, pki.ca.certificate_der]
    assert client.getpeercert(binary_form=True) == pki.server.certificate_der
    assert server.get_unverified_chain() == server.get_verified_chain() == []
    assert server.getpeercert(binary_form=True) is None
    assert server.getpeercert() is None


def test_without_verification_the_certificate_is_there_but_not_vouched_for(
    contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    contexts[0].check_hostname = False
    contexts[0].verify_mode = txmembio.CERT_NONE
    server_context = pair.server_context(pki, tls_version, credential=pki.untrusted)
    client, _ = pair.connect(contexts[0], server_context, server_hostname=None).connections
    assert client.getpeercert() == {}  # as in the standard library: unverified, so nothing is said
    assert client.getpeercert(binary_form=True) == pki.untrusted.certificate_der


#: A server's flaw: the credential, OpenSSL's X509_V_ERR number and words for it, and the alert that the server gets.
FLAWS: dict[str, tuple[Callable[[PKI], Credential], set[int], str, str]] = {
    "expired": (lambda pki: pki.expired, {10}, "certificate has expired", "certificate_expired"),
    "not yet valid": (lambda pki: pki.not_yet_valid, {9}, "certificate is not yet valid", "bad_certificate"),
    "untrusted": (lambda pki: pki.untrusted, {20}, "unable to get local issuer certificate", "unknown_ca"),
    "wrong name": (lambda pki: pki.wrong_name, {62}, "hostname mismatch", "bad_certificate"),
}


@pytest.mark.parametrize("flaw", FLAWS)
def test_a_flawed_server_certificate_is_refused_and_the_error_carries_why(
    flaw: str, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    get, codes, words, alert = FLAWS[flaw]
    server_context = pair.server_context(pki, tls_version, credential=get(pki))
    client, server = pair.unconnected(pair.client_context(pki, tls_version), server_context).refusal()
    assert isinstance(client, txmembio.SSLCertVerificationError)
    assert client.reason == "CERTIFICATE_VERIFY_FAILED"
    assert client.verify_code in codes
    assert client.verify_message is not None and words in client.verify_message.lower()
    assert client.depth == 0
    assert (client.subject is not None and "O=Trustme" in client.subject.replace(" ", "")) or client.subject
    assert client.hostname == "localhost"
    assert words in str(client).lower() and "localhost" in str(client)
    assert server.alert_received and not client.alert_received
    assert server.alert == client.alert == alert


def test_a_wrong_address_is_named(contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, _ = pair.unconnected(*contexts, server_hostname="127.0.0.2").refusal()
    assert isinstance(client, txmembio.SSLCertVerificationError)
    assert client.verify_code == 64  # X509_V_ERR_IP_ADDRESS_MISMATCH
    assert client.hostname == "127.0.0.2" and "127.0.0.2" in str(client)


def test_a_wildcard_stands_for_one_label(contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server_context = pair.server_context(pki, tls_version, credential=pki.wildcard)
    pair.connect(contexts[0], server_context, server_hostname="a.example.com")
    for name in ("example.com", "a.b.example.com"):
        client, _ = pair.unconnected(contexts[0], server_context, server_hostname=name).refusal()
        assert client.verify_code == 62 and client.hostname == name


def test_an_intermediate_that_the_server_forgot_is_named(
    contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    server_context = pair.server_context(pki, tls_version)
    server_context.use_cert_chain(pki.server.certificate, pki.server.private_key)
    client, _ = pair.unconnected(contexts[0], server_context).refusal()
    assert isinstance(client, txmembio.SSLCertVerificationError)
    assert client.verify_code in (20, 21)


def test_errors_that_are_not_about_certificates_say_none_there(ends: Pair) -> None:
    with pytest.raises(txmembio.SSLError) as caught:
        ends.server.connection.receive_wire(b"this is no record")
    error: Any = caught.value
    assert error.library == "SSL" and error.reason is not None
    assert (error.verify_code, error.verify_message, error.depth, error.subject, error.hostname) == (None,) * 5
