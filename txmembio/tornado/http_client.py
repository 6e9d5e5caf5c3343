"""Tornado's `SimpleAsyncHTTPClient`, with TLS in memory, and through proxies.

tornado.httpclient.AsyncHTTPClient.configure("txmembio.tornado.AsyncHTTPClient")    # for a whole program
client = txmembio.tornado.AsyncHTTPClient()                                         # for those who ask for it
"""

from __future__ import annotations

import asyncio
import base64
from typing import Any, ClassVar
from weakref import WeakKeyDictionary

import tornado.httpclient
import tornado.tcpclient
from tornado import httputil, simple_httpclient
from tornado.httpclient import HTTPClientError
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError

from .. import CERT_NONE, SSLContext, SSLEOFError
from ..session_cache import SessionCache
from ..session_cache import sessions as common_sessions
from .client import TCPClient, where
from .options import context_for
from .sessions import Resuming

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
        self.tcp_client = _Route(self.tcp_client, self.request)
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


class _Route(TCPClient):
    """Connects for one request: directly, or through its proxy. It takes the place of *before*, and closes it."""

    def __init__(self, before: tornado.tcpclient.TCPClient, request: Any) -> None:
        sessions = before.sessions if isinstance(before, TCPClient) else common_sessions
        super().__init__(before.resolver, sessions=sessions)
        self._before = before
        self._request = request

    def close(self) -> None:
        self._before.close()

    async def connect(self, host: str, port: int, *args: Any, **options: Any) -> IOStream:
        # Before 6.6, Tornado tells nobody here how long to wait.
        both = filter(None, (self._request.connect_timeout, self._request.request_timeout))
        options["timeout"] = options.get("timeout") or min(both, default=None)
        if not self._request.proxy_host:
            return await super().connect(host, port, *args, **options)
        timeout = options.pop("timeout")
        try:
            return await asyncio.wait_for(self._tunnel(host, port, *args, **options), timeout)
        except asyncio.TimeoutError:
            raise asyncio.TimeoutError(
                f"Timeout while connecting to {_where(host, port)} through {self._proxy}"
            ) from None

    @property
    def _proxy(self) -> str:
        return f"the proxy {_where(self._request.proxy_host, self._request.proxy_port)}"

    async def _tunnel(
        self, host: str, port: int, *args: Any, ssl_options: SSLContext | None, **options: Any
    ) -> IOStream:
        request = self._request
        if not isinstance(request.proxy_port, int):
            raise ValueError(f"proxy_port is {request.proxy_port!r}: expected the port of {request.proxy_host}")
        if request.proxy_auth_mode not in (None, "basic"):
            raise ValueError(f"proxy_auth_mode is {request.proxy_auth_mode!r}: expected 'basic'")
        stream = await super().connect(request.proxy_host, request.proxy_port, *args, **options)
        try:
            await self._ask(stream, _where(host, port))
            if ssl_options is None:
                return stream
            resuming = None if self.sessions is None else Resuming(self.sessions, port)
            start_tls: Any = stream.start_tls
            handshake = start_tls(False, ssl_options, server_hostname=host, watcher=resuming)
        except BaseException:
            stream.close()
            raise
        # From here on there is another stream, which is closed if this fails or nobody waits for it any more.
        wrapped: IOStream = await handshake
        return wrapped

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


def _where(host: str, port: int) -> str:
    """As in a CONNECT request. Raises ValueError for what would be more than a host there."""
    name = host if host.isascii() else host.encode("idna").decode()
    if not name.isprintable() or " " in name:
        raise ValueError(f"host is {host!r}: expected a name or an address")
    return where(name, port)
