"""What Tornado's `ssl_options` may be, and what contexts it makes: all of Tornado's keys, ours, and every mistake."""

from __future__ import annotations

import itertools
import os
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PASSWORD, PKI
from txmembio import TLSVersion

pytest.importorskip("tornado", reason="Tornado is not installed")
from tornado.netutil import _SSL_CONTEXT_KEYWORDS, ssl_options_to_context

from txmembio.tornado.options import KEYS, TORNADO_KEYS, Options, context_for


def server_options(pki: PKI, **more: Any) -> dict[str, Any]:
    """What a server needs, and more."""
    return {"certfile": pki.server.chain_file, "keyfile": pki.server.key_file, **more}


def test_the_keys_are_tornados_and_more() -> None:
    assert set(TORNADO_KEYS) == _SSL_CONTEXT_KEYWORDS
    assert set(TORNADO_KEYS) < set(KEYS)


# Contexts, and True


@pytest.mark.parametrize("server_side", [False, True])
def test_a_context_of_ours_is_what_it_is(server_side: bool) -> None:
    purpose = txmembio.Purpose.CLIENT_AUTH if server_side else txmembio.Purpose.SERVER_AUTH
    context = txmembio.create_default_context(purpose)
    assert context_for(context, server_side) is context
    with pytest.warns(DeprecationWarning):
        either = txmembio.SSLContext(txmembio.PROTOCOL_TLS)
    assert context_for(either, server_side) is either


def test_true_is_what_the_platform_trusts() -> None:
    context = context_for(True, False)
    assert context.verify_mode == txmembio.CERT_REQUIRED and context.check_hostname
    assert context is context_for(True, False) is context_for({}, False)


@pytest.mark.parametrize("server_side", [False, True])
def test_a_context_for_the_other_role(server_side: bool) -> None:
    purpose = txmembio.Purpose.SERVER_AUTH if server_side else txmembio.Purpose.CLIENT_AUTH
    role = "server" if server_side else "client"
    with pytest.raises(ValueError, match=f"^ssl_options is for the other role: .* cannot be used for a TLS {role}$"):
        context_for(txmembio.create_default_context(purpose), server_side)


@pytest.mark.parametrize("server_side", [False, True])
def test_a_context_of_the_standard_library(server_side: bool) -> None:
    """It is refused with the words that all of txmembio has for it."""
    message = (
        "^ssl_options is the standard library's ssl.SSLContext, .* expected a txmembio.SSLContext .*takes the same"
    )
    with pytest.raises(TypeError, match=message):
        context_for(ssl.create_default_context(), server_side)


@pytest.mark.parametrize("value", [None, False, 1, "cert.pem", ["certfile", "cert.pem"], object()], ids=repr)
@pytest.mark.parametrize("server_side", [False, True])
def test_something_else(server_side: bool, value: object) -> None:
    with pytest.raises(TypeError) as caught:
        context_for(value, server_side, "that")
    message = str(caught.value)
    assert message.startswith(f"that is {value!r} (") and "expected a txmembio.SSLContext, or a dict" in message
    assert ("certfile" in message) and message.endswith("or True") != server_side


def test_true_is_nothing_for_a_server() -> None:
    with pytest.raises(TypeError, match="ssl_options is True"):
        context_for(True, True)


# Dicts that work


def test_tornados_own_keys(pki: PKI) -> None:
    """All of them, for both roles, with the constants of the standard library."""
    server = context_for(
        server_options(
            pki,
            ca_certs=pki.ca.certificate_file,
            cert_reqs=ssl.CERT_REQUIRED,
            ciphers="ECDHE+AESGCM",
            ssl_version=ssl.PROTOCOL_TLS_SERVER,
        ),
        True,
    )
    client = context_for(
        {
            "certfile": pki.client.chain_file,
            "keyfile": pki.client.key_file,
            "ca_certs": pki.ca.certificate_file,
            "cert_reqs": ssl.CERT_REQUIRED,
            "ciphers": "ECDHE+AESGCM",
            "ssl_version": ssl.PROTOCOL_TLS_CLIENT,
        },
        False,
    )
    ends = pair.connect(client, server)
    assert ends.server.connection.getpeercert(True) == pki.client.certificate_der
    assert ends.client.connection.getpeercert(True) == pki.server.certificate_der
    for context in (client, server):
        names = {cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] == "TLSv1.2"}
        assert names and all("GCM" in name for name in names)


def test_jupyters_dict_works_unchanged(pki: PKI) -> None:
    """`ServerApp` passes on certfile, keyfile and ca_certs if they are set, PROTOCOL_TLS, and, with ca_certs,
    CERT_REQUIRED."""
    options = {
        "certfile": pki.server.chain_file,
        "keyfile": pki.server.key_file,
        "ca_certs": pki.ca.certificate_file,
        "ssl_version": ssl.PROTOCOL_TLS,
        "cert_reqs": ssl.CERT_REQUIRED,
    }
    server = context_for(options, True)
    assert server.protocol == txmembio.PROTOCOL_TLS_SERVER
    assert server.minimum_version == TLSVersion.TLSv1_2
    assert pair.connect(pair.client_context(pki, credential=pki.client), server).server.connection.handshake_complete
    ends = pair.unconnected(pair.client_context(pki), server)
    ends.attempt_handshake()
    assert "PEER_DID_NOT_RETURN_A_CERTIFICATE" in str(ends.server.error)


def test_a_certificate_and_its_key_in_one_file(pki: PKI) -> None:
    server = context_for({"certfile": pki.server.combined_file}, True)
    assert pair.connect(pair.client_context(pki), server).client.connection.handshake_complete


def test_paths_of_all_kinds(pki: PKI) -> None:
    for kind in (Path, os.fsencode):
        options = {"certfile": kind(pki.server.chain_file), "keyfile": kind(pki.server.key_file)}
        assert context_for(options, True).certificate is not None


def test_an_encrypted_key(pki: PKI) -> None:
    options = {"certfile": pki.encrypted.chain_file, "keyfile": pki.encrypted.key_file}
    server = context_for({**options, "password": PASSWORD}, True)
    assert pair.connect(pair.client_context(pki), server).client.connection.handshake_complete
    for wrong in ({}, {"password": b"battery staple"}):
        with pytest.raises(ValueError, match=r"keyfile.*encrypted") as caught:
            context_for({**options, **wrong}, True)
        assert "battery" not in str(caught.value)


def test_what_is_none_is_left_out(pki: PKI) -> None:
    nothing = dict.fromkeys(KEYS)
    assert context_for(nothing, False) is context_for({}, False)
    named = {**nothing, "certfile": pki.server.combined_file}
    assert context_for(named, True) is context_for({"certfile": pki.server.combined_file}, True)


def test_our_keys(pki: PKI) -> None:
    more = {
        "minimum_version": ssl.TLSVersion.TLSv1_3,
        "maximum_version": TLSVersion.TLSv1_3,
        "ciphersuites": "TLS_AES_128_GCM_SHA256",
        "groups": "P-256",
        "alpn_protocols": ["http/1.1"],
    }
    server = context_for(server_options(pki, **more), True)
    client = context_for({"ca_certs": pki.ca.certificate_file, **more, "check_hostname": False}, False)
    ends = pair.connect(client, server, server_hostname="wrong.example")
    connection = ends.client.connection
    assert connection.version() == "TLSv1.3"
    assert connection.cipher() == ("TLS_AES_128_GCM_SHA256", "TLSv1.3", 128)
    assert connection.group() in ("P-256", "secp256r1", "prime256v1")
    assert connection.selected_alpn_protocol() == "http/1.1"


@pytest.mark.parametrize("server_side", [False, True])
def test_one_version(pki: PKI, server_side: bool) -> None:
    options = {"ssl_version": ssl.PROTOCOL_TLSv1_2, **(server_options(pki) if server_side else {})}
    context = context_for(options, server_side)
    assert (context.minimum_version, context.maximum_version) == (TLSVersion.TLSv1_2, TLSVersion.TLSv1_2)


def test_an_old_version_with_ciphers_for_it(pki: PKI) -> None:
    options = {"minimum_version": TLSVersion.TLSv1, "ciphers": "ECDHE+AES:@SECLEVEL=0"}
    with pytest.warns(DeprecationWarning, match="TLSv1"):
        context = context_for(server_options(pki, **options), True)
    assert context.minimum_version == TLSVersion.TLSv1


def test_equal_dicts_make_one_context(pki: PKI, tmp_path: Path) -> None:
    """As long as the files are the same: a client's sessions are resumed under one context only."""
    authority = tmp_path / "ca.pem"
    shutil.copy(pki.ca.certificate_file, authority)
    first = context_for({"ca_certs": str(authority), "alpn_protocols": ["h2"]}, False)
    assert context_for({"alpn_protocols": ["h2"], "ca_certs": str(authority)}, False) is first
    assert context_for({"ca_certs": str(authority), "alpn_protocols": ["http/1.1"]}, False) is not first
    authority.write_bytes(pki.untrusted_ca.certificate)
    second = context_for({"ca_certs": str(authority), "alpn_protocols": ["h2"]}, False)
    assert second is not first
    assert second.get_ca_certs(True) == [pki.untrusted_ca.certificate_der]


# No less safe than Tornado


def test_verification_is_never_less_than_tornados(pki: PKI) -> None:
    """Whatever the dict says, in either role, as far as Tornado takes it."""
    compared = 0
    versions = [None, ssl.PROTOCOL_TLS, ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER]
    modes = [None, ssl.CERT_NONE, ssl.CERT_OPTIONAL, ssl.CERT_REQUIRED]
    for server_side, version, mode, ca in itertools.product([False, True], versions, modes, [None, "ca"]):
        options = {"ssl_version": version, "cert_reqs": mode, "ca_certs": ca and pki.ca.certificate_file}
        given = {key: value for key, value in options.items() if value is not None}
        if server_side:
            given |= server_options(pki)
        with pytest.warns(DeprecationWarning) if version == ssl.PROTOCOL_TLS else _no_warning():
            tornados = ssl_options_to_context(given, server_side=server_side)
        try:
            ours = context_for(given, server_side)
        except ValueError:
            continue
        compared += 1
        assert ours.verify_mode >= tornados.verify_mode, given
        assert ours.check_hostname >= tornados.check_hostname, given
        assert ours.minimum_version >= tornados.minimum_version
        trusted = set(tornados.get_ca_certs(True))
        assert trusted <= set(ours.get_ca_certs(True))
        if not server_side and mode != ssl.CERT_NONE:
            assert ours.check_hostname and ours.verify_mode != txmembio.CERT_NONE, given
    assert compared > 25


class _no_warning:
    def __enter__(self) -> None:
        """Nothing to expect."""

    def __exit__(self, *_: object) -> None:
        """Nothing to check."""


def test_what_the_platform_trusts_is_not_added_to_ca_certs(pki: PKI) -> None:
    context = context_for({"ca_certs": pki.ca.certificate_file}, False)
    assert context.get_ca_certs(True) == [pki.ca.certificate_der]


def test_a_server_asks_for_certificates_if_it_is_told_to(pki: PKI) -> None:
    """With ca_certs alone it does not, as in Tornado."""
    assert context_for(server_options(pki, ca_certs=pki.ca.certificate_file), True).verify_mode == txmembio.CERT_NONE


# Mistakes

#: What is beside what a role needs, and what the error says.
MISTAKES: list[tuple[bool, dict[str, Any], str]] = [
    (False, {"cafile": "ca.pem"}, r"ssl_options has the unknown key 'cafile': expected some of certfile, keyfile,"),
    (True, {"do_handshake_on_connect": False, "x": 4}, r"unknown key 'do_handshake_on_connect', 'x'"),
    (False, {"ca_certs": "nowhere.pem"}, r"\['ca_certs'\] is 'nowhere.pem': expected a file .* \(No such file"),
    (False, {"ca_certs": "/"}, r"\['ca_certs'\] is '/': expected .* \(Is a directory"),
    (False, {"ca_certs": 7}, r"\['ca_certs'\] is 7: expected the path"),
    (True, {"certfile": "nowhere.pem"}, r"\['certfile'\] is 'nowhere.pem': expected a readable file .*No such file"),
    (True, {"keyfile": "nowhere.pem"}, r"\['keyfile'\] is 'nowhere.pem': expected a readable file .*No such file"),
    (False, {"keyfile": "key.pem"}, r"\['keyfile'\] is 'key.pem': expected certfile beside it"),
    (False, {"password": "secret"}, r"\['password'\] is set: expected certfile beside it"),
    (True, {"cert_reqs": ssl.CERT_REQUIRED}, r"\['cert_reqs'\] is .*CERT_REQUIRED.*: expected ca_certs beside it"),
    (True, {"cert_reqs": ssl.CERT_OPTIONAL}, r"\['cert_reqs'\] is .*CERT_OPTIONAL.*: expected ca_certs beside it"),
    (False, {"cert_reqs": True}, r"\['cert_reqs'\] is True: expected CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED"),
    (False, {"cert_reqs": "required"}, r"\['cert_reqs'\] is 'required': expected CERT_NONE,"),
    (False, {"cert_reqs": 5}, r"\['cert_reqs'\] is 5: expected CERT_NONE,"),
    (
        False,
        {"cert_reqs": 0, "check_hostname": True},
        r"\['cert_reqs'\] is 0: expected CERT_REQUIRED beside check_host",
    ),
    (False, {"check_hostname": 1}, r"\['check_hostname'\] is 1: expected True or False"),
    (True, {"check_hostname": True}, r"\['check_hostname'\] is True: expected True or False, on a client"),
    (False, {"ciphers": "NONE-SUCH"}, r"\['ciphers'\] is 'NONE-SUCH': expected names of TLS 1.2 ciphers"),
    (False, {"ciphers": ["AES"]}, r"\['ciphers'\] is \['AES'\]: expected names of TLS 1.2 ciphers"),
    (False, {"ciphersuites": "TLS_NONE"}, r"\['ciphersuites'\] is 'TLS_NONE': expected names of TLS 1.3"),
    (False, {"groups": "P-1"}, r"\['groups'\] is 'P-1': expected names of key-exchange groups"),
    (False, {"alpn_protocols": "h2"}, r"\['alpn_protocols'\] is 'h2': expected a list of names"),
    (False, {"alpn_protocols": [""]}, r"\['alpn_protocols'\] is \[''\]: expected a list of names"),
    (False, {"ssl_version": "TLSv1.2"}, r"\['ssl_version'\] is 'TLSv1.2': expected PROTOCOL_TLS_CLIENT, or"),
    (False, {"ssl_version": 17}, r"\['ssl_version'\] is 17: expected PROTOCOL_TLS_CLIENT, or"),
    (True, {"ssl_version": 16}, r"\['ssl_version'\] is 16: expected PROTOCOL_TLS_SERVER, or"),
    (True, {"ssl_version": 1}, r"\['ssl_version'\] is 1: .*SSL 2 and SSL 3 are broken"),
    (True, {"ssl_version": 3}, r"\['ssl_version'\] is 3: expected TLS 1.2 or newer, or ciphers beside it"),
    (True, {"ssl_version": 5, "minimum_version": TLSVersion.TLSv1_3}, r"\['minimum_version'\] .* it to be left out"),
    (True, {"minimum_version": 12}, r"\['minimum_version'\] is 12: expected a member of TLSVersion"),
    (True, {"minimum_version": "1.2"}, r"\['minimum_version'\] is '1.2': expected a member of TLSVersion"),
    (True, {"minimum_version": TLSVersion.TLSv1}, r"\['minimum_version'\] .* expected TLS 1.2 or newer, or ciphers"),
    (
        True,
        {"minimum_version": TLSVersion.TLSv1_3, "maximum_version": TLSVersion.TLSv1_2},
        r"\['maximum_version'\] is .*: expected a version not below TLSv1_3",
    ),
]


@pytest.mark.parametrize(("server_side", "wrong", "message"), MISTAKES, ids=[f"{case[1]}"[:60] for case in MISTAKES])
def test_a_mistake_in_a_dict(
    pki: PKI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, server_side: bool, wrong: dict[str, Any], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    options = {**(server_options(pki) if server_side else {}), **wrong}
    with pytest.raises(ValueError, match=message) as caught:
        context_for(options, server_side)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)


def test_a_server_without_a_certificate(pki: PKI) -> None:
    """KeyError, as Tornado's servers have it."""
    with pytest.raises(KeyError, match="certfile"):
        context_for({"keyfile": pki.server.key_file}, True)


def test_files_with_something_else_in_them(pki: PKI, tmp_path: Path) -> None:
    empty = tmp_path / "empty.pem"
    empty.touch()
    for wrong, message in (
        ({"certfile": str(empty)}, r"\['certfile'\] is .*empty.pem': expected a file with a certificate .*none in it"),
        ({"keyfile": str(empty)}, r"\['keyfile'\] is .*empty.pem': expected a file with a private key .*none in it"),
        ({"certfile": pki.server.key_file}, r"\['certfile'\] is .*: expected a file with a certificate"),
        ({"keyfile": pki.server.chain_file}, r"\['keyfile'\] is .*: expected a file with a private key"),
        ({"keyfile": pki.mismatched.key_file}, r"\['keyfile'\] is .*: expected the private key of the certificate in "),
        ({"ca_certs": str(empty)}, r"\['ca_certs'\] is .*empty.pem': expected a file with certificates"),
    ):
        with pytest.raises(ValueError, match=message):
            context_for(server_options(pki, **wrong), True)


def test_nothing_is_kept_of_a_mistake(pki: PKI, tmp_path: Path) -> None:
    """The same dict works once the file is there."""
    path = tmp_path / "site.pem"
    with pytest.raises(ValueError, match=r"No such file"):
        context_for({"certfile": str(path)}, True)
    shutil.copy(pki.server.combined_file, path)
    assert context_for({"certfile": str(path)}, True).certificate is not None


def test_options_know_their_files(pki: PKI, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """As absolute paths: a server reads them again later, wherever the program is then."""
    monkeypatch.chdir(os.path.dirname(pki.server.chain_file))
    names = {"certfile": os.path.basename(pki.server.chain_file), "keyfile": os.path.basename(pki.server.key_file)}
    options = Options(names, True)
    assert options.paths == [os.path.abspath(pki.server.chain_file), os.path.abspath(pki.server.key_file)]
    monkeypatch.chdir(tmp_path)
    assert options.identity().certificate.der == pki.server.certificate_der
