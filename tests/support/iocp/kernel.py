"""The kernel's part: handles, what is pending on each, completion ports, and the thread that does the work.

`LOCK` guards everything here. The thread exists while an operation is pending, and ends after the last.
"""

from __future__ import annotations

import _socket
import contextlib
import os
import select
import socket
import threading
from collections import deque
from collections.abc import Callable, Iterator

from support.iocp.faults import Faults
from support.iocp.winsock import (
    ERROR_INVALID_HANDLE,
    ERROR_INVALID_PARAMETER,
    ERROR_IO_PENDING,
    ERROR_OPERATION_ABORTED,
    WAIT_TIMEOUT,
    at_once,
    later,
)

LOCK = threading.RLock()


class Operation:
    """An overlapped call, from the call until its completion is handed out.

    `attempt` does what can be done now, and returns whether that was all of it; it raises OSError with an error of
    Linux. `wants` is what to wait for if not, in epoll's words.
    """

    def __init__(
        self,
        event: object,
        attempt: Callable[[Operation], bool],
        wants: int,
        buffers: tuple[memoryview, ...] = (),
        close_code: int = ERROR_OPERATION_ABORTED,
    ) -> None:
        self.event = event
        self.attempt = attempt
        self.wants = wants
        self.buffers = buffers
        self.close_code = close_code
        self.code = 0
        """What it completes with once the attempt has succeeded: there are errors that only a completion has."""
        self.transferred = 0
        self.mistake: Exception | None = None
        """What the attempt has raised that is no error of a socket."""

    def release(self) -> None:
        """The buffers are the caller's again. Until then nobody can resize them: each has a view of ours."""
        for view in self.buffers:
            view.release()
        self.buffers = ()


class Handle:
    """A socket that the kernel knows, by its descriptor. What is pending is in order, per direction."""

    def __init__(self, descriptor: int, inode: int) -> None:
        self.descriptor = descriptor
        self.inode = inode
        """Tells that the descriptor's number has another socket now."""
        plain = _socket.socket(fileno=descriptor)
        self.family, self.type, self.proto = plain.family, plain.type, plain.proto
        plain.detach()
        self.port: CompletionPort | None = None
        self.key = 0
        self.receiving: deque[Operation] = deque()
        self.sending: deque[Operation] = deque()
        self.owned: list[Operation] = []
        """Receives whose buffers are not the caller's again: pending, or completed and not handed out."""
        self.watched = 0
        self.connected = False
        self.reset = False
        """The connection was broken. Linux says so once, Windows every time."""
        self.context_due = False
        """An overlapped accept or connect is not done, or not yet confirmed with SO_UPDATE_*_CONTEXT."""
        self.send_shut = False
        self.fin_due = False
        """Its sending side was shut down with sends pending: they go first."""
        self.receive_shut = False

    @contextlib.contextmanager
    def borrowed(self) -> Iterator[_socket.socket]:
        """A socket object of the descriptor, which stays open."""
        plain = _socket.socket(self.family, self.type, self.proto, self.descriptor)
        try:
            yield plain
        finally:
            plain.detach()

    def is_connected(self) -> bool:
        """Whether it has ever been connected, however."""
        if not self.connected:
            with self.borrowed() as plain, contextlib.suppress(OSError):
                plain.getpeername()
                self.connected = True
        return self.connected

    def note(self, error: OSError) -> None:
        """Remembers a broken connection."""
        if isinstance(error, ConnectionResetError) or (isinstance(error, BrokenPipeError) and not self.send_shut):
            self.reset = True

    def complete(self, operation: Operation, code: int) -> None:
        """The operation is over: its completion is put into the port's queue, if there is a port."""
        if self.port is None:
            self.hand_out(operation)
        else:
            self.port.put(code, operation.transferred if code == operation.code else 0, self, operation)

    def hand_out(self, operation: Operation) -> None:
        """The caller has been told, and has its buffers again."""
        operation.release()
        if operation in self.owned:
            self.owned.remove(operation)


class CompletionPort:
    """A queue of completions, of the handles that were added to it, and of what was posted."""

    def __init__(self) -> None:
        self._queue: deque[tuple[int, int, int, object, Handle | None, Operation | None]] = deque()
        self._arrival = threading.Condition(LOCK)
        self.completed = 0
        """Operations that have completed here."""

    @property
    def queued(self) -> int:
        """Completions that nobody has asked for yet."""
        return len(self._queue)

    def addHandle(self, handle: int, key: int = 0, /) -> None:
        """Completions of this socket go here, with this key. Raises OSError with 6 for what is no socket, with 87 for
        one that has a port."""
        with LOCK:
            try:
                known = KERNEL.handle(handle)
            except OSError:
                raise OSError("CreateIoCompletionPort", ERROR_INVALID_HANDLE) from None
            if known.port is not None:
                raise OSError("CreateIoCompletionPort", ERROR_INVALID_PARAMETER)
            known.port, known.key = self, key
            if known.family == socket.AF_INET6:
                with known.borrowed() as plain, contextlib.suppress(OSError):  # bound already: too late
                    plain.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)  # as it is on Windows

    def postEvent(self, nbytes: int, key: int, obj: object, /) -> None:
        """Queues a completion of nothing. Any thread may."""
        with LOCK:
            self._queue.append((0, nbytes, key, obj, None, None))
            self._arrival.notify()

    def put(self, code: int, nbytes: int, handle: Handle, operation: Operation) -> None:
        """Queues the completion of an operation."""
        self.completed += 1
        self._queue.append((code, nbytes, handle.key, operation.event, handle, operation))
        self._arrival.notify()

    def getEvent(self, timeout: int, /) -> tuple[int, int, int, object]:
        """(code, bytes, key, event) of the first completion. Waits for `timeout` milliseconds, or for ever if negative;
        then the code is 258. Raises what an operation has raised that is no error of a socket: a mistake in this
        emulation, which would otherwise end its thread, and be waited for."""
        with LOCK:
            if not self._queue:
                KERNEL.advance()  # what could be done by now is done: this kernel is never behind
            if not self._queue and timeout:
                self._arrival.wait_for(lambda: self._queue, None if timeout < 0 else timeout / 1000)
            if not self._queue:
                return WAIT_TIMEOUT, 0, 0, None
            code, nbytes, key, event, handle, operation = self._queue.popleft()
            if handle is not None and operation is not None:
                handle.hand_out(operation)
                if operation.mistake is not None:
                    raise operation.mistake
            return code, nbytes, key, event


class Kernel:
    """All handles, and the thread that waits until something can be done for one."""

    def __init__(self) -> None:
        self.faults = Faults()
        self.forget()

    def forget(self) -> None:
        """Begins anew, with no handles."""
        self.thread: threading.Thread | None = None
        self._handles: dict[int, Handle] = {}
        self._watched: set[Handle] = set()
        self._epoll: select.epoll | None = None
        self._wake = -1

    def known(self, descriptor: int) -> Handle | None:
        """The handle with this descriptor, if there is one and it is still the same socket."""
        handle = self._handles.get(descriptor)
        if handle is not None and os.fstat(descriptor).st_ino != handle.inode:
            self.closed(descriptor)  # nobody said so: closed by its number, or with its socket object
            return None
        return handle

    def handle(self, descriptor: int) -> Handle:
        """The handle with this descriptor, a new one if need be. Raises OSError for what is no open socket."""
        handle = self.known(descriptor)
        if handle is None:
            handle = self._handles[descriptor] = Handle(descriptor, os.fstat(descriptor).st_ino)
        return handle

    def closed(self, descriptor: int) -> None:
        """The socket is about to be closed: what is pending is cancelled, and completes in order."""
        handle = self._handles.pop(descriptor, None)
        if handle is None:
            return
        for queue in handle.receiving, handle.sending:
            while queue:
                operation = queue.popleft()
                handle.complete(operation, operation.close_code)
        self._watch(handle)

    def submit(self, handle: Handle, queue: deque[Operation], operation: Operation) -> int:
        """Does the operation now, or leaves it pending: 0, 997, or the error of a call that failed. In either of the
        first two cases there will be a completion."""
        if not queue and not self.faults.never_at_once:
            try:
                if operation.attempt(operation):
                    handle.complete(operation, operation.code)
                    return ERROR_IO_PENDING if operation.code else 0
            except OSError as error:
                handle.note(error)
                handle.hand_out(operation)
                return at_once(error)
        self.pend(handle, queue, operation)
        return ERROR_IO_PENDING

    def pend(self, handle: Handle, queue: deque[Operation], operation: Operation) -> None:
        """Leaves the operation to the thread."""
        queue.append(operation)
        self._watch(handle)

    def advance(self) -> None:
        """Does what can be done, without waiting."""
        with LOCK:
            if self._epoll is not None:
                self._serve(self._epoll.poll(0))

    def _serve(self, ready: list[tuple[int, int]]) -> None:
        for descriptor, events in ready:
            handle = self._handles.get(descriptor)
            if handle is None or handle not in self._watched:
                continue  # closed since, or the wake-up of the thread
            for queue in handle.receiving, handle.sending:
                while queue and events & (queue[0].wants | select.EPOLLERR | select.EPOLLHUP):
                    operation = queue[0]
                    try:
                        if not operation.attempt(operation):
                            break
                        code = operation.code
                    except OSError as error:
                        handle.note(error)
                        code = later(error)
                    except Exception as error:
                        if handle.port is None:
                            raise  # there is nobody to tell
                        operation.mistake, code = error, 0
                    queue.popleft()
                    handle.complete(operation, code)
            if handle.fin_due and not handle.sending:
                handle.fin_due = False
                with handle.borrowed() as plain, contextlib.suppress(OSError):  # broken meanwhile
                    plain.shutdown(socket.SHUT_WR)
            self._watch(handle)

    def _watch(self, handle: Handle) -> None:
        """epoll waits for what the first of each queue wants."""
        wanted = 0
        for queue in handle.receiving, handle.sending:
            wanted |= queue[0].wants if queue else 0
        if wanted == handle.watched:
            return
        if self._epoll is None:
            self._start()
        assert self._epoll is not None
        if not handle.watched:
            self._epoll.register(handle.descriptor, wanted)
            self._watched.add(handle)
        elif wanted:
            self._epoll.modify(handle.descriptor, wanted)
        else:
            self._watched.discard(handle)
            with contextlib.suppress(OSError):  # closed behind our back: epoll has forgotten it
                self._epoll.unregister(handle.descriptor)
            if not self._watched:
                os.write(self._wake, b"x")  # the thread ends
        handle.watched = wanted

    def _start(self) -> None:
        self._epoll = select.epoll()
        sleeper, self._wake = os.pipe()
        self._epoll.register(sleeper, select.EPOLLIN)
        self.thread = threading.Thread(
            target=self._run, args=(self._epoll, sleeper, self._wake), name="completion ports", daemon=True
        )
        self.thread.start()

    def _run(self, epoll: select.epoll, sleeper: int, wake: int) -> None:
        while True:
            ready = epoll.poll()
            with LOCK:
                self._serve(ready)
                if any(descriptor == sleeper for descriptor, _ in ready):
                    os.read(sleeper, select.PIPE_BUF)
                if not self._watched:
                    self._epoll = self.thread = None
                    epoll.close()
                    os.close(sleeper)
                    os.close(wake)
                    return


KERNEL = Kernel()


def _forget() -> None:
    """A child process that was forked has none of the threads, and nothing that is pending is its own."""
    KERNEL.forget()
    LOCK.release()


os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=_forget)
