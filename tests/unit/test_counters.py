"""`Connection.traffic()`, and `Counters` as any adapter uses them (in Twisted: adapters/test_twisted_counters.py)."""

from __future__ import annotations

from contextlib import suppress

import pytest

import txmembio
from support import pair
from support.pair import Pair
from support.pki import PKI
from txmembio.counters import Counters, Negotiated, failure_key

MANY = b"m" * 1_000_000
"""Bytes; more than the scratch of one call has room for."""


def test_traffic_of_a_new_connection(pki: PKI) -> None:
    connection = pair.server_context(pki).connection(server_side=True)
    assert connection.traffic() == (0, 0, 0, 0)
    assert connection.traffic()._fields == ("wire_received", "wire_sent", "plaintext_received", "plaintext_sent")


def test_traffic_is_what_was_carried(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = pair.unconnected(pair.client_context(pki, tls_version), pair.server_context(pki, tls_version))
    client, server = ends.connections
    client.send_plaintext(b"kept")
    assert client.traffic() == (0, 0, 0, 0)
    client.do_handshake()
    carried = {client: 0, server: 0}
    client.send_plaintext(MANY)
    while True:
        moved = False
        for sender, receiver in ((client, server), (server, client)):
            wire = sender.wire_to_send()
            carried[sender] += len(wire)
            receiver.receive_wire(wire)
            moved = moved or bool(wire)
        if not moved:
            break
    assert client.traffic() == (carried[server], carried[client], 0, len(b"kept" + MANY))
    assert server.traffic() == (carried[client], carried[server], len(b"kept" + MANY), 0)


def test_what_is_not_accepted_is_not_counted(ends: Pair) -> None:
    client, server = ends.connections
    client.send_plaintext(b"good")
    before = server.traffic()
    wire = bytearray(client.wire_to_send())
    wire[-1] ^= 1
    with pytest.raises(txmembio.SSLError):
        server.receive_wire(wire)
    after = server.traffic()
    assert after.plaintext_received == before.plaintext_received
    assert after.wire_received == before.wire_received + len(wire)
    with pytest.raises(txmembio.SSLError):
        server.send_plaintext(b"late")
    assert server.traffic().plaintext_sent == after.plaintext_sent


def test_an_sslobject_is_counted_too(pki: PKI) -> None:
    """It works through other calls of the pump."""
    client_in, client_out, server_in, server_out = (txmembio.MemoryBIO() for _ in range(4))
    client = pair.client_context(pki).wrap_bio(client_in, client_out, server_hostname="localhost")
    server = pair.server_context(pki).wrap_bio(server_in, server_out, server_side=True)
    sent = received = 0
    for _ in range(3):
        for end in (client, server):
            with suppress(txmembio.SSLWantReadError):
                end.do_handshake()
            wire = client_out.read()
            sent += len(wire)
            server_in.write(wire)
            wire = server_out.read()
            received += len(wire)
            client_in.write(wire)
    client.write(b"twelve bytes")
    wire = client_out.read()
    server_in.write(wire)
    assert server.read(100) == b"twelve bytes"
    connection = connection_of(client)
    assert connection.traffic().plaintext_sent == connection_of(server).traffic().plaintext_received == 12
    assert connection.traffic().wire_sent == sent + len(wire)
    # TLS 1.3's session tickets came behind the handshake, and nobody has read them yet.
    assert connection.traffic().wire_received <= received == connection_of(server).traffic().wire_sent


def connection_of(sslobject: txmembio.SSLObject) -> txmembio.Connection:
    return sslobject._connection


def test_an_adapters_calls(ends: Pair) -> None:
    client, _ = ends.connections
    counters = Counters()
    counters.connection_began(client)
    assert counters.handshakes_under_way == counters.connections_open == 1
    negotiated = counters.handshake_completed(client)
    cipher = client.cipher()
    assert cipher is not None
    assert negotiated == Negotiated(str(client.version()), cipher[0], client.group(), None, False)
    assert counters.handshakes_under_way == 0
    counters.connection_ended(client, "clean")
    assert (counters.connections_open, counters.endings, counters.failures) == (0, {"clean": 1}, {})
    assert counters.traffic() == client.traffic()


def test_words_for_errors(pki: PKI) -> None:
    connection = pair.server_context(pki).connection(server_side=True)
    with pytest.raises(txmembio.SSLError) as caught:
        connection.receive_wire(b"GET / HTTP/1.1\r\n\r\n")
    assert failure_key(caught.value) == "http_request"
    # An alert that has no name, which a peer may well send.
    ends = pair.unconnected(pair.client_context(pki), pair.server_context(pki))
    ends.client.connection.do_handshake()
    with pytest.raises(txmembio.SSLError) as caught:
        ends.client.connection.receive_wire(b"\x15\x03\x03\x00\x02\x02\xc8")
    assert failure_key(caught.value) == "alert_200"
