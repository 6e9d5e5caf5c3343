"""A server that picks its context by the client's server name: everything is taken over, and nothing slips through.

OpenSSL's own callback for server names runs when it has looked at the ticket already; ours, at the ClientHello, before.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Pair
from support.pki import PKI
from txmembio._openssl.lib import ffi, lib

Version = txmembio.TLSVersion
TLS12, TLS13 = Version.TLSv1_2, Version.TLSv1_3
Contexts = dict[str, txmembio.SSLContext]


def by_name(first: txmembio.SSLContext, contexts: Contexts) -> txmembio.SSLContext:
    """Makes `first` switch to the context for the client's name, if there is one."""

    def switch(connection: txmembio.Connection, name: str | None, context: txmembio.SSLContext) -> None:
        if name in contexts:
            connection.context = contexts[name]

    first.sni_callback = switch
    return first


def client_context(pki: PKI, version: Version | None = None) -> txmembio.SSLContext:
    """A client's that goes by whatever certificate it is shown: `pki.server` here, for every name."""
    context = pair.client_context(pki, version)
    context.check_hostname = False
    return context


def earn_session(client: txmembio.SSLContext, server: txmembio.SSLContext, name: str) -> txmembio.SSLSession:
    """A session of a connection to this name."""
    ends = pair.connect(client, server, server_hostname=name)
    ends.server.send_plaintext(b"something for the tickets to come with")
    ends.settle()
    session = ends.client.connection.session
    assert session is not None
    return session


def resume(client: txmembio.SSLContext, server: txmembio.SSLContext, name: str, session: txmembio.SSLSession) -> Pair:
    """An attempt to resume it at this name."""
    ends = pair.unconnected(client, server, server_hostname=name, session=session)
    ends.attempt_handshake()
    return ends


# No ticket gets around a client certificate (DESIGN section 6)


#: Contexts whose tickets say nothing of a client certificate that a strict one would accept, by what they do.
WEAKER = [
    "asks nobody",
    "takes no for an answer",
    "asks after the handshake",
    "accepts every certificate",
    "trusts somebody else too",
    "checks less",
]


def weaken(context: txmembio.SSLContext, how: str, pki: PKI) -> None:
    """Changes a context that requires client certificates into one of these."""
    if how == "asks nobody":
        context.verify_mode = txmembio.CERT_NONE
    elif how == "takes no for an answer":
        context.verify_mode = txmembio.CERT_OPTIONAL
    elif how == "asks after the handshake":
        context.post_handshake_auth = True
    elif how == "accepts every certificate":
        context.set_verify_callback(lambda certificate, depth, error: True)
    elif how == "trusts somebody else too":
        context.load_verify_locations(cadata=pki.untrusted_ca.certificate)
    elif how == "checks less":
        context.verify_flags |= txmembio.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


@pytest.mark.parametrize("how", WEAKER)
def test_a_ticket_of_a_weaker_name_is_none_for_a_stricter_one(pki: PKI, tls_version: Version, how: str) -> None:
    closed, weaker = (pair.server_context(pki, tls_version, verify_client=True) for _ in range(2))
    weaken(weaker, how, pki)
    server = by_name(pair.server_context(pki, tls_version), {"open": weaker, "closed": closed})
    shown = {
        "accepts every certificate": pki.untrusted_client,
        "trusts somebody else too": pki.untrusted_client,
        "checks less": pki.client,
    }.get(how)
    if how == "asks after the handshake" and tls_version == TLS12:
        shown = pki.client  # there is no such thing in TLS 1.2: the handshake asks
    client = pair.client_context(pki, tls_version, credential=shown)
    client.check_hostname = False
    session = earn_session(client, server, "open")
    assert resume(client, server, "open", session).server.connection.session_reused
    ends = resume(client, server, "closed", session)
    assert not ends.server.connection.session_reused
    if shown is pki.client:  # which is good for both: a full handshake, and no refusal
        assert ends.complete and ends.server.connection.getpeercert(True) == pki.client.certificate_der
    else:
        assert not ends.server.connection.handshake_complete
        assert ends.server.error.reason in ("PEER_DID_NOT_RETURN_A_CERTIFICATE", "CERTIFICATE_VERIFY_FAILED")


def test_a_ticket_of_a_name_with_the_same_rules_is_good(pki: PKI, tls_version: Version) -> None:
    """Without this, the tests above could pass because nothing is ever resumed after a switch."""
    names = {name: pair.server_context(pki, tls_version, verify_client=True) for name in ("a", "b")}
    server = by_name(pair.server_context(pki, tls_version), names)
    client = pair.client_context(pki, tls_version, credential=pki.client)
    client.check_hostname = False
    session = earn_session(client, server, "a")
    for name in ("a", "b"):
        ends = resume(client, server, name, session)
        assert ends.complete and ends.server.connection.session_reused
        assert ends.server.connection.getpeercert(True) == pki.client.certificate_der


def test_a_context_changed_while_a_connection_waits_lets_nobody_in(pki: PKI, tls_version: Version) -> None:
    """OpenSSL takes over a session-id context only where the old one is still what it was when the connection was made:
    here the first context has got other roots meanwhile.
    """
    closed = pair.server_context(pki, tls_version, verify_client=True)
    server = by_name(pair.server_context(pki, tls_version), {"closed": closed})
    client = client_context(pki, tls_version)
    session = earn_session(client, server, "open")
    ends = pair.unconnected(client, server, server_hostname="closed", session=session)
    server.load_verify_locations(cadata=pki.untrusted_ca.certificate)
    server.connection(server_side=True)
    ends.attempt_handshake()
    assert not ends.server.connection.session_reused and not ends.server.connection.handshake_complete
    assert ends.server.error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"


@pytest.mark.parametrize("switches", [True, False], ids=["after a switch", "without"])
def test_a_second_hello_with_another_name_is_refused(pki: PKI, switches: bool) -> None:
    """After a HelloRetryRequest. The name has been decided about, and is what server_name() says (RFC 8446 section
    4.1.2).
    """
    closed = pair.server_context(pki, TLS13, verify_client=True)
    contexts = {"open": pair.server_context(pki, TLS13), "closed": closed}
    server = by_name(pair.server_context(pki, TLS13), contexts if switches else {})
    for context in (server, *contexts.values()):
        context.set_groups("P-384")
    client = client_context(pki, TLS13)
    client.set_groups("X25519:P-384")
    for second_name, honest in (("open", True), ("closed", False), ("", False)):
        ends = pair.unconnected(client, server, server_hostname="open")
        ends.client.start()
        name = ffi.new("char[]", second_name.encode()) if second_name else ffi.NULL
        assert lib.SSL_set_tlsext_host_name(ends.client.connection._ssl, name) == 1
        ends.settle()
        assert ends.complete is honest
        if not honest:
            assert ends.server.error.alert == ends.client.error.alert == "illegal_parameter"
            assert ends.client.error.alert_received


def test_an_honest_second_hello_is_asked_about_again_or_not_but_has_one_answer(pki: PKI) -> None:
    other = pair.server_context(pki, TLS13, credential=pki.wildcard)
    server = by_name(pair.server_context(pki, TLS13), {"a": other})
    for context in (server, other):
        context.set_groups("P-384")
    client = client_context(pki, TLS13)
    client.set_groups("X25519:P-384")
    ends = pair.connect(client, server, server_hostname="a")
    assert ends.client.connection.group() == "secp384r1"
    assert ends.client.connection.getpeercert(True) == pki.wildcard.certificate_der


# Everything that a context decides


def switched(
    pki: PKI,
    version: Version,
    change: Callable[[txmembio.SSLContext], object],
    *,
    change_first: Callable[[txmembio.SSLContext], object] = lambda context: None,
    client: txmembio.SSLContext | None = None,
) -> Pair:
    """A handshake with a server that switches from one context to another that was changed like this."""
    first, other = pair.server_context(pki, version), pair.server_context(pki, version)
    change_first(first)
    change(other)
    server = by_name(first, {"other": other})
    ends = pair.unconnected(client or client_context(pki, version), server, server_hostname="other")
    ends.attempt_handshake()
    assert ends.server.connection.context is other
    return ends


def test_certificate_and_chain(pki: PKI, tls_version: Version) -> None:
    wildcard = pki.wildcard
    ends = switched(pki, tls_version, lambda context: context.use_cert_chain(wildcard.chain, wildcard.private_key))
    assert ends.client.connection.get_unverified_chain() == wildcard.chain_der


@pytest.mark.parametrize("mode", list(txmembio.VerifyMode))
def test_verify_mode(pki: PKI, tls_version: Version, mode: txmembio.VerifyMode) -> None:
    def ask(context: txmembio.SSLContext) -> None:
        context.verify_mode = mode

    for shown in (None, pki.client):
        client = pair.client_context(pki, tls_version, credential=shown)
        client.check_hostname = False
        ends = switched(pki, tls_version, ask, client=client)
        if shown is None and mode == txmembio.CERT_REQUIRED:
            assert ends.server.error.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
        else:
            assert ends.complete
            seen = ends.server.connection.getpeercert(True)
            assert seen == (shown.certificate_der if shown and mode else None)


def test_whom_it_trusts_and_the_callback(pki: PKI, tls_version: Version) -> None:
    def trusting(context: txmembio.SSLContext) -> None:
        context.verify_mode = txmembio.CERT_REQUIRED
        context.load_verify_locations(cadata=pki.untrusted_ca.certificate)

    def credulous(context: txmembio.SSLContext) -> None:
        context.verify_mode = txmembio.CERT_REQUIRED
        context.set_verify_callback(lambda certificate, depth, error: True)

    client = pair.client_context(pki, tls_version, credential=pki.untrusted_client)
    client.check_hostname = False
    for change, accepted in ((trusting, True), (credulous, True), (lambda c: setattr(c, "verify_mode", 2), False)):
        assert switched(pki, tls_version, change, client=client).complete is accepted


def test_verify_flags_are_those_of_the_other_alone(pki: PKI, tls_version: Version) -> None:
    def require(context: txmembio.SSLContext) -> None:
        context.verify_mode = txmembio.CERT_REQUIRED

    def look_up(context: txmembio.SSLContext) -> None:
        require(context)
        context.verify_flags |= txmembio.VerifyFlags.VERIFY_CRL_CHECK_LEAF

    client = pair.client_context(pki, tls_version, credential=pki.client)
    client.check_hostname = False
    assert switched(pki, tls_version, require, change_first=look_up, client=client).complete
    ends = switched(pki, tls_version, look_up, change_first=require, client=client)
    assert ends.server.error.verify_message == "unable to get certificate CRL"


def test_versions(pki: PKI) -> None:
    def only(version: Version) -> Callable[[txmembio.SSLContext], None]:
        def change(context: txmembio.SSLContext) -> None:
            context.minimum_version = context.maximum_version = version

        return change

    def any_version(context: txmembio.SSLContext) -> None:
        context.minimum_version, context.maximum_version = TLS12, Version.MAXIMUM_SUPPORTED

    client = client_context(pki)
    for first, other, spoken in ((TLS12, TLS13, "TLSv1.3"), (TLS13, TLS12, "TLSv1.2")):
        ends = switched(pki, first, only(other), client=client)
        assert ends.client.connection.version() == spoken
    assert switched(pki, TLS12, any_version, client=client).client.connection.version() == "TLSv1.3"


def test_ciphers_and_groups(pki: PKI, tls_version: Version) -> None:
    def choose(context: txmembio.SSLContext) -> None:
        context.set_ciphers("ECDHE-ECDSA-CHACHA20-POLY1305")
        context.set_ciphersuites("TLS_CHACHA20_POLY1305_SHA256")
        context.set_groups("P-384")

    ends = switched(pki, tls_version, choose)
    cipher = ends.client.connection.cipher()
    assert cipher is not None and "CHACHA20_POLY1305" in cipher[0].replace("-", "_")
    assert ends.client.connection.group() == "secp384r1"


def test_options_are_set_and_taken_away(pki: PKI) -> None:
    def without_tickets(context: txmembio.SSLContext) -> None:
        context.options |= txmembio.Options.OP_NO_TICKET

    def nothing(context: txmembio.SSLContext) -> None:
        """Leaves it as it is."""

    for first, other, has_ticket in ((nothing, without_tickets, False), (without_tickets, nothing, True)):
        session = switched(pki, TLS12, other, change_first=first).client.connection.session
        assert session is not None and session.has_ticket is has_ticket


@pytest.mark.parametrize("count", [0, 1, 4])
def test_num_tickets(pki: PKI, count: int) -> None:
    def change(context: txmembio.SSLContext) -> None:
        context.num_tickets = count

    log: list[bytes] = []
    first, other = pair.server_context(pki, TLS13), pair.server_context(pki, TLS13)
    change(other)
    server = by_name(first, {"other": other})
    ends = pair.unconnected(client_context(pki, TLS13), server, server_hostname="other")
    ends.client.start()
    ends.server.receive(ends.client.connection.wire_to_send())
    ends.client.receive(ends.server.connection.wire_to_send())
    ends.server.receive(ends.client.connection.wire_to_send())
    wire = ends.server.connection.wire_to_send()  # the tickets, each in a record of its own
    while wire:
        length = 5 + int.from_bytes(wire[3:5], "big")
        log.append(wire[:length])
        wire = wire[length:]
    assert len(log) == count


def test_keylog(pki: PKI, tls_version: Version, tmp_path: Path) -> None:
    def log(context: txmembio.SSLContext) -> None:
        context.keylog_filename = tmp_path / "secrets"

    switched(pki, tls_version, log)
    label = {TLS12: b"CLIENT_RANDOM", TLS13: b"CLIENT_HANDSHAKE_TRAFFIC_SECRET"}[tls_version]
    assert b"\n" + label + b" " in (tmp_path / "secrets").read_bytes()
    size = (tmp_path / "secrets").stat().st_size
    switched(pki, tls_version, lambda context: None, change_first=log)
    assert (tmp_path / "secrets").stat().st_size == size  # the first context's log is not the other's


def test_alpn(pki: PKI, tls_version: Version) -> None:
    def protocols(*names: str) -> Callable[[txmembio.SSLContext], None]:
        return lambda context: context.set_alpn_protocols(list(names))

    def callback(answer: Callable[[list[str]], str | None]) -> Callable[[txmembio.SSLContext], None]:
        return lambda context: context.set_alpn_callback(answer)

    def nothing(context: txmembio.SSLContext) -> None:
        """Leaves it as it is."""

    client = client_context(pki, tls_version)
    client.set_alpn_protocols(["a", "b", "c"])
    for first, other, chosen in (
        (protocols("a"), protocols("b"), "b"),
        (protocols("a"), nothing, "a"),  # a context that says nothing of it does not take it away
        (nothing, protocols("c", "a"), "c"),
        (callback(lambda offered: offered[-1]), protocols("b"), "b"),
        (protocols("a"), callback(lambda offered: offered[-1]), "c"),
        (callback(lambda offered: offered[-1]), nothing, "c"),
        (protocols("a"), callback(lambda offered: None), None),
        (nothing, nothing, None),
    ):
        ends = switched(pki, tls_version, other, change_first=first, client=client)
        assert ends.complete
        assert ends.client.connection.selected_alpn_protocol() == chosen
        assert ends.server.connection.selected_alpn_protocol() == chosen


def test_ticket_keys(pki: PKI, tls_version: Version) -> None:
    """Those of the context in force; where it has none, those of the first one. Either way the session is resumed."""
    one, two = bytes(48), bytes(range(48))
    for first_keys, other_keys in (([one], [two]), ([one], None), ([one], [one]), (None, [two]), (None, None)):
        first, other = pair.server_context(pki, tls_version), pair.server_context(pki, tls_version)
        if first_keys:
            first.set_ticket_keys(first_keys)
        if other_keys:
            other.set_ticket_keys(other_keys)
        server = by_name(first, {"other": other})
        client = client_context(pki, tls_version)
        session = earn_session(client, server, "other")
        assert resume(client, server, "other", session).server.connection.session_reused


# What cannot be switched to, and when


def test_only_a_context_of_ours_can_be_switched_to(pki: PKI) -> None:
    for bad in (None, "context", ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)):
        server = by_name(pair.server_context(pki), {"other": bad})  # type: ignore[dict-item]
        _, refusing = pair.unconnected(client_context(pki), server, server_hostname="other").refusal()
        assert isinstance(refusing.__cause__, TypeError)
        assert "expected a txmembio.SSLContext" in str(refusing.__cause__)


def test_after_the_handshake_it_is_too_late(pki: PKI) -> None:
    ends = pair.connect(client_context(pki), pair.server_context(pki))
    for connection in ends.connections:
        with pytest.raises(ValueError, match="once the handshake is complete"):
            connection.context = pair.server_context(pki)
        connection.context = connection.context  # which is no change


# What the callback answers


@pytest.mark.parametrize("bad", [-1, 0, True, False, 1, 255, 256, 1 << 40, "text", 1.5, b"48"], ids=repr)
def test_an_answer_that_is_no_alert_refuses_too(pki: PKI, tls_version: Version, bad: Any) -> None:
    """-1 is what C is told for "go on", 0 would be a close_notify."""
    server = pair.server_context(pki, tls_version)
    server.sni_callback = lambda *_: bad
    client, refusing = pair.unconnected(client_context(pki, tls_version), server).refusal()
    assert refusing.alert == client.alert == "internal_error"
    assert isinstance(refusing.__cause__, TypeError) and repr(bad) in str(refusing.__cause__)


@pytest.mark.parametrize("number", [40, 49, 70, 80, 112, 120])
def test_an_alert_refuses_with_it(pki: PKI, tls_version: Version, number: int) -> None:
    server = pair.server_context(pki, tls_version)
    server.sni_callback = lambda *_: number
    client, refusing = pair.unconnected(client_context(pki, tls_version), server).refusal()
    assert (refusing.alert_number, refusing.alert_received) == (number, False)
    assert (client.alert_number, client.alert_received) == (number, True)
    assert refusing.__cause__ is None


def test_every_hello_is_asked_about_with_its_name_or_none(pki: PKI, tls_version: Version) -> None:
    seen: list[Any] = []
    server = pair.server_context(pki, tls_version)
    server.sni_callback = lambda *arguments: seen.append(arguments)
    for name in ("a.example", "127.0.0.1", None):
        ends = pair.connect(client_context(pki, tls_version), server, server_hostname=name)
        assert seen.pop() == (ends.server.connection, None if name == "127.0.0.1" else name, server)
    assert seen == []


@pytest.mark.parametrize("name", [b"caf\xc3\xa9.example", b"\xff\xfe"])
def test_a_name_that_is_not_ascii_is_refused(pki: PKI, name: bytes) -> None:
    server = pair.server_context(pki)
    server.sni_callback = lambda *_: None
    ends = pair.unconnected(client_context(pki), server, server_hostname="a.example")
    assert lib.SSL_set_tlsext_host_name(ends.client.connection._ssl, ffi.new("char[]", name)) == 1
    _, refusing = ends.refusal()
    assert isinstance(refusing.__cause__, UnicodeDecodeError)


def test_an_older_spelling_of_the_callback(pki: PKI) -> None:
    seen: list[Any] = []
    server = pair.server_context(pki)
    server.set_servername_callback(lambda connection, name, context: seen.append(name))
    pair.connect(client_context(pki), server, server_hostname="a.example")
    server.set_servername_callback(None)
    pair.connect(client_context(pki), server, server_hostname="b.example")
    assert seen == ["a.example"]


# Callbacks that go wrong


def test_an_exception_in_the_sni_callback_is_the_cause(pki: PKI, tls_version: Version) -> None:
    server = pair.server_context(pki, tls_version)
    server.sni_callback = lambda *_: 1 // 0
    client, refusing = pair.unconnected(client_context(pki, tls_version), server).refusal()
    assert refusing.alert == client.alert == "internal_error" and client.alert_received
    assert isinstance(refusing.__cause__, ZeroDivisionError)


@pytest.mark.parametrize(
    ("answer", "cause"),
    [("c", ValueError), ("", ValueError), (b"a", TypeError), (5, TypeError), (["a"], TypeError), (True, TypeError)],
    ids=repr,
)
def test_an_alpn_callback_that_chooses_what_was_not_offered(
    pki: PKI, tls_version: Version, answer: Any, cause: type[Exception]
) -> None:
    server = pair.server_context(pki, tls_version)
    server.set_alpn_callback(lambda offered: answer)
    client = client_context(pki, tls_version)
    client.set_alpn_protocols(["a", "b"])
    told, refusing = pair.unconnected(client, server).refusal()
    assert refusing.alert == told.alert == "no_application_protocol" and told.alert_received
    assert isinstance(refusing.__cause__, cause) and "the ALPN callback chose" in str(refusing.__cause__)


def test_an_alpn_callback_is_not_asked_where_nothing_is_offered(pki: PKI, tls_version: Version) -> None:
    server = pair.server_context(pki, tls_version)
    server.set_alpn_callback(lambda offered: 1 / 0)  # type: ignore[arg-type, return-value]
    assert pair.connect(client_context(pki, tls_version), server).client.connection.selected_alpn_protocol() is None


def test_a_list_applies_again_once_the_callback_is_gone(pki: PKI, tls_version: Version) -> None:
    server = pair.server_context(pki, tls_version)
    server.set_alpn_protocols(["b"])
    server.set_alpn_callback(lambda offered: offered[0])
    client = client_context(pki, tls_version)
    client.set_alpn_protocols(["a", "b"])
    assert pair.connect(client, server).client.connection.selected_alpn_protocol() == "a"
    server.set_alpn_callback(None)
    assert pair.connect(client, server).client.connection.selected_alpn_protocol() == "b"
