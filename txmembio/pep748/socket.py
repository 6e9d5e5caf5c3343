"""TLS over a TCP socket, in the words of PEP 748: a `TLSBuffer`, and what carries its wire."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from contextlib import suppress
from threading import Lock, RLock
from time import monotonic
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeVar

from txmembio.limits import HANDSHAKE_TIMEOUT, SHUTDOWN_TIMEOUT

from .buffer import INCOMING_LIMIT, TLSBuffer
from .configuration import CipherSuite, NextProtocol, TLSVersion
from .errors import TLSError, WantReadError, WantWriteError, want_read, want_write

if TYPE_CHECKING:
    from .context import ClientContext, ServerContext

__all__ = ["TLSSocket", "connected", "listening"]

_T = TypeVar("_T")

ONE_READ = 65536
"""Bytes asked of the socket at once: four full records."""

ONE_WRITE = 65536
"""Bytes encrypted before any of them are sent: what a slow peer lets pile up here."""

DRAINED_AT_MOST = 1 << 20
"""Bytes thrown away when a socket is closed: a system answers unread ones by a reset, which destroys what the peer has
not read yet of ours. A peer that has sent more than that in between gets the reset."""


class TLSSocket:
    """A TCP socket that carries TLS, or one that listens for such. Made by a context's ``connect()``, and by
    :meth:`accept`.

    It blocks, unless :meth:`settimeout` says otherwise. One thread may receive while another one sends.
    """

    __slots__ = (
        "_begun",
        "_buffer",
        "_context",
        "_lock",
        "_new_buffer",
        "_receiving",
        "_sending",
        "_socket",
        "_unsent",
    )

    def __init__(
        self,
        context: ClientContext | ServerContext,
        sock: socket.socket,
        buffer: TLSBuffer | None = None,
        new_buffer: Callable[[], TLSBuffer] | None = None,
    ) -> None:
        """Called by the context: with a `buffer` for a connected socket, with `new_buffer` for one that listens."""
        self._context = context
        self._socket = sock
        self._buffer = buffer
        self._new_buffer = new_buffer
        # A thread can take these two again: a signal handler may use the socket that its own thread is inside of.
        self._lock = RLock()  # around every use of the buffer
        self._receiving = RLock()  # from the socket's recv() until the buffer has what it gave
        self._sending = Lock()  # from taking wire out of the buffer until the socket has it
        self._unsent = b""  # wire out of the buffer that the socket has not taken
        self._begun = 0  # bytes of plaintext whose wire that is, and that nobody has been told of

    # --- plaintext ---

    def recv(self, bufsize: int) -> bytes:
        """Up to `bufsize` bytes of plaintext; b"" once the peer has closed.

        Raises RaggedEOF where the peer has ended the connection without close_notify, TLSError for bad wire,
        TimeoutError after a time-out, WantReadError where the socket does not block and there is nothing yet,
        WantWriteError where it does not and the peer has to take some of our answers first, OSError where the
        connection is lost, or there is none.
        """
        buffer = self._connected()
        timeout = self._socket.gettimeout()
        deadline = monotonic() + timeout if timeout else None
        with self._receiving:
            while True:
                try:
                    with self._lock:
                        return buffer.read(bufsize)
                except WantReadError:
                    pass
                finally:
                    self._tell(buffer)
                if self._held(buffer) > INCOMING_LIMIT:  # a peer that has us answer, and does not take the answers
                    with self._sending:
                        self._send(buffer)
                if deadline is not None and monotonic() >= deadline:  # it may send for ever what is no plaintext
                    raise TimeoutError(errno.ETIMEDOUT, f"there was nothing to read within {timeout:g} seconds")
                self._receive(buffer)

    def send(self, bytes: bytes) -> int:
        """Encrypts and sends; returns how many bytes of plaintext are sent: all of them, unless the socket has a
        time-out or does not block.

        Raises TLSError after a failure, OSError where the connection is lost, or there is none; TimeoutError or
        WantWriteError where nothing could be sent in time, and then, as the PEP has it, the same bytes must be given
        again: some are encrypted already. ValueError for fewer than those.
        """
        buffer = self._connected()
        view = memoryview(bytes).cast("B")
        with self._sending:
            if len(view) < self._begun:
                raise ValueError(f"{len(view)} bytes to send, expected the same again as when send() last raised")
            sent = 0
            while sent < len(view) or self._unsent:
                if not self._begun:
                    with self._lock:
                        self._begun = buffer.write(view[sent : sent + ONE_WRITE])
                try:
                    self._send(buffer)
                except (WantWriteError, TimeoutError):
                    if not sent:
                        raise
                    break
                sent += self._begun
                self._begun = 0
        self._tell(buffer)
        return sent

    def _connected(self) -> TLSBuffer:
        if self._buffer is None:
            raise OSError(errno.ENOTCONN, f"{os.strerror(errno.ENOTCONN)}: this TLSSocket listens, or is closed")
        return self._buffer

    # --- wire ---

    def _receive(self, buffer: TLSBuffer) -> None:
        """Waits for wire. `_receiving` is held."""
        try:
            wire = self._socket.recv(ONE_READ)
        except BlockingIOError:
            raise want_read("there is nothing to read yet") from None
        with self._lock:
            buffer.process_incoming(wire)

    def _send(self, buffer: TLSBuffer) -> None:
        """Sends what there is to send. `_sending` is held."""
        while True:
            if not self._unsent:
                with self._lock:
                    self._unsent = buffer.process_outgoing(ONE_WRITE)
            if not self._unsent:
                return
            try:
                sent = self._socket.send(self._unsent)
            except BlockingIOError:
                raise want_write("the socket takes no more for now") from None
            self._unsent = self._unsent[sent:]

    def _tell(self, buffer: TLSBuffer) -> None:
        """Sends what has to be said to the peer, such as an alert. Where another thread is sending, that one does it,
        or comes here when it is done. Whether it can be sent does not matter: what was received tells more."""
        while True:
            if not self._held(buffer):
                return
            if not self._sending.acquire(blocking=False):
                return
            try:
                self._send(buffer)
            except OSError:
                return
            finally:
                self._sending.release()

    def _held(self, buffer: TLSBuffer) -> int:
        """Bytes of wire that wait to be sent."""
        with self._lock:
            return len(self._unsent) + buffer.outgoing_bytes_buffered()

    def _shake_hands(self, buffer: TLSBuffer) -> None:
        deadline = monotonic() + HANDSHAKE_TIMEOUT
        try:
            while True:
                left = deadline - monotonic()
                if left <= 0:  # looked at here, since a peer that never pauses lets no time-out pass
                    raise TimeoutError
                self._socket.settimeout(left)
                try:
                    buffer.do_handshake()
                    break
                except WantReadError:
                    self._tell(buffer)
                    self._receive(buffer)
            self._tell(buffer)
            self._socket.settimeout(None)
        except TimeoutError:
            text = f"the handshake was not complete within {HANDSHAKE_TIMEOUT:g} seconds"
            raise TimeoutError(errno.ETIMEDOUT, text) from None
        except TLSError:
            self._tell(buffer)
            raise

    # --- the end ---

    def close(self, force: bool = False) -> None:
        """Sends close_notify, and closes the socket once the peer has sent its own, or at once if `force`. What the
        peer sends in between is thrown away.

        Raises WantReadError where the peer's close_notify has not come: at once where the socket does not block, after
        30 seconds where it does; WantWriteError where ours cannot be sent yet. Then the socket is still open: call it
        again. A connection that has failed, or that the peer has just ended, is closed and nothing is raised.
        """
        buffer, before = self._buffer, self._socket.gettimeout()
        if buffer is None:
            self._socket.close()
            return
        deadline = monotonic() + (SHUTDOWN_TIMEOUT if before is None else min(before, SHUTDOWN_TIMEOUT))
        try:
            self._exchange_close_notify(buffer, deadline, force)
        except (WantReadError, WantWriteError):
            self._socket.settimeout(before)
            raise
        except OSError:  # a TLSError too: there is nobody to close it with
            pass
        self._buffer = None
        self._drain()
        self._socket.close()

    def _exchange_close_notify(self, buffer: TLSBuffer, deadline: float, force: bool) -> None:
        left = max(deadline - monotonic(), 0)
        if not self._sending.acquire(timeout=left):
            raise want_write("another thread is sending")
        try:
            with self._lock:
                buffer.shutdown()
            self._socket.settimeout(left)
            self._send(buffer)
        except TimeoutError:
            raise want_write(f"close_notify could not be sent within {left:g} seconds") from None
        finally:
            self._sending.release()
        if force:
            return
        if not self._receiving.acquire(timeout=max(deadline - monotonic(), 0)):
            raise want_read("another thread is receiving")
        try:
            self._receive_close_notify(buffer, deadline)
        finally:
            self._receiving.release()

    def _receive_close_notify(self, buffer: TLSBuffer, deadline: float) -> None:
        late = False
        while True:
            try:
                with self._lock:
                    if not buffer.read(ONE_READ):
                        return
            except WantReadError:
                left = deadline - monotonic()
                try:
                    if late:  # a peer that never pauses lets no time-out pass
                        raise TimeoutError
                    late = left <= 0  # one look at what has arrived, all there is where the socket does not block
                    self._socket.settimeout(max(left, 0))
                    self._receive(buffer)
                except (TimeoutError, WantReadError):
                    raise want_read(
                        "the peer has not sent its close_notify yet: close(force=True) does not wait for it"
                    ) from None

    def _drain(self) -> None:
        if not self._receiving.acquire(blocking=False):
            with suppress(OSError):
                self._socket.shutdown(socket.SHUT_RDWR)  # wakes the thread that is receiving
            return
        drained = 0
        with suppress(OSError):
            self._socket.settimeout(0)
            self._socket.shutdown(socket.SHUT_WR)
            while drained < DRAINED_AT_MOST and (wire := self._socket.recv(ONE_READ)):
                drained += len(wire)
        self._receiving.release()

    def __enter__(self) -> TLSSocket:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Closes it without waiting for the peer."""
        try:
            self.close(force=True)
        except TLSError:
            self._socket.close()

    # --- a server's ---

    def listen(self, backlog: int) -> None:
        """Lets clients connect. `backlog` is how many may wait for :meth:`accept`."""
        self._socket.listen(backlog)

    def accept(self) -> tuple[TLSSocket, tuple[str | None, int]]:
        """Waits for a client and shakes hands with it: the new socket, which blocks, and the client's address.

        Raises TLSError or TimeoutError where the handshake fails or takes more than 60 seconds, OSError where the
        client goes away: that client is closed, the next one can be accepted. A server for many at once is better off
        with a TLSBuffer for each: here a slow client keeps the others waiting. OSError on a socket that does not
        listen.
        """
        if self._new_buffer is None:
            raise OSError(errno.EINVAL, f"{os.strerror(errno.EINVAL)}: this TLSSocket is connected, and cannot accept")
        sock, address = self._socket.accept()
        return connected(self._context, sock, self._new_buffer()), _address(address)

    # --- facts ---

    def getsockname(self) -> tuple[str | None, int]:
        """Our own address and port."""
        return _address(self._socket.getsockname())

    def getpeername(self) -> tuple[str | None, int]:
        """The peer's address and port. Raises OSError where there is no peer."""
        return _address(self._socket.getpeername())

    def fileno(self) -> int:
        """The socket's descriptor, -1 once it is closed. Before waiting for it to be readable, read until
        WantReadError: plaintext may be here already."""
        return self._socket.fileno()

    def settimeout(self, timeout: float | None) -> None:
        """Seconds to wait in :meth:`recv`, :meth:`send` and :meth:`accept`; None to wait as long as it takes, the
        default; 0 not to wait."""
        self._socket.settimeout(timeout)

    def _ask(self, question: Callable[[TLSBuffer], _T]) -> _T | None:
        """A fact about the connection; None where there is none."""
        buffer = self._buffer
        if buffer is None:
            return None
        with self._lock:
            return question(buffer)

    @property
    def context(self) -> ClientContext | ServerContext:
        """The context that made it."""
        return self._context

    def cipher(self) -> CipherSuite | int | None:
        """The cipher suite, as a number where CipherSuite does not have it; None where there is no connection."""
        return self._ask(TLSBuffer.cipher)

    def negotiated_protocol(self) -> NextProtocol | bytes | None:
        """The protocol of the application layer, as bytes where NextProtocol does not have it; None for none."""
        return self._ask(TLSBuffer.negotiated_protocol)

    @property
    def negotiated_tls_version(self) -> TLSVersion | None:
        """The protocol version; None where there is no connection."""
        return self._ask(lambda buffer: buffer.negotiated_tls_version)

    def getpeercert(self) -> bytes | None:
        """The peer's certificate in DER; None where it has shown none, and where there is no connection."""
        return self._ask(TLSBuffer.getpeercert)


def _address(address: Any) -> tuple[str | None, int]:
    """Without what IPv6 has behind the port."""
    host, port = address[:2]
    return host, port


def connected(context: ClientContext | ServerContext, sock: socket.socket, buffer: TLSBuffer) -> TLSSocket:
    """TLS on a connected socket, its handshake done. Closes the socket where that fails."""
    tls = TLSSocket(context, sock, buffer)
    try:
        # A record is complete when it is sent: to wait for more would only delay it.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        tls._shake_hands(buffer)
    except BaseException:
        tls._drain()  # so that the alert arrives
        sock.close()
        raise
    return tls


def listening(
    context: ServerContext, address: tuple[str | None, int], new_buffer: Callable[[], TLSBuffer]
) -> TLSSocket:
    """A socket that is bound to an address; None for the host means every one of this machine's, by IPv4."""
    host, port = address
    family = socket.AF_INET6 if host and ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        if os.name == "posix":  # elsewhere it would let two programs listen at once
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host or "", port))
    except BaseException:
        sock.close()
        raise
    return TLSSocket(context, sock, new_buffer=new_buffer)
