"""TLS around what Twisted has: a protocol factory (`TLSFactory`), an endpoint (`wrapServerTLS`, `wrapClientTLS`)."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, TypedDict, cast

from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
    ITransport,
)
from twisted.protocols.policies import WrappingFactory
from zope.interface import implementer

from .. import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, Connection, SSLContext
from ..context import require_context
from ..counters import Counters
from ..limits import HANDSHAKE_TIMEOUT, MAX_HANDSHAKES, SHUTDOWN_TIMEOUT, UnderWay
from ..session_cache import SessionCache
from ..session_cache import sessions as common_sessions
from .events import failure_word, log_completed, log_failed, log_hook_failed
from .transport import TLSTransport

if TYPE_CHECKING:
    from collections.abc import Callable

    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IListeningPort
    from twisted.python.failure import Failure
    from typing_extensions import Unpack

__all__ = ["TLSFactory", "wrapClientTLS", "wrapServerTLS"]


class Settings(TypedDict, total=False):
    """The keywords that `TLSFactory`, `wrapServerTLS` and `wrapClientTLS` have in common."""

    handshakeTimeout: float | None
    shutdownTimeout: float | None
    clock: IReactorTime | None
    counters: Counters | None
    onHandshake: Callable[[TLSTransport, Failure | None], object] | None
    sessions: SessionCache | None


class ServerSettings(Settings, total=False):
    """Those of `TLSFactory` and `wrapServerTLS`."""

    maxHandshakes: int | None


class TLSFactory(WrappingFactory):
    """Makes protocols that speak TLS to their transport, and are the transport of the protocols of `wrappedFactory`.

    :param context: a `txmembio.SSLContext`, for clients or for servers as `isClient` says.
    :param isClient: True to begin the handshake, False to answer it.
    :param wrappedFactory: the application's factory. If it provides `IProtocolNegotiationFactory` and `context` has no
        ALPN settings of its own, what its `acceptableProtocols()` returns is what ALPN offers or accepts.
    :param hostname: (clients) the server's name or address: sent as SNI (RFC 6066 section 3), and what its
        certificate must be for. Required when `context.check_hostname` is true.
    :param handshakeTimeout: seconds from the connection to the end of the handshake; None for no limit.
    :param shutdownTimeout: seconds without progress while the connection is being closed; None for no limit.
    :param clock: runs the time-outs, and writes that were put off; if not given, the reactor that the first TCP or
        UNIX connection runs on, which need not be the one that is installed. A factory is for one reactor. Over a
        process or standard I/O it is the installed one, unless it is given.
    :param maxHandshakes: (servers) how many handshakes may be under way at once; None for no limit. One more, and the
        one that has been under way longest is aborted, with `TooManyHandshakes` as its reason.
    :param counters: where to count; an object of the factory's own if not given. Several may share one.
    :param onHandshake: called as `onHandshake(transport, None)` when a handshake is complete, before the application's
        protocol hears of it, and as `onHandshake(transport, reason)` when a connection has ended before that. It may
        abort the connection. What it raises in the first case ends the connection, as in any callback of a
        protocol; in the second it is logged.
    :param sessions: (clients) where sessions are kept to be resumed, by context, host name and port; None to resume
        none. All clients that are given no other share one.
    :raises TypeError: `context` is not a `txmembio.SSLContext`, or `hostname` not a str.
    :raises ValueError: `context` is for the other role, `hostname` is missing, or a time-out or `maxHandshakes` is not
        positive.
    """

    #: What has happened on the connections made here, in numbers.
    counters: Counters

    protocol = TLSTransport
    noisy = False  # the wrapped factory announces itself

    def __init__(
        self,
        context: SSLContext,
        isClient: bool,
        wrappedFactory: IProtocolFactory,
        *,
        hostname: str | None = None,
        handshakeTimeout: float | None = HANDSHAKE_TIMEOUT,
        shutdownTimeout: float | None = SHUTDOWN_TIMEOUT,
        clock: IReactorTime | None = None,
        maxHandshakes: int | None = MAX_HANDSHAKES,
        counters: Counters | None = None,
        onHandshake: Callable[[TLSTransport, Failure | None], object] | None = None,
        sessions: SessionCache | None = common_sessions,
    ) -> None:
        check_settings(
            context,
            isClient,
            hostname,
            handshakeTimeout=handshakeTimeout,
            shutdownTimeout=shutdownTimeout,
            maxHandshakes=maxHandshakes,
            counters=counters,
            onHandshake=onHandshake,
            sessions=sessions,
        )
        super().__init__(wrappedFactory)
        self.context = context
        self.isClient = isClient
        self.hostname = hostname
        self.handshakeTimeout = handshakeTimeout
        self.shutdownTimeout = shutdownTimeout
        self.maxHandshakes = None if isClient else maxHandshakes
        self.counters = Counters() if counters is None else counters
        self.onHandshake = onHandshake
        self.sessions = sessions if isClient else None
        self._under_way: UnderWay[TLSTransport] = UnderWay()
        if clock is not None:
            self.clock = clock

    def buildProtocol(self, addr: IAddress | None) -> TLSTransport | None:  # type: ignore[override]
        """A transport around a new protocol of the wrapped factory; None if that refuses the connection."""
        # First, as it can fail: the wrapped factory may count the protocols it has made and expect each one's end.
        connection = self.context.connection(server_side=not self.isClient, server_hostname=self.hostname)
        self._negotiate(connection)
        protocol = self.wrappedFactory.buildProtocol(addr)
        if protocol is None:
            return None
        self._offer_session(connection, addr)
        return self.protocol(self, protocol, connection)

    def _offer_session(self, connection: Connection, addr: IAddress | None) -> None:
        if self.sessions is None:
            return
        # One name at one port is one server, whatever its addresses are. Without a name there is just the address; over
        # a UNIX socket that has neither host nor port, but a name; and a process has nothing at all.
        parts = ("port", "name") if self.hostname else ("host", "port", "name")
        where = tuple(getattr(addr, part, None) for part in parts)
        if self.hostname or any(where):
            self.sessions.offer(connection, where)

    @cached_property
    def clock(self) -> IReactorTime:
        """Runs the time-outs."""
        from twisted.internet import reactor  # not before it is needed: importing it installs it

        return cast(IReactorTime, reactor)

    # What the transports tell

    def find_clock(self, transport: ITransport) -> None:
        """Unless there is a clock already, take the reactor of a connection's `transport`. On the installed one, which
        may be another and never run, nothing would be done later.
        """
        if "clock" not in vars(self):
            reactor = getattr(transport, "reactor", None)
            if IReactorTime.providedBy(reactor):
                self.clock = reactor

    def handshake_began(self, tls: TLSTransport) -> None:
        """A connection is made. If there are too many handshakes, the oldest has to go."""
        self.counters.connection_began(tls.connection)
        oldest = self._under_way.add(tls, self.maxHandshakes)
        if oldest is not None:
            oldest.make_way()

    def handshake_completed(self, tls: TLSTransport) -> None:
        """A handshake is complete."""
        self._under_way.discard(tls)
        log_completed(tls, self.counters.handshake_completed(tls.connection))
        self.keep_session(tls)
        if self.onHandshake is not None:
            self.onHandshake(tls, None)

    def keep_session(self, tls: TLSTransport) -> None:
        """A client's connection may have earned a session since this was called last."""
        if self.sessions is not None:
            self.sessions.keep(tls.connection)

    def connection_ended(self, tls: TLSTransport, reason: Failure, complete: bool) -> None:
        """A connection is gone; `complete` says whether its handshake was."""
        self._under_way.discard(tls)
        self.counters.connection_ended(tls.connection, failure_word(reason))
        log_failed(tls, reason, complete)
        if self.onHandshake is not None and not complete:
            try:
                self.onHandshake(tls, reason)
            except Exception:
                log_hook_failed()

    def _negotiate(self, connection: Connection) -> None:
        """Let the wrapped factory decide on ALPN, if it has an opinion and the context has none."""
        factory = self.wrappedFactory
        if not IProtocolNegotiationFactory.providedBy(factory):
            return
        if self.context.alpn_protocols or self.context.alpn_callback:
            return
        protocols = factory.acceptableProtocols()
        if protocols:
            connection.set_alpn_protocols([name.decode() for name in protocols])


def wrapServerTLS(
    context: SSLContext, endpoint: IStreamServerEndpoint, **settings: Unpack[ServerSettings]
) -> TLSServerEndpoint:
    """An endpoint that listens where `endpoint` does, and speaks TLS there.

    :param context: a `txmembio.SSLContext` for servers.
    :param settings: `handshakeTimeout`, `shutdownTimeout`, `clock`, `maxHandshakes`, `counters` and `onHandshake`, as
        for `TLSFactory`. All that is listened to through the endpoint is counted in its `counters`.
    :raises TypeError, ValueError: as `TLSFactory`.
    """
    check_settings(context, False, None, **settings)
    return TLSServerEndpoint(context, endpoint, settings)


def wrapClientTLS(
    context: SSLContext, hostname: str | None, endpoint: IStreamClientEndpoint, **settings: Unpack[Settings]
) -> TLSClientEndpoint:
    """An endpoint that connects where `endpoint` does, and speaks TLS there.

    `connect()` fires as soon as `endpoint` is connected; what becomes of the handshake, the protocol hears: from
    `handshakeCompleted` if it provides `IHandshakeListener`, or from `connectionLost`.

    :param context: a `txmembio.SSLContext` for clients.
    :param hostname: the server's name or address, as for `TLSFactory`; None only if `context.check_hostname` is false.
    :param settings: `handshakeTimeout`, `shutdownTimeout`, `clock`, `counters`, `onHandshake` and `sessions`, as for
        `TLSFactory`.
        All connections through the endpoint are counted in its `counters`.
    :raises TypeError, ValueError: as `TLSFactory`.
    """
    check_settings(context, True, hostname, **settings)
    return TLSClientEndpoint(context, hostname, endpoint, settings)


@implementer(IStreamServerEndpoint)
class TLSServerEndpoint:
    """What `wrapServerTLS` makes."""

    def __init__(self, context: SSLContext, endpoint: IStreamServerEndpoint, settings: ServerSettings) -> None:
        self._context = context
        self._endpoint = endpoint
        self.counters = settings.get("counters") or Counters()
        self._settings: ServerSettings = {**settings, "counters": self.counters}

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen for connections of `protocolFactory`'s protocols; fires with the port of the endpoint beneath."""
        return self._endpoint.listen(self._factory(protocolFactory))

    def _factory(self, protocolFactory: IProtocolFactory) -> TLSFactory:
        return TLSFactory(self._context, False, protocolFactory, **self._settings)


@implementer(IStreamClientEndpoint)
class TLSClientEndpoint:
    """What `wrapClientTLS` makes."""

    def __init__(
        self, context: SSLContext, hostname: str | None, endpoint: IStreamClientEndpoint, settings: Settings
    ) -> None:
        self._context = context
        self._hostname = hostname
        self._endpoint = endpoint
        self.counters = settings.get("counters") or Counters()
        self._settings: Settings = {**settings, "counters": self.counters}

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        """Connect a protocol of `protocolFactory`; fires with that protocol. Cancelling it cancels the attempt."""
        factory = TLSFactory(self._context, True, protocolFactory, hostname=self._hostname, **self._settings)
        return self._endpoint.connect(factory).addCallback(_application)


def _application(protocol: Any) -> IProtocol:
    """The application's protocol, of the `TLSTransport` that the endpoint beneath has connected."""
    application: IProtocol = protocol.wrappedProtocol
    return application


def check_settings(
    context: object,
    isClient: bool,
    hostname: str | None,
    *,
    handshakeTimeout: float | None = HANDSHAKE_TIMEOUT,
    shutdownTimeout: float | None = SHUTDOWN_TIMEOUT,
    clock: IReactorTime | None = None,
    maxHandshakes: int | None = None,
    counters: Counters | None = None,
    onHandshake: Callable[[TLSTransport, Failure | None], object] | None = None,
    sessions: SessionCache | None = None,
) -> None:
    """Raise what `TLSFactory` raises for arguments that cannot work, before anything listens or connects."""
    ours = require_context(context, "context")
    role, other = ("client", PROTOCOL_TLS_SERVER) if isClient else ("server", PROTOCOL_TLS_CLIENT)
    if ours.protocol == other:
        raise ValueError(f"context is for the other role: {ours.protocol!r} cannot be used for a TLS {role}")
    if hostname is not None and not isinstance(hostname, str):
        raise TypeError(f"hostname must be a str, not {type(hostname).__name__}: {hostname!r}")
    if isClient and not hostname and ours.check_hostname:
        raise ValueError(
            f"hostname must be the server's name or address, not {hostname!r}: the context checks that the"
            " certificate is for it (check_hostname)"
        )
    for name, seconds in (("handshakeTimeout", handshakeTimeout), ("shutdownTimeout", shutdownTimeout)):
        if seconds is not None and not seconds > 0:
            raise ValueError(f"{name} must be a positive number of seconds, or None for no limit, not {seconds!r}")
    if maxHandshakes is not None and not (type(maxHandshakes) is int and maxHandshakes > 0):
        raise ValueError(
            f"maxHandshakes must be a positive number of handshakes, or None for no limit, not {maxHandshakes!r}"
        )
    if counters is not None and not isinstance(counters, Counters):
        raise TypeError(f"counters must be a txmembio.counters.Counters, not {type(counters).__name__}: {counters!r}")
    if onHandshake is not None and not callable(onHandshake):
        raise TypeError(f"onHandshake must be callable, not {type(onHandshake).__name__}: {onHandshake!r}")
    if sessions is not None and not isinstance(sessions, SessionCache):
        raise TypeError(
            f"sessions must be a txmembio.session_cache.SessionCache or None, not {type(sessions).__name__}:"
            f" {sessions!r}"
        )
