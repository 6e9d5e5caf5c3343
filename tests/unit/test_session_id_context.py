"""The session-id context: derived from the rules by which peers are accepted, so that no session crosses them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PKI
from support.process import environment

Change = Callable[[txmembio.SSLContext], Any]


def identity(context: txmembio.SSLContext) -> bytes:
    """What OpenSSL is given when a connection is made."""
    context.connection(server_side=True)
    return context._identity


def accept_all(certificate: txmembio.Certificate, depth: int, error: int) -> bool:
    """A verify callback."""
    return True


def changes(pki: PKI) -> dict[str, Change]:
    """Changes of the rules: each gives another context."""
    return {
        "verify_mode": lambda context: setattr(context, "verify_mode", txmembio.CERT_OPTIONAL),
        "verify_flags": lambda context: setattr(context, "verify_flags", txmembio.VerifyFlags.VERIFY_X509_STRICT),
        "post_handshake_auth": lambda context: setattr(context, "post_handshake_auth", True),
        "check_hostname": lambda context: setattr(context, "check_hostname", True),
        "roots": lambda context: context.load_verify_locations(cadata=pki.untrusted_ca.certificate),
        "a folder of roots": lambda context: context.load_verify_locations(capath=pki.roots),
        "the platform's roots": lambda context: context.load_default_certs(),
        "the default paths": lambda context: context.set_default_verify_paths(),
        "a verify callback": lambda context: context.set_verify_callback(accept_all),
    }


def test_it_is_the_same_for_the_same_rules_and_another_for_others(pki: PKI) -> None:
    seen = {identity(pair.server_context(pki, verify_client=True)): "nothing"}
    assert identity(pair.server_context(pki, verify_client=True)) in seen
    for what, change in changes(pki).items():
        one, two = (pair.server_context(pki, verify_client=True) for _ in range(2))
        change(one)
        change(two)
        assert identity(one) == identity(two), what
        assert identity(one) not in seen, (what, seen[identity(one)])
        seen[identity(one)] = what
    assert all(1 <= len(value) <= 32 for value in seen)


def test_a_change_of_a_context_in_use_changes_it(pki: PKI) -> None:
    context = pair.server_context(pki, verify_client=True)
    seen = {identity(context)}
    for what, change in changes(pki).items():
        change(context)
        assert identity(context) not in seen, what
        seen.add(identity(context))


def test_what_does_not_decide_who_is_accepted_is_no_part_of_it(pki: PKI) -> None:
    """Or no process could resume what another began, and none after a certificate was renewed."""
    plain = identity(pair.server_context(pki))
    other = pair.server_context(pki, credential=pki.wildcard)
    other.set_alpn_protocols(["h2"])
    other.num_tickets = 5
    other.set_groups("P-384")
    other.sni_callback = lambda *_: None
    assert identity(other) == plain


def test_a_fresh_process_gives_the_same(pki: PKI) -> None:
    program = f"""
import txmembio
context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH, cafile={pki.ca.certificate_file!r})
context.verify_mode = txmembio.CERT_REQUIRED
context.connection(server_side=True)
print(context._identity.hex())
"""
    values = {identity(pair.server_context(pki, verify_client=True)).hex()}
    for seed in ("1", "2"):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**environment(), "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        )
        values.add(done.stdout.strip())
    assert len(values) == 1


def test_one_of_ones_own_replaces_it(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    context = pair.server_context(pki, tls_version)
    assert context.session_id_context is None
    derived = identity(context)
    context.session_id_context = b"my own"
    assert context.session_id_context == identity(context) == b"my own"
    context.session_id_context = None
    assert identity(context) == derived


@pytest.mark.parametrize("bad", [b"", b"x" * 33], ids=["empty", "long"])
def test_a_length_that_openssl_does_not_take(bad: bytes) -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    with pytest.raises(ValueError, match="expected 1 to 32 bytes"):
        context.session_id_context = bad
    assert context.session_id_context is None


@pytest.mark.parametrize("bad", ["text", 5, [b"x"]], ids=repr)
def test_what_is_not_bytes(bad: Any) -> None:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    with pytest.raises(TypeError):
        context.session_id_context = bad


def test_sessions_do_not_cross_it(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """On one context, changed in between: with tickets, only the session-id context can tell before from after."""
    server = pair.server_context(pki, tls_version)
    server.session_id_context = b"one"
    client = pair.client_context(pki, tls_version)
    ends = pair.connect(client, server)
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    for name, resumed in ((b"one", True), (b"two", False), (b"one", True)):
        server.session_id_context = name
        assert pair.connect(client, server, session=session).server.connection.session_reused is resumed
