"""Ticket keys that are kept up to date while something listens.

    updates = TicketKeyUpdates(reactor, TicketKeyFiles(["current.key", "previous.key"]))
    updates.keys.use_in(context)
    endpoint = wrapServerTLS(context, updates.around(TCP4ServerEndpoint(reactor, 8443)))

The endpoint strings' ``ticketKeys=`` does the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.interfaces import IDelayedCall, IProtocolFactory, IStreamServerEndpoint
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from zope.interface import implementer

from ..tickets import TicketKeys, TicketKeySource

if TYPE_CHECKING:
    from collections.abc import Sequence

    from twisted.internet.interfaces import IAddress, IListeningPort, IProtocol

__all__ = ["TicketKeyUpdates"]

_log = Logger()


class TicketKeyUpdates:
    """Asks a source for ticket keys, again and again while it is started, and puts them to use.

    :param reactor: runs the time between two looks, and has the threads for a source that blocks.
    :param source: `txmembio.tickets.TicketKeyFiles`, `txmembio.redis_tickets.SharedTicketKeys`, or the like.
    :raises OSError, ValueError: a source that does not block has no keys.
    """

    def __init__(self, reactor: Any, source: TicketKeySource) -> None:
        self.source = source
        #: The keys in use: `keys.use_in(context)` is for every context that is to have them. Empty until a source that
        #: blocks has been asked, which is once something listens.
        self.keys = TicketKeys.of(source)
        self._reactor = reactor
        self._users = 0
        self._looking = False
        self._call: IDelayedCall | None = None
        self._problem: str | None = None  # what was logged, and has not ended yet

    def around(self, endpoint: IStreamServerEndpoint) -> IStreamServerEndpoint:
        """`endpoint`, with updates from the moment it listens until it stops to."""
        return _Endpoint(endpoint, self)

    def start(self) -> None:
        """One more user: look now, and from now on."""
        self._users += 1
        if self._users == 1 and not self._looking:
            self._look()

    def stop(self) -> None:
        """One user less: after the last one, nothing of this is left in the reactor. A look under way in a thread ends
        by itself, within the source's own time-out."""
        self._users -= 1
        if self._users == 0 and not self._looking:
            if self._call is not None:
                self._call.cancel()
                self._call = None
            self.source.close()

    def _look(self) -> None:
        self._call = None
        self._looking = True
        loaded: Deferred[Sequence[bytes] | None]
        if self.source.blocks:
            loaded = deferToThreadPool(self._reactor, self._reactor.getThreadPool(), self.source.load)
        else:
            loaded = maybeDeferred(self.source.load)
        loaded.addCallback(self._loaded)
        loaded.addErrback(self._failed)
        loaded.addCallback(self._looked)

    def _loaded(self, keys: Sequence[bytes] | None) -> None:
        if keys is not None:
            self.keys.replace(keys)
            _log.info("{source}: {count} in use", source=self.source, count=len(keys))
        elif self._problem is not None:
            _log.info("{source}: there again", source=self.source)
        self._problem = None

    def _failed(self, reason: Failure) -> None:
        """Once for each problem: it stays the same for many looks."""
        problem = reason.getErrorMessage()
        if problem == self._problem:
            return
        self._problem = problem
        if reason.check(OSError, ValueError):
            _log.error("{source}: the last good ones stay in use: {problem}", source=self.source, problem=problem)
        else:
            _log.failure("{source}: the last good ones stay in use", reason, source=self.source)

    def _looked(self, _: object) -> None:
        self._looking = False
        interval = self.source.interval
        if not self._users:
            self.source.close()
        elif interval is not None:
            self._call = self._reactor.callLater(interval, self._look)


@implementer(IStreamServerEndpoint)
class _Endpoint:
    def __init__(self, endpoint: IStreamServerEndpoint, updates: TicketKeyUpdates) -> None:
        self._endpoint = endpoint
        self._updates = updates

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        return self._endpoint.listen(_Factory(protocolFactory, self._updates))


class _Factory(WrappingFactory):
    """Nothing but what a port tells its factory: that it starts and stops to listen."""

    noisy = False

    def __init__(self, wrappedFactory: IProtocolFactory, updates: TicketKeyUpdates) -> None:
        super().__init__(wrappedFactory)
        self._updates = updates

    def buildProtocol(self, addr: IAddress | None) -> IProtocol | None:  # type: ignore[override]
        protocol: IProtocol | None = self.wrappedFactory.buildProtocol(addr)
        return protocol

    def logPrefix(self) -> str:
        prefix: str = self.wrappedFactory.logPrefix()
        return prefix

    def startFactory(self) -> None:
        self._updates.start()

    def stopFactory(self) -> None:
        self._updates.stop()
