"""Visits to `ticket_server.py` processes that share a port, and what each visit tells: who answered, and whether the
session was resumed.
"""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import txmembio

from . import blocking
from .process import Process, python
from .waiting import free_port

SERVER = Path(__file__).with_name("ticket_server.py")

REQUEST = b"GET / HTTP/1.0\r\n\r\n"


@contextmanager
def servers(count: int, arguments: str) -> Iterator[tuple[list[Process], int]]:
    """`count` processes on one port, each with these arguments of its endpoint string, and the port."""
    if not hasattr(socket, "SO_REUSEPORT"):
        pytest.skip("this platform has no SO_REUSEPORT")
    port = free_port()
    with ExitStack() as stack:
        processes = [
            stack.enter_context(python(SERVER, f"membiotls:{port}:interface=127.0.0.1:{arguments}"))
            for _ in range(count)
        ]
        for process in processes:
            process.wait_for(r"port \d+")
        yield processes, port


@dataclass(frozen=True)
class Answer:
    server: int
    """Its process id."""
    resumed: bool
    session: txmembio.SSLSession


def visit(context: txmembio.SSLContext, port: int, session: txmembio.SSLSession | None) -> Answer:
    """One connection that offers `session`. Both sides have to agree on whether it was resumed."""
    with blocking.connect(context, port, session=session) as stream:
        stream.send(REQUEST)
        body = stream.receive_all().partition(b"\r\n\r\n")[2].decode()
        server, resumed, version = body.split()
        assert (resumed == "resumed") is stream.connection.session_reused
        assert version == stream.connection.version()
        earned = stream.connection.session
        assert earned is not None
        return Answer(int(server), stream.connection.session_reused, earned)


class Visitor:
    """A client that comes again and again, with the session of the visit before. Every visit but the first has to
    resume, wherever it lands.
    """

    def __init__(self, context: txmembio.SSLContext, port: int) -> None:
        self.context = context
        self.port = port
        self.visits = 0
        self.session: txmembio.SSLSession | None = None
        self.seen: set[int] = set()
        """Who has answered."""

    def visit(self) -> Answer:
        answer = visit(self.context, self.port, self.session)
        assert answer.resumed is (self.session is not None), f"visit {self.visits} to process {answer.server}"
        self.session = answer.session
        self.seen.add(answer.server)
        self.visits += 1
        return answer

    def visit_all(self, count: int, least: int = 30) -> None:
        """At least `least` visits, and until `count` processes have answered."""
        self.seen.clear()
        begun = self.visits
        while self.visits - begun < least or len(self.seen) < count:
            assert self.visits - begun < 1000, f"only {self.seen} of {count} processes have answered"
            self.visit()

    def has_ticket_under(self, key: bytes) -> bool:
        """Whether the ticket in hand was encrypted with a key: it begins with the key's name (RFC 5077 section 4)."""
        assert self.session is not None
        return key[:16] in self.session.to_bytes()
