"""Streams in the place of a socket: what `TLSStream` runs on when there is no descriptor of its own.

A `TLSStream` asks two things of what is beneath it. Of the socket: `recv` and `send` that never wait. Of the loop: to
be told when one of them is worth calling. Here a stream of Tornado's answers both: `Pair` keeps one read and one write
of it under way, and `Loop` turns their ends into the events that a descriptor would have.
"""

from __future__ import annotations

from collections.abc import Callable
from socket import AF_UNSPEC
from typing import Any

from tornado.concurrent import Future
from tornado.ioloop import IOLoop
from tornado.iostream import BaseIOStream, StreamClosedError

__all__ = ["Loop", "Pair"]

#: Bytes of wire that are read ahead of the TLS connection: what Tornado reads at a time.
READ_AHEAD = 65536

_OF_THE_SOCKET = frozenset(("getsockname", "getsockopt", "proto", "setsockopt", "type"))
"""What there is to ask or to set, and has nothing to do with the bytes: those at the bottom are another layer's."""


class Pair:
    """A stream to read wire from and one to write it to, which may be the same; looks like a non-blocking socket."""

    def __init__(self, streams: BaseIOStream | tuple[BaseIOStream, BaseIOStream]) -> None:
        both = streams if isinstance(streams, tuple) else (streams, streams)
        if len(both) != 2 or not all(isinstance(stream, BaseIOStream) for stream in both):
            raise TypeError(
                f"stream is {streams!r}, expected a stream of Tornado's, or a pair (reader, writer) of them"
            )
        self.reader, self.writer = both
        self._arrived = b""
        self._end: BaseException | None = None  # why no more will arrive
        self._reading: Future[bytes] | None = None
        self._sending: Future[None] | None = None
        self._sending_size = 0
        self._loop: Loop | None = None

    def check(self) -> None:
        """Raises StreamClosedError or ValueError if the streams cannot be used."""
        for stream in (self.reader, self.writer):
            if stream.closed():
                raise StreamClosedError(real_error=stream.error)
            if stream._connect_future is not None:
                raise ValueError(f"{stream!r} is not connected yet")
        if self.reader._read_future is not None:
            raise ValueError(f"a read is pending on {self.reader!r}: what it takes would be missing from the handshake")

    def loop_for(self, stream: BaseIOStream) -> Any:
        """The loop that `stream`, which runs on this, is to use."""
        self._loop = Loop(stream.io_loop, self)
        return self._loop

    # What TLSStream asks of a socket

    def recv(self, size: int) -> bytes:
        """Wire that has arrived, b"" at the end. Raises BlockingIOError if there is none now, or what ended it."""
        if not self._arrived:
            if self._end is None:
                raise BlockingIOError
            if isinstance(self._end, StreamClosedError):
                if self._end.real_error is None:
                    return b""
                raise self._end.real_error
            raise self._end
        wire, self._arrived = self._arrived[:size], self._arrived[size:]
        return wire

    def send(self, wire: bytes | memoryview) -> int:
        """Writes wire; returns how much of it is gone. Until that is certain raises BlockingIOError, to be called
        with the same again."""
        if self._sending is None:
            part = bytes(wire[: self._room()])
            try:
                self._sending = self.writer.write(part)
            except StreamClosedError as closed:
                raise _broken(closed) from closed
            self._sending_size = len(part)
            if not self._sending.done():
                self._sending.add_done_callback(self._stir)
        if not self._sending.done():
            raise BlockingIOError
        done, self._sending = self._sending, None
        try:
            done.result()
        except StreamClosedError as closed:
            raise _broken(closed) from closed
        return self._sending_size

    def _room(self) -> int | None:
        """How many bytes the writer takes, None for any number. With no room, a write of nothing ends when there is."""
        limit = self.writer.max_write_buffer_size
        return None if limit is None else max(0, limit - len(self.writer._write_buffer or b""))

    def close(self) -> None:
        """Closes both."""
        if self._loop is not None:
            self._loop.remove_handler(self)
            self._loop = None  # each refers to the other
        self.writer.close()
        self.reader.close()

    def setblocking(self, flag: bool) -> None:
        """Never blocks."""

    def fileno(self) -> int:
        """The descriptor at the bottom, for messages; raises OSError if there is none."""
        descriptor: Any = self.reader.fileno()
        return descriptor if isinstance(descriptor, int) else int(descriptor.fileno())

    def getpeername(self) -> Any:
        """Who is at the other end of the socket at the bottom; "" if that is no socket."""
        socket = getattr(self.reader, "socket", None)
        return socket.getpeername() if socket is not None else ""

    @property
    def family(self) -> int:
        """The address family of the socket at the bottom; AF_UNSPEC if there is none."""
        socket = getattr(self.reader, "socket", None)
        return AF_UNSPEC if socket is None else socket.family

    def __getattr__(self, name: str) -> Any:
        socket = getattr(self.reader, "socket", None)
        if name not in _OF_THE_SOCKET or socket is None:
            raise AttributeError(f"{type(self.reader).__name__} has no socket with a {name}")
        return getattr(socket, name)

    # What Loop asks

    def ready(self, events: int) -> int:
        """Which of the events that somebody waits for are there now. Makes sure that there will be some."""
        there = 0
        if events & IOLoop.READ:
            if self._arrived or self._end is not None:
                there |= IOLoop.READ
            elif self._reading is None:
                self._read()
                if self._arrived or self._end is not None:
                    there |= IOLoop.READ
        if events & IOLoop.WRITE and (self._sending is None or self._sending.done()):
            there |= IOLoop.WRITE
        return there

    def _read(self) -> None:
        try:
            self._reading = _future(self.reader.read_bytes(READ_AHEAD, partial=True))
        except Exception as error:  # StreamClosedError, or what the stream has failed with
            self._end = error
            return
        if self._reading.done():
            self._have_read(self._reading)
        else:
            self._reading.add_done_callback(self._read_ended)

    def _read_ended(self, future: Future[bytes]) -> None:
        self._have_read(future)
        self._stir(future)

    def _have_read(self, future: Future[bytes]) -> None:
        self._reading = None
        if future.cancelled():
            self._end = StreamClosedError()
            return
        error = future.exception()
        if error is not None:
            self._end = error
        else:
            self._arrived = future.result()

    def _stir(self, _: Any) -> None:
        if self._loop is not None:
            self._loop.stir()


class Loop:
    """The `IOLoop` beneath, with a descriptor more: the pair of streams."""

    def __init__(self, loop: IOLoop, pair: Pair) -> None:
        self._loop = loop
        self._pair = pair
        self._handler: Callable[[Any, int], None] | None = None
        self._events = 0
        self._scheduled = False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loop, name)

    def add_handler(self, fd: Any, handler: Callable[[Any, int], None], events: int) -> None:
        """As `IOLoop.add_handler`."""
        self._handler = handler
        self.update_handler(fd, events)

    def update_handler(self, fd: Any, events: int) -> None:
        """As `IOLoop.update_handler`."""
        self._events = events
        self.stir()

    def remove_handler(self, fd: Any) -> None:
        """As `IOLoop.remove_handler`."""
        self._handler = None

    def stir(self) -> None:
        """Something may have happened: look in the next turn, as a descriptor would be looked at."""
        if self._handler is not None and not self._scheduled:
            self._scheduled = True
            self._loop.add_callback(self._turn)

    def _turn(self) -> None:
        self._scheduled = False
        if self._handler is None:
            return
        events = self._pair.ready(self._events)
        if events:
            self._handler(self._pair, events)
            if self._handler is not None and self._pair.ready(self._events):
                self.stir()


def _broken(closed: StreamClosedError) -> OSError:
    error = closed.real_error
    return error if isinstance(error, OSError) else BrokenPipeError(f"the stream beneath is closed: {error!r}")


def _future(awaitable: Any) -> Future[bytes]:
    future: Future[bytes] = awaitable
    return future
