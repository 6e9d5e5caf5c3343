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
from benchmarks.slices import BATCH_BYTES, DIRECTIONS, HANDSHAKES, SIZES, BenchmarkError, Direction, Side, Slice, Work

CIPHER_SUITE = "TLS_AES_128_GCM_SHA256"
"""The TLS 1.3 cipher suite (RFC 8446, B.4) that every End insists on, and so every contender speaks."""

MAX_RECORD_PLAINTEXT = 2**14
"""Bytes of plaintext in one TLS record at most (RFC 8446, 5.1)."""

SSL_MODE_RELEASE_BUFFERS = 0x10
"""As in OpenSSL's ssl.h: empty buffers of a record's size are freed, so that an idle connection has none."""

RECORD_OVERHEAD = 5 + 1 + 16
"""Bytes that a TLS 1.3 record adds to its plaintext: header, content type, AES-GCM's tag (RFC 8446, 5.2)."""


HANDSHAKE_BYTES = 2**14
"""Bytes of room for one flight of a handshake: a certificate of a kilobyte, and whatever is around it."""

TICKETS = 2
"""Session tickets that a server gives with each handshake: OpenSSL's default."""


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
        context = session = end = ctypes.c_void_p
        size = ctypes.c_size_t
        self.version = self._function("loop_version", ctypes.c_char_p)().decode("ascii")
        """The libssl it runs with, as OpenSSL_version(3) says it."""
        self.error = self._function("loop_error", ctypes.c_char_p)
        self.context_new = self._function("context_new", context, ctypes.c_char_p, ctypes.c_long, size)
        self.context_free = self._function("context_free", None, context)
        self.session_free = self._function("session_free", None, session)
        self.end_new = self._function("end_new", end, context, session, size, size)
        self.end_free = self._function("end_free", None, end)
        self.end_handshake = self._function("end_handshake", ctypes.c_int, end, ctypes.c_char_p, size)
        self.end_resumed = self._function("end_resumed", ctypes.c_int, end)
        self.end_session = self._function("end_session", session, end)
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
        self.handshakes = self._function(
            "handshakes",
            ctypes.c_int,
            context,
            context,
            session,
            size,
            ctypes.c_long,
            ctypes.c_void_p,
            ctypes.c_void_p,
            ctypes.POINTER(ctypes.c_double),
        )

    def _function(self, name: str, result: type | None, *arguments: Any) -> Any:
        function = self._functions[name]
        function.restype = result
        function.argtypes = arguments
        return function

    def reason(self) -> str:
        """Why the last call failed."""
        text: str = self.error().decode("ascii", "replace")
        return text or "OpenSSL gave no reason"


class Context:
    """What ends are made of: servers if it is given *pem*, a file with a certificate and its key, clients otherwise.

    *ssl_mode* is for SSL_CTX_set_mode(3); servers give their clients *tickets* session tickets.
    """

    def __init__(self, library: Library, pem: Path | None = None, ssl_mode: int = 0, tickets: int = 0) -> None:
        self.library = library
        self.pointer: int = library.context_new(os.fsencode(pem) if pem is not None else None, ssl_mode, tickets)
        if not self.pointer:
            raise BenchmarkError(f"the C loop could not start: {library.reason()}")

    def __del__(self) -> None:
        self.library.context_free(self.pointer)


class Session:
    """What resumes the connection of *end*, a client that has read its server's tickets."""

    def __init__(self, end: End) -> None:
        self.library = end.library
        self.pointer: int = end.library.end_session(end.pointer)
        if not self.pointer:
            raise BenchmarkError("the C loop's connection has no session to resume")

    def __del__(self) -> None:
        self.library.session_free(self.pointer)


class End:
    """One end of a connection in C.

    It has room for the batches of messages that are measured, unless it is only for a *handshake*. A client can resume
    a *session*.
    """

    def __init__(self, context: Context, session: Session | None = None, *, handshake: bool = False) -> None:
        self.library = context.library
        self.complete = False
        largest = max(SIZES)
        wire, plaintext = (HANDSHAKE_BYTES,) * 2 if handshake else (BATCH_BYTES + wire_bytes(largest), largest)
        self.pointer: int = self.library.end_new(
            context.pointer, session.pointer if session is not None else None, wire, plaintext
        )
        if not self.pointer:
            raise BenchmarkError(f"the C loop could not start: {self._error()}")

    def __del__(self) -> None:
        self.library.end_free(self.pointer)

    def _error(self) -> str:
        return self.library.reason()

    def handshake(self, wire: bytes) -> bytes:
        """Goes on with the handshake; returns the wire to send. Sets ``complete``."""
        status = self.library.end_handshake(self.pointer, wire, len(wire))
        if status < 0:
            raise BenchmarkError(f"the C loop's handshake failed: {self._error()}")
        if status:
            self.complete = True
            suite = self.library.end_cipher(self.pointer).decode("ascii")
            if suite != CIPHER_SUITE:
                raise BenchmarkError(f"negotiated {suite}, expected {CIPHER_SUITE}")
        return self.wire()

    @property
    def resumed(self) -> bool:
        """The handshake was not a full one."""
        return bool(self.library.end_resumed(self.pointer))

    def wire(self) -> bytes:
        """A copy of the wire that the last call made."""
        return ctypes.string_at(self.library.end_wire(self.pointer), self.library.end_wire_used(self.pointer))

    def wire_address(self) -> int:
        """Where that wire lies: valid until the next call that encrypts."""
        address: int = self.library.end_wire(self.pointer)
        return address

    def plaintext(self) -> bytes:
        """A copy of the plaintext of the last message decrypted."""
        return ctypes.string_at(self.library.end_plaintext(self.pointer), self.library.end_plaintext_used(self.pointer))

    def encrypt(self, plaintext: bytes, count: int, mode: Mode) -> None:
        """Encrypts *plaintext* as one message, *count* times."""
        if self.library.end_encrypt(self.pointer, plaintext, len(plaintext), count, mode) != 0:
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
        if self.library.end_decrypt(self.pointer, address, size, count, mode) != 0:
            raise BenchmarkError(f"the C loop could not decrypt {count} x {size} bytes of wire: {self._error()}")

    def decrypt(self, wire: bytes) -> bytes:
        """Decrypts one message and returns its plaintext."""
        lent = ctypes.create_string_buffer(wire, len(wire))
        self.decrypt_at(ctypes.addressof(lent), len(wire), 1, Mode.BARE)
        return self.plaintext()


class CPair:
    """Both ends in C; the near one is what is timed. :class:`~benchmarks.slices.Connected` says what its methods do."""

    def __init__(self, name: str, near: End, far: End, mode: Mode) -> None:
        self._name = name
        self._near = near
        self._far = far
        self._mode = mode
        self._batch = (0, 0)

    def check(self, data: bytes) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        self._near.encrypt(data, 1, self._mode)
        encrypted = self._far.decrypt(self._near.wire())
        self.make_batch(data, 2)
        self.decrypt_batch()
        if encrypted != data or self.last_plaintext() != data:
            raise BenchmarkError(f"{self._name}: a message of {len(data)} bytes did not come out as it went in")

    def encrypt_many(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        self._near.encrypt(data, count, self._mode)

    def last_wire(self) -> bytes:
        """See :class:`~benchmarks.slices.Connected`."""
        return self._near.wire()

    def make_batch(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Connected`. The wire stays in the far end's memory, to be read there."""
        self._far.encrypt(data, count, Mode.BATCH)
        self._batch = (wire_bytes(len(data)), count)

    def decrypt_batch(self) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        self._near.decrypt_at(self._far.wire_address(), *self._batch, self._mode)

    def last_plaintext(self) -> bytes:
        """See :class:`~benchmarks.slices.Connected`."""
        return self._near.plaintext()


class CLoop:
    """The limit: both ends in C, one call from Python for any number of messages or handshakes.

    *ssl_mode* is for SSL_CTX_set_mode(3), on the side that is timed. Handshakes have no result to copy, so only a bare
    loop does them.
    """

    def __init__(self, key: str, name: str, library: Library, pem: Path, mode: Mode, ssl_mode: int = 0) -> None:
        self.key = key
        self.name = name
        self.library = library.version
        self.directions: tuple[Direction, ...] = DIRECTIONS + HANDSHAKES if mode is Mode.BARE else DIRECTIONS
        self._loop = library
        self._mode = mode
        self._near = {
            "client": Context(library, None, ssl_mode),
            "server": Context(library, pem, ssl_mode, TICKETS),
        }
        self._far = {"client": Context(library, pem, 0, TICKETS), "server": Context(library)}
        self._pairs: dict[Side, CPair] = {}
        self._sessions: dict[Side, Session] = {}

    def connected(self, side: Side) -> CPair:
        """See :class:`~benchmarks.slices.Contender`."""
        if side not in self._pairs:
            near, far = End(self._near[side]), End(self._far[side])
            connect(*((near, far) if side == "client" else (far, near)))
            self._pairs[side] = CPair(self.name, near, far, self._mode)
        return self._pairs[side]

    def shake_hands(self, work: Work, count: int) -> Slice:
        """See :class:`~benchmarks.slices.Contender`."""
        taken = (ctypes.c_double * 2)()
        self.watched_handshakes(work, count, None, None, taken)
        return Slice(count, *taken)

    def watched_handshakes(self, work: Work, count: int, on: int | None, off: int | None, taken: Any = None) -> None:
        """*count* handshakes, with calls of the C functions at the addresses *on* and *off* around the near end's part.

        Without them that part is timed, and *taken* gets its seconds, by the wall's clock and of the processor.
        """
        side = work.side
        near, far = self._near[side], self._far[side]
        session = None
        if work.direction == "resumption":
            if side not in self._sessions:
                ends = End(near, handshake=True), End(far, handshake=True)
                client, server = ends if side == "client" else ends[::-1]
                connect(client, server)
                self._sessions[side] = Session(client)
            session = self._sessions[side].pointer
        taken = (ctypes.c_double * 2)() if taken is None else taken
        arguments = (near.pointer, far.pointer, session, HANDSHAKE_BYTES, count, on, off, taken)
        if self._loop.handshakes(*arguments) != 0:
            raise BenchmarkError(f"{self.name}: {work.direction} failed: {self._loop.reason()}")


def connect(client: End, server: End) -> None:
    """Takes two ends in C through the handshake, and has the client read its tickets."""
    wire = b""
    while not (client.complete and server.complete):
        wire = server.handshake(client.handshake(wire))
    client.handshake(wire)


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
