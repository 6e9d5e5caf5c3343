"""What is measured end to end: the kinds of work, how much of each, and how their figures are shown."""

from __future__ import annotations

from typing import Literal, NamedTuple

from benchmarks.slices import Work as InMemory

GB = 1e9
"""Bytes."""

RECORD = 16384
"""Bytes of plaintext in a full record, as bulk data is sent."""

Who = Literal["all", "tls", "resuming", "tornado", "sites"]
"""Who does a work: everyone, those with TLS, those that resume sessions, those on Tornado, those that serve a site."""


class Work(NamedTuple):
    """One kind of work: what ``load.c`` is told, how many units that is, and what it is in memory."""

    key: str
    mode: str
    connections: int
    amount: int
    quick_amount: int
    size: int = 0
    rate: int = 0
    """Messages a second, where that is fixed."""
    who: Who = "all"
    certificate: Literal["ecdsa", "rsa"] = "ecdsa"
    in_memory: tuple[InMemory, ...] = ()
    """The same work for the C loop, so many bytes at a time, if it has it."""

    def scaled(self, quick: bool) -> Work:
        """As much of it as this run does."""
        if not quick:
            return self
        if self.mode == "idle":
            return self._replace(connections=self.quick_amount)
        return self._replace(amount=self.quick_amount)

    @property
    def units(self) -> float:
        """What the figures are for one of: GB of plaintext, messages, turns, connections."""
        if self.mode in ("up", "up-pieces", "down"):
            return self.amount / GB
        if self.mode == "echo":
            return self.connections * self.amount
        return self.connections if self.mode == "idle" else self.amount


_DECRYPT, _ENCRYPT = (InMemory("decrypt", RECORD),), (InMemory("encrypt", RECORD),)
_BULK, _QUICK_BULK = 2**27, 2**21  # bytes: less than a tenth of a second; and as few as make sense
_BOTH = (InMemory("decrypt", 100), InMemory("encrypt", 100))

WORKS = (
    Work("up", "up", 1, _BULK, _QUICK_BULK, in_memory=_DECRYPT),
    Work("up-pieces", "up-pieces", 1, _BULK, _QUICK_BULK, who="tornado", in_memory=_DECRYPT),
    Work("down", "down", 1, _BULK, _QUICK_BULK, 2**16, in_memory=_ENCRYPT),
    Work("down-large", "down", 1, _BULK, _QUICK_BULK, 2**20, who="tornado", in_memory=_ENCRYPT),
    Work("echo-1", "echo", 1, 5000, 50, 100, in_memory=_BOTH),
    Work("echo", "echo", 50, 200, 4, 100, in_memory=_BOTH),
    Work("echo-16k-1", "echo", 1, 2000, 20, 16384),
    Work("echo-16k", "echo", 50, 40, 2, 16384),
    Work("writes", "writes", 1, 50, 2, 1000),
    Work("handshake", "handshake", 16, 300, 16),
    Work("handshake-rsa", "handshake", 16, 200, 16, who="tls", certificate="rsa"),
    Work("resume", "resume", 16, 300, 16, who="resuming"),
    Work("web", "web", 16, 2, 1, who="sites"),
    Work("latency", "latency", 50, 5000, 100, 100, rate=5000),
    Work("idle", "idle", 5000, 0, 20),
)
"""Everything that is measured, in the order in which it is measured and shown. The amount of ``web`` is seconds."""

WORKS_BY_KEY = {work.key: work for work in WORKS}


class Shown(NamedTuple):
    """How a figure is shown: what it is called, also in the head of a column; and 1/*scale* of a second, a byte or
    whatever as *unit*. What is for whole connections, and what is for what goes over one, have tables of their own.
    """

    name: str
    column: str
    unit: str
    scale: float
    decimals: int
    per_connection: bool = False


SHOWN = {
    "up": Shown("bulk upload", "up", "s/GB", 1, 3),
    "up-pieces": Shown("bulk upload, in pieces", "up, pieces", "s/GB", 1, 3),
    "down": Shown("bulk download", "down", "s/GB", 1, 3),
    "down-large": Shown("bulk download, 1 MiB writes", "down, 1 MiB", "s/GB", 1, 3),
    "echo-1": Shown("echo of 100 B, 1 connection", "100 B, 1", "µs", 1e6, 1),
    "echo": Shown("echo of 100 B, 50 connections", "100 B, 50", "µs", 1e6, 1),
    "echo-16k-1": Shown("echo of 16 KiB, 1 connection", "16 KiB, 1", "µs", 1e6, 1),
    "echo-16k": Shown("echo of 16 KiB, 50 connections", "16 KiB, 50", "µs", 1e6, 1),
    "writes": Shown("1,000 one-byte writes in a turn", "1,000 writes", "µs", 1e6, 0),
    "writes-records": Shown("records that 1,000 one-byte writes become", "their records", "", 1, 1),
    "handshake": Shown("connection, full handshake, P-256", "full, P-256", "µs", 1e6, 0, True),
    "handshake-rsa": Shown("connection, full handshake, RSA-2048", "full, RSA", "µs", 1e6, 0, True),
    "resume": Shown("connection, resumed", "resumed", "µs", 1e6, 0, True),
    "web": Shown("request of HTTP", "request", "µs", 1e6, 0, True),
    "latency-p50": Shown("latency at 5,000 echoes a second, median", "p50", "µs", 1e6, 0, True),
    "latency-p99": Shown("latency at 5,000 echoes a second, 99th percentile", "p99", "µs", 1e6, 0, True),
    "idle-pss": Shown("idle connection, memory (PSS)", "idle, PSS", "KiB", 1 / 1024, 1, True),
    "idle-rss": Shown("idle connection, memory (RSS)", "idle, RSS", "KiB", 1 / 1024, 1, True),
}
"""By the key of the figure: a work's, or one of a work's."""

MEMORY_FIGURES = {"pss": "idle-pss", "rss": "idle-rss"}
"""Their keys, by what the kernel calls them."""
