"""TLS around what Twisted has: a protocol factory (`TLSFactory`), an endpoint (`wrapServerTLS`, `wrapClientTLS`)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypedDict, cast

from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IReactorTime,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.protocols.policies import WrappingFactory
from zope.interface import implementer

from .. import PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, Connection, SSLContext
from ..context import require_context
from .transport import TLSTransport

if TYPE_CHECKING:
    from twisted.internet.defer import Deferred
    from twisted.internet.interfaces import IAddress, IListeningPort
    from typing_extensions import Unpack

__all__ = ["TLSFactory", "wrapClientTLS", "wrapServerTLS"]

#: Seconds. A handshake is at most two round trips and asyncio waits as long. A peer that stalls gets no more than this.
HANDSHAKE_TIMEOUT = 60.0

#: Seconds without progress. asyncio waits as long for a peer's close_notify.
SHUTDOWN_TIMEOUT = 30.0


class Settings(TypedDict, total=False):
    """The keywords that `TLSFactory`, `wrapServerTLS` and `wrapClientTLS` have in common."""

    handshakeTimeout: float | None
    shutdownTimeout: float | None
    clock: IReactorTime | None


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
    :param clock: runs the time-outs; the reactor if not given.
    :raises TypeError: `context` is not a `txmembio.SSLContext`, or `hostname` not a str.
    :raises ValueError: `context` is for the other role, `hostname` is missing, or a time-out is not positive.
    """

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
    ) -> None:
        check_settings(context, isClient, hostname, handshakeTimeout=handshakeTimeout, shutdownTimeout=shutdownTimeout)
        super().__init__(wrappedFactory)
        self.context = context
        self.isClient = isClient
        self.hostname = hostname
        self.handshakeTimeout = handshakeTimeout
        self.shutdownTimeout = shutdownTimeout
        if clock is None:
            from twisted.internet import reactor  # not before it is needed: importing it installs it

            clock = cast(IReactorTime, reactor)
        self.clock = clock

    def buildProtocol(self, addr: IAddress | None) -> TLSTransport | None:  # type: ignore[override]
        """A transport around a new protocol of the wrapped factory; None if that refuses the connection."""
        # First, as it can fail: the wrapped factory may count the protocols it has made and expect each one's end.
        connection = self.context.connection(server_side=not self.isClient, server_hostname=self.hostname)
        self._negotiate(connection)
        protocol = self.wrappedFactory.buildProtocol(addr)
        return None if protocol is None else self.protocol(self, protocol, connection)

    def _negotiate(self, connection: Connection) -> None:
        """Let the wrapped factory decide on ALPN, if it has an opinion and the context has none."""
        factory = IProtocolNegotiationFactory(self.wrappedFactory, None)
        if factory is None or self.context.alpn_protocols or self.context.alpn_callback:
            return
        protocols = factory.acceptableProtocols()
        if protocols:
            connection.set_alpn_protocols([name.decode() for name in protocols])


def wrapServerTLS(
    context: SSLContext, endpoint: IStreamServerEndpoint, **settings: Unpack[Settings]
) -> IStreamServerEndpoint:
    """An endpoint that listens where `endpoint` does, and speaks TLS there.

    :param context: a `txmembio.SSLContext` for servers.
    :param settings: `handshakeTimeout`, `shutdownTimeout` and `clock`, as for `TLSFactory`.
    :raises TypeError, ValueError: as `TLSFactory`.
    """
    check_settings(context, False, None, **settings)
    return _TLSServerEndpoint(context, endpoint, settings)


def wrapClientTLS(
    context: SSLContext, hostname: str | None, endpoint: IStreamClientEndpoint, **settings: Unpack[Settings]
) -> IStreamClientEndpoint:
    """An endpoint that connects where `endpoint` does, and speaks TLS there.

    `connect()` fires as soon as `endpoint` is connected; what becomes of the handshake, the protocol hears: from
    `handshakeCompleted` if it provides `IHandshakeListener`, or from `connectionLost`.

    :param context: a `txmembio.SSLContext` for clients.
    :param hostname: the server's name or address, as for `TLSFactory`; None only if `context.check_hostname` is false.
    :param settings: `handshakeTimeout`, `shutdownTimeout` and `clock`, as for `TLSFactory`.
    :raises TypeError, ValueError: as `TLSFactory`.
    """
    check_settings(context, True, hostname, **settings)
    return _TLSClientEndpoint(context, hostname, endpoint, settings)


@implementer(IStreamServerEndpoint)
class _TLSServerEndpoint:
    def __init__(self, context: SSLContext, endpoint: IStreamServerEndpoint, settings: Settings) -> None:
        self._context = context
        self._endpoint = endpoint
        self._settings = settings

    def listen(self, protocolFactory: IProtocolFactory) -> Deferred[IListeningPort]:
        """Listen for connections of `protocolFactory`'s protocols; fires with the port of the endpoint beneath."""
        return self._endpoint.listen(TLSFactory(self._context, False, protocolFactory, **self._settings))


@implementer(IStreamClientEndpoint)
class _TLSClientEndpoint:
    def __init__(
        self, context: SSLContext, hostname: str | None, endpoint: IStreamClientEndpoint, settings: Settings
    ) -> None:
        self._context = context
        self._hostname = hostname
        self._endpoint = endpoint
        self._settings = settings

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
