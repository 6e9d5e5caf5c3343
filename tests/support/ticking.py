"""A signal handler that runs in the middle of what the main thread is doing, again and again."""

from __future__ import annotations

import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from .process import DEADLINE

TICK = 0.02
"""Seconds from one signal to the next. Nothing depends on it: the handler looks whether its moment has come."""

needs_timers = pytest.mark.skipif(not hasattr(signal, "SIGALRM"), reason="no SIGALRM here")


@contextmanager
def ticking(handle: Callable[[], None]) -> Iterator[None]:
    """Calls `handle` at every tick, but not inside itself. A tick after DEADLINE raises: that ends a deadlock too."""
    end = time.monotonic() + DEADLINE
    inside = False

    def tick(*_: object) -> None:
        nonlocal inside
        assert time.monotonic() < end, "the main thread hangs"
        if not inside:
            inside = True
            try:
                handle()
            finally:
                inside = False

    before = signal.signal(signal.SIGALRM, tick)
    signal.setitimer(signal.ITIMER_REAL, TICK, TICK)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def view_of(sock: Any) -> Iterator[socket.socket]:
    """The plain socket beneath one for TLS, to look at what has arrived."""
    with socket.socket(fileno=socket.dup(sock.fileno())) as view:
        yield view


def has_wire(sock: socket.socket) -> bool:
    """Whether some has arrived that nobody has taken. `sock` is a view: with a time-out, this would wait."""
    try:
        return bool(sock.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT))
    except BlockingIOError:
        return False


def once_taken(sock: socket.socket, action: Callable[[], None]) -> Callable[[], None]:
    """For ticking(): calls `action` once, a tick after the wire on `sock` was seen to be gone. Then whoever took it
    has got past the system call, and waits for more."""
    seen = 0

    def handle() -> None:
        nonlocal seen
        if seen < 2 and not has_wire(sock):
            seen += 1
            if seen == 2:
                action()

    return handle
