"""Pre-shared keys: callbacks of both sides, with the standard library on the other one where it has them (3.13)."""

from __future__ import annotations

import ssl
import sys
from typing import Any

import pytest

import txmembio
import txmembio.ssl
from support.sslobjects import Ends
from txmembio.constants import HAS_PSK

pytestmark = pytest.mark.skipif(not HAS_PSK, reason="this OpenSSL was built without pre-shared keys")

KEY = bytes(range(32))

MIXTURES = [(txmembio, txmembio)] + ([(ssl, txmembio), (txmembio, ssl)] if sys.version_info >= (3, 13) else [])


def contexts(client: Any, server: Any, version: txmembio.TLSVersion) -> tuple[Any, Any]:
    """A client and a server without certificates, which have only the key."""
    made = (client.SSLContext(ssl.PROTOCOL_TLS_CLIENT), server.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    made[0].check_hostname = False
    for context in made:
        context.verify_mode = ssl.CERT_NONE
        context.minimum_version = context.maximum_version = version
        context.set_ciphers("PSK")
    return made


@pytest.mark.parametrize(("client", "server"), MIXTURES)
def test_both_sides_know_the_key(client: Any, server: Any, tls_version: txmembio.TLSVersion) -> None:
    asked: list[Any] = []
    mine, theirs = contexts(client, server, tls_version)

    def for_client(hint: str | None) -> tuple[str, bytes]:
        asked.append(hint)
        return "somebody", KEY

    def for_server(identity: str | None) -> bytes:
        asked.append(identity)
        return KEY

    mine.set_psk_client_callback(for_client)
    theirs.set_psk_server_callback(for_server, "a hint")
    ends = Ends(mine, theirs, server_hostname=None)
    ends.handshake()
    assert asked == (["a hint", "somebody"] if tls_version == txmembio.TLSVersion.TLSv1_2 else [None, "somebody"])
    ends.client.outcome("write", b"hello")
    ends.deliver("server")
    assert ends.server.outcome("read", 10) == ("returned", b"hello")


@pytest.mark.parametrize("key", [b"", b"\x00" * 32, bytes(10_000)], ids=["none", "another", "too long"])
def test_a_key_that_does_not_fit_ends_the_handshake(
    key: bytes, tls_version: txmembio.TLSVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    mine, theirs = contexts(txmembio, txmembio, tls_version)
    mine.set_psk_client_callback(lambda _: ("somebody", KEY))
    theirs.set_psk_server_callback(lambda _: key)
    ends = Ends(mine, theirs, server_hostname=None)
    outcomes = []
    for _ in range(4):
        outcomes += [ends.client.outcome("do_handshake"), ends.server.outcome("do_handshake")]
        ends.settle()
    assert any(result[0] == "raised" and result[1] == "SSLError" for result in outcomes)
    if len(key) > 1000:
        assert "expected at most" in str(unraisable[0].exc_value)


@pytest.mark.parametrize("answer", [None, ("a",), ("a", "text"), (5, b"key"), ("nul\0", b"key"), ("a" * 1000, KEY)])
def test_an_answer_that_is_none(answer: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    unraisable: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    mine, _ = contexts(txmembio, txmembio, txmembio.TLSVersion.TLSv1_3)
    mine.set_psk_client_callback(lambda _: answer)
    tls = mine.wrap_bio(txmembio.MemoryBIO(), txmembio.MemoryBIO())
    with pytest.raises(txmembio.SSLError):
        tls.do_handshake()
    assert isinstance(unraisable[0].exc_value, (TypeError, ValueError))


def test_the_callbacks_are_for_their_side() -> None:
    client, server = (txmembio.SSLContext(protocol) for protocol in (ssl.PROTOCOL_TLS_CLIENT, ssl.PROTOCOL_TLS_SERVER))
    with pytest.raises(txmembio.SSLError, match="Cannot add PSK client callback to a PROTOCOL_TLS_SERVER context"):
        server.set_psk_client_callback(None)
    with pytest.raises(txmembio.SSLError, match="Cannot add PSK server callback to a PROTOCOL_TLS_CLIENT context"):
        client.set_psk_server_callback(None)
    setters: list[Any] = [client.set_psk_client_callback, server.set_psk_server_callback]
    for setter in setters:
        with pytest.raises(TypeError):
            setter("callback")
        setter(lambda _: ("a", KEY))
        setter(None)
    assert not client._wants and not server._wants


def test_without_a_callback_nothing_is_asked() -> None:
    mine, theirs = contexts(txmembio, txmembio, txmembio.TLSVersion.TLSv1_2)
    mine.set_psk_client_callback(lambda _: ("somebody", KEY))
    mine.set_psk_client_callback(None)
    theirs.set_psk_server_callback(lambda _: KEY)
    ends = Ends(mine, theirs, server_hostname=None)
    assert ends.client.outcome("do_handshake")[0] == "raised"
