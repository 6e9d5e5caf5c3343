"""The Twisted adapter in processes of its own, against other people's TLS: `membiotls:` endpoints in both roles, and
the site that `twist web` serves.
"""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

import txmembio
from support import blocking, pair, peers
from support.peers import TWIST, Scenario, escape
from support.pki import PKI, Credential
from support.process import Process, environment
from support.reactors import program

REQUEST = b"".join(b"%04000d is a long number\n" % number for number in range(30))

#: What the site serves: 100 MB, so that back-pressure and every buffer are met.
PAGE_SIZE = 100_000_000

#: How much of it is made and hashed at once, in bytes.
BLOCK_SIZE = 1_000_000


def versions(version: txmembio.TLSVersion) -> str:
    """The arguments that make an endpoint speak `version` and no other."""
    return f":minVersion={spelled(version)}:maxVersion={spelled(version)}"


def spelled(version: txmembio.TLSVersion) -> str:
    """As endpoint strings spell it."""
    return {txmembio.TLSVersion.TLSv1_2: "1.2", txmembio.TLSVersion.TLSv1_3: "1.3"}[version]


def server_endpoint(scenario: Scenario) -> str:
    """Ours, on a free port."""
    description = f"membiotls:0:interface=127.0.0.1:{peers.escaped_files(scenario.credential)}"
    description += versions(scenario.version)
    if scenario.client_credential is not None:
        description += f":clientCA={escape(scenario.pki.ca.certificate_file)}:verifyClient=required"
    return description


def client_endpoint(scenario: Scenario, port: int, hostname: str = "localhost") -> str:
    """Ours, to a port of this host."""
    description = f"membiotls:{hostname}:{port}:endpoint={escape(f'tcp:127.0.0.1:{port}')}{versions(scenario.version)}"
    description += f":trustRoots={escape(scenario.pki.roots)}"
    if scenario.client_credential is not None:
        description += f":certificate={escape(scenario.client_credential.combined_file)}"
    return description


@contextmanager
def serving(scenario: Scenario) -> Iterator[tuple[Process, int]]:
    """A process that answers lines over `membiotls:`, and its port."""
    with peers.txmembio_lines("serve", server_endpoint(scenario)) as process:
        yield process, int(process.wait_for(r"port (\d+)").group(1))


def converse(scenario: Scenario, port: int, hostname: str = "localhost") -> tuple[int, Process]:
    """A process that sends lines over `membiotls:` and prints the answers; how it ended."""
    with peers.txmembio_lines("converse", client_endpoint(scenario, port, hostname)) as process:
        process.stdin.write(REQUEST)
        process.stdin.close()
        return process.wait(), process


@pytest.mark.parametrize("peer", peers.CLIENTS)
def test_server_for(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    with serving(scenario) as (process, port):
        assert peers.CLIENTS[peer](scenario, port, REQUEST) == blocking.reverse_lines(REQUEST)
    assert process.errors == ""


@pytest.mark.parametrize("peer", peers.CLIENTS)
def test_server_for_a_client_with_a_certificate(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server, pki.client)
    with serving(scenario) as (process, port):
        assert peers.CLIENTS[peer](scenario, port, REQUEST) == blocking.reverse_lines(REQUEST)
    assert process.errors == ""


@pytest.mark.parametrize("peer", peers.SERVERS)
def test_client_of(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    with peers.SERVERS[peer](scenario) as port:
        status, process = converse(scenario, port)
    assert status == 0, process.transcript()
    assert process.output == blocking.reverse_lines(REQUEST)


@pytest.mark.parametrize("peer", peers.SERVERS_THAT_ASK_FOR_CERTIFICATES)
def test_client_with_a_certificate_of(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server, pki.client)
    with peers.SERVERS[peer](scenario) as port:
        status, process = converse(scenario, port)
    assert status == 0, process.transcript()
    assert process.output == blocking.reverse_lines(REQUEST)


# The site


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A file of random bytes, and its SHA-256."""
    path = tmp_path_factory.mktemp("site") / "page"
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(PAGE_SIZE // BLOCK_SIZE):
            block = os.urandom(BLOCK_SIZE)
            file.write(block)
            digest.update(block)
    return path, digest.hexdigest()


def twist(*arguments: str, cwd: Path) -> Process:
    """`twist` on the chosen reactor."""
    return Process(program(TWIST, *arguments), cwd=cwd, env=environment())


@contextmanager
def twist_web(credential: Credential, folder: Path) -> Iterator[int]:
    """`twist web --listen=membiotls:… --path …`, and its port."""
    listen = f"membiotls:0:interface=127.0.0.1:{peers.escaped_files(credential)}"
    with twist("web", f"--listen={listen}", "--path", str(folder), cwd=folder) as process:
        yield int(process.wait_for(r"Site .*starting on (\d+)").group(1))


def test_twist_web_serves_a_large_file_to_curl(
    pki: PKI, tls_version: txmembio.TLSVersion, page: tuple[Path, str], tmp_path: Path
) -> None:
    path, digest = page
    fetched = tmp_path / "page"
    with twist_web(pki.server, path.parent) as port:
        options = ["--cacert", pki.ca.certificate_file, *peers.curl_version(tls_version), "--output", str(fetched)]
        url = f"https://localhost:{port}/{path.name}"
        with peers.curl(*options, "--resolve", f"localhost:{port}:127.0.0.1", url) as process:
            assert process.wait() == 0, process.transcript()
    with fetched.open("rb") as file:
        hashed = hashlib.sha256()
        while block := file.read(BLOCK_SIZE):
            hashed.update(block)
    assert hashed.hexdigest() == digest
    fetched.unlink()


# Bad input: each error names the thing, on both sides, and the server goes on serving

#: Bytes that are neither TLS nor HTTP, the same in every run.
RANDOM_BYTES = hashlib.shake_256(b"not TLS").digest(600)


def assert_still_serving(scenario: Scenario, process: Process, port: int) -> None:
    """A good client is served as if nothing had happened."""
    assert process.running()
    status, client = converse(Scenario(scenario.pki, scenario.version, scenario.credential), port)
    assert status == 0, client.transcript()
    assert client.output == blocking.reverse_lines(REQUEST)


@pytest.mark.parametrize(
    ("flaw", "said_by_client", "alert"),
    [
        ("expired", "certificate has expired", "certificate_expired"),
        ("untrusted", "unable to get local issuer certificate", "unknown_ca"),
        ("wrong_name", "[Hh]ostname mismatch.*localhost|localhost.*[Hh]ostname mismatch", "bad_certificate"),
    ],
)
def test_a_flawed_server_certificate(
    flaw: str, said_by_client: str, alert: str, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    scenario = Scenario(pki, tls_version, getattr(pki, flaw))
    with serving(scenario) as (process, port):
        status, client = converse(scenario, port)
        assert status == 1
        client.wait_for(f"lost: SSLCertVerificationError: .*(?:{said_by_client})")
        process.wait_for(f"lost: SSLError: .*{alert.replace('_', '.')}")
        # It still serves: somebody who does not look at certificates gets through.
        context = pair.client_context(pki, tls_version)
        context.check_hostname = False
        context.verify_mode = txmembio.CERT_NONE
        with blocking.connect(context, port) as stream:
            stream.send(REQUEST)
            assert stream.receive_exactly(len(REQUEST)) == blocking.reverse_lines(REQUEST)


def test_a_client_without_the_certificate_it_needs(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server, pki.client)
    with serving(scenario) as (process, port):
        status, client = converse(Scenario(pki, tls_version, pki.server), port)
        assert status == 1
        process.wait_for("lost: SSLError: .*PEER_DID_NOT_RETURN_A_CERTIFICATE")
        client.wait_for("lost: SSLError: .*alert")
        status, client = converse(scenario, port)
        assert status == 0, client.transcript()


@pytest.mark.parametrize(
    ("sent", "named"),
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "(?i)http"),
        (RANDOM_BYTES, "lost: SSLError: .*"),
        (b"", "lost: ConnectionTruncated: .*during the handshake"),
        (b"\x16\x03\x01\x02\x00\x01", "lost: ConnectionTruncated: .*during the handshake"),
    ],
    ids=["plain HTTP", "random bytes", "nothing", "half a hello"],
)
def test_what_is_not_tls(sent: bytes, named: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    with serving(scenario) as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(sent)
            sock.shutdown(socket.SHUT_WR)
            while sock.recv(blocking.SOCKET_READ_SIZE):
                pass  # an alert, perhaps; then the server closes
        process.wait_for(named)
        assert_still_serving(scenario, process, port)


def test_a_client_that_leaves_in_the_middle_of_the_handshake(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    client = pair.client_context(pki, tls_version).connection(server_hostname="localhost")
    client.do_handshake()
    with serving(scenario) as (process, port):
        with socket.create_connection(("127.0.0.1", port)) as sock:
            sock.sendall(client.wire_to_send())
            assert sock.recv(1)  # the server's flight is on its way
        process.wait_for("lost: Connection(Truncated|Lost): .*")
        assert_still_serving(scenario, process, port)


def test_a_server_that_leaves_in_the_middle_of_the_handshake(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    def leave() -> None:
        sock, _ = listener.accept()
        with sock:
            assert sock.recv(blocking.SOCKET_READ_SIZE)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=leave)
        thread.start()
        status, client = converse(Scenario(pki, tls_version, pki.server), listener.getsockname()[1])
        thread.join()
    assert status == 1
    client.wait_for("lost: ConnectionTruncated: .*during the handshake")


def test_a_server_that_speaks_plain_http(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    def answer() -> None:
        sock, _ = listener.accept()
        with sock:
            sock.recv(blocking.SOCKET_READ_SIZE)
            sock.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=answer)
        thread.start()
        status, client = converse(Scenario(pki, tls_version, pki.server), listener.getsockname()[1])
        thread.join()
    assert status == 1
    client.wait_for("lost: SSLError: .*not TLS")


@pytest.mark.parametrize(
    ("argument", "named"),
    [
        ("privateKey={wrong_key}:certKey={chain}", ["privateKey", "{wrong_key}"]),
        ("privateKey={missing}:certKey={chain}", ["privateKey", "{missing}"]),
        ("privateKey={key}:certKey={missing}", ["certKey", "{missing}"]),
        ("privateKey={key}:certKey={chain}:clientCa={chain}", ["clientCa", "clientCA"]),
        ("privateKey={key}:certKey={chain}:minVersion=1.4", ["minVersion", "1.4", "1.3"]),
    ],
    ids=["key of another certificate", "no key file", "no certificate file", "unknown argument", "no such version"],
)
def test_a_mistake_in_the_endpoint_string_stops_the_site_before_it_listens(
    argument: str, named: list[str], pki: PKI, tmp_path: Path
) -> None:
    files = {
        "key": pki.server.key_file,
        "chain": pki.server.chain_file,
        "wrong_key": pki.client.key_file,
        "missing": str(tmp_path / "missing.pem"),
    }
    listen = "membiotls:0:interface=127.0.0.1:" + argument.format(
        **{name: escape(path) for name, path in files.items()}
    )
    with twist("web", f"--listen={listen}", "--path", str(tmp_path), cwd=tmp_path) as process:
        assert process.wait() != 0
        last_line = (process.output.decode() + process.errors).strip().splitlines()[-1]
    for name in named:
        assert name.format(**files) in last_line
