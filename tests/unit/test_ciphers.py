"""Cipher suites: how they are described, and which are safe."""

from __future__ import annotations

import ssl

import pytest

import txmembio
from support import pair
from support.pki import PKI

same_openssl = pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER != ssl.OPENSSL_VERSION_NUMBER,
    reason="the interpreter's ssl runs on another OpenSSL, which has other suites",
)

TLS12, TLS13 = txmembio.TLSVersion.TLSv1_2, txmembio.TLSVersion.TLSv1_3


@same_openssl
@pytest.mark.parametrize(
    "ciphers",
    [
        "ALL:COMPLEMENTOFALL:@SECLEVEL=0",
        "ECDHE+AESGCM",
        "AES128-SHA",
        "kRSA",
        "DHE:!AESGCM",
        "ECDHE+CHACHA20:ECDHE+AES256",
    ],
)
def test_descriptions_are_the_standard_librarys(ciphers: str) -> None:
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    theirs.set_ciphers(ciphers)
    ours.set_ciphers(ciphers)
    described = ours.get_ciphers()
    assert described == theirs.get_ciphers()
    assert described and list(described[0]) == list(theirs.get_ciphers()[0])


def is_forward_secret_aead(cipher: dict[str, object]) -> bool:
    """By the description alone."""
    return bool(cipher["aead"]) and cipher["kea"] in ("kx-ecdhe", "kx-any")


@pytest.mark.parametrize("purpose", txmembio.Purpose)
def test_the_default_context_has_forward_secret_aead_suites_only(purpose: txmembio.Purpose) -> None:
    context = txmembio.create_default_context(purpose)
    suites = context.get_ciphers()
    assert suites and all(is_forward_secret_aead(suite) for suite in suites)
    assert {suite["protocol"] for suite in suites} == {"TLSv1.2", "TLSv1.3"}
    names = {suite["name"] for suite in suites}
    assert {"ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-RSA-CHACHA20-POLY1305", "TLS_AES_256_GCM_SHA384"} <= names
    assert context.security_level >= 2


def test_a_bare_context_has_others_too() -> None:
    """Which shows that the test above can tell."""
    assert not all(
        is_forward_secret_aead(suite) for suite in txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER).get_ciphers()
    )


@pytest.mark.parametrize("ciphers", ["AES128-GCM-SHA256", "ECDHE-RSA-AES128-SHA256", "DHE-RSA-AES128-GCM-SHA256"])
def test_a_peer_with_nothing_better_is_refused(ciphers: str, pki: PKI) -> None:
    server = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pki.server_rsa.chain_file, pki.server_rsa.key_file)
    server.maximum_version = TLS12
    server.set_ciphers(ciphers)
    client, refusing = pair.unconnected(pair.client_context(pki), server).refusal()
    assert refusing.reason == "NO_SHARED_CIPHER" and client.alert == "handshake_failure"


def test_the_servers_order_of_suites_decides_but_for_chacha(pki: PKI) -> None:
    """A client that puts ChaCha20 first has no AES in hardware (SSL_OP_PRIORITIZE_CHACHA)."""
    server = pair.server_context(pki, TLS12)
    server.set_ciphers("ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-CHACHA20-POLY1305")
    for order, chosen in (
        ("ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-AES256-GCM-SHA384"),
        ("ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-GCM-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305"),
    ):
        client = pair.client_context(pki, TLS12)
        client.set_ciphers(order)
        cipher = pair.connect(client, server).client.connection.cipher()
        assert cipher is not None and cipher[0] == chosen


def test_suites_of_tls13_are_chosen_apart(pki: PKI) -> None:
    client = pair.client_context(pki, TLS13)
    client.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256")
    server = pair.server_context(pki, TLS13)
    ends = pair.connect(client, server)
    assert ends.client.connection.cipher() == ("TLS_CHACHA20_POLY1305_SHA256", "TLSv1.3", 256)
    server.set_ciphersuites("TLS_AES_128_GCM_SHA256")
    _, refusing = pair.unconnected(client, server).refusal()
    assert refusing.reason == "NO_SHARED_CIPHER"
    assert "no cipher suite is enabled on both sides" in str(refusing)
