"""Fetches a page over HTTPS with a plain blocking socket: `Connection`, and nothing else of txmembio.

    python sans_io.py 127.0.0.1 8443 --path /index.html --roots ca.pem --hostname localhost

The connection does TLS in memory. This program carries the wire, which is all that an adapter for a framework does.
"""

from __future__ import annotations

import argparse
import socket
import sys

import txmembio

ONE_READ = 65536
"""Bytes asked of the socket at once: four full TLS records."""


def fetch(host: str, port: int, path: str, roots: str | None, hostname: str) -> bytes:
    """The server's answer, headers and all. Raises txmembio.SSLError where TLS fails, SSLEOFError (which is one) if the
    answer was cut short."""
    connection = txmembio.create_default_context(cafile=roots).connection(server_hostname=hostname)
    # Kept until the handshake is complete, and sent in the very message that completes it.
    connection.send_plaintext(f"GET {path} HTTP/1.0\r\nHost: {hostname}\r\n\r\n".encode())
    answer = bytearray()
    with socket.create_connection((host, port)) as sock:
        connection.do_handshake()
        sock.sendall(connection.wire_to_send())
        while not connection.peer_closed:
            wire = sock.recv(ONE_READ)
            if not wire:
                connection.receive_wire_eof()  # raises: the server has not said that this is the end
            try:
                answer += connection.receive_wire(wire)
            finally:  # where it failed, too: the alert tells the server why
                sock.sendall(connection.wire_to_send())
            if connection.error is not None:  # what this wire began with was good, what followed was not
                raise connection.error
        connection.close()
        sock.sendall(connection.wire_to_send())
    print(connection.version(), connection.cipher(), connection.group(), file=sys.stderr)
    return bytes(answer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetch a page.")
    parser.add_argument("host", help="where to connect")
    parser.add_argument("port", type=int)
    parser.add_argument("--path", default="/", help="which page; / if left out")
    parser.add_argument("--roots", help="PEM file: the CAs to trust; the platform's if left out")
    parser.add_argument("--hostname", help="the name in the server's certificate; the host's if left out")
    options = parser.parse_args()
    try:
        page = fetch(options.host, options.port, options.path, options.roots, options.hostname or options.host)
    except txmembio.SSLError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    sys.stdout.buffer.write(page)
