"""SSLSocket against the standard library's: the same programs on real sockets, each side of either module."""

from __future__ import annotations

import errno
import io
import select
import signal
import socket
import ssl
import struct
import sys
import threading
from collections.abc import Iterator
from typing import Any

import pytest

import txmembio
import txmembio.ssl
from support import tls_sockets
from support.pki import PKI
from support.tls_sockets import Beside, connected

MODULES = [pytest.param(ssl, id="ssl"), pytest.param(txmembio.ssl, id="txmembio")]

#: Bytes that no pair of socket buffers holds.
MORE_THAN_FITS = 16 << 20


@pytest.fixture(
    params=[(ssl, txmembio.ssl), (txmembio.ssl, ssl), (txmembio.ssl, txmembio.ssl)],
    ids=["ssl-txmembio", "txmembio-ssl", "txmembio-txmembio"],
)
def both(request: pytest.FixtureRequest, pki: PKI) -> Iterator[tuple[Any, Any]]:
    """A client and a server in every mixture with one of ours."""
    client, server = request.param
    with connected(pki, client, server) as sockets:
        yield sockets


# Bytes


@pytest.mark.parametrize("size", [1, 5, 16384, 16385, 1 << 20])
def test_what_is_sent_arrives(both: tuple[Any, Any], size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    for sender, receiver in (both, both[::-1]):
        sending = Beside(lambda sender=sender: sender.sendall(data[:size]))  # type: ignore[misc]
        received = bytearray()
        while len(received) < size:
            received += receiver.recv(70000)
        assert bytes(received) == data[:size]
        assert sending.result() is None


@pytest.mark.parametrize("module", MODULES)
def test_send_takes_everything_where_it_may_wait(pki: PKI, module: Any) -> None:
    """As OpenSSL does without SSL_MODE_ENABLE_PARTIAL_WRITE; asyncio's tests, for one, count on it."""
    with connected(pki, module, ssl) as (client, server):
        sending = Beside(lambda: client.send(bytes(1 << 20)))
        left = 1 << 20
        while left:
            left -= len(server.recv(1 << 16))
        assert sending.result() == 1 << 20


@pytest.mark.parametrize("module", MODULES)
def test_reads_of_nothing_and_of_less_than_nothing(pki: PKI, module: Any) -> None:
    with connected(pki, module, ssl) as (client, _):
        assert client.recv(0) == b"" == client.read(0)
        assert client.recv_into(bytearray()) == 0
        assert client.send(b"") == 0
        for bad in (client.recv, client.read):
            with pytest.raises(ValueError):
                bad(-1)


def test_buffers_and_files(both: tuple[Any, Any]) -> None:
    client, server = both
    client.sendall(memoryview(bytearray(b"one\ntwo\nthree\n")))
    buffer = bytearray(100)
    assert server.recv_into(buffer, 4) == 4 and buffer[:4] == b"one\n"
    assert server.pending() == 10
    with server.makefile("rb") as lines:
        assert lines.readline() == b"two\n"
        assert lines.readline() == b"three\n"
    assert server.sendfile(io.BytesIO(b"a file"), 2) == 4
    assert client.read(100) == b"file"


def test_a_record_that_has_not_been_read_is_left_to_the_kernel(both: tuple[Any, Any]) -> None:
    """So that select() sees it, which knows nothing of what a TLS layer has in memory."""
    client, server = both
    for _ in range(3):
        client.send(b"a record")
    for _ in range(3):
        assert select.select([server], [], [], 60)[0]
        assert server.recv(100) == b"a record"
        assert server.pending() == 0


def test_one_thread_reads_while_another_writes(both: tuple[Any, Any]) -> None:
    """Each side sends more than fits, so nobody would get to an end if writing kept reading waiting."""

    def everything(end: Any) -> int:
        count = 0
        while count < MORE_THAN_FITS:
            count += len(end.recv(1 << 16))
        return count

    sending = [Beside(lambda end=end: end.sendall(bytes(MORE_THAN_FITS))) for end in both]  # type: ignore[misc]
    reading = [Beside(lambda end=end: everything(end)) for end in both]  # type: ignore[misc]
    assert [thread.result() for thread in reading] == [MORE_THAN_FITS, MORE_THAN_FITS]
    assert [thread.result() for thread in sending] == [None, None]


@pytest.mark.parametrize("module", [txmembio.ssl], ids=["txmembio"])
def test_facts_are_told_while_another_thread_reads(pki: PKI, module: Any) -> None:
    with connected(pki, module, module) as (client, server):
        reading = Beside(lambda: client.recv(100))
        for _ in range(100):
            assert client.version() == "TLSv1.3" and client.cipher() and client.getpeercert()
            assert client.session is not None and client.get_unverified_chain()
        server.send(b"at last")
        assert reading.result() == b"at last"


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("call", "arguments"),
    [
        ("recvfrom", (1,)),
        ("recvfrom_into", (bytearray(1),)),
        ("sendto", (b"", ("127.0.0.1", 1))),
        ("recvmsg", (1,)),
        ("recvmsg_into", ([bytearray(1)],)),
        ("sendmsg", ([b""],)),
        ("dup", ()),
        ("send", (b"", 1)),
        ("sendall", (b"", 1)),
        ("recv", (1, socket.MSG_PEEK)),
        ("recv_into", (bytearray(1), 1, socket.MSG_PEEK)),
    ],
)
def test_what_would_go_past_tls_is_refused(pki: PKI, module: Any, call: str, arguments: tuple[Any, ...]) -> None:
    with connected(pki, module, ssl) as (client, _), pytest.raises((ValueError, NotImplementedError)) as caught:
        getattr(client, call)(*arguments)
    assert type(caught.value) is (ValueError if arguments and call not in NEVER else NotImplementedError)


NEVER = {"recvmsg", "recvmsg_into", "sendmsg", "dup"}


# Waiting


@pytest.mark.parametrize("module", MODULES)
def test_a_socket_that_does_not_wait(pki: PKI, module: Any) -> None:
    with tls_sockets.pair() as (near, far):
        near.setblocking(False)
        client = tls_sockets.client_context(pki, module).wrap_socket(
            near, server_hostname="localhost", do_handshake_on_connect=False
        )
        serving = Beside(lambda: tls_sockets.server_context(pki, ssl).wrap_socket(far, server_side=True))
        with client:
            while True:
                try:
                    client.do_handshake()
                    break
                except module.SSLWantReadError as error:
                    assert error.errno == ssl.SSL_ERROR_WANT_READ
                    select.select([client], [], [], 60)
            with serving.result() as server:
                with pytest.raises(module.SSLWantReadError):
                    client.recv(10)
                with pytest.raises(module.SSLWantReadError):
                    client.recv_into(bytearray(10))
                server.send(b"hello")
                select.select([client], [], [], 60)
                assert client.recv(10) == b"hello"


@pytest.mark.parametrize("module", MODULES)
def test_a_write_that_did_not_get_through_is_made_again(pki: PKI, module: Any) -> None:
    """With the same data, or more of it: then each byte arrives once."""
    with connected(pki, module, ssl) as (client, server):
        client.setblocking(False)
        data = b"".join(struct.pack(">I", number) for number in range(1 << 20))
        sent = 0
        with pytest.raises(module.SSLWantWriteError) as caught:
            while True:
                sent += client.send(data[sent : sent + 50000])
        assert caught.value.errno == ssl.SSL_ERROR_WANT_WRITE
        received = bytearray()
        while sent < len(data):
            try:
                sent += client.send(data[sent : sent + 60000])
            except module.SSLWantWriteError:
                received += server.recv(1 << 16)
        while len(received) < len(data):
            received += server.recv(1 << 16)
        assert received == data


@pytest.mark.parametrize("module", MODULES)
def test_a_write_made_again_with_less_data_is_refused(pki: PKI, module: Any) -> None:
    with connected(pki, module, ssl) as (client, _):
        client.setblocking(False)
        with pytest.raises(module.SSLWantWriteError):
            while True:
                client.send(bytes(50000))
        with pytest.raises(module.SSLError, match=r"(?i)bad.write.retry|bad.length"):
            client.send(bytes(10))


@pytest.mark.parametrize("module", MODULES)
def test_a_handshake_on_connect_needs_a_socket_that_waits(pki: PKI, module: Any) -> None:
    with tls_sockets.pair() as (near, _):
        near.setblocking(False)
        with pytest.raises(ValueError, match="non-blocking"):
            tls_sockets.client_context(pki, module).wrap_socket(near, server_hostname="localhost")
        assert near.fileno() == -1


@pytest.mark.parametrize("module", MODULES)
def test_time_outs(pki: PKI, module: Any) -> None:
    with tls_sockets.pair() as (near, _):
        near.settimeout(0.05)
        with pytest.raises(TimeoutError, match="handshake operation timed out"):
            tls_sockets.client_context(pki, module).wrap_socket(near, server_hostname="localhost")
    with connected(pki, module, ssl) as (client, server):
        client.settimeout(0.05)
        for read in (lambda: client.recv(10), lambda: client.recv_into(bytearray(10))):
            with pytest.raises(TimeoutError, match="read operation timed out"):
                read()
        data = bytes(MORE_THAN_FITS)
        with pytest.raises(TimeoutError, match="write operation timed out"):
            client.sendall(data)
        client.settimeout(60)
        sending = Beside(lambda: client.send(data))  # goes on where it was
        count = 0
        while count < len(data):
            count += len(server.recv(1 << 16))
        assert sending.result() == len(data)
        client.settimeout(0.05)
        with pytest.raises(TimeoutError, match="timed out"):
            client.unwrap()


@pytest.mark.parametrize("module", MODULES)
def test_a_time_out_is_for_the_whole_operation(pki: PKI, module: Any) -> None:
    """A peer that sends a byte now and then does not prolong it."""
    with tls_sockets.pair() as (near, far):
        near.settimeout(0.5)
        connecting = Beside(
            lambda: tls_sockets.client_context(pki, module).wrap_socket(near, server_hostname="localhost")
        )
        stop = threading.Event()

        def trickle() -> None:
            with pytest.raises(OSError):  # at last the other side has gone
                for byte in b"\x16\x03\x03\x40\x00" + bytes(1000):
                    far.send(bytes([byte]))
                    stop.wait(0.1)

        trickling = Beside(trickle)
        with pytest.raises(TimeoutError, match="handshake operation timed out"):
            connecting.result()
        trickling.result()


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no interval timers here")
@pytest.mark.parametrize("module", MODULES)
def test_signals_interrupt_and_reading_goes_on(pki: PKI, module: Any) -> None:
    with connected(pki, module, ssl) as (client, server):
        rung = []

        def ring(*_: object) -> None:
            rung.append(True)
            server.send(b"woken")

        before = signal.signal(signal.SIGALRM, ring)
        try:
            signal.setitimer(signal.ITIMER_REAL, 0.05)
            assert client.recv(10) == b"woken"
        finally:
            signal.signal(signal.SIGALRM, before)
        assert rung == [True]


# Ends


def test_unwrap_gives_the_plain_socket_back_with_all_that_followed(both: tuple[Any, Any]) -> None:
    client, server = both

    def serve() -> Any:
        assert server.recv(100) == b""
        plain = server.unwrap()
        plain.sendall(b"in the clear")
        return plain

    serving = Beside(serve)
    plain = client.unwrap()
    assert plain is client and client._sslobj is None
    assert plain.recv(100) == b"in the clear"
    serving.result()
    with pytest.raises(ValueError, match="No SSL wrapper"):
        client.unwrap()


def test_plaintext_behind_a_close_notify_is_not_swallowed(both: tuple[Any, Any]) -> None:
    """It comes in the same segment."""
    client, server = both
    closing = Beside(client.unwrap)
    assert server.recv(100) == b""
    plain = server.unwrap()
    plain.sendall(b"first\n")
    assert closing.result().recv(6) == b"first\n"


@pytest.mark.parametrize("module", MODULES)
def test_an_end_without_close_notify(pki: PKI, module: Any) -> None:
    for suppress in (True, False):
        with connected(pki, module, module, suppress_ragged_eofs=suppress) as (client, server):
            server.shutdown(socket.SHUT_RDWR)
            for _ in range(2):
                if suppress:
                    assert client.recv(10) == b""
                    assert client.recv_into(bytearray(10)) == 0
                else:
                    with pytest.raises(module.SSLEOFError, match="EOF occurred in violation of protocol"):
                        client.recv(10)


@pytest.mark.parametrize("module", MODULES)
def test_a_reset(pki: PKI, module: Any) -> None:
    """Which this Python's own ssl takes for such an end, or raises."""
    with connected(pki, module, ssl, suppress_ragged_eofs=False) as (client, server):
        server.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        server.close()
        with pytest.raises(OSError) as caught:
            client.recv(10)
        expected: type[OSError] = module.SSLEOFError if sys.version_info < (3, 12, 4) else ConnectionResetError
        assert isinstance(caught.value, expected)


@pytest.mark.parametrize("module", MODULES)
def test_after_close(pki: PKI, module: Any) -> None:
    with connected(pki, module, ssl) as (client, _):
        assert client.version() == "TLSv1.3"
        client.close()
        assert client.version() is None and client.cipher() is None and client.session is None
        assert client.selected_alpn_protocol() is None and client.compression() is None and client.pending() == 0
        for call in (client.read, lambda: client.write(b"x"), client.unwrap, client.verify_client_post_handshake):
            with pytest.raises(ValueError):
                call()


# Connecting


@pytest.mark.parametrize("module", MODULES)
def test_connect_and_accept(pki: PKI, module: Any) -> None:
    context = tls_sockets.server_context(pki, module)
    with context.wrap_socket(socket.create_server(("127.0.0.1", 0)), server_side=True) as listener:
        accepting = Beside(listener.accept)
        with tls_sockets.client_context(pki, module).wrap_socket(
            socket.socket(), server_hostname="localhost"
        ) as client:
            assert client._sslobj is None and client.version() is None and client.session_reused is None
            with pytest.raises(OSError) as caught:
                client.getpeercert()
            assert caught.value.errno == errno.ENOTCONN
            client.connect(listener.getsockname())
            server, address = accepting.result()
            with server:
                assert address == client.getsockname() and isinstance(server, module.SSLSocket)
                assert server.server_side and not client.server_side
                assert server.context is context
                client.send(b"hello")
                assert server.recv(100) == b"hello"
            with pytest.raises(ValueError, match="already-connected"):
                client.connect(listener.getsockname())


@pytest.mark.parametrize("module", MODULES)
def test_connect_ex_returns_the_number_of_the_error(pki: PKI, module: Any) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        with tls_sockets.client_context(pki, module).wrap_socket(
            socket.socket(), server_hostname="localhost"
        ) as client:
            assert client.connect_ex(unused.getsockname()) == errno.ECONNREFUSED


@pytest.mark.parametrize("module", MODULES)
def test_data_of_a_peer_that_has_gone_does_not_pass_for_tls(pki: PKI, module: Any) -> None:
    """CVE-2023-40217."""
    with tls_sockets.pair() as (near, far):
        far.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        far.send(b"HTTP/1.0 200 OK\r\n")
        far.close()
        with pytest.raises(OSError) as caught:
            tls_sockets.client_context(pki, module).wrap_socket(near, server_hostname="localhost").recv(100)
        assert isinstance(caught.value, (module.SSLError, ConnectionResetError))


@pytest.mark.parametrize("module", MODULES)
def test_what_cannot_be_wrapped(pki: PKI, module: Any) -> None:
    context = tls_sockets.client_context(pki, module)
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagrams:
        with pytest.raises(NotImplementedError, match="only stream sockets are supported"):
            context.wrap_socket(datagrams, server_hostname="localhost")
        assert datagrams.fileno() != -1
    with socket.socket() as plain:
        with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
            context.wrap_socket(plain)
        with pytest.raises(ValueError, match="server_hostname can only be specified in client mode"):
            tls_sockets.server_context(pki, module).wrap_socket(plain, server_side=True, server_hostname="localhost")
        assert plain.fileno() != -1
    with pytest.raises(TypeError, match="public constructor"):
        module.SSLSocket()


@pytest.mark.parametrize("module", MODULES)
def test_a_failed_handshake_closes_the_socket_and_tells_the_peer(pki: PKI, module: Any) -> None:
    context = tls_sockets.client_context(pki, module)
    with tls_sockets.pair() as (near, far):
        serving = Beside(lambda: tls_sockets.server_context(pki, ssl).wrap_socket(far, server_side=True))
        with pytest.raises(module.SSLCertVerificationError, match=r"not valid for 'elsewhere\.example'"):
            context.wrap_socket(near, server_hostname="elsewhere.example")
        with pytest.raises(ssl.SSLError, match="alert"):
            serving.result()


# What callbacks and facts see


def test_callbacks_get_the_socket(pki: PKI) -> None:
    module = txmembio.ssl
    server_context = tls_sockets.server_context(pki, module)
    other = tls_sockets.server_context(pki, module)
    asked: list[Any] = []

    def on_name(tls: Any, name: str | None, context: Any) -> None:
        asked.append((type(tls), name, context))
        tls.context = other

    server_context.sni_callback = on_name
    with tls_sockets.wrapped(tls_sockets.client_context(pki, ssl), server_context) as (_, server):
        assert asked == [(module.SSLSocket, "localhost", server_context)]
        assert server.context is other and server._sslobj.context is other
        assert server._sslobj.owner is server


def test_facts_and_more_than_the_standard_librarys(pki: PKI) -> None:
    with connected(pki, txmembio.ssl, txmembio.ssl) as (client, server):
        assert client.get_verified_chain()[0] == pki.server.certificate_der == client.get_unverified_chain()[0]
        assert client._sslobj.get_verified_chain()[0].public_bytes(2) == pki.server.certificate_der
        assert client.group() == server.group() is not None
        assert client.export_keying_material("EXPORTER-test", 32) == server.export_keying_material("EXPORTER-test", 32)
        assert client.get_channel_binding("tls-exporter") == server.get_channel_binding("tls-exporter")
        assert server.shared_ciphers() and client.shared_ciphers() is None
        with pytest.warns(DeprecationWarning, match="NPN"):
            client.selected_npn_protocol()


@pytest.mark.parametrize("module", MODULES)
def test_sessions_resume(pki: PKI, module: Any) -> None:
    client_context, server_context = tls_sockets.client_context(pki, module), tls_sockets.server_context(pki, module)
    session: Any = None
    for reused in (False, True):
        with tls_sockets.wrapped(client_context, server_context, session) as (client, server):
            server.send(b"and tickets")
            client.recv(100)
            assert client.session_reused is reused
            session = client.session


def test_a_socket_in_a_cycle_of_nothing_is_freed_at_once(pki: PKI) -> None:
    import weakref

    with tls_sockets.pair() as (near, _):
        client = tls_sockets.client_context(pki, txmembio.ssl).wrap_socket(
            near, server_hostname="localhost", do_handshake_on_connect=False
        )
        gone = weakref.ref(client)
        client.close()
        del client
        assert gone() is None
