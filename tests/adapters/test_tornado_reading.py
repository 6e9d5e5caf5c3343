"""Every kind of read, on `TLSStream` as on Tornado's `SSLIOStream`: whatever the records, the segments and the chunks
were, and although a socket whose bytes have been decrypted already has nothing more to announce.
"""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pytest
from tornado.iostream import StreamBufferFullError, StreamClosedError, UnsatisfiableReadError

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import (
    OURS,
    TELLS_ERRORS,
    TLS12,
    TLS13,
    Pairing,
    Single,
    each_pairing,
    each_single,
    each_that_waits_for_finished,
    facing,
    joined,
    on_each_loop,
    our_singles,
    turns,
    until,
)

#: Plaintext of many records and many chunks, none of which looks like another.
LONG = b"".join(number.to_bytes(4, "big") for number in range(250_000))


# Up to a delimiter


@on_each_loop
@each_pairing
async def test_read_until(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        await ends.far.write(b"one\r\ntwo\r\n\r\nthr")
        assert await ends.near.read_until(b"\r\n") == b"one\r\n"
        assert await ends.near.read_until(b"\r\n\r\n") == b"two\r\n\r\n"
        future = ends.near.read_until(b"\r\n")
        await ends.far.write(b"ee\r")
        await ends.far.write(b"\nrest")
        assert await future == b"three\r\n"
        assert await ends.near.read_bytes(4) == b"rest"


@on_each_loop
@each_pairing
async def test_read_until_a_delimiter_that_lies_far_off(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        written = ends.far.write(LONG + b"END" + b"more")
        assert await ends.near.read_until(b"END") == LONG + b"END"
        assert await ends.near.read_bytes(4) == b"more"
        await written


@on_each_loop
@each_pairing
async def test_read_until_regex(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        future = ends.near.read_until_regex(rb"\d+;")
        await ends.far.write(b"abc12")
        await ends.far.write(b"34;x;5;")
        assert await future == b"abc1234;"
        assert await ends.near.read_until_regex(rb"\d+;") == b"x;5;"


@on_each_loop
@each_pairing
@pytest.mark.parametrize("read", ["read_until", "read_until_regex"])
async def test_a_delimiter_that_does_not_come_in_time(pki: PKI, pairing: Pairing, read: str) -> None:
    async with joined(pki, pairing) as ends:
        assert await _read_within(ends, read, b"12345678|", 9) == b"12345678|"
        future = getattr(ends.near, read)(b"!", max_bytes=10)
        await ends.far.write(b"no such thing here")
        with pytest.raises(StreamClosedError) as caught:
            await future
        assert isinstance(caught.value.real_error, UnsatisfiableReadError)
        assert ends.near.closed() and ends.near.error is caught.value.real_error


async def _read_within(ends: Any, read: str, data: bytes, most: int) -> bytes:
    await ends.far.write(data)
    delimiter = b"|" if read == "read_until" else rb"\|"
    result: bytes = await getattr(ends.near, read)(delimiter, max_bytes=most)
    return result


@on_each_loop
@each_pairing
async def test_a_delimiter_beyond_the_limit_in_what_is_there_already(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        await ends.far.write(b"a|0123456789|")
        assert await ends.near.read_until(b"|") == b"a|"
        with pytest.raises(StreamClosedError) as caught:
            await ends.near.read_until(b"|", max_bytes=5)
        assert isinstance(caught.value.real_error, UnsatisfiableReadError)


# So many bytes


@on_each_loop
@each_pairing
async def test_read_bytes(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        future = ends.near.read_bytes(5)
        await ends.far.write(b"abc")
        await turns(3)
        assert not future.done()  # type: ignore[attr-defined]
        await ends.far.write(b"defgh")
        assert await future == b"abcde"
        assert await ends.near.read_bytes(0) == b""
        assert await ends.near.read_bytes(3) == b"fgh"


@on_each_loop
@each_pairing
@pytest.mark.parametrize("chunk", [None, 1000, 300_000])
async def test_read_bytes_of_many_records(pki: PKI, pairing: Pairing, chunk: int | None) -> None:
    async with joined(pki, pairing, near={"read_chunk_size": chunk}) as ends:
        written = ends.far.write(LONG)
        first = await ends.near.read_bytes(len(LONG) - 10)
        assert first + await ends.near.read_bytes(10) == LONG
        await written


@on_each_loop
@each_pairing
async def test_read_bytes_partial(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        future = ends.near.read_bytes(1000, partial=True)
        await ends.far.write(b"abcdef")
        assert await future == b"abcdef"
        await ends.far.write(b"ghijkl")
        assert await ends.near.read_bytes(2, partial=True) == b"gh"
        assert await ends.near.read_bytes(1000, partial=True) == b"ijkl"


@on_each_loop
@each_pairing
async def test_read_into(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        await ends.far.write(b"line\nabcdefghij")
        assert await ends.near.read_until(b"\n") == b"line\n"
        buffer = bytearray(8)
        assert await ends.near.read_into(buffer) == 8
        assert buffer == b"abcdefgh"
        future = ends.near.read_into(buffer)
        await ends.far.write(b"klmnop+rest")
        assert await future == 8
        assert buffer == b"ijklmnop"
        buffer += b"it can grow"  # nobody holds on to it
        assert await ends.near.read_bytes(5) == b"+rest"


@on_each_loop
@each_pairing
async def test_read_into_partial(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        buffer = bytearray(b"." * 8)
        future = ends.near.read_into(buffer, partial=True)
        await ends.far.write(b"abc")
        assert await future == 3
        assert buffer == b"abc....."
        await ends.far.write(b"0123456789")
        assert await ends.near.read_into(buffer, partial=True) == 8
        assert await ends.near.read_bytes(2) == b"89"
        buffer += b"it can grow"


@on_each_loop
@each_pairing
async def test_read_into_a_large_buffer(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        buffer = bytearray(len(LONG))
        written = ends.far.write(LONG)
        with memoryview(buffer) as view:
            assert await ends.near.read_into(view) == len(LONG)  # type: ignore[arg-type]
        assert buffer == LONG
        await written


@on_each_loop
@each_pairing
async def test_reads_of_all_kinds_in_turn(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, near={"read_chunk_size": 100}) as ends:
        written = ends.far.write(b"a line\n" + LONG[:5000] + b"x=1;" + LONG[5000:40_000] + b"the end")
        assert await ends.near.read_until(b"\n") == b"a line\n"
        assert await ends.near.read_bytes(5000) == LONG[:5000]
        assert await ends.near.read_until_regex(b"x=.;") == b"x=1;"
        buffer = bytearray(35_000)
        assert await ends.near.read_into(buffer) == 35_000
        assert buffer == LONG[5000:40_000]
        assert await ends.near.read_bytes(100, partial=True) == b"the end"
        await written


# Until the end


@on_each_loop
@each_single
@pytest.mark.parametrize("size", [0, 10, len(LONG)])
async def test_read_until_close(pki: PKI, single: Single, size: int) -> None:
    async with facing(pki, single) as both:
        future = both.near.read_until_close()
        await both.peer.send(LONG[:size])
        await both.peer.close()
        assert await future == LONG[:size]
        assert both.near.closed() and both.near.error is None


@on_each_loop
@each_single
async def test_read_until_close_when_the_end_is_there_already(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        await both.peer.send(b"line\nthe rest")
        assert await both.near.read_until(b"\n") == b"line\n"
        await both.peer.close()
        assert await both.near.read_until_close() == b"the rest"


@on_each_loop
@each_single
async def test_what_is_there_can_be_read_after_the_peer_has_closed(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        await both.peer.send(b"line\nanother\n")
        await both.peer.close()
        assert await both.near.read_until(b"\n") == b"line\n"
        assert await both.near.read_until(b"\n") == b"another\n"
        with pytest.raises(StreamClosedError):
            await both.near.read_bytes(1)
        assert both.near.error is None


@on_each_loop
@each_single
async def test_what_is_in_the_buffer_can_be_read_from_a_closed_stream(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        await both.peer.send(b"line\nanother\nmore")
        assert await both.near.read_until(b"\n") == b"line\n"
        both.near.close()
        assert await both.near.read_until(b"\n") == b"another\n"
        assert await both.near.read_until_close() == b"more"
        with pytest.raises(StreamClosedError):
            await both.near.read_bytes(1)


@on_each_loop
@each_single
async def test_reads_in_the_close_callback(pki: PKI, single: Single) -> None:
    """It comes when all that there was to read has been read, or when the stream has been closed with it unread."""
    async with facing(pki, single) as both:
        read: asyncio.Future[list[bytes]] = asyncio.get_running_loop().create_future()

        def closed() -> None:
            async def read_on() -> None:
                pieces = [await both.near.read_bytes(3), await both.near.read_until_close()]
                with pytest.raises(StreamClosedError):
                    await both.near.read_bytes(1)
                read.set_result(pieces)

            tasks.append(asyncio.ensure_future(read_on()))

        tasks: list[Any] = []
        await both.peer.send(b"line\nabcdef")
        assert await both.near.read_until(b"\n") == b"line\n"
        both.near.set_close_callback(closed)
        both.near.close()
        assert await read == [b"abc", b"def"]
        assert len(tasks) == 1
        await tasks[0]


@on_each_loop
@each_single
async def test_a_read_that_cannot_be_completed_fails_when_the_peer_closes(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        future = both.near.read_bytes(10)
        await both.peer.send(b"123")
        await both.peer.close()
        with pytest.raises(StreamClosedError) as caught:
            await future
        assert caught.value.real_error is None


# What a stream holds, and how it is bounded


@on_each_loop
@each_single
@pytest.mark.parametrize("read", ["read_until", "read_until_regex", "read_until_close"])
async def test_more_than_max_buffer_size(pki: PKI, single: Single, read: str) -> None:
    if not TELLS_ERRORS and (read == "read_until_close" or not single.near.ours):
        pytest.skip("Tornado before 6.6 does not tell")
    async with facing(pki, single, near={"max_buffer_size": 50_000}) as both:
        future = both.near.read_until_close() if read == "read_until_close" else getattr(both.near, read)(b"!")
        sending = asyncio.ensure_future(both.peer.send(b"." * 1_000_000))
        with pytest.raises(StreamClosedError) as caught:
            await future
        assert isinstance(caught.value.real_error, StreamBufferFullError)
        assert both.near.error is caught.value.real_error
        with pytest.raises(ConnectionError):
            while True:
                await sending
                await both.peer.receive_some()
                sending = asyncio.ensure_future(both.peer.send(b"." * 100_000))


@on_each_loop
@each_single
async def test_more_than_max_buffer_size_when_it_is_there_already(pki: PKI, single: Single) -> None:
    """Then the call itself raises."""
    async with facing(pki, single, near={"max_buffer_size": 20_000, "read_chunk_size": 10_000}) as both:
        await both.peer.send(b"line\n" + b"." * 60_000)
        with pytest.raises((StreamBufferFullError, StreamClosedError)):
            await both.near.read_until(b"!")
        assert both.near.closed()
        assert isinstance(both.near.error, StreamBufferFullError) or not (TELLS_ERRORS or single.near.ours)


@on_each_loop
@each_single
async def test_as_much_as_max_buffer_size(pki: PKI, single: Single) -> None:
    async with facing(pki, single, near={"max_buffer_size": 50_000}) as both:
        for _ in range(3):
            sending = asyncio.ensure_future(both.peer.send(LONG[:50_000]))
            assert await both.near.read_bytes(50_000) == LONG[:50_000]
            await sending
        assert not both.near.closed()


@on_each_loop
@each_single
async def test_a_slow_reader_holds_the_peer_back(pki: PKI, single: Single) -> None:
    """What nobody has asked for stays in the kernel, but for a few chunks; and so with the peer."""
    async with facing(pki, single, buffers=65536) as both:
        wire = memoryview(both.peer.connection.plaintext_to_wire(b"." * 8_000_000))
        sent = refused = 0
        first = both.near.read_bytes(10)
        while refused < 50:
            try:
                sent += both.peer.sock.send(wire[sent:])
            except BlockingIOError:
                refused += 1
                await turns()
        assert await first == b"." * 10
        assert sent < 2_000_000
        sending = asyncio.ensure_future(both.peer.send_wire(bytes(wire[sent:])))
        assert await both.near.read_bytes(7_000_000) == b"." * 7_000_000
        assert await both.near.read_bytes(999_990) == b"." * 999_990
        await sending


# The socket is silent


@on_each_loop
@each_single
@pytest.mark.parametrize("chunk", [10, 1000, 16384, 65536])
async def test_a_record_larger_than_a_chunk_is_read_to_its_end(pki: PKI, single: Single, chunk: int) -> None:
    """The socket announces it once."""
    async with facing(pki, single, near={"read_chunk_size": chunk}) as both:
        await both.peer.send(LONG[:16384])
        received = await both.near.read_bytes(1)
        while len(received) < 16384:
            received += await both.near.read_bytes(chunk, partial=True)
        assert received == LONG[:16384]
        idle = both.near.read_bytes(1)
        await turns(5)
        assert not idle.done()  # type: ignore[attr-defined]


@on_each_loop
@each_single
async def test_a_read_that_begins_after_its_plaintext_was_decrypted(pki: PKI, single: Single) -> None:
    async with facing(pki, single, near={"read_chunk_size": 10}) as both:
        await both.peer.send(b"0123456789" * 100 + b"\n")
        for _ in range(100):
            assert await both.near.read_bytes(10) == b"0123456789"
            await turns(2)
        assert await both.near.read_until(b"\n") == b"\n"


@on_each_loop
@each_single
@pytest.mark.parametrize("chunk", [10, 65536])
async def test_the_end_comes_after_all_that_was_sent(pki: PKI, single: Single, chunk: int) -> None:
    """Data, close_notify and the end of the wire in one segment, and a reader who takes a little at a time."""
    async with facing(pki, single, near={"read_chunk_size": chunk}) as both:
        both.peer.connection.send_plaintext(LONG[:5000])
        await both.peer.close()
        received = b""
        with pytest.raises(StreamClosedError):
            while True:
                received += await both.near.read_bytes(7, partial=True)
                await turns()
        assert received == LONG[:5000]
        assert both.near.error is None


@on_each_loop
@each_that_waits_for_finished
async def test_data_in_the_segment_that_ends_the_handshake(pki: PKI, single: Single) -> None:
    """A read is pending, the handshake ends with its data already there, and nothing more ever comes."""
    async with facing(pki, single, handshake=False) as both:
        future = both.near.read_bytes(5)
        both.peer.connection.send_plaintext(b"hello")  # leaves with Finished
        await both.peer.handshake()
        assert await future == b"hello"
        assert await both.near_handshake is both.near


@on_each_loop
@each_that_waits_for_finished
@pytest.mark.parametrize("chunk", [10, 65536])
async def test_much_data_in_the_segment_that_ends_the_handshake(pki: PKI, single: Single, chunk: int) -> None:
    async with facing(pki, single, handshake=False, near={"read_chunk_size": chunk}) as both:
        both.peer.connection.send_plaintext(LONG[:20_000])
        peer = asyncio.ensure_future(both.peer.handshake())
        await both.near_handshake
        received = b""
        while len(received) < 20_000:
            received += await both.near.read_bytes(999, partial=True)
        assert received == LONG[:20_000]
        await peer


@on_each_loop
@each_that_waits_for_finished
@pytest.mark.parametrize("partial", [True, False])
async def test_data_in_the_segment_that_ends_the_handshake_for_a_buffer(
    pki: PKI, single: Single, partial: bool
) -> None:
    async with facing(pki, single, handshake=False) as both:
        buffer = bytearray(3)
        future = both.near.read_into(buffer, partial=partial)
        both.peer.connection.send_plaintext(b"hello")
        await both.peer.handshake()
        assert await future == 3
        assert buffer == b"hel"
        assert await both.near.read_bytes(2) == b"lo"


@on_each_loop
@each_that_waits_for_finished
async def test_data_and_the_end_in_the_segment_that_ends_the_handshake(pki: PKI, single: Single) -> None:
    async with facing(pki, single, handshake=False) as both:
        future = both.near.read_until_close()
        both.peer.connection.send_plaintext(b"hello")
        connection = both.peer.connection
        connection.do_handshake()
        wire = connection.wire_to_send()
        while not connection.handshake_complete:
            await both.peer.send_wire(wire)
            connection.receive_wire(await both.peer.receive_wire())
            wire = connection.wire_to_send()
        connection.close()
        await both.peer.send_wire(wire + connection.wire_to_send())
        both.peer.end()
        assert await future == b"hello"
        assert both.near.error is None
        assert (await both.near_handshake) is both.near


@on_each_loop
@our_singles
async def test_session_tickets_are_nothing_to_read(pki: PKI, single: Single) -> None:
    """They wake up the socket, and yield nothing."""
    async with facing(pki, single, handshake=False) as both:
        future = both.near.read_bytes(5)
        await both.handshake()
        await turns(5)
        assert not future.done()  # type: ignore[attr-defined]
        await both.peer.send(b"hello")
        assert await future == b"hello"


# One at a time


@on_each_loop
@each_pairing
async def test_two_reads_at_once(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        future = ends.near.read_bytes(5)
        with pytest.raises(AssertionError, match="Already reading"):
            ends.near.read_bytes(5)
        await ends.far.write(b"hello")
        assert await future == b"hello"


@on_each_loop
@each_pairing
async def test_a_read_that_is_cancelled(pki: PKI, pairing: Pairing) -> None:
    """It goes on until it is satisfied, and what it has read is lost; the stream is as good as before."""
    async with joined(pki, pairing) as ends:
        future: Any = ends.near.read_bytes(5)
        future.cancel()
        with pytest.raises(AssertionError, match="Already reading"):
            ends.near.read_bytes(5)
        await ends.far.write(b"helloworld")
        await until(lambda: not ends.near.reading())
        assert await ends.near.read_bytes(5) == b"world"


@on_each_loop
@each_pairing
async def test_reading_says_whether_a_read_is_pending(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        assert not ends.near.reading()
        future = ends.near.read_bytes(1)
        assert ends.near.reading()
        await ends.far.write(b"x")
        await future
        assert not ends.near.reading()


# However the wire is cut


@on_each_loop
@each_pairing
async def test_one_byte_at_a_time(pki: PKI, pairing: Pairing) -> None:
    """Handshake, data both ways and close_notify."""
    async with joined(pki, pairing, relay=pair.pieces_of(1), handshake=False) as ends:
        reads = asyncio.gather(ends.near.read_until(b"\n"), ends.far.read_until(b"\n"))
        await ends.handshake()
        await asyncio.gather(ends.near.write(b"from near\n"), ends.far.write(b"from far\n"))
        assert [*await reads] == [b"from far\n", b"from near\n"]
        written = ends.far.write(LONG[:1000])
        assert await ends.near.read_bytes(1000) == LONG[:1000]
        await written
        ends.far.close()
        assert await ends.near.read_until_close() == b""


@on_each_loop
@each_pairing
async def test_the_whole_alphabet_of_sizes(pki: PKI, pairing: Pairing) -> None:
    """Each message a record, from empty to more than a full one."""
    async with joined(pki, pairing) as ends:
        for size in (0, 1, 2, 15, 16, 17, 255, 256, 2047, 2048, 2049, 16383, 16384, 16385, 32768, 65535, 65536, 70_000):
            written = ends.far.write(LONG[:size])
            assert await ends.near.read_bytes(size) == LONG[:size]
            await written


@on_each_loop
@each_pairing
async def test_much_both_ways_at_once(pki: PKI, pairing: Pairing) -> None:
    """20 MB each way; nobody waits for the other to finish."""
    block = LONG
    async with joined(pki, pairing) as ends:

        async def write(stream: Any) -> None:
            for _ in range(20):
                await stream.write(block)

        async def read(stream: Any) -> str:
            digest = hashlib.sha256()
            remaining = 20 * len(block)
            while remaining:
                piece = await stream.read_bytes(min(remaining, 300_000), partial=True)
                digest.update(piece)
                remaining -= len(piece)
            return digest.hexdigest()

        *_, near, far = await asyncio.gather(write(ends.near), write(ends.far), read(ends.near), read(ends.far))
        assert near == far == hashlib.sha256(block * 20).hexdigest()


@on_each_loop
@pytest.mark.parametrize("version", [TLS12, TLS13])
async def test_no_more_is_decrypted_than_was_asked_for(pki: PKI, version: txmembio.TLSVersion) -> None:
    """But for one chunk of wire."""
    async with facing(pki, Single(OURS, "server", version)) as both:
        sending = asyncio.ensure_future(both.peer.send(b"." * 5_000_000))
        await both.near.read_bytes(10)
        await turns(50)
        connection: Any = both.near.connection  # type: ignore[attr-defined]
        assert connection.traffic().plaintext_received <= 2 * 65536
        assert await both.near.read_bytes(4_999_990) == b"." * 4_999_990
        await sending
