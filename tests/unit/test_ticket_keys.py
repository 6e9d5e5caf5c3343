"""Ticket keys from outside: sessions that other contexts, processes and hosts resume."""

from __future__ import annotations

import os
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Pair
from support.pki import PKI

Version = txmembio.TLSVersion

SHORT, LONG = 48, 80


def server_context(pki: PKI, version: Version, *keys: bytes) -> txmembio.SSLContext:
    """A server's with these keys: a process of its own, as far as sessions are concerned."""
    context = pair.server_context(pki, version)
    if keys:
        context.set_ticket_keys(keys)
    return context


def session_of(ends: Pair) -> txmembio.SSLSession:
    """The client's session, once the tickets are there."""
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    assert session is not None
    return session


def ticket_of(session: txmembio.SSLSession) -> bytes:
    """The written session, in which the ticket is; its first 16 bytes are the name of its key."""
    return session.to_bytes()


@pytest.mark.parametrize("length", [SHORT, LONG])
def test_one_context_resumes_what_another_with_the_same_keys_began(pki: PKI, tls_version: Version, length: int) -> None:
    key = os.urandom(length)
    client = pair.client_context(pki, tls_version)
    session = session_of(pair.connect(client, server_context(pki, tls_version, key)))
    assert key[:16] in ticket_of(session)
    ends = pair.connect(client, server_context(pki, tls_version, key), session=session)
    assert ends.client.connection.session_reused and ends.server.connection.session_reused
    ends.client.send_plaintext(b"resumed")
    ends.settle()
    assert ends.server.received == b"resumed"


@pytest.mark.parametrize("length", [SHORT, LONG])
def test_an_unknown_key_means_a_full_handshake(pki: PKI, tls_version: Version, length: int) -> None:
    client = pair.client_context(pki, tls_version)
    session = session_of(pair.connect(client, server_context(pki, tls_version, os.urandom(length))))
    for other in (server_context(pki, tls_version, os.urandom(length)), server_context(pki, tls_version)):
        ends = pair.connect(client, other, session=session)
        assert not ends.client.connection.session_reused and not ends.server.connection.session_reused


def test_a_key_of_the_same_name_and_other_secrets_means_a_full_handshake(pki: PKI, tls_version: Version) -> None:
    """The HMAC tells, before anything is decrypted."""
    name = os.urandom(16)
    for length in (SHORT, LONG):
        one, two = (name + os.urandom(length - 16) for _ in range(2))
        client = pair.client_context(pki, tls_version)
        session = session_of(pair.connect(client, server_context(pki, tls_version, one)))
        ends = pair.connect(client, server_context(pki, tls_version, two), session=session)
        assert not ends.server.connection.session_reused


def test_rotation_resumes_old_tickets_and_renews_them(pki: PKI, tls_version: Version) -> None:
    old, new, newest = (os.urandom(LONG) for _ in range(3))
    client = pair.client_context(pki, tls_version)
    server = server_context(pki, tls_version, old)
    session = session_of(pair.connect(client, server))
    server.set_ticket_keys([new, old])
    ends = pair.connect(client, server, session=session)
    assert ends.server.connection.session_reused
    renewed = session_of(ends)
    assert new[:16] in ticket_of(renewed) and old[:16] not in ticket_of(renewed)
    server.set_ticket_keys([newest, new])  # the old key is gone
    assert pair.connect(client, server, session=renewed).server.connection.session_reused
    assert not pair.connect(client, server, session=session).server.connection.session_reused


def test_a_ticket_under_the_first_key_is_not_renewed_in_tls12(pki: PKI) -> None:
    key = os.urandom(LONG)
    client = pair.client_context(pki, Version.TLSv1_2)
    server = server_context(pki, Version.TLSv1_2, key)
    session = session_of(pair.connect(client, server))
    again = session_of(pair.connect(client, server, session=session))
    assert ticket_of(session) == ticket_of(again)


def test_as_many_keys_as_there_may_be(pki: PKI, tls_version: Version) -> None:
    keys = [os.urandom(SHORT) for _ in range(32)]
    client = pair.client_context(pki, tls_version)
    session = session_of(pair.connect(client, server_context(pki, tls_version, keys[-1])))
    assert pair.connect(
        client, server_context(pki, tls_version, *keys), session=session
    ).server.connection.session_reused


@pytest.mark.parametrize(
    ("keys", "error", "text"),
    [
        ([], ValueError, "0 ticket keys"),
        ([b"x" * 48] * 33, ValueError, "33 ticket keys of .* expected 1 to 32"),
        ([b"x" * 47], ValueError, r"\[47\] bytes"),
        ([b""], ValueError, r"\[0\] bytes"),
        ([b"x" * 48, b"x" * 80], ValueError, r"\[48, 80\] bytes"),
        (["x" * 48], TypeError, "bytes"),
        (b"x" * 48, TypeError, None),
        (None, TypeError, None),
        (48, TypeError, None),
    ],
    ids=["none", "many", "short", "empty", "mixed", "text", "one, not in a list", "None", "number"],
)
def test_keys_that_will_not_do(pki: PKI, keys: Any, error: type[Exception], text: str | None) -> None:
    key = os.urandom(SHORT)
    server = server_context(pki, Version.TLSv1_3, key)
    with pytest.raises(error, match=text):
        server.set_ticket_keys(keys)
    assert key[:16] in ticket_of(session_of(pair.connect(pair.client_context(pki), server)))  # as it was


def test_any_buffer_is_a_key(pki: PKI, tls_version: Version) -> None:
    key = os.urandom(SHORT)
    server = pair.server_context(pki, tls_version)
    buffers: list[Any] = [bytearray(key), memoryview(key)]
    server.set_ticket_keys(buffers)
    assert key[:16] in ticket_of(session_of(pair.connect(pair.client_context(pki, tls_version), server)))


def test_secrets_are_not_in_the_ticket(pki: PKI, tls_version: Version) -> None:
    key = os.urandom(LONG)
    session = session_of(pair.connect(pair.client_context(pki, tls_version), server_context(pki, tls_version, key)))
    written = ticket_of(session)
    assert key[16:48] not in written and key[48:] not in written
