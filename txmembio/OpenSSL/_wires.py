"""Carrying a connection's wire over a socket that pyOpenSSL's user has given us."""

from __future__ import annotations

import errno
import os
import sys
from typing import Any

from txmembio.native.connection import NativeConnection
from txmembio.OpenSSL._errors import SysCallError, WantReadError, WantWriteError

__all__ = ["SocketWire"]

HEADER = 5
"""Bytes of a record's header; its last two say how long the rest is (RFC 8446 section 5.1)."""

NOTHING = memoryview(b"")


def _descriptor(thing: Any) -> int:
    number = thing if isinstance(thing, int) else getattr(thing, "fileno", lambda: None)()
    if not isinstance(number, int):
        raise TypeError("argument must be an int, or have a fileno() method.")
    if number < 0:
        raise ValueError(f"file descriptor cannot be a negative integer ({number})")
    return number


class SocketWire:
    """One socket. It is read a record at a time and no further, so that select() tells the truth and a return to
    plaintext loses nothing. A socket that would block makes WantReadError or WantWriteError, as its user expects."""

    def __init__(self, socket: Any) -> None:
        self._number = _descriptor(socket)
        self._socket = None if isinstance(socket, int) else socket
        self._unsent = NOTHING
        self._needed = HEADER
        self._header = b""

    def _read(self, most: int) -> bytes:
        if sys.platform == "win32":
            data: bytes = self._socket.recv(most)
            return data
        return os.read(self._number, most)

    def _write(self, data: memoryview) -> int:
        if sys.platform == "win32":
            return int(self._socket.send(data))
        return os.write(self._number, data)

    def send(self, connection: NativeConnection) -> None:
        """All there is to send. What does not leave stays here for the next time, whatever the reason: wire that has
        lost some bytes is worth nothing."""
        made = connection.wire_to_send()
        data = memoryview(b"".join((self._unsent, made))) if made else self._unsent
        self._unsent = NOTHING  # another thread may come by while this one waits in write()
        try:
            while data:
                data = data[self._write(data) :]
        except OSError as problem:
            self._unsent = data
            if isinstance(problem, BlockingIOError):
                raise WantWriteError from None
            raise _broken(problem) from None

    @property
    def stuck(self) -> bool:
        """Whether some of it is here still."""
        return bool(self._unsent)

    def receive(self, connection: NativeConnection) -> None:
        """Some more."""
        try:
            data = self._read(self._needed)
        except BlockingIOError:
            raise WantReadError from None
        except OSError as problem:
            raise _broken(problem) from None
        if not data:
            connection.end_feed()
            return
        connection.feed(data)
        self._needed -= len(data)
        if len(self._header) < HEADER:
            self._header += data
            if len(self._header) == HEADER:
                self._needed = int.from_bytes(self._header[3:], "big")
        if self._needed == 0:
            self._needed, self._header = HEADER, b""


def _broken(problem: OSError) -> SysCallError:
    number = problem.errno or -1
    return SysCallError(number, errno.errorcode.get(number))
