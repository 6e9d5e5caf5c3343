"""Ticket keys in files: with nginx and HAProxy on the same keys, in several processes of our own, through a rotation;
and sessions that OpenSSL's programs write down and read.
"""

from __future__ import annotations

import base64
import hashlib
import os
import re
import socket
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import txmembio
from support import blocking, haproxy, nginx, pair, peers
from support.peers import Scenario, escape
from support.pki import PKI
from support.process import DEADLINE, Process
from support.ticket_visits import REQUEST, Visitor, servers
from support.waiting import wait_until
from txmembio.session_cache import SessionCache
from txmembio.tickets import TicketKeyFiles, TicketKeys


def write(path: Path, data: bytes) -> None:
    """In one step, so that no reader finds half of it."""
    new = path.with_name("new")
    new.write_bytes(data)
    os.replace(new, path)


def lines(keys: Sequence[bytes]) -> bytes:
    """As HAProxy wants them."""
    return b"".join(base64.b64encode(key) + b"\n" for key in keys)


# --- nginx and HAProxy as servers with the same keys


class Neighbour:
    """A TLS server of somebody else's, and how one of ours has to be set up to resume what it began."""

    def __init__(self, name: str, folder: Path, pki: PKI, length: int) -> None:
        keys = [os.urandom(length) for _ in range(3)]
        self.server: Callable[[], AbstractContextManager[int]]
        if name == "nginx":
            paths = [folder / "first.key", folder / "second.key"]
            for path, key in zip(paths, keys, strict=False):
                path.write_bytes(key)
            self.files = TicketKeyFiles(paths)
            self.server = lambda: nginx.tls_server(folder, pki.server, paths)
            # ngx_ssl_session_id_context(): "HTTP" and the certificate's fingerprint, where no client certificates are
            # asked for.
            fingerprint = hashlib.sha1(pki.server.certificate_der).digest()
            self.session_id_context = hashlib.sha1(b"HTTP" + fingerprint).digest()
        else:
            path = folder / "haproxy.keys"
            path.write_bytes(lines(keys))
            self.files = TicketKeyFiles([path])
            self.server = lambda: haproxy.tls_server(folder, pki.server, path)
            self.session_id_context = b"haproxy"


def fetch(
    context: txmembio.SSLContext, port: int, session: txmembio.SSLSession | None = None
) -> tuple[bool, bool, txmembio.SSLSession]:
    """The neighbour's page: whether it and we say that the session was resumed, and the one to resume next."""
    with blocking.connect(context, port, session=session) as stream:
        stream.send(REQUEST)
        body = stream.receive_all().partition(b"\r\n\r\n")[2]
        earned = stream.connection.session
        assert earned is not None and body in (b"r", b".")
        return body == b"r", stream.connection.session_reused, earned


def ask(
    context: txmembio.SSLContext, server: blocking.Server, session: txmembio.SSLSession | None = None
) -> tuple[bool, bool, txmembio.SSLSession]:
    """The same with our server."""
    with blocking.connect(context, server.port, session=session) as stream:
        stream.send(b"hello\n")
        assert stream.receive_exactly(6) == b"olleh\n"
        earned = stream.connection.session
        assert earned is not None
    connection, error = server.outcome()
    assert error is None
    return connection.session_reused, stream.connection.session_reused, earned


@pytest.mark.parametrize("length", [48, 80])
@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_neighbour_on_the_same_keys(
    name: str, length: int, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """A ticket that either has given is good at the other, there and back again."""
    neighbour = Neighbour(name, tmp_path, pki, length)
    client, ours = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    ours.session_id_context = neighbour.session_id_context
    keys = neighbour.files.load()
    assert keys is not None
    TicketKeys(keys).use_in(ours)
    with neighbour.server() as port, blocking.Server(ours) as server:
        *resumed, session = fetch(client, port)
        assert resumed == [False, False]
        assert keys[0][:16] in session.to_bytes(), "it encrypts with the key that we would take"
        *resumed, session = ask(client, server, session)
        assert resumed == [True, True]
        *resumed, session = fetch(client, port, session)
        assert resumed == [True, True]
        *resumed, session = ask(client, server)
        assert resumed == [False, False] and keys[0][:16] in session.to_bytes()
        *resumed, _ = fetch(client, port, session)
        assert resumed == [True, True]


@pytest.mark.parametrize("name", ["nginx", "haproxy"])
def test_a_neighbour_with_another_session_id_context(
    name: str, pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """The same keys alone are not enough: OpenSSL makes the handshake a full one."""
    neighbour = Neighbour(name, tmp_path, pki, 80)
    client, ours = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    TicketKeys(neighbour.files.load() or ()).use_in(ours)
    with neighbour.server() as port, blocking.Server(ours) as server:
        *_, session = fetch(client, port)
        *resumed, session = ask(client, server, session)
        assert resumed == [False, False]
        *resumed, _ = fetch(client, port, session)
        assert resumed == [False, False]


# --- nginx and HAProxy as clients of several processes on the same keys


@pytest.mark.parametrize("proxy", [nginx.proxy, haproxy.proxy], ids=["nginx", "haproxy"])
def test_a_proxy_resumes_in_whichever_process_it_lands(
    proxy: Callable[[Path, PKI, int], AbstractContextManager[int]],
    pki: PKI,
    tls_version: txmembio.TLSVersion,
    tmp_path: Path,
) -> None:
    (tmp_path / "t.key").write_bytes(os.urandom(80))
    number = peers.curl_version(tls_version)[-1]
    arguments = f"certificate={escape(pki.server.combined_file)}:ticketKeys={escape(str(tmp_path / 't.key'))}"
    with (
        servers(2, f"{arguments}:minVersion={number}:maxVersion={number}") as (_, behind),
        proxy(tmp_path, pki, behind) as port,
    ):
        answers: list[tuple[str, ...]] = []
        while len(answers) < 20 or len({server for server, _, _ in answers}) < 2:
            assert len(answers) < 1000
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=DEADLINE) as page:
                answers.append(tuple(page.read().decode().split()))
    assert [resumed for _, resumed, _ in answers] == ["new"] + ["resumed"] * (len(answers) - 1)
    assert {version for *_, version in answers} == {f"TLSv{number}"}


# --- several processes of our own


class NginxFiles:
    """Three files: the key that encrypts, the one that will, and the one that did."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "current.key", folder / "next.key", folder / "previous.key"]
        self._keys = [os.urandom(80) for _ in self.paths]
        for path, key in zip(self.paths, self._keys, strict=True):
            write(path, key)

    @property
    def key(self) -> bytes:
        """What encrypts."""
        return self._keys[0]

    def rotate(self) -> None:
        """In this order, since some process may look between any two steps: the old key and the new one are in a file
        all the time.
        """
        current, upcoming, _ = self._keys
        self._keys = [upcoming, os.urandom(80), current]
        for at in (2, 0, 1):
            write(self.paths[at], self._keys[at])


class HAProxyFile:
    """One file, that a key is appended to."""

    def __init__(self, folder: Path) -> None:
        self.paths = [folder / "ticket.keys"]
        self._keys = [os.urandom(48) for _ in range(3)]
        write(self.paths[0], lines(self._keys))

    @property
    def key(self) -> bytes:
        """What encrypts."""
        return self._keys[-2]

    def rotate(self) -> None:
        """Appends a key."""
        self._keys.append(os.urandom(48))
        write(self.paths[0], lines(self._keys))


@pytest.mark.parametrize("format", [NginxFiles, HAProxyFile])
def test_three_processes_on_one_port_through_a_rotation(
    format: type[NginxFiles] | type[HAProxyFile], pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """A client that reconnects resumes wherever it lands: before the keys are replaced, meanwhile, and after."""
    files = format(tmp_path)
    with serving(3, pki, files.paths) as (processes, port):
        visitor = Visitor(pair.client_context(pki, tls_version), port)
        visitor.visit_all(3)
        for rotations in (1, 2, 3):
            assert visitor.has_ticket_under(files.key)
            files.rotate()
            while not all(len(re.findall(NOTICED, process.errors)) >= rotations for process in processes):
                visitor.visit()
            visitor.visit_all(3)


#: What a process logs when it has read keys again.
NOTICED = r"ticket key file.*: \d+ in use"


@contextmanager
def serving(count: int, pki: PKI, paths: Sequence[Path]) -> Iterator[tuple[list[Process], int]]:
    names = ",".join(escape(str(path)) for path in paths)
    arguments = f"certificate={escape(pki.server.combined_file)}:ticketKeys={names}:reloadInterval=0.1"
    with servers(count, arguments) as running:
        yield running


def test_a_bad_file_leaves_the_server_up_with_its_old_keys(
    pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    path = tmp_path / "t.key"
    path.write_bytes(key := os.urandom(80))
    with serving(1, pki, [path]) as ([process], port):
        visitor = Visitor(pair.client_context(pki, tls_version), port)
        visitor.visit()
        write(path, key[:-1])
        process.wait_for(r"t\.key': the last good ones stay in use: '[^\n]*t\.key': 79 bytes, expected 48 or 80")
        visitor.visit_all(1, least=5)
        os.unlink(path)
        process.wait_for(r"the last good ones stay in use: \[Errno 2\] No such file or directory: '[^\n]*t\.key'")
        visitor.visit_all(1, least=5)
        assert visitor.has_ticket_under(key)
        write(path, new := os.urandom(80))
        process.wait_for(NOTICED)
        later = Visitor(visitor.context, port)
        later.visit()
        assert later.has_ticket_under(new)
    assert process.errors.count("the last good ones") == 2, "once each"


def test_a_file_of_the_wrong_length_is_refused_before_anything_listens(pki: PKI, tmp_path: Path) -> None:
    path = tmp_path / "t.key"
    path.write_bytes(b"\0" * 81)
    arguments = f"certificate={escape(pki.server.combined_file)}:ticketKeys={escape(str(path))}"
    with peers.txmembio_lines("serve", f"membiotls:0:{arguments}") as process:
        assert process.wait() == 1
    last_line = process.errors.splitlines()[-1]
    assert last_line.startswith(f"lost: ValueError: membiotls: ticketKeys='{path}': expected files with ticket keys")
    assert last_line.endswith("81 bytes, expected 48 or 80 (one key, as in nginx), or lines of base64 (as in HAProxy))")


# --- OpenSSL's programs


def test_s_client_writes_a_session_down_and_another_process_resumes_it(
    pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path
) -> None:
    """-sess_out with one of our servers, -sess_in with another."""
    scenario = Scenario(pki, tls_version, pki.server)
    keys = TicketKeys([os.urandom(80)])
    session = tmp_path / "session.pem"
    for direction, resumed in (("-sess_out", False), ("-sess_in", True)):
        context = pair.server_context(pki, tls_version)
        keys.use_in(context)
        with blocking.Server(context) as server:
            request = b"a line\n"
            with peers.s_client(scenario, server.port, "-nocommands", direction, str(session)) as client:
                client.stdin.write(request)
                client.wait_for_output(len(request))
                # A TLS 1.3 ticket follows the handshake, and -sess_out is written when it arrives.
                wait_until(session.exists, "s_client writes the session")
                client.stdin.close()
                assert client.wait() == 0, client.transcript()
            connection, error = server.outcome()
            assert error is None and connection.session_reused is resumed


def test_our_client_resumes_at_s_server(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    context = pair.client_context(pki, tls_version)
    cache = SessionCache()
    with peers.openssl_server(scenario) as port:
        for _ in range(3):
            connection = context.connection(server_hostname="localhost")
            cache.offer(connection, port)
            with blocking.Stream(socket.create_connection(("127.0.0.1", port), DEADLINE), connection) as stream:
                stream.handshake()
                stream.send(b"hello\n")
                assert stream.receive_exactly(6) == b"olleh\n"
                cache.keep(connection)
    assert (cache.misses, cache.hits, cache.resumed) == (1, 2, 2)
