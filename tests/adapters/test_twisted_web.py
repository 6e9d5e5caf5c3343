"""twisted.web over txmembio on the real reactor: `agentEndpointFactory`, and what a site sees of its transport."""

from __future__ import annotations

from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikeRedirectAgent,
    ContentDecoderAgent,
    FileBodyProducer,
    GzipDecoder,
    ResponseFailed,
    ResponseNeverReceived,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from twisted.web.resource import Resource
from zope.interface import implementer
from zope.interface.verify import verifyObject

import txmembio
from support import pair, twisted_http, web_site
from support.pki import PKI
from support.twisted_http import facts, fetching, get, serving
from txmembio.twisted import agentEndpointFactory

SIZE = 5_000_003


@pytest_twisted.ensureDeferred
async def test_an_agent_fetches_from_a_site(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    async with serving(server) as port, fetching(client) as agent:
        for path in ("whole", "bytes", "pulled", "whole"):
            assert await get(agent, f"https://localhost:{port}/{path}/{SIZE}") == web_site.pattern(SIZE)


@pytest_twisted.ensureDeferred
async def test_a_site_knows_that_it_is_secure_and_what_was_negotiated(pki: PKI) -> None:
    """The agent offers http/1.1, and the site's own acceptableProtocols() has it."""
    async with serving(pair.server_context(pki)) as port, fetching(pair.client_context(pki)) as agent:
        found = await facts(agent, port)
    assert (found["secure"], found["protocol"], found["alpn"]) == (True, "HTTP/1.1", "http/1.1")


@pytest_twisted.ensureDeferred
async def test_http_without_tls_is_fetched_too(pki: PKI) -> None:
    async with serving(None) as port, fetching(pair.client_context(pki)) as agent:
        found = await facts(agent, port, scheme="http")
    assert (found["secure"], found["alpn"]) == (False, None)


@pytest_twisted.ensureDeferred
async def test_a_context_decides_what_is_offered(pki: PKI) -> None:
    server, client = pair.server_context(pki), pair.client_context(pki)
    server.set_alpn_protocols(["http/1.0"])
    client.set_alpn_protocols(["http/1.1", "http/1.0"])
    with_alpn = agentEndpointFactory(client, reactor)
    transport = await transport_of(with_alpn, server, Factory())
    assert transport.negotiatedProtocol == b"http/1.0"


@pytest_twisted.ensureDeferred
async def test_a_factory_that_knows_alpn_decides_for_itself(pki: PKI) -> None:
    """Endpoints are not for agents alone."""
    server = pair.server_context(pki)
    server.set_alpn_protocols(["http/1.1", "other"])
    endpoints = agentEndpointFactory(pair.client_context(pki), reactor)
    transport = await transport_of(endpoints, server, OtherFactory())
    assert transport.negotiatedProtocol == b"other"


async def transport_of(endpoints: Any, server: txmembio.SSLContext, factory: Any) -> Any:
    """The transport of a client's protocol once its handshake is complete, and it is closed."""
    factory.protocol = twisted_http.Shaking
    async with twisted_http.listening(server, Factory.forProtocol(Protocol)) as port:
        uri = URI.fromBytes(b"https://localhost:%d/" % port)
        protocol = await endpoints.endpointForURI(uri).connect(factory)
        await protocol.shaken
        protocol.transport.loseConnection()
        await protocol.lost
    return protocol.transport


@implementer(IProtocolNegotiationFactory)
class OtherFactory(Factory):
    def acceptableProtocols(self) -> list[bytes]:
        return [b"other"]


@pytest.mark.parametrize("which", ["context", "proxyContext"])
def test_http_2_is_not_offered_for_an_agent_that_cannot_speak_it(pki: PKI, which: str) -> None:
    with_h2 = pair.client_context(pki)
    with_h2.set_alpn_protocols(["h2", "http/1.1"])
    arguments: dict[str, Any] = {"context": pair.client_context(pki), which: with_h2}
    with pytest.raises(ValueError, match=rf"^{which} offers .*: h2; expected .*http/1\.1"):
        agentEndpointFactory(**arguments)


# Who the server is, and who the client is


@pytest.mark.parametrize("problem", ["name", "root"])
@pytest_twisted.ensureDeferred
async def test_a_server_that_is_not_who_it_should_be(pki: PKI, tls_version: txmembio.TLSVersion, problem: str) -> None:
    """And the site goes on serving."""
    credential = pki.wrong_name if problem == "name" else pki.untrusted
    good, bad = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version, credential=credential)
    async with serving(bad) as port, fetching(good) as agent:
        for _ in range(2):
            with pytest.raises(ResponseNeverReceived) as raised:
                await facts(agent, port)
            (reason,) = raised.value.reasons
            assert reason.check(txmembio.SSLCertVerificationError)
            assert reason.value.hostname == "localhost"
    good.check_hostname = False
    good.verify_mode = txmembio.CERT_NONE
    async with serving(bad) as port, fetching(good) as agent:
        assert (await facts(agent, port))["secure"]


@pytest_twisted.ensureDeferred
async def test_an_address_in_the_uri_is_verified_as_one(pki: PKI) -> None:
    async with serving(pair.server_context(pki)) as port, fetching(pair.client_context(pki)) as agent:
        assert (await facts(agent, port, "127.0.0.1"))["secure"]
    only_named = pair.server_context(pki, credential=pki.issue("localhost"))
    async with serving(only_named) as port, fetching(pair.client_context(pki)) as agent:
        with pytest.raises(ResponseNeverReceived) as raised:
            await facts(agent, port, "127.0.0.1")
        assert raised.value.reasons[0].value.hostname == "127.0.0.1"


@pytest_twisted.ensureDeferred
async def test_each_host_is_verified_by_its_own_name(pki: PKI) -> None:
    """One agent, one server with two certificates, chosen by the server name that the agent sends."""
    by_name = {
        name: pair.server_context(pki, credential=pki.issue(name)) for name in ("localhost", "localhost.localdomain")
    }
    server = pair.server_context(pki, credential=pki.wrong_name)

    def choose(connection: Any, name: str | None, context: object) -> None:
        if name in by_name:
            connection.context = by_name[name]

    server.sni_callback = choose
    async with serving(server) as port, fetching(pair.client_context(pki)) as agent:
        assert (await facts(agent, port))["secure"]
        with pytest.raises(ResponseNeverReceived) as raised:
            await facts(agent, port, "127.0.0.1")  # sends no name, so gets wrong_name's
        assert raised.value.reasons[0].value.hostname == "127.0.0.1"
        assert (await facts(agent, port))["secure"]


@pytest_twisted.ensureDeferred
async def test_client_certificates(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server = pair.server_context(pki, tls_version, verify_client=True)
    client = pair.client_context(pki, tls_version, credential=pki.client)
    async with serving(server) as port, fetching(client) as agent:
        (common_name,) = (
            value for names in (await facts(agent, port))["client"] for key, value in names if key == "commonName"
        )
        assert common_name == "a client"
        for refused in (None, pki.untrusted_client):
            async with fetching(pair.client_context(pki, tls_version, credential=refused)) as other:
                with pytest.raises((ResponseNeverReceived, ResponseFailed)) as raised:
                    await facts(other, port)
                (reason,) = raised.value.reasons
                assert reason.check(txmembio.SSLError)
                assert reason.value.alert_received
        assert (await facts(agent, port))["client"]


# What goes on top of an agent


@pytest_twisted.ensureDeferred
async def test_connections_are_kept_and_used_again(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """As many as requests at once, up to two for each host, which is the pool's default; and then no more of them."""
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    async with serving(server) as port:
        async with fetching(client) as agent:
            one_by_one = {(await facts(agent, port))["port"] for _ in range(5)}
            assert len(one_by_one) == 1
            for _ in range(3):
                both = await gatherResults([Deferred.fromCoroutine(facts(agent, port)) for _ in range(2)])
                assert one_by_one < {found["port"] for found in both}
        never_kept = Agent.usingEndpointFactory(reactor, agentEndpointFactory(client, reactor))
        assert len({(await facts(never_kept, port))["port"] for _ in range(3)}) == 3


class Remembering(Resource):
    """Keeps the transports of its requests."""

    isLeaf = True

    def __init__(self) -> None:
        super().__init__()
        self.transports: list[Any] = []

    def render_GET(self, request: Any) -> bytes:
        self.transports.append(request.transport)
        return b"kept"


@pytest_twisted.ensureDeferred
async def test_a_kept_connection_that_the_server_has_ended_is_replaced(pki: PKI) -> None:
    """Whether or not the client has noticed by then."""
    root = Remembering()
    async with serving(pair.server_context(pki), root) as port, fetching(pair.client_context(pki)) as agent:
        for _ in range(3):
            assert await get(agent, f"https://localhost:{port}/") == b"kept"
            root.transports[-1].abortConnection()
    assert len(set(root.transports)) == 3


@pytest_twisted.ensureDeferred
async def test_redirects_are_followed_and_gzip_is_decoded(pki: PKI) -> None:
    async with serving(pair.server_context(pki)) as port, fetching(pair.client_context(pki)) as agent:
        redirected = BrowserLikeRedirectAgent(agent)
        assert b'"secure": true' in await get(redirected, f"https://localhost:{port}/moved")
        decoding = ContentDecoderAgent(agent, [(b"gzip", GzipDecoder)])
        response: Any = await decoding.request(b"GET", b"https://localhost:%d/packed" % port)
        assert isinstance(response, GzipDecoder)
        body = twisted_http.Body()
        response.deliverBody(body)
        assert await body.complete == web_site.TEXT


@pytest_twisted.ensureDeferred
async def test_an_upload(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Any) -> None:
    """From a producer, which has to be paused and resumed."""
    path = tmp_path / "body"
    path.write_bytes(web_site.pattern(SIZE))
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    async with serving(server) as port, fetching(client) as agent:
        with path.open("rb") as file:
            uri = b"https://localhost:%d/digest" % port
            response: Any = await agent.request(b"POST", uri, bodyProducer=FileBodyProducer(file, readSize=SIZE))
            body = twisted_http.Body()
            response.deliverBody(body)
            assert (await body.complete).decode() == web_site.digest(web_site.pattern(SIZE))


# The endpoint factory


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
    with pytest.raises(ValueError, match="other role"):
        agentEndpointFactory(pair.client_context(pki), proxyContext=pair.server_context(pki))
    with pytest.raises(ValueError, match="handshakeTimeout"):
        agentEndpointFactory(pair.client_context(pki), handshakeTimeout=0)
