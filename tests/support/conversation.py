"""A question and an answer over real sockets, between factories of Twisted's: what both sides have seen, or why not.

async with listening(endpoint) as server:
    client = await ask(client_endpoint)              # Seen, or raises what connectionLost was told
    seen = await server.seen.get()                   # what the server saw of the same
    reason = await server.lost.get()                 # and what its connectionLost was told
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from twisted.internet.defer import Deferred, DeferredQueue
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.logger import ILogObserver, globalLogPublisher
from twisted.python.failure import Failure
from zope.interface import implementer

import txmembio


@dataclass(frozen=True)
class Seen:
    """What one side's connection was while it was open."""

    peer: bytes | None
    """The peer's certificate, DER."""
    alpn: str | None
    reused: bool
    session: txmembio.SSLSession | None

    @classmethod
    def by(cls, transport: Any) -> Seen:
        """What *transport*, a TLSTransport, tells."""
        connection: txmembio.Connection = transport.connection
        certificate = connection.peer_certificate()
        return cls(
            None if certificate is None else certificate.der,
            connection.selected_alpn_protocol(),
            connection.session_reused,
            connection.session,
        )


class Answering(Protocol):
    """The server: answers what it is asked, reversed, and waits for the end."""

    factory: Any
    transport: Any

    def dataReceived(self, data: bytes) -> None:
        self.factory.seen.put(Seen.by(self.transport))
        self.transport.write(data[::-1])

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.factory.lost.put(reason.value)


class Asking(Protocol):
    """The client: asks, and closes when it has the answer. *ended* fires with what it has seen, or fails with what
    connectionLost was told if there was no answer.
    """

    transport: Any

    def __init__(self) -> None:
        self.ended: Deferred[Seen] = Deferred()
        self.seen: Seen | None = None

    def connectionMade(self) -> None:
        self.transport.write(b"ping")

    def dataReceived(self, data: bytes) -> None:
        assert data == b"gnip"
        self.seen = Seen.by(self.transport)
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.seen is None:
            self.ended.errback(reason)
        else:
            self.ended.callback(self.seen)


class Server(Factory):
    """Answers, and keeps what each connection saw and how it ended."""

    protocol: Callable[[], Any] = Answering

    def __init__(self) -> None:
        self.seen: DeferredQueue[Seen] = DeferredQueue()
        self.lost: DeferredQueue[Any] = DeferredQueue()
        self.listening: Any = None

    @property
    def port(self) -> int:
        """The TCP port."""
        port: int = self.listening.getHost().port
        return port


@asynccontextmanager
async def listening(endpoint: Any, server: Server | None = None) -> AsyncIterator[Server]:
    """*server* on *endpoint*, until the block ends."""
    server = server or Server()
    server.listening = await endpoint.listen(server)
    try:
        yield server
    finally:
        await server.listening.stopListening()


async def ask(endpoint: Any) -> Seen:
    """One conversation."""
    asking = Asking()
    await endpoint.connect(Factory.forProtocol(lambda: asking))
    return await asking.ended


@implementer(ILogObserver)
class Logged:
    """Events of Twisted's loggers in *namespace* and below, from within a ``with`` block: as texts, and the exceptions
    in them. `wait` gives the next text that it has not given yet.
    """

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace
        self.texts: list[str] = []
        self.failures: list[Any] = []
        self._queue: DeferredQueue[str] = DeferredQueue()

    def __call__(self, event: Any) -> None:
        if f"{event.get('log_namespace')}.".startswith(f"{self.namespace}."):
            if "log_failure" in event:
                self.failures.append(event["log_failure"].value)
            text = event["log_format"].format(**event)
            self.texts.append(f"{event['log_level'].name}: {text}")
            self._queue.put(self.texts[-1])

    async def wait(self) -> str:
        """The next event, when it is there."""
        return await self._queue.get()

    def __enter__(self) -> Logged:
        globalLogPublisher.addObserver(self)
        return self

    def __exit__(self, *_: object) -> None:
        globalLogPublisher.removeObserver(self)
