"""Writing, on `TLSStream` as on Tornado's `SSLIOStream`: order, what a write's future promises, limits, back-pressure;
and that neither a huge write nor a slow reader costs the loop or the memory more than it should.
"""

from __future__ import annotations

import array
import asyncio
import contextlib
import fcntl
import hashlib
import select
import socket
import struct
import termios
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
from tornado.iostream import StreamBufferFullError, StreamClosedError

from support.pki import PKI
from support.process import DEADLINE
from support.tornado_ends import (
    OURS,
    SINGLES,
    TLS13,
    Facing,
    Pairing,
    Single,
    each_pairing,
    each_single,
    facing,
    joined,
    on_each_loop,
    our_singles,
    pieces,
    turns,
    until,
)
from txmembio._openssl.lib import lib

TLS13_SINGLES = [each for each in SINGLES if each.version == TLS13]
each_tls13 = pytest.mark.parametrize("single", TLS13_SINGLES, ids=str)

MEGABYTE = b"".join(number.to_bytes(4, "big") for number in range(250_000))

#: Kernel buffers that are full soon.
SMALL = 16384


# What a future promises


@on_each_loop
@each_pairing
async def test_futures_resolve_in_order(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, buffers=SMALL) as ends:
        order: list[int] = []

        def told(number: int, _: object) -> None:
            order.append(number)

        futures = []
        for number in range(50):
            future = ends.near.write(MEGABYTE[: 1000 * number])
            future.add_done_callback(partial(told, number))
            futures.append(future)
        size = sum(1000 * number for number in range(50))
        received = await ends.far.read_bytes(size)
        assert received == b"".join(MEGABYTE[: 1000 * number] for number in range(50))
        assert await asyncio.gather(*futures) == [None] * 50
        await turns()
        assert order == list(range(50))


@on_each_loop
@each_single
async def test_what_a_resolved_future_has_promised_arrives(pki: PKI, single: Single) -> None:
    """The socket takes what it takes; then the stream is closed. All that was said to be written must be there."""
    async with facing(pki, single, buffers=SMALL) as both:
        futures = [both.near.write(MEGABYTE[:10_000]) for _ in range(200)]
        await turns(20)
        promised = sum(10_000 for future in futures if future.done())
        assert 0 < promised < 2_000_000
        assert [future.done() for future in futures] == sorted((future.done() for future in futures), reverse=True)
        both.near.close()
        received = await both.peer.receive_all()
        assert len(received) >= promised
        assert (MEGABYTE[:10_000] * 200).startswith(received)
        pending = [future for future in futures if not future.cancelled() and future.exception() is not None]
        assert len(pending) == 200 - promised // 10_000
        assert all(type(future.exception()) is StreamClosedError for future in pending)


@on_each_loop
@each_pairing
async def test_writing_says_whether_something_is_left(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, buffers=SMALL) as ends:
        assert not ends.near.writing()
        future = ends.near.write(MEGABYTE)
        assert ends.near.writing() and not future.done()
        assert await ends.far.read_bytes(len(MEGABYTE)) == MEGABYTE
        await future
        assert not ends.near.writing()


@on_each_loop
@each_pairing
async def test_nothing_is_written_at_once(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        await ends.near.write(b"")
        await ends.near.write(b"x")
        assert await ends.far.read_bytes(1) == b"x"


# When it may be called


@on_each_loop
@our_singles
async def test_nothing_is_written_before_the_handshake_is_complete(pki: PKI, single: Single) -> None:
    """(The future of Tornado's is never resolved.)"""
    async with facing(pki, single, handshake=False) as both:
        written = both.near.write(b"")
        await both.handshake()
        await written


@on_each_loop
@each_pairing
async def test_writes_before_the_handshake_is_complete(pki: PKI, pairing: Pairing) -> None:
    """They go out in order when it is."""
    async with joined(pki, pairing, handshake=False) as ends:
        futures = [ends.near.write(b"one,"), ends.near.write(MEGABYTE), ends.near.write(b",three")]
        assert await ends.far.read_until(b",") == b"one,"
        assert await ends.far.read_bytes(len(MEGABYTE)) == MEGABYTE
        assert await ends.far.read_bytes(6) == b",three"
        await asyncio.gather(*futures)
        await ends.handshake()


@on_each_loop
@each_pairing
async def test_writes_of_both_sides_before_the_handshake_is_complete(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, handshake=False) as ends:
        reads = ends.near.read_bytes(len(MEGABYTE)), ends.far.read_bytes(len(MEGABYTE))
        await asyncio.gather(ends.near.write(MEGABYTE), ends.far.write(MEGABYTE))
        assert [*await asyncio.gather(*reads)] == [MEGABYTE, MEGABYTE]


@on_each_loop
@each_pairing
async def test_writes_to_a_closed_stream(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        ends.near.close()
        with pytest.raises(StreamClosedError):
            ends.near.write(b"x")
        with pytest.raises(StreamClosedError):
            ends.near.write(b"")


# Kinds of data


@on_each_loop
@each_pairing
@pytest.mark.parametrize("size", [10, 5000, 500_000])
async def test_memoryviews(pki: PKI, pairing: Pairing, size: int) -> None:
    """Also of things that are not bytes; and the memory is the caller's again when the write is done."""
    data = bytearray(MEGABYTE[:size])
    numbers = array.array("I", range(size // 4))
    async with joined(pki, pairing) as ends:
        writes = asyncio.gather(ends.near.write(memoryview(data)), ends.near.write(memoryview(numbers)))
        assert await ends.far.read_bytes(size) == MEGABYTE[:size]
        assert await ends.far.read_bytes(size // 4 * 4) == numbers.tobytes()
        await writes
        data += b"it can grow"
        numbers.append(1)


@on_each_loop
@each_pairing
async def test_memory_is_the_caller_s_again_when_the_stream_is_closed(pki: PKI, pairing: Pairing) -> None:
    data = bytearray(2_000_000)
    async with joined(pki, pairing, buffers=SMALL) as ends:
        future = ends.near.write(memoryview(data))
        ends.near.close()
        with pytest.raises(StreamClosedError):
            await future
        data += b"it can grow"


# Limits


@on_each_loop
@each_pairing
async def test_max_write_buffer_size(pki: PKI, pairing: Pairing) -> None:
    """What the socket does not take counts; a write that would go beyond the limit is refused, and nothing of it is
    sent."""
    async with joined(pki, pairing, buffers=SMALL, near={"max_write_buffer_size": 500_000}) as ends:
        futures = []
        with pytest.raises(StreamBufferFullError):
            while True:
                futures.append(ends.near.write(MEGABYTE[:100_000]))
        assert 5 <= len(futures) < 20
        with pytest.raises(StreamBufferFullError):
            ends.near.write(MEGABYTE[:100_000])
        for _ in futures:
            assert await ends.far.read_bytes(100_000) == MEGABYTE[:100_000]
        await asyncio.gather(*futures)
        await ends.near.write(b"and on")
        assert await ends.far.read_bytes(6) == b"and on"


@on_each_loop
@each_pairing
async def test_one_write_beyond_the_limit(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, near={"max_write_buffer_size": 1000}) as ends:
        with pytest.raises(StreamBufferFullError):
            ends.near.write(b"x" * 1001)
        await ends.near.write(b"y" * 1000)
        assert await ends.far.read_bytes(1000) == b"y" * 1000


# Sockets that take little at a time


@on_each_loop
@each_pairing
async def test_a_socket_with_small_buffers(pki: PKI, pairing: Pairing) -> None:
    """Most sends are partial, in the middle of a record."""
    async with joined(pki, pairing, buffers=4096) as ends:
        reads = ends.near.read_bytes(300_000), ends.far.read_bytes(300_000)
        writes = [
            stream.write(MEGABYTE[at : at + 30_000]) for at in range(0, 300_000, 30_000) for stream in _both(ends)
        ]
        assert [*await asyncio.gather(*reads)] == [MEGABYTE[:300_000]] * 2
        await asyncio.gather(*writes)


def _both(ends: Any) -> tuple[Any, Any]:
    return ends.near, ends.far


@on_each_loop
@each_pairing
async def test_a_wire_that_is_cut(pki: PKI, pairing: Pairing) -> None:
    sizes = (1, 4, 5, 6, 100, 3, 1999, 16384)
    async with joined(pki, pairing, relay=pieces(sizes)) as ends:
        written = asyncio.gather(ends.near.write(MEGABYTE[:200_000]), ends.far.write(MEGABYTE[:200_000]))
        assert await ends.near.read_bytes(200_000) == MEGABYTE[:200_000]
        assert await ends.far.read_bytes(200_000) == MEGABYTE[:200_000]
        await written


@on_each_loop
@each_pairing
async def test_writes_go_on_while_nobody_reads_on_this_side(pki: PKI, pairing: Pairing) -> None:
    """The far side sends as much as it can and is not listened to; that does not hold this side's writes back."""
    async with joined(pki, pairing, buffers=SMALL) as ends:
        stuck = ends.far.write(MEGABYTE)
        await turns(5)
        assert not stuck.done()
        written = ends.near.write(MEGABYTE)
        assert await ends.far.read_bytes(len(MEGABYTE)) == MEGABYTE
        await written
        assert await ends.near.read_bytes(len(MEGABYTE)) == MEGABYTE
        await stuck


# A huge write


@contextlib.contextmanager
def draining(sock: socket.socket) -> Iterator[list[int]]:
    """A thread that takes whatever arrives, faster than anybody encrypts, until the end. What it returns has one item:
    how much that was."""
    sock.setblocking(True)
    sock.settimeout(DEADLINE)
    total = [0]

    def drain() -> None:
        buffer = bytearray(1 << 20)
        with contextlib.suppress(OSError):
            while size := sock.recv_into(buffer):
                total[0] += size

    thread = threading.Thread(target=drain)
    thread.start()
    try:
        yield total
    finally:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)
        thread.join(DEADLINE)


@on_each_loop
@our_singles
async def test_a_huge_write_lets_others_have_their_turns(pki: PKI, single: Single) -> None:
    """64 MB to a peer that takes it as fast as it comes. Between two turns of the loop no more than two megabytes are
    encrypted, some milliseconds of work."""
    size = 64_000_000
    async with facing(pki, single) as both:
        traffic = both.near.connection.traffic  # type: ignore[attr-defined]
        with draining(both.peer.sock) as drained:
            future = both.near.write(b"." * size)
            before = 0
            most = 0
            while not future.done():
                now = traffic().plaintext_sent
                most = max(most, now - before)
                before = now
                await asyncio.sleep(0)
            await future
            assert most <= 2_000_000
            both.near.close()
        assert drained[0] > size


@on_each_loop
@each_pairing
async def test_a_huge_write_arrives(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        future = ends.near.write(MEGABYTE * 64)
        digest = hashlib.sha256()
        for _ in range(64):
            digest.update(await ends.far.read_bytes(len(MEGABYTE)))
        await future
        assert digest.digest() == hashlib.sha256(MEGABYTE * 64).digest()


def queued_in_the_kernel(sender: Any, receiver: Any) -> tuple[int, int]:
    """Bytes that the sender's side has not been acknowledged, and those that nobody has received yet."""
    unsent = fcntl.ioctl(sender.fileno(), termios.TIOCOUTQ, b"\0" * 4)
    unread = fcntl.ioctl(receiver.fileno(), termios.FIONREAD, b"\0" * 4)
    return struct.unpack("i", unsent)[0], struct.unpack("i", unread)[0]


@on_each_loop
@our_singles
async def test_a_slow_reader_does_not_make_us_keep_wire(pki: PKI, single: Single) -> None:
    """What is encrypted and not yet sent is a few records, however much was written."""
    async with facing(pki, single, buffers=SMALL) as both:
        traffic = both.near.connection.traffic  # type: ignore[attr-defined]
        await turns(2)
        take_what_was_sent(both)  # tickets
        before = traffic().wire_sent
        future = both.near.write(b"." * 10_000_000)
        await turns(20)
        assert not future.done()
        sent = take_what_was_sent(both)
        assert sent > SMALL
        assert 0 <= traffic().wire_sent - before - sent <= 128 * 1024


def take_what_was_sent(both: Facing) -> int:
    """Bytes that the stream has given to its socket and the peer has not taken yet; they are taken now. The loop has no
    turn meanwhile, so it sends nothing more.
    """
    taken = 0
    while any(queued_in_the_kernel(both.near.socket, both.peer.sock)):
        if select.select([both.peer.sock], [], [], 0.01)[0]:
            taken += len(both.peer.sock.recv(1 << 20))
    return taken


def with_key_update(both: Facing, plaintext: bytes) -> bytes:
    """Wire from the peer: a KeyUpdate that asks for one in return (RFC 8446 section 4.6.3), and a record."""
    connection: Any = both.peer.connection
    assert lib.SSL_key_update(connection._ssl, 1)
    wire: bytes = connection.plaintext_to_wire(plaintext)
    return wire


@on_each_loop
@each_tls13
async def test_keys_change(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        both.near.set_nodelay(True)
        for number in range(5):
            await both.peer.send_wire(with_key_update(both, b"%04d" % number))
            assert await both.near.read_bytes(4) == b"%04d" % number
            await both.near.write(b"answer")
            assert await both.peer.receive(6) == b"answer"


@on_each_loop
@pytest.mark.parametrize("single", [each for each in TLS13_SINGLES if each.near is OURS], ids=str)
async def test_a_peer_that_asks_and_never_reads_the_answers(pki: PKI, single: Single) -> None:
    """What waits to be sent to it stays bounded; then it is told goodbye."""
    async with facing(pki, single, buffers=4096) as both:
        read = both.near.read_until(b"!")
        traffic = both.near.connection.traffic  # type: ignore[attr-defined]
        before = traffic().wire_sent
        with pytest.raises(ConnectionError):
            while True:
                await both.peer.send_wire(b"".join(with_key_update(both, b".") for _ in range(50)))
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert isinstance(caught.value.real_error, ConnectionAbortedError)
        assert "does not read" in str(caught.value.real_error)
        assert traffic().wire_sent - before < 400_000


# With and without delay


@on_each_loop
@each_pairing
async def test_set_nodelay(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        for on in (True, False):
            ends.near.set_nodelay(on)
            assert bool(ends.near.socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)) is on
        ends.near.close()
        ends.near.set_nodelay(True)


@on_each_loop
@each_single
async def test_set_nodelay_when_the_peer_has_gone(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        both.peer.reset()
        both.near.set_nodelay(True)
        await until(lambda: both.near.closed() or _found_out(both))
        both.near.set_nodelay(False)


def _found_out(both: Facing) -> bool:
    with contextlib.suppress(StreamClosedError):
        both.near.write(b"x")
    return both.near.closed()
