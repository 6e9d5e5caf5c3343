"""The handshake of `TLSStream` beside that of Tornado's `SSLIOStream`: who waits for it, what the stream's socket tells
afterwards, and everything that can become of it; in the end nothing is left.
"""

from __future__ import annotations

import asyncio
import gc
import socket
import ssl
import weakref
from typing import Any

import pytest
from tornado.iostream import SSLIOStream, StreamClosedError

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import (
    LAYERED,
    OURS,
    PAIRINGS,
    TLS12,
    TLS13,
    Maker,
    Pairing,
    Peer,
    Single,
    each_client,
    each_maker,
    each_pairing,
    each_server,
    each_single,
    each_that_waits_for_finished,
    facing,
    joined,
    listening,
    on_each_loop,
    our_singles,
    reset,
    socket_pair,
    turns,
)
from txmembio.tornado import TLSStream

# Waiting for it


@on_each_loop
@each_pairing
async def test_the_futures_resolve_to_the_streams(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, handshake=False) as ends:
        near, far = ends.handshakes
        assert await near is ends.near
        assert await far is ends.far
        assert isinstance(ends.near, SSLIOStream)
        assert await ends.near.wait_for_handshake() is ends.near  # once more, and at once


@on_each_loop
@each_single
async def test_waiting_twice_at_the_same_time(pki: PKI, single: Single) -> None:
    async with facing(pki, single, handshake=False) as both:
        with pytest.raises(RuntimeError, match="Already waiting"):
            both.near.wait_for_handshake()
        await both.handshake()


@on_each_loop
@each_pairing
async def test_nobody_need_wait(pki: PKI, pairing: Pairing) -> None:
    async with joined(pki, pairing, handshake=False) as ends:
        far = ends.far.write(b"hello")
        assert await ends.near.read_bytes(5) == b"hello"
        await ends.near.write(b"goodbye")
        assert await ends.far.read_bytes(7) == b"goodbye"
        await far


@on_each_loop
@each_maker
async def test_a_client_on_a_socket_that_is_connected(pki: PKI, maker: Maker) -> None:
    connected, accepted = socket_pair()
    server = maker.server(accepted, maker.server_context(pki))
    client = maker.connected_client(connected, maker.client_context(pki), "localhost")
    await asyncio.gather(client.wait_for_handshake(), server.wait_for_handshake())
    await client.write(b"hello")
    assert await server.read_bytes(5) == b"hello"
    client.close()
    server.close()


@on_each_loop
@each_maker
async def test_unix_sockets(pki: PKI, maker: Maker) -> None:
    one, other = socket.socketpair()
    server = maker.server(one, maker.server_context(pki))
    client = maker.connected_client(other, maker.client_context(pki), "localhost")
    await asyncio.gather(client.wait_for_handshake(), server.wait_for_handshake())
    await client.write(b"hello")
    assert await server.read_bytes(5) == b"hello"
    client.set_nodelay(True)  # means nothing here
    client.close()
    server.close()


@on_each_loop
async def test_the_server_s_name_may_be_given_to_the_stream(pki: PKI) -> None:
    with listening() as listener:
        client = TLSStream(socket.socket(), ssl_options=pair.client_context(pki), server_hostname="localhost")
        connecting = client.connect(listener.getsockname())
        accepted, _ = listener.accept()
    server = TLSStream(accepted, ssl_options=pair.server_context(pki), server_side=True)
    await asyncio.gather(connecting, server.wait_for_handshake())
    assert client.connection is not None and client.connection.server_hostname == "localhost"
    assert server.connection is not None and server.connection.server_name() == "localhost"
    client.close()
    server.close()


@on_each_loop
async def test_there_is_a_connection_from_when_the_socket_is_connected(pki: PKI) -> None:
    with listening() as listener:
        client = TLSStream(socket.socket(), ssl_options=pair.client_context(pki))
        assert client.connection is None
        connecting = client.connect(listener.getsockname(), server_hostname="localhost")
        accepted, _ = listener.accept()
    server = TLSStream(accepted, ssl_options=pair.server_context(pki), server_side=True)
    assert isinstance(server.connection, txmembio.Connection)
    await connecting
    assert isinstance(client.connection, txmembio.Connection) and client.connection.handshake_complete
    client.close()
    server.close()
    assert isinstance(client.connection, txmembio.Connection), "what it can tell is wanted in close callbacks"
    assert client.connection.version() is not None


# What the socket tells


@on_each_loop
@each_pairing
async def test_the_socket_answers_as_an_ssl_socket(pki: PKI, pairing: Pairing) -> None:
    contexts = {}
    for end, maker in (("near", pairing.near), ("far", pairing.far)):
        is_client = (end == "near") == (pairing.role == "client")
        context = (maker.client_context if is_client else maker.server_context)(pki, pairing.version)
        context.set_alpn_protocols(["http/1.1"])
        contexts[f"{end}_context"] = context
    async with joined(pki, pairing, **contexts) as ends:
        sock: Any = ends.near.socket
        assert sock.version() == {TLS12: "TLSv1.2", TLS13: "TLSv1.3"}[pairing.version]
        name, protocol, bits = sock.cipher()
        assert name and protocol.startswith("TLSv1.") and bits in (128, 256)
        assert sock.selected_alpn_protocol() == "http/1.1"
        assert sock.compression() is None
        assert sock.fileno() > 0
        assert sock.family == socket.AF_INET and sock.type == socket.SOCK_STREAM
        assert sock.getpeername() == ends.far.socket.getsockname()
        assert sock.getsockname() == ends.far.socket.getpeername()
        assert sock.server_side == (pairing.role == "server")
        assert sock.server_hostname == ("localhost" if pairing.role == "client" else None)
        assert sock.session_reused is False
        if pairing.role == "client":
            certificate = sock.getpeercert()
            assert ("DNS", "localhost") in certificate["subjectAltName"]
            assert sock.getpeercert(True) == sock.getpeercert(binary_form=True) == pki.server.certificate_der
        else:
            assert sock.getpeercert() is None


@on_each_loop
@each_single
async def test_what_the_socket_tells_before_the_handshake(pki: PKI, single: Single) -> None:
    async with facing(pki, single, handshake=False) as both:
        await turns(2)
        assert both.near.socket.cipher() is None
        assert both.near.socket.selected_alpn_protocol() is None
        with pytest.raises(ValueError, match="handshake not done yet"):
            both.near.socket.getpeercert()


@on_each_loop
@our_singles
async def test_the_socket_does_not_lead_around_tls(pki: PKI, single: Single) -> None:
    async with facing(pki, single) as both:
        for name in ("send", "sendall", "recv", "recv_into", "read", "write", "makefile", "unwrap", "dup"):
            with pytest.raises(AttributeError, match="bypass TLS"):
                getattr(both.near.socket, name)


@on_each_loop
@each_single
async def test_a_client_certificate(pki: PKI, single: Single) -> None:
    if single.role == "client":
        context = single.near.client_context(pki, single.version)
        context.load_cert_chain(pki.client.chain_file, pki.client.key_file)
        peer_context = pair.server_context(pki, single.version, verify_client=True)
    else:
        context = single.near.server_context(pki, single.version)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(pki.ca.certificate_file)
        peer_context = pair.client_context(pki, single.version, credential=pki.client)
    async with facing(pki, single, near_context=context, peer_context=peer_context) as both:
        if single.role == "client":
            certificate = both.peer.connection.peer_certificate()
            assert certificate is not None and certificate.der == pki.client.certificate_der
        else:
            assert both.near.socket.getpeercert(True) == pki.client.certificate_der
            assert ("email", "client@example.com") in both.near.socket.getpeercert()["subjectAltName"]  # type: ignore[index]


# Connecting


@on_each_loop
@each_maker
async def test_a_refused_connection(pki: PKI, maker: Maker) -> None:
    with listening() as listener:
        address = listener.getsockname()
    client = maker.client(socket.socket(), maker.client_context(pki))
    closed = asyncio.Event()
    client.set_close_callback(closed.set)
    future = client.connect(address, server_hostname="localhost")
    written = client.write(b"hello")
    with pytest.raises(ConnectionRefusedError):
        await future
    assert client.closed() and isinstance(client.error, ConnectionRefusedError)
    with pytest.raises(StreamClosedError) as caught:
        await written
    assert caught.value.real_error is client.error
    await closed.wait()


@on_each_loop
@each_maker
async def test_closing_while_connecting(pki: PKI, maker: Maker) -> None:
    with listening() as listener:
        client = maker.client(socket.socket(), maker.client_context(pki))
        future = client.connect(listener.getsockname(), server_hostname="localhost")
        client.close()
        with pytest.raises(StreamClosedError):
            await future


@on_each_loop
@each_single
@pytest.mark.parametrize("after", [0, 1, 3])
async def test_closing_in_the_handshake(pki: PKI, single: Single, after: int) -> None:
    async with facing(pki, single, handshake=False) as both:
        read, written = both.near.read_bytes(1), both.near.write(b"x")
        await turns(after)
        both.near.close()
        for future in (both.near_handshake, read, written):
            with pytest.raises(StreamClosedError) as caught:
                await future
            assert caught.value.real_error is None
        assert both.near.error is None
        with pytest.raises((txmembio.SSLEOFError, ConnectionError)):
            await both.peer.handshake()


# Certificates that are refused


@on_each_loop
@each_client
async def test_a_client_that_does_not_trust_the_server(pki: PKI, single: Single) -> None:
    peer_context = pair.server_context(pki, single.version, credential=pki.untrusted)
    async with facing(pki, single, peer_context=peer_context, handshake=False) as both:
        read, written = both.near.read_bytes(1), both.near.write(b"x")
        closed = asyncio.Event()
        both.near.set_close_callback(closed.set)
        with pytest.raises(txmembio.SSLError) as refusal:
            await both.peer.handshake()
            await both.peer.receive_some()
        assert (refusal.value.alert, refusal.value.alert_received) == ("unknown_ca", True)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            await both.near_handshake
        assert caught.value.verify_code in (18, 19, 20, 21)
        assert both.near.error is caught.value
        for future in (read, written):
            with pytest.raises(StreamClosedError) as stopped:
                await future
            assert stopped.value.real_error is caught.value
        await closed.wait()


@on_each_loop
@each_server
async def test_a_server_that_is_not_trusted(pki: PKI, single: Single) -> None:
    """In TLS 1.3 the server's handshake is complete when it hears of it; then it is the read that fails."""
    context = single.near.server_context(pki, single.version, pki.untrusted)
    async with facing(pki, single, near_context=context, handshake=False) as both:
        read = both.near.read_bytes(1)
        with pytest.raises(ssl.SSLCertVerificationError):
            await both.peer.handshake()
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert isinstance(caught.value.real_error, ssl.SSLError)
        assert "unknown ca" in str(caught.value.real_error)
        assert both.near.error is caught.value.real_error
        with pytest.raises(ssl.SSLError, match="unknown ca"):
            await both.near_handshake


@on_each_loop
@each_client
async def test_a_name_that_the_certificate_is_not_for(pki: PKI, single: Single) -> None:
    peer_context = pair.server_context(pki, single.version, credential=pki.wrong_name)
    async with facing(pki, single, peer_context=peer_context, handshake=False) as both:
        with pytest.raises(txmembio.SSLError):
            await both.peer.handshake()
            await both.peer.receive_some()
        with pytest.raises(ssl.CertificateError) as caught:
            await both.near_handshake
        assert isinstance(caught.value, ssl.SSLCertVerificationError)
        assert caught.value.verify_message.startswith("Hostname mismatch")
        assert "localhost" in str(caught.value)


@on_each_loop
@each_client
@pytest.mark.parametrize("certificate", ["expired", "not_yet_valid"])
async def test_certificates_out_of_their_time(pki: PKI, single: Single, certificate: str) -> None:
    peer_context = pair.server_context(pki, single.version, credential=getattr(pki, certificate))
    async with facing(pki, single, peer_context=peer_context, handshake=False) as both:
        with pytest.raises(txmembio.SSLError):
            await both.peer.handshake()
            await both.peer.receive_some()
        with pytest.raises(ssl.SSLCertVerificationError, match=r"certificate has expired|certificate is not yet valid"):
            await both.near_handshake


@on_each_loop
@each_client
async def test_a_client_without_the_certificate_that_is_required(pki: PKI, single: Single) -> None:
    """In TLS 1.3 the client's handshake is complete when it hears of it."""
    peer_context = pair.server_context(pki, single.version, verify_client=True)
    async with facing(pki, single, peer_context=peer_context, handshake=False) as both:
        read = both.near.read_bytes(1)
        with pytest.raises(txmembio.SSLError, match="peer did not return a certificate"):
            await both.peer.handshake()
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert isinstance(caught.value.real_error, ssl.SSLError)
        assert "alert" in str(caught.value.real_error)


@on_each_loop
@each_server
async def test_a_server_that_requires_a_certificate(pki: PKI, single: Single) -> None:
    context = single.near.server_context(pki, single.version)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(pki.ca.certificate_file)
    async with facing(pki, single, near_context=context, handshake=False) as both:
        peer = asyncio.ensure_future(both.peer.handshake())
        with pytest.raises(ssl.SSLError, match="peer did not return a certificate"):
            await both.near_handshake
        await asyncio.gather(peer, return_exceptions=True)
        await both.peer.receive_all()
        if single.near.ours:  # Tornado's leaves something unread and so resets the connection, and the alert is lost
            error: Any = both.peer.error or peer.exception()
            assert error.alert_received


@on_each_loop
@each_single
async def test_nothing_in_common(pki: PKI, single: Single) -> None:
    """One side speaks only TLS 1.2, the other only 1.3."""
    other = TLS12 if single.version == TLS13 else TLS13
    peer_context = (pair.server_context if single.role == "client" else pair.client_context)(pki, other)
    async with facing(pki, single, peer_context=peer_context, handshake=False) as both:
        peer = asyncio.ensure_future(both.peer.handshake())
        with pytest.raises(ssl.SSLError) as caught:
            await both.near_handshake
        assert both.near.error is caught.value and both.near.closed()
        with pytest.raises(ssl.SSLError):
            await peer


# Peers that go away


@on_each_loop
@each_single
@pytest.mark.parametrize("how", ["end", "reset"])
@pytest.mark.parametrize("when", ["at once", "after a flight"])
async def test_a_peer_that_goes_away_in_the_handshake(pki: PKI, single: Single, how: str, when: str) -> None:
    async with facing(pki, single, handshake=False) as both:
        read, written = both.near.read_bytes(1), both.near.write(b"x")
        closed = asyncio.Event()
        both.near.set_close_callback(closed.set)
        if when == "after a flight":
            both.peer.connection.do_handshake()
            if single.role == "client":
                both.peer.connection.receive_wire(await both.peer.receive_wire())
            await both.peer.send_wire(both.peer.connection.wire_to_send()[:100])
            await turns(3)
        if how == "end":
            both.peer.end()
        else:
            both.peer.reset()
        error: Any = None
        try:
            await both.near_handshake
        except OSError as caught:
            error = caught
        expected: Any = ssl.SSLEOFError if how == "end" else (ConnectionError, ssl.SSLError)
        assert isinstance(error, expected), error
        assert both.near.closed() and both.near.error is error
        for future in (read, written):
            with pytest.raises(StreamClosedError) as stopped:
                await future
            assert stopped.value.real_error is error
        await closed.wait()


@on_each_loop
@each_that_waits_for_finished
async def test_a_peer_that_closes_its_half_after_the_handshake_s_last_flight(pki: PKI, single: Single) -> None:
    """Its Finished and its end in one: that is a connection, and then truncation."""
    async with facing(pki, single, handshake=False) as both:
        connection = both.peer.connection
        connection.do_handshake()
        wire = connection.wire_to_send()
        while not connection.handshake_complete:
            await both.peer.send_wire(wire)
            connection.receive_wire(await both.peer.receive_wire())
            wire = connection.wire_to_send()
        await both.peer.send_wire(wire)
        both.peer.end()
        assert await both.near_handshake is both.near
        with pytest.raises(StreamClosedError):
            await both.near.read_bytes(1)


@on_each_loop
@pytest.mark.parametrize("maker", [OURS, LAYERED], ids=str)
async def test_a_client_that_has_gone_before_it_is_served(pki: PKI, maker: Maker) -> None:
    """Port scanners do that: the socket was accepted, and is not connected any more."""
    connected, accepted = socket_pair()
    reset(connected)
    stream = maker.server(accepted, maker.server_context(pki))
    closed = asyncio.Event()
    stream.set_close_callback(closed.set)
    with pytest.raises(OSError):
        await stream.wait_for_handshake()
    assert stream.closed()


# Peers that do nothing


@on_each_loop
@our_singles
@pytest.mark.parametrize("when", ["nothing", "half a flight", "all but the last"])
async def test_a_peer_that_stalls(pki: PKI, single: Single, when: str) -> None:
    async with facing(pki, single, handshake=False, near={"handshake_timeout": 0.05}) as both:
        read = both.near.read_bytes(1)
        if when != "nothing":
            both.peer.connection.do_handshake()
            if single.role == "client":
                both.peer.connection.receive_wire(await both.peer.receive_wire())
            wire = both.peer.connection.wire_to_send()
            await both.peer.send_wire(wire[: len(wire) // 2 if when == "half a flight" else -1])
        with pytest.raises(TimeoutError, match=r"handshake was not complete within 0\.05 seconds"):
            await both.near_handshake
        assert both.near.closed() and isinstance(both.near.error, TimeoutError)
        with pytest.raises(StreamClosedError) as caught:
            await read
        assert caught.value.real_error is both.near.error
        with pytest.raises((txmembio.SSLEOFError, ConnectionError)):
            while True:
                await both.peer.receive_some()


@on_each_loop
@our_singles
async def test_the_time_out_ends_with_the_handshake(pki: PKI, single: Single) -> None:
    """When the time of one that began later is over, so would be that of this one."""
    options = {"handshake_timeout": 0.1}
    async with facing(pki, single, near=options) as both, facing(pki, single, near=options, handshake=False) as later:
        with pytest.raises(TimeoutError):
            await later.near_handshake
        await turns(2)
        await both.peer.send(b"hello")
        assert await both.near.read_bytes(5) == b"hello"


@on_each_loop
@our_singles
@pytest.mark.parametrize("complete", [True, False])
async def test_a_closed_stream_is_kept_by_nobody(pki: PKI, single: Single, complete: bool) -> None:
    """The loop goes on, and the 60 seconds are not over."""
    async with facing(pki, single, handshake=complete) as both:
        await turns(2)
        both.near.close()
        await asyncio.gather(both.near_handshake, return_exceptions=True)
        await turns(2)
        trace = weakref.ref(both.near)
        both.forget()
        gc.collect()
        assert trace() is None


@on_each_loop
@pytest.mark.parametrize("seconds", [0, -1, float("nan")])
async def test_time_outs_that_are_none(pki: PKI, seconds: float) -> None:
    with socket.socket() as sock, pytest.raises(ValueError, match="handshake_timeout must be a positive number"):
        TLSStream(sock, ssl_options=pair.client_context(pki), handshake_timeout=seconds)


@on_each_loop
@our_singles
async def test_no_time_out(pki: PKI, single: Single) -> None:
    async with facing(pki, single, near={"handshake_timeout": None}) as both:
        await both.peer.send(b"hello")
        assert await both.near.read_bytes(5) == b"hello"


# Who gives up waiting


@on_each_loop
@each_single
async def test_a_cancelled_wait(pki: PKI, single: Single) -> None:
    """It is only the wait that ends: the stream belongs to who made it."""
    async with facing(pki, single, handshake=False) as both:
        both.near_handshake.cancel()
        await both.peer.handshake()
        await both.peer.send(b"hello")
        assert await both.near.read_bytes(5) == b"hello"


# Sessions


@on_each_loop
@pytest.mark.parametrize("pairing", [each for each in PAIRINGS if (each.near, each.role) == (OURS, "client")], ids=str)
async def test_a_session_can_be_kept_and_resumed(pki: PKI, pairing: Pairing) -> None:
    client_context = OURS.client_context(pki, pairing.version)
    far_context = pairing.far.server_context(pki, pairing.version)
    async with joined(pki, pairing, near_context=client_context, far_context=far_context) as ends:
        await ends.far.write(b"x")
        await ends.near.read_bytes(1)
        session = ends.near.socket.session
        assert session is not None and ends.near.socket.session_reused is False
    connected, accepted = socket_pair()
    server = pairing.far.server(accepted, far_context)
    peer = Peer(connected, client_context.connection(server_hostname="localhost", session=session))
    await asyncio.gather(server.wait_for_handshake(), peer.handshake())
    assert server.socket.session_reused is True
    server.close()
    peer.sock.close()
