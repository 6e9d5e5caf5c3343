"""Half a connection, with peers that close theirs as other programs do: close_notify, and the end of TCP behind it.

TLS 1.3 lets the other half go on (RFC 8446 section 6.1); TLS 1.2 does not (RFC 5246 section 7.2.1).
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol, IReactorFDSet
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from zope.interface import implementer

import txmembio
from support import pair, peers
from support.peers import Scenario
from support.pki import PKI
from support.process import DEADLINE
from support.twisted_ends import Ends, HalfCloseable, connected
from support.twisted_talk import End, OpenSSL, Pushing, content, listening, tcp_server
from txmembio.twisted import ConnectionTruncated, wrapClientTLS

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3


@implementer(IHalfCloseableProtocol)
class HalfEnd(End):
    """An End that is told of halves."""

    def __init__(self) -> None:
        super().__init__()
        self.read_lost: Deferred[None] = Deferred()
        self.write_lost: Deferred[None] = Deferred()

    def readConnectionLost(self) -> None:
        self.read_lost.callback(None)

    def writeConnectionLost(self) -> None:
        self.write_lost.callback(None)


class StandardPeer:
    """Python's `ssl`, which is OpenSSL, on a blocking socket: for a thread of its own."""

    def __init__(self, sock: socket.socket, context: ssl.SSLContext, server_side: bool) -> None:
        self.sock = sock
        sock.settimeout(DEADLINE)
        self.incoming, self.outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        hostname = None if server_side else "localhost"
        self.tls = context.wrap_bio(self.incoming, self.outgoing, server_side, hostname)
        self.until_done(self.tls.do_handshake)

    def flush(self) -> None:
        wire = self.outgoing.read()
        if wire:
            self.sock.sendall(wire)

    def until_done(self, call: Any, *arguments: Any) -> Any:
        while True:
            try:
                return call(*arguments)
            except ssl.SSLWantReadError:
                self.flush()
                wire = self.sock.recv(65536)
                if wire:
                    self.incoming.write(wire)
                else:
                    self.incoming.write_eof()
            finally:
                self.flush()

    def say_and_close_half(self, plaintext: bytes, and_tcp: bool) -> None:
        """All there is to say, and its end."""
        self.until_done(self.tls.write, plaintext)
        with pytest.raises(ssl.SSLWantReadError):
            self.tls.unwrap()
        self.flush()
        if and_tcp:
            self.sock.shutdown(socket.SHUT_WR)

    def listen(self) -> bytes:
        """All that comes, to a clean end."""
        received = b""
        while True:
            try:
                received += self.until_done(self.tls.read, 65536)
            except ssl.SSLZeroReturnError:
                return received


def standard_client(pki: PKI, port: int, question: bytes, and_tcp: bool) -> bytes:
    """Asks, closes its half, and returns the answer."""
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
        peer = StandardPeer(sock, context, server_side=False)
        peer.say_and_close_half(question, and_tcp)
        return peer.listen()


def standard_server(pki: PKI, listener: socket.socket, question: bytes, and_tcp: bool) -> bytes:
    """The same for one connection that it accepts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    sock, _ = listener.accept()
    with sock:
        peer = StandardPeer(sock, context, server_side=True)
        peer.say_and_close_half(question, and_tcp)
        return peer.listen()


async def end_of_tcp_is_here(end: HalfEnd) -> None:
    """Returns once the reactor has seen it: it does not read from that socket any more."""
    transport = end.tls.transport
    while transport in (reactor.getReaders() if IReactorFDSet.providedBy(reactor) else reactor.handles):
        await deferLater(reactor, 0)


@pytest.mark.parametrize("and_tcp", [True, False], ids=["and TCP", "TLS alone"])
@pytest_twisted.ensureDeferred
async def test_a_server_goes_on_sending(pki: PKI, and_tcp: bool) -> None:
    question, answer = content(b"question"), content(b"answer")
    async with listening(tcp_server(pair.server_context(pki, TLS13)), HalfEnd) as (port, accepting):
        accepted = accepting.made
        answered = deferToThread(standard_client, pki, port.getHost().port, question, and_tcp)
        server: Any = await accepted
        await server.read_lost
        assert server.received == question
        if and_tcp:
            await end_of_tcp_is_here(server)
        assert server.tls.connected and not server.lost.called
        Pushing(server.tls, answer)
        server.tls.loseConnection()
        received, reason = await gatherResults([answered, server.lost])
    assert received == answer
    assert type(reason) is ConnectionDone


@pytest.mark.parametrize("and_tcp", [True, False], ids=["and TCP", "TLS alone"])
@pytest_twisted.ensureDeferred
async def test_a_client_goes_on_sending(pki: PKI, and_tcp: bool) -> None:
    question, answer = content(b"question"), content(b"answer")
    with socket.create_server(("127.0.0.1", 0)) as listener:
        answered = deferToThread(standard_server, pki, listener, question, and_tcp)
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", listener.getsockname()[1])
        connecting = wrapClientTLS(pair.client_context(pki, TLS13), "localhost", endpoint)
        client: Any = await connecting.connect(Factory.forProtocol(HalfEnd))
        await client.read_lost
        if and_tcp:
            await end_of_tcp_is_here(client)
        Pushing(client.tls, answer)
        client.tls.loseWriteConnection()  # a second half is a whole
        received, reason = await gatherResults([answered, client.lost])
    assert client.received == question
    assert received == answer
    assert type(reason) is ConnectionDone
    assert client.write_lost.called


@pytest_twisted.ensureDeferred
async def test_openssl_s_client_ends_its_input(pki: PKI) -> None:
    """It says close_notify, ends TCP's half too, and has no more interest; the connection is ours to close."""
    scenario = Scenario(pki, TLS13, pki.server)
    async with listening(tcp_server(pair.server_context(pki, TLS13)), HalfEnd) as (port, accepting):
        accepted = accepting.made
        peers.require("openssl")
        client = OpenSSL(
            f"s_client -connect 127.0.0.1:{port.getHost().port} -CAfile {scenario.pki.ca.certificate_file} -quiet"
            " -no_ign_eof"
        )
        client.transport.write(b"all there is\n")
        server: Any = await accepted
        await server.until(13)
        client.transport.closeStdin()
        await server.read_lost
        await end_of_tcp_is_here(server)
        assert not server.lost.called
        server.tls.write(b"nobody reads this")
        server.tls.loseConnection()
        reason = await server.lost
        await client.ended
    assert server.received == b"all there is\n"
    assert isinstance(reason, ConnectionDone)


@pytest_twisted.ensureDeferred
async def test_openssl_s_server_answers_all_of_it(pki: PKI) -> None:
    """Our half ends; s_server has answered every line before it ends its own."""
    scenario = Scenario(pki, TLS13, pki.server)
    lines = b"".join(b"%06d\n" % number for number in range(50_000))
    with peers.openssl_server(scenario) as port:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        connecting = wrapClientTLS(pair.client_context(pki, TLS13), "localhost", endpoint)
        client: Any = await connecting.connect(Factory.forProtocol(HalfEnd))
        client.tls.write(lines)
        client.tls.loseWriteConnection()
        await client.write_lost
        await client.until(len(lines))
        await client.read_lost
        reason = await client.lost
    assert client.received == b"".join(line[::-1] + b"\n" for line in lines.splitlines())
    assert type(reason) is ConnectionDone


@pytest_twisted.ensureDeferred
async def test_tls_1_2_has_no_halves(pki: PKI) -> None:
    """What was written before leaves; then the peer's close_notify is answered, and that was it."""
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)

    def ask(port: int) -> bytes:
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
            peer = StandardPeer(sock, context, server_side=False)
            peer.say_and_close_half(b"question", and_tcp=True)
            return peer.listen()

    class Answering(HalfEnd):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            if data:
                self.tls.write(b"answer")

    async with listening(tcp_server(pair.server_context(pki, TLS12)), Answering) as (port, accepting):
        accepted = accepting.made
        answered = deferToThread(ask, port.getHost().port)
        server: Any = await accepted
        received, reason = await gatherResults([answered, server.lost])
    assert server.received == b"question" and received == b"answer"
    assert not server.read_lost.called
    assert type(reason) is ConnectionDone


@pytest_twisted.ensureDeferred
async def test_tls_1_2_ends_with_our_half(pki: PKI) -> None:
    """A peer that follows the RFC answers with its own close_notify."""
    scenario = Scenario(pki, TLS12, pki.server)
    with peers.openssl_server(scenario) as port:
        endpoint = TCP4ClientEndpoint(reactor, "127.0.0.1", port)
        connecting = wrapClientTLS(pair.client_context(pki, TLS12), "localhost", endpoint)
        client: Any = await connecting.connect(Factory.forProtocol(HalfEnd))
        client.tls.write(b"question\n")
        client.tls.loseWriteConnection()
        await client.write_lost
        reason = await client.lost
    assert client.received == b"noitseuq\n"
    assert type(reason) is ConnectionDone


@pytest_twisted.ensureDeferred
async def test_the_end_of_tcp_alone_is_no_half(pki: PKI) -> None:
    """Without close_notify it is truncation, whoever could go on."""

    def half(port: int) -> None:
        context = ssl.create_default_context(cafile=pki.ca.certificate_file)
        with socket.create_connection(("127.0.0.1", port), DEADLINE) as sock:
            peer = StandardPeer(sock, context, server_side=False)
            peer.until_done(peer.tls.write, b"half")
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(65536):
                pass

    async with listening(tcp_server(pair.server_context(pki, TLS13)), HalfEnd) as (port, accepting):
        accepted = accepting.made
        done = deferToThread(half, port.getHost().port)
        server: Any = await accepted
        reason = await server.lost
        await done
    assert isinstance(reason, ConnectionTruncated)
    assert not server.read_lost.called


# In memory


def half_closed(pki: PKI) -> Any:
    """The peer has closed its half."""
    ends = connected(pki, TLS13, HalfCloseable())
    assert IHalfCloseableProtocol.providedBy(ends.tls)
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["readConnectionLost"]
    ends.forget()
    return ends


def test_the_transport_beneath_need_not_tell_the_application_again(pki: PKI) -> None:
    ends = half_closed(pki)
    ends.tls.readConnectionLost()
    assert ends.events == []
    ends.tls.write(b"still")
    ends.settle()
    assert ends.heard == b"still"


def test_a_reset_while_half_is_closed_is_told(pki: PKI) -> None:
    ends = half_closed(pki)
    ends.tls.readConnectionLost()
    ends.lose(ConnectionLost())
    assert type(ends.application.reason.value) is ConnectionLost


def test_the_other_half_of_the_transport_beneath_ends_too(pki: PKI) -> None:
    """Standard output, say, that nobody reads any more."""
    ends = half_closed(pki)
    ends.tls.readConnectionLost()
    ends.tls.writeConnectionLost()
    assert ends.events == ["abortConnection"]
    ends.lose(ConnectionLost())
    assert type(ends.application.reason.value) is ConnectionLost


def test_an_application_that_knows_no_halves(pki: PKI) -> None:
    ends = connected(pki, TLS13)
    ends.peer.close()
    ends.from_peer()
    assert not IHalfCloseableProtocol.providedBy(ends.tls)
    assert ends.events == ["write", "loseConnection"]


def test_an_end_without_close_notify_lets_what_was_written_leave(pki: PKI) -> None:
    """As it is with plain TCP when only the other half has ended; but then it is over, and the reason says so."""
    ends = connected(pki, TLS13, HalfCloseable())
    ends.tls.readConnectionLost()
    assert ends.events == ["loseConnection"]
    ends.tls.write(b"too late")
    ends.lose()
    assert ends.application.reason is not None
    assert isinstance(ends.application.reason.value, ConnectionTruncated)
    assert ends.application.events.count("connectionLost") == 1


def test_the_end_while_we_wait_for_close_notify_is_as_good(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version, HalfCloseable())
    ends.tls.loseConnection()
    ends.tls.readConnectionLost()
    assert ends.events == ["write", "loseConnection"]
    ends.lose()
    assert ends.application.reason is not None and ends.application.reason.check(ConnectionDone)


def test_the_end_during_the_handshake(pki: PKI) -> None:
    ends = Ends(pki, TLS13, HalfCloseable())
    ends.tls.readConnectionLost()
    ends.lose()
    assert ends.application.reason is not None
    assert isinstance(ends.application.reason.value, ConnectionTruncated)


def test_a_transport_that_cannot_send_any_more_may_still_receive(pki: PKI) -> None:
    ends = connected(pki, TLS13, HalfCloseable())
    ends.tls.writeConnectionLost()
    ends.say(b"hello")
    assert ends.application.received == b"hello"
    assert ends.events == ["dataReceived"]
