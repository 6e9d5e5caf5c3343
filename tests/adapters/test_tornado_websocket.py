"""WebSockets both ways: `websocket_connect` and `HTTPServer`, with each other and with Tornado's own TLS."""

from __future__ import annotations

import asyncio
import ssl
from typing import Any

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")
import tornado.httpserver
import tornado.web
import tornado.websocket
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.iostream import StreamClosedError

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import STOCK, on_each_loop, until
from support.tornado_site import Proxy, listening, request, settled, site
from txmembio.tornado import HTTPServer, TLSStream, websocket_connect

#: Bytes of a message: many records, several reads of a socket.
SIZE = 3_000_001


def options(pki: PKI) -> dict[str, Any]:
    """The usual dict of a server."""
    return {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file}


def to(pki: PKI, port: int, **more: Any) -> HTTPRequest:
    """A request for the WebSocket of `site()`. By address: `websocket_connect` has no mapping of names."""
    asked = request(pki, port, "/ws", scheme=more.pop("scheme", "wss"), **more)
    asked.url = asked.url.replace("localhost", "127.0.0.1")
    return asked


async def end(connection: Any) -> None:
    """Close in order, and wait for the other side."""
    connection.close(1000, "enough")
    assert await connection.read_message() is None
    assert connection.close_code == 1000


@on_each_loop
async def test_messages(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server = HTTPServer(site(), ssl_options=pair.server_context(pki, tls_version))
    async with listening(server) as port:
        connection: Any = await websocket_connect(to(pki, port))
        assert isinstance(connection.protocol.stream, TLSStream)
        big = bytes(number % 251 for number in range(SIZE))
        for message in ("a text: héllo", b"bytes \x00\xff", "", big):
            await connection.write_message(message, binary=isinstance(message, bytes))
            assert await connection.read_message() == message
        await end(connection)
        assert (await settled(server))["endings"] == {"clean": 1}


@on_each_loop
async def test_a_url_and_all_the_parameters(pki: PKI) -> None:
    """Those of Tornado's function; a plain ws: URL has no TLS."""
    messages: list[Any] = []
    application = tornado.web.Application([("/ws", _Subprotocols)])
    async with listening(HTTPServer(application)) as port:
        connection: Any = await websocket_connect(
            f"ws://127.0.0.1:{port}/ws",
            connect_timeout=10,
            on_message_callback=messages.append,
            compression_options={},
            ping_interval=10,
            ping_timeout=5,
            max_message_size=100_000,
            subprotocols=["chat", "other"],
        )
        assert connection.selected_subprotocol == "other"
        assert connection.headers["Sec-WebSocket-Extensions"].startswith("permessage-deflate")
        await connection.write_message("x" * 50_000)
        await until(lambda: messages == ["x" * 50_000])
        connection.close()
        await until(lambda: messages[-1] is None)


class _Subprotocols(tornado.websocket.WebSocketHandler):
    def select_subprotocol(self, subprotocols: list[str]) -> str | None:
        return "other"

    def get_compression_options(self) -> dict[str, Any]:
        return {}

    def on_message(self, message: str | bytes) -> None:
        self.write_message(message)


@on_each_loop
async def test_the_callback_of_old(pki: PKI) -> None:
    heard: list[Any] = []
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        with pytest.warns(DeprecationWarning, match="callback argument"):
            future = websocket_connect(to(pki, port), callback=heard.append)
        connection: Any = await future
        await until(lambda: bool(heard))
        assert heard[0].result() is connection
        await end(connection)


@on_each_loop
async def test_our_client_with_tornados_tls(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server = tornado.httpserver.HTTPServer(site(), ssl_options=STOCK.server_context(pki, tls_version))
    async with listening(server) as port:
        connection: Any = await websocket_connect(to(pki, port))
        await connection.write_message(b"x" * SIZE, binary=True)
        assert await connection.read_message() == b"x" * SIZE
        await end(connection)


@on_each_loop
async def test_our_server_with_tornados_tls(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server = HTTPServer(site(), ssl_options=pair.server_context(pki, tls_version))
    async with listening(server) as port:
        connection: Any = await tornado.websocket.websocket_connect(to(pki, port))
        assert not isinstance(connection.protocol.stream, TLSStream)
        await connection.write_message(b"x" * SIZE, binary=True)
        assert await connection.read_message() == b"x" * SIZE
        await end(connection)


@on_each_loop
async def test_messages_in_both_directions_at_once(pki: PKI) -> None:
    """Neither side waits for the other, and no message is lost or out of order."""
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        connection: Any = await websocket_connect(to(pki, port))

        async def write() -> None:
            for number in range(200):
                await connection.write_message(f"{number} " + "x" * (number * 37 % 20_000))

        writing = asyncio.ensure_future(write())
        for number in range(200):
            assert (await connection.read_message()).startswith(f"{number} ")
        await writing
        await end(connection)


@on_each_loop
async def test_a_certificate_for_somebody_else(pki: PKI) -> None:
    credential = pki.wrong_name
    server = HTTPServer(site(), ssl_options={"certfile": credential.chain_file, "keyfile": credential.key_file})
    async with listening(server) as port:
        with pytest.raises(ssl.SSLCertVerificationError, match="IP address mismatch"):
            await websocket_connect(to(pki, port))
        connection: Any = await websocket_connect(to(pki, port, validate_cert=False))
        await end(connection)


@on_each_loop
async def test_ssl_options_of_the_request(pki: PKI) -> None:
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        connection: Any = await websocket_connect(to(pki, port, ssl_options=pair.client_context(pki)))
        await end(connection)
        with pytest.raises(TypeError, match="the request's ssl_options is the standard library's"):
            await websocket_connect(to(pki, port, ssl_options=ssl.create_default_context()))


@on_each_loop
async def test_a_page_that_is_no_websocket(pki: PKI) -> None:
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        asked = to(pki, port)
        asked.url = asked.url.replace("/ws", "/nowhere")
        with pytest.raises(HTTPClientError) as caught:
            await websocket_connect(asked)
        assert caught.value.code == 404


def test_a_time_out_in_two_places(pki: PKI) -> None:
    with pytest.raises(ValueError, match="connect_timeout is 3: expected it in the HTTPRequest"):
        websocket_connect(to(pki, 1), connect_timeout=3)


@on_each_loop
async def test_a_server_that_goes_away(pki: PKI) -> None:
    """With a connection open: its client hears None, as from Tornado's."""
    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port:
        connection: Any = await websocket_connect(to(pki, port))
        await connection.write_message("the last one")
        assert await connection.read_message() == "the last one"
        connection.protocol.stream.close()
        assert await connection.read_message() is None
        with pytest.raises((tornado.websocket.WebSocketClosedError, StreamClosedError)):
            await connection.write_message("too late")
        connection.close()
        assert (await settled(server))["endings"] == {"clean": 1}


@on_each_loop
async def test_through_a_proxy(pki: PKI) -> None:
    proxy = Proxy()
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port, listening(proxy) as proxy_port:
        connection: Any = await websocket_connect(to(pki, port, proxy_host="127.0.0.1", proxy_port=proxy_port))
        await connection.write_message("hello")
        assert await connection.read_message() == "hello"
        await end(connection)
    assert proxy.asked[0].startswith(b"CONNECT 127.0.0.1:%d HTTP/1.1\r\n" % port)


@on_each_loop
async def test_sessions_are_resumed(pki: PKI) -> None:
    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port:
        for _ in range(2):
            connection: Any = await websocket_connect(to(pki, port))
            await connection.write_message("hello")
            assert await connection.read_message() == "hello"
            await end(connection)
        assert (await settled(server))["handshakes_resumed"] == 1
