"""Slices of time: what a contender is asked to do, how much of it, and how it is timed.

A measurement goes round by round, and in each round every contender gets one slice of each kind of work, in turn, so
that whatever else the machine is doing falls on all of them alike and their ratio *within a round* means something. How
many messages fill a slice is found out once, beforehand.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from time import perf_counter, process_time
from typing import Literal, NamedTuple, Protocol

Direction = Literal["encrypt", "decrypt", "handshake", "resumption"]
"""One message of plaintext to its wire, or one message's wire to its plaintext; or one connection, from before its
handshake to its end, with a full handshake or a resumed one."""

DIRECTIONS: tuple[Direction, ...] = ("encrypt", "decrypt")
"""What is done with messages."""

HANDSHAKES: tuple[Direction, ...] = ("handshake", "resumption")
"""What is done with whole connections."""

Side = Literal["client", "server"]
"""Which end of its connection a contender is."""

SIDES: tuple[Side, ...] = ("client", "server")

SIZES = (64, 1024, 16384, 65536)
"""Bytes of plaintext in a message: a chat line, a small response, one full TLS record, four of them."""

BATCH_BYTES = 2**21
"""Bytes of wire, at most, that are made at a time for a contender to decrypt.

Enough that reading the clocks around a batch (about 1 µs) does not count, and little enough to lie in a processor's
caches, as wire that has just been received does.
"""

SMALLEST_TRIAL = 10
"""The part of a slice, as a divisor, that a trial run has to last before its pace is believed."""


class BenchmarkError(RuntimeError):
    """The measurement cannot be made: something it needs is missing, or a contender's result was wrong."""


class Work(NamedTuple):
    """One kind of work: a direction, the bytes of plaintext in a message (0: no message), and the side that does it."""

    direction: Direction
    size: int
    side: Side = "client"


ALL_WORKS = [
    *(Work(direction, size, side) for side in SIDES for size in SIZES for direction in DIRECTIONS),
    *(Work(direction, 0, side) for side in SIDES for direction in HANDSHAKES),
]
"""Everything that is measured, in the order in which it is measured and shown."""


class Slice(NamedTuple):
    """What a contender did in one slice: messages or handshakes, and the seconds of it: wall clock, processor."""

    messages: int
    wall: float
    cpu: float


class Connected(Protocol):
    """One side of one connection, with its peer. ``encrypt_many()`` and ``decrypt_batch()`` are what is timed."""

    def check(self, data: bytes) -> None:
        """Raises BenchmarkError unless *data* comes out as it went in, both ways.

        To be called before anything is timed: what ``encrypt_many()`` makes is not given to the peer, which then cannot
        decrypt what comes after.
        """

    def encrypt_many(self, data: bytes, count: int) -> None:
        """Encrypts *data* as one message, *count* times."""

    def last_wire(self) -> bytes:
        """The wire of the last message that was encrypted."""

    def make_batch(self, data: bytes, count: int) -> None:
        """Has the peer make the wire of *count* messages, for ``decrypt_batch`` to decrypt."""

    def decrypt_batch(self) -> None:
        """Decrypts what ``make_batch`` made, message by message."""

    def last_plaintext(self) -> bytes:
        """The plaintext of the last message that was decrypted."""


class Contender(Protocol):
    """One way to do TLS."""

    key: str
    name: str
    library: str
    directions: tuple[Direction, ...]

    def connected(self, side: Side) -> Connected:
        """The connection on which the contender is *side*; the same one every time."""

    def shake_hands(self, work: Work, count: int) -> Slice:
        """Does *count* handshakes, and says what the contender's own side of them took.

        Raises BenchmarkError when one fails, or one that was to be resumed is not.
        """


class Lane(Protocol):
    """Where a contender runs: in this process or in another."""

    key: str
    name: str
    library: str
    directions: tuple[Direction, ...]

    def prepare(self, works: Sequence[Work], seconds: float) -> None:
        """Checks the contender's results, then finds out how much of each of *works* fills *seconds*."""

    def slice(self, work: Work) -> Slice:
        """Runs one slice."""

    def close(self) -> None:
        """Ends what the lane started."""


class LocalLane:
    """A contender that runs in this process."""

    def __init__(self, contender: Contender) -> None:
        self.key = contender.key
        self.name = contender.name
        self.library = contender.library
        self.directions = contender.directions
        self._contender = contender
        self._counts: dict[Work, int] = {}

    def prepare(self, works: Sequence[Work], seconds: float) -> None:
        """See :class:`Lane`."""
        for side, size in sorted({(work.side, work.size) for work in works if work.direction in DIRECTIONS}):
            self._contender.connected(side).check(message(size))
        for work in works:
            self._counts[work] = self._count_for(work, seconds)

    def slice(self, work: Work) -> Slice:
        """See :class:`Lane`."""
        return self._run(work, self._counts[work])

    def close(self) -> None:
        """See :class:`Lane`: nothing was started."""

    def _count_for(self, work: Work, seconds: float) -> int:
        count = 1
        while (trial := self._run(work, count).wall) < seconds / SMALLEST_TRIAL:
            count *= 2
        return max(1, round(count * seconds / trial))

    def _run(self, work: Work, count: int) -> Slice:
        if work.direction in HANDSHAKES:
            return self._contender.shake_hands(work, count)
        data, connected = message(work.size), self._contender.connected(work.side)
        return (self._encrypt if work.direction == "encrypt" else self._decrypt)(connected, data, count)

    def _encrypt(self, connected: Connected, data: bytes, count: int) -> Slice:
        wall, cpu = perf_counter(), process_time()
        connected.encrypt_many(data, count)
        done = Slice(count, perf_counter() - wall, process_time() - cpu)
        if len(connected.last_wire()) <= len(data):
            raise BenchmarkError(f"{self.name}: {len(data)} bytes were encrypted to {len(connected.last_wire())}")
        return done

    def _decrypt(self, connected: Connected, data: bytes, count: int) -> Slice:
        batch = max(1, BATCH_BYTES // (len(data) + 64))
        total = Slice(0, 0.0, 0.0)
        while total.messages < count:
            messages = min(batch, count - total.messages)
            connected.make_batch(data, messages)
            wall, cpu = perf_counter(), process_time()
            connected.decrypt_batch()
            wall, cpu = perf_counter() - wall, process_time() - cpu
            total = Slice(total.messages + messages, total.wall + wall, total.cpu + cpu)
            if connected.last_plaintext() != data:
                raise BenchmarkError(f"{self.name}: a message of {len(data)} bytes was decrypted to something else")
        return total


_messages: dict[int, bytes] = {}


def message(size: int) -> bytes:
    """The message of *size* bytes: the same in every process and every run, and not compressible to anything simple."""
    if size not in _messages:
        _messages[size] = random.Random(size).randbytes(size)
    return _messages[size]
