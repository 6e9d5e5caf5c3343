"""HTTP with other people's programs: curl and nghttp2's clients fetch from a site on `membiotls:`, by HTTP/2 and
HTTP/1.1; `Agent` and treq fetch through tinyproxy, plain and behind TLS.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

import txmembio
from support import peers, web_peers, web_site
from support.peers import escape
from support.pki import PKI
from support.process import Process, environment
from support.reactors import program
from support.web_peers import AGENT_FETCH, site

pytest.importorskip("h2", reason="h2 is not installed")

#: Bytes. Some hundred times the window that HTTP/2 begins with.
SIZE = 8_000_003

TREQ = """
import json, sys
from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.client import Agent
from treq.client import HTTPClient
import txmembio
from txmembio.twisted import agentEndpointFactory

async def main(reactor, cafile, url):
    context = txmembio.create_default_context(cafile=cafile)
    client = HTTPClient(Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor)))
    response = await client.get(url + "/moved")
    facts = await response.json()
    answer = await client.post(url + "/digest", data=b"x" * 1000000)
    text = await (await client.get(url + "/packed")).text()
    print(json.dumps([facts["alpn"], await answer.text(), len(text), "OpenSSL" in sys.modules]))

react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
"""


def curl(pki: PKI, port: int, path: str, *options: str) -> bytes:
    """What curl has fetched."""
    trust = ["--cacert", pki.ca.certificate_file, "--resolve", f"localhost:{port}:127.0.0.1", "--fail"]
    with peers.curl(*trust, *options, f"https://localhost:{port}{path}") as process:
        assert process.wait() == 0, process.transcript()
        return process.output


@pytest.mark.parametrize(
    ("option", "more", "protocol"),
    [
        ("--http2", "", "HTTP/2"),
        ("--http1.1", "", "HTTP/1.1"),
        ("--no-alpn", "", "HTTP/1.1"),
        ("--http2", ":alpn=http/1.1", "HTTP/1.1"),
        ("--http2", ":alpn=h2,http/1.1", "HTTP/2"),
        ("--http2-prior-knowledge", ":alpn=h2", "HTTP/2"),
    ],
)
def test_alpn_chooses(option: str, more: str, protocol: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Without alpn= in the string, the site's own list does."""
    with site(pki.server, more) as (process, port):
        written = ["--write-out", "\n%{http_version}", *peers.curl_version(tls_version)]
        facts, version = curl(pki, port, "/facts", option, *written).splitlines()
        assert json.loads(facts)["protocol"] == protocol
        assert f"HTTP/{version.decode()}" == protocol
        process.wait_for(f"{protocol} GET /facts")


@pytest.mark.parametrize("kind", ["bytes", "pulled", "whole"])
@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_a_big_download(option: str, kind: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with site(pki.server) as (_, port):
        fetched = curl(pki, port, f"/{kind}/{SIZE}", option, *peers.curl_version(tls_version))
    assert fetched == web_site.pattern(SIZE)


@pytest.mark.parametrize("option", ["--http2", "--http1.1"])
def test_a_big_upload(option: str, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    body = tmp_path / "body"
    body.write_bytes(web_site.pattern(SIZE))
    with site(pki.server) as (_, port):
        sent = ["--data-binary", f"@{body}", *peers.curl_version(tls_version)]
        assert curl(pki, port, "/digest", option, *sent).decode() == web_site.digest(web_site.pattern(SIZE))


def test_many_streams_of_one_connection(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    """A hundred, fifty at once: each file is the right one, and there was one handshake for all."""
    sizes = range(100_000, 200_000, 1000)
    with site(pki.server) as (_, port):
        options = ["--http2", "--parallel", "--parallel-max", "50", "--output", str(tmp_path / "#1")]
        options += ["--write-out", "%{num_connects}\n", *peers.curl_version(tls_version)]
        connects = curl(pki, port, "/bytes/[100000-199000:1000]", *options)
    assert [(tmp_path / str(size)).read_bytes() for size in sizes] == [web_site.pattern(size) for size in sizes]
    assert sum(map(int, connects.split())) == 1


def test_a_site_is_loaded(pki: PKI) -> None:
    """h2load: some thousand requests on four connections, each with a hundred streams under way."""
    h2load = peers.require("h2load")
    with site(pki.server) as (_, port):
        command = [h2load, "--requests=2000", "--clients=4", "--max-concurrent-streams=100"]
        with Process([*command, f"https://127.0.0.1:{port}/whole/5000"]) as process:
            assert process.wait() == 0, process.transcript()
            said = process.output.decode()
        assert "Application protocol: h2" in said
        assert "2000 total, 2000 started, 2000 done, 2000 succeeded, 0 failed, 0 errored, 0 timeout" in said
        assert json.loads(curl(pki, port, "/facts", "--http2"))["protocol"] == "HTTP/2"


@pytest.mark.parametrize("bits", [8, 12, 24])
def test_small_and_large_windows(bits: int, pki: PKI) -> None:
    """nghttp allows the server 2**bits - 1 bytes before it has to wait: on each of ten streams, and altogether."""
    nghttp = peers.require("nghttp")
    with site(pki.server) as (_, port):
        command = [nghttp, "--no-verify-peer", f"--window-bits={bits}", f"--connection-window-bits={bits}", "--stat"]
        with Process([*command, "--null-out", "--multiply=10", f"https://localhost:{port}/bytes/100000"]) as process:
            assert process.wait() == 0, process.transcript()
        # status, size and path: 100,000 bytes are some 97 KiB
        assert re.findall(r" (\d+) +(\w+) /bytes/100000\n", process.output.decode()) == [("200", "97K")] * 10


def test_client_certificates_by_http_2(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    more = f":clientCA={escape(pki.ca.certificate_file)}:verifyClient=required"
    version = ["--http2", *peers.curl_version(tls_version)]
    with site(pki.server, more) as (_, port):
        own = ["--cert", pki.client.chain_file, "--key", pki.client.key_file]
        assert json.loads(curl(pki, port, "/facts", *version, *own))["protocol"] == "HTTP/2"
        with peers.curl("--cacert", pki.ca.certificate_file, *version, f"https://127.0.0.1:{port}/facts") as process:
            assert process.wait() != 0
        assert json.loads(curl(pki, port, "/facts", *version, *own))["protocol"] == "HTTP/2"


# Through proxies


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_an_agent_behind_tinyproxy(scheme: str, pki: PKI, tmp_path: Path) -> None:
    """As curl does it, too: with a password, and without one."""
    password = "BasicAuth me secret"
    opened = (
        web_peers.tinyproxy(tmp_path, password) if scheme == "http" else web_peers.https_proxy(pki, tmp_path, password)
    )
    with site(pki.server) as (_, port), opened as (process, proxy_port):
        proxy = f"{scheme}://me:secret@localhost:{proxy_port}"
        by_curl = curl(pki, port, "/bytes/1000", "--proxy", proxy, "--proxy-cacert", pki.ca.certificate_file)
        assert by_curl == web_site.pattern(1000)
        status, fetching = fetch(pki, f"https://localhost:{port}/bytes/{SIZE}", proxy)
        assert status == 0, fetching.transcript()
        assert fetching.output == web_site.pattern(SIZE)
        process.wait_for(rf"CONNECT localhost:{port} [\s\S]*CONNECT localhost:{port} ")
        status, fetching = fetch(pki, f"https://localhost:{port}/facts", f"{scheme}://localhost:{proxy_port}")
        assert status == 1
        fetching.wait_for(f"{scheme}://localhost:{proxy_port} did not connect to localhost:{port}: it answered 407")


def test_what_tinyproxy_refuses(pki: PKI, tmp_path: Path) -> None:
    with web_peers.tinyproxy(tmp_path, "ConnectPort 443") as (_, proxy_port):
        status, fetching = fetch(pki, "https://localhost:1/facts", f"http://localhost:{proxy_port}")
    assert status == 1
    fetching.wait_for("did not connect to localhost:1: it answered 403")


def fetch(pki: PKI, url: str, *more: str) -> tuple[int, Process]:
    """What the program with `Agent` does: its exit status, and what it has said."""
    with Process(program(AGENT_FETCH, url, pki.ca.certificate_file, *more), env=environment()) as fetching:
        return fetching.wait(), fetching


def test_treq(pki: PKI) -> None:
    """On an agent of ours, it needs no pyOpenSSL; only its package says so."""
    folder = web_peers.treq_folder()
    env = environment()
    env["PYTHONPATH"] = os.pathsep.join([env["PYTHONPATH"], folder])
    arguments: Sequence[str]
    with site(pki.server) as (_, port):
        arguments = [sys.executable, "-c", TREQ, pki.ca.certificate_file, f"https://localhost:{port}"]
        with Process(arguments, env=env) as process:
            assert process.wait() == 0, process.transcript()
            alpn, digest, length, pyopenssl = json.loads(process.output)
    assert (alpn, length) == ("http/1.1", len(web_site.TEXT))
    assert digest == web_site.digest(b"x" * 1_000_000)
    assert not pyopenssl
