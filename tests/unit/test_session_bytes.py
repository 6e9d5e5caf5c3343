"""Sessions as bytes: what comes back, and that no bytes whatever do harm."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import txmembio
from support import pair
from support.pki import PKI


@pytest.fixture(scope="session")
def written(pki: PKI, tls_version: txmembio.TLSVersion) -> bytes:
    """A session as bytes."""
    ends = pair.connect(pair.client_context(pki, tls_version), pair.server_context(pki, tls_version))
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    assert session is not None
    return session.to_bytes()


def test_it_comes_back_as_it_was(written: bytes) -> None:
    for kind in (bytes, bytearray, memoryview):
        data: Any = kind(written)
        session = txmembio.SSLSession.from_bytes(data)
        assert session.to_bytes() == written
        assert session == txmembio.SSLSession.from_bytes(written)
        assert hash(session) == hash(txmembio.SSLSession.from_bytes(written))
    assert session != written


def test_a_context_made_anew_resumes_it(written: bytes, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """As another process would, whose server has the same ticket keys."""
    key = bytes(range(80))
    server = pair.server_context(pki, tls_version)
    server.set_ticket_keys([key])
    ends = pair.connect(pair.client_context(pki, tls_version), server)
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    assert ends.client.connection.session is not None
    data = ends.client.connection.session.to_bytes()
    other = pair.server_context(pki, tls_version)
    other.set_ticket_keys([key])
    client = pair.client_context(pki, tls_version)
    for _ in range(2):
        ends = pair.connect(client, other, session=txmembio.SSLSession.from_bytes(data))
        assert ends.client.connection.session_reused
        assert ends.client.connection.getpeercert(True) == pki.server.certificate_der


def test_a_live_session_stays_with_its_context(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    ends = pair.connect(client, server)
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    with pytest.raises(ValueError, match="Session refers to a different SSLContext"):
        pair.client_context(pki, tls_version).connection(server_hostname="localhost", session=session)
    with pytest.raises(ValueError, match="after handshake"):
        ends.client.connection.set_session(session)  # type: ignore[arg-type]


def test_bytes_behind_it_are_refused(written: bytes) -> None:
    with pytest.raises(txmembio.SSLError, match="not a session: 3 bytes follow it"):
        txmembio.SSLSession.from_bytes(written + b"???")
    with pytest.raises(txmembio.SSLError, match="not a session"):
        txmembio.SSLSession.from_bytes(written[:-1])


@pytest.mark.parametrize("bad", ["text", None, 5, ["x"]], ids=repr)
def test_what_is_not_bytes_is_refused(bad: Any) -> None:
    with pytest.raises(TypeError):
        txmembio.SSLSession.from_bytes(bad)


@settings(max_examples=300)
@given(position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7), offer=st.booleans())
def test_a_damaged_one_is_refused_or_harmless(
    written: bytes, pki: PKI, tls_version: txmembio.TLSVersion, position: float, bit: int, offer: bool
) -> None:
    """A bit of a key or a ticket may change unseen; then the server cannot resume it, and nothing else happens."""
    damaged = bytearray(written)
    damaged[int(position * len(written))] ^= 1 << bit
    try:
        session = txmembio.SSLSession.from_bytes(bytes(damaged))
    except txmembio.SSLError:
        return
    assert isinstance(session.id, bytes) and isinstance(session.time, int) and isinstance(session.timeout, int)
    assert session.resumable in (True, False) and session.has_ticket in (True, False)
    if offer:
        client = pair.client_context(pki, tls_version)
        ends = pair.unconnected(client, pair.server_context(pki, tls_version))
        try:
            ends.client.connection.set_session(session)
        except (ValueError, txmembio.SSLError):
            return
        ends.attempt_handshake()
        assert ends.complete or isinstance(ends.client.error, txmembio.SSLError)


@given(st.binary(max_size=200))
def test_any_bytes_are_refused_or_a_session(anything: bytes) -> None:
    try:
        txmembio.SSLSession.from_bytes(anything)
    except txmembio.SSLError as error:
        assert "not a session" in str(error)
