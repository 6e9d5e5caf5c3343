"""`TCPServer`: what it takes as `ssl_options`, certificates and ticket keys that change, counters, caps and time-outs,
and peers that do not behave. The server goes on, whatever they do.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
import ssl
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")
from tornado.iostream import StreamClosedError
from tornado.netutil import bind_unix_socket

import txmembio
from support import pair
from support.pki import PKI
from support.process import DEADLINE
from support.tornado_ends import Peer, accept, new_socket, on_each_loop, reset, until
from support.tornado_ends import listening as listener
from support.tornado_site import Lines, calling, dialled, listening, settled
from txmembio.counters import Counters
from txmembio.pems import PEMFile, PEMFolder, PEMPair, identity_from
from txmembio.reload import Reloader
from txmembio.tickets import TicketKeyFiles
from txmembio.tornado import HTTPServer, TCPServer, TLSStream
from txmembio.tornado.handshakes import TooManyHandshakes
from txmembio.tornado.wrapping import PlainStream

#: Seconds: between two looks at files, and for handshakes that nobody completes.
SOON = 0.01


def certificate(pki: PKI) -> dict[str, Any]:
    """The usual dict."""
    return {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file}


async def ask(peer: Peer, line: bytes = b"a line\n") -> bytes:
    """A line, and what comes back."""
    await peer.send(line)
    return await peer.receive(len(line))


async def visit(pki: PKI, port: int, server_hostname: str = "localhost") -> txmembio.Certificate:
    """Shake hands, say something, go. Returns the certificate of the server."""
    context = pair.client_context(pki)
    async with calling(port, context, server_hostname) as peer:
        await peer.handshake()
        assert await ask(peer) == b"a line\n"
        found = peer.connection.peer_certificate()
        assert found is not None
        await peer.close()
        return found


# ssl_options


@on_each_loop
async def test_lines(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    server = Lines(ssl_options=pair.server_context(pki, tls_version))
    async with listening(server) as port:
        await visit(pki, port)
        counted = await settled(server)
    version = {txmembio.TLSVersion.TLSv1_2: "TLSv1.2", txmembio.TLSVersion.TLSv1_3: "TLSv1.3"}[tls_version]
    assert counted["handshakes_completed"] == 1
    assert counted["versions"] == {version: 1}
    assert counted["endings"] == {"clean": 1} and not counted["failures"]
    assert (counted["plaintext_received"], counted["plaintext_sent"]) == (7, 7)


@on_each_loop
async def test_handle_stream_gets_a_stream_of_ours(pki: PKI) -> None:
    """At once, as in Tornado: `wait_for_handshake` is the application's to call."""
    seen: list[Any] = []

    class Server(TCPServer):
        async def handle_stream(self, stream: Any, address: Any) -> None:
            seen.append((type(stream), stream.connection.handshake_complete, address))
            await stream.wait_for_handshake()
            seen.append(stream.socket.version())
            stream.close()

    async with listening(Server(ssl_options=certificate(pki))) as port, calling(port, pair.client_context(pki)) as peer:
        await peer.handshake()
        await peer.receive_all()
        assert peer.connection.peer_closed
        assert seen == [(TLSStream, False, peer.sock.getsockname()), "TLSv1.3"]


@on_each_loop
async def test_a_folder_picked_by_server_name(pki: PKI) -> None:
    folder = PEMFolder(pki.pem_folder("a.example", "b.example"), _server_context)
    async with listening(Lines(ssl_options=folder)) as port:
        for name in ("a.example", "b.example"):
            assert (await visit(pki, port, name)).subject_alt_names == (("DNS", name),)


def _server_context() -> txmembio.SSLContext:
    return txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)


@on_each_loop
async def test_every_kind_of_ssl_options(pki: PKI) -> None:
    def identity() -> Any:
        file = PEMFile.read(pki.server.combined_file)
        return identity_from(file, file)

    one = PEMPair(identity, _server_context, paths=[pki.server.combined_file])
    for options in (pair.server_context(pki), certificate(pki), one, Reloader(one)):
        server = Lines(ssl_options=options)
        assert server.ssl_options is options
        async with listening(server) as port:
            assert (await visit(pki, port)).der == pki.server.certificate_der


@on_each_loop
async def test_assigning_other_options(pki: PKI) -> None:
    """For the connections to come. What cannot be used changes nothing."""
    server = Lines(ssl_options=certificate(pki))
    other = pki.server_rsa
    async with listening(server) as port, calling(port, pair.client_context(pki)) as staying:
        await staying.handshake()
        server.ssl_options = {"certfile": other.chain_file, "keyfile": other.key_file}
        assert (await visit(pki, port)).der == other.certificate_der
        with pytest.raises(TypeError, match=r"expected a txmembio\.SSLContext"):
            server.ssl_options = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        assert (await visit(pki, port)).der == other.certificate_der
        assert await ask(staying) == b"a line\n"
        await staying.close()


@pytest.mark.parametrize("kind", [TCPServer, HTTPServer])
def test_options_that_cannot_be_used(pki: PKI, kind: Any, tmp_path: Path) -> None:
    """An error before anything listens."""

    def make(**options: Any) -> None:
        kind(lambda request: None, **options) if kind is HTTPServer else kind(**options)

    with pytest.raises(TypeError, match=r"ssl_options is the standard library's ssl.SSLContext, .* txmembio"):
        make(ssl_options=ssl.create_default_context(ssl.Purpose.CLIENT_AUTH))
    for something in (True, False, "cert.pem", 5, object()):
        with pytest.raises(TypeError, match=r"ssl_options is .*, expected a txmembio.SSLContext, or a dict"):
            make(ssl_options=something)
    with pytest.raises(KeyError, match="certfile"):
        make(ssl_options={})
    with pytest.raises(ValueError, match=r"unknown key 'cert'"):
        make(ssl_options={**certificate(pki), "cert": "cert.pem"})
    with pytest.raises(ValueError, match=r"nowhere.pem.*No such file"):
        make(ssl_options={"certfile": str(tmp_path / "nowhere.pem")})
    with pytest.raises(ValueError, match=r"other role.*cannot be used for a TLS server"):
        make(ssl_options=txmembio.create_default_context())


@pytest.mark.parametrize("kind", [TCPServer, HTTPServer])
@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"handshake_timeout": 0}, "handshake_timeout must be a positive number of seconds, or None"),
        ({"handshake_timeout": -1.5}, "handshake_timeout must be .* not -1.5"),
        ({"max_handshakes": 0}, "max_handshakes must be a positive whole number, or None"),
        ({"max_handshakes": 2.5}, "max_handshakes must be .* not 2.5"),
        ({"max_handshakes": True}, "max_handshakes must be .* not True"),
        ({"reload_interval": 0}, "reload_interval must be a positive number of seconds, or None"),
        ({"counters": {}}, "counters is {}, expected a txmembio.counters.Counters"),
        ({"on_handshake": "print"}, "on_handshake is 'print', expected a callable object, or None"),
    ],
    ids=str,
)
def test_settings_that_cannot_be_used(pki: PKI, kind: Any, settings: dict[str, Any], message: str) -> None:
    arguments = [lambda request: None] if kind is HTTPServer else []
    with pytest.raises((TypeError, ValueError), match=message):
        kind(*arguments, ssl_options=certificate(pki), **settings)


# Without TLS, and TLS that begins later


@on_each_loop
async def test_without_ssl_options(pki: PKI) -> None:
    async with listening(Lines()) as port:
        sock = await dialled(port)
        loop = asyncio.get_running_loop()
        with sock:
            await loop.sock_sendall(sock, b"plain\n")
            assert await loop.sock_recv(sock, 100) == b"plain\n"


@on_each_loop
async def test_starttls(pki: PKI) -> None:
    """What a plain server hands out makes a stream of ours."""
    seen: list[Any] = []

    class Server(TCPServer):
        async def handle_stream(self, stream: Any, address: Any) -> None:
            assert isinstance(stream, PlainStream)
            assert await stream.read_until(b"\n") == b"STARTTLS\n"
            await stream.write(b"go\n")
            tls = await stream.start_tls(True, certificate(pki))
            seen.append(type(tls))
            await tls.write(await tls.read_until(b"\n"))
            tls.close()

    async with listening(Server()) as port, calling(port, pair.client_context(pki)) as peer:
        await peer.send_wire(b"STARTTLS\n")
        assert await peer.receive_wire() == b"go\n"
        await peer.handshake()
        assert await ask(peer) == b"a line\n"
        await peer.receive_all()
    assert seen == [TLSStream]


@on_each_loop
async def test_a_unix_socket(pki: PKI, tmp_path: Path) -> None:
    path = str(tmp_path / "server")
    server = Lines(ssl_options=certificate(pki))
    server.add_socket(bind_unix_socket(path))
    try:
        sock = socket.socket(socket.AF_UNIX)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, path)
        peer = Peer(sock, pair.client_context(pki).connection(server_hostname="localhost"))
        await peer.handshake()
        assert await ask(peer) == b"a line\n"
        await peer.close()
        sock.close()
        await settled(server)
    finally:
        server.stop()


# Certificates that change


@on_each_loop
async def test_the_files_of_a_dict_are_read_again(pki: PKI, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Connections stay; a half-done replacement is not used; and nothing looks any more when the server has stopped."""
    caplog.set_level(logging.INFO, "txmembio.tornado")
    chain, key = tmp_path / "cert.pem", tmp_path / "key.pem"

    def put(credential: Any) -> None:
        shutil.copy(credential.chain_file, chain)
        shutil.copy(credential.key_file, key)

    def said(text: str) -> bool:
        return any(text in record.getMessage() for record in caplog.records)

    put(pki.server)
    server = Lines(ssl_options={"certfile": str(chain), "keyfile": str(key)}, reload_interval=SOON)
    async with listening(server) as port, calling(port, pair.client_context(pki)) as staying:
        await staying.handshake()
        assert (await visit(pki, port)).der == pki.server.certificate_der
        shutil.copy(pki.server_rsa.chain_file, chain)  # its key is not there yet
        await _wait(lambda: said("cannot be read again"))
        assert (await visit(pki, port)).der == pki.server.certificate_der
        put(pki.server_rsa)
        await _wait(lambda: said("certificates were replaced"))
        assert (await visit(pki, port)).der == pki.server_rsa.certificate_der
        assert await ask(staying) == b"a line\n"
        await staying.close()
    pollings = list(server._pollings)
    assert pollings and all(polling._loop is None and polling._waiting is None for polling in pollings)
    await _wait(lambda: not any(polling._polling for polling in pollings))


def logged(caplog: pytest.LogCaptureFixture, name: str = "txmembio.tornado") -> list[tuple[str, str]]:
    """Levels and messages of a logger so far."""
    return [(record.levelname, record.getMessage()) for record in caplog.records if record.name == name]


async def _wait(condition: Any) -> None:
    """For something that takes its time: threads and files, and a clock."""
    end = asyncio.get_running_loop().time() + DEADLINE
    while not condition():
        assert asyncio.get_running_loop().time() < end
        await asyncio.sleep(SOON)


@on_each_loop
async def test_no_looking_again(pki: PKI) -> None:
    server = Lines(ssl_options=certificate(pki), reload_interval=None)
    async with listening(server) as port:
        await visit(pki, port)
        assert not server._pollings


@on_each_loop
async def test_remarks_are_logged(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    Lines(ssl_options={"certfile": pki.expired.chain_file, "keyfile": pki.expired.key_file})
    ((level, message),) = logged(caplog)
    assert level == "WARNING" and "valid from" in message


# Tickets


async def _resumed(pki: PKI, context: txmembio.SSLContext, port: int, session: Any) -> tuple[bool, Any]:
    """Whether a session was resumed, and the one earned."""
    async with calling(port, context, session=session) as peer:
        await peer.handshake()
        await ask(peer)
        reused = bool(peer.connection.session_reused)
        earned = peer.connection.session
        await peer.close()
        return reused, earned


@on_each_loop
async def test_ticket_keys_in_a_file(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    """Two servers that have it resume each other's sessions; after a rotation, both do with the new ones."""
    file = tmp_path / "key"
    file.write_bytes(os.urandom(48))
    servers = [Lines(ssl_options=certificate(pki), ticket_keys=TicketKeyFiles([str(file)], SOON)) for _ in range(2)]
    context = pair.client_context(pki, tls_version)
    async with listening(servers[0]) as first, listening(servers[1]) as second:
        reused, session = await _resumed(pki, context, first, None)
        assert not reused
        assert (await _resumed(pki, context, second, session))[0]
        before = [server._tickets.keys.keys for server in servers if server._tickets]
        file.write_bytes(os.urandom(80))
        await _wait(lambda: not any(server._tickets and server._tickets.keys.keys in before for server in servers))
        assert not (await _resumed(pki, context, first, session))[0]
        _, session = await _resumed(pki, context, first, None)
        assert (await _resumed(pki, context, second, session))[0]


@on_each_loop
async def test_without_common_keys_sessions_belong_to_one_server(pki: PKI) -> None:
    context = pair.client_context(pki)
    one, other = (Lines(ssl_options=certificate(pki)) for _ in range(2))
    async with listening(one) as first, listening(other) as second:
        _, session = await _resumed(pki, context, first, None)
        assert not (await _resumed(pki, context, second, session))[0]


class Blocking:
    """A source that would block the loop, and fails now and then."""

    blocks = True
    interval: float | None = SOON

    def __init__(self, answers: Sequence[Any]) -> None:
        self._answers = iter(answers)
        self.threads: set[int] = set()
        self.closed = False

    def load(self) -> Sequence[bytes] | None:
        """The next answer; then what changes nothing."""
        self.threads.add(threading.get_ident())
        answer = next(self._answers, None)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def close(self) -> None:
        """Noted."""
        self.closed = True

    def __repr__(self) -> str:
        return "the source"


@on_each_loop
async def test_a_source_that_blocks(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """It is asked in a thread, first when the server begins to listen; a problem is logged once."""
    caplog.set_level(logging.INFO, "txmembio.tornado")
    keys = [os.urandom(48) for _ in range(2)]
    away = OSError("it is away")
    source = Blocking([[keys[0]], away, away, None, [keys[1]]])
    server = Lines(ssl_options=certificate(pki), ticket_keys=source)
    assert server._tickets is not None and not server._tickets.keys.keys
    async with listening(server) as port:
        await _wait(lambda: server._tickets and server._tickets.keys.keys == (keys[1],))
        await visit(pki, port)
    await _wait(lambda: source.closed)
    assert threading.get_ident() not in source.threads
    assert logged(caplog) == [
        ("INFO", "the source: 1 in use"),
        ("ERROR", "the source: the last good ones stay in use: it is away"),
        ("INFO", "the source: there again"),
        ("INFO", "the source: 1 in use"),
    ]


def test_ticket_keys_that_cannot_be_read(pki: PKI, tmp_path: Path) -> None:
    with pytest.raises(OSError, match="nowhere"):
        Lines(ssl_options=certificate(pki), ticket_keys=TicketKeyFiles([str(tmp_path / "nowhere")]))
    (tmp_path / "short").write_bytes(b"x" * 47)
    with pytest.raises(ValueError, match="47 bytes, expected 48 or 80"):
        Lines(ssl_options=certificate(pki), ticket_keys=TicketKeyFiles([str(tmp_path / "short")]))


# Handshakes


@on_each_loop
async def test_a_peer_that_stops_in_its_handshake(pki: PKI) -> None:
    """Before its first byte, and after half of its hello."""
    errors: list[Any] = []
    server = Lines(
        ssl_options=certificate(pki), handshake_timeout=SOON, on_handshake=lambda stream, error: errors.append(error)
    )
    async with listening(server) as port, calling(port, pair.client_context(pki)) as peer:
        silent = await dialled(port)
        peer.connection.do_handshake()
        hello = peer.connection.wire_to_send()
        await peer.send_wire(hello[: len(hello) // 2])
        assert await peer.receive_wire() == b""
        assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""
        silent.close()
        counted = await settled(server)
    assert counted["failures"] == {"timeout": 2}
    assert [type(error) for error in errors] == [TimeoutError, TimeoutError]
    assert "within 0.01 seconds" in str(errors[0])


@on_each_loop
async def test_too_many_handshakes(pki: PKI) -> None:
    """The oldest has to go; whoever is honest gets in."""
    errors: list[Any] = []

    def hook(stream: TLSStream, error: BaseException | None) -> None:
        if error is not None:
            errors.append(error)

    server = Lines(ssl_options=certificate(pki), max_handshakes=2, on_handshake=hook)
    async with listening(server) as port:
        silent = []
        for count in range(1, 4):
            silent.append(await dialled(port))
            await until(lambda: server.counters.handshakes_begun == count)  # noqa: B023
        assert await asyncio.get_running_loop().sock_recv(silent[0], 1) == b""
        await visit(pki, port)
        assert [type(error) for error in errors] == [TooManyHandshakes] * 2
        assert str(errors[0]) == "more than 2 TLS handshakes are under way"
        assert server.counters.handshakes_under_way == 1
        for sock in silent:
            sock.close()
        counted = await settled(server)
    assert counted["failures"] == {"displaced": 2, "truncated": 1}


@on_each_loop
async def test_the_hook(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """It hears of every handshake, before the application reads; it may turn a peer away."""
    heard: list[Any] = []

    def hook(stream: Any, error: Any) -> None:
        heard.append((stream.connection.server_name(), type(error)))
        if error is not None:
            raise RuntimeError("the hook's own")
        if stream.connection.server_name() != "localhost":
            stream.close()

    server = Lines(ssl_options=certificate(pki), on_handshake=hook)
    async with listening(server) as port:
        await visit(pki, port)
        context = pair.client_context(pki)
        context.check_hostname = False
        async with calling(port, context, "other.example") as peer:
            await peer.handshake()
            assert await peer.receive_all() == b"" and peer.connection.peer_closed
        (await dialled(port)).close()
        counted = await settled(server)
    assert heard == [("localhost", type(None)), ("other.example", type(None)), (None, ssl.SSLEOFError)]
    assert counted["endings"] == {"clean": 2} and counted["failures"] == {"truncated": 1}
    assert logged(caplog) == [("ERROR", "on_handshake failed")]


@on_each_loop
async def test_counters_that_are_shared(pki: PKI) -> None:
    counters = Counters()
    one, other = (Lines(ssl_options=certificate(pki), counters=counters) for _ in range(2))
    assert one.counters is other.counters is counters
    async with listening(one) as first, listening(other) as second:
        await visit(pki, first)
        await visit(pki, second)
        assert (await settled(one))["handshakes_completed"] == 2


@on_each_loop
async def test_handshakes_are_logged_for_those_who_debug(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "txmembio.tornado")
    async with listening(Lines(ssl_options=certificate(pki))) as port:
        await visit(pki, port)
    ((level, message),) = logged(caplog)
    assert level == "DEBUG" and "complete: TLSv1.3, TLS_" in message


class StartTLS(TCPServer):
    """A plain server, which begins TLS at once, and echoes a line."""

    async def handle_stream(self, stream: Any, address: Any) -> None:
        """As said."""
        try:
            tls = await stream.start_tls(True, certificate(self.pki), **self.options)
            await tls.write(await tls.read_until(b"\n"))
            await tls.read_until_close()
        except OSError:
            pass

    pki: PKI
    options: dict[str, Any] = {}  # noqa: RUF012


def starttls(pki: PKI, **settings: Any) -> StartTLS:
    """One, that has no certificate of its own."""
    server = StartTLS(**settings)
    server.pki = pki
    return server


@on_each_loop
async def test_the_settings_are_those_of_starttls_too(pki: PKI) -> None:
    heard: list[Any] = []
    server = starttls(pki, handshake_timeout=SOON, on_handshake=lambda stream, error: heard.append(type(error)))
    async with listening(server) as port:
        silent = await dialled(port)
        assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""
        silent.close()
        counted = await settled(server)
        assert counted["failures"] == {"timeout": 1} and heard == [TimeoutError]
    server = starttls(pki, on_handshake=lambda stream, error: heard.append(error))
    async with listening(server) as port:
        await visit(pki, port)
        counted = await settled(server)
    assert counted["handshakes_completed"] == 1 and counted["endings"] == {"clean": 1}
    assert heard == [TimeoutError, None]


@on_each_loop
async def test_starttls_may_say_otherwise(pki: PKI) -> None:
    server = starttls(pki, handshake_timeout=None)
    server.options = {"handshake_timeout": SOON, "watcher": None}
    async with listening(server) as port:
        silent = await dialled(port)
        assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""
        silent.close()
        assert server.counters.handshakes_begun == 0


@on_each_loop
async def test_too_many_handshakes_of_starttls(pki: PKI) -> None:
    server = starttls(pki, max_handshakes=1)
    async with listening(server) as port:
        silent = await dialled(port)
        await until(lambda: server.counters.handshakes_begun == 1)
        await visit(pki, port)
        assert await asyncio.get_running_loop().sock_recv(silent, 1) == b""
        silent.close()
        assert (await settled(server))["failures"] == {"displaced": 1}


# Peers that do not behave


@on_each_loop
async def test_plain_http_on_the_port(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    server = Lines(ssl_options=certificate(pki))
    async with listening(server) as port, calling(port, pair.client_context(pki)) as peer:
        await peer.send_wire(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        while await peer.receive_wire():
            pass
        assert (await settled(server))["failures"] == {"http_request": 1}
        await visit(pki, port)
    ((level, message),) = logged(caplog, "tornado.general")
    assert level == "WARNING" and message.startswith("SSL Error on ") and "HTTP_REQUEST" in message


@on_each_loop
async def test_ways_to_fail_are_counted(pki: PKI) -> None:
    server = Lines(ssl_options=certificate(pki))
    untrusting = pair.client_context(pki)
    async with listening(server) as port:
        (await dialled(port)).close()
        await until(lambda: server.counters.failures == {"truncated": 1})
        reset(await dialled(port))
        await until(lambda: server.counters.failures.get("lost") == 1 or server.counters.failures["truncated"] == 2)
        async with calling(port, untrusting, "wrong.example") as peer:
            with pytest.raises(ssl.SSLCertVerificationError):
                await peer.handshake()
        await until(lambda: len(server.counters.failures) > 1 and server.counters.connections_open == 0)
        assert any(word.startswith("alert_") for word in server.counters.failures)
        async with calling(port, pair.client_context(pki)) as peer:
            await peer.handshake()
            await ask(peer)
        await until(lambda: server.counters.endings.get("truncated") == 1)
        async with calling(port, pair.client_context(pki)) as peer:
            await peer.handshake()
            await ask(peer)
            peer.reset()
        await until(lambda: server.counters.endings.get("lost") == 1)
        async with calling(port, pair.client_context(pki)) as peer:
            await peer.handshake()
            await ask(peer)
            await peer.send_wire(b"\x17\x03\x03\x00\x20" + bytes(32))
            await peer.receive_all()
        await until(lambda: server.counters.endings.get("decryption_failed_or_bad_record_mac") == 1)
        await visit(pki, port)


@on_each_loop
async def test_a_peer_that_was_gone_before_it_was_accepted(pki: PKI) -> None:
    handled: list[Any] = []

    class Server(TCPServer):
        def handle_stream(self, stream: Any, address: Any) -> None:
            handled.append(stream)

    server = Server(ssl_options=certificate(pki))
    with listener() as waiting:
        client = new_socket()
        client.connect(waiting.getsockname())
        reset(client)
        server._handle_connection(accept(waiting), client)
    assert not handled and server.counters.handshakes_begun == 0


@on_each_loop
async def test_a_client_certificate_that_is_missing(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    options = {**certificate(pki), "ca_certs": pki.ca.certificate_file, "cert_reqs": ssl.CERT_REQUIRED}
    server = Lines(ssl_options=options)
    async with listening(server) as port:
        async with calling(port, pair.client_context(pki, tls_version)) as peer:
            with pytest.raises(txmembio.SSLError) as caught:
                await peer.handshake()
                await peer.receive(1)
            assert caught.value.alert_received
        assert (await settled(server))["failures"] == {"peer_did_not_return_a_certificate": 1}
        with_one = pair.client_context(pki, tls_version, credential=pki.client)
        async with calling(port, with_one) as peer:
            await peer.handshake()
            assert await ask(peer) == b"a line\n"
            await peer.close()


@on_each_loop
async def test_more_than_max_buffer_size(pki: PKI) -> None:
    """The stream is closed, as with Tornado's; the server is not."""
    errors: list[Any] = []

    class Server(TCPServer):
        async def handle_stream(self, stream: Any, address: Any) -> None:
            try:
                await stream.read_until(b"\n")
            except StreamClosedError as closed:
                errors.append(type(closed.real_error).__name__)
            else:
                await stream.write(b"a line\n")

    server = Server(ssl_options=certificate(pki), max_buffer_size=50_000)
    async with listening(server) as port:
        async with calling(port, pair.client_context(pki)) as peer:
            await peer.handshake()
            await peer.send(b"x" * 200_000)
            await peer.receive_all()
        assert (await settled(server))["endings"] == {"aborted": 1}
        await visit(pki, port)
    assert errors == ["StreamBufferFullError"]


@on_each_loop
async def test_a_callback_that_fails(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """The handshake is refused, and what the callback has raised is in the log."""

    def callback(connection: object, name: object, context: object) -> None:
        raise LookupError("what the callback has raised")

    context = pair.server_context(pki)
    context.sni_callback = callback
    server = Lines(ssl_options=context)
    async with listening(server) as port:
        async with calling(port, pair.client_context(pki)) as peer:
            with pytest.raises(txmembio.SSLError, match="internal error"):
                await peer.handshake()
        assert (await settled(server))["failures"] == {"callback": 1}
    (record,) = [record for record in caplog.records if record.name == "txmembio.tornado"]
    assert "LookupError: what the callback has raised" in str(record.exc_text)


def test_a_handler_that_fails(pki: PKI, caplog: pytest.LogCaptureFixture) -> None:
    """It is logged, as in Tornado, and that connection is the application's problem; the server goes on."""

    async def scenario() -> None:
        class Server(Lines):
            def handle_stream(self, stream: Any, address: Any) -> Any:
                if server.counters.handshakes_begun == 1:
                    stream.close()
                    raise LookupError("the handler's own")
                return super().handle_stream(stream, address)

        server = Server(ssl_options=certificate(pki))
        async with listening(server) as port:
            (await dialled(port)).close()
            await until(lambda: server.counters.handshakes_begun == 1)
            await visit(pki, port)

    asyncio.run(scenario())
    assert logged(caplog, "tornado.application") == [("ERROR", "Error in connection callback")]
