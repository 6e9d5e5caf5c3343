"""The message callback: what it is shown, against the standard library's."""

from __future__ import annotations

import ssl
from typing import Any

import pytest

import txmembio
from support.pki import PKI
from support.sslobjects import Ends, client_context, server_context
from txmembio import messages

Seen = list[tuple[Any, ...]]


def watch(context: Any, seen: Seen) -> None:
    def callback(tls: Any, direction: str, version: int, content_type: int, kind: int, data: bytes) -> None:
        assert isinstance(data, bytes)
        seen.append((type(tls).__name__, direction, int(version), int(content_type), int(kind)))

    context._msg_callback = callback
    assert context._msg_callback is callback


@pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER != ssl.OPENSSL_VERSION_NUMBER,
    reason="the interpreter's ssl runs on another OpenSSL, which sends other messages",
)
def test_the_same_messages_as_in_ssl(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    both: list[Seen] = []
    for module in (ssl, txmembio):
        mine, theirs = client_context(module, pki, tls_version), server_context(module, pki, tls_version)
        seen: Seen = []
        watch(mine, seen)
        watch(theirs, seen)
        ends = Ends(mine, theirs)
        ends.handshake()
        ends.client.outcome("write", b"hello")
        ends.deliver("server")
        assert ends.server.outcome("read", 10) == ("returned", b"hello")
        ends.server.outcome("unwrap")
        ends.settle()
        ends.client.outcome("read", 10)
        both.append(seen)
    assert both[0] and both[1] == both[0]


def test_names_of_what_is_shown() -> None:
    version, content_type, kind = messages.described(0, 0x100, b"\x16\x03\x03\x00\x10")
    assert (version, content_type, kind) == (
        txmembio.TLSVersion.TLSv1_2,
        messages.TLSContentType.HEADER,
        messages.TLSContentType.HANDSHAKE,
    )
    assert isinstance(version, txmembio.TLSVersion) and isinstance(kind, messages.TLSContentType)
    assert messages.described(0x0304, 21, b"\x02\x28")[2] is messages.TLSAlertType.HANDSHAKE_FAILURE
    assert messages.described(0x0304, 22, b"\x01")[2] is messages.TLSMessageType.CLIENT_HELLO
    assert messages.described(0x0304, 20, b"\x01")[2] is messages.TLSMessageType.CHANGE_CIPHER_SPEC
    assert messages.described(0x7F1C, 99, b"\xff") == (0x7F1C, 99, -1)


def test_an_exception_is_raised_when_the_step_is_done(pki: PKI) -> None:
    context = client_context(txmembio, pki)
    context._msg_callback = lambda *_: 1 / 0
    outgoing = txmembio.MemoryBIO()
    tls = context.wrap_bio(txmembio.MemoryBIO(), outgoing, server_hostname="localhost")
    with pytest.raises((ZeroDivisionError, txmembio.SSLWantReadError)):
        tls.do_handshake()
    assert outgoing.pending  # the ClientHello has been made all the same
    with pytest.raises(TypeError):
        context._msg_callback = "callback"
    context._msg_callback = None
    assert context._msg_callback is None and not context._wants
