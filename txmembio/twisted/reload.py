"""Certificates in motion, in Twisted: while a port listens, its files are looked at every few seconds.

    listen()  ──►  TLSFactory  ──doStart──►  Polling.start()  ──every interval──►  Reloader.poll(), in a thread
                               ──doStop───►  Polling.stop()

The reactor's clock says when, a thread of its pool looks and reads, and no connection waits for either. Nothing is left
running when the last port has stopped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from twisted.internet.interfaces import (
    IDelayedCall,
    IProtocolFactory,
    IReactorThreads,
    IReactorTime,
    IStreamServerEndpoint,
)
from twisted.logger import Logger

from ..limits import RELOAD_INTERVAL
from ..reload import Outcome, Reloader
from .factory import ServerSettings, TLSFactory, TLSServerEndpoint, check_settings

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from .. import SSLContext
    from ..pems import ServedCertificates

__all__ = ["Polling", "ReloadingTLSFactory", "wrapReloadingServerTLS"]

_T = TypeVar("_T")

_log = Logger()


class Polling(Generic[_T]):
    """
    Calls *poll* every *interval* seconds between `start` and `stop`, and *tell* with what it returns unless that is
    None. *poll* runs in a thread where *clock* is a reactor, which has some; *tell* never does.
    """

    def __init__(
        self, poll: Callable[[], _T | None], tell: Callable[[_T], None], interval: float, clock: IReactorTime
    ) -> None:
        self._poll = poll
        self._tell = tell
        self._interval = interval
        self._clock: Any = clock
        self._users = 0
        self._waiting: IDelayedCall | None = None
        self._polling = False

    def start(self) -> None:
        """Begin; *poll* is called for the first time after an interval. May be called again, for another user."""
        self._users += 1
        self._wait()

    def stop(self) -> None:
        """End it for one user; for the last one, a call that is due is cancelled, and one under way has no effect
        beyond what *poll* does itself."""
        self._users -= 1
        if self._users == 0 and self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None

    def _wait(self) -> None:
        if self._users and self._waiting is None and not self._polling:
            self._waiting = self._clock.callLater(self._interval, self._due)

    def _due(self) -> None:
        self._waiting = None
        self._polling = True
        if IReactorThreads.providedBy(self._clock):
            self._clock.callInThread(self._in_thread)
        else:
            self._polled(self._call())

    def _in_thread(self) -> None:
        self._clock.callFromThread(self._polled, self._call())

    def _call(self) -> _T | None:
        try:
            return self._poll()
        except Exception:
            _log.failure("Looking at files failed")
            return None

    def _polled(self, result: _T | None) -> None:
        self._polling = False
        if self._users and result is not None:
            self._tell(result)
        self._wait()


class ReloadingTLSFactory(TLSFactory):
    """A server's `TLSFactory` with *pollings* that run while it has a port.

    :raises TypeError, ValueError: as `TLSFactory`.
    """

    def __init__(
        self,
        context: SSLContext,
        wrappedFactory: IProtocolFactory,
        pollings: Iterable[Polling[Any]],
        **settings: Unpack[ServerSettings],
    ) -> None:
        super().__init__(context, False, wrappedFactory, **settings)
        self._pollings = tuple(pollings)

    def startFactory(self) -> None:
        """The first port begins to listen."""
        super().startFactory()
        for polling in self._pollings:
            polling.start()

    def stopFactory(self) -> None:
        """The last port has stopped."""
        for polling in self._pollings:
            polling.stop()
        super().stopFactory()


def wrapReloadingServerTLS(
    certificates: ServedCertificates | Reloader,
    endpoint: IStreamServerEndpoint,
    *,
    reloadInterval: float | None = RELOAD_INTERVAL,
    **settings: Unpack[ServerSettings],
) -> TLSServerEndpoint:
    """An endpoint that listens where `endpoint` does, and speaks TLS there with certificates that change as their
    files do.

    :param certificates: a `txmembio.pems.PEMFolder` or `PEMPair`, or a `txmembio.reload.Reloader` of one.
    :param reloadInterval: seconds between two looks at the files; None for none.
    :param settings: as for `wrapServerTLS`.
    :raises ValueError: `reloadInterval` is not positive; and what `TLSFactory` raises.
    """
    reloader = certificates if isinstance(certificates, Reloader) else Reloader(certificates)
    context = reloader.certificates.server_context()
    check_settings(context, False, None, **settings)
    if reloadInterval is None:
        return _Endpoint(context, endpoint, [], settings)
    if not reloadInterval > 0:
        raise ValueError(f"reloadInterval must be a positive number of seconds, or None, not {reloadInterval!r}")
    return _Endpoint(context, endpoint, [reloading(reloader, reloadInterval, settings.get("clock"))], settings)


def reloading(reloader: Reloader, interval: float, clock: IReactorTime | None) -> Polling[Outcome]:
    """What keeps the certificates of *reloader* as their files are, and logs what happens to them."""
    if clock is None:
        from twisted.internet import reactor  # not before it is needed: importing it installs it

        clock = cast(IReactorTime, reactor)
    where = reloader.certificates.paths[0]

    def tell(outcome: Outcome) -> None:
        if outcome.error is not None:
            _log.error(
                "{where}: certificates cannot be read again: {error}; those that were read before are still served",
                event="certificates_kept",
                where=where,
                error=str(outcome.error),
            )
            return
        text = "{where}: certificates were replaced by those that are there and valid now"
        _log.info(text, event="certificates_replaced", where=where)
        for remark in outcome.remarks:
            _log.warn("{where}: {remark}", event="certificate_remark", where=where, remark=remark)

    return Polling(reloader.poll, tell, interval, clock)


class _Endpoint(TLSServerEndpoint):
    def __init__(
        self,
        context: SSLContext,
        endpoint: IStreamServerEndpoint,
        pollings: Iterable[Polling[Any]],
        settings: ServerSettings,
    ) -> None:
        super().__init__(context, endpoint, settings)
        self._pollings = tuple(pollings)

    def _factory(self, protocolFactory: IProtocolFactory) -> TLSFactory:
        return ReloadingTLSFactory(self._context, protocolFactory, self._pollings, **self._settings)
