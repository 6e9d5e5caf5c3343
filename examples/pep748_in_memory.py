"""Both sides of a TLS connection in one process, with the buffers of PEP 748 and no socket.

    python pep748_in_memory.py chain.pem key.pem --roots ca.pem --hostname localhost

What is a function call here would be a network in a program, and could be anything that carries bytes.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import suppress

from txmembio.pep748 import (
    Certificate,
    ClientContext,
    NextProtocol,
    PrivateKey,
    ServerContext,
    SigningChain,
    TLSBuffer,
    TLSClientConfiguration,
    TLSError,
    TLSServerConfiguration,
    TrustStore,
    WantReadError,
)


def carry(sender: TLSBuffer, receiver: TLSBuffer) -> None:
    """What a network does."""
    while wire := sender.process_outgoing(16384):
        receiver.process_incoming(wire)


def shake_hands(client: TLSBuffer, server: TLSBuffer) -> None:
    """Raises TLSError where one side refuses the other."""
    while client.cipher() is None or server.cipher() is None:
        for one, other in ((client, server), (server, client)):
            with suppress(WantReadError):
                one.do_handshake()
            carry(one, other)


def talk(chain: str, key: str, roots: str, hostname: str) -> None:
    """One line there, one line back, and a close on both sides."""
    protocols: list[NextProtocol | bytes] = [NextProtocol.H2, b"a-protocol-of-our-own"]
    leaf = (Certificate.from_file(chain), PrivateKey.from_file(key))
    server_context = ServerContext(TLSServerConfiguration([SigningChain(leaf)], inner_protocols=protocols[1:]))
    client_context = ClientContext(
        TLSClientConfiguration(trust_store=TrustStore.from_file(roots), inner_protocols=protocols)
    )
    client, server = client_context.create_buffer(hostname), server_context.create_buffer()
    shake_hands(client, server)
    print(client.negotiated_tls_version, client.cipher(), client.negotiated_protocol())

    for sender, receiver, line in ((client, server, b"Is anybody there?"), (server, client, b"I am.")):
        sender.write(line)
        print(f"{sender.outgoing_bytes_buffered()} bytes of wire for {line!r}")
        carry(sender, receiver)
        assert receiver.read(100) == line
        sender.shutdown()
        carry(sender, receiver)
        assert receiver.read(100) == b""  # no more will come


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Both sides of a TLS connection in memory.")
    parser.add_argument("chain", help="PEM file: the server's certificate, and the intermediates behind it")
    parser.add_argument("key", help="PEM file: the certificate's private key")
    parser.add_argument("--roots", required=True, help="PEM file: the CAs that the client trusts")
    parser.add_argument("--hostname", default="localhost", help="the name in the server's certificate")
    options = parser.parse_args()
    try:
        talk(options.chain, options.key, options.roots, options.hostname)
    except TLSError as error:
        sys.exit(f"{type(error).__name__}: {error}")
