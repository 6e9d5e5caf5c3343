"""What a connection tells, as the other end tells it: the standard library's `ssl` there, in both roles."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import txmembio
from support import sslobjects
from support.pki import PKI
from support.sslobjects import Ends, client_context, server_context


@pytest.fixture(params=[pytest.param(module, id=module.__name__) for module in (ssl, txmembio)])
def client_module(request: pytest.FixtureRequest) -> Any:
    """Whose SSLObject the client is."""
    return request.param


@pytest.fixture(params=[pytest.param(module, id=module.__name__) for module in (ssl, txmembio)])
def server_module(request: pytest.FixtureRequest) -> Any:
    """Whose the server is."""
    return request.param


@pytest.mark.parametrize("resumed", [False, True], ids=["full", "resumed"])
def test_both_ends_tell_the_same(
    client_module: Any, server_module: Any, pki: PKI, tls_version: txmembio.TLSVersion, resumed: bool
) -> None:
    client = client_context(client_module, pki, int(tls_version))
    client.load_cert_chain(pki.client.chain_file, pki.client.key_file)
    server = server_context(server_module, pki, int(tls_version))
    server.verify_mode = ssl.CERT_REQUIRED
    session = None
    for session_reused in (False, True)[: 1 + resumed]:
        ends = Ends(client, server, session=session)
        ends.handshake()
        ends.talk()
        one, other = ends.client.tls, ends.server.tls
        assert one.session_reused is other.session_reused is session_reused
        session = one.session
    for fact in ("version", "cipher", "selected_alpn_protocol", "compression"):
        assert getattr(one, fact)() == getattr(other, fact)()
    assert one.get_channel_binding("tls-unique") == other.get_channel_binding("tls-unique")
    assert one.get_channel_binding("tls-unique")
    assert one.getpeercert(True) == pki.server_rsa.certificate_der
    assert other.getpeercert(True) == pki.client.certificate_der
    assert dict(one.getpeercert()["subjectAltName"][:1]) == {"DNS": "localhost"}
    assert other.getpeercert()["subjectAltName"] == (("email", "client@example.com"),)


@pytest.mark.skipif(
    not sslobjects.knows_shared_ciphers(), reason="this release of Python has another idea of shared_ciphers()"
)
def test_the_suites_that_both_have(
    client_module: Any, server_module: Any, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """In the standard library's order, on the server; the client knows of none."""
    client, server = (make(ssl, pki, int(tls_version)) for make in (client_context, server_context))
    expected = Ends(client, server)
    client, server = (
        make(module, pki, int(tls_version))
        for make, module in ((client_context, client_module), (server_context, server_module))
    )
    ends = Ends(client, server)
    for each in (expected, ends):
        assert each.server.tls.shared_ciphers() is None
        each.handshake()
    assert ends.server.tls.shared_ciphers() == expected.server.tls.shared_ciphers()
    assert ends.client.tls.shared_ciphers() == expected.client.tls.shared_ciphers()
    assert ends.client.tls.cipher() in ends.server.tls.shared_ciphers()


@pytest.mark.parametrize("module", [ssl, txmembio])
def test_an_unknown_channel_binding(module: Any, pki: PKI) -> None:
    tls = Ends(client_context(module, pki), server_context(module, pki)).client.tls
    with pytest.raises(ValueError, match=r"tls-made-up'? channel binding type not implemented"):
        tls.get_channel_binding("tls-made-up")
    assert tls.get_channel_binding() is None


def test_the_chains_are_those_that_the_standard_library_keeps_to_itself(
    client_module: Any, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """ssl.SSLObject has get_verified_chain() and get_unverified_chain() since Python 3.13, on `_sslobj` since 3.10."""
    chains = []
    for module in (ssl, txmembio):
        client = client_context(module, pki, int(tls_version))
        ends = Ends(client, server_context(client_module, pki, int(tls_version)))
        ends.handshake()
        tls = ends.client.tls
        if module is ssl and not hasattr(tls, "get_verified_chain"):
            import _ssl

            encoding = _ssl.ENCODING_DER
            found = [getattr(tls._sslobj, f"get_{kind}_chain")() for kind in ("verified", "unverified")]
            chains.append([[certificate.public_bytes(encoding) for certificate in chain] for chain in found])
        else:
            chains.append([tls.get_verified_chain(), tls.get_unverified_chain()])
    assert chains[0] == chains[1] == [[*pki.server_rsa.chain_der, pki.ca.certificate_der], pki.server_rsa.chain_der]


@pytest.mark.parametrize("module", [ssl, txmembio])
@pytest.mark.parametrize("side", ["client", "server"])
def test_facts_before_there_are_any(module: Any, side: str, pki: PKI) -> None:
    tls = Ends(client_context(module, pki), server_context(module, pki)).end(side).tls
    for fact in ("version", "cipher", "selected_alpn_protocol", "compression", "get_channel_binding"):
        assert getattr(tls, fact)() is None
    assert tls.pending() == 0
    assert tls.session is None and tls.session_reused is False
    for binary in (False, True):
        with pytest.raises(ValueError, match="handshake not done yet"):
            tls.getpeercert(binary)
