"""SSLObject: the course of a connection, arguments, sessions, callbacks and errors, most of them shown on the standard
library's too. Arbitrary scripts are in test_sslobject_scripts.py.
"""

from __future__ import annotations

import array
import gc
import ssl
import sys
import weakref
from typing import Any

import pytest

import txmembio
from support import sslobjects
from support.pki import PKI
from support.sslobjects import Contexts, Ends, client_context, server_context

MODULES = [pytest.param(ssl, id="ssl"), pytest.param(txmembio, id="txmembio")]


@pytest.fixture(scope="session")
def both_kinds(pki: PKI, tls_version: txmembio.TLSVersion) -> Contexts:
    """Contexts that no test changes."""
    return sslobjects.contexts_of_both(pki, int(tls_version))


# The course of a connection, told with values


@pytest.fixture(
    params=[("ssl", "ssl"), ("txmembio", "txmembio"), ("txmembio", "ssl"), ("ssl", "txmembio")],
    ids=["ssl-ssl", "ours-ours", "ours-ssl", "ssl-ours"],
)
def ends(request: pytest.FixtureRequest, both_kinds: Contexts) -> Ends:
    """A pair of each mixture in turn, with nothing said yet. ssl-ssl shows that the test itself tells the truth."""
    client, server = request.param
    return Ends(both_kinds[client, "client"], both_kinds[server, "server"])


def test_a_conversation(ends: Ends, tls_version: txmembio.TLSVersion, pki: PKI) -> None:
    ends.handshake()
    assert ends.client.tls.version() == ends.server.tls.version() == tls_version.name.replace("_", ".")
    assert ends.client.tls.cipher() == ends.server.tls.cipher()
    assert ends.client.tls.selected_alpn_protocol() == ends.server.tls.selected_alpn_protocol() == "http/1.1"
    assert ends.client.tls.getpeercert(True) == pki.server_rsa.certificate_der
    assert ends.server.tls.getpeercert() is ends.server.tls.getpeercert(True) is None
    assert ends.client.tls.compression() is None
    assert ends.client.tls.server_side is False and ends.server.tls.server_side is True
    assert ends.client.tls.server_hostname == "localhost" and ends.server.tls.server_hostname is None
    ends.talk()
    assert ends.client.tls.write(b"first" * 5000) == 25_000
    ends.deliver("server")
    assert ends.server.tls.read(3) == b"fir"
    assert ends.server.tls.pending() == 16_384 - 3  # of one record
    assert ends.server.tls.read(100_000) == (b"first" * 5000)[3:16_384]
    assert ends.server.tls.read(100_000) == (b"first" * 5000)[16_384:]
    assert ends.server.tls.pending() == 0
    with pytest.raises(ssl.SSLWantReadError) as caught:
        ends.server.tls.read(1)
    assert caught.value.errno == ssl.SSL_ERROR_WANT_READ
    assert str(caught.value).startswith("The operation did not complete (read)")


def test_both_say_goodbye(ends: Ends) -> None:
    ends.handshake()
    ends.talk()
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.tls.unwrap()
    ends.deliver("server")
    assert ends.server.tls.read(10) == b""
    assert ends.server.tls.unwrap() is None
    ends.deliver("client")
    assert ends.client.tls.unwrap() is None
    for end in (ends.client, ends.server):
        with pytest.raises(ssl.SSLZeroReturnError, match=r"TLS/SSL connection has been closed \(EOF\)"):
            end.tls.read(10)
        with pytest.raises(ssl.SSLError) as caught:
            end.tls.write(b"too late")
        assert caught.value.reason == "PROTOCOL_IS_SHUTDOWN"


def test_a_side_may_go_on_sending_after_the_others_goodbye(ends: Ends) -> None:
    ends.handshake()
    ends.talk()
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.tls.unwrap()
    ends.deliver("server")
    assert ends.server.tls.read(10) == b""
    assert ends.server.tls.write(b"one more thing") == 14
    assert ends.server.tls.read(10) == b""


def test_the_end_of_the_wire_without_goodbye(ends: Ends) -> None:
    ends.handshake()
    ends.talk()
    ends.client.incoming.write_eof()
    for _ in range(3):
        assert ends.client.outcome("read", 10)[:3] == ("raised", "SSLEOFError", ssl.SSL_ERROR_EOF)


def test_truncation_is_an_error_of_its_own_on_every_python(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(client_context(txmembio, pki, int(tls_version)), server_context(ssl, pki, int(tls_version)))
    ends.handshake()
    ends.client.incoming.write_eof()
    for _ in range(3):
        with pytest.raises(txmembio.SSLEOFError, match="EOF occurred in violation of protocol") as caught:
            ends.client.tls.read(10)
        assert caught.value.errno == ssl.SSL_ERROR_EOF


def test_the_end_of_the_wire_during_the_handshake(ends: Ends) -> None:
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.tls.do_handshake()
    ends.client.incoming.write_eof()
    assert ends.client.outcome("do_handshake")[:2] == ("raised", "SSLEOFError")


@pytest.mark.parametrize("operation", [("do_handshake",), ("write", b"something")], ids=lambda call: call[0])
def test_a_goodbye_instead_of_a_handshake_is_no_success(ends: Ends, operation: tuple[Any, ...]) -> None:
    """Neither does write() return as if it had sent something."""
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.tls.do_handshake()
    ends.client.incoming.write(b"\x15\x03\x03\x00\x02\x01\x00")
    assert ends.client.outcome(*operation)[:2] == ("raised", "SSLZeroReturnError")


def test_wire_leaves_though_the_outgoing_bio_was_given_an_end(ends: Ends) -> None:
    """write_eof() there is for the reader: OpenSSL's own writes go in all the same."""
    ends.client.outgoing.write_eof()
    ends.server.outgoing.write_eof()
    ends.handshake()
    ends.talk()


@pytest.mark.parametrize("module", MODULES)
def test_forgiving_an_abrupt_end(module: Any, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = client_context(module, pki, int(tls_version))
    client.options |= txmembio.Options.OP_IGNORE_UNEXPECTED_EOF
    ends = Ends(client, server_context(module, pki, int(tls_version)))
    ends.handshake()
    ends.talk()
    ends.client.incoming.write_eof()
    assert ends.client.tls.read(10) == b""
    assert ends.client.tls.read(10) == b""


# read()'s and write()'s arguments


@pytest.fixture(params=MODULES)
def talkative(request: pytest.FixtureRequest, both_kinds: Contexts) -> Ends:
    """Ends of one module, with b"0123456789" on its way to the client."""
    name = request.param.__name__
    ends = Ends(both_kinds[name, "client"], both_kinds[name, "server"])
    ends.handshake()
    ends.talk()
    ends.server.tls.write(b"0123456789")
    ends.deliver("client")
    return ends


@pytest.mark.parametrize(
    ("length", "size", "moved"),
    [
        (1024, 20, 10),
        (4, 20, 4),
        (4, 2, 2),
        (0, 20, 10),
        (-1, 20, 10),
        (-7, 3, 3),
        (1024, 0, 0),
        (0, 0, 0),
        (20, 10, 10),
    ],
)
def test_reading_into_a_buffer(talkative: Ends, length: int, size: int, moved: int) -> None:
    buffer = bytearray(size)
    assert talkative.client.tls.read(length, buffer) == moved
    assert buffer[:moved] == b"0123456789"[:moved] and not any(buffer[moved:])


def test_reading_into_part_of_a_buffer_and_into_wider_items(talkative: Ends) -> None:
    buffer = bytearray(10)
    assert talkative.client.tls.read(3, memoryview(buffer)[5:]) == 3
    assert buffer == b"\0\0\0\0\0" + b"012" + b"\0\0"
    buffer.append(1)  # nobody holds on to it
    numbers = array.array("q", [0])
    assert talkative.client.tls.read(100, numbers) == 7
    assert numbers.tobytes()[:7] == b"3456789"


@pytest.mark.parametrize("bad", [b"read-only", memoryview(b"read-only"), "text", 5, [0] * 5], ids=repr)
def test_what_cannot_be_read_into_is_refused_and_nothing_is_lost(talkative: Ends, bad: Any) -> None:
    with pytest.raises((TypeError, BufferError)):
        talkative.client.tls.read(5, bad)
    assert talkative.client.tls.read() == b"0123456789"


@pytest.mark.parametrize("bad", ["5", None, 5.0, b"5"], ids=repr)
def test_a_length_that_is_no_integer_is_refused_and_nothing_is_lost(talkative: Ends, bad: Any) -> None:
    with pytest.raises(TypeError):
        talkative.client.tls.read(bad)
    with pytest.raises(TypeError):
        talkative.client.tls.read(bad, bytearray(5))
    assert talkative.client.tls.read() == b"0123456789"


def test_a_negative_length_is_refused_without_a_buffer(talkative: Ends) -> None:
    with pytest.raises(ValueError, match="size should not be negative"):
        talkative.client.tls.read(-1)


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_every_kind_of_buffer_is_written(talkative: Ends, kind: Any) -> None:
    assert talkative.client.tls.write(kind(b"taken")) == 5
    talkative.deliver("server")
    assert talkative.server.tls.read() == b"taken"


@pytest.mark.parametrize("bad", ["text", 5, None, [1, 2]], ids=repr)
def test_what_is_not_bytes_is_not_written(talkative: Ends, bad: Any) -> None:
    with pytest.raises(TypeError):
        talkative.client.tls.write(bad)
    assert talkative.client.collect() == b""


# Making one


@pytest.mark.parametrize("module", MODULES)
def test_there_is_no_constructor(module: Any) -> None:
    with pytest.raises(TypeError, match="public constructor"):
        module.SSLObject(module.MemoryBIO(), module.MemoryBIO())


@pytest.mark.parametrize("module", MODULES)
def test_a_subclass_is_what_wrap_bio_makes(module: Any, pki: PKI) -> None:
    class Mine(module.SSLObject):  # type: ignore[misc]
        """Somebody's own."""

    context = client_context(module, pki)
    context.sslobject_class = Mine
    assert type(context.wrap_bio(module.MemoryBIO(), module.MemoryBIO(), server_hostname="localhost")) is Mine


#: (side of the context, arguments of wrap_bio, the exception)
WRONG_ARGUMENTS: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("client", {"server_hostname": ""}, ValueError),
    ("client", {"server_hostname": ".example.com"}, ValueError),
    ("client", {"server_hostname": "a\0b"}, TypeError),
    ("client", {"server_hostname": "a" * 64 + ".example"}, ValueError),
    ("client", {"server_hostname": "localhost", "server_side": True}, ssl.SSLError),
    ("client", {"server_hostname": "localhost", "session": "a session"}, TypeError),
    ("server", {}, ssl.SSLError),  # a client on a server's context
]
#: What the standard library refuses in SSLSocket only. Here it would mean that nobody checks the name.
WRONG_FOR_US: list[tuple[str, dict[str, Any], type[Exception]]] = [
    ("client", {}, ValueError),  # check_hostname requires server_hostname
    ("client", {"server_hostname": None}, ValueError),
    ("server", {"server_side": True, "server_hostname": "localhost"}, ValueError),
]


@pytest.mark.parametrize(
    ("module", "side", "arguments", "error"),
    [(module, *case) for module in (ssl, txmembio) for case in WRONG_ARGUMENTS]
    + [(txmembio, *case) for case in WRONG_FOR_US],
)
def test_arguments_that_do_not_go_together(
    module: Any, side: str, arguments: dict[str, Any], error: type[Exception], pki: PKI
) -> None:
    context = {"client": client_context, "server": server_context}[side](module, pki)
    with pytest.raises(error):
        context.wrap_bio(module.MemoryBIO(), module.MemoryBIO(), **arguments)


@pytest.mark.parametrize("module", MODULES)
def test_bios_of_another_kind_are_refused(module: Any, pki: PKI) -> None:
    other = {ssl: txmembio, txmembio: ssl}[module]
    for bios in ((other.MemoryBIO(), module.MemoryBIO()), (module.MemoryBIO(), None)):
        with pytest.raises(TypeError):
            client_context(module, pki).wrap_bio(*bios, server_hostname="localhost")


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize(
    ("given", "told"),
    [
        ("localhost", "localhost"),
        (b"localhost", "localhost"),
        ("b\xfccher.example", "xn--bcher-kva.example"),
        ("127.0.0.1", "127.0.0.1"),
        ("::1", "::1"),
    ],
)
def test_the_server_hostname_is_told_in_ascii(module: Any, given: str | bytes, told: str, pki: PKI) -> None:
    tls = client_context(module, pki).wrap_bio(module.MemoryBIO(), module.MemoryBIO(), server_hostname=given)
    assert tls.server_hostname == told


# Sessions


@pytest.mark.parametrize("module", MODULES)
def test_a_session_is_resumed(module: Any, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = client_context(module, pki, int(tls_version)), server_context(module, pki, int(tls_version))
    first = Ends(client, server)
    first.handshake()
    first.talk()
    assert first.client.tls.session_reused is False
    session = first.client.tls.session
    for late in (False, True):
        second = Ends(client, server, session=None if late else session)
        if late:
            second.client.tls.session = session
        second.handshake()
        second.talk()
        assert second.client.tls.session_reused is second.server.tls.session_reused is True
        assert second.client.tls.getpeercert(True) == pki.server_rsa.certificate_der
    assert session.time > 0 and session.timeout > 0 and session.has_ticket and session.ticket_lifetime_hint > 0
    assert isinstance(session.id, bytes) and session == session
    stats = {key: value for key, value in server.session_stats().items() if value}
    assert (stats["accept"], stats["accept_good"], stats["hits"]) == (3, 3, 2)
    assert client.session_stats()["connect_good"] == 3


@pytest.mark.parametrize("module", MODULES)
def test_sessions_that_cannot_be_set(module: Any, pki: PKI) -> None:
    client, server = client_context(module, pki), server_context(module, pki)
    ends = Ends(client, server)
    ends.handshake()
    ends.talk()
    session = ends.client.tls.session
    with pytest.raises(ValueError, match="after handshake"):
        ends.client.tls.session = session
    with pytest.raises(TypeError, match="not a SSLSession"):
        Ends(client, server).client.tls.session = "session"
    with pytest.raises(ValueError):
        Ends(client, server).server.tls.session = session
    with pytest.raises(ValueError, match="different SSLContext"):
        Ends(client_context(module, pki), server).client.tls.session = session


# Callbacks


def refused_in_sni_callback(module: Any, pki: PKI, callback: Any) -> tuple[ssl.SSLError, Any]:
    """What the client is told, and what reached sys.unraisablehook, when the server's SNI callback is this one."""
    server = server_context(module, pki)
    server.sni_callback = callback
    ends = Ends(client_context(module, pki), server)
    seen: list[Any] = []
    hook, sys.unraisablehook = sys.unraisablehook, lambda args: seen.append((args.exc_type, str(args.exc_value)))
    try:
        with pytest.raises(ssl.SSLWantReadError):
            ends.client.tls.do_handshake()
        ends.deliver("server")
        with pytest.raises(ssl.SSLError) as server_error:
            ends.server.tls.do_handshake()
        assert server_error.value.reason in ("CALLBACK_FAILED", "CLIENTHELLO_TLSEXT")
    finally:
        sys.unraisablehook = hook
    ends.deliver("client")
    with pytest.raises(ssl.SSLError) as caught:
        ends.client.tls.do_handshake()
    return caught.value, seen


@pytest.mark.parametrize("module", MODULES)
def test_an_sni_callback_that_raises(module: Any, pki: PKI) -> None:
    def callback(*arguments: object) -> None:
        raise ZeroDivisionError("in the callback")

    error, seen = refused_in_sni_callback(module, pki, callback)
    assert error.reason == "SSLV3_ALERT_HANDSHAKE_FAILURE"
    assert seen == [(ZeroDivisionError, "in the callback")]


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("bad", ["text", 1.5, b"48", object()], ids=repr)
def test_an_sni_callback_that_returns_no_number(module: Any, bad: object, pki: PKI) -> None:
    error, seen = refused_in_sni_callback(module, pki, lambda *arguments: bad)
    assert error.reason == "TLSV1_ALERT_INTERNAL_ERROR"
    assert [kind for kind, _ in seen] == [TypeError]


@pytest.mark.parametrize("module", MODULES)
def test_an_sni_callback_that_refuses(module: Any, pki: PKI) -> None:
    error, seen = refused_in_sni_callback(module, pki, lambda *arguments: ssl.ALERT_DESCRIPTION_ACCESS_DENIED)
    assert error.reason == "TLSV1_ALERT_ACCESS_DENIED"
    assert seen == []


@pytest.mark.parametrize("module", MODULES)
def test_what_an_sni_callback_is_given(module: Any, pki: PKI) -> None:
    other = server_context(module, pki)
    seen: list[Any] = []

    def callback(tls: Any, name: str | None, context: Any) -> None:
        seen.append((tls, name, context))
        tls.context = other

    server = server_context(module, pki)
    server.sni_callback = callback
    ends = Ends(client_context(module, pki), server)
    ends.handshake()
    assert seen == [(ends.server.tls, "localhost", server)]
    assert ends.server.tls.context is other
    ends = Ends(client_context(module, pki), server, server_hostname="127.0.0.1")
    ends.handshake()
    assert seen[1][1] is None


@pytest.mark.parametrize("module", MODULES)
def test_the_default_hook_takes_a_callbacks_exception(
    module: Any, pki: PKI, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The interpreter's own hook accepts nothing but what the interpreter has made."""
    monkeypatch.setattr(sys, "unraisablehook", sys.__unraisablehook__)
    server = server_context(module, pki)
    server.sni_callback = lambda *arguments: 1 / 0
    ends = Ends(client_context(module, pki), server)
    with pytest.raises(ssl.SSLError):
        ends.handshake()
    assert "ZeroDivisionError: division by zero" in capfd.readouterr().err


def test_a_callback_may_do_anything_to_the_incoming_bio(pki: PKI) -> None:
    """What C is reading stays in memory, though the callback reads, joins and drops what the BIO holds."""
    server = server_context(txmembio, pki)
    ends = Ends(client_context(txmembio, pki), server)

    def callback(*arguments: object) -> None:
        for _ in range(50):
            ends.server.incoming.write(b"\0" * 4096)
            ends.server.incoming.read(1)
        gc.collect()

    server.sni_callback = callback
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.tls.do_handshake()
    hello = bytes(ends.client.collect())
    ends.server.incoming.write(b"?" + hello)
    ends.server.incoming.read(1)  # what is left starts inside a chunk
    with pytest.raises(ssl.SSLError):
        ends.server.tls.do_handshake()
    assert len(ends.server.outgoing.read()) > 0


# Asking for a certificate later


@pytest.mark.parametrize("client_module", MODULES)
@pytest.mark.parametrize("server_module", MODULES)
@pytest.mark.parametrize("shown", [True, False], ids=["shown", "not shown"])
def test_authentication_after_the_handshake(client_module: Any, server_module: Any, shown: bool, pki: PKI) -> None:
    """RFC 8446 section 4.6.2."""
    client = client_context(client_module, pki)
    client.post_handshake_auth = True
    if shown:
        client.load_cert_chain(pki.client.chain_file, pki.client.key_file)
    server = server_context(server_module, pki)
    server.verify_mode = ssl.CERT_REQUIRED
    server.post_handshake_auth = True
    ends = Ends(client, server)
    ends.handshake()
    ends.talk()
    assert ends.server.tls.getpeercert() is None
    assert ends.server.tls.verify_client_post_handshake() is None
    ends.server.tls.write(b"who are you?")
    ends.deliver("client")
    assert ends.client.tls.read() == b"who are you?"
    ends.client.tls.write(b"I am")
    ends.deliver("server")
    if shown:
        assert ends.server.tls.read() == b"I am"
        assert ends.server.tls.getpeercert(True) == pki.client.certificate_der
        assert ends.server.tls.getpeercert()["subject"]
        return
    with pytest.raises(ssl.SSLError) as caught:
        ends.server.tls.read()
    assert caught.value.reason == "PEER_DID_NOT_RETURN_A_CERTIFICATE"
    ends.deliver("client")
    with pytest.raises(ssl.SSLError) as caught:
        ends.client.tls.read()
    assert caught.value.reason == "TLSV13_ALERT_CERTIFICATE_REQUIRED"


# Errors


@pytest.mark.parametrize("module", MODULES)
def test_a_certificate_that_is_refused(module: Any, pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = client_context(module, pki, int(tls_version))
    cases = {
        ("localhost", "untrusted"): (20, "unable to get local issuer certificate"),
        ("localhost", "expired"): (10, "certificate has expired"),
        ("wrong.example", "server"): (62, "Hostname mismatch, certificate is not valid for 'wrong.example'."),
        ("127.0.0.2", "server"): (64, "IP address mismatch, certificate is not valid for '127.0.0.2'."),
    }
    for (hostname, credential), (code, message) in cases.items():
        server = server_context(module, pki, int(tls_version))
        chosen = getattr(pki, credential)
        server.load_cert_chain(chosen.chain_file, chosen.key_file)
        server.set_ciphers("ECDHE+ECDSA+AESGCM")  # the EC certificate that has just been loaded
        client.set_ciphers("ECDHE+ECDSA+AESGCM")
        if tls_version == txmembio.TLSVersion.TLSv1_3:
            server = module.SSLContext(module.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(chosen.chain_file, chosen.key_file)
        ends = Ends(client, server, server_hostname=hostname)
        with pytest.raises(ssl.SSLCertVerificationError) as caught:
            ends.handshake()
        error = caught.value
        assert (error.verify_code, error.verify_message) == (code, message)
        assert (error.errno, error.library, error.reason) == (1, "SSL", "CERTIFICATE_VERIFY_FAILED")
        assert message in str(error)


def test_an_error_has_all_attributes(pki: PKI) -> None:
    ends = Ends(client_context(txmembio, pki), server_context(txmembio, pki))
    for operation in (ends.client.tls.do_handshake, ends.client.tls.read):
        with pytest.raises(txmembio.SSLWantReadError) as caught:
            operation()
        assert caught.value.alert is caught.value.verify_code is caught.value.hostname is None
    ends.client.incoming.write(b"\x15\x03\x03\x00\x02\x02\x28")
    with pytest.raises(txmembio.SSLError) as failed:
        ends.client.tls.do_handshake()
    error = failed.value
    assert (error.alert, error.alert_number, error.alert_received) == ("handshake_failure", 40, True)


# More than one record


@pytest.fixture
def bulk(pki: PKI) -> Ends:
    """A pair whose client has sent three full records and the beginning of a fourth."""
    ends = Ends(client_context(txmembio, pki), server_context(txmembio, pki))
    ends.handshake()
    ends.talk()
    ends.client.tls.write(b"x" * (3 * 16_384 + 100))
    return ends


@pytest.mark.parametrize(("room", "expected_calls"), [(16_384, 4), (20_000, 3), (40_000, 3), (200_000, 1)])
@pytest.mark.parametrize("into", [False, True], ids=["bytes", "buffer"])
def test_full_records_come_together(bulk: Ends, room: int, expected_calls: int, into: bool) -> None:
    bulk.deliver("server")
    received = b""
    calls = 0
    while len(received) < 3 * 16_384 + 100:
        calls += 1
        if into:
            buffer = bytearray(room)
            received += bytes(buffer[: bulk.server.tls.read(room, buffer)])
        else:
            received += bulk.server.tls.read(room)
    assert received == b"x" * (3 * 16_384 + 100)
    assert calls == expected_calls
    for _ in range(2):
        with pytest.raises(txmembio.SSLWantReadError):
            bulk.server.tls.read(room)


@pytest.mark.parametrize("into", [False, True], ids=["bytes", "buffer"])
def test_what_came_before_a_damaged_record_is_not_lost(bulk: Ends, into: bool) -> None:
    wire = bulk.client.collect()
    wire[-1] ^= 1
    bulk.deliver("server")

    def read() -> int:
        if into:
            count: int = bulk.server.tls.read(200_000, bytearray(200_000))
            return count
        return len(bulk.server.tls.read(200_000))

    assert read() == 3 * 16_384
    with pytest.raises(txmembio.SSLError) as caught:
        read()
    assert caught.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC"
    assert bulk.server.outgoing.pending  # the alert
    with pytest.raises(txmembio.SSLEOFError):
        read()


def test_a_close_behind_full_records(bulk: Ends) -> None:
    with pytest.raises(txmembio.SSLWantReadError):
        bulk.client.tls.unwrap()
    bulk.deliver("server")
    assert len(bulk.server.tls.read(200_000)) == 3 * 16_384 + 100
    assert bulk.server.tls.read(200_000) == b""
    assert bulk.server.tls.read(200_000, bytearray(10)) == 0


def test_the_wire_that_is_wanted(pki: PKI) -> None:
    """Who gives just that much never has bytes too many."""
    ends = Ends(client_context(txmembio, pki), server_context(txmembio, pki))
    ends.handshake()
    ends.talk()
    ends.client.tls.write(b"hello")
    wire = ends.client.collect()
    with pytest.raises(txmembio.SSLWantReadError):
        ends.server.tls.read(100)
    asked = []
    while True:
        asked.append(ends.server.tls.wire_wanted)
        ends.server.incoming.write(bytes(wire[: asked[-1]]))
        del wire[: asked[-1]]
        try:
            assert ends.server.tls.read(100) == b"hello"
            break
        except txmembio.SSLWantReadError:
            continue
    assert asked[0] == 5 and not wire


@pytest.mark.parametrize("module", MODULES)
def test_a_context_assigned_after_the_handshake(pki: PKI, module: Any) -> None:
    ends = Ends(client_context(module, pki), server_context(module, pki))
    ends.handshake()
    other = client_context(module, pki)
    ends.client.tls.context = other
    assert ends.client.tls.context is other is ends.client.tls._sslobj.context
    assert ends.client.tls._sslobj.owner is ends.client.tls
    ends.talk()


# Lives


def test_dropping_one_in_any_state_leaves_nothing_behind(pki: PKI) -> None:
    ends = Ends(client_context(txmembio, pki), server_context(txmembio, pki))
    with pytest.raises(ssl.SSLWantReadError):
        ends.client.tls.do_handshake()
    things = [thing for end in (ends.client, ends.server) for thing in (end.tls, end.incoming, end.tls.context)]
    watched = [weakref.ref(thing) for thing in things]
    del ends, things
    gc.collect()
    assert [thing() for thing in watched] == [None] * len(watched)


def test_an_sslobject_is_no_cycle(pki: PKI) -> None:
    """It is freed at once, without the garbage collector: there may be many, and each has 15 KB or more in C."""
    ends = Ends(client_context(txmembio, pki), server_context(txmembio, pki))
    ends.handshake()
    gone = weakref.ref(ends.client.tls)
    gc.disable()
    try:
        del ends
        assert gone() is None
    finally:
        gc.enable()


def test_the_module_of_a_context_is_known_to_the_helper() -> None:
    assert sslobjects.module_of(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)) is ssl
    assert sslobjects.module_of(txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)) is txmembio
