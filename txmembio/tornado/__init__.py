"""TLS for Tornado in memory, without wrapped sockets.

    TCPServer, HTTPServer           Tornado's, with TLS of ours
    TCPClient, AsyncHTTPClient      the same for clients
    websocket_connect               wss: URLs
    wrap_stream                     TLS over any stream that there is
    TLSStream                       what all of them make

Where Tornado takes `ssl_options`, these take a `txmembio.SSLContext`, Tornado's dict with a few more keys, or, on
clients, True.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .client import TCPClient
    from .http_client import AsyncHTTPClient
    from .server import HTTPServer, TCPServer
    from .stream import TLSStream
    from .websocket import websocket_connect
    from .wrapping import wrap_stream

__all__ = [
    "AsyncHTTPClient",
    "HTTPServer",
    "TCPClient",
    "TCPServer",
    "TLSStream",
    "websocket_connect",
    "wrap_stream",
]

# Imported on first use: a client needs no HTTP server.
_MODULES = {
    "AsyncHTTPClient": "http_client",
    "HTTPServer": "server",
    "TCPClient": "client",
    "TCPServer": "server",
    "TLSStream": "stream",
    "websocket_connect": "websocket",
    "wrap_stream": "wrapping",
}


def __getattr__(name: str) -> object:
    if name in _MODULES:
        return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
