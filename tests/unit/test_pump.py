"""What the pump promises, each promise a test that is called after it. All in memory, through `Connection`'s public
face.
"""

from __future__ import annotations

import gc
import random
import signal
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import cycle
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI
from txmembio._openssl.crossing import IN_C
from txmembio._openssl.lib import KEPT, _pool, lib, scratch_count
from txmembio.connection import MAX_UNREAD_WIRE

#: More than any scratch holds, several times over, so that the pump must say "more" again and again; in bytes.
SEVERAL_SCRATCHES = 5_000_000

#: How often a latched answer is asked for.
THRICE = 3


def pattern(size: int) -> bytes:
    """`size` bytes in which no block looks like another."""
    numbers = b"".join(number.to_bytes(4, "big") for number in range(size // 4 + 1))
    return numbers[:size]


def shake_hands_until_the_last_flight(ends: Pair) -> tuple[pair.End, bytes]:
    """Go on with the handshake until one flight is missing; returns the end that lacks it, and that flight."""
    sender, receiver = ends.client, ends.server
    sender.start()
    while True:
        flight = sender.connection.wire_to_send()
        if sender.connection.handshake_complete and not receiver.connection.handshake_complete:
            return receiver, flight
        receiver.receive(flight)
        sender, receiver = receiver, sender


# The handshake


def test_finished_and_the_first_data_in_one_segment_both_come_out(fresh: Pair) -> None:
    for end in (fresh.client, fresh.server):
        end.send_plaintext(b"the first data")
    receiver, flight = shake_hands_until_the_last_flight(fresh)
    assert receiver.connection.receive_wire(flight) == b"the first data"
    assert receiver.connection.handshake_complete


def test_finished_and_data_still_come_out_byte_by_byte(fresh: Pair) -> None:
    for end in (fresh.client, fresh.server):
        end.send_plaintext(b"the first data")
    fresh.segmentation = pair.pieces_of(1)
    fresh.handshake()
    assert fresh.client.received == fresh.server.received == b"the first data"


# Bad records


def spoil(wire: bytes) -> bytes:
    """The same wire, its last byte wrong: in the tag of its last record, whichever the version."""
    return wire[:-1] + bytes([wire[-1] ^ 1])


def test_plaintext_before_a_bad_record_is_handed_over_then_the_error_is_latched(ends: Pair) -> None:
    good = ends.client.connection.plaintext_to_wire(b"good")
    bad = spoil(ends.client.connection.plaintext_to_wire(b"bad"))
    server = ends.server.connection
    server.changed = False
    assert server.receive_wire(good + bad) == b"good"
    assert server.changed and server.error is not None
    for _ in range(THRICE):
        with pytest.raises(txmembio.SSLError) as caught:
            server.receive_wire(good)
        assert caught.value is server.error
        with pytest.raises(txmembio.SSLError) as caught:
            server.send_plaintext(b"too late")
        assert caught.value is server.error


def test_a_bad_record_alone_raises_at_once(ends: Pair) -> None:
    server = ends.server.connection
    with pytest.raises(txmembio.SSLError) as caught:
        server.receive_wire(spoil(ends.client.connection.plaintext_to_wire(b"bad")))
    assert caught.value is server.error


def test_the_alert_about_a_bad_record_is_in_wire_to_send(ends: Pair) -> None:
    wire = ends.client.connection.plaintext_to_wire(b"good") + spoil(ends.client.connection.plaintext_to_wire(b"bad"))
    ends.server.receive(wire)
    ends.settle()
    ours: Any = ends.server.connection.error
    theirs = ends.client.error
    assert ours.alert == theirs.alert == "bad_record_mac"
    assert ours.alert_number == theirs.alert_number == 20  # RFC 8446, section 6
    assert (ours.alert_received, theirs.alert_received) == (False, True)


def test_a_large_amount_before_a_bad_record_is_handed_over_whole(ends: Pair) -> None:
    plaintext = pattern(SEVERAL_SCRATCHES)
    wire = ends.client.connection.plaintext_to_wire(plaintext) + spoil(ends.client.connection.plaintext_to_wire(b"bad"))
    assert ends.server.connection.receive_wire(wire) == plaintext
    assert ends.server.connection.error is not None


# close_notify and the end of the wire


@pytest.mark.parametrize("segmentation", [pair.whole, pair.pieces_of(1), pair.pieces_of(7)], ids=["whole", "1", "7"])
def test_bytes_after_close_notify_are_kept(ends: Pair, segmentation: pair.Segmentation) -> None:
    client, server = ends.client.connection, ends.server.connection
    wire = client.plaintext_to_wire(b"last words")
    client.close()
    wire += client.wire_to_send() + b"in the clear again"
    for piece in segmentation(wire):
        ends.server.receive(piece)
    assert ends.server.error is None
    assert ends.server.received == b"last words"
    assert server.peer_closed and server.changed
    assert server.unread_wire() == b"in the clear again"


def test_what_is_kept_of_the_bytes_after_close_notify_is_bounded(ends: Pair) -> None:
    """All that is allowed is kept, however it arrives; one byte more is a failure that names the limit."""
    ends.client.connection.close()
    server = ends.server.connection
    server.receive_wire(ends.client.connection.wire_to_send() + pattern(MAX_UNREAD_WIRE - 1000))
    server.receive_wire(pattern(MAX_UNREAD_WIRE)[-1000:])
    with pytest.raises(txmembio.SSLError, match=str(MAX_UNREAD_WIRE)):
        server.receive_wire(b"!")
    with pytest.raises(txmembio.SSLError, match=str(MAX_UNREAD_WIRE)):
        server.receive_wire(b"!")


def test_bytes_after_close_notify_arrive_later_too(ends: Pair) -> None:
    ends.client.connection.close()
    ends.settle()
    server = ends.server.connection
    for piece in (b"in the ", b"clear ", b"again"):
        assert server.receive_wire(piece) == b""
    assert server.unread_wire() == b"in the clear again"
    assert server.unread_wire() == b""
    assert server.receive_wire(b"and more") == b""
    assert server.unread_wire() == b"and more"


def test_close_notify_does_not_end_the_other_direction(ends: Pair) -> None:
    ends.client.connection.close()
    ends.settle()
    assert ends.server.connection.peer_closed and not ends.client.connection.peer_closed
    ends.server.send_plaintext(b"an answer")
    ends.settle()
    assert ends.client.received == b"an answer"


def ask_for_the_end(connection: txmembio.Connection) -> list[object]:
    """What `receive_wire_eof` answers, asked several times: None, or the class of what it raises."""
    answers: list[object] = []
    for _ in range(THRICE):
        try:
            connection.receive_wire_eof()
        except Exception as error:
            answers.append(type(error))
        else:
            answers.append(None)
    return answers


TRUNCATED: list[object] = [txmembio.SSLEOFError] * THRICE
CLEAN: list[object] = [None] * THRICE


def test_eof_before_the_handshake_is_truncation(fresh: Pair) -> None:
    fresh.client.start()
    assert ask_for_the_end(fresh.client.connection) == TRUNCATED
    assert ask_for_the_end(fresh.server.connection) == TRUNCATED


def test_eof_during_the_handshake_is_truncation(fresh: Pair) -> None:
    receiver, flight = shake_hands_until_the_last_flight(fresh)
    receiver.receive(flight[:-1])
    assert ask_for_the_end(receiver.connection) == TRUNCATED


def test_eof_after_data_is_truncation(ends: Pair) -> None:
    ends.client.send_plaintext(b"data")
    ends.settle()
    assert ask_for_the_end(ends.server.connection) == TRUNCATED
    assert ends.server.received == b"data"


def test_eof_in_the_middle_of_a_record_is_truncation(ends: Pair) -> None:
    ends.server.receive(ends.client.connection.plaintext_to_wire(b"data")[:-1])
    assert ask_for_the_end(ends.server.connection) == TRUNCATED


def test_eof_after_close_notify_is_clean(ends: Pair) -> None:
    ends.client.connection.close()
    ends.settle()
    assert ask_for_the_end(ends.server.connection) == CLEAN


def test_eof_in_the_middle_of_close_notify_is_truncation(ends: Pair) -> None:
    ends.client.connection.close()
    ends.server.receive(ends.client.connection.wire_to_send()[:-1])
    assert ask_for_the_end(ends.server.connection) == TRUNCATED


def test_eof_after_our_own_close_alone_is_truncation(ends: Pair) -> None:
    """We said that we are done; the peer did not, so its data may have been cut."""
    ends.server.connection.close()
    assert ask_for_the_end(ends.server.connection) == TRUNCATED


def test_eof_after_both_closed_is_clean(ends: Pair) -> None:
    ends.client.connection.close()
    ends.server.connection.close()
    ends.settle()
    assert ask_for_the_end(ends.client.connection) == CLEAN
    assert ask_for_the_end(ends.server.connection) == CLEAN


def test_truncation_is_the_latched_error(ends: Pair) -> None:
    server = ends.server.connection
    with pytest.raises(txmembio.SSLEOFError) as caught:
        server.receive_wire_eof()
    assert server.error is caught.value and server.changed
    wire = ends.client.connection.plaintext_to_wire(b"from the other side of the end")
    for _ in range(THRICE):
        with pytest.raises(txmembio.SSLEOFError):
            server.receive_wire(wire)


# Wire that cannot be processed yet


def test_an_incomplete_record_is_kept_until_the_rest_arrives(ends: Pair) -> None:
    wire = ends.client.connection.plaintext_to_wire(b"a record")
    server = ends.server.connection
    assert b"".join(server.receive_wire(wire[index : index + 1]) for index in range(len(wire) - 1)) == b""
    assert server.receive_wire(wire[-1:]) == b"a record"


def test_a_record_longer_than_tls_allows_is_refused_at_its_header(ends: Pair) -> None:
    """So what is kept of an incomplete record is bounded by the largest record there is (RFC 8446 section 5.2: 2^14 +
    256).
    """
    with pytest.raises(txmembio.SSLError, match=r"(?i)record|length"):
        ends.server.connection.receive_wire(b"\x17\x03\x03\xff\xff")


# Large amounts


@pytest.mark.parametrize("size", [0, 1, 16384, 16385, 131072, 131073, 262144, SEVERAL_SCRATCHES])
def test_any_amount_in_one_call_comes_out_whole(ends: Pair, size: int) -> None:
    plaintext = pattern(size)
    wire = ends.client.connection.plaintext_to_wire(plaintext)
    assert ends.server.connection.receive_wire(wire) == plaintext
    assert ends.client.connection.wire_to_send() == b""


def test_a_large_amount_kept_until_the_handshake_comes_out_whole(fresh: Pair) -> None:
    plaintext = pattern(SEVERAL_SCRATCHES)
    fresh.client.send_plaintext(plaintext)
    assert fresh.client.connection.plaintext_pending == len(plaintext)
    fresh.handshake()
    assert fresh.client.connection.plaintext_pending == 0
    assert fresh.server.received == plaintext


def test_a_large_amount_in_the_segment_that_completes_the_handshake_comes_out_whole(fresh: Pair) -> None:
    plaintext = pattern(SEVERAL_SCRATCHES)
    for end in (fresh.client, fresh.server):
        end.send_plaintext(plaintext)
    receiver, flight = shake_hands_until_the_last_flight(fresh)
    assert receiver.connection.receive_wire(flight) == plaintext


def test_a_large_amount_before_close_notify_comes_out_whole(ends: Pair) -> None:
    plaintext = pattern(SEVERAL_SCRATCHES)
    ends.client.send_plaintext(plaintext)
    ends.client.connection.close()
    assert ends.server.connection.receive_wire(ends.client.connection.wire_to_send()) == plaintext
    assert ends.server.connection.peer_closed


def test_a_flight_larger_than_the_scratch_comes_out_whole(pki: PKI) -> None:
    """Tickets are written while reading: here more of them than there is room for, each with a certificate in it."""
    version = txmembio.TLSVersion.TLSv1_3
    server_context = pair.server_context(pki, version, credential=pki.server_rsa, verify_client=True)
    server_context.num_tickets = 400
    ends = pair.unconnected(pair.client_context(pki, version, credential=pki.client), server_context)
    ends.server.send_plaintext(b"behind all the tickets")
    ends.client.send_plaintext(pattern(SEVERAL_SCRATCHES))
    ends.client.start()
    ends.move(ends.client, ends.server)
    ends.move(ends.server, ends.client)
    ends.move(ends.client, ends.server)
    flight = ends.server.connection.wire_to_send()
    assert len(flight) > lib.TXM_WIRE_ROOM
    assert ends.server.received == pattern(SEVERAL_SCRATCHES)
    assert ends.client.connection.receive_wire(flight) == b"behind all the tickets"
    exchange(ends)


# Re-entrancy


def exchange(ends: Pair, plaintext: bytes = b"from the inside") -> None:
    """Both ways, checked: what a callback does on other connections while a call on this thread is under way."""
    for sender, receiver in ((ends.client, ends.server), (ends.server, ends.client)):
        wire = sender.connection.plaintext_to_wire(plaintext)
        assert receiver.connection.receive_wire(wire) == plaintext


def test_a_callback_may_pump_another_connection(contexts: Contexts, ends: Pair) -> None:
    client_context, server_context = contexts
    inner: list[Pair] = []

    def sni_callback(*_: object) -> None:
        server_context.sni_callback = None  # the inner handshake's own ClientHello must not come here again
        inner.append(pair.connect(*contexts))
        exchange(inner[0], pattern(SEVERAL_SCRATCHES))
        exchange(ends)

    server_context.sni_callback = sni_callback
    outer = pair.unconnected(client_context, server_context)
    for end in (outer.client, outer.server):
        end.send_plaintext(b"from the outside")
    outer.handshake()
    assert inner
    assert outer.client.received == outer.server.received == b"from the outside"


def test_an_alpn_callback_may_pump_another_connection(contexts: Contexts, ends: Pair) -> None:
    client_context, server_context = contexts

    def choose(offered: list[str]) -> str:
        exchange(ends, pattern(SEVERAL_SCRATCHES))
        return offered[-1]

    client_context.set_alpn_protocols(["a", "b"])
    server_context.set_alpn_callback(choose)
    outer = pair.connect(client_context, server_context)
    exchange(outer)
    assert outer.client.connection.selected_alpn_protocol() == "b"


def test_a_callback_may_not_pump_its_own_connection(
    contexts: Contexts,
) -> None:
    refused: list[RuntimeError] = []

    def sni_callback(*_: object) -> None:
        with pytest.raises(RuntimeError) as caught:
            outer.server.connection.receive_wire(b"more")
        refused.append(caught.value)

    contexts[1].sni_callback = sni_callback
    outer = pair.unconnected(*contexts)
    outer.handshake()
    assert refused
    exchange(outer)


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no setitimer on this platform")
def test_a_signal_handler_may_pump_another_connection(contexts: Contexts, ends: Pair) -> None:
    """The handler runs between any two steps of the call that it interrupts, so the timer keeps ticking while data
    flows.
    """
    inner = pair.connect(*contexts)
    plaintext = pattern(200_000)
    handled = 0

    def handle(*_: object) -> None:
        nonlocal handled
        if len(stack) == 0:  # a handler that a signal interrupts again would only go deeper
            stack.append(None)
            exchange(inner, plaintext[handled : handled + 1000])
            stack.pop()
            handled += 1

    stack: list[None] = []
    previous = signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while handled < 50:
            exchange(ends, plaintext)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, previous)


def test_a_finaliser_may_pump_another_connection(contexts: Contexts, ends: Pair) -> None:
    inner = pair.connect(*contexts)
    plaintext = pattern(50_000)
    finalised = 0

    class Litter:
        """A cycle whose finaliser runs when the collector does: inside whatever allocates just then."""

        def __init__(self) -> None:
            self.me = self

        def __del__(self) -> None:
            nonlocal finalised
            exchange(inner, b"from a finaliser")
            finalised += 1

    threshold = gc.get_threshold()
    gc.set_threshold(5)
    try:
        for _ in range(200):
            Litter()
            exchange(ends, plaintext)
        gc.collect()
    finally:
        gc.set_threshold(*threshold)
    assert finalised == 200


def test_greenlets_may_pump_their_own_connections(
    contexts: Contexts,
) -> None:
    """One greenlet is left in the middle of its call (inside a callback) while the other makes calls of its own."""
    greenlet = pytest.importorskip("greenlet", reason="greenlet is not installed")
    ends = pair.connect(*contexts)
    main = greenlet.getcurrent()
    contexts[1].sni_callback = lambda *_: main.switch("inside the callback")
    outer = pair.unconnected(*contexts)
    outer.client.send_plaintext(b"from the outside")
    other = greenlet.greenlet(outer.handshake)
    assert other.switch() == "inside the callback"
    exchange(ends, pattern(SEVERAL_SCRATCHES))
    other.switch(None)
    assert other.dead
    exchange(outer)
    assert outer.server.received == b"from the outside"


# Threads


def run_in_threads(*work: Callable[[], object]) -> None:
    """Run each in a thread of its own, all starting at once; raise what any of them raised."""
    barrier = threading.Barrier(len(work))

    def started(function: Callable[[], object]) -> None:
        barrier.wait()
        function()

    with ThreadPoolExecutor(len(work)) as pool:
        for future in [pool.submit(started, function) for function in work]:
            future.result()


def test_threads_with_connections_of_their_own_do_not_disturb_each_other(
    contexts: Contexts,
) -> None:
    def converse(letter: bytes) -> None:
        for _ in range(10):
            ends = pair.connect(*contexts)
            for size in (1, 100, 20_000, 300_000):
                exchange(ends, letter * size)

    run_in_threads(*(partial(converse, letter) for letter in (b"a", b"b", b"c", b"d", b"e", b"f")))


def test_many_connections_in_several_threads_are_not_mistaken_for_shared_ones(contexts: Contexts) -> None:
    """Connections that take buffers from others, which other threads are about to use, are not in their way."""

    def converse(seed: int) -> None:
        pairs = [pair.connect(*contexts) for _ in range(lib.TXM_WARM)]
        order = random.Random(seed)
        for _ in range(5_000):
            exchange(order.choice(pairs), b"a short message")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)  # seconds; so that threads meet more often than by default
    try:
        run_in_threads(*(partial(converse, seed) for seed in range(4)))
    finally:
        sys.setswitchinterval(interval)


def test_a_connection_used_by_two_threads_says_so_and_corrupts_nothing(ends: Pair) -> None:
    """Whoever finds the other inside gets RuntimeError and has changed nothing, so it tries again: then everything
    arrives.
    """
    size, count = 20_000, 100

    def send(letter: bytes) -> None:
        remaining = count
        while remaining:
            try:
                ends.client.send_plaintext(letter * size)
            except RuntimeError:
                continue
            remaining -= 1

    run_in_threads(lambda: send(b"a"), lambda: send(b"b"))
    ends.settle()
    blocks = [bytes(ends.server.received[start : start + size]) for start in range(0, 2 * count * size, size)]
    assert sorted(blocks) == [b"a" * size] * count + [b"b" * size] * count


def test_a_connection_read_by_two_threads_says_so_and_corrupts_nothing(ends: Pair) -> None:
    plaintext = pattern(SEVERAL_SCRATCHES)
    wire = ends.client.connection.plaintext_to_wire(plaintext)
    received = bytearray()
    done = threading.Event()

    def receive() -> None:
        try:
            for piece in pair.pieces_of(40_000)(wire):
                while True:
                    try:
                        received.extend(ends.server.connection.receive_wire(piece))
                    except RuntimeError:
                        continue
                    break
        finally:
            done.set()

    def intrude() -> None:
        while not done.is_set():
            try:
                received.extend(ends.server.connection.receive_wire(b""))
                ends.server.connection.wire_to_send()
                ends.server.connection.cipher()
            except RuntimeError:
                pass

    run_in_threads(receive, intrude)
    assert received == plaintext


def test_scratch_is_freed_when_its_threads_have_ended(
    contexts: Contexts,
) -> None:
    """Many threads in the middle of a call need one each; once they are gone, no more is kept than one loop uses."""
    gc.collect()
    others = scratch_count() - len(_pool)  # another test's traceback may still hold one
    together = threading.Barrier(2 * KEPT + 1)
    inside: list[int] = []

    def sni_callback(*_: object) -> None:
        together.wait()  # all are inside a call now
        inside.append(scratch_count())
        together.wait()

    contexts[1].sni_callback = sni_callback
    run_in_threads(*[partial(pair.connect, *contexts)] * together.parties)
    assert max(inside) >= together.parties
    contexts[1].sni_callback = None
    pair.connect(*contexts)
    gc.collect()
    assert scratch_count() <= KEPT + IN_C + others


def test_connections_are_freed_when_they_are_forgotten(
    contexts: Contexts,
) -> None:
    gc.collect()
    before = lib.txm_live_connections()
    ends = pair.connect(*contexts)
    assert lib.txm_live_connections() == before + 2
    del ends
    gc.collect()
    assert lib.txm_live_connections() == before


# The caller's buffers


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_taken(ends: Pair, kind: Callable[[bytes], bytes]) -> None:
    wire = ends.client.connection.plaintext_to_wire(kind(pattern(100_000)))
    assert ends.server.connection.receive_wire(kind(wire)) == pattern(100_000)


def test_a_slice_of_a_memoryview_is_taken_as_it_is(ends: Pair) -> None:
    wire = ends.client.connection.plaintext_to_wire(memoryview(b"xxplainxx")[2:-2])
    assert ends.server.connection.receive_wire(memoryview(b"??" + wire + b"??")[2:-2]) == b"plain"


@pytest.mark.parametrize("bad", ["text", 17, None, [1, 2]])
def test_what_is_not_bytes_is_refused(ends: Pair, bad: object) -> None:
    for method in (
        ends.client.connection.receive_wire,
        ends.client.connection.send_plaintext,
        ends.client.connection.plaintext_to_wire,
    ):
        with pytest.raises(TypeError):
            method(bad)  # type: ignore[arg-type]
    exchange(ends)


def test_a_bytearray_cannot_be_resized_while_c_holds_it(
    contexts: Contexts,
) -> None:
    hello = bytearray()
    resized: list[bool] = []

    def sni_callback(*_: object) -> None:
        try:
            hello.clear()
        except BufferError:
            resized.append(False)
        else:
            resized.append(True)  # then C must have been given a copy: the handshake below shows it

    contexts[1].sni_callback = sni_callback
    outer = pair.unconnected(*contexts)
    outer.client.start()
    hello += outer.client.connection.wire_to_send()
    outer.server.connection.receive_wire(hello)
    assert resized
    outer.settle()
    assert outer.client.connection.handshake_complete
    exchange(outer)
    hello.clear()  # and nothing holds on to it afterwards


def test_the_caller_may_change_its_buffer_after_the_call(ends: Pair) -> None:
    """Nothing is borrowed beyond the call: a reused read buffer is what frameworks pass."""
    sizes = cycle((1, 3, 1000, 70_000))
    plaintext = pattern(300_000)
    wire = ends.client.connection.plaintext_to_wire(plaintext)
    received = bytearray()
    buffer = bytearray(70_000)
    start = 0
    while start < len(wire):
        piece = wire[start : start + next(sizes)]
        buffer[: len(piece)] = piece
        received += ends.server.connection.receive_wire(memoryview(buffer)[: len(piece)])
        buffer[:] = bytes(len(buffer))
        start += len(piece)
    assert received == plaintext


def test_results_are_the_callers_own(ends: Pair) -> None:
    """The next call does not write over what an earlier one returned."""
    results: list[tuple[bytes, bytes]] = []
    for piece in (b"one" * 1000, b"two" * 1000, b"three" * 1000):
        results.append((piece, ends.server.connection.receive_wire(ends.client.connection.plaintext_to_wire(piece))))
    assert [got for _, got in results] == [piece for piece, _ in results]


# --- buffers ----------------------------------------------------------------------------------------------------------


def test_only_the_connections_used_last_keep_buffers(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    gc.collect()
    before = lib.txm_warm_connections()
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    pairs = [pair.connect(client, server) for _ in range(lib.TXM_WARM)]  # twice as many connections as places
    for number, each in enumerate((*pairs, *pairs), 1):  # those that lost their buffers go on all the same
        each.client.send_plaintext(b"x" * 20_000)
        each.settle()
        assert each.server.received == b"x" * 20_000 * (1 if number <= len(pairs) else 2)
    assert lib.txm_warm_connections() == lib.TXM_WARM
    del pairs, each
    gc.collect()
    assert lib.txm_warm_connections() <= before


def test_a_connection_that_has_shaken_hands_and_says_no_more_keeps_none(shared: Contexts) -> None:
    gc.collect()
    before = lib.txm_warm_connections()
    ends = pair.unconnected(*shared)
    client, server = ends.connections
    client.do_handshake()
    assert lib.txm_warm_connections() == before + 1
    server.receive_wire(client.wire_to_send())
    assert lib.txm_warm_connections() == before + 2
    client.receive_wire(server.wire_to_send())
    if not client.handshake_complete:
        server.receive_wire(client.wire_to_send())
        assert server.handshake_complete
        assert lib.txm_warm_connections() == before + 1
        client.receive_wire(server.wire_to_send())
    assert client.handshake_complete
    ends.settle()
    assert server.receive_wire(client.plaintext_to_wire(b"x")) == b"x"
    assert lib.txm_warm_connections() == before + 2


def test_half_a_record_behind_the_handshake_stays(shared: Contexts) -> None:
    client, server = pair.unconnected(*shared).connections
    client.send_plaintext(b"x" * 1000)
    client.receive_wire(server.wire_to_send())
    while not client.handshake_complete:
        server.receive_wire(client.wire_to_send())
        client.receive_wire(server.wire_to_send())
    wire = client.wire_to_send()  # in TLS 1.3 Finished is in front of it
    assert server.receive_wire(wire[:-500]) == b""
    assert server.receive_wire(wire[-500:]) == b"x" * 1000
