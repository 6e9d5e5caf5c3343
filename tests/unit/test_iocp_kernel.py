"""The emulated kernel's connections, datagrams and completion ports, called as Twisted calls them.

What they say of Windows was seen of `twisted_iocpsupport` under wine, or is documented.
"""

from __future__ import annotations

import os
import select
import socket
import struct
import threading
from collections.abc import Callable, Iterator

import pytest

if not hasattr(select, "epoll"):
    pytest.skip("the emulation needs epoll", allow_module_level=True)

from support.iocp import calls
from support.iocp.bench import KEY, NOTHING, PENDING, Bench, bench, readable, wait_until_received
from support.iocp.kernel import KERNEL, LOCK, CompletionPort, Operation
from support.iocp.winsock import SO_UPDATE_ACCEPT_CONTEXT, SO_UPDATE_CONNECT_CONTEXT
from support.process import DEADLINE


@pytest.fixture
def kernel() -> Iterator[Bench]:
    with bench() as made:
        yield made


def waiting(port: CompletionPort, monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """Set once somebody waits for a completion: whoever gets the lock from then on does so while they wait."""
    waits, wait_for = threading.Event(), port._arrival.wait_for

    def noticed(predicate: Callable[[], object], timeout: float | None = None) -> object:
        waits.set()
        return wait_for(predicate, timeout)

    monkeypatch.setattr(port._arrival, "wait_for", noticed)
    return waits


class TestAccept:
    @staticmethod
    def accept(kernel: Bench, listener: socket.socket, event: object) -> tuple[socket.socket, bytearray]:
        """An overlapped accept: the socket that it is to make a connection, and its buffer."""
        accepting = kernel.handle(family=listener.family)
        buffer = bytearray(2 * (calls.maxAddrLen(listener.fileno()) + 16))
        assert calls.accept(listener.fileno(), accepting.fileno(), buffer, event) == 0
        return accepting, buffer

    @pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
    @pytest.mark.parametrize("first", ["accept", "connect"])
    def test_a_connection(self, kernel: Bench, family: socket.AddressFamily, first: str) -> None:
        try:
            listener = kernel.listener(family)
        except OSError:
            pytest.skip("the loopback has no IPv6")
        if first == "accept":
            accepting, buffer = self.accept(kernel, listener, "event")
            assert kernel.nothing()
            with pytest.raises(OSError) as caught:
                accepting.setsockopt(socket.SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, b"")
            assert caught.value.errno == 10057
        with socket.create_connection(listener.getsockname()[:2]) as client:
            if first == "connect":
                accepting, buffer = self.accept(kernel, listener, "event")
            assert kernel.completion() == (0, 0, KEY, "event")
            with pytest.raises(OSError) as caught:
                accepting.getpeername()
            assert caught.value.errno == 10057
            accepting.setsockopt(socket.SOL_SOCKET, SO_UPDATE_ACCEPT_CONTEXT, b"")
            assert accepting.getpeername() == client.getsockname()
            local, remote = client.getpeername()[:2], client.getsockname()[:2]
            assert calls.get_accept_addrs(accepting.fileno(), buffer) == (family, local, remote)
            client.sendall(b"hello")
            assert calls.recv(accepting.fileno(), [bytearray(8)], "data")[0] in (0, 997)
            assert kernel.completion() == (0, 5, KEY, "data")

    def test_a_connection_has_one_descriptor(self, kernel: Bench) -> None:
        listener = kernel.listener()
        with socket.create_connection(listener.getsockname()):
            if KERNEL.thread is not None:
                KERNEL.thread.join(DEADLINE)  # of the test before
            accepting = kernel.handle()
            before = set(os.listdir("/proc/self/fd"))
            calls.accept(listener.fileno(), accepting.fileno(), bytearray(64), "event")
            assert kernel.completion() == (0, 0, KEY, "event")
            if KERNEL.thread is not None:
                KERNEL.thread.join(DEADLINE)
            assert set(os.listdir("/proc/self/fd")) == before

    def test_the_listener_is_closed(self, kernel: Bench) -> None:
        listener = kernel.listener()
        self.accept(kernel, listener, "event")
        listener.close()
        assert kernel.completion() == (995, 0, KEY, "event")

    def test_the_accepting_socket_is_closed(self, kernel: Bench) -> None:
        """The connection goes to the next."""
        listener = kernel.listener()
        accepting, _ = self.accept(kernel, listener, "first")
        self.accept(kernel, listener, "second")
        accepting.close()
        with socket.create_connection(listener.getsockname()):
            assert kernel.completion() == (995, 0, KEY, "first")
            assert kernel.completion() == (0, 0, KEY, "second")

    def test_a_socket_that_does_not_listen(self, kernel: Bench) -> None:
        ours, accepting = kernel.handle(bound=True), kernel.handle()
        assert calls.accept(ours.fileno(), accepting.fileno(), bytearray(64), None) == 10022

    def test_a_buffer_that_is_too_small(self, kernel: Bench) -> None:
        with pytest.raises(ValueError, match="buff has 62 bytes: expected twice 32"):
            calls.accept(kernel.listener().fileno(), kernel.handle().fileno(), bytearray(62), None)

    def test_no_socket(self, kernel: Bench) -> None:
        assert calls.accept(-1, kernel.handle().fileno(), bytearray(64), None) == 10038


class TestConnect:
    def test_a_connection(self, kernel: Bench) -> None:
        ours = kernel.handle(bound=True)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            assert calls.connect(ours.fileno(), listener.getsockname(), "event") == 0
            assert kernel.completion() == (0, 0, KEY, "event")
            with pytest.raises(OSError) as caught:
                ours.shutdown(socket.SHUT_WR)
            assert caught.value.errno == 10057
            ours.setsockopt(socket.SOL_SOCKET, SO_UPDATE_CONNECT_CONTEXT, b"")
            assert ours.getpeername() == listener.getsockname()
            assert calls.connect(ours.fileno(), listener.getsockname(), None) == 10056
        assert os.get_blocking(ours.fileno())

    def test_nobody_listens(self, kernel: Bench) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            address = listener.getsockname()
        assert calls.connect(kernel.handle(bound=True).fileno(), address, "event") == 0
        assert kernel.completion() == (1225, 0, KEY, "event")

    def test_a_socket_without_an_address(self, kernel: Bench) -> None:
        assert calls.connect(kernel.handle().fileno(), ("127.0.0.1", 1), None) == 10022

    @pytest.mark.parametrize("address", [("127.0.0.1", 0), ("0.0.0.0", 1)])
    def test_an_address_that_nobody_has(self, kernel: Bench, address: tuple[str, int]) -> None:
        assert calls.connect(kernel.handle(bound=True).fileno(), address, None) == 10049

    def test_a_name(self, kernel: Bench) -> None:
        with pytest.raises(ValueError, match="invalid IP address 'localhost'"):
            calls.connect(kernel.handle(bound=True).fileno(), ("localhost", 1), None)

    @pytest.mark.parametrize("port", [-1, 65536])
    def test_no_port(self, kernel: Bench, port: int) -> None:
        with pytest.raises(OverflowError, match="unsigned short"):
            calls.connect(kernel.handle(bound=True).fileno(), ("127.0.0.1", port), None)

    def test_no_socket(self, kernel: Bench) -> None:
        assert calls.connect(-1, ("127.0.0.1", 1), None) == 10038


class TestDatagrams:
    @staticmethod
    def receive(ours: socket.socket, size: int) -> tuple[tuple[int, int], bytearray, bytearray, bytearray]:
        """An overlapped receive of a datagram: what it answers, and its buffers."""
        buffers = bytearray(size), bytearray(calls.maxAddrLen(ours.fileno())), bytearray(4)
        return calls.recvfrom(ours.fileno(), *buffers, "event"), *buffers

    @pytest.mark.parametrize("first", ["receive", "send"])
    def test_one(self, kernel: Bench, first: str) -> None:
        ours = kernel.handle(socket.SOCK_DGRAM, bound=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            if first == "receive":
                answer, buffer, address, length = self.receive(ours, 8)
                assert answer == PENDING
            peer.sendto(b"hello", ours.getsockname())
            if first == "send":
                readable(ours)
                answer, buffer, address, length = self.receive(ours, 8)
                assert answer == (0, 5)
            assert kernel.completion() == (0, 5, KEY, "event")
            assert bytes(buffer) == b"hello\0\0\0"
            assert calls.makesockaddr(address) == ("127.0.0.1", peer.getsockname()[1])
            assert length == struct.pack("i", 16)

    @pytest.mark.parametrize("first", ["receive", "send"])
    def test_one_that_does_not_fit_is_cut(self, kernel: Bench, first: str) -> None:
        ours = kernel.handle(socket.SOCK_DGRAM, bound=True)
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
            if first == "receive":
                assert self.receive(ours, 4)[0] == PENDING
            peer.sendto(b"hello", ours.getsockname())
            if first == "send":
                readable(ours)
                assert self.receive(ours, 4)[0][0] == 997
            assert kernel.completion() == (234, 4, KEY, "event")

    def test_nobody_is_where_they_are_sent(self, kernel: Bench) -> None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.bind(("127.0.0.1", 0))
            address = gone.getsockname()
        ours = kernel.handle(socket.SOCK_DGRAM, bound=True)
        ours.connect(address)
        self.receive(ours, 4)
        ours.send(b"hello")
        assert kernel.completion() == (1234, 0, KEY, "event")

    def test_a_socket_without_an_address(self, kernel: Bench) -> None:
        assert self.receive(kernel.handle(socket.SOCK_DGRAM), 4)[0] == (10022, 0)

    def test_a_length_that_is_no_int(self, kernel: Bench) -> None:
        ours = kernel.handle(socket.SOCK_DGRAM, bound=True)
        with pytest.raises(ValueError, match="addr_len_buff has 3 bytes"):
            calls.recvfrom(ours.fileno(), bytearray(8), bytearray(16), bytearray(3), None)

    def test_no_socket(self, kernel: Bench) -> None:
        assert calls.recvfrom(-1, bytearray(8), bytearray(16), bytearray(4), None) == (10038, 0)


class TestPort:
    def test_nothing_has_completed(self, kernel: Bench) -> None:
        assert kernel.port.getEvent(0) == NOTHING
        assert kernel.port.getEvent(1) == NOTHING

    def test_what_can_be_done_is_done_before_it_says_so(self, kernel: Bench) -> None:
        ours, peer = kernel.connected()
        calls.recv(ours.fileno(), [bytearray(8)], "event")
        with LOCK:  # the thread has no part in it
            peer.sendall(b"hello")
            readable(ours)
            assert kernel.port.getEvent(0) == (0, 5, KEY, "event")

    def test_ipv6_alone(self, kernel: Bench) -> None:
        try:
            ours = kernel.handle(family=socket.AF_INET6)
        except OSError:
            pytest.skip("there is no IPv6")
        assert ours.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY)

    def test_what_is_posted_comes_back_in_order(self, kernel: Bench) -> None:
        kernel.port.postEvent(3, 1, "object")
        kernel.port.postEvent(0, 2, None)
        assert [kernel.port.getEvent(-1), kernel.port.getEvent(0)] == [(0, 3, 1, "object"), (0, 0, 2, None)]

    def test_a_post_wakes_who_waits_for_ever(self, kernel: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
        woken: list[object] = []
        waits = waiting(kernel.port, monkeypatch)
        thread = threading.Thread(target=lambda: woken.append(kernel.port.getEvent(-1)), daemon=True)
        thread.start()
        assert waits.wait(DEADLINE)
        kernel.port.postEvent(0, 1, None)
        thread.join(DEADLINE)
        assert woken == [(0, 0, 1, None)]

    def test_a_mistake_in_an_operation_is_raised_to_who_waits_for_it(
        self, kernel: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """By the thread that serves operations; it goes on."""

        def mistaken(operation: Operation) -> bool:
            raise ZeroDivisionError("a mistake")

        ours, peer = kernel.connected()
        other, other_peer = kernel.connected()
        raised: list[BaseException] = []

        def wait() -> None:
            try:
                kernel.port.getEvent(-1)
            except ZeroDivisionError as error:
                raised.append(error)

        calls.recv(other.fileno(), [bytearray(8)], "other")
        handle = KERNEL.handle(ours.fileno())
        with LOCK:
            KERNEL.pend(handle, handle.receiving, Operation("event", mistaken, select.EPOLLIN))
        waits = waiting(kernel.port, monkeypatch)
        thread = threading.Thread(target=wait, daemon=True)
        thread.start()
        assert waits.wait(DEADLINE)
        peer.sendall(b"hello")
        thread.join(DEADLINE)
        assert [str(error) for error in raised] == ["a mistake"]
        other_peer.sendall(b"hello")
        assert kernel.completion() == (0, 5, KEY, "other")

    def test_a_completion_goes_to_the_port_of_its_handle(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        other = CompletionPort()
        calls.send(ours.fileno(), b"x", "event")
        assert other.getEvent(0) == NOTHING
        assert kernel.completion() == (0, 1, KEY, "event")

    def test_a_handle_has_one_port(self, kernel: Bench) -> None:
        ours, _peer = kernel.connected()
        for port in kernel.port, CompletionPort():
            with pytest.raises(OSError) as caught:
                port.addHandle(ours.fileno())
            assert caught.value.args == ("CreateIoCompletionPort", 87)

    def test_a_handle_that_is_none(self, kernel: Bench) -> None:
        with pytest.raises(OSError) as caught:
            kernel.port.addHandle(-1)
        assert caught.value.args == ("CreateIoCompletionPort", 6)

    def test_a_handle_without_a_port_has_no_completions(self, kernel: Bench) -> None:
        """Twisted's test of AcceptEx has one."""
        with (
            socket.create_server(("127.0.0.1", 0)) as listener,
            socket.create_connection(listener.getsockname()) as ours,
        ):
            buffer = bytearray(8)
            assert calls.send(ours.fileno(), b"hello", None) == (0, 5)
            assert calls.recv(ours.fileno(), [buffer], None) == PENDING
            with listener.accept()[0] as peer:
                peer.sendall(b"hello")
                wait_until_received(buffer)
        assert buffer.startswith(b"hello")

    def test_nothing_is_left_when_all_is_closed(self, kernel: Bench) -> None:
        """With what is pending goes the thread, and with that its descriptors; as often as it comes to that."""
        if KERNEL.thread is not None:
            KERNEL.thread.join(DEADLINE)  # of the test before
        before = set(os.listdir("/proc/self/fd"))
        for _ in range(3):
            ours, peer = kernel.connected()
            calls.recv(ours.fileno(), [bytearray(8)], "event")
            thread = KERNEL.thread
            assert thread is not None and thread.is_alive()
            ours.close()
            peer.close()
            assert kernel.completion()[0] == 995
            thread.join(DEADLINE)
            assert KERNEL.thread is None
        assert set(os.listdir("/proc/self/fd")) == before


def test_scoped_addresses_have_the_number_of_their_zone() -> None:
    from support.iocp import addresses

    packed = addresses.pack(("fe80::1%lo", 443, 0, 1), socket.AF_INET6)
    assert len(packed) == 28
    assert calls.makesockaddr(packed) == ("fe80::1%1", 443)
    assert calls.makesockaddr(b"") is None
    with pytest.raises(OSError, match="unsupported address family 1"):
        calls.makesockaddr(struct.pack("=H14x", 1))
