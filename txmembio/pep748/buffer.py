"""One side of a TLS connection in memory, in the words of PEP 748: a `Connection` with a buffer on either side."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, overload

from txmembio.connection import Connection

from .configuration import CipherSuite, NextProtocol, TLSVersion
from .errors import want_read
from .settings import cipher_suite, tls_version

if TYPE_CHECKING:
    from typing_extensions import Buffer  # as PEP 688 has it; only checkers need it

    from .context import ClientContext, ServerContext

__all__ = ["INCOMING_LIMIT", "TLSBuffer"]

INCOMING_LIMIT = 262144
"""Bytes of wire and plaintext that wait to be read, beyond which no more wire is taken: 16 full records."""

ONE_STEP = 65536
"""Bytes of wire decrypted at once: so that what one read has no use for stays small, and stays wire."""


NO_WIRE = "more wire has to come from the peer first"


class TLSBuffer:
    """TLS without I/O: wire goes in by :meth:`process_incoming` and comes out by :meth:`process_outgoing`, plaintext by
    :meth:`read` and :meth:`write`. Made by a context's ``create_buffer()``.

    After every call there may be wire to send, after those that raise too: an alert. A buffer is used by one thread at
    a time. Once it has failed, reading and writing raise the same error again.
    """

    __slots__ = ("_at_end", "_connection", "_context", "_incoming", "_outgoing", "_plaintext")

    def __init__(self, context: ClientContext | ServerContext, connection: Connection) -> None:
        """Called by the context."""
        self._context = context
        self._connection = connection
        self._incoming = bytearray()
        self._plaintext = bytearray()
        self._outgoing = bytearray()
        self._at_end = False

    # --- plaintext ---

    def do_handshake(self) -> None:
        """Performs the handshake, as far as it goes, verification included. Raises WantReadError until it is complete,
        TLSError (SSLCertVerificationError for the peer's certificate) where it is refused."""
        connection = self._connection
        while not connection.handshake_complete or connection.error is not None:
            self._step()

    @overload
    def read(self, amt: int, buffer: None = None) -> bytes: ...
    @overload
    def read(self, amt: int, buffer: Buffer) -> int: ...
    @overload
    def read(self, amt: int, buffer: Buffer | None) -> bytes | int: ...
    def read(self, amt: int, buffer: Any = None) -> bytes | int:
        """Up to `amt` bytes of plaintext, or how many were put into `buffer`. b"" (0) once the peer has closed.

        Raises WantReadError where there are none yet; RaggedEOF where the wire ended without close_notify, TLSError for
        bad wire and what the handshake raises, all of them once the plaintext of before is read. ValueError for an
        `amt` below 0, TypeError for a `buffer` that cannot be written to.
        """
        if amt < 0:
            raise ValueError(f"amt is {amt}, expected 0 or more bytes")
        if buffer is None:
            return self._take(amt)
        with memoryview(buffer) as whole, whole.cast("B") as view:
            if view.readonly:
                raise TypeError(f"buffer is a {type(buffer).__name__}, expected one that can be written to")
            data = self._take(min(amt, len(view)))
            view[: len(data)] = data
        return len(data)

    def _take(self, amount: int) -> bytes:
        if not amount:
            return b""
        while not self._plaintext and not self._connection.peer_closed:
            self._step()
        return _cut(self._plaintext, amount)

    def write(self, buf: Buffer) -> int:
        """Encrypts all of `buf`, and returns its length in bytes. Raises WantReadError, and has taken nothing, until
        the handshake is complete; TLSError after a failure or :meth:`shutdown`."""
        data = buf if type(buf) is bytes else bytes(memoryview(buf))
        self.do_handshake()
        self._connection.send_plaintext(data)
        return len(data)

    def shutdown(self) -> None:
        """Ends our side: close_notify is in the outgoing buffer. What the peer still sends can be read, until
        :meth:`read` says b"": that is its close_notify. Before the handshake is complete there is nothing to send."""
        self._connection.close()

    def _step(self) -> None:
        """Decrypts some of what has arrived. Raises WantReadError if there is nothing."""
        connection = self._connection
        if connection.handshake_complete and connection.error is None and not self._incoming and not self._at_end:
            raise want_read(NO_WIRE)
        wire = _cut(self._incoming, ONE_STEP)
        self._plaintext += connection.receive_wire(wire)
        if connection.peer_closed:
            self._incoming.clear()  # RFC 8446 section 6.1: what follows must be ignored
        elif self._at_end and not self._incoming and not self._plaintext:
            connection.receive_wire_eof()
        elif not wire and not connection.handshake_complete:
            raise want_read(NO_WIRE)

    # --- wire ---

    def process_incoming(self, data_from_network: bytes) -> None:
        """Keeps wire that has arrived, until it is asked for by the calls above; b"" says that there will be no more.
        Raises WantReadError, and has kept nothing, where INCOMING_LIMIT bytes or more wait: :meth:`read` them first."""
        if self.incoming_bytes_buffered() >= INCOMING_LIMIT:
            raise want_read(
                f"{self.incoming_bytes_buffered()} bytes wait to be read, expected less than {INCOMING_LIMIT}"
            )
        if not data_from_network:
            self._at_end = True
        elif not self._connection.peer_closed:
            self._incoming += data_from_network

    def incoming_bytes_buffered(self) -> int:
        """Bytes that wait to be read: of wire, and of plaintext."""
        return len(self._incoming) + len(self._plaintext)

    def process_outgoing(self, amount_bytes_for_network: int) -> bytes:
        """The next bytes to send, at most as many; b"" if there are none. They leave the buffer. Raises ValueError for
        less than 0."""
        if amount_bytes_for_network < 0:
            raise ValueError(f"amount_bytes_for_network is {amount_bytes_for_network}, expected 0 or more")
        self.outgoing_bytes_buffered()
        return _cut(self._outgoing, amount_bytes_for_network)

    def outgoing_bytes_buffered(self) -> int:
        """Bytes that wait to be sent."""
        self._outgoing += self._connection.wire_to_send()
        return len(self._outgoing)

    # --- facts ---

    @property
    def context(self) -> ClientContext | ServerContext:
        """The context that made it."""
        return self._context

    def cipher(self) -> CipherSuite | int | None:
        """The cipher suite, as a number where CipherSuite does not have it; None before the handshake is complete."""
        cipher = self._connection.cipher() if self._connection.handshake_complete else None
        return None if cipher is None else cipher_suite(cipher[0])

    def negotiated_protocol(self) -> NextProtocol | bytes | None:
        """The protocol of the application layer, as bytes where NextProtocol does not have it; None for none."""
        name = self._connection.selected_alpn_protocol() if self._connection.handshake_complete else None
        if name is None:
            return None
        try:
            return NextProtocol(name.encode())
        except ValueError:
            return name.encode()

    @property
    def negotiated_tls_version(self) -> TLSVersion | None:
        """The protocol version; None before the handshake is complete."""
        return tls_version(self._connection.version())

    def getpeercert(self) -> bytes | None:
        """The peer's certificate in DER; None where it has shown none, and before the handshake is complete."""
        if not self._connection.handshake_complete:
            return None
        certificate = self._connection.peer_certificate()
        return None if certificate is None else certificate.der


def _cut(buffer: bytearray, size: int) -> bytes:
    """Takes bytes off the front."""
    with memoryview(buffer) as view:
        out = bytes(view[:size])
    del buffer[:size]
    return out
