"""A program: Twisted's side of the interop conversation. Which TLS is underneath, an endpoint string decides.

    python twisted_lines.py serve 'ssl:0:privateKey=…:certKey=…'                 prints the port, answers lines reversed
    python twisted_lines.py converse 'tls:localhost:8443:trustRoots=…' < lines   prints the answers, then closes

Run by `support.peers` in an environment of its own for pyOpenSSL (`ssl:`, `tls:`), and in the tests' own for txmembio
(`membiotls:`). A connection that fails or is lost uncleanly is reported on standard error as
`lost: <exception class>: <message>`.
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, connectionDone
from twisted.internet.task import react
from twisted.protocols.basic import LineOnlyReceiver
from twisted.python.failure import Failure


def complain(reason: Failure) -> None:
    print(f"lost: {type(reason.value).__name__}: {reason.getErrorMessage()}", file=sys.stderr, flush=True)


class Lines(LineOnlyReceiver):
    """What both roles speak."""

    delimiter = b"\n"
    MAX_LENGTH = 1_000_000  # bytes; Twisted's own 16384 is less than the tests' longest lines


class Answering(Lines):
    """The server: each line back, reversed."""

    def lineReceived(self, line: bytes) -> None:
        self.sendLine(line[::-1])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not reason.check(ConnectionDone):
            complain(reason)


class Asking(Lines):
    """The client: all lines at once, then their answers; closes when it has them all."""

    def __init__(self, request: bytes) -> None:
        self.request = request
        self.remaining = len(request)
        self.done: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.request)

    def lineReceived(self, line: bytes) -> None:
        answer = line + self.delimiter
        sys.stdout.buffer.write(answer)
        self.remaining -= len(answer)
        if not self.remaining:
            assert self.transport is not None
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        sys.stdout.buffer.flush()
        if reason.check(ConnectionDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)


async def serve(reactor: Any, description: str) -> None:
    port = await serverFromString(reactor, description).listen(Factory.forProtocol(Answering))
    print(f"port {port.getHost().port}", flush=True)
    await Deferred()  # until the test stops this process


async def converse(reactor: Any, description: str) -> None:
    request = sys.stdin.buffer.read()
    asking: Asking = await clientFromString(reactor, description).connect(Factory.forProtocol(lambda: Asking(request)))
    await asking.done


async def main(reactor: Any, role: str, description: str) -> None:
    try:
        await {"serve": serve, "converse": converse}[role](reactor, description)
    except Exception:
        complain(Failure())
        raise SystemExit(1) from None


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
