"""Errors: the interpreter's own classes, the attributes of the table in errors.py on each, and a text of one line."""

from __future__ import annotations

import ssl
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import txmembio
from support import pair, sslobjects
from support.pki import PKI
from txmembio import errors

ATTRIBUTES = [
    "library",
    "reason",
    "alert",
    "alert_number",
    "alert_received",
    "verify_code",
    "verify_message",
    "depth",
    "subject",
    "hostname",
]

CLASSES = [name for name in errors.__all__ if name.startswith("SSL")]


@pytest.mark.parametrize("name", CLASSES)
def test_the_classes_are_the_interpreters(name: str) -> None:
    assert getattr(txmembio, name) is getattr(ssl, name)


def test_our_own_classes() -> None:
    assert issubclass(txmembio.InstallError, RuntimeError)
    assert issubclass(txmembio.UnavailableError, NotImplementedError)


def assert_complete(error: BaseException) -> None:
    """All the attributes, and one line that says something."""
    assert isinstance(error, ssl.SSLError)
    assert not [name for name in ATTRIBUTES if not hasattr(error, name)]
    assert isinstance(error.errno, int) and error.strerror == str(error) == error.args[1]
    text = str(error)
    assert text and text.isprintable() and "None" not in text
    if getattr(error, "alert", None) is None:
        assert getattr(error, "alert_number", 0) is None


def handshake(
    client: txmembio.SSLContext, server: txmembio.SSLContext, hostname: str | None = "localhost"
) -> Callable[[], Any]:
    """A handshake that raises the error of the end that refuses."""
    return lambda: pair.connect(client, server, server_hostname=hostname)


def every_error(pki: PKI, folder: Path) -> dict[str, Callable[[], Any]]:
    """Calls that each raise another SSLError of the core."""
    (folder / "garbage").write_bytes(b"\n-----BEGIN CERTIFICATE-----\n\x00\x01\n-----END CERTIFICATE-----\n")
    (folder / "large").touch()
    client, server = pair.client_context(pki), pair.server_context(pki)
    bare = txmembio.SSLContext(txmembio.PROTOCOL_TLS_SERVER)
    closed = pair.server_context(pki, verify_client=True)
    old = pair.client_context(pki, txmembio.TLSVersion.TLSv1_2)
    raising = pair.server_context(pki)
    raising.sni_callback = lambda *_: 1 // 0

    def after_close() -> None:
        connection = pair.connect(client, server).client.connection
        connection.close()
        connection.send_plaintext(b"late")

    def truncated() -> None:
        pair.connect(client, server).client.connection.receive_wire_eof()

    def truncated_handshake() -> None:
        connection = client.connection(server_hostname="localhost")
        connection.do_handshake()
        connection.receive_wire_eof()

    def bio_after_end() -> None:
        bio = txmembio.MemoryBIO()
        bio.write_eof()
        bio.write(b"late")

    def wrapped(wire: bytes = b"") -> Callable[[], Any]:
        incoming = txmembio.MemoryBIO()
        incoming.write(wire)
        return client.wrap_bio(incoming, txmembio.MemoryBIO(), server_hostname="localhost").do_handshake

    def behind_close() -> None:
        one, other = pair.connect(client, server).connections
        one.close()
        other.receive_wire(one.wire_to_send() + b"x" * 70_000)
        other.receive_wire(b"")

    return {
        "untrusted": handshake(client, pair.server_context(pki, credential=pki.untrusted)),
        "expired": handshake(client, pair.server_context(pki, credential=pki.expired)),
        "wrong name": handshake(client, pair.server_context(pki, credential=pki.wrong_name)),
        "wrong address": handshake(client, pair.server_context(pki, credential=pki.wrong_name), "127.0.0.1"),
        "a name of two lines": handshake(client, server, "two\nlines"),
        "no client certificate": handshake(client, closed),
        "no version in common": handshake(old, pair.server_context(pki, txmembio.TLSVersion.TLSv1_3)),
        "no certificate": handshake(client, bare),
        "a callback that raises": handshake(client, raising),
        "plain HTTP": lambda: server.connection(server_side=True).receive_wire(b"GET / HTTP/1.1\r\n\r\n"),
        "random bytes": lambda: server.connection(server_side=True).receive_wire(bytes(range(100, 200))),
        "after close": after_close,
        "truncated": truncated,
        "truncated handshake": truncated_handshake,
        "behind close_notify": behind_close,
        "want read": wrapped(),
        "an alert": wrapped(b"\x15\x03\x03\x00\x02\x02\x28"),
        "an alert nobody knows": wrapped(b"\x15\x03\x03\x00\x02\x02\xc8"),
        "closed": wrapped(b"\x15\x03\x03\x00\x02\x01\x00"),
        "a BIO's end": bio_after_end,
        "the wrong side": lambda: client.connection(server_side=True),
        "the other wrong side": lambda: server.connection(),
        "garbage for a certificate": lambda: bare.load_cert_chain(folder / "garbage"),
        "no certificate in it": lambda: bare.load_cert_chain(pki.server.key_file),
        "no key in it": lambda: bare.load_cert_chain(pki.server.chain_file),
        "another's key": lambda: bare.load_cert_chain(pki.mismatched.chain_file, pki.mismatched.key_file),
        "no password": lambda: bare.load_cert_chain(pki.encrypted.chain_file, pki.encrypted.key_file),
        "wrong password": lambda: bare.load_cert_chain(pki.encrypted.chain_file, pki.encrypted.key_file, "wrong"),
        "garbage for roots": lambda: bare.load_verify_locations(folder / "garbage"),
        "text for roots": lambda: bare.load_verify_locations(cadata="two\nlines"),
        "bytes for roots": lambda: bare.load_verify_locations(cadata=b"two\nlines"),
        "garbage for DH": lambda: bare.load_dh_params(folder / "garbage"),
        "ciphers": lambda: bare.set_ciphers("none\nsuch"),
        "cipher suites": lambda: bare.set_ciphersuites("none\nsuch"),
        "ALPN": lambda: bare.set_alpn_protocols(["\n" * 256]),
        "a session": lambda: txmembio.SSLSession.from_bytes(b"two\nlines"),
        "DER": lambda: txmembio.Certificate.from_der(b"two\nlines"),
        "a key": lambda: txmembio.PrivateKey.from_der(b"two\nlines"),
    }


def test_every_error_is_complete(pki: PKI, tmp_path: Path) -> None:
    for what, call in every_error(pki, tmp_path).items():
        with pytest.raises(ssl.SSLError) as caught:
            call()
        try:
            assert_complete(caught.value)
        except AssertionError as error:
            raise AssertionError(f"{what}: {caught.value!r}") from error


# What the attributes say


def test_a_received_alert(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.unconnected(
        pair.client_context(pki, tls_version), pair.server_context(pki, tls_version, credential=pki.untrusted)
    ).refusal()
    assert (client.alert, client.alert_number, client.alert_received) == ("unknown_ca", 48, False)
    assert (server.alert, server.alert_number, server.alert_received) == ("unknown_ca", 48, True)
    assert (server.library, server.reason) == ("SSL", "TLSV1_ALERT_UNKNOWN_CA")
    assert server.verify_code is server.subject is server.hostname is None


def test_a_refused_certificate(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, _ = pair.unconnected(
        pair.client_context(pki, tls_version), pair.server_context(pki, tls_version, credential=pki.wrong_name)
    ).refusal()
    assert isinstance(client, txmembio.SSLCertVerificationError) and isinstance(client, ValueError)
    assert (client.library, client.reason) == ("SSL", "CERTIFICATE_VERIFY_FAILED")
    assert (client.verify_code, client.depth, client.hostname) == (62, 0, "localhost")
    assert client.verify_message == "Hostname mismatch, certificate is not valid for 'localhost'."
    assert client.subject is not None and client.subject in str(client)


@pytest.mark.parametrize(
    ("wire", "reason", "hint"),
    [
        (b"GET / HTTP/1.1\r\n\r\n", "HTTP_REQUEST", "the peer sent plain HTTP to a TLS port"),
        (b"CONNECT a.example:443 HTTP/1.1\r\n\r\n", "HTTPS_PROXY_REQUEST", "plain HTTP proxy request"),
        (b"\x16\x09\x00\x00\x05hello", "WRONG_VERSION_NUMBER", "not TLS"),
    ],
)
def test_terse_reasons_are_explained(pki: PKI, wire: bytes, reason: str, hint: str) -> None:
    with pytest.raises(txmembio.SSLError) as caught:
        pair.server_context(pki).connection(server_side=True).receive_wire(wire)
    assert caught.value.reason == reason
    assert str(caught.value).startswith(f"[SSL: {reason}] ") and hint in str(caught.value)


# Making them


@given(text=st.text(), number=st.integers(0, 10))
def test_make_sets_every_attribute(text: str, number: int) -> None:
    error = errors.make(txmembio.SSLEOFError, number, text, depth=5)
    assert {name: getattr(error, name) for name in ATTRIBUTES} == {**dict.fromkeys(ATTRIBUTES), "depth": 5}
    assert isinstance(error, ssl.SSLEOFError) and (error.errno, error.strerror) == (number, text)


def test_a_queue_without_an_error_is_said_to_be_one() -> None:
    error = errors.queued("trying something")
    assert str(error) == "OpenSSL gave no reason: trying something"
    assert_complete(error)


def test_an_error_is_told_once(pki: PKI) -> None:
    """The queue is emptied, and OpenSSL's other users in this thread do not find ours in it."""
    for _ in range(2):
        with pytest.raises(txmembio.SSLError, match="not a certificate in DER"):
            txmembio.Certificate.from_der(b"none")
    assert str(errors.queued("nothing")) == "OpenSSL gave no reason: nothing"
    ends = pair.connect(pair.client_context(pki), pair.server_context(pki))
    assert ends.complete


def test_an_alert_that_unwrap_reads_is_not_left_for_others_to_find(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """OpenSSL calls that a success, and keeps the alert in the thread's queue."""
    ends = sslobjects.Ends(
        sslobjects.client_context(txmembio, pki, int(tls_version)),
        sslobjects.server_context(txmembio, pki, int(tls_version)),
    )
    ends.handshake()
    ends.talk()
    ends.server.incoming.write(b"this is no record")
    with pytest.raises(txmembio.SSLError):
        ends.server.tls.read()
    ends.deliver("client")
    ends.client.tls.unwrap()
    assert str(errors.queued("nothing")) == "OpenSSL gave no reason: nothing"


# An exception that has no caller


def test_an_exception_without_a_caller_reaches_the_hook(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", seen.append)
    problem = ZeroDivisionError("in a callback")
    errors.tell_unraisable(problem)
    (args,) = seen
    assert args.exc_value is problem and args.exc_type is ZeroDivisionError
    assert sys.getrefcount(problem) < 10


def test_the_interpreters_own_hook_takes_it(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    errors.tell_unraisable(ZeroDivisionError("in a callback"))
    assert "ZeroDivisionError: in a callback" in capfd.readouterr().err
