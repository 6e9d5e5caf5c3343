"""A TLS 1.3 client over a plain socket whose wire a test holds in its hands: to send a part of it, or a flood."""

from __future__ import annotations

import socket
from typing import Any

import txmembio
from txmembio._openssl.lib import NULL, give_scratch, lib, take_scratch

from . import pair
from .pki import PKI
from .ticking import once_taken, ticking, view_of

UPDATE_NOT_REQUESTED = 0
"""RFC 8446 section 4.6.3: a KeyUpdate that wants no answer."""

UPDATE_REQUESTED = 1
"""One that wants a KeyUpdate in return."""


def shake_hands(pki: PKI, sock: socket.socket) -> Any:
    """The client's connection, once it is through with a server that shakes hands at the other end of `sock`."""
    connection: Any = pair.client_context(pki, txmembio.TLSVersion.TLSv1_3).connection(server_hostname="localhost")
    connection.do_handshake()
    sock.sendall(connection.wire_to_send())
    while not connection.handshake_complete:
        connection.receive_wire(sock.recv(65536))
    sock.sendall(connection.wire_to_send())
    return connection


def plaintext_wire(connection: Any, plaintext: bytes) -> bytes:
    """The records of some plaintext."""
    connection.send_plaintext(plaintext)
    wire: bytes = connection.wire_to_send()
    return wire


def key_updates(connection: Any, count: int, kind: int, plaintext: bytes = b"") -> bytes:
    """That many KeyUpdates, each followed by `plaintext`."""
    wire = []
    for _ in range(count):
        assert lib.SSL_key_update(connection._ssl, kind) == 1
        if plaintext:
            wire.append(plaintext_wire(connection, plaintext))
            continue
        scratch = take_scratch()
        lib.txm_operate(connection._c, scratch.c, lib.TXM_OP_HANDSHAKE, b"", 0, NULL, 0)
        wire.append(scratch.wire[: scratch.c.report.wire])
        lib.txm_leave(connection._c)
        give_scratch(scratch)
    return b"".join(wire)


def receive_in_the_middle(server: Any, far: socket.socket, connection: Any) -> None:
    """A signal handler receives from `server` while its own thread waits there for the rest of a record. Each gets what
    is its own."""
    received: list[bytes] = []

    def receive() -> None:
        far.sendall(wire[5:])
        received.append(server.recv(100))
        far.sendall(plaintext_wire(connection, b"outer"))

    with view_of(server) as view:
        wire = plaintext_wire(connection, b"inner")
        far.sendall(wire[:5])
        with ticking(once_taken(view, receive)):
            assert server.recv(100) == b"outer"
    assert received == [b"inner"]
