"""Sockets of the standard library whose TLS has not begun, as plain sockets: what `SSLContext.wrap_socket` makes with
`do_handshake_on_connect=False`, and Tornado then makes a stream of.

An `ssl.SSLSocket` hands its descriptor to OpenSSL when it is made. Those that `defer()` makes do so when TLS is first
used on them, and then are what they would have been. Until then `taken()` can have the descriptor back.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable
from typing import Any

from txmembio import SSLContext

__all__ = ["DeferredSocket", "defer", "taken"]


class _Later:
    """The C part of an SSLSocket, yet to be made."""

    def __init__(self, make: Callable[[], Any]) -> None:
        self.make = make


class DeferredSocket(ssl.SSLSocket):
    """An SSLSocket that OpenSSL knows nothing of yet. To become an SSLSocket it changes its class."""

    @property
    def _sslobj(self) -> Any:
        made = self.__dict__.get("_sslobj")
        if isinstance(made, _Later):
            made = made.make()
            self._sslobj = made
            self.__class__ = ssl.SSLSocket  # type: ignore[assignment]  # without this property
        return made

    @_sslobj.setter
    def _sslobj(self, value: Any) -> None:
        self.__dict__["_sslobj"] = value


def defer() -> Callable[[], None]:
    """From now on `wrap_socket` makes `DeferredSocket`s. Returns what ends it."""
    kind: Any = ssl.SSLContext
    if issubclass(kind, SSLContext):  # txmembio.ssl is in the place of ssl: there is no OpenSSL on its sockets
        return lambda: None
    wrap, before = kind._wrap_socket, kind.sslsocket_class

    def _wrap_socket(self: ssl.SSLContext, sock: socket.socket, *args: Any, **kwargs: Any) -> Any:
        if type(sock) is DeferredSocket:
            return _Later(lambda: wrap(self, sock, *args, **kwargs))
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
