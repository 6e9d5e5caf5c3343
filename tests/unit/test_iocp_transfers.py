"""The emulated kernel's transfers, called as Twisted calls them: what each answers, and what it completes with.

What they say of Windows was seen of `twisted_iocpsupport` under wine, or is documented.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Iterator

import pytest

if not hasattr(select, "epoll"):
    pytest.skip("the emulation needs epoll", allow_module_level=True)

from support.iocp import calls
from support.iocp.bench import BULK, KEY, PENDING, Bench, bench, readable, received, reset, wait_until_received
from support.iocp.kernel import LOCK
from support.iocp.winsock import SO_UPDATE_CONNECT_CONTEXT


@pytest.fixture
def kernel() -> Iterator[Bench]:
    with bench() as made:
        yield made


class TestReceive:
    def test_data_that_is_there_is_received_at_once_and_completes_as_well(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        peer.sendall(b"hello")
        readable(ours)
        buffer = bytearray(8)
        assert calls.recv(ours.fileno(), [buffer], "event") == (0, 5)
        assert kernel.completion() == (0, 5, KEY, "event")
        assert bytes(buffer) == b"hello\0\0\0"
        assert kernel.nothing()

    def test_a_receive_without_data_is_pending_until_there_is_some(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        buffer = bytearray(8)
        assert calls.recv(ours.fileno(), [buffer], "event") == PENDING
        assert kernel.nothing()
        peer.sendall(b"hello")
        assert kernel.completion() == (0, 5, KEY, "event")
        assert buffer.startswith(b"hello")

    def test_buffers_are_filled_in_turn(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        buffers = [bytearray(2), bytearray(), bytearray(4), bytearray(4)]
        calls.recv(ours.fileno(), buffers, None)
        peer.sendall(b"abcde")
        assert kernel.completion()[:2] == (0, 5)
        assert b"|".join(buffers) == b"ab||cde\0|\0\0\0\0"

    def test_receives_complete_in_the_order_of_the_calls(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        buffers = [bytearray(2) for _ in range(3)]
        for number, buffer in enumerate(buffers):
            assert calls.recv(ours.fileno(), [buffer], number) == PENDING
        peer.sendall(b"abcdef")
        assert [kernel.completion()[3] for _ in buffers] == [0, 1, 2]
        assert b"".join(buffers) == b"abcdef"

    def test_one_that_could_be_done_waits_for_those_before_it(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        first, second = bytearray(2), bytearray(2)
        calls.recv(ours.fileno(), [first], "first")
        with LOCK:  # so that the first is still pending when its data is there
            peer.sendall(b"abcd")
            readable(ours)
            assert calls.recv(ours.fileno(), [second], "second") == PENDING
        assert [kernel.completion()[3] for _ in range(2)] == ["first", "second"]
        assert first + second == b"abcd"

    def test_a_receive_of_nothing_waits_for_data_and_takes_none(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        assert calls.recv(ours.fileno(), [bytearray()], "nothing") == PENDING
        peer.sendall(b"data")
        assert kernel.completion() == (0, 0, KEY, "nothing")
        assert calls.recv(ours.fileno(), [bytearray(8)], "data") == (0, 4)

    def test_the_end_of_the_data_is_a_receive_of_nothing(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        calls.recv(ours.fileno(), [bytearray(8)], "pending")
        peer.shutdown(socket.SHUT_WR)
        assert kernel.completion() == (0, 0, KEY, "pending")
        assert calls.recv(ours.fileno(), [bytearray(8)], "at once") == (0, 0)
        assert kernel.completion() == (0, 0, KEY, "at once")

    def test_a_reset_is_64_for_what_is_pending_and_10054_from_then_on(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        for event in "first", "second":
            calls.recv(ours.fileno(), [bytearray(8)], event)
        reset(peer)
        assert kernel.completion() == (64, 0, KEY, "first")
        assert kernel.completion() == (64, 0, KEY, "second")
        for _ in range(2):
            assert calls.recv(ours.fileno(), [bytearray(8)], None) == (10054, 0)
            assert calls.send(ours.fileno(), b"x", None) == (10054, 0)
        assert kernel.nothing()

    def test_a_reset_that_nothing_waited_for_is_10054_every_time(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        reset(peer)
        readable(ours)
        for _ in range(2):
            assert calls.recv(ours.fileno(), [bytearray(8)], None) == (10054, 0)

    def test_a_reset_before_the_kernel_knew_the_socket(self, kernel: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = kernel.keep(socket.create_connection(listener.getsockname()))
            reset(listener.accept()[0])
        readable(ours)
        for _ in range(2):
            assert calls.recv(ours.fileno(), [bytearray(8)], None) == (10054, 0)

    def test_not_connected(self, kernel: Bench) -> None:
        assert calls.recv(kernel.handle().fileno(), [bytearray(8)], None) == (10057, 0)

    def test_after_its_own_shutdown(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        ours.shutdown(socket.SHUT_RD)
        assert calls.recv(ours.fileno(), [bytearray(8)], None) == (10058, 0)

    def test_no_socket(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        descriptor = ours.fileno()
        ours.close()
        assert calls.recv(descriptor, [bytearray(8)], None) == (10038, 0)
        assert calls.send(descriptor, b"x", None) == (10038, 0)


class TestSend:
    def test_what_fits_is_sent_at_once_and_completes_as_well(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        assert calls.send(ours.fileno(), b"hello", "event") == (0, 5)
        assert kernel.completion() == (0, 5, KEY, "event")
        assert received(peer, 5) == b"hello"

    def test_a_send_of_nothing(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        assert calls.send(ours.fileno(), b"", "event") == (0, 0)
        assert kernel.completion() == (0, 0, KEY, "event")

    def test_a_large_send_is_pending_until_all_of_it_was_taken(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        data = os.urandom(1000) * (BULK // 1000)
        code, _ = calls.send(ours.fileno(), data, "event")
        assert code == 997
        assert kernel.nothing()
        assert received(peer, BULK) == data
        assert kernel.completion() == (0, BULK, KEY, "event")

    def test_sends_go_in_the_order_of_the_calls(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        parts = [bytes([number]) * (BULK // 4) for number in range(4)]
        for number, part in enumerate(parts):
            calls.send(ours.fileno(), part, number)
        assert received(peer, BULK) == b"".join(parts)
        assert [kernel.completion()[1:] for _ in parts] == [(BULK // 4, KEY, number) for number in range(4)]

    def test_both_directions_are_pending_at_a_time(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        calls.recv(ours.fileno(), [bytearray(8)], "receive")
        calls.send(ours.fileno(), bytes(BULK), "send")
        peer.sendall(b"hello")
        assert kernel.completion() == (0, 5, KEY, "receive")
        assert received(peer, BULK) == bytes(BULK)
        assert kernel.completion() == (0, BULK, KEY, "send")

    def test_a_reset_is_64_for_what_is_pending(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        calls.send(ours.fileno(), bytes(BULK), "event")
        reset(peer)
        assert kernel.completion() == (64, 0, KEY, "event")

    def test_not_connected(self, kernel: Bench) -> None:
        assert calls.send(kernel.handle().fileno(), b"x", None) == (10057, 0)

    def test_after_its_own_shutdown(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        ours.shutdown(socket.SHUT_WR)
        assert calls.send(ours.fileno(), b"x", None) == (10058, 0)

    def test_what_is_pending_goes_before_a_shutdown(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        calls.send(ours.fileno(), bytes(BULK), "event")
        ours.shutdown(socket.SHUT_WR)
        assert calls.send(ours.fileno(), b"x", None) == (10058, 0)
        assert received(peer, BULK + 1) == bytes(BULK)
        assert kernel.completion() == (0, BULK, KEY, "event")


class TestClose:
    def test_what_is_pending_completes_in_order(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        for event in "first", "second":
            calls.recv(ours.fileno(), [bytearray(8)], event)
        calls.send(ours.fileno(), bytes(BULK), "third")
        ours.close()
        assert [kernel.completion() for _ in range(3)] == [
            (995, 0, KEY, event) for event in ("first", "second", "third")
        ]
        assert kernel.nothing()

    def test_of_a_descriptor_whose_socket_has_gone(self, kernel: Bench) -> None:
        """The number has another socket: what was pending of the first is over, and is not the second's."""
        ours, _peer = kernel.connected()
        calls.recv(ours.fileno(), [bytearray(8)], "event")
        with socket.socket() as other:
            os.dup2(other.fileno(), ours.fileno())
            kernel.port.addHandle(ours.fileno(), 8)
            assert kernel.completion() == (995, 0, KEY, "event")
        assert calls.recv(ours.fileno(), [bytearray(8)], None) == (10057, 0)

    def test_sockets_that_the_kernel_does_not_know_are_as_ever(self, kernel: Bench) -> None:
        first, second = socket.socketpair()
        with first, second:
            first.sendall(b"hello")
            assert second.recv(8) == b"hello"
            first.shutdown(socket.SHUT_WR)
            assert second.recv(8) == b""
            with pytest.raises(OSError, match="not connected"):
                first.setsockopt(socket.SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, b"")


class TestBuffers:
    def test_nobody_resizes_one_until_its_completion_was_handed_out(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        buffer = bytearray(8)
        calls.recv(ours.fileno(), [buffer], None)
        with pytest.raises(BufferError):
            buffer += b"more"
        peer.sendall(b"hello")
        wait_until_received(buffer)
        with pytest.raises(BufferError):
            buffer += b"more"
        assert kernel.completion()[:2] == (0, 5)
        buffer += b"more"

    def test_no_other_receive_goes_into_one(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        buffer = bytearray(8)
        calls.recv(ours.fileno(), [buffer], "first")
        with pytest.raises(BufferError, match="under way"):
            calls.recv(ours.fileno(), [memoryview(buffer)[7:]], "second")
        peer.sendall(b"hello")
        assert kernel.completion() == (0, 5, KEY, "first")
        assert calls.recv(ours.fileno(), [buffer], "third") == PENDING

    def test_parts_of_one_are_buffers_of_their_own(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        buffer = bytearray(8)
        for part in memoryview(buffer)[:4], memoryview(buffer)[4:]:
            calls.recv(ours.fileno(), [part], None)
        peer.sendall(b"hellohel")
        assert [kernel.completion()[1], kernel.completion()[1]] == [4, 4]
        assert buffer == b"hellohel"

    def test_what_is_being_sent_is_not_resized(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        data = bytearray(BULK)
        calls.send(ours.fileno(), data, None)
        with pytest.raises(BufferError):
            data.clear()
        received(peer, BULK)
        kernel.completion()
        data.clear()

    def test_a_close_gives_them_back(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        buffer = bytearray(8)
        calls.recv(ours.fileno(), [buffer], None)
        ours.close()
        kernel.completion()
        buffer.clear()

    def test_a_call_that_fails_leaves_them(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        calls.send(ours.fileno(), b"x", None)  # the kernel knows that it is connected
        reset(peer)
        readable(ours)
        for _ in range(2):
            buffer = bytearray(8)
            assert calls.recv(ours.fileno(), [buffer], None) == (10054, 0)
            buffer.clear()

    def test_one_that_cannot_be_written_to(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        with pytest.raises(TypeError, match="bytes cannot be received into"):
            calls.recv(ours.fileno(), [b"constant"], None)
