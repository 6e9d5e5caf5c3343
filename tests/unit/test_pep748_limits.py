"""What a peer cannot make of a TLSSocket, by a flood that never pauses; and what a signal handler may do with one."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import pytest

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
from support.ticking import needs_timers
from support.tls_sockets import Beside
from txmembio.pep748 import (
    Certificate,
    PrivateKey,
    ServerContext,
    SigningChain,
    TLSServerConfiguration,
    TLSSocket,
    WantReadError,
    WantWriteError,
)
from txmembio.pep748 import socket as implementation
from txmembio.pep748.buffer import INCOMING_LIMIT

SHORT_TIMEOUT = 1e-4
"""Seconds: over before the first ONE_READ bytes of any of these floods can be handled."""

BIG_BUFFER = 1 << 20
"""Bytes that the system is asked to hold of a flood, so that it is all there before the first of it is read."""

SMALL_BUFFER = 4096
"""Bytes that it is asked to hold of what is sent and not read."""

FLOOD = 3 * implementation.ONE_READ
"""Bytes at least: one read in time, one late, and one that must not be."""

UPDATES = (200, 200)
"""Rounds, and KeyUpdates in each: their answers are a megabyte, four times INCOMING_LIMIT."""

HELD_AT_MOST = INCOMING_LIMIT + 2 * implementation.ONE_READ
"""Bytes of wire: the limit, and the answers to what was read at once before it was looked at."""


@contextmanager
def listening(pki: PKI) -> Iterator[tuple[TLSSocket, socket.socket]]:
    """A server's listener, and a plain socket that is connected to it."""
    leaf = Certificate.from_file(pki.server.chain_file), PrivateKey.from_file(pki.server.key_file)
    listener = ServerContext(TLSServerConfiguration([SigningChain(leaf)])).connect(("127.0.0.1", 0))
    listener.listen(1)
    try:
        with socket.create_connection(("127.0.0.1", listener.getsockname()[1])) as far:
            far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, BIG_BUFFER)
            yield listener, far
    finally:
        listener.close()


@contextmanager
def against_raw_peer(pki: PKI) -> Iterator[tuple[TLSSocket, socket.socket, Any]]:
    """A server's TLSSocket, and its client: a plain socket and a connection that makes the wire for it."""
    with listening(pki) as (listener, far):
        accepting = Beside(listener.accept)
        connection = shake_hands(pki, far)
        server, _ = accepting.result()
        with server:
            yield server, far, connection


def test_a_handshake_that_never_pauses_takes_too_long(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    """A ClientHello in pieces of a byte, and behind them what is no TLS: only who reads that far can tell."""
    monkeypatch.setattr(implementation, "HANDSHAKE_TIMEOUT", SHORT_TIMEOUT)
    start = b"\x16\x03\x01\x00\x04" + b"\x01\x01\x00\x00"  # a handshake record: client_hello, 65536 bytes of it
    with listening(pki) as (listener, far):
        far.sendall(start + b"\x16\x03\x01\x00\x01\x03" * (FLOOD // 6) + b"no TLS at all")
        with pytest.raises(TimeoutError, match="the handshake was not complete"):
            listener.accept()


def test_a_flood_of_key_updates_does_not_switch_the_time_out_off(pki: PKI) -> None:
    with against_raw_peer(pki) as (server, far, connection):
        wire = key_updates(connection, FLOOD // 20, UPDATE_NOT_REQUESTED)
        assert len(wire) > FLOOD
        far.sendall(wire + plaintext_wire(connection, b"late"))
        server.settimeout(SHORT_TIMEOUT)
        with pytest.raises(TimeoutError):
            server.recv(100)
        server.settimeout(DEADLINE)
        assert server.recv(100) == b"late"


def test_close_does_not_wait_for_a_peer_that_never_pauses(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though its close_notify comes in the end."""
    monkeypatch.setattr(implementation, "SHUTDOWN_TIMEOUT", SHORT_TIMEOUT)
    with against_raw_peer(pki) as (server, far, connection):
        wire = b"".join(plaintext_wire(connection, bytes(16384)) for _ in range(FLOOD // 16384 + 1))
        connection.close()
        far.sendall(wire + connection.wire_to_send())
        with pytest.raises(WantReadError, match="has not sent its close_notify yet"):
            server.close()
        monkeypatch.undo()
        server.close()
        assert server.fileno() == -1


def test_answers_that_the_peer_does_not_take_do_not_pile_up(pki: PKI) -> None:
    """To KeyUpdates that want one in return. Once the peer reads, everything arrives."""
    rounds, updates = UPDATES
    received = most = 0
    wants_write = False
    with against_raw_peer(pki) as (server, far, connection):
        server._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SMALL_BUFFER)
        far.setblocking(False)
        server.settimeout(0)
        unsent = b""
        for _ in range(rounds):
            unsent += key_updates(connection, updates, UPDATE_REQUESTED, b"x")
            with suppress(BlockingIOError):
                unsent = unsent[far.send(unsent) :]
            for _ in range(2 * updates):  # as a program does that does not know better, and once more for each answer
                try:
                    received += len(server.recv(65536))
                except WantReadError:
                    break
                except WantWriteError:
                    wants_write = True
            assert server._buffer is not None
            most = max(most, len(server._unsent) + server._buffer.outgoing_bytes_buffered())
        assert most <= HELD_AT_MOST
        assert wants_write

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
        server._socket.shutdown(socket.SHUT_WR)
        reader.result()


@needs_timers
@pytest.mark.parametrize("timeout", [None, DEADLINE])
def test_a_signal_handler_may_receive_in_the_middle_of_receiving(pki: PKI, timeout: float | None) -> None:
    with against_raw_peer(pki) as (server, far, connection):
        server.settimeout(timeout)
        receive_in_the_middle(server, far, connection)
