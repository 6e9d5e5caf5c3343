"""Servers on Tornado, ``python -m benchmarks.tornado_server CONTENDER PEM…``: what :mod:`benchmarks.serving` says.

``up`` reads into one buffer, again and again; ``up-pieces`` reads ``bytes``, the way that Tornado's HTTP server reads a
body. ``echo`` sends back every SIZE bytes.
"""

from __future__ import annotations

import asyncio
import ssl
import sys
from collections.abc import Callable
from typing import Any

from tornado.httpserver import HTTPServer
from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer
from tornado.web import Application, RequestHandler

from benchmarks.serving import ANSWER, BACKLOG, LONGEST_LINE, PAGE, allow_many_files, asked, hello

PIECE = 65536
"""Bytes read at a time, at most: Tornado's ``read_chunk_size``, and the ``chunk_size`` of its HTTP server."""


async def read_into(stream: IOStream, amount: int) -> None:
    """Reads *amount* bytes into a buffer that is used again and again."""
    buffer = memoryview(bytearray(PIECE))
    while amount:
        amount -= await stream.read_into(buffer if amount >= PIECE else buffer[:amount], partial=True)  # type: ignore[arg-type]


async def read_pieces(stream: IOStream, amount: int) -> None:
    """Reads *amount* bytes as ``bytes``, some at a time."""
    while amount:
        amount -= len(await stream.read_bytes(min(PIECE, amount), partial=True))


async def write(stream: IOStream, amount: int, size: int) -> None:
    """Writes *amount* bytes, *size* at a time."""
    block = memoryview(bytes(size))
    while amount:
        await stream.write(block[: min(size, amount)])
        amount -= min(size, amount)


async def echo(stream: IOStream, size: int) -> None:
    """Sends back every *size* bytes, for as long as the client likes."""
    while True:
        await stream.write(await stream.read_bytes(size))


async def write_singly(stream: IOStream, size: int) -> None:
    """Writes *size* times one byte for each byte that comes, for as long as the client likes."""
    while True:
        await stream.read_bytes(1)
        for _ in range(size):
            stream.write(b"t")


async def serve(stream: IOStream) -> None:
    """Does what the client asks for until it closes the connection."""
    stream.set_nodelay(True)  # as Tornado's HTTP server does
    while True:
        try:
            what, amount, size = (await stream.read_until(b"\n", LONGEST_LINE)).split()
            if what == b"ping":
                await stream.write(ANSWER)
            elif what == b"up":
                await read_into(stream, int(amount))
                await stream.write(ANSWER)
            elif what == b"up-pieces":
                await read_pieces(stream, int(amount))
                await stream.write(ANSWER)
            elif what == b"down":
                await write(stream, int(amount), int(size))
            elif what == b"echo":
                await echo(stream, int(size))
            elif what == b"writes":
                await write_singly(stream, int(size))
            else:
                raise ValueError(f"a client asked for {what!r}")
        except StreamClosedError:
            return


class Server(TCPServer):
    """Serves the clients of plain TCP, or of Tornado's own TLS."""

    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        await serve(stream)


class Page(RequestHandler):
    """The site's only page."""

    def get(self) -> None:
        self.write(PAGE)

    def compute_etag(self) -> None:
        """None: twisted.web has none either."""


SITE = Application([("/", Page)])

Servers = tuple[TCPServer, HTTPServer]
"""Of the clients' own words, and of HTTP."""


def plain(pem: str) -> Servers:
    """Tornado's TCP server without TLS."""
    return Server(), HTTPServer(SITE)


def wrapped_sockets(pem: str) -> Servers:
    """Tornado's own TLS: SSLIOStream, over the standard library's ``ssl``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return Server(ssl_options=context), HTTPServer(SITE, ssl_options=context)


def in_memory(pem: str) -> Servers:
    """txmembio's TLS on Tornado."""
    import txmembio
    import txmembio.tornado

    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    class TLSServer(txmembio.tornado.TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await serve(stream)

    return TLSServer(ssl_options=context), txmembio.tornado.HTTPServer(SITE, ssl_options=context)


SERVERS: dict[str, Callable[[str], Servers]] = {
    "tornado-plain": plain,
    "tornado-ssl": wrapped_sockets,
    "tornado-txmembio": in_memory,
}
"""By the contender's key: what makes the servers from the path of a PEM file."""


async def main(key: str, pems: list[str]) -> None:
    """Serves until the end of standard input."""
    allow_many_files()

    def listen(server: TCPServer) -> int:
        sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
        server.add_sockets(sockets)
        port: int = sockets[0].getsockname()[1]
        return port

    servers = [SERVERS[key](pem) for pem in pems]
    ports, web = [listen(server) for server, _ in servers], listen(servers[0][1])
    ended = asyncio.Event()

    def on_input(descriptor: int, events: int) -> None:
        if not asked():
            ended.set()

    IOLoop.current().add_handler(sys.stdin.fileno(), on_input, IOLoop.READ)
    library = sys.modules["txmembio"].OPENSSL_VERSION if key == "tornado-txmembio" else ssl.OPENSSL_VERSION
    hello(ports, None if key == "tornado-plain" else library, web)
    await ended.wait()
    IOLoop.current().remove_handler(sys.stdin.fileno())
    for server, site in servers:
        server.stop()
        site.stop()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2:]))
