"""Sends back every line it gets, over TLS: a protocol as for any other transport, a context, and wrapServerTLS.

    python echo_server.py chain.pem key.pem --port 8443

echo_client.py talks to it; so does `openssl s_client -quiet -connect 127.0.0.1:8443`.
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver

import txmembio
from txmembio.twisted import wrapServerTLS


class Echo(LineReceiver):
    """The application. It knows nothing of TLS."""

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line)


async def serve(reactor: Any, chain: str, key: str, port: int) -> None:
    """Serves until the reactor is stopped."""
    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    endpoint = wrapServerTLS(context, TCP4ServerEndpoint(reactor, port, interface="127.0.0.1"))
    listening = await endpoint.listen(Factory.forProtocol(Echo))
    address: Any = listening.getHost()
    print(f"listening on port {address.port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Send back every line, over TLS, on 127.0.0.1.")
    parser.add_argument("chain", help="PEM file: the certificate, and the intermediates behind it")
    parser.add_argument("key", help="PEM file: the certificate's private key")
    parser.add_argument("--port", type=int, default=0, help="where to listen; any free port if left out")
    options = parser.parse_args()
    react(serve, (options.chain, options.key, options.port))
