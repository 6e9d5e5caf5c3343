"""How streams end: from this side, from the other, in order or not; what the peer sees, what is told to pending
operations, and what is in `error`. Where `TLSStream` promises more than Tornado's `SSLIOStream`, the test says so.
"""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

import txmembio
from support.pki import PKI
from support.tornado_ends import (
    OURS,
    TELLS_ERRORS,
    Facing,
    Pairing,
    Single,
    each_pairing,
    each_single,
    facing,
    joined,
    on_each_loop,
    our_pairings,
    our_singles,
    turns,
    until,
)

#: A record that no key decrypts.
BAD_RECORD = b"\x17\x03\x03\x00\x20" + b"?" * 32

LONG = b"".join(number.to_bytes(4, "big") for number in range(250_000))


class Calls:
    """A close callback that counts."""

    def __init__(self, both: Any) -> None:
        self.count = 0
        self.event = asyncio.Event()
        both.near.set_close_callback(self)

    def __call__(self) -> None:
        self.count += 1
        self.event.set()

    async def once(self) -> None:
        """It has been called, and is not called again."""
        await self.event.wait()
        await turns(3)
        assert self.count == 1


async def closed_by(future: Any) -> BaseException | None:
    """What the StreamClosedError that `future` must fail with has as its reason."""
    with pytest.raises(StreamClosedError) as caught:
        await future
    reason: BaseException | None = caught.value.real_error
    return reason


# From this side


@on_each_loop
@our_singles
async def test_close_says_close_notify_and_waits_for_nothing(pki: PKI, single: Single) -> None:
    """Tornado's closes the socket, which its peer cannot tell from truncation."""
    async with facing(pki, single) as both:
        await both.near.write(b"last words")
        both.near.close()
        assert both.near.closed() and both.near.socket is None
        assert await both.peer.receive_all() == b"last words"
        assert both.peer.error is None and both.peer.connection.peer_closed


@on_each_loop
@our_pairings
async def test_the_other_stream_sees_a_clean_end(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        read = ends.far.read_until_close()
        await ends.near.write(LONG)
        ends.near.close()
        assert await read == LONG
        assert ends.far.error is None


@on_each_loop
@our_singles
async def test_a_message_cut_short_is_not_ended_with_close_notify(pki: PKI, single: Single) -> None:
    """The peer would take it for all there was."""
    async with facing(pki, single, buffers=16384) as both:
        written = both.near.write(LONG)
        assert not written.done()
        both.near.close()
        assert await closed_by(written) is None
        assert LONG.startswith(await both.peer.receive_all())
        assert isinstance(both.peer.error, txmembio.SSLEOFError)
        assert not both.peer.connection.peer_closed


@on_each_loop
@each_single
async def test_what_was_written_before_closing_arrives(pki: PKI, single: Single) -> None:
    """As far as the socket has taken it, the write's future having said so."""
    async with facing(pki, single) as both:
        futures = [both.near.write(LONG[at : at + 1000]) for at in range(0, 50_000, 1000)]
        await asyncio.gather(*futures)
        both.near.close()
        assert await both.peer.receive_all() == LONG[:50_000]


@on_each_loop
@each_single
async def test_close_callbacks_are_called_once(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        calls = Calls(both)
        both.near.close()
        assert calls.count == 0, "it is called in a turn of its own"
        both.near.close()
        await calls.once()
        both.near.close()
        await turns(3)
        assert calls.count == 1
        assert both.near.error is None


@on_each_loop
@each_single
async def test_a_callback_that_closes_again(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        called = []

        def callback() -> None:
            called.append(True)
            both.near.close()

        both.near.set_close_callback(callback)
        both.near.close()
        await turns(4)
        assert called == [True]


@on_each_loop
@each_single
async def test_a_callback_can_be_taken_back(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        calls = Calls(both)
        both.near.set_close_callback(None)
        both.near.close()
        await turns(4)
        assert calls.count == 0


@on_each_loop
@each_single
async def test_pending_operations_are_told(pki: PKI, single: Single) -> None:
    async with facing(pki, single, buffers=16384) as both:
        calls = Calls(both)
        read = both.near.read_bytes(10)
        writes = [both.near.write(LONG), both.near.write(b"x")]
        reason = ValueError("the application's own")
        both.near.close(exc_info=reason)
        for future in (read, *writes):
            assert await closed_by(future) is reason
        assert both.near.error is reason
        await calls.once()
        with pytest.raises(StreamClosedError) as caught:
            await both.near.read_bytes(1)
        assert caught.value.real_error is reason


@on_each_loop
@each_single
async def test_the_error_may_be_the_one_that_is_being_handled(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        try:
            raise LookupError("something")
        except LookupError as error:
            both.near.close(exc_info=True)
            assert both.near.error is error


@on_each_loop
@our_singles
async def test_an_end_for_an_error_is_not_a_clean_one(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        both.near.close(exc_info=ValueError("the application's own"))
        assert await both.peer.receive_all() == b""
        assert isinstance(both.peer.error, txmembio.SSLEOFError)


@on_each_loop
@each_single
async def test_a_read_until_close_on_a_stream_that_this_side_closes(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        await both.peer.send(b"line\nand more")
        assert await both.near.read_until(b"\n") == b"line\n"
        future = both.near.read_until_close()
        both.near.close()
        assert await future == b"and more"


@on_each_loop
@each_single
async def test_closing_from_within_a_read_s_callback(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        future: Any = both.near.read_until(b"\n")
        future.add_done_callback(lambda _: both.near.close())
        await both.peer.send(b"line\nmore")
        assert await future == b"line\n"
        await turns(2)
        assert both.near.closed() and both.near.error is None


@on_each_loop
@each_pairing
async def test_both_sides_close_at_once(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing) as ends:
        calls = Calls(ends)
        ends.near.close()
        ends.far.close()
        await calls.once()
        assert ends.near.error is None and ends.far.error is None


# From the other side


@on_each_loop
@each_single
async def test_close_notify_closes_the_stream(pki: PKI, single: Single) -> None:
    """Although the wire has not ended."""
    async with facing(pki, single) as both:
        calls = Calls(both)
        read = both.near.read_bytes(10)
        both.peer.connection.close()
        await both.peer.flush()
        assert await closed_by(read) is None
        assert both.near.closed() and both.near.error is None
        await calls.once()


@on_each_loop
@our_singles
async def test_close_notify_is_answered(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        Calls(both)
        both.peer.connection.close()
        await both.peer.flush()
        assert await both.peer.receive_all() == b""
        assert both.peer.error is None and both.peer.connection.peer_closed


@on_each_loop
@each_single
@pytest.mark.parametrize("how", ["close_notify", "truncation", "reset"])
async def test_an_idle_stream_with_a_callback_hears_of_the_end(pki: PKI, single: Single, how: str) -> None:
    async with facing(pki, single) as both:
        calls = Calls(both)
        await turns(2)
        await _end(both, how)
        await calls.once()
        assert both.near.closed()
        _check_error(both, how, single)


@on_each_loop
@each_single
@pytest.mark.parametrize("how", ["close_notify", "truncation", "reset"])
async def test_a_pending_read_hears_of_the_end(pki: PKI, single: Single, how: str) -> None:
    async with facing(pki, single) as both:
        calls = Calls(both)
        read = both.near.read_until(b"\n")
        await both.peer.send(b"no newline")
        await turns(3)
        await _end(both, how)
        reason = await closed_by(read)
        assert reason is both.near.error
        await calls.once()
        _check_error(both, how, single)


@on_each_loop
@each_single
@pytest.mark.parametrize("how", ["close_notify", "truncation"])
@pytest.mark.parametrize("size, chunk", [(0, None), (1000, 10), (200_000, None), (200_000, 1000)])
async def test_read_until_close_yields_what_there_was(
    pki: PKI, single: Single, how: str, size: int, chunk: int | None
) -> None:
    """Truncated or not. Those to whom it matters look at `error`."""
    async with facing(pki, single, near={"read_chunk_size": chunk}) as both:
        read = both.near.read_until_close()
        await both.peer.send(LONG[:size])
        await _end(both, how)
        assert await read == LONG[:size]
        _check_error(both, how, single)


@on_each_loop
@each_single
async def test_read_until_close_on_a_stream_that_is_reset(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        read = both.near.read_until_close()
        await both.peer.send(b"hello")
        await turns(3)
        await _end(both, "reset")
        assert await read == b"hello"
        _check_error(both, "reset", single)


@on_each_loop
@each_single
@pytest.mark.parametrize("how", ["close_notify", "truncation"])
async def test_data_and_the_end_in_one_segment(pki: PKI, single: Single, how: str) -> None:
    async with facing(pki, single) as both:
        calls = Calls(both)
        read = both.near.read_bytes(5)
        both.peer.connection.send_plaintext(b"helloagain")
        await _end(both, how)
        assert await read == b"hello"
        assert await both.near.read_bytes(5) == b"again"
        with pytest.raises(StreamClosedError):
            await both.near.read_bytes(1)
        await calls.once()
        _check_error(both, how, single)


@on_each_loop
@our_singles
async def test_truncation_in_the_middle_of_a_record(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        wire = both.peer.connection.plaintext_to_wire(b"one") + both.peer.connection.plaintext_to_wire(b"two")
        await both.peer.send_wire(wire[:-1])
        both.peer.end()
        assert await both.near.read_until_close() == b"one"
        assert isinstance(both.near.error, ssl.SSLEOFError)


@on_each_loop
@each_single
async def test_a_reset_while_writing(pki: PKI, single: Single) -> None:
    async with facing(pki, single, buffers=16384) as both:
        calls = Calls(both)
        writes = [both.near.write(LONG), both.near.write(b"more")]
        await turns(3)
        both.peer.reset()
        for future in writes:
            assert await closed_by(future) is both.near.error
        _check_error(both, "gone", single)
        await calls.once()


@on_each_loop
@each_single
async def test_a_reset_while_reading_and_writing(pki: PKI, single: Single) -> None:
    async with facing(pki, single, buffers=16384) as both:
        calls = Calls(both)
        read, written = both.near.read_bytes(1), both.near.write(LONG)
        await turns(3)
        both.peer.reset()
        assert await closed_by(read) is both.near.error
        assert await closed_by(written) is both.near.error
        _check_error(both, "gone", single)
        await calls.once()


@on_each_loop
@each_single
@pytest.mark.parametrize("kind", [bytes, memoryview])
@pytest.mark.parametrize("size", [1, 100_000])
async def test_a_write_to_a_peer_that_is_gone(pki: PKI, single: Single, size: int, kind: Any) -> None:
    """Nobody is reading; it is the write that finds out."""
    async with facing(pki, single) as both:
        both.peer.reset()
        with pytest.raises(StreamClosedError) as caught:
            while True:
                await both.near.write(kind(LONG[:size]))
        assert both.near.closed() and both.near.error is caught.value.real_error
        _check_error(both, "gone", single)


async def _end(both: Facing, how: str) -> None:
    if how == "close_notify":
        await both.peer.close()
    elif how == "truncation":
        await both.peer.flush()
        both.peer.end()
    else:
        both.peer.reset()


def _check_error(both: Facing, how: str, single: Single) -> None:
    error = both.near.error
    if not single.near.ours:  # Tornado's does not tell truncation from the end, and not always a reset
        assert error is None or isinstance(error, OSError)
    elif how == "close_notify":
        assert error is None
    elif how == "truncation":
        assert isinstance(error, ssl.SSLEOFError)
        assert "close_notify" in str(error)
    elif how == "reset":
        assert isinstance(error, ConnectionResetError)
    else:  # a write finds it out, or a read
        assert isinstance(error, (ConnectionResetError, BrokenPipeError))


# Bad records, and alerts


@on_each_loop
@each_single
async def test_a_bad_record(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        calls = Calls(both)
        read = both.near.read_bytes(10)
        await both.peer.send_wire(BAD_RECORD)
        reason: Any = await closed_by(read)
        assert isinstance(reason, ssl.SSLError) and both.near.error is reason
        assert reason.library == "SSL" and reason.reason in (
            "DECRYPTION_FAILED_OR_BAD_RECORD_MAC",
            "BAD_RECORD_TYPE",
        )
        await calls.once()
        await both.peer.receive_all()
        alert: Any = both.peer.error
        assert alert.alert == "bad_record_mac" and alert.alert_received


@on_each_loop
@each_single
async def test_data_before_a_bad_record(pki: PKI, single: Single) -> None:
    """It was authentic, and whoever waits for it gets it; then the error."""
    async with facing(pki, single) as both:
        read = both.near.read_bytes(5)
        await both.peer.send_wire(both.peer.connection.plaintext_to_wire(b"hello") + BAD_RECORD)
        assert await read == b"hello"
        with pytest.raises((StreamClosedError, ssl.SSLError)):  # that error itself, if it is there already
            await both.near.read_bytes(1)
        assert isinstance(both.near.error, ssl.SSLError)


@on_each_loop
@each_single
@pytest.mark.skipif(not TELLS_ERRORS, reason="Tornado before 6.6 resolves it with what there was")
async def test_read_until_close_is_not_satisfied_by_a_bad_record(pki: PKI, single: Single) -> None:
    """What it had would look complete."""
    async with facing(pki, single) as both:
        read = both.near.read_until_close()
        await both.peer.send(b"hello")
        await turns(3)
        await both.peer.send_wire(BAD_RECORD)
        assert isinstance(await closed_by(read), ssl.SSLError)


@on_each_loop
@each_single
async def test_an_alert_of_the_peer(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        read = both.near.read_bytes(10)
        with pytest.raises(txmembio.SSLError):
            both.peer.connection.receive_wire(BAD_RECORD)
        await both.peer.flush()
        reason: Any = await closed_by(read)
        assert isinstance(reason, txmembio.SSLError) and "bad record mac" in str(reason)
        if single.near.ours:
            assert (reason.alert, reason.alert_received) == ("bad_record_mac", True)


@on_each_loop
@each_single
async def test_an_alert_of_the_peer_is_the_reason_for_a_write_that_fails(pki: PKI, single: Single) -> None:
    """It has arrived, and nobody has read it; then the wire ends."""
    async with facing(pki, single) as both:
        with pytest.raises(txmembio.SSLError):
            both.peer.connection.receive_wire(BAD_RECORD)
        await both.peer.flush()
        both.peer.sock.close()
        with pytest.raises(StreamClosedError) as caught:
            while True:
                await both.near.write(b"x")
        if single.near is OURS:  # a stream beneath closes itself without looking
            reason: Any = caught.value.real_error
            assert (reason.alert, reason.alert_received) == ("bad_record_mac", True)


@on_each_loop
@each_single
async def test_writing_fails_on_a_connection_that_has_failed(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        read = both.near.read_bytes(1)
        await both.peer.send_wire(BAD_RECORD)
        await closed_by(read)
        with pytest.raises(StreamClosedError) as caught:
            both.near.write(b"x")
        assert caught.value.real_error is both.near.error


@on_each_loop
@each_single
async def test_an_end_seen_only_by_those_who_look(pki: PKI, single: Single) -> None:
    """Without a callback and with nothing pending, a stream does not listen; the next read says it."""
    async with facing(pki, single) as both:
        await both.peer.send(b"hello")
        await both.peer.close()
        await turns(3)
        assert not both.near.closed()
        assert await both.near.read_bytes(5) == b"hello"
        await closed_by(both.near.read_bytes(1))
        await until(both.near.closed)
