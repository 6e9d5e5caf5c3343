"""The C loop: ``c_loop.c``, built on demand and called through ctypes.

It has two parts in a measurement. It is the limit, timed like every other contender; and an :class:`End` of it is the
peer of every contender written in Python, so that all of them speak to the same other side and the wire that they
decrypt is made quickly, outside the timed region.
"""

from __future__ import annotations

import ctypes
import os
from enum import IntEnum
from pathlib import Path
from typing import Any

from benchmarks.building import compile_c
from benchmarks.slices import BATCH_BYTES, SIZES, BenchmarkError, Direction

CIPHER_SUITE = "TLS_AES_128_GCM_SHA256"
"""The TLS 1.3 cipher suite (RFC 8446, B.4) that every End insists on, and so every contender speaks."""

MAX_RECORD_PLAINTEXT = 2**14
"""Bytes of plaintext in one TLS record at most (RFC 8446, 5.1)."""

SSL_MODE_RELEASE_BUFFERS = 0x10
"""As in OpenSSL's ssl.h: empty buffers of a record's size are freed, so that an idle connection has none."""

RECORD_OVERHEAD = 5 + 1 + 16
"""Bytes that a TLS 1.3 record adds to its plaintext: header, content type, AES-GCM's tag (RFC 8446, 5.2)."""


class Mode(IntEnum):
    """What becomes of each message's result; as ``enum mode`` in ``c_loop.c``."""

    BARE = 0
    COPYING = 1
    BATCH = 2


def wire_bytes(size: int) -> int:
    """The bytes of wire that one message of *size* bytes of plaintext becomes."""
    records = -(-size // MAX_RECORD_PLAINTEXT)
    return size + records * RECORD_OVERHEAD


def build(folder: Path) -> Path:
    """Compiles ``c_loop.c`` into a shared library in *folder* and returns its path."""
    library = folder / "c_loop.so"
    compile_c(Path(__file__).with_suffix(".c"), library, "-shared", "-fPIC")
    return library


class Library:
    """The shared library that :func:`build` made, loaded: the types of its functions."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._functions = ctypes.CDLL(str(path))
        end, size = ctypes.c_void_p, ctypes.c_size_t
        self.version = self._function("loop_version", ctypes.c_char_p)().decode("ascii")
        """The libssl it runs with, as OpenSSL_version(3) says it."""
        self.error = self._function("loop_error", ctypes.c_char_p)
        self.end_new = self._function("end_new", end, ctypes.c_char_p, ctypes.c_long, size, size)
        self.end_free = self._function("end_free", None, end)
        self.end_handshake = self._function("end_handshake", ctypes.c_int, end, ctypes.c_char_p, size)
        self.end_wire = self._function("end_wire", ctypes.c_void_p, end)
        self.end_wire_used = self._function("end_wire_used", size, end)
        self.end_plaintext = self._function("end_plaintext", ctypes.c_void_p, end)
        self.end_plaintext_used = self._function("end_plaintext_used", size, end)
        self.end_cipher = self._function("end_cipher", ctypes.c_char_p, end)
        self.end_encrypt = self._function(
            "end_encrypt", ctypes.c_int, end, ctypes.c_char_p, size, ctypes.c_long, ctypes.c_int
        )
        self.end_decrypt = self._function(
            "end_decrypt", ctypes.c_int, end, ctypes.c_void_p, size, ctypes.c_long, ctypes.c_int
        )

    def _function(self, name: str, result: type | None, *arguments: type) -> Any:
        function = self._functions[name]
        function.restype = result
        function.argtypes = arguments
        return function


class End:
    """One end of a connection in C: the server if it is given *pem*, a file with a certificate and its key.

    *ssl_mode* is for SSL_CTX_set_mode(3).
    """

    def __init__(self, library: Library, pem: Path | None = None, ssl_mode: int = 0) -> None:
        self.library = library
        self.complete = False
        path = os.fsencode(pem) if pem is not None else None
        largest = max(SIZES)
        self._end = library.end_new(path, ssl_mode, BATCH_BYTES + wire_bytes(largest), largest)
        if not self._end:
            raise BenchmarkError(f"the C loop could not start: {self._error()}")

    def __del__(self) -> None:
        self.library.end_free(self._end)

    def _error(self) -> str:
        text: str = self.library.error().decode("ascii", "replace")
        return text or "OpenSSL gave no reason"

    def handshake(self, wire: bytes) -> bytes:
        """Goes on with the handshake; returns the wire to send. Sets ``complete``."""
        status = self.library.end_handshake(self._end, wire, len(wire))
        if status < 0:
            raise BenchmarkError(f"the C loop's handshake failed: {self._error()}")
        if status:
            self.complete = True
            suite = self.library.end_cipher(self._end).decode("ascii")
            if suite != CIPHER_SUITE:
                raise BenchmarkError(f"negotiated {suite}, expected {CIPHER_SUITE}")
        return self.wire()

    def wire(self) -> bytes:
        """A copy of the wire that the last call made."""
        return ctypes.string_at(self.library.end_wire(self._end), self.library.end_wire_used(self._end))

    def wire_address(self) -> int:
        """Where that wire lies: valid until the next call that encrypts."""
        address: int = self.library.end_wire(self._end)
        return address

    def plaintext(self) -> bytes:
        """A copy of the plaintext of the last message decrypted."""
        return ctypes.string_at(self.library.end_plaintext(self._end), self.library.end_plaintext_used(self._end))

    def encrypt(self, plaintext: bytes, count: int, mode: Mode) -> None:
        """Encrypts *plaintext* as one message, *count* times."""
        if self.library.end_encrypt(self._end, plaintext, len(plaintext), count, mode) != 0:
            raise BenchmarkError(f"the C loop could not encrypt {count} x {len(plaintext)} bytes: {self._error()}")

    def encrypt_batch(self, plaintext: bytes, count: int) -> list[bytes]:
        """The wire of *count* messages, each as a ``bytes`` of its own."""
        self.encrypt(plaintext, count, Mode.BATCH)
        wire, size = self.wire(), wire_bytes(len(plaintext))
        if len(wire) != size * count:
            raise BenchmarkError(f"{count} messages became {len(wire)} bytes of wire, expected {size} each")
        return [wire[start : start + size] for start in range(0, len(wire), size)]

    def decrypt_at(self, address: int, size: int, count: int, mode: Mode) -> None:
        """Decrypts *count* messages of *size* bytes of wire each that lie one after the other at *address*."""
        if self.library.end_decrypt(self._end, address, size, count, mode) != 0:
            raise BenchmarkError(f"the C loop could not decrypt {count} x {size} bytes of wire: {self._error()}")

    def decrypt(self, wire: bytes) -> bytes:
        """Decrypts one message and returns its plaintext."""
        lent = ctypes.create_string_buffer(wire, len(wire))
        self.decrypt_at(ctypes.addressof(lent), len(wire), 1, Mode.BARE)
        return self.plaintext()


class CLoop:
    """The limit: both ends in C, one call from Python for any number of messages.

    *ssl_mode* is for SSL_CTX_set_mode(3), on the client's side, which is the one that is timed.
    """

    directions: tuple[Direction, ...] = ("encrypt", "decrypt")

    def __init__(self, key: str, name: str, library: Library, pem: Path, mode: Mode, ssl_mode: int = 0) -> None:
        self.key = key
        self.name = name
        self.library = library.version
        self._mode = mode
        self._server = End(library, pem)
        self._client = End(library, None, ssl_mode)
        self._batch = (0, 0)
        wire = b""
        while not self._server.complete:
            wire = self._server.handshake(self._client.handshake(wire))

    def check(self, data: bytes) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        self._client.encrypt(data, 1, self._mode)
        encrypted = self._server.decrypt(self._client.wire())
        self.make_batch(data, 2)
        self.decrypt_batch()
        if encrypted != data or self.last_plaintext() != data:
            raise BenchmarkError(f"{self.name}: a message of {len(data)} bytes did not come out as it went in")

    def encrypt_many(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        self._client.encrypt(data, count, self._mode)

    def last_wire(self) -> bytes:
        """See :class:`~benchmarks.slices.Contender`."""
        return self._client.wire()

    def make_batch(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Contender`. The wire stays in the server's memory, to be read there."""
        self._server.encrypt(data, count, Mode.BATCH)
        self._batch = (wire_bytes(len(data)), count)

    def decrypt_batch(self) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        self._client.decrypt_at(self._server.wire_address(), *self._batch, self._mode)

    def last_plaintext(self) -> bytes:
        """See :class:`~benchmarks.slices.Contender`."""
        return self._client.plaintext()


def c_contenders(library: Library, pem: Path) -> list[CLoop]:
    """The C loop in its variants.

    The last is the bare one with the mode that txmembio and Twisted choose for the sake of idle connections: it shows
    what that choice costs by itself.
    """
    return [
        CLoop("c-bare", "C loop, bare", library, pem, Mode.BARE),
        CLoop("c-copying", "C loop, copying", library, pem, Mode.COPYING),
        CLoop("c-releasing", "C loop, bare, releasing buffers", library, pem, Mode.BARE, SSL_MODE_RELEASE_BUFFERS),
    ]
