"""Says a line to pep748_server.py and waits for it to come back; with the unified API of PEP 748.

    python pep748_client.py localhost 8443 "hello" --roots ca.pem

A certificate that is not trusted, or not for that name, ends it with an error that says so.
"""

from __future__ import annotations

import argparse
import sys

from txmembio.pep748 import (
    TXMEMBIO_IMPLEMENTATION,
    CipherSuite,
    TLSClientConfiguration,
    TLSError,
    TrustStore,
)


def call(host: str, port: int, line: str, roots: str | None) -> str:
    """The answer. Raises TLSError where TLS fails, RaggedEOF (which is one) if the answer was cut short."""
    store = TrustStore.system() if roots is None else TrustStore.from_file(roots)
    # A library would take any implementation from its user, and would know no other names than this one's.
    implementation = TXMEMBIO_IMPLEMENTATION
    context = implementation.client_context(TLSClientConfiguration(trust_store=store))
    answer = b""
    with context.connect((host, port)) as connection:
        suite = connection.cipher()
        name = suite.name if isinstance(suite, CipherSuite) else suite
        print(connection.negotiated_tls_version, name, file=sys.stderr)
        connection.send(line.encode() + b"\n")
        while not answer.endswith(b"\n"):
            data = connection.recv(65536)
            if not data:
                raise SystemExit("the server closed without an answer")
            answer += data
    return answer.decode()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Say a line to pep748_server.py.")
    parser.add_argument("host", help="where to connect, and the name in the server's certificate")
    parser.add_argument("port", type=int)
    parser.add_argument("line", help="what to say")
    parser.add_argument("--roots", help="PEM file: the CAs to trust; the platform's if left out")
    options = parser.parse_args()
    try:
        print(call(options.host, options.port, options.line, options.roots), end="")
    except TLSError as error:
        sys.exit(f"{type(error).__name__}: {error}")
