"""HTTPS for `twisted.web.client.Agent` with a txmembio context, directly or through a proxy."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IStreamClientEndpoint,
)
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from .. import SSLContext
from .factory import Settings, check_settings, wrapClientTLS
from .proxy import tunnels

if TYPE_CHECKING:
    from twisted.web.client import URI
    from typing_extensions import Unpack

__all__ = ["agentEndpointFactory"]

#: Seconds for one attempt to connect, before TLS begins: HostnameEndpoint's own default.
CONNECT_TIMEOUT = 30.0

#: What `Agent` speaks, as ALPN calls it (RFC 7301 section 6).
HTTP_1 = {"http/1.0", "http/1.1"}


def agentEndpointFactory(
    context: SSLContext,
    reactor: Any = None,
    *,
    connectTimeout: float = CONNECT_TIMEOUT,
    bindAddress: Any = None,
    proxy: str | None = None,
    proxyContext: SSLContext | None = None,
    **settings: Unpack[Settings],
) -> IAgentEndpointFactory:
    """What `Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor))` needs to fetch https: URIs.

    The host in the URI is what is connected to, sent as SNI, and what the certificate must be for. http: URIs
    are fetched without TLS. ALPN offers http/1.1, unless `context` has ALPN protocols of its own.

    :param context: a `txmembio.SSLContext` for clients.
    :param reactor: connects; the global one if not given.
    :param connectTimeout: seconds for each attempt to connect, before TLS begins.
    :param bindAddress: the local address to connect from, as for `HostnameEndpoint`.
    :param proxy: the URL of an HTTP proxy, such as `http://proxy.example:3128` or
        `https://name:password@proxy.example`. All connections are then tunnels through it (`HTTPConnectEndpoint`),
        those for http: URIs too.
    :param proxyContext: a `txmembio.SSLContext` for the TLS to an https: proxy; `context` if not given.
    :param settings: `handshakeTimeout`, `shutdownTimeout` and the others of `TLSFactory`; the clock is `reactor`
        unless given.
    :raises TypeError, ValueError: as `TLSFactory`; also ValueError for a `proxy` of another form, and for a context
        whose ALPN protocols include some that `Agent` does not speak.
    """
    check_settings(context, True, "host-of-the-uri", **settings)
    _check_alpn("context", context)
    if proxyContext is None:
        proxyContext = context
    else:
        check_settings(proxyContext, True, "host-of-the-proxy", **settings)
        _check_alpn("proxyContext", proxyContext)
    if reactor is None:
        from twisted.internet import reactor  # not before it is needed: importing it installs it
    settings.setdefault("clock", reactor)
    connecting = {"timeout": connectTimeout, "bindAddress": bindAddress}

    def direct(host: str, port: int) -> IStreamClientEndpoint:
        return HostnameEndpoint(reactor, host, port, **connecting)

    connector = direct if proxy is None else tunnels(proxy, proxyContext, reactor, connecting, settings)
    return _AgentEndpointFactory(context, connector, settings)


def _check_alpn(name: str, context: SSLContext) -> None:
    others = [each for each in context.alpn_protocols or () if each not in HTTP_1]
    if others:
        raise ValueError(
            f"{name} offers ALPN protocols that Agent does not speak: {', '.join(others)}; expected a context without"
            " ALPN protocols, or with http/1.1"
        )


@implementer(IAgentEndpointFactory)
class _AgentEndpointFactory:
    def __init__(
        self, context: SSLContext, connector: Callable[[str, int], IStreamClientEndpoint], settings: Settings
    ) -> None:
        self._context = context
        self._connector = connector
        self._settings = settings

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:
        """The endpoint for `uri`'s scheme, host and port.

        :raises SchemeNotSupported: the scheme is neither http(s) nor ws(s).
        :raises ValueError: the host is not ASCII; names in other scripts are written in their xn-- form.
        """
        if uri.scheme not in (b"http", b"https", b"ws", b"wss"):
            raise SchemeNotSupported(f"neither http(s) nor ws(s): {uri.scheme!r}")
        try:
            host = uri.host.decode("ascii")
        except UnicodeDecodeError:
            raise ValueError(f"the host of the URI must be ASCII, not {uri.host!r}") from None
        endpoint = self._connector(host, uri.port)
        if uri.scheme in (b"http", b"ws"):
            return endpoint
        return _OfferingHTTP1(wrapClientTLS(self._context, host, endpoint, **self._settings))


@implementer(IStreamClientEndpoint)
class _OfferingHTTP1:
    """An endpoint whose protocols speak HTTP/1.1, though their factories do not say so."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint

    def connect(self, protocolFactory: IProtocolFactory) -> Deferred[IProtocol]:
        if not IProtocolNegotiationFactory.providedBy(protocolFactory):
            protocolFactory = _HTTP1Factory(protocolFactory)
        return self._endpoint.connect(protocolFactory)


@implementer(IProtocolFactory, IProtocolNegotiationFactory)
class _HTTP1Factory:
    def __init__(self, factory: IProtocolFactory) -> None:
        self.buildProtocol = factory.buildProtocol
        self.doStart = factory.doStart
        self.doStop = factory.doStop

    def acceptableProtocols(self) -> list[bytes]:
        return [b"http/1.1"]
