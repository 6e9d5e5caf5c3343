"""Plaintext behind STARTTLS, on protocols as Twisted ships them: split into segments in every way, none of it is acted
on, and the connection ends. So on both sides.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from xml.parsers import expat

import pytest
from twisted.internet.error import ConnectionAborted
from twisted.internet.protocol import Factory
from twisted.internet.task import Clock
from twisted.mail import imap4, smtp
from twisted.mail.pop3 import AdvancedPOP3Client
from twisted.protocols.basic import Int16StringReceiver, LineOnlyReceiver, LineReceiver, NetstringReceiver
from twisted.words.protocols.jabber import xmlstream

import txmembio
from support import pair, starttls_protocols
from support.conversation import Logged
from support.pki import PKI
from support.twisted_live import Live
from txmembio.counters import Counters
from txmembio.twisted import PlaintextInjected, StartTLSFactory, startTLS
from txmembio.twisted.xmpp import StartTLSInitializer


@dataclass
class Case:
    """A protocol that is one message away from TLS."""

    live: Live
    trigger: bytes
    """That message."""
    injected: bytes
    """What an attacker appends: complete messages of the protocol, and the beginning of one."""
    reasons: list[Any] = field(default_factory=list)
    """Gets what connectionLost is told."""
    processed: Callable[[], int] | None = None
    """How many messages the protocol has acted on since the trigger, if that cannot be seen from its answers."""


def connect(protocol: Any, **settings: Any) -> tuple[Live, list[Any]]:
    """The protocol on a transport with a `startTLS` method, and what its connectionLost will be told."""
    reasons: list[Any] = []
    told = protocol.connectionLost

    def connectionLost(reason: Any) -> None:
        reasons.append(reason.value)
        told(reason)

    protocol.connectionLost = connectionLost
    factory = StartTLSFactory(Factory.forProtocol(lambda: protocol), clock=Clock(), **settings)
    built = factory.buildProtocol(None)
    return Live(built), reasons


# Servers


def esmtp_server(pki: PKI) -> Case:
    live, reasons = connect(starttls_protocols.esmtp(pair.server_context(pki)))
    live.receive(b"EHLO localhost\r\n")
    assert b"STARTTLS" in live.take()
    return Case(live, b"STARTTLS\r\n", b"RSET\r\nNOOP\r\nQU", reasons)


def imap_server(pki: PKI) -> Case:
    live, reasons = connect(starttls_protocols.imap(pair.server_context(pki)))
    live.receive(b"1 CAPABILITY\r\n")
    assert b"STARTTLS" in live.take()
    return Case(live, b"2 STARTTLS\r\n", b"3 NOOP\r\n4 LOGOUT\r\n5 ", reasons)


def pop3_server(pki: PKI) -> Case:
    live, reasons = connect(starttls_protocols.pop(pair.server_context(pki), clock=Clock()))
    live.receive(b"CAPA\r\n")
    assert b"STLS" in live.take()
    return Case(live, b"STLS\r\n", b"CAPA\r\nQUIT\r\nUSER", reasons)


XMPP_HEADER = b"<stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' version='1.0'"


def xmpp_server(pki: PKI) -> Case:
    stream = starttls_protocols.xmpp(pair.server_context(pki), clock=Clock())
    live, reasons = connect(stream)
    live.receive(XMPP_HEADER + b" to='localhost'>")
    assert b"starttls" in live.take()
    seen = stream.authenticator.processed
    return Case(
        live,
        b"<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        b"<iq type='get' id='1'><query xmlns='jabber:iq:roster'/></iq><mess",
        reasons,
        lambda: len([name for name in seen if name != "starttls"]),
    )


# Clients


def esmtp_client(pki: PKI) -> Case:
    told: list[str] = []

    class Client(smtp.ESMTPClient):
        def getMailFrom(self) -> str:
            told.append("what the server can do")
            return "alice@localhost"

    client = Client(b"", pair.client_context(pki), b"localhost")
    client.requireTransportSecurity = True
    live, reasons = connect(client, hostname="localhost")
    live.receive(b"220 hello\r\n")
    live.receive(b"250-localhost\r\n250 STARTTLS\r\n")
    assert live.take().endswith(b"STARTTLS\r\n")
    return Case(live, b"220 go ahead\r\n", b"250-localhost\r\n250 AUTH PLAIN\r\n250", reasons, lambda: len(told))


def imap_client(pki: PKI) -> Case:
    client = imap4.IMAP4Client(pair.client_context(pki))
    live, reasons = connect(client, hostname="localhost")
    live.receive(b"* OK hello\r\n")
    client.getCapabilities()
    live.receive(b"* CAPABILITY IMAP4rev1 STARTTLS\r\n0001 OK done\r\n")
    told: list[Any] = []
    client.startTLS().addCallbacks(told.append, lambda failure: None)
    assert live.take().endswith(b"0002 STARTTLS\r\n")
    return Case(
        live, b"0002 OK go ahead\r\n", b"* CAPABILITY IMAP4rev1\r\n0003 OK done\r\n*", reasons, lambda: len(told)
    )


def pop3_client(pki: PKI) -> Case:
    client = AdvancedPOP3Client()
    live, reasons = connect(client, hostname="localhost")
    live.receive(b"+OK hello\r\n")
    capabilities: list[Any] = []
    client.startTLS(pair.client_context(pki)).addCallbacks(capabilities.append, lambda failure: None)
    live.receive(b"+OK\r\nSTLS\r\n.\r\n")
    assert live.take().endswith(b"STLS\r\n")
    injected = b"+OK\r\nSASL PLAIN\r\n.\r\n+OK"
    return Case(live, b"+OK go ahead\r\n", injected, reasons, lambda: len(capabilities))


def xmpp_client(pki: PKI) -> Case:
    authenticator = xmlstream.ConnectAuthenticator("localhost")
    stream = xmlstream.XmlStream(authenticator)
    stream.initializers = [StartTLSInitializer(stream, pair.client_context(pki), clock=Clock())]
    live, reasons = connect(stream)
    live.receive(XMPP_HEADER + b" id='1' from='localhost'>")
    live.receive(
        b"<stream:features><starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'><required/></starttls></stream:features>"
    )
    assert b"starttls" in live.take()
    told: list[Any] = []
    stream.addObserver("/message", told.append)
    stream.addObserver("/features", told.append)
    return Case(
        live,
        b"<proceed xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>",
        b"<message><body>forged</body></message><mess",
        reasons,
        lambda: len(told),
    )


# Protocols of the user's own, on each of the bases that twisted.protocols.basic has


def own(base: type[Any], received: str, frame: Callable[[bytes], bytes]) -> Callable[[PKI], Case]:
    """A protocol whose message `tls` means that."""

    def make(pki: PKI) -> Case:
        seen: list[bytes] = []

        def message(self: Any, text: bytes) -> None:
            seen.append(text)
            if text == b"tls":
                startTLS(self, pair.server_context(pki), clock=Clock())

        live, reasons = connect(type("Own", (base,), {received: message})())
        injected = frame(b"one") + frame(b"two") + frame(b"three")[:-3]
        return Case(live, frame(b"tls"), injected, reasons, lambda: len([text for text in seen if text != b"tls"]))

    return make


class Parser(LineOnlyReceiver):
    """With a buffer of its own, which it shows."""

    rest = b""

    def dataReceived(self, data: bytes) -> None:
        self.rest += data
        while b";" in self.rest:
            message, _, self.rest = self.rest.partition(b";")
            self.messageReceived(message)

    def messageReceived(self, message: bytes) -> None: ...

    def clearLineBuffer(self) -> bytes:
        rest, self.rest = self.rest, b""
        return rest


class Raw(LineReceiver):
    """Counts on its bytes, not on lines."""

    def connectionMade(self) -> None:
        self.setRawMode()

    def rawDataReceived(self, data: bytes) -> None:
        self.setLineMode(data)

    def lineReceived(self, line: bytes) -> None:
        self.messageReceived(line)

    def messageReceived(self, line: bytes) -> None: ...


SERVERS = [esmtp_server, imap_server, pop3_server, xmpp_server]
CLIENTS = [esmtp_client, imap_client, pop3_client, xmpp_client]
OWN = {
    "LineReceiver": own(LineReceiver, "lineReceived", lambda text: text + b"\r\n"),
    "LineOnlyReceiver": own(LineOnlyReceiver, "lineReceived", lambda text: text + b"\r\n"),
    "Int16StringReceiver": own(Int16StringReceiver, "stringReceived", lambda text: len(text).to_bytes(2, "big") + text),
    "NetstringReceiver": own(NetstringReceiver, "stringReceived", lambda text: b"%d:%s," % (len(text), text)),
    "clearLineBuffer": own(Parser, "messageReceived", lambda text: text + b";"),
    "raw mode": own(Raw, "messageReceived", lambda text: text + b"\r\n"),
}
CASES = {**{make.__name__: make for make in SERVERS + CLIENTS}, **OWN}

every_protocol = pytest.mark.parametrize("make", CASES.values(), ids=CASES)


def shake_hands(case: Case, pki: PKI) -> None:
    """The rest of the handshake, with a peer of the other role."""
    wire = case.live.take()
    hello = wire.find(b"\x16\x03\x01")
    case.live.chunks.append(wire[hello:] if hello >= 0 else b"")
    if hello >= 0:
        case.live.begin(pair.server_context(pki).connection(server_side=True))
    else:
        case.live.begin(pair.client_context(pki).connection(server_hostname="localhost"))
    assert case.live.peer is not None and case.live.peer.handshake_complete


def expat_puts_off_pieces() -> bool:
    """Whether this libexpat waits for more before it looks again at what was incomplete ("reparse deferral", 2.6)."""
    elements: list[str] = []
    parser = expat.ParserCreate()
    parser.StartElementHandler = lambda name, attributes: elements.append(name)
    for piece in ("<a>", "<b", " c='d'", "/>"):
        parser.Parse(piece)
    return elements != ["a", "b"]


def needs_pieces(make: Callable[[PKI], Case]) -> None:
    if make in (xmpp_server, xmpp_client) and expat_puts_off_pieces():
        pytest.skip("this libexpat puts off what arrives in pieces, so XMPP's elements come later than they end")


@every_protocol
def test_without_an_attacker_tls_begins(make: Callable[[PKI], Case], pki: PKI) -> None:
    """However the message arrives."""
    needs_pieces(make)
    length = len(make(pki).trigger)
    for split in range(1, length + 1):
        case = make(pki)
        case.live.receive(case.trigger[:split])
        assert b"\x16\x03\x01" not in b"".join(case.live.chunks) or split == length
        if split < length:
            case.live.receive(case.trigger[split:])
        shake_hands(case, pki)
        case.live.lose()
        assert len(case.reasons) == 1


@every_protocol
def test_after_the_handshake_messages_are_processed_again(make: Callable[[PKI], Case], pki: PKI) -> None:
    case = make(pki)
    case.live.receive(case.trigger)
    shake_hands(case, pki)
    heard = case.live.heard
    if make in (xmpp_server, xmpp_client):
        case.live.say(XMPP_HEADER + b" id='2'>")
    case.live.say(case.injected)
    assert case.processed() if case.processed is not None else case.live.heard != heard
    case.live.lose()


@every_protocol
def test_what_an_attacker_appends_is_not_processed(make: Callable[[PKI], Case], pki: PKI) -> None:
    """In one segment, and in two, split everywhere."""
    needs_pieces(make)
    everything = make(pki)
    length = len(everything.trigger)
    total = length + len(everything.injected)
    everything.live.lose()
    for split in range(1, total + 1):
        case = make(pki)
        data = case.trigger + case.injected
        case.live.receive(data[:split])
        if case.live.protocol is not None and split < total:
            case.live.receive(data[split:])
        ended = [event for event in case.live.events if event in ("abortConnection", "loseConnection")]
        said = b"".join(case.live.chunks)
        case.live.lose(ConnectionAborted())
        assert case.processed is None or case.processed() == 0, split
        assert answers_to(said, make) <= 1, (split, said)
        if split == length:
            # It came by itself, and went to TLS, which it is not.
            assert isinstance(case.reasons[0], txmembio.SSLError), (split, case.reasons)
        elif make in (xmpp_server, xmpp_client) and length < split < total:
            # What is no complete element by then is discarded, and what follows is not TLS.
            assert isinstance(case.reasons[0], PlaintextInjected | txmembio.SSLError), (split, case.reasons)
        else:
            assert isinstance(case.reasons[0], PlaintextInjected), (split, case.reasons)
            assert ended == ["abortConnection"], split


def answers_to(said: bytes, make: Callable[[PKI], Case]) -> int:
    """How many lines or elements of plaintext there are in what a protocol has said; a client says nothing."""
    plaintext = said[: said.find(b"\x16\x03")] if b"\x16\x03" in said else said
    plaintext = plaintext.partition(b"\x15\x03")[0]
    return plaintext.count(b"\r\n") if make is not xmpp_server else plaintext.count(b"/>")


def test_one_byte_at_a_time_is_no_injection(pki: PKI) -> None:
    """As long as the peer waits for the answer."""
    for make in CASES.values():
        if make in (xmpp_server, xmpp_client) and expat_puts_off_pieces():
            continue
        case = make(pki)
        for byte in case.trigger:
            case.live.receive(bytes([byte]))
        shake_hands(case, pki)
        case.live.lose()


def test_it_is_logged(pki: PKI) -> None:
    case = esmtp_server(pki)
    with Logged("txmembio") as log:
        case.live.receive(b"STARTTLS\r\nRSET\r\nNOOP")
        case.live.lose(ConnectionAborted())
    assert [text.partition(": ")[0] for text in log.texts] == ["warn"]
    assert "Plaintext arrived behind STARTTLS, before the handshake: 4 bytes were in its buffer" in log.texts[0]
    assert "192.168.1.1" in log.texts[0]


def test_it_is_counted(pki: PKI) -> None:
    counters = Counters()
    live, _ = connect(starttls_protocols.esmtp(pair.server_context(pki)), counters=counters)
    live.receive(b"EHLO localhost\r\n")
    live.receive(b"STARTTLS\r\nRSET\r\n")
    live.lose(ConnectionAborted())
    assert counters.failures == {"injected": 1}


def test_what_was_going_to_be_processed_is_named(pki: PKI) -> None:
    case = esmtp_server(pki)
    case.live.receive(b"STARTTLS\r\nRSET\r\n")
    case.live.lose(ConnectionAborted())
    assert str(case.reasons[0]).endswith("ESMTP was going to process it (lineReceived).")


def test_a_message_before_the_trigger_is_processed(pki: PKI) -> None:
    """Pipelining up to STARTTLS is allowed (RFC 3207 section 4.2)."""
    case = esmtp_server(pki)
    case.live.receive(b"RSET\r\nSTARTTLS\r\n")
    assert case.live.take().startswith(b"250 ")
    case.live.begin(pair.client_context(pki).connection(server_hostname="localhost"))
    assert case.live.peer is not None and case.live.peer.handshake_complete
    case.live.lose()


def test_a_method_that_the_protocol_replaces_itself_is_left_alone(pki: PKI) -> None:
    class Changing(LineReceiver):
        seen: list[bytes] = []  # noqa: RUF012

        def lineReceived(self, line: bytes) -> None:
            startTLS(self, pair.server_context(pki), clock=Clock())
            self.lineReceived = self.seen.append  # type: ignore[assignment]

    protocol = Changing()
    live = Live(protocol)
    live.receive(b"tls\r\n")
    live.begin(pair.client_context(pki).connection(server_hostname="localhost"))
    live.say(b"after\r\n")
    live.lose()
    assert protocol.seen == [b"after"]
    assert protocol.lineReceived == protocol.seen.append
