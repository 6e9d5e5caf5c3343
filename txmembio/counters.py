"""Numbers about many connections: what an operator watches.

An adapter tells a `Counters` when a connection begins, when its handshake is complete, and when it ends. In between
nothing is done for it: C counts the bytes of each connection as it goes, and they are added up when somebody asks.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txmembio.facts import Negotiated, Traffic

if TYPE_CHECKING:
    from collections.abc import Iterable

    from txmembio.connection import Connection
    from txmembio.errors import SSLError

__all__ = ["Counters", "Negotiated", "failure_key"]

MOST_KEYS = 100
"""Different keys in one tally. What goes into a tally is one of OpenSSL's few hundred names, of which a server meets a
dozen; so this is only reached by a peer that tries them all, and its rarer ones then count as `OTHER`."""

OTHER = "other"

_NOTHING = Negotiated(OTHER, OTHER, None, None, False)


class Counters:
    """What has happened on the connections of one factory, or of as many as share this object.

    Everything but `connections_open` and `handshakes_under_way` only grows. To be used in the thread that runs the
    connections; `snapshot()` may be called from any.
    """

    def __init__(self) -> None:
        self.handshakes_begun = 0
        """Connections that there have been: each begins with its handshake."""
        self.handshakes_completed = 0
        self.handshakes_resumed = 0
        """Of those completed: how many went on with an earlier session."""
        self.failures: dict[str, int] = {}
        """Connections that ended before the handshake was complete, by why they did; see docs/operations.md."""
        self.endings: dict[str, int] = {}
        """Connections that ended later, by why they did."""
        self.versions: dict[str, int] = {}
        """Complete handshakes by what they agreed on, here and in the next three."""
        self.ciphers: dict[str, int] = {}
        self.groups: dict[str, int] = {}
        self.alpn: dict[str, int] = {}
        self._open: dict[Connection, bool] = {}  # and whether the handshake is complete
        self._ended = Traffic(0, 0, 0, 0)

    # What an adapter tells

    def connection_began(self, connection: Connection) -> None:
        """The wire is connected, and the handshake begins."""
        self.handshakes_begun += 1
        self._open[connection] = False

    def handshake_completed(self, connection: Connection) -> Negotiated:
        """The handshake is complete. Returns what it has agreed on, as the log wants it too."""
        negotiated = connection.negotiated() or _NOTHING
        self._open[connection] = True
        self.handshakes_completed += 1
        self.handshakes_resumed += negotiated.resumed
        _add(self.versions, negotiated.version)
        _add(self.ciphers, negotiated.cipher)
        _add(self.groups, negotiated.group or "none")
        _add(self.alpn, negotiated.alpn or "none")
        return negotiated

    def connection_ended(self, connection: Connection, key: str) -> None:
        """The wire is gone; `key` says why, one of a few words."""
        complete = self._open.pop(connection)
        self._ended = _sum(self._ended, (connection,))
        _add(self.endings if complete else self.failures, key)

    # What an operator asks

    @property
    def connections_open(self) -> int:
        """Connections that have begun and not ended, in whatever state."""
        return len(self._open)

    @property
    def handshakes_under_way(self) -> int:
        """Connections that have begun, are not complete, and have not ended."""
        return self.handshakes_begun - self.handshakes_completed - self.handshakes_failed

    @property
    def handshakes_failed(self) -> int:
        """Connections that ended before the handshake was complete, for whatever reason."""
        return sum(tuple(self.failures.values()))

    def traffic(self) -> Traffic:
        """Bytes of wire and of plaintext, both ways, of all connections that there have been. Takes about a
        microsecond for each that is open."""
        return _sum(self._ended, tuple(self._open))

    def snapshot(self) -> dict[str, Any]:
        """All of it at this moment: ints and dicts of ints by name, ready for JSON or a metrics library."""
        return {
            "connections_open": self.connections_open,
            "handshakes_begun": self.handshakes_begun,
            "handshakes_completed": self.handshakes_completed,
            "handshakes_resumed": self.handshakes_resumed,
            "handshakes_failed": self.handshakes_failed,
            "handshakes_under_way": self.handshakes_under_way,
            **self.traffic()._asdict(),
            "failures": dict(self.failures),
            "endings": dict(self.endings),
            "versions": dict(self.versions),
            "ciphers": dict(self.ciphers),
            "groups": dict(self.groups),
            "alpn": dict(self.alpn),
        }


def failure_key(error: SSLError) -> str:
    """A word for why TLS failed: `alert_unknown_ca` for the alert that the peer sent, `callback` for an exception in a
    callback of the context, otherwise OpenSSL's reason in lower case, such as `no_shared_cipher`."""
    if error.alert_received and error.alert:
        return f"alert_{error.alert.removeprefix('alert ')}"  # one without a name is called "alert 200" already
    if isinstance(error.__cause__, Exception):
        return "callback"
    return error.reason.lower() if error.reason else OTHER


def _add(tally: dict[str, int], key: str) -> None:
    if key not in tally and len(tally) >= MOST_KEYS:
        key = OTHER
    tally[key] = tally.get(key, 0) + 1


def _sum(total: Traffic, connections: Iterable[Connection]) -> Traffic:
    wire_received, wire_sent, plaintext_received, plaintext_sent = total
    for connection in connections:
        traffic = connection.traffic()
        wire_received += traffic[0]
        wire_sent += traffic[1]
        plaintext_received += traffic[2]
        plaintext_sent += traffic[3]
    return Traffic(wire_received, wire_sent, plaintext_received, plaintext_sent)
