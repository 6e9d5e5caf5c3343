"""The two ends of a conversation, and what can be said of them afterwards.

Written for programs that have Twisted, txmembio and the standard library only: nothing of `support` is used here.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol, IHandshakeListener, IPullProducer, IPushProducer
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

#: Bytes of one write of a producer: no multiple of anything.
PIECE = 10_007

#: What is known of one end when it is over, in types that JSON has.
Facts = dict[str, Any]


def content(seed: str, size: int) -> bytes:
    """`size` bytes that repeat nowhere near, and that the other side can make again."""
    return hashlib.shake_128(seed.encode()).digest(size)


def digest(data: bytes) -> str:
    """What stands for `data` in the facts."""
    return hashlib.sha256(data).hexdigest()


def expected(data: bytes, version: str, reason: str) -> Facts:
    """The facts of an end that has received `data` over `version`, and was told `reason`."""
    return {"received": len(data), "sha256": digest(data), "version": version, "reason": reason}


@implementer(IHandshakeListener)
class End(Protocol):
    """One side. There is a Deferred for each thing to wait for, and `on_data` is called after each chunk."""

    transport: Any

    def __init__(self, on_data: Callable[[End], object] | None = None) -> None:
        self.on_data = on_data
        self.received = bytearray()
        self.version: str | None = None
        self.reason: BaseException | None = None
        self.handshaken: Deferred[None] = Deferred()
        self.lost: Deferred[None] = Deferred()
        self._waiting: list[tuple[int, Deferred[None]]] = []

    def handshakeCompleted(self) -> None:
        self.version = self.transport.connection.version()
        self.handshaken.callback(None)

    def until(self, size: int) -> Deferred[None]:
        """Fires when `size` bytes have been received in all; fails if the connection ends before that."""
        reached: Deferred[None] = Deferred()
        self._waiting.append((size, reached))
        self._wake()
        self._give_up()
        return reached

    def _wake(self) -> None:
        for waiting in list(self._waiting):
            if len(self.received) >= waiting[0]:
                self._waiting.remove(waiting)
                waiting[1].callback(None)

    def _give_up(self) -> None:
        if self.reason is not None:
            waiting, self._waiting = self._waiting, []
            for _, reached in waiting:
                reached.errback(self.reason)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self._wake()
        if self.on_data is not None:
            self.on_data(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None, "connectionLost was called twice"
        self.reason = reason.value
        self._give_up()
        self.lost.callback(None)

    def facts(self) -> Facts:
        """What there is to say."""
        facts = expected(bytes(self.received), self.version or "", type(self.reason).__name__)
        alert = getattr(self.reason, "alert", None)
        return facts if alert is None else {**facts, "alert": alert}


class Echo(End):
    """Sends back what it gets."""

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        self.transport.write(data)


@implementer(IHalfCloseableProtocol)
class Half(End):
    """Can do with one half of a connection: `on_end` is called when the other side sends no more."""

    def __init__(self, on_end: Callable[[Half], object] | None = None) -> None:
        super().__init__()
        self.on_end = on_end

    def readConnectionLost(self) -> None:
        if self.on_end is not None:
            self.on_end(self)

    def writeConnectionLost(self) -> None: ...


class Making(Factory):
    """A server's factory: gives out protocols, and says which it has given."""

    noisy = False

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make
        self.made: list[Any] = []
        self._first: Deferred[Any] = Deferred()

    def buildProtocol(self, addr: object) -> Any:
        protocol = self.make()
        self.made.append(protocol)
        if len(self.made) == 1:
            self._first.callback(protocol)
        return protocol

    async def first(self) -> Any:
        """The first protocol, once there is one."""
        if not self.made:
            await self._first
        return self.made[0]


@implementer(IPushProducer)
class Pushing:
    """Sends `data` a piece at a time, one for each turn of `reactor`, as long as it is not paused."""

    def __init__(self, reactor: Any, transport: Any, data: bytes) -> None:
        self.reactor = reactor
        self.transport = transport
        self.data = data
        self.at = 0
        self.running = self.stopped = False
        self.paused: Deferred[None] = Deferred()
        """Fires at the first pause."""
        transport.registerProducer(self, True)
        self.resumeProducing()

    def resumeProducing(self) -> None:
        assert not self.running, "resumed without a pause"
        self.running = True
        self._produce()

    def _produce(self) -> None:
        if not self.running or self.stopped:
            return
        if self.at >= len(self.data):
            self.running = False
            self.transport.unregisterProducer()
            return
        self.at += PIECE
        self.transport.write(self.data[self.at - PIECE : self.at])
        self.reactor.callLater(0, self._produce)

    def pauseProducing(self) -> None:
        assert self.running, "paused twice"
        self.running = False
        if not self.paused.called:
            self.paused.callback(None)

    def stopProducing(self) -> None:
        self.stopped = True


@implementer(IPullProducer)
class Pulled:
    """Sends `data` a piece at a time, when asked."""

    def __init__(self, transport: Any, data: bytes) -> None:
        self.transport = transport
        self.data = data
        self.at = 0
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        self.at += PIECE
        self.transport.write(self.data[self.at - PIECE : self.at])
        if self.at >= len(self.data):
            self.transport.unregisterProducer()

    def stopProducing(self) -> None: ...
