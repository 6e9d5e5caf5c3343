"""Servers on asyncio, uvloop and aiofastnet, ``python -m benchmarks.asyncio_server CONTENDER PEM…``: what
:mod:`benchmarks.serving` says. Whose ``ssl`` they import is for whoever starts this process.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import sys
from typing import Any

from benchmarks.serving import BACKLOG, Service, allow_many_files, asked, hello


class Serving(Service, asyncio.Protocol):
    """One connection."""

    data_received = Service.received
    pause_writing = Service.pause
    resume_writing = Service.resume

    def connection_made(self, transport: Any) -> None:
        if (connected := transport.get_extra_info("socket")) is not None:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.serve(transport)


def tls(pem: str) -> ssl.SSLContext:
    """A context of ``ssl``, whoever's that is."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)
    return context


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """The event loop of that *name*."""
    if name == "uvloop":
        import uvloop

        return uvloop.new_event_loop()
    return asyncio.new_event_loop()


async def main(key: str, pems: list[str]) -> None:
    """Serves until the end of standard input."""
    allow_many_files()
    package, _, kind = key.partition("-")
    loop = asyncio.get_running_loop()
    create_server: Any = loop.create_server
    if package == "aiofastnet":
        import aiofastnet

        async def create_server(*arguments: Any, **named: Any) -> Any:
            return await aiofastnet.create_server(loop, *arguments, **named)

    servers, ports = [], []
    for pem in pems:
        context = None if kind == "plain" else tls(pem)
        servers.append(await create_server(Serving, "127.0.0.1", 0, ssl=context, backlog=BACKLOG))
        ports.append(servers[-1].sockets[0].getsockname()[1])
    ended = asyncio.Event()

    def on_input() -> None:
        if not asked():
            ended.set()

    loop.add_reader(sys.stdin.fileno(), on_input)
    hello(ports, None if kind == "plain" else ssl.OPENSSL_VERSION)
    await ended.wait()
    loop.remove_reader(sys.stdin.fileno())
    for server in servers:
        server.close()


if __name__ == "__main__":
    loop = new_loop(sys.argv[1].partition("-")[0])
    asyncio.set_event_loop(loop)
    loop.run_until_complete(main(sys.argv[1], sys.argv[2:]))
