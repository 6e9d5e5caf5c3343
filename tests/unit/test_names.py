"""ServerName: what may be reached, what goes into SNI, and what the certificate is checked for."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import txmembio
from support import pair
from support.pki import PKI
from txmembio.names import ServerName


@pytest.mark.parametrize(
    ("given_name", "ascii_name"),
    [
        ("localhost", b"localhost"),
        (b"localhost", b"localhost"),
        (bytearray(b"localhost"), b"localhost"),
        ("A.Example", b"A.Example"),
        ("a.example.", b"a.example"),
        ("b\xfccher.example", b"xn--bcher-kva.example"),
        ("xn--bcher-kva.example", b"xn--bcher-kva.example"),
        ("_service._tcp.example", b"_service._tcp.example"),
        ("a" * 63 + ".example", b"a" * 63 + b".example"),
        ("1.2.3.example", b"1.2.3.example"),
        (".".join(["a" * 61] * 4) + ".exam", b".".join([b"a" * 61] * 4) + b".exam"),
    ],
)
def test_host_names(given_name: Any, ascii_name: bytes) -> None:
    name = ServerName(given_name)
    assert (name.ascii, name.address) == (ascii_name, None)
    assert isinstance(name.given, str)


@pytest.mark.parametrize(
    ("given_name", "address"),
    [
        ("192.0.2.1", bytes([192, 0, 2, 1])),
        (b"192.0.2.1", bytes([192, 0, 2, 1])),
        ("::1", bytes(15) + b"\1"),
        ("2001:DB8::1", bytes.fromhex("20010db8000000000000000000000001")),
        ("fe80::1%eth0", bytes.fromhex("fe800000000000000000000000000001")),
        ("::ffff:192.0.2.1", bytes(10) + b"\xff\xff" + bytes([192, 0, 2, 1])),
    ],
)
def test_addresses(given_name: Any, address: bytes) -> None:
    name = ServerName(given_name)
    assert (name.address, name.ascii) == (address, b"")


@pytest.mark.parametrize(
    ("bad", "error", "text"),
    [
        ("", ValueError, "cannot be an empty string"),
        (".example", ValueError, "leading dot"),
        ("a\0b", TypeError, "embedded null character"),
        (b"a\0b", TypeError, "embedded null character"),
        (b"\xff", ValueError, "ascii"),
        (5, TypeError, "must be str, not int"),
        (["a"], TypeError, "must be str, not list"),
        ("a" * 64 + ".example", ValueError, "label too long"),
        ("b\xfc" * 40 + ".example", ValueError, "no host name"),
        (".".join(["a" * 62] * 5), ValueError, "expected at most 253"),
    ],
)
def test_names_that_are_none(bad: Any, error: type[Exception], text: str) -> None:
    with pytest.raises(error, match=text) as caught:
        ServerName(bad)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=300) | st.binary(max_size=300))
def test_anything_is_a_name_or_a_clear_error(anything: str | bytes) -> None:
    try:
        name = ServerName(anything)
    except (ValueError, TypeError):
        return
    assert name.address is not None or (0 < len(name.ascii) <= 253 and b"\0" not in name.ascii)


@given(st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=1, max_size=80))
def test_what_the_standard_library_takes_we_take(text: str) -> None:
    """But for empty labels, which we take like most other programs."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    try:
        context.wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_hostname=text)
    except ValueError:
        return
    ServerName(text)


@pytest.mark.parametrize(
    ("name", "identities", "accepted"),
    [
        ("a.example", ["a.example"], True),
        ("A.EXAMPLE", ["a.example"], True),
        ("a.example.", ["a.example"], True),
        ("b.example", ["a.example"], False),
        ("b\xfccher.example", ["xn--bcher-kva.example"], True),
        ("sub.a.example", ["*.a.example"], True),
        ("a.example", ["*.a.example"], False),
        ("x.sub.a.example", ["*.a.example"], False),
        ("192.0.2.1", ["192.0.2.1"], True),
        ("192.0.2.2", ["192.0.2.1"], False),
        ("2001:db8::1", ["2001:db8:0:0::1"], True),
        ("192.0.2.1", ["a.example"], False),
    ],
)
def test_what_the_certificate_is_checked_for(name: str, identities: list[str], accepted: bool, pki: PKI) -> None:
    server = pair.server_context(pki, credential=pki.issue(*identities))
    ends = pair.unconnected(pair.client_context(pki), server, server_hostname=name)
    ends.attempt_handshake()
    assert ends.complete is accepted
    if not accepted:
        assert ends.client.error.verify_code in (62, 64)
        assert ends.client.error.hostname == name


def test_only_host_names_go_into_sni(pki: PKI) -> None:
    client = pair.client_context(pki)
    client.check_hostname = False
    for given_name, sent in (
        ("a.example.", "a.example"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("192.0.2.1", None),
        ("::1", None),
        ("fe80::1%eth0", None),
    ):
        ends = pair.connect(client, pair.server_context(pki), server_hostname=given_name)
        assert ends.server.connection.server_name() == sent
        assert ends.client.connection.server_hostname == given_name


def test_a_common_name_counts_only_where_it_may(pki: PKI) -> None:
    """A certificate without subjectAltName (RFC 9525 section 6.4.4 has done away with them)."""
    credential = pki.issue("ignored@example.com", common_name="a.example")
    for checks_common_name in (True, False):
        client = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
        client.load_verify_locations(pki.ca.certificate_file)
        assert client.hostname_checks_common_name is True  # the standard library's default
        client.hostname_checks_common_name = checks_common_name
        server = pair.server_context(pki, credential=credential)
        ends = pair.unconnected(client, server, server_hostname="a.example")
        ends.attempt_handshake()
        assert ends.complete is checks_common_name
