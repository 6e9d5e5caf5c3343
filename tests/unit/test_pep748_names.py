"""A PEP 748 server with several signing chains shows each client the one for the name it asks for."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import pytest
from trustme import KeyType

import txmembio
from support.pki import PKI, Credential
from txmembio.pep748 import (
    Certificate,
    CipherSuite,
    PrivateKey,
    ServerContext,
    SigningChain,
    TLSError,
    TLSServerConfiguration,
    TrustStore,
    WantReadError,
)

ECDSA = "ECDSA+SHA256:ECDSA+SHA384"
RSA = "RSA-PSS+SHA256:RSA+SHA256"

_issued: dict[tuple[str, ...], Credential] = {}


def credential(pki: PKI, *names: str, key: KeyType = KeyType.ECDSA, number: int = 0) -> Credential:
    """One for these names; made once, since RSA keys take their time."""
    known = (str(pki.folder), key.name, str(number), *names)
    if known not in _issued:
        _issued[known] = pki.issue(*names, key_type=key)
    return _issued[known]


def server_context(*credentials: Credential, **more: Any) -> ServerContext:
    chains = [
        SigningChain((Certificate.from_buffer(each.chain), PrivateKey.from_buffer(each.private_key)))
        for each in credentials
    ]
    return ServerContext(TLSServerConfiguration(chains, **more))


def shown(
    context: ServerContext, pki: PKI, name: str | None, algorithms: str = "", tls: txmembio.TLSVersion | None = None
) -> bytes:
    """The certificate, in DER, that a client sees which asks for this name and can verify these signatures."""
    client_context = txmembio.create_default_context(cafile=pki.ca.certificate_file)
    client_context.check_hostname = False
    if algorithms:
        client_context.set_signature_algorithms(algorithms)
    if tls is not None:
        client_context.minimum_version = client_context.maximum_version = tls
    client, server = client_context.connection(server_hostname=name), context.create_buffer()
    while not client.do_handshake():
        server.process_incoming(client.wire_to_send())
        with suppress(WantReadError):
            server.do_handshake()
        client.receive_wire(server.process_outgoing(1 << 20))
    chain = client.get_unverified_chain()
    assert chain[1] == txmembio.Certificate.from_pem_all(pki.intermediate.certificate)[0].der
    return chain[0]


def test_the_chain_for_the_name_is_shown(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    one, two, wild = (credential(pki, *n) for n in (["one.example", "uno.example"], ["two.example"], ["*.two.example"]))
    context = server_context(one, two, wild)
    for name, expected in {
        "one.example": one,
        "uno.example": one,
        "two.example": two,
        "TWO.example": two,
        "a.two.example": wild,
        "b.a.two.example": one,  # a wildcard stands for one label (RFC 9525 section 6.3)
        "other.example": one,
        "192.0.2.1": one,  # no server name is sent for addresses (RFC 6066 section 3)
        None: one,
    }.items():
        assert shown(context, pki, name, tls=tls_version) == expected.certificate_der, name


def test_an_exact_name_comes_before_a_wildcard_whatever_the_order(pki: PKI) -> None:
    wild, exact = credential(pki, "*.example.com"), credential(pki, "a.example.com")
    for context in (server_context(wild, exact), server_context(exact, wild)):
        assert shown(context, pki, "a.example.com") == exact.certificate_der
        assert shown(context, pki, "b.example.com") == wild.certificate_der


def test_of_two_kinds_of_keys_the_one_that_the_client_can_verify(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """For a name, and for those who ask for none."""
    ec, rsa = credential(pki, "two.example"), credential(pki, "two.example", key=KeyType.RSA)
    first = credential(pki, "one.example")
    for context in (server_context(ec, rsa), server_context(rsa, ec), server_context(ec, rsa, first)):
        for name in ("two.example", "other.example", None):
            assert shown(context, pki, name, f"{ECDSA}", tls_version) == ec.certificate_der
            # The intermediate's signature is ECDSA too: RSA first, but not alone.
            assert shown(context, pki, name, f"{RSA}:{ECDSA}", txmembio.TLSVersion.TLSv1_3) in (
                ec.certificate_der,
                rsa.certificate_der,
            )
    context = server_context(first, ec, rsa, ciphers=[CipherSuite.TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256])
    assert shown(context, pki, "two.example") == rsa.certificate_der
    context = server_context(first, ec, rsa, ciphers=[CipherSuite.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256])
    assert shown(context, pki, "two.example") == ec.certificate_der


def test_of_two_of_one_kind_the_first(pki: PKI) -> None:
    one, other = credential(pki, "one.example"), credential(pki, "one.example", number=1)
    assert one.certificate != other.certificate
    for first, second in ((one, other), (other, one)):
        assert shown(server_context(first, second), pki, "one.example") == first.certificate_der
        assert shown(server_context(first, second), pki, None) == first.certificate_der


def test_a_name_with_a_kind_of_key_that_the_client_cannot_verify(pki: PKI) -> None:
    """Another name's certificate would be no better."""
    context = server_context(credential(pki, "two.example"), credential(pki, "rsa.example", key=KeyType.RSA))
    assert shown(context, pki, "two.example", ECDSA)
    with pytest.raises(TLSError):
        shown(context, pki, "rsa.example", ECDSA)


def test_the_rules_for_clients_hold_for_every_name(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    context = server_context(
        credential(pki, "one.example"),
        credential(pki, "two.example"),
        trust_store=TrustStore.from_buffer(pki.ca.certificate),
        inner_protocols=[b"mine"],
    )
    for name in ("one.example", "two.example", "other.example"):
        client_context = txmembio.create_default_context(cafile=pki.ca.certificate_file)
        client_context.check_hostname = False
        client_context.minimum_version = client_context.maximum_version = tls_version
        client_context.set_alpn_protocols(["mine"])
        client, server = client_context.connection(server_hostname=name), context.create_buffer()
        client.do_handshake()
        with pytest.raises(TLSError, match="PEER_DID_NOT_RETURN_A_CERTIFICATE"):
            for _ in range(3):
                server.process_incoming(client.wire_to_send())
                with suppress(WantReadError):
                    server.do_handshake()
                client.receive_wire(server.process_outgoing(1 << 20))
        assert client.selected_alpn_protocol() == "mine"
