"""Each example runs, over sockets of 127.0.0.1, and says what is wrong when something is."""

from __future__ import annotations

import http.server
import re
import ssl
import threading
import urllib.request
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from support import process
from support.peers import escape
from support.pki import PKI
from support.process import DEADLINE, Process

EXAMPLES = Path(__file__).parents[2] / "examples"

PAGE = b"".join(b"line %06d\n" % number for number in range(20_000))
"""What the site serves: some 240 KB, so that it takes many records and more than one read."""

CLIENTS = ["sans_io.py", "memory_bio.py"]

#: Their servers and clients all have the same conversation.
ECHO_SERVERS = ["ssl_server.py", "pep748_server.py"]
ECHO_CLIENTS = ["ssl_client.py", "pep748_client.py"]

#: Runs an example with the standard library's ssl in the place of txmembio.
WITH_STANDARD_SSL = """
import runpy, ssl, sys
sys.modules["txmembio"] = ssl
del sys.argv[0]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def example(name: str, *arguments: str) -> Process:
    """An example, started."""
    return process.python(EXAMPLES / name, *arguments)


@pytest.fixture
def pages(tmp_path: Path) -> Path:
    (tmp_path / "page.txt").write_bytes(PAGE)
    return tmp_path


@pytest.fixture
def site(pki: PKI, pages: Path) -> Iterator[int]:
    """The port of https_site.py."""
    pytest.importorskip("twisted.web", reason="Twisted is not installed")
    listen = f"membiotls:0:interface=127.0.0.1:certificate={escape(pki.server.combined_file)}"
    with example("https_site.py", listen, "--path", str(pages)) as running:
        yield int(running.wait_for(r"listening on port (\d+)")[1])


@pytest.fixture
def echo(pki: PKI) -> Iterator[int]:
    """The port of echo_server.py."""
    pytest.importorskip("twisted.internet", reason="Twisted is not installed")
    with example("echo_server.py", pki.server.chain_file, pki.server.key_file) as running:
        yield int(running.wait_for(r"listening on port (\d+)")[1])


def test_every_example_is_tested_here() -> None:
    tested = {"agent.py", "https_site.py", "echo_server.py", "echo_client.py", *CLIENTS}
    tested |= {"tornado_chat.py", "tornado_fetch.py"}  # in interop/test_tornado_curl.py, with curl
    tested |= {*ECHO_SERVERS, *ECHO_CLIENTS, "pep748_in_memory.py", "install_ssl_asyncio.py"}
    assert {path.name for path in EXAMPLES.glob("*.py")} == tested


def test_https_site_serves_whoever_asks(site: int, pki: PKI) -> None:
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    with urllib.request.urlopen(f"https://127.0.0.1:{site}/page.txt", context=context, timeout=DEADLINE) as answer:
        assert answer.read() == PAGE


def test_https_site_says_what_is_wrong_with_its_string(pages: Path) -> None:
    pytest.importorskip("twisted.web", reason="Twisted is not installed")
    with example("https_site.py", "membiotls:0:certificate=nowhere.pem", "--path", str(pages)) as running:
        assert running.wait() == 1
        assert "certificate='nowhere.pem'" in running.errors.rstrip().splitlines()[-1]


def test_agent_fetches_a_page(site: int, pki: PKI) -> None:
    with example("agent.py", f"https://localhost:{site}/page.txt", "--roots", pki.ca.certificate_file) as fetching:
        assert fetching.wait() == 0, fetching.transcript()
    assert fetching.output == PAGE
    assert fetching.errors == f"HTTP/1.1 200 from https://localhost:{site}/page.txt\n"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ([], "SSLCertVerificationError: .*unable to get local issuer certificate"),
        (
            ["--proxy", "http://localhost:1"],
            "ProxyConnectError: http://localhost:1 did not connect to .*refused",
        ),
    ],
    ids=["untrusted", "no proxy"],
)
def test_agent_says_what_is_wrong_in_one_line(more: list[str], said: str, site: int, pki: PKI) -> None:
    roots = pki.untrusted_ca.certificate_file
    with example("agent.py", f"https://localhost:{site}/page.txt", "--roots", roots, *more) as fetching:
        assert fetching.wait() == 1
    assert re.match(said, fetching.errors.rstrip().splitlines()[-1]), fetching.transcript()
    assert not fetching.output


def test_echo_client_gets_its_line_back(echo: int, pki: PKI) -> None:
    roots = pki.ca.certificate_file
    with example("echo_client.py", "127.0.0.1", str(echo), "héllo", "--roots", roots) as calling:
        assert calling.wait() == 0, calling.transcript()
    agreed, answer = calling.output.decode().splitlines()
    assert agreed.startswith("TLSv1.3 ")
    assert answer == "héllo"


def test_echo_client_verifies_the_name(echo: int, pki: PKI) -> None:
    arguments = ["127.0.0.1", str(echo), "hello", "--roots", pki.ca.certificate_file, "--hostname", "example.com"]
    with example("echo_client.py", *arguments) as calling:
        assert calling.wait() == 1
    last = calling.errors.rstrip().splitlines()[-1]
    assert last.startswith("SSLCertVerificationError: ") and "'example.com'" in last
    assert not calling.output


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_fetch_a_page(client: str, site: int, pki: PKI) -> None:
    arguments = ["127.0.0.1", str(site), "--path", "/page.txt", "--roots", pki.ca.certificate_file]
    with example(client, *arguments, "--hostname", "localhost") as fetching:
        assert fetching.wait() == 0, fetching.transcript()
    headers, _, body = fetching.output.partition(b"\r\n\r\n")
    assert headers.startswith((b"HTTP/1.0 200 ", b"HTTP/1.1 200 "))
    assert body == PAGE
    assert fetching.errors.startswith("TLSv1.3 ")


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_verify_the_name(client: str, site: int, pki: PKI) -> None:
    arguments = ["127.0.0.1", str(site), "--roots", pki.ca.certificate_file, "--hostname", "example.com"]
    with example(client, *arguments) as fetching:
        assert fetching.wait() == 1
    (line,) = fetching.errors.splitlines()
    assert line.startswith("SSLCertVerificationError: ") and "'example.com'" in line
    assert not fetching.output


@pytest.mark.parametrize("client", CLIENTS)
def test_clients_notice_truncation(client: str, pki: PKI, pages: Path) -> None:
    """By a server that ends without close_notify, as the standard library's `http.server` over `ssl` does."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    handler = partial(http.server.SimpleHTTPRequestHandler, directory=str(pages))
    with http.server.HTTPServer(("127.0.0.1", 0), handler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.timeout = DEADLINE
        serving = threading.Thread(target=server.handle_request)
        serving.start()
        arguments = ["127.0.0.1", str(server.server_port), "--path", "/page.txt", "--roots", pki.ca.certificate_file]
        with example(client, *arguments) as fetching:
            assert fetching.wait() == 1, fetching.transcript()
        serving.join(DEADLINE)
    assert fetching.errors.splitlines()[-1].startswith("SSLEOFError: ")
    assert not fetching.output


def test_memory_bio_runs_on_the_standard_library_too(site: int, pki: PKI) -> None:
    """As it says."""
    arguments = ["127.0.0.1", str(site), "--path", "/page.txt", "--roots", pki.ca.certificate_file]
    with process.python("-c", WITH_STANDARD_SSL, EXAMPLES / "memory_bio.py", *arguments) as fetching:
        assert fetching.wait() == 0, fetching.transcript()
    assert fetching.output.endswith(PAGE)


@pytest.mark.parametrize("server", ECHO_SERVERS)
@pytest.mark.parametrize("client", ECHO_CLIENTS)
def test_lines_come_back(server: str, client: str, pki: PKI) -> None:
    with example(server, pki.server.chain_file, pki.server.key_file) as serving:
        port = serving.wait_for(r"listening on port (\d+)")[1]
        for roots, status in ((pki.untrusted_ca, 1), (pki.ca, 0)):
            with example(client, "localhost", port, "héllo", "--roots", roots.certificate_file) as calling:
                assert calling.wait() == status, calling.transcript() + serving.transcript()
            if status:
                assert calling.errors.startswith("SSLCertVerificationError: ") and not calling.output
        assert calling.output.decode() == "héllo\n"
        assert "TLSv1" in calling.errors and calling.errors.count("\n") == 1
        serving.wait_for(r"\('127\.0\.0\.1', \d+\) is done")
        assert "SSLError: " in serving.transcript()  # of the client that did not trust it


def test_ssl_client_chooses_a_group(pki: PKI) -> None:
    with example("ssl_server.py", pki.server.chain_file, pki.server.key_file) as serving:
        arguments = ["localhost", serving.wait_for(r"listening on port (\d+)")[1], "x", "--groups", "P-384"]
        with example("ssl_client.py", *arguments, "--roots", pki.ca.certificate_file) as calling:
            assert calling.wait() == 0, calling.transcript()
    assert "secp384r1" in calling.errors


def test_pep748_server_shows_the_certificate_for_the_name(pki: PKI) -> None:
    other = pki.issue("a.example")
    files = [pki.wildcard.chain_file, pki.wildcard.key_file, other.chain_file, other.key_file]
    files += [pki.server.chain_file, pki.server.key_file]
    with example("pep748_server.py", *files) as serving:
        arguments = ["localhost", serving.wait_for(r"listening on port (\d+)")[1], "hello"]
        with example("pep748_client.py", *arguments, "--roots", pki.ca.certificate_file) as calling:
            assert calling.wait() == 0, calling.transcript()
    with example("pep748_server.py", *files[:3]) as serving:
        assert serving.wait() == 2 and "has no private key, expected pairs of files" in serving.errors


def test_pep748_in_memory(pki: PKI) -> None:
    arguments = [pki.server.chain_file, pki.server.key_file, "--roots", pki.ca.certificate_file]
    with example("pep748_in_memory.py", *arguments) as talking:
        assert talking.wait() == 0, talking.transcript()
    assert talking.output.decode().splitlines()[0].endswith("b'a-protocol-of-our-own'")
    with example("pep748_in_memory.py", *arguments, "--hostname", "example.com") as talking:
        assert talking.wait() == 1 and talking.errors.startswith("SSLCertVerificationError: ")


def test_asyncio_after_install(pki: PKI) -> None:
    arguments = [pki.server.chain_file, pki.server.key_file, "héllo", "--roots"]
    with example("install_ssl_asyncio.py", *arguments, pki.ca.certificate_file) as talking:
        assert talking.wait() == 0, talking.transcript()
    made, answer = talking.output.decode().splitlines()
    assert "txmembio" in made and answer == "héllo"
    with example("install_ssl_asyncio.py", *arguments, pki.untrusted_ca.certificate_file) as talking:
        assert talking.wait() == 1
    assert talking.errors.rstrip().splitlines()[-1].startswith("SSLCertVerificationError: ")
