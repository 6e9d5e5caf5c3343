"""Tornado's `SimpleAsyncHTTPClient`, with TLS in memory, and through proxies.

tornado.httpclient.AsyncHTTPClient.configure("txmembio.tornado.AsyncHTTPClient")    # for a whole program
client = txmembio.tornado.AsyncHTTPClient()                                         # for those who ask for it
"""

from __future__ import annotations

import asyncio
import base64
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

import tornado.httpclient
import tornado.tcpclient
from tornado import httputil, simple_httpclient
from tornado.httpclient import HTTPClientError
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

from .. import CERT_NONE, SSLContext, SSLEOFError
from ..session_cache import SessionCache
from ..session_cache import sessions as common_sessions
from .client import TCPClient, handshaken, where
from .options import context_for
from .sessions import Resuming
from .wrapping import PlainStream, start_tls, wrap_stream

if TYPE_CHECKING:
    from tornado.concurrent import Future

__all__ = ["AsyncHTTPClient", "HTTPConnection"]

MAX_PROXY_HEADER = 16384
"""Bytes of the header of a proxy's answer: what browsers and servers allow for, and more than any proxy sends."""

NO_RESPONSE = 599
"""What Tornado has for the code of a response that never came."""


class AsyncHTTPClient(simple_httpclient.SimpleAsyncHTTPClient):
    """Fetches http: and https: URLs. All of `SimpleAsyncHTTPClient`, and `proxy_host`, by tunnels (RFC 9110 section
    9.3.6) to any URL.

    A request's `ssl_options` is a `txmembio.SSLContext`, a dict or True; left out, `ca_certs`, `client_cert`,
    `client_key` and `validate_cert` say what it is made of. Equal requests share a context, and so TLS sessions.

    :param sessions: as for our `TCPClient`; the others are those of `SimpleAsyncHTTPClient`.
    """

    _clients: ClassVar[WeakKeyDictionary[IOLoop, tornado.httpclient.AsyncHTTPClient]]

    @classmethod
    def _async_clients(cls) -> Any:
        # Tornado keeps the clients of a class in an attribute that has the class's name in it, and finds it on base
        # classes as well: on its own AsyncHTTPClient, whose clients are not ours.
        if "_clients" not in vars(cls):
            cls._clients = WeakKeyDictionary()
        return cls._clients

    def initialize(self, *args: Any, sessions: SessionCache | None = common_sessions, **kwargs: Any) -> None:
        """As the constructor."""
        super().initialize(*args, **kwargs)
        self.tcp_client = TCPClient(self.resolver, sessions=sessions)

    def _connection_class(self) -> type:
        return HTTPConnection


class HTTPConnection(simple_httpclient._HTTPConnection):
    """One request; a WebSocket begins with one, too. It only differs in how it gets its stream."""

    async def run(self) -> None:
        """Connect, send the request and read the response."""
        self.tcp_client = _Route(self.tcp_client, self.request)  # type: ignore[assignment]  # all that Tornado asks of it
        if self.request.proxy_host:
            self.request = _WithoutProxy(self.request)  # type: ignore[assignment]  # as it is typed in Tornado
        try:
            await super().run()
        except asyncio.TimeoutError:
            if self.final_callback is not None:  # before 6.6, Tornado has a timer of its own, which has told it
                raise

    def finish(self) -> None:
        """The response is complete; or so it seems, if nothing but the end of the wire says so."""
        error = self.stream.error
        if isinstance(error, SSLEOFError) and self._ends_with_the_wire() and not self._should_follow_redirect():
            self._handle_exception(type(error), error, None)
            return
        super().finish()

    def _ends_with_the_wire(self) -> bool:
        """Whether this is a response of which everybody on the way can cut off the end (RFC 9112 section 6.3)."""
        assert self.headers is not None
        framed = "Content-Length" in self.headers or "Transfer-Encoding" in self.headers
        return not framed and self.request.method != "HEAD" and self.code not in (204, 304)

    def _get_ssl_options(self, scheme: str) -> Any:
        request = self.request
        if scheme != "https":
            return None
        if request.ssl_options is not None:
            return context_for(request.ssl_options, False, "the request's ssl_options")
        options = {
            "ca_certs": request.ca_certs,
            "certfile": request.client_cert,
            "keyfile": request.client_key,
            "cert_reqs": None if request.validate_cert else CERT_NONE,
        }
        return context_for(options, False, "the request's options")


class _WithoutProxy(tornado.httpclient._RequestProxy):
    """A request whose proxy has been seen to. A redirect makes a new request from the one that is inside, which still
    has its proxy."""

    def __init__(self, request: Any) -> None:
        vars(self).update(vars(request))

    def __getattr__(self, name: str) -> Any:
        return None if name.startswith("proxy_") else super().__getattr__(name)


class _Route:
    """Connects for one request: directly, or through its proxy. It takes the place of *before*, and closes it.

    All connections, the proxy's too, are those that *before* makes: an application's own may have a say in where they
    go, or how they get there. If it is none of ours, it knows nothing about our contexts, so that TLS is seen to here.
    """

    def __init__(self, before: tornado.tcpclient.TCPClient, request: Any) -> None:
        self._before = before
        # Tornado's own, which a WebSocket makes for itself, has no say in anything.
        self._client = TCPClient(before.resolver) if type(before) is tornado.tcpclient.TCPClient else before
        self._sessions = self._client.sessions if isinstance(self._client, TCPClient) else common_sessions
        self._request = request

    def close(self) -> None:
        self._before.close()

    async def connect(self, host: str, port: int, *, ssl_options: SSLContext | None = None, **options: Any) -> IOStream:
        """As `TCPClient.connect`, with what Tornado tells it."""
        # Before 6.6, Tornado tells nobody here how long to wait.
        both = filter(None, (self._request.connect_timeout, self._request.request_timeout))
        timeout = options.get("timeout") or min(both, default=None)
        if self._request.proxy_host:
            options.pop("timeout", None)
            try:
                return await asyncio.wait_for(self._tunnel(host, port, ssl_options, options), timeout)
            except asyncio.TimeoutError:
                raise asyncio.TimeoutError(
                    f"Timeout while connecting to {_where(host, port)} through {self._proxy}"
                ) from None
        began = asyncio.get_running_loop().time()
        if isinstance(self._client, TCPClient):
            options.update(ssl_options=ssl_options, timeout=timeout)
            stream = await self._client.connect(host, port, **options)
        else:
            _check(ssl_options, host)
            stream = await self._client.connect(host, port, ssl_options=None, **options)
        # A subclass of ours has done TLS itself, unless it has not.
        if ssl_options is None or (isinstance(self._client, TCPClient) and not _is_plain(stream)):
            return stream
        if timeout is not None:
            timeout -= asyncio.get_running_loop().time() - began
        try:
            return await handshaken(self._start_tls(stream, host, port, ssl_options), timeout)
        except asyncio.TimeoutError as error:
            raise asyncio.TimeoutError(
                str(error) or f"Timeout during TLS handshake with {_where(host, port)}"
            ) from None

    @property
    def _proxy(self) -> str:
        return f"the proxy {_where(self._request.proxy_host, self._request.proxy_port)}"

    async def _tunnel(self, host: str, port: int, ssl_options: SSLContext | None, options: dict[str, Any]) -> IOStream:
        request = self._request
        if not isinstance(request.proxy_port, int):
            raise ValueError(f"proxy_port is {request.proxy_port!r}: expected the port of {request.proxy_host}")
        if request.proxy_auth_mode not in (None, "basic"):
            raise ValueError(f"proxy_auth_mode is {request.proxy_auth_mode!r}: expected 'basic'")
        _check(ssl_options, host)
        stream = await self._client.connect(request.proxy_host, request.proxy_port, ssl_options=None, **options)
        try:
            await self._ask(stream, _where(host, port))
        except BaseException:
            stream.close()
            raise
        return stream if ssl_options is None else await handshaken(self._start_tls(stream, host, port, ssl_options))

    def _start_tls(self, stream: IOStream, host: str, port: int, context: SSLContext) -> Future[SSLIOStream]:
        """TLS on whatever stream the client has made. It is closed with the one that the Future is for."""
        resuming = None if self._sessions is None else Resuming(self._sessions, port)
        try:
            if _is_plain(stream):
                return start_tls(stream, False, context, host, watcher=resuming)
            # What another one does with the bytes, or when it is closed, has to be done from now on as well.
            size = stream.max_buffer_size
            return wrap_stream(stream, context, False, host, watcher=resuming, max_buffer_size=size)
        except BaseException:
            stream.close()
            raise

    async def _ask(self, stream: IOStream, target: str) -> None:
        request = self._request
        lines = [f"CONNECT {target} HTTP/1.1", f"Host: {target}"]
        if request.proxy_username is not None:
            credentials = httputil.encode_username_password(request.proxy_username, request.proxy_password or "")
            lines.append(f"Proxy-Authorization: Basic {base64.b64encode(credentials).decode()}")
        failed = f"{self._proxy} did not connect to {target}"
        try:
            # Not waiting for this: a proxy may answer, and close, before it has read all.
            answer = stream.read_until(b"\r\n\r\n", max_bytes=MAX_PROXY_HEADER)
            await stream.write("\r\n".join([*lines, "", ""]).encode())
            header = await answer
        except StreamClosedError as error:
            raise HTTPClientError(NO_RESPONSE, f"{failed}: {error.real_error or 'it closed the connection'}") from error
        try:
            status = httputil.parse_response_start_line(header.split(b"\r\n", 1)[0].decode("latin-1"))
        except httputil.HTTPInputError as error:
            raise HTTPClientError(NO_RESPONSE, f"{failed}: its answer is no HTTP: {header[:64]!r}") from error
        if not 200 <= status.code < 300:
            raise HTTPClientError(NO_RESPONSE, f"{failed}: it answered {status.code} {status.reason}")


def _check(ssl_options: Any, host: str) -> None:
    """Raises what is wrong with these, before anything is connected."""
    if ssl_options is not None:
        context_for(ssl_options, server_side=False).connection(server_hostname=host)


def _is_plain(stream: IOStream) -> bool:
    """Whether there is a socket in it, and nothing between the two."""
    return type(stream) is IOStream or isinstance(stream, PlainStream)


def _where(host: str, port: int) -> str:
    """As in a CONNECT request. Raises ValueError for what would be more than a host there."""
    name = host if host.isascii() else host.encode("idna").decode()
    if not name.isprintable() or " " in name:
        raise ValueError(f"host is {host!r}: expected a name or an address")
    return where(name, port)
