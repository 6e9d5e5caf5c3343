"""Sends back every line it gets, over TLS, with the unified API of PEP 748: a configuration, a context, a socket.

    python pep748_server.py chain.pem key.pem --port 8443
    python pep748_server.py a.pem a-key.pem b.pem b-key.pem       each client gets the one for the name it asks for

pep748_client.py talks to it; so does `openssl s_client -quiet -connect 127.0.0.1:8443`. One client after another.
"""

from __future__ import annotations

import argparse

from txmembio.pep748 import (
    Certificate,
    PrivateKey,
    ServerContext,
    SigningChain,
    TLSServerConfiguration,
    TLSSocket,
    TLSVersion,
)

ONE_READ = 65536
"""Bytes asked for at once."""


def converse(connection: TLSSocket) -> None:
    """Sends back whole lines until the client closes."""
    rest = b""
    while data := connection.recv(ONE_READ):
        lines, newline, rest = (rest + data).rpartition(b"\n")
        connection.send(lines + newline)
    connection.close()  # the client has closed already, so this does not wait


def serve(files: list[str], port: int) -> None:
    """Serves until it is stopped."""
    chains = [
        SigningChain((Certificate.from_file(chain), PrivateKey.from_file(key)))
        for chain, key in zip(files[::2], files[1::2], strict=True)
    ]
    context = ServerContext(TLSServerConfiguration(chains, lowest_supported_version=TLSVersion.TLSv1_2))
    listener = context.connect(("127.0.0.1", port))
    listener.listen(5)
    print(f"listening on port {listener.getsockname()[1]}", flush=True)
    while True:
        try:
            connection, address = listener.accept()
            with connection:
                converse(connection)
        except OSError as error:  # one client's; a TLSError is one
            print(f"{type(error).__name__}: {error}", flush=True)
        else:
            print(f"{address} is done", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send back every line, over TLS, on 127.0.0.1.")
    parser.add_argument("files", nargs="+", help="pairs of PEM files: certificate and intermediates, private key")
    parser.add_argument("--port", type=int, default=0, help="where to listen; any free port if left out")
    options = parser.parse_args()
    if len(options.files) % 2:
        parser.error(f"{options.files[-1]!r} has no private key, expected pairs of files")
    serve(options.files, options.port)
