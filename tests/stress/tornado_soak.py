"""A program: HTTPS requests over many connections, some of which break off; then it says what is left of them.

    python -m stress.tornado_soak REQUESTS CONNECTIONS CHAIN KEY CA

Two halves of REQUESTS / 2 each, over CONNECTIONS at a time; server and clients are both txmembio's and in this process.
Most requests are answered and the connection goes on to the next; one in twelve ends it in one of `ENDINGS`. A short
run of the same comes first, to load and to cache what there is. Prints one line of JSON: the state before, after the
first half and after the second, as `State` has it, and how often each kind of request was made.
"""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
import sys
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import asdict, dataclass
from typing import Any

import tornado.web
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import Resolver, bind_sockets

import txmembio
from support.holdings import Holdings, holdings
from txmembio.tornado import HTTPServer, TCPClient

#: One request in so many ends its connection.
ENDING_EVERY = 12

#: Bytes of a body: most fit one record; one in ten is larger than what a socket takes at once, and than one read.
SMALL, LARGE = 1000, 200_000

#: Bytes that a server writes at a time.
PIECE = 65536

#: Requests that each connection makes before anything is counted: enough for every ending, many times.
WARM_UP = 20

#: Seconds until a half counts as hung, for each request of it. They take less than a thousandth each.
PATIENCE = 0.02


# --- the server ------------------------------------------------------------------------------------------------------


class Bytes(tornado.web.RequestHandler):
    """So many bytes, piece by piece."""

    async def get(self, size: str) -> None:
        left = int(size)
        try:
            while left:
                piece = min(left, PIECE)
                self.write(body(piece))
                await self.flush()
                left -= piece
        except StreamClosedError:
            pass  # the client has had enough, as is its right


class Checksum(tornado.web.RequestHandler):
    """What zlib.crc32 says of the body."""

    def post(self) -> None:
        self.write(str(zlib.crc32(self.request.body)))


class Abort(tornado.web.RequestHandler):
    """Breaks off in the middle of its answer."""

    async def get(self) -> None:
        self.set_header("Content-Length", LARGE)
        self.write(body(PIECE))
        connection: Any = self.request.connection
        connection.stream.close()


SITE = [(r"/bytes/(\d+)", Bytes), ("/checksum", Checksum), ("/abort", Abort)]

_letters = bytes(range(256)) * (LARGE // 256 + 1)


def body(size: int) -> bytes:
    """The body of this size."""
    return _letters[:size]


# --- clients ---------------------------------------------------------------------------------------------------------


class Here(Resolver):
    """Whatever the name, it is this host: nothing here is about resolving."""

    async def resolve(self, host: str, port: int, family: int = 0) -> list[tuple[int, Any]]:
        return [(socket.AF_INET, ("127.0.0.1", port))]


async def answer(stream: IOStream) -> bytes:
    """The body of the next answer."""
    head = await stream.read_until(b"\r\n\r\n")
    status, *fields = head.decode("latin-1").split("\r\n")
    assert status == "HTTP/1.1 200 OK", status
    headers = {name.lower(): value for name, _, value in (field.partition(": ") for field in fields)}
    if headers.get("transfer-encoding") != "chunked":
        return await stream.read_bytes(int(headers["content-length"]))
    pieces = []
    while size := int(await stream.read_until(b"\r\n"), 16):
        pieces.append(await stream.read_bytes(size))
        await stream.read_bytes(2)
    await stream.read_bytes(2)
    return b"".join(pieces)


def request(path: str, *more: str, method: str = "GET") -> bytes:
    return "\r\n".join((f"{method} {path} HTTP/1.1", "Host: localhost", *more, "", "")).encode()


async def is_answered(stream: IOStream, size: int) -> None:
    await stream.write(request(f"/bytes/{size}"))
    assert await answer(stream) == b"".join(body(min(PIECE, size - at)) for at in range(0, size, PIECE))


async def sends_a_body(stream: IOStream, size: int) -> None:
    sent = body(size)
    await stream.write(request("/checksum", f"Content-Length: {size}", method="POST") + sent)
    assert int(await answer(stream)) == zlib.crc32(sent)


# Endings. Each leaves a stream that is of no more use.


async def closes(stream: IOStream, size: int) -> None:
    await is_answered(stream, size)


async def asks_the_server_to_close(stream: IOStream, size: int) -> None:
    await stream.write(request(f"/bytes/{size}", "Connection: close"))
    await answer(stream)
    assert await stream.read_until_close() == b""
    assert stream.error is None, stream.error


async def is_aborted_by_the_server(stream: IOStream, size: int) -> None:
    await stream.write(request("/abort"))
    try:
        await answer(stream)
    except StreamClosedError:
        return
    raise AssertionError("the server was to break off")


async def resets(stream: IOStream, size: int) -> None:
    """With a request sent, and nothing read."""
    await stream.write(request(f"/bytes/{LARGE}"))
    stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def stops_in_a_request(stream: IOStream, size: int) -> None:
    await stream.write(request(f"/bytes/{size}")[:30])


async def stops_in_a_body(stream: IOStream, size: int) -> None:
    await stream.write(request("/checksum", f"Content-Length: {2 * size}", method="POST") + body(size))


async def stops_in_an_answer(stream: IOStream, size: int) -> None:
    await stream.write(request(f"/bytes/{LARGE}"))
    await stream.read_bytes(SMALL)


async def leaves_without_close_notify(stream: IOStream, size: int) -> None:
    await is_answered(stream, size)
    stream.socket.raw.shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]


ENDINGS = (
    closes,
    asks_the_server_to_close,
    is_aborted_by_the_server,
    resets,
    stops_in_a_request,
    stops_in_a_body,
    stops_in_an_answer,
    leaves_without_close_notify,
)


async def stops_in_the_handshake(port: int, context: txmembio.SSLContext) -> None:
    """Sends half of a ClientHello, and is gone."""
    hello = context.connection(server_hostname="localhost")
    hello.do_handshake()
    _, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(hello.wire_to_send()[:100])
    writer.close()
    await writer.wait_closed()


class Clients:
    """Make requests, each unlike the one before."""

    def __init__(self, port: int, context: txmembio.SSLContext) -> None:
        self.port = port
        self.context = context
        self.random = random.Random(4)
        self.client = TCPClient(resolver=Here())
        self.done: Counter[str] = Counter()

    async def run(self, requests: int, connections: int) -> None:
        """So many requests; all connections are gone at the end."""
        numbers = iter(range(requests))
        await asyncio.gather(*(self.go_on(numbers) for _ in range(connections)))

    async def go_on(self, numbers: Iterator[int]) -> None:
        """One connection after the other, as long as there are requests to make."""
        stream: IOStream | None = None
        for _ in numbers:
            size = LARGE if self.random.randrange(10) == 0 else self.random.randrange(SMALL)
            ending = self.random.randrange(ENDING_EVERY) == 0
            kinds: tuple[Callable[[IOStream, int], Awaitable[None]], ...]
            kinds = ENDINGS if ending else (is_answered, sends_a_body)
            kind = self.random.choice(kinds)
            if stream is None:
                if self.random.randrange(ENDING_EVERY) == 0:
                    self.done["stops_in_the_handshake"] += 1
                    await stops_in_the_handshake(self.port, self.context)
                stream = await self.client.connect("localhost", self.port, ssl_options=self.context)
            self.done[kind.__name__] += 1
            await kind(stream, size)
            if ending:
                stream.close()
                stream = None
        if stream is not None:
            stream.close()


# --- what is left ----------------------------------------------------------------------------------------------------


@dataclass
class State(Holdings):
    """And what is asyncio's, and what was counted."""

    tasks: int
    served: dict[str, Any]


#: Of Tornado's and asyncio's, beside everything of ours.
OTHERS = {"HTTP1ServerConnection", "HTTP1Connection", "HTTPServerRequest", "IOStream", "Task", "Future", "TimerHandle"}


async def state(server: HTTPServer) -> State:
    while server.counters.connections_open:
        await asyncio.sleep(0)
    for _ in range(3):  # what is to be done in the next turn of the loop, and what that leaves to be done
        await asyncio.sleep(0)
    return State(
        **vars(holdings(OTHERS)),
        tasks=len(asyncio.all_tasks()),
        served=server.counters.snapshot(),
    )


async def main(requests: int, connections: int, chain: str, key: str, ca: str) -> None:
    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    server = HTTPServer(tornado.web.Application(SITE), ssl_options=context)
    sockets = bind_sockets(0, "127.0.0.1", backlog=connections)
    server.add_sockets(sockets)
    clients = Clients(sockets[0].getsockname()[1], txmembio.create_default_context(cafile=ca))
    await clients.run(WARM_UP * connections, connections)
    states = [await state(server)]
    clients.done.clear()
    for _ in range(2):
        await asyncio.wait_for(clients.run(requests // 2, connections), 60 + requests * PATIENCE)
        states.append(await state(server))
    server.stop()
    print(json.dumps({"states": [asdict(each) for each in states], "done": clients.done}))


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
