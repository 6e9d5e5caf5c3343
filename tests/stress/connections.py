"""A program: opens and closes connections in every way there is, then says what is left of them.

    python -m stress.connections COUNT CHAIN KEY CA FOLDER

Two batches of COUNT connections, servers and clients both in this process, over TCP and UNIX sockets (in FOLDER), TLS
1.2 and 1.3, with contexts that last and contexts that do not. Before them a few of every kind, to load and to cache
what there is. Prints one line of JSON: the state before, after the first batch and after the second, as `State` has it.
"""

from __future__ import annotations

import itertools
import json
import os
import sys
import weakref
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

from twisted.internet import reactor as _reactor
from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import (
    TCP4ClientEndpoint,
    TCP4ServerEndpoint,
    UNIXClientEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater, react
from twisted.logger import (
    FilteringLogObserver,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogBeginner,
    textFileLogObserver,
)
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio
from support.holdings import Holdings, holdings
from txmembio.counters import Counters
from txmembio.twisted import wrapClientTLS, wrapServerTLS
from txmembio.twisted.factory import ServerSettings

reactor: Any = _reactor

#: Connections at a time: few enough for a limit of 1024 open files, enough to keep the reactor busy while some wait.
ROUND = 260

#: Rounds until there has been one of every kind.
EVERY_KIND = 8

#: Seconds: the time-outs of the servers whose clients stall.
SHORT = 0.05

#: Bytes: more than one record, so that both directions have something in flight.
MESSAGE = b"message " * 4096


# --- the servers' protocol --------------------------------------------------------------------------------------------


@implementer(IHalfCloseableProtocol)
class Echo(Protocol):
    """Sends everything back. The client's first byte says how it is to end."""

    transport: Any
    order = b""

    def dataReceived(self, data: bytes) -> None:
        self.order = self.order or data[:1]
        self.transport.write(data)
        if self.order == b"C":
            self.transport.loseConnection()
        elif self.order == b"A":
            self.transport.abortConnection()

    def readConnectionLost(self) -> None:
        self.transport.write(b"and goodbye")
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None: ...


# --- clients, by the way they end -------------------------------------------------------------------------------------


@implementer(IHandshakeListener)
class Client(Protocol):
    """A client of ours: sends `order` and a message, and waits until all of it is back."""

    transport: Any
    order = b"-"

    def __init__(self) -> None:
        self.gone: Deferred[None] = Deferred()
        self.expected = len(self.order + MESSAGE)

    def handshakeCompleted(self) -> None:
        self.transport.write(self.order + MESSAGE)

    def dataReceived(self, data: bytes) -> None:
        self.expected -= len(data)
        if self.expected == 0:
            self.end()

    def end(self) -> None:
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class Waits(Client):
    def end(self) -> None: ...


class ServerCloses(Waits):
    order = b"C"


class ServerAborts(Waits):
    order = b"A"


class ClientAborts(Client):
    def end(self) -> None:
        self.transport.abortConnection()


@implementer(IHalfCloseableProtocol)
class HalfCloses(Client):
    def end(self) -> None:
        self.transport.loseWriteConnection()

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None: ...


class Bare(Protocol):
    """A client that has TLS in its own hands, and so can do it wrong."""

    transport: Any

    def __init__(self, connection: txmembio.Connection) -> None:
        self.connection = connection
        self.gone: Deferred[None] = Deferred()

    def connectionMade(self) -> None:
        self.connection.do_handshake()
        self.begin()

    def begin(self) -> None:
        self.send()

    def send(self) -> None:
        self.transport.write(self.connection.wire_to_send())

    def dataReceived(self, data: bytes) -> None:
        before = self.connection.handshake_complete
        try:
            self.connection.receive_wire(data)
        except txmembio.SSLError:
            self.send()
            self.transport.loseConnection()
            return
        self.send()
        if self.connection.handshake_complete and not before:
            self.complete()
        if self.connection.peer_closed:
            self.answer_close()

    def complete(self) -> None: ...

    def answer_close(self) -> None:
        self.connection.close()
        self.send()
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.gone.callback(None)


class StopsInTheHandshake(Bare):
    """After half a ClientHello."""

    def begin(self) -> None:
        self.transport.write(self.connection.wire_to_send()[:100])
        self.transport.loseConnection()


class StopsInTheirFlight(Bare):
    """With the server's answer received, and its own not sent."""

    def dataReceived(self, data: bytes) -> None:
        self.transport.loseConnection()


class StopsInARecord(Bare):
    def complete(self) -> None:
        self.transport.write(self.connection.plaintext_to_wire(MESSAGE)[:-100])
        self.transport.loseConnection()


class Resets(Bare):
    """While the server's answer is on its way."""

    def complete(self) -> None:
        self.transport.write(self.connection.plaintext_to_wire(b"-"))
        self.transport.abortConnection()


class SpeaksHTTP(Bare):
    def begin(self) -> None:
        self.transport.write(b"GET / HTTP/1.1\r\n\r\n")


class SendsABadRecord(Bare):
    def complete(self) -> None:
        self.transport.write(b"\x17\x03\x03\x00\x20" + b"?" * 32)


class Stalls(Bare):
    """After one byte."""

    def begin(self) -> None:
        self.transport.write(self.connection.wire_to_send()[:1])


class DoesNotAnswerTheClose(Bare):
    """The server's close_notify, that is."""

    def complete(self) -> None:
        self.transport.write(self.connection.plaintext_to_wire(b"C"))

    def answer_close(self) -> None: ...


class Resumes(Bare):
    """Closes in order; what it has of a session, the next one begins with."""

    sessions: dict[txmembio.SSLContext, txmembio.SSLSession] = {}  # noqa: RUF012

    def connectionMade(self) -> None:
        context = self.connection.context
        if context in self.sessions:
            self.connection.set_session(self.sessions[context])
        super().connectionMade()

    def complete(self) -> None:
        self.transport.write(self.connection.plaintext_to_wire(b"C"))

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        session = self.connection.session
        if session is not None:
            self.sessions[self.connection.context] = session
        super().connectionLost(reason)


OURS: list[type[Client]] = [Client, ServerCloses, ServerAborts, ClientAborts, HalfCloses]
BARE: list[type[Bare]] = [
    StopsInTheHandshake,
    StopsInTheirFlight,
    StopsInARecord,
    Resets,
    SpeaksHTTP,
    SendsABadRecord,
    Resumes,
]
WAYS = len(OURS) + 1 + len(BARE) + 2


# --- a round ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Contexts:
    server: txmembio.SSLContext
    client: txmembio.SSLContext
    distrusting: txmembio.SSLContext


class Rounds:
    """Makes connections, round after round, each unlike the one before."""

    def __init__(self, chain: str, key: str, ca: str, folder: str) -> None:
        self.files = chain, key, ca
        self.folder = folder
        self.numbers = itertools.count()
        self.served = Counters()
        self.asked = Counters()
        self.ports: dict[int, list[Any]] = {}
        self.made: weakref.WeakSet[txmembio.SSLContext] = weakref.WeakSet()
        self.lasting = [self.contexts(version) for version in ("TLSv1_2", "TLSv1_3")]
        self.lasting_count = len(self.made)

    def contexts(self, version: str) -> Contexts:
        chain, key, ca = self.files
        server = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
        server.load_cert_chain(chain, key)
        client = txmembio.create_default_context(cafile=ca)
        distrusting = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)  # knows no CA
        server.maximum_version = server.minimum_version = txmembio.TLSVersion[version]
        self.made.update((server, client, distrusting))
        return Contexts(server, client, distrusting)

    async def run(self, count: int) -> None:
        """One round of `count` connections, all of them gone at its end."""
        number = next(self.numbers) % EVERY_KIND
        fresh = number % 4 < 2
        contexts = self.contexts(("TLSv1_2", "TLSv1_3")[number % 2]) if fresh else self.lasting[number % 2]
        # A context that lasts has ports that last: else its clients would keep sessions for more and more servers.
        ports = await self.listen(contexts, number) if fresh else self.ports.get(number)
        if ports is None:
            ports = self.ports[number] = await self.listen(contexts, number)
        patient, short_handshake, short_shutdown = [client_of(port.getHost()) for port in ports]
        ways = itertools.cycle(self.ways(contexts, patient, short_handshake, short_shutdown))
        await gatherResults([Deferred.fromCoroutine(next(ways)()) for _ in range(count)])
        if fresh:
            Resumes.sessions.pop(contexts.client, None)
            for port in ports:
                await maybeDeferred(port.stopListening)
        while self.served.connections_open or self.asked.connections_open:
            await deferLater(reactor, 0)

    async def listen(self, contexts: Contexts, number: int) -> list[Any]:
        """The ports of a round: one for most clients, and two for those that stall."""
        kinds: list[ServerSettings] = [
            {"counters": self.served},
            {"counters": self.served, "handshakeTimeout": SHORT},
            {"counters": self.served, "shutdownTimeout": SHORT},
        ]
        below: Any
        ports = []
        for each, settings in enumerate(kinds):
            if number < 6:
                below = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1", backlog=ROUND)
            else:
                below = UNIXServerEndpoint(reactor, os.path.join(self.folder, f"{number}-{each}"), backlog=ROUND)
            endpoint = wrapServerTLS(contexts.server, below, **settings)
            ports.append(await endpoint.listen(Factory.forProtocol(Echo)))
        return ports

    def ways(self, contexts: Contexts, patient: Any, short_handshake: Any, short_shutdown: Any) -> Iterator[Any]:
        def ours(kind: type[Client], context: txmembio.SSLContext) -> Any:
            async def connect() -> None:
                endpoint = wrapClientTLS(context, "localhost", patient(), counters=self.asked)
                await (await endpoint.connect(Factory.forProtocol(kind))).gone  # type: ignore[attr-defined]

            return connect

        def bare(kind: type[Bare], below: Any) -> Any:
            async def connect() -> None:
                connection = contexts.client.connection(server_hostname="localhost")
                await (await below().connect(Factory.forProtocol(lambda: kind(connection)))).gone

            return connect

        yield from (ours(kind, contexts.client) for kind in OURS)
        yield ours(Client, contexts.distrusting)
        yield from (bare(kind, patient) for kind in BARE)
        yield bare(Stalls, short_handshake)
        yield bare(DoesNotAnswerTheClose, short_shutdown)


def client_of(address: Any) -> Callable[[], Any]:
    """What makes endpoints that connect to `address`."""
    if hasattr(address, "port"):
        return lambda: TCP4ClientEndpoint(reactor, address.host, address.port)
    return lambda: UNIXClientEndpoint(reactor, address.name)


# --- what is left -----------------------------------------------------------------------------------------------------


@dataclass
class State(Holdings):
    """And what is Twisted's, and what was counted."""

    contexts: int
    delayed_calls: int
    served: dict[str, Any]
    asked: dict[str, Any]


#: Of Twisted's, beside everything of ours. (Not DelayedCall: cancelled ones stay in the reactor's heap for a while.)
TWISTED = {"Client", "Connector", "Deferred", "Factory", "Failure", "Port", "Server", "WrappingFactory"}


async def state(rounds: Rounds) -> State:
    for _ in range(3):  # what is to be done in the next turn of the reactor, and what that leaves to be done
        await deferLater(reactor, 0)
    return State(
        **vars(holdings(TWISTED)),
        contexts=len(rounds.made) - rounds.lasting_count,
        delayed_calls=len(reactor.getDelayedCalls()),
        served=rounds.served.snapshot(),
        asked=rounds.asked.snapshot(),
    )


async def main(_: Any, count: str, *files: str) -> None:
    warnings = FilteringLogObserver(textFileLogObserver(sys.stderr), [LogLevelFilterPredicate(LogLevel.warn)])
    globalLogBeginner.beginLoggingTo([warnings], redirectStandardIO=False)
    rounds = Rounds(*files)
    for _ in range(EVERY_KIND):
        await rounds.run(2 * WAYS)
    states = [await state(rounds)]
    for _ in range(2):
        for begin in range(0, int(count), ROUND):
            await rounds.run(min(ROUND, int(count) - begin))
        states.append(await state(rounds))
    print(json.dumps([asdict(each) for each in states]))


if __name__ == "__main__":
    react(lambda *arguments: Deferred.fromCoroutine(main(*arguments)), sys.argv[1:])
