"""The connections of one server: counted, logged, and not too many at once in their handshakes."""

from __future__ import annotations

import logging
from collections.abc import Callable

from .. import SSLEOFError, SSLError
from ..counters import Counters, failure_key
from ..limits import UnderWay
from .stream import TLSStream

__all__ = ["Handshakes", "TooManyHandshakes"]

_log = logging.getLogger("txmembio.tornado")


class TooManyHandshakes(TimeoutError):
    """More handshakes were under way than `max_handshakes`, and this was the oldest of them."""


class Handshakes:
    """What a server's streams tell: a `txmembio.tornado.stream.Watcher`. The parameters are those of `TCPServer`."""

    def __init__(
        self,
        counters: Counters,
        limit: int | None,
        on_handshake: Callable[[TLSStream, BaseException | None], object] | None,
    ) -> None:
        if not isinstance(counters, Counters):
            raise TypeError(f"counters is {counters!r}, expected a txmembio.counters.Counters")
        if limit is not None and not (type(limit) is int and limit > 0):
            raise ValueError(f"max_handshakes must be a positive whole number, or None for no limit, not {limit!r}")
        if on_handshake is not None and not callable(on_handshake):
            raise TypeError(f"on_handshake is {on_handshake!r}, expected a callable object, or None")
        self.counters = counters
        self._limit = limit
        self._on_handshake = on_handshake
        self._under_way: UnderWay[TLSStream] = UnderWay()

    def handshake_began(self, stream: TLSStream) -> None:
        """There is one more. If there are too many, the oldest has to go."""
        assert stream.connection is not None
        self.counters.connection_began(stream.connection)
        oldest = self._under_way.add(stream, self._limit)
        if oldest is not None:
            oldest.close(exc_info=TooManyHandshakes(f"more than {self._limit} TLS handshakes are under way"))

    def handshake_completed(self, stream: TLSStream) -> None:
        """One is complete."""
        assert stream.connection is not None
        self._under_way.discard(stream)
        negotiated = self.counters.handshake_completed(stream.connection)
        if _log.isEnabledFor(logging.DEBUG):
            _log.debug("TLS handshake with %s complete: %s, %s", _peer(stream), negotiated.version, negotiated.cipher)
        if self._on_handshake is not None:
            try:
                self._on_handshake(stream, None)
            except Exception as error:
                _log.exception("on_handshake failed")
                stream.close(exc_info=error)

    def connection_ended(self, stream: TLSStream) -> None:
        """One is gone."""
        connection, error = stream.connection, stream.error
        assert connection is not None
        self._under_way.discard(stream)
        self.counters.connection_ended(connection, failure_word(error))
        if isinstance(error, SSLError) and error.__cause__ is not None:  # an exception in a callback, which is one
            _log.error("A callback of the TLS context failed", exc_info=error.__cause__)
        if self._on_handshake is not None and not connection.handshake_complete:
            try:
                self._on_handshake(stream, error)
            except Exception:
                _log.exception("on_handshake failed")


def failure_word(error: BaseException | None) -> str:
    """Why a connection ended, in a word to count by (docs/operations.md)."""
    if isinstance(error, SSLEOFError):
        return "truncated"
    if isinstance(error, SSLError):
        return failure_key(error)
    if isinstance(error, TooManyHandshakes):
        return "displaced"
    if isinstance(error, TimeoutError) and error.errno is None:  # and not the network's, ETIMEDOUT
        return "timeout"
    if error is None:
        return "clean"
    # What else is no error of the network is the application's own: a limit to what it reads, or an exception.
    return "lost" if isinstance(error, OSError) and not isinstance(error, ConnectionAbortedError) else "aborted"


def _peer(stream: TLSStream) -> object:
    try:
        return stream.socket.getpeername()
    except OSError:
        return "a peer that is gone"
