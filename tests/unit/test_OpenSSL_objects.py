"""Certificates, names, keys and stores of `txmembio.OpenSSL` where OpenSSL leaves the caller with nothing to point to,
and when `install("OpenSSL")` comes too late. What could end the process is run in one of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from support.process import DEADLINE, environment
from txmembio.OpenSSL import crypto

DECIDED = ["twisted.protocols.amp", "twisted.words.protocols.jabber.xmlstream"]
"""Modules that decide by themselves, when they are imported, whether there is TLS."""


def run(program: str) -> list[str]:
    """The lines that the program prints, in a Python of its own, which has to survive it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-X", "faulthandler", "-c", textwrap.dedent(program)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def key() -> crypto.PKey:
    made = crypto.PKey()
    made.generate_key(crypto.TYPE_RSA, 2048)
    return made


def named(name: str) -> crypto.X509:
    """A certificate, not signed, whose subject and issuer are called that."""
    made = crypto.X509()
    made.get_subject().CN = made.get_issuer().CN = name
    return made


# --- names


@pytest.mark.parametrize("role", ["subject", "issuer"])
def test_a_name_that_was_replaced_is_of_no_more_use(role: str) -> None:
    said = run(f"""
        from txmembio.OpenSSL import crypto
        other, certificate = crypto.X509(), crypto.X509()
        other.get_{role}().CN = "other"
        certificate.get_{role}().CN = "first"
        names = [certificate.get_{role}(), certificate.get_{role}()]
        certificate.set_{role}(other.get_{role}())
        kept = []
        for number in range(200):  # takes the memory that OpenSSL has freed
            kept.append(crypto.X509())
            kept[-1].get_subject().CN = "x" * 40
            kept[-1].get_issuer().CN = "x" * 40

        def change(name):
            name.CN = "changed"

        for name in names:
            for use in (change, repr, crypto.X509Name, *(
                lambda name, method=method: getattr(name, method)() for method in ("get_components", "der", "hash")
            ), lambda name: name.CN, lambda name: name == names[0], lambda name: other.set_{role}(name)):
                try:
                    use(name)
                    print("nothing was raised")
                except AttributeError:
                    pass
        print(certificate.get_{role}().CN, other.get_{role}().CN, {{len(one.get_{role}().CN) for one in kept}})
    """)
    assert said == ["other other {40}"]


def test_replacing_one_name_leaves_the_other() -> None:
    said = run("""
        from txmembio.OpenSSL import crypto
        certificate, other = crypto.X509(), crypto.X509()
        certificate.get_issuer().CN = "first"
        other.get_subject().CN = "second"
        subject, issuer = certificate.get_subject(), certificate.get_issuer()
        certificate.set_subject(other.get_subject())
        issuer.CN = "changed"
        print(certificate.get_issuer().CN, certificate.get_subject().CN)
        try:
            subject.CN = "changed"
        except AttributeError:
            print(certificate.get_subject().CN)
    """)
    assert said == ["changed second", "second"]


def test_a_name_that_could_not_be_replaced_stays() -> None:
    certificate = named("first")
    subject = certificate.get_subject()
    with pytest.raises(TypeError):
        certificate.set_subject("second")  # type: ignore[arg-type]
    assert subject.CN == "first"


def test_a_certificate_that_two_objects_share() -> None:
    """The one that a refusal is about is the caller's, not a copy of it: names taken from either have to survive."""
    said = run("""
        from txmembio.OpenSSL import crypto
        certificate = crypto.X509()
        certificate.get_subject().CN = "first"
        name = certificate.get_subject()
        try:
            crypto.X509StoreContext(crypto.X509Store(), certificate).verify_certificate()
        except crypto.X509StoreContextError as error:
            other = crypto.X509()
            other.get_subject().CN = "second"
            error.certificate.set_subject(other.get_subject())
        kept = [crypto.X509() for number in range(200)]
        name.CN = "changed"
        print(certificate.get_subject().CN)
    """)
    assert said == ["changed"]


def test_a_name_outlives_its_certificate() -> None:
    name = named("first").get_subject()
    kept = [named("x" * 40) for _ in range(100)]
    assert name.CN == "first"
    assert len(kept) == 100


# --- what cannot be encoded


def test_an_empty_certificate_is_refused() -> None:
    said = run("""
        from txmembio.OpenSSL import crypto
        try:
            crypto.X509StoreContext(crypto.X509Store(), crypto.X509()).verify_certificate()
        except crypto.X509StoreContextError as error:
            print(error.errors[0] > 0, error.certificate.get_subject().get_components())
            try:
                crypto.dump_certificate(crypto.FILETYPE_ASN1, error.certificate)
            except crypto.Error:
                print("cannot be encoded")
    """)
    assert said == ["True []", "cannot be encoded"]


def test_an_empty_certificate_in_a_chain() -> None:
    said = run("""
        from txmembio.OpenSSL import SSL, crypto
        context = SSL.Context(SSL.TLS_METHOD)
        try:
            context.add_extra_chain_cert(crypto.X509())
        except SSL.Error:
            print("refused")
        key = crypto.PKey()
        key.generate_key(crypto.TYPE_RSA, 2048)
        certificate = crypto.X509()
        certificate.set_pubkey(key)
        certificate.gmtime_adj_notBefore(0)
        certificate.gmtime_adj_notAfter(3600)
        certificate.sign(key, "sha256")
        context.use_certificate(certificate)
        context.use_privatekey(key)
        client, server = SSL.Connection(SSL.Context(SSL.TLS_METHOD)), SSL.Connection(context)
        client.set_connect_state()
        server.set_accept_state()
        for _ in range(2):
            for one, other in ((client, server), (server, client)):
                try:
                    one.do_handshake()
                except SSL.WantReadError:
                    pass
                try:
                    other.bio_write(one.bio_read(65536))
                except SSL.WantReadError:
                    pass
        client.do_handshake()
        print(len(client.get_peer_cert_chain()))
    """)
    assert said == ["refused", "1"]


def test_names_for_clients_are_taken_all_or_none() -> None:
    said = run("""
        from txmembio.OpenSSL import SSL, crypto

        def listed():
            connection = SSL.Connection(context)
            connection.set_accept_state()
            return " ".join(name.CN for name in connection.get_client_ca_list())

        certificate, other = crypto.X509(), crypto.X509()
        certificate.get_issuer().CN = "first"
        other.get_subject().CN = "second"
        gone = certificate.get_subject()
        certificate.set_subject(other.get_subject())
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_client_ca_list([other.get_subject()])
        try:
            context.set_client_ca_list([certificate.get_issuer(), gone])
        except AttributeError:
            print(listed())
        context.set_client_ca_list([certificate.get_subject(), certificate.get_issuer()])
        print(listed())
    """)
    assert said == ["second", "second first"]


# --- keys


def test_a_public_key_has_no_private_one_to_dump() -> None:
    public = crypto.load_publickey(crypto.FILETYPE_PEM, crypto.dump_publickey(crypto.FILETYPE_PEM, key()))
    with pytest.raises(crypto.Error) as caught:
        crypto.dump_privatekey(crypto.FILETYPE_PEM, public)
    assert isinstance(caught.value.args[0], list)


def test_a_key_in_pem_can_be_loaded() -> None:
    whole = key()
    text = crypto.dump_privatekey(crypto.FILETYPE_PEM, whole)
    assert text.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    again = crypto.load_privatekey(crypto.FILETYPE_PEM, text)
    assert crypto.dump_privatekey(crypto.FILETYPE_ASN1, again) == crypto.dump_privatekey(crypto.FILETYPE_ASN1, whole)


# --- install()


@pytest.mark.parametrize("module", DECIDED)
def test_install_after_a_module_that_does_without_tls(module: str) -> None:
    said = run(f"""
        import sys
        sys.modules["OpenSSL"] = None  # no pyOpenSSL, whatever is installed
        import {module} as decided
        del sys.modules["OpenSSL"]
        import txmembio
        assert decided.ssl is None
        try:
            txmembio.install("OpenSSL")
        except txmembio.InstallError as error:
            print(error)
    """)
    assert len(said) == 1
    assert f"{module} was imported before" in said[0]
