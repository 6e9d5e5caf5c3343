"""A program that speaks TLS, as a server, on its standard input and output.

    python tls_over_stdio.py echo txmembio combined.pem TLSv1_3        Twisted's StandardIOEndpoint with txmembio
    python tls_over_stdio.py echo ssl combined.pem TLSv1_3             Python's own ssl

It sends back what it gets (`echo`), or, once the client has closed its half, all of it at once (`answer`). Ends with
the status 0 if the connection ended cleanly.
"""

from __future__ import annotations

import contextlib
import os
import ssl
import sys
from typing import Any

#: Bytes asked of a pipe at once.
PIPE_READ_SIZE = 65536


def with_ssl(answering: bool, certificate: str, version: str) -> None:
    """Blocking, with the two MemoryBIOs that the standard library has for this."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    context.minimum_version = context.maximum_version = ssl.TLSVersion[version]
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_side=True)

    def flush() -> None:
        wire = outgoing.read()
        while wire:
            wire = wire[os.write(1, wire) :]

    def until_done(call: Any, *arguments: Any) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                flush()
                wire = os.read(0, PIPE_READ_SIZE)
                if wire:
                    incoming.write(wire)
                else:
                    incoming.write_eof()
            finally:
                flush()

    until_done(tls.do_handshake)
    received = b""
    while True:
        try:
            plaintext = until_done(tls.read, PIPE_READ_SIZE)
        except ssl.SSLZeroReturnError:
            break
        if not plaintext:
            break
        if answering:
            received += plaintext
        else:
            until_done(tls.write, plaintext)
    if received:
        until_done(tls.write, received)
    with contextlib.suppress(ssl.SSLWantReadError):  # it need not wait for the client's
        tls.unwrap()
    flush()


def with_txmembio(answering: bool, certificate: str, version: str) -> None:
    """On Twisted's reactor."""
    from twisted.internet.defer import Deferred
    from twisted.internet.endpoints import StandardIOEndpoint
    from twisted.internet.interfaces import IHalfCloseableProtocol
    from twisted.internet.protocol import Factory, Protocol, connectionDone
    from twisted.internet.task import react
    from zope.interface import implementer

    import txmembio
    from txmembio.twisted import wrapServerTLS

    lost: Deferred[None] = Deferred()

    class Echo(Protocol):
        transport: Any

        def dataReceived(self, data: bytes) -> None:
            self.transport.write(data)

        def connectionLost(self, reason: Any = connectionDone) -> None:
            if reason.check(connectionDone.type):
                lost.callback(None)
            else:
                lost.errback(reason)

    @implementer(IHalfCloseableProtocol)
    class Answer(Echo):
        received = b""

        def dataReceived(self, data: bytes) -> None:
            self.received += data

        def readConnectionLost(self) -> None:
            self.transport.write(self.received)
            self.transport.loseConnection()

        def writeConnectionLost(self) -> None: ...

    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.minimum_version = context.maximum_version = txmembio.TLSVersion[version]

    def serve(reactor: Any) -> Deferred[None]:
        wrapServerTLS(context, StandardIOEndpoint(reactor)).listen(Factory.forProtocol(Answer if answering else Echo))
        return lost

    react(serve)


if __name__ == "__main__":
    what, implementation, *arguments = sys.argv[1:]
    {"ssl": with_ssl, "txmembio": with_txmembio}[implementation](what == "answer", *arguments)
