"""`HTTPServer`: Tornado's own, over TLS of ours. Applications see the same as with Tornado's TLS."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")
import tornado.httpserver
import tornado.web
from tornado.httpclient import HTTPClientError
from tornado.iostream import SSLIOStream

import txmembio
from support import pair, process
from support.pki import PKI
from support.tornado_ends import Peer, on_each_loop
from support.tornado_site import calling, facts, fetch, listening, settled, site
from txmembio.tornado import HTTPServer, TCPServer

#: Bytes of a body: many records, and more than a socket's buffers hold.
SIZE = 3_000_001

#: Says that a body is no form.
BYTES = {"Content-Type": "application/octet-stream"}

#: Serves from two processes, which were made by a fork behind everything else, until its standard input ends.
FORKING = """
import asyncio, os, sys
import tornado.process
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from txmembio.tornado import HTTPServer

class Who(RequestHandler):
    def get(self):
        self.write(f"{os.getpid()} {self.request.connection.stream.socket.session_reused}")
        server.stop()

server = HTTPServer(Application([("/", Who)]), ssl_options={"certfile": sys.argv[1]})
sockets = bind_sockets(0, "127.0.0.1")
print("port", sockets[0].getsockname()[1], flush=True)
tornado.process.fork_processes(2, max_restarts=0)

async def main():
    server.add_sockets(sockets)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)

asyncio.run(main())
"""


def options(pki: PKI, **more: Any) -> dict[str, Any]:
    """The usual dict, and more."""
    return {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file, **more}


@pytest.fixture
def configured() -> Iterator[None]:
    """`HTTPServer.configure` is undone."""
    saved = tornado.httpserver.HTTPServer._save_configuration()
    yield
    tornado.httpserver.HTTPServer._restore_configuration(saved)


def test_it_is_a_server_of_both_kinds(pki: PKI) -> None:
    server = HTTPServer(site(), ssl_options=options(pki))
    assert type(server) is HTTPServer
    assert isinstance(server, tornado.httpserver.HTTPServer) and isinstance(server, TCPServer)


@on_each_loop
async def test_what_an_application_sees(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    async with listening(HTTPServer(site(), ssl_options=pair.server_context(pki, tls_version))) as port:
        version = {txmembio.TLSVersion.TLSv1_2: "TLSv1.2", txmembio.TLSVersion.TLSv1_3: "TLSv1.3"}[tls_version]
        assert await facts(pki, port) == {
            "protocol": "https",
            "remote_ip": "127.0.0.1",
            "subject": None,
            "stream": "TLSStream",
            "version": version,
        }


@on_each_loop
async def test_the_clients_certificate(pki: PKI) -> None:
    """`get_ssl_certificate()`, in the form that Tornado's has."""
    ssl_options = options(pki, ca_certs=pki.ca.certificate_file, cert_reqs=ssl.CERT_OPTIONAL)
    async with listening(HTTPServer(site(), ssl_options=ssl_options)) as port:
        assert not (await facts(pki, port))["subject"]
        found = await facts(pki, port, client_cert=pki.client.chain_file, client_key=pki.client.key_file)
        assert ["commonName", "a client"] in [pair for rdn in found["subject"] for pair in rdn]


@on_each_loop
async def test_headers_of_a_proxy(pki: PKI) -> None:
    async with listening(HTTPServer(site(), ssl_options=options(pki), xheaders=True)) as port:
        found = await facts(pki, port, headers={"X-Real-Ip": "192.0.2.7", "X-Scheme": "http"})
        assert (found["remote_ip"], found["protocol"]) == ("192.0.2.7", "http")


@on_each_loop
async def test_without_ssl_options(pki: PKI) -> None:
    async with listening(HTTPServer(site())) as port:
        found = await facts(pki, port, scheme="http")
        assert found["protocol"] == "http" and found["stream"] != "TLSStream"
    async with listening(HTTPServer(site(), protocol="https")) as port:
        response = await fetch(pki, port, "/echo", scheme="http", method="POST", body=b"x")
        assert response.body == b"x"


@on_each_loop
async def test_big_bodies(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    body = bytes(number % 251 for number in range(SIZE))
    async with listening(HTTPServer(site(), ssl_options=pair.server_context(pki, tls_version))) as port:
        response = await fetch(pki, port, "/echo", method="POST", body=body, headers=BYTES)
    assert response.body == body


@on_each_loop
async def test_many_requests_on_one_connection(pki: PKI) -> None:
    """Pipelined, and all in one record."""
    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port, calling(port, pair.client_context(pki)) as peer:
        await peer.handshake()
        await peer.send(b"GET /facts HTTP/1.1\r\nHost: localhost\r\n\r\n" * 50)
        for _ in range(50):
            assert json.loads(await response_body(peer))["version"] == "TLSv1.3"
        await peer.close()
        assert (await settled(server))["handshakes_completed"] == 1


async def response_body(peer: Peer) -> bytes:
    """The body of the next response."""
    while b"\r\n\r\n" not in peer.received:
        await peer.receive_some()
    header = bytes(peer.received).partition(b"\r\n\r\n")[0] + b"\r\n\r\n"
    length = int(header.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
    await peer.receive(len(header))
    return await peer.receive(length)


@on_each_loop
async def test_a_body_that_is_too_large(pki: PKI) -> None:
    """It is refused as Tornado refuses it, and the server goes on."""
    server = HTTPServer(site(), ssl_options=options(pki), max_buffer_size=100_000)
    async with listening(server) as port:
        with pytest.raises(HTTPClientError) as caught:
            await fetch(pki, port, "/echo", method="POST", body=b"x" * 100_001, headers=BYTES)
        assert caught.value.code in (400, 413)
        body = b"x" * 50_000
        assert (await fetch(pki, port, "/echo", method="POST", body=body, headers=BYTES)).body == body


@on_each_loop
async def test_plain_http_on_the_port(pki: PKI) -> None:
    async with listening(HTTPServer(site(), ssl_options=options(pki))) as port:
        with pytest.raises(HTTPClientError) as caught:
            await fetch(pki, port, "/facts", scheme="http")
        assert caught.value.code == 599
        assert (await facts(pki, port))["protocol"] == "https"


@on_each_loop
async def test_silent_peers_are_closed(pki: PKI) -> None:
    server = HTTPServer(site(), ssl_options=options(pki), handshake_timeout=0.01)
    async with listening(server) as port, calling(port, pair.client_context(pki)) as peer:
        assert await peer.receive_wire() == b""
        assert (await settled(server))["failures"] == {"timeout": 1}


@on_each_loop
async def test_closing_all_connections(pki: PKI) -> None:
    """They end with close_notify."""
    server = HTTPServer(site(), ssl_options=options(pki))
    async with listening(server) as port, calling(port, pair.client_context(pki)) as peer:
        await peer.handshake()
        await peer.send(b"GET /facts HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await response_body(peer)
        server.stop()
        await server.close_all_connections()
        assert await peer.receive_all() == b"" and peer.connection.peer_closed


@on_each_loop
async def test_the_settings_are_those_of_the_other_server(pki: PKI) -> None:
    heard: list[Any] = []
    server = HTTPServer(
        site(),
        False,  # positional, as Tornado's may be
        ssl_options=options(pki),
        idle_connection_timeout=10,
        on_handshake=lambda stream, error: heard.append((isinstance(stream, SSLIOStream), error)),
    )
    async with listening(server) as port:
        await facts(pki, port)
        counted = await settled(server)
    assert heard == [(True, None)]
    assert counted["handshakes_completed"] == 1


@on_each_loop
async def test_applications_listen_with_it_if_they_are_told_to(pki: PKI, configured: None) -> None:
    """`HTTPServer.configure`, which is Tornado's way to say so."""
    tornado.httpserver.HTTPServer.configure("txmembio.tornado.HTTPServer")
    server: Any = site().listen(0, "127.0.0.1", ssl_options=options(pki))
    assert type(server) is HTTPServer
    try:
        (sock,) = server._sockets.values()
        assert (await facts(pki, sock.getsockname()[1]))["stream"] == "TLSStream"
    finally:
        server.stop()
        await server.close_all_connections()


def test_processes_that_were_forked(pki: PKI) -> None:
    """The context was made before, and OpenSSL's ticket keys with it: one process resumes the sessions of another."""

    async def scenario(port: int) -> None:
        context = pair.client_context(pki)
        session = None
        answers = []
        for _ in range(2):  # each accepts no more connections after its first
            async with calling(port, context, session=session) as peer:
                await peer.handshake()
                await peer.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                answers.append((await response_body(peer)).decode().split())
                session = peer.connection.session
                await peer.close()
        (one, first), (other, second) = answers
        assert one != other
        assert (first, second) == ("False", "True")

    with process.python("-c", FORKING, pki.server.combined_file) as serving:
        port = int(serving.wait_for(r"port (\d+)")[1])
        asyncio.run(asyncio.wait_for(scenario(port), process.DEADLINE))
        serving.stdin.close()
        assert serving.wait() == 0, serving.transcript()
