"""TLS for Twisted without pyOpenSSL.

    wrapServerTLS, wrapClientTLS    TLS around any stream endpoint
    TLSFactory                      TLS around any protocol factory
    TLSTransport                    what the application's protocol has as its transport
    agentEndpointFactory            https for `twisted.web.client.Agent`

and the `membiotls:` endpoint strings, which `twist`, `serverFromString` and `clientFromString` find by themselves.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .factory import TLSFactory, wrapClientTLS, wrapServerTLS
    from .transport import ConnectionTruncated, HandshakeTimeout, ShutdownTimeout, TLSTransport
    from .web import agentEndpointFactory

__all__ = [
    "ConnectionTruncated",
    "HandshakeTimeout",
    "ShutdownTimeout",
    "TLSFactory",
    "TLSTransport",
    "agentEndpointFactory",
    "wrapClientTLS",
    "wrapServerTLS",
]

# Imported on first use: Twisted loads `txmembio.twisted.plugin`, and with it this package, for any endpoint string that
# is not built in; and twisted.web is heavy for programs that have nothing to do with it.
_MODULES = {
    "ConnectionTruncated": "transport",
    "HandshakeTimeout": "transport",
    "ShutdownTimeout": "transport",
    "TLSFactory": "factory",
    "TLSTransport": "transport",
    "agentEndpointFactory": "web",
    "wrapClientTLS": "factory",
    "wrapServerTLS": "factory",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
