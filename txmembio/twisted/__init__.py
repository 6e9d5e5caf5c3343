"""TLS for Twisted without pyOpenSSL.

    wrapServerTLS, wrapClientTLS    TLS around any stream endpoint
    TLSFactory                      TLS around any protocol factory
    startTLS, StartTLSFactory       TLS begun on a live connection
    TLSTransport                    what the application's protocol has as its transport
    agentEndpointFactory            https for `twisted.web.client.Agent`
    HTTPConnectEndpoint             through an HTTP proxy

and the `membiotls:` endpoint strings, which `twist`, `serverFromString` and `clientFromString` find by themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .factory import TLSFactory, wrapClientTLS, wrapServerTLS
    from .proxy import HTTPConnectEndpoint, ProxyConnectError
    from .reasons import ConnectionTruncated, HandshakeTimeout, PlaintextInjected, ShutdownTimeout, TooManyHandshakes
    from .starttls import StartTLSFactory, startTLS
    from .transport import TLSTransport
    from .web import agentEndpointFactory

__all__ = [
    "ConnectionTruncated",
    "HTTPConnectEndpoint",
    "HandshakeTimeout",
    "PlaintextInjected",
    "ProxyConnectError",
    "ShutdownTimeout",
    "StartTLSFactory",
    "TLSFactory",
    "TLSTransport",
    "TooManyHandshakes",
    "agentEndpointFactory",
    "startTLS",
    "wrapClientTLS",
    "wrapServerTLS",
]

# Imported on first use: Twisted loads `txmembio.twisted.plugin`, and with it this package, for any endpoint string that
# is not built in; and twisted.web is heavy for programs that have nothing to do with it.
_MODULES = {
    "ConnectionTruncated": "reasons",
    "HTTPConnectEndpoint": "proxy",
    "HandshakeTimeout": "reasons",
    "ProxyConnectError": "proxy",
    "PlaintextInjected": "reasons",
    "ShutdownTimeout": "reasons",
    "StartTLSFactory": "starttls",
    "TLSFactory": "factory",
    "TLSTransport": "transport",
    "TooManyHandshakes": "reasons",
    "agentEndpointFactory": "web",
    "startTLS": "starttls",
    "wrapClientTLS": "factory",
    "wrapServerTLS": "factory",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
