"""`startTLS` on a live connection and `StartTLSFactory`: what moves into TLS, what is refused, and who is told."""

from __future__ import annotations

import gc
import ssl
import weakref
from typing import Any

import pytest
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.interfaces import (
    IHandshakeListener,
    INegotiated,
    IProtocolNegotiationFactory,
    ISSLTransport,
    ITLSTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.protocols.policies import ProtocolWrapper, TimeoutFactory, WrappingFactory
from zope.interface import alsoProvides, implementer

import txmembio
from support import pair
from support.pki import PKI
from support.twisted_live import Live, Records
from txmembio.twisted import HandshakeTimeout, StartTLSFactory, TLSFactory, TLSTransport, TooManyHandshakes, startTLS

TLS13 = txmembio.TLSVersion.TLSv1_3


def client_of(pki: PKI, version: txmembio.TLSVersion | None = None) -> txmembio.Connection:
    """A peer that begins the handshake."""
    return pair.client_context(pki, version).connection(server_hostname="localhost")


def server_of(pki: PKI, version: txmembio.TLSVersion | None = None) -> txmembio.Connection:
    """A peer that answers it."""
    return pair.server_context(pki, version).connection(server_side=True)


def begun(pki: PKI, version: txmembio.TLSVersion | None = None, **settings: Any) -> tuple[Live, Records, TLSTransport]:
    """A server on which TLS has begun, its handshake complete."""
    protocol = Records()
    live = Live(protocol)
    clock = settings.setdefault("clock", Clock())
    tls = startTLS(protocol, pair.server_context(pki, version), **settings)
    live.begin(client_of(pki, version))
    clock.advance(0)
    return live, protocol, tls


# What becomes of the connection


def test_a_server_begins(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    live, protocol, tls = begun(pki, tls_version)
    assert protocol.transport is tls and isinstance(tls, TLSTransport)
    assert tls.connection.version() == {"TLSv1_2": "TLSv1.2", "TLSv1_3": "TLSv1.3"}[tls_version.name]
    live.say(b"hello")
    assert protocol.received == b"hello"
    tls.write(b"w" * 20_000)
    live.settle()
    assert live.heard == b"w" * 20_000
    assert protocol.made == 1, "connectionMade came again"


def test_a_client_begins(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    protocol = Records()
    live = Live(protocol)
    clock = Clock()
    tls = startTLS(protocol, pair.client_context(pki, tls_version), hostname="localhost", clock=clock)
    tls.write(b"at once")
    clock.advance(0)
    live.begin(server_of(pki, tls_version))
    assert live.heard == b"at once"
    assert tls.connection.server_hostname == "localhost" and tls.connection.context.check_hostname
    live.say(b"hello")
    assert protocol.received == b"hello"
    assert protocol.made == 1


@pytest.mark.parametrize("server", [True, False])
def test_a_context_for_both_roles_needs_to_be_told(pki: PKI, server: bool) -> None:
    with pytest.warns(DeprecationWarning):
        context = txmembio.SSLContext(txmembio.PROTOCOL_TLS)
    context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    protocol = Records()
    live = Live(protocol)
    with pytest.raises(ValueError, match="server must be True or False: the context is good for both"):
        startTLS(protocol, context)
    startTLS(protocol, context, server=server, clock=Clock())
    live.begin(client_of(pki) if server else server_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"


def test_the_transport_can_be_given_instead_of_the_protocol(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    tls = startTLS(live, pair.server_context(pki), clock=Clock())
    assert protocol.transport is tls
    live.begin(client_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"


def test_what_was_written_before_leaves_first_and_in_plaintext(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    protocol.transport.write(b"220 go ahead\r\n")
    clock = Clock()
    startTLS(protocol, pair.server_context(pki), clock=clock)
    protocol.transport.write(b"secret")
    clock.advance(0)
    assert live.take() == b"220 go ahead\r\n"
    live.begin(client_of(pki))
    assert live.heard == b"secret"


def test_a_client_s_hello_follows_what_was_written_before(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    protocol.transport.write(b"STARTTLS\r\n")
    startTLS(protocol, pair.client_context(pki), hostname="localhost", clock=Clock())
    assert live.take().startswith(b"STARTTLS\r\n\x16\x03\x01")


def test_the_end_of_the_handshake_is_told(pki: PKI) -> None:
    @implementer(IHandshakeListener)
    class Listening(Records):
        told = 0

        def handshakeCompleted(self) -> None:
            self.told += 1

    protocol = Listening()
    live = Live(protocol)
    startTLS(protocol, pair.server_context(pki), clock=Clock())
    assert protocol.told == 0
    live.begin(client_of(pki))
    assert protocol.told == 1


def test_the_factory_of_the_protocol_decides_on_alpn(pki: PKI) -> None:
    @implementer(IProtocolNegotiationFactory)
    class Choosing(Factory):
        def acceptableProtocols(self) -> list[bytes]:
            return [b"xmpp-client"]

    protocol = Records()
    protocol.factory = Choosing()
    live = Live(protocol)
    tls = startTLS(protocol, pair.server_context(pki), clock=Clock())
    peer = client_of(pki)
    peer.set_alpn_protocols(["imap", "xmpp-client"])
    live.begin(peer)
    assert tls.negotiatedProtocol == b"xmpp-client"


def test_wire_that_the_protocol_has_already_received_can_be_given_to_it(pki: PKI) -> None:
    """A protocol that looks at the first bytes to see whether they are TLS."""

    class Either(Records):
        def dataReceived(self, data: bytes) -> None:
            if not self.received and data.startswith(b"\x16"):
                startTLS(self, pair.server_context(pki), clock=Clock()).dataReceived(data)
            else:
                super().dataReceived(data)

    protocol = Either()
    live = Live(protocol)
    live.begin(client_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"


# How it ends


def test_a_clean_end(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    live, protocol, tls = begun(pki, tls_version)
    tls.loseConnection()
    live.settle()
    assert live.peer is not None and live.peer.peer_closed
    assert "loseConnection" not in live.events
    live.peer.close()
    live.settle()
    assert live.events[-1] == "loseConnection"
    live.lose()
    assert isinstance(protocol.reason, ConnectionDone)


def test_an_abort(pki: PKI) -> None:
    live, protocol, tls = begun(pki)
    tls.abortConnection()
    assert live.events[-1] == "abortConnection"
    live.lose(ConnectionAborted())
    assert isinstance(protocol.reason, ConnectionAborted)


def test_a_handshake_that_never_comes(pki: PKI) -> None:
    protocol, clock = Records(), Clock()
    live = Live(protocol)
    startTLS(protocol, pair.server_context(pki), clock=clock, handshakeTimeout=5)
    clock.advance(5)
    assert live.events[-1] == "abortConnection"
    live.lose(ConnectionAborted())
    assert isinstance(protocol.reason, HandshakeTimeout)
    assert not clock.getDelayedCalls()


def test_a_peer_that_goes_on_in_plaintext(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    startTLS(protocol, pair.server_context(pki), clock=Clock())
    live.receive(b"EHLO localhost\r\n")
    assert live.events[-1] == "loseConnection"
    live.lose()
    assert isinstance(protocol.reason, txmembio.SSLError)
    assert protocol.received == b""


def test_all_is_gone_when_the_connection_is(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Without the help of the garbage collector."""
    gc.collect()
    gc.disable()
    try:
        live, protocol, tls = begun(pki, tls_version)
        live.say(b"hello")
        live.lose()
        traces: list[weakref.ref[Any]] = [weakref.ref(tls), weakref.ref(protocol)]
        del tls, protocol, live
        assert [trace() for trace in traces] == [None, None]
    finally:
        gc.enable()


# Who still holds the transport of before


def test_what_is_written_to_the_old_transport_is_encrypted(pki: PKI) -> None:
    clock = Clock()
    live, _protocol, tls = begun(pki, clock=clock)
    live.write(b"one ")
    live.writeSequence([b"two ", b"three"])
    assert live.chunks == []
    clock.advance(0)
    assert b"two" not in b"".join(live.chunks)
    live.settle()
    assert live.heard == b"one two three"
    assert ISSLTransport.providedBy(live)
    assert live.getPeerCertificate() == tls.getPeerCertificate()


def test_closing_the_old_transport_closes_tls(pki: PKI) -> None:
    live, _protocol, tls = begun(pki)
    live.loseConnection()
    live.settle()
    assert live.peer is not None and live.peer.peer_closed
    assert tls.disconnecting and not live.disconnecting


def test_pausing_the_old_transport_pauses_tls(pki: PKI) -> None:
    live, _protocol, _tls = begun(pki)
    live.pauseProducing()
    assert live.producerState == "paused"
    live.loseConnection()
    assert live.producerState == "producing", "nobody would read the peer's close_notify"


def test_the_old_transport_gets_its_methods_back(pki: PKI) -> None:
    live, _protocol, _tls = begun(pki)
    live.lose()
    live.chunks.clear()
    live.write(b"plaintext")
    assert live.chunks == [b"plaintext"]


# Producers


class Producer:
    """Writes down what it is told."""

    def __init__(self, consumer: Any) -> None:
        self.consumer = consumer
        self.told: list[str] = []

    def resumeProducing(self) -> None:
        self.told.append("resume")
        self.consumer.write(b"produced")

    def pauseProducing(self) -> None:
        self.told.append("pause")

    def stopProducing(self) -> None:
        self.told.append("stop")


def test_a_push_producer_goes_on(pki: PKI) -> None:
    """It writes to the transport that it was given before."""
    protocol = Records()
    live = Live(protocol)
    producer = Producer(live)
    live.registerProducer(producer, True)
    clock = Clock()
    tls = startTLS(protocol, pair.server_context(pki), clock=clock)
    assert producer.told == []
    producer.consumer.write(b"a piece")
    clock.advance(0)
    assert live.chunks == []
    live.begin(client_of(pki))
    assert live.heard == b"a piece"
    live.pause_producer()
    live.resume_producer()
    assert producer.told == ["pause", "resume"]
    tls.loseConnection()
    live.settle()
    assert live.peer is not None and not live.peer.peer_closed
    live.unregisterProducer()
    live.settle()
    assert live.peer.peer_closed
    assert live.heard == b"a pieceproduced"


def test_a_push_producer_that_was_paused_is_not_forgotten(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    producer = Producer(live)
    live.registerProducer(producer, True)
    live.pause_producer()
    startTLS(protocol, pair.server_context(pki), clock=Clock())
    live.begin(client_of(pki))
    live.resume_producer()
    assert producer.told == ["pause", "resume"]
    assert live.heard == b"produced"


def test_a_pull_producer_waits_for_the_handshake(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    producer = Producer(live)
    live.registerProducer(producer, False)
    live.take()
    producer.told.clear()
    startTLS(protocol, pair.server_context(pki), clock=Clock())
    assert producer.told == []
    live.begin(client_of(pki))
    live.resume_producer()
    live.settle()
    assert set(producer.told) == {"resume"}
    assert live.heard == b"produced" * len(producer.told)


def test_a_producer_of_a_connection_that_is_lost_is_stopped(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    producer = Producer(live)
    live.registerProducer(producer, True)
    startTLS(protocol, pair.server_context(pki), clock=Clock())
    live.lose()
    assert producer.told == ["stop"]


def test_a_paused_connection_stays_paused(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    live.pauseProducing()
    tls = startTLS(protocol, pair.server_context(pki), clock=Clock())
    assert live.producerState == "paused"
    tls.resumeProducing()
    assert live.producerState == "producing"


def test_a_paused_connection_is_read_again_to_be_closed(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    live.pauseProducing()
    tls = startTLS(protocol, pair.server_context(pki), clock=Clock())
    tls.write(b"last words")
    tls.loseConnection()
    assert live.producerState == "producing"


# Protocols that are wrapped


def wrapped(outer: type[WrappingFactory] = WrappingFactory, *arguments: Any) -> tuple[Live, Any, Records]:
    """A protocol behind a wrapper of twisted.protocols.policies."""
    factory: Any = outer(Factory.forProtocol(Records), *arguments)
    wrapper = factory.buildProtocol(None)
    protocol: Records = wrapper.wrappedProtocol
    return Live(wrapper), wrapper, protocol


@pytest.mark.parametrize("given", ["protocol", "wrapper", "transport"])
def test_tls_above_or_below_a_wrapper(pki: PKI, given: str) -> None:
    live, wrapper, protocol = wrapped()
    target = {"protocol": protocol, "wrapper": wrapper, "transport": live}[given]
    tls = startTLS(target, pair.server_context(pki), clock=Clock())
    live.begin(client_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"
    # As a protocol looks for it.
    assert ISSLTransport.providedBy(protocol.transport)
    assert protocol.transport.getPeerCertificate() == tls.getPeerCertificate()
    wrapper.write(b"written to the wrapper")
    tls.factory.clock.advance(0)  # type: ignore[attr-defined]
    live.settle()
    assert live.heard == b"written to the wrapper"
    live.lose()
    assert protocol.reason is not None


def test_a_wrapper_that_closes_idle_connections_closes_tls(pki: PKI) -> None:
    live, wrapper, protocol = wrapped(TimeoutFactory, 30)
    clock = Clock()
    wrapper.factory.callLater = clock.callLater
    wrapper.setTimeout(30)
    startTLS(protocol, pair.server_context(pki), clock=clock)
    live.begin(client_of(pki))
    clock.advance(29)
    live.say(b"not idle")
    clock.advance(29)
    assert live.peer is not None and not live.peer.peer_closed
    clock.advance(1)
    live.settle()
    assert live.peer.peer_closed


# Refusals


def plaintext_goes_on(live: Live, protocol: Records) -> bool:
    """Nothing has happened to the connection."""
    live.receive(b"still plaintext")
    protocol.transport.write(b"as before")
    return protocol.transport is live and protocol.received == b"still plaintext" and live.chunks == [b"as before"]


@pytest.mark.parametrize("old", [False, True], ids=["through self.transport", "through the old transport"])
def test_twice_is_refused(pki: PKI, old: bool) -> None:
    live, protocol, _tls = begun(pki)
    with pytest.raises(RuntimeError, match=r"speaks TLS already; nested=True begins a second TLS inside it"):
        startTLS(live if old else protocol, pair.server_context(pki), clock=Clock())
    live.say(b"still the first")
    assert protocol.received == b"still the first"


def test_twice_before_the_handshake_is_refused(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    startTLS(protocol, pair.server_context(pki), clock=Clock())
    with pytest.raises(RuntimeError, match="speaks TLS already"):
        startTLS(protocol, pair.server_context(pki), clock=Clock())
    live.begin(client_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"


@pytest.mark.parametrize("old", [False, True], ids=["through self.transport", "through the old transport"])
def test_a_second_tls_inside_the_first(pki: PKI, tls_version: txmembio.TLSVersion, old: bool) -> None:
    live, protocol, outer = begun(pki, tls_version)
    clock = Clock()
    inner = startTLS(live if old else protocol, pair.server_context(pki, tls_version), nested=True, clock=clock)
    assert protocol.transport is inner and outer.wrappedProtocol is inner
    peer = client_of(pki, tls_version)
    peer.do_handshake()
    while wire := peer.wire_to_send():
        live.heard = b""
        live.say(wire)
        peer.receive_wire(live.heard)
    assert inner.connection.handshake_complete
    peer.send_plaintext(b"inside both")
    live.say(peer.wire_to_send())
    assert protocol.received == b"inside both"
    for transport in (live, outer, inner):
        live.heard = b""
        transport.write(b"from any of them")
        clock.advance(0)
        outer.factory.clock.advance(0)  # type: ignore[attr-defined]
        live.settle()
        assert peer.receive_wire(live.heard) == b"from any of them"
    live.lose()
    assert protocol.reason is not None


def test_after_lose_connection_is_refused(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    protocol.transport.loseConnection()
    with pytest.raises(RuntimeError, match="a connection that is being closed"):
        startTLS(protocol, pair.server_context(pki), clock=Clock())
    assert protocol.transport is live


def test_inside_tls_after_lose_connection_is_refused(pki: PKI) -> None:
    _, protocol, tls = begun(pki)
    tls.loseConnection()
    with pytest.raises(RuntimeError, match="a connection that is being closed"):
        startTLS(protocol, pair.server_context(pki), nested=True, clock=Clock())


def test_after_the_end_is_refused(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    live.lose()
    with pytest.raises(RuntimeError, match="a connection that is gone"):
        startTLS(protocol, pair.server_context(pki), clock=Clock())


def test_after_the_end_of_tls_is_refused(pki: PKI) -> None:
    live, protocol, tls = begun(pki)
    live.lose()
    for target in (protocol, tls):
        with pytest.raises(RuntimeError, match="a connection that is gone"):
            startTLS(target, pair.server_context(pki), nested=True, clock=Clock())


def test_before_the_connection_is_refused(pki: PKI) -> None:
    with pytest.raises(RuntimeError, match="a protocol that is not connected"):
        startTLS(Records(), pair.server_context(pki))


def test_what_is_no_protocol_is_refused(pki: PKI) -> None:
    with pytest.raises(TypeError, match="expected a connected protocol or its transport, not Factory"):
        startTLS(Factory(), pair.server_context(pki))


def test_a_transport_that_nothing_can_be_put_on_is_refused(pki: PKI) -> None:
    protocol = Records()
    protocol.makeConnection(StringTransport())
    with pytest.raises(TypeError, match="cannot put TLS between StringTransport and its protocol; connect"):
        startTLS(protocol, pair.server_context(pki), clock=Clock())


def test_a_wrapping_factory_helps_there(pki: PKI) -> None:
    """As that error says."""
    factory: Any = WrappingFactory(Factory.forProtocol(Records))
    wrapper = factory.buildProtocol(None)
    transport = StringTransport()
    wrapper.makeConnection(transport)
    startTLS(wrapper.wrappedProtocol, pair.client_context(pki), hostname="localhost", clock=Clock())
    assert transport.value().startswith(b"\x16\x03\x01")


def test_a_context_of_the_standard_library_is_refused(pki: PKI) -> None:
    protocol = Records()
    live = Live(protocol)
    with pytest.raises(TypeError, match=r"txmembio\.SSLContext"):
        startTLS(protocol, ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))  # type: ignore[arg-type]
    assert plaintext_goes_on(live, protocol)


@pytest.mark.parametrize(
    ("settings", "match"),
    [
        ({"server": True}, "for the other role"),
        ({}, "hostname must be the server's name"),
        ({"hostname": "localhost", "handshakeTimeout": 0}, "handshakeTimeout must be a positive number"),
        ({"hostname": "not a\x00name"}, "name"),
    ],
)
def test_arguments_that_cannot_work_change_nothing(pki: PKI, settings: dict[str, Any], match: str) -> None:
    protocol = Records()
    live = Live(protocol)
    with pytest.raises((ValueError, TypeError), match=match):
        startTLS(protocol, pair.client_context(pki), **settings)
    assert plaintext_goes_on(live, protocol)


# The method


def offered(pki: PKI, **settings: Any) -> tuple[Live, Records, StartTLSFactory]:
    """A protocol of a StartTLSFactory, connected."""
    factory = StartTLSFactory(Factory.forProtocol(Records), clock=settings.pop("clock", Clock()), **settings)
    protocol = factory.buildProtocol(None)
    assert isinstance(protocol, Records)
    return Live(protocol), protocol, factory


def test_transports_get_the_method(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    live, protocol, _factory = offered(pki)
    assert protocol.transport is live and protocol.made == 1
    assert ITLSTransport.providedBy(live) and not ISSLTransport.providedBy(live)
    protocol.transport.startTLS(pair.server_context(pki, tls_version))
    assert isinstance(protocol.transport, TLSTransport)
    assert ISSLTransport.providedBy(protocol.transport) and INegotiated.providedBy(protocol.transport)
    assert not ITLSTransport.providedBy(protocol.transport)
    assert ISSLTransport.providedBy(live) and not ITLSTransport.providedBy(live)
    live.begin(client_of(pki, tls_version))
    live.say(b"hello")
    assert protocol.received == b"hello"


def test_a_client_s_method_knows_the_name_of_the_server(pki: PKI) -> None:
    live, protocol, _factory = offered(pki, hostname="localhost")
    protocol.transport.startTLS(pair.client_context(pki), normal=False)
    live.begin(server_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"
    assert protocol.transport.connection.server_hostname == "localhost"


def test_plaintext_without_the_method_being_used(pki: PKI) -> None:
    live, protocol, factory = offered(pki)
    assert plaintext_goes_on(live, protocol)
    live.lose()
    assert isinstance(protocol.reason, ConnectionDone)
    assert factory.counters.handshakes_begun == 0


def test_connections_of_one_factory_are_counted_together(pki: PKI) -> None:
    live, protocol, factory = offered(pki, maxHandshakes=1)
    context = pair.server_context(pki)
    live.startTLS(context)
    second = Live(factory.buildProtocol(None))
    second.startTLS(context)
    assert factory.counters.handshakes_begun == 2
    assert live.events[-1] == "abortConnection"
    live.lose(ConnectionAborted())
    assert isinstance(protocol.reason, TooManyHandshakes)
    second.begin(client_of(pki))
    assert factory.counters.handshakes_completed == 1


def test_the_method_twice_is_refused(pki: PKI) -> None:
    live, protocol, _factory = offered(pki)
    context = pair.server_context(pki)
    protocol.transport.startTLS(context)
    with pytest.raises(AttributeError, match="speaks TLS already"):
        protocol.transport.startTLS(context)
    with pytest.raises(RuntimeError, match="speaks TLS already"):
        live.startTLS(context)
    assert not hasattr(protocol.transport, "startTLS")


def test_the_method_after_lose_connection_is_refused(pki: PKI) -> None:
    _live, protocol, _factory = offered(pki)
    protocol.transport.loseConnection()
    with pytest.raises(RuntimeError, match="a connection that is being closed"):
        protocol.transport.startTLS(pair.server_context(pki))


@pytest.mark.parametrize("context", [None, object(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)])
def test_the_method_refuses_other_contexts(pki: PKI, context: Any) -> None:
    live, protocol, _factory = offered(pki)
    with pytest.raises(TypeError, match=r"txmembio\.SSLContext"):
        protocol.transport.startTLS(context)
    assert plaintext_goes_on(live, protocol)


def test_a_transport_with_tls_from_the_start_is_not_offered_more(pki: PKI) -> None:
    """So a mail server that is reached over TLS does not announce STARTTLS."""
    starting = StartTLSFactory(Factory.forProtocol(Records))
    factory = TLSFactory(pair.server_context(pki), False, starting, clock=Clock())
    tls = factory.buildProtocol(None)
    assert tls is not None
    Live(tls)
    assert not ITLSTransport.providedBy(tls) and not hasattr(tls, "startTLS")


def test_a_transport_that_has_such_a_method_gets_ours(pki: PKI) -> None:
    """Twisted's TCP transports do, where pyOpenSSL is installed."""

    class WithTheirs(Live):
        def __init__(self, protocol: Any) -> None:
            alsoProvides(self, ITLSTransport)
            super().__init__(protocol)
            alsoProvides(self, ITLSTransport)

        def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
            raise AssertionError("it is theirs")

    protocol = StartTLSFactory(Factory.forProtocol(Records), clock=Clock()).buildProtocol(None)
    live: Any = WithTheirs(protocol)
    live.startTLS(pair.server_context(pki))
    live.begin(client_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"


def test_a_transport_with_the_method_goes_away_by_itself(pki: PKI) -> None:
    gc.collect()
    gc.disable()
    try:
        live, protocol, _factory = offered(pki)
        live.lose()
        traces: list[weakref.ref[Any]] = [weakref.ref(live), weakref.ref(protocol)]
        protocol.transport = None
        del live, protocol
        assert [trace() for trace in traces] == [None, None]
    finally:
        gc.enable()


@pytest.mark.parametrize(
    "settings", [{"hostname": b"localhost"}, {"handshakeTimeout": 0}, {"handshakeTimout": 5}, {"counters": 3}]
)
def test_arguments_of_the_factory_are_checked_before_anybody_connects(settings: dict[str, Any]) -> None:
    with pytest.raises((TypeError, ValueError), match=next(iter(settings))):
        StartTLSFactory(Factory.forProtocol(Records), **settings)


def test_a_factory_that_refuses_a_connection(pki: PKI) -> None:
    class Refusing(Factory):
        def buildProtocol(self, addr: object) -> Protocol | None:
            return None

    assert StartTLSFactory(Refusing()).buildProtocol(None) is None


def test_factories_and_connectors_are_told(pki: PKI) -> None:
    """A ReconnectingClientFactory, for instance, needs to hear of connections that failed."""
    told: list[str] = []

    class Told(Factory):
        def doStart(self) -> None:
            told.append("doStart")

        def startedConnecting(self, connector: Any) -> None:
            told.append("startedConnecting")

        def clientConnectionLost(self, connector: Any, reason: Any) -> None:
            told.append("clientConnectionLost")

    factory = StartTLSFactory(Told())
    factory.doStart()
    factory.startedConnecting(None)
    factory.clientConnectionLost(None, None)
    assert told == ["doStart", "startedConnecting", "clientConnectionLost"]


def test_a_wrapper_around_the_protocols_of_the_factory(pki: PKI) -> None:
    """The method is that of the transport at the bottom, and TLS goes below the wrapper."""
    factory = StartTLSFactory(WrappingFactory(Factory.forProtocol(Records)), clock=Clock())
    wrapper = factory.buildProtocol(None)
    assert isinstance(wrapper, ProtocolWrapper)
    protocol: Any = wrapper.wrappedProtocol
    live = Live(wrapper)
    assert ITLSTransport.providedBy(protocol.transport)
    protocol.transport.startTLS(pair.server_context(pki))  # type: ignore[arg-type]
    assert ISSLTransport.providedBy(protocol.transport) and not ITLSTransport.providedBy(protocol.transport)
    live.begin(client_of(pki))
    live.say(b"hello")
    assert protocol.received == b"hello"
