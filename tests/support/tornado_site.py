"""Servers of `txmembio.tornado` on a free port of 127.0.0.1, and what talks to them besides its own clients.

async with listening(HTTPServer(site(), ssl_options=...)) as port:
    body = (await fetch(pki, port, "/facts")).body
"""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import tornado.tcpserver
import tornado.web
import tornado.websocket
from tornado.httpclient import HTTPRequest, HTTPResponse
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets

import txmembio
from txmembio.tornado import AsyncHTTPClient, TCPServer

from .pki import PKI
from .tornado_ends import Peer, until


class Facts(tornado.web.RequestHandler):
    """What the application sees of the connection, as JSON."""

    def get(self) -> None:
        """As said."""
        request: Any = self.request
        tls = request.protocol == "https"
        certificate = request.get_ssl_certificate() if tls else None
        stream = request.connection.stream
        facts = {
            "protocol": request.protocol,
            "remote_ip": request.remote_ip,
            "subject": certificate and certificate["subject"],
            "stream": type(stream).__name__,
            "version": stream.socket.version() if tls else None,
        }
        self.write(facts)


class Echo(tornado.web.RequestHandler):
    """The body, as it came."""

    def post(self) -> None:
        """As said."""
        self.write(self.request.body)


class Moved(tornado.web.RequestHandler):
    """Somewhere else."""

    def get(self) -> None:
        """As said."""
        self.redirect(self.get_argument("to"))


class EchoSocket(tornado.websocket.WebSocketHandler):
    """Every message, back."""

    def on_message(self, message: str | bytes) -> None:
        """As said."""
        self.write_message(message, binary=isinstance(message, bytes))


def site() -> tornado.web.Application:
    """A few pages."""
    return tornado.web.Application([("/facts", Facts), ("/echo", Echo), ("/moved", Moved), ("/ws", EchoSocket)])


class Lines(TCPServer):
    """Echoes lines until the client has had enough."""

    async def handle_stream(self, stream: Any, address: Any) -> None:
        """As said."""
        try:
            while True:
                await stream.write(await stream.read_until(b"\n"))
        except StreamClosedError:
            pass


@asynccontextmanager
async def listening(server: tornado.tcpserver.TCPServer) -> AsyncIterator[int]:
    """The port that `server` listens on until the end; then its connections are closed, too."""
    sockets = bind_sockets(0, "127.0.0.1", family=socket.AF_INET)
    server.add_sockets(sockets)
    try:
        yield sockets[0].getsockname()[1]
    finally:
        server.stop()
        close_all: Callable[[], Any] | None = getattr(server, "close_all_connections", None)
        if close_all is not None:
            await close_all()


def request(pki: PKI, port: int, path: str, **options: Any) -> HTTPRequest:
    """A request over TLS to `localhost`, which trusts `pki.ca`."""
    scheme = options.pop("scheme", "https")
    options.setdefault("ca_certs", pki.ca.certificate_file)
    return HTTPRequest(f"{scheme}://localhost:{port}{path}", **options)


async def fetch(pki: PKI, port: int, path: str, **options: Any) -> HTTPResponse:
    """What our client gets for `request`."""
    client = AsyncHTTPClient(force_instance=True, hostname_mapping={"localhost": "127.0.0.1"})
    try:
        response: HTTPResponse = await client.fetch(request(pki, port, path, **options))
        return response
    finally:
        client.close()


async def facts(pki: PKI, port: int, **options: Any) -> dict[str, Any]:
    """What `Facts` says."""
    found: dict[str, Any] = json.loads((await fetch(pki, port, "/facts", **options)).body)
    return found


@asynccontextmanager
async def calling(
    port: int, context: txmembio.SSLContext, server_hostname: str | None = "localhost", session: Any = None
) -> AsyncIterator[Peer]:
    """A bare client, connected; the handshake is up to the caller."""
    peer = Peer(await dialled(port), context.connection(server_hostname=server_hostname, session=session))
    try:
        yield peer
    finally:
        peer.sock.close()


async def dialled(port: int) -> socket.socket:
    """A socket that is connected to the port, and does not block."""
    sock = socket.socket()
    sock.setblocking(False)
    await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
    return sock


async def settled(server: TCPServer) -> dict[str, Any]:
    """The server's counters once all connections to it are gone."""
    await until(lambda: server.counters.connections_open == 0)
    return server.counters.snapshot()


class Proxy(tornado.tcpserver.TCPServer):
    """An HTTP proxy: what it was asked for is in `asked`; what it answers to CONNECT, `answer` says. With a 200 it
    connects, to 127.0.0.1 whatever the name, and carries bytes until one side ends."""

    def __init__(self, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[bytes] = []
        self._open: set[IOStream] = set()
        self._tunnels: set[asyncio.Task[None]] = set()

    def handle_stream(self, stream: IOStream, address: Any) -> asyncio.Task[None]:
        """One tunnel."""
        self._open.add(stream)
        tunnel = asyncio.ensure_future(self._tunnel(stream))
        self._tunnels.add(tunnel)
        return tunnel

    async def _tunnel(self, stream: IOStream) -> None:
        try:
            self.asked.append(await stream.read_until(b"\r\n\r\n"))
            if self.answer:
                await stream.write(self.answer)
            if b" 200 " not in self.answer:
                return
            port = int(self.asked[-1].split(b" ")[1].rpartition(b":")[2])
            beyond = IOStream(await dialled(port))
            self._open.add(beyond)
            await asyncio.gather(_carry(stream, beyond), _carry(beyond, stream))
        except StreamClosedError:
            pass
        finally:
            stream.close()

    async def close_all_connections(self) -> None:
        """And wait until the tunnels have noticed."""
        while any(not tunnel.done() for tunnel in self._tunnels):
            for stream in self._open:
                stream.close()
            await asyncio.sleep(0)


async def _carry(source: IOStream, sink: IOStream) -> None:
    try:
        while True:
            await sink.write(await source.read_bytes(65536, partial=True))
    except StreamClosedError:
        sink.close()
