"""Tornado's servers and clients over our TLS, and other people's programs: curl, wrk, tinyproxy. And the example that
fetches, against the example that serves.
"""

from __future__ import annotations

import hashlib
import json
import re
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")

import txmembio
from support import peers, web_peers
from support.peers import require
from support.pki import PKI
from support.process import Process, environment, python

EXAMPLES = Path(__file__).parents[2] / "examples"

#: Bytes: hundreds of records, many reads of a socket.
SIZE = 8_000_003

#: Serves bytes, and digests of what it gets, over TLS.
SITE = """
import asyncio, hashlib, json, sys
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, stream_request_body
from txmembio.tornado import HTTPServer

class Bytes(RequestHandler):
    async def get(self, size):
        block = bytes(range(256)) * 64
        left = int(size)
        while left:
            self.write(block[:left])
            left -= len(block[:left])
            await self.flush()

@stream_request_body
class Digest(RequestHandler):
    def prepare(self):
        self.digest = hashlib.sha256()
    def data_received(self, chunk):
        self.digest.update(chunk)
    def post(self):
        self.write(self.digest.hexdigest())

class Facts(RequestHandler):
    def get(self):
        socket = self.request.connection.stream.socket
        certificate = self.request.get_ssl_certificate()
        self.write({"version": socket.version(), "reused": socket.session_reused, "client": certificate is not None})

class Counters(RequestHandler):
    def get(self):
        self.write(server.counters.snapshot())

class Hello(RequestHandler):
    def get(self):
        self.write("hello")

pages = [(r"/bytes/(\\d+)", Bytes), ("/digest", Digest), ("/facts", Facts), ("/counters", Counters), ("/", Hello)]
server = HTTPServer(Application(pages), ssl_options=json.loads(sys.argv[1]), max_body_size=1 << 30)

async def main():
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    print("port", sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@contextmanager
def serving(pki: PKI, **options: object) -> Iterator[tuple[Process, int]]:
    """The site; its process and its port."""
    ssl_options = {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file, **options}
    with python("-c", SITE, json.dumps(ssl_options)) as process:
        yield process, int(process.wait_for(r"port (\d+)")[1])
        assert process.running(), process.transcript()


def curl(pki: PKI, port: int, path: str, *options: str, status: int = 0) -> bytes:
    """What curl has fetched."""
    trust = ["--cacert", pki.ca.certificate_file, "--resolve", f"localhost:{port}:127.0.0.1", "--fail"]
    with peers.curl(*trust, *options, f"https://localhost:{port}{path}") as process:
        assert process.wait() == status, process.transcript()
        return process.output


def pattern(size: int) -> bytes:
    """What the site's `/bytes` are."""
    block = bytes(range(256)) * 64
    return (block * (size // len(block) + 1))[:size]


def test_downloads(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with serving(pki) as (_, port):
        versions = peers.curl_version(tls_version)
        assert curl(pki, port, f"/bytes/{SIZE}", *versions) == pattern(SIZE)
        slowly = curl(pki, port, f"/bytes/{SIZE}", *versions, "--limit-rate", "40M")
        assert slowly == pattern(SIZE)


def test_uploads(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(pattern(SIZE))
    with serving(pki) as (_, port):
        for how in (["--data-binary", f"@{body}"], ["--data-binary", f"@{body}", "-H", "Transfer-Encoding: chunked"]):
            plain = ["-H", "Content-Type: application/octet-stream"]
            said = curl(pki, port, "/digest", *peers.curl_version(tls_version), *how, *plain)
            assert said.decode() == hashlib.sha256(pattern(SIZE)).hexdigest()


def test_many_requests_of_one_connection_and_of_many(pki: PKI) -> None:
    with serving(pki) as (_, port):
        urls = [f"https://localhost:{port}/bytes/{size}" for size in range(0, 40_000, 400)]
        for more in ([], ["--parallel", "--parallel-max", "20"]):
            found = curl(pki, port, "/", *more, *urls)
            assert len(found) == len("hello") + sum(range(0, 40_000, 400))


def test_client_certificates(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ours = ["--cert", pki.client.chain_file, "--key", pki.client.key_file]
    versions = peers.curl_version(tls_version)
    options: dict[str, object] = {"ca_certs": pki.ca.certificate_file, "cert_reqs": int(ssl.CERT_REQUIRED)}
    with serving(pki, **options) as (process, port):
        assert b'"client": true' in curl(pki, port, "/facts", *ours, *versions)
        trust = ["--cacert", pki.ca.certificate_file, "--resolve", f"localhost:{port}:127.0.0.1"]
        with peers.curl(*trust, *versions, f"https://localhost:{port}/facts") as refused:
            assert refused.wait() != 0
        assert b'"client": true' in curl(pki, port, "/facts", *ours, *versions)
        process.wait_for("PEER_DID_NOT_RETURN_A_CERTIFICATE")


def test_wrk(pki: PKI) -> None:
    """Two seconds of as many requests as there can be; each of them is answered."""
    program = require("wrk")
    with serving(pki) as (_, port):
        with Process([program, "-t1", "-c50", "-d2s", f"https://localhost:{port}/"], env=environment()) as load:
            assert load.wait() == 0, load.transcript()
        said = load.output.decode()
        assert int(re.search(r"(\d+) requests in", said)[1]) > 100, said  # type: ignore[index]
        assert "Socket errors" not in said and "Non-2xx" not in said, said


def test_our_client_through_tinyproxy(pki: PKI, tmp_path: Path) -> None:
    """The example that fetches."""
    with serving(pki) as (_, port), web_peers.tinyproxy(tmp_path) as (proxy, proxy_port):
        arguments = ["--roots", pki.ca.certificate_file, "--proxy", f"127.0.0.1:{proxy_port}"]
        with python(EXAMPLES / "tornado_fetch.py", f"https://localhost:{port}/bytes/{SIZE}", *arguments) as fetching:
            assert fetching.wait() == 0, fetching.transcript()
        assert fetching.output == pattern(SIZE)
        assert fetching.errors == f"200 OK from https://localhost:{port}/bytes/{SIZE}\n"
        proxy.wait_for(f"CONNECT localhost:{port}")


def test_a_proxy_that_asks_for_a_password(pki: PKI, tmp_path: Path) -> None:
    with serving(pki) as (_, port), web_peers.tinyproxy(tmp_path, "BasicAuth somebody secret") as (_, proxy_port):
        arguments = ["--roots", pki.ca.certificate_file, "--proxy", f"127.0.0.1:{proxy_port}"]
        with python(EXAMPLES / "tornado_fetch.py", f"https://localhost:{port}/", *arguments) as fetching:
            assert fetching.wait() == 1
        assert (
            f"the proxy 127.0.0.1:{proxy_port} did not connect to localhost:{port}: it answered 407" in fetching.errors
        )


def test_the_example_that_fetches_and_the_one_that_serves(pki: PKI, tmp_path: Path) -> None:
    """With a certificate of its own; and what goes wrong, in one line."""
    credential = ["--certificate", pki.server.chain_file, "--key", pki.server.key_file, "--port", "0"]
    with python(EXAMPLES / "tornado_chat.py", *credential, "--clients", pki.ca.certificate_file) as chat:
        port = int(chat.wait_for(r"listening on port (\d+)")[1])
        url = f"https://localhost:{port}/"
        ours = ["--roots", pki.ca.certificate_file, "--certificate", pki.client.combined_file]
        with python(EXAMPLES / "tornado_fetch.py", url, *ours) as fetching:
            assert fetching.wait() == 0, fetching.transcript()
        assert b"<title>A chat</title>" in fetching.output
        for arguments, message in (
            (ours[2:], "SSLCertVerificationError: "),
            (["--roots", str(tmp_path / "nowhere.pem")], "FileNotFoundError: "),
            (["--roots", pki.ca.certificate_file], "SSLError: "),
        ):
            with python(EXAMPLES / "tornado_fetch.py", url, *arguments) as failing:
                assert failing.wait() == 1, failing.transcript()
            assert failing.errors.rstrip().splitlines()[-1].startswith(message), failing.transcript()
    with python(EXAMPLES / "tornado_chat.py", "--certificate", "nowhere.pem") as failing:
        assert failing.wait() == 1
    assert failing.errors.startswith("ValueError: ssl_options['certfile'] is 'nowhere.pem': expected")


def test_the_library_alone_has_no_standard_ssl_context(pki: PKI) -> None:
    """Not one is made by serving and fetching, in a fresh interpreter."""
    script = """
import ssl, sys, asyncio
made = []
new = ssl.SSLContext.__new__
ssl.SSLContext.__new__ = lambda cls, *args, **kwargs: made.append(cls) or new(cls, *args, **kwargs)
from tornado.netutil import bind_sockets
from tornado.web import Application
from txmembio.tornado import AsyncHTTPClient, HTTPServer

async def main():
    server = HTTPServer(Application([]), ssl_options={"certfile": sys.argv[1]})
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"https://127.0.0.1:{sockets[0].getsockname()[1]}/"
    response = await AsyncHTTPClient().fetch(url, ca_certs=sys.argv[2], raise_error=False)
    print(response.code, made)

asyncio.run(main())
"""
    with Process(
        [sys.executable, "-c", script, pki.server.combined_file, pki.ca.certificate_file], env=environment()
    ) as p:
        assert p.wait() == 0, p.transcript()
    assert p.output.decode() == "404 []\n"
