"""twisted.web in the tests' own process: serving `web_site`, fetching with an agent, and a proxy that knows CONNECT."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool, ResponseDone
from twisted.web.iweb import IAgent
from twisted.web.resource import Resource
from zope.interface import implementer

import txmembio
from txmembio.twisted import agentEndpointFactory, wrapServerTLS

from . import web_site


@asynccontextmanager
async def listening(context: txmembio.SSLContext | None, factory: Any) -> AsyncIterator[int]:
    """`factory` on a port of 127.0.0.1, with TLS if there is a context; the port."""
    endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    if context is not None:
        endpoint = wrapServerTLS(context, endpoint)
    port = await endpoint.listen(factory)
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()


def serving(context: txmembio.SSLContext | None, root: Resource | None = None) -> Any:
    """`web_site`, or another resource, likewise."""
    return listening(context, web_site.site(root))


@asynccontextmanager
async def fetching(context: txmembio.SSLContext, **settings: Any) -> AsyncIterator[Agent]:
    """An agent with persistent connections, which are closed at the end."""
    pool = HTTPConnectionPool(reactor)
    pool._factory.noisy = False
    try:
        yield Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor, **settings), pool)
    finally:
        await pool.closeCachedConnections()


class Body(Protocol):
    """Collects a response's body. (`readBody` warns about every transport there is.)"""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete: Deferred[bytes] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone):
            self.complete.callback(b"".join(self.pieces))
        else:
            self.complete.errback(reason)


async def get(agent: IAgent, uri: str) -> bytes:
    """The body."""
    response: Any = await agent.request(b"GET", uri.encode())
    assert response.code == 200
    body = Body()
    response.deliverBody(body)
    return await body.complete


async def facts(agent: IAgent, port: int, host: str = "localhost", scheme: str = "https") -> dict[str, Any]:
    """What the site says of the connection."""
    found: dict[str, Any] = json.loads(await get(agent, f"{scheme}://{host}:{port}/facts"))
    return found


@implementer(IHandshakeListener)
class Shaking(Protocol):
    """Tells when its handshake is complete, and when its connection is lost."""

    def __init__(self) -> None:
        self.shaken: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.shaken.called:
            self.shaken.errback(reason)
        self.lost.callback(None)


class _Relay(Protocol):
    """One end of a tunnel: what it receives, the other end sends. Each pauses the other when it has had enough."""

    other: Any = None

    def connectionMade(self) -> None:
        self.transport: Any
        if self.other is not None:
            self.other.other = self
            for one, another in ((self, self.other), (self.other, self)):
                one.transport.registerProducer(another.transport, True)

    def dataReceived(self, data: bytes) -> None:
        self.other.transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        other, self.other = self.other, None
        self.transport.unregisterProducer()
        if other is not None:
            other.transport.loseConnection()


class _ProxyConnection(_Relay):
    """Waits for a CONNECT; then answers, and is one end of a tunnel."""

    received = b""

    def dataReceived(self, data: bytes) -> None:
        if self.other is not None:
            super().dataReceived(data)
            return
        self.received += data
        head, end, _ = self.received.partition(b"\r\n\r\n")
        if end:
            self.factory: Any
            self.factory.requests.append(head.decode())
            if self.factory.password in head:
                self.connect(head.split(b" ")[1].decode())
            else:
                self.transport.write(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 2\r\n\r\nno")

    def connect(self, target: str) -> None:
        host, _, port = target.rpartition(":")

        def connected(relay: Any) -> None:
            self.transport.write(b"HTTP/1.1 200 OK\r\n\r\n")

        def make() -> _Relay:
            relay = _Relay()
            relay.other = self
            return relay

        factory = Factory.forProtocol(make)
        factory.noisy = False
        HostnameEndpoint(reactor, host.strip("[]"), int(port)).connect(factory).addCallbacks(
            connected, lambda _: self.transport.write(b"HTTP/1.1 502 Bad Gateway\r\n\r\n")
        )


class Proxy(Factory):
    """A proxy that knows CONNECT and nothing else. `requests` has the headers of all requests so far."""

    protocol = _ProxyConnection
    noisy = False

    def __init__(self, password: bytes = b"") -> None:
        self.requests: list[str] = []
        self.password = password
        """Bytes that a request must have in it to be let through."""
