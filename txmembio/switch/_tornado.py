"""`install("tornado")`: Tornado's streams, servers and clients become ours.

What Tornado's classes make is changed, and not what their names stand for, so that it does not matter who has imported
a class, or made a subclass of it, and when:

    tornado.iostream.SSLIOStream(...)      is a TLSStream; subclasses of it stay what they are
    tornado.iostream.IOStream.start_tls    makes one
    TCPServer, HTTPServer, TCPClient, SimpleAsyncHTTPClient, and their subclasses, have ours among their bases

Tornado's applications make contexts with `ssl`. What those are told is noted from now on (_contexts.py), and sockets
that they wrap are not handed to OpenSSL before it is certain that no stream will be made of them (_sockets.py).
"""

from __future__ import annotations

from abc import ABCMeta
from collections.abc import Callable
from contextlib import ExitStack
from functools import wraps
from importlib.util import find_spec
from threading import RLock
from typing import Any

from txmembio import InstallError

__all__ = ["applied", "apply", "check"]

OLDEST = (6, 2)
"""The first version of Tornado whose streams work the way that ours rely on."""

_applied = False


def applied() -> bool:
    """Whether it is done."""
    return _applied


def check() -> None:
    """Raises InstallError where there is no Tornado."""
    if find_spec("tornado") is None:
        raise InstallError("'tornado' cannot be installed: there is no Tornado here; pip install 'txmembio[tornado]'")


def apply() -> Callable[[], None]:
    """Does it; returns what undoes it. Raises InstallError for a Tornado that is too old."""
    global _applied
    import tornado

    if tornado.version_info < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise InstallError(f"'tornado' cannot be installed: Tornado is {tornado.version}, expected {oldest} or newer")
    with ExitStack() as stack:
        _replace(stack.callback)
        undoing = stack.pop_all()
    _applied = True

    def undo() -> None:
        global _applied
        _applied = False
        undoing.close()

    return undo


def _replace(undoing: Callable[..., object]) -> None:
    """Does all of it; `undoing` is told of what undoes each part."""
    from tornado.httpserver import HTTPServer
    from tornado.iostream import IOStream, SSLIOStream
    from tornado.simple_httpclient import SimpleAsyncHTTPClient, _HTTPConnection
    from tornado.tcpclient import TCPClient
    from tornado.tcpserver import TCPServer

    import txmembio.tornado
    from txmembio.tornado import http_client, options, wrapping

    from . import _contexts, _sockets

    def put(owner: Any, name: str, value: Any) -> None:
        undoing(setattr, owner, name, vars(owner)[name])
        setattr(owner, name, value)

    undoing(_contexts.record())
    undoing(_sockets.defer())
    put(options, "standard_contexts", _contexts.ours)
    adopted = _adopted_stream()

    def __new__(cls: type, *args: Any, **kwargs: Any) -> Any:
        return object.__new__(adopted if cls is SSLIOStream else cls)

    # Removing it again would leave a class that takes no arguments.
    undoing(setattr, SSLIOStream, "__new__", staticmethod(_plain_new))
    SSLIOStream.__new__ = staticmethod(__new__)  # type: ignore[method-assign]
    put(IOStream, "start_tls", _with_signature_of(IOStream.start_tls, wrapping.start_tls))
    put(_HTTPConnection, "_get_ssl_options", http_client.HTTPConnection._get_ssl_options)
    for stock, name, ours in (
        (TCPServer, "__init__", txmembio.tornado.TCPServer),
        (HTTPServer, "initialize", txmembio.tornado.HTTPServer),
        (TCPClient, "__init__", txmembio.tornado.TCPClient),
        (SimpleAsyncHTTPClient, "initialize", txmembio.tornado.AsyncHTTPClient),
    ):
        put(stock, name, _as_one_of_ours(vars(stock)[name], stock, ours))


def _with_signature_of(theirs: Callable[..., Any], function: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(theirs)
    def method(self: Any, *args: Any, **kwargs: Any) -> Any:
        return function(self, *args, **kwargs)

    return method


def _adopted_stream() -> type:
    """The class of streams that are made as `SSLIOStream`s."""
    import ssl

    from txmembio.tornado import TLSStream

    from . import _contexts, _sockets

    class AdoptedStream(TLSStream):
        """A `TLSStream` that may be given a standard socket as well, as `SSLIOStream` is."""

        __slots__ = ()

        def __init__(self, socket: Any, *args: Any, **kwargs: Any) -> None:
            if not isinstance(socket, ssl.SSLSocket):
                super().__init__(socket, *args, **kwargs)
                return
            kwargs["ssl_options"] = _contexts.ours(socket.context)
            kwargs["server_side"], kwargs["server_hostname"] = socket.server_side, socket.server_hostname
            plain = _sockets.taken(socket)
            try:
                super().__init__(plain, *args, **kwargs)
            except BaseException:
                plain.close()
                raise

    return AdoptedStream


def _plain_new(cls: type, *args: Any, **kwargs: Any) -> Any:
    return object.__new__(cls)


def _as_one_of_ours(theirs: Callable[..., None], stock: type, ours: type) -> Callable[..., None]:
    """What `theirs`, the method that initializes objects of `stock`, is instead."""
    with_base = _with_base(stock, ours)

    @wraps(theirs)
    def initialize(self: Any, *args: Any, **kwargs: Any) -> None:
        if isinstance(self, ours):
            theirs(self, *args, **kwargs)
            return
        kind = type(self)
        self.__class__ = ours if kind is stock else with_base(kind)
        vars(ours)[theirs.__name__](self, *args, **kwargs)

    return initialize


def _with_base(stock: type, ours: type) -> Callable[[type], type]:
    """What returns, for each subclass of `stock`, the class with `ours` between it and what both come from.

    That is kept in the subclass, so that they go together. And it is nothing that the program has written: neither its
    metaclass nor an `__init_subclass__` is to learn of it, who may keep lists, or want arguments.
    """
    place = f"_txmembio_{ours.__name__}"
    lock = RLock()

    def ignore(cls: type) -> None:
        """What `__init_subclass__` does."""

    silent = type("Silent", (stock,), {"__init_subclass__": ignore})

    def make(kind: type) -> type:
        details = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
        meta = type(kind)
        maker = ABCMeta if issubclass(meta, ABCMeta) else type
        made: type = maker.__new__(meta, kind.__name__, (silent, kind, ours), details)
        type.__setattr__(made, "__bases__", (kind, ours))
        return made

    def with_base(kind: type) -> type:
        with lock:
            made: type | None = vars(kind).get(place)
            if made is None:
                made = make(kind)
                type.__setattr__(kind, place, made)
            return made

    return with_base
