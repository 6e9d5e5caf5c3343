"""`txmembio.OpenSSL` where a mistake would let somebody in, or take the wrong end for the right one."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from support import process
from support.pki import PKI
from txmembio._openssl.lib import lib
from txmembio.native.connection import Step, Verdict
from txmembio.OpenSSL import SSL as constants_and_classes
from txmembio.OpenSSL import crypto
from txmembio.OpenSSL.SSL import Connection, Context

SSL: Any = constants_and_classes
"""Its constants come of no source that a type checker reads."""

MADE_TO_FIT = 16 * 1024
"""Bytes of plaintext in a full record."""

TWISTED_PROGRAM = """
import sys, txmembio
txmembio.install("twisted")
from OpenSSL import SSL
from twisted.internet import protocol, reactor, ssl

chain, key = sys.argv[1:]
received, ends = [], []

class End(protocol.Protocol):
    def connectionMade(self):
        self.transport.write(b"secret")
    def dataReceived(self, data):
        received.append(data)
        self.transport.loseConnection()
    def connectionLost(self, reason):
        ends.append(reason)
        if len(ends) == 2:
            reactor.stop()

class Pinned(ssl.ClientContextFactory):
    def getContext(self):
        def callback(*arguments):
            raise LookupError("not the one")
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_verify(SSL.VERIFY_NONE, callback)
        return context

factory = protocol.Factory.forProtocol(End)
server = ssl.DefaultOpenSSLContextFactory(key, chain, SSL.TLS_METHOD)
port = reactor.listenSSL(0, factory, server, interface="127.0.0.1")
reactor.connectSSL("127.0.0.1", port.getHost().port, protocol.ClientFactory.forProtocol(End), Pinned())
reactor.callLater(20, reactor.stop)
reactor.run()
print(received, any(end.check(LookupError) for end in ends))
"""


def contexts(pki: PKI) -> tuple[Context, Context]:
    """A client's, which trusts the server's CA, and a server's."""
    client, server = SSL.Context(SSL.TLS_METHOD), SSL.Context(SSL.TLS_METHOD)
    client.load_verify_locations(pki.ca.certificate_file)
    server.use_certificate_chain_file(pki.server.chain_file)
    server.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, pki.server.private_key))
    return client, server


def carry(one: Connection, other: Connection) -> bool:
    """All the wire there is, both ways; whether there was any."""
    moved = False
    for sender, receiver in ((one, other), (other, one)):
        try:
            receiver.bio_write(sender.bio_read(1 << 20))
            moved = True
        except SSL.WantReadError:
            pass
    return moved


def shake_hands(client: Connection, server: Connection) -> None:
    moved = True
    while moved:
        for end in (client, server):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
        moved = carry(client, server)


def joined(pki: PKI) -> tuple[Connection, Connection]:
    client, server = (SSL.Connection(context) for context in contexts(pki))
    client.set_connect_state()
    server.set_accept_state()
    shake_hands(client, server)
    return client, server


# --- verification ---


def test_set_verify_without_a_callback_keeps_the_contexts(pki: PKI) -> None:
    client_context, server_context = contexts(pki)
    client_context.set_verify(SSL.VERIFY_PEER, lambda *_: False)
    client, server = SSL.Connection(client_context), SSL.Connection(server_context)
    client.set_connect_state()
    server.set_accept_state()
    client.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    with pytest.raises(SSL.Error, match="certificate verify failed"):
        shake_hands(client, server)


def raising(*_: object) -> bool:
    raise LookupError("not the one")


def test_what_a_verify_callback_raises_reaches_whoever_pumps_under_verify_none(pki: PKI) -> None:
    client_context, server_context = contexts(pki)
    client_context.set_verify(SSL.VERIFY_NONE, raising)
    client, server = SSL.Connection(client_context).core, SSL.Connection(server_context).core
    client.set_side(False)
    server.set_side(True)
    client.do_handshake()
    server.receive_wire(client.wire_to_send())
    with pytest.raises(LookupError, match="not the one"):
        client.receive_wire(server.wire_to_send())


def test_what_a_verify_callback_raises_ends_a_connection_of_twisteds_under_verify_none(pki: PKI) -> None:
    done = subprocess.run(
        [sys.executable, "-c", TWISTED_PROGRAM, pki.server.chain_file, pki.server.key_file],
        env=process.environment(),
        cwd=Path.cwd(),
        capture_output=True,
        text=True,
        timeout=process.DEADLINE,
    )
    assert done.stdout.split("\n")[0] == "[] True", done.stderr


def ask_here(connection: Connection, other: Context) -> None:
    connection.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)


def ask_there(connection: Connection, other: Context) -> None:
    connection.set_context(other)
    ask_here(connection, other)


@pytest.mark.parametrize("version", [SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION])
@pytest.mark.parametrize("demand", [ask_here, ask_there])
@pytest.mark.parametrize("other_asks", [False, True])
def test_a_session_without_a_certificate_does_not_get_in_where_one_is_asked_for(
    pki: PKI, version: int, demand: Callable[[Connection, Context], None], other_asks: bool
) -> None:
    client_context, server_context = contexts(pki)
    other = contexts(pki)[1]
    if other_asks:
        other.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT, lambda *_: True)
    for context in (server_context, other):
        context.set_max_proto_version(version)
        context.set_session_id(b"shared")

    def switch(connection: Connection) -> None:
        if connection.get_servername() == b"private":
            demand(connection, other)

    server_context.set_tlsext_servername_callback(switch)

    def talk(name: bytes, session: Any = None) -> tuple[Connection, bool]:
        client, server = SSL.Connection(client_context), SSL.Connection(server_context)
        client.set_connect_state()
        client.set_tlsext_host_name(name)
        if session is not None:
            client.set_session(session)
        server.set_accept_state()
        shake_hands(client, server)
        server.send(b"welcome")
        carry(client, server)
        assert client.recv(100) == b"welcome"
        return client, server.core.session_reused

    first, _ = talk(b"public")
    again, reused = talk(b"public", first.get_session())
    assert reused  # where nothing is asked for it is still good
    with pytest.raises(SSL.Error, match="peer did not return a certificate"):
        talk(b"private", again.get_session())


def test_bits_set_before_the_side_count_too(pki: PKI) -> None:
    client_context, server_context = contexts(pki)
    client, server = SSL.Connection(client_context), SSL.Connection(server_context)
    client.set_connect_state()
    server.set_accept_state()
    shake_hands(client, server)
    server.send(b"welcome")
    carry(client, server)
    client.recv(100)
    second, strict = SSL.Connection(client_context), SSL.Connection(server_context)
    strict.set_verify(SSL.VERIFY_PEER | SSL.VERIFY_FAIL_IF_NO_PEER_CERT)
    strict.set_accept_state()
    second.set_connect_state()
    second.set_session(client.get_session())
    with pytest.raises(SSL.Error, match="peer did not return a certificate"):
        shake_hands(second, strict)


# --- ends ---


@pytest.mark.parametrize("ended", [False, True])
def test_a_connection_that_has_failed_is_not_at_an_end_of_wire(pki: PKI, ended: bool) -> None:
    client, server = joined(pki)
    client.send(b"abc")
    record = bytearray(client.bio_read(1000))
    record[-1] ^= 1
    server.bio_write(record)
    if ended:
        server.bio_shutdown()
    with pytest.raises(SSL.Error, match="bad record mac"):
        server.recv(10)
    for _ in range(2):
        with pytest.raises(SSL.Error) as caught:
            server.recv(10)
        assert type(caught.value) is SSL.Error
        assert caught.value.args == ([],)


def test_an_end_of_wire_stays_one(pki: PKI) -> None:
    _, server = joined(pki)
    server.bio_shutdown()
    for _ in range(2):
        with pytest.raises(SSL.SysCallError, match="Unexpected EOF"):
            server.recv(10)


# --- much wire ---


def test_taking_wire_leaves_what_stays_where_it_is(pki: PKI) -> None:
    client, server = joined(pki)
    plaintext = bytes(range(256)) * (8 * MADE_TO_FIT // 256)
    client.sendall(plaintext)
    client.sendall(plaintext)
    last = client.core._wire[-1]
    pieces = []
    while client.core._wire[:-1]:
        pieces.append(client.bio_read(5000))
        assert client.core._wire[-1] is last or len(client.core._wire) == 1
    while True:
        try:
            pieces.append(client.bio_read(5000))
        except SSL.WantReadError:
            break
    assert {len(piece) for piece in pieces[:-1]} == {5000}
    server.bio_write(b"".join(pieces))
    received = bytearray()
    while len(received) < 2 * len(plaintext):
        received += server.recv(MADE_TO_FIT)
    assert received == plaintext * 2


@pytest.mark.parametrize("size", [1000, 30_000, 1 << 30])
def test_a_step_is_shown_no_more_wire_than_it_needs(pki: PKI, size: int) -> None:
    client, server = joined(pki)
    plaintext = bytes(range(256)) * (40 * MADE_TO_FIT // 256)
    client.sendall(plaintext)
    client.shutdown()
    wire = client.core.wire_to_send()
    for at in range(0, len(wire), size):
        server.bio_write(wire[at : at + size])
    server.bio_shutdown()
    received = bytearray()
    with pytest.raises(SSL.ZeroReturnError):
        while True:
            assert len(server.core._incoming) <= 3 * MADE_TO_FIT
            received += server.recv(MADE_TO_FIT)
    assert received == plaintext


def test_an_end_behind_much_wire_is_seen_after_it(pki: PKI) -> None:
    """Session tickets carry no plaintext: one step reads them all, and more than it is shown at once."""
    client_context, server_context = contexts(pki)
    lib.SSL_CTX_set_num_tickets(server_context._core._native, 400)
    client, server = SSL.Connection(client_context), SSL.Connection(server_context)
    client.set_connect_state()
    server.set_accept_state()
    while not server.core.handshake_complete:
        for end in (client, server):
            with contextlib.suppress(SSL.WantReadError):
                end.do_handshake()
        if not server.core.handshake_complete:
            carry(client, server)
    server.send(b"behind the tickets")
    wire = server.core.wire_to_send()
    assert len(wire) > 3 * MADE_TO_FIT
    client.bio_write(wire)
    client.bio_shutdown()
    assert client.recv(100) == b"behind the tickets"
    with pytest.raises(SSL.SysCallError, match="Unexpected EOF"):
        client.recv(100)


def test_a_flight_longer_than_what_is_shown_at_once(pki: PKI) -> None:
    client_context, server_context = contexts(pki)[0], SSL.Context(SSL.TLS_METHOD)  # one with no chain yet
    server_context.use_certificate(crypto.load_certificate(crypto.FILETYPE_PEM, pki.server.certificate))
    server_context.use_privatekey(crypto.load_privatekey(crypto.FILETYPE_PEM, pki.server.private_key))
    extra = crypto.load_certificate(crypto.FILETYPE_PEM, pki.ca.certificate)
    for _ in range(130):
        server_context.add_extra_chain_cert(extra)
    client, server = SSL.Connection(client_context).core, SSL.Connection(server_context).core
    client.set_side(False)
    server.set_side(True)
    assert client.step(Step.HANDSHAKE)[0] is Verdict.WANT_WIRE
    server.feed(client.wire_to_send())
    assert server.step(Step.HANDSHAKE)[0] is Verdict.WANT_WIRE
    flight = server.wire_to_send()
    assert len(flight) > 3 * MADE_TO_FIT
    client.feed(flight)
    assert client.step(Step.HANDSHAKE)[0] is Verdict.DONE  # one step, as it was one flight
