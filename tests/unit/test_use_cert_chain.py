"""Our own certificate, chain and key: from bytes and files, encrypted or not, and what is said if they will not do."""

from __future__ import annotations

import os
import ssl
import subprocess
import sys
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa

import txmembio
from support import pair
from support.pki import PASSWORD, PKI, Credential
from support.process import DEADLINE, environment


def server_context() -> txmembio.SSLContext:
    """A server's, with nothing in it."""
    return txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)


def shown(server: txmembio.SSLContext, **settings: str) -> list[bytes]:
    """The chain that a client sees, in DER."""
    client = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = txmembio.CERT_NONE
    for name, value in settings.items():
        getattr(client, name)(value)
    return pair.connect(client, server, server_hostname=None).client.connection.get_unverified_chain()


def encrypted_der(credential: Credential) -> bytes:
    """Its key in DER, encrypted with PASSWORD."""
    key = serialization.load_pem_private_key(credential.private_key, None)
    return key.private_bytes(
        serialization.Encoding.DER,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(PASSWORD),
    )


# What will do


def test_pem_the_chain_behind_the_certificate(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(pki.server.chain, pki.server.private_key)
    assert shown(server) == pki.server.chain_der
    assert len(pki.server.chain_der) == 2
    assert server.certificate is not None and server.certificate.der == pki.server.certificate_der


def test_pem_with_the_key_beside_it_wherever_that_stands(pki: PKI) -> None:
    for text in (pki.server.private_key + pki.server.chain, pki.server.chain + pki.server.private_key):
        server = server_context()
        server.use_cert_chain(text)
        assert shown(server) == pki.server.chain_der


def test_der_one_certificate_and_one_key(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(pki.server.certificate_der, pki.server.private_key_der)
    assert shown(server) == [pki.server.certificate_der]


def test_der_and_pem_mixed(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(pki.server.chain, pki.server.private_key_der)
    assert shown(server) == pki.server.chain_der
    server.use_cert_chain(pki.server_rsa.certificate_der, pki.server_rsa.private_key)
    assert shown(server, set_signature_algorithms="rsa_pss_rsae_sha256") == [pki.server_rsa.certificate_der]


@pytest.mark.parametrize("name", ["server", "server_rsa"])
def test_older_forms_of_keys(pki: PKI, name: str) -> None:
    credential = getattr(pki, name)
    key = serialization.load_pem_private_key(credential.private_key, None)
    for encoding in (serialization.Encoding.PEM, serialization.Encoding.DER):
        old = key.private_bytes(encoding, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption())
        server = server_context()
        server.use_cert_chain(credential.chain, old)
        assert shown(server) == credential.chain_der


def test_a_new_certificate_takes_the_old_ones_place_with_its_chain(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(pki.server.chain, pki.server.private_key)
    server.use_cert_chain(pki.client.chain, pki.client.private_key)  # straight from the root: no chain
    assert shown(server) == pki.client.chain_der
    assert len(pki.client.chain_der) == 1


def test_a_connection_that_exists_keeps_the_certificate_it_was_made_with(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(pki.server.chain, pki.server.private_key)
    client = pair.client_context(pki)
    before = pair.unconnected(client, server)
    server.use_cert_chain(pki.wrong_name.chain, pki.wrong_name.private_key)
    before.handshake()
    assert before.client.connection.getpeercert(True) == pki.server.certificate_der
    after = pair.unconnected(client, server)
    after.attempt_handshake()
    assert after.client.error.verify_code == 62


@pytest.mark.parametrize("order", [("server", "server_rsa"), ("server_rsa", "server")], ids=["ec-first", "rsa-first"])
def test_one_certificate_for_each_kind_of_key(
    pki: PKI, order: tuple[str, str], tls_version: txmembio.TLSVersion
) -> None:
    server = server_context()
    server.minimum_version = server.maximum_version = tls_version
    for name in order:
        credential = getattr(pki, name)
        server.use_cert_chain(credential.chain, credential.private_key)
    assert shown(server, set_signature_algorithms="ECDSA+SHA256") == pki.server.chain_der
    assert shown(server, set_signature_algorithms="rsa_pss_rsae_sha256:RSA+SHA256") == pki.server_rsa.chain_der


# Passwords


@pytest.mark.parametrize(
    "password",
    [
        PASSWORD.decode(),
        PASSWORD,
        bytearray(PASSWORD),
        lambda: PASSWORD.decode(),
        lambda: PASSWORD,
        lambda: bytearray(PASSWORD),
    ],
    ids=["str", "bytes", "bytearray", "calls-str", "calls-bytes", "calls-bytearray"],
)
def test_every_form_of_password(pki: PKI, password: Any) -> None:
    for load in ("files", "bytes"):
        server = server_context()
        if load == "files":
            server.load_cert_chain(pki.encrypted.chain_file, pki.encrypted.key_file, password)
        else:
            server.use_cert_chain(pki.encrypted.chain, pki.encrypted.private_key, password)
        assert shown(server) == pki.encrypted.chain_der


def test_a_password_nobody_asks_for_is_not_asked_for(pki: PKI) -> None:
    def never() -> str:
        raise AssertionError("asked for a password of a key that has none")

    server_context().use_cert_chain(pki.server.chain, pki.server.private_key, never)
    server_context().use_cert_chain(pki.server.chain, pki.server.private_key, "superfluous")


@pytest.mark.parametrize("wrong", ["wrong", b"", "x" * 1000, lambda: "wrong"], ids=["wrong", "empty", "long", "calls"])
def test_a_password_that_does_not_fit(pki: PKI, wrong: Any) -> None:
    with pytest.raises(txmembio.SSLError, match="the private key is encrypted, and the password does not fit"):
        server_context().use_cert_chain(pki.encrypted.chain, pki.encrypted.private_key, wrong)


def test_a_password_that_is_missing_and_nobody_is_asked(pki: PKI) -> None:
    """OpenSSL's own way is to ask on the terminal, and to wait."""
    try:
        for descriptor in os.openpty():
            os.close(descriptor)
    except (AttributeError, OSError):
        pytest.skip("there are no pseudo-terminals (/dev/pts)")
    program = f"""
import txmembio
context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
for key in {pki.encrypted.private_key!r}, {encrypted_der(pki.server)!r}:
    try:
        context.use_cert_chain({pki.encrypted.chain!r}, key)
    except txmembio.SSLError as error:
        print(error)
"""
    # With a terminal of its own, where OpenSSL would find it: script(1) is not everywhere, pty is.
    harness = "import pty, sys; sys.exit(pty.spawn([sys.executable, '-c', sys.argv[1]]))"
    done = subprocess.run(
        [sys.executable, "-c", harness, program],
        env=environment(),
        stdin=subprocess.PIPE,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    first, second = done.stdout.splitlines()
    assert first.endswith("the private key is encrypted, and no password was given")
    assert "not a private key in DER" in second
    assert "Enter" not in done.stdout + done.stderr


@pytest.mark.parametrize(
    ("password", "error", "text"),
    [
        (5, TypeError, "should be a string"),
        ([b"x"], TypeError, "should be a string"),
        (lambda: None, TypeError, "must return a string"),
        (lambda: 5, TypeError, "must return a string"),
        (lambda: 1 / 0, ZeroDivisionError, "division by zero"),
        ("x" * 5000, ValueError, "cannot be longer than 1024 bytes"),
        (lambda: b"x" * 5000, ValueError, "cannot be longer than 1024 bytes"),
    ],
)
def test_a_password_that_is_none(pki: PKI, password: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text):
        server_context().use_cert_chain(pki.encrypted.chain, pki.encrypted.private_key, password)


@pytest.mark.parametrize("bad", [5, [b"x"], object()], ids=["int", "list", "object"])
def test_what_is_no_password_is_refused_for_any_key(pki: PKI, bad: Any) -> None:
    with pytest.raises(TypeError, match="should be a string"):
        server_context().use_cert_chain(pki.server.chain, pki.server.private_key, bad)


# What will not


#: What is wrong, and what the error has to say.
REFUSALS = {
    "nothing": "not a certificate in DER (0 bytes)",
    "text": "not a certificate in DER (5 bytes)",
    "a key for a certificate": "certificate: expected a certificate in PEM, found none",
    "a certificate for a key": "private_key: expected a private key in PEM, found none",
    "no key": "private_key: expected a private key in PEM, found none",
    "DER alone": "private_key is missing",
    "a certificate cut short": "1 blocks begin and 0 end",
    "a chain cut short": "2 blocks begin and 1 end",
    "a key cut short": "1 blocks begin and 0 end",
    "DER cut short": "not a certificate in DER",
    "a key of another": "does not belong to the certificate",
    "a key of another kind": "does not belong to the certificate",
}


def refused_arguments(pki: PKI, what: str) -> tuple[bytes, ...]:
    """Arguments of use_cert_chain() that are wrong in this way."""
    good, key = pki.server.chain, pki.server.private_key
    wrong: dict[str, tuple[bytes, ...]] = {
        "nothing": (b"", b""),
        "text": (b"hello", key),
        "a key for a certificate": (key, key),
        "a certificate for a key": (good, good),
        "no key": (good,),
        "DER alone": (pki.server.certificate_der,),
        "a certificate cut short": (good[:200], key),
        "a chain cut short": (good[:-100], key),
        "a key cut short": (good, key[:60]),
        "DER cut short": (pki.server.certificate_der[:-5], key),
        "a key of another": (good, pki.client.private_key),
        "a key of another kind": (good, pki.server_rsa.private_key),
    }
    return wrong[what]


@pytest.mark.parametrize("what", REFUSALS)
def test_a_refusal_says_why_and_leaves_the_context_as_it_was(pki: PKI, what: str) -> None:
    server = server_context()
    server.use_cert_chain(pki.wildcard.chain, pki.wildcard.private_key)
    with pytest.raises(txmembio.SSLError) as caught:
        server.use_cert_chain(*refused_arguments(pki, what))
    assert REFUSALS[what] in str(caught.value) and "\n" not in str(caught.value)
    assert shown(server) == pki.wildcard.chain_der


def test_a_key_that_does_not_belong_is_named_with_its_certificate(pki: PKI, tmp_path: Path) -> None:
    with pytest.raises(txmembio.SSLError) as caught:
        server_context().load_cert_chain(pki.mismatched.chain_file, pki.mismatched.key_file)
    text = str(caught.value)
    assert pki.mismatched.chain_file in text and pki.mismatched.key_file in text
    assert "key values mismatch" in text
    (leaf, *_) = txmembio.Certificate.from_pem_all(pki.mismatched.chain)
    assert repr(leaf) in text
    assert (caught.value.library, caught.value.reason) == ("X509", "KEY_VALUES_MISMATCH")


def weak_chain(pki: PKI) -> tuple[bytes, bytes]:
    """A good certificate and its key, with a CA behind it whose key is too weak for security level 2."""
    key = rsa.generate_private_key(65537, 1024)
    leaf = x509.load_pem_x509_certificate(pki.server.certificate)
    builder = x509.CertificateBuilder().subject_name(leaf.issuer).issuer_name(leaf.issuer).public_key(key.public_key())
    builder = builder.serial_number(1).not_valid_before(datetime(2020, 1, 1)).not_valid_after(datetime(2050, 1, 1))
    weak = builder.sign(key, hashes.SHA256())
    return pki.server.certificate + weak.public_bytes(serialization.Encoding.PEM), pki.server.private_key


def test_a_chain_whose_last_certificate_is_refused_leaves_the_context_as_it_was(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(pki.wildcard.chain, pki.wildcard.private_key)
    assert server.security_level == 2
    with pytest.raises(txmembio.SSLError) as caught:
        server.use_cert_chain(*weak_chain(pki))
    assert caught.value.reason == "CA_KEY_TOO_SMALL"
    assert shown(server) == pki.wildcard.chain_der


@pytest.mark.parametrize("bad", ["text", None, 5, [b"x"]], ids=repr)
def test_what_is_not_bytes_is_refused(pki: PKI, bad: Any) -> None:
    with pytest.raises(TypeError):
        server_context().use_cert_chain(bad, pki.server.private_key)
    if bad is not None:
        with pytest.raises(TypeError):
            server_context().use_cert_chain(pki.server.chain, bad)


def test_a_file_that_is_not_there_is_named(pki: PKI, tmp_path: Path) -> None:
    for arguments in ((tmp_path / "cert.pem",), (pki.server.chain_file, tmp_path / "key.pem")):
        with pytest.raises(FileNotFoundError) as caught:
            server_context().load_cert_chain(*arguments)
        assert caught.value.filename == str(arguments[-1])


def test_a_certificate_of_the_standard_librarys_making_is_read(pki: PKI) -> None:
    server = server_context()
    server.use_cert_chain(ssl.DER_cert_to_PEM_cert(pki.server.certificate_der).encode(), pki.server.private_key)
    assert shown(server) == [pki.server.certificate_der]
