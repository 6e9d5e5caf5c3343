"""`TCPClient` and `AsyncHTTPClient`: who is verified, what is resumed, what goes through a proxy, and that it is always
ours.
"""

from __future__ import annotations

import asyncio
import datetime
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")
import tornado.httpclient
import tornado.tcpclient
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httputil import HTTPHeaders
from tornado.iostream import IOStream
from tornado.netutil import OverrideResolver, Resolver, bind_unix_socket
from tornado.simple_httpclient import HTTPTimeoutError, SimpleAsyncHTTPClient

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import STOCK, on_each_loop
from support.tornado_ends import listening as listener
from support.tornado_site import Lines, Proxy, facts, fetch, listening, request, settled, site
from txmembio.session_cache import SessionCache
from txmembio.switch import _tornado
from txmembio.tornado import AsyncHTTPClient, HTTPServer, TCPClient, TLSStream
from txmembio.tornado.http_client import _Route

#: Seconds, of a time-out that is to happen.
SOON = 0.05


def options(pki: PKI, **more: Any) -> dict[str, Any]:
    """The usual dict of a server, and more."""
    return {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file, **more}


def client(**settings: Any) -> TCPClient:
    """For which "localhost" is where the tests' servers are."""
    return TCPClient(OverrideResolver(Resolver(), {"localhost": "127.0.0.1", "example.com": "127.0.0.1"}), **settings)


async def talk(stream: IOStream) -> None:
    """A line there and back."""
    await stream.write(b"a line\n")
    assert await stream.read_until(b"\n") == b"a line\n"


# TCPClient


@on_each_loop
async def test_every_kind_of_ssl_options(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    async with listening(Lines(ssl_options=pair.server_context(pki, tls_version))) as port:
        every: list[Any] = [pair.client_context(pki), {"ca_certs": pki.ca.certificate_file}, {"cert_reqs": 0}]
        for ssl_options in every:
            stream = await client().connect("localhost", port, ssl_options=ssl_options)
            assert isinstance(stream, TLSStream)
            await talk(stream)
            assert stream.connection is not None and stream.connection.server_hostname == "localhost"
            stream.close()


@on_each_loop
async def test_true_trusts_what_the_platform_trusts(pki: PKI) -> None:
    """And that does not include the tests' authority."""
    async with listening(Lines(ssl_options=options(pki))) as port:
        either: list[Any] = [True, {}]
        for ssl_options in either:
            with pytest.raises(ssl.SSLCertVerificationError, match="unable to get local issuer certificate"):
                await client().connect("localhost", port, ssl_options=ssl_options)


@on_each_loop
async def test_options_that_cannot_be_used(pki: PKI) -> None:
    """An error before anything is connected."""
    with listener() as nobody:
        port = nobody.getsockname()[1]
        wrong: list[tuple[Any, type[Exception], str]] = [
            (ssl.create_default_context(), TypeError, r"the standard library's ssl.SSLContext.*txmembio.SSLContext"),
            (False, TypeError, r"ssl_options is False .*expected a txmembio.SSLContext, or a dict .*or True"),
            ("ca.pem", TypeError, r"ssl_options is 'ca.pem'"),
            ({"cafile": "ca.pem"}, ValueError, r"unknown key 'cafile'"),
            (pair.server_context(pki), ValueError, r"other role.*cannot be used for a TLS client"),
        ]
        for ssl_options, kind, message in wrong:
            with pytest.raises(kind, match=message):
                await client().connect("localhost", port, ssl_options=ssl_options)
        with pytest.raises(ValueError, match="label too long"):
            await client().connect("x" * 64, port, ssl_options=pair.client_context(pki))
        nobody.setblocking(False)
        with pytest.raises(BlockingIOError):
            nobody.accept()


@on_each_loop
async def test_a_certificate_for_somebody_else(pki: PKI) -> None:
    async with listening(Lines(ssl_options=options(pki))) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match=r"Hostname mismatch.*'example.com'"):
            await client().connect("example.com", port, ssl_options=pair.client_context(pki))
        stream = await client().connect(
            "example.com", port, ssl_options={"ca_certs": pki.ca.certificate_file, "check_hostname": False}
        )
        stream.close()


@on_each_loop
async def test_a_plain_connection_that_becomes_tls(pki: PKI) -> None:
    async with listening(Lines(ssl_options=options(pki))) as port:
        plain: Any = await client().connect("127.0.0.1", port)
        assert not isinstance(plain, TLSStream)
        stream = await plain.start_tls(False, pair.client_context(pki), server_hostname="localhost")
        assert isinstance(stream, TLSStream)
        await talk(stream)
        stream.close()


@on_each_loop
async def test_where_from(pki: PKI) -> None:
    server = Lines(ssl_options=options(pki))
    with socket.create_server(("127.0.0.1", 0)) as free:
        source = free.getsockname()[1]
    async with listening(server) as port:
        context = pair.client_context(pki)
        stream = await client().connect("localhost", port, ssl_options=context, source_ip="127.0.0.1")
        assert stream.socket.getsockname()[0] == "127.0.0.1"
        stream.close()
        stream = await client().connect("localhost", port, ssl_options=context, source_port=source)
        assert stream.socket.getsockname() == ("127.0.0.1", source)
        stream.close()


@on_each_loop
async def test_nobody_is_there(pki: PKI) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(OSError) as caught:
        await client().connect("localhost", port, ssl_options=pair.client_context(pki))
    assert not isinstance(caught.value, ssl.SSLError)


@on_each_loop
@pytest.mark.parametrize("timeout", [SOON, datetime.timedelta(seconds=SOON)], ids=["float", "timedelta"])
async def test_a_server_that_says_nothing(pki: PKI, timeout: Any) -> None:
    """The text of the error says what took so long; the socket is closed."""
    with listener() as silent:
        silent.setblocking(False)
        context = pair.client_context(pki)
        with pytest.raises(asyncio.TimeoutError, match=r"^Timeout during TLS handshake with 127\.0\.0\.1:\d+$"):
            await client().connect("localhost", silent.getsockname()[1], ssl_options=context, timeout=timeout)
        await closed_by_the_client(silent)


async def closed_by_the_client(silent: socket.socket) -> None:
    """Reads a hello, and the end."""
    loop = asyncio.get_running_loop()
    accepted, _ = await loop.sock_accept(silent)
    accepted.setblocking(False)
    with accepted:
        while await loop.sock_recv(accepted, 65536):
            pass


@on_each_loop
async def test_giving_up(pki: PKI) -> None:
    """Who cancels, leaves nothing behind."""
    with listener() as silent:
        silent.setblocking(False)
        connecting = asyncio.ensure_future(
            client().connect("localhost", silent.getsockname()[1], ssl_options=pair.client_context(pki))
        )
        accepted, _ = await asyncio.get_running_loop().sock_accept(silent)
        accepted.setblocking(False)
        with accepted:
            assert await asyncio.get_running_loop().sock_recv(accepted, 1)
            connecting.cancel()
            with pytest.raises(asyncio.CancelledError):
                await connecting
            while await asyncio.get_running_loop().sock_recv(accepted, 65536):
                pass


def cancelling(monkeypatch: pytest.MonkeyPatch, kind: type, step: str) -> Callable[[asyncio.Future[Any]], None]:
    """Give it a task: that is cancelled as soon as a stream of that kind, not a server's, has gone through the step."""
    original = getattr(kind, step)
    tasks: list[asyncio.Future[Any]] = []

    def stepping(stream: Any) -> None:
        original(stream)
        if not getattr(stream, "_server_side", False):
            while tasks:
                tasks.pop().cancel()

    monkeypatch.setattr(kind, step, stepping)
    return tasks.append


@on_each_loop
@pytest.mark.parametrize("timeout", [None, 60])
async def test_giving_up_when_the_handshake_completes(
    pki: PKI, monkeypatch: pytest.MonkeyPatch, timeout: float | None
) -> None:
    """In the very turn: the stream is there, and nobody gets it."""
    cancel = cancelling(monkeypatch, TLSStream, "_finish_ssl_connect")
    server = Lines(ssl_options=options(pki))
    async with listening(server) as port:
        context = pair.client_context(pki)
        connecting = asyncio.ensure_future(client().connect("localhost", port, ssl_options=context, timeout=timeout))
        cancel(connecting)
        await nobodys(connecting)
        counted = await settled(server)
        assert counted["handshakes_begun"] == 1


async def nobodys(connecting: asyncio.Future[Any]) -> None:
    """It has been cancelled; or was too early to be (`wait_for` of Python 3.11 and older returns what there is)."""
    try:
        stream = await connecting
    except asyncio.CancelledError:
        return
    stream.close()


@on_each_loop
async def test_giving_up_when_the_socket_is_connected(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    cancel = cancelling(monkeypatch, IOStream, "_handle_connect")
    with listener() as silent:
        silent.setblocking(False)
        connecting = asyncio.ensure_future(client().connect("localhost", silent.getsockname()[1]))
        cancel(connecting)
        with pytest.raises(asyncio.CancelledError):
            await connecting
        await closed_by_the_client(silent)


@on_each_loop
@pytest.mark.parametrize("proxied", [False, True])
async def test_a_request_is_given_up_when_the_handshake_completes(
    pki: PKI, monkeypatch: pytest.MonkeyPatch, proxied: bool
) -> None:
    cancel = cancelling(monkeypatch, TLSStream, "_finish_ssl_connect")
    server = Lines(ssl_options=options(pki))
    async with listening(server) as port, listening(Proxy()) as proxy_port:
        more = through(proxy_port) if proxied else {}
        asked: Any = tornado.httpclient._RequestProxy(request(pki, port, "/", **more), HTTPRequest._DEFAULTS)
        route = _Route(Guard(), asked)
        connecting = asyncio.ensure_future(route.connect("127.0.0.1", port, ssl_options=pair.client_context(pki)))
        cancel(connecting)
        await nobodys(connecting)
        assert (await settled(server))["handshakes_begun"] == 1


# Sessions


@on_each_loop
async def test_sessions_are_resumed(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """By name and port: not at another server, not under another context."""
    sessions = SessionCache()
    caller = client(sessions=sessions)
    context = pair.client_context(pki, tls_version)

    async def resumed(port: int, context: txmembio.SSLContext, host: str = "localhost") -> bool:
        stream: Any = await caller.connect(host, port, ssl_options=context)
        await talk(stream)
        stream.close()
        return bool(stream.connection.session_reused)

    one, other = (Lines(ssl_options=options(pki)) for _ in range(2))
    async with listening(one) as first, listening(other) as second:
        assert not await resumed(first, context)
        assert await resumed(first, context)
        assert await resumed(first, context)
        assert not await resumed(second, context)
        assert not await resumed(first, pair.client_context(pki, tls_version))
        assert not await resumed(first, context, "127.0.0.1")
        assert sessions.resumed == 2
        assert (await settled(one))["handshakes_resumed"] == 2


@on_each_loop
async def test_without_sessions(pki: PKI) -> None:
    server = Lines(ssl_options=options(pki))
    context = pair.client_context(pki)
    async with listening(server) as port:
        for _ in range(2):
            stream = await client(sessions=None).connect("localhost", port, ssl_options=context)
            await talk(stream)
            stream.close()
        assert (await settled(server))["handshakes_resumed"] == 0


@on_each_loop
async def test_equal_requests_resume(pki: PKI) -> None:
    """Though each of them is a new connection, made of paths and not of a context."""
    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port:
        for _ in range(3):
            await facts(pki, port)
        assert (await settled(server))["handshakes_resumed"] == 2


# AsyncHTTPClient: always ours


@pytest.fixture
def configured() -> Iterator[None]:
    """`AsyncHTTPClient.configure` is undone."""
    saved = tornado.httpclient.AsyncHTTPClient._save_configuration()
    yield
    tornado.httpclient.AsyncHTTPClient._restore_configuration(saved)


@on_each_loop
async def test_constructed_directly_it_is_ours(pki: PKI) -> None:
    """Whoever has asked for Tornado's before, or has not, in this loop or another."""
    stock = tornado.httpclient.AsyncHTTPClient()
    ours = AsyncHTTPClient()
    assert type(stock) is SimpleAsyncHTTPClient and type(ours) is AsyncHTTPClient
    assert AsyncHTTPClient() is ours and tornado.httpclient.AsyncHTTPClient() is stock
    ours.close()
    again = AsyncHTTPClient()
    assert type(again) is AsyncHTTPClient and again is not ours
    assert tornado.httpclient.AsyncHTTPClient() is stock
    stock.close()
    assert AsyncHTTPClient() is again
    again.close()
    alone = AsyncHTTPClient(force_instance=True, max_clients=3)
    assert type(alone) is AsyncHTTPClient and alone is not AsyncHTTPClient() and alone.max_clients == 3
    alone.close()
    AsyncHTTPClient().close()


@on_each_loop
async def test_ours_first(pki: PKI) -> None:
    ours = AsyncHTTPClient()
    stock = tornado.httpclient.AsyncHTTPClient()
    assert type(ours) is AsyncHTTPClient and type(stock) is SimpleAsyncHTTPClient
    ours.close()
    stock.close()


@on_each_loop
async def test_a_subclass_has_its_own(pki: PKI) -> None:
    class AsyncHTTPClientOfAnApplication(AsyncHTTPClient):
        pass

    ours, theirs = AsyncHTTPClient(), AsyncHTTPClientOfAnApplication()
    assert type(theirs) is AsyncHTTPClientOfAnApplication and type(ours) is AsyncHTTPClient
    assert AsyncHTTPClientOfAnApplication() is theirs
    ours.close()
    theirs.close()


@on_each_loop
async def test_as_the_configured_one(pki: PKI, configured: None) -> None:
    tornado.httpclient.AsyncHTTPClient.configure(
        "txmembio.tornado.AsyncHTTPClient", max_clients=7, defaults={"ca_certs": pki.ca.certificate_file}
    )
    found: Any = tornado.httpclient.AsyncHTTPClient()
    assert type(found) is AsyncHTTPClient and found.max_clients == 7
    assert tornado.httpclient.AsyncHTTPClient() is found
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        response = await found.fetch(f"https://127.0.0.1:{port}/facts")
        assert b'"TLSStream"' in response.body
    found.close()
    assert tornado.httpclient.AsyncHTTPClient() is not found
    tornado.httpclient.AsyncHTTPClient().close()


def test_the_blocking_client(pki: PKI) -> None:
    """Tornado's, on ours."""
    blocking = tornado.httpclient.HTTPClient(AsyncHTTPClient)
    try:
        assert type(blocking._async_client) is AsyncHTTPClient
        with pytest.raises(TypeError, match="standard library's"):
            blocking.fetch("https://127.0.0.1:1/", ssl_options=ssl.create_default_context())
    finally:
        blocking.close()


# AsyncHTTPClient: what it does


@on_each_loop
async def test_no_standard_context_is_made(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a request says."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("a context of the standard library")

    ssl_options = options(pki, ca_certs=pki.ca.certificate_file, cert_reqs=ssl.CERT_REQUIRED)
    credential = {"client_cert": pki.client.chain_file, "client_key": pki.client.key_file}
    async with listening(HTTPServer(site(), ssl_options=ssl_options)) as port:
        monkeypatch.setattr(ssl.SSLContext, "__new__", refuse)
        monkeypatch.setattr(ssl, "create_default_context", refuse)
        found = await facts(pki, port, **credential)
        assert found["stream"] == "TLSStream" and found["subject"]
        await facts(pki, port, **credential, ca_certs=None, validate_cert=False)
        await facts(pki, port, ssl_options=pair.client_context(pki, credential=pki.client))
        await facts(pki, port, ssl_options={"cert_reqs": 0, "certfile": pki.client.combined_file})
        with pytest.raises(ssl.SSLCertVerificationError):
            await facts(pki, port, ca_certs=None)
        with pytest.raises(ssl.SSLCertVerificationError):
            await facts(pki, port, ssl_options=True)


@on_each_loop
async def test_mistakes_in_a_request(pki: PKI) -> None:
    for wrong, kind, message in (
        ({"ca_certs": "nowhere.pem"}, ValueError, r"the request's options\['ca_certs'\] is 'nowhere.pem'"),
        ({"client_cert": "nowhere.pem"}, ValueError, r"\['certfile'\] is 'nowhere.pem'.*No such file"),
        ({"client_key": "key.pem"}, ValueError, r"\['keyfile'\] is 'key.pem': expected certfile beside it"),
        ({"ssl_options": ssl.create_default_context()}, TypeError, r"the request's ssl_options is the standard lib"),
        ({"ssl_options": {"verify": False}}, ValueError, r"the request's ssl_options has the unknown key 'verify'"),
        ({"ssl_options": pair.server_context(pki)}, ValueError, r"the request's ssl_options is for the other role"),
    ):
        with pytest.raises(kind, match=message):
            await fetch(pki, 1, "/", **wrong)


@on_each_loop
async def test_a_wrong_certificate(pki: PKI) -> None:
    credential = pki.wrong_name
    server = HTTPServer(site(), ssl_options={"certfile": credential.chain_file, "keyfile": credential.key_file})
    async with listening(server) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
            await facts(pki, port)
        assert (await fetch(pki, port, "/facts", validate_cert=False)).code == 200


@on_each_loop
async def test_redirects(pki: PKI) -> None:
    """To another server, and from https: to http:."""
    async with (
        listening(HTTPServer(site(), ssl_options=options(pki))) as port,
        listening(HTTPServer(site(), ssl_options=options(pki))) as other,
        listening(HTTPServer(site())) as plain,
    ):
        for target in (f"https://localhost:{other}/facts", f"http://localhost:{plain}/facts", "/facts"):
            response = await fetch(pki, port, f"/moved?to={target}")
            assert response.code == 200 and response.effective_url.endswith("/facts")


@on_each_loop
async def test_a_server_that_says_nothing_to_a_request(pki: PKI) -> None:
    with listener() as silent:
        silent.setblocking(False)
        with pytest.raises(HTTPTimeoutError):
            await fetch(pki, silent.getsockname()[1], "/", request_timeout=SOON)
        await closed_by_the_client(silent)


@on_each_loop
async def test_truncation_is_not_success(pki: PKI) -> None:
    """A body without a length, and an end of the wire without close_notify."""
    with listener() as served:
        served.setblocking(False)
        fetching = asyncio.ensure_future(fetch(pki, served.getsockname()[1], "/"))
        accepted, _ = await asyncio.get_running_loop().sock_accept(served)
        stream = STOCK.server(accepted, STOCK.server_context(pki))
        await stream.read_until(b"\r\n\r\n")
        await stream.write(b"HTTP/1.1 200 OK\r\n\r\nhalf of it")
        socket.socket.shutdown(stream.socket, socket.SHUT_WR)
        with pytest.raises((HTTPClientError, ssl.SSLError)) as caught:
            await fetching
        assert not isinstance(caught.value, HTTPTimeoutError)
        stream.close()


# TCP clients of others


class Guard(tornado.tcpclient.TCPClient):
    """Connects as Tornado's does, if it is allowed to. Knows where all names are."""

    def __init__(self, refused: str = "") -> None:
        super().__init__(OverrideResolver(Resolver(), {"localhost": "127.0.0.1"}))
        self.refused = refused
        self.asked: list[tuple[str, int, Any]] = []

    async def connect(self, host: str, port: int, *args: Any, **more: Any) -> IOStream:
        """As said."""
        self.asked.append((host, port, more.get("ssl_options")))
        if host == self.refused:
            raise PermissionError(f"{host} is not for everybody")
        return await super().connect(host, port, *args, **more)


async def guarded(guard: Any, pki: PKI, port: int, path: str = "/facts", **more: Any) -> bytes:
    """The body that a client gets whose TCP client that is."""

    class Client(AsyncHTTPClient):
        def initialize(self, *args: Any, **kwargs: Any) -> None:
            super().initialize(*args, **kwargs)
            self.tcp_client = guard

    caller = Client(force_instance=True)
    try:
        return bytes((await caller.fetch(request(pki, port, path, **more))).body)
    finally:
        caller.close()


@pytest.fixture
def no_standard_tls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever tries, fails."""

    def refuse(*args: Any, **kwargs: Any) -> Any:
        raise AssertionError("TLS of the standard library")

    monkeypatch.setattr(ssl.SSLContext, "wrap_socket", refuse)
    monkeypatch.setattr(ssl, "create_default_context", refuse)


@on_each_loop
async def test_a_tcp_client_is_asked(pki: PKI, no_standard_tls: None) -> None:
    """And refuses, or connects. TLS is ours, and none of its business."""
    proxy = Proxy()
    server = HTTPServer(site(), ssl_options=options(pki))
    async with (
        listening(server) as port,
        listening(HTTPServer(site())) as plain,
        listening(proxy) as proxy_port,
    ):
        guard = Guard()
        assert b'"TLSStream"' in await guarded(guard, pki, port)
        assert b'"https"' in await guarded(guard, pki, port, **through(proxy_port))
        assert b'"http"' in await guarded(guard, pki, plain, scheme="http")
        assert b'"http"' in await guarded(guard, pki, plain, scheme="http", **through(proxy_port))
        assert guard.asked == [
            ("localhost", port, None),
            ("127.0.0.1", proxy_port, None),
            ("localhost", plain, None),
            ("127.0.0.1", proxy_port, None),
        ]
        with pytest.raises(ssl.SSLCertVerificationError):
            await guarded(guard, pki, port, ca_certs=pki.untrusted_ca.certificate_file)
        asked = len(proxy.asked), server.counters.handshakes_begun
        for scheme, number in (("https", port), ("http", plain)):
            with pytest.raises(PermissionError, match="localhost is not for everybody"):
                await guarded(Guard("localhost"), pki, number, scheme=scheme)
            with pytest.raises(PermissionError, match=r"127\.0\.0\.1 is not"):
                await guarded(Guard("127.0.0.1"), pki, number, scheme=scheme, **through(proxy_port))
        assert asked == (len(proxy.asked), server.counters.handshakes_begun)


@on_each_loop
async def test_a_tcp_client_is_asked_for_redirects(pki: PKI) -> None:
    """Where a guard is needed most."""
    async with listening(HTTPServer(site())) as other, listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        with pytest.raises(PermissionError):
            await guarded(Guard("127.0.0.1"), pki, port, f"/moved?to=http://127.0.0.1:{other}/facts")


@on_each_loop
async def test_sessions_over_a_tcp_client(pki: PKI) -> None:
    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port:
        for _ in range(2):
            await guarded(Guard(), pki, port)
        assert (await settled(server))["handshakes_resumed"] == 1


@on_each_loop
async def test_a_tcp_client_that_is_nobodys_subclass(pki: PKI, tmp_path: Path, no_standard_tls: None) -> None:
    """It has no resolver, and connects to a UNIX socket."""

    class Local:
        async def connect(self, host: str, port: int, **more: Any) -> IOStream:
            stream = IOStream(socket.socket(socket.AF_UNIX), max_buffer_size=more["max_buffer_size"])
            await stream.connect(path)
            return stream

        def close(self) -> None:
            pass

    path = str(tmp_path / "s")
    server = HTTPServer(site(), ssl_options=options(pki))
    server.add_socket(bind_unix_socket(path))
    try:
        assert b'"https"' in await guarded(Local(), pki, 443)
    finally:
        server.stop()
        await server.close_all_connections()


class Counted(IOStream):
    """What has been read is counted, and its end."""

    received = 0
    ended = 0

    def read_from_fd(self, buf: bytearray | memoryview) -> int | None:
        """As said."""
        size = super().read_from_fd(buf)
        Counted.received += size or 0
        return size

    def close_fd(self) -> None:
        """As said."""
        Counted.ended += 1
        super().close_fd()


class Counting(Guard):
    """Its streams are counted."""

    def _create_stream(
        self, max_buffer_size: int | None, af: Any, addr: Any, source_ip: Any = None, source_port: Any = None
    ) -> Any:
        stream = Counted(socket.socket(af), max_buffer_size=max_buffer_size)
        return stream, stream.connect(addr)


@pytest.fixture
def installed() -> Iterator[None]:
    """`install("tornado")`, for one test."""
    undo = _tornado.apply()
    yield
    undo()


@on_each_loop
async def test_a_tcp_client_of_a_program_that_knows_only_tornado(pki: PKI, installed: None) -> None:
    class Client(SimpleAsyncHTTPClient):
        def initialize(self, *args: Any, **kwargs: Any) -> None:
            super().initialize(*args, **kwargs)
            self.tcp_client = guard

    guard = Guard()
    caller = Client(force_instance=True)
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        assert b'"https"' in (await caller.fetch(request(pki, port, "/facts"))).body
        assert len(guard.asked) == 1
        guard.refused = "localhost"
        for scheme in ("http", "https"):
            with pytest.raises(PermissionError):
                await caller.fetch(request(pki, port, "/facts", scheme=scheme))
    caller.close()


@on_each_loop
async def test_streams_that_are_more_than_a_socket(
    pki: PKI, no_standard_tls: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They stay between TLS and the socket."""
    monkeypatch.setattr(Counted, "received", 0)
    monkeypatch.setattr(Counted, "ended", 0)
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port, listening(Proxy()) as proxy_port:
        assert b'"https"' in await guarded(Counting(), pki, port)
        assert Counted.received > 1000 and Counted.ended == 1
        assert b'"https"' in await guarded(Counting(), pki, port, **through(proxy_port))
        assert Counted.ended == 2


@on_each_loop
async def test_subclasses_of_our_tcp_client(pki: PKI, no_standard_tls: None) -> None:
    """They are given what the request says about TLS. A stream without any is not sent a request for https:."""
    asked: list[Any] = []

    class Ours(TCPClient):
        async def connect(self, host: str, port: int, *args: Any, **more: Any) -> IOStream:
            asked.append(type(more["ssl_options"]))
            return await super().connect("127.0.0.1", port, **{**more, **self.change})

        change: dict[str, Any] = {}  # noqa: RUF012

    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port:
        guard = Ours()
        assert b'"https"' in await guarded(guard, pki, port, ssl_options=pair.client_context(pki))
        guard.change = {"ssl_options": None}
        assert b'"https"' in await guarded(guard, pki, port)
        assert asked == [txmembio.SSLContext] * 2
        assert server.counters.handshakes_completed == 2


@on_each_loop
async def test_a_server_behind_a_tcp_client_that_says_nothing(pki: PKI) -> None:
    with listener() as silent:
        silent.setblocking(False)
        text = "TLS handshake with localhost" if tornado.version_info >= (6, 6) else ""
        with pytest.raises(HTTPTimeoutError, match=text):
            await guarded(Guard(), pki, silent.getsockname()[1], connect_timeout=SOON)
        await closed_by_the_client(silent)


@on_each_loop
async def test_mistakes_are_found_before_a_tcp_client_is_asked(pki: PKI) -> None:
    guard = Guard()
    for more in ({}, through(1)):
        with pytest.raises(ValueError, match="label too long"):
            asked: Any = tornado.httpclient._RequestProxy(request(pki, 1, "/", **more), HTTPRequest._DEFAULTS)
            await _Route(guard, asked).connect("x" * 64, 1, ssl_options=pair.client_context(pki))
    assert guard.asked == []


# Proxies


def through(port: int, **more: Any) -> dict[str, Any]:
    """The options of a request that goes through the proxy on that port."""
    return {"proxy_host": "127.0.0.1", "proxy_port": port, **more}


@on_each_loop
async def test_through_a_proxy(pki: PKI) -> None:
    """The proxy sees a name and a port; who is verified is the server behind it."""
    proxy = Proxy()
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port, listening(proxy) as proxy_port:
        assert (await facts(pki, port, **through(proxy_port)))["stream"] == "TLSStream"
        with pytest.raises(ssl.SSLCertVerificationError):
            await facts(pki, port, **through(proxy_port, ca_certs=pki.untrusted_ca.certificate_file))
    assert len(proxy.asked) == 2
    assert proxy.asked[0] == b"CONNECT localhost:%d HTTP/1.1\r\nHost: localhost:%d\r\n\r\n" % (port, port)


@on_each_loop
async def test_plain_http_through_a_proxy(pki: PKI) -> None:
    proxy = Proxy()
    async with listening(HTTPServer(site())) as port, listening(proxy) as proxy_port:
        found = await facts(pki, port, scheme="http", **through(proxy_port))
        assert found["protocol"] == "http" and len(proxy.asked) == 1


@on_each_loop
async def test_a_name_and_a_password(pki: PKI) -> None:
    """Said to the proxy, and to nobody else."""
    seen: list[HTTPHeaders] = []

    def application(request: Any) -> None:
        seen.append(request.headers)
        request.connection.write_headers(_start_line(), HTTPHeaders({"Content-Length": "0"}))
        request.connection.finish()

    proxy = Proxy()
    credentials = {"proxy_username": "name", "proxy_password": "pass:word", "proxy_auth_mode": "basic"}
    async with listening(HTTPServer(application, ssl_options=options(pki))) as port, listening(proxy) as proxy_port:
        await fetch(pki, port, "/", **through(proxy_port, **credentials))
    assert b"\r\nProxy-Authorization: Basic bmFtZTpwYXNzOndvcmQ=\r\n" in proxy.asked[0]
    assert "Proxy-Authorization" not in seen[0]


def _start_line() -> Any:
    from tornado.httputil import ResponseStartLine

    return ResponseStartLine("HTTP/1.1", 200, "OK")


@on_each_loop
async def test_redirects_keep_to_the_proxy(pki: PKI) -> None:
    proxy = Proxy()
    async with (
        listening(HTTPServer(site(), ssl_options=options(pki))) as port,
        listening(HTTPServer(site(), ssl_options=options(pki))) as other,
        listening(proxy) as proxy_port,
    ):
        target = f"https://localhost:{other}/facts"
        response = await fetch(pki, port, f"/moved?to={target}", **through(proxy_port))
        assert response.effective_url == target
        assert [asked.split(b" ")[1] for asked in proxy.asked] == [b"localhost:%d" % port, b"localhost:%d" % other]


@on_each_loop
async def test_sessions_are_those_of_the_server_behind(pki: PKI) -> None:
    one, other = (HTTPServer(site(), ssl_options=options(pki)) for _ in range(2))
    async with listening(one) as first, listening(other) as second, listening(Proxy()) as proxy_port:
        for port in (first, second, first):
            await facts(pki, port, **through(proxy_port))
        await facts(pki, second)
        assert one.counters.handshakes_resumed == other.counters.handshakes_resumed == 1


@on_each_loop
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "it answered 407 Proxy Authentication Required"),
        (b"HTTP/1.0 403 Forbidden\r\nX: y\r\n\r\n", "it answered 403 Forbidden"),
        (b"HTTP/1.1 302 Found\r\nLocation: https://example.com/\r\n\r\n", "it answered 302 Found"),
        (b"SSH-2.0-OpenSSH_9.2\r\n\r\n", "its answer is no HTTP: b'SSH-2.0-OpenSSH_9.2"),
        (b"HTTP/1.1 ", "it closed the connection"),
        (b"", "it closed the connection"),
        (b"HTTP/1.1 407 No\r\nX: " + b"x" * 20000 + b"\r\n\r\n", "within 16384 bytes"),
    ],
    ids=lambda value: str(value[:20]),
)
async def test_a_proxy_that_does_not_connect(pki: PKI, answer: bytes, message: str) -> None:
    proxy = Proxy(answer)
    async with listening(proxy) as proxy_port:
        with pytest.raises(HTTPClientError) as caught:
            await fetch(pki, 443, "/", **through(proxy_port))
    assert caught.value.code == 599
    text = str(caught.value)
    assert f"the proxy 127.0.0.1:{proxy_port} did not connect to localhost:443: " in text and message in text


@on_each_loop
async def test_plaintext_behind_the_answer(pki: PKI) -> None:
    """Nobody has said hello yet: it does not come from the server."""
    proxy = Proxy(b"HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\nforged")
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port, listening(proxy) as proxy_port:
        with pytest.raises(ssl.SSLError, match="plaintext"):
            await fetch(pki, port, "/", **through(proxy_port))


@on_each_loop
async def test_a_proxy_that_says_nothing(pki: PKI) -> None:
    with listener() as silent:
        silent.setblocking(False)
        port = silent.getsockname()[1]
        through_it = f" to localhost:443 through the proxy 127.0.0.1:{port}" if tornado.version_info >= (6, 6) else ""
        with pytest.raises(HTTPTimeoutError, match=f"connecting{through_it}"):
            await fetch(pki, 443, "/", **through(port, connect_timeout=SOON))
        await closed_by_the_client(silent)


@on_each_loop
async def test_a_server_behind_the_proxy_that_says_nothing(pki: PKI) -> None:
    with listener() as silent:
        silent.setblocking(False)
        async with listening(Proxy()) as proxy_port:
            with pytest.raises(HTTPTimeoutError):
                await fetch(pki, silent.getsockname()[1], "/", **through(proxy_port, connect_timeout=SOON))
            await closed_by_the_client(silent)


@on_each_loop
async def test_mistakes_about_a_proxy(pki: PKI) -> None:
    for wrong, message in (
        ({"proxy_host": "127.0.0.1"}, "proxy_port is None: expected the port of 127.0.0.1"),
        ({"proxy_host": "127.0.0.1", "proxy_port": "x"}, "proxy_port is 'x': expected the port of 127.0.0.1"),
        (through(1, proxy_auth_mode="digest"), "proxy_auth_mode is 'digest': expected 'basic'"),
    ):
        with pytest.raises(ValueError, match=message):
            await fetch(pki, 443, "/", **wrong)


@on_each_loop
@pytest.mark.parametrize(("host", "asked"), [("[::1]", b"[::1]:443"), ("bücher.example", b"xn--bcher-kva.example:443")])
async def test_names_and_addresses(pki: PKI, host: str, asked: bytes) -> None:
    proxy = Proxy(b"HTTP/1.1 403 Forbidden\r\n\r\n")
    caller = AsyncHTTPClient(force_instance=True)
    async with listening(proxy) as port:
        with pytest.raises(HTTPClientError):
            await caller.fetch(HTTPRequest(f"https://{host}/", proxy_host="127.0.0.1", proxy_port=port))
    caller.close()
    assert proxy.asked[0].startswith(b"CONNECT " + asked + b" HTTP/1.1\r\n")
