"""TLS on everything that a Twisted program can have beneath it: sockets of every kind, itself, processes, standard I/O.

Each stack of transports has the same to do: megabytes both ways at once, half a connection, and every kind of end.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    ProcessEndpoint,
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorSocket, IReactorUNIX, IStreamClientEndpoint
from twisted.internet.protocol import Factory, ProcessProtocol, Protocol
from twisted.internet.task import Clock
from twisted.protocols.haproxy import proxyEndpoint
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from zope.interface import implementer

import txmembio
from support import pair, peers
from support.pki import PKI
from support.process import environment
from support.reactors import need, need_processes, need_repeated_errors, program
from support.twisted_ends import Application, HalfCloseable
from support.twisted_talk import PIECE, SIZE, End, Pulled, Pushing, close, content, listening
from txmembio.twisted import (
    ConnectionTruncated,
    HandshakeTimeout,
    StartTLSFactory,
    TLSTransport,
    startTLS,
    wrapClientTLS,
    wrapServerTLS,
)

TLS13 = txmembio.TLSVersion.TLSv1_3

#: The program that has TLS on its standard input and output.
OVER_STDIO = Path(__file__).parents[1] / "support" / "tls_over_stdio.py"

#: What a proxy says before TLS, and the address in it.
PROXIED = "192.0.2.1"
PROXY_HEADER = f"PROXY TCP4 {PROXIED} 192.0.2.2 1234 443\r\n".encode()


# What is beneath: each makes an endpoint to listen on, and from the port there one to connect to it.


def tcp(tmp_path: Path) -> tuple[Any, Callable[[Any], Any]]:
    endpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    return endpoint, lambda port: TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)


def unix(tmp_path: Path) -> tuple[Any, Callable[[Any], Any]]:
    need(IReactorUNIX)
    path = str(tmp_path / "socket")
    return UNIXServerEndpoint(reactor, path), lambda port: UNIXClientEndpoint(reactor, path)


def adopted(tmp_path: Path) -> tuple[Any, Callable[[Any], Any]]:
    """A port that somebody else has opened."""
    need(IReactorSocket)
    listener = socket.create_server(("127.0.0.1", 0))
    listener.setblocking(False)
    endpoint = AdoptedStreamServerEndpoint(reactor, listener.detach(), socket.AF_INET)  # which closes it
    return endpoint, tcp(tmp_path)[1]


def haproxy(tmp_path: Path) -> tuple[Any, Callable[[Any], Any]]:
    endpoint, connecting = tcp(tmp_path)
    return proxyEndpoint(endpoint), lambda port: Introducing(connecting(port))


@implementer(IStreamClientEndpoint)
class Introducing:
    """Says the header of the PROXY protocol first."""

    def __init__(self, endpoint: Any) -> None:
        self.endpoint = endpoint

    def connect(self, factory: Any) -> Deferred[Any]:
        wrapping: Any = WrappingFactory(factory)
        wrapping.protocol = _Introduced
        connected: Deferred[Any] = self.endpoint.connect(wrapping)
        return connected.addCallback(lambda wrapper: wrapper.wrappedProtocol)


class _Introduced(ProtocolWrapper):
    def makeConnection(self, transport: Any) -> None:
        transport.write(PROXY_HEADER)
        super().makeConnection(transport)


#: What is beneath, and how many times TLS is on it.
STACKS = {
    "tcp": (tcp, 1),
    "tls in tls": (tcp, 2),
    "tls in tls in tls": (tcp, 3),
    "unix": (unix, 1),
    "tls in tls on unix": (unix, 2),
    "adopted": (adopted, 1),
    "haproxy": (haproxy, 1),
}

every_stack = pytest.mark.parametrize("stack", STACKS)


@asynccontextmanager
async def conversation(
    stack: str,
    pki: PKI,
    version: txmembio.TLSVersion,
    tmp_path: Path,
    make_client: Callable[[], Any] = End,
    make_server: Callable[[], Any] = End,
) -> AsyncIterator[tuple[Any, Any]]:
    """A client's and a server's protocol, connected over `stack`."""
    beneath, times = STACKS[stack]
    endpoint, connecting = beneath(tmp_path)
    for _ in range(times):
        endpoint = wrapServerTLS(pair.server_context(pki, version), endpoint)
    async with listening(endpoint, make_server) as (port, accepting):
        accepted = accepting.made
        client_endpoint = connecting(port)
        for _ in range(times):
            client_endpoint = wrapClientTLS(pair.client_context(pki, version), "localhost", client_endpoint)
        client = await client_endpoint.connect(Factory.forProtocol(make_client))
        server = await accepted
        if isinstance(server, End):
            await server.made  # it has been built, but over a UNIX socket that need not be connected yet
        yield client, server


@every_stack
@pytest.mark.parametrize("kind", [Pushing, Pulled])
@pytest_twisted.ensureDeferred
async def test_megabytes_both_ways(
    stack: str, kind: type[Pushing] | type[Pulled], pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    from_client, from_server = content(b"client"), content(b"server")
    async with conversation(stack, pki, tls_version, tmp_path) as (client, server):
        kind(client.tls, from_client)
        kind(server.tls, from_server)
        await gatherResults([client.until(SIZE), server.until(SIZE)])
        reasons = await close(client, server)
    assert client.received == from_server
    assert server.received == from_client
    assert [type(reason) for reason in reasons] == [ConnectionDone, ConnectionDone]


@every_stack
@pytest_twisted.ensureDeferred
async def test_half_a_connection(stack: str, pki: PKI, tmp_path: Path) -> None:
    """All of the question, its end, all of the answer, its end."""
    question, answer = content(b"question"), content(b"answer")
    lost: list[Deferred[None]] = [Deferred(), Deferred()]

    def ask(application: Application) -> None:
        application.transport.write(question)  # type: ignore[union-attr]
        application.transport.loseWriteConnection()  # type: ignore[union-attr]

    def reply(application: Application) -> None:
        assert application.received == question
        Pushing(application.transport, answer)  # type: ignore[arg-type]
        application.transport.loseConnection()  # type: ignore[union-attr]

    async with conversation(
        stack,
        pki,
        TLS13,
        tmp_path,
        lambda: HalfCloseable(
            handshakeCompleted=ask,
            readConnectionLost=lambda application: application.transport.loseConnection(),  # type: ignore[union-attr]
            connectionLost=lambda _: lost[0].callback(None),
        ),
        lambda: HalfCloseable(readConnectionLost=reply, connectionLost=lambda _: lost[1].callback(None)),
    ) as (client, server):
        await gatherResults(lost)
    assert server.received == question
    assert client.received == answer
    assert client.reason.check(ConnectionDone) and server.reason.check(ConnectionDone)


@every_stack
@pytest_twisted.ensureDeferred
async def test_an_abort_reaches_the_other_end(
    stack: str, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    async with conversation(stack, pki, tls_version, tmp_path) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        Pushing(server.tls, content(b"never read"))
        client.tls.abortConnection()
        here, there = await gatherResults([client.lost, server.lost])
    assert type(here) is ConnectionAborted
    assert isinstance(there, ConnectionLost)


@every_stack
@pytest_twisted.ensureDeferred
async def test_what_is_beneath_ends_first(
    stack: str, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """In order, as far as the transport beneath can tell; but TLS was not told."""
    async with conversation(stack, pki, tls_version, tmp_path) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        client.tls.write(b"half of")
        await server.until(7)
        server.tls.write(b"answer")
        await client.until(6)  # what the handshake has sent behind it is read as well: else this is a reset
        client.tls.transport.loseConnection()
        _, there = await gatherResults([client.lost, server.lost])
    assert isinstance(there, ConnectionTruncated)


@pytest_twisted.ensureDeferred
async def test_each_tls_has_its_own_session(pki: PKI, tmp_path: Path) -> None:
    async with conversation("tls in tls in tls", pki, TLS13, tmp_path) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        layers: list[TLSTransport] = []
        layer: Any = server.tls
        while isinstance(layer, TLSTransport):
            layers.append(layer)
            layer = layer.transport
        assert len(layers) == 3
        bindings = {layer.connection.get_channel_binding("tls-exporter") for layer in layers}
        assert len(bindings) == 3 and None not in bindings
        await close(client, server)


@pytest_twisted.ensureDeferred
async def test_the_address_behind_a_proxy(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    async with conversation("haproxy", pki, tls_version, tmp_path) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        assert server.tls.getPeer().host == PROXIED
        await close(client, server)


@pytest_twisted.ensureDeferred
async def test_the_address_behind_a_proxy_in_an_endpoint_string(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    files = peers.escaped_files(pki.server)
    endpoint = serverFromString(
        reactor,
        f"membiotls:{files}:endpoint=haproxy\\:tcp\\:0\\:interface=127.0.0.1",
    )
    async with listening(endpoint) as (port, accepting):
        accepted = accepting.made
        connecting = Introducing(TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port))
        client_context = pair.client_context(pki, tls_version)
        client: Any = await wrapClientTLS(client_context, "localhost", connecting).connect(Factory.forProtocol(End))
        server = await accepted
        await gatherResults([client.handshaken, server.handshaken])
        assert server.tls.getPeer().host == PROXIED
        await close(client, server)


# Begun on a connection that is there


class Live(End):
    """An End that begins in plaintext."""

    context: txmembio.SSLContext
    hostname: str | None = None

    def begin(self, **settings: Any) -> TLSTransport:
        return startTLS(self, self.context, hostname=self.hostname, **settings)


@asynccontextmanager
async def in_plaintext(beneath: Any, tmp_path: Path, make: Callable[[], Any] = Live) -> AsyncIterator[tuple[Any, Any]]:
    """Two ends, connected without TLS."""
    endpoint, connecting = beneath(tmp_path)
    async with listening(endpoint, make) as (port, accepting):
        accepted = accepting.made
        client = await connecting(port).connect(Factory.forProtocol(make))
        server = await accepted
        await server.made
        yield client, server


@pytest.mark.parametrize("beneath", [tcp, unix, adopted, haproxy])
@pytest.mark.parametrize("kind", [Pushing, Pulled])
@pytest_twisted.ensureDeferred
async def test_tls_begun_on_a_live_connection(
    beneath: Any, kind: type[Pushing] | type[Pulled], pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    from_client, from_server = content(b"client"), content(b"server")
    async with in_plaintext(beneath, tmp_path) as (client, server):
        client.context, client.hostname = pair.client_context(pki, tls_version), "localhost"
        server.context = pair.server_context(pki, tls_version)
        client.transport.write(b"begin")
        await server.until(5)
        server.begin()
        server.transport.write(b"the server is first")
        client.begin()
        await gatherResults([client.handshaken, server.handshaken])
        kind(client.tls, from_client)
        kind(server.tls, from_server)
        await gatherResults([client.until(19 + SIZE), server.until(5 + SIZE)])
        if beneath is haproxy:
            assert server.tls.getPeer().host == PROXIED
        reasons = await close(client, server)
    assert client.received == b"the server is first" + from_server
    assert server.received == b"begin" + from_client
    assert [type(reason) for reason in reasons] == [ConnectionDone, ConnectionDone]


@pytest_twisted.ensureDeferred
async def test_a_producer_goes_on_through_the_beginning_of_tls(
    pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """It is paused at that moment, as the peer has not read. What it produced before is plaintext, the rest is not."""
    data = content(b"through")
    async with in_plaintext(tcp, tmp_path) as (client, server):
        client.context, client.hostname = pair.client_context(pki, tls_version), "localhost"
        server.context = pair.server_context(pki, tls_version)
        server.transport.pauseProducing()
        producer = Pushing(client.transport, data)
        await producer.paused
        before = producer.at
        assert before < SIZE
        client.begin()
        server.transport.resumeProducing()
        await server.until(before)
        # By the protocol of this test, the server knows where plaintext ends.
        wire = bytes(server.received[before:])
        del server.received[before:]
        server.begin().dataReceived(wire)
        await server.until(SIZE)
        reasons = await close(client, server)
    assert server.received == data
    assert [type(reason) for reason in reasons] == [ConnectionDone, ConnectionDone]


@pytest_twisted.ensureDeferred
async def test_tls_begun_inside_tls(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    """As through an HTTPS proxy: the second handshake is with somebody else."""
    data = content(b"inside")
    async with conversation("tcp", pki, tls_version, tmp_path) as (client, server):
        await gatherResults([client.handshaken, server.handshaken])
        client.handshaken, server.handshaken = Deferred(), Deferred()
        startTLS(server, pair.server_context(pki, tls_version), nested=True)
        startTLS(client, pair.client_context(pki, tls_version), hostname="localhost", nested=True)
        await gatherResults([client.handshaken, server.handshaken])
        Pushing(client.tls, data)
        await server.until(SIZE)
        assert isinstance(server.tls, TLSTransport) and isinstance(server.tls.wrappedProtocol, Protocol)
        reasons = await close(client, server)
    assert server.received == data
    assert [type(reason) for reason in reasons] == [ConnectionDone, ConnectionDone]


# Processes and standard I/O


def child(what: str, implementation: str, pki: PKI, version: txmembio.TLSVersion) -> Any:
    """The endpoint of a process with TLS on its standard input and output."""
    need_processes()
    arguments = program(OVER_STDIO, what, implementation, pki.server.combined_file, version.name)
    return ProcessEndpoint(reactor, sys.executable, arguments, environment())


def shell(script: str) -> Any:
    """The endpoint of a process that the shell is told."""
    need_processes()
    return ProcessEndpoint(reactor, "/bin/sh", ["/bin/sh", "-c", script])


both_implementations = pytest.mark.parametrize("implementation", ["txmembio", "ssl"])


@both_implementations
@pytest.mark.parametrize("kind", [Pushing, Pulled])
@pytest_twisted.ensureDeferred
async def test_megabytes_through_a_process(
    implementation: str, kind: type[Pushing] | type[Pulled], pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    need_repeated_errors()
    data = content(b"echo")
    endpoint = wrapClientTLS(
        pair.client_context(pki, tls_version), "localhost", child("echo", implementation, pki, tls_version)
    )
    client: Any = await endpoint.connect(Factory.forProtocol(End))
    kind(client.tls, data)
    await client.until(SIZE)
    client.tls.loseConnection()
    reason = await client.lost
    assert client.received == data
    assert type(reason) is ConnectionDone, "the process did not end with status 0"


@both_implementations
@pytest_twisted.ensureDeferred
async def test_half_a_connection_to_a_process(implementation: str, pki: PKI) -> None:
    need_repeated_errors()
    question = content(b"question")
    lost: Deferred[None] = Deferred()

    def ask(application: Application) -> None:
        application.transport.write(question)  # type: ignore[union-attr]
        application.transport.loseWriteConnection()  # type: ignore[union-attr]

    client = HalfCloseable(
        handshakeCompleted=ask,
        readConnectionLost=lambda application: application.transport.loseConnection(),  # type: ignore[union-attr]
        connectionLost=lambda _: lost.callback(None),
    )
    endpoint = wrapClientTLS(pair.client_context(pki, TLS13), "localhost", child("answer", implementation, pki, TLS13))
    await endpoint.connect(Factory.forProtocol(lambda: client))
    await lost
    assert client.received == question
    assert client.reason is not None and client.reason.check(ConnectionDone)


@pytest.mark.parametrize("way", ["startTLS", "the method"])
@pytest_twisted.ensureDeferred
async def test_tls_begun_on_a_process(way: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    need_repeated_errors()
    data = content(b"echo")
    context = pair.client_context(pki, tls_version)
    factory = StartTLSFactory(Factory.forProtocol(End), hostname="localhost")
    client: Any = await child("echo", "ssl", pki, tls_version).connect(factory)
    if way == "startTLS":
        startTLS(client, context, hostname="localhost")
    else:
        client.transport.startTLS(context)
    Pushing(client.tls, data)
    await client.until(SIZE)
    client.tls.loseConnection()
    assert client.received == data
    assert type(await client.lost) is ConnectionDone


@pytest_twisted.ensureDeferred
async def test_aborting_a_process(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """The application does not wait for its end."""
    endpoint = wrapClientTLS(
        pair.client_context(pki, tls_version), "localhost", child("echo", "txmembio", pki, tls_version)
    )
    client: Any = await endpoint.connect(Factory.forProtocol(End))
    await client.handshaken
    client.tls.abortConnection()
    assert type(await client.lost) is ConnectionAborted


@pytest_twisted.ensureDeferred
async def test_a_process_that_does_nothing(pki: PKI) -> None:
    """It cannot hold up what waits for a connection to end."""
    clock = Clock()
    endpoint = wrapClientTLS(
        pair.client_context(pki),
        "localhost",
        shell("kill -STOP $$"),
        clock=clock,
        handshakeTimeout=5,
    )
    client: Any = await endpoint.connect(Factory.forProtocol(End))
    process = client.tls.transport
    clock.advance(5)
    clock.advance(0)
    assert isinstance(await client.lost, HandshakeTimeout)
    process.signalProcess("KILL")


@pytest_twisted.ensureDeferred
async def test_a_process_that_speaks_no_tls(pki: PKI) -> None:
    need_repeated_errors()
    endpoint = wrapClientTLS(
        pair.client_context(pki),
        "localhost",
        shell("echo 220 hello; cat"),
    )
    client: Any = await endpoint.connect(Factory.forProtocol(End))
    assert isinstance(await client.lost, txmembio.SSLError)


# A socket from systemd


class Inheriting(ProcessProtocol):
    """A program with `descriptor` as its number 3, as systemd starts it."""

    transport: Any

    def __init__(self, descriptor: int, *arguments: str) -> None:
        self.output = b""
        self.errors = b""
        self.started: Deferred[None] = Deferred()
        self.ended: Deferred[None] = Deferred()
        script = 'export LISTEN_FDS=1 LISTEN_FDNAMES=https LISTEN_PID=$$; exec "$0" "$@"'
        command = ["/bin/sh", "-c", script, *arguments]
        reactor.spawnProcess(
            self, "/bin/sh", command, env=environment(), childFDs={0: "w", 1: "r", 2: "r", 3: descriptor}
        )

    def outReceived(self, data: bytes) -> None:
        self.output += data
        if b"port" in self.output and not self.started.called:
            self.started.callback(None)

    def errReceived(self, data: bytes) -> None:
        self.errors += data

    def processEnded(self, reason: Any) -> None:
        self.ended.callback(None)
        if not self.started.called:
            self.started.errback(AssertionError(self.errors.decode()))


@pytest_twisted.ensureDeferred
async def test_a_socket_from_systemd(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    need(IReactorSocket)
    files = peers.escaped_files(pki.server)
    description = f"membiotls:{files}:endpoint=systemd\\:domain=INET\\:index=0"
    lines = b"".join(b"%07d\n" % number for number in range(PIECE))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = Inheriting(listener.fileno(), *program(peers.TWISTED_LINES, "serve", description))
        await server.started
        port = listener.getsockname()[1]
    endpoint = wrapClientTLS(
        pair.client_context(pki, tls_version), "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", port)
    )
    client: Any = await endpoint.connect(Factory.forProtocol(End))
    client.tls.write(lines)
    await client.until(len(lines))
    client.tls.loseConnection()
    assert type(await client.lost) is ConnectionDone
    assert client.received == b"".join(line[::-1] + b"\n" for line in lines.splitlines())
    server.transport.signalProcess("TERM")
    await server.ended
