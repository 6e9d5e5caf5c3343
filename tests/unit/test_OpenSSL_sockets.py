"""`OpenSSL.SSL.Connection` on sockets that would block or are gone, its shutdown(), and one that has no side yet."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from typing import Any

import pytest

from support.pki import PKI

SSL: Any = import_module("txmembio.OpenSSL.SSL")

#: Bytes a socket may hold for its peer: less than a record, so that each record has to wait.
SEND_BUFFER = 4096

#: Bytes of one send(): about a record.
PIECE = 16000

Sockets = tuple[socket.socket, socket.socket]
Ends = tuple[Any, Any]


@pytest.fixture
def sockets() -> Iterator[Sockets]:
    """Two that are joined, hold little and never block."""
    pair = socket.socketpair()
    for each in pair:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        each.setblocking(False)
    yield pair
    for each in pair:
        each.close()


def client_on(wire: socket.socket | None, verify: bool = False) -> Any:
    context = SSL.Context(SSL.TLS_METHOD)
    if verify:
        context.set_verify(SSL.VERIFY_PEER)
    connection = SSL.Connection(context, wire)
    connection.set_connect_state()
    return connection


def server_on(wire: socket.socket | None, pki: PKI) -> Any:
    context = SSL.Context(SSL.TLS_METHOD)
    context.use_certificate_chain_file(pki.server.chain_file)
    context.use_privatekey_file(pki.server.key_file)
    connection = SSL.Connection(context, wire)
    connection.set_accept_state()
    return connection


def handshake(client: Any, server: Any) -> None:
    """To its end on both, on sockets or in memory. The tickets are read."""
    unfinished = [client, server]
    while unfinished:
        for each in list(unfinished):
            with suppress(SSL.WantReadError, SSL.WantWriteError):
                each.do_handshake()
                unfinished.remove(each)
        carry(client, server)
    with pytest.raises(SSL.WantReadError):
        client.recv(1)


def carry(*ends: Any) -> None:
    """Moves the wire of connections in memory, both ways."""
    for source, target in (ends, ends[::-1]):
        with suppress(SSL.WantReadError, TypeError):
            while True:
                target.bio_write(source.bio_read(PIECE))


def joined(sockets: Sockets, pki: PKI) -> Ends:
    ends = client_on(sockets[0]), server_on(sockets[1], pki)
    handshake(*ends)
    return ends


def drained(connection: Any) -> bytes:
    """All plaintext that has come."""
    got = bytearray()
    with suppress(SSL.WantReadError):
        while True:
            got += connection.recv(PIECE)
    return bytes(got)


def fill(connection: Any) -> tuple[bytes, bytes]:
    """Sends until the socket would block. Returns what was taken, and the piece that was not, as it seems."""
    taken = bytearray()
    while True:
        piece = bytes([len(taken) // PIECE % 251]) * PIECE
        try:
            taken += piece[: connection.send(piece)]
        except SSL.WantWriteError:
            return bytes(taken), piece


# --- sockets that would block ---


def test_what_would_block_is_sent_once(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    message = b"".join(b"%07d\n" % number for number in range(25_000))
    sent, blocked, got = 0, 0, bytearray()
    while sent < len(message):
        try:
            sent += client.send(message[sent : sent + PIECE])
        except SSL.WantWriteError:
            blocked += 1
            assert blocked < 1000  # each time some of it leaves
            got += drained(server)
    got += drained(server)
    assert blocked
    assert bytes(got) == message


def test_a_retry_with_less_is_told_of_no_more(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    taken, piece = fill(client)
    got = drained(server)
    assert client.send(piece[:1000]) == 1000
    assert client.send(piece[1000:]) == PIECE - 1000
    got += drained(server)
    assert got == taken + piece
    assert client.send(b"more") == 4
    assert drained(server) == b"more"


@pytest.mark.parametrize("flags", [None, socket.MSG_PEEK])
def test_reads_what_has_come_while_a_send_would_block(sockets: Sockets, pki: PKI, flags: int | None) -> None:
    client, server = joined(sockets, pki)
    server.send(b"hello")
    taken, piece = fill(client)
    assert client.recv(2, flags) == b"he"
    assert client.recv(3) == (b"llo" if flags is None else b"hel")
    assert drained(client) == (b"" if flags is None else b"lo")  # and WantReadError: nothing more has come
    got = drained(server)
    assert client.send(piece) == PIECE
    got += drained(server)
    assert got == taken + piece


def test_two_that_both_would_block_can_read(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    (from_client, last_of_client), (from_server, last_of_server) = fill(client), fill(server)
    at_server, at_client = drained(server), drained(client)
    for connection, piece in ((client, last_of_client), (server, last_of_server)):
        assert connection.send(piece) == PIECE
    assert at_server + drained(server) == from_client + last_of_client
    assert at_client + drained(client) == from_server + last_of_server


def test_a_reader_is_told_when_its_own_handshake_would_block(sockets: Sockets) -> None:
    client = client_on(sockets[0])
    with pytest.raises(BlockingIOError):
        while True:
            sockets[0].send(bytes(PIECE))
    with pytest.raises(SSL.WantWriteError):
        client.recv(1)
    with pytest.raises(BlockingIOError):
        while True:
            sockets[1].recv(PIECE)
    with pytest.raises(SSL.WantReadError):
        client.recv(1)
    assert sockets[1].recv(1) == b"\x16"  # a handshake record (RFC 8446 section 5.1): the ClientHello is out


# --- sockets that are gone ---


def test_a_failed_verification_is_not_hidden_by_a_peer_that_has_gone(sockets: Sockets, pki: PKI) -> None:
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE)  # room for a flight
    client, server = client_on(sockets[0], verify=True), server_on(sockets[1], pki)
    for connection in (client, server):
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
    sockets[1].close()
    with pytest.raises(SSL.Error) as refused:
        client.do_handshake()
    assert type(refused.value) is SSL.Error
    assert [reason for _, _, reason in refused.value.args[0]] == ["certificate verify failed"]


def test_the_last_words_of_a_peer_that_has_gone_are_read(sockets: Sockets, pki: PKI) -> None:
    for each in sockets:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4 * PIECE)
    client, server = client_on(sockets[0]), server_on(sockets[1], pki)
    for connection in (client, server):
        with pytest.raises(SSL.WantReadError):
            connection.do_handshake()
    client.do_handshake()
    client.send(b"last words")
    sockets[0].close()
    server.do_handshake()  # its tickets have nowhere to go
    assert server.recv(100) == b"last words"
    with pytest.raises(SSL.SysCallError):
        server.recv(100)
    with pytest.raises(SSL.SysCallError):
        server.send(b"answer")


# --- shutdown() ---


def test_shutdown_reads_the_answer_when_called_again(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    assert client.shutdown() is False
    with pytest.raises(SSL.WantReadError):
        client.shutdown()
    with pytest.raises(SSL.ZeroReturnError):
        server.recv(1)
    assert server.shutdown() is True
    assert client.shutdown() is True


def test_shutdown_waits_on_a_socket_that_blocks(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    assert client.shutdown() is False
    with pytest.raises(SSL.ZeroReturnError):
        server.recv(1)
    server.shutdown()
    sockets[0].setblocking(True)
    assert client.shutdown() is True


def test_shutdown_in_memory_reads_the_answer_when_called_again(pki: PKI) -> None:
    client, server = client_on(None), server_on(None, pki)
    handshake(client, server)
    assert client.shutdown() is False
    with pytest.raises(SSL.WantReadError):
        client.shutdown()
    carry(client, server)
    with pytest.raises(SSL.ZeroReturnError):
        server.recv(1)
    assert server.shutdown() is True
    carry(client, server)
    assert client.shutdown() is True


def test_shutdown_that_would_block_is_tried_again(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    _, piece = fill(client)
    with pytest.raises(SSL.WantWriteError):
        client.shutdown()
    drained(server)
    assert client.send(piece) == PIECE  # the one that would block, not a new one
    with pytest.raises(SSL.ZeroReturnError):
        drained(server)
    assert server.shutdown() is True
    assert client.shutdown() is True


def test_shutdown_tells_of_an_end_without_an_answer(sockets: Sockets, pki: PKI) -> None:
    client, server = joined(sockets, pki)
    assert client.shutdown() is False
    with pytest.raises(SSL.ZeroReturnError):
        server.recv(1)
    sockets[1].close()
    with pytest.raises(SSL.SysCallError) as broken:
        client.shutdown()
    assert broken.value.args == (-1, "Unexpected EOF")


# --- neither client nor server ---


@pytest.mark.parametrize("in_memory", [True, False])
@pytest.mark.parametrize(
    ("method", "arguments", "reason"),
    [
        ("do_handshake", (), "connection type not set"),
        ("send", (b"x",), "uninitialized"),
        ("send", (b"",), "uninitialized"),
        ("sendall", (b"x",), "uninitialized"),
        ("recv", (1,), "uninitialized"),
        ("recv", (0,), "uninitialized"),
        ("recv", (1, socket.MSG_PEEK), "uninitialized"),
        ("recv_into", (bytearray(1),), "uninitialized"),
        ("shutdown", (), "uninitialized"),
    ],
)
def test_without_a_side_nothing_can_be_done(
    sockets: Sockets, in_memory: bool, method: str, arguments: tuple[Any, ...], reason: str
) -> None:
    connection = SSL.Connection(SSL.Context(SSL.TLS_METHOD), None if in_memory else sockets[0])
    with pytest.raises(SSL.Error) as refused:
        getattr(connection, method)(*arguments)
    assert refused.value.args == ([("SSL routines", "", reason)],)
    connection.set_connect_state()
    with pytest.raises(SSL.WantReadError):
        connection.do_handshake()
