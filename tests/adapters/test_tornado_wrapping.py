"""`wrap_stream`: TLS over a stream of any kind, TLS streams and pairs of pipes included. Most of what a `TLSStream`
does over a socket is shown over a stream too by the tests called "layered" in the other files; these are about the two
layers: what one has to do with the other.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.iostream import BaseIOStream, IOStream, PipeIOStream, SSLIOStream, StreamClosedError

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import (
    OURS,
    TLS12,
    TLS13,
    Maker,
    Pairing,
    Peer,
    Single,
    each_maker,
    facing,
    joined,
    listening,
    on_each_loop,
    pieces,
    reset,
    socket_pair,
    turns,
    until,
)
from txmembio.tornado import TLSStream, wrap_stream

LONG = b"".join(number.to_bytes(4, "big") for number in range(500_000))


async def wrap_both(pki: PKI, client: Any, server: Any, **options: Any) -> tuple[Any, Any]:
    """TLS over two streams that are connected with each other."""
    return tuple(  # type: ignore[return-value]
        await asyncio.gather(
            wrap_stream(client, pair.client_context(pki), server_hostname="localhost", **options),
            wrap_stream(server, pair.server_context(pki), True, **options),
        )
    )


async def talk(one: Any, other: Any, data: bytes = b"hello") -> None:
    """Both ways at once."""
    operations = one.write(data), other.write(data), one.read_bytes(len(data)), other.read_bytes(len(data))
    results: list[Any] = [*await asyncio.gather(*operations)]
    assert results[2:] == [data, data]


@asynccontextmanager
async def over_sockets(pki: PKI, **options: Any) -> AsyncIterator[tuple[Any, Any]]:
    """Two streams, each over an IOStream."""
    streams = [IOStream(sock) for sock in socket_pair()]
    try:
        wrapped = await wrap_both(pki, *streams, **options)
        yield wrapped
        for stream in wrapped:
            stream.close()
    finally:
        for plain in streams:
            plain.close()


@asynccontextmanager
async def over_one(pki: PKI, role: str = "server") -> AsyncIterator[tuple[Any, IOStream, Peer]]:
    """A stream of ours over an IOStream, that stream, and a bare connection as the peer."""
    near, far = socket_pair()
    plain = IOStream(near)
    if role == "server":
        peer = Peer(far, pair.client_context(pki).connection(server_hostname="localhost"))
        future = wrap_stream(plain, pair.server_context(pki), True)
    else:
        peer = Peer(far, pair.server_context(pki).connection(server_side=True))
        future = wrap_stream(plain, pair.client_context(pki), server_hostname="localhost")
    stream, _ = await asyncio.gather(future, peer.handshake())
    try:
        yield stream, plain, peer
    finally:
        stream.close()
        peer.sock.close()


def pipes() -> tuple[tuple[PipeIOStream, PipeIOStream], tuple[PipeIOStream, PipeIOStream]]:
    """Two pairs (reader, writer), connected with each other."""
    there, back = os.pipe(), os.pipe()
    one = PipeIOStream(back[0]), PipeIOStream(there[1])
    other = PipeIOStream(there[0]), PipeIOStream(back[1])
    return one, other


# Over what


@on_each_loop
async def test_over_a_plain_stream(pki: PKI) -> None:
    async with over_sockets(pki) as (client, server):
        assert isinstance(client, TLSStream) and isinstance(client, SSLIOStream)
        await talk(client, server)
        await talk(client, server, LONG)


@on_each_loop
@each_maker
@pytest.mark.parametrize("version", [TLS12, TLS13], ids=["tls12", "tls13"])
async def test_tls_in_tls(pki: PKI, maker: Maker, version: txmembio.TLSVersion) -> None:
    """The one below may be Tornado's."""
    async with joined(pki, Pairing(maker, "client", maker, version)) as ends:
        client, server = await wrap_both(pki, ends.near, ends.far)
        await talk(client, server)
        await talk(client, server, LONG)
        client.close()
        assert await server.read_until_close() == b""
        assert server.error is None
        assert ends.near.closed()
        server.close()
        assert ends.far.closed()


@on_each_loop
async def test_three_deep(pki: PKI) -> None:
    async with joined(pki, Pairing(OURS, "client", OURS, TLS13)) as ends:
        second = await wrap_both(pki, ends.near, ends.far)
        # In the opposite roles.
        server, client = await asyncio.gather(
            wrap_stream(second[0], pair.server_context(pki), True),
            wrap_stream(second[1], pair.client_context(pki), server_hostname="localhost"),
        )
        await talk(client, server)
        await talk(client, server, LONG)
        server.close()
        assert await client.read_until_close() == b""
        for stream in (client, server, *second, ends.near, ends.far):
            stream.close()
            assert stream.error is None


@on_each_loop
async def test_tls_in_tls_before_the_lower_has_shaken_hands(pki: PKI) -> None:
    """It keeps what it is given until it has."""
    async with joined(pki, Pairing(OURS, "client", OURS, TLS13), handshake=False) as ends:
        await until(lambda: ends.near.connection is not None)  # type: ignore[attr-defined]
        client, server = await wrap_both(pki, ends.near, ends.far)
        await talk(client, server, LONG)
        client.close()
        server.close()


@on_each_loop
@pytest.mark.parametrize("size", [1, 100])
async def test_tls_in_tls_whose_wire_is_cut(pki: PKI, size: int) -> None:
    async with joined(pki, Pairing(OURS, "client", OURS, TLS13), relay=pieces([size])) as ends:
        client, server = await wrap_both(pki, ends.near, ends.far)
        await talk(client, server, LONG[: 200 * size])
        server.close()
        assert await client.read_until_close() == b""
        client.close()


@on_each_loop
@each_maker
async def test_start_tls_on_a_stream_with_tls(pki: PKI, maker: Maker) -> None:
    """As one does through an HTTPS proxy. (Tornado's own cannot.)"""
    if maker is not OURS:
        return
    called = []
    async with joined(pki, Pairing(OURS, "client", OURS, TLS13)) as ends:
        ends.near.set_close_callback(lambda: called.append("closed"))
        client, server = await asyncio.gather(
            ends.near.start_tls(False, OURS.client_context(pki), "localhost"),
            ends.far.start_tls(True, OURS.server_context(pki)),
        )
        await talk(client, server, LONG)
        assert called == []
        client.close()
        await turns(3)
        assert called == ["closed"]
        server.close()


@on_each_loop
async def test_start_tls_on_a_stream_with_tls_that_is_not_idle(pki: PKI) -> None:
    async with facing(pki, Single(OURS, "server", TLS13)) as both:
        read = both.near.read_bytes(5)
        with pytest.raises(ValueError, match="IOStream is not idle; cannot convert to SSL"):
            both.near.start_tls(True, OURS.server_context(pki))
        await both.peer.send(b"hello")
        assert await read == b"hello"
        both.near.close()
        with pytest.raises(ValueError, match="IOStream is not idle; cannot convert to SSL"):
            both.near.start_tls(True, OURS.server_context(pki))


@on_each_loop
async def test_pairs_of_pipes(pki: PKI) -> None:
    one, other = pipes()
    client, server = await wrap_both(pki, one, other)
    await talk(client, server)
    await talk(client, server, LONG)
    client.set_nodelay(True)
    client.close()
    assert all(stream.closed() for stream in one)
    assert await server.read_until_close() == b""
    assert server.error is None
    server.close()
    assert all(stream.closed() for stream in other)


@on_each_loop
async def test_tls_in_tls_over_pipes(pki: PKI) -> None:
    one, other = pipes()
    beneath = await wrap_both(pki, one, other)
    client, server = await wrap_both(pki, *beneath)
    await talk(client, server, LONG)
    for stream in (client, server):
        stream.close()
        assert stream.error is None


@on_each_loop
async def test_a_pair_of_two_connections(pki: PKI) -> None:
    """One for each direction."""
    there, back = socket_pair(), socket_pair()
    streams = [IOStream(sock) for sock in (*there, *back)]
    client, server = await wrap_both(pki, (streams[3], streams[0]), (streams[1], streams[2]))
    await talk(client, server, LONG)
    client.close()
    assert await server.read_until_close() == b""
    server.close()
    assert all(stream.closed() for stream in streams)


@on_each_loop
async def test_unix_sockets(pki: PKI) -> None:
    one, other = (IOStream(sock) for sock in socket.socketpair())
    client, server = await wrap_both(pki, one, other)
    await talk(client, server, LONG)
    client.close()
    server.close()


# What is refused


@on_each_loop
@pytest.mark.parametrize("value", [None, 5, "stream", (), ("a", "b")])
async def test_what_is_no_stream(pki: PKI, value: Any) -> None:
    with pytest.raises(TypeError, match=r"stream is .*expected a stream of Tornado's, or a pair \(reader, writer\)"):
        wrap_stream(value, pair.client_context(pki), server_hostname="localhost")


@on_each_loop
async def test_tuples_that_are_no_pairs(pki: PKI) -> None:
    one, other = pipes()
    for wrong in (one[:1], (*one, other[0]), (one[0], None)):
        with pytest.raises(TypeError, match="expected a stream of Tornado's"):
            wrap_stream(wrong, pair.client_context(pki), server_hostname="localhost")  # type: ignore[arg-type]
    for stream in (*one, *other):
        stream.close()


@on_each_loop
async def test_a_closed_stream(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        stream = IOStream(one)
        reason = ValueError("the application's own")
        stream.close(exc_info=reason)
        with pytest.raises(StreamClosedError) as caught:
            wrap_stream(stream, pair.client_context(pki), server_hostname="localhost")
        assert caught.value.real_error is reason


@on_each_loop
@pytest.mark.parametrize("which", [0, 1])
async def test_a_pair_of_which_one_is_closed(pki: PKI, which: int) -> None:
    one, other = pipes()
    one[which].close()
    with pytest.raises(StreamClosedError):
        wrap_stream(one, pair.client_context(pki), server_hostname="localhost")
    for stream in (*one, *other):
        stream.close()


@on_each_loop
async def test_a_stream_with_a_read_pending(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        stream = IOStream(one)
        future = stream.read_bytes(5)
        with pytest.raises(ValueError, match="a read is pending"):
            wrap_stream(stream, pair.client_context(pki), server_hostname="localhost")
        other.sendall(b"hello")
        assert await future == b"hello"
        stream.close()


@on_each_loop
async def test_a_stream_that_is_not_connected_yet(pki: PKI) -> None:
    with listening() as listener:
        stream = IOStream(socket.socket())
        connecting = stream.connect(listener.getsockname())
        with pytest.raises(ValueError, match="not connected yet"):
            wrap_stream(stream, pair.client_context(pki), server_hostname="localhost")
        await connecting
        stream.close()


@on_each_loop
async def test_contexts_that_cannot_be_used(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        stream = IOStream(one)
        standard: Any = ssl.create_default_context()
        wrong: Any
        for wrong in (standard, 5, None):
            with pytest.raises(TypeError, match=r"txmembio\.(SSLContext|create_default_context)"):
                wrap_stream(stream, wrong, True)
        with pytest.raises(TypeError, match=r"context .*txmembio\.(SSLContext|create_default_context)"):
            wrap_stream(stream, standard)
        with pytest.raises(ValueError, match="for the other role"):
            wrap_stream(stream, pair.client_context(pki), True)
        with pytest.raises(ValueError, match="hostname"):
            wrap_stream(stream, pair.client_context(pki))
        with pytest.raises(ValueError, match="handshake_timeout must be"):
            wrap_stream(stream, pair.client_context(pki), server_hostname="localhost", handshake_timeout=0)
        assert not stream.closed()
        other.sendall(b"it is as it was")
        assert await stream.read_bytes(15) == b"it is as it was"
        stream.close()


@on_each_loop
async def test_a_client_refuses_what_was_received_before(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        stream = IOStream(one)
        other.sendall(b"220 go ahead\r\ninjected")
        assert await stream.read_until(b"\r\n") == b"220 go ahead\r\n"
        with pytest.raises(ssl.SSLError, match="8 bytes of plaintext were received"):
            wrap_stream(stream, pair.client_context(pki), server_hostname="localhost")
        assert stream.closed()


@on_each_loop
async def test_a_server_takes_what_was_received_before_for_wire(pki: PKI) -> None:
    near, far = socket_pair()
    peer = Peer(far, pair.client_context(pki).connection(server_hostname="localhost"))
    plain = IOStream(near)
    peer.connection.do_handshake()
    await peer.send_wire(b"STARTTLS\r\n" + peer.connection.wire_to_send())
    assert await plain.read_until(b"\r\n") == b"STARTTLS\r\n"
    stream, _ = await asyncio.gather(wrap_stream(plain, pair.server_context(pki), True), peer.handshake())
    await peer.send(b"hello")
    assert await stream.read_bytes(5) == b"hello"
    stream.close()
    peer.sock.close()


@on_each_loop
async def test_what_was_written_before_leaves_first(pki: PKI) -> None:
    near, far = socket_pair(buffers=16384)
    peer = Peer(far, pair.client_context(pki).connection(server_hostname="localhost"))
    plain = IOStream(near)
    written = plain.write(b"." * 500_000)
    future = wrap_stream(plain, pair.server_context(pki), True)
    remaining = 500_000
    while remaining:
        remaining -= len(await peer.receive_wire())
    await written
    stream, _ = await asyncio.gather(future, peer.handshake())
    await stream.write(b"hello")
    assert await peer.receive(5) == b"hello"
    stream.close()
    peer.sock.close()


# One layer and the other


@on_each_loop
async def test_closing_the_upper_closes_the_lower(pki: PKI) -> None:
    async with over_one(pki) as (stream, plain, peer):
        called = []
        plain.set_close_callback(lambda: called.append("lower"))
        stream.set_close_callback(lambda: called.append("upper"))
        stream.close()
        assert plain.closed() and plain.error is None
        assert await peer.receive_all() == b""
        assert peer.error is None, "it has said close_notify"
        await turns(3)
        assert sorted(called) == ["lower", "upper"]


@on_each_loop
async def test_closing_the_upper_after_writing(pki: PKI) -> None:
    """What a future has promised arrives, through both layers."""
    async with joined(pki, Pairing(OURS, "client", OURS, TLS13)) as ends:
        client, server = await wrap_both(pki, ends.near, ends.far)
        read = client.read_until_close()
        await server.write(LONG)
        server.close()
        assert await read == LONG
        assert client.error is None
        client.close()


@on_each_loop
async def test_closing_the_lower_ends_the_upper(pki: PKI) -> None:
    """It cannot say close_notify any more."""
    async with over_one(pki) as (stream, plain, peer):
        closed = asyncio.Event()
        stream.set_close_callback(closed.set)
        read = stream.read_bytes(1)
        plain.close()
        with pytest.raises(StreamClosedError):
            await read
        await closed.wait()
        assert stream.closed()
        await peer.receive_all()
        assert isinstance(peer.error, txmembio.SSLEOFError)


@on_each_loop
async def test_an_error_of_the_lower_is_one_of_the_upper(pki: PKI) -> None:
    async with over_one(pki) as (stream, plain, _):
        read = stream.read_bytes(1)
        reason = OSError("the line was cut")
        plain.close(exc_info=reason)
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert caught.value.real_error is reason and stream.error is reason


@on_each_loop
async def test_a_reset(pki: PKI) -> None:
    async with over_one(pki) as (stream, plain, peer):
        read = stream.read_bytes(1)
        peer.reset()
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert isinstance(caught.value.real_error, ConnectionResetError)
        assert plain.closed() and stream.error is plain.error


@on_each_loop
async def test_an_error_of_the_lower_s_own_tls(pki: PKI) -> None:
    """A record that is bad for the lower layer ends both, and both know why."""
    async with facing(pki, Single(OURS, "server", TLS13)) as both:
        upper = wrap_stream(both.near, pair.server_context(pki), True)
        await turns(3)
        await both.peer.send_wire(b"\x17\x03\x03\x00\x20" + b"?" * 32)
        with pytest.raises(ssl.SSLError, match="bad record mac") as caught:
            await upper
        assert both.near.error is caught.value


@on_each_loop
async def test_truncation_above_although_the_lower_ends_in_order(pki: PKI) -> None:
    """Whoever holds the lower layer could otherwise cut the upper one short unnoticed."""
    async with joined(pki, Pairing(OURS, "client", OURS, TLS13)) as ends:
        client, server = await wrap_both(pki, ends.near, ends.far)
        read = client.read_until_close()
        await server.write(b"some of it")
        await turns(2)
        ends.far.close()
        assert await read == b"some of it"
        assert isinstance(client.error, ssl.SSLEOFError)
        assert ends.near.error is None
        client.close()
        await until(server.closed)


@on_each_loop
async def test_writing_when_the_lower_is_closed(pki: PKI) -> None:
    async with over_one(pki) as (stream, plain, _):
        plain.close()
        with pytest.raises(StreamClosedError):
            while True:
                await stream.write(b"x")
        assert stream.closed()


@on_each_loop
async def test_a_peer_that_goes_away_in_the_handshake(pki: PKI) -> None:
    one, other = socket_pair()
    plain = IOStream(one)
    future = wrap_stream(plain, pair.client_context(pki), server_hostname="localhost")
    await turns(2)
    reset(other)
    with pytest.raises(ConnectionResetError):
        await future
    assert plain.closed()


@on_each_loop
async def test_an_error_of_the_lower_in_the_handshake(pki: PKI) -> None:
    """Whatever it is."""
    one, other = socket_pair()
    with other:
        plain = IOStream(one)
        future = wrap_stream(plain, pair.server_context(pki), True)
        await turns(2)
        reason = LookupError("the application's own")
        plain.close(exc_info=reason)
        with pytest.raises(LookupError) as caught:
            await future
        assert caught.value is reason


@on_each_loop
async def test_a_handshake_that_fails_closes_the_lower(pki: PKI) -> None:
    one, other = (IOStream(sock) for sock in socket_pair())
    server = wrap_stream(other, pair.server_context(pki, credential=pki.untrusted), True)
    with pytest.raises(ssl.SSLCertVerificationError):
        await wrap_stream(one, pair.client_context(pki), server_hostname="localhost")
    assert one.closed() and isinstance(one.error, (ssl.SSLCertVerificationError, type(None)))
    with pytest.raises((ssl.SSLError, StreamClosedError)):
        stream = await server  # TLS 1.3: complete on its side, and then refused
        await stream.read_bytes(1)
    assert other.closed()


@on_each_loop
async def test_a_peer_that_stalls(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        plain = IOStream(one)
        with pytest.raises(TimeoutError, match="handshake was not complete"):
            await wrap_stream(plain, pair.server_context(pki), True, handshake_timeout=0.05)
        assert plain.closed()


@on_each_loop
async def test_who_gives_up_waiting_gives_up_both(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        plain = IOStream(one)
        future = wrap_stream(plain, pair.server_context(pki), True)
        await turns(2)
        future.cancel()
        await until(plain.closed)


@on_each_loop
async def test_a_wait_with_a_limit(pki: PKI) -> None:
    one, other = socket_pair()
    with other:
        plain = IOStream(one)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(wrap_stream(plain, pair.server_context(pki), True), 0.05)
        await until(plain.closed)


# How much is held


@on_each_loop
@pytest.mark.parametrize("over", ["socket", "tls", "pipes"])
async def test_a_reader_who_does_not_read_holds_the_writer_back(pki: PKI, over: str) -> None:
    """Through both layers: what is encrypted and not taken by the kernel stays bounded."""
    lower: list[Any]
    if over == "pipes":
        lower = list(pipes())
    else:
        lower = [IOStream(sock) for sock in socket_pair(buffers=16384)]
        if over == "tls":
            lower = list(await wrap_both(pki, *lower))
    client, server = await wrap_both(pki, *lower)
    written = client.write(LONG * 5)
    sent = -1
    while sent != (now := client.connection.traffic().plaintext_sent):
        sent = now
        await turns(20)
    assert not written.done()
    assert sent < 1_000_000
    assert await server.read_bytes(len(LONG) * 5) == LONG * 5
    await written
    client.close()
    server.close()


@on_each_loop
async def test_a_huge_write_lets_others_have_their_turns(pki: PKI) -> None:
    async with over_sockets(pki) as (client, server):
        read = server.read_bytes(20_000_000)
        written = client.write(b"." * 20_000_000)
        traffic = client.connection.traffic
        before = most = 0
        while not written.done():
            most = max(most, traffic().plaintext_sent - before)
            before = traffic().plaintext_sent
            await asyncio.sleep(0)
        assert most <= 2_000_000
        assert len(await read) == 20_000_000


@on_each_loop
async def test_limits_of_the_upper(pki: PKI) -> None:
    async with over_sockets(pki, max_buffer_size=50_000, read_chunk_size=1000, max_write_buffer_size=2000) as (
        one,
        two,
    ):
        assert (one.max_buffer_size, one.read_chunk_size, one.max_write_buffer_size) == (50_000, 1000, 2000)
        await talk(one, two, b"x" * 1000)


# What the upper tells


@on_each_loop
async def test_the_socket_is_the_one_at_the_bottom(pki: PKI) -> None:
    async with over_one(pki, "client") as (stream, plain, peer):
        sock = stream.socket
        assert sock.getpeercert(True) == pki.server.certificate_der
        assert sock.version() == "TLSv1.3" and sock.server_hostname == "localhost"
        assert sock.getpeername() == peer.sock.getsockname()
        assert sock.getsockname() == plain.socket.getsockname()
        assert sock.fileno() == plain.socket.fileno()
        assert sock.family == socket.AF_INET
        stream.set_nodelay(True)
        assert plain.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


@on_each_loop
async def test_each_layer_tells_its_own(pki: PKI) -> None:
    async with joined(pki, Pairing(OURS, "client", OURS, TLS12)) as ends:
        client, server = await wrap_both(pki, ends.near, ends.far)
        assert client.socket.version() == "TLSv1.3" and ends.near.socket.version() == "TLSv1.2"
        assert client.socket.getpeername() == ends.near.socket.getpeername()
        client.close()
        server.close()


@on_each_loop
async def test_pipes_have_no_name(pki: PKI) -> None:
    one, other = pipes()
    client, server = await wrap_both(pki, one, other)
    assert client.socket.version() == "TLSv1.3"
    assert not client.socket.getpeername()
    assert client.socket.fileno() == one[0].fileno()
    client.close()
    server.close()


# It listens


@on_each_loop
async def test_an_idle_stream_with_a_callback_hears_of_the_end(pki: PKI) -> None:
    async with over_one(pki) as (stream, _, peer):
        closed = asyncio.Event()
        stream.set_close_callback(closed.set)
        await turns(3)
        await peer.close()
        await closed.wait()
        assert stream.error is None


@on_each_loop
async def test_what_is_pending_is_served_at_the_end_of_the_handshake(pki: PKI) -> None:
    """Finished, data and silence."""
    near, far = socket_pair()
    plain: BaseIOStream = IOStream(near)
    peer = Peer(far, pair.client_context(pki).connection(server_hostname="localhost"))
    peer.connection.send_plaintext(LONG)  # leaves with Finished
    shaking = asyncio.ensure_future(peer.handshake())
    stream = await wrap_stream(plain, pair.server_context(pki), True)
    assert await stream.read_bytes(len(LONG)) == LONG
    await shaking
    stream.close()
    peer.sock.close()


@on_each_loop
async def test_reads_far_apart(pki: PKI) -> None:
    """What the layers hold meanwhile is still there, and wakes up nobody in between."""
    async with over_one(pki) as (stream, _, peer):
        await peer.send(b"".join(b"%06d\n" % number for number in range(3000)))
        for number in range(3000):
            assert await stream.read_until(b"\n") == b"%06d\n" % number
            if number % 100 == 0:
                await turns(3)
        idle = stream.read_bytes(1)
        await turns(5)
        assert not idle.done()
