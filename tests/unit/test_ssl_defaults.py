"""Contexts and calls of txmembio.ssl that the standard library's own modules make, against the standard library's."""

from __future__ import annotations

import socket
import ssl
import sys
from pathlib import Path
from typing import Any

import pytest

import txmembio
import txmembio.ssl
from support import tls_sockets
from support.pki import PKI
from support.sslobjects import outcome
from support.tls_sockets import Beside
from txmembio.ssl.defaults import unverified_context

MODULES = [pytest.param(ssl, id="ssl"), pytest.param(txmembio.ssl, id="txmembio")]


def described(context: Any) -> tuple[Any, ...]:
    return (
        int(context.protocol),
        int(context.verify_mode),
        context.check_hostname,
        int(context.verify_flags),
        context.keylog_filename,
        context.cert_store_stats()["x509"] > 0,
    )


ARGUMENTS: list[dict[str, Any]] = [
    {},
    {"protocol": "PROTOCOL_TLS_SERVER"},
    {"cert_reqs": None},
    {"cert_reqs": ssl.CERT_REQUIRED},
    {"cert_reqs": ssl.CERT_REQUIRED, "check_hostname": True},
    {"check_hostname": True},
    {"purpose": "CLIENT_AUTH"},
    {"purpose": "CLIENT_AUTH", "cert_reqs": ssl.CERT_OPTIONAL},
    {"certfile": "server"},
    {"keyfile": "server"},
    {"cafile": "ca", "cert_reqs": ssl.CERT_REQUIRED},
    {"cafile": "/there/is/none"},
    {"purpose": None},
    {"purpose": "1.3.6.1.5.5.7.3.1"},
]


@pytest.mark.parametrize("arguments", ARGUMENTS, ids=repr)
def test_contexts_of_the_standard_librarys_modules(pki: PKI, arguments: dict[str, Any]) -> None:
    seen = []
    for module in (ssl, txmembio.ssl):
        given = dict(arguments)
        if given.get("purpose") == "CLIENT_AUTH":
            given["purpose"] = module.Purpose.CLIENT_AUTH
        if "protocol" in given:
            given["protocol"] = getattr(module, given["protocol"])
        for name in ("certfile", "keyfile"):
            if name in given:
                given[name] = pki.server.combined_file
        if given.get("cafile") == "ca":
            given["cafile"] = pki.ca.certificate_file
        result = outcome(module._create_stdlib_context, **given)
        seen.append(("returned", described(result[1])) if result[0] == "returned" else result[:2])
    assert seen[0] == seen[1]


def test_the_key_log_of_the_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "keys"))
    assert unverified_context().keylog_filename == str(tmp_path / "keys")


def test_default_verify_paths(monkeypatch: pytest.MonkeyPatch, pki: PKI, tmp_path: Path) -> None:
    assert txmembio.ssl.get_default_verify_paths()._fields == ssl.get_default_verify_paths()._fields
    monkeypatch.setenv("SSL_CERT_FILE", pki.ca.certificate_file)
    monkeypatch.setenv("SSL_CERT_DIR", str(tmp_path))
    assert txmembio.ssl.get_default_verify_paths()[:2] == (pki.ca.certificate_file, str(tmp_path))
    monkeypatch.setenv("SSL_CERT_FILE", "/there/is/none")
    monkeypatch.setenv("SSL_CERT_DIR", "/there/is/none")
    assert txmembio.ssl.get_default_verify_paths()[:2] == (None, None)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("trusted", [True, False])
def test_get_server_certificate(pki: PKI, module: Any, trusted: bool) -> None:
    context = tls_sockets.server_context(pki, ssl)
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            connection, _ = listener.accept()
            with connection, context.wrap_socket(connection, server_side=True) as tls:
                tls.recv(1)

        serving = Beside(serve)
        shown = module.get_server_certificate(
            ("localhost", listener.getsockname()[1]), ca_certs=pki.ca.certificate_file if trusted else None, timeout=60
        )
        assert ssl.PEM_cert_to_DER_cert(shown) == pki.server.certificate_der
        serving.result()


def test_names_of_protocols() -> None:
    for number in range(20):
        assert txmembio.ssl.get_protocol_name(number) == ssl.get_protocol_name(number)


@pytest.mark.skipif(sys.version_info >= (3, 12), reason="ssl.wrap_socket() is gone since Python 3.12")
@pytest.mark.parametrize("module", MODULES)
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_wrap_socket(pki: PKI, module: Any) -> None:
    with pytest.raises(ValueError, match="certfile must be specified for server-side operations"):
        module.wrap_socket(None, server_side=True)
    with pytest.raises(ValueError, match="certfile must be specified"):
        module.wrap_socket(None, keyfile="key")
    with tls_sockets.pair() as (near, far):
        serving = Beside(lambda: module.wrap_socket(far, certfile=pki.server.combined_file, server_side=True))
        client = module.wrap_socket(
            near, ca_certs=pki.ca.certificate_file, cert_reqs=ssl.CERT_REQUIRED, ciphers="ECDHE+AESGCM"
        )
        with client, serving.result():
            assert client.getpeercert()["subjectAltName"]
