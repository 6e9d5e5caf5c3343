"""Tornado's `TCPClient`, with TLS in memory."""

from __future__ import annotations

import asyncio
import datetime
import socket
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, cast

import tornado.tcpclient
from tornado.iostream import IOStream, SSLIOStream
from tornado.netutil import Resolver

from ..session_cache import SessionCache
from ..session_cache import sessions as common_sessions
from .options import context_for
from .sessions import Resuming
from .wrapping import PlainStream

if TYPE_CHECKING:
    from tornado.concurrent import Future

__all__ = ["TCPClient"]

_attempts: ContextVar[list[IOStream]] = ContextVar("_attempts")
"""The streams of one `connect()`, of which Tornado forgets some when it is cancelled."""


class TCPClient(tornado.tcpclient.TCPClient):
    """Connects to hosts by name, on IPv6 and IPv4, as Tornado's does.

    :param sessions: where TLS sessions are kept to be resumed; None to resume none. All clients that are given no other
        share one.
    """

    def __init__(self, resolver: Resolver | None = None, *, sessions: SessionCache | None = common_sessions) -> None:
        super().__init__(resolver)
        self.sessions = sessions

    async def connect(
        self,
        host: str,
        port: int,
        af: socket.AddressFamily = socket.AF_UNSPEC,
        ssl_options: Any = None,
        max_buffer_size: int | None = None,
        source_ip: str | None = None,
        source_port: int | None = None,
        timeout: float | datetime.timedelta | None = None,
    ) -> IOStream:
        """A stream to *host*: with `ssl_options` a `TLSStream` whose handshake is complete, without one whose
        `start_tls()` makes a `TLSStream`.

        :param ssl_options: a `txmembio.SSLContext`, a dict (docs/tornado.md), or True for what the platform trusts.
            *host* is sent as SNI (RFC 6066 section 3), and the certificate must be for it.
        :param timeout: seconds, or a timedelta, for all of it.
        :raises TypeError, ValueError: `ssl_options` cannot be used; before anything is connected.
        :raises SSLError, TimeoutError, StreamClosedError, OSError: it does not work out.
        """
        context = None
        if ssl_options is not None:
            context = context_for(ssl_options, server_side=False)
            context.connection(server_hostname=host)  # a name that nobody can have is refused here
        began = asyncio.get_running_loop().time()
        attempts: list[IOStream] = []
        _attempts.set(attempts)
        try:
            stream: Any = await super().connect(
                host, port, af, None, max_buffer_size, source_ip=source_ip, source_port=source_port, timeout=timeout
            )
        except BaseException:
            for attempt in attempts:
                attempt.close()
            raise
        finally:
            attempts.clear()
        if context is None:
            return cast(IOStream, stream)
        # Tornado would begin TLS itself, but before 6.6 it forgets the stream when the time is over.
        handshake = stream.start_tls(False, context, server_hostname=host)
        if timeout is not None:
            seconds = timeout.total_seconds() if isinstance(timeout, datetime.timedelta) else timeout
            timeout = began + seconds - asyncio.get_running_loop().time()
        try:
            return await handshaken(handshake, timeout)
        except asyncio.TimeoutError:
            if not handshake.cancelled() and handshake.exception() is not None:
                raise
            raise asyncio.TimeoutError(f"Timeout during TLS handshake with {where(*stream.address[:2])}") from None

    def _create_stream(
        self,
        max_buffer_size: int | None,
        af: socket.AddressFamily,
        addr: Any,
        source_ip: str | None = None,
        source_port: int | None = None,
    ) -> Any:
        sock = socket.socket(af)
        try:
            if source_ip or source_port:
                loopback = "::1" if af == socket.AF_INET6 else "127.0.0.1"  # as Tornado has it for a port alone
                sock.bind((source_ip or loopback, source_port or 0))
            stream = _Stream(sock, max_buffer_size=max_buffer_size)
        except BaseException:
            sock.close()
            raise
        attempts = _attempts.get(None)
        if attempts is not None:
            attempts.append(stream)
        stream.address = addr
        if self.sessions is not None:
            stream.resuming = Resuming(self.sessions, addr[1])
        return stream, stream.connect(addr)


async def handshaken(handshake: Future[SSLIOStream], timeout: float | None = None) -> SSLIOStream:
    """The stream of a handshake. It is closed if the caller does not get it: a task may be cancelled in the very turn
    in which the handshake completes."""
    try:
        return await asyncio.wait_for(handshake, timeout)
    except BaseException:
        if handshake.done() and not handshake.cancelled() and handshake.exception() is None:
            handshake.result().close()
        raise


def where(host: str, port: int) -> str:
    """A host and its port, as in a URL."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class _Stream(PlainStream):
    """A connection, of which nobody has said yet whether it will be TLS."""

    address: Any
    resuming: Resuming | None = None

    def start_tls(self, server_side: bool, *args: Any, **kwargs: Any) -> Any:
        if not server_side:
            kwargs.setdefault("watcher", self.resuming)
        return super().start_tls(server_side, *args, **kwargs)
