"""The same as sans_io.py with `MemoryBIO` and `SSLObject`, step by step as with the standard library's `ssl`.

    python memory_bio.py 127.0.0.1 8443 --path /index.html --roots ca.pem --hostname localhost

With `import ssl as txmembio` it would run too. New code is better served by `Connection`.
"""

from __future__ import annotations

import argparse
import socket
import sys
from collections.abc import Callable
from typing import TypeVar

import txmembio

ONE_READ = 65536
"""Bytes asked of the socket at once: four full TLS records."""

_T = TypeVar("_T")


class Stream:
    """TLS over a connected socket."""

    def __init__(self, sock: socket.socket, context: txmembio.SSLContext, hostname: str) -> None:
        self.sock = sock
        self.incoming = txmembio.MemoryBIO()
        self.outgoing = txmembio.MemoryBIO()
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_hostname=hostname)

    def call(self, operation: Callable[[], _T]) -> _T:
        """Repeats `operation` until it needs no more wire."""
        while True:
            try:
                return operation()
            except txmembio.SSLWantReadError:
                self.flush()
                wire = self.sock.recv(ONE_READ)
                if wire:
                    self.incoming.write(wire)
                else:
                    self.incoming.write_eof()
            finally:
                self.flush()

    def flush(self) -> None:
        """Sends what there is to send."""
        self.sock.sendall(self.outgoing.read())


def fetch(host: str, port: int, path: str, roots: str | None, hostname: str) -> bytes:
    """The server's answer, headers and all. Raises txmembio.SSLError where TLS fails, SSLEOFError (which is one) if the
    answer was cut short."""
    context = txmembio.create_default_context(cafile=roots)
    answer = bytearray()
    with socket.create_connection((host, port)) as sock:
        stream = Stream(sock, context, hostname)
        tls = stream.tls
        stream.call(tls.do_handshake)
        stream.call(lambda: tls.write(f"GET {path} HTTP/1.0\r\nHost: {hostname}\r\n\r\n".encode()))
        while plaintext := stream.call(lambda: tls.read(ONE_READ)):
            assert isinstance(plaintext, bytes)
            answer += plaintext
        stream.call(tls.unwrap)
        print(tls.version(), tls.cipher(), file=sys.stderr)
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
