"""Configurations of PEP 748: values that never change, and errors that name the field, its value and what was
expected."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support.pki import PKI, Credential
from txmembio import pep748
from txmembio.pep748 import (
    Certificate,
    CipherSuite,
    ClientContext,
    ConfigurationError,
    NextProtocol,
    PrivateKey,
    ServerContext,
    SigningChain,
    TLSClientConfiguration,
    TLSServerConfiguration,
    TLSVersion,
    TrustStore,
)

SOURCES: list[Any] = [Certificate, PrivateKey, TrustStore]

untyped: Any = pep748
"""For what checkers would not let pass."""

CONFIGURATIONS: list[Any] = [TLSClientConfiguration, TLSServerConfiguration]


def chain(credential: Credential) -> SigningChain:
    """From buffers: the leaf with the intermediates behind it, and the key."""
    leaf = (Certificate.from_buffer(credential.chain), PrivateKey.from_buffer(credential.private_key))
    return SigningChain(leaf)


# Values


@pytest.mark.parametrize("kind", SOURCES)
def test_sources_are_values(kind: Any, tmp_path: Path) -> None:
    several = [kind.from_buffer(b"x"), kind.from_buffer(b"y"), kind.from_file(tmp_path / "x"), kind.from_id(b"x")]
    again = [kind(buffer=b"x"), kind(buffer=bytearray(b"y")), kind(path=str(tmp_path / "x")), kind(id=b"x")]
    for (at, one), (also_at, other) in itertools.product(enumerate(several), enumerate(again)):
        assert (one == other) == (at == also_at)
    assert len({*several, *again}) == len(several)
    assert kind.from_buffer(b"x") != b"x"
    assert all(kind.from_buffer(b"x") != other.from_buffer(b"x") for other in SOURCES if other is not kind)


def test_what_a_source_says_of_itself_is_not_what_is_in_it(tmp_path: Path) -> None:
    assert repr(PrivateKey.from_buffer(b"secret")) == "<PrivateKey from a buffer of 6 bytes>"
    assert repr(PrivateKey.from_file(tmp_path / "key")) == f"<PrivateKey from the file {str(tmp_path / 'key')!r}>"
    assert repr(Certificate.from_id(b"slot 1")) == "<Certificate with the id b'slot 1'>"
    assert repr(TrustStore.system()) == "<TrustStore of the system>"
    assert TrustStore.system() == TrustStore()


@pytest.mark.parametrize(
    ("make", "error", "text"),
    [
        (lambda: untyped.Certificate(), ValueError, "Certificate has none, expected one of buffer, path and id"),
        (lambda: untyped.PrivateKey(), ValueError, "PrivateKey has none"),
        (lambda: untyped.Certificate(b"x", "y"), ValueError, "Certificate has buffer and path, expected one of"),
        (lambda: untyped.TrustStore(id=b"x", path="y"), ValueError, "TrustStore has path and id, expected one of"),
        (lambda: untyped.Certificate.from_buffer("text"), TypeError, "Certificate's buffer is a str, expected bytes"),
        (lambda: untyped.TrustStore.from_id(5), TypeError, "TrustStore's id is a int, expected bytes"),
        (lambda: untyped.SigningChain(Certificate.from_id(b"x")), TypeError, "leaf is <Certificate.*expected a pair"),
        (lambda: untyped.SigningChain((None, None)), TypeError, r"leaf\[0\] is None, expected a Certificate"),
        (
            lambda: untyped.SigningChain((Certificate.from_id(b"x"), b"k")),
            TypeError,
            r"leaf\[1\] is b'k', expected a Priv",
        ),
        (
            lambda: untyped.SigningChain((Certificate.from_id(b"x"), None), [b"c"]),
            TypeError,
            r"chain\[0\] is b'c', expected",
        ),
        (
            lambda: untyped.TLSClientConfiguration(trust_store="/x"),
            TypeError,
            "trust_store is '/x', expected a TrustStore or",
        ),
        (
            lambda: untyped.TLSClientConfiguration(lowest_supported_version="TLSv1.2"),
            TypeError,
            "lowest_.* is 'TLSv1.2', exp",
        ),
        (
            lambda: untyped.TLSServerConfiguration(highest_supported_version=772),
            TypeError,
            "highest_.* is 772, expected a TLS",
        ),
        (
            lambda: untyped.TLSClientConfiguration(inner_protocols=b"h2"),
            TypeError,
            "inner_protocols is b'h2', expected a seq",
        ),
        (lambda: untyped.TLSServerConfiguration(ciphers="ECDHE"), TypeError, "ciphers is 'ECDHE', expected a sequence"),
        (lambda: untyped.TLSServerConfiguration(ciphers=0x1301), TypeError, "ciphers is 4865, expected a sequence"),
        (
            lambda: untyped.TLSClientConfiguration(certificate_chain=[]),
            TypeError,
            r"certificate_chain is \[\], expected a Sign",
        ),
        (
            lambda: untyped.TLSServerConfiguration([None]),
            TypeError,
            r"certificate_chain\[0\] is None, expected a SigningChain",
        ),
    ],
)
def test_values_of_the_wrong_kind_are_refused_at_once(
    make: Callable[[], object], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        make()


def test_a_server_configuration_wants_a_sequence_of_chains(pki: PKI) -> None:
    with pytest.raises(TypeError, match=r"certificate_chain is <SigningChain .*>, expected a sequence"):
        untyped.TLSServerConfiguration(chain(pki.server))


def test_a_signing_chain_is_a_value(pki: PKI) -> None:
    intermediate = Certificate.from_file(pki.intermediate.certificate_file)
    leaf = (Certificate.from_buffer(b"c"), PrivateKey.from_buffer(b"k"))
    one = SigningChain(leaf, [intermediate])
    assert one.leaf == leaf and one.chain == [intermediate]
    one.chain.append(intermediate)  # a copy: the chain itself stays
    assert one == SigningChain(leaf, (intermediate,)) and hash(one) == hash(SigningChain(leaf, [intermediate]))
    assert one != SigningChain(leaf) and SigningChain(leaf).chain == []
    assert (
        repr(one)
        == "<SigningChain from a buffer of 1 bytes, with a key from a buffer of 1 bytes and 1 more certificates>"
    )
    assert "a key beside it" in repr(SigningChain((leaf[0], None)))


@pytest.mark.parametrize("kind", CONFIGURATIONS)
def test_configurations_are_immutable_values_with_the_peps_defaults(kind: Any, pki: PKI) -> None:
    empty = kind()
    assert empty.certificate_chain is empty.ciphers is empty.trust_store is None
    assert empty.lowest_supported_version is empty.highest_supported_version is None
    assert list(empty.inner_protocols) == []
    ciphers, protocols = [CipherSuite.TLS_AES_128_GCM_SHA256, 0x1302], [NextProtocol.H2, b"mine"]
    one = chain(pki.server)
    arguments = (
        one if kind is TLSClientConfiguration else [one],
        ciphers,
        protocols,
        TLSVersion.TLSv1_2,
        TLSVersion.MAXIMUM_SUPPORTED,
        TrustStore.system(),
    )
    full, again = kind(*arguments), kind(*arguments)
    ciphers.append(0x1303)
    protocols.clear()
    assert list(full.ciphers) == [0x1301, 0x1302] and list(full.inner_protocols) == [NextProtocol.H2, b"mine"]
    assert full == again != empty and len({full, again, empty}) == 2
    for name in ("certificate_chain", "ciphers", "inner_protocols", "trust_store", "another"):
        with pytest.raises(AttributeError):
            setattr(full, name, None)
    assert repr(empty) == f"{kind.__name__}()"
    assert "ciphers=(<CipherSuite.TLS_AES_128_GCM_SHA256: 4865>, 4866)" in repr(full)
    assert "certificate_chain=" in repr(full) and "PRIVATE" not in repr(full)


def test_the_configurations_of_the_two_sides_are_never_equal() -> None:
    assert TLSClientConfiguration() != TLSServerConfiguration()


def test_enumerations_are_the_peps() -> None:
    assert CipherSuite(0xCCA9).name == "TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256" and len(CipherSuite) == 15
    assert {protocol.value for protocol in NextProtocol} >= {b"h2", b"http/1.1", b"stun.turn"}
    assert [version.value for version in TLSVersion][1:3] == ["TLSv1.2", "TLSv1.3"]
    assert len(pep748.DEFAULT_CIPHER_LIST) == 11
    assert not [
        suite for suite in pep748.DEFAULT_CIPHER_LIST if suite.name.startswith("TLS_ECDHE") and "CCM" in suite.name
    ]


def test_exceptions_are_those_of_the_ssl_module() -> None:
    """As the PEP wants it in its section on migration."""
    assert pep748.TLSError is txmembio.SSLError
    assert pep748.WantReadError is txmembio.SSLWantReadError
    assert pep748.WantWriteError is txmembio.SSLWantWriteError
    assert pep748.RaggedEOF is txmembio.SSLEOFError
    for kind in (pep748.WantReadError, pep748.WantWriteError, pep748.RaggedEOF, ConfigurationError):
        assert issubclass(kind, pep748.TLSError)
    with pytest.raises(ConfigurationError) as caught:
        ServerContext(TLSServerConfiguration())
    assert caught.value.alert is caught.value.verify_code is None


# validate_config()


def test_validate_config_reads_nothing(tmp_path: Path) -> None:
    missing = tmp_path / "missing"
    leaf = (Certificate.from_file(missing), PrivateKey.from_file(missing))
    one = SigningChain(leaf, [Certificate.from_buffer(b"no certificate")])
    pep748.validate_config(TLSClientConfiguration(one, trust_store=TrustStore.from_file(missing)))
    pep748.validate_config(TLSServerConfiguration([one], trust_store=TrustStore.system()))
    pep748.validate_config(TLSServerConfiguration())


@pytest.mark.parametrize(
    ("field", "make"),
    [
        ("trust_store", lambda good, bad: TLSClientConfiguration(trust_store=TrustStore.from_id(b"bad"))),
        ("certificate_chain.leaf[0]", lambda good, bad: TLSClientConfiguration(SigningChain((bad, None)))),
        (
            "certificate_chain.chain[1]",
            lambda good, bad: TLSClientConfiguration(SigningChain((good, None), [good, bad])),
        ),
        (
            "certificate_chain.leaf[1]",
            lambda good, bad: TLSClientConfiguration(SigningChain((good, PrivateKey(id=b"bad")))),
        ),
        (
            "certificate_chain[1].leaf[0]",
            lambda good, bad: TLSServerConfiguration([SigningChain((good, None)), SigningChain((bad, None))]),
        ),
    ],
)
def test_identifiers_are_not_for_this_implementation(field: str, make: Callable[..., Any]) -> None:
    configuration = make(Certificate.from_buffer(b"good"), Certificate.from_id(b"bad"))
    context = ClientContext if isinstance(configuration, TLSClientConfiguration) else ServerContext
    for use in (pep748.validate_config, pep748.TXMEMBIO_IMPLEMENTATION.validate_config, context):
        with pytest.raises(ConfigurationError) as caught:
            use(configuration)
        assert str(caught.value).startswith(f"{field} is <")
        assert "with the id b'bad'>, expected one from a buffer or a file" in str(caught.value)


@pytest.mark.parametrize("what", [None, {}, "TLSv1.3", NextProtocol.H2])
def test_what_is_no_configuration_is_refused(what: Any) -> None:
    for use in (pep748.validate_config, ClientContext, ServerContext):
        with pytest.raises(TypeError, match=r"configuration is .*, expected a TLS"):
            use(what)
    with pytest.raises(TypeError, match=r"configuration is TLSServerConfiguration\(\), expected a TLSClientConf"):
        untyped.ClientContext(TLSServerConfiguration())
    with pytest.raises(TypeError, match=r"configuration is TLSClientConfiguration\(\), expected a TLSServerConf"):
        untyped.ServerContext(TLSClientConfiguration())


# What a context refuses


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"ciphers": ()}, "ciphers: empty, expected one or more suites"),
        ({"ciphers": [0x1301, 0xFFFF]}, "ciphers: 0xffff, expected one or more suites that OpenSSL"),
        ({"ciphers": [0x0034]}, "ciphers: 0x0034, expected .* authenticate by certificates"),  # DH_anon
        ({"ciphers": ["TLS_AES_128_GCM_SHA256"]}, "ciphers: 'TLS_AES_128_GCM_SHA256', expected"),
        (
            {"ciphers": [0x1301], "highest_supported_version": TLSVersion.TLSv1_2},
            "ciphers has none of TLS 1.2, which highest_supported_version asks for",
        ),
        (
            {"ciphers": [0xC02B], "lowest_supported_version": TLSVersion.TLSv1_3},
            "ciphers has none of TLS 1.3, which lowest_supported_version asks for",
        ),
        (
            {"lowest_supported_version": TLSVersion.TLSv1_3, "highest_supported_version": TLSVersion.TLSv1_2},
            "lowest_supported_version is TLSVersion.TLSv1_3 and highest_supported_version is TLSVersion.TLSv1_2",
        ),
        (
            {
                "lowest_supported_version": TLSVersion.MAXIMUM_SUPPORTED,
                "highest_supported_version": TLSVersion.MINIMUM_SUPPORTED,
            },
            "expected a lowest that is not above the highest",
        ),
        ({"inner_protocols": ["h2"]}, "inner_protocols has 'h2', expected a NextProtocol, or bytes"),
        ({"inner_protocols": [b"\xff"]}, r"inner_protocols has b'\\xff', expected a NextProtocol, or bytes"),
        ({"inner_protocols": [b""]}, "inner_protocols: ALPN protocols must be 1 to 255 in length: ''"),
        ({"inner_protocols": [b"x" * 256]}, "inner_protocols: ALPN protocols must be 1 to 255 in length"),
        ({"trust_store": TrustStore.from_buffer(b"")}, "TrustStore from a buffer of 0 bytes is empty"),
        ({"trust_store": TrustStore.from_buffer(b"nonsense")}, "trust_store .<TrustStore from a buffer of 8 bytes>"),
    ],
)
@pytest.mark.parametrize("side", ["client", "server"])
def test_a_bad_configuration_is_named(arguments: dict[str, Any], text: str, side: str, pki: PKI) -> None:
    with pytest.raises(ConfigurationError, match=text):
        if side == "client":
            ClientContext(TLSClientConfiguration(**arguments))
        else:
            ServerContext(TLSServerConfiguration([chain(pki.server)], **arguments))


@pytest.mark.parametrize("chains", [None, [], ()])
def test_a_server_needs_a_signing_chain(chains: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"certificate_chain is .*, expected at least one SigningChain"):
        ServerContext(TLSServerConfiguration(chains))


def bad_chains(pki: PKI) -> dict[str, SigningChain]:
    """Chains that cannot be used, by what the error says of them."""
    good = Certificate.from_buffer(pki.server.certificate)
    key = PrivateKey.from_buffer(pki.server.private_key)
    return {
        "does not belong to the certificate": chain(pki.mismatched),
        "encrypted, and no password was given": chain(pki.encrypted),
        "expected a private key in PEM, found none": SigningChain((good, None)),
        "in DER has no private key beside it": SigningChain((Certificate(pki.server.certificate_der), None)),
        "not a private key in DER": SigningChain((good, PrivateKey.from_buffer(b"nonsense"))),
        "expected a private key in PEM, found": SigningChain((good, PrivateKey.from_buffer(pki.server.certificate))),
        "not a certificate in DER": SigningChain((Certificate.from_buffer(b"nonsense"), key)),
        "expected a certificate in PEM, found none": SigningChain((Certificate(pki.server.private_key), key)),
        "PEM lib: 1 blocks begin and 0 end": SigningChain((good, key), [Certificate(pki.server.certificate[:200])]),
        "Certificate from a buffer of 0 bytes is empty": SigningChain((Certificate(b""), key)),
        "PrivateKey from a buffer of 0 bytes is empty": SigningChain((good, PrivateKey(b""))),
    }


def test_a_bad_chain_is_named(pki: PKI) -> None:
    good = chain(pki.server)
    for text, bad in bad_chains(pki).items():
        for use, place in (
            (lambda bad: ClientContext(TLSClientConfiguration(bad)), "certificate_chain (<SigningChain from"),
            (
                lambda bad: ServerContext(TLSServerConfiguration([good, bad])),
                "certificate_chain[1] (<SigningChain from",
            ),
        ):
            with pytest.raises(ConfigurationError) as caught:
                use(bad)
            assert text in str(caught.value) and str(caught.value).startswith(place)


def test_a_missing_file_is_named(tmp_path: Path, pki: PKI) -> None:
    missing = tmp_path / "missing.pem"
    for configuration in (
        TLSClientConfiguration(trust_store=TrustStore.from_file(missing)),
        TLSClientConfiguration(SigningChain((Certificate.from_file(missing), None))),
    ):
        with pytest.raises(FileNotFoundError) as caught:
            ClientContext(configuration)
        assert caught.value.filename == str(missing)


# What a context takes


@pytest.mark.parametrize("how", ["buffers", "files", "DER", "one file", "separate chain"])
def test_certificates_come_from_everywhere(how: str, pki: PKI, tmp_path: Path) -> None:
    server = pki.server
    intermediate = Certificate.from_buffer(pki.intermediate.certificate)
    (tmp_path / "leaf.der").write_bytes(server.certificate_der)
    (tmp_path / "key.der").write_bytes(server.private_key_der)
    one = {
        "buffers": chain(server),
        "files": SigningChain((Certificate.from_file(server.chain_file), PrivateKey.from_file(server.key_file))),
        "DER": SigningChain(
            (Certificate.from_file(tmp_path / "leaf.der"), PrivateKey.from_file(tmp_path / "key.der")),
            [Certificate.from_buffer(server.chain_der[1])],
        ),
        "one file": SigningChain((Certificate.from_file(server.combined_file), None)),
        "separate chain": SigningChain(
            (Certificate.from_buffer(server.certificate), PrivateKey.from_buffer(server.private_key)), [intermediate]
        ),
    }[how]
    context = ServerContext(TLSServerConfiguration([one]))
    client = txmembio.create_default_context(cafile=pki.ca.certificate_file).connection(server_hostname="localhost")
    buffer = context.create_buffer()
    while not client.do_handshake():
        buffer.process_incoming(client.wire_to_send())
        with suppress(pep748.WantReadError):
            buffer.do_handshake()
        client.receive_wire(buffer.process_outgoing(65536))
    assert client.get_unverified_chain() == server.chain_der


def test_contexts_keep_their_configuration(pki: PKI) -> None:
    client, server = TLSClientConfiguration(), TLSServerConfiguration([chain(pki.server)])
    assert ClientContext(client).configuration is client
    assert ServerContext(server).configuration is server
    implementation = pep748.TXMEMBIO_IMPLEMENTATION
    assert implementation.client_context(client).configuration is client
    assert implementation.server_context(server).configuration is server
