"""The functions of `twisted_iocpsupport.iocpsupport`: each stands for one call of Windows.

A socket is named by its descriptor, as there. The order of arguments and the shape of results are that module's; codes
are those of `support.iocp.winsock`. A transfer returns (code, bytes): 0 if it is done, 997 if it is pending, and there
will be a completion in both cases; else an error, and there will be none.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import socket
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import cffi

from support.iocp.addresses import SIZES, Address, family_of, numeric, pack, unpack
from support.iocp.kernel import KERNEL, LOCK, CompletionPort, Handle, Operation
from support.iocp.winsock import (
    ERROR_IO_PENDING,
    ERROR_MORE_DATA,
    ERROR_PORT_UNREACHABLE,
    WSAEADDRNOTAVAIL,
    WSAECONNRESET,
    WSAEINVAL,
    WSAEISCONN,
    WSAESHUTDOWN,
    at_once,
    later,
)

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer, WriteableBuffer

__all__ = [
    "CompletionPort",
    "Event",
    "accept",
    "connect",
    "get_accept_addrs",
    "have_connectex",
    "makesockaddr",
    "maxAddrLen",
    "recv",
    "recvfrom",
    "send",
]

#: Windows has had ConnectEx since XP.
have_connectex = True

#: Bytes that AcceptEx wants for each of its two addresses beyond the longest address.
ACCEPT_PADDING = 16

_ffi = cffi.FFI()


class Event:
    """What a completion belongs to. Twisted hangs more attributes on it."""

    def __init__(self, callback: Callable[..., object], owner: object, **more: object) -> None:
        self.callback = callback
        self.owner = owner
        self.__dict__.update(more)


def recv(s: int, bufflist: Sequence[WriteableBuffer], obj: object, flags: int = 0) -> tuple[int, int]:
    """WSARecv: what there is, into the buffers in turn. Of no bytes: completes when there is something."""
    with LOCK:
        try:
            handle = KERNEL.handle(s)
        except OSError as error:
            return at_once(error), 0
        unfit = WSAESHUTDOWN if handle.receive_shut else _unfit(handle)
        if unfit:
            return unfit, 0
        views = tuple(_view(buffer) for buffer in bufflist)
        into = _first(views, KERNEL.faults.max_receive)

        def attempt(operation: Operation) -> bool:
            if handle.reset:
                raise ConnectionResetError(errno.ECONNRESET, os.strerror(errno.ECONNRESET))
            with handle.borrowed() as plain:
                try:
                    if any(into):
                        operation.transferred = plain.recvmsg_into(into, 0, socket.MSG_DONTWAIT)[0]
                    else:
                        plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return False
            return True

        operation = Operation(obj, attempt, select.EPOLLIN, (*into, *views), KERNEL.faults.close_code)
        _own(handle, operation)
        return KERNEL.submit(handle, handle.receiving, operation), operation.transferred


def send(s: int, buff: ReadableBuffer, obj: object, flags: int = 0) -> tuple[int, int]:
    """WSASend: done when all of it was taken."""
    with LOCK:
        try:
            handle = KERNEL.handle(s)
        except OSError as error:
            return at_once(error), 0
        unfit = WSAESHUTDOWN if handle.send_shut else _unfit(handle)
        if unfit:
            return unfit, 0
        view = memoryview(buff).cast("B")
        limit = min(len(view), KERNEL.faults.max_send or len(view))

        def attempt(operation: Operation) -> bool:
            with handle.borrowed() as plain:
                while operation.transferred < limit:
                    try:
                        operation.transferred += plain.send(
                            view[operation.transferred : limit], socket.MSG_DONTWAIT | socket.MSG_NOSIGNAL
                        )
                    except BlockingIOError:
                        return False
            return True

        operation = Operation(obj, attempt, select.EPOLLOUT, (view,), KERNEL.faults.close_code)
        return KERNEL.submit(handle, handle.sending, operation), operation.transferred


def recvfrom(
    s: int,
    buff: WriteableBuffer,
    addr_buff: WriteableBuffer,
    addr_len_buff: WriteableBuffer,
    obj: object,
    flags: int = 0,
) -> tuple[int, int]:
    """WSARecvFrom: a datagram, and where it is from. One that does not fit is cut, and completes with 234. What says
    that nobody was there for one that was sent completes with 1234."""
    with LOCK:
        try:
            handle = KERNEL.handle(s)
        except OSError as error:
            return at_once(error), 0
        with handle.borrowed() as plain:
            if plain.getsockname()[1] == 0:
                return WSAEINVAL, 0  # has no address yet
        into, address, length = _view(buff), _view(addr_buff), _view(addr_len_buff)
        if len(length) != struct.calcsize("i"):
            raise ValueError(f"addr_len_buff has {len(length)} bytes: expected the size of an int")

        def attempt(operation: Operation) -> bool:
            with handle.borrowed() as plain:
                try:
                    operation.transferred, _, said, peer = plain.recvmsg_into([into], 0, socket.MSG_DONTWAIT)
                except BlockingIOError:
                    return False
                except ConnectionRefusedError:  # by ICMP, of what was sent
                    operation.code = ERROR_PORT_UNREACHABLE
                    return True
            packed = pack(peer, handle.family)
            address[: len(packed)] = packed
            length[:] = struct.pack("i", len(packed))
            if said & socket.MSG_TRUNC:
                operation.code = ERROR_MORE_DATA
            return True

        operation = Operation(obj, attempt, select.EPOLLIN, (into, address, length), KERNEL.faults.close_code)
        _own(handle, operation)
        return KERNEL.submit(handle, handle.receiving, operation), operation.transferred


def accept(listening: int, accepting: int, buff: WriteableBuffer, obj: object) -> int:
    """AcceptEx: makes the socket `accepting` the next connection. 0 also if that is pending."""
    with LOCK:
        try:
            listener, accepted = KERNEL.handle(listening), KERNEL.handle(accepting)
        except OSError as error:
            return at_once(error)
        with listener.borrowed() as plain:
            if not plain.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                return WSAEINVAL
        view = _view(buff)
        half = len(view) // 2
        longest = SIZES[listener.family] + ACCEPT_PADDING
        if half < longest:
            raise ValueError(f"buff has {len(view)} bytes: expected twice {longest}")
        accepted.context_due = True

        def attempt(operation: Operation) -> bool:
            if KERNEL.known(accepting) is not accepted:
                raise OSError(errno.ECANCELED, "the socket to accept with was closed")
            with listener.borrowed() as plain, _non_blocking(listening):
                try:
                    descriptor, peer = plain._accept()  # type: ignore[attr-defined] # accept() without its object
                except BlockingIOError:
                    return False
            os.dup2(descriptor, accepting, inheritable=False)
            os.close(descriptor)
            accepted.inode = os.fstat(accepting).st_ino
            accepted.connected = True
            with accepted.borrowed() as plain:
                local = pack(plain.getsockname(), accepted.family)
            remote = pack(peer, accepted.family)
            view[: len(local)] = local
            view[half : half + len(remote)] = remote
            return True

        operation = Operation(obj, attempt, select.EPOLLIN, (view,))
        _own(listener, operation)
        code = KERNEL.submit(listener, listener.receiving, operation)
        return 0 if code == ERROR_IO_PENDING else code


def get_accept_addrs(s: int, buff: ReadableBuffer) -> tuple[int, tuple[str, int] | None, tuple[str, int] | None]:
    """GetAcceptExSockaddrs: (family, local address, remote address) that an accept has left in its buffer."""
    view = memoryview(buff).cast("B")
    half = len(view) // 2
    return family_of(view[half:]), makesockaddr(view[:half]), makesockaddr(view[half:])


def connect(s: int, addr: Address, obj: object) -> int:
    """ConnectEx, of a socket that is bound. 0 also if it is pending, as it always is. Raises ValueError for a name."""
    with LOCK:
        try:
            handle = KERNEL.handle(s)
        except OSError as error:
            return at_once(error)
        address = numeric(addr, handle.family)
        if handle.is_connected():
            return WSAEISCONN
        with handle.borrowed() as plain:
            if plain.getsockname()[1] == 0:
                return WSAEINVAL
            if address[1] == 0 or address[0] in ("0.0.0.0", "::"):
                return WSAEADDRNOTAVAIL  # Linux takes such a host for its own
            with _non_blocking(s):
                problem = plain.connect_ex(address)

        def attempt(operation: Operation) -> bool:
            with handle.borrowed() as plain:
                if not _decided(s):
                    return False
                problem = plain.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
            if problem:
                raise OSError(problem, os.strerror(problem))
            handle.connected = True
            return True

        if problem == errno.EADDRNOTAVAIL:
            return WSAEADDRNOTAVAIL
        handle.context_due = True
        operation = Operation(obj, attempt, select.EPOLLOUT)
        if problem in (0, errno.EINPROGRESS):
            KERNEL.pend(handle, handle.sending, operation)
        else:
            handle.complete(operation, later(OSError(problem, os.strerror(problem))))
        return 0


def makesockaddr(buff: ReadableBuffer) -> tuple[str, int] | None:
    """Host and port of the bytes of an address; None of none."""
    view = memoryview(buff).cast("B")
    return unpack(view) if view else None


def maxAddrLen(s: int) -> int:
    """Bytes of an address of the socket's family."""
    with LOCK:
        return SIZES[KERNEL.handle(s).family]


def _view(buffer: WriteableBuffer) -> memoryview:
    """Bytes to write to. The view keeps everybody from resizing the buffer."""
    view = memoryview(buffer).cast("B")
    if view.readonly:
        raise TypeError(f"{type(buffer).__name__} cannot be received into: expected a writable buffer")
    return view


def _first(views: Sequence[memoryview], most: int | None) -> list[memoryview]:
    """The first bytes of some buffers, in as many views."""
    left = sum(map(len, views)) if most is None else most
    first = []
    for view in views:
        first.append(view[:left])
        left -= len(first[-1])
    return first


def _range(view: memoryview) -> tuple[int, int]:
    """Where in memory its bytes are."""
    with _ffi.from_buffer(view) as pointer:
        start = int(_ffi.cast("uintptr_t", pointer))
    return start, start + len(view)


def _own(handle: Handle, operation: Operation) -> None:
    """The buffers are the kernel's until the completion has been handed out. Raises BufferError for what is already."""
    ranges = [_range(view) for view in operation.buffers if view]
    for other in handle.owned:
        for view in filter(None, other.buffers):
            start, end = _range(view)
            if any(start < last and first < end for first, last in ranges):
                operation.release()
                raise BufferError("a receive into this buffer is under way: its completion has not been handed out")
    handle.owned.append(operation)


def _unfit(handle: Handle) -> int:
    """Why a stream can carry nothing: an error of Windows, or 0."""
    if handle.reset:
        return WSAECONNRESET
    if handle.is_connected():
        return 0
    with handle.borrowed() as plain:
        try:
            plain.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except OSError as error:
            handle.note(error)
            return at_once(error)
    return 0


def _decided(descriptor: int) -> bool:
    """Whether a connect has come to its end."""
    poll = select.poll()
    poll.register(descriptor, select.POLLOUT)
    return bool(poll.poll(0))


@contextlib.contextmanager
def _non_blocking(descriptor: int) -> Iterator[None]:
    """A call that knows no flag for it does not wait."""
    blocking = os.get_blocking(descriptor)
    os.set_blocking(descriptor, False)
    try:
        yield
    finally:
        os.set_blocking(descriptor, blocking)
