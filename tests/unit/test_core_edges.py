"""Contexts that change, keys that are refused, and memory that is given back."""

from __future__ import annotations

import gc
import subprocess
import sys
from typing import Any

import pytest

import txmembio
from support import pair
from support.pki import PKI
from support.process import environment
from support.sslobjects import Ends
from txmembio._openssl.lib import lib
from txmembio.constants import HAS_PSK

KEY = bytes(32)
needs_psk = pytest.mark.skipif(not HAS_PSK, reason="this OpenSSL was built without pre-shared keys")


def unverified() -> txmembio.SSLContext:
    context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = txmembio.CERT_NONE
    return context


def fail(_: Any) -> Any:
    raise LookupError("no such key")


@needs_psk
@pytest.mark.parametrize("side", ["client raises", "client empty", "server raises"])
def test_a_refused_key_is_not_replaced_by_a_certificate(pki: PKI, side: str) -> None:
    client, server = unverified(), pair.server_context(pki)
    client.set_psk_client_callback(fail if side == "client raises" else lambda _: ("me", KEY * (side[0] == "s")))
    if side == "server raises":
        server.set_psk_server_callback(fail)
    ends = pair.unconnected(client, server, server_hostname=None)
    ends.attempt_handshake()
    assert not ends.complete and (ends.client.error or ends.server.error)


@needs_psk
def test_sessions_of_a_psk_context_stay_under_their_rules(pki: PKI) -> None:
    client, server = unverified(), pair.server_context(pki, txmembio.TLSVersion.TLSv1_2)
    client.set_psk_client_callback(lambda _: ("me", KEY))
    session = pair.connect(client, server).client.connection.session
    assert session is not None
    assert pair.connect(client, server, session=session).client.connection.session_reused
    read = txmembio.SSLSession.from_bytes(session.to_bytes())
    assert not pair.connect(client, server, session=read).client.connection.session_reused
    client.verify_mode = txmembio.CERT_REQUIRED
    ends = pair.unconnected(client, server, session=session)
    ends.attempt_handshake()
    assert isinstance(ends.client.error, txmembio.SSLCertVerificationError)


def test_a_clients_switch_takes_the_name_along(pki: PKI) -> None:
    ends = pair.unconnected(unverified(), pair.server_context(pki), server_hostname="evil.example")
    ends.client.connection.context = pair.client_context(pki)
    ends.attempt_handshake()
    assert isinstance(ends.client.error, txmembio.SSLCertVerificationError)
    nameless = unverified().connection()
    before = nameless.context
    with pytest.raises(ValueError, match="check_hostname requires server_hostname"):
        nameless.context = pair.client_context(pki)
    assert nameless.context is before


def test_a_refused_handshake_is_freed_at_once(pki: PKI) -> None:
    def refused() -> None:
        ends = Ends(txmembio.create_default_context(), pair.server_context(pki))
        with pytest.raises(txmembio.SSLError):
            ends.client.tls.do_handshake()
        ends.client.incoming.write(b"no TLS at all")
        assert ends.client.outcome("do_handshake")[0] == "raised"

    gc.collect()
    gc.disable()
    try:
        before = lib.txm_live_connections()
        refused()
        assert lib.txm_live_connections() == before
    finally:
        gc.enable()


def test_a_read_lets_go_of_the_buffer(pki: PKI) -> None:
    ends = Ends(pair.client_context(pki), pair.server_context(pki))
    ends.handshake()
    ends.server.outcome("write", b"x" * 16000)
    ends.client.tls.read(0)
    wire = bytes(ends.server.collect())
    buffer = bytearray(16384)
    ends.client.incoming.write(wire[: len(wire) - 1])
    with pytest.raises(txmembio.SSLWantReadError):
        while True:
            ends.client.tls.read(16384, buffer)
    buffer += b"resized"


def test_a_switch_brings_the_message_callback(pki: PKI) -> None:
    first, second = pair.server_context(pki), pair.server_context(pki)
    seen: list[Any] = []
    second._msg_callback = lambda *about: seen.append(about)
    first.sni_callback = lambda connection, name, context: setattr(connection, "context", second)
    assert pair.connect(pair.client_context(pki), first).complete and seen


def test_ssl_that_is_blocked_is_not_imported() -> None:
    code = "import sys; sys.modules['ssl'] = None; import txmembio; txmembio.install('ssl')"
    code += "; print(sys.modules['ssl'].__name__)"
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.stdout == "txmembio.ssl\n", done.stderr
