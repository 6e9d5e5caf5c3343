"""Faults of the emulated kernel: how they are written, and what each does."""

from __future__ import annotations

import select
import socket

import pytest

if not hasattr(select, "epoll"):
    pytest.skip("the emulation needs epoll", allow_module_level=True)

from support.iocp import SETTINGS, VARIABLE, Faults, calls
from support.iocp.bench import BULK, KEY, PENDING, bench, readable, received, reset


class TestWritten:
    def test_all_of_them(self) -> None:
        text = "never_at_once,max_send=1000,max_receive=7,close_code=64"
        faults = Faults(never_at_once=True, max_send=1000, max_receive=7, close_code=64)
        assert Faults.from_text(text) == faults
        assert str(faults) == text

    def test_none_of_them(self) -> None:
        assert str(Faults()) == ""
        assert Faults.from_text("") == Faults.from_text(" , ") == Faults()

    @pytest.mark.parametrize("faults", SETTINGS.values(), ids=SETTINGS)
    def test_what_is_written_can_be_read(self, faults: Faults) -> None:
        assert Faults.from_text(str(faults)) == faults

    def test_in_any_order(self) -> None:
        assert Faults.from_text("close_code=64, never_at_once") == Faults(never_at_once=True, close_code=64)

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("sometimes", "'sometimes' in 'sometimes' is no fault: expected some of never_at_once, max_send,"),
            ("max_send", "'max_send' in 'max_send': expected max_send=NUMBER"),
            ("max_send=-1", "'max_send=-1' in 'max_send=-1': expected max_send=NUMBER"),
            ("max_send=0", "max_send is 0: expected at least 1 byte"),
            ("max_receive=0", "max_receive is 0: expected at least 1 byte"),
            ("close_code=7", "close_code is 7: expected 995 or 64"),
            ("never_at_once=1", "'never_at_once=1' in 'never_at_once=1': never_at_once takes no value"),
            ("max_send=1,max_send=2", "max_send is there twice in 'max_send=1,max_send=2'"),
        ],
    )
    def test_mistakes(self, text: str, message: str) -> None:
        with pytest.raises(ValueError, match=message):
            Faults.from_text(text)
        with pytest.raises(ValueError, match=f"{VARIABLE}: {message}"):
            Faults.from_environment({VARIABLE: text})

    def test_the_environment(self) -> None:
        assert Faults.from_environment({VARIABLE: "max_send=5"}) == Faults(max_send=5)
        assert Faults.from_environment({}) == Faults.from_environment({VARIABLE: ""}) == Faults()

    def test_values_of_another_type(self) -> None:
        with pytest.raises(TypeError, match="max_send is '5': expected a number of bytes, or None"):
            Faults(max_send="5")  # type: ignore[arg-type] # that is the point
        with pytest.raises(TypeError, match="max_receive is True: expected a number of bytes, or None"):
            Faults(max_receive=True)
        with pytest.raises(TypeError, match="never_at_once is 1: expected True or False"):
            Faults(never_at_once=1)  # type: ignore[arg-type] # that is the point


def test_never_at_once() -> None:
    with bench(Faults(never_at_once=True)) as kernel:
        ours, peer = kernel.connected()
        assert calls.send(ours.fileno(), b"hello", "send") == PENDING
        assert kernel.completion() == (0, 5, KEY, "send")
        assert received(peer, 5) == b"hello"
        peer.sendall(b"hello")
        readable(ours)
        assert calls.recv(ours.fileno(), [bytearray(8)], "receive") == PENDING
        assert kernel.completion() == (0, 5, KEY, "receive")


def test_never_at_once_is_about_transfers_alone() -> None:
    """What needs no transfer to be known is known at once."""
    with bench(Faults(never_at_once=True)) as kernel:
        ours, peer = kernel.connected()
        assert calls.recv(kernel.handle().fileno(), [bytearray(8)], None) == (10057, 0)
        ours.shutdown(socket.SHUT_WR)
        assert calls.send(ours.fileno(), b"x", None) == (10058, 0)
        assert calls.recv(ours.fileno(), [bytearray(8)], "receive") == PENDING
        reset(peer)
        assert kernel.completion() == (64, 0, KEY, "receive")
        assert calls.recv(ours.fileno(), [bytearray(8)], None) == (10054, 0)


def test_max_send() -> None:
    with bench(Faults(max_send=3)) as kernel:
        ours, peer = kernel.connected()
        assert calls.send(ours.fileno(), b"hello", "first") == (0, 3)
        assert calls.send(ours.fileno(), b"lo", "second") == (0, 2)
        assert [kernel.completion() for _ in range(2)] == [(0, 3, KEY, "first"), (0, 2, KEY, "second")]
        assert received(peer, 5) == b"hello"


def test_max_send_of_what_is_pending() -> None:
    with bench(Faults(max_send=BULK)) as kernel:
        ours, peer = kernel.connected()
        assert calls.send(ours.fileno(), bytes(BULK + 1), "event")[0] == 997
        assert received(peer, BULK) == bytes(BULK)
        assert kernel.completion() == (0, BULK, KEY, "event")


def test_max_receive() -> None:
    with bench(Faults(max_receive=3)) as kernel:
        ours, peer = kernel.connected()
        buffers = [bytearray(2), bytearray(8)]
        peer.sendall(b"hello")
        readable(ours)
        assert calls.recv(ours.fileno(), buffers, "first") == (0, 3)
        assert kernel.completion() == (0, 3, KEY, "first")
        assert b"|".join(buffers) == b"he|l" + bytes(7)
        assert calls.recv(ours.fileno(), buffers, "second") == (0, 2)


def test_max_receive_leaves_datagrams_alone() -> None:
    """Half of one is not a thing that there is."""
    with bench(Faults(max_receive=3)) as kernel, socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as peer:
        ours = kernel.handle(socket.SOCK_DGRAM, bound=True)
        peer.sendto(b"hello", ours.getsockname())
        readable(ours)
        assert calls.recvfrom(ours.fileno(), bytearray(8), bytearray(16), bytearray(4), "event") == (0, 5)


@pytest.mark.parametrize("code", [995, 64])
def test_close_code(code: int) -> None:
    """Of transfers; an accept that is pending when its listener is closed is 995 in any case."""
    with bench(Faults(close_code=code)) as kernel:
        ours, _peer = kernel.connected()
        calls.recv(ours.fileno(), [bytearray(8)], "receive")
        calls.send(ours.fileno(), bytes(BULK), "send")
        ours.close()
        assert [kernel.completion() for _ in range(2)] == [(code, 0, KEY, "receive"), (code, 0, KEY, "send")]
        listener = kernel.listener()
        calls.accept(listener.fileno(), kernel.handle().fileno(), bytearray(64), "accept")
        listener.close()
        assert kernel.completion() == (995, 0, KEY, "accept")
