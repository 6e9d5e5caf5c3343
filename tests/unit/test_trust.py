"""Whom a context trusts: files, folders, bytes, the platform; and revocation lists."""

from __future__ import annotations

import os
import shutil
import ssl
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

import txmembio
from support import pair
from support.pki import PKI, Authority, Credential
from support.process import environment
from support.sslobjects import outcome
from txmembio import trust

needs_openssl = pytest.mark.skipif(
    shutil.which("openssl") is None, reason="needs the openssl program, for `openssl rehash`"
)


def client_context() -> txmembio.SSLContext:
    """A bare client's, which trusts nobody."""
    return txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)


def accepts(context: txmembio.SSLContext, pki: PKI) -> bool:
    """Whether it accepts `pki.server`."""
    ends = pair.unconnected(context, pair.server_context(pki))
    ends.attempt_handshake()
    assert ends.complete or ends.client.error.verify_code == 20  # unable to get local issuer certificate
    return ends.complete


# load_verify_locations()


@needs_openssl
def test_trust_from_a_file_a_folder_and_bytes_of_both_kinds(pki: PKI, tmp_path: Path) -> None:
    hashed = tmp_path / "hashed"
    hashed.mkdir()
    (hashed / "ca.pem").write_bytes(pki.ca.certificate)
    subprocess.run(["openssl", "rehash", str(hashed)], check=True)
    several: list[dict[str, Any]] = [
        {"cafile": pki.ca.certificate_file},
        {"cafile": os.fsencode(pki.ca.certificate_file)},
        {"cafile": Path(pki.ca.certificate_file)},
        {"capath": str(hashed)},
        {"capath": os.fsencode(hashed)},
        {"capath": hashed},
        {"cadata": pki.ca.certificate.decode()},
        {"cadata": pki.ca.certificate},
        {"cadata": pki.ca.certificate_der},
        {"cadata": bytearray(pki.ca.certificate_der)},
        {"cadata": memoryview(pki.ca.certificate_der)},
        {"cadata": pki.untrusted_ca.certificate_der + pki.ca.certificate_der},
        {"cadata": "before\n" + (pki.untrusted_ca.certificate + pki.ca.certificate).decode() + "behind"},
        {"cafile": pki.untrusted_ca.certificate_file, "cadata": pki.ca.certificate},
    ]
    for arguments in several:
        context = client_context()
        assert not accepts(context, pki)
        context.load_verify_locations(**arguments)
        assert accepts(context, pki), arguments


def bad_locations(pki: PKI, folder: Path) -> dict[str, dict[str, Any]]:
    """Arguments of load_verify_locations() that are wrong, by what is wrong with them."""
    contents = {
        "empty": b"",
        "garbage": bytes(range(256)),
        "text": b"hello\n",
        "not-asn1": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        "not-base64": b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n",
        "cut": pki.ca.certificate[:200],
        "second-cut": pki.ca.certificate + pki.untrusted_ca.certificate[:200],
        "der": pki.ca.certificate_der,
        "a-key": pki.server.private_key,
    }
    for name, data in contents.items():
        (folder / name).write_bytes(data)
    return {
        "nothing": {},
        **{f"cafile: {name}": {"cafile": folder / name} for name in (*contents, "not-there", ".")},
        **{f"cafile {value!r}": {"cafile": value} for value in (5, "", "a\0b", True)},
        **{f"capath {value!r}": {"capath": value} for value in (5, True)},
        **{
            f"cadata {str(value)[:10]!r}": {"cadata": value}
            for value in ("", b"", "text", b"text", 5, "\xfc", pki.server.private_key.decode(), [b"x"])
        },
        "cadata: cut": {"cadata": pki.ca.certificate_der[:-3]},
        "cadata: a list that ends in nonsense": {
            "cadata": (pki.ca.certificate + contents["not-base64"]).decode(),
        },
    }


def test_bad_locations_are_refused_with_the_standard_librarys_exceptions(pki: PKI, tmp_path: Path) -> None:
    for what, arguments in bad_locations(pki, tmp_path).items():
        theirs = outcome(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations, **arguments)
        ours = outcome(client_context().load_verify_locations, **arguments)
        assert ours[:2] == theirs[:2] and ours[0] == "raised", what


def test_a_bad_location_is_named(pki: PKI, tmp_path: Path) -> None:
    for name in ("empty", "text", "der"):
        arguments = bad_locations(pki, tmp_path)[f"cafile: {name}"]
        with pytest.raises(txmembio.SSLError) as caught:
            client_context().load_verify_locations(**arguments)
        assert f"cafile '{tmp_path / name}': expected certificates in PEM, found none" in str(caught.value)
    with pytest.raises(FileNotFoundError) as missing:
        client_context().load_verify_locations(tmp_path / "not-there")
    assert missing.value.filename == str(tmp_path / "not-there")


def test_a_folder_that_is_none_is_refused(pki: PKI, tmp_path: Path) -> None:
    """The standard library takes it, and later trusts nobody."""
    with pytest.raises(FileNotFoundError, match="capath"):
        client_context().load_verify_locations(capath=tmp_path / "not-there")
    with pytest.raises(NotADirectoryError, match="capath"):
        client_context().load_verify_locations(capath=pki.ca.certificate_file)
    with pytest.raises(FileNotFoundError, match="capath"):
        client_context().load_verify_locations(capath="")


def test_bytes_behind_a_certificate_are_no_certificate(pki: PKI) -> None:
    """The standard library passes over what is shorter than a header."""
    with pytest.raises(txmembio.SSLError, match="not enough data: cadata does not contain a certificate"):
        client_context().load_verify_locations(cadata=pki.ca.certificate_der + b"?")


@pytest.mark.parametrize("what", ["roots", "a leaf", "twice", "nobody"])
def test_what_is_trusted_can_be_listed(pki: PKI, what: str) -> None:
    sources = {
        "roots": [pki.ca.certificate, pki.untrusted_ca.certificate],
        "a leaf": [pki.server.certificate, pki.ca.certificate],
        "twice": [pki.ca.certificate, pki.ca.certificate],
        "nobody": [],
    }[what]
    theirs, ours = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), client_context()
    for source in sources:
        for context in (theirs, ours):
            context.load_verify_locations(cadata=source.decode())
    assert ours.cert_store_stats() == theirs.cert_store_stats()
    assert ours.get_ca_certs() == theirs.get_ca_certs()
    assert ours.get_ca_certs(binary_form=True) == theirs.get_ca_certs(binary_form=True)


# Revocation lists


def revocation_list(issuer: Authority, *revoked: Credential) -> bytes:
    """A list in PEM, good for a day."""
    now = datetime.now(timezone.utc)
    key = serialization.load_pem_private_key(issuer.ca.private_key_pem.bytes(), None)
    name = x509.load_pem_x509_certificate(issuer.certificate).subject
    builder = x509.CertificateRevocationListBuilder().issuer_name(name)
    builder = builder.last_update(now - timedelta(days=1)).next_update(now + timedelta(days=1))
    for credential in revoked:
        serial = x509.load_pem_x509_certificate(credential.certificate).serial_number
        entry = x509.RevokedCertificateBuilder().serial_number(serial).revocation_date(now - timedelta(days=1)).build()
        builder = builder.add_revoked_certificate(entry)
    return builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)  # type: ignore[arg-type]


@pytest.fixture
def checking(pki: PKI, tls_version: txmembio.TLSVersion) -> txmembio.SSLContext:
    """A server's context that requires client certificates and looks them up in revocation lists."""
    context = pair.server_context(pki, tls_version, verify_client=True)
    context.verify_flags |= txmembio.VerifyFlags.VERIFY_CRL_CHECK_LEAF
    return context


def test_a_revoked_client_is_refused_and_told(
    pki: PKI, tls_version: txmembio.TLSVersion, checking: txmembio.SSLContext
) -> None:
    other = pki.issue("other@example.com", authority=pki.ca)
    checking.load_verify_locations(cadata=revocation_list(pki.ca, pki.client))
    assert checking.cert_store_stats()["crl"] == 1
    client, server = pair.unconnected(pair.client_context(pki, tls_version, credential=pki.client), checking).refusal()
    assert (server.verify_code, server.verify_message, server.depth) == (23, "certificate revoked", 0)
    assert "CN=a client" in server.subject
    assert (server.alert, server.alert_received) == ("certificate_revoked", False)
    assert (client.alert, client.alert_received) == ("certificate_revoked", True)
    pair.connect(pair.client_context(pki, tls_version, credential=other), checking)


def test_without_a_list_nobody_is_accepted(
    pki: PKI, tls_version: txmembio.TLSVersion, checking: txmembio.SSLContext
) -> None:
    _, server = pair.unconnected(pair.client_context(pki, tls_version, credential=pki.client), checking).refusal()
    assert (server.verify_code, server.verify_message) == (3, "unable to get certificate CRL")


def test_a_list_from_a_file_beside_the_certificates(
    pki: PKI, tls_version: txmembio.TLSVersion, checking: txmembio.SSLContext, tmp_path: Path
) -> None:
    (tmp_path / "both.pem").write_bytes(pki.ca.certificate + revocation_list(pki.ca))
    checking.load_verify_locations(tmp_path / "both.pem")
    pair.connect(pair.client_context(pki, tls_version, credential=pki.client), checking)


def test_a_damaged_list_is_refused(pki: PKI) -> None:
    damaged = revocation_list(pki.ca).replace(b"\nM", b"\n!", 1)
    with pytest.raises(txmembio.SSLError, match="damaged certificate revocation list"):
        client_context().load_verify_locations(cadata=damaged)


# The platform's roots


def trusted_by_default(program: str, **variables: str) -> list[str]:
    """Lines that the program prints in a process with these variables and no others that matter."""
    env = {name: value for name, value in environment().items() if not name.startswith(("SSL_", "OPENSSL_"))}
    done = subprocess.run(
        [sys.executable, "-c", program], env={**env, **variables}, capture_output=True, text=True, check=True
    )
    return done.stdout.splitlines()


COUNT = """
import txmembio
context = txmembio.create_default_context()
print(context.cert_store_stats()["x509"])
"""

CONNECT = """
import sys, txmembio
client = txmembio.create_default_context().connection(server_hostname="localhost")
server = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
server.load_cert_chain({0!r})
server = server.connection(server_side=True)
try:
    while not client.do_handshake():
        server.receive_wire(client.wire_to_send())
        client.receive_wire(server.wire_to_send())
    print("accepted")
except txmembio.SSLCertVerificationError:
    print("refused")
"""


def test_ssl_cert_file_is_honoured(pki: PKI, tmp_path: Path) -> None:
    program = CONNECT.format(pki.server.combined_file)
    nowhere = str(tmp_path / "nowhere")
    assert trusted_by_default(program, SSL_CERT_FILE=pki.ca.certificate_file, SSL_CERT_DIR=nowhere) == ["accepted"]
    assert trusted_by_default(COUNT, SSL_CERT_FILE=pki.ca.certificate_file, SSL_CERT_DIR=nowhere) == ["1"]


@needs_openssl
def test_ssl_cert_dir_is_honoured(pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_bytes(pki.ca.certificate)
    subprocess.run(["openssl", "rehash", str(tmp_path)], check=True)
    program = CONNECT.format(pki.server.combined_file)
    nowhere = str(tmp_path / "nowhere")
    assert trusted_by_default(program, SSL_CERT_DIR=str(tmp_path), SSL_CERT_FILE=nowhere) == ["accepted"]
    assert trusted_by_default(program, SSL_CERT_DIR=nowhere, SSL_CERT_FILE=nowhere) == ["refused"]


@pytest.mark.parametrize("names", [("SSL_CERT_FILE", "SSL_CERT_DIR"), ("SSL_CERT_FILE",), ("SSL_CERT_DIR",)])
def test_whoever_names_an_empty_place_trusts_nobody_there(tmp_path: Path, names: tuple[str, ...]) -> None:
    """No other bundle is looked for instead; only what was not named keeps its default."""
    (loaded,) = trusted_by_default(COUNT, **{name: str(tmp_path / "nowhere") for name in names})
    expected = "0" if "SSL_CERT_FILE" in names else trusted_by_default(COUNT)[0]
    assert loaded == expected


def test_default_paths_are_openssls_own_and_the_environments(monkeypatch: pytest.MonkeyPatch) -> None:
    for variable in trust.default_verify_variables():
        monkeypatch.delenv(variable, raising=False)
    built_in = ssl.get_default_verify_paths()
    if txmembio.OPENSSL_VERSION_NUMBER == ssl.OPENSSL_VERSION_NUMBER:
        assert trust.default_verify_paths() == (built_in.openssl_cafile, built_in.openssl_capath)
    assert trust.default_verify_variables() == (built_in.openssl_cafile_env, built_in.openssl_capath_env)
    monkeypatch.setenv("SSL_CERT_FILE", "/some/file")
    monkeypatch.setenv("SSL_CERT_DIR", "/some/folder")
    assert trust.default_verify_paths() == ("/some/file", "/some/folder")


def test_a_bundle_of_the_distribution_is_found_by_an_openssl_built_for_elsewhere(
    pki: PKI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(trust, "default_verify_paths", lambda: (str(tmp_path / "no-file"), str(tmp_path / "no-folder")))
    monkeypatch.setattr(trust, "WELL_KNOWN_BUNDLES", (str(tmp_path / "nowhere"), pki.ca.certificate_file))
    for variable in trust.default_verify_variables():
        monkeypatch.delenv(variable, raising=False)
    context = client_context()
    context.load_default_certs()
    assert accepts(context, pki)


def test_the_default_paths_alone(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca.certificate_file)
    context = client_context()
    context.set_default_verify_paths()
    assert accepts(context, pki)


# What a server tells clients about whom it trusts


def test_names_of_authorities_are_sent_along(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Seen in the server's CertificateRequest, in the clear in TLS 1.2; TLS 1.3 encrypts it."""
    server = pair.server_context(pki, txmembio.TLSVersion.TLSv1_2, verify_client=True)
    server.add_client_ca_names(pki.untrusted_ca.certificate)
    ends = pair.unconnected(pair.client_context(pki), server)
    ends.client.start()
    ends.server.receive(ends.client.connection.wire_to_send())
    name = txmembio.Certificate.from_der(pki.untrusted_ca.certificate_der).subject_der
    assert name in ends.server.connection.wire_to_send()
    with pytest.raises(txmembio.SSLError):
        server.add_client_ca_names(b"no certificate")
