"""Folders of PEM files: what belongs together, which name gets which certificate, and what is refused."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

import txmembio
from support import pair
from support.crls import crl
from support.pki import ONE_DAY, PKI, Credential
from support.unreadable import unreadable
from txmembio.pems import Identity, PEMFile, PEMFolder, PEMPair, identity_from, read_certificates, read_crls

NOW = datetime.now(timezone.utc)


def new_context() -> txmembio.SSLContext:
    return txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)


def shown(pki: PKI, context: txmembio.SSLContext, name: str | None) -> list[bytes]:
    """The chain (DER) that a server with *context* shows to a client that asks for *name*, or for none."""
    client = txmembio.create_default_context(cadata=pki.ca.certificate_der)
    client.check_hostname = False
    client.verify_mode = txmembio.CERT_NONE
    ends = pair.connect(client, context, server_hostname=name)
    return ends.client.connection.get_unverified_chain()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "pems"
    path.mkdir()
    return path


def load(folder: Path) -> PEMFolder:
    return PEMFolder(str(folder), new_context)


def _signed_anew(pki: PKI, not_after: datetime) -> bytes:
    """The intermediate once more, valid until another date. Its signature is bad, which a server does not look at."""
    old = x509.load_pem_x509_certificate(pki.intermediate.certificate)
    key = ec.generate_private_key(ec.SECP256R1())
    return _certificate(old.subject, old.issuer, old.public_key(), key, not_after)


def _self_signed(name: str) -> tuple[bytes, bytes]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    names = x509.SubjectAlternativeName([x509.DNSName(name)])
    private_key = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private_key, _certificate(subject, subject, key.public_key(), key, NOW + ONE_DAY, names)


def _certificate(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: Any,
    key: ec.EllipticCurvePrivateKey,
    not_after: datetime,
    *extensions: x509.ExtensionType,
) -> bytes:
    builder = x509.CertificateBuilder(
        issuer, subject, public_key, x509.random_serial_number(), NOW - ONE_DAY, not_after
    )
    for extension in extensions:
        builder = builder.add_extension(extension, critical=False)
    return builder.sign(key, SHA256()).public_bytes(Encoding.PEM)


def put(folder: Path, name: str, *contents: bytes) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(contents))


# --- what belongs together --------------------------------------------------------------------------------------------


def _one_file(folder: Path, server: Credential, pki: PKI) -> None:
    put(folder, "site.pem", server.private_key, server.chain)


def _one_file_backwards(folder: Path, server: Credential, pki: PKI) -> None:
    put(folder, "site.pem", pki.intermediate.certificate, server.certificate, server.private_key)


def _three_files(folder: Path, server: Credential, pki: PKI) -> None:
    put(folder, "a.pem", pki.intermediate.certificate)
    put(folder, "b.pem", server.private_key)
    put(folder, "c.pem", server.certificate)


def _like_certbot(folder: Path, server: Credential, pki: PKI) -> None:
    for name, contents in (
        ("cert", server.certificate),
        ("chain", pki.intermediate.certificate),
        ("fullchain", server.chain),
        ("privkey", server.private_key),
    ):
        put(folder, f"archive/site/{name}1.pem", contents)
        link = folder / "live" / "site" / f"{name}.pem"
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(f"../../archive/site/{name}1.pem")


def _like_kubernetes(folder: Path, server: Credential, pki: PKI) -> None:
    put(folder, "..2026_01/tls.pem", server.private_key, server.chain)
    (folder / "..data").symlink_to("..2026_01")
    (folder / "tls.pem").symlink_to("..data/tls.pem")


def _with_a_root(folder: Path, server: Credential, pki: PKI) -> None:
    put(folder, "site.pem", server.private_key, server.chain, pki.ca.certificate)


def _in_a_loop(folder: Path, server: Credential, pki: PKI) -> None:
    put(folder, "sub/site.pem", server.private_key, server.chain)
    (folder / "sub" / "up").symlink_to("..")


LAYOUTS = [_one_file, _one_file_backwards, _three_files, _like_certbot, _like_kubernetes, _with_a_root, _in_a_loop]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_keys_certificates_and_chains_are_found_wherever_they_are(
    pki: PKI, folder: Path, layout: Callable[[Path, Credential, PKI], None]
) -> None:
    layout(folder, pki.server, pki)
    pems = load(folder)
    assert shown(pki, pems.server_context(), "localhost") == pki.server.chain_der
    assert pems.contexts.remarks == ()


def test_other_files_and_blocks_are_passed_over(pki: PKI, folder: Path) -> None:
    put(folder, "site.PEM", b"A comment.\n", pki.server.private_key, b"\nanother\n", pki.server.chain)
    put(folder, "dh.pem", b"-----BEGIN DH PARAMETERS-----\nMEYCQQ==\n-----END DH PARAMETERS-----\n")
    put(folder, "README", b"not PEM")
    put(folder, "key.pem.bak", b"not PEM either")
    (folder / "folder.pem").mkdir()
    assert shown(pki, load(folder).server_context(), None) == pki.server.chain_der


def test_chain_follows_the_issuers_through_several_intermediates(pki: PKI, folder: Path) -> None:
    lower = pki.intermediate.ca.create_child_ca()
    leaf = lower.issue_cert("deep.example")
    put(folder, "leaf.pem", leaf.private_key_pem.bytes(), leaf.cert_chain_pems[0].bytes())
    put(folder, "cas/z.pem", pki.intermediate.certificate, pki.ca.certificate)
    put(folder, "cas/a.pem", lower.cert_pem.bytes())
    chain = shown(pki, load(folder).server_context(), "deep.example")
    assert [len(chain), chain[2]] == [3, pki.intermediate.certificate_der]


def test_of_an_intermediate_and_its_renewal_the_one_that_lasts_longer_is_sent(pki: PKI, folder: Path) -> None:
    put(folder, "a-old.pem", _signed_anew(pki, NOW + ONE_DAY))
    put(folder, "site.pem", pki.server.private_key, pki.server.certificate)
    put(folder, "z-new.pem", pki.intermediate.certificate)
    assert shown(pki, load(folder).server_context(), "localhost") == pki.server.chain_der


def test_issuer_is_told_by_its_signature_not_by_its_name_alone(pki: PKI, folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.load_pem_x509_certificate(pki.intermediate.certificate).subject
    issuer = x509.load_pem_x509_certificate(pki.ca.certificate).subject
    namesake = _certificate(subject, issuer, key.public_key(), key, NOW + 10_000 * ONE_DAY)
    put(folder, "a-real.pem", pki.intermediate.certificate)
    # In the same file as the certificate, and longer valid: it would be preferred if its name were enough.
    put(folder, "site.pem", pki.server.private_key, pki.server.certificate, namesake)
    assert shown(pki, load(folder).server_context(), "localhost") == pki.server.chain_der


def test_self_signed_certificate_has_no_chain(pki: PKI, folder: Path) -> None:
    put(folder, "self.pem", *_self_signed("self.example"))
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    assert len(shown(pki, load(folder).server_context(), "self.example")) == 1


def test_private_key_and_certificate_without_a_counterpart_are_remarked_on(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    put(folder, "lone-key.pem", pki.client.private_key)
    put(folder, "lone-certificate.pem", pki.wildcard.chain)
    remarks = load(folder).contexts.remarks
    assert len(remarks) == 2
    assert remarks[0] == "lone-certificate.pem: no private key for the certificate of *.example.com"
    assert remarks[1] == "lone-key.pem: no certificate for the private key"


# --- which name gets which certificate --------------------------------------------------------------------------------


@pytest.fixture
def three_names(pki: PKI, folder: Path) -> dict[str, Credential]:
    """``a.example.com`` and ``z.example.com`` by name, and a wildcard for their domain."""
    credentials = {name: pki.issue(name) for name in ("a.example.com", "*.example.com", "z.example.com")}
    for number, credential in enumerate(credentials.values()):
        put(folder, f"{number}.pem", credential.private_key, credential.chain)
    return credentials


@pytest.mark.parametrize(
    ("asked", "answered"),
    [
        ("a.example.com", "a.example.com"),
        ("A.Example.COM", "a.example.com"),
        ("z.example.com", "z.example.com"),
        ("b.example.com", "*.example.com"),
        ("example.com", None),
        ("b.b.example.com", None),
        ("b.a.example.com", None),
        ("com", None),
        ("elsewhere.org", None),
        (None, None),
    ],
)
def test_exact_name_then_wildcard_then_the_first_file(
    pki: PKI, folder: Path, three_names: dict[str, Credential], asked: str | None, answered: str | None
) -> None:
    pems = load(folder)
    credential = three_names[answered or "a.example.com"]
    assert shown(pki, pems.server_context(), asked)[0] == credential.certificate_der
    assert (pems.contexts.find(asked) is None) is (answered is None)


def test_default_pem_is_the_default(pki: PKI, folder: Path, three_names: dict[str, Credential]) -> None:
    put(folder, "default.pem", pki.server.private_key, pki.server.chain)
    context = load(folder).server_context()
    assert shown(pki, context, None)[0] == shown(pki, context, "elsewhere.org")[0] == pki.server.certificate_der


@pytest.mark.parametrize("part", ["private_key", "certificate"])
def test_default_pem_may_hold_one_half_only(
    pki: PKI, folder: Path, three_names: dict[str, Credential], part: str
) -> None:
    put(folder, "default.pem", getattr(three_names["z.example.com"], part))
    assert shown(pki, load(folder).server_context(), None)[0] == three_names["z.example.com"].certificate_der


def test_default_pem_elsewhere_is_like_any_other(pki: PKI, folder: Path, three_names: dict[str, Credential]) -> None:
    put(folder, "sub/default.pem", pki.server.private_key, pki.server.chain)
    assert shown(pki, load(folder).server_context(), None)[0] == three_names["a.example.com"].certificate_der


def test_longest_valid_certificate_that_is_valid_now_wins(pki: PKI, folder: Path) -> None:
    def issue(name: str, start: timedelta, end: timedelta) -> Credential:
        credential = pki.issue("x.example", name=name, not_before=NOW + start, not_after=NOW + end)
        put(folder, f"{name}.pem", credential.private_key, credential.chain)
        return credential

    expired = issue("0-expired", -30 * ONE_DAY, -ONE_DAY)
    short = issue("1-short", -30 * ONE_DAY, 10 * ONE_DAY)
    best = issue("2-best", -30 * ONE_DAY, 20 * ONE_DAY)
    future = issue("3-future", 15 * ONE_DAY, 90 * ONE_DAY)

    def winner(after: timedelta) -> bytes:
        pems.contexts = pems.load(NOW + after)
        by_name = shown(pki, context, "x.example")[0]
        assert shown(pki, context, None)[0] == by_name  # the default is not one that lost
        return by_name

    pems = load(folder)
    context = pems.server_context()
    assert winner(timedelta()) == best.certificate_der
    assert winner(-20 * ONE_DAY) == best.certificate_der
    assert winner(16 * ONE_DAY) == future.certificate_der
    assert not pems.contexts.remarks
    assert winner(100 * ONE_DAY) == future.certificate_der
    assert [remark.split(":")[0] for remark in pems.contexts.remarks] == ["3-future.pem"]
    assert expired.certificate_der != short.certificate_der  # neither has won


def test_only_valid_certificate_is_served_though_expired_and_remarked_on(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.expired.private_key, pki.expired.chain)
    pems = load(folder)
    assert shown(pki, pems.server_context(), "localhost") == pki.expired.chain_der
    assert pems.contexts.remarks[0].startswith("site.pem: valid from ")


def test_changed_folder_is_served_once_its_contexts_are_assigned(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    pems = load(folder)
    context = pems.server_context()
    put(folder, "site.pem", pki.wildcard.private_key, pki.wildcard.chain)
    changed = pems.load()
    assert shown(pki, context, "localhost") == pki.server.chain_der
    pems.contexts = changed
    assert shown(pki, context, "localhost") == pki.wildcard.chain_der


def test_next_change_of_validity_is_known(pki: PKI, folder: Path) -> None:
    second = timedelta(seconds=1)
    end, start, last = ((NOW + days * ONE_DAY).replace(microsecond=0) for days in (10, 15, 90))
    for name, not_before, not_after in (("a", NOW - ONE_DAY, end), ("b", start, last)):
        credential = pki.issue("x.example", name=name, not_before=not_before, not_after=not_after)
        put(folder, f"{name}.pem", credential.private_key, credential.chain)
    pems = load(folder)
    assert pems.contexts.until == end + second
    assert pems.load(end + second).until == start
    assert pems.load(start).until == last + second
    assert pems.load(last + second).until is None


@pytest.mark.parametrize("name", ["elsewhere.org", None])
def test_unknown_name_is_refused_where_that_was_asked_for(
    pki: PKI, folder: Path, three_names: dict[str, Credential], name: str | None, tls_version: txmembio.TLSVersion
) -> None:
    context = PEMFolder(str(folder), new_context, refuse_unknown=True).server_context()
    assert shown(pki, context, "b.example.com")[0] == three_names["*.example.com"].certificate_der
    client = pair.client_context(pki, tls_version)
    client.check_hostname = False
    client_error, server_error = pair.unconnected(client, context, server_hostname=name).refusal()
    assert client_error.alert == server_error.alert == "unrecognized_name"
    assert client_error.alert_received and not server_error.alert_received
    assert ("elsewhere.org" if name else "no server name was given") in str(server_error)


def test_folder_is_found_again_from_another_working_directory(
    pki: PKI, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    monkeypatch.chdir(folder.parent)
    pems = PEMFolder("pems", new_context)
    monkeypatch.chdir("/")
    assert pems.load().find("localhost") is not None


def test_ticket_from_an_open_name_does_not_open_one_that_needs_a_certificate(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """
    Two names on one port; one of them needs a client certificate. Which one applies is decided before OpenSSL looks at
    the ticket: decided later, the session of the open name would be resumed on the other, and nothing be asked.
    """
    # One certificate for both names, or the client would not offer the session to begin with.
    both = pki.issue("open.example", "closed.example")
    contexts = {
        "open.example": pair.server_context(pki, tls_version, credential=both),
        "closed.example": pair.server_context(pki, tls_version, credential=both, verify_client=True),
    }

    def switch(connection: Any, server_name: str | None, context: txmembio.SSLContext) -> None:
        connection.context = contexts[server_name or "open.example"]

    entry = pair.server_context(pki, tls_version)
    entry.sni_callback = switch
    client = pair.client_context(pki, tls_version)
    first = pair.connect(client, entry, server_hostname="open.example")
    session = first.client.connection.session

    again = pair.connect(client, entry, server_hostname="open.example", session=session)
    assert again.client.connection.session_reused  # the ticket is good where it comes from

    stranger = pair.unconnected(client, entry, server_hostname="closed.example", session=session)
    stranger.attempt_handshake()
    assert not stranger.server.connection.handshake_complete
    assert isinstance(stranger.server.error, txmembio.SSLError)
    assert stranger.server.error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"

    client.use_cert_chain(pki.client.chain, pki.client.private_key)
    admitted = pair.connect(client, entry, server_hostname="closed.example", session=session)
    assert not admitted.server.connection.session_reused
    assert admitted.server.connection.getpeercert(binary_form=True) == pki.client.certificate_der


# --- what is refused --------------------------------------------------------------------------------------------------


def test_missing_folder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load(tmp_path / "none")


def test_file_instead_of_a_folder_is_refused(pki: PKI) -> None:
    with pytest.raises(NotADirectoryError):
        load(Path(pki.server.combined_file))


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "bad.pem: there is no PEM in it"),
        (os.urandom(2000).replace(b"-", b"_"), "bad.pem: there is no PEM in it"),
        (b"-----BEGIN CERTIFICATE-----\nbm90IGEgY2VydGlmaWNhdGU=\n-----END CERTIFICATE-----\n", "bad.pem: "),
        (b"-----BEGIN CERTIFICATE-----\n!!!!\n-----END CERTIFICATE-----\n", "bad.pem: "),
        (b"-----BEGIN CERTIFICATE-----\nbm90IGEg", "bad.pem: "),
        (b"-----BEGIN PRIVATE KEY-----\nbm90IGEga2V5\n-----END PRIVATE KEY-----\n", "bad.pem: "),
        (b"-----BEGIN PRIVATE KEY-----\nbm90IGEg", "bad.pem: "),
    ],
)
def test_damaged_file_is_named_and_nothing_changes(pki: PKI, folder: Path, contents: bytes, message: str) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    pems = load(folder)
    before = pems.contexts
    put(folder, "bad.pem", contents)
    with pytest.raises(ValueError) as caught:
        pems.load()
    assert str(caught.value).startswith(message)
    assert pems.contexts is before


def test_encrypted_key_is_refused_by_name_and_asks_nobody(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.encrypted.private_key, pki.encrypted.chain)
    with pytest.raises(ValueError, match=r"^site\.pem: .*password"):
        load(folder)


def test_link_that_leads_nowhere_is_refused(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    (folder / "gone.pem").symlink_to("nowhere.pem")
    with pytest.raises(ValueError, match=r"^gone\.pem: No such file or directory$"):
        load(folder)


@pytest.mark.parametrize(
    ("names", "held"),
    [
        ([], "0 certificates and 0 keys"),
        (["chain"], "2 certificates and 0 keys"),
        (["key"], "0 certificates and 1 keys"),
    ],
)
def test_folder_without_a_pair_is_refused(pki: PKI, folder: Path, names: list[str], held: str) -> None:
    for name in names:
        put(folder, f"{name}.pem", Path(getattr(pki.server, f"{name}_file")).read_bytes())
    with pytest.raises(ValueError, match=f"no certificate with its private key .* {held}"):
        load(folder)


def test_default_pem_without_a_pair_is_refused(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    put(folder, "default.pem", pki.wildcard.chain)
    with pytest.raises(ValueError, match=r"^default\.pem: no certificate with its private key"):
        load(folder)


def test_file_with_two_keys_for_its_certificate_is_refused(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.client.private_key, pki.server.chain)
    with pytest.raises(ValueError, match=r"^site\.pem: 2 private keys for a certificate: expected the one that fits"):
        load(folder)


def test_key_that_is_there_twice_is_one_key(pki: PKI, folder: Path) -> None:
    put(folder, "site.pem", pki.server.private_key, pki.server.chain)
    put(folder, "copy.pem", pki.server.private_key, pki.server.private_key)
    pems = load(folder)
    assert shown(pki, pems.server_context(), "localhost") == pki.server.chain_der
    assert pems.contexts.remarks == ()


def test_two_pairs_in_one_file_are_no_contradiction(pki: PKI, folder: Path) -> None:
    put(folder, "all.pem", pki.server.private_key, pki.wildcard.private_key, pki.server.chain, pki.wildcard.chain)
    context = load(folder).server_context()
    assert shown(pki, context, "localhost")[0] == pki.server.certificate_der
    assert shown(pki, context, "a.example.com")[0] == pki.wildcard.certificate_der


@pytest.mark.skipif(not hasattr(os, "seteuid"), reason="this system's folders have no modes")
def test_unreadable_folder_is_refused(folder: Path) -> None:
    with unreadable(folder), pytest.raises(PermissionError, match="Permission denied"):
        load(folder)


# --- single files -----------------------------------------------------------------------------------------------------


def test_identity_from_two_files_keeps_the_chain_in_its_order(pki: PKI) -> None:
    more = PEMFile.read(pki.ca.certificate_file).certificates
    identity = identity_from(PEMFile.read(pki.server.chain_file), PEMFile.read(pki.server.key_file), more)
    assert identity is not None
    assert [each.der for each in (identity.certificate, *identity.chain)] == [
        *pki.server.chain_der,
        pki.ca.certificate_der,
    ]
    assert identity.name == pki.server.chain_file
    assert "PRIVATE" not in repr(identity)


def test_identity_from_files_that_do_not_match(pki: PKI) -> None:
    assert identity_from(PEMFile.read(pki.server.chain_file), PEMFile.read(pki.client.key_file)) is None


def test_trusted_certificates_from_a_file_and_a_folder(pki: PKI, folder: Path) -> None:
    put(folder, "a.pem", pki.ca.certificate, pki.untrusted_ca.certificate)
    put(folder, "b.PEM", pki.intermediate.certificate, pki.ca.certificate)
    put(folder, "c.crt", pki.server.certificate)
    put(folder, "sub/d.pem", pki.server.certificate)
    (folder / "gone.pem").symlink_to("nowhere.pem")
    two = [pki.ca.certificate_der, pki.untrusted_ca.certificate_der]
    assert [each.der for each in read_certificates(str(folder / "a.pem"))] == two
    assert [each.der for each in read_certificates(str(folder))] == [*two, pki.intermediate.certificate_der]


def test_trusted_certificates_that_are_not_there(pki: PKI, folder: Path) -> None:
    with pytest.raises(ValueError, match="no certificate in 0 PEM files"):
        read_certificates(str(folder))
    with pytest.raises(ValueError, match="no certificate in 1 PEM files"):
        read_certificates(pki.server.key_file)
    with pytest.raises(FileNotFoundError):
        read_certificates(str(folder / "none.pem"))
    put(folder, "bad.pem", b"nothing")
    with pytest.raises(ValueError, match=r"^bad\.pem: there is no PEM in it$"):
        read_certificates(str(folder))


def _identity_of(credential: Credential) -> Identity:
    identity = identity_from(PEMFile.read(credential.chain_file), PEMFile.read(credential.key_file))
    assert identity is not None
    return identity


def test_pair_is_served_for_any_name_or_for_its_own_alone(pki: PKI) -> None:
    def serve(refuse_unknown: bool) -> txmembio.SSLContext:
        paths = [pki.server.chain_file, pki.server.key_file]
        pems = PEMPair(lambda: _identity_of(pki.server), new_context, paths=paths, refuse_unknown=refuse_unknown)
        assert pems.paths == tuple(paths)
        return pems.server_context()

    for name in ("localhost", "elsewhere.org", None):
        assert shown(pki, serve(False), name) == pki.server.chain_der
    assert shown(pki, serve(True), "localhost") == pki.server.chain_der
    with pytest.raises(txmembio.SSLError, match=r"the server name 'elsewhere\.org' was refused"):
        shown(pki, serve(True), "elsewhere.org")


# --- revocation lists -------------------------------------------------------------------------------------------------


def test_revocation_lists_from_a_file_and_a_folder(pki: PKI, folder: Path) -> None:
    put(folder, "a.pem", crl(pki.ca))
    put(folder, "b.PEM", crl(pki.intermediate), crl(pki.untrusted_ca))
    put(folder, "c.crl", b"nothing")
    put(folder, "sub/d.pem", b"nothing")
    for path, count in ((folder / "a.pem", 1), (folder / "b.PEM", 2), (folder, 3)):
        context = new_context()
        context.load_verify_locations(cadata=read_crls(str(path)))
        assert context.cert_store_stats()["crl"] == count


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        (b"", "there is no certificate revocation list in PEM in it"),
        (
            b"-----BEGIN X509 CRL-----\nbm90IGEgbGlzdA==\n-----END X509 CRL-----\n",
            "damaged certificate revocation list",
        ),
        (b"-----BEGIN X509 CRL-----\nbm90IGEg", "is it cut short"),
    ],
)
def test_damaged_revocation_list_is_named(pki: PKI, folder: Path, contents: bytes, message: str) -> None:
    put(folder, "a.pem", crl(pki.ca))
    put(folder, "b.pem", contents)
    with pytest.raises(ValueError, match=message):
        read_crls(str(folder / "b.pem"))
    with pytest.raises(ValueError, match=f"^b\\.pem: .*{message}"):
        read_crls(str(folder))


def test_revocation_lists_that_are_not_there(pki: PKI, folder: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_crls(str(folder / "none.pem"))
    with pytest.raises(ValueError, match="there is no PEM file in it"):
        read_crls(str(folder))
    with pytest.raises(ValueError, match="there is no certificate revocation list in PEM in it"):
        read_crls(pki.ca.certificate_file)
