"""`start_tls` on a stream that has begun in plaintext, beside that of Tornado's `IOStream`: both roles, whoever speaks
first; what was received too early is wire for a server, which asked for it, and refused by a client, which did not
(CVE-2011-0411).
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
from tornado.iostream import IOStream, SSLIOStream, StreamClosedError

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import (
    OURS,
    TELLS_ERRORS,
    TLS13,
    Pairing,
    Peer,
    Single,
    accept,
    each_pairing,
    facing,
    listening,
    on_each_loop,
    socket_pair,
    turns,
)
from support.tornado_ends import (
    SINGLES as ALL_SINGLES,
)
from txmembio.tornado import TLSStream
from txmembio.tornado.wrapping import PlainStream

SINGLES = [each for each in ALL_SINGLES if each.near.name != "layered"]
each_single = pytest.mark.parametrize("single", SINGLES, ids=str)
our_clients = pytest.mark.parametrize("single", [s for s in SINGLES if s.near is OURS and s.role == "client"], ids=str)
our_servers = pytest.mark.parametrize("single", [s for s in SINGLES if s.near is OURS and s.role == "server"], ids=str)

LONG = b"".join(number.to_bytes(4, "big") for number in range(100_000))


class Plain:
    """A stream in plaintext, and its peer, which has not said anything."""

    def __init__(self, near: IOStream, peer: Peer, single: Single, context: Any) -> None:
        self.near = near
        self.peer = peer
        self.context = context
        self._single = single
        self.secured: SSLIOStream | None = None

    def start(self, **options: Any) -> Any:
        """`start_tls`, as this role calls it."""
        if self._single.role == "server":
            return self.near.start_tls(True, self.context, **options)
        return self.near.start_tls(False, self.context, "localhost", **options)

    async def handshake(self) -> SSLIOStream:
        """`start_tls`, and the peer's side of it."""
        secured: SSLIOStream
        secured, _ = await asyncio.gather(self.start(), self.peer.handshake())
        self.secured = secured
        return secured

    async def talk(self) -> None:
        """A few words both ways."""
        assert self.secured is not None
        await self.secured.write(b"from near")
        assert await self.peer.receive(9) == b"from near"
        await self.peer.send(b"from the peer")
        assert await self.secured.read_bytes(13) == b"from the peer"


@asynccontextmanager
async def plainly(pki: PKI, single: Single, *, near_context: Any = None, **options: Any) -> AsyncIterator[Plain]:
    """Connected, in plaintext."""
    maker, role, version = single
    if role == "client":
        connection = pair.server_context(pki, version).connection(server_side=True)
        context = near_context or maker.client_context(pki, version)
    else:
        connection = pair.client_context(pki, version).connection(server_hostname="localhost")
        context = near_context or maker.server_context(pki, version)
    near, far = socket_pair()
    both = Plain(maker.plain(near, **options), Peer(far, connection), single, context)
    try:
        yield both
    finally:
        if both.secured is not None:
            both.secured.close()
        if both.near.socket is not None:
            both.near.close()
        both.peer.sock.close()


# In order


@on_each_loop
@each_single
async def test_the_server_speaks_first(pki: PKI, single: Single) -> None:
    """As in SMTP."""
    async with plainly(pki, single) as both:
        if single.role == "client":
            await both.peer.send_wire(b"220 ready\r\n")
            assert await both.near.read_until(b"\r\n") == b"220 ready\r\n"
            await both.near.write(b"STARTTLS\r\n")
            assert await both.peer.receive_wire() == b"STARTTLS\r\n"
            await both.peer.send_wire(b"220 go ahead\r\n")
            assert await both.near.read_until(b"\r\n") == b"220 go ahead\r\n"
        else:
            await both.near.write(b"220 ready\r\n")
            assert await both.peer.receive_wire() == b"220 ready\r\n"
            await both.peer.send_wire(b"STARTTLS\r\n")
            assert await both.near.read_until(b"\r\n") == b"STARTTLS\r\n"
            await both.near.write(b"220 go ahead\r\n")
            assert await both.peer.receive_wire() == b"220 go ahead\r\n"
        secured = await both.handshake()
        assert isinstance(secured, TLSStream if single.near is OURS else SSLIOStream)
        assert both.near.socket is None
        await both.talk()


@on_each_loop
@each_single
async def test_right_after_connecting(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        await both.handshake()
        await both.talk()


@on_each_loop
@each_pairing
async def test_on_a_stream_that_has_connected_itself(pki: PKI, pairing: Pairing) -> None:
    """Both ends are streams."""
    is_client = pairing.role == "client"
    clients, servers = (pairing.near, pairing.far) if is_client else (pairing.far, pairing.near)
    with listening() as listener:
        client = clients.plain(socket.socket())
        connecting = client.connect(listener.getsockname())
        server = servers.plain(accept(listener))
    await connecting
    await client.write(b"STARTTLS\n")
    assert await server.read_until(b"\n") == b"STARTTLS\n"
    secured = await asyncio.gather(
        client.start_tls(False, clients.client_context(pki, pairing.version), "localhost"),
        server.start_tls(True, servers.server_context(pki, pairing.version)),
    )
    for writer, reader in (secured, reversed(secured)):
        written = writer.write(LONG)
        assert await reader.read_bytes(len(LONG)) == LONG
        await written
    for stream in secured:
        stream.close()


@on_each_loop
@each_single
async def test_the_future_is_for_the_new_stream(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        secured = await both.handshake()
        assert secured is not both.near
        assert await secured.wait_for_handshake() is secured


@on_each_loop
@each_single
async def test_what_the_stream_had_goes_over(pki: PKI, single: Single) -> None:
    """Limits, and the close callback."""
    called = []
    async with plainly(pki, single, max_buffer_size=70_000, read_chunk_size=1234) as both:
        both.near.set_close_callback(lambda: called.append("closed"))
        secured = await both.handshake()
        assert (secured.max_buffer_size, secured.read_chunk_size) == (70_000, 1234)
        await turns(2)
        assert called == []
        secured.close()
        await turns(2)
        assert called == ["closed"]


@on_each_loop
@each_single
async def test_a_read_after_the_handshake_ends_as_on_any_stream(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        secured = await both.handshake()
        future = secured.read_until_close()
        await both.peer.send(LONG)
        await both.peer.close()
        assert await future == LONG


# The client does not wait


@on_each_loop
@our_servers
@pytest.mark.parametrize("share", [0.01, 0.5, 1])
async def test_the_client_s_hello_in_the_segment_of_its_command(pki: PKI, single: Single, share: float) -> None:
    """All of it or the beginning: it counts as wire."""
    async with plainly(pki, single) as both:
        both.peer.connection.do_handshake()
        hello = both.peer.connection.wire_to_send()
        cut = int(len(hello) * share)
        await both.peer.send_wire(b"STARTTLS\r\n" + hello[:cut])
        assert await both.near.read_until(b"\r\n") == b"STARTTLS\r\n"
        starting = both.start()
        await turns(2)
        await both.peer.send_wire(hello[cut:])
        await both.peer.handshake()
        both.secured = await starting
        await both.talk()


@on_each_loop
@our_servers
async def test_a_connection_that_turns_out_to_be_tls(pki: PKI, single: Single) -> None:
    """A server that looks at the first byte and has read more than that."""
    async with plainly(pki, single) as both:
        peer = asyncio.ensure_future(both.peer.handshake())
        first = await both.near.read_bytes(1, partial=True)
        assert first == b"\x16"
        both.near._read_buffer[:0] = first  # as programs do that have no other way
        both.near._read_buffer_size += 1
        both.secured = await both.start()
        await peer
        await both.talk()


@on_each_loop
@each_single
async def test_what_the_kernel_holds_is_wire(pki: PKI, single: Single) -> None:
    """The peer's first flight has arrived, and the stream has not read it."""
    if single.role == "client":
        async with plainly(pki, single) as both:
            starting = both.start()
            await both.peer.handshake()
            both.secured = await starting
            await both.talk()
        return
    async with plainly(pki, single) as both:
        both.peer.connection.do_handshake()
        await both.peer.flush()
        await turns(3)
        both.secured, _ = await asyncio.gather(both.start(), both.peer.handshake())
        await both.talk()


# Plaintext that comes too early


@on_each_loop
@our_clients
@pytest.mark.parametrize("injected", [b"x", b"250 all is well\r\n", b"\x16\x03\x03" + b"x" * 5000])
async def test_a_client_refuses_what_came_with_the_answer(pki: PKI, single: Single, injected: bytes) -> None:
    """Even if it looks like a handshake: no server begins one."""
    async with plainly(pki, single) as both:
        closed = asyncio.Event()
        both.near.set_close_callback(closed.set)
        await both.peer.send_wire(b"220 go ahead\r\n" + injected)
        assert await both.near.read_until(b"\r\n") == b"220 go ahead\r\n"
        await turns(2)
        with pytest.raises(ssl.SSLError, match=f"{len(injected)} bytes of plaintext were received"):
            both.start()
        assert both.near.closed() and isinstance(both.near.error, ssl.SSLError)
        await closed.wait()
        assert await both.peer.receive_wire() == b"", "no hello was sent"


@on_each_loop
@each_single
async def test_what_is_injected_behind_the_last_read_is_no_handshake(pki: PKI, single: Single) -> None:
    """The stream has not read it yet, so it goes into TLS, which it is not."""
    async with plainly(pki, single) as both:
        starting = both.start()
        await both.peer.send_wire(b"RSET\r\nMAIL FROM:<attacker@example.com>\r\n")
        with pytest.raises(ssl.SSLError):
            await starting


@on_each_loop
@our_servers
async def test_a_server_takes_an_injected_command_for_wire(pki: PKI, single: Single) -> None:
    """And so never for a command that came through TLS."""
    async with plainly(pki, single) as both:
        both.peer.connection.do_handshake()
        hello = both.peer.connection.wire_to_send()
        await both.peer.send_wire(b"STARTTLS\r\nMAIL FROM:<attacker@example.com>\r\n" + hello)
        assert await both.near.read_until(b"\r\n") == b"STARTTLS\r\n"
        with pytest.raises(ssl.SSLError):
            await both.start()
        with pytest.raises((txmembio.SSLError, ConnectionError)):
            while True:
                await both.peer.receive_some()


# When it cannot be done


@on_each_loop
@each_single
async def test_a_pending_read(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        future = both.near.read_bytes(5)
        with pytest.raises(ValueError, match="IOStream is not idle; cannot convert to SSL"):
            both.start()
        await both.peer.send_wire(b"hello")  # it is as it was
        assert await future == b"hello"
        await both.handshake()
        await both.talk()


@on_each_loop
@each_single
async def test_a_pending_write(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        future = both.near.write(b"x" * 20_000_000)
        assert not future.done()
        with pytest.raises(ValueError, match="IOStream is not idle; cannot convert to SSL"):
            both.start()
        remaining = 20_000_000
        while remaining:
            remaining -= len(await both.peer.receive_wire())
        await future
        await both.handshake()
        await both.talk()


@on_each_loop
@each_single
async def test_a_closed_stream(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        both.near.close()
        with pytest.raises(ValueError, match="IOStream is not idle; cannot convert to SSL"):
            both.start()


@on_each_loop
@each_single
async def test_a_stream_that_is_connecting(pki: PKI, single: Single) -> None:
    with listening() as listener:
        stream = single.near.plain(socket.socket())
        connecting = stream.connect(listener.getsockname())
        with pytest.raises(ValueError, match="IOStream is not idle; cannot convert to SSL"):
            stream.start_tls(False, single.near.client_context(pki), "localhost")
        await connecting
        stream.close()


@on_each_loop
async def test_a_mistake_in_the_options_leaves_the_stream_as_it_is(pki: PKI) -> None:
    single = Single(OURS, "client", TLS13)
    async with plainly(pki, single) as both:
        near: Any = both.near
        with pytest.raises(TypeError, match=r"ssl_options is 5"):
            near.start_tls(False, 5, "localhost")
        with pytest.raises(ValueError, match="for the other role"):
            near.start_tls(False, pair.server_context(pki), "localhost")
        with pytest.raises(ValueError, match="hostname"):
            near.start_tls(False, pair.client_context(pki))
        with pytest.raises(ValueError, match="handshake_timeout must be"):
            near.start_tls(False, pair.client_context(pki), "localhost", handshake_timeout=0)
        with pytest.raises(TypeError, match=r"expected a txmembio\.SSLContext"):
            near.start_tls(True)
        await both.handshake()
        await both.talk()


@on_each_loop
async def test_a_mistake_in_the_options_does_not_lose_what_was_received(pki: PKI) -> None:
    single = Single(OURS, "server", TLS13)
    async with plainly(pki, single) as both:
        await both.peer.send_wire(b"one\ntwo\n")
        assert await both.near.read_until(b"\n") == b"one\n"
        near: Any = both.near
        for wrong in ({"handshake_timeout": -1}, {"ssl_options": 5}, {"ssl_options": pair.client_context(pki)}):
            with pytest.raises((TypeError, ValueError)):
                near.start_tls(True, **{"ssl_options": both.context, **wrong})
        assert await both.near.read_until(b"\n") == b"two\n"


# When it goes wrong


@on_each_loop
@each_single
async def test_a_handshake_that_fails(pki: PKI, single: Single) -> None:
    closed = asyncio.Event()
    async with plainly(pki, single) as both:
        both.near.set_close_callback(closed.set)
        starting = both.start()
        await both.peer.send_wire(b"SSH-2.0-OpenSSH_9.2\r\n")
        with pytest.raises(ssl.SSLError):
            await starting
        await closed.wait()


@on_each_loop
@pytest.mark.parametrize("single", [each for each in SINGLES if each.role == "client"], ids=str)
async def test_a_certificate_that_is_refused(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        context = pair.server_context(pki, single.version, credential=pki.untrusted)
        both.peer.connection = context.connection(server_side=True)
        peer = asyncio.ensure_future(both.peer.handshake())
        with pytest.raises(ssl.SSLCertVerificationError):
            await both.start()
        await asyncio.gather(peer, return_exceptions=True)


@on_each_loop
@each_single
async def test_a_peer_that_goes_away(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        starting = both.start()
        await turns(2)
        both.peer.reset()
        with pytest.raises(OSError):
            await starting


@on_each_loop
@pytest.mark.parametrize("single", [s for s in SINGLES if s.near is OURS], ids=str)
async def test_a_peer_that_stalls(pki: PKI, single: Single) -> None:
    async with plainly(pki, single) as both:
        with pytest.raises(TimeoutError, match="handshake was not complete"):
            await both.start(handshake_timeout=0.05)
        while await both.peer.receive_wire():
            pass


@on_each_loop
@each_single
async def test_who_gives_up_waiting_gives_up_the_stream(pki: PKI, single: Single) -> None:
    """Nobody else has it."""
    if not TELLS_ERRORS and not single.near.ours:
        pytest.skip("Tornado before 6.6 keeps it open")
    async with plainly(pki, single) as both:
        starting = both.start()
        await turns(2)
        starting.cancel()
        while await both.peer.receive_wire():
            pass


@on_each_loop
async def test_the_default_for_clients_is_to_trust_the_platform(pki: PKI) -> None:
    """Which does not know the tests' authority."""
    single = Single(OURS, "client", TLS13)
    async with plainly(pki, single) as both:
        peer = asyncio.ensure_future(both.peer.handshake())
        with pytest.raises(ssl.SSLCertVerificationError):
            await both.near.start_tls(False, server_hostname="localhost")
        await asyncio.gather(peer, return_exceptions=True)


@on_each_loop
async def test_a_plain_stream_is_tornado_s(pki: PKI) -> None:
    near, far = socket_pair()
    with far:
        stream = PlainStream(near)
        assert isinstance(stream, IOStream) and not isinstance(stream, SSLIOStream)
        far.sendall(b"hello")
        assert await stream.read_bytes(5) == b"hello"
        stream.close()


@on_each_loop
async def test_the_old_stream_is_of_no_more_use(pki: PKI) -> None:
    """What is done with it does nothing to the new one."""
    single = Single(OURS, "server", TLS13)
    async with plainly(pki, single) as both:
        await both.handshake()
        await turns(2)
        await both.talk()
        async with facing(pki, single) as other:  # another stream may well have the old one's place in the loop
            await other.peer.send(b"hello")
            assert await other.near.read_bytes(5) == b"hello"
        await both.talk()
        with pytest.raises((StreamClosedError, AttributeError)):
            await both.near.read_bytes(1)
