"""What is tried, by name: each scenario talks over real sockets and returns the facts of its ends.

`SCENARIOS` has them all; `expectations.py` says what each must return.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Coroutine
from typing import Any

from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.endpoints import clientFromString, quoteStringArgument, serverFromString
from twisted.internet.protocol import Protocol

import txmembio
from completion_ports.ends import Echo, End, Facts, Half, Pulled, Pushing, content
from completion_ports.stage import ADDRESS, Stage
from txmembio.twisted import startTLS, wrapClientTLS, wrapServerTLS

#: Requests of one connection: enough for a reply that waits for another event to be noticed.
REQUESTS = 300

#: Bytes of one reply's parts, which are written apart.
PARTS = (b"HTTP/1.1 200 OK\r\n", b"Content-Length: 5\r\n\r\n", b"hello")

#: Connections at once: more than are accepted in one go.
CONNECTIONS = 25

#: Bytes of a socket's buffer where the sender has to be held up, for sending and for receiving: little beside what is
#: sent. Linux doubles them. Where a segment of the loopback does not fit the receiving one, each waits for a timer.
SEND_BUFFER, RECEIVE_BUFFER = 16 * 1024, 64 * 1024

#: How many times as much a producer sends: a slow reader has to hold it up before it has sent all.
PRODUCED = 3

#: Seconds of the time-outs that are to expire.
SHORT = 0.1

Results = dict[str, Facts]
Scenario = Callable[[Stage], Coroutine[Deferred[Any], Any, Results]]

SCENARIOS: dict[str, Scenario] = {}


def scenario(function: Scenario) -> Scenario:
    """Add it to the list."""
    SCENARIOS[function.__name__] = function
    return function


# --- endpoints ---------------------------------------------------------------------------------------------------


async def echoed(stage: Stage, **conversation: Any) -> Results:
    """The client sends, the server sends it back, the client closes."""
    async with stage.conversation(End, Echo, **conversation) as (client, server):
        data = stage.data("client")
        client.transport.write(data)
        await client.until(len(data))
        return await stage.close(client, server)


@scenario
async def endpoint_strings(stage: Stage) -> Results:
    """`membiotls:` on both sides. A path is quoted: on Windows it has a colon and backslashes."""
    name = stage.version.name.replace("_", ".")
    versions = f"minVersion={name}:maxVersion={name}"
    certificate = quoteStringArgument(stage.file("server"))
    trust = quoteStringArgument(stage.file("ca"))
    listen = f"membiotls:0:interface={ADDRESS}:certificate={certificate}:{versions}"

    def connecting(port: Any) -> Any:
        number = port.getHost().port
        return clientFromString(stage.reactor, f"membiotls:localhost:{number}:trustRoots={trust}:{versions}")

    return await echoed(stage, server=serverFromString(stage.reactor, listen), connecting=connecting)


@scenario
async def wrapped_endpoints(stage: Stage) -> Results:
    """wrapServerTLS and wrapClientTLS around TCP."""
    return await echoed(stage)


@scenario
async def tls_in_tls(stage: Stage) -> Results:
    """A TLS connection inside another."""
    server, client = stage.server_context(), stage.client_context()
    return await echoed(
        stage,
        server=wrapServerTLS(server, stage.tls_server()),
        connecting=lambda port: wrapClientTLS(client, "localhost", stage.tls_client(port)),
    )


@scenario
async def many_connections(stage: Stage) -> Results:
    """So many clients at once; the facts of the pair that has most to say, all pairs being checked to be alike."""
    data = stage.data("client")[:1000]

    async def one(port: Any) -> End:
        client: End = await stage.connect(stage.tls_client(port))
        client.transport.write(data)
        await client.until(len(data))
        client.transport.loseConnection()
        await client.lost
        return client

    async with stage.listening(stage.tls_server(), Echo) as (port, making):
        clients = await gatherResults([Deferred.fromCoroutine(one(port)) for _ in range(CONNECTIONS)])
        await gatherResults([served.lost for served in making.made])
        return {
            "client": _alike([each.facts() for each in clients]),
            "server": _alike([each.facts() for each in making.made]),
        }


def _alike(facts: list[Facts]) -> Facts:
    different = [each for each in facts if each != facts[0]]
    assert not different, f"{len(different)} of {len(facts)} differ from {facts[0]}, such as {different[0]}"
    return {**facts[0], "connections": len(facts)}


# --- STARTTLS ----------------------------------------------------------------------------------------------------


class Upgrading(End):
    """Plaintext in lines, until `line` is there: then `begin` begins TLS."""

    line = b""

    def __init__(self) -> None:
        super().__init__()
        self.plain = b""
        self.secure = False

    def dataReceived(self, data: bytes) -> None:
        if self.secure:
            super().dataReceived(data)
            return
        self.plain += data
        if self.plain == self.line:
            self.secure = True
            self.begin()

    def begin(self) -> None:
        raise NotImplementedError


@scenario
async def starttls(stage: Stage) -> Results:
    """The client asks, the server agrees and begins, then so does the client; both write at once."""
    to_server, to_client = stage.data("client"), stage.data("server")

    class Server(Upgrading):
        line = b"STARTTLS\r\n"

        def begin(self) -> None:
            self.transport.write(b"GO AHEAD\r\n")
            startTLS(self, stage.server_context())
            self.transport.write(to_client)

    class Client(Upgrading):
        line = b"GO AHEAD\r\n"

        def connectionMade(self) -> None:
            self.transport.write(b"STARTTLS\r\n")

        def begin(self) -> None:
            startTLS(self, stage.client_context(), hostname="localhost")
            self.transport.write(to_server)

    async with stage.listening(stage.tcp_server(), Server) as (port, making):
        client = await stage.connect(stage.tcp_client(port), Client)
        server = await making.first()
        await gatherResults([client.until(len(to_client)), server.until(len(to_server))])
        return await stage.close(client, server)


# --- data ----------------------------------------------------------------------------------------------------------


@scenario
async def bulk(stage: Stage) -> Results:
    """All of it in one write, in both directions at once."""
    to_server, to_client = stage.data("client"), stage.data("server")
    async with stage.conversation() as (client, server):
        client.transport.write(to_server)
        server.transport.write(to_client)
        await gatherResults([client.until(len(to_client)), server.until(len(to_server))])
        return await stage.close(client, server)


@scenario
async def close_after_write(stage: Stage) -> Results:
    """The server writes and closes at once: all of it has to arrive, and close_notify after it."""
    async with stage.conversation() as (client, server):
        server.transport.write(stage.data("server"))
        server.transport.loseConnection()
        return await stage.ended(client, server)


@scenario
async def early_write(stage: Stage) -> Results:
    """Both sides write before the handshake is complete."""

    class Early(End):
        def __init__(self, seed: str) -> None:
            super().__init__()
            self.seed = seed

        def connectionMade(self) -> None:
            self.transport.write(stage.data(self.seed))

    async with stage.conversation(lambda: Early("client"), lambda: Early("server")) as (client, server):
        await gatherResults([client.until(stage.size), server.until(stage.size)])
        return await stage.close(client, server)


async def _slow_reader(stage: Stage, begin: Callable[[Any, bytes], Any]) -> Results:
    """The server sends by what `begin` makes of its transport, to a client that does not read at first, and later stops
    after each chunk until the reactor's next turn.
    """

    def pause(end: End) -> None:
        end.transport.pauseProducing()
        stage.reactor.callLater(0, end.transport.resumeProducing)

    data = content("server", PRODUCED * stage.size)
    async with stage.conversation(lambda: End(pause)) as (client, server):
        server.transport.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SEND_BUFFER)
        client.transport.transport.getHandle().setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
        client.transport.pauseProducing()
        producer = begin(server.transport, data)
        if isinstance(producer, Pushing):
            await producer.paused
        client.transport.resumeProducing()
        await client.until(len(data))
        return await stage.close(client, server)


@scenario
async def push_producer(stage: Stage) -> Results:
    """A push producer that is held up by a slow reader, and goes on when that reads."""
    return await _slow_reader(stage, lambda transport, data: Pushing(stage.reactor, transport, data))


@scenario
async def pull_producer(stage: Stage) -> Results:
    """A pull producer, asked only as fast as the reader takes it."""
    return await _slow_reader(stage, Pulled)


@scenario
async def keep_alive(stage: Stage) -> Results:
    """One small request after another on one connection. Each is answered in three small writes, every other one of
    them from a timer: coalescing must hold none of them back (Twisted's once did here, twisted#12048).
    """

    class Server(End):
        def dataReceived(self, data: bytes) -> None:
            super().dataReceived(data)
            for _ in range(data.count(b"?")):
                if len(self.received) % 2:
                    self.reply()
                else:
                    stage.reactor.callLater(0, self.reply)

        def reply(self) -> None:
            for part in PARTS:
                self.transport.write(part)

    size = sum(map(len, PARTS))
    async with stage.conversation(End, Server) as (client, server):
        for number in range(1, REQUESTS + 1):
            client.transport.write(b"?")
            await client.until(number * size)
        return await stage.close(client, server)


# --- closing -------------------------------------------------------------------------------------------------------


@scenario
async def half_close(stage: Stage) -> Results:
    """The client sends all it has and closes its half; the server then answers with as much and closes. TLS 1.2 has no
    half-close: there the server cannot answer any more.
    """

    def answer(server: Half) -> None:
        server.transport.write(stage.data("server"))
        server.transport.loseConnection()

    async with stage.conversation(Half, lambda: Half(answer)) as (client, server):
        client.on_end = lambda end: end.transport.loseConnection()
        client.transport.write(stage.data("client"))
        client.transport.loseWriteConnection()
        return await stage.ended(client, server)


@scenario
async def abort(stage: Stage) -> Results:
    """The client aborts, with the server's data under way."""
    async with stage.conversation() as (client, server):
        client.transport.write(b"enough")
        await server.until(6)
        client.transport.pauseProducing()
        server.transport.write(stage.data("server"))
        client.transport.abortConnection()
        return await stage.ended(client, server)


class Raw(Protocol):
    """A peer that does TLS by hand, on a `Connection`, or none at all: what a scenario needs of bad manners."""

    transport: Any

    def __init__(self, connection: txmembio.Connection | None = None) -> None:
        self.connection = connection
        self.deaf = False
        self.reason: BaseException | None = None
        self.lost: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        if self.connection is not None:
            self.connection.do_handshake()
            self.transport.write(self.connection.wire_to_send())

    def dataReceived(self, data: bytes) -> None:
        if self.connection is not None and not self.deaf:
            self.connection.receive_wire(data)
            self.transport.write(self.connection.wire_to_send())

    def connectionLost(self, reason: Any = None) -> None:
        self.reason = reason.value
        self.lost.callback(None)

    def facts(self) -> Facts:
        """Only that the connection has ended: how, is up to the kernel where the other side has aborted it."""
        return {"ended": self.reason is not None}


@scenario
async def handshake_timeout(stage: Stage) -> Results:
    """A client that says nothing."""
    async with stage.listening(stage.tls_server(handshakeTimeout=SHORT)) as (port, making):
        client = await stage.connect(stage.tcp_client(port), Raw)
        server = await making.first()
        return await stage.ended(client, server)


async def _with_raw_client(stage: Stage, end: Callable[[End, Raw], object], **settings: Any) -> Results:
    """A handshake with a `Raw` client, and what `end` does then."""
    connection = stage.client_context().connection(server_hostname="localhost")
    async with stage.listening(stage.tls_server(**settings)) as (port, making):
        client = await stage.connect(stage.tcp_client(port), lambda: Raw(connection))
        server = await making.first()
        await server.handshaken
        end(server, client)
        await gatherResults([client.lost, server.lost])
        return {"client": client.facts(), "server": server.facts()}


@scenario
async def shutdown_timeout(stage: Stage) -> Results:
    """A client that never answers close_notify."""

    def end(server: End, client: Raw) -> None:
        client.deaf = True
        server.transport.loseConnection()

    return await _with_raw_client(stage, end, shutdownTimeout=SHORT)


@scenario
async def truncated(stage: Stage) -> Results:
    """A client that ends its TCP connection without close_notify."""
    return await _with_raw_client(stage, lambda server, client: client.transport.loseConnection())


# --- certificates --------------------------------------------------------------------------------------------------


async def _met(stage: Stage, server_context: txmembio.SSLContext, client_context: txmembio.SSLContext) -> Results:
    """A client and a server with these contexts, until both have ended: the client closes as soon as it has anything
    to receive, which the server sends as soon as it is satisfied.
    """

    class Server(End):
        def handshakeCompleted(self) -> None:
            super().handshakeCompleted()
            self.transport.write(b"welcome")

    endpoint = wrapServerTLS(server_context, stage.tcp_server())
    async with stage.listening(endpoint, Server) as (port, making):
        connecting = wrapClientTLS(client_context, "localhost", stage.tcp_client(port), sessions=None)
        client = await stage.connect(connecting, lambda: End(lambda end: end.transport.loseConnection()))
        return await stage.ended(client, await making.first())


@scenario
async def untrusted_server(stage: Stage) -> Results:
    """The client does not know who signed the server's certificate."""
    return await _met(stage, stage.server_context("untrusted"), stage.client_context())


@scenario
async def server_with_another_name(stage: Stage) -> Results:
    """The server's certificate is good, for another host."""
    return await _met(stage, stage.server_context("wrong_name"), stage.client_context())


@scenario
async def client_certificate(stage: Stage) -> Results:
    """The server requires a certificate, and gets one it trusts."""
    return await _met(stage, stage.server_context(verify=True), stage.client_context("client"))


@scenario
async def no_client_certificate(stage: Stage) -> Results:
    """The server requires a certificate, and gets none."""
    return await _met(stage, stage.server_context(verify=True), stage.client_context())


@scenario
async def untrusted_client(stage: Stage) -> Results:
    """The server requires a certificate, and does not know who signed the one it gets."""
    return await _met(stage, stage.server_context(verify=True), stage.client_context("untrusted_client"))
