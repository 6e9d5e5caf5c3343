"""Servers and clients that know nothing of txmembio, and say `import ssl`: run in a child Python after install("ssl").

    serve KIND CHAIN KEY           prints "port N", and serves until it is stopped
    fetch KIND URL CA              prints what came of a GET and of a POST, as JSON; exit status 0 also for a refused
                                   certificate

KIND is asyncio, aiohttp (without aiofastnet, though it be installed), aiofastnet (aiohttp on a loop that aiofastnet has
patched), and for clients httpx, requests, truststore (with urllib3), urllib3, and urllib, the standard library's own.

The page is `PAGE`; `UPLOAD` comes back as its SHA-256.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import ssl
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Any

PAGE = b"".join(b"line %06d\n" % number for number in range(30_000))
"""Some 360 KB: many records, and more than any one read."""

UPLOAD = PAGE[::-1]

TIMEOUT = 30
"""Seconds for one request: a hang should be told by the client, with its own words."""

made: list[object] = []
"""The connections of txmembio that were made, so that the test can see whose TLS it was."""


def count_connections() -> None:
    from txmembio.connection import Connection

    def make(self: Connection, *arguments: Any, **more: Any) -> None:
        made.append(None)
        original(self, *arguments, **more)

    original = Connection.__init__
    Connection.__init__ = make  # type: ignore[method-assign]


def patch_loop() -> None:
    """Has aiofastnet do what the running loop does. It must not take our contexts for those of CPython, into whose
    memory it looks."""
    import aiofastnet
    from aiofastnet.openssl_compat import OPENSSL_DYN_LIBS

    assert OPENSSL_DYN_LIBS is None
    aiofastnet.patch_loop()


# Servers


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """One request over asyncio's streams: HTTP enough for the clients below."""
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    body = PAGE
    if head.startswith("POST"):
        length = next(int(line[15:]) for line in head.splitlines() if line.lower().startswith("content-length:"))
        body = hashlib.sha256(await reader.readexactly(length)).hexdigest().encode()
    writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body))
    writer.write(body)
    await writer.drain()
    writer.close()
    with suppress(ConnectionError):  # most clients just close their socket
        await writer.wait_closed()


async def serve_asyncio(context: ssl.SSLContext) -> None:
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    print("port", server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def serve_aiohttp(context: ssl.SSLContext) -> None:
    from aiohttp import web

    async def get(request: web.Request) -> web.Response:
        return web.Response(body=PAGE)

    async def post(request: web.Request) -> web.Response:
        return web.Response(text=hashlib.sha256(await request.read()).hexdigest())

    application = web.Application(client_max_size=10 * len(UPLOAD))
    application.add_routes([web.get("/", get), web.post("/", post)])
    runner = web.AppRunner(application)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context)
    await site.start()
    print("port", runner.addresses[0][1], flush=True)
    await asyncio.Event().wait()


async def serve_aiofastnet(context: ssl.SSLContext) -> None:
    patch_loop()
    await serve_aiohttp(context)


SERVERS: dict[str, Any] = {"asyncio": serve_asyncio, "aiohttp": serve_aiohttp, "aiofastnet": serve_aiofastnet}


# Clients: each fetches the page, or uploads, and returns the status and the body.


def with_urllib(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    import urllib.error
    import urllib.request

    opener = urllib.request.build_opener(
        urllib.request.ProxyHandler({}),
        urllib.request.HTTPSHandler(context=ssl.create_default_context(cafile=ca)),
    )
    try:
        with opener.open(url, upload, timeout=TIMEOUT) as response:
            return response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()


def with_urllib3(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    import urllib3

    with urllib3.PoolManager(ca_certs=ca, timeout=TIMEOUT, retries=False) as pool:
        response = pool.request("GET" if upload is None else "POST", url, body=upload)
        return response.status, response.data


def with_truststore(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    """urllib3 with a context of truststore's, which wraps one of ssl's."""
    import truststore
    import urllib3

    context = truststore.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(ca)
    with urllib3.PoolManager(ssl_context=context, timeout=TIMEOUT, retries=False) as pool:
        response = pool.request("GET" if upload is None else "POST", url, body=upload)
        return response.status, response.data


def with_requests(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    import requests

    with requests.Session() as session:
        session.trust_env = False
        response = session.request("GET" if upload is None else "POST", url, data=upload, verify=ca, timeout=TIMEOUT)
        return response.status_code, response.content


def with_httpx(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    import httpx

    context = ssl.create_default_context(cafile=ca)
    with httpx.Client(verify=context, trust_env=False, timeout=TIMEOUT) as client:
        response = client.request("GET" if upload is None else "POST", url, content=upload)
        return response.status_code, response.content


def with_asyncio(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    async def fetch() -> tuple[int, bytes]:
        port = int(url.split(":")[2].strip("/"))
        context = ssl.create_default_context(cafile=ca)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context, server_hostname="localhost")
        method, length = (b"GET", 0) if upload is None else (b"POST", len(upload))
        writer.write(
            method + b" / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % length
        )
        writer.write(upload or b"")
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        body = await reader.read()
        writer.close()
        await writer.wait_closed()
        return int(head.split()[1]), body

    return asyncio.run(asyncio.wait_for(fetch(), TIMEOUT))


async def fetch_with_aiohttp(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    import aiohttp

    timeout = aiohttp.ClientTimeout(total=TIMEOUT)
    connector = aiohttp.TCPConnector(ssl=ssl.create_default_context(cafile=ca))
    method = "GET" if upload is None else "POST"
    async with (
        aiohttp.ClientSession(connector=connector, timeout=timeout) as session,
        session.request(method, url, data=upload) as response,
    ):
        return response.status, await response.read()


def with_aiohttp(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    return asyncio.run(fetch_with_aiohttp(url, ca, upload))


def with_aiofastnet(url: str, ca: str, upload: bytes | None) -> tuple[int, bytes]:
    async def fetch() -> tuple[int, bytes]:
        patch_loop()
        return await fetch_with_aiohttp(url, ca, upload)

    return asyncio.run(fetch())


CLIENTS: dict[str, Callable[[str, str, bytes | None], tuple[int, bytes]]] = {
    "aiofastnet": with_aiofastnet,
    "aiohttp": with_aiohttp,
    "asyncio": with_asyncio,
    "httpx": with_httpx,
    "requests": with_requests,
    "truststore": with_truststore,
    "urllib": with_urllib,
    "urllib3": with_urllib3,
}


def refusal(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """The refused certificate that an error, or one that it was made of, is about."""
    seen: set[int] = set()
    waiting = [error]
    while waiting:
        each = waiting.pop()
        if each is None or id(each) in seen:
            continue
        seen.add(id(each))
        if isinstance(each, ssl.SSLCertVerificationError) and hasattr(each, "verify_message"):  # aiohttp's has none
            return each
        waiting += [each.__cause__, each.__context__]
        waiting += [argument for argument in each.args if isinstance(argument, BaseException)]
        waiting.append(getattr(each, "reason", None) if isinstance(getattr(each, "reason", None), Exception) else None)
    return None


def fetch(kind: str, url: str, ca: str) -> dict[str, Any]:
    """The page, and what the server says of an upload; or why its certificate was refused."""
    out: dict[str, Any] = {}
    try:
        for what, upload in (("page", None), ("upload", UPLOAD)):
            status, body = CLIENTS[kind](url, ca, upload)
            out[what] = [status, len(body), hashlib.sha256(body).hexdigest() if upload is None else body.decode()]
    except Exception as error:
        refused = refusal(error)
        if refused is None:
            raise
        out["refused"] = refused.verify_message
    return out


def main(role: str, kind: str, *arguments: str) -> None:
    count_connections()
    if kind == "aiohttp":
        sys.modules["aiofastnet"] = None  # type: ignore[assignment]  # as if it were not installed
    if role == "serve":
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(*arguments)
        asyncio.run(SERVERS[kind](context))
    else:
        found = fetch(kind, *arguments)
        print(json.dumps({**found, "connections": len(made), "ssl": ssl.SSLContext.__module__}))


if __name__ == "__main__":
    main(*sys.argv[1:])
