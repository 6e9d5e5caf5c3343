"""An echo server, and a visitor of one, over a completion port; under wine, with a peer that is not.

    python echo.py serve CERTIFICATES SIZE          prints its port; closes each connection after that many bytes
    python echo.py visit CERTIFICATES SIZE PORT     sends SIZE bytes, wants as many, and prints what it got as JSON

CERTIFICATES is a folder with ca.pem, and server.pem, which has the key as well. A visit ends with the status 0 if the
connection was closed cleanly.
"""

from __future__ import annotations

import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, connectProtocol, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure


def payload(size: int) -> bytes:
    """The same bytes on both sides; no two places in them look alike."""
    return hashlib.shake_256(b"txmembio").digest(size)


def escaped(path: Path) -> str:
    """A path as a value in an endpoint string."""
    return str(path).replace("\\", "\\\\").replace(":", "\\:")


class Echo(Protocol):
    """Sends back what comes, and closes after so many bytes."""

    transport: Any

    def __init__(self, size: int) -> None:
        self.left = size

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)
        self.left -= len(data)
        if self.left <= 0:
            self.transport.loseConnection()


class Visitor(Protocol):
    """Sends so many bytes, and closes when as many have come."""

    transport: Any

    def __init__(self, size: int) -> None:
        self.size = size
        self.received = 0
        self.digest = hashlib.sha256()
        self.version = ""
        self.done: Deferred[BaseException] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(payload(self.size))

    def dataReceived(self, data: bytes) -> None:
        self.received += len(data)
        self.digest.update(data)
        self.version = self.transport.connection.version() or ""
        if self.received >= self.size:
            self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert reason.value is not None
        self.done.callback(reason.value)


async def serve(reactor: object, certificates: Path, size: int) -> None:
    """Until the process is ended."""
    files = f"certKey={escaped(certificates / 'server.pem')}:privateKey={escaped(certificates / 'server.pem')}"
    endpoint = serverFromString(reactor, f"membiotls:0:interface=127.0.0.1:{files}")

    class EchoFactory(Factory):
        def buildProtocol(self, address: object) -> Protocol:
            return Echo(size)

    port = await endpoint.listen(EchoFactory())
    print(f"listening on {port.getHost().port}", flush=True)
    await Deferred()


async def visit(reactor: object, certificates: Path, size: int, port: int) -> None:
    """Raises SystemExit unless the connection was closed cleanly."""
    trusted = escaped(certificates / "ca.pem")
    endpoint = clientFromString(
        reactor, f"membiotls:localhost:{port}:trustRoots={trusted}:endpoint=tcp\\:127.0.0.1\\:{port}"
    )
    visitor = await connectProtocol(endpoint, Visitor(size))
    reason = await visitor.done
    facts = {
        "received": visitor.received,
        "sha256": visitor.digest.hexdigest(),
        "version": visitor.version,
        "reason": type(reason).__name__,
    }
    print(json.dumps(facts), flush=True)
    if not isinstance(reason, ConnectionDone):
        raise SystemExit(1)


def main(role: str, certificates: Path, *numbers: int) -> None:
    """Never returns: the process ends with the reactor."""
    from twisted.internet import iocpreactor

    iocpreactor.install()
    function: Any = {"serve": serve, "visit": visit}[role]
    react(lambda reactor: Deferred.fromCoroutine(function(reactor, certificates, *numbers)))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), *map(int, sys.argv[3:]))
