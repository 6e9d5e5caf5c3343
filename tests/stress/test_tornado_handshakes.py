"""A thousand peers at once whose handshake never ends, or is none: what becomes of them, and of everybody else."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import socket
import struct
import sys
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

import pytest
from tornado.netutil import bind_sockets

import txmembio
from support import pair
from support.pki import PKI
from support.process import DEADLINE
from support.tornado_site import Lines
from txmembio._openssl.lib import lib
from txmembio.tornado import TCPClient, TLSStream
from txmembio.tornado.handshakes import TooManyHandshakes

pytestmark = [
    pytest.mark.usefixtures("many_descriptors"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="/proc says how many descriptors a process has"),
]

COUNT = 1000

#: Seconds: the shortened time-out. It has to be longer than it takes to connect them all, a few tenths of a second.
TIMEOUT = 5.0

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

#: For SO_LINGER: on, for no time, so that close() resets the connection.
RESET = struct.pack("ii", 1, 0)


class Ended:
    """What a server's `on_handshake` was told: the errors of handshakes that failed."""

    def __init__(self) -> None:
        self.errors: list[BaseException | None] = []
        self._waiting: list[tuple[Callable[[], bool], asyncio.Future[None]]] = []

    def __call__(self, stream: TLSStream, error: BaseException | None) -> None:
        if not stream.connection or not stream.connection.handshake_complete:
            self.errors.append(error)
        for waiting in [waiting for waiting in self._waiting if waiting[0]()]:
            self._waiting.remove(waiting)
            waiting[1].set_result(None)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Returns once `condition()` holds; it is asked whenever a handshake has ended."""
        if not condition():
            done = asyncio.get_running_loop().create_future()
            self._waiting.append((condition, done))
            await asyncio.wait_for(done, DEADLINE)


@contextlib.asynccontextmanager
async def serving(pki: PKI, **settings: Any) -> AsyncIterator[tuple[int, Lines, Ended]]:
    """The port of a server that echoes lines, the server, and what becomes of handshakes."""
    ended = Ended()
    server = Lines(ssl_options=pair.server_context(pki), on_handshake=ended, **settings)
    # Room for all of them to wait: whom the system has no room for comes later than those that were told to try again.
    sockets = bind_sockets(0, "127.0.0.1", backlog=COUNT)
    server.add_sockets(sockets)
    try:
        yield sockets[0].getsockname()[1], server, ended
    finally:
        server.stop()


class Kept(logging.Handler):
    """Keeps what was said, and not the records: these have exceptions, whose frames have streams."""

    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.messages: list[str] = []
        self.exceptions: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        (self.exceptions if record.exc_info else self.messages).append(record.getMessage())


def run(scenario: Coroutine[Any, Any, None]) -> list[str]:
    """Runs it; returns what was logged. Fails if it leaves a TLS connection behind, a descriptor, or an exception in
    the log."""
    gc.collect()
    connections, descriptors = lib.txm_live_connections(), len(os.listdir("/proc/self/fd"))
    kept = Kept()
    loggers = [logging.getLogger(name) for name in ("tornado", "txmembio", "asyncio")]
    for logger in loggers:
        logger.addHandler(kept)
        logger.propagate = False  # pytest would keep the records
    try:
        asyncio.run(asyncio.wait_for(scenario, 2 * DEADLINE))
        gc.collect()
    finally:
        for logger in loggers:
            logger.removeHandler(kept)
            logger.propagate = True
    assert not kept.exceptions
    assert lib.txm_live_connections() == connections
    assert len(os.listdir("/proc/self/fd")) == descriptors
    return kept.messages


@contextlib.asynccontextmanager
async def peers(port: int, says: Callable[[int], bytes]) -> AsyncIterator[list[socket.socket]]:
    """A thousand sockets, connected; the nth has sent what `says(n)`."""

    def connect() -> list[socket.socket]:
        sockets = []
        for number in range(COUNT):
            sockets.append(socket.create_connection(("127.0.0.1", port), DEADLINE))
            sockets[-1].sendall(says(number))
        return sockets

    sockets = await asyncio.to_thread(connect)
    try:
        yield sockets
    finally:
        for each in sockets:
            each.close()


def hello(pki: PKI) -> bytes:
    """A ClientHello."""
    connection = pair.client_context(pki).connection(server_hostname="localhost")
    connection.do_handshake()
    return connection.wire_to_send()


def is_closed(peer: socket.socket) -> bool:
    """The other end has closed or reset the connection, whatever it has said before."""
    peer.setblocking(False)
    try:
        while peer.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionResetError:
        pass
    return True


async def converse(pki: PKI, port: int) -> None:
    """An honest client is answered."""
    stream = await TCPClient(sessions=None).connect("localhost", port, ssl_options=pair.client_context(pki))
    await stream.write(b"hello\n")
    assert await asyncio.wait_for(stream.read_until(b"\n"), DEADLINE) == b"hello\n"
    stream.close()


def test_those_that_stop_are_closed_by_the_time_out_and_others_are_served(pki: PKI) -> None:
    whole = hello(pki)
    stops = (b"", whole[:1], whole[:100], whole)  # the last has the server's answer, and never reads it

    async def scenario() -> None:
        settings = {"handshake_timeout": TIMEOUT, "max_handshakes": None}
        async with (
            serving(pki, **settings) as (port, server, ended),
            peers(port, lambda number: stops[number % len(stops)]) as sockets,
        ):
            counters = server.counters
            await converse(pki, port)
            assert counters.handshakes_under_way == COUNT, "they were to be there when the client was served"
            assert not ended.errors
            await ended.until(lambda: len(ended.errors) == COUNT)
            assert {type(error) for error in ended.errors} == {TimeoutError}
            assert str(ended.errors[0]) == f"the TLS handshake was not complete within {TIMEOUT:g} seconds"
            assert all(map(is_closed, sockets))
            assert counters.failures == {"timeout": COUNT}
            assert counters.connections_open <= 1, "at most the honest client's, whose close may be on its way"
            await converse(pki, port)

    assert run(scenario()) == []


def test_more_than_the_cap_make_way_and_others_are_served(pki: PKI) -> None:
    """Whoever holds all places without a time-out to free them still keeps nobody out."""
    cap = 100
    first = hello(pki)[:1]

    async def scenario() -> None:
        async with serving(pki, handshake_timeout=None, max_handshakes=cap) as (port, server, ended):
            async with peers(port, lambda number: first) as sockets:
                await ended.until(lambda: len(ended.errors) == COUNT - cap)
                assert {type(error) for error in ended.errors} == {TooManyHandshakes}
                assert server.counters.handshakes_under_way == cap
                assert [is_closed(each) for each in sockets] == [True] * (COUNT - cap) + [False] * cap, (
                    "the oldest go first"
                )
                for _ in range(5):
                    await converse(pki, port)
                # The first of these took the place of one more; the others found that place free again.
                await ended.until(lambda: server.counters.failures["displaced"] == COUNT - cap + 1)
            await ended.until(lambda: server.counters.handshakes_under_way == 0)
            assert server.counters.failures == {"displaced": COUNT - cap + 1, "truncated": cap - 1}

    assert run(scenario()) == []


def test_plain_http_on_the_tls_port_is_refused_and_others_are_served(pki: PKI) -> None:
    async def scenario() -> None:
        async with serving(pki) as (port, server, ended), peers(port, lambda number: REQUEST) as sockets:
            await ended.until(lambda: len(ended.errors) == COUNT)
            assert all(map(is_closed, sockets))
            assert {type(error) for error in ended.errors} == {txmembio.SSLError}
            assert server.counters.failures == {"http_request": COUNT}
            await converse(pki, port)

    messages = run(scenario())
    assert len(messages) == COUNT
    assert all(each.startswith("SSL Error on ") and "http request" in each for each in messages), "as Tornado's own do"


def reset_half(sockets: list[socket.socket]) -> None:
    """So that closing them resets every other connection."""
    for each in sockets[::2]:
        each.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def test_those_that_leave_in_the_middle_are_forgotten_and_others_are_served(pki: PKI) -> None:
    whole = hello(pki)
    stops = (b"", whole[:1], whole[:100], whole)

    async def scenario() -> None:
        async with serving(pki) as (port, server, ended):
            counters = server.counters
            async with peers(port, lambda number: stops[number // 2 % len(stops)]) as sockets:
                await converse(pki, port)  # whose turn comes when all of them have begun
                assert counters.handshakes_under_way == COUNT
                reset_half(sockets)
            await ended.until(lambda: len(ended.errors) == COUNT)
            # A close with the server's answer unread is a reset as well.
            lost = COUNT // 2 + COUNT // 2 // len(stops)
            assert counters.failures == {"truncated": COUNT - lost, "lost": lost}
            await converse(pki, port)

    assert run(scenario()) == []


def test_those_that_are_gone_before_they_are_accepted_are_no_trouble(pki: PKI) -> None:
    async def scenario() -> None:
        async with serving(pki) as (port, server, ended):
            async with peers(port, lambda number: b"") as sockets:
                reset_half(sockets)
            await converse(pki, port)  # whose turn comes after theirs
            await ended.until(lambda: server.counters.handshakes_under_way == 0)
            assert set(server.counters.failures) <= {"truncated", "lost"}

    assert run(scenario()) == []
