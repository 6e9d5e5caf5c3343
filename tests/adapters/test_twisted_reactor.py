"""`TLSTransport` on the real reactor: TCP and UNIX sockets, megabytes both ways, back-pressure, and every kind of end.

Nothing here waits for a time: each step waits for the event that lets it go on.
"""

from __future__ import annotations

import socket
import struct
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IReactorFDSet,
    ISSLTransport,
    IUNIXTransport,
)
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock, deferLater

import txmembio
from support import pair
from support.pki import PKI
from support.reactors import need_repeated_errors
from support.twisted_ends import Application, HalfCloseable
from support.twisted_talk import (
    MEGABYTE,
    PIECE,
    SIZE,
    SOCKET_BUFFER,
    End,
    OpenSSL,
    Pulled,
    Pushing,
    close,
    content,
    conversation,
    listening,
    socket_of,
    tcp_client,
    tcp_server,
    unsent,
)
from txmembio.twisted import ConnectionTruncated, ShutdownTimeout, TLSTransport
from txmembio.twisted.transport import HELD_LIMIT

# Megabytes


@pytest.mark.parametrize("kind", [Pushing, Pulled])
@pytest_twisted.ensureDeferred
async def test_producers_send_megabytes_both_ways(
    pki: PKI, tls_version: txmembio.TLSVersion, kind: type[Pushing] | type[Pulled]
) -> None:
    from_client, from_server = content(b"client"), content(b"server")
    async with conversation(pki, tls_version) as (client, server):
        # Registered before the handshake has begun.
        kind(client.tls, from_client)
        kind(server.tls, from_server)
        await gatherResults([client.until(SIZE), server.until(SIZE)])
        reasons = await close(client, server)
    assert client.received == from_server
    assert server.received == from_client
    assert all(isinstance(reason, ConnectionDone) for reason in reasons)


@pytest_twisted.ensureDeferred
async def test_back_pressure_reaches_a_push_producer(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """A peer that reads nothing makes the producer stop, with little more unsent than the high-water mark."""
    data = content(b"push")
    async with conversation(pki, tls_version) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        socket_of(client.tls).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        socket_of(server.tls).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
        server.tls.pauseProducing()
        producer = Pushing(client.tls, data)
        await producer.paused
        at = producer.at
        assert at < SIZE
        for _ in range(10):
            await deferLater(reactor, 0)
        assert producer.at == at, "it went on although it was paused"
        server.tls.resumeProducing()
        await server.until(SIZE)
        assert producer.most_unsent <= 2 * HELD_LIMIT + 2 * PIECE
        await close(client, server)
    assert server.received == data


@pytest_twisted.ensureDeferred
async def test_a_pull_producer_is_asked_when_nothing_is_left_to_send(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    data = content(b"pull")
    async with conversation(pki, tls_version) as (client, server):
        await client.handshaken
        socket_of(client.tls).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
        producer = Pulled(client.tls, data)
        await server.until(SIZE)
        assert producer.most_unsent == 0
        await close(client, server)
    assert server.received == data


@pytest_twisted.ensureDeferred
async def test_one_write_of_megabytes_and_a_close(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Before the handshake, even: all of it arrives, then the close."""
    data = content(b"at once")

    class Saying(End):
        def connectionMade(self) -> None:
            super().connectionMade()
            self.tls.write(data)
            self.tls.loseConnection()

    async with conversation(pki, tls_version, make_server=Saying) as (client, server):
        reasons = await gatherResults([client.lost, server.lost])
    assert client.received == data
    assert all(isinstance(reason, ConnectionDone) for reason in reasons)


@pytest_twisted.ensureDeferred
async def test_many_small_writes(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """An echo of each line by itself, the lines far apart and close together in the wire."""

    class Echo(End):
        def dataReceived(self, data: bytes) -> None:
            for byte in data:
                self.tls.write(bytes([byte]))

    data = content(b"echo")[:50_000]
    async with conversation(pki, tls_version, make_server=Echo) as (client, server):
        for at in range(0, len(data), 1000):
            client.tls.write(data[at : at + 500])
            client.tls.write(data[at + 500 : at + 1000])
            await deferLater(reactor, 0)
        await client.until(len(data))
        await close(client, server)
    assert client.received == data


# Other transports beneath


@pytest_twisted.ensureDeferred
async def test_unix_sockets(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    async with conversation(pki, tls_version, path=tmp_path / "socket") as (client, server):
        client.tls.setTcpNoDelay(True)  # as twisted.web does with every ISSLTransport
        client.tls.write(b"hello")
        await server.until(5)
        assert IUNIXTransport.providedBy(server.tls) and ISSLTransport.providedBy(server.tls)
        await close(client, server)
    assert server.received == b"hello"


@pytest.mark.parametrize("kind", [Pushing, Pulled])
@pytest_twisted.ensureDeferred
async def test_tls_in_tls(pki: PKI, tls_version: txmembio.TLSVersion, kind: type[Pushing] | type[Pulled]) -> None:
    data = content(b"twice")
    async with conversation(pki, tls_version, twice=True) as (client, server):
        kind(client.tls, data)
        await server.until(SIZE)
        assert isinstance(server.tls.transport, TLSTransport)
        assert server.tls.connection.version() == server.tls.transport.connection.version()
        reasons = await close(client, server)
    assert server.received == data
    assert all(isinstance(reason, ConnectionDone) for reason in reasons)


# Every end


@pytest_twisted.ensureDeferred
async def test_a_clean_end_from_either_side(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    for first in (0, 1):
        async with conversation(pki, tls_version) as ends:
            await gatherResults([end.handshaken for end in ends])
            ends[first].tls.loseConnection()
            reasons = await gatherResults([end.lost for end in ends])
            assert [type(reason) for reason in reasons] == [ConnectionDone, ConnectionDone]


@pytest_twisted.ensureDeferred
async def test_an_abort_is_a_reset(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    async with conversation(pki, tls_version) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        client.tls.abortConnection()
        here, there = await gatherResults([client.lost, server.lost])
        assert type(here) is ConnectionAborted
        assert type(there) is ConnectionLost


@pytest_twisted.ensureDeferred
async def test_truncation(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """The peer's socket is closed in order, but TLS was not: anybody could have done that."""
    async with conversation(pki, tls_version) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        client.tls.write(b"half of")
        await server.until(7)
        client.tls.transport.loseConnection()
        reason = await server.lost
        assert isinstance(reason, ConnectionTruncated) and isinstance(reason, ConnectionLost)
        await client.lost


@pytest_twisted.ensureDeferred
async def test_a_refused_certificate(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    untrusting = txmembio.create_default_context(cafile=pki.untrusted_ca.certificate_file)
    untrusting.minimum_version = untrusting.maximum_version = tls_version
    async with listening(tcp_server(pair.server_context(pki, tls_version))) as (port, accepting):
        accepted = accepting.made
        client = await tcp_client(untrusting, port).connect(Factory.forProtocol(End))
        server = await accepted
        here, there = await gatherResults([client.lost, server.lost])
        assert isinstance(here, txmembio.SSLCertVerificationError)
        assert there.alert == "unknown_ca" and there.alert_received
        assert not client.handshaken.called
        # And the server goes on serving.
        accepted = accepting.made
        client = await tcp_client(pair.client_context(pki, tls_version), port).connect(Factory.forProtocol(End))
        server = await accepted
        await gatherResults([client.handshaken, server.handshaken])
        await close(client, server)


@pytest.mark.parametrize(
    "sent",
    [b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", b"\x00" * 100, b"\x16\x03\x01"],
    ids=["http", "zeros", "half a header"],
)
@pytest.mark.parametrize("reset", [False, True], ids=["close", "reset"])
@pytest_twisted.ensureDeferred
async def test_a_peer_that_speaks_no_tls(pki: PKI, sent: bytes, reset: bool) -> None:
    if reset:
        need_repeated_errors()
    async with listening(tcp_server(pair.server_context(pki))) as (port, accepting):
        accepted = accepting.made
        with socket.create_connection(("127.0.0.1", port.getHost().port)) as peer:
            server = await accepted
            peer.sendall(sent)
            if reset:
                peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        reason = await server.lost
    # A reset may or may not overtake what was sent; an end within the first header is truncation.
    refused = () if sent == b"\x16\x03\x01" else (txmembio.SSLError,)
    assert isinstance(reason, (*refused, *[ConnectionLost] * (reset or not refused)))


@pytest.mark.parametrize("patient", [True, False])
@pytest_twisted.ensureDeferred
async def test_a_peer_cannot_ask_for_answers_without_end(
    pki: PKI, monkeypatch: pytest.MonkeyPatch, patient: bool
) -> None:
    """`openssl s_client` asks for KeyUpdates. Where one is more than may wait to be sent, the connection ends."""
    need_repeated_errors()  # s_client may end before its input is closed
    if not patient:
        monkeypatch.setattr("txmembio.twisted.transport.ANSWER_LIMIT", 10)
        monkeypatch.setattr(TLSTransport, "writesThrough", False)  # so that what is answered does wait
    async with listening(tcp_server(pair.server_context(pki, txmembio.TLSVersion.TLSv1_3))) as (port, accepting):
        accepted = accepting.made
        client = OpenSSL(f"s_client -connect 127.0.0.1:{port.getHost().port} -CAfile {pki.ca.certificate_file}")
        server = await accepted
        await server.handshaken
        # Each is sent along with what follows, and answered along with the next one.
        for _ in range(2):
            client.said = b""
            client.transport.write(b"K\n")
            await client.until(b"KEYUPDATE\n")
        client.transport.write(b"hello\n")
        if patient:
            await server.until(len(b"hello\n"))
            server.tls.loseConnection()
        reason = await server.lost
        client.transport.closeStdin()
        await client.ended
    if patient:
        assert isinstance(reason, ConnectionDone)
    else:
        assert type(reason) is ConnectionLost and "answers wait" in str(reason)


@pytest_twisted.ensureDeferred
async def test_a_peer_that_reads_slowly_gets_everything_and_one_that_stops_is_given_up(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """The shutdown's time-out runs on a Clock: it expires while megabytes are still on their way."""
    for stops in (False, True):
        clock = Clock()
        data = content(b"slow")
        async with conversation(pki, tls_version, clock=clock, shutdownTimeout=1) as (client, server):
            await gatherResults([client.handshaken, server.handshaken])
            socket_of(server.tls).setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BUFFER)
            socket_of(client.tls).setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, SOCKET_BUFFER)
            server.tls.write(data)
            server.tls.loseConnection()
            for received in range(MEGABYTE, 4 * MEGABYTE, MEGABYTE):
                await client.until(received)
                clock.advance(1)
            assert not server.lost.called
            if stops:
                client.tls.pauseProducing()
                still = -1
                while still != unsent(server.tls):
                    still = unsent(server.tls)
                    clock.advance(1)
                    for _ in range(10):
                        await deferLater(reactor, 0)
                reason = await server.lost
                assert isinstance(reason, ShutdownTimeout)
                client.tls.abortConnection()
                await client.lost
            else:
                reasons = await gatherResults([client.lost, server.lost])
                assert [type(reason) for reason in reasons] == [ConnectionDone, ConnectionDone]
                assert client.received == data


@pytest_twisted.ensureDeferred
async def test_half_a_connection(pki: PKI) -> None:
    """A client says all it has to say, the server hears the end of it and then answers: one way after the other."""
    question, answer = content(b"question"), content(b"answer")
    lost: list[Deferred[None]] = [Deferred(), Deferred()]

    def ask(application: Application) -> None:
        application.transport.write(question)  # type: ignore[union-attr]
        application.transport.loseWriteConnection()  # type: ignore[union-attr]

    def reply(application: Application) -> None:
        assert application.received == question
        application.transport.write(answer)  # type: ignore[union-attr]
        application.transport.loseConnection()  # type: ignore[union-attr]

    def close_too(application: Application) -> None:
        application.transport.loseConnection()  # type: ignore[union-attr]

    async with conversation(
        pki,
        txmembio.TLSVersion.TLSv1_3,
        lambda: HalfCloseable(
            handshakeCompleted=ask, readConnectionLost=close_too, connectionLost=lambda _: lost[0].callback(None)
        ),
        lambda: HalfCloseable(readConnectionLost=reply, connectionLost=lambda _: lost[1].callback(None)),
    ) as (client, server):
        await gatherResults(lost)
    assert server.received == question
    assert client.received == answer
    assert client.reason.check(ConnectionDone) and server.reason.check(ConnectionDone)
    assert client.events.index("writeConnectionLost") < client.events.index("dataReceived")


@pytest_twisted.ensureDeferred
async def test_an_exception_of_the_application_closes_the_connection(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    class Failing(End):
        def dataReceived(self, data: bytes) -> None:
            raise LookupError("in dataReceived")

    from twisted.python import log

    logged: list[Any] = []
    log.addObserver(logged.append)
    try:
        async with conversation(pki, tls_version, make_server=Failing) as (client, server):
            client.tls.write(b"hello")
            here, there = await gatherResults([client.lost, server.lost])
            # An IOCPReactor does not hand it on; there, the connection has just ended.
            assert isinstance(there, LookupError if IReactorFDSet.providedBy(reactor) else ConnectionTruncated)
            assert isinstance(here, ConnectionLost)
    finally:
        log.removeObserver(logged.append)
    assert [event["failure"].type for event in logged if event["isError"]] == [LookupError]
