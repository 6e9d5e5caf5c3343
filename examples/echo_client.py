"""Says a line to echo_server.py and waits for it to come back; with wrapClientTLS.

    python echo_client.py 127.0.0.1 8443 "hello" --roots ca.pem --hostname localhost

A certificate that is not trusted, or not for that name, ends it with an error that says so.
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import react
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio
from txmembio.twisted import TLSTransport, wrapClientTLS


@implementer(IHandshakeListener)
class Caller(LineReceiver):
    """Says one line, prints the answer, closes."""

    def __init__(self, line: str) -> None:
        self.line = line
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        # No need to wait for the handshake: what is written before is sent right after it.
        self.sendLine(self.line.encode())

    def handshakeCompleted(self) -> None:
        assert isinstance(self.transport, TLSTransport)
        connection = self.transport.connection
        print(f"{connection.version()} {connection.cipher()} {connection.group()}")

    def lineReceived(self, line: bytes) -> None:
        print(line.decode())
        assert self.transport is not None
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ConnectionDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)


async def call(reactor: Any, host: str, port: int, line: str, roots: str | None, hostname: str) -> None:
    """The whole conversation. Raises what went wrong: a certificate that is not trusted, a connection cut short."""
    context = txmembio.create_default_context(cafile=roots)
    endpoint = wrapClientTLS(context, hostname, HostnameEndpoint(reactor, host, port))
    caller = await endpoint.connect(Factory.forProtocol(lambda: Caller(line)))
    assert isinstance(caller, Caller)
    try:
        await caller.done
    except Exception as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Say a line to echo_server.py.")
    parser.add_argument("host", help="where to connect")
    parser.add_argument("port", type=int)
    parser.add_argument("line", help="what to say")
    parser.add_argument("--roots", help="PEM file: the CAs to trust; the platform's if left out")
    parser.add_argument("--hostname", help="the name in the server's certificate; the host's if left out")
    options = parser.parse_args()
    react(call, (options.host, options.port, options.line, options.roots, options.hostname or options.host))
