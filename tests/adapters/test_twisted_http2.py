"""HTTP/2 by twisted.web over txmembio: streams, flow control, back-pressure; its client is h2 in the same process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import IProtocolNegotiationFactory
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.server import Site
from zope.interface import implementer

import txmembio
from support import pair, web_site
from support.pki import PKI
from support.twisted_http import Shaking, listening
from txmembio.twisted import wrapClientTLS

h2_connection = pytest.importorskip("h2.connection", reason="h2 is not installed")
h2_config = pytest.importorskip("h2.config")
h2_events = pytest.importorskip("h2.events")
h2_settings = pytest.importorskip("h2.settings")

#: Bytes that a peer may be sent before it says more (RFC 9113 section 6.9.2), on a stream and on the connection.
WINDOW = 65_535

#: No window is larger (RFC 9113 section 6.9.1).
LARGEST_WINDOW = 2**31 - 1

#: Bytes: twice the high-water mark of Twisted's transports, and a record's worth.
A_LITTLE = 160_000


class Stream:
    """What the client has of one request."""

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.body = bytearray()
        self.unacknowledged = 0
        self.ended = False
        self.reset = False


class Client(Protocol):
    """Speaks HTTP/2. Received data is acknowledged, so that more may come, while `acknowledging` is true."""

    def __init__(self) -> None:
        config = h2_config.H2Configuration(client_side=True, header_encoding=None)
        self.h2 = h2_connection.H2Connection(config)
        self.streams: dict[int, Stream] = {}
        self.switches = 0
        """How often data came of another stream than before."""
        self.last_stream = 0
        self.acknowledging = True
        self.pongs = 0
        self.uploads: dict[int, bytes] = {}
        self.waiting: list[tuple[Callable[[], bool], Deferred[None]]] = []
        self.reason: Failure | None = None
        self.transport: Any

    def connectionMade(self) -> None:
        self.h2.initiate_connection()
        self.flush()

    def flush(self) -> None:
        self.transport.write(self.h2.data_to_send())

    async def until(self, condition: Callable[[], bool]) -> None:
        """Looks again after each chunk that arrives. Fails if the connection is lost first."""
        if condition():
            return
        assert self.reason is None, self.reason
        happened: Deferred[None] = Deferred()
        self.waiting.append((condition, happened))
        await happened

    def look(self) -> None:
        for entry in list(self.waiting):
            condition, happened = entry
            if condition():
                self.waiting.remove(entry)
                happened.callback(None)
            elif self.reason is not None:
                self.waiting.remove(entry)
                happened.errback(self.reason)

    def request(self, path: str, body: bytes | None = None) -> int:
        """The stream's number."""
        number: int = self.h2.get_next_available_stream_id()
        headers = [(":method", "GET" if body is None else "POST"), (":scheme", "https")]
        headers += [(":authority", "localhost"), (":path", path)]
        self.h2.send_headers(number, headers, end_stream=body is None)
        self.streams[number] = Stream()
        if body is not None:
            self.uploads[number] = body
            self.upload()
        self.flush()
        return number

    def upload(self) -> None:
        """As much of the bodies as the server's windows allow."""
        for number, body in list(self.uploads.items()):
            while body and (room := min(self.h2.local_flow_control_window(number), self.h2.max_outbound_frame_size)):
                self.h2.send_data(number, body[:room])
                body = body[room:]
            self.uploads[number] = body
            if not body:
                self.h2.end_stream(number)
                del self.uploads[number]

    def allow(self, stream_window: int, connection_window: int) -> None:
        """Let the server send more, on streams that are still to come and altogether."""
        self.h2.update_settings({h2_settings.SettingCodes.INITIAL_WINDOW_SIZE: stream_window})
        self.h2.increment_flow_control_window(connection_window - WINDOW)
        self.flush()

    async def body(self, number: int) -> bytes:
        """Of a response, once it is complete."""
        stream = self.streams[number]
        await self.until(lambda: stream.ended or stream.reset)
        assert not stream.reset
        assert stream.headers[b":status"] == b"200"
        return bytes(stream.body)

    async def ping(self) -> None:
        """Until the server has answered: what it had sent before is here, then."""
        pongs = self.pongs
        self.h2.ping(b"8 bytes.")
        self.flush()
        await self.until(lambda: self.pongs > pongs)

    def acknowledge(self) -> None:
        """All that has been received so far."""
        for number, stream in self.streams.items():
            if stream.unacknowledged and not stream.reset:
                self.h2.acknowledge_received_data(stream.unacknowledged, number)
                stream.unacknowledged = 0

    def dataReceived(self, data: bytes) -> None:
        for event in self.h2.receive_data(data):
            if isinstance(event, h2_events.ResponseReceived):
                self.streams[event.stream_id].headers = dict(event.headers)
            elif isinstance(event, h2_events.DataReceived):
                stream = self.streams[event.stream_id]
                stream.body += event.data
                stream.unacknowledged += event.flow_controlled_length
                self.switches += event.stream_id != self.last_stream
                self.last_stream = event.stream_id
            elif isinstance(event, h2_events.StreamEnded):
                self.streams[event.stream_id].ended = True
            elif isinstance(event, h2_events.StreamReset):
                self.streams[event.stream_id].reset = True
            elif isinstance(event, h2_events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2_events.WindowUpdated | h2_events.RemoteSettingsChanged):
                self.upload()
        if self.acknowledging:
            self.acknowledge()
        self.flush()
        self.look()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        self.look()


@implementer(IProtocolNegotiationFactory)
class Offering(Factory):
    """Clients that offer HTTP/2 first."""

    protocol = Client
    noisy = False

    def acceptableProtocols(self) -> list[bytes]:
        return [b"h2", b"http/1.1"]


class Server:
    """The site, to look into: `pushed.made` has the producers of /bytes/."""

    def __init__(self) -> None:
        self.root = web_site.root()
        self.site: Site = web_site.site(self.root)
        self.pushed: web_site.Bytes = self.root.children[b"bytes"]

    @property
    def transport(self) -> Any:
        """The TLSTransport of the last request's connection. (A stream of Twisted's has no public way to it.)"""
        return self.pushed.made[-1].channel._conn.transport


@asynccontextmanager
async def connected(
    pki: PKI, version: txmembio.TLSVersion | None = None, server: Server | None = None
) -> AsyncIterator[Client]:
    """A client of the site, and its end: in order, unless the test has ended it."""
    endpoint_context = pair.client_context(pki, version)
    async with listening(pair.server_context(pki, version), (server or Server()).site) as port:
        endpoint = wrapClientTLS(endpoint_context, "localhost", HostnameEndpoint(reactor, "127.0.0.1", port))
        client: Any = await endpoint.connect(Offering())
        try:
            yield client
        finally:
            client.transport.loseConnection()
            await client.until(lambda: client.reason is not None)
            assert client.reason.check(ConnectionDone, ConnectionAborted), client.reason


@pytest_twisted.ensureDeferred
async def test_a_hundred_streams_at_once(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Each gets its own bytes; and they take turns."""
    async with connected(pki, tls_version) as client:
        sizes = {client.request(f"/bytes/{size}"): size for size in range(60_000, 160_000, 1000)}
        for number, size in sizes.items():
            assert await client.body(number) == web_site.pattern(size)
        assert client.transport.negotiatedProtocol == b"h2"
        assert client.switches > 2 * len(sizes)


@pytest.mark.parametrize("kind", ["bytes", "pulled", "whole"])
@pytest_twisted.ensureDeferred
async def test_a_big_body(pki: PKI, tls_version: txmembio.TLSVersion, kind: str) -> None:
    async with connected(pki, tls_version) as client:
        assert await client.body(client.request(f"/{kind}/5000003")) == web_site.pattern(5_000_003)


@pytest_twisted.ensureDeferred
async def test_big_bodies_both_ways(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    sent = [web_site.pattern(size) for size in (3_000_001, 1, 500_000)]
    async with connected(pki, tls_version) as client:
        uploads = [client.request("/digest", body) for body in sent]
        download = client.request("/bytes/3000000")
        assert [(await client.body(number)).decode() for number in uploads] == list(map(web_site.digest, sent))
        assert await client.body(download) == web_site.pattern(3_000_000)


@pytest_twisted.ensureDeferred
async def test_a_window_that_is_full_pauses_its_producer(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """The server sends what the window allows and no byte more; its producer is ahead by one piece at most."""
    server = Server()
    async with connected(pki, tls_version, server) as client:
        client.acknowledging = False
        number = client.request("/bytes/1000000")
        stream = client.streams[number]
        await client.until(lambda: len(stream.body) >= WINDOW)
        await client.ping()
        assert len(stream.body) == WINDOW
        (producer,) = server.pushed.made
        assert producer.told[-1] == "pause"
        assert producer.written <= WINDOW + web_site.PIECE
        client.acknowledging = True
        client.acknowledge()
        client.flush()
        assert await client.body(number) == web_site.pattern(1_000_000)


@pytest_twisted.ensureDeferred
async def test_a_client_that_does_not_read_is_not_sent_more(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Its windows are open; what stops the server is its transport, and what waits there stays small."""
    size = 16_000_000  # more than the sockets between them hold
    server = Server()
    async with connected(pki, tls_version, server) as client:
        client.allow(LARGEST_WINDOW, LARGEST_WINDOW)
        await client.ping()
        number = client.request(f"/bytes/{size}")
        await client.until(lambda: bool(client.streams[number].body))
        client.transport.pauseProducing()
        paused: Deferred[None] = Deferred()
        watched = Watched(server.transport.transport, paused)
        await paused
        waiting = watched.waiting()
        assert waiting < A_LITTLE
        assert not client.streams[number].ended
        client.transport.resumeProducing()
        assert await client.body(number) == web_site.pattern(size)


class Watched:
    """A TCP transport whose producer is watched: `paused` fires when it is paused."""

    def __init__(self, transport: Any, paused: Deferred[None]) -> None:
        self.transport = transport
        self.producer = transport.producer
        self.paused: Deferred[None] | None = paused
        if transport.producerPaused:
            self.pauseProducing()
        transport.producer = self

    def waiting(self) -> int:
        """Bytes."""
        transport = self.transport
        unsent: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return unsent

    def pauseProducing(self) -> None:
        paused, self.paused = self.paused, None
        self.producer.pauseProducing()
        if paused is not None:
            paused.callback(None)

    def resumeProducing(self) -> None:
        self.producer.resumeProducing()

    def stopProducing(self) -> None:
        self.producer.stopProducing()


@pytest_twisted.ensureDeferred
async def test_a_stream_that_is_reset_ends_its_request_and_no_other(pki: PKI) -> None:
    server = Server()
    async with connected(pki, None, server) as client:
        first, second = client.request("/bytes/1000000"), client.request("/bytes/1000001")
        await client.until(lambda: all(client.streams[number].body for number in (first, second)))
        client.streams[first].reset = True
        client.h2.reset_stream(first)
        client.flush()
        assert await client.body(second) == web_site.pattern(1_000_001)
        assert [producer.outcome for producer in server.pushed.made] == ["lost", "finished"]


@pytest_twisted.ensureDeferred
async def test_a_connection_that_is_aborted_ends_all_requests(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """And the site serves the next one."""
    server = Server()
    async with connected(pki, tls_version, server) as client:
        for _ in range(10):
            client.request("/bytes/1000000")
        await client.until(lambda: sum(bool(stream.body) for stream in client.streams.values()) == 10)
        client.transport.abortConnection()
        for producer in server.pushed.made:
            await producer.done
    assert [producer.outcome for producer in server.pushed.made] == ["lost"] * 10
    async with connected(pki, tls_version, server) as client:
        assert await client.body(client.request("/bytes/1000")) == web_site.pattern(1000)


@pytest.mark.parametrize(
    ("of_server", "agreed"),
    [([], b"h2"), (["http/1.1", "h2"], b"http/1.1"), (["http/1.1"], b"http/1.1"), (["h2"], b"h2")],
    ids=["the site decides", "both, in the other order", "not h2", "nothing but h2"],
)
@pytest_twisted.ensureDeferred
async def test_a_context_with_alpn_protocols_decides_instead_of_the_site(
    pki: PKI, of_server: list[str], agreed: bytes
) -> None:
    context = pair.server_context(pki)
    if of_server:
        context.set_alpn_protocols(of_server)
    offering = Offering()
    offering.protocol = Shaking  # type: ignore[assignment]
    async with listening(context, Server().site) as port:
        below = HostnameEndpoint(reactor, "127.0.0.1", port)
        client: Any = await wrapClientTLS(pair.client_context(pki), "localhost", below).connect(offering)
        await client.shaken
        assert client.transport.negotiatedProtocol == agreed
        client.transport.loseConnection()
        await client.lost
