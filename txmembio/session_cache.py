"""The sessions that clients have earned, to be resumed on their next connections to the same server.

    sessions.offer(connection, where)     before the handshake: has it offer the newest session, if there is one
    sessions.keep(connection)             after it and at the end: takes what the connection has earned by then

`sessions` here is the cache that the adapters' clients use unless they are given another one, or None.

Resumption shows no certificate: what a session proves is what was verified in the full handshake that it goes back to.
So it is offered only on the context that it was made under, and for the same host name; not once the context's rules of
verification or its own certificate have changed, nor once the server's certificate has expired, nor longer than
`MAX_AGE` after that handshake, however often it was resumed since.

In TLS 1.3 a ticket is offered once (RFC 8446 appendix C.4: whoever sees one twice knows that it is the same client);
a server that wants to resume again sends new ones. In TLS 1.2 one session serves many connections.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from weakref import WeakKeyDictionary

from txmembio._openssl.lib import NULL, lib
from txmembio.connection import Connection
from txmembio.constants import TLSVersion
from txmembio.context import SSLContext
from txmembio.errors import SSLEOFError, SSLError
from txmembio.session import SSLSession

__all__ = ["SessionCache", "sessions"]

MAX_SERVERS = 512
"""Servers of which a context's sessions are kept, those used last. A session takes 2 to 6 KB with the chain in it."""

MAX_SESSIONS = 4
"""Sessions kept of each server, the newest: for as many connections at once."""

MAX_AGE = 86400.0
"""Seconds since the certificate was verified. RFC 8446 section 4.6.1 allows a ticket a week; a day is what is left of a
revoked certificate elsewhere, too."""


@dataclass(frozen=True)
class _Kept:
    session: SSLSession
    verified: float
    """When the full handshake was, in seconds since 1970."""
    expires: float
    """In seconds since 1970."""


@dataclass
class _Sessions:
    """A context's, under one set of rules."""

    rules: object
    by_server: OrderedDict[Hashable, OrderedDict[bytes, _Kept]] = field(default_factory=OrderedDict)
    """By server, the one used last at the end; by session id, the newest at the end."""


@dataclass
class _Journey:
    """What offer() tells keep() of a connection."""

    server: Hashable
    sessions: _Sessions
    last: bytes | None = None
    """Id of the session that was offered, or kept last."""
    verified: float | None = None
    """When the certificate behind the session that was offered was."""
    established: bool = False
    """keep() has seen the handshake complete."""


class SessionCache:
    """Sessions of clients. Safe to use from several threads.

    *max_servers* and *max_sessions* bound what is kept: of so many servers in each context, so many sessions each.
    *max_age*: seconds since the full handshake. *now*: the time, in seconds since 1970.
    """

    def __init__(
        self,
        *,
        max_servers: int = MAX_SERVERS,
        max_sessions: int = MAX_SESSIONS,
        max_age: float = MAX_AGE,
        now: Callable[[], float] = time.time,
    ) -> None:
        for what, value in (("max_servers", max_servers), ("max_sessions", max_sessions), ("max_age", max_age)):
            if not value > 0:
                raise ValueError(f"{what} is {value!r}, expected a positive number")
        self.max_servers = max_servers
        self.max_sessions = max_sessions
        self.max_age = max_age
        self._now = now
        self._lock = threading.Lock()
        # No value in these refers to its key, so that contexts and connections end with their last user.
        self._contexts: WeakKeyDictionary[SSLContext, _Sessions] = WeakKeyDictionary()
        self._journeys: WeakKeyDictionary[Connection, _Journey] = WeakKeyDictionary()
        self.hits = 0
        """Connections that were given a session to offer."""
        self.misses = 0
        """Connections that there was none for."""
        self.resumed = 0
        """Connections that resumed the session they were given, of those that keep() has seen."""

    def offer(self, connection: Connection, where: Hashable) -> bool:
        """Before a client's handshake: have *connection* offer the newest session for its host name and *where*, which
        is usually the port; True if there is one. A connection without a host name needs the address in *where*."""
        name = connection.server_hostname
        with self._lock:
            sessions = self._sessions(connection.context)
            journey = _Journey((name and name.lower(), where), sessions)
            self._journeys[connection] = journey
            kept = self._take(sessions, journey.server)
            try:
                if kept is not None:
                    connection.set_session(kept.session)
            except (SSLError, ValueError):  # it would have saved time; nothing else is lost
                kept = None
            if kept is None:
                self.misses += 1
                return False
            journey.last, journey.verified = kept.session.id, kept.verified
            self.hits += 1
            return True

    def keep(self, connection: Connection) -> bool:
        """Keep what *connection*, which offer() has seen, has earned since the last call; True if it has earned
        anything. Nothing is kept of a handshake that is not complete. What has been kept of a connection that fails is
        forgotten (RFC 5246 section 7.2.2), unless all that went wrong is that the peer's close_notify is missing. Call
        it before receive_wire_eof(), after which OpenSSL does not give sessions out."""
        with self._lock:
            journey = self._journeys.get(connection)
            if journey is None:
                return False
            if connection.error is not None and not isinstance(connection.error, SSLEOFError):
                self._forget(journey)
                return False
            if not connection.handshake_complete:
                return False
            if not journey.established:
                journey.established = True
                self.resumed += connection.session_reused
            session = connection.session
            if session is None or not session.resumable or session.id == journey.last:
                return False
            self._put(connection, journey, session)
            return True

    def clear(self) -> None:
        """Forget all sessions. The counters stay."""
        with self._lock:
            self._contexts.clear()

    def __len__(self) -> int:
        """How many sessions there are, expired ones included."""
        with self._lock:
            return sum(len(kept) for sessions in self._contexts.values() for kept in sessions.by_server.values())

    def _sessions(self, context: SSLContext) -> _Sessions:
        """The sessions of *context*, none if they were made under other rules than it has now."""
        context._settle()
        certificate = context.certificate
        own = None if certificate is None else certificate.der
        rules = (context._identity, context._rules(), context._trusted.digest(), own)
        sessions = self._contexts.get(context)
        if sessions is None or sessions.rules != rules:
            sessions = self._contexts[context] = _Sessions(rules)
        return sessions

    def _take(self, sessions: _Sessions, server: Hashable) -> _Kept | None:
        """The newest one that is still good. It stays if it can be used again."""
        by_id = sessions.by_server.get(server)
        while by_id:
            name, kept = by_id.popitem()
            if kept.expires > self._now():
                if _reusable(kept.session):
                    by_id[name] = kept
                sessions.by_server.move_to_end(server)
                return kept
        sessions.by_server.pop(server, None)
        return None

    def _put(self, connection: Connection, journey: _Journey, session: SSLSession) -> None:
        journey.last = session.id
        verified = journey.verified if connection.session_reused else None
        if verified is None:
            verified = self._now()
        lifetime = min(session.timeout, session.ticket_lifetime_hint or session.timeout)
        expires = min(session.time + lifetime, verified + self.max_age)
        certificate = connection.peer_certificate()
        if certificate is not None:
            expires = min(expires, certificate.not_after.timestamp())
        if expires <= self._now():
            return
        by_server = journey.sessions.by_server
        by_id = by_server.setdefault(journey.server, OrderedDict())
        by_server.move_to_end(journey.server)
        by_id[session.id] = _Kept(_without_context(session), verified, expires)
        if len(by_id) > self.max_sessions:
            by_id.popitem(last=False)
        if len(by_server) > self.max_servers:
            by_server.popitem(last=False)

    def _forget(self, journey: _Journey) -> None:
        by_id = journey.sessions.by_server.get(journey.server)
        if by_id is not None and journey.last is not None:
            by_id.pop(journey.last, None)


def _reusable(session: SSLSession) -> bool:
    return bool(lib.SSL_SESSION_get_protocol_version(session._session) < TLSVersion.TLSv1_3)


def _without_context(session: SSLSession) -> SSLSession:
    """A copy that does not keep the context alive, which this cache sees to itself."""
    copy = lib.SSL_SESSION_dup(session._session)
    if copy == NULL:
        raise MemoryError("no memory for a session")
    return SSLSession(copy)


sessions = SessionCache()
"""The cache of clients that are given no other."""
