"""What a certificate says, as the standard library says it; and certificates and keys from PEM and DER."""

from __future__ import annotations

import hashlib
import ssl
from datetime import datetime, timezone
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.x509.oid import AuthorityInformationAccessOID, NameOID, ObjectIdentifier

import txmembio
from support import pair
from support.pki import PKI

KEY = ec.generate_private_key(ec.SECP256R1())
RSA_KEY = rsa.generate_private_key(65537, 2048)

CN, ORGANISATION, COUNTRY = NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.COUNTRY_NAME
OCSP, CA_ISSUERS = AuthorityInformationAccessOID.OCSP, AuthorityInformationAccessOID.CA_ISSUERS

Attribute = tuple[x509.ObjectIdentifier, str]


def make(
    *extensions: x509.ExtensionType,
    subject: list[list[Attribute]] | None = None,
    serial: int = 1234,
    starts: datetime = datetime(2020, 1, 1),
    ends: datetime = datetime(2030, 1, 2, 3, 4, 5),
    key: Any = KEY,
    digest: Any = hashes.SHA256(),  # noqa: B008  (it has no state)
    **more: Any,
) -> bytes:
    """A self-signed certificate in DER. `subject` is a list of relative names, each a list of attributes."""
    name = x509.Name(
        [
            x509.RelativeDistinguishedName([x509.NameAttribute(kind, value) for kind, value in part])
            for part in ([[(CN, "a.example")]] if subject is None else subject)
        ]
    )
    builder = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    builder = builder.serial_number(serial).not_valid_before(starts).not_valid_after(ends)
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, digest, **more).public_bytes(serialization.Encoding.DER)


def names(*names: x509.GeneralName) -> x509.SubjectAlternativeName:
    """A subjectAltName of these."""
    return x509.SubjectAlternativeName(names)


def uri(text: str) -> x509.GeneralName:
    """A name of this kind."""
    return x509.UniformResourceIdentifier(text)


def access(*entries: tuple[x509.ObjectIdentifier, x509.GeneralName]) -> x509.AuthorityInformationAccess:
    """Where to ask about a certificate, and where to find its issuer's."""
    return x509.AuthorityInformationAccess([x509.AccessDescription(method, place) for method, place in entries])


def points(*points: list[x509.GeneralName] | None) -> x509.CRLDistributionPoints:
    """Where revocation lists are; None stands for a point that has an issuer and no name."""
    issuer = [x509.DirectoryName(x509.Name([x509.NameAttribute(CN, "issuer")]))]
    return x509.CRLDistributionPoints(
        [x509.DistributionPoint(point, None, None, None if point else issuer) for point in points]
    )


DIRECTORY_NAME = x509.DirectoryName(x509.Name([x509.NameAttribute(CN, "b\xfccher"), x509.NameAttribute(COUNTRY, "DE")]))

#: Arguments of make(), by what is particular about the certificate.
PARTICULAR: dict[str, tuple[list[x509.ExtensionType], dict[str, Any]]] = {
    "nothing": ([], {}),
    "no subject": ([], {"subject": []}),
    "several values in a relative name": (
        [],
        {"subject": [[(CN, "a"), (ORGANISATION, "o")], [(COUNTRY, "DE")], [(CN, "b"), (NameOID.USER_ID, "u")]]},
    ),
    "unicode": ([], {"subject": [[(CN, "b\xfccher \u4e2d\u6587 \U0001f600")], [(ORGANISATION, "two\nlines")]]}),
    "NUL in names": ([names(x509.DNSName("a\0b.example"))], {"subject": [[(CN, "a\0b")]]}),
    "unusual attributes": (
        [],
        {
            "subject": [
                [(NameOID.EMAIL_ADDRESS, "a@b.example")],
                [(NameOID.DOMAIN_COMPONENT, "example")],
                [(NameOID.SERIAL_NUMBER, "12")],
                [(ObjectIdentifier("1.2.3.4.5"), "nobody's")],
            ]
        },
    ),
    "DNS names": (
        [names(x509.DNSName("a.example"), x509.DNSName("*.b.example"), x509.DNSName("xn--bcher-kva.example"))],
        {},
    ),
    "an empty DNS name": ([names(x509.DNSName(""))], {}),
    "addresses": (
        [names(*(x509.IPAddress(ip_address(text)) for text in ("192.0.2.1", "2001:db8::1", "::", "ffff::abcd:0:1")))],
        {},
    ),
    "an address with a mask": ([names(x509.IPAddress(ip_network("10.0.0.0/8")))], {}),
    "all other kinds of names": (
        [
            names(
                x509.RFC822Name("a@b.example"),
                uri("https://a.example/b?c=d"),
                DIRECTORY_NAME,
                x509.RegisteredID(ObjectIdentifier("1.2.3.4.5")),
                x509.RegisteredID(CN),
                x509.OtherName(ObjectIdentifier("1.2.3.4"), b"\x0c\x03foo"),
                x509.OtherName(ObjectIdentifier("1.3.6.1.4.1.311.20.2.3"), b"\x0c\x0da@b.example.org"[:15]),
                x509.OtherName(ObjectIdentifier("1.3.6.1.5.5.7.8.7"), b"\x16\x05_xmpp"),
            )
        ],
        {},
    ),
    "2000 names": ([names(*(x509.DNSName(f"h{number}.example") for number in range(2000)))], {}),
    "OCSP and issuers": (
        [
            access(
                (OCSP, uri("http://ocsp.example/1")),
                (OCSP, uri("http://ocsp.example/2")),
                (CA_ISSUERS, uri("http://ca.example/ca.crt")),
                (CA_ISSUERS, DIRECTORY_NAME),
            )
        ],
        {},
    ),
    "OCSP elsewhere": ([access((OCSP, DIRECTORY_NAME))], {}),
    "revocation lists": (
        [points([uri("http://crl.example/1"), DIRECTORY_NAME], [uri("ldap://crl.example/2")])],
        {},
    ),
    "a revocation list without a place": ([points(None)], {}),
    "the smallest serial number": ([], {"serial": 1}),
    "the largest serial number": ([], {"serial": 2**159 - 1}),
    "times before 1970": ([], {"starts": datetime(1950, 1, 1), "ends": datetime(2049, 12, 31, 23, 59, 59)}),
    "times after 2049": ([], {"starts": datetime(2050, 1, 1), "ends": datetime(9999, 12, 31, 23, 59, 59)}),
}


@pytest.fixture(params=PARTICULAR)
def der(request: pytest.FixtureRequest) -> bytes:
    """Each particular certificate in turn."""
    extensions, more = PARTICULAR[request.param]
    return make(*extensions, **more)


def standard_dict(der: bytes, folder: Path) -> dict[str, Any]:
    """What the standard library says of it, by the function that its own tests use."""
    import _ssl

    path = folder / "certificate.pem"
    path.write_text(ssl.DER_cert_to_PEM_cert(der))
    decoded: dict[str, Any] = _ssl._test_decode_cert(str(path))  # type: ignore[attr-defined]
    return decoded


@pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER >> 20 != ssl.OPENSSL_VERSION_NUMBER >> 20,
    reason="the interpreter's ssl runs on another OpenSSL, which prints rare names differently",
)
def test_the_dict_is_the_standard_librarys(der: bytes, tmp_path: Path) -> None:
    ours = txmembio.Certificate.from_der(der).as_dict()
    theirs = standard_dict(der, tmp_path)
    assert ours == theirs
    assert list(ours) == list(theirs)  # as people print it


def test_getpeercert_gives_that_dict(pki: PKI, tmp_path: Path) -> None:
    ends = pair.connect(pair.client_context(pki), pair.server_context(pki))
    client = ends.client.connection
    assert client.getpeercert() == standard_dict(pki.server.certificate_der, tmp_path)
    assert client.getpeercert(binary_form=True) == pki.server.certificate_der


def test_der_and_pem_come_back_as_they_were(der: bytes) -> None:
    certificate = txmembio.Certificate.from_der(der)
    assert certificate.der == der
    assert certificate.pem().decode() == ssl.DER_cert_to_PEM_cert(der)
    (again,) = txmembio.Certificate.from_pem_all(certificate.pem())
    assert again == certificate and hash(again) == hash(certificate)
    assert repr(certificate).startswith("<Certificate ") and "\n" not in repr(certificate).replace("two\nlines", "")


def test_what_a_certificate_says() -> None:
    der = make(
        names(x509.DNSName("a.example"), x509.IPAddress(ip_address("2001:db8::1"))),
        x509.BasicConstraints(ca=True, path_length=None),
        subject=[[(COUNTRY, "DE")], [(CN, "a.example")]],
        serial=0xABCDEF,
        starts=datetime(2020, 1, 1),
        ends=datetime(2030, 1, 2, 3, 4, 5),
    )
    certificate = txmembio.Certificate.from_der(der)
    assert certificate.subject == certificate.issuer == ((("countryName", "DE"),), (("commonName", "a.example"),))
    assert certificate.subject_alt_names == (("DNS", "a.example"), ("IP Address", "2001:DB8:0:0:0:0:0:1"))
    assert certificate.not_before == datetime(2020, 1, 1, tzinfo=timezone.utc)
    assert certificate.not_after == datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone.utc)
    assert certificate.serial_number == 0xABCDEF
    assert certificate.is_ca
    assert certificate.sha256 == hashlib.sha256(der).digest()
    public = KEY.public_key().public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    assert certificate.public_key_sha256 == hashlib.sha256(public).digest()
    parsed = x509.load_der_x509_certificate(der)
    assert certificate.subject_der == certificate.issuer_der == parsed.subject.public_bytes()


def test_certificates_of_one_key_have_the_same_public_key(pki: PKI) -> None:
    (key,) = txmembio.PrivateKey.from_pem_all(pki.server.private_key)
    (mine, *_) = txmembio.Certificate.from_pem_all(pki.server.chain)
    (other, *_) = txmembio.Certificate.from_pem_all(pki.client.chain)
    assert mine.public_key_sha256 == key.public_key_sha256 != other.public_key_sha256
    assert mine != other and mine != mine.der


def test_a_leaf_is_no_ca(pki: PKI) -> None:
    leaf, intermediate = txmembio.Certificate.from_pem_all(pki.server.chain)
    assert (leaf.is_ca, intermediate.is_ca) == (False, True)


@pytest.mark.parametrize(
    ("key", "digest", "more", "expected"),
    [
        (KEY, hashes.SHA256(), {}, "SHA256"),
        (KEY, hashes.SHA384(), {}, "SHA384"),
        (KEY, hashes.SHA512(), {}, "SHA512"),
        (RSA_KEY, hashes.SHA512(), {}, "SHA512"),
        (RSA_KEY, hashes.SHA3_256(), {}, "SHA3-256"),
        (RSA_KEY, hashes.SHA384(), {"rsa_padding": padding.PSS(padding.MGF1(hashes.SHA384()), 48)}, "SHA384"),
        (ed25519.Ed25519PrivateKey.generate(), None, {}, None),
    ],
    ids=["ec-sha256", "ec-sha384", "ec-sha512", "rsa-sha512", "rsa-sha3", "pss-sha384", "ed25519"],
)
def test_the_hash_of_the_signature_and_the_channel_binding_made_of_it(
    key: Any, digest: Any, more: dict[str, Any], expected: str | None
) -> None:
    """RFC 5929 section 4.1: tls-server-end-point is the certificate's hash by the hash of its signature."""
    der = make(key=key, digest=digest, **more)
    assert txmembio.Certificate.from_der(der).signature_digest == expected
    server, client = (txmembio.SSLContext(p) for p in (txmembio.PROTOCOL_TLS_SERVER, txmembio.PROTOCOL_TLS_CLIENT))
    server.use_cert_chain(der, key_der(key))
    client.check_hostname = False
    client.verify_mode = txmembio.CERT_NONE
    server.set_signature_algorithms("ECDSA+SHA256:rsa_pss_rsae_sha256:ed25519")
    ends = pair.connect(client, server, server_hostname=None)
    name = {"SHA3-256": "sha3_256"}.get(expected or "SHA256", (expected or "SHA256").lower())
    for connection in ends.connections:
        assert connection.get_channel_binding("tls-server-end-point") == hashlib.new(name, der).digest()


def key_der(key: Any) -> bytes:
    """A private key in DER (PKCS #8)."""
    encoded: bytes = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return encoded


# From bytes that are none


@pytest.mark.parametrize("bad", [b"", b"no certificate", b"\x30\x03\x02\x01\x01", bytes(5000)], ids=repr)
def test_der_that_is_no_certificate(bad: bytes) -> None:
    with pytest.raises(txmembio.SSLError, match=rf"not a certificate in DER \({len(bad)} bytes\)"):
        txmembio.Certificate.from_der(bad)
    with pytest.raises(txmembio.SSLError, match=rf"not a private key in DER \({len(bad)} bytes\)"):
        txmembio.PrivateKey.from_der(bad)


def test_der_with_something_behind_it() -> None:
    with pytest.raises(txmembio.SSLError, match="3 bytes follow a certificate"):
        txmembio.Certificate.from_der(make() + b"???")


@pytest.mark.parametrize("bad", ["text", None, 5], ids=repr)
def test_what_is_not_bytes(bad: Any) -> None:
    for read in (txmembio.Certificate.from_der, txmembio.PrivateKey.from_der, txmembio.Certificate.from_pem_all):
        with pytest.raises(TypeError):
            read(bad)


def test_other_blocks_and_text_are_passed_over(pki: PKI) -> None:
    text = b"first a key:\n" + pki.server.private_key + b"\nand then:\n" + pki.server.chain + b"the end"
    assert [c.der for c in txmembio.Certificate.from_pem_all(text)] == pki.server.chain_der
    assert len(txmembio.PrivateKey.from_pem_all(text)) == 1
    assert txmembio.Certificate.from_pem_all(b"nothing here") == []


def test_a_text_that_was_cut_short_does_not_pass_for_a_whole_one(pki: PKI) -> None:
    for length in range(len(pki.server.certificate) + 30, len(pki.server.chain) - 1, 97):
        with pytest.raises(txmembio.SSLError, match="2 blocks begin and 1 end: is it cut short"):
            txmembio.Certificate.from_pem_all(pki.server.chain[:length])


def test_blocks_without_number_are_refused(pki: PKI) -> None:
    with pytest.raises(txmembio.SSLError, match="10001 blocks, expected at most 10000"):
        txmembio.Certificate.from_pem_all(b"-----BEGIN X-----\n-----END X-----\n" * 10_001)


def test_a_key_comes_back_as_it_was(pki: PKI) -> None:
    for credential in (pki.server, pki.server_rsa):
        (key,) = txmembio.PrivateKey.from_pem_all(credential.private_key)
        (again,) = txmembio.PrivateKey.from_pem_all(key.pem())
        assert again.public_key_sha256 == key.public_key_sha256
        assert txmembio.PrivateKey.from_der(credential.private_key_der).public_key_sha256 == key.public_key_sha256
        assert key.public_key_sha256.hex()[:16] in repr(key)
