"""A connection that is not ours: whatever has the methods of pyOpenSSL's `Connection`.

A context factory may return one: a proxy that changes what `send` does, a test's own. `TLSTransport` then talks to it
through a `StandIn`, which has what it asks of a `txmembio.Connection`, and calls the methods Twisted's own transport
would call.
"""

from __future__ import annotations

from typing import Any

from .. import SSLEOFError, SSLError
from ..facts import Traffic
from ..OpenSSL.SSL import Error, SysCallError, WantReadError, ZeroReturnError

__all__ = ["StandIn"]

#: Bytes that are asked for at a time, as Twisted's own transport does.
PIECE = 2**15


class Refusal(SSLError):
    """Carries an `OpenSSL.SSL.Error` to where TLSTransport expects an SSLError."""

    def __init__(self, error: Error) -> None:
        super().__init__(1, str(error))
        self.__cause__ = error
        #: What programs expect instead.
        self.known = error


class StandIn:
    """`handle` as TLSTransport sees it."""

    server_hostname = None
    session_reused = False

    def __init__(self, handle: Any, before: Any = None) -> None:
        """`before` is what has been in this place until now."""
        self._handle = handle
        self._wire: list[bytes] = []
        self._kept = b""
        self.changed = True
        self.handshake_complete = bool(before and before.handshake_complete)
        self.peer_closed = bool(before and before.peer_closed)
        self.closed = bool(before and before.closed)
        self.server_side = bool(before and before.server_side)
        self.error: SSLError | None = None

    @property
    def plaintext_pending(self) -> int:
        """Bytes that wait for something to be read."""
        return len(self._kept)

    def do_handshake(self) -> bool:
        """As Connection."""
        try:
            self._handle.do_handshake()
        except WantReadError:
            self._collect()
        except Error as error:
            self._fail(error)
        else:
            self.handshake_complete = self.changed = True
        return self.handshake_complete

    def receive_wire(self, data: bytes) -> bytes:
        """As Connection."""
        self.changed = True
        self._handle.bio_write(data)
        if not self.handshake_complete and not self.do_handshake():
            return b""
        plaintext = []
        try:
            while True:
                plaintext.append(self._handle.recv(PIECE))
        except WantReadError:
            pass
        except ZeroReturnError:
            self.peer_closed = True
        except Error as error:
            if not plaintext:
                self._fail(error)
            self.error = Refusal(error)
        kept, self._kept = self._kept, b""
        if kept and not self.closed:
            self.send_plaintext(kept)
        self._collect()
        return b"".join(plaintext)

    def receive_wire_eof(self) -> None:
        """As Connection."""
        self._handle.bio_shutdown()
        if not self.peer_closed:
            raise SSLEOFError(8, "EOF occurred in violation of protocol")

    def send_plaintext(self, data: bytes) -> None:
        """As Connection; what cannot be sent yet is kept."""
        self._kept += data
        try:
            while self._kept:
                self._kept = self._kept[self._handle.send(self._kept) :]
                self._collect()
        except WantReadError:
            self._collect()
        except Error as error:
            self._kept = b""
            self._fail(error)

    def plaintext_to_wire(self, data: bytes) -> bytes:
        """As Connection."""
        self.send_plaintext(data)
        return self.wire_to_send()

    def wire_to_send(self) -> bytes:
        """As Connection."""
        wire = b"".join(self._wire)
        self._wire.clear()
        return wire

    def close(self) -> None:
        """As Connection."""
        self.closed = True
        try:
            self._handle.shutdown()
        except Error:
            return
        self._collect()

    def _collect(self) -> None:
        try:
            while True:
                wire = self._handle.bio_read(PIECE)
                self._wire.append(wire)
                if len(wire) < PIECE:
                    return
        except WantReadError:
            return

    def _fail(self, error: Error) -> None:
        self._collect()
        if isinstance(error, SysCallError):
            self.error = SSLEOFError(8, str(error))
        else:
            self.error = Refusal(error)
        raise self.error

    def _no_fact(self) -> None:
        """Not asked: what there is, whoever made the handle knows."""

    def traffic(self) -> Traffic:
        """Not counted."""
        return Traffic(0, 0, 0, 0)

    version = cipher = group = selected_alpn_protocol = server_name = negotiated = _no_fact
