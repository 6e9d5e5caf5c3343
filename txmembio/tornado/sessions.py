"""The sessions of clients: offered before a handshake, kept after it."""

from __future__ import annotations

from ..session_cache import SessionCache
from .stream import TLSStream

__all__ = ["Resuming"]


class Resuming:
    """What the streams of a client tell: a `txmembio.tornado.stream.Watcher`. *port* is the server's; its name, or its
    address where there is none, the stream knows."""

    def __init__(self, sessions: SessionCache, port: int) -> None:
        self._sessions = sessions
        self._port = port

    def handshake_began(self, stream: TLSStream) -> None:
        """A session may be offered now."""
        assert stream.connection is not None
        # One name at one port is one server, whatever its addresses are.
        where = self._port if stream.connection.server_hostname else stream.socket.getpeername()
        self._sessions.offer(stream.connection, where)

    def handshake_completed(self, stream: TLSStream) -> None:
        """In TLS 1.2 that earns a session."""
        self.connection_ended(stream)

    def connection_ended(self, stream: TLSStream) -> None:
        """In TLS 1.3 what has come since then may have."""
        assert stream.connection is not None
        self._sessions.keep(stream.connection)
