"""Sessions: what is resumed, and what must not be."""

from __future__ import annotations

import gc
import time

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI

TLS13 = txmembio.TLSVersion.TLSv1_3


def session_of(ends: Pair) -> txmembio.SSLSession:
    """The client's session, once the tickets are there."""
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    assert session is not None
    return session


def test_sessions_are_resumed(contexts: Contexts) -> None:
    session = session_of(pair.connect(*contexts))
    ends = pair.connect(*contexts, session=session)
    client, server = ends.connections
    assert client.session_reused is server.session_reused is True
    ends.client.send_plaintext(b"resumed")
    ends.settle()
    assert ends.server.received == b"resumed"


def test_a_resumed_session_still_knows_the_peer(contexts: Contexts, pki: PKI) -> None:
    client, _ = pair.connect(*contexts, session=session_of(pair.connect(*contexts))).connections
    assert client.getpeercert(binary_form=True) == pki.server.certificate_der


def test_without_tickets_tls13_resumes_nothing(pki: PKI) -> None:
    contexts = pair.client_context(pki, TLS13), pair.server_context(pki, TLS13)
    contexts[1].num_tickets = 0
    ends = pair.connect(*contexts)
    ends.server.send_plaintext(b"no ticket before this")
    ends.settle()
    session = ends.client.connection.session
    assert session is None or not session.has_ticket


def test_a_session_of_another_context_is_refused(contexts: Contexts, shared: Contexts) -> None:
    session = session_of(pair.connect(*contexts))
    with pytest.raises(ValueError, match=r"(?i)context"):
        shared[0].connection(server_hostname="localhost", session=session)


def test_a_session_outlives_its_connection_however_that_ended(contexts: Contexts) -> None:
    """An end of the wire without close_notify does not make it useless (RFC 5246 section 7.2.1)."""
    ends = pair.connect(*contexts)
    session = session_of(ends)
    for end in ends.client, ends.server:
        with pytest.raises(txmembio.SSLEOFError):
            end.connection.receive_wire_eof()
    del ends, end
    gc.collect()
    assert pair.connect(*contexts, session=session).client.connection.session_reused


def test_a_session_can_be_written_down_and_read_back(contexts: Contexts) -> None:
    written = session_of(pair.connect(*contexts)).to_bytes()
    client, server = pair.connect(*contexts, session=txmembio.SSLSession.from_bytes(written)).connections
    assert client.session_reused is server.session_reused is True


def test_what_a_session_tells(contexts: Contexts) -> None:
    started = int(time.time())
    session = session_of(pair.connect(*contexts))
    assert len(session.id) == 32  # RFC 8446 section 4.1.2: at most; OpenSSL uses all of it
    assert started <= session.time <= time.time()
    assert session.timeout > 0 and session.ticket_lifetime_hint > 0
    assert session.has_ticket and session.resumable
    assert session == txmembio.SSLSession.from_bytes(session.to_bytes())
    assert session != session_of(pair.connect(*contexts))


@pytest.mark.parametrize("damage", [b"", b"no session", b"\x30\x82\xff\xff"])
def test_what_is_no_session_is_refused(damage: bytes) -> None:
    with pytest.raises(txmembio.SSLError, match="session"):
        txmembio.SSLSession.from_bytes(damage)


def test_a_session_from_an_unverified_connection_does_not_get_around_verification(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """A resumed handshake shows no certificate to verify. So whoever insists on one must not resume a session that was
    begun without, wherever that comes from.
    """
    server_context = pair.server_context(pki, tls_version, credential=pki.untrusted)
    careless = pair.client_context(pki, tls_version)
    careless.check_hostname = False
    careless.verify_mode = txmembio.CERT_NONE
    written = session_of(pair.connect(careless, server_context)).to_bytes()
    session = txmembio.SSLSession.from_bytes(written)
    client, server = pair.unconnected(pair.client_context(pki, tls_version), server_context, session=session).refusal()
    assert client.reason == "CERTIFICATE_VERIFY_FAILED"  # it was not offered, and the handshake was a full one
    assert server.alert_received


def test_a_server_takes_no_session(contexts: Contexts) -> None:
    session = session_of(pair.connect(*contexts))
    with pytest.raises(ValueError, match="session can only be specified in client mode"):
        contexts[1].connection(server_side=True, session=session)


def test_a_ticket_from_a_name_without_client_certificates_opens_no_name_with_them(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """Who asks for a certificate must see one, whatever was resumed elsewhere: the context is decided before the ticket
    is looked at.
    """
    # One certificate for both, or the client would not offer the session to begin with.
    both = pki.issue("open.example", "closed.example")
    by_name = {
        "open.example": pair.server_context(pki, tls_version, credential=both),
        "closed.example": pair.server_context(pki, tls_version, credential=both, verify_client=True),
    }
    default = pair.server_context(pki, tls_version)

    def switch(connection: txmembio.Connection, name: str | None, context: txmembio.SSLContext) -> None:
        connection.context = by_name[name or "open.example"]

    default.sni_callback = switch
    client_context = pair.client_context(pki, tls_version)
    session = session_of(pair.connect(client_context, default, server_hostname="open.example"))
    ends = pair.unconnected(client_context, default, server_hostname="closed.example", session=session)
    ends.attempt_handshake()
    ends.client.connection.plaintext_to_wire(b"let me in") if ends.client.error is None else None
    ends.settle()
    server = ends.server.connection
    assert not server.handshake_complete or (not server.session_reused and server.getpeercert(binary_form=True))
    assert isinstance(ends.server.error, txmembio.SSLError)
    assert ends.server.received == b""


def test_a_session_is_not_offered_where_its_certificate_has_the_wrong_name(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """A resumed session shows no certificate, so its own has to be right for the name that is asked for."""
    client_context = pair.client_context(pki, tls_version)
    server_context = pair.server_context(pki, tls_version, credential=pki.issue("one.example", "two.example"))
    session = session_of(pair.connect(client_context, server_context, server_hostname="one.example"))
    resumed = pair.connect(client_context, server_context, server_hostname="two.example", session=session)
    assert resumed.client.connection.session_reused
    for name in ("three.example", "127.0.0.1"):
        with pytest.raises(ValueError, match=f"certificate is not for '{name}'"):
            client_context.connection(server_hostname=name, session=session)


def test_a_session_from_before_a_change_of_rules_is_not_offered(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client_context, server_context = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    session = session_of(pair.connect(client_context, server_context))
    assert pair.connect(client_context, server_context, session=session).client.connection.session_reused
    client_context.load_verify_locations(cadata=pki.untrusted_ca.certificate.decode())
    again = pair.connect(client_context, server_context, session=session)
    assert not again.client.connection.session_reused
