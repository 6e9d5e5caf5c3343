"""A Tornado server that the end-to-end benchmarks measure: ``python -m benchmarks.tornado_server CONTENDER PEM``.

It says in a line of JSON where it listens and which libssl it has, and then answers each line of its input, from the
event loop: ``cpu`` with the processor time it has used, in seconds, ``memory`` with the bytes of memory that are its
own. It ends with its input.

A client (``load.c``) asks for what it wants in a line of text, ``WHAT AMOUNT SIZE``, and for the next thing when that
is done:

==============  =====================================================================================
``ping``        the answer, ``.``
``up``          reads AMOUNT bytes into one buffer, as they come; then the answer
``up-pieces``   reads AMOUNT bytes as pieces, the way that Tornado's HTTP server reads a body; then the answer
``down``        writes AMOUNT bytes, SIZE at a time, each when the one before is with the operating system
``echo``        sends every SIZE bytes back, until the client closes
==============  =====================================================================================
"""

from __future__ import annotations

import asyncio
import ctypes
import gc
import json
import os
import resource
import ssl
import sys
import time
from collections.abc import Callable
from typing import Any

from tornado.ioloop import IOLoop
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.tcpserver import TCPServer

ANSWER = b"."

PIECE = 65536
"""Bytes read at a time, at most: Tornado's ``read_chunk_size``, and the ``chunk_size`` of its HTTP server."""

LONGEST_LINE = 64
"""Bytes of a client's line, at most."""

BACKLOG = 1024
"""Connections that may wait to be accepted: so many that no client waits to be let in."""


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
            else:
                raise ValueError(f"a client asked for {what!r}")
        except StreamClosedError:
            return


def plain(pem: str) -> TCPServer:
    """Tornado's TCP server without TLS."""

    class Server(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await serve(stream)

    return Server()


def wrapped_sockets(pem: str) -> TCPServer:
    """Tornado's own TLS: SSLIOStream, over the standard library's ``ssl``."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    class Server(TCPServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await serve(stream)

    return Server(ssl_options=context)


def in_memory(pem: str) -> TCPServer:
    """txmembio's TLS on Tornado."""
    import txmembio
    from txmembio.tornado import TCPServer as TLSServer

    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pem)

    class Server(TLSServer):
        async def handle_stream(self, stream: IOStream, address: Any) -> None:
            await serve(stream)

    return Server(ssl_options=context)


SERVERS: dict[str, tuple[str, Callable[[str], TCPServer]]] = {
    "tornado-plain": ("Tornado, plain TCP", plain),
    "tornado-ssl": ("Tornado, SSLIOStream", wrapped_sockets),
    "tornado-txmembio": ("Tornado, txmembio", in_memory),
}
"""By the key on the command line and in the JSON: the name that is printed, and what makes the server from *pem*."""


def mapped_libssl() -> list[str]:
    """The files of libssl that are mapped into this process: none if it has one linked into something else."""
    with open("/proc/self/maps") as maps:
        return sorted({line.split()[-1] for line in maps if "/libssl" in line})


def own_memory() -> int:
    """Bytes of memory that this process alone has: what can be freed is freed first."""
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps some of what free() has been given
        libc.malloc_trim(0)
    total = 0
    with open("/proc/self/smaps_rollup") as rollup:
        for line in rollup:
            if line.startswith("Private_"):
                total += int(line.split()[1]) * 1024
    return total


def answer(question: str) -> Any:
    """What a line of the input asks for."""
    if question == "cpu":
        return time.process_time()
    if question == "memory":
        return own_memory()
    raise ValueError(f"asked for {question!r}: expected 'cpu' or 'memory'")


async def main(key: str, pem: str) -> None:
    """Serves until the end of standard input."""
    name, make = SERVERS[key]
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    server = make(pem)
    sockets = bind_sockets(0, "127.0.0.1", backlog=BACKLOG)
    server.add_sockets(sockets)
    ended = asyncio.Event()

    def asked(descriptor: int, events: int) -> None:
        # One question at a time is asked, and it is a short line: read whole.
        line = os.read(descriptor, 100).decode("ascii")
        if line:
            print(json.dumps(answer(line.strip())), flush=True)
        else:
            ended.set()

    IOLoop.current().add_handler(sys.stdin.fileno(), asked, IOLoop.READ)
    libraries = {"ssl": ssl.OPENSSL_VERSION}
    if "txmembio" in sys.modules:
        libraries["txmembio"] = sys.modules["txmembio"].OPENSSL_VERSION
    hello = {"name": name, "port": sockets[0].getsockname()[1], "libraries": libraries, "mapped": mapped_libssl()}
    print(json.dumps(hello), flush=True)
    await ended.wait()
    IOLoop.current().remove_handler(sys.stdin.fileno())
    server.stop()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
