"""Tornado's servers, with TLS in memory: `TCPServer` and `HTTPServer` differ from Tornado's in the stream that they
make for a connection, and in what can be said about it.

Certificates that are read again, ticket keys, counters and the cap on handshakes are the core's, as they are under
Twisted; here are the IOLoop's clock and Tornado's names for them.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any, TypedDict

import tornado.httpserver
import tornado.tcpserver
from tornado import gen
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream
from tornado.log import app_log

from .. import SSLContext
from ..counters import Counters
from ..limits import HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, RELOAD_INTERVAL
from ..pems import PEMPair, ServedCertificates
from ..reload import Reloader
from ..tickets import TicketKeySource
from .handshakes import Handshakes
from .options import Options, context_for
from .stream import TLSStream, check_timeout
from .upkeep import Polling, TicketKeyUpdates, reloading
from .wrapping import PlainStream

if TYPE_CHECKING:
    import socket

    from typing_extensions import Unpack

__all__ = ["HTTPServer", "TCPServer"]

_log = logging.getLogger("txmembio.tornado")


class Settings(TypedDict, total=False):
    """What our servers take beside what Tornado's do."""

    handshake_timeout: float | None
    max_handshakes: int | None
    counters: Counters | None
    on_handshake: Callable[[TLSStream, BaseException | None], object] | None
    reload_interval: float | None
    ticket_keys: TicketKeySource | None


class TCPServer(tornado.tcpserver.TCPServer):
    """Tornado's `TCPServer`. With `ssl_options`, `handle_stream` gets a `TLSStream`, whose handshake may still be under
    way (`wait_for_handshake`); without, a stream whose `start_tls()` makes a `TLSStream`, with the same settings.

    :param ssl_options: a `txmembio.SSLContext`; a dict (docs/tornado.md); or certificates that are read again when
        their files change: a `txmembio.pems.PEMFolder`, a `PEMPair`, or a `txmembio.reload.Reloader` of one. Those of a
        dict are read again as well. Another value may be assigned to the attribute, for the connections to come.
    :param handshake_timeout: seconds for each handshake; None for no limit.
    :param max_handshakes: how many handshakes may be under way at once; None for no limit. One more, and the one that
        has been under way longest is closed, with `TooManyHandshakes` as the stream's error.
    :param counters: where to count; an object of the server's own if not given. Several may share one.
    :param on_handshake: called as `on_handshake(stream, None)` when a handshake is complete, before plaintext is read,
        and as `on_handshake(stream, error)` when a connection has ended before that. It may close the stream. What it
        raises in the first case closes the stream, too; in the second it is logged.
    :param reload_interval: seconds between two looks at the files of certificates; None for none.
    :param ticket_keys: keys for session tickets that other processes and hosts have as well, such as a
        `txmembio.tickets.TicketKeyFiles`; without, OpenSSL makes its own.
    :raises TypeError, ValueError, KeyError, OSError: one of these cannot be used.
    """

    #: What has happened on the connections of this server, in numbers.
    counters: Counters

    _ssl_options: Any = None
    _context: SSLContext | None = None
    _reloader: Reloader | None = None
    _reload_interval: float | None = RELOAD_INTERVAL
    _tickets: TicketKeyUpdates | None = None
    _listening = False
    _pollings: Iterable[Polling[Any]] = ()

    def __init__(
        self,
        ssl_options: Any = None,
        max_buffer_size: int | None = None,
        read_chunk_size: int | None = None,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(ssl_options, max_buffer_size, read_chunk_size)
        self._settle(**settings)

    def _settle(
        self,
        *,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        max_handshakes: int | None = MAX_HANDSHAKES,
        counters: Counters | None = None,
        on_handshake: Callable[[TLSStream, BaseException | None], object] | None = None,
        reload_interval: float | None = RELOAD_INTERVAL,
        ticket_keys: TicketKeySource | None = None,
    ) -> None:
        check_timeout(handshake_timeout)
        if reload_interval is not None and not reload_interval > 0:
            raise ValueError(f"reload_interval must be a positive number of seconds, or None, not {reload_interval!r}")
        self._handshake_timeout = handshake_timeout
        self._handshakes = Handshakes(Counters() if counters is None else counters, max_handshakes, on_handshake)
        self.counters = self._handshakes.counters
        self._reload_interval = reload_interval
        if ticket_keys is not None:
            self._tickets = TicketKeyUpdates(ticket_keys)
            if self._context is not None:
                self._tickets.keys.use_in(self._context)

    @property
    def ssl_options(self) -> Any:
        """What was given; None for a server without TLS."""
        return self._ssl_options

    @ssl_options.setter
    def ssl_options(self, value: Any) -> None:
        context, reloader = (None, None) if value is None else _served(value)
        if context is not None and self._tickets is not None:
            self._tickets.keys.use_in(context)
        self._ssl_options, self._context, self._reloader = value, context, reloader
        if self._listening:
            self._keep_up(False)
            self._keep_up(True)

    def add_sockets(self, sockets: Iterable[socket.socket]) -> None:
        """Accept connections on these. From now on files are looked at again."""
        super().add_sockets(sockets)
        self._keep_up(True)

    def stop(self) -> None:
        """Accept no more connections."""
        super().stop()
        self._keep_up(False)

    def _keep_up(self, listening: bool) -> None:
        """What has to be done as long as the server listens."""
        if listening and not self._listening:
            pollings: list[Polling[Any]] = []
            if self._reloader is not None and self._reload_interval is not None:
                pollings.append(reloading(self._reloader, self._reload_interval))
            if self._tickets is not None:
                pollings.append(self._tickets.polling)
            self._pollings = pollings
            for polling in pollings:
                polling.start()
        elif self._listening and not listening:
            for polling in self._pollings:
                polling.stop()
        self._listening = listening

    def _handle_connection(self, connection: socket.socket, address: Any) -> None:
        # As Tornado's, but for the streams that it makes.
        try:
            stream = self._stream(connection)
            if stream is None:
                return
            future = self.handle_stream(stream, address)
            if future is not None:
                IOLoop.current().add_future(gen.convert_yielded(future), lambda done: done.result())
        except Exception:
            app_log.error("Error in connection callback", exc_info=True)

    def _stream(self, connection: socket.socket) -> IOStream | None:
        """The stream for a connection; None if that is gone already."""
        sizes: dict[str, Any] = {"max_buffer_size": self.max_buffer_size, "read_chunk_size": self.read_chunk_size}
        try:
            if self._context is None:
                plain = _Stream(connection, **sizes)
                plain.settings = {"handshake_timeout": self._handshake_timeout, "watcher": self._handshakes}
                return plain
            stream = TLSStream(
                connection,
                ssl_options=self._context,
                server_side=True,
                handshake_timeout=self._handshake_timeout,
                watcher=self._handshakes,
                **sizes,
            )
        except BaseException:
            connection.close()
            raise
        if stream.connection is None:  # the peer has reset it before it was accepted
            stream.close()
            return None
        return stream


class HTTPServer(TCPServer, tornado.httpserver.HTTPServer):
    """Tornado's `HTTPServer`; its parameters, and those of our `TCPServer` as keywords.

    `tornado.httpserver.HTTPServer.configure("txmembio.tornado.HTTPServer")` makes `Application.listen()` use it.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        """All happens in `initialize`, which Tornado's `Configurable` calls."""

    def initialize(self, *args: Any, **kwargs: Any) -> None:
        """As the constructor."""
        settings: Any = {key: kwargs.pop(key) for key in Settings.__annotations__ if key in kwargs}
        super().initialize(*args, **kwargs)
        self._settle(**settings)


class _Stream(PlainStream):
    """A connection that may become TLS, as those of the server do that begin with it."""

    settings: Mapping[str, Any]

    def start_tls(self, server_side: bool, *args: Any, **kwargs: Any) -> Any:
        if server_side:
            kwargs = {**self.settings, **kwargs}
        return super().start_tls(server_side, *args, **kwargs)


def _served(ssl_options: Any) -> tuple[SSLContext, Reloader | None]:
    """The context for all connections, and what keeps its certificates as their files are."""
    if isinstance(ssl_options, Mapping):
        options = Options(ssl_options, server_side=True)
        ssl_options = PEMPair(options.identity, options.context_without_certificate, paths=options.paths)
    if isinstance(ssl_options, ServedCertificates):
        ssl_options = Reloader(ssl_options)
    if not isinstance(ssl_options, Reloader):
        return context_for(ssl_options, server_side=True), None
    certificates = ssl_options.certificates
    for remark in certificates.contexts.remarks:
        _log.warning("%s: %s", certificates.paths[0], remark)
    return certificates.server_context(), ssl_options
