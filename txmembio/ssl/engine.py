"""What an SSLSocket keeps under itself: TLS in memory, and the socket I/O that each step of it takes.

    SSLSocket.recv()  ──►  step: SSLObject.read()  ──wants wire──►  socket.recv(just that much)  ──►  step again
    SSLSocket.send()  ──►  step: SSLObject.write() ──has wire──►    socket.send(all of it)

Four locks. `_state` is held for a step in memory, never while waiting, so one thread can write while another waits for
something to read. `_receiving` and `_sending` are held while wire moves, which keeps it in order, `_writing` for the
whole of a write, whose steps must not mix with another thread's. A thread can take each of them again: a signal handler
may use the socket that its own thread is inside of.

Only as much wire is received as OpenSSL asks for, a record's header and then its rest. What follows stays in the
kernel: there select() finds it, and so does the plain socket after unwrap().
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import sys
import threading
import time
import weakref
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, TypeVar

from txmembio import (
    MemoryBIO,
    SSLContext,
    SSLEOFError,
    SSLError,
    SSLErrorNumber,
    SSLObject,
    SSLSession,
    SSLWantReadError,
    SSLWantWriteError,
)
from txmembio.inner import InnerCertificate, InnerObject

__all__ = ["Engine"]

Result = TypeVar("Result")

ONE_RECORD = 16384
"""Bytes of plaintext that a socket which does not wait is given at a time (RFC 8446 section 5.1). What it cannot send
has to be offered again, and programs offer no less than they did of OpenSSL, which takes a record at a time."""

ONE_WRITE = 65536
"""Bytes of plaintext at a time for one that waits: four records leave in one system call."""

HEADER = 5
"""Bytes in front of a record's contents: type, version, length (RFC 8446 section 5.1)."""

MOST_CONTENTS = 16384 + 2048
"""Bytes of a record's contents at most (RFC 5246 section 6.2.3; less in TLS 1.3)."""

RESETS_ARE_EOF = sys.version_info < (3, 12, 4)
"""From 3.10 on, until python/cpython issue 115627 was mended."""

_receive = socket.socket.recv
_send = socket.socket.send


class Engine(InnerObject):
    """``_ssl._SSLSocket`` on a socket."""

    __slots__ = (
        "__weakref__",
        "_in_send",
        "_in_write",
        "_incoming",
        "_outgoing",
        "_owed",
        "_polls",
        "_received",
        "_receiving",
        "_sending",
        "_sock",
        "_state",
        "_taken",
        "_wire",
        "_writing",
    )

    def __init__(
        self,
        sock: Any,
        context: SSLContext,
        server_side: bool,
        server_hostname: str | None,
        session: SSLSession | None,
    ) -> None:
        """For an SSLSocket, which is not kept alive. Raises what SSLContext.wrap_bio() raises."""
        self._incoming = MemoryBIO()
        self._outgoing = MemoryBIO()
        super().__init__(
            SSLObject.between(self._incoming, self._outgoing, context, server_side, server_hostname, session, sock)
        )
        self._sock = weakref.ref(sock)
        self._state = threading.RLock()  # again by the same thread: a callback asks for facts
        self._receiving = threading.RLock()
        self._sending = threading.RLock()
        self._writing = threading.RLock()
        self._polls: list[Any] = [None, None]  # for reading, for writing; each is used under the lock of its direction
        self._received = 0  # how often wire has arrived
        self._wire: bytes | memoryview = b""  # what has left the BIO and not been sent yet; _sending's
        self._taken = 0  # bytes of a write under way that are encrypted already; _writing's, as the next
        self._in_write = False
        self._in_send = False  # _send_all() is under way; _sending's
        self._owed = False  # the output of a step other than a write has not been sent, and goes before the next step

    def __getattr__(self, name: str) -> Any:
        with self._state:
            found = super().__getattr__(name)
        return self._locked(found) if callable(found) else found

    def _locked(self, method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            with self._state:
                return method(*args, **kwargs)

        return call

    # --- steps ---

    def do_handshake(self) -> None:
        """Blocks, or raises SSLWantReadError or SSLWantWriteError, as the socket's time-out says."""
        try:
            self._run(self._object.do_handshake, "handshake")
        except (BrokenPipeError, ConnectionResetError):
            # A client that is gone when its tickets are sent may have left something to read: to OpenSSL, too, that is
            # no failure.
            if not self._object.server_side or self._object.version() != "TLSv1.3":
                raise

    def read(self, len: int = 1024, buffer: bytearray | memoryview | None = None) -> bytes | int:
        """What SSLObject.read() returns, once there is something."""
        try:
            return self._run(lambda: self._object.read(len, buffer), "read", "tried")
        except OSError as error:
            raise _as_the_standard_library(error) from None

    def write(self, data: Any) -> int:
        """Sends all of `data`, and returns how many bytes that were.

        Where the socket's time is over before, SSLWantWriteError or TimeoutError says so, and the same data has to be
        written again, as with OpenSSL: some of it is encrypted already, and the next call goes on behind that.
        """
        timeout, deadline = self._time()
        if not _acquired(self._writing, timeout, deadline):
            raise _over(timeout, "write", SSLWantWriteError)
        inside, taken = self._in_write, self._taken
        try:
            self._in_write = True
            if inside:  # a signal handler's write, in the middle of this thread's own
                self._taken = 0
            return self._write(data, timeout, deadline)
        finally:
            if inside:
                self._taken = taken
            self._in_write = inside
            self._writing.release()

    def _write(self, data: Any, timeout: float | None, deadline: float) -> int:
        """With `_writing` held."""
        with memoryview(data) as given, given.cast("B") as view:
            if self._taken > len(view):
                text = f"bad write retry: {len(view)} bytes, after a longer write did not get through"
                raise _error(SSLError, SSLErrorNumber.SSL_ERROR_SSL, f"[SSL: BAD_WRITE_RETRY] {text}")
            at_a_time = ONE_RECORD if timeout == 0.0 else ONE_WRITE
            try:
                while True:
                    if self._taken or self._has_output():
                        self._flush(timeout, deadline, "write")
                    if self._taken and self._taken == len(view):
                        break
                    with view[self._taken : self._taken + at_a_time] as piece:
                        self._taken += self._run(
                            partial(self._object.write, piece), "write", "left", (timeout, deadline)
                        )
                    if not view:
                        break
            except OSError as error:
                raise _as_the_standard_library(error) from None
            self._taken = 0
            return len(view)

    @property
    def session(self) -> SSLSession | None:
        """See :attr:`txmembio.SSLObject.session`."""
        with self._state:
            return self._object.session

    @session.setter
    def session(self, session: SSLSession) -> None:
        with self._state:
            self._object.session = session

    def get_verified_chain(self) -> list[InnerCertificate] | None:
        """The chain as certificates, None where there is none."""
        with self._state:
            return super().get_verified_chain()

    def get_unverified_chain(self) -> list[InnerCertificate] | None:
        """The same of what the peer sent."""
        with self._state:
            return super().get_unverified_chain()

    def shutdown(self) -> Any:
        """Ends TLS on both sides, and returns the socket, which is plain from then on."""
        sock = self._socket()
        self._run(self._object.unwrap, "shutdown")
        return sock

    def _run(
        self,
        step: Callable[[], Result],
        what: str,
        output: Literal["sent", "tried", "left"] = "sent",
        time_left: tuple[float | None, float] | None = None,
    ) -> Result:
        """Does a step of TLS, with as much input and output as it takes. `output` is what becomes of the step's own,
        once it is done: sent; or sent as far as possible, while the rest leaves with what is sent next; or left to the
        caller."""
        timeout, deadline = time_left or self._time()
        while True:
            if self._owed:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # what has arrived can still be read
                    self._flush(timeout, deadline, what)
            with self._state:
                received = self._received
                before = self._outgoing.pending
                try:
                    result = step()
                    wants = False
                except SSLWantReadError:
                    wants = True
                except SSLError:
                    self._try_to_flush()  # the alert that tells the peer
                    raise
                has_output = self._outgoing.pending != before
                wanted = self._object.wire_wanted if wants else 0
                if has_output and output != "left":
                    self._owed = True
            if not wants:
                if output == "sent":
                    self._flush(timeout, deadline, what)
                elif output == "tried" and has_output:
                    self._try_to_flush()
                return result
            if output == "sent" or has_output:
                self._flush(timeout, deadline, what)
            if timeout and time.monotonic() >= deadline:  # the peer may send for ever what is no plaintext
                raise _over(timeout, what, SSLWantReadError)
            self._fill(received, wanted, timeout, deadline, what)

    # --- the socket ---

    def _socket(self) -> socket.socket:
        sock: socket.socket | None = self._sock()
        if sock is None:
            raise _error(SSLError, SSLErrorNumber.SSL_ERROR_SYSCALL, "Underlying socket connection gone")
        return sock

    def _time(self) -> tuple[float | None, float]:
        """The socket's time-out in seconds, and when it is over."""
        timeout = self._socket().gettimeout()
        return timeout, 0.0 if not timeout else time.monotonic() + timeout

    def _fill(self, received: int, wanted: int, timeout: float | None, deadline: float, what: str) -> None:
        """Receives some wire, unless another thread has done so since `received`."""
        if not _acquired(self._receiving, timeout, deadline):
            raise _over(timeout, what, SSLWantReadError)
        try:
            if self._received != received:
                return
            sock = self._socket()
            try:
                if timeout:
                    self._wait(sock, False, deadline)
                data = _receive(sock, wanted)
            except (BlockingIOError, TimeoutError) as error:
                raise _over(timeout, what, SSLWantReadError, error) from None
            self._put(data)  # now: while the rest is waited for, a signal handler may raise, or receive some itself
            if wanted == HEADER and (rest := _body(data)):
                with contextlib.suppress(BlockingIOError, TimeoutError):  # then the next step asks for it
                    if timeout:
                        self._wait(sock, False, deadline)
                    self._put(_receive(sock, rest))
        finally:
            self._receiving.release()

    def _put(self, data: bytes) -> None:
        """Wire that has arrived; b"" for its end."""
        with self._state:
            self._received += 1
            if data:
                self._incoming.write(data)
            else:
                self._incoming.write_eof()

    def _has_output(self) -> bool:
        """Whether there is wire to send that nobody is just sending."""
        return bool(self._owed or self._wire or self._outgoing.pending)

    def _flush(self, timeout: float | None, deadline: float, what: str) -> None:
        """Sends all wire there is."""
        if not _acquired(self._sending, timeout, deadline):
            raise _over(timeout, what, SSLWantWriteError)
        self._send_all(timeout, deadline, what)

    def _send_all(self, timeout: float | None, deadline: float, what: str) -> None:
        """With `_sending` held, which it gives back."""
        if self._in_send:  # a signal handler, in the middle of this thread's own, which takes the wire along
            self._sending.release()
            return
        self._in_send = True
        try:
            while True:
                with self._state:
                    wire = self._wire or self._outgoing.read()
                    self._wire = wire
                    if not wire:
                        # Before the last look: a signal handler's output is either seen there, or it sends it itself.
                        self._in_send = self._owed = False
                        if not self._outgoing.pending:
                            # Here, so that another thread's output is either seen above or finds the lock free.
                            self._sending.release()
                            return
                        self._in_send = True
                sock = self._socket()
                try:
                    if timeout:
                        self._wait(sock, True, deadline)
                    sent = _send(sock, wire)
                except (BlockingIOError, TimeoutError) as error:
                    raise _over(timeout, what, SSLWantWriteError, error) from None
                self._wire = b"" if sent == len(wire) else memoryview(wire)[sent:]
        except BaseException:
            self._in_send = False
            self._sending.release()
            raise

    def _wait(self, sock: socket.socket, writable: bool, deadline: float) -> None:
        """Waits until a socket is ready. Raises TimeoutError when `deadline`, by time.monotonic(), is over."""
        left = max(deadline - time.monotonic(), 0.0)
        if not hasattr(select, "poll"):  # Windows, where a select() of one socket has no limit
            ready: object = any(select.select([] if writable else [sock], [sock] if writable else [], [], left))
        else:
            # Taken out while it is in use: a signal handler that waits in the middle of this needs one of its own.
            poll, self._polls[writable] = self._polls[writable], None
            if poll is None:
                poll = select.poll()
                poll.register(sock, select.POLLOUT if writable else select.POLLIN)
            ready = poll.poll(left * 1000)
            self._polls[writable] = poll
        if not ready:
            raise TimeoutError

    def _try_to_flush(self) -> None:
        """Sends what can be sent now. Another thread that is sending takes the rest along."""
        sock = self._sock()
        if sock is None or not self._sending.acquire(blocking=False):
            return
        with contextlib.suppress(OSError):  # it is said again when something has to be sent
            self._send_all(*self._time(), "write")


def _body(header: bytes) -> int:
    """How many bytes follow a record's header; 0 for what is none, which OpenSSL is to judge."""
    if len(header) != HEADER or not 20 <= header[0] <= 23 or header[1] != 3:
        return 0
    length = int.from_bytes(header[3:], "big")
    return length if length <= MOST_CONTENTS else 0


def _error(kind: type[SSLError], number: int, text: str) -> SSLError:
    return kind(int(number), text)


def _over(timeout: float | None, what: str, kind: type[SSLError], error: OSError | None = None) -> OSError:
    """What says that a socket's time is over; `error` is what the socket has said, and is returned if that was that the
    network has given up."""
    if error is not None and error.errno == errno.ETIMEDOUT:
        return error
    if timeout:
        return TimeoutError(f"The {what} operation timed out")
    if kind is SSLWantReadError:
        return _error(kind, SSLErrorNumber.SSL_ERROR_WANT_READ, "The operation did not complete (read)")
    return _error(kind, SSLErrorNumber.SSL_ERROR_WANT_WRITE, "The operation did not complete (write)")


def _as_the_standard_library(error: OSError) -> OSError:
    """The same, or SSLEOFError for an error of the connection where this Python's own ssl makes it one: after that, a
    reset is no more than an end without close_notify, which SSLSocket suppresses unless it was told not to."""
    if RESETS_ARE_EOF and error.errno is not None and not isinstance(error, SSLError):
        return _error(SSLEOFError, SSLErrorNumber.SSL_ERROR_EOF, f"EOF occurred in violation of protocol: {error}")
    return error


def _acquired(lock: Any, timeout: float | None, deadline: float) -> bool:
    """Takes an RLock, whose type has no name before Python 3.13."""
    if timeout is None:
        return bool(lock.acquire())
    return bool(lock.acquire(timeout=max(deadline - time.monotonic(), 0.0)) if timeout else lock.acquire(False))
