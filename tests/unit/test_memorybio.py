"""MemoryBIO against the standard library's: the same operations, the same results, the same exceptions."""

from __future__ import annotations

import array
import gc
import ssl
import weakref
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import txmembio


class PlainMemoryBIO(txmembio.MemoryBIO):
    """With the methods that are there everywhere."""

    read = txmembio.MemoryBIO._read
    write = txmembio.MemoryBIO._write


MODULES = [pytest.param(ssl, id="ssl"), pytest.param(txmembio, id="txmembio")]

chunks = st.binary(max_size=40) | st.integers(0, 70_000).map(lambda size: b"\x5a" * size)
sizes = st.integers(-3, 60) | st.integers(60, 200_000) | st.sampled_from([2**31 - 1, -(2**31)])


def attempt(operation: Any, *arguments: Any) -> tuple[Any, ...]:
    """What an operation came to. The text of SSLError is compared too, that of others is the interpreter's own."""
    try:
        return ("returned", operation(*arguments))
    except ssl.SSLError as error:
        return ("raised", type(error), error.args[-1])
    except Exception as error:
        return ("raised", type(error))


class BothBIOs(RuleBasedStateMachine):
    """The standard library's and ours, in C and in Python, side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.theirs, self.ours, self.plain = ssl.MemoryBIO(), txmembio.MemoryBIO(), PlainMemoryBIO()

    def same(self, operation: str, *arguments: Any) -> None:
        expected = attempt(getattr(self.theirs, operation), *arguments)
        assert attempt(getattr(self.ours, operation), *arguments) == expected
        assert attempt(getattr(self.plain, operation), *arguments) == expected

    @rule(data=chunks, kind=st.sampled_from([bytes, bytearray, memoryview]))
    def write(self, data: bytes, kind: Any) -> None:
        self.same("write", kind(data))

    @rule(size=sizes)
    def read(self, size: int) -> None:
        self.same("read", size)

    @rule()
    def read_all(self) -> None:
        self.same("read")

    @rule()
    def write_eof(self) -> None:
        self.same("write_eof")

    @rule(operation=st.sampled_from(["read", "write"]), bad=st.sampled_from(["text", None, 1.5, [1], object()]))
    def bad_argument(self, operation: str, bad: object) -> None:
        self.same(operation, bad)

    @invariant()
    def look_the_same(self) -> None:
        assert (self.ours.pending, self.ours.eof) == (self.theirs.pending, self.theirs.eof)
        assert (self.plain.pending, self.plain.eof) == (self.theirs.pending, self.theirs.eof)
        assert isinstance(self.ours.eof, bool)


TestBothBIOs = BothBIOs.TestCase
TestBothBIOs.settings = settings(max_examples=150, stateful_step_count=30)


@pytest.mark.parametrize("module", MODULES)
def test_bytes_come_out_in_order_however_they_went_in(module: Any) -> None:
    bio = module.MemoryBIO()
    assert bio.write(b"foo") == 3 and bio.write(b"") == 0 and bio.write(b"barbaz") == 6
    assert bio.pending == 9 and not bio.eof
    assert [bio.read(2), bio.read(0), bio.read(5), bio.read()] == [b"fo", b"", b"obarb", b"az"]
    assert bio.read() == b"" and bio.pending == 0


@pytest.mark.parametrize("module", MODULES)
def test_items_wider_than_a_byte_count_as_bytes(module: Any) -> None:
    bio = module.MemoryBIO()
    numbers = array.array("i", [1, 2])
    assert bio.write(numbers) == len(numbers.tobytes())
    assert bio.read() == numbers.tobytes()


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bad", ["text", 1, None, [1], object()], ids=repr)
def test_what_is_not_bytes_is_refused(module: Any, bad: object) -> None:
    with pytest.raises(TypeError):
        module.MemoryBIO().write(bad)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bad", ["1", None, 1.0, b"1"], ids=repr)
@pytest.mark.parametrize("filled", [True, False], ids=["filled", "empty"])
def test_a_size_that_is_no_integer_is_refused(module: Any, bad: object, filled: bool) -> None:
    bio = module.MemoryBIO()
    bio.write(b"something" * filled)
    with pytest.raises(TypeError):
        bio.read(bad)
    assert bio.pending == 9 * filled


@pytest.mark.parametrize("module", MODULES)
def test_nothing_is_written_after_the_end(module: Any) -> None:
    bio = module.MemoryBIO()
    bio.write(b"last")
    bio.write_eof()
    bio.write_eof()
    assert not bio.eof
    for late in (b"late", b""):
        with pytest.raises(ssl.SSLError, match=r"cannot write\(\) after write_eof\(\)"):
            bio.write(late)
    assert bio.read() == b"last" and bio.eof


@pytest.mark.parametrize("module", MODULES)
def test_a_writers_buffer_stays_the_writers(module: Any) -> None:
    bio = module.MemoryBIO()
    buffer = bytearray(b"before")
    bio.write(buffer)
    buffer[:] = b"after!!!"  # may be resized, and what was written stays
    assert bio.read() == b"before"


@pytest.mark.parametrize("module", MODULES)
def test_it_takes_no_arguments_and_no_new_attributes(module: Any) -> None:
    with pytest.raises(TypeError):
        module.MemoryBIO(1)
    with pytest.raises(AttributeError):
        module.MemoryBIO().name = "none"
    with pytest.raises(AttributeError):
        module.MemoryBIO().eof = True


def test_reading_bit_by_bit_what_came_in_bits_costs_no_quadratic_time() -> None:
    """200,000 chunks joined once: with a join for each read, this would move 200,000 * 20 MB."""
    bio = txmembio.MemoryBIO()
    for _ in range(200_000):
        bio.write(b"x" * 100)
    read = 0
    while piece := bio.read(100):
        read += len(piece)
    assert read == 20_000_000


def test_it_is_freed_with_what_is_in_it() -> None:
    bio = txmembio.MemoryBIO()
    bio.write(b"never read")
    gone = weakref.ref(bio)
    del bio
    gc.collect()
    assert gone() is None


# Beyond the standard library


@pytest.mark.parametrize("sizes", [(0,), (1, 2, 100), (5, 5), (100,)])
def test_readinto_fills_buffers(sizes: tuple[int, ...]) -> None:
    bio = txmembio.MemoryBIO()
    for piece in (b"one", b"two", b"three"):
        bio.write(piece)
    bio.read(1)
    out = b""
    for size in sizes:
        buffer = bytearray(size)
        out += bytes(buffer[: bio.readinto(buffer)])
        assert bio.pending == len(b"netwothree") - len(out)
    assert out == b"netwothree"[: sum(sizes)]


def test_readinto_takes_any_writable_buffer() -> None:
    bio = txmembio.MemoryBIO()
    bio.write(b"12345678")
    numbers = array.array("I", [0])
    assert bio.readinto(memoryview(numbers)) == 4
    assert numbers.tobytes() == b"1234"
    with pytest.raises(TypeError):
        bio.readinto(b"    ")  # type: ignore[arg-type]
    assert bio.read() == b"5678"
    assert bio.readinto(bytearray(4)) == 0


def test_many_small_writes_are_counted() -> None:
    bio = txmembio.MemoryBIO()
    for number in range(1000):
        bio.write(b"x")
        assert bio.pending == number + 1
    assert bio.read() == b"x" * 1000 and bio.pending == 0
