"""Servers on Twisted, ``python -m benchmarks.twisted_server CONTENDER PEM…``: what :mod:`benchmarks.serving` says.

Twisted's own TLS is served with whatever ``OpenSSL`` there is on the path, pyOpenSSL or what stands in for it: that is
for whoever starts this process.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from twisted.internet import endpoints, protocol, task
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from twisted.web.resource import Resource
from twisted.web.server import Site
from zope.interface import implementer

from benchmarks.serving import BACKLOG, PAGE, Service, allow_many_files, asked, hello

Endpoint = Callable[[Any, str], Any]
"""From a reactor and the path of a PEM file to a server's endpoint."""


@implementer(IPushProducer)
class Serving(Service, protocol.Protocol):
    """One connection."""

    dataReceived = Service.received
    pauseProducing = Service.pause
    resumeProducing = Service.resume
    stopProducing = Service.pause

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.setTcpNoDelay(True)
        self.serve(self.writer(transport))

    def begin_download(self) -> None:
        transport: Any = self.transport
        transport.unregisterProducer()  # of the download before
        transport.registerProducer(self, True)

    def writer(self, transport: Any) -> Any:
        """What is written to."""
        return transport


class ServingThrough(Serving):
    """The same over plain TCP that goes to the socket at once when nothing is queued, as txmembio's does."""

    def writer(self, transport: Any) -> Any:
        return WriteThrough(transport)


class WriteThrough:
    """Twisted's TCP transport with another ``write()``."""

    __slots__ = ("_transport",)

    def __init__(self, transport: Any) -> None:
        self._transport = transport

    def write(self, data: bytes) -> None:
        """Sends *data*; Twisted's own ``write()`` has what the socket does not take."""
        transport = self._transport
        if not transport.dataBuffer and not transport._tempDataBuffer and transport.connected:
            sent = transport.writeSomeData(data)
            if isinstance(sent, int):  # else it is how the connection was lost, which the next read says too
                data = data[sent:]
        if data:
            transport.write(data)


class Page(Resource):
    """The site's only page."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return PAGE


class Control:
    """Standard input, for the reactor."""

    def __init__(self, ended: Deferred[None]) -> None:
        self._ended = ended

    def fileno(self) -> int:
        return sys.stdin.fileno()

    def doRead(self) -> None:
        if not asked():
            self._ended.callback(None)

    def connectionLost(self, reason: Any) -> None:
        """The reactor has seen the end before it was read."""
        self._ended.callback(None)

    def logPrefix(self) -> str:
        return "control"


def plain(reactor: Any, pem: str) -> Any:
    """TCP without TLS."""
    return endpoints.TCP4ServerEndpoint(reactor, 0, BACKLOG, "127.0.0.1")  # type: ignore[no-untyped-call]


def twisted_tls(reactor: Any, pem: str) -> Any:
    """Twisted's ``ssl:`` endpoint."""
    description = f"ssl:0:interface=127.0.0.1:backlog={BACKLOG}:privateKey={pem}:certKey={pem}"
    return endpoints.serverFromString(reactor, description)  # type: ignore[no-untyped-call]


def ours(reactor: Any, pem: str) -> Any:
    """txmembio's ``membiotls:`` endpoint."""
    description = f"membiotls:0:interface=127.0.0.1:backlog={BACKLOG}:privateKey={pem}:certKey={pem}"
    return endpoints.serverFromString(reactor, description)  # type: ignore[no-untyped-call]


def ours_without_short_cut(reactor: Any, pem: str) -> Any:
    """The same; what is written waits for the reactor's next turn, as with Twisted's own transports."""
    from txmembio.twisted import TLSTransport

    vars_of: Any = TLSTransport
    vars_of.writesThrough = False
    return ours(reactor, pem)


SERVERS: dict[str, tuple[Endpoint, type[Serving]]] = {
    "twisted-plain": (plain, Serving),
    "twisted-through": (plain, ServingThrough),
    "twisted-pyopenssl": (twisted_tls, Serving),
    "twisted-pyopenssl-system": (twisted_tls, Serving),
    "twisted-shim": (twisted_tls, Serving),
    "twisted-installed": (twisted_tls, Serving),
    "twisted-txmembio": (ours, Serving),
    "twisted-txmembio-off": (ours_without_short_cut, Serving),
}
"""By the contender's key: how it listens, and what it serves."""


def library(key: str) -> tuple[str | None, str]:
    """The libssl that this process does TLS with, and the pyOpenSSL that is over it, if it is one."""
    if "OpenSSL" in sys.modules and key not in ("twisted-shim", "twisted-installed"):
        pyopenssl: Any = sys.modules["OpenSSL"]
        version: bytes = pyopenssl.SSL.SSLeay_version(pyopenssl.SSL.SSLEAY_VERSION)
        return version.decode("ascii"), f"pyOpenSSL {pyopenssl.__version__}"
    if "txmembio" in sys.modules:
        return sys.modules["txmembio"].OPENSSL_VERSION, ""
    return None, ""


async def main(reactor: Any, key: str, pems: list[str]) -> None:
    """Serves until the end of standard input."""
    allow_many_files()
    make, serving = SERVERS[key]
    ports = []
    for pem in pems:
        port = await make(reactor, pem).listen(protocol.Factory.forProtocol(serving))
        ports.append(port.getHost().port)
    web = await make(reactor, pems[0]).listen(Site(Page()))  # type: ignore[no-untyped-call]
    ended: Deferred[None] = Deferred()
    reactor.addReader(Control(ended))
    libssl, over = library(key)
    hello(ports, libssl, web.getHost().port, over)
    await ended
    os._exit(0)  # connections that are still open have nothing to say


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor, sys.argv[1], sys.argv[2:])), ())
