"""`install("tornado")`: programs that know Tornado and `ssl`, and nothing of txmembio. What they import they have
imported before, as these tests have.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import subprocess
import sys
import weakref
from abc import ABCMeta, abstractmethod
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")
import tornado
import tornado.simple_httpclient
from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError
from tornado.netutil import ssl_options_to_context, ssl_wrap_socket
from tornado.simple_httpclient import SimpleAsyncHTTPClient
from tornado.tcpclient import TCPClient
from tornado.tcpserver import TCPServer
from tornado.websocket import websocket_connect

import txmembio
import txmembio.tornado
from support.pki import PKI
from support.process import DEADLINE, environment
from support.tornado_ends import on_each_loop, until
from support.tornado_site import listening, settled, site
from txmembio.switch import _tornado
from txmembio.tornado import TLSStream, options

T = TypeVar("T")

#: What is changed, and put back.
CHANGED = [IOStream, SSLIOStream, TCPServer, TCPClient, SimpleAsyncHTTPClient, HTTPServer, ssl.SSLContext, options]


class EchoServer(TCPServer):
    """A subclass, from before."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.streams: list[IOStream] = []

    async def handle_stream(self, stream: IOStream, address: Any) -> None:
        self.streams.append(stream)
        try:
            while True:
                await stream.write(await stream.read_until(b"\n"))
        except StreamClosedError:
            pass


class OwnStream(SSLIOStream):
    """A subclass, from before."""


def state() -> list[dict[str, Any]]:
    """What can be changed, and back. A class that has once had a `__new__` has to keep one, and Tornado itself keeps in
    a class what it has found configured.
    """
    return [
        {name: value for name, value in vars(thing).items() if not name.startswith(("__new__", "_Configurable"))}
        for thing in CHANGED
    ]


@pytest.fixture(autouse=True)
def installed() -> Iterator[None]:
    before = state()
    make = ssl.SSLContext.__new__
    _tornado.check()
    undo = _tornado.apply()
    assert _tornado.applied()
    yield
    undo()
    assert not _tornado.applied()
    assert state() == before
    assert ssl.SSLContext.__new__ is make


def standard(pki: PKI, purpose: ssl.Purpose = ssl.Purpose.CLIENT_AUTH) -> ssl.SSLContext:
    context = ssl.create_default_context(purpose, cafile=pki.ca.certificate_file)
    if purpose == ssl.Purpose.CLIENT_AUTH:
        context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    return context


@on_each_loop
@pytest.mark.parametrize("form", ["context", "dict", "ours"])
async def test_https(form: str, pki: PKI) -> None:
    """Server and client; with a context of ours, too, which goes everywhere now."""
    at_server: Any = standard(pki)
    at_client: Any = standard(pki, ssl.Purpose.SERVER_AUTH)
    if form == "dict":
        at_server = {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file}
        at_client = {"ca_certs": pki.ca.certificate_file, "cert_reqs": ssl.CERT_REQUIRED}
    elif form == "ours":
        at_server = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
        at_server.load_cert_chain(pki.server.chain_file, pki.server.key_file)
        at_client = txmembio.create_default_context(cafile=pki.ca.certificate_file)
    server: Any = HTTPServer(site(), ssl_options=at_server)
    assert type(server) is txmembio.tornado.HTTPServer
    async with listening(server) as port:
        client = AsyncHTTPClient(force_instance=True)
        assert isinstance(client, txmembio.tornado.AsyncHTTPClient)
        try:
            response = await client.fetch(f"https://localhost:{port}/facts", ssl_options=at_client)
            assert '"stream": "TLSStream"' in response.body.decode()
            response = await client.fetch(f"https://localhost:{port}/facts", ca_certs=pki.ca.certificate_file)
            assert response.code == 200
            with pytest.raises(ssl.SSLCertVerificationError):
                await client.fetch(f"https://localhost:{port}/facts")
        finally:
            client.close()
        assert (await settled(server))["handshakes_completed"] == 2


@on_each_loop
async def test_subclasses_of_servers(pki: PKI) -> None:
    server = EchoServer(ssl_options=standard(pki))
    assert isinstance(server, txmembio.tornado.TCPServer)
    assert (type(server).__name__, type(server).__mro__[1]) == ("EchoServer", EchoServer)
    assert type(EchoServer()) is type(server)
    async with listening(server) as port:
        stream = await TCPClient().connect("localhost", port, ssl_options=standard(pki, ssl.Purpose.SERVER_AUTH))
        await stream.write(b"a line\n")
        assert await stream.read_until(b"\n") == b"a line\n"
        assert isinstance(stream, TLSStream)
        assert [isinstance(served, TLSStream) for served in server.streams] == [True]
        stream.close()
        await until(lambda: all(served.closed() for served in server.streams))


@on_each_loop
async def test_servers_without_tls() -> None:
    server = EchoServer()
    async with listening(server) as port:
        stream = await TCPClient().connect("127.0.0.1", port)
        await stream.write(b"a line\n")
        assert await stream.read_until(b"\n") == b"a line\n"
        stream.close()
        await until(lambda: all(served.closed() for served in server.streams))


def test_subclasses_of_clients(pki: PKI) -> None:
    class OwnClient(SimpleAsyncHTTPClient):
        def initialize(self, **options: Any) -> None:  # type: ignore[override]
            super().initialize(max_clients=3, **options)

    class OwnTCPClient(TCPClient):
        pass

    async def scenario() -> None:
        client = OwnClient(force_instance=True)
        assert isinstance(client, txmembio.tornado.AsyncHTTPClient)
        assert (type(client).__name__, client.max_clients) == ("OwnClient", 3)
        client.close()
        assert isinstance(OwnTCPClient(), txmembio.tornado.TCPClient)

    asyncio.run(scenario())


class Registered(type):
    """A metaclass that keeps a list, and wants an argument."""

    known: ClassVar[list[str]] = []

    def __new__(mcs, name: str, bases: Any, details: Any, *, port: int) -> Any:
        return super().__new__(mcs, name, bases, details)

    def __init__(cls, name: str, bases: Any, details: Any, *, port: int) -> None:
        super().__init__(name, bases, details)
        cls.known.append(name)


class Plugin(TCPServer):
    """One whose subclasses are listed, and want an argument."""

    plugins: ClassVar[list[tuple[str, type]]] = []

    def __init_subclass__(cls, *, key: str, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.plugins.append((key, cls))


@on_each_loop
@pytest.mark.parametrize("stock", [TCPServer, HTTPServer, TCPClient])
async def test_programs_that_watch_their_subclasses_see_none_of_ours(stock: Any) -> None:
    class Base(stock):  # type: ignore[misc]
        seen: ClassVar[list[type]] = []

        def __init_subclass__(cls, *, key: str) -> None:
            cls.seen.append(cls)

    class Own(Base, key="own"):
        pass

    made = [Own(*[site()] * (stock is HTTPServer)) for _ in range(2)]
    assert Base.seen == [Own]
    assert [type(each).__mro__[1] for each in made] == [Own, Own]
    assert isinstance(made[0], getattr(txmembio.tornado, stock.__name__))

    class Further(type(made[0]), key="further"):  # type: ignore[call-arg, misc]
        """It is only our own class that goes unseen."""

    assert Base.seen == [Own, Further]


async def serves(server: Any, pki: PKI) -> bool:
    async with listening(server) as port:
        stream = await TCPClient().connect("localhost", port, ssl_options=standard(pki, ssl.Purpose.SERVER_AUTH))
        await stream.write(b"a line\n")
        answer = await stream.read_until(b"\n")
        stream.close()
        await until(lambda: all(served.closed() for served in server.streams))
    return bool(answer == b"a line\n")


@on_each_loop
async def test_classes_of_every_make(pki: PKI) -> None:
    Registered.known.clear()
    Plugin.plugins.clear()

    class WithMeta(EchoServer, metaclass=Registered, port=1):
        pass

    class WithSlots(EchoServer):
        __slots__ = ("own",)

    class Abstract(EchoServer, metaclass=ABCMeta):
        @abstractmethod
        def method(self) -> None: ...

    class Concrete(Abstract):
        def method(self) -> None: ...

    class Of(EchoServer, Generic[T]):
        pass

    class Mixed(Plugin, EchoServer, key="mixed"):
        pass

    for kind in (WithMeta, WithSlots, Concrete, Of, Of[int], Mixed):
        server = kind(ssl_options=standard(pki))
        assert isinstance(server, txmembio.tornado.TCPServer) and isinstance(server, EchoServer)
        assert await serves(server, pki), kind
    assert Registered.known == ["WithMeta"]
    assert Plugin.plugins == [("mixed", Mixed)]
    assert isinstance(Concrete(), Abstract) and not isinstance(EchoServer(), type(Concrete()))
    with pytest.raises(TypeError, match="abstract"):
        Abstract()  # type: ignore[abstract]


@on_each_loop
async def test_classes_that_are_gone_are_forgotten() -> None:
    def make() -> Any:
        kind = type("Brief", (TCPServer,), {})
        assert type(kind()) is type(kind())
        return weakref.ref(kind)

    gone = make()
    gc.collect()
    assert gone() is None


@on_each_loop
async def test_websockets(pki: PKI) -> None:
    server: Any = HTTPServer(site(), ssl_options=standard(pki))
    async with listening(server) as port:
        request = HTTPRequest(f"wss://localhost:{port}/ws", ca_certs=pki.ca.certificate_file)
        connection = await websocket_connect(request)
        await connection.write_message("hello")
        assert await connection.read_message() == "hello"
        assert isinstance(connection.stream, TLSStream)
        connection.close()
        assert await connection.read_message() is None
        await settled(server)


@on_each_loop
async def test_start_tls_in_both_roles(pki: PKI) -> None:
    near, far = (IOStream(sock) for sock in socket.socketpair())
    streams: Any = await asyncio.gather(
        near.start_tls(False, standard(pki, ssl.Purpose.SERVER_AUTH), "localhost"),
        far.start_tls(True, ssl_options_to_context({"certfile": pki.server.combined_file}, server_side=True)),
    )
    assert [isinstance(stream, TLSStream) for stream in streams] == [True, True]
    await streams[0].write(b"plaintext")
    assert await streams[1].read_bytes(9) == b"plaintext"
    for stream in streams:
        stream.close()


@on_each_loop
@pytest.mark.parametrize("wrap", [ssl_wrap_socket, lambda sock, context, **kw: context.wrap_socket(sock, **kw)])
async def test_streams_of_wrapped_sockets(wrap: Any, pki: PKI) -> None:
    """As the documentation of SSLIOStream has it."""
    ours, theirs = socket.socketpair()
    near = SSLIOStream(
        wrap(ours, standard(pki, ssl.Purpose.SERVER_AUTH), server_hostname="localhost", do_handshake_on_connect=False)
    )
    far = SSLIOStream(wrap(theirs, standard(pki), server_side=True, do_handshake_on_connect=False))
    assert isinstance(near, TLSStream) and isinstance(far, TLSStream)
    await asyncio.gather(near.wait_for_handshake(), far.wait_for_handshake())
    assert near.socket.getpeercert(True) == pki.server.certificate_der
    await near.write(b"plaintext")
    assert await far.read_bytes(9) == b"plaintext"
    near.close()
    far.close()


@on_each_loop
async def test_a_stream_that_is_to_be_connected(pki: PKI) -> None:
    server = EchoServer(ssl_options=standard(pki))
    async with listening(server) as port:
        for given in (standard(pki, ssl.Purpose.SERVER_AUTH), {"ca_certs": pki.ca.certificate_file}):
            stream = SSLIOStream(socket.socket(), ssl_options=given, max_buffer_size=1000)
            await stream.connect(("127.0.0.1", port), server_hostname="localhost")
            await stream.write(b"a line\n")
            assert await stream.read_until(b"\n") == b"a line\n"
            assert (isinstance(stream, TLSStream), stream.max_buffer_size) == (True, 1000)
            stream.close()
        await until(lambda: all(served.closed() for served in server.streams))


@pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning")  # Tornado 6.2 calls it
@on_each_loop
async def test_streams_of_a_subclass_stay_what_they_are(pki: PKI) -> None:
    server = EchoServer(ssl_options=standard(pki))
    async with listening(server) as port:
        stream = OwnStream(socket.socket(), ssl_options=standard(pki, ssl.Purpose.SERVER_AUTH))
        await stream.connect(("127.0.0.1", port), server_hostname="localhost")
        assert type(stream.socket) is ssl.SSLSocket
        await stream.write(b"a line\n")
        assert await stream.read_until(b"\n") == b"a line\n"
        stream.close()
        await until(lambda: all(served.closed() for served in server.streams))


@on_each_loop
async def test_a_certificate_is_renewed_in_a_context_that_is_served(pki: PKI) -> None:
    context = standard(pki)
    server = EchoServer(ssl_options=context)
    at_client = standard(pki, ssl.Purpose.SERVER_AUTH)
    at_client.check_hostname = False
    async with listening(server) as port:
        seen = []
        for credential in (pki.server, pki.wrong_name):
            context.load_cert_chain(credential.chain_file, credential.key_file)
            stream: Any = await TCPClient().connect("127.0.0.1", port, ssl_options=at_client)
            seen.append(stream.socket.getpeercert(True))
            stream.close()
        await until(lambda: all(served.closed() for served in server.streams))
    assert seen[1] == pki.wrong_name.certificate_der != seen[0]


def from_before(pki: PKI) -> ssl.SSLContext:
    """A context that nobody has watched being made."""
    base: Any = ssl.SSLContext.__base__
    context: ssl.SSLContext = base.__new__(ssl.SSLContext, ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    return context


def test_contexts_from_before_are_refused_when_they_are_given(pki: PKI) -> None:
    """By the server's constructor, not by its first connection."""
    with pytest.raises(TypeError, match="was made before txmembio was installed"):
        HTTPServer(site(), ssl_options=from_before(pki))
    with pytest.raises(TypeError, match="was made before txmembio was installed"):
        EchoServer(ssl_options=from_before(pki))


@on_each_loop
async def test_a_wrapped_socket_that_cannot_be_used_is_left_to_its_owner(pki: PKI) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        wrapped = from_before(pki).wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        with wrapped, pytest.raises(TypeError, match="was made before txmembio was installed"):
            SSLIOStream(wrapped)
        assert theirs.recv(1) == b""


@on_each_loop
async def test_a_stream_that_cannot_be_made_leaves_no_socket_open(pki: PKI) -> None:
    ours, theirs = socket.socketpair()
    with theirs:
        wrapped = standard(pki).wrap_socket(ours, server_side=True, do_handshake_on_connect=False)
        with pytest.raises(TypeError, match="no_such_option"):
            SSLIOStream(wrapped, no_such_option=1)
        assert theirs.recv(1) == b""


@pytest.mark.parametrize("kind", [HTTPServer, txmembio.tornado.HTTPServer])
def test_servers_take_what_ours_take(kind: Any, pki: PKI) -> None:
    server = kind(site(), ssl_options=standard(pki), max_handshakes=7)
    assert type(server) is txmembio.tornado.HTTPServer
    with pytest.raises(ValueError, match="max_handshakes"):
        kind(site(), max_handshakes=-1)


def test_nothing_is_left_of_an_attempt_with_an_old_tornado(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tornado, "version_info", (6, 1, 0, 0))
    before = state()
    with pytest.raises(txmembio.InstallError, match=r"expected 6\.2 or newer"):
        _tornado.apply()
    assert state() == before


#: Knows nothing of txmembio.
PROGRAM = """
import asyncio, ssl, sys
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

class Page(RequestHandler):
    def get(self):
        stream = self.request.connection.stream
        self.write(f"{type(stream).__name__} {stream.socket.version()}")

async def main(chain, key, roots):
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(chain, key)
    server = HTTPServer(Application([("/", Page)]), ssl_options=context)
    sockets = bind_sockets(0, "127.0.0.1")
    server.add_sockets(sockets)
    url = f"https://127.0.0.1:{sockets[0].getsockname()[1]}/"
    response = await AsyncHTTPClient().fetch(url, ssl_options=ssl.create_default_context(cafile=roots))
    print(response.body.decode(), "txmembio.tornado" in sys.modules)
    server.stop()
    await server.close_all_connections()

asyncio.run(main(*sys.argv[1:]))
"""


@pytest.mark.parametrize("switched", [False, True])
def test_a_program_that_is_run(switched: bool, pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(PROGRAM)
    files = [pki.server.chain_file, pki.server.key_file, pki.ca.certificate_file]
    command = ["-m", "txmembio", "run", "--install=tornado"] if switched else []
    done = subprocess.run(
        [sys.executable, *command, "program.py", *files],
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.stdout == ("TLSStream TLSv1.3 True\n" if switched else "SSLIOStream TLSv1.3 False\n")
    assert (done.returncode, done.stderr) == (0, "")
