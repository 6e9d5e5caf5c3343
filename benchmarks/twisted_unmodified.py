"""A server that knows nothing of txmembio: Twisted's ``ssl:`` endpoints with an echo and a site behind them.

    python twisted_unmodified.py PEM

It prints its ports as JSON, then for each line of its input the processor time that it has taken, in seconds. What TLS
it speaks, whoever runs it decides: pyOpenSSL where that is installed, or ``python -m txmembio run`` before its name.
"""

from __future__ import annotations

import json
import sys
import time
from typing import Any

from twisted.internet import defer, endpoints, protocol, stdio, task
from twisted.protocols.basic import LineOnlyReceiver
from twisted.web.resource import Resource
from twisted.web.server import Site

PAGE = b"x" * 1024


class Echo(protocol.Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Page(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return PAGE


class Questions(LineOnlyReceiver):
    delimiter = b"\n"

    def __init__(self, ended: defer.Deferred[None]) -> None:
        self._ended = ended

    def lineReceived(self, line: bytes) -> None:
        print(time.process_time(), flush=True)

    def connectionLost(self, reason: Any = protocol.connectionDone) -> None:
        self._ended.callback(None)


def main(reactor: Any, pem: str) -> Any:
    async def serve() -> None:
        ports = {}
        tls = f"ssl:0:interface=127.0.0.1:privateKey={pem}:certKey={pem}"
        plain = "tcp:0:interface=127.0.0.1"
        for name, description, factory in (
            ("echo", tls, protocol.Factory.forProtocol(Echo)),
            ("web", tls, Site(Page())),  # type: ignore[no-untyped-call]
            ("plain echo", plain, protocol.Factory.forProtocol(Echo)),
        ):
            endpoint: Any = endpoints.serverFromString(reactor, description)  # type: ignore[no-untyped-call]
            port: Any = await endpoint.listen(factory)
            ports[name] = port.getHost().port
        print(json.dumps(ports), flush=True)
        ended: defer.Deferred[None] = defer.Deferred()
        stdio.StandardIO(Questions(ended))  # type: ignore[no-untyped-call]
        await ended

    return defer.Deferred.fromCoroutine(serve())


if __name__ == "__main__":
    task.react(main, sys.argv[1:])
