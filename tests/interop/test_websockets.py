"""WebSockets over `membiotls:`, in both roles: autobahn by itself and below a site, and twisted.web's own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import clientFromString, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI
from twisted.web.resource import Resource

import txmembio
from support import web_site
from support.peers import escape
from support.pki import PKI
from support.twisted_http import Proxy, listening
from txmembio.twisted import agentEndpointFactory

pytest.importorskip("autobahn", reason="autobahn is not installed")
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol

#: Bytes: many frames of TLS, several reads of a socket.
SIZE = 3_000_001


class Client(WebSocketClientProtocol):
    """What it receives is in `messages`; how it was closed, in `closed`."""

    def __init__(self) -> None:
        super().__init__()
        self.messages: list[tuple[bytes, bool]] = []
        self.news: Deferred[None] = Deferred()
        self.opened: Deferred[None] = Deferred()
        self.closed: Deferred[tuple[bool, int, str]] = Deferred()
        self.reason: Failure | None = None

    def onOpen(self) -> None:
        self.opened.callback(None)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.messages.append((payload, isBinary))
        news, self.news = self.news, Deferred()
        news.callback(None)

    def onClose(self, wasClean: bool, code: int, reason: str) -> None:
        self.closed.callback((wasClean, code, reason))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        super().connectionLost(reason)


def versions(version: txmembio.TLSVersion) -> str:
    number = {txmembio.TLSVersion.TLSv1_2: "1.2", txmembio.TLSVersion.TLSv1_3: "1.3"}[version]
    return f":minVersion={number}:maxVersion={number}"


@asynccontextmanager
async def serving(pki: PKI, factory: Any, more: str = "") -> Any:
    """`factory` on a `membiotls:` endpoint, the port."""
    listen = f"membiotls:0:interface=127.0.0.1:certificate={escape(pki.server.combined_file)}{more}"
    port = await serverFromString(reactor, listen).listen(factory)
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()


def client_factory(port: int) -> Any:
    factory = WebSocketClientFactory(f"wss://localhost:{port}/echo")
    factory.protocol = Client
    factory.noisy = False
    # Autobahn's own time-outs are off: whatever ends, ends because somebody ends it.
    factory.setProtocolOptions(closeHandshakeTimeout=0, serverConnectionDropTimeout=0)
    return factory


async def connect(pki: PKI, port: int) -> Client:
    """By `membiotls:`."""
    client: Any = await clientFromString(
        reactor, f"membiotls:localhost:{port}:trustRoots={escape(pki.roots)}:endpoint={escape(f'tcp:127.0.0.1:{port}')}"
    ).connect(client_factory(port))
    await client.opened
    assert isinstance(client, Client)
    return client


SERVERS: dict[str, Callable[[], Any]] = {"autobahn alone": web_site.echo_factory, "below a site": web_site.site}


@pytest.fixture(params=SERVERS)
def server(request: pytest.FixtureRequest) -> Any:
    """A factory that answers at /echo."""
    factory = SERVERS[request.param]()
    factory.noisy = False
    return factory


@pytest_twisted.ensureDeferred
async def test_messages_come_back(pki: PKI, tls_version: txmembio.TLSVersion, server: Any) -> None:
    """Text and binary, empty and big, many at once; then the client closes."""
    sent = [(b"text", False), (b"", True), (web_site.pattern(SIZE), True), *((b"%d" % n, False) for n in range(500))]
    async with serving(pki, server, versions(tls_version)) as port:
        client = await connect(pki, port)
        for payload, binary in sent:
            client.sendMessage(payload, binary)
        while len(client.messages) < len(sent):
            await client.news
        assert client.messages == sent
        client.sendClose(4000, "enough")
        clean, _, _ = await client.closed
        assert clean


@pytest_twisted.ensureDeferred
async def test_the_server_closes(pki: PKI, tls_version: txmembio.TLSVersion, server: Any) -> None:
    async with serving(pki, server, versions(tls_version)) as port:
        client = await connect(pki, port)
        client.sendMessage(b"close 4001 why not")
        assert await client.closed == (True, 4001, "why not")


@pytest_twisted.ensureDeferred
async def test_an_agents_endpoint_through_a_proxy(pki: PKI) -> None:
    """wss: is one of its schemes."""
    proxy = Proxy()
    async with serving(pki, web_site.site()) as port, listening(None, proxy) as proxy_port:
        context = txmembio.create_default_context(cafile=pki.ca.certificate_file)
        endpoints = agentEndpointFactory(context, reactor, proxy=f"http://localhost:{proxy_port}")
        endpoint = endpoints.endpointForURI(URI.fromBytes(b"wss://localhost:%d/echo" % port))
        client: Any = await endpoint.connect(client_factory(port))
        await client.opened
        client.sendMessage(web_site.pattern(SIZE), True)
        await client.news
        assert client.messages == [(web_site.pattern(SIZE), True)]
        client.sendClose()
        await client.closed
    assert len(proxy.requests) == 1


# twisted.web's own


class Speaker:
    """A WebSocketProtocol. A server's says the same, or closes when it is told to."""

    def __init__(self, is_server: bool) -> None:
        self.is_server = is_server
        self.messages: list[str | bytes] = []
        self.wanted = 0
        self.arrived: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self.reason: Failure | None = None
        self.transport: Any = None

    @classmethod
    def buildProtocol(cls, of: object) -> Speaker:
        return cls(is_server=not isinstance(of, str))  # a client's factory is given its URL

    def negotiationStarted(self, transport: Any) -> None:
        self.transport = transport

    def negotiationFinished(self) -> None: ...

    def textMessageReceived(self, message: str) -> None:
        if not self.is_server:
            self.received(message)
        elif message == "close":
            self.transport.loseConnection(4001, "asked to")
        else:
            self.transport.sendTextMessage(message)

    def bytesMessageReceived(self, data: bytes | bytearray) -> None:
        if self.is_server:
            self.transport.sendBytesMessage(bytes(data))
        else:
            self.received(bytes(data))

    def received(self, message: str | bytes) -> None:
        self.messages.append(message)
        if len(self.messages) == self.wanted:
            self.arrived.callback(None)

    def pongReceived(self, payload: bytes) -> None: ...

    def connectionLost(self, reason: Failure) -> None:
        self.reason = reason
        self.lost.callback(None)


@pytest.mark.parametrize("who_closes", ["client", "server"])
@pytest_twisted.ensureDeferred
async def test_twisteds_own(pki: PKI, tls_version: txmembio.TLSVersion, who_closes: str) -> None:
    pytest.importorskip("wsproto", reason="wsproto is not installed")
    websocket = pytest.importorskip("twisted.web.websocket", reason="this Twisted has no WebSockets")
    sent = ["text", web_site.pattern(SIZE), "x" * 100_000, b""]
    root = Resource()
    root.putChild(b"speaker", websocket.WebSocketResource(Speaker))
    site = web_site.site(root)
    async with serving(pki, site, versions(tls_version)) as port:
        endpoints = agentEndpointFactory(txmembio.create_default_context(cafile=pki.ca.certificate_file), reactor)
        endpoint = websocket.WebSocketClientEndpoint(endpoints, f"wss://localhost:{port}/speaker")
        client = await endpoint.connect(Speaker)
        client.wanted = len(sent)
        for message in sent:
            if isinstance(message, str):
                client.transport.sendTextMessage(message)
            else:
                client.transport.sendBytesMessage(message)
        await client.arrived
        assert client.messages == sent
        if who_closes == "client":
            client.transport.loseConnection()
        else:
            client.transport.sendTextMessage("close")
        await client.lost
        assert client.reason.check(ConnectionDone), client.reason
