"""Says a line to ssl_server.py and waits for it to come back: the standard library's way, with `txmembio.ssl`.

    python ssl_client.py localhost 8443 "hello" --roots ca.pem
    python ssl_client.py localhost 8443 "hello" --roots ca.pem --groups P-256

With `import ssl` it would run too, but for what the standard library's does not have: groups on every Python, and
keying material.
"""

from __future__ import annotations

import argparse
import socket
import sys

from txmembio import ssl


def call(host: str, port: int, line: str, roots: str | None, groups: str | None) -> str:
    """The answer. Raises ssl.SSLError where TLS fails."""
    context = ssl.create_default_context(cafile=roots)
    if groups is not None:
        context.set_groups(groups)
    with (
        socket.create_connection((host, port)) as sock,
        context.wrap_socket(sock, server_hostname=host) as connection,
    ):
        print(connection.version(), connection.cipher(), connection.group(), file=sys.stderr)
        connection.sendall(line.encode() + b"\n")
        answer: bytes = connection.makefile("rb").readline()
        connection.unwrap()  # tells the server that this is the end, and waits for it to say the same
    return answer.decode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Say a line to ssl_server.py.")
    parser.add_argument("host", help="where to connect, and the name in the server's certificate")
    parser.add_argument("port", type=int)
    parser.add_argument("line", help="what to say")
    parser.add_argument("--roots", help="PEM file: the CAs to trust; the platform's if left out")
    parser.add_argument("--groups", help="groups for the key exchange, with colons between, the best one first")
    options = parser.parse_args()
    try:
        print(call(options.host, options.port, options.line, options.roots, options.groups), end="")
    except ssl.SSLError as error:
        sys.exit(f"{type(error).__name__}: {error}")
