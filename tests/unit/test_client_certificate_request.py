"""`Connection.request_client_certificate`: asking a client for its certificate after the handshake (TLS 1.3)."""

from __future__ import annotations

import pytest

import txmembio
from support import pair
from support.pair import Pair
from support.pki import PKI

TLS12, TLS13 = txmembio.TLSVersion.TLSv1_2, txmembio.TLSVersion.TLSv1_3


def connected(
    pki: PKI,
    *,
    version: txmembio.TLSVersion = TLS13,
    mode: txmembio.VerifyMode = txmembio.CERT_REQUIRED,
    offered: bool = True,
    shown: str | None = "client",
    tickets: int = 2,
) -> Pair:
    """A pair whose handshake is done, and has not asked for anything in TLS 1.3."""
    client = pair.client_context(pki, version, credential=getattr(pki, shown) if shown else None)
    client.post_handshake_auth = offered
    server = pair.server_context(pki, version, verify_client=True)
    server.verify_mode = mode
    server.post_handshake_auth = True
    server.num_tickets = tickets
    ends = pair.connect(client, server)
    ends.server.connection.changed = False
    return ends


def test_answer_comes_in_receive_wire(pki: PKI) -> None:
    ends = connected(pki)
    server = ends.server.connection
    assert not server.client_certificate_requested and server.peer_certificate() is None
    server.request_client_certificate()
    assert server.changed and server.client_certificate_requested and server.peer_certificate() is None
    server.changed = False
    ends.settle()
    assert server.changed and not server.client_certificate_requested
    assert server.getpeercert(binary_form=True) == pki.client.certificate_der
    assert server.get_verified_chain() == [pki.client.certificate_der, pki.ca.certificate_der]


@pytest.mark.parametrize("tickets", [0, 2])
def test_plaintext_flows_meanwhile_and_after(pki: PKI, tickets: int) -> None:
    ends = connected(pki, tickets=tickets)
    server = ends.server.connection
    server.send_plaintext(b"before ")
    server.request_client_certificate()
    server.send_plaintext(b"meanwhile ")
    ends.client.send_plaintext(b"not yet answered ")
    ends.move(ends.client, ends.server)
    assert ends.server.received == b"not yet answered " and server.client_certificate_requested
    ends.settle()
    assert not server.client_certificate_requested
    server.send_plaintext(b"after")
    ends.client.send_plaintext(b"answered")
    ends.settle()
    assert ends.client.received == b"before meanwhile after"
    assert ends.server.received == b"not yet answered answered"


def test_may_be_repeated_once_it_is_answered(pki: PKI) -> None:
    ends = connected(pki)
    server = ends.server.connection
    for _ in range(3):
        server.request_client_certificate()
        with pytest.raises(txmembio.SSLError, match="asking the client for a certificate") as caught:
            server.request_client_certificate()
        assert caught.value.reason == "REQUEST_SENT"
        ends.settle()
        assert not server.client_certificate_requested
    assert server.error is None


def test_session_of_a_client_that_has_answered_remembers_who_it_is(pki: PKI) -> None:
    ends = connected(pki)
    ends.server.connection.request_client_certificate()
    ends.settle()
    client, server = ends.connections
    again = pair.connect(client.context, server.context, session=client.session)
    assert again.server.connection.session_reused
    assert again.server.connection.getpeercert(binary_form=True) == pki.client.certificate_der


def test_client_without_a_certificate_may_say_so(pki: PKI) -> None:
    ends = connected(pki, mode=txmembio.CERT_OPTIONAL, shown=None)
    ends.server.connection.request_client_certificate()
    ends.settle()
    assert not ends.server.connection.client_certificate_requested
    assert ends.server.connection.peer_certificate() is None
    assert ends.complete


@pytest.mark.parametrize(
    ("shown", "reason", "alert"),
    [
        ("untrusted_client", "CERTIFICATE_VERIFY_FAILED", "unknown_ca"),
        (None, "PEER_DID_NOT_RETURN_A_CERTIFICATE", "certificate_required"),
    ],
)
def test_refusal_is_a_failure_like_any_other(pki: PKI, shown: str | None, reason: str, alert: str) -> None:
    ends = connected(pki, shown=shown)
    server = ends.server.connection
    server.request_client_certificate()
    ends.settle()
    assert server.error is not None and ends.server.error is server.error
    assert server.error.reason == reason
    assert ends.client.error.alert == alert and ends.client.error.alert_received
    with pytest.raises(txmembio.SSLError) as caught:
        server.request_client_certificate()
    assert caught.value is server.error


@pytest.mark.parametrize(
    ("version", "offered", "reason"),
    [(TLS12, True, "WRONG_SSL_VERSION"), (TLS13, False, "EXTENSION_NOT_RECEIVED")],
)
def test_where_it_cannot_be_asked_for_nothing_has_happened(
    pki: PKI, version: txmembio.TLSVersion, offered: bool, reason: str
) -> None:
    ends = connected(pki, version=version, offered=offered)
    server = ends.server.connection
    with pytest.raises(txmembio.SSLError, match="asking the client for a certificate") as caught:
        server.request_client_certificate()
    assert caught.value.reason == reason
    assert server.error is None and not server.changed and not server.client_certificate_requested
    ends.client.send_plaintext(b"still here")
    ends.settle()
    assert ends.server.received == b"still here"


def test_only_a_server_may_ask_and_only_after_the_handshake(pki: PKI) -> None:
    ends = connected(pki)
    with pytest.raises(txmembio.SSLError) as caught:
        ends.client.connection.request_client_certificate()
    assert caught.value.reason == "NOT_SERVER"
    client, server = ends.connections
    fresh = pair.unconnected(client.context, server.context)
    with pytest.raises(txmembio.SSLError) as caught:
        fresh.server.connection.request_client_certificate()
    fresh.handshake()


def test_a_server_that_verifies_nobody_has_nothing_to_ask_for(pki: PKI) -> None:
    ends = connected(pki, mode=txmembio.CERT_NONE)
    with pytest.raises(txmembio.SSLError) as caught:
        ends.server.connection.request_client_certificate()
    assert caught.value.reason == "INVALID_CONFIG"


def test_not_from_a_callback_of_the_connection_itself(pki: PKI) -> None:
    """Nor from another thread: somebody is inside."""
    problems: list[Exception] = []

    def verify(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
        try:
            ends.server.connection.request_client_certificate()
        except RuntimeError as problem:
            problems.append(problem)
        return error == 0

    context = pair.server_context(pki, TLS13, verify_client=True)
    context.set_verify_callback(verify)
    ends = pair.unconnected(pair.client_context(pki, TLS13, credential=pki.client), context)
    ends.handshake()
    assert problems and ends.complete
