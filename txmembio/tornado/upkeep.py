"""What changes while a server runs: certificates and ticket keys, read again every few seconds.

    add_sockets()  ──►  Polling.start()  ──every interval──►  Reloader.poll(), TicketKeySource.load() in a thread
    stop()         ──►  Polling.stop()

The loop's clock says when, a thread of its executor looks and reads, and no connection waits for either.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any, Generic, TypeVar

from tornado.ioloop import IOLoop

from ..reload import Outcome, Reloader
from ..tickets import TicketKeys, TicketKeySource

__all__ = ["Polling", "TicketKeyUpdates", "reloading"]

_T = TypeVar("_T")

_log = logging.getLogger("txmembio.tornado")


class Polling(Generic[_T]):
    """Calls *poll* in a thread every *interval* seconds between `start` and `stop`, never twice at once, and then
    *tell* in the loop with what it has returned. With *at_once* the first time is when it starts. *finish* is called
    after it has been stopped, and not while *poll* is under way.

    What *poll* raises is logged, and it is called again.
    """

    def __init__(
        self,
        poll: Callable[[], _T],
        tell: Callable[[_T], object],
        interval: float | None,
        *,
        at_once: bool = False,
        finish: Callable[[], object] = lambda: None,
    ) -> None:
        self._poll = poll
        self._tell = tell
        self._interval = interval
        self._at_once = at_once
        self._finish = finish
        self._loop: IOLoop | None = None
        self._waiting: object = None
        self._polling = False

    def start(self) -> None:
        """Begin, in the loop that is current. May be called again; once is enough."""
        if self._loop is None:
            self._loop = IOLoop.current()
            self._wait(0 if self._at_once else self._interval)

    def stop(self) -> None:
        """End it. A call that is under way in its thread has no more effect than what *poll* does itself."""
        if self._loop is not None and self._waiting is not None:
            self._loop.remove_timeout(self._waiting)
        self._loop = self._waiting = None
        if not self._polling:
            self._finish()

    def _wait(self, seconds: float | None) -> None:
        if self._loop is not None and seconds is not None and not self._polling:
            self._waiting = self._loop.call_later(seconds, self._due)

    def _due(self) -> None:
        self._waiting = None
        if self._loop is not None:
            self._polling = True
            self._loop.add_future(self._loop.run_in_executor(None, self._poll), self._polled)

    def _polled(self, done: Any) -> None:
        self._polling = False
        try:
            result = done.result()
        except Exception:
            _log.exception("Looking at files failed")
        else:
            if self._loop is not None:
                self._tell(result)
        if self._loop is None:
            self._finish()
        self._wait(self._interval)


def reloading(reloader: Reloader, interval: float) -> Polling[Outcome | None]:
    """What keeps the certificates of *reloader* as their files are, and logs what happens to them."""
    where = reloader.certificates.paths[0]

    def tell(outcome: Outcome | None) -> None:
        if outcome is None:
            return
        if outcome.error is not None:
            _log.error(
                "%s: certificates cannot be read again: %s; those before are still served", where, str(outcome.error)
            )
            return
        _log.info("%s: certificates were replaced by those that are there and valid now", where)
        for remark in outcome.remarks:
            _log.warning("%s: %s", where, remark)

    return Polling(reloader.poll, tell, interval)


class TicketKeyUpdates:
    """The keys of *source*, which *polling* keeps up to date.

    :raises OSError, ValueError: a source that does not block has no keys.
    """

    def __init__(self, source: TicketKeySource) -> None:
        self.source = source
        #: The keys in use. Of a source that blocks there are none before it has been asked in a thread.
        self.keys = TicketKeys.of(source)
        self.polling = Polling(self._load, self._loaded, source.interval, at_once=source.blocks, finish=source.close)
        self._problem: str | None = None  # what was logged, and has not ended yet

    def _load(self) -> Sequence[bytes] | Exception | None:
        try:
            return self.source.load()
        except (OSError, ValueError) as error:
            return error

    def _loaded(self, result: Sequence[bytes] | Exception | None) -> None:
        if isinstance(result, Exception):
            if self._problem != str(result):  # once for each problem: it stays the same for many looks
                self._problem = str(result)
                _log.error("%s: the last good ones stay in use: %s", self.source, str(result))
            return
        if result is not None:
            self.keys.replace(result)
            _log.info("%s: %d in use", self.source, len(result))
        elif self._problem is not None:
            _log.info("%s: there again", self.source)
        self._problem = None
