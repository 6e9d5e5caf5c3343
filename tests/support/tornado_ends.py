"""Both ends of a TLS connection on Tornado, on real sockets: its own `SSLIOStream` ("stock") and ours, mixed as a test
likes. What a test asserts of one it asserts of the other, so that "as in `SSLIOStream`" is not a matter of opinion.

    @on_each_loop
    @each_pairing
    async def test_lines(pki, pairing):
        async with joined(pki, pairing) as ends:          # handshakes done
            await ends.far.write(b"a line\n")
            assert await ends.near.read_until(b"\n") == b"a line\n"

`near` is the stream that the test is about. `facing()` gives it a peer that is a bare `Connection` instead of a stream,
for everything that a stream would never do. Nothing waits for time to pass; `DEADLINE` turns a hang into a failure.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterable, Iterator
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager, suppress
from typing import Any, NamedTuple

import pytest
import tornado
from tornado.iostream import IOStream, SSLIOStream

import txmembio
from txmembio.tornado import TLSStream
from txmembio.tornado.layer import Pair
from txmembio.tornado.wrapping import PlainStream

from . import pair
from .pki import PKI, Credential
from .process import DEADLINE
from .tornado_loop import on_each_loop as on_each_loop
from .tornado_loop import run as run
from .tornado_loop import turns as turns
from .tornado_loop import until as until

#: What Tornado has done since 6.6: a stream that fails tells so to reads that wait for its end, and has it in `error`.
TELLS_ERRORS = tornado.version_info >= (6, 6)

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3

#: Bytes asked of a socket at once: more than the largest record, so that one read often holds several.
SOCKET_READ_SIZE = 65536


# Makers: Tornado's streams and ours


class Maker:
    """Makes streams of one origin. The options of its methods are those of the stream's constructor."""

    name: str
    ours = False

    def client_context(self, pki: PKI, version: txmembio.TLSVersion | None = None) -> Any:
        """Trusts `pki.ca`."""
        raise NotImplementedError

    def server_context(
        self, pki: PKI, version: txmembio.TLSVersion | None = None, credential: Credential | None = None
    ) -> Any:
        """Shows `credential`, or else `pki.server`."""
        raise NotImplementedError

    def client(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        """On a socket that is not connected: `connect()` is up to the caller."""
        raise NotImplementedError

    def connected_client(
        self, sock: socket.socket, context: Any, server_hostname: str | None = "localhost", **options: Any
    ) -> SSLIOStream:
        """On a socket that is."""
        raise NotImplementedError

    def server(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        """On a socket that was accepted."""
        raise NotImplementedError

    def plain(self, sock: socket.socket, **options: Any) -> IOStream:
        """Without TLS, which `start_tls` can begin."""
        raise NotImplementedError

    def __str__(self) -> str:
        return self.name


class Stock(Maker):
    """Tornado's `SSLIOStream`, with contexts of the standard library."""

    name = "stock"

    def client_context(self, pki: PKI, version: txmembio.TLSVersion | None = None) -> Any:
        context = ssl.create_default_context(cafile=pki.ca.certificate_file)
        return self._only(context, version)

    def server_context(
        self, pki: PKI, version: txmembio.TLSVersion | None = None, credential: Credential | None = None
    ) -> Any:
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        credential = credential or pki.server
        context.load_cert_chain(credential.chain_file, credential.key_file)
        return self._only(context, version)

    def _only(self, context: ssl.SSLContext, version: txmembio.TLSVersion | None) -> ssl.SSLContext:
        if version is not None:
            context.minimum_version = context.maximum_version = ssl.TLSVersion(version)
        return context

    def client(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        return SSLIOStream(sock, ssl_options=context, **options)

    def connected_client(
        self, sock: socket.socket, context: Any, server_hostname: str | None = "localhost", **options: Any
    ) -> SSLIOStream:
        wrapped = context.wrap_socket(sock, server_hostname=server_hostname, do_handshake_on_connect=False)
        return SSLIOStream(wrapped, ssl_options=context, **options)

    def server(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        wrapped = context.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        return SSLIOStream(wrapped, ssl_options=context, **options)

    def plain(self, sock: socket.socket, **options: Any) -> IOStream:
        return IOStream(sock, **options)


class Ours(Maker):
    """`txmembio.tornado`, with our contexts."""

    name = "ours"
    ours = True

    def client_context(self, pki: PKI, version: txmembio.TLSVersion | None = None) -> Any:
        return pair.client_context(pki, version)

    def server_context(
        self, pki: PKI, version: txmembio.TLSVersion | None = None, credential: Credential | None = None
    ) -> Any:
        return pair.server_context(pki, version, credential=credential)

    def client(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        return TLSStream(sock, ssl_options=context, **options)

    def connected_client(
        self, sock: socket.socket, context: Any, server_hostname: str | None = "localhost", **options: Any
    ) -> SSLIOStream:
        return TLSStream(sock, ssl_options=context, server_hostname=server_hostname, **options)

    def server(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        return TLSStream(sock, ssl_options=context, server_side=True, **options)

    def plain(self, sock: socket.socket, **options: Any) -> IOStream:
        return PlainStream(sock, **options)


class Layered(Ours):
    """Ours over a stream of Tornado's, as `wrap_stream` makes them. (That keeps them until the handshake is done.)"""

    name = "layered"

    def connected_client(
        self, sock: socket.socket, context: Any, server_hostname: str | None = "localhost", **options: Any
    ) -> SSLIOStream:
        beneath: Any = Pair(IOStream(sock))
        return TLSStream(beneath, ssl_options=context, server_hostname=server_hostname, **options)

    def server(self, sock: socket.socket, context: Any, **options: Any) -> SSLIOStream:
        beneath: Any = Pair(IOStream(sock))
        return TLSStream(beneath, ssl_options=context, server_side=True, **options)


STOCK = Stock()
OURS = Ours()
LAYERED = Layered()


class Pairing(NamedTuple):
    """Who is who: the stream that a test is about, in which role, and who faces it."""

    near: Maker
    role: str
    far: Maker
    version: txmembio.TLSVersion

    def __str__(self) -> str:
        return f"{self.near}-{self.role}-{self.far}-{'tls12' if self.version == TLS12 else 'tls13'}"


class Single(NamedTuple):
    """A stream whose peer the test plays itself."""

    near: Maker
    role: str
    version: txmembio.TLSVersion

    def __str__(self) -> str:
        return f"{self.near}-{self.role}-{'tls12' if self.version == TLS12 else 'tls13'}"


#: Every role of ours against both kinds of peer. Tornado's own come along to say what is expected of ours.
PAIRINGS = [
    Pairing(STOCK, "client", STOCK, TLS13),
    Pairing(OURS, "client", OURS, TLS13),
    Pairing(OURS, "server", OURS, TLS12),
    Pairing(OURS, "client", STOCK, TLS13),
    Pairing(OURS, "server", STOCK, TLS12),
]
SINGLES = [
    Single(STOCK, "client", TLS12),
    Single(STOCK, "server", TLS13),
    *(Single(OURS, role, version) for role in ("client", "server") for version in (TLS12, TLS13)),
    Single(LAYERED, "client", TLS13),
    Single(LAYERED, "server", TLS12),
]
#: The last flight is the peer's, except for TLS 1.3's clients.
FINISHED_BY_THE_PEER = [each for each in SINGLES if (each.role, each.version) != ("client", TLS13)]

each_pairing = pytest.mark.parametrize("pairing", PAIRINGS, ids=str)
each_single = pytest.mark.parametrize("single", SINGLES, ids=str)
each_client = pytest.mark.parametrize("single", [each for each in SINGLES if each.role == "client"], ids=str)
each_server = pytest.mark.parametrize("single", [each for each in SINGLES if each.role == "server"], ids=str)
each_that_waits_for_finished = pytest.mark.parametrize("single", FINISHED_BY_THE_PEER, ids=str)
our_pairings = pytest.mark.parametrize("pairing", [each for each in PAIRINGS if each.near.ours], ids=str)
our_singles = pytest.mark.parametrize("single", [each for each in SINGLES if each.near.ours], ids=str)
each_maker = pytest.mark.parametrize("maker", [STOCK, OURS], ids=str)


# Sockets


def socket_pair(buffers: int | None = None) -> tuple[socket.socket, socket.socket]:
    """The two ends of a TCP connection over the loopback: who connected, who accepted."""
    with listening(buffers) as listener:
        connecting = new_socket(buffers)
        connecting.connect(listener.getsockname())
        return connecting, accept(listener)


@contextmanager
def listening(buffers: int | None = None) -> Iterator[socket.socket]:
    """A listener on a free port of 127.0.0.1; what it accepts has kernel buffers of `buffers` bytes."""
    listener = new_socket(buffers)
    with listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        listener.settimeout(DEADLINE)
        yield listener


def accept(listener: socket.socket) -> socket.socket:
    """What has connected. The kernel has seen to that already, so this does not block."""
    accepted, _ = listener.accept()
    accepted.setblocking(False)
    return accepted


def new_socket(buffers: int | None = None) -> socket.socket:
    """A TCP socket; its kernel buffers hold `buffers` bytes each way, if that is given."""
    sock = socket.socket()
    if buffers is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, buffers)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffers)
        # The loopback's own segments are of 64 KiB: with one or two in a buffer, TCP waits for its timers.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_MAXSEG, 1400)
    return sock


def reset(sock: socket.socket) -> None:
    """Close with RST."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.close()


class Relay:
    """Carries wire between two sockets, both ways, cut as `segment` says; each piece leaves in a turn of its own."""

    def __init__(self, one: socket.socket, other: socket.socket, segment: pair.Segmentation) -> None:
        self._sockets = one, other
        self._segment = segment
        for sock in self._sockets:
            sock.setblocking(False)
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._tasks = [asyncio.ensure_future(self._carry(one, other)), asyncio.ensure_future(self._carry(other, one))]

    async def _carry(self, source: socket.socket, sink: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        with suppress(ConnectionError):
            while wire := await loop.sock_recv(source, SOCKET_READ_SIZE):
                for piece in self._segment(wire):
                    await loop.sock_sendall(sink, piece)
                    await turns(2)  # the one who reads gets its turn
        with suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for sock in self._sockets:
            sock.close()


# Two streams


class Ends:
    """A stream, and the one that it talks to."""

    def __init__(self, near: SSLIOStream, far: SSLIOStream, handshakes: tuple[Any, Any]) -> None:
        self.near = near
        self.far = far
        self.handshakes = handshakes
        """Near's future and far's, as `connect` and `wait_for_handshake` returned them."""

    async def handshake(self) -> None:
        """Both handshakes; raises what the first that fails raises."""
        await asyncio.gather(*self.handshakes)


Options = dict[str, Any]


def _connect(
    maker: Maker,
    listener: socket.socket,
    context: Any,
    server_hostname: str,
    buffers: int | None,
    options: Options | None,
) -> tuple[SSLIOStream, Any]:
    """A client's stream, and the future of its handshake."""
    sock, address = new_socket(buffers), listener.getsockname()
    if maker is LAYERED:
        sock.connect(address)
        stream = maker.connected_client(sock, context, server_hostname, **(options or {}))
        return stream, stream.wait_for_handshake()
    stream = maker.client(sock, context, **(options or {}))
    return stream, stream.connect(address, server_hostname=server_hostname)


@asynccontextmanager
async def joined(
    pki: PKI,
    pairing: Pairing,
    *,
    near: Options | None = None,
    far: Options | None = None,
    near_context: Any = None,
    far_context: Any = None,
    server_hostname: str = "localhost",
    handshake: bool = True,
    buffers: int | None = None,
    relay: pair.Segmentation | None = None,
) -> AsyncIterator[Ends]:
    """Two streams connected; both are closed in the end.

    :param near: options of the near stream's constructor; `far` likewise.
    :param near_context: instead of one that the other side is content with.
    :param handshake: whether to wait for it.
    :param buffers: bytes that the kernel holds for each socket, each way.
    :param relay: how the wire is cut on its way, both ways.
    """
    client_is_near = pairing.role == "client"
    clients, servers = (pairing.near, pairing.far) if client_is_near else (pairing.far, pairing.near)
    client_options, server_options = (near, far) if client_is_near else (far, near)
    client_context, server_context = (near_context, far_context) if client_is_near else (far_context, near_context)
    client_context = client_context or clients.client_context(pki, pairing.version)
    server_context = server_context or servers.server_context(pki, pairing.version)
    async with AsyncExitStack() as stack:
        with listening(buffers) as listener:
            client, connected = _connect(clients, listener, client_context, server_hostname, buffers, client_options)
            stack.callback(client.close)
            accepted = accept(listener)
        if relay is not None:
            beyond, served = socket_pair(buffers)
            stack.push_async_callback(Relay(accepted, beyond, relay).close)
            accepted = served
        server = servers.server(accepted, server_context, **(server_options or {}))
        stack.callback(server.close)
        waiting = server.wait_for_handshake()
        ends = (
            Ends(client, server, (connected, waiting)) if client_is_near else Ends(server, client, (waiting, connected))
        )
        if handshake:
            await ends.handshake()
        yield ends


# A stream and a bare connection


class Peer:
    """A `Connection` on a socket, driven by the test itself, which can do what a well-behaved stream would not."""

    def __init__(self, sock: socket.socket, connection: txmembio.Connection) -> None:
        sock.setblocking(False)
        if sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # what is sent arrives before the next turn
        self.sock = sock
        self.connection = connection
        self.received = bytearray()
        """All plaintext so far."""
        self.error: Exception | None = None
        """What ended `receive_all` early: truncation, an alert, a reset."""

    async def handshake(self) -> None:
        """Shake hands; raises what goes wrong."""
        try:
            self.connection.do_handshake()
        finally:
            await self.flush()
        while not self.connection.handshake_complete:
            await self.receive_some()

    async def flush(self) -> None:
        """Send the wire that there is."""
        await self.send_wire(self.connection.wire_to_send())

    async def send(self, plaintext: bytes) -> None:
        """Encrypt and send."""
        await self.send_wire(self.connection.plaintext_to_wire(plaintext))

    async def send_wire(self, wire: bytes) -> None:
        """Send these bytes as they are."""
        if wire:
            await asyncio.get_running_loop().sock_sendall(self.sock, wire)

    async def receive_wire(self) -> bytes:
        """Some wire, as it is; b"" at its end."""
        return await asyncio.get_running_loop().sock_recv(self.sock, SOCKET_READ_SIZE)

    async def receive_some(self) -> bool:
        """Take what arrives next, and send what there is to answer. False at the end of the wire; raises
        SSLEOFError if that came too early.
        """
        wire = await self.receive_wire()
        if not wire:
            self.connection.receive_wire_eof()
            return False
        try:
            self.received += self.connection.receive_wire(wire)
        finally:
            await self.flush()
        return True

    async def receive(self, size: int) -> bytes:
        """The next `size` bytes of plaintext."""
        while len(self.received) < size:
            assert await self.receive_some(), f"the wire ended after {len(self.received)} of {size} bytes"
        plaintext = bytes(self.received[:size])
        del self.received[:size]
        return plaintext

    async def receive_all(self) -> bytes:
        """All plaintext until the wire ends, however it ends: see `error`."""
        try:
            while await self.receive_some():
                pass
        except (txmembio.SSLError, OSError) as error:
            self.error = error
        return bytes(self.received)

    async def close(self) -> None:
        """As it should be: close_notify and the end of the wire. (Closing a socket with something unread resets it.)"""
        self.connection.close()
        await self.flush()
        self.end()

    def end(self) -> None:
        """The end of the wire."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        """RST."""
        reset(self.sock)


class Facing:
    """A stream, and its peer."""

    def __init__(self, near: SSLIOStream, peer: Peer, near_handshake: Any) -> None:
        self.near = near
        self.peer = peer
        self.near_handshake = near_handshake
        """The future that `connect` or `wait_for_handshake` returned."""

    async def handshake(self) -> None:
        """Both; raises what the first that fails raises."""
        await asyncio.gather(self.near_handshake, self.peer.handshake())

    def forget(self) -> None:
        """Close the stream, and refer to it no more."""
        self.near.close()
        del self.near, self.near_handshake


@asynccontextmanager
async def facing(
    pki: PKI,
    single: Single,
    *,
    near: Options | None = None,
    near_context: Any = None,
    peer_context: txmembio.SSLContext | None = None,
    server_hostname: str = "localhost",
    handshake: bool = True,
    buffers: int | None = None,
) -> AsyncIterator[Facing]:
    """A stream connected to a bare connection; both sockets are closed in the end. The parameters are `joined`'s."""
    maker, role, version = single
    connection: txmembio.Connection
    stream: SSLIOStream
    with listening(buffers) as listener:
        if role == "client":
            connection = (peer_context or pair.server_context(pki, version)).connection(server_side=True)
            context = near_context or maker.client_context(pki, version)
            stream, waiting = _connect(maker, listener, context, server_hostname, buffers, near)
            sock = accept(listener)
        else:
            client = peer_context or pair.client_context(pki, version)
            connection = client.connection(server_hostname=server_hostname)
            sock = new_socket(buffers)
            sock.connect(listener.getsockname())
            context = near_context or maker.server_context(pki, version)
            stream = maker.server(accept(listener), context, **(near or {}))
            waiting = stream.wait_for_handshake()
    faced = Facing(stream, Peer(sock, connection), waiting)
    del stream, waiting
    try:
        if handshake:
            await faced.handshake()
        yield faced
    finally:
        if hasattr(faced, "near"):
            faced.near.close()
        faced.peer.sock.close()


def pieces(sizes: Iterable[int]) -> pair.Segmentation:
    """Cut the wire into pieces of these sizes, over and over."""
    cycle = tuple(sizes)

    def segment(wire: bytes) -> Iterator[bytes]:
        while wire:
            for size in cycle:
                if wire[:size]:
                    yield wire[:size]
                wire = wire[size:]

    return segment
