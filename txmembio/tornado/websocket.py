"""Tornado's `websocket_connect`, with TLS in memory: its own connects with its own `TCPClient`."""

from __future__ import annotations

import warnings
from collections.abc import Awaitable, Callable
from typing import Any

import tornado.websocket
from tornado import httpclient, httputil
from tornado.concurrent import Future
from tornado.ioloop import IOLoop
from tornado.netutil import Resolver

from .http_client import HTTPConnection

__all__ = ["WebSocketClientConnection", "websocket_connect"]

MAX_MESSAGE_SIZE = 10 * 1024 * 1024
"""Bytes of one message: Tornado's default."""


class WebSocketClientConnection(HTTPConnection, tornado.websocket.WebSocketClientConnection):
    """What `websocket_connect` comes to."""


def websocket_connect(
    url: str | httpclient.HTTPRequest,
    callback: Callable[[Future[tornado.websocket.WebSocketClientConnection]], None] | None = None,
    connect_timeout: float | None = None,
    on_message_callback: Callable[[str | bytes | None], None] | None = None,
    compression_options: dict[str, Any] | None = None,
    ping_interval: float | None = None,
    ping_timeout: float | None = None,
    max_message_size: int = MAX_MESSAGE_SIZE,
    subprotocols: list[str] | None = None,
    resolver: Resolver | None = None,
) -> Awaitable[tornado.websocket.WebSocketClientConnection]:
    """Connect to a ws: or wss: URL. All parameters are those of `tornado.websocket.websocket_connect`; a request's
    `ssl_options` and proxy are as for our `AsyncHTTPClient`.

    :raises SSLError, OSError, HTTPClientError, WebSocketError: it does not work out; from the future.
    """
    if isinstance(url, httpclient.HTTPRequest):
        if connect_timeout is not None:
            raise ValueError(
                f"connect_timeout is {connect_timeout!r}: expected it in the HTTPRequest, where there is one"
            )
        request = url
        request.headers = httputil.HTTPHeaders(request.headers)  # a copy, which gets the headers of the handshake
    else:
        request = httpclient.HTTPRequest(url, connect_timeout=connect_timeout)
    more = {} if resolver is None else {"resolver": resolver}  # not there before Tornado 6.3
    connection = WebSocketClientConnection(
        httpclient._RequestProxy(request, httpclient.HTTPRequest._DEFAULTS),  # type: ignore[arg-type]  # as in Tornado
        on_message_callback=on_message_callback,
        compression_options=compression_options,
        ping_interval=ping_interval,
        ping_timeout=ping_timeout,
        max_message_size=max_message_size,
        subprotocols=subprotocols,
        **more,
    )
    if callback is not None:
        message = "The callback argument to websocket_connect is deprecated. Use the returned Future instead."
        warnings.warn(message, DeprecationWarning, stacklevel=2)
        IOLoop.current().add_future(connection.connect_future, callback)
    return connection.connect_future
