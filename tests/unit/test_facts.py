"""What a connection tells about itself and its peer, before there is anything to tell and after."""

from __future__ import annotations

import hashlib

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3


def test_facts_before_the_handshake_are_none_or_empty(shared: Contexts) -> None:
    for connection in pair.unconnected(*shared).connections:
        assert connection.version() is None
        assert connection.cipher() is None
        assert connection.group() is None
        assert connection.selected_alpn_protocol() is None
        assert connection.get_unverified_chain() == []
        assert connection.get_verified_chain() == []
        assert connection.session is None
        assert connection.session_reused is False
        assert connection.get_channel_binding("tls-unique") is None
        with pytest.raises(ValueError, match="handshake"):  # as the standard library's
            connection.getpeercert()
        with pytest.raises(ValueError, match="handshake"):
            connection.export_keying_material("EXPORTER-test", 32)


def test_facts_after_the_handshake(ends: Pair, tls_version: txmembio.TLSVersion) -> None:
    client, server = ends.connections
    spelled = {TLS12: "TLSv1.2", TLS13: "TLSv1.3"}[tls_version]
    assert client.version() == server.version() == spelled
    cipher = client.cipher()
    assert cipher is not None and cipher == server.cipher()
    name, protocol, bits = cipher
    assert protocol == spelled and bits in (128, 256) and name.isupper()
    assert client.group() is not None and client.group() == server.group()
    assert server.server_name() == "localhost"
    assert client.session_reused is server.session_reused is False
    shared_ciphers = server.shared_ciphers()
    assert shared_ciphers is not None and cipher[0] in [entry[0] for entry in shared_ciphers]
    assert client.shared_ciphers() is None


# Keys derived from the connection


def test_exported_keys_are_equal_on_both_sides_and_differ_otherwise(ends: Pair) -> None:
    client, server = ends.connections
    seen = set()
    for label, length, context in [
        ("EXPORTER-one", 32, None),
        ("EXPORTER-two", 32, None),
        ("EXPORTER-one", 32, b"a context"),
        ("EXPORTER-one", 64, b"a context"),
    ]:
        material = client.export_keying_material(label, length, context)
        assert material == server.export_keying_material(label, length, context)
        assert len(material) == length
        seen.add(material[:32])
    assert len(seen) >= 3


def test_an_absent_exporter_context_differs_from_an_empty_one_where_tls_says_so(
    ends: Pair, tls_version: txmembio.TLSVersion
) -> None:
    """RFC 5705 section 4 tells them apart; RFC 8446 section 7.5 does not."""
    client, _ = ends.connections
    absent = client.export_keying_material("EXPORTER-test", 32)
    empty = client.export_keying_material("EXPORTER-test", 32, b"")
    assert (absent == empty) == (tls_version == TLS13)


def test_channel_bindings_are_equal_on_both_sides(ends: Pair, tls_version: txmembio.TLSVersion, pki: PKI) -> None:
    client, server = ends.connections
    kinds = ["tls-exporter", "tls-server-end-point"] + (["tls-unique"] if tls_version == TLS12 else [])
    values = {kind: client.get_channel_binding(kind) for kind in kinds}
    assert values == {kind: server.get_channel_binding(kind) for kind in kinds}
    assert len(set(values.values())) == len(kinds) and None not in values.values()
    # RFC 5929 section 4.1: the certificate's hash, by its signature's algorithm, which is SHA-256 here.
    assert values["tls-server-end-point"] == hashlib.sha256(pki.server.certificate_der).digest()
    # RFC 9266 section 4.2.
    assert values["tls-exporter"] == client.export_keying_material("EXPORTER-Channel-Binding", 32, b"")


def test_an_unknown_channel_binding_is_refused(ends: Pair) -> None:
    with pytest.raises(ValueError, match="tls-made-up"):
        ends.client.connection.get_channel_binding("tls-made-up")
