"""TLSSocket, TLS over TCP as PEP 748 spells it: over real sockets, with another one and with other people's TLS."""

from __future__ import annotations

import queue
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any

import pytest

import txmembio
from support import blocking, pair, peers
from support.blocking import reverse_lines
from support.peers import Scenario
from support.pki import PKI, Credential
from support.process import DEADLINE
from txmembio.pep748 import (
    Certificate,
    CipherSuite,
    ClientContext,
    NextProtocol,
    PrivateKey,
    RaggedEOF,
    ServerContext,
    SigningChain,
    TLSClientConfiguration,
    TLSError,
    TLSServerConfiguration,
    TLSSocket,
    TLSVersion,
    TrustStore,
    WantReadError,
    WantWriteError,
)
from txmembio.pep748 import socket as implementation

PEP_VERSIONS = {
    txmembio.TLSVersion.TLSv1_2: TLSVersion.TLSv1_2,
    txmembio.TLSVersion.TLSv1_3: TLSVersion.TLSv1_3,
}


def chain(credential: Credential) -> SigningChain:
    leaf = (Certificate.from_file(credential.chain_file), PrivateKey.from_file(credential.key_file))
    return SigningChain(leaf)


def client_context(pki: PKI, **more: Any) -> ClientContext:
    return ClientContext(
        TLSClientConfiguration(**{"trust_store": TrustStore.from_file(pki.ca.certificate_file), **more})
    )


def server_context(pki: PKI, *credentials: Credential, **more: Any) -> ServerContext:
    return ServerContext(TLSServerConfiguration([chain(each) for each in credentials or (pki.server,)], **more))


class Background:
    """A call in a thread; `result()` is what it returns or raises."""

    def __init__(self, call: Callable[[], Any]) -> None:
        self._call = call
        self._results: queue.Queue[tuple[Any, BaseException | None]] = queue.Queue()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._results.put((self._call(), None))
        except BaseException as error:
            self._results.put((None, error))

    def result(self) -> Any:
        value, error = self._results.get(timeout=DEADLINE)
        self._thread.join(DEADLINE)
        if error is not None:
            raise error
        return value


@contextmanager
def listening(context: ServerContext) -> Iterator[tuple[TLSSocket, tuple[str, int]]]:
    """A listener on a free port of 127.0.0.1, and the address that clients connect to."""
    listener = context.connect(("127.0.0.1", 0))
    try:
        listener.listen(5)
        yield listener, ("localhost", listener.getsockname()[1])
    finally:
        listener.close()


@contextmanager
def connected(client: ClientContext, server: ServerContext) -> Iterator[tuple[TLSSocket, TLSSocket]]:
    with listening(server) as (listener, address):
        accepting = Background(listener.accept)
        with client.connect(address) as ours:
            accepted, where = accepting.result()
            assert where == ours.getsockname()
            with accepted:
                yield ours, accepted


@pytest.fixture
def ends(pki: PKI, tls_version: txmembio.TLSVersion) -> Iterator[tuple[TLSSocket, TLSSocket]]:
    only = PEP_VERSIONS[tls_version]
    context = client_context(pki, lowest_supported_version=only, highest_supported_version=only)
    with connected(context, server_context(pki)) as both:
        yield both


def receive_exactly(sock: TLSSocket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        data = sock.recv(size - len(received))
        assert data, f"the peer closed after {len(received)} bytes"
        received += data
    return bytes(received)


def reverse_all(sock: TLSSocket) -> None:
    """The conversation of the interop tests: answers lines until the peer closes."""
    rest = b""
    while data := sock.recv(65536):
        lines, newline, rest = (rest + data).rpartition(b"\n")
        if newline:
            sock.send(reverse_lines(lines + newline))
    sock.close()


# Two of them


def test_a_conversation(ends: tuple[TLSSocket, TLSSocket], tls_version: txmembio.TLSVersion, pki: PKI) -> None:
    client, server = ends
    for one, other in (ends, ends[::-1]):
        assert one.send(b"hello") == 5
        assert (other.recv(2), other.recv(100)) == (b"he", b"llo")
        assert one.negotiated_tls_version is PEP_VERSIONS[tls_version]
        assert isinstance(one.cipher(), CipherSuite) and one.negotiated_protocol() is None
        assert one.getpeername() == other.getsockname() and one.fileno() > 0
    assert client.getpeercert() == pki.server.certificate_der and server.getpeercert() is None
    assert isinstance(client.context, ClientContext) and isinstance(server.context, ServerContext)
    closing = Background(client.close)
    assert server.recv(1) == b""
    server.close()
    closing.result()
    for sock in ends:
        assert sock.cipher() is None and sock.negotiated_protocol() is None
        assert sock.negotiated_tls_version is None and sock.getpeercert() is None and sock.fileno() == -1
        for call in (partial(sock.recv, 1), partial(sock.send, b"x"), sock.getpeername):
            with pytest.raises(OSError):
                call()
        sock.close()


def test_protocols_certificates_and_suites_are_told(pki: PKI) -> None:
    store = TrustStore.from_file(pki.ca.certificate_file)
    suite = CipherSuite.TLS_CHACHA20_POLY1305_SHA256
    client = client_context(
        pki, certificate_chain=chain(pki.client), inner_protocols=[NextProtocol.H2], ciphers=[suite]
    )
    server = server_context(pki, trust_store=store, inner_protocols=[b"mine", b"h2"])
    with connected(client, server) as ends:
        for sock in ends:
            assert sock.negotiated_protocol() is NextProtocol.H2 and sock.cipher() is suite
        assert ends[1].getpeercert() == pki.client.certificate_der


def test_much_in_both_directions_at_once(ends: tuple[TLSSocket, TLSSocket]) -> None:
    """More than the system's buffers hold, by two threads on each socket."""
    data = bytes(range(256)) * 20_000  # 5 MB
    sending = [Background(partial(sock.send, data)) for sock in ends]
    receiving = [Background(partial(receive_exactly, sock, len(data))) for sock in ends]
    assert [each.result() for each in receiving] == [data, data]
    assert [each.result() for each in sending] == [len(data), len(data)]


@pytest.mark.parametrize("data", [b"", bytearray(b"abc"), memoryview(b"abcdef")[1:4]])
def test_send_takes_buffers(ends: tuple[TLSSocket, TLSSocket], data: Any) -> None:
    assert ends[0].send(data) == len(data)
    ends[0].send(b"!")
    assert receive_exactly(ends[1], len(data) + 1) == bytes(data) + b"!"


def test_ipv6_and_every_address(pki: PKI) -> None:
    for host, name in (("::1", "::1"), (None, "127.0.0.1"), (None, None), ("localhost", "localhost")):
        try:
            listener = server_context(pki).connect((host, 0))
        except OSError:
            assert host == "::1"  # no IPv6 here
            continue
        listener.listen(1)
        accepting = Background(listener.accept)
        client = client_context(pki).connect((name, listener.getsockname()[1]))
        accepted, address = accepting.result()
        assert len(address) == 2 and address == client.getsockname() and len(client.getpeername()) == 2
        for sock in (client, accepted, listener):
            sock.close(force=True)


def test_the_server_name_picks_the_chain(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    other = pki.issue("a.example")
    real = socket.getaddrinfo

    def resolve(host: Any, *arguments: Any, **more: Any) -> Any:
        return real("127.0.0.1" if host == "a.example" else host, *arguments, **more)

    monkeypatch.setattr(socket, "getaddrinfo", resolve)
    with listening(server_context(pki, pki.server, other)) as (listener, (_, port)):
        for name, expected in (("localhost", pki.server), ("a.example", other)):
            accepting = Background(listener.accept)
            with client_context(pki).connect((name, port)) as client:
                assert client.getpeercert() == expected.certificate_der
                accepting.result()[0].close(force=True)


# What goes wrong


def test_a_refused_certificate_is_told_to_both(pki: PKI) -> None:
    """And the listener goes on."""
    with listening(server_context(pki, pki.untrusted)) as (listener, address):
        for _ in range(2):
            accepting = Background(lambda: listener.accept()[0].recv(1))
            with pytest.raises(txmembio.SSLCertVerificationError) as caught:
                client_context(pki).connect(address)
            assert caught.value.verify_message and caught.value.hostname == "localhost"
            with pytest.raises(TLSError) as received:
                accepting.result()
            assert received.value.alert == "unknown_ca" and received.value.alert_received


def test_a_client_that_is_refused_after_its_handshake(pki: PKI) -> None:
    """In TLS 1.3 the client is done before the server has looked at its certificate."""
    context = server_context(pki, trust_store=TrustStore.from_file(pki.ca.certificate_file))
    with listening(context) as (listener, address):
        accepting = Background(listener.accept)
        with client_context(pki).connect(address) as client, pytest.raises(TLSError) as caught:
            client.recv(1)
        assert caught.value.alert == "certificate_required"
        with pytest.raises(TLSError, match="the peer sent none"):
            accepting.result()


def test_nobody_listens(pki: PKI) -> None:
    listener = server_context(pki).connect(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    listener.close()
    with pytest.raises(ConnectionRefusedError):
        client_context(pki).connect(("127.0.0.1", port))


def test_an_address_that_cannot_be_had(pki: PKI) -> None:
    with pytest.raises(OSError):
        server_context(pki).connect(("192.0.2.1", 0))


def test_a_listener_is_no_connection_and_the_other_way_round(ends: tuple[TLSSocket, TLSSocket], pki: PKI) -> None:
    with listening(server_context(pki)) as (listener, _):
        for call in (lambda: listener.recv(1), lambda: listener.send(b"x")):
            with pytest.raises(OSError, match="this TLSSocket listens, or is closed"):
                call()
        assert (listener.cipher(), listener.getpeercert()) == (None, None)
    for sock in ends:
        with pytest.raises(OSError, match="this TLSSocket is connected, and cannot accept"):
            sock.accept()
        with pytest.raises(OSError):
            sock.listen(1)


def test_sockets_and_buffers_are_made_by_contexts() -> None:
    untyped: Any = TLSSocket
    with pytest.raises(TypeError):
        untyped()


@pytest.mark.parametrize("side", ["client", "server"])
def test_a_handshake_that_takes_too_long(pki: PKI, monkeypatch: pytest.MonkeyPatch, side: str) -> None:
    """By a peer that connects and says nothing."""
    monkeypatch.setattr(implementation, "HANDSHAKE_TIMEOUT", 0.05)
    if side == "client":
        said = r"the handshake was not complete within 0\.05 seconds"
        with socket.create_server(("127.0.0.1", 0)) as silent, pytest.raises(TimeoutError, match=said):
            client_context(pki).connect(("localhost", silent.getsockname()[1]))
        return
    with (
        listening(server_context(pki)) as (listener, (_, port)),
        socket.create_connection(("127.0.0.1", port)) as silent,
    ):
        with pytest.raises(TimeoutError, match="the handshake was not complete"):
            listener.accept()
        assert silent.recv(1) == b""


def test_a_handshake_that_is_cut_off(pki: PKI) -> None:
    with listening(server_context(pki)) as (listener, (_, port)):
        socket.create_connection(("127.0.0.1", port)).close()
        with pytest.raises(RaggedEOF, match="during the handshake"):
            listener.accept()


def test_plain_http_is_named(pki: PKI) -> None:
    with (
        listening(server_context(pki)) as (listener, (_, port)),
        socket.create_connection(("127.0.0.1", port)) as plain,
    ):
        plain.sendall(b"GET / HTTP/1.0\r\n\r\n")
        with pytest.raises(TLSError, match="plain HTTP"):
            listener.accept()


# The end


def test_truncation_is_told_every_time(pki: PKI) -> None:
    with (
        blocking.Server(pair.server_context(pki)) as server,
        client_context(pki).connect(("localhost", server.port)) as client,
    ):
        client.send(b"abc\n")
        assert receive_exactly(client, 4) == b"cba\n"
        # The wire ends here without close_notify; closed in order, it would not be truncation.
        raw = socket.socket(fileno=socket.dup(client.fileno()))
        raw.shutdown(socket.SHUT_RD)
        raw.close()
        for _ in range(3):
            with pytest.raises(RaggedEOF):
                client.recv(1)


def test_close_waits_for_the_peer(ends: tuple[TLSSocket, TLSSocket]) -> None:
    """And throws away what the peer sends in between."""
    client, server = ends
    closing = Background(client.close)
    assert server.recv(10) == b""
    server.send(b"x" * 200_000)
    server.close(force=True)
    closing.result()
    assert client.fileno() == -1


def test_close_does_not_wait_forever(ends: tuple[TLSSocket, TLSSocket], monkeypatch: pytest.MonkeyPatch) -> None:
    client, server = ends
    monkeypatch.setattr(implementation, "SHUTDOWN_TIMEOUT", 0.05)
    for _ in range(2):
        with pytest.raises(WantReadError, match=r"close\(force=True\) does not wait"):
            client.close()
    assert client.fileno() > 0
    assert server.recv(1) == b""
    server.close(force=True)
    client.close()
    assert client.fileno() == -1


def test_close_by_force_loses_nothing_on_its_way(ends: tuple[TLSSocket, TLSSocket]) -> None:
    """Though there is something that nobody has read: session tickets, for one."""
    client, server = ends
    server.send(b"never read")
    client.send(b"y" * 100_000)
    client.close(force=True)
    assert receive_exactly(server, 100_000) == b"y" * 100_000
    assert server.recv(1) == b""


def test_close_after_the_peer_has_gone_or_failed(ends: tuple[TLSSocket, TLSSocket]) -> None:
    client, server = ends
    raw = socket.socket(fileno=socket.dup(client.fileno()))
    raw.sendall(b"this is no TLS at all")
    raw.close()
    with pytest.raises(TLSError):
        server.recv(1)
    server.close()
    client.close()
    assert client.fileno() == server.fileno() == -1


def test_close_by_force_wakes_a_thread_that_receives(ends: tuple[TLSSocket, TLSSocket]) -> None:
    client, server = ends
    server.send(b"x")
    received = threading.Event()

    def receive() -> bytes:
        assert client.recv(1) == b"x"
        received.set()
        return client.recv(1)

    receiving = Background(receive)
    assert received.wait(DEADLINE)
    client.close(force=True)
    with pytest.raises(OSError):
        receiving.result()


def test_a_with_block_ends_without_waiting(pki: PKI) -> None:
    with connected(client_context(pki), server_context(pki)) as (client, server):
        with client:
            pass
        assert client.fileno() == -1
        assert server.recv(1) == b""


# Without blocking


def test_without_blocking(ends: tuple[TLSSocket, TLSSocket]) -> None:
    client, server = ends
    client.settimeout(0)
    with pytest.raises(WantReadError):
        client.recv(1)
    data = bytes(range(256)) * 40_000  # 10 MB: more than the system takes at once
    sent = 0
    with pytest.raises(WantWriteError):
        while True:
            sent += client.send(data[sent:])
    assert 0 < sent < len(data)
    receiving = Background(lambda: receive_exactly(server, len(data)))
    while sent < len(data):
        with suppress(WantWriteError):
            sent += client.send(data[sent:])
    assert receiving.result() == data
    with pytest.raises(WantReadError):
        client.close()
    with pytest.raises(WantReadError):
        client.close()
    assert server.recv(1) == b""
    server.close(force=True)
    client.settimeout(DEADLINE)
    client.close()


def test_a_retry_must_give_the_same_again(ends: tuple[TLSSocket, TLSSocket]) -> None:
    client, _ = ends
    client.settimeout(0)
    data = bytes(1_000_000)
    with pytest.raises(WantWriteError):
        while True:
            client.send(data)
    with pytest.raises(ValueError, match="3 bytes to send, expected the same again"):
        client.send(b"abc")
    with pytest.raises(WantWriteError):
        client.close()
    with pytest.raises(WantWriteError):
        client.close(force=True)


def test_time_outs(ends: tuple[TLSSocket, TLSSocket]) -> None:
    client, server = ends
    client.settimeout(0.02)
    with pytest.raises(TimeoutError):
        client.recv(1)
    with pytest.raises(TimeoutError):
        while True:
            client.send(bytes(1_000_000))
    server.settimeout(None)


def test_accept_with_a_time_out(pki: PKI) -> None:
    with listening(server_context(pki)) as (listener, _):
        listener.settimeout(0.02)
        with pytest.raises(TimeoutError):
            listener.accept()


# Other people's TLS

REQUEST = b"".join(b"line %05d\n" % number for number in range(3000))


@pytest.mark.parametrize("peer", ["openssl", "stdlib"])
@pytest.mark.parametrize("verified", [False, True], ids=["", "client certificate"])
def test_clients_of_others(pki: PKI, tls_version: txmembio.TLSVersion, peer: str, verified: bool) -> None:
    store = TrustStore.from_file(pki.ca.certificate_file)
    scenario = Scenario(pki, tls_version, pki.server, pki.client if verified else None)
    with listening(server_context(pki, trust_store=store if verified else None)) as (listener, (_, port)):

        def serve() -> tuple[TLSVersion | None, bytes | None]:
            sock, _ = listener.accept()
            with sock:
                facts = sock.negotiated_tls_version, sock.getpeercert()
                reverse_all(sock)
            return facts

        serving = Background(serve)
        assert peers.CLIENTS[peer](scenario, port, REQUEST) == reverse_lines(REQUEST)
        version, certificate = serving.result()
    assert version is PEP_VERSIONS[tls_version]
    assert certificate == (pki.client.certificate_der if verified else None)


@pytest.mark.parametrize("peer", ["openssl", "stdlib"])
@pytest.mark.parametrize("verified", [False, True], ids=["", "client certificate"])
def test_servers_of_others(pki: PKI, tls_version: txmembio.TLSVersion, peer: str, verified: bool) -> None:
    scenario = Scenario(pki, tls_version, pki.server, pki.client if verified else None)
    context = client_context(pki, certificate_chain=chain(pki.client) if verified else None)
    with peers.SERVERS[peer](scenario) as port, context.connect(("localhost", port)) as client:
        sending = Background(lambda: client.send(REQUEST))
        assert receive_exactly(client, len(REQUEST)) == reverse_lines(REQUEST)
        assert sending.result() == len(REQUEST)
        assert client.negotiated_tls_version is PEP_VERSIONS[tls_version]
        client.close(force=True)


def test_protocols_with_the_standard_library(pki: PKI) -> None:
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    context.set_alpn_protocols(["h2", "http/1.1"])
    server = server_context(pki, inner_protocols=[NextProtocol.HTTP1])
    with (
        listening(server) as (listener, (_, port)),
        socket.create_connection(("127.0.0.1", port)) as raw,
    ):
        accepting = Background(listener.accept)
        with context.wrap_socket(raw, server_hostname="localhost") as theirs:
            accepted, _ = accepting.result()
            assert theirs.selected_alpn_protocol() == "http/1.1"
            assert accepted.negotiated_protocol() is NextProtocol.HTTP1
            cipher = theirs.cipher()
            assert cipher is not None and accepted.cipher().name == cipher[0]
            accepted.close(force=True)
