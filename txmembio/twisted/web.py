"""HTTPS for `twisted.web.client.Agent` with a txmembio context."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.interfaces import IStreamClientEndpoint
from twisted.web.error import SchemeNotSupported
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from .. import SSLContext
from .factory import Settings, check_settings, wrapClientTLS

if TYPE_CHECKING:
    from twisted.web.client import URI
    from typing_extensions import Unpack

__all__ = ["agentEndpointFactory"]

#: Seconds for one attempt to connect, before TLS begins: HostnameEndpoint's own default.
CONNECT_TIMEOUT = 30.0


def agentEndpointFactory(
    context: SSLContext,
    reactor: Any = None,
    *,
    connectTimeout: float = CONNECT_TIMEOUT,
    bindAddress: Any = None,
    **settings: Unpack[Settings],
) -> IAgentEndpointFactory:
    """What `Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor))` needs to fetch https: URIs.

    The host in the URI is what is connected to, sent as SNI, and what the certificate must be for. http: URIs
    are fetched without TLS.

    :param context: a `txmembio.SSLContext` for clients.
    :param reactor: connects; the global one if not given.
    :param connectTimeout: seconds for each attempt to connect, before TLS begins.
    :param bindAddress: the local address to connect from, as for `HostnameEndpoint`.
    :param settings: `handshakeTimeout`, `shutdownTimeout` and `clock`, as for `TLSFactory`; the clock is `reactor`
        unless given.
    :raises TypeError, ValueError: as `TLSFactory`.
    """
    check_settings(context, True, "host-of-the-uri", **settings)
    if reactor is None:
        from twisted.internet import reactor  # not before it is needed: importing it installs it
    settings.setdefault("clock", reactor)
    return _AgentEndpointFactory(context, reactor, {"timeout": connectTimeout, "bindAddress": bindAddress}, settings)


@implementer(IAgentEndpointFactory)
class _AgentEndpointFactory:
    def __init__(self, context: SSLContext, reactor: Any, connecting: dict[str, Any], settings: Settings) -> None:
        self._context = context
        self._reactor = reactor
        self._connecting = connecting
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
        endpoint = HostnameEndpoint(self._reactor, host, uri.port, **self._connecting)
        if uri.scheme in (b"http", b"ws"):
            return endpoint
        return wrapClientTLS(self._context, host, endpoint, **self._settings)
