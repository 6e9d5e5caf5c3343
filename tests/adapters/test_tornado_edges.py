"""Where a stream once went wrong at the edges: a handshake that never comes, a peer that is gone before TLS begins, a
stream beneath with limits of its own, a chunk of wire full of requests. None of it shows in the everyday tests.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from tornado.iostream import IOStream, StreamClosedError

import txmembio
from support import pair
from support.pki import PKI
from support.raw_peer import UPDATE_REQUESTED, key_updates
from support.tornado_ends import listening, on_each_loop, reset, socket_pair, turns
from txmembio.tornado import TCPServer, TLSStream, wrap_stream
from txmembio.tornado.wrapping import PlainStream


class Counting(TLSStream):
    """Counts how often the loop calls it."""

    __slots__ = ("calls",)

    def _handle_events(self, fd: Any, events: int) -> None:
        self.calls: int = getattr(self, "calls", 0) + 1
        super()._handle_events(fd, events)


@on_each_loop
@pytest.mark.parametrize("server_side", [False, True])
async def test_a_write_that_waits_for_the_handshake_leaves_the_loop_alone(pki: PKI, server_side: bool) -> None:
    """The socket can be written to all the time, and nothing is to be written yet."""
    ours, theirs = socket_pair()
    context = pair.server_context(pki) if server_side else pair.client_context(pki)
    name = None if server_side else "localhost"
    stream = Counting(ours, ssl_options=context, server_side=server_side, server_hostname=name)
    with theirs:
        write = stream.write(b"banner")
        await turns(50)
        assert stream.calls <= 3
        stream.close()
        with pytest.raises(StreamClosedError):
            await write


@on_each_loop
@pytest.mark.parametrize("wrap", [False, True])
async def test_a_server_that_is_gone_before_the_handshake(pki: PKI, wrap: bool) -> None:
    with listening() as listener:
        client = PlainStream(socket.create_connection(listener.getsockname()))
        theirs, _ = listener.accept()
        client.write(b"STARTTLS\n")
        assert theirs.recv(100)
        reset(theirs)
        await turns(3)
        begin: Any = wrap_stream if wrap else PlainStream.start_tls
        arguments = (client, pair.client_context(pki)) if wrap else (client, False, pair.client_context(pki))
        with pytest.raises((OSError, StreamClosedError)):
            await begin(*arguments, server_hostname="localhost")


@on_each_loop
@pytest.mark.parametrize("limit", [100, 1_000, 66_000])
async def test_a_stream_beneath_that_takes_little_at_a_time(pki: PKI, limit: int) -> None:
    ours, theirs = socket_pair(4096)
    inner = IOStream(ours, max_write_buffer_size=limit)
    client, server = await asyncio.gather(
        wrap_stream(inner, pair.client_context(pki), server_hostname="localhost"),
        wrap_stream(IOStream(theirs), pair.server_context(pki), True),
    )
    data = bytes(range(250)) * 800
    write = client.write(data)
    assert await server.read_bytes(len(data)) == data
    await write
    rest = server.read_until_close()
    client.close()
    assert await rest == b""
    assert client.closed()
    assert inner.closed()


@on_each_loop
async def test_tls_in_tls_keeps_the_limits(pki: PKI) -> None:
    ours, theirs = socket_pair()
    contexts = pair.client_context(pki), pair.server_context(pki)
    client = TLSStream(ours, ssl_options=contexts[0], server_hostname="localhost", max_buffer_size=20_000)
    server = TLSStream(
        theirs, ssl_options=contexts[1], server_side=True, read_chunk_size=5_000, max_write_buffer_size=7_000
    )
    await asyncio.gather(client.wait_for_handshake(), server.wait_for_handshake())
    inner: Any = await asyncio.gather(
        client.start_tls(False, contexts[0], "localhost"), server.start_tls(True, contexts[1])
    )
    assert inner[0].max_buffer_size == 20_000
    assert inner[1].read_chunk_size == 5_000
    assert inner[1].max_write_buffer_size == 7_000
    for each in inner:
        each.close()


@on_each_loop
@pytest.mark.parametrize("into", [False, True])
async def test_more_requests_in_one_chunk_than_there_is_room_for_answers(pki: PKI, into: bool) -> None:
    """What comes behind them is read all the same, though the socket says no more."""
    ours, theirs = socket_pair(2 * 1024 * 1024)
    server = TLSStream(ours, ssl_options=pair.server_context(pki), server_side=True, read_chunk_size=1024 * 1024)
    client = pair.client_context(pki, txmembio.TLSVersion.TLSv1_3).connection(server_hostname="localhost")
    loop = asyncio.get_running_loop()
    theirs.setblocking(False)
    client.do_handshake()
    with theirs:
        while not client.handshake_complete:
            await loop.sock_sendall(theirs, client.wire_to_send())
            client.receive_wire(await loop.sock_recv(theirs, 65536))
        await loop.sock_sendall(theirs, client.wire_to_send())
        await server.wait_for_handshake()
        buffer = bytearray(6)
        read: Any = server.read_into(buffer) if into else server.read_until(b"\n")
        wire = key_updates(client, 6000, UPDATE_REQUESTED) + client.plaintext_to_wire(b"hello\n")

        async def answers() -> None:
            while True:
                await loop.sock_recv(theirs, 1024 * 1024)

        drain = asyncio.create_task(answers())
        await loop.sock_sendall(theirs, wire)
        assert await read in (b"hello\n", 6)
        drain.cancel()
        server.close()
        await asyncio.gather(drain, return_exceptions=True)


@on_each_loop
async def test_what_on_handshake_raises_closes_the_stream_and_stays_inside(
    pki: PKI, caplog: pytest.LogCaptureFixture
) -> None:
    streams = []

    class Server(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            streams.append(stream)

    def refuse(stream: TLSStream, error: BaseException | None) -> None:
        if error is None:
            raise LookupError("not you")

    server = Server(ssl_options=pair.server_context(pki), on_handshake=refuse)
    with listening() as listener:
        listener.setblocking(False)
        server.add_socket(listener)
        sock = socket.create_connection(listener.getsockname())
        client = TLSStream(sock, ssl_options=pair.client_context(pki), server_hostname="localhost")
        with pytest.raises((ssl.SSLError, OSError, StreamClosedError)):
            await client.wait_for_handshake()
            await client.read_bytes(1)
        client.close()
        server.stop()
    assert [type(stream.error) for stream in streams] == [LookupError]
    assert "on_handshake failed" in caplog.text
    caplog.clear()
