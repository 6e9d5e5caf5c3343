"""`Connection`: its course from the first byte to the close, and that no cutting of the wire changes what comes out."""

from __future__ import annotations

from itertools import cycle

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule, run_state_machine_as_test

import txmembio
from support import pair
from support.pair import Contexts, Pair

# Any chunking of the wire

pieces = st.lists(st.integers(1, 40) | st.integers(1, 20_000), min_size=1, max_size=20)
plaintexts = st.lists(st.binary(max_size=200) | st.integers(0, 40_000).map(lambda size: b"\x5a" * size), max_size=5)


@settings(max_examples=60)
@given(sizes=pieces, from_client=plaintexts, from_server=plaintexts, early=st.booleans())
def test_any_chunking_of_the_wire_gives_the_same_plaintext(
    shared: Contexts, sizes: list[int], from_client: list[bytes], from_server: list[bytes], early: bool
) -> None:
    ends = pair.unconnected(*shared, segmentation=pair.pieces_by(cycle(sizes)))
    if not early:
        ends.handshake()
    for plaintext in from_client:
        ends.client.send_plaintext(plaintext)
    for plaintext in from_server:
        ends.server.send_plaintext(plaintext)
    if early:
        ends.handshake()
    ends.settle()
    assert ends.server.received == b"".join(from_client)
    assert ends.client.received == b"".join(from_server)
    for end in (ends.client, ends.server):
        end.connection.close()
    ends.settle()
    assert ends.client.connection.peer_closed and ends.server.connection.peer_closed
    assert ends.client.error is ends.server.error is None


# Any bytes whatever


def assert_only_documented_errors(connection: txmembio.Connection, wire: list[bytes]) -> None:
    """Feed `wire`; nothing but SSLError comes, and after the first one the same one."""
    for piece in wire:
        try:
            connection.receive_wire(piece)
        except txmembio.SSLError as error:
            assert error is connection.error
            assert str(error) and "\n" not in str(error)
        connection.wire_to_send()
    try:
        connection.receive_wire_eof()
    except txmembio.SSLError as error:
        assert error is connection.error


anything = st.lists(st.binary(max_size=300), max_size=5)
#: Bytes that at least begin like records, so that more than the header check is reached.
record_like = st.lists(
    st.tuples(
        st.sampled_from([20, 21, 22, 23, 24]),
        st.sampled_from([b"\x03\x01", b"\x03\x03", b"\x03\x04"]),
        st.binary(max_size=200),
    ).map(lambda parts: bytes([parts[0]]) + parts[1] + len(parts[2]).to_bytes(2, "big") + parts[2]),
    max_size=5,
)


@given(wire=anything | record_like, server_side=st.booleans(), started=st.booleans())
def test_any_bytes_instead_of_a_handshake_give_a_documented_error(
    shared: Contexts, wire: list[bytes], server_side: bool, started: bool
) -> None:
    ends = pair.unconnected(*shared)
    end = ends.server if server_side else ends.client
    if started:
        end.start()
    assert_only_documented_errors(end.connection, wire)


@given(wire=anything | record_like, server_side=st.booleans())
def test_any_bytes_after_the_handshake_give_a_documented_error(
    shared: Contexts, wire: list[bytes], server_side: bool
) -> None:
    ends = pair.connect(*shared)
    assert_only_documented_errors((ends.server if server_side else ends.client).connection, wire)


@given(flight=st.integers(0, 4), position=st.floats(0, 1, exclude_max=True), bit=st.integers(0, 7))
def test_a_handshake_with_one_bit_changed_gives_a_documented_error_or_none(
    shared: Contexts, flight: int, position: float, bit: int
) -> None:
    """Bits of a session ticket, say, may change without harm to this connection; nothing else may pass."""
    flights = 0

    def change(wire: bytes) -> list[bytes]:
        nonlocal flights
        changed = bytearray(wire)
        if flights == flight:
            changed[int(position * len(wire))] ^= 1 << bit
        flights += 1
        return [bytes(changed)]

    ends = pair.unconnected(*shared, segmentation=change)
    ends.attempt_handshake()
    for end in (ends.client, ends.server):
        assert end.error is None or isinstance(end.error, txmembio.SSLError)
    if (
        ends.client.error is ends.server.error is None
        and ends.connections[0].handshake_complete
        and ends.connections[1].handshake_complete
    ):
        ends.segmentation = pair.whole
        ends.client.send_plaintext(b"still true")
        ends.settle()
        assert ends.server.received == b"still true"


def test_plain_http_to_a_server_is_named(shared: Contexts) -> None:
    server = pair.unconnected(*shared).server.connection
    with pytest.raises(txmembio.SSLError, match=r"(?i)http request"):
        server.receive_wire(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")


def test_plain_http_to_a_client_is_an_error(shared: Contexts) -> None:
    ends = pair.unconnected(*shared)
    ends.client.start()
    with pytest.raises(txmembio.SSLError, match=r"(?i)wrong version number|packet"):
        ends.client.connection.receive_wire(b"HTTP/1.1 400 Bad Request\r\n\r\n")


# The course of a connection


def test_a_fresh_connection_knows_itself_and_nothing_of_the_peer(shared: Contexts) -> None:
    client, server = pair.unconnected(*shared).connections
    assert (client.context, server.context) == shared
    assert (client.server_side, server.server_side) == (False, True)
    assert (client.server_hostname, server.server_hostname) == ("localhost", None)
    for connection in (client, server):
        assert not connection.changed
        assert not connection.handshake_complete
        assert not connection.peer_closed
        assert not connection.closed
        assert connection.error is None
        assert connection.plaintext_pending == 0
        assert connection.wire_to_send() == b""
        assert connection.unread_wire() == b""


def test_do_handshake_says_when_it_is_done(shared: Contexts) -> None:
    client, server = pair.unconnected(*shared).connections
    assert client.do_handshake() is False
    assert server.do_handshake() is False
    while not (client.handshake_complete and server.handshake_complete):
        server.receive_wire(client.wire_to_send())
        client.receive_wire(server.wire_to_send())
    assert client.do_handshake() is server.do_handshake() is True


def test_changed_is_told_apart_from_mere_plaintext(ends: Pair) -> None:
    client, server = ends.connections
    assert client.changed and server.changed  # the handshake
    client.changed = server.changed = False
    wire = client.plaintext_to_wire(b"plaintext")
    assert not client.changed
    server.receive_wire(wire)
    assert not server.changed
    client.close()
    assert client.changed  # there is a close_notify to send
    server.receive_wire(client.wire_to_send())
    assert server.changed and server.peer_closed


def test_wire_to_send_is_handed_over_once(ends: Pair) -> None:
    ends.client.send_plaintext(b"once")
    assert ends.client.connection.wire_to_send() != b""
    assert ends.client.connection.wire_to_send() == b""


def test_empty_writes_send_nothing(ends: Pair) -> None:
    assert ends.client.connection.plaintext_to_wire(b"") == b""
    ends.client.send_plaintext(b"")
    assert ends.client.connection.wire_to_send() == b""


def test_empty_wire_changes_nothing(shared: Contexts, ends: Pair) -> None:
    for connection in (*pair.unconnected(*shared).connections, *ends.connections):
        assert connection.receive_wire(b"") == b""
        assert connection.error is None


def test_plaintext_sent_before_the_handshake_is_kept_in_order(shared: Contexts) -> None:
    ends = pair.unconnected(*shared)
    for end in (ends.client, ends.server):
        end.send_plaintext(b"first ")
        end.connection.wire_to_send()
    ends.client.connection.plaintext_to_wire(b"second ")
    assert ends.client.connection.plaintext_pending == len(b"first second ")
    # The wire that the three lines above discarded held no plaintext; but a client's hello may have been in it.
    ends = pair.unconnected(*shared)
    ends.client.send_plaintext(b"first ")
    ends.client.send_plaintext(b"second")
    ends.server.send_plaintext(b"an answer")
    ends.handshake()
    assert ends.server.received == b"first second"
    assert ends.client.received == b"an answer"
    assert ends.client.connection.plaintext_pending == ends.server.connection.plaintext_pending == 0


def test_kept_plaintext_is_the_callers_no_longer(shared: Contexts) -> None:
    """A buffer that is changed after send_plaintext() does not change what is sent."""
    ends = pair.unconnected(*shared)
    buffer = bytearray(b"as it was")
    ends.client.send_plaintext(buffer)
    buffer[:] = b"something"
    ends.handshake()
    assert ends.server.received == b"as it was"


# Closing


def test_close_before_anything_sends_nothing(shared: Contexts) -> None:
    for connection in pair.unconnected(*shared).connections:
        connection.send_plaintext(b"never")
        connection.close()
        assert connection.closed
        assert connection.plaintext_pending == 0
        with pytest.raises(txmembio.SSLError, match=r"(?i)clos"):
            connection.send_plaintext(b"too late")


def test_close_during_the_handshake_sends_nothing_more(shared: Contexts) -> None:
    client, server = pair.unconnected(*shared).connections
    client.do_handshake()
    server.receive_wire(client.wire_to_send())
    server.wire_to_send()
    server.close()
    assert server.closed and server.wire_to_send() == b""


def test_close_after_the_handshake_sends_close_notify_after_the_data(ends: Pair) -> None:
    client, server = ends.connections
    client.send_plaintext(b"last words")
    client.close()
    assert client.closed and not client.peer_closed
    assert server.receive_wire(client.wire_to_send()) == b"last words"
    assert server.peer_closed and not server.closed
    with pytest.raises(txmembio.SSLError, match=r"(?i)clos"):
        client.send_plaintext(b"too late")
    assert client.wire_to_send() == b""


def test_close_twice_says_close_notify_once(ends: Pair) -> None:
    client, _ = ends.connections
    client.close()
    client.wire_to_send()
    client.close()
    assert client.wire_to_send() == b""


def test_close_answers_the_peers_close(ends: Pair) -> None:
    client, server = ends.connections
    client.close()
    server.receive_wire(client.wire_to_send())
    server.close()
    assert client.receive_wire(server.wire_to_send()) == b""
    assert client.peer_closed and client.error is server.error is None


def test_data_that_crosses_our_close_still_arrives(ends: Pair) -> None:
    client, server = ends.connections
    crossing = server.plaintext_to_wire(b"on its way")
    client.close()
    assert client.receive_wire(crossing) == b"on its way"


def test_close_after_a_failure_is_quiet(ends: Pair) -> None:
    _client, server = ends.connections
    with pytest.raises(txmembio.SSLError):
        server.receive_wire(b"this is no record")
    server.wire_to_send()
    server.close()
    assert server.closed and server.wire_to_send() == b""


# Any course whatever


class Course(RuleBasedStateMachine):
    """Two ends that do, in any order, whatever may be done, while the wire between them moves in pieces.

    What is checked all the time: what was received is the beginning of what was sent. And in the end: once all wire has
    been delivered, all of it was received, and each end knows whether the other has closed.
    """

    contexts: Contexts

    def __init__(self) -> None:
        super().__init__()
        self.ends = pair.unconnected(*self.contexts)
        self.sent: dict[pair.End, bytearray] = {end: bytearray() for end in self.both}
        self.on_the_way: dict[pair.End, bytearray] = {end: bytearray() for end in self.both}
        self.ends.client.start()

    @property
    def both(self) -> tuple[pair.End, pair.End]:
        return self.ends.client, self.ends.server

    def other(self, end: pair.End) -> pair.End:
        return self.ends.server if end is self.ends.client else self.ends.client

    sides = st.booleans()

    @rule(side=sides, plaintext=st.binary(max_size=50) | st.integers(0, 300_000).map(lambda size: b"\x5a" * size))
    def send(self, side: bool, plaintext: bytes) -> None:
        end = self.both[side]
        if end.connection.closed:
            with pytest.raises(txmembio.SSLError, match=r"(?i)close"):
                end.send_plaintext(plaintext)
        else:
            end.send_plaintext(plaintext)
            self.sent[end] += plaintext

    @rule(side=sides)
    def collect(self, side: bool) -> None:
        """What an end has to send sets out for the other one."""
        end = self.both[side]
        self.on_the_way[end] += end.connection.wire_to_send()

    @rule(side=sides, size=st.integers(0, 100) | st.integers(0, 400_000))
    def deliver(self, side: bool, size: int) -> None:
        """Some of it arrives."""
        wire = self.on_the_way[self.both[side]]
        self.other(self.both[side]).receive(bytes(wire[:size]))
        del wire[:size]

    @precondition(lambda self: self.ends.complete)
    @rule(side=sides)
    def close(self, side: bool) -> None:
        self.both[side].connection.close()

    @rule(side=sides)
    def look(self, side: bool) -> None:
        """None of this changes anything."""
        connection = self.both[side].connection
        connection.version(), connection.cipher(), connection.session, connection.do_handshake()
        assert connection.unread_wire() == b""
        assert connection.receive_wire(b"") == b""

    @invariant()
    def nothing_is_lost_or_invented(self) -> None:
        for end in self.both:
            assert end.error is None
            assert self.sent[self.other(end)].startswith(end.received)

    def teardown(self) -> None:
        for side in (False, True):
            self.collect(side)
        while any(self.on_the_way.values()):
            for side in (False, True):
                self.deliver(side, len(self.on_the_way[self.both[side]]))
                self.collect(not side)
        for end in self.both:
            assert end.error is None
            assert end.connection.handshake_complete
            assert end.received == self.sent[self.other(end)]
            assert end.connection.peer_closed == self.other(end).connection.closed


def test_any_course_of_two_ends(shared: Contexts) -> None:
    course = type("Course", (Course,), {"contexts": shared})
    run_state_machine_as_test(course, settings=settings(max_examples=40, stateful_step_count=40))
