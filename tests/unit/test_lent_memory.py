"""The ways that spare a copy: decrypting into the caller's memory, and sending from where the wire was encrypted."""

from __future__ import annotations

import os
import random
import threading
from array import array
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI
from txmembio.connection import MOST_PLAINTEXT, SENT_AT_ONCE
from txmembio.facts import Inside

Take = Callable[[txmembio.Connection, bytes, int], bytes]


def into(connection: txmembio.Connection, wire: bytes, room: int) -> bytes:
    buffer = bytearray(room)
    length = connection.receive_wire_into(wire, buffer)
    assert not any(buffer[length:]), "nothing may be written behind the plaintext"
    return bytes(buffer[:length])


def onto(connection: txmembio.Connection, wire: bytes, room: int) -> bytes:
    buffer = bytearray(b"before")
    length = connection.receive_wire_onto(wire, buffer, room)
    assert buffer.startswith(b"before")
    assert len(buffer) == length + 6
    return bytes(buffer[6:])


@pytest.fixture(params=[into, onto])
def take(request: pytest.FixtureRequest) -> Take:
    """One way and the other."""
    way: Take = request.param
    return way


def drained(take: Take, connection: txmembio.Connection, wire: bytes, room: int) -> bytes:
    """All the plaintext in `wire`, taken in pieces of `room` bytes."""
    pieces = [take(connection, wire, room)]
    while connection.plaintext_held:
        assert len(pieces[-1]) == room
        pieces.append(take(connection, b"", room))
    return b"".join(pieces)


@pytest.mark.parametrize("room", [1, 100, 16_384, 65_536, 10**6])
@pytest.mark.parametrize("size", [0, 1, 2_048, 2_049, 16_384, 16_385, 200_000])
def test_what_finds_no_room_comes_with_the_next_call(ends: Pair, take: Take, size: int, room: int) -> None:
    if room == 1 and size > 20_000:
        size = 20_000
    data = os.urandom(size)
    wire = ends.client.connection.plaintext_to_wire(data)
    assert drained(take, ends.server.connection, wire, min(room, MOST_PLAINTEXT)) == data
    assert not ends.server.connection.plaintext_held


@given(data=st.data())
def test_any_cut_of_the_wire_and_any_room_give_the_same_plaintext(
    pki: PKI, shared: Contexts, data: st.DataObject
) -> None:
    ends = pair.connect(*shared)
    way = data.draw(st.sampled_from([into, onto]))
    chance = random.Random(data.draw(st.integers(0, 2**32)))
    plaintext = chance.randbytes(data.draw(st.integers(0, 60_000)))
    wire = ends.client.connection.plaintext_to_wire(plaintext)
    received = b""
    while wire:
        cut = chance.randrange(1, 40_000)
        received += drained(way, ends.server.connection, wire[:cut], chance.randrange(1, 20_000))
        wire = wire[cut:]
    assert received == plaintext


def test_the_other_way_to_receive_takes_what_is_held_as_well(ends: Pair, take: Take) -> None:
    client, server = ends.connections
    wire = client.plaintext_to_wire(b"a" * 20_000) + client.plaintext_to_wire(b"b" * 20_000)
    more = client.plaintext_to_wire(b"c")
    assert take(server, wire, 10) == b"a" * 10
    assert server.plaintext_held
    assert server.receive_wire(more) == b"a" * 19_990 + b"b" * 20_000 + b"c"
    assert not server.plaintext_held


def test_the_handshake_can_be_received_that_way_too(fresh: Pair, take: Take) -> None:
    client, server = fresh.connections
    client.do_handshake()
    for _ in range(3):
        assert take(server, client.wire_to_send(), 100) == b""
        assert take(client, server.wire_to_send(), 100) == b""
    assert client.handshake_complete
    assert server.handshake_complete


def test_plaintext_before_a_bad_record_comes_first_and_then_the_error(ends: Pair, take: Take) -> None:
    client, server = ends.connections
    wire = client.plaintext_to_wire(b"good") + b"\x17\x03\x03\x00\x20" + b"bad" * 11
    assert take(server, wire, 100) == b"good"
    assert isinstance(server.error, txmembio.SSLError)
    assert server.changed
    for _ in range(2):
        with pytest.raises(txmembio.SSLError, match=r"BAD_RECORD_MAC|DECRYPTION_FAILED|RECORD_LAYER_FAILURE"):
            take(server, b"", 100)
    assert server.wire_to_send(), "the alert"


def test_close_notify_behind_plaintext_that_finds_no_room_is_heard_in_its_turn(ends: Pair, take: Take) -> None:
    client, server = ends.connections
    wire = client.plaintext_to_wire(b"12345678")
    client.close()
    wire += client.wire_to_send() + b"plain again"
    assert take(server, wire, 5) == b"12345"
    assert not server.peer_closed
    assert take(server, b"", 5) == b"678"
    assert server.peer_closed
    assert server.unread_wire() == b"plain again"
    server.receive_wire_eof()


def test_the_answers_of_a_receiving_call_are_there_to_be_sent(pki: PKI, take: Take) -> None:
    contexts = pair.client_context(pki), pair.server_context(pki)
    client, server = pair.unconnected(*contexts).connections
    client.do_handshake()
    server.changed = False
    take(server, client.wire_to_send(), 10)
    assert server.changed
    assert server.wire_to_send().startswith(b"\x16\x03\x03")


def test_memory_that_cannot_be_written_to_is_refused_and_nothing_is_lost(ends: Pair) -> None:
    client, server = ends.connections
    wire = client.plaintext_to_wire(b"kept")
    for memory in (b"1234", memoryview(b"1234")):
        with pytest.raises((TypeError, BufferError)):
            server.receive_wire_into(wire, memory)  # type: ignore[arg-type]
    assert server.receive_wire(wire) == b"kept"


def test_a_buffer_that_cannot_grow_is_an_error_and_leaves_the_connection_usable(ends: Pair) -> None:
    client, server = ends.connections
    buffer = bytearray(b"1")
    with memoryview(buffer), pytest.raises(BufferError):
        server.receive_wire_onto(client.plaintext_to_wire(b"x" * 10), buffer, 100)
    with memoryview(buffer), pytest.raises(BufferError):
        server.receive_wire_onto(client.plaintext_to_wire(b"x" * 100), buffer, 10)
    assert server.receive_wire(client.plaintext_to_wire(b"y")).endswith(b"y")


# --- sending ---


class Socket:
    """Takes what it is told to take of each piece."""

    def __init__(self, *takes: int | type[BaseException]) -> None:
        self.takes = list(takes)
        self.sent = bytearray()

    def send(self, wire: bytes | memoryview) -> int:
        take = self.takes.pop(0) if self.takes else len(wire)
        if not isinstance(take, int):
            raise take
        self.sent += wire[:take]
        return min(take, len(wire))


@pytest.mark.parametrize("size", [1, 2_000, 2_100, 16_384, 65_536, SENT_AT_ONCE, SENT_AT_ONCE + 1])
@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_wire_goes_to_the_socket_at_once(ends: Pair, size: int, kind: type) -> None:
    client, server = ends.connections
    socket = Socket()
    data = os.urandom(size)
    client.changed = False
    taken = client.send_plaintext_through(kind(data), socket.send)
    assert taken == min(size, SENT_AT_ONCE)
    assert not client.changed
    assert client.wire_to_send() == b""
    assert server.receive_wire(bytes(socket.sent)) == data[:taken]


@pytest.mark.parametrize("size", [100, 50_000])
@pytest.mark.parametrize("take", [0, 1, 50, BlockingIOError])
def test_what_the_socket_does_not_take_is_left_in_order(
    ends: Pair, size: int, take: int | type[BlockingIOError]
) -> None:
    client, server = ends.connections
    socket = Socket(take)
    data = os.urandom(size)
    assert client.send_plaintext_through(data, socket.send) == size
    assert client.changed
    assert client.send_plaintext_through(b"behind", socket.send) == 6
    assert server.receive_wire(bytes(socket.sent) + client.wire_to_send()) == data + b"behind"


@pytest.mark.parametrize("size", [100, 50_000])
def test_an_error_of_the_socket_passes_through_and_the_wire_is_not_lost(ends: Pair, size: int) -> None:
    client, server = ends.connections
    with pytest.raises(ConnectionResetError):
        client.send_plaintext_through(b"x" * size, Socket(ConnectionResetError).send)
    assert server.receive_wire(client.wire_to_send()) == b"x" * size


def test_before_the_handshake_is_complete_it_is_kept(fresh: Pair) -> None:
    client, _ = fresh.connections
    socket = Socket()
    assert client.send_plaintext_through(b"early", socket.send) == 5
    assert socket.sent == b""
    assert client.plaintext_pending == 5
    fresh.handshake()
    fresh.settle()
    assert fresh.server.received == b"early"


def test_after_close_and_after_a_failure_it_raises(ends: Pair) -> None:
    client, server = ends.connections
    socket = Socket()
    client.close()
    with pytest.raises(txmembio.SSLError, match=r"after close\(\)"):
        client.send_plaintext_through(b"late", socket.send)
    with pytest.raises(txmembio.SSLError):
        server.receive_wire(b"nonsense" * 10)
    with pytest.raises(txmembio.SSLError):
        server.send_plaintext_through(b"late", socket.send)
    assert socket.sent == b""


@pytest.mark.parametrize("size", [100, SENT_AT_ONCE, SENT_AT_ONCE + 1])
def test_memory_that_was_lent_is_let_go_when_the_socket_fails(ends: Pair, size: int) -> None:
    """Although the traceback still has every frame: the caller's memory can be resized, and a view of it released."""
    data = bytearray(size)
    with memoryview(data) as view, pytest.raises(ConnectionResetError) as caught:
        ends.client.connection.send_plaintext_through(view, Socket(ConnectionResetError).send)
    data.append(1)
    assert caught.traceback


def test_memory_that_was_lent_is_let_go_when_the_wire_is_bad(ends: Pair) -> None:
    buffer = bytearray(100)
    with memoryview(buffer) as view, pytest.raises(txmembio.SSLError) as caught:
        ends.client.connection.receive_wire_into(b"nonsense", view)
    buffer.append(1)
    assert caught.traceback


def test_a_call_that_is_refused_loses_nothing_of_what_was_held(ends: Pair) -> None:
    client, server = ends.connections
    wire = client.plaintext_to_wire(b"a" * 20_000) + client.plaintext_to_wire(b"b" * 20_000)
    assert into(server, wire, 10) == b"a" * 10
    with pytest.raises((TypeError, BufferError)):
        server.receive_wire_into(b"", b"not to be written to")  # type: ignore[arg-type]
    with Inside(server._c):  # as if another thread were in there
        for take in (into, onto):
            caught: list[BaseException] = []
            thread = threading.Thread(target=_try, args=(take, server, caught))
            thread.start()
            thread.join()
            assert isinstance(caught[0], RuntimeError)
    assert server.plaintext_held
    assert drained(into, server, b"", 15_000) == b"a" * 19_990 + b"b" * 20_000


def _try(take: Take, connection: txmembio.Connection, caught: list[BaseException]) -> None:
    try:
        take(connection, b"", 100)
    except BaseException as error:
        caught.append(error)


def test_memory_is_counted_in_bytes(ends: Pair) -> None:
    client, server = ends.connections
    numbers = array("I", range(100))
    socket = Socket()
    for data in (numbers, memoryview(numbers)):
        assert client.send_plaintext_through(data, socket.send) == numbers.itemsize * 100  # type: ignore[arg-type]
    assert server.receive_wire(bytes(socket.sent)) == bytes(numbers) * 2
