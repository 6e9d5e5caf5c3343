"""`Connection` over real sockets, against other people's TLS, in both roles. No framework is involved."""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
from pathlib import Path

import pytest

import txmembio
from support import blocking, pair, peers
from support.peers import Scenario
from support.pki import PKI

#: Lines long enough to need several records, and short enough for the line buffer of `s_server -rev`.
REQUEST = b"".join(b"%04000d is a long number\n" % number for number in range(30))

#: How much is sent each way where nothing limits the peer: several megabytes, so that sockets fill up in between.
LARGE = 8_000_000


def client_context(scenario: Scenario) -> txmembio.SSLContext:
    """Ours, when the peer serves."""
    return pair.client_context(scenario.pki, scenario.version, credential=scenario.client_credential)


def server_context(scenario: Scenario) -> txmembio.SSLContext:
    """Ours, when the peer connects."""
    return pair.server_context(
        scenario.pki,
        scenario.version,
        credential=scenario.credential,
        verify_client=scenario.client_credential is not None,
    )


def converse(
    context: txmembio.SSLContext, port: int, request: bytes, session: txmembio.SSLSession | None = None
) -> txmembio.Connection:
    """Send `request` to the peer, check its answer, close as TLS says."""
    with blocking.connect(context, port, session=session) as stream:
        stream.send(request)
        assert stream.receive_exactly(len(request)) == blocking.reverse_lines(request)
    return stream.connection


@pytest.mark.parametrize("key", ["server", "server_rsa"])
@pytest.mark.parametrize("peer", peers.SERVERS)
def test_client_of(peer: str, key: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, getattr(pki, key))
    with peers.SERVERS[peer](scenario) as port:
        connection = converse(client_context(scenario), port, REQUEST)
    assert connection.getpeercert(binary_form=True) == scenario.credential.certificate_der


@pytest.mark.parametrize("key", ["server", "server_rsa"])
@pytest.mark.parametrize("peer", peers.CLIENTS)
def test_server_for(peer: str, key: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, getattr(pki, key))
    with blocking.Server(server_context(scenario)) as server:
        assert peers.CLIENTS[peer](scenario, server.port, REQUEST) == blocking.reverse_lines(REQUEST)
        connection, error = server.outcome()
    assert error is None
    assert connection.peer_closed
    assert connection.server_name() == "localhost"


@pytest.mark.parametrize("peer", peers.SERVERS_THAT_ASK_FOR_CERTIFICATES)
def test_client_with_a_certificate_of(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server, pki.client)
    with peers.SERVERS[peer](scenario) as port:
        converse(client_context(scenario), port, REQUEST)


@pytest.mark.parametrize("peer", peers.CLIENTS)
def test_server_for_a_client_with_a_certificate(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server, pki.client)
    with blocking.Server(server_context(scenario)) as server:
        assert peers.CLIENTS[peer](scenario, server.port, REQUEST) == blocking.reverse_lines(REQUEST)
        connection, error = server.outcome()
    assert error is None
    assert connection.getpeercert(binary_form=True) == pki.client.certificate_der


@pytest.mark.parametrize("peer", ["stdlib", "pyopenssl"])
def test_large_amounts_as_client_of(peer: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Line by line, so that neither side stops reading while both sockets are full."""
    scenario = Scenario(pki, tls_version, pki.server)
    line = os.urandom(12_000).hex().encode() + b"\n"
    with peers.SERVERS[peer](scenario) as port, blocking.connect(client_context(scenario), port) as stream:
        for _ in range(LARGE // len(line)):
            stream.send(line)
            assert stream.receive_exactly(len(line)) == blocking.reverse_lines(line)


def test_own_client_and_own_server(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    with blocking.Server(server_context(scenario)) as server:
        converse(client_context(scenario), server.port, REQUEST)
        assert server.outcome()[1] is None


# What both sides of a connection agree on with other implementations


def test_facts_agree_with_the_standard_librarys(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """The same connection seen from both sides: Python's own `ssl` is the client, in memory."""
    theirs_context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    theirs_context.minimum_version = theirs_context.maximum_version = ssl.TLSVersion(int(tls_version))
    theirs_context.load_cert_chain(pki.client.chain_file, pki.client.key_file)
    theirs_context.set_alpn_protocols(["http/1.1"])
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    theirs = theirs_context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    context = pair.server_context(pki, tls_version, verify_client=True)
    context.set_alpn_protocols(["h2", "http/1.1"])
    ours = context.connection(server_side=True)
    while not ours.handshake_complete:
        with contextlib.suppress(ssl.SSLWantReadError):
            theirs.do_handshake()
        ours.receive_wire(outgoing.read())
        incoming.write(ours.wire_to_send())
    theirs.do_handshake()
    assert ours.version() == theirs.version()
    assert ours.cipher() == theirs.cipher()
    assert ours.selected_alpn_protocol() == theirs.selected_alpn_protocol() == "http/1.1"
    if tls_version == txmembio.TLSVersion.TLSv1_2:
        assert ours.get_channel_binding("tls-unique") == theirs.get_channel_binding("tls-unique")
    assert theirs.getpeercert(binary_form=True) == pki.server.certificate_der
    # Both spell a certificate as the same dictionary: ours of the client, against the standard library's decoder.
    decoded = ssl._ssl._test_decode_cert(pki.client.certificate_file)  # type: ignore[attr-defined]
    assert ours.getpeercert() == decoded


@pytest.mark.parametrize("name", ["server", "server_rsa", "wildcard", "expired"])
def test_certificates_read_as_the_standard_librarys_do(name: str, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """`getpeercert()` of a server's certificate, verified, is what `ssl` would answer."""
    credential = getattr(pki, name)
    context = pair.client_context(pki, tls_version)
    context.check_hostname = False
    context.verify_mode = txmembio.CERT_NONE if name == "expired" else txmembio.CERT_REQUIRED
    ends = pair.connect(context, pair.server_context(pki, tls_version, credential=credential), server_hostname=None)
    decoded = ssl._ssl._test_decode_cert(credential.certificate_file)  # type: ignore[attr-defined]
    assert ends.client.connection.getpeercert() == ({} if name == "expired" else decoded)


def test_openssl_resumes_our_sessions(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    """`s_client` keeps the session of one connection and brings it to the next, which our server takes up."""
    scenario = Scenario(pki, tls_version, pki.server)
    session_file = tmp_path / "session.pem"
    with blocking.Server(server_context(scenario)) as server:
        for option in ("-sess_out", "-sess_in"):
            peers.openssl_client(scenario, server.port, REQUEST, option, str(session_file))
        first, second = server.outcome(), server.outcome()
    assert first[1] is second[1] is None
    assert (first[0].session_reused, second[0].session_reused) == (False, True)


def test_we_resume_sessions_of_openssl(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    scenario = Scenario(pki, tls_version, pki.server)
    context = client_context(scenario)
    with peers.openssl_server(scenario) as port:
        first = converse(context, port, REQUEST)
        second = converse(context, port, REQUEST, first.session)
    assert second.session_reused


def test_openssl_updates_its_keys(pki: PKI) -> None:
    """`s_client` takes a line of `K` for the order to send a KeyUpdate and ask for one (RFC 8446 section 4.6.3)."""
    scenario = Scenario(pki, txmembio.TLSVersion.TLSv1_3, pki.server)
    with blocking.Server(server_context(scenario)) as server, peers.s_client(scenario, server.port) as client:
        for number in range(1, 6):
            client.stdin.write(b"a line\n")
            client.wait_for_output(number * len(b"a line\n"))
            client.stdin.write(b"K\n")
            client.wait_for(f"(KEYUPDATE\n[^K]*){{{number}}}")
        client.stdin.close()
        assert client.wait() == 0, client.transcript()
        assert client.output == b"enil a\n" * 5
        assert server.outcome()[1] is None


def test_renegotiation_is_refused_and_nothing_hangs(pki: PKI) -> None:
    """`s_client` takes a line of `R` for the order to renegotiate; it gives up when that is refused."""
    scenario = Scenario(pki, txmembio.TLSVersion.TLSv1_2, pki.server)
    with blocking.Server(server_context(scenario)) as server, peers.s_client(scenario, server.port) as client:
        client.stdin.write(b"a line\n")
        client.wait_for_output(len(b"a line\n"))
        client.stdin.write(b"R\n")
        client.wait()
        assert "no renegotiation" in client.errors
        _, error = server.outcome()
        assert error.alert_received and error.alert == "handshake_failure"


# curl


class WebServer(blocking.Server):
    """Answers any HTTP request with `body`, in one response, then says close_notify."""

    def __init__(self, context: txmembio.SSLContext, body: bytes) -> None:
        super().__init__(context)
        self.body = body

    def serve(self, stream: blocking.Stream) -> None:
        request = b""
        while b"\r\n\r\n" not in request:
            plaintext = stream.receive()
            assert plaintext, "curl closed before it had asked"
            request += plaintext
        stream.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\nConnection: close\r\n\r\n" % len(self.body))
        stream.send(self.body)


def test_curl_fetches_a_page(pki: PKI, tls_version: txmembio.TLSVersion, tmp_path: Path) -> None:
    body = os.urandom(LARGE)
    context = pair.server_context(pki, tls_version)
    context.set_alpn_protocols(["http/1.1"])
    fetched = tmp_path / "page"
    with WebServer(context, body) as server:
        url = f"https://localhost:{server.port}/"
        options = ["--cacert", pki.ca.certificate_file, *peers.curl_version(tls_version)]
        with peers.curl(
            *options, "--resolve", f"localhost:{server.port}:127.0.0.1", "--output", str(fetched), url
        ) as process:
            assert process.wait() == 0, process.transcript()
        connection, error = server.outcome()
    assert error is None
    assert connection.selected_alpn_protocol() == "http/1.1"
    assert hashlib.sha256(fetched.read_bytes()).digest() == hashlib.sha256(body).digest()


def test_curl_takes_our_close_for_the_end_of_a_page_without_a_length(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """Without Content-Length only close_notify tells an end from a cut; curl reports a cut as an error."""

    class Unmeasured(WebServer):
        def serve(self, stream: blocking.Stream) -> None:
            stream.receive()
            stream.send(b"HTTP/1.0 200 OK\r\n\r\n" + self.body)

    with Unmeasured(pair.server_context(pki, tls_version), b"a page\n" * 100_000) as server:
        options = ["--cacert", pki.ca.certificate_file, "--resolve", f"localhost:{server.port}:127.0.0.1"]
        with peers.curl(*options, f"https://localhost:{server.port}/") as process:
            assert process.wait() == 0, process.transcript()
            assert process.output == b"a page\n" * 100_000


def test_curl_says_why_it_does_not_trust_us(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    with WebServer(pair.server_context(pki, tls_version, credential=pki.untrusted), b"") as server:
        options = ["--cacert", pki.ca.certificate_file, "--resolve", f"localhost:{server.port}:127.0.0.1"]
        with peers.curl(*options, *peers.curl_version(tls_version), f"https://localhost:{server.port}/") as process:
            assert process.wait() == 60  # CURLE_PEER_FAILED_VERIFICATION
        _, error = server.outcome()
    assert isinstance(error, txmembio.SSLError)
    assert error.alert_received and error.alert == "unknown_ca"
