"""create_default_context(): what a careful engineer would choose, and the system's policy where that is stricter."""

from __future__ import annotations

import json
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PKI
from support.process import environment
from txmembio._openssl.lib import lib

CLIENT, SERVER = txmembio.Purpose.SERVER_AUTH, txmembio.Purpose.CLIENT_AUTH


def test_a_clients() -> None:
    context = txmembio.create_default_context()
    assert context.protocol == txmembio.PROTOCOL_TLS_CLIENT
    assert context.verify_mode == txmembio.CERT_REQUIRED and context.check_hostname is True
    assert context.hostname_checks_common_name is False
    assert context.minimum_version == txmembio.TLSVersion.TLSv1_2
    assert context.maximum_version == txmembio.TLSVersion.MAXIMUM_SUPPORTED
    for option in ("OP_NO_COMPRESSION", "OP_NO_RENEGOTIATION"):
        assert context.options & txmembio.Options[option]
    assert not context.options & txmembio.Options.OP_NO_TICKET
    assert not context.options & txmembio.Options.OP_IGNORE_UNEXPECTED_EOF
    assert not context.options & txmembio.Options.OP_LEGACY_SERVER_CONNECT


def test_a_servers(pki: PKI) -> None:
    for arguments in ({}, {"cafile": pki.ca.certificate_file}):
        context = txmembio.create_default_context(SERVER, **arguments)
        assert context.protocol == txmembio.PROTOCOL_TLS_SERVER
        assert context.verify_mode == txmembio.CERT_NONE and context.check_hostname is False
        assert context.minimum_version == txmembio.TLSVersion.TLSv1_2
        assert context.options & txmembio.Options.OP_CIPHER_SERVER_PREFERENCE
        assert context.options & txmembio.Options.OP_NO_RENEGOTIATION
        assert context.num_tickets == 2
        assert context.cert_store_stats()["x509_ca"] == len(arguments)


def test_the_standard_librarys_purposes_are_as_good() -> None:
    assert txmembio.create_default_context(ssl.Purpose.SERVER_AUTH).check_hostname  # type: ignore[arg-type]
    assert not txmembio.create_default_context(ssl.Purpose.CLIENT_AUTH).check_hostname  # type: ignore[arg-type]


@pytest.mark.parametrize("bad", [None, "client", 5, txmembio.Purpose], ids=repr)
def test_a_purpose_that_is_none(bad: Any) -> None:
    with pytest.raises(TypeError, match="expected a member of txmembio"):
        txmembio.create_default_context(bad)


def test_roots_of_ones_own_replace_the_platforms(pki: PKI) -> None:
    for arguments in ({"cafile": pki.ca.certificate_file}, {"cadata": pki.ca.certificate}, {"capath": pki.roots}):
        context = txmembio.create_default_context(CLIENT, **arguments)
        assert context.cert_store_stats()["x509"] == (0 if "capath" in arguments else 1)  # a folder is read when asked
    with pytest.raises(FileNotFoundError):
        txmembio.create_default_context(cafile="/there/is/no/such/file")


@pytest.mark.parametrize("version", ["TLSv1", "TLSv1_1"])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_are_refused_on_both_sides(version: str, pki: PKI) -> None:
    """Security level 0 is what lets the other side speak them at all."""
    old = txmembio.TLSVersion[version]
    for careless_side in ("client", "server"):
        client, server = pair.client_context(pki), pair.server_context(pki)
        careless = {"client": client, "server": server}[careless_side]
        careless.set_ciphers("ALL:@SECLEVEL=0")
        careless.minimum_version = careless.maximum_version = old
        ends = pair.unconnected(client, server)
        ends.attempt_handshake()
        assert not ends.complete
        error = ends.server.error  # it is the server who chooses the version
        assert error.reason == "UNSUPPORTED_PROTOCOL" and error.alert == "protocol_version"
        assert "no TLS version is enabled on both sides" in str(error)


def test_old_versions_can_be_spoken_by_whoever_insists(pki: PKI) -> None:
    """Which shows that the test above tells the truth about why."""
    client, server = pair.client_context(pki), pair.server_context(pki)
    for context in (client, server):
        context.set_ciphers("ALL:@SECLEVEL=0")
        with pytest.warns(DeprecationWarning):
            context.minimum_version = context.maximum_version = txmembio.TLSVersion.TLSv1_1
    assert pair.connect(client, server).client.connection.version() == "TLSv1.1"


def test_renegotiation_is_refused(pki: PKI) -> None:
    """A server asks for it with a HelloRequest. (That clients ask, OpenSSL itself refuses since 3.0.)"""
    for careless in (True, False):
        client, server = pair.client_context(pki), pair.server_context(pki)
        client.maximum_version = txmembio.TLSVersion.TLSv1_2
        server.options &= ~txmembio.Options.OP_NO_RENEGOTIATION
        if careless:
            client.options &= ~txmembio.Options.OP_NO_RENEGOTIATION
        ends = pair.connect(client, server)
        assert lib.SSL_renegotiate(ends.server.connection._ssl) == 1
        ends.server.receive(b"")  # which begins another handshake
        ends.settle()
        if careless:
            assert ends.complete and client.session_stats()["connect_renegotiate"] == 1
        else:
            assert client.session_stats()["connect_renegotiate"] == 0
            assert ends.server.error.reason == "NO_RENEGOTIATION"


def test_nothing_is_compressed(pki: PKI) -> None:
    """What OpenSSL does with it is not told by it; but a megabyte of zeros is a megabyte on the wire."""
    ends = pair.connect(pair.client_context(pki), pair.server_context(pki))
    assert len(ends.client.connection.plaintext_to_wire(bytes(1 << 20))) > 1 << 20


# The system's policy

REPORT = """
import json, txmembio
out = {}
for purpose in txmembio.Purpose:
    context = txmembio.create_default_context(purpose)
    out[purpose.name] = {
        "minimum": context.minimum_version.name,
        "maximum": context.maximum_version.name,
        "level": context.security_level,
        "ciphers": [cipher["name"] for cipher in context.get_ciphers() if cipher["protocol"] != "TLSv1.3"],
    }
client = txmembio.create_default_context(cafile=CAFILE)
server = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
server.load_cert_chain(CERTFILE)
client, server = client.connection(server_hostname="localhost"), server.connection(server_side=True)
try:
    while not (client.do_handshake() and server.handshake_complete):
        server.receive_wire(client.wire_to_send())
        client.receive_wire(server.wire_to_send())
    out["connected"] = [client.version(), client.group(), client.cipher()[0]]
except txmembio.SSLError as error:
    out["error"] = str(error)
print(json.dumps(out))
"""


def under_policy(pki: PKI, folder: Path, *lines: str) -> Any:
    """What REPORT says in a process whose openssl.cnf has these lines for every context."""
    config = folder / "openssl.cnf"
    config.write_text(
        "\n".join(
            [
                "openssl_conf = all",
                "[all]",
                "ssl_conf = ssl",
                "[ssl]",
                "system_default = policy",
                "[policy]",
                *lines,
                "",
            ]
        )
    )
    program = f"CAFILE, CERTFILE = {pki.ca.certificate_file!r}, {pki.server.combined_file!r}\n{REPORT}"
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**environment(), "OPENSSL_CONF": str(config)},
        capture_output=True,
        text=True,
        check=True,
    )
    return json.loads(done.stdout)


def test_without_a_policy(pki: PKI, tmp_path: Path) -> None:
    report = under_policy(pki, tmp_path)
    for purpose in ("SERVER_AUTH", "CLIENT_AUTH"):
        assert report[purpose]["minimum"] == "TLSv1_2" and report[purpose]["level"] == 2
        assert "ECDHE-RSA-AES128-GCM-SHA256" in report[purpose]["ciphers"]
    assert report["connected"][0] == "TLSv1.3"


def test_a_policy_of_a_higher_version_holds(pki: PKI, tmp_path: Path) -> None:
    report = under_policy(pki, tmp_path, "MinProtocol = TLSv1.3")
    assert report["SERVER_AUTH"]["minimum"] == report["CLIENT_AUTH"]["minimum"] == "TLSv1_3"


def test_a_policy_of_a_lower_version_does_not_lower_ours(pki: PKI, tmp_path: Path) -> None:
    report = under_policy(pki, tmp_path, "MinProtocol = TLSv1", "CipherString = DEFAULT:@SECLEVEL=0")
    assert report["SERVER_AUTH"]["minimum"] == "TLSv1_2" and report["SERVER_AUTH"]["level"] == 2


def test_a_policy_of_a_highest_version_holds(pki: PKI, tmp_path: Path) -> None:
    report = under_policy(pki, tmp_path, "MaxProtocol = TLSv1.2")
    assert report["CLIENT_AUTH"]["maximum"] == "TLSv1_2"
    assert report["connected"][0] == "TLSv1.2"


def test_a_policy_of_ciphers_holds(pki: PKI, tmp_path: Path) -> None:
    report = under_policy(pki, tmp_path, "CipherString = AES256:@SECLEVEL=3", "MaxProtocol = TLSv1.2")
    for purpose in ("SERVER_AUTH", "CLIENT_AUTH"):
        assert report[purpose]["level"] == 3
        assert report[purpose]["ciphers"]
        for name in report[purpose]["ciphers"]:
            assert (
                name.startswith("ECDHE") and name.split("-")[2] == "AES256" and name.split("-")[3][:3] in ("GCM", "CCM")
            )
    assert report["connected"][2] == "ECDHE-ECDSA-AES256-GCM-SHA384"


def test_a_policy_that_leaves_nothing_safe_for_tls12_leaves_tls13(pki: PKI, tmp_path: Path) -> None:
    """No suite of ours in the list: none that is not in it is used, and none that is not ours."""
    report = under_policy(pki, tmp_path, "CipherString = AES128-SHA:AES256-SHA256")
    assert report["SERVER_AUTH"]["minimum"] == report["CLIENT_AUTH"]["minimum"] == "TLSv1_3"
    assert report["connected"][0] == "TLSv1.3"
    report = under_policy(pki, tmp_path, "CipherString = AES128-SHA", "MaxProtocol = TLSv1.2")
    assert "connected" not in report and report["error"]


def test_a_policy_of_groups_holds(pki: PKI, tmp_path: Path) -> None:
    assert under_policy(pki, tmp_path, "Groups = P-384")["connected"][1] == "secp384r1"


def test_a_policy_of_tls13_suites_holds(pki: PKI, tmp_path: Path) -> None:
    report = under_policy(pki, tmp_path, "Ciphersuites = TLS_AES_128_GCM_SHA256")
    assert report["connected"][2] == "TLS_AES_128_GCM_SHA256"


def test_a_bare_context_keeps_a_policy_of_versions_too(pki: PKI, tmp_path: Path) -> None:
    """The standard library sets TLS 1.2 whatever the policy says; lowering it would be no default of ours."""
    config = tmp_path / "openssl.cnf"
    config.write_text(
        "openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = policy\n[policy]\nMinProtocol = TLSv1.3\n"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            "import txmembio; print(txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER).minimum_version.name)",
        ],
        env={**environment(), "OPENSSL_CONF": str(config)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "TLSv1_3\n"
