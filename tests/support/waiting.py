"""Waiting for what no program announces: a condition is asked until it holds, for `DEADLINE` seconds at most."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable

from .process import DEADLINE, Process

#: Seconds between two questions: short beside what a test waits for, long beside what a question costs.
PAUSE = 0.02


def wait_until(condition: Callable[[], bool], what: str) -> None:
    """Returns once `condition()` holds."""
    end = time.monotonic() + DEADLINE
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(f"never: {what}")
        time.sleep(PAUSE)


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listened on a moment ago: for programs that cannot choose one and say which."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def wait_for_port(process: Process, port: int) -> None:
    """Returns once `process` listens on a port of 127.0.0.1."""

    def listens() -> bool:
        if not process.running():
            raise AssertionError(f"{process.name} ended:\n{process.transcript()}")
        try:
            socket.create_connection(("127.0.0.1", port), DEADLINE).close()
        except ConnectionRefusedError:
            return False
        return True

    wait_until(listens, f"{process.name} listens on port {port}")
