"""A TLS 1.2 server that renegotiates, which a bare context allows as the standard library's does: what is sent
meanwhile arrives, whole and in order.
"""

from __future__ import annotations

import socket
from collections.abc import Callable

import pytest

import txmembio
from support.peers import require
from support.pki import PKI
from support.process import DEADLINE, Process


def by_send(connection: txmembio.Connection, data: bytes) -> None:
    connection.send_plaintext(data)


def by_wire(connection: txmembio.Connection, data: bytes) -> None:
    connection._wire.append(connection.plaintext_to_wire(data))  # sent with the rest below


def through(connection: txmembio.Connection, data: bytes) -> None:
    def nobody(wire: bytes | memoryview) -> int:
        raise BlockingIOError

    assert connection.send_plaintext_through(data, nobody) == len(data)


@pytest.mark.parametrize("send", [by_send, by_wire, through])
def test_what_is_sent_during_a_renegotiation_arrives(
    pki: PKI, send: Callable[[txmembio.Connection, bytes], None]
) -> None:
    command = [require("openssl"), "s_server", "-tls1_2", "-accept", "127.0.0.1:0"]
    command += ["-cert", pki.server.combined_file, "-cert_chain", pki.server.chain_file]
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca.certificate_file)
    client = context.connection(server_hostname="localhost")
    with Process(command) as server:
        port = int(server.wait_for(r"ACCEPT \S*:(\d+)").group(1))
        with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:

            def receive() -> None:
                client.receive_wire(sock.recv(65536))
                sock.sendall(client.wire_to_send())

            client.do_handshake()
            sock.sendall(client.wire_to_send())
            while not client.handshake_complete:
                receive()
            server.stdin.write(b"r\n")
            client.receive_wire(sock.recv(65536))  # HelloRequest
            for number in range(3):
                send(client, b"line %d\n" % number)
            assert client.plaintext_pending == 21, "the second handshake comes first"
            sock.sendall(client.wire_to_send())
            while client.plaintext_pending:
                receive()
            assert client.handshake_complete
            send(client, b"line 3\n")
            sock.sendall(client.wire_to_send())
            server.wait_for(r"line 0\s+line 1\s+line 2\s+line 3")
            client.close()
            sock.sendall(client.wire_to_send())
