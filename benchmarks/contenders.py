"""The contenders written in Python. Each is a client; the server it speaks to is an ``End`` of the C loop.

A contender gives two functions, one message each: *encrypt*, from plaintext to wire, and *decrypt*, from wire to
plaintext. A result may be in pieces where that is how the contender hands it over: they are not joined while the clock
runs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING, Any

from benchmarks.c_loop import End, wire_bytes
from benchmarks.slices import BenchmarkError, Direction

if TYPE_CHECKING:  # the worker's environment has no txmembio, so it is imported where it is needed
    import txmembio

Result = bytes | list[bytes]
OneMessage = Callable[[bytes], Result]

MOST_FLIGHTS = 10
"""Flights of a handshake after which it is given up: TLS 1.3 needs three (RFC 8446, 2)."""


def _joined(result: Result) -> bytes:
    return result if isinstance(result, bytes) else b"".join(result)


class PythonContender:
    """A contender made of two functions; :class:`~benchmarks.slices.Contender` says what its methods do."""

    directions: tuple[Direction, ...] = ("encrypt", "decrypt")

    def __init__(self, key: str, name: str, library: str, encrypt: OneMessage, decrypt: OneMessage, peer: End) -> None:
        self.key = key
        self.name = name
        self.library = library
        self.encrypt = encrypt
        self.decrypt = decrypt
        self._peer = peer
        self._batch: list[bytes] = []
        self._last: Result = b""

    def check(self, data: bytes) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        wire = _joined(self.encrypt(data))
        encrypted = self._peer.decrypt(wire)
        self.make_batch(data, 2)
        decrypted = [_joined(self.decrypt(wire)) for wire in self._batch]
        if encrypted != data or decrypted != [data, data] or len(wire) != wire_bytes(len(data)):
            raise BenchmarkError(f"{self.name}: a message of {len(data)} bytes did not come out as it went in")

    def encrypt_many(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        encrypt = self.encrypt
        for _ in range(count):
            result = encrypt(data)
        self._last = result

    def last_wire(self) -> bytes:
        """See :class:`~benchmarks.slices.Contender`."""
        return _joined(self._last)

    def make_batch(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        self._batch = self._peer.encrypt_batch(data, count)

    def decrypt_batch(self) -> None:
        """See :class:`~benchmarks.slices.Contender`."""
        decrypt = self.decrypt
        for wire in self._batch:
            result = decrypt(wire)
        self._last = result

    def last_plaintext(self) -> bytes:
        """See :class:`~benchmarks.slices.Contender`."""
        return _joined(self._last)


def _shake_hands(peer: End, step: Callable[[bytes], tuple[bytes, bool]]) -> None:
    """Takes *peer* and a client through the handshake. *step* takes wire; it returns wire to send and if it is done."""
    wire = b""
    for _ in range(MOST_FLIGHTS):
        sent, complete = step(wire)
        wire = peer.handshake(sent)
        if complete and peer.complete:
            return
    raise BenchmarkError(f"the handshake was not complete after {MOST_FLIGHTS} flights")


def txmembio_one_call(peer: End) -> PythonContender:
    """txmembio's Connection: ``plaintext_to_wire()`` and ``receive_wire()``."""
    import txmembio

    connection = _txmembio_connection(peer)
    name = "txmembio, one call"
    return PythonContender(
        "txmembio", name, txmembio.OPENSSL_VERSION, connection.plaintext_to_wire, connection.receive_wire, peer
    )


def txmembio_two_calls(peer: End) -> PythonContender:
    """txmembio's Connection, encrypting by ``send_plaintext()`` and ``wire_to_send()``."""
    import txmembio

    connection = _txmembio_connection(peer)
    send_plaintext, wire_to_send = connection.send_plaintext, connection.wire_to_send

    def encrypt(data: bytes) -> Result:
        send_plaintext(data)
        return wire_to_send()

    contender = PythonContender(
        "txmembio-two", "txmembio, two calls", txmembio.OPENSSL_VERSION, encrypt, connection.receive_wire, peer
    )
    contender.directions = ("encrypt",)
    return contender


def _txmembio_connection(peer: End) -> txmembio.Connection:
    import txmembio

    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = txmembio.CERT_NONE
    connection = context.connection()

    def step(wire: bytes) -> tuple[bytes, bool]:
        if wire:
            connection.receive_wire(wire)
        else:
            connection.do_handshake()
        return connection.wire_to_send(), connection.handshake_complete

    _shake_hands(peer, step)
    return connection


def standard_library(peer: End) -> PythonContender:
    """The standard library's SSLObject and MemoryBIO."""
    import ssl

    return _memory_bios(peer, ssl, "ssl", "stdlib ssl, SSLObject and MemoryBIO")


def txmembio_ssl(peer: End) -> PythonContender:
    """The same with those of txmembio.ssl."""
    import txmembio.ssl

    return _memory_bios(peer, txmembio.ssl, "txmembio-ssl", "txmembio.ssl, SSLObject and MemoryBIO")


def _memory_bios(peer: End, ssl: Any, key: str, name: str) -> PythonContender:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing)
    want_read = ssl.SSLWantReadError
    record = 2**14  # bytes: read() never returns more than a record's, and allocates what it is told

    def step(wire: bytes) -> tuple[bytes, bool]:
        incoming.write(wire)
        try:
            tls.do_handshake()
        except want_read:
            return outgoing.read(), False
        return outgoing.read(), True

    def encrypt(data: bytes) -> Result:
        tls.write(data)
        wire: bytes = outgoing.read()
        return wire

    def decrypt(wire: bytes) -> Result:
        pieces = []
        incoming.write(wire)
        try:
            while True:
                pieces.append(tls.read(record))
        except want_read:
            return pieces

    _shake_hands(peer, step)
    return PythonContender(key, name, ssl.OPENSSL_VERSION, encrypt, decrypt, peer)


def pyopenssl_as_twisted(peer: End) -> PythonContender:
    """pyOpenSSL, with the calls that Twisted 26.10's ``protocols/tls.py`` makes and the mode its contexts set.

    Twisted encrypts 16 KiB at a time and asks the memory BIO for up to 32 KiB of wire after each; it decrypts 32 KiB at
    a time until WantReadError, and then asks whether there is wire to send. Its own Python around that is not counted.
    """
    ssl: Any = import_module("OpenSSL.SSL")
    package: Any = import_module("OpenSSL.version")
    context = ssl.Context(ssl.TLS_CLIENT_METHOD)
    context.set_mode(ssl.MODE_RELEASE_BUFFERS)
    connection = ssl.Connection(context, None)
    connection.set_connect_state()
    want_read = ssl.WantReadError
    send, receive = connection.send, connection.recv
    bio_read, bio_write = connection.bio_read, connection.bio_write
    record, most = 2**14, 2**15  # bytes

    def step(wire: bytes) -> tuple[bytes, bool]:
        complete = True
        if wire:
            bio_write(wire)
        try:
            connection.do_handshake()
        except want_read:
            complete = False
        try:
            return bio_read(most), complete
        except want_read:
            return b"", complete

    def encrypt(data: bytes) -> Result:
        written = []
        sent = 0
        while sent < len(data):
            sent += send(data[sent : sent + record])
            try:  # noqa: SIM105 (Twisted has no suppress(), which would cost it two calls)
                written.append(bio_read(most))
            except want_read:
                pass
        return written

    def decrypt(wire: bytes) -> Result:
        delivered = []
        bio_write(wire)
        while True:
            try:
                delivered.append(receive(most))
            except want_read:
                break
        try:  # noqa: SIM105 (as above)
            bio_read(most)
        except want_read:
            pass
        return delivered

    _shake_hands(peer, step)
    name = f"pyOpenSSL {package.__version__}, as Twisted calls it"
    return PythonContender("pyopenssl", name, ssl.SSLeay_version(0).decode("ascii"), encrypt, decrypt, peer)


PYTHON_CONTENDERS: dict[str, Callable[[End], PythonContender]] = {
    "txmembio": txmembio_one_call,
    "txmembio-two": txmembio_two_calls,
    "txmembio-ssl": txmembio_ssl,
    "pyopenssl": pyopenssl_as_twisted,
    "ssl": standard_library,
}
"""The contenders of this module by the key that names them on the command line and in the JSON; each takes its peer."""
