"""What the two ends agree on, or do not: protocols of the application, server names, groups, versions."""

from __future__ import annotations

from typing import NoReturn

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3

# ALPN


@pytest.mark.parametrize(
    ("offered", "accepted", "chosen"),
    [
        (["h2", "http/1.1"], ["h2", "http/1.1"], "h2"),
        (["h2", "http/1.1"], ["http/1.1", "h2"], "http/1.1"),  # the server's order decides, as in the standard library
        (["h2", "http/1.1"], ["http/1.1"], "http/1.1"),
        (["h2"], [], None),
        ([], ["h2"], None),
    ],
)
def test_alpn_lists(contexts: Contexts, offered: list[str], accepted: list[str], chosen: str | None) -> None:
    contexts[0].set_alpn_protocols(offered)
    contexts[1].set_alpn_protocols(accepted)
    client, server = pair.connect(*contexts).connections
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == chosen


def test_alpn_without_a_protocol_in_common_goes_on_without(contexts: Contexts) -> None:
    """As the standard library's servers do."""
    contexts[0].set_alpn_protocols(["h2"])
    contexts[1].set_alpn_protocols(["http/1.1"])
    client, server = pair.connect(*contexts).connections
    assert client.selected_alpn_protocol() is server.selected_alpn_protocol() is None


@pytest.mark.parametrize("chosen", ["http/1.1", None])
def test_alpn_callback_sees_the_offer_and_chooses(contexts: Contexts, chosen: str | None) -> None:
    seen: list[list[str]] = []

    def choose(offered: list[str]) -> str | None:
        seen.append(offered)
        return chosen

    contexts[0].set_alpn_protocols(["h2", "http/1.1"])
    contexts[1].set_alpn_callback(choose)
    client, server = pair.connect(*contexts).connections
    assert seen == [["h2", "http/1.1"]]
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == chosen


def broken(*_: object) -> NoReturn:
    """A callback with a mistake in it."""
    raise LookupError("a mistake in the callback")


def test_an_exception_in_an_alpn_callback_is_a_fatal_alert(contexts: Contexts) -> None:
    contexts[0].set_alpn_protocols(["h2"])
    contexts[1].set_alpn_callback(broken)
    assert_callback_failed(pair.unconnected(*contexts))


def assert_callback_failed(ends: Pair) -> None:
    """The server raises what the callback raised, or an error that it caused; the client is told by an alert; nobody is
    connected.
    """
    ends.server.start()
    ends.client.start()
    hello = ends.client.connection.wire_to_send()
    with pytest.raises(Exception) as caught:
        ends.server.connection.receive_wire(hello)
    chain = [caught.value, caught.value.__cause__, caught.value.__context__]
    assert any(isinstance(error, LookupError) for error in chain)
    assert ends.server.connection.error is not None
    ends.settle()
    assert ends.client.error.alert_received
    assert not ends.client.connection.handshake_complete and not ends.server.connection.handshake_complete


# Server names


@pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
def test_the_server_name_is_sent_unless_it_is_an_address(shared: Contexts, name: str) -> None:
    """RFC 6066 section 3: literal addresses are not permitted. The certificate is checked for either."""
    client, server = pair.connect(*shared, server_hostname=name).connections
    assert client.server_hostname == name
    assert server.server_name() == (name if name == "localhost" else None)


def test_a_server_picks_its_certificate_by_name(contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    other = pki.issue("other.example")
    other_context = pair.server_context(pki, tls_version, credential=other)
    seen: list[object] = []

    def by_name(connection: txmembio.Connection, name: str | None, context: txmembio.SSLContext) -> None:
        seen.append((name, context))
        if name == "other.example":
            connection.context = other_context

    contexts[1].sni_callback = by_name
    client, server = pair.connect(*contexts, server_hostname="other.example").connections
    assert seen == [("other.example", contexts[1])]
    assert server.context is other_context
    assert client.getpeercert(binary_form=True) == other.certificate_der
    client, server = pair.connect(*contexts).connections
    assert client.getpeercert(binary_form=True) == pki.server.certificate_der


def test_alpn_is_answered_on_the_context_that_a_name_switched_to(
    contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    other_context = pair.server_context(pki, tls_version, credential=pki.issue("other.example"))
    other_context.set_alpn_protocols(["h2"])

    def by_name(connection: txmembio.Connection, name: str | None, context: txmembio.SSLContext) -> None:
        connection.context = other_context

    contexts[0].set_alpn_protocols(["http/1.1", "h2"])
    contexts[1].sni_callback = by_name
    client, server = pair.connect(*contexts, server_hostname="other.example").connections
    assert client.selected_alpn_protocol() == server.selected_alpn_protocol() == "h2"


def test_an_exception_in_an_sni_callback_is_a_fatal_alert(contexts: Contexts) -> None:
    contexts[1].sni_callback = broken
    assert_callback_failed(pair.unconnected(*contexts))


def test_an_interrupt_in_a_callback_is_not_swallowed(contexts: Contexts) -> None:
    """KeyboardInterrupt and its like reach whoever made the call; the handshake is refused nevertheless."""

    def interrupt(*_: object) -> NoReturn:
        raise KeyboardInterrupt

    contexts[1].sni_callback = interrupt
    ends = pair.unconnected(*contexts)
    ends.client.start()
    with pytest.raises(KeyboardInterrupt):
        ends.server.connection.receive_wire(ends.client.connection.wire_to_send())
    ends.settle()
    assert ends.client.error.alert_received
    assert not ends.complete


def test_an_sni_callback_may_refuse_with_an_alert(contexts: Contexts) -> None:
    contexts[1].sni_callback = lambda *_: txmembio.AlertDescription.ALERT_DESCRIPTION_UNRECOGNIZED_NAME
    client, server = pair.unconnected(*contexts).refusal()
    assert client.alert == server.alert == "unrecognized_name"
    assert (client.alert_received, server.alert_received) == (True, False)


@pytest.mark.parametrize(
    ("bad", "error"),
    [
        ("", ValueError),
        (".example", ValueError),
        ("a" * 64 + ".example", ValueError),  # a label has 63 bytes at most, RFC 1035 section 2.3.4
        ("a.example" * 30, ValueError),
        ("nul\0.example", TypeError),  # as the standard library's
        (17, TypeError),
    ],
)
def test_a_server_name_that_is_none_is_refused_at_once(shared: Contexts, bad: str, error: type[Exception]) -> None:
    with pytest.raises(error, match=r"server_?host_?name"):
        shared[0].connection(server_hostname=bad)


def test_a_server_takes_no_server_hostname(shared: Contexts) -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        shared[1].connection(server_side=True, server_hostname="localhost")


def test_a_client_that_checks_names_needs_one(shared: Contexts) -> None:
    with pytest.raises(ValueError, match="server_hostname"):
        shared[0].connection()


# Groups and versions


@pytest.mark.parametrize("group", ["X25519", "P-256", "P-384"])
def test_groups(contexts: Contexts, pki: PKI, tls_version: txmembio.TLSVersion, group: str) -> None:
    other_names = {"X25519": {"x25519"}, "P-256": {"secp256r1", "prime256v1", "p-256"}, "P-384": {"secp384r1", "p-384"}}
    # With an RSA key: in TLS 1.2 the client's groups are also what it takes for the curve of a certificate.
    server_context = pair.server_context(pki, tls_version, credential=pki.server_rsa)
    contexts[0].set_groups(group)
    client, server = pair.connect(contexts[0], server_context).connections
    negotiated = client.group()
    assert negotiated == server.group()
    assert negotiated is not None and negotiated.lower() in other_names[group]


def test_no_group_in_common_is_an_error_on_both_sides(contexts: Contexts) -> None:
    contexts[0].set_groups("X25519")
    contexts[1].set_groups("P-384")
    client, server = pair.unconnected(*contexts).refusal()
    assert client.alert_received and client.alert == server.alert
    assert server.reason is not None and server.alert == "handshake_failure"


def test_no_version_in_common_is_an_error_on_both_sides(pki: PKI) -> None:
    ends = pair.unconnected(pair.client_context(pki, TLS12), pair.server_context(pki, TLS13))
    client, server = ends.refusal()
    assert client.alert == server.alert == "protocol_version"
    assert client.alert_received and not server.alert_received
    assert server.reason == "UNSUPPORTED_PROTOCOL"


def test_the_newest_version_in_common_is_spoken(pki: PKI) -> None:
    for limit, spoken in [(None, "TLSv1.3"), (TLS12, "TLSv1.2")]:
        client, server = pair.connect(pair.client_context(pki, limit), pair.server_context(pki)).connections
        assert client.version() == server.version() == spoken
