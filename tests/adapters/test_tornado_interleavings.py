"""Two streams that write and read whatever they like, over a wire that is cut anywhere: all bytes arrive, once, in
order, and both sides end cleanly.
"""

from __future__ import annotations

import asyncio
from itertools import cycle
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from support.pki import PKI
from support.tornado_ends import LAYERED, OURS, STOCK, TLS12, TLS13, Pairing, joined, pieces, run, turns

#: Who talks to whom, on which loop.
CONVERSATIONS = [
    (Pairing(STOCK, "client", STOCK, TLS13), "asyncio"),
    (Pairing(OURS, "client", OURS, TLS13), "asyncio"),
    (Pairing(OURS, "server", STOCK, TLS13), "uvloop"),
    (Pairing(OURS, "client", STOCK, TLS12), "asyncio"),
    (Pairing(LAYERED, "server", LAYERED, TLS13), "uvloop"),
    (Pairing(LAYERED, "client", OURS, TLS12), "asyncio"),
]

#: Bytes, all of them, repeated so that a piece out of place shows.
SOURCE = b"".join(number.to_bytes(3, "big") for number in range(400_000))

#: Around the sizes where something changes: a record, a chunk, what is sent at once.
SIZES = st.one_of(
    st.integers(1, 50),
    st.integers(16_384 - 40, 16_384 + 40),
    st.integers(65_536 - 40, 65_536 + 40),
    st.integers(1, 200_000),
)
WRITES = st.lists(st.tuples(SIZES, st.sampled_from(["wait", "go on", "turn"])), max_size=6)
READS = st.lists(
    st.tuples(st.sampled_from(["bytes", "partial", "into", "into partial", "regex"]), st.integers(20, 70_000)),
    min_size=1,
    max_size=6,
)
CHUNKS = st.sampled_from([None, 100, 5000, 16_384, 200_000])
#: The last one is there to come to an end.
CUTS = st.lists(st.integers(1, 70_000), max_size=5).map(lambda sizes: [*sizes, 3000])


async def write_all(stream: Any, writes: list[tuple[int, str]]) -> None:
    """Write pieces of `SOURCE`, waiting for each or not."""
    at = 0
    futures = []
    for size, then in writes:
        futures.append(stream.write(SOURCE[at : at + size]))
        at += size
        if then == "wait":
            await futures[-1]
        elif then == "turn":
            await turns()
    await asyncio.gather(*futures)


async def read_all(stream: Any, total: int, reads: list[tuple[str, int]]) -> bytes:
    """Read `total` bytes, in turn as `reads` says."""
    received = b""
    for kind, size in cycle(reads):
        size = min(size, total - len(received))
        if not size:
            return received
        if kind == "bytes":
            received += await stream.read_bytes(size)
        elif kind == "partial":
            received += await stream.read_bytes(size, partial=True)
        elif kind == "regex":
            received += await stream.read_until_regex(b"(?s).{%d}" % size)
        else:
            buffer = bytearray(size)
            length = await stream.read_into(buffer, partial=kind == "into partial")
            received += buffer[:length]
    raise AssertionError("not reached")


@pytest.mark.parametrize("pairing, loop_kind", CONVERSATIONS, ids=str)
@settings(max_examples=60)
@given(
    writes=st.tuples(WRITES, WRITES),
    reads=st.tuples(READS, READS),
    chunks=st.tuples(CHUNKS, CHUNKS),
    cuts=CUTS,
    early=st.booleans(),
    buffers=st.sampled_from([None, 8192]),
)
def test_all_arrives_in_order(
    pki: PKI,
    pairing: Pairing,
    loop_kind: str,
    writes: tuple[list[tuple[int, str]], list[tuple[int, str]]],
    reads: tuple[list[tuple[str, int]], list[tuple[str, int]]],
    chunks: tuple[int | None, int | None],
    cuts: list[int],
    early: bool,
    buffers: int | None,
) -> None:
    """:param early: whether to begin before the handshake is complete."""

    async def scenario() -> None:
        near, far = ({"read_chunk_size": chunk} for chunk in chunks)
        async with joined(
            pki, pairing, near=near, far=far, relay=pieces(cuts), handshake=not early, buffers=buffers
        ) as ends:
            totals = [sum(size for size, _ in each) for each in writes]
            *_, at_far, at_near = await asyncio.gather(
                write_all(ends.near, writes[0]),
                write_all(ends.far, writes[1]),
                read_all(ends.far, totals[0], reads[0]),
                read_all(ends.near, totals[1], reads[1]),
            )
            assert at_far == SOURCE[: totals[0]]
            assert at_near == SOURCE[: totals[1]]
            await ends.handshake()
            ends.far.close()
            assert await ends.near.read_until_close() == b""
            assert ends.near.error is None or not pairing.far.ours  # Tornado's streams do not say close_notify

    run(scenario, loop_kind)
