"""Input that is wrong: what callers pass, and what peers send who do not speak TLS. A clear error each, of the kind
that users of `SSLIOStream` expect, and the next connection is served.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from typing import Any

import pytest
from tornado.iostream import StreamClosedError

import txmembio
from support import pair
from support.pki import PKI
from support.tornado_ends import (
    LAYERED,
    OURS,
    TLS13,
    Single,
    each_client,
    each_server,
    each_single,
    facing,
    listening,
    on_each_loop,
    our_singles,
    socket_pair,
    turns,
)
from txmembio.tornado import TLSStream, wrap_stream
from txmembio.tornado.wrapping import PlainStream

# What the caller passes


@on_each_loop
@pytest.mark.parametrize("server_side", [False, True])
@pytest.mark.parametrize("value", [0, 5, "a.pem", b"", object(), [], False])
async def test_ssl_options_of_the_wrong_type(pki: PKI, value: Any, server_side: bool) -> None:
    with socket.socket() as sock, pytest.raises(TypeError, match=r"ssl_options is .*expected a txmembio\.SSLContext"):
        TLSStream(sock, ssl_options=value, server_side=server_side)


@on_each_loop
async def test_a_server_without_ssl_options(pki: PKI) -> None:
    with socket.socket() as sock:
        for value in (None, True):
            with pytest.raises(TypeError, match=r"ssl_options is .*expected a txmembio\.SSLContext"):
                TLSStream(sock, ssl_options=value, server_side=True)
        with pytest.raises(KeyError, match="certfile"):
            TLSStream(sock, ssl_options={}, server_side=True)


@on_each_loop
@pytest.mark.parametrize("server_side", [False, True])
async def test_a_context_of_the_standard_library(pki: PKI, server_side: bool) -> None:
    """The message says what to pass instead."""
    context: Any = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH if server_side else ssl.Purpose.SERVER_AUTH)
    with socket.socket() as sock:
        with pytest.raises(TypeError, match=r"ssl_options .*txmembio\.(SSLContext|create_default_context)"):
            TLSStream(sock, ssl_options=context, server_side=server_side)
        plain = PlainStream(sock)
        with pytest.raises(TypeError, match=r"txmembio\.(SSLContext|create_default_context)"):
            plain.start_tls(server_side, context)
        with pytest.raises(TypeError, match=r"txmembio\.(SSLContext|create_default_context)"):
            wrap_stream(plain, context, server_side)
        assert not plain.closed()


@on_each_loop
async def test_a_context_for_the_other_role(pki: PKI) -> None:
    with socket.socket() as sock:
        with pytest.raises(ValueError, match="for the other role"):
            TLSStream(sock, ssl_options=pair.client_context(pki), server_side=True)
        with pytest.raises(ValueError, match="for the other role"):
            TLSStream(sock, ssl_options=pair.server_context(pki))


@on_each_loop
async def test_no_name_to_check(pki: PKI) -> None:
    """On a socket that is connected the call says so; where it is to be connected first, the Future."""
    connected, accepted = socket_pair()
    with connected, accepted, pytest.raises(ValueError, match="hostname"):
        TLSStream(connected, ssl_options=pair.client_context(pki))
    with listening() as listener:
        client = TLSStream(socket.socket(), ssl_options=pair.client_context(pki))
        future = client.connect(listener.getsockname())
        with pytest.raises(ValueError, match="hostname"):
            await future
        assert client.closed() and isinstance(client.error, ValueError)


@on_each_loop
@pytest.mark.parametrize("name", ["", ".", "a" * 300, "under\0standing", 5])
async def test_names_that_are_none(pki: PKI, name: Any) -> None:
    connected, accepted = socket_pair()
    with connected, accepted, pytest.raises((ValueError, TypeError)):
        TLSStream(connected, ssl_options=pair.client_context(pki), server_hostname=name)


@on_each_loop
async def test_options_that_do_not_exist(pki: PKI) -> None:
    with socket.socket() as sock, pytest.raises(TypeError, match="keyword"):
        TLSStream(sock, ssl_options=pair.client_context(pki), do_handshake_on_connect=False)


@on_each_loop
async def test_a_socket_that_is_wrapped_already(pki: PKI) -> None:
    """The standard library's sockets are TLS already: their bytes are no wire."""
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    connected, accepted = socket_pair()
    with accepted:
        wrapped = context.wrap_socket(connected, server_hostname="localhost", do_handshake_on_connect=False)
        with wrapped, pytest.raises(TypeError, match="SSLSocket"):
            TLSStream(wrapped, ssl_options=pair.client_context(pki), server_hostname="localhost")


# Peers that do not speak TLS


@on_each_loop
@each_server
@pytest.mark.parametrize(
    "request_line, reason",
    [
        (b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n", "HTTP_REQUEST"),
        (b"POST /form HTTP/1.0\r\n\r\n", "HTTP_REQUEST"),
        (b"CONNECT example.com:443 HTTP/1.1\r\n\r\n", "HTTPS_PROXY_REQUEST"),
    ],
    ids=["GET", "POST", "CONNECT"],
)
async def test_plain_http(pki: PKI, single: Single, request_line: bytes, reason: str) -> None:
    async with facing(pki, single, handshake=False) as both:
        read = both.near.read_until(b"\r\n\r\n")
        await both.peer.send_wire(request_line)
        with pytest.raises(ssl.SSLError) as caught:
            await both.near_handshake
        assert caught.value.reason == reason
        assert both.near.error is caught.value and both.near.closed()
        with pytest.raises(StreamClosedError) as stopped:
            await read
        assert stopped.value.real_error is caught.value
        if single.near.ours:
            assert "plain HTTP" in str(caught.value)


@on_each_loop
@each_single
@pytest.mark.parametrize(
    "wire",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"220 mail.example ESMTP\r\n",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\0" * 100,
        b"\xff" * 100,
        b"\x16\x03\x01\xff\xff" + b"x" * 100_000,  # a record longer than there may be
        b"\x16\x03\x01\x00\x00" * 50,  # empty ones
        b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03",  # a ClientHello that ends too soon
        b"\x17\x03\x03\x00\x20" + b"?" * 32,  # data before the handshake
        b"\x14\x03\x03\x00\x01\x01",  # ChangeCipherSpec out of turn
    ],
    ids=["ssh", "smtp", "http", "zeros", "ones", "long", "empty", "short", "data", "ccs"],
)
async def test_noise(pki: PKI, single: Single, wire: bytes) -> None:
    """The kind of error depends on the noise. That there is one, and an end, does not."""
    async with facing(pki, single, handshake=False) as both:
        read = both.near.read_bytes(1)
        if single.role == "client":
            await both.peer.receive_wire()
        try:
            await both.peer.send_wire(wire)
            both.peer.end()
        except ConnectionError:
            pass  # it had seen enough
        with pytest.raises((ssl.SSLError, ConnectionError)) as caught:
            await both.near_handshake
        assert both.near.closed() and both.near.error is caught.value
        with pytest.raises(StreamClosedError) as stopped:
            await read
        assert stopped.value.real_error is caught.value


@on_each_loop
@each_client
async def test_an_alert_in_place_of_the_handshake(pki: PKI, single: Single) -> None:
    async with facing(pki, single, handshake=False) as both:
        await both.peer.send_wire(b"\x15\x03\x01\x00\x02\x02\x28")  # fatal, handshake_failure
        with pytest.raises(ssl.SSLError, match="handshake failure") as caught:
            await both.near_handshake
        if single.near.ours:
            error: Any = caught.value
            assert (error.alert, error.alert_received) == ("handshake_failure", True)


@on_each_loop
@our_singles
async def test_close_notify_in_place_of_the_handshake(pki: PKI, single: Single) -> None:
    async with facing(pki, single, handshake=False) as both:
        await both.peer.send_wire(b"\x15\x03\x01\x00\x02\x01\x00")
        with pytest.raises(OSError):
            await both.near_handshake
        assert both.near.closed()


@on_each_loop
@each_single
async def test_the_log_names_the_peer_and_the_error(pki: PKI, single: Single, caplog: pytest.LogCaptureFixture) -> None:
    """In Tornado's own words, which people look for."""
    async with facing(pki, single, handshake=False) as both:
        address = both.peer.sock.getsockname()
        await both.peer.send_wire(b"SSH-2.0-OpenSSH_9.2\r\n")
        with pytest.raises(ssl.SSLError):
            await both.near_handshake
    (record,) = [record for record in caplog.records if record.name == "tornado.general"]
    assert record.getMessage().startswith("SSL Error on ")
    assert str(address) in record.getMessage()
    assert record.levelname == "WARNING"


@on_each_loop
@each_single
@pytest.mark.parametrize("how", ["end", "reset"])
async def test_a_peer_that_only_looks_is_not_worth_a_log_entry(
    pki: PKI, single: Single, how: str, caplog: pytest.LogCaptureFixture
) -> None:
    """Load balancers do, every few seconds."""
    async with facing(pki, single, handshake=False) as both:
        both.peer.end() if how == "end" else both.peer.reset()
        with pytest.raises(OSError):
            await both.near_handshake
    assert not [record for record in caplog.records if record.name.startswith("tornado")]


@on_each_loop
@our_singles
async def test_truncation_is_not_worth_a_log_entry(pki: PKI, single: Single, caplog: pytest.LogCaptureFixture) -> None:
    """Half of the world's peers do it. It is in `error`."""
    async with facing(pki, single) as both:
        read = both.near.read_bytes(1)
        both.peer.end()
        with pytest.raises(StreamClosedError):
            await read
        assert isinstance(both.near.error, ssl.SSLEOFError)
    assert not [record for record in caplog.records if record.name.startswith("tornado")]


# Callbacks of the context


@on_each_loop
@pytest.mark.parametrize("single", [Single(OURS, "server", TLS13), Single(LAYERED, "server", TLS13)], ids=str)
async def test_a_callback_that_raises(pki: PKI, single: Single, caplog: pytest.LogCaptureFixture) -> None:
    """A fatal alert, and an error that has it as its cause."""

    def callback(connection: object, name: object, context: object) -> None:
        raise LookupError("no such name")

    context = OURS.server_context(pki, single.version)
    context.sni_callback = callback
    async with facing(pki, single, near_context=context, handshake=False) as both:
        with pytest.raises(txmembio.SSLError, match="internal error"):
            await both.peer.handshake()
        with pytest.raises(ssl.SSLError) as caught:
            await both.near_handshake
        assert isinstance(caught.value.__cause__, LookupError)
    caplog.clear()


@on_each_loop
@each_client
async def test_a_server_that_answers_with_another_context(pki: PKI, single: Single) -> None:
    """`sni_callback` switches; the client sees the certificate of the name that it has asked for."""
    peer_context = pair.server_context(pki, single.version, credential=pki.wrong_name)
    good = pair.server_context(pki, single.version)

    def callback(connection: Any, name: object, context: object) -> None:
        connection.context = good

    peer_context.sni_callback = callback
    async with facing(pki, single, peer_context=peer_context) as both:
        assert both.near.socket.getpeercert(True) == pki.server.certificate_der


# Nobody else is concerned


@on_each_loop
async def test_the_context_serves_on(pki: PKI) -> None:
    context = OURS.server_context(pki)
    single = Single(OURS, "server", TLS13)
    for _ in range(3):
        async with facing(pki, single, near_context=context, handshake=False) as both:
            await both.peer.send_wire(b"GET / HTTP/1.1\r\n\r\n")
            with pytest.raises(ssl.SSLError):
                await both.near_handshake
        async with facing(pki, single, near_context=context) as both:
            await both.peer.send(b"hello")
            assert await both.near.read_bytes(5) == b"hello"


@on_each_loop
@our_singles
async def test_a_peer_that_sends_without_end_before_the_handshake(pki: PKI, single: Single) -> None:
    """A record that never ends is no more than a record; then it is an error."""
    async with facing(pki, single, handshake=False) as both:
        sending = asyncio.ensure_future(
            both.peer.send_wire(b"\x16\x03\x01\x40\x00\x01\x00\xff\xff" + b"\0" * 5_000_000)
        )
        with pytest.raises(ssl.SSLError):
            await both.near_handshake
        with pytest.raises(ConnectionError):
            await sending
            while True:
                await both.peer.send_wire(b"\0" * 100_000)
        await turns(2)
