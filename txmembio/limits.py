"""What every adapter keeps to: the defaults of times and counts, and the count of handshakes that are under way."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

__all__ = [
    "ANSWER_LIMIT",
    "HANDSHAKE_TIMEOUT",
    "MAX_HANDSHAKES",
    "RELOAD_INTERVAL",
    "SHUTDOWN_TIMEOUT",
    "UnderWay",
]

HANDSHAKE_TIMEOUT = 60.0
"""Seconds. A handshake is at most two round trips, and asyncio waits as long. A peer that stalls gets no more."""

SHUTDOWN_TIMEOUT = 30.0
"""Seconds without progress. asyncio waits as long for a peer's close_notify."""

MAX_HANDSHAKES = 4000
"""Handshakes under way at once, of one server. A core completes about two thousand a second and a slow network takes a
second for each, so no more than that are ever under way without being stalled; this is twice as many."""

ANSWER_LIMIT = 64 * 1024
"""Bytes of wire. A peer can ask for answers without end (KeyUpdate, RFC 8446 section 4.6.3); honest ones ask for a few
per terabyte. Beyond this much, answers that the peer does not read end the connection."""

RELOAD_INTERVAL = 5.0
"""Seconds between two looks at the files of certificates. A certificate is renewed weeks before it has to be, so nobody
waits for it; and a stat for each file every five seconds is nothing to any system."""

_T = TypeVar("_T")


class UnderWay(Generic[_T]):
    """Those of a server's connections whose handshake is not complete, the oldest first."""

    def __init__(self) -> None:
        self._connections: OrderedDict[_T, None] = OrderedDict()

    def add(self, connection: _T, limit: int | None) -> _T | None:
        """There is one more. Returns the one that has to go, if they are more than `limit` now.

        The oldest, and not this one: else whoever holds all places with connections that say nothing would keep
        everybody else out. An honest handshake, which takes a moment, is only hit when that many begin in this moment.
        """
        self._connections[connection] = None
        if limit is None or len(self._connections) <= limit:
            return None
        return self._connections.popitem(last=False)[0]

    def discard(self, connection: _T) -> None:
        """It is complete, or gone. May be called again."""
        self._connections.pop(connection, None)
