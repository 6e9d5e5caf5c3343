"""Sends back every line it gets, over TLS: the standard library's way, with `txmembio.ssl` in the place of `ssl`.

    python ssl_server.py chain.pem key.pem --port 8443

ssl_client.py talks to it; so does `openssl s_client -quiet -connect 127.0.0.1:8443`. A thread for each client.
"""

from __future__ import annotations

import argparse
import socket
import threading
from typing import Any

from txmembio import ssl

HANDSHAKE_TIMEOUT = 60
"""Seconds; a client that says nothing must not keep its thread."""


def converse(context: ssl.SSLContext, sock: socket.socket, address: Any) -> None:
    """The whole life of one connection."""
    try:
        with sock:
            sock.settimeout(HANDSHAKE_TIMEOUT)
            with context.wrap_socket(sock, server_side=True) as connection:
                connection.settimeout(None)
                for line in connection.makefile("rb"):
                    connection.sendall(line)
                connection.unwrap()
        print(f"{address} is done", flush=True)
    except OSError as error:  # an SSLError is one
        print(f"{type(error).__name__}: {error}", flush=True)


def serve(chain: str, key: str, port: int) -> None:
    """Serves until it is stopped."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    with socket.create_server(("127.0.0.1", port)) as listener:
        print(f"listening on port {listener.getsockname()[1]}", flush=True)
        while True:
            threading.Thread(target=converse, args=(context, *listener.accept()), daemon=True).start()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send back every line, over TLS, on 127.0.0.1.")
    parser.add_argument("chain", help="PEM file: the certificate, and the intermediates behind it")
    parser.add_argument("key", help="PEM file: the certificate's private key")
    parser.add_argument("--port", type=int, default=0, help="where to listen; any free port if left out")
    options = parser.parse_args()
    serve(options.chain, options.key, options.port)
