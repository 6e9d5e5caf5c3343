"""`TLSTransport`: the path of plaintext and wire, what it is to the application and to the transport beneath."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.interfaces import (
    IConsumer,
    INegotiated,
    IPushProducer,
    ISSLTransport,
    ISystemHandle,
    ITCPTransport,
    ITLSTransport,
    IUNIXTransport,
)
from twisted.logger import LogLevel, capturedLogs
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import alsoProvides

import txmembio
from support import pair
from support.pki import PKI
from support.twisted_ends import APPLICATION_DATA, Application, Beneath, Ends, connected, records
from txmembio.twisted import TLSTransport
from txmembio.twisted.transport import DIRECT_WRITE, HELD_LIMIT

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3

#: The most that one record's wire has beside its plaintext, in bytes (RFC 8446 section 5.2, and the header).
RECORD_OVERHEAD = 256 + 5


def writing(*plaintexts: bytes) -> Callable[[Application], None]:
    """What an application does that writes each of `plaintexts`."""

    def write(application: Application) -> None:
        for plaintext in plaintexts:
            assert application.transport is not None
            application.transport.write(plaintext)

    return write


# Receiving


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
def test_data_is_delivered(pki: PKI, tls_version: txmembio.TLSVersion, is_client: bool) -> None:
    ends = connected(pki, tls_version, is_client=is_client)
    ends.say(b"hello")
    assert ends.application.received == b"hello"
    assert ends.events == ["dataReceived"]


def test_all_records_of_one_chunk_are_one_delivery(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    for number in range(10):
        ends.peer.send_plaintext(bytes([number]) * 1000)
    ends.from_peer()
    assert ends.events == ["dataReceived"]
    assert ends.application.received == b"".join(bytes([number]) * 1000 for number in range(10))


def test_a_chunk_without_a_whole_record_delivers_nothing(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    wire = ends.peer.plaintext_to_wire(b"hello")
    for at in range(len(wire)):
        assert ends.events == []
        ends.tls.dataReceived(wire[at : at + 1])
    assert ends.events == ["dataReceived"]


@pytest.mark.parametrize(
    ("is_client", "version", "expected"),
    [
        # Who receives the last message of the handshake, can receive data behind it. Who does not, has one to send.
        (False, TLS13, ["handshakeCompleted", "dataReceived", "write"]),
        (False, TLS12, ["handshakeCompleted", "write"]),
        (True, TLS13, ["handshakeCompleted", "write"]),
        (True, TLS12, ["handshakeCompleted", "dataReceived"]),
    ],
    ids=["server-tls13", "server-tls12", "client-tls13", "client-tls12"],
)
def test_the_end_of_the_handshake_is_announced_then_followed_by_data_then_sent(
    pki: PKI, is_client: bool, version: txmembio.TLSVersion, expected: list[str]
) -> None:
    ends = Ends(pki, version, is_client=is_client)
    ends.peer.send_plaintext(b"at once")
    while not ends.tls.connection.handshake_complete:
        ends.to_peer()
        ends.forget()
        ends.from_peer()
    assert ends.events == expected
    ends.settle()
    assert ends.application.received == b"at once"


def test_handshake_completed_is_for_listeners_only(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    class Deaf(Application):
        pass

    from twisted.internet.interfaces import IProtocol
    from zope.interface import implementer_only

    deaf = implementer_only(IProtocol)(Deaf)()
    ends = Ends(pki, tls_version, deaf)
    ends.settle()
    ends.say(b"hello")
    assert "handshakeCompleted" not in deaf.events
    assert deaf.received == b"hello"


def test_plaintext_in_front_of_a_bad_record_is_delivered_before_the_failure(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = connected(pki, tls_version)
    good = ends.peer.plaintext_to_wire(b"good")
    bad = bytearray(ends.peer.plaintext_to_wire(b"bad"))
    bad[-1] ^= 1
    ends.tls.dataReceived(good + bytes(bad))
    assert ends.application.received == b"good"
    assert ends.events.index("dataReceived") < ends.events.index("loseConnection")
    ends.to_peer()
    assert ends.peer_error is not None and ends.peer_error.alert_received
    ends.lose()
    assert ends.application.reason is not None
    assert ends.application.reason.check(txmembio.SSLError)


def test_an_exception_of_the_application_reaches_the_transport_beneath(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    def fail(application: Application) -> None:
        assert application.transport is not None
        application.transport.write(b"before the exception")
        raise LookupError("in dataReceived")

    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = fail
    with pytest.raises(LookupError, match="in dataReceived"):
        ends.say(b"hello")
    ends.settle()
    assert ends.heard == b"before the exception"
    # A reactor now closes the connection, with the exception as the reason.
    ends.lose(LookupError("in dataReceived"))
    assert ends.application.reason is not None
    assert ends.application.reason.check(LookupError)


def test_another_protocol_can_take_over_while_data_is_delivered(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """What web servers do for WebSockets: `wrappedProtocol` of a ProtocolWrapper is replaced."""
    second = Application()

    def hand_over(application: Application) -> None:
        transport = application.transport
        assert isinstance(transport, ProtocolWrapper)
        transport.wrappedProtocol = second
        second.makeConnection(transport)

    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = hand_over
    ends.say(b"for the first")
    ends.say(b"for the second")
    assert ends.application.received == b"for the first"
    assert second.received == b"for the second"
    ends.lose()
    assert ends.application.reason is None
    assert second.reason is not None


# Sending


def test_what_is_written_while_data_is_delivered_is_one_record(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = writing(*[b"a small write, "] * 100)
    ends.say(b"go")
    assert ends.events == ["dataReceived", "write"]
    assert [kind for kind, _ in records(b"".join(ends.beneath.chunks))] == [APPLICATION_DATA]
    ends.settle()
    assert ends.heard == b"a small write, " * 100


def test_large_writes_while_data_is_delivered_are_joined_too(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = writing(b"header", b"x" * DIRECT_WRITE, b"trailer")
    ends.say(b"go")
    assert ends.events == ["dataReceived", "write"]
    assert len(list(records(b"".join(ends.beneath.chunks)))) == 2
    ends.settle()
    assert ends.heard == b"header" + b"x" * DIRECT_WRITE + b"trailer"


def test_what_is_held_while_data_is_delivered_is_bounded(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """A kibibyte at a time: at every moment, all but less than HELD_LIMIT has been sent on."""
    piece, count = b"k" * 1024, 200
    ends = connected(pki, tls_version)

    def write(application: Application) -> None:
        for number in range(1, count + 1):
            writing(piece)(application)
            sent = sum(length for _, length in records(b"".join(ends.beneath.chunks)))
            assert number * len(piece) - sent < HELD_LIMIT

    ends.application.on["dataReceived"] = write
    ends.say(b"go")
    largest = max(len(chunk) for chunk in ends.beneath.chunks)
    assert largest <= HELD_LIMIT + 5 * RECORD_OVERHEAD
    assert len(ends.beneath.chunks) == 4  # 3 times 64 KiB, and the rest
    ends.settle()
    assert ends.heard == piece * count


def test_small_writes_of_one_turn_are_one_record(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    writing(*[b"small, "] * 20)(ends.application)
    assert ends.events == []
    assert len(ends.clock.getDelayedCalls()) == 1
    ends.clock.advance(0)
    assert ends.events == ["write"]
    assert len(list(records(b"".join(ends.beneath.chunks)))) == 1
    ends.settle()
    assert ends.heard == b"small, " * 20
    writing(b"the next turn's")(ends.application)
    ends.settle()
    assert ends.heard == b"small, " * 20 + b"the next turn's"


def test_a_large_write_goes_out_at_once_behind_what_was_held(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    writing(b"small, ")(ends.application)
    assert ends.events == []
    writing(b"L" * DIRECT_WRITE)(ends.application)
    assert ends.events == ["write"]
    writing(b", small")(ends.application)
    ends.settle()
    assert ends.heard == b"small, " + b"L" * DIRECT_WRITE + b", small"


def test_what_is_held_in_one_turn_is_bounded(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    writing(*[b"k" * 1024] * 63)(ends.application)
    assert ends.events == []
    writing(b"k" * 1024)(ends.application)
    assert ends.events == ["write"]


def test_data_goes_both_ways_in_order(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Writes of every kind and size, from inside and outside of deliveries, arrive in the order they were made."""
    ends = connected(pki, tls_version)
    sizes = [1, 100, DIRECT_WRITE - 1, DIRECT_WRITE, HELD_LIMIT - 1, HELD_LIMIT, 3 * HELD_LIMIT + 7]
    expected = b""
    for number, size in enumerate(sizes * 2):
        inside, outside = bytes([2 * number]) * size, bytes([2 * number + 1]) * size
        ends.application.on["dataReceived"] = writing(inside)
        writing(outside)(ends.application)
        ends.say(b"go")
        expected += outside + inside
    ends.settle()
    assert ends.heard == expected


def test_write_sequence_is_one_write(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.writeSequence([b"a", b"", b"b" * DIRECT_WRITE, b"c"])
    assert ends.events == ["write"]
    ends.tls.writeSequence([])
    ends.settle()
    assert ends.heard == b"a" + b"b" * DIRECT_WRITE + b"c"


@pytest.mark.parametrize("data", ["text", bytearray(b"mutable"), memoryview(b"view"), 1, None])
def test_write_takes_bytes_only(pki: PKI, data: Any) -> None:
    ends = connected(pki, TLS13)
    with pytest.raises(TypeError, match=f"write.. takes bytes, not {type(data).__name__}"):
        ends.tls.write(data)
    with pytest.raises(TypeError):
        ends.tls.writeSequence([b"bytes", "text"])  # type: ignore[list-item]
    ends.settle()
    assert ends.heard == b""


def test_writing_nothing_sends_nothing(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = writing(b"")
    ends.say(b"go")
    ends.tls.write(b"")
    ends.clock.advance(0)
    assert ends.events == ["dataReceived"]


def test_writes_after_the_end_are_dropped(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.lose()
    ends.forget()
    ends.tls.write(b"small")
    ends.tls.write(b"L" * DIRECT_WRITE)
    ends.tls.writeSequence([b"a"])
    ends.clock.advance(0)
    assert ends.events == []
    assert ends.clock.getDelayedCalls() == []


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
def test_what_is_written_before_the_handshake_waits_for_it(
    pki: PKI, tls_version: txmembio.TLSVersion, is_client: bool
) -> None:
    early = [b"small, ", b"L" * DIRECT_WRITE, b", small again"]
    application = Application(connectionMade=writing(*early), handshakeCompleted=writing(b", and at its end"))
    ends = Ends(pki, tls_version, application, is_client=is_client)
    ends.tls.write(b", outside")
    ends.settle()
    assert ends.heard == b"".join(early) + b", outside" + b", and at its end"


def test_what_is_written_when_the_handshake_completes_is_one_record(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Written by handshakeCompleted and by the dataReceived that follows in the same chunk."""
    application = Application(handshakeCompleted=writing(b"a", b"b"), dataReceived=writing(b"c", b"d"))
    # The end that receives the last message of the handshake, so that data can follow it in one chunk.
    ends = Ends(pki, tls_version, application, is_client=tls_version == TLS12)
    ends.peer.send_plaintext(b"at once")
    ends.settle()
    assert ends.heard == b"abcd"
    completed = ends.events.index("handshakeCompleted")
    assert ends.events[completed:] == ["handshakeCompleted", "dataReceived", "write"]


# What it is


def test_interfaces(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    for interface in (ISSLTransport, INegotiated, ITCPTransport, IConsumer, IPushProducer, ISystemHandle):
        assert interface.providedBy(ends.tls), interface
    assert not IUNIXTransport.providedBy(ends.tls)
    assert not hasattr(ends.tls, "sendFileDescriptor")


def test_it_provides_what_the_transport_beneath_provides(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, connect=False)
    alsoProvides(ends.beneath, IUNIXTransport)
    sent: list[int] = []
    ends.beneath.sendFileDescriptor = sent.append  # type: ignore[attr-defined]
    ends.connect()
    assert IUNIXTransport.providedBy(ends.tls)
    assert ISSLTransport.providedBy(ends.tls)
    ends.tls.sendFileDescriptor(1)
    assert sent == [1]
    other = Ends(pki, tls_version)
    assert not IUNIXTransport.providedBy(other.tls)


def test_what_would_write_beside_tls_is_not_passed_on(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, connect=False)
    alsoProvides(ends.beneath, ITLSTransport)
    ends.beneath.startTLS = ends.beneath.writeSomeData = pytest.fail  # type: ignore[attr-defined]
    ends.connect()
    assert not ITLSTransport.providedBy(ends.tls)
    assert not hasattr(ends.tls, "startTLS")
    assert not hasattr(ends.tls, "writeSomeData")


def test_tcp_options_are_those_of_the_transport_beneath(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.setTcpNoDelay(True)
    assert ends.beneath.noDelay is True
    assert ends.tls.getTcpNoDelay() is True
    # The transport beneath has no such thing, as a pipe would not: there is nothing to set.
    ends.tls.setTcpKeepAlive(True)
    assert ends.tls.getTcpKeepAlive() is False


def test_addresses_are_those_of_the_transport_beneath(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    assert ends.tls.getHost() == ends.beneath.getHost()
    assert ends.tls.getPeer() == ends.beneath.getPeer()
    assert ends.tls.transport is ends.beneath
    assert ends.tls.wrappedProtocol is ends.application
    assert "Application" in ends.tls.logPrefix() and "TLSTransport" in ends.tls.logPrefix()


def test_the_handle_is_the_connection(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    assert ends.tls.getHandle() is ends.tls.connection
    assert isinstance(ends.tls.connection, txmembio.Connection)
    assert ends.tls.connection.version() == ends.peer.version()


def test_peer_certificate(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, is_client=True)
    assert ends.tls.getPeerCertificate() is None
    ends.settle()
    certificate = ends.tls.getPeerCertificate()
    assert isinstance(certificate, txmembio.Certificate)
    assert certificate.der == pki.server.certificate_der
    server = connected(pki, tls_version)
    assert server.tls.getPeerCertificate() is None  # the client was not asked for one


def test_peer_certificate_of_a_client(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(
        pki,
        tls_version,
        server_context=pair.server_context(pki, tls_version, verify_client=True),
        client_context=pair.client_context(pki, tls_version, credential=pki.client),
    )
    certificate = ends.tls.getPeerCertificate()
    assert certificate is not None and certificate.der == pki.client.certificate_der


def test_negotiated_protocol(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, connect=False)
    ends.tls.connection.set_alpn_protocols(["h2", "http/1.1"])
    ends.peer.set_alpn_protocols(["http/1.1"])
    ends.connect()
    assert ends.tls.negotiatedProtocol is None
    ends.settle()
    assert ends.tls.negotiatedProtocol == b"http/1.1"
    assert connected(pki, tls_version).tls.negotiatedProtocol is None


def test_reading_is_paused_and_resumed(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.pauseProducing()
    assert ends.beneath.producerState == "paused"
    ends.tls.resumeProducing()
    assert ends.beneath.producerState == "producing"


# Nothing left behind


@pytest.mark.parametrize("how", ["clean", "truncated", "aborted", "failed"])
def test_nothing_refers_to_a_connection_that_is_gone(pki: PKI, tls_version: txmembio.TLSVersion, how: str) -> None:
    gc.collect()  # what other tests have left
    ends = connected(pki, tls_version)
    tls, beneath, peer, clock = ends.tls, ends.beneath, ends.peer, ends.clock
    references: list[weakref.ref[Any]] = [weakref.ref(tls), weakref.ref(tls.connection), weakref.ref(ends.application)]
    factory = tls.factory
    assert list(factory.protocols) == [tls]
    tls.write(b"held")
    if how == "clean":
        tls.loseConnection()
        ends.settle()
        peer.close()
        ends.from_peer()
    elif how == "aborted":
        tls.abortConnection()
    elif how == "failed":
        tls.dataReceived(b"\x17\x03\x03\x00\x20" + b"?" * 32)
    ends.lose()
    assert factory.protocols == {}
    assert clock.getDelayedCalls() == []
    # `ends` and `factory` refer to the application: they go, and with them everything, without the garbage collector.
    gc.disable()
    try:
        del ends, tls, factory
        assert [reference() for reference in references] == [None, None, None]
    finally:
        gc.enable()
    assert beneath.producer is None


def test_a_transport_is_small(pki: PKI) -> None:
    """Nothing but what zope needs is in the instance's dictionary."""
    ends = connected(pki, TLS13)
    assert set(ends.tls.__dict__) <= {"__provides__"}
    assert isinstance(ends.beneath, Beneath) and isinstance(ends.tls, TLSTransport)


# What is logged


def test_a_refused_handshake_is_one_line_for_the_operator(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with capturedLogs() as events:
        ends = Ends(pki, tls_version)
        ends.tls.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
        ends.lose()
    assert [event["log_level"] for event in events] == [LogLevel.info]
    assert "log_failure" not in events[0]
    assert "plain HTTP" in events[0]["error"] and "\n" not in events[0]["error"]
    assert events[0]["peer"] == ends.beneath.getPeer()


def test_a_callback_that_fails_is_an_error_in_the_program(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """The peer gets an alert, the application the SSLError, and the operator the exception with its traceback."""

    def fail(*_: object) -> None:
        raise LookupError("in the SNI callback")

    context = pair.server_context(pki, tls_version)
    context.sni_callback = fail
    with capturedLogs() as events:
        ends = Ends(pki, tls_version, server_context=context)
        ends.settle()
        ends.lose()
    assert ends.peer_error is not None and ends.peer_error.alert == "internal_error"
    assert ends.application.reason is not None and ends.application.reason.check(txmembio.SSLError)
    assert [event["log_level"] for event in events] == [LogLevel.info, LogLevel.error]
    assert events[1]["log_failure"].check(LookupError)


def test_clean_connections_are_logged_for_those_who_ask(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with capturedLogs() as events:
        ends = connected(pki, tls_version)
        ends.tls.loseConnection()
        ends.settle()
        ends.lose()
    assert [(event["event"], event["log_level"]) for event in events] == [("handshake_completed", LogLevel.debug)]


def test_truncation_is_logged_for_those_who_ask(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with capturedLogs() as events:
        connected(pki, tls_version).lose()
    assert [event["event"] for event in events] == ["handshake_completed", "connection_failed"]
    assert {event["log_level"] for event in events} == {LogLevel.debug}
