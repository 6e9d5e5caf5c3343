"""TLS over what is a stream already: `start_tls` takes its socket, `wrap_stream` runs on top of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any

from tornado.concurrent import Future
from tornado.iostream import BaseIOStream, IOStream, SSLIOStream

from .. import SSLContext, SSLError
from ..limits import HANDSHAKE_TIMEOUT
from .layer import Pair
from .options import context_for
from .stream import TLSStream, Watcher, check_timeout

__all__ = ["PlainStream", "start_tls", "start_tls_over", "wrap_stream"]


class PlainStream(IOStream):
    """Tornado's `IOStream`, whose `start_tls` makes a `TLSStream`."""

    def start_tls(
        self,
        server_side: bool,
        ssl_options: Any = None,
        server_hostname: str | None = None,
        handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
        watcher: Watcher | None = None,
    ) -> Future[SSLIOStream]:
        """As `IOStream.start_tls`; see the function `start_tls`."""
        return start_tls(self, server_side, ssl_options, server_hostname, handshake_timeout, watcher)


def start_tls(
    stream: IOStream,
    server_side: bool,
    ssl_options: Any = None,
    server_hostname: str | None = None,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    watcher: Watcher | None = None,
) -> Future[SSLIOStream]:
    """Goes on with TLS on the socket of `stream`. Returns a Future for the `TLSStream`, which fails with its error.

    On a server, what `stream` has received and nobody has read is the beginning of the client's handshake. On a client
    it is plaintext that somebody has put before the handshake (CVE-2011-0411): the stream is closed, and
    `ssl.SSLError` raised.

    :raises ValueError: a read, a write or a connect is pending, or the stream is closed; and as `TLSStream`.
    """
    if not idle(stream):
        raise ValueError("IOStream is not idle; cannot convert to SSL")
    options = True if ssl_options is None and not server_side else ssl_options
    context = context_for(options, server_side)
    check_timeout(handshake_timeout)
    connection = context.connection(server_side, server_hostname)  # what is wrong is said before the socket is taken
    arrived = _unread(stream, server_side)
    if stream._state is not None:
        stream.io_loop.remove_handler(stream.fileno())
        stream._state = None
    socket, stream.socket = stream.socket, None  # type: ignore[assignment]
    secured = TLSStream(
        socket,
        ssl_options=context,
        server_side=server_side,
        server_hostname=server_hostname,
        handshake_timeout=handshake_timeout,
        watcher=watcher,
        arrived=arrived,
        connection=connection,
        **_limits(stream),
    )
    return _taking_over(stream, secured)


def wrap_stream(
    stream: BaseIOStream | tuple[BaseIOStream, BaseIOStream],
    context: SSLContext | Mapping[str, Any] | bool,
    server_side: bool = False,
    server_hostname: str | None = None,
    *,
    handshake_timeout: float | None = HANDSHAKE_TIMEOUT,
    **kwargs: Any,
) -> Future[SSLIOStream]:
    """TLS over an existing stream. Returns a Future for the `TLSStream` when the handshake is complete.

    :param stream: any stream of Tornado's, a `TLSStream` too; or a pair to read from and to write to, such as two
        `PipeIOStream`s. It belongs to the new stream then, and is closed with it.
    :param context: what `TLSStream` takes as `ssl_options`.
    :param handshake_timeout: as for `TLSStream`, as are `server_side`, `server_hostname` and `kwargs`.
    :raises StreamClosedError: the stream is closed; `real_error` says why.
    :raises ValueError: a read is pending on it; and as `TLSStream`. Also (`ssl.SSLError`) as `PlainStream.start_tls`
        if a client's stream has received something that nobody has read.

    The Future fails with the error that `error` has then: `ssl.SSLError`, TimeoutError, what the stream beneath failed
    with, or StreamClosedError.
    """
    made = _layered(stream, context, server_side, server_hostname, handshake_timeout, kwargs)
    return _cancelling(made.wait_for_handshake(), made)


def start_tls_over(
    stream: TLSStream, server_side: bool, ssl_options: Any = None, server_hostname: str | None = None
) -> Future[SSLIOStream]:
    """`wrap_stream`, with what `IOStream.start_tls` checks and hands over."""
    if not idle(stream):
        raise ValueError("IOStream is not idle; cannot convert to SSL")
    return _taking_over(
        stream, _layered(stream, ssl_options, server_side, server_hostname, HANDSHAKE_TIMEOUT, _limits(stream))
    )


def _layered(
    beneath: BaseIOStream | tuple[BaseIOStream, BaseIOStream],
    options: Any,
    server_side: bool,
    server_hostname: str | None,
    handshake_timeout: float | None,
    kwargs: dict[str, Any],
) -> TLSStream:
    if options is None and not server_side:
        options = True
    context = context_for(options, server_side, "context")
    connection = context.connection(server_side, server_hostname)
    pair = Pair(beneath)
    pair.check()
    _unread(pair.reader, server_side, leave=True)
    return TLSStream(
        pair,
        ssl_options=context,
        server_side=server_side,
        server_hostname=server_hostname,
        handshake_timeout=handshake_timeout,
        connection=connection,
        **kwargs,
    )


def _limits(stream: BaseIOStream) -> dict[str, Any]:
    return {
        "max_buffer_size": stream.max_buffer_size,
        "read_chunk_size": stream.read_chunk_size,
        "max_write_buffer_size": stream.max_write_buffer_size,
    }


def _unread(stream: BaseIOStream, server_side: bool, leave: bool = False) -> bytes:
    """What `stream` has received and nobody has read. Raises SSLError if this is a client, who has not said hello."""
    size = stream._read_buffer_size
    if size and not server_side:
        error = SSLError(1, f"{size} bytes of plaintext were received behind what the server had to say before TLS")
        stream.close(exc_info=error)
        raise error
    return b"" if leave else stream._consume(size)


def idle(stream: BaseIOStream) -> bool:
    """Whether `stream` can be handed over: nothing pending, nothing to be written."""
    return not (
        stream._read_future
        or stream._write_futures
        or stream._connect_future
        or stream.closed()
        or stream._write_buffer
        or stream._ssl_connect_future
    )


def _taking_over(before: BaseIOStream, stream: TLSStream) -> Future[SSLIOStream]:
    """Moves the close callback, and returns the Future of the handshake."""
    callback, before._close_callback = before._close_callback, None
    future = _cancelling(stream.wait_for_handshake(), stream)
    stream.set_close_callback(callback)
    return future


def _cancelling(future: Future[SSLIOStream], stream: TLSStream) -> Future[SSLIOStream]:
    """Nobody has the stream before its handshake is complete: who gives up waiting, gives it up."""

    def cancelled(done: asyncio.Future[Any]) -> None:
        if done.cancelled():
            stream._ssl_connect_future = None  # before 6.4 Tornado asks it for its exception, and gets this one
            stream.close()

    future.add_done_callback(cancelled)
    return future
