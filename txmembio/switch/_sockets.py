"""Sockets of the standard library whose TLS has not begun, as plain sockets: what `SSLContext.wrap_socket` makes with
`do_handshake_on_connect=False`, and Tornado then makes a stream of.

An `ssl.SSLSocket` hands its descriptor to OpenSSL when it is made. Those that `defer()` makes do so when TLS is first
used on them, and then are what they would have been. Until then `taken()` can have the descriptor back.
"""

from __future__ import annotations

import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from txmembio import SSLContext

__all__ = ["DeferredSocket", "defer", "taken"]


class _Later:
    """The C part of an SSLSocket, yet to be made: by one thread, though several may use the socket."""

    def __init__(self, make: Callable[[DeferredSocket], Any]) -> None:
        self.make = make
        self.lock = threading.RLock()  # a signal's handler may use the socket as well


class DeferredSocket(ssl.SSLSocket):
    """An SSLSocket that OpenSSL knows nothing of yet. To become an SSLSocket it changes its class."""

    @property
    def _sslobj(self) -> Any:
        later = self.__dict__.get("_sslobj")
        if not isinstance(later, _Later):
            return later
        with later.lock:
            if self.__dict__["_sslobj"] is later:
                made = later.make(self)
                if self.__dict__["_sslobj"] is later:
                    self.__dict__["_sslobj"] = made
                    self.__class__ = ssl.SSLSocket  # type: ignore[assignment]  # without this property
            return self.__dict__["_sslobj"]

    @_sslobj.setter
    def _sslobj(self, value: Any) -> None:
        later = self.__dict__.get("_sslobj")
        if not isinstance(later, _Later):
            self.__dict__["_sslobj"] = value
            return
        with later.lock:  # what is set while another thread makes it, None by close(), is not to be lost
            self.__dict__["_sslobj"] = value


def defer() -> Callable[[], None]:
    """From now on `wrap_socket` makes `DeferredSocket`s. Returns what ends it."""
    kind: Any = ssl.SSLContext
    if issubclass(kind, SSLContext):  # txmembio.ssl is in the place of ssl: there is no OpenSSL on its sockets
        return lambda: None
    wrap, before = kind._wrap_socket, kind.sslsocket_class

    def _wrap_socket(self: ssl.SSLContext, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        if type(sock) is DeferredSocket:
            # Nothing of it holds the socket itself, which goes as soon as nobody else does.
            others = {name: value for name, value in kwargs.items() if name != "owner"}
            return _Later(lambda sock: wrap(self, sock, *args, owner=sock, **others))
        return wrap(self, sock, *args, **kwargs)

    kind._wrap_socket = _wrap_socket
    kind.sslsocket_class = DeferredSocket

    def undo() -> None:
        del kind._wrap_socket  # it was inherited
        kind.sslsocket_class = before

    return undo


def taken(sock: ssl.SSLSocket) -> socket.socket:
    """The plain socket that `sock` was made of; `sock` is closed then. Raises ValueError if TLS has begun on it."""
    if not isinstance(sock, DeferredSocket) and sock.version() is not None:
        raise ValueError(f"{sock!r} has completed a handshake, which txmembio cannot go on with")
    timeout = sock.gettimeout()
    plain = socket.socket(sock.family, sock.type, sock.proto, fileno=sock.detach())
    plain.settimeout(timeout)
    return plain
