"""twisted.web over txmembio on the real reactor: `agentEndpointFactory`, and what a site sees of its transport."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, HTTPConnectionPool, ResponseDone, ResponseNeverReceived
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site
from zope.interface.verify import verifyObject

import txmembio
from support import pair
from support.pki import PKI
from txmembio.twisted import agentEndpointFactory, wrapServerTLS

BODY = bytes(range(256)) * 20_000


class Facts(Resource):
    """What the request knows of its connection."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        transport = request.channel.transport
        facts = {"secure": request.isSecure(), "alpn": transport.negotiatedProtocol if request.isSecure() else None}
        return repr(facts).encode()


class Whole(Resource):
    """BODY in one write."""

    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        return BODY


class Streaming(Resource):
    """BODY from a pull producer, as twisted.web.static.File sends a file."""

    isLeaf = True

    def render_GET(self, request: Any) -> int:
        class Producer:
            at = 0

            def resumeProducing(self) -> None:
                self.at += 50_000
                request.write(BODY[self.at - 50_000 : self.at])
                if self.at >= len(BODY):
                    request.unregisterProducer()
                    request.finish()

            def stopProducing(self) -> None: ...

        request.registerProducer(Producer(), False)
        return NOT_DONE_YET


def site() -> Site:
    root = Resource()
    root.putChild(b"facts", Facts())
    root.putChild(b"whole", Whole())
    root.putChild(b"stream", Streaming())
    served = Site(root)
    served.noisy = False
    return served


@asynccontextmanager
async def serving(context: txmembio.SSLContext | None) -> AsyncIterator[int]:
    """The site, with TLS if there is a context; the port."""
    endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    if context is not None:
        endpoint = wrapServerTLS(context, endpoint)
    port = await endpoint.listen(site())
    try:
        yield port.getHost().port
    finally:
        await port.stopListening()


@asynccontextmanager
async def fetching(context: txmembio.SSLContext, **settings: Any) -> AsyncIterator[Agent]:
    """An agent with persistent connections, which are closed at the end."""
    pool = HTTPConnectionPool(reactor)
    pool._factory.noisy = False
    try:
        yield Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, **settings), pool)
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


async def get(agent: Agent, uri: str) -> bytes:
    """The body."""
    response = await agent.request(b"GET", uri.encode())
    assert response.code == 200
    body = Body()
    response.deliverBody(body)
    return await body.complete


@pytest_twisted.ensureDeferred
async def test_an_agent_fetches_from_a_site(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    async with serving(server) as port, fetching(client) as agent:
        for path in ("whole", "stream", "whole"):
            assert await get(agent, f"https://localhost:{port}/{path}") == BODY


@pytest_twisted.ensureDeferred
async def test_a_site_knows_that_it_is_secure_and_what_was_negotiated(pki: PKI) -> None:
    client, server = pair.client_context(pki), pair.server_context(pki)
    async with serving(server) as port, fetching(client) as agent:
        assert await get(agent, f"https://localhost:{port}/facts") == b"{'secure': True, 'alpn': None}"
    client.set_alpn_protocols(["http/1.1"])
    async with serving(server) as port, fetching(client) as agent:
        # The site's own acceptableProtocols() has it.
        assert await get(agent, f"https://localhost:{port}/facts") == b"{'secure': True, 'alpn': b'http/1.1'}"


@pytest_twisted.ensureDeferred
async def test_http_without_tls_is_fetched_too(pki: PKI) -> None:
    async with serving(None) as port, fetching(pair.client_context(pki)) as agent:
        assert await get(agent, f"http://localhost:{port}/facts") == b"{'secure': False, 'alpn': None}"


@pytest.mark.parametrize("problem", ["name", "root"])
@pytest_twisted.ensureDeferred
async def test_a_server_that_is_not_who_it_should_be(pki: PKI, tls_version: txmembio.TLSVersion, problem: str) -> None:
    """And the site goes on serving."""
    credential = pki.wrong_name if problem == "name" else pki.untrusted
    good, bad = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version, credential=credential)
    async with serving(bad) as port, fetching(good) as agent:
        for _ in range(2):
            with pytest.raises(ResponseNeverReceived) as raised:
                await get(agent, f"https://localhost:{port}/facts")
            (reason,) = raised.value.reasons
            assert reason.check(txmembio.SSLCertVerificationError)
            assert reason.value.hostname == "localhost"
    good.check_hostname = False
    good.verify_mode = txmembio.CERT_NONE
    async with serving(bad) as port, fetching(good) as agent:
        assert await get(agent, f"https://localhost:{port}/facts") == b"{'secure': True, 'alpn': None}"


@pytest_twisted.ensureDeferred
async def test_an_address_in_the_uri_is_verified_as_one(pki: PKI) -> None:
    async with serving(pair.server_context(pki)) as port, fetching(pair.client_context(pki)) as agent:
        assert await get(agent, f"https://127.0.0.1:{port}/whole") == BODY
    only_named = pair.server_context(pki, credential=pki.issue("localhost"))
    async with serving(only_named) as port, fetching(pair.client_context(pki)) as agent:
        with pytest.raises(ResponseNeverReceived) as raised:
            await get(agent, f"https://127.0.0.1:{port}/whole")
        assert raised.value.reasons[0].value.hostname == "127.0.0.1"


def test_the_endpoint_factory(pki: PKI) -> None:
    context = pair.client_context(pki)
    factory = agentEndpointFactory(context, reactor, handshakeTimeout=5, shutdownTimeout=None)
    verifyObject(IAgentEndpointFactory, factory)
    plain = factory.endpointForURI(URI.fromBytes(b"http://localhost:8080/"))
    assert isinstance(plain, HostnameEndpoint)
    for scheme in (b"https", b"wss"):
        assert not isinstance(factory.endpointForURI(URI.fromBytes(scheme + b"://[::1]:8443/")), HostnameEndpoint)
    with pytest.raises(SchemeNotSupported, match="ftp"):
        factory.endpointForURI(URI.fromBytes(b"ftp://localhost/"))
    with pytest.raises(ValueError, match="must be ASCII"):
        host = "b\u00fccher.example".encode()
        factory.endpointForURI(URI(b"https", host, host, 443, b"/", b"", b"", b""))


def test_the_endpoint_factory_refuses_what_cannot_work(pki: PKI) -> None:
    with pytest.raises(TypeError, match=r"^context is None"):
        agentEndpointFactory(None)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="other role"):
        agentEndpointFactory(pair.server_context(pki))
    with pytest.raises(ValueError, match="handshakeTimeout"):
        agentEndpointFactory(pair.client_context(pki), handshakeTimeout=0)
