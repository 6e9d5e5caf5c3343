"""What txmembio.ssl's engine must not lose, mix up or pile up: interrupted, flooded, or used by two threads."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

import txmembio.ssl
from support.pki import PKI
from support.process import DEADLINE
from support.raw_peer import (
    UPDATE_NOT_REQUESTED,
    UPDATE_REQUESTED,
    key_updates,
    plaintext_wire,
    receive_in_the_middle,
    shake_hands,
)
from support.ticking import has_wire, needs_timers, once_taken, ticking, view_of
from support.tls_sockets import Beside, connected, pair, server_context

ROUNDS = 2000
"""How often each thread writes; without a lock, a hundred times are enough to mix them up."""

UPDATES = 2000
"""KeyUpdates that a system's buffers hold, 54 kB, and that nobody handles within SHORT_TIMEOUT."""

SHORT_TIMEOUT = 1e-4
"""Seconds: a twentieth of a microsecond for each of UPDATES."""

FLOOD = (100, 200)
"""Rounds, and KeyUpdates in each: their answers are half a megabyte, and the system takes a fraction of that."""

SMALL_BUFFER = 4096
"""Bytes that the system is asked to hold of what is sent and not read."""

HELD_AT_MOST = 16384
"""Bytes of wire: far more than one step's answers, far less than a flood's."""


@contextmanager
def against_raw_peer(pki: PKI) -> Iterator[tuple[Any, socket.socket, Any]]:
    """An SSLSocket, a server's, and its client: a plain socket and a connection that makes the wire for it."""
    with pair() as (far, near):
        shaking = Beside(lambda: server_context(pki, txmembio.ssl).wrap_socket(near, server_side=True))
        connection = shake_hands(pki, far)
        with shaking.result() as server:
            yield server, far, connection


def test_two_threads_that_write_do_not_mix_their_plaintext(pki: PKI) -> None:
    def write(data: bytes) -> None:
        for _ in range(ROUNDS):
            client.sendall(data)

    with connected(pki, txmembio.ssl, txmembio.ssl) as (client, server):
        writers = [Beside(lambda: write(b"A" * 100)), Beside(lambda: write(b"B" * 1000))]
        received = bytearray()
        while len(received) < ROUNDS * 1100 and (data := server.recv(65536)):
            received += data
        for writer in writers:
            writer.result()
        assert received.count(b"A") == ROUNDS * 100
        assert received.count(b"B") == ROUNDS * 1000


# Signal handlers


@needs_timers
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_an_exception_of_a_signal_handler_loses_no_wire(pki: PKI, timeout: float | None) -> None:
    """In the worst moment: a record's header has been received, the rest has not."""

    class Interrupted(Exception):
        pass

    def interrupt() -> None:
        raise Interrupted

    with against_raw_peer(pki) as (server, far, connection), view_of(server) as view:
        server.settimeout(timeout)
        wire = plaintext_wire(connection, b"hello")
        far.sendall(wire[:5])
        with pytest.raises(Interrupted), ticking(once_taken(view, interrupt)):
            server.recv(100)
        far.sendall(wire[5:])
        far.shutdown(socket.SHUT_WR)
        assert server.recv(100) == b"hello"


@needs_timers
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_signal_handler_may_receive_in_the_middle_of_receiving(pki: PKI, timeout: float | None) -> None:
    with against_raw_peer(pki) as (server, far, connection):
        server.settimeout(timeout)
        receive_in_the_middle(server, far, connection)


@needs_timers
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_signal_handler_may_send_in_the_middle_of_sending(pki: PKI, timeout: float | None) -> None:
    """In the middle of more than the system takes, to a peer that begins to read only then."""
    length = 10_000_000
    readers: list[Beside] = []

    def read() -> bytes:
        data = bytearray()
        while len(data) < length + 10 and (some := client.recv(65536)):
            data += some
        return bytes(data)

    def send() -> None:
        if not readers and has_wire(view):
            server.sendall(b"B" * 10)
            readers.append(Beside(read))

    with connected(pki, txmembio.ssl, txmembio.ssl) as (client, server), view_of(client) as view:
        server.context.num_tickets = 0
        server.settimeout(timeout)
        while has_wire(view):  # tickets
            client.setblocking(False)
            with suppress(txmembio.SSLWantReadError):
                client.recv(1)
        client.setblocking(True)
        with ticking(send):
            server.sendall(b"A" * length)
        data = readers[0].result()
        assert (data.count(b"A"), data.count(b"B")) == (length, 10)


@needs_timers
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_signal_handler_may_end_tls_in_the_middle_of_receiving(pki: PKI, timeout: float | None) -> None:
    """By unwrap(), which sends a close_notify, and receives the one that recv() is in the middle of."""
    plain: list[socket.socket] = []

    def unwrap() -> None:
        far.sendall(wire[5:])
        plain.append(server.unwrap())
        far.shutdown(socket.SHUT_WR)

    with against_raw_peer(pki) as (server, far, connection), view_of(server) as view:
        server.settimeout(timeout)
        connection.close()
        wire = connection.wire_to_send()
        far.sendall(wire[:5])
        with pytest.raises(txmembio.SSLZeroReturnError), ticking(once_taken(view, unwrap)):
            server.recv(100)
        assert len(plain) == 1


# Floods


def test_a_flood_of_key_updates_does_not_switch_the_time_out_off(pki: PKI) -> None:
    """All of it has arrived before recv(), so that there is always something to receive."""
    with against_raw_peer(pki) as (server, far, connection):
        far.sendall(key_updates(connection, UPDATES, UPDATE_NOT_REQUESTED) + plaintext_wire(connection, b"late"))
        server.settimeout(SHORT_TIMEOUT)
        with pytest.raises(TimeoutError):
            server.recv(100)
        server.settimeout(DEADLINE)
        assert server.recv(100) == b"late"


def test_answers_that_the_peer_does_not_take_do_not_pile_up(pki: PKI) -> None:
    """To KeyUpdates that want one in return. Once the peer reads, everything arrives."""
    rounds, updates = FLOOD
    received = most = 0
    wants_write = False
    with against_raw_peer(pki) as (server, far, connection):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        far.setblocking(False)
        server.setblocking(False)
        unsent = b""
        for _ in range(rounds):
            unsent += key_updates(connection, updates, UPDATE_REQUESTED, b"x")
            with suppress(BlockingIOError):
                unsent = unsent[far.send(unsent) :]
            for _ in range(2 * updates):  # as a program does that does not know better, and once more for each answer
                try:
                    received += len(server.recv(65536))
                except txmembio.SSLWantReadError:
                    break
                except txmembio.SSLWantWriteError:
                    wants_write = True
            most = max(most, len(server._sslobj._wire) + server._sslobj._outgoing.pending)
        assert wants_write
        assert most <= HELD_AT_MOST

        def read() -> None:
            while far.recv(65536):
                pass

        far.setblocking(True)
        server.settimeout(DEADLINE)
        reader, writer = Beside(read), Beside(lambda: far.sendall(unsent))
        while received < rounds * updates:
            received += len(server.recv(65536))
        assert received == rounds * updates
        writer.result()
        server.shutdown(socket.SHUT_WR)
        reader.result()
