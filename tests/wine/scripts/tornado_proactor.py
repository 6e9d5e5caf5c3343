"""Tornado on asyncio's Proactor loop: streams, and HTTP, both ways in one process.

    python tornado_proactor.py CERTIFICATES SIZE

The loop itself is made of completion ports, but not what Tornado does on it: for streams it waits in `select()`, in a
thread of its own (`tornado.platform.asyncio.SelectorThread`). Prints what happened as JSON.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import tornado
import tornado.web
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets

from txmembio.tornado import AsyncHTTPClient, HTTPServer, TCPClient, TCPServer, TLSStream


class EchoServer(TCPServer):
    """Sends back what comes."""

    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        try:
            while True:
                await stream.write(await stream.read_bytes(65536, partial=True))
        except StreamClosedError:
            pass


class EchoHandler(tornado.web.RequestHandler):
    """Answers with the request's body."""

    def post(self) -> None:
        self.write(self.request.body)


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


async def stream(files: dict[str, str], trusted: str, data: bytes) -> dict[str, Any]:
    """Through a TLSStream at each end."""
    server = EchoServer(ssl_options=files)
    (listening,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listening)
    client = await TCPClient().connect(
        "localhost", listening.getsockname()[1], ssl_options={"ca_certs": trusted}, source_ip="127.0.0.1"
    )
    assert isinstance(client, TLSStream), client
    writing = asyncio.ensure_future(client.write(data))
    received = await client.read_bytes(len(data))
    await writing
    assert client.connection is not None
    version = client.connection.version()
    client.close()
    server.stop()
    return {"received": len(received), "sha256": sha256(received), "version": version}


async def http(files: dict[str, str], trusted: str, data: bytes) -> dict[str, Any]:
    """Through an HTTPServer and an AsyncHTTPClient."""
    server = HTTPServer(tornado.web.Application([("/", EchoHandler)]), ssl_options=files)
    (listening,) = bind_sockets(0, "127.0.0.1")
    server.add_socket(listening)
    url = f"https://localhost:{listening.getsockname()[1]}/"
    client = AsyncHTTPClient(force_instance=True)
    form = {"Content-Type": "application/octet-stream"}  # or else Tornado takes it for a form
    answer = await client.fetch(url, method="POST", headers=form, body=data, ca_certs=trusted, allow_ipv6=False)
    client.close()
    server.stop()
    await server.close_all_connections()
    return {"received": len(answer.body), "sha256": sha256(answer.body), "status": answer.code}


async def main(certificates: Path, size: int) -> None:
    data = hashlib.shake_256(b"txmembio").digest(size)
    files = {"certfile": str(certificates / "server.pem"), "keyfile": str(certificates / "server.pem")}
    trusted = str(certificates / "ca.pem")
    loop = asyncio.get_running_loop()
    facts: dict[str, Any] = {"loop": type(loop).__name__, "tornado": tornado.version, "sent": sha256(data)}
    facts["stream"] = await asyncio.wait_for(stream(files, trusted, data), 60)
    facts["http"] = await asyncio.wait_for(http(files, trusted, data), 60)
    print(json.dumps(facts))


if __name__ == "__main__":
    if sys.platform == "win32":
        asyncio.set_event_loop_policy(asyncio.WindowsProactorEventLoopPolicy())
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2])))
