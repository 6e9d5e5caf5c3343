"""What Windows has around the module: the effect of `closesocket()` on what is pending, names in `errno`, and modules
that Twisted imports there.
"""

from __future__ import annotations

import _socket
import errno
import socket
import sys
import types
from collections.abc import Callable
from typing import Any

from support.iocp import calls
from support.iocp.kernel import KERNEL, LOCK
from support.iocp.winsock import (
    ERRNO_NAMES,
    SO_UPDATE_ACCEPT_CONTEXT,
    SO_UPDATE_CONNECT_CONTEXT,
    WSAECONNREFUSED,
    WSAENETUNREACH,
    WSAENOTCONN,
)

#: Modules of pywin32 that Twisted's IOCP reactor imports, for processes and consoles.
PYWIN32 = (
    "pywintypes",
    "win32api",
    "win32con",
    "win32event",
    "win32file",
    "win32gui",
    "win32pipe",
    "win32process",
    "win32security",
)

_real_close = socket.socket._real_close  # type: ignore[attr-defined] # what close() ends in


def _close(self: socket.socket, *arguments: Any) -> None:
    with LOCK:
        KERNEL.closed(self.fileno())
        _real_close(self, *arguments)


def _shutdown(self: socket.socket, how: int, /) -> None:
    with LOCK:
        handle = KERNEL.known(self.fileno())
        if handle is not None:
            if handle.context_due:
                raise OSError(WSAENOTCONN, "not connected, as far as Windows knows")
            handle.send_shut |= how in (socket.SHUT_WR, socket.SHUT_RDWR)
            handle.receive_shut |= how in (socket.SHUT_RD, socket.SHUT_RDWR)
            if handle.sending and how == socket.SHUT_WR:
                handle.fin_due = True
                return
        _socket.socket.shutdown(self, how)


def _setsockopt(self: socket.socket, level: int, option: int, /, *value: Any) -> None:
    if level != socket.SOL_SOCKET or option not in (SO_UPDATE_ACCEPT_CONTEXT, SO_UPDATE_CONNECT_CONTEXT):
        _socket.socket.setsockopt(self, level, option, *value)
        return
    with LOCK:
        handle = KERNEL.known(self.fileno())
        if handle is None or not handle.connected:
            raise OSError(WSAENOTCONN, "not connected")
        handle.context_due = False


def _bind(self: socket.socket, address: Any, /) -> None:
    """A connection of the past, in TIME_WAIT, does not keep a port on Windows. On Linux both of the two must have been
    of that opinion: the one of the past has it from its listener."""
    with LOCK:
        handle = KERNEL.known(self.fileno())
    if handle is None or handle.type != socket.SOCK_STREAM:
        _socket.socket.bind(self, address)
        return
    reuse = self.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)
    self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _socket.socket.bind(self, address)
    self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, reuse)


def _listen(self: socket.socket, /, *backlog: int) -> None:
    with LOCK:
        if KERNEL.known(self.fileno()) is not None:
            self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # see _bind
    _socket.socket.listen(self, *backlog)


def _getpeername(self: socket.socket, /) -> Any:
    with LOCK:
        handle = KERNEL.known(self.fileno())
        if handle is not None and handle.context_due:
            raise OSError(WSAENOTCONN, "not connected, as far as Windows knows")
        return _socket.socket.getpeername(self)


_METHODS: dict[str, Callable[..., Any]] = {
    "_real_close": _close,
    "shutdown": _shutdown,
    "setsockopt": _setsockopt,
    "bind": _bind,
    "listen": _listen,
    "getpeername": _getpeername,
}


def hook() -> None:
    """`socket.socket` tells the kernel what is done to sockets without it. Those it does not know are as ever."""
    for name, method in _METHODS.items():
        setattr(socket.socket, name, method)


def unhook() -> None:
    """Undoes :func:`hook`."""
    for name in _METHODS:
        delattr(socket.socket, name)
    socket.socket._real_close = _real_close  # type: ignore[attr-defined]


def hooked() -> bool:
    """Whether :func:`hook` was called."""
    return vars(socket.socket).get("bind") is _bind


class _Names(types.ModuleType):
    """A module of pywin32, whose names can be imported. They mean nothing."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (Exception,), {})


def install_modules() -> None:
    """Puts the names and the modules in place that Twisted looks for."""
    for name, number in ERRNO_NAMES.items():
        setattr(errno, name, number)
        errno.errorcode[number] = name  # type: ignore[index] # a dict, and Twisted's logs look there
    for name in PYWIN32:
        sys.modules.setdefault(name, _Names(name))
    package = types.ModuleType("twisted_iocpsupport")
    package.__path__ = []
    package.iocpsupport = calls  # type: ignore[attr-defined]
    sys.modules["twisted_iocpsupport"] = package
    sys.modules["twisted_iocpsupport.iocpsupport"] = calls
    if "twisted.internet.error" in sys.modules:  # looked at `errno` already, and found nothing of Windows
        from twisted.internet import error

        error.errnoMapping[WSAECONNREFUSED] = error.ConnectionRefusedError
        error.errnoMapping[WSAENETUNREACH] = error.NoRouteError
