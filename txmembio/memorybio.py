"""MemoryBIO: the standard library's buffer of wire between an SSLObject and the network."""

from __future__ import annotations

from operator import index
from typing import TYPE_CHECKING

from txmembio import errors
from txmembio._openssl.crossing import IN_C, Chunks
from txmembio.connection import Buffer
from txmembio.constants import SSLErrorNumber

__all__ = ["MemoryBIO"]

MANY_CHUNKS = 64
"""Writes that are kept apart. Few are usual, and joining them costs more than adding their lengths up."""


class MemoryBIO(Chunks):
    """Bytes on their way between an SSLObject and the network: first in, first out, with an end."""

    __slots__ = ("__weakref__",)

    def __init__(self) -> None:
        super().__init__()

    if TYPE_CHECKING or not IN_C:

        @property
        def pending(self) -> int:
            """Bytes that can be read."""
            chunks = self._chunks
            if len(chunks) > MANY_CHUNKS:
                self._joined()
            return sum(map(len, chunks)) - self._at

        def read(self, size: int = -1, /) -> bytes:
            """At most `size` bytes, everything if it is negative or left out; b"" if there is nothing."""
            return self._read(size)

        def write(self, data: Buffer, /) -> int:
            """Appends; returns how many bytes. Raises SSLError after write_eof()."""
            return self._write(data)

    @property
    def eof(self) -> bool:
        """True once everything has been read and write_eof() was called."""
        return self._ended and not self._chunks

    def _read(self, size: int = -1, /) -> bytes:
        chunks = self._chunks
        if size == -1 and len(chunks) == 1 and not self._at:
            return chunks.pop()
        size = index(size)
        held = self._joined()
        at = self._at
        end = len(held) if size < 0 else min(at + size, len(held))
        self._drop(end - at)
        return held[at:end]

    def readinto(self, buffer: bytearray | memoryview, /) -> int:
        """Fills a writable buffer as far as there are bytes; returns how many. Spares the copy that read() makes."""
        with memoryview(buffer) as view, view.cast("B") as room, memoryview(self._joined())[self._at :] as held:
            moved = min(len(room), len(held))
            room[:moved] = held[:moved]
        self._drop(moved)
        return moved

    def _write(self, data: Buffer, /) -> int:
        if type(data) is not bytes:
            data = in_one_piece(data)
        if self._ended:
            raise errors.make(errors.SSLError, SSLErrorNumber.SSL_ERROR_SSL, "cannot write() after write_eof()")
        if data:
            self._chunks.append(data)
        return len(data)

    def write_eof(self) -> None:
        """Says that nothing more will be written."""
        self._ended = True

    def _joined(self) -> bytes:
        chunks = self._chunks
        if len(chunks) > 1:
            whole = b"".join(chunks)
            chunks.clear()
            chunks.append(whole)
        return chunks[0] if chunks else b""

    def _drop(self, taken: int) -> None:
        """Of what has been joined, if it is still there: a callback can read the BIO that its connection reads."""
        self._at += taken
        if not self._chunks or self._at >= len(self._chunks[0]):
            del self._chunks[:1]
            self._at = 0


def in_one_piece(data: Buffer) -> bytes:
    """A copy. Raises BufferError, as the standard library does, where there are gaps between the bytes."""
    with memoryview(data) as view:
        if not view.c_contiguous:
            raise BufferError("memoryview: underlying buffer is not C-contiguous")
        return bytes(view)
