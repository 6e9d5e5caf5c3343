"""TLSBuffer, TLS in memory as PEP 748 spells it: against another one, and what it does with whatever comes."""

from __future__ import annotations

from array import array
from contextlib import suppress
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PKI, Credential
from txmembio import pep748
from txmembio.pep748 import (
    Certificate,
    CipherSuite,
    ClientContext,
    NextProtocol,
    PrivateKey,
    RaggedEOF,
    ServerContext,
    SigningChain,
    TLSBuffer,
    TLSClientConfiguration,
    TLSError,
    TLSServerConfiguration,
    TLSVersion,
    TrustStore,
    WantReadError,
)
from txmembio.pep748.buffer import INCOMING_LIMIT

EVERYTHING = 1 << 30

PEP_VERSIONS = {
    txmembio.TLSVersion.TLSv1_2: TLSVersion.TLSv1_2,
    txmembio.TLSVersion.TLSv1_3: TLSVersion.TLSv1_3,
}


def chain(credential: Credential) -> SigningChain:
    leaf = (Certificate.from_buffer(credential.chain), PrivateKey.from_buffer(credential.private_key))
    return SigningChain(leaf)


def client_context(pki: PKI, **more: Any) -> ClientContext:
    store = TrustStore.from_buffer(pki.ca.certificate)
    return ClientContext(TLSClientConfiguration(**{"trust_store": store, **more}))


def server_context(pki: PKI, *credentials: Credential, **more: Any) -> ServerContext:
    chains = [chain(credential) for credential in credentials or (pki.server,)]
    return ServerContext(TLSServerConfiguration(chains, **more))


def move(sender: TLSBuffer, receiver: TLSBuffer) -> int:
    wire = sender.process_outgoing(EVERYTHING)
    if wire:
        receiver.process_incoming(wire)
    return len(wire)


def shake_hands(client: TLSBuffer, server: TLSBuffer) -> None:
    """As far as it goes; raises what one of them raises, the server's first."""
    error: TLSError | None = None
    moved = True
    while moved:
        moved = False
        for one, other in ((client, server), (server, client)):
            try:
                one.do_handshake()
            except WantReadError:
                pass
            except TLSError as problem:
                error = error if error is not None and not error.alert_received else problem
            moved |= move(one, other) > 0
    if error is not None:
        raise error


def connected(client: ClientContext, server: ServerContext, name: str = "localhost") -> tuple[TLSBuffer, TLSBuffer]:
    ends = client.create_buffer(name), server.create_buffer()
    shake_hands(*ends)
    return ends


@pytest.fixture
def version(tls_version: txmembio.TLSVersion) -> dict[str, Any]:
    """One version, as arguments of a configuration."""
    only = PEP_VERSIONS[tls_version]
    return {"lowest_supported_version": only, "highest_supported_version": only}


@pytest.fixture
def ends(pki: PKI, version: dict[str, Any]) -> tuple[TLSBuffer, TLSBuffer]:
    return connected(client_context(pki, **version), server_context(pki))


# The way of plaintext


def test_plaintext_goes_both_ways(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    for one, other in (ends, ends[::-1]):
        assert one.write(b"hello") == 5
        assert one.outgoing_bytes_buffered() > 5
        waiting = other.incoming_bytes_buffered()  # TLS 1.3's tickets, for one
        assert waiting + move(one, other) == other.incoming_bytes_buffered()
        assert (other.read(2), other.read(0), other.read(100)) == (b"he", b"", b"llo")
        with pytest.raises(WantReadError):
            other.read(1)


@pytest.mark.parametrize(
    "data",
    [b"abcdef", bytearray(b"abcdef"), memoryview(b"--abcdef")[2:], array("H", [1, 2, 3]), memoryview(b"aXbX")[::2]],
)
def test_write_takes_every_buffer_and_says_how_many_bytes(ends: tuple[TLSBuffer, TLSBuffer], data: Any) -> None:
    expected = bytes(memoryview(data))
    assert ends[0].write(data) == len(expected)
    move(*ends)
    assert ends[1].read(100) == expected


def test_write_of_nothing_is_nothing(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    assert ends[0].write(b"") == 0
    assert ends[0].outgoing_bytes_buffered() == 0


def test_read_into_a_buffer(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    client, server = ends
    client.write(b"abcdefghij")
    move(client, server)
    small, wide = bytearray(3), array("H", [0, 0])
    assert server.read(100, small) == 3 and small == b"abc"
    assert server.read(2, small) == 2 and small == b"dec"
    assert server.read(100, wide) == 4 and wide.tobytes() == b"fghi"
    assert server.read(5, bytearray()) == 0
    assert server.read(5, None) == b"j"
    with pytest.raises(WantReadError):
        server.read(5, small)
    with pytest.raises(TypeError, match="buffer is a bytes, expected one that can be written to"):
        server.read(5, b"abc")
    with pytest.raises(TypeError):
        server.read(5, "abc")  # type: ignore[call-overload]


def test_amounts_below_zero_are_refused(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    with pytest.raises(ValueError, match="amt is -1, expected 0 or more"):
        ends[0].read(-1)
    with pytest.raises(ValueError, match="amount_bytes_for_network is -1, expected 0 or more"):
        ends[0].process_outgoing(-1)


@pytest.mark.parametrize("piece", [1, 7, 1000])
def test_wire_in_any_portions(pki: PKI, version: dict[str, Any], piece: int) -> None:
    client, server = client_context(pki, **version).create_buffer("localhost"), server_context(pki).create_buffer()
    received = bytearray()
    written = False
    moved = True
    while moved:
        moved = False
        for one, other in ((client, server), (server, client)):
            with suppress(WantReadError):
                one.do_handshake()
            if one is client and one.cipher() is not None and not written:
                written = one.write(b"x" * 20_000) == 20_000
            while wire := one.process_outgoing(piece):
                assert len(wire) <= piece
                other.process_incoming(wire)
                moved = True
                with suppress(WantReadError):
                    received += other.read(100)
    with suppress(WantReadError):
        while data := server.read(3000):
            received += data
    assert bytes(received) == b"x" * 20_000


def test_writing_waits_for_the_handshake(pki: PKI) -> None:
    """And drives it on its own, as reading does."""
    client, server = client_context(pki).create_buffer("localhost"), server_context(pki).create_buffer()
    with pytest.raises(WantReadError):
        client.write(b"hello")
    move(client, server)
    with pytest.raises(WantReadError):
        server.read(1)
    move(server, client)
    assert client.write(b"hello") == 5
    move(client, server)
    assert server.read(100) == b"hello"


def test_too_much_at_once_is_not_kept(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    client, server = ends
    data = bytes(range(256)) * 4096
    client.write(data)
    wire = client.process_outgoing(EVERYTHING)
    received = bytearray()
    at = 0
    most = 0
    while len(received) < len(data):
        piece = wire[at : at + 50_000]
        try:
            server.process_incoming(piece)
            at += len(piece)
        except WantReadError as full:
            assert "bytes wait to be read" in str(full)
            received += server.read(10_000)
        most = max(most, server.incoming_bytes_buffered())
        if at == len(wire):
            received += server.read(EVERYTHING)
    assert bytes(received) == data
    assert INCOMING_LIMIT <= most < INCOMING_LIMIT + 50_000 + 65_536


# The end


def test_a_clean_end(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    client, server = ends
    client.write(b"last")
    client.shutdown()
    with pytest.raises(TLSError, match="after close"):
        client.write(b"more")
    move(client, server)
    assert server.read(100) == b"last"
    for _ in range(3):
        assert server.read(100) == b"" and server.read(100, bytearray(5)) == 0
    server.process_incoming(b"")  # the connection ends, which is no news
    assert server.read(1) == b""
    # The other direction is still open.
    server.write(b"answer")
    server.shutdown()
    move(server, client)
    assert client.read(100) == b"answer" and client.read(100) == b""


def test_a_ragged_end_is_told_every_time_once_all_is_read(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    client, server = ends
    client.write(b"cut sh")
    move(client, server)
    server.process_incoming(b"")
    assert server.read(3) == b"cut" and server.read(10) == b" sh"
    for _ in range(3):
        with pytest.raises(RaggedEOF):
            server.read(1)


def test_an_end_during_the_handshake(pki: PKI) -> None:
    client = client_context(pki).create_buffer("localhost")
    with pytest.raises(WantReadError):
        client.do_handshake()
    client.process_incoming(b"")
    for _ in range(2):
        with pytest.raises(RaggedEOF, match="during the handshake"):
            client.do_handshake()
    with pytest.raises(RaggedEOF):
        client.write(b"x")


def test_what_follows_the_peers_close_is_ignored(ends: tuple[TLSBuffer, TLSBuffer]) -> None:
    client, server = ends
    client.shutdown()
    server.process_incoming(client.process_outgoing(EVERYTHING) + bytes(100_000))
    assert server.read(10) == b""
    server.process_incoming(bytes(100_000))
    assert server.read(10) == b"" and server.incoming_bytes_buffered() == 0


def test_bad_wire_is_told_after_the_plaintext_before_it_and_the_peer_gets_an_alert(
    ends: tuple[TLSBuffer, TLSBuffer],
) -> None:
    client, server = ends
    client.write(b"good")
    good = client.process_outgoing(EVERYTHING)
    client.write(b"bad")
    bad = bytearray(client.process_outgoing(EVERYTHING))
    bad[-1] ^= 1
    server.process_incoming(good + bad)
    assert server.read(100) == b"good"
    for _ in range(2):
        with pytest.raises(TLSError) as caught:
            server.read(100)
        assert caught.value.alert == "bad_record_mac" and not caught.value.alert_received
    with pytest.raises(TLSError):
        server.write(b"x")
    move(server, client)
    with pytest.raises(TLSError) as received:
        client.read(1)
    assert received.value.alert == "bad_record_mac" and received.value.alert_received


# Verification


@pytest.mark.parametrize(
    ("credential", "name", "code", "alert"),
    [
        ("untrusted", "localhost", 20, "unknown_ca"),
        ("expired", "localhost", 10, "certificate_expired"),
        ("server", "example.com", 62, "bad_certificate"),
        ("server", "192.0.2.1", 64, "bad_certificate"),
    ],
)
def test_the_server_is_verified(pki: PKI, credential: str, name: str, code: int, alert: str) -> None:
    with pytest.raises(txmembio.SSLCertVerificationError) as caught:
        connected(client_context(pki), server_context(pki, getattr(pki, credential)), name)
    assert isinstance(caught.value, TLSError)
    assert (caught.value.verify_code, caught.value.alert, caught.value.hostname) == (code, alert, name)


def test_what_the_trust_store_holds_is_trusted_be_it_a_root_or_not(pki: PKI) -> None:
    """A leaf of one's own, for one: better than to do without verification."""
    for trusted in (pki.intermediate.certificate, pki.server.certificate):
        context = client_context(pki, trust_store=TrustStore.from_buffer(trusted))
        client, _ = connected(context, server_context(pki))
        assert client.getpeercert() == pki.server.certificate_der
    with pytest.raises(txmembio.SSLCertVerificationError):
        connected(
            client_context(pki, trust_store=TrustStore.from_buffer(pki.server.certificate)),
            server_context(pki, pki.server_rsa),
        )


def test_the_systems_trust_is_the_default(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca.certificate_file)
    for store in (None, TrustStore.system()):
        client, _ = connected(client_context(pki, trust_store=store), server_context(pki))
        assert client.getpeercert() == pki.server.certificate_der
    context = server_context(pki, trust_store=TrustStore.system())
    _, server = connected(client_context(pki, certificate_chain=chain(pki.client)), context)
    assert server.getpeercert() == pki.client.certificate_der


def test_a_server_asks_for_certificates_if_it_has_a_trust_store(pki: PKI, version: dict[str, Any]) -> None:
    asking = server_context(pki, trust_store=TrustStore.from_file(pki.ca.certificate_file), **version)
    client, server = connected(client_context(pki, certificate_chain=chain(pki.client)), asking)
    assert server.getpeercert() == pki.client.certificate_der
    assert client.getpeercert() == pki.server.certificate_der
    for credential, alert in ((None, "certificate_required"), (pki.untrusted_client, "unknown_ca")):
        with pytest.raises(TLSError) as caught:
            connected(client_context(pki, certificate_chain=credential and chain(credential)), asking)
        expected = "handshake_failure" if server.negotiated_tls_version == TLSVersion.TLSv1_2 else alert
        assert caught.value.alert in (expected, alert)


def test_a_server_without_a_trust_store_does_not_ask(pki: PKI) -> None:
    _, server = connected(client_context(pki, certificate_chain=chain(pki.client)), server_context(pki))
    assert server.getpeercert() is None


@pytest.mark.parametrize("name", ["", ".localhost", "x" * 64 + ".example", None, 5])
def test_impossible_names_are_refused(pki: PKI, name: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="server_hostname"):
        client_context(pki).create_buffer(name)


# What was agreed on


def test_facts_are_none_before_the_handshake(pki: PKI) -> None:
    for buffer in (client_context(pki).create_buffer("localhost"), server_context(pki).create_buffer()):
        facts = (buffer.cipher(), buffer.negotiated_protocol(), buffer.negotiated_tls_version, buffer.getpeercert())
        assert facts == (None, None, None, None)
        assert buffer.incoming_bytes_buffered() == buffer.outgoing_bytes_buffered() == 0
        assert buffer.process_outgoing(10) == b""


def test_the_context_is_known(pki: PKI) -> None:
    client, server = client_context(pki), server_context(pki)
    assert client.create_buffer("localhost").context is client
    assert server.create_buffer().context is server


def strength(suite: CipherSuite) -> int:
    """Bits of security, as this OpenSSL counts them: since 3.2 the short tags of CCM_8 count."""
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.set_ciphers("ALL")
    context.set_ciphersuites(":".join(each.name for each in CipherSuite if each < 0xC000))
    bits: int = next(each["strength_bits"] for each in context.get_ciphers() if each["id"] & 0xFFFF == suite)
    return bits


@pytest.mark.parametrize("suite", CipherSuite)
def test_each_cipher_suite(pki: PKI, suite: CipherSuite) -> None:
    client = client_context(pki, ciphers=[suite])
    credential = pki.server_rsa if "_RSA_" in suite.name else pki.server
    server = server_context(pki, credential, ciphers=list(CipherSuite))
    if strength(suite) < 112:  # the security level of this package's contexts
        with pytest.raises(TLSError):
            connected(client, server)
        return
    for buffer in connected(client, server):
        assert buffer.cipher() is suite
        assert buffer.negotiated_tls_version == (TLSVersion.TLSv1_3 if suite < 0xC000 else TLSVersion.TLSv1_2)


def test_a_suite_that_is_no_member_is_a_number(pki: PKI) -> None:
    aria = 0xC05C  # TLS_ECDHE_ECDSA_WITH_ARIA_128_GCM_SHA256
    for buffer in connected(client_context(pki, ciphers=[aria]), server_context(pki, ciphers=[aria, 0x1301])):
        assert buffer.cipher() == aria and type(buffer.cipher()) is int


def test_the_servers_order_of_suites_decides(pki: PKI) -> None:
    first, second = CipherSuite.TLS_CHACHA20_POLY1305_SHA256, CipherSuite.TLS_AES_128_GCM_SHA256
    client, _ = connected(client_context(pki, ciphers=[second, first]), server_context(pki, ciphers=[first, second]))
    assert client.cipher() is first


def test_suites_in_common_are_needed(pki: PKI) -> None:
    with pytest.raises(TLSError):
        connected(client_context(pki, ciphers=[0x1301]), server_context(pki, ciphers=[0x1302]))


@pytest.mark.parametrize(
    ("lowest", "highest", "agreed"),
    [
        (None, None, TLSVersion.TLSv1_3),
        (TLSVersion.MINIMUM_SUPPORTED, TLSVersion.MAXIMUM_SUPPORTED, TLSVersion.TLSv1_3),
        (TLSVersion.TLSv1_2, None, TLSVersion.TLSv1_3),
        (None, TLSVersion.TLSv1_2, TLSVersion.TLSv1_2),
        (None, TLSVersion.MINIMUM_SUPPORTED, TLSVersion.TLSv1_2),
        (TLSVersion.MAXIMUM_SUPPORTED, None, TLSVersion.TLSv1_3),
        (TLSVersion.TLSv1_3, TLSVersion.TLSv1_3, TLSVersion.TLSv1_3),
    ],
)
def test_versions(pki: PKI, lowest: TLSVersion | None, highest: TLSVersion | None, agreed: TLSVersion) -> None:
    limits = {"lowest_supported_version": lowest, "highest_supported_version": highest}
    for ends in (
        connected(client_context(pki, **limits), server_context(pki)),
        connected(client_context(pki), server_context(pki, **limits)),
    ):
        assert [buffer.negotiated_tls_version for buffer in ends] == [agreed, agreed]


def test_a_version_in_common_is_needed(pki: PKI) -> None:
    with pytest.raises(TLSError) as caught:
        connected(
            client_context(pki, highest_supported_version=TLSVersion.TLSv1_2),
            server_context(pki, lowest_supported_version=TLSVersion.TLSv1_3),
        )
    assert caught.value.alert == "protocol_version"


def test_versions_below_those_of_the_pep_are_never_spoken(pki: PKI) -> None:
    """Whatever "the lowest there is" may mean to OpenSSL."""
    old = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    old.load_verify_locations(pki.ca.certificate_file)
    old.set_ciphers("ALL:@SECLEVEL=0")
    old.minimum_version = txmembio.TLSVersion.MINIMUM_SUPPORTED
    with pytest.deprecated_call():
        old.maximum_version = txmembio.TLSVersion.TLSv1_1
    client = old.connection(server_hostname="localhost")
    server = server_context(pki, lowest_supported_version=TLSVersion.MINIMUM_SUPPORTED).create_buffer()
    client.do_handshake()
    server.process_incoming(client.wire_to_send())
    with pytest.raises(TLSError) as caught:
        server.do_handshake()
    assert caught.value.alert == "protocol_version"


@pytest.mark.parametrize(
    ("offered", "known", "agreed"),
    [
        ([NextProtocol.H2, NextProtocol.HTTP1], [NextProtocol.HTTP1], NextProtocol.HTTP1),
        ([NextProtocol.HTTP1, NextProtocol.H2], [NextProtocol.H2, NextProtocol.HTTP1], NextProtocol.H2),
        ([b"h2"], [NextProtocol.H2], NextProtocol.H2),
        ([b"mine", b"h2"], [b"mine"], b"mine"),
        (["grün".encode()], ["grün".encode()], "grün".encode()),
        ([NextProtocol.H2], [b"mine"], None),
        ([NextProtocol.H2], [], None),
        ([], [NextProtocol.H2], None),
    ],
)
def test_protocols(pki: PKI, offered: list[Any], known: list[Any], agreed: object) -> None:
    ends = connected(client_context(pki, inner_protocols=offered), server_context(pki, inner_protocols=known))
    assert [buffer.negotiated_protocol() for buffer in ends] == [agreed, agreed]


# With other things of this package


def test_a_buffer_talks_to_a_connection(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    connection = pair.server_context(pki, tls_version).connection(server_side=True)
    client = client_context(pki).create_buffer("localhost")
    while client.cipher() is None:
        with suppress(WantReadError):
            client.do_handshake()
        connection.receive_wire(client.process_outgoing(EVERYTHING))
        client.process_incoming(connection.wire_to_send())
    client.write(b"hello")
    assert connection.receive_wire(client.process_outgoing(EVERYTHING)) == b"hello"


def test_the_package_says_what_it_has() -> None:
    for name in pep748.__all__:
        assert getattr(pep748, name) is not None
