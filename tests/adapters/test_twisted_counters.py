"""What an operator can watch: the factory's counters, the events in Twisted's log, `onHandshake`, and the key log."""

from __future__ import annotations

import functools
import gc
import json
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint, clientFromString, serverFromString
from twisted.internet.error import ConnectionAborted, ConnectionLost
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.logger import LogLevel, capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.test.iosim import ConnectionCompleter

import txmembio
from support import pair
from support.memory_reactor import MemoryReactor
from support.pki import PKI
from support.twisted_ends import Application, Ends, connected
from txmembio.counters import MOST_KEYS, OTHER, Counters
from txmembio.twisted import TLSFactory, TLSTransport, wrapClientTLS, wrapServerTLS

TLS13 = txmembio.TLSVersion.TLSv1_3

BAD_RECORD = b"\x17\x03\x03\x00\x20" + b"?" * 32

#: Seconds, the defaults.
HANDSHAKE, SHUTDOWN = 60, 30

#: What no log may contain.
SECRET = b"the secret of the application"


def counters_of(ends: Ends) -> Counters:
    return ends.tls.factory.counters


# What is counted


def test_nothing_has_happened_yet(pki: PKI) -> None:
    factory = TLSFactory(pair.server_context(pki), False, Factory.forProtocol(Protocol))
    assert factory.counters.snapshot() == {
        "connections_open": 0,
        "handshakes_begun": 0,
        "handshakes_completed": 0,
        "handshakes_resumed": 0,
        "handshakes_failed": 0,
        "handshakes_under_way": 0,
        "wire_received": 0,
        "wire_sent": 0,
        "plaintext_received": 0,
        "plaintext_sent": 0,
        "failures": {},
        "endings": {},
        "versions": {},
        "ciphers": {},
        "groups": {},
        "alpn": {},
    }


def numbers(counters: Counters) -> tuple[int, int, int, int, int]:
    return (
        counters.connections_open,
        counters.handshakes_begun,
        counters.handshakes_under_way,
        counters.handshakes_completed,
        counters.handshakes_failed,
    )


def test_from_the_connection_to_its_end(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version)
    counters = counters_of(ends)
    assert numbers(counters) == (1, 1, 1, 0, 0)
    ends.settle()
    assert numbers(counters) == (1, 1, 0, 1, 0)
    ends.tls.loseConnection()
    ends.peer.close()
    ends.settle()
    assert numbers(counters) == (1, 1, 0, 1, 0)
    ends.lose()
    assert numbers(counters) == (0, 1, 0, 1, 0)
    assert counters.endings == {"clean": 1}


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
def test_what_handshakes_agree_on(pki: PKI, tls_version: txmembio.TLSVersion, is_client: bool) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    client.set_alpn_protocols(["h2", "http/1.1"])
    server.set_alpn_protocols(["http/1.1"])
    counters = Counters()
    for _ in range(2):
        ends = connected(
            pki, tls_version, client_context=client, server_context=server, is_client=is_client, counters=counters
        )
    cipher, group = ends.peer.cipher(), ends.peer.group()
    assert cipher is not None and group is not None
    assert counters.versions == {ends.peer.version(): 2}
    assert counters.ciphers == {cipher[0]: 2}
    assert counters.groups == {group: 2}
    assert counters.alpn == {"http/1.1": 2}


def test_no_alpn_is_counted_as_none(pki: PKI) -> None:
    assert counters_of(connected(pki, TLS13)).alpn == {"none": 1}


def test_resumed_handshakes(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    counters = Counters()
    session: txmembio.SSLSession | None = None
    for _ in range(3):
        ends = Ends(pki, tls_version, client_context=client, server_context=server, counters=counters, connect=False)
        if session is not None:
            ends.peer.set_session(session)
        ends.connect()
        ends.settle()
        session = ends.peer.session
        ends.tls.loseConnection()
        ends.settle()
        ends.lose()
    assert (counters.handshakes_completed, counters.handshakes_resumed) == (3, 2)


def test_bytes_both_ways(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Of open connections and of those that have ended; exactly what was carried."""
    counters = Counters()
    received = sent = 0
    for _ in range(2):
        ends = Ends(pki, tls_version, counters=counters, connect=False)
        ends.connect()
        for _ in range(3):
            received += len(wire := ends.peer.wire_to_send())
            ends.tls.dataReceived(wire)
            sent += sum(map(len, ends.beneath.chunks))
            ends.to_peer()
        assert ends.peer.handshake_complete
        ends.peer.send_plaintext(b"r" * 100_000)
        received += len(wire := ends.peer.wire_to_send())
        ends.tls.dataReceived(wire)
        ends.tls.write(b"w" * 70_000)
        sent += sum(map(len, ends.beneath.chunks))
        assert counters.traffic()[:2] == (received, sent)
    ends.tls.abortConnection()
    ends.lose(ConnectionAborted())
    snapshot = counters.snapshot()
    assert (snapshot["wire_received"], snapshot["wire_sent"]) == (received, sent)
    assert (snapshot["plaintext_received"], snapshot["plaintext_sent"]) == (200_000, 140_000)


def test_plaintext_that_was_never_sent_is_not_counted(pki: PKI) -> None:
    ends = Ends(pki, TLS13)
    ends.tls.write(b"kept until the handshake is complete")
    ends.clock.advance(0)
    assert counters_of(ends).traffic().plaintext_sent == 0
    ends.tls.abortConnection()
    ends.lose(ConnectionAborted())
    assert counters_of(ends).traffic().plaintext_sent == 0


# Why connections ended


def client_that_trusts_nobody() -> txmembio.SSLContext:
    return txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)


def failing_context(pki: PKI) -> txmembio.SSLContext:
    def fail(*_: object) -> None:
        raise LookupError("in the SNI callback")

    context = pair.server_context(pki)
    context.sni_callback = fail
    return context


def only(pki: PKI, version: str) -> txmembio.SSLContext:
    return pair.client_context(pki, txmembio.TLSVersion[version])


FAILURES: dict[str, Callable[[PKI], Ends]] = {}


def failure(make: Callable[[PKI], Ends]) -> Callable[[PKI], Ends]:
    FAILURES[make.__name__] = make
    return make


@failure
def http_request(pki: PKI) -> Ends:
    ends = Ends(pki)
    ends.tls.dataReceived(b"GET / HTTP/1.1\r\n\r\n")
    ends.lose()
    return ends


@failure
def truncated(pki: PKI) -> Ends:
    ends = Ends(pki)
    ends.lose()
    return ends


@failure
def timeout(pki: PKI) -> Ends:
    ends = Ends(pki)
    ends.clock.advance(HANDSHAKE)
    ends.lose(ConnectionAborted())
    return ends


@failure
def aborted(pki: PKI) -> Ends:
    ends = Ends(pki)
    ends.tls.abortConnection()
    ends.lose(ConnectionAborted())
    return ends


@failure
def lost(pki: PKI) -> Ends:
    ends = Ends(pki)
    ends.lose(ConnectionLost())
    return ends


@failure
def clean(pki: PKI) -> Ends:
    """The application had nothing to say."""
    ends = Ends(pki)
    ends.tls.loseConnection()
    ends.lose()
    return ends


@failure
def certificate_verify_failed(pki: PKI) -> Ends:
    ends = Ends(pki, is_client=True, client_context=client_that_trusts_nobody())
    ends.settle()
    ends.lose()
    return ends


@failure
def alert_unknown_ca(pki: PKI) -> Ends:
    ends = Ends(pki, client_context=client_that_trusts_nobody())
    ends.settle()
    ends.lose()
    return ends


@failure
def unsupported_protocol(pki: PKI) -> Ends:
    server = pair.server_context(pki, TLS13)
    ends = Ends(pki, client_context=only(pki, "TLSv1_2"), server_context=server)
    ends.settle()
    ends.lose()
    return ends


@failure
def callback(pki: PKI) -> Ends:
    ends = Ends(pki, server_context=failing_context(pki))
    ends.settle()
    ends.lose()
    return ends


@pytest.mark.parametrize("key", FAILURES)
def test_failures_by_reason(pki: PKI, key: str) -> None:
    counters = counters_of(FAILURES[key](pki))
    assert counters.failures == {key: 1}
    assert numbers(counters) == (0, 1, 0, 0, 1)
    assert counters.endings == {}


def end_clean(ends: Ends) -> None:
    ends.peer.close()
    ends.from_peer()
    ends.lose()


def end_truncated(ends: Ends) -> None:
    ends.lose()


def end_aborted(ends: Ends) -> None:
    ends.tls.abortConnection()
    ends.lose(ConnectionAborted())


def end_lost(ends: Ends) -> None:
    ends.lose(ConnectionLost())


def end_timeout(ends: Ends) -> None:
    ends.tls.loseConnection()
    ends.clock.advance(SHUTDOWN)
    ends.lose(ConnectionAborted())


def end_decryption_failed_or_bad_record_mac(ends: Ends) -> None:
    ends.tls.dataReceived(BAD_RECORD)
    ends.lose()


def end_alert_bad_record_mac(ends: Ends) -> None:
    with pytest.raises(txmembio.SSLError):
        ends.peer.receive_wire(BAD_RECORD)
    ends.from_peer()
    ends.lose()


ENDINGS = [
    end_clean,
    end_truncated,
    end_aborted,
    end_lost,
    end_timeout,
    end_decryption_failed_or_bad_record_mac,
    end_alert_bad_record_mac,
]


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__[4:])
def test_endings_by_reason(pki: PKI, tls_version: txmembio.TLSVersion, end: Callable[[Ends], None]) -> None:
    ends = connected(pki, tls_version)
    end(ends)
    counters = counters_of(ends)
    assert counters.endings == {end.__name__[4:]: 1}
    assert numbers(counters) == (0, 1, 0, 1, 0)
    assert counters.failures == {}


def test_a_tally_has_a_bounded_number_of_keys(pki: PKI) -> None:
    counters = Counters()
    connection = pair.server_context(pki).connection(server_side=True)
    for number in range(MOST_KEYS + 50):
        counters.connection_began(connection)
        counters.connection_ended(connection, f"reason {number}")
    assert len(counters.failures) == MOST_KEYS + 1
    assert counters.failures[OTHER] == 50
    assert counters.handshakes_failed == MOST_KEYS + 50


# Whose counters


def test_endpoints_count_all_that_goes_through_them(pki: PKI) -> None:
    reactor = MemoryReactorClock()
    server = wrapServerTLS(pair.server_context(pki), TCP4ServerEndpoint(reactor, 8443), clock=reactor)
    client = wrapClientTLS(
        pair.client_context(pki), "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", 8443), clock=reactor
    )
    server.listen(Factory.forProtocol(Protocol))
    listening: Any = reactor.tcpServers[0][1]
    assert listening.counters is server.counters
    for _ in range(2):
        client.connect(Factory.forProtocol(Protocol))
        pump: Any = ConnectionCompleter(reactor).succeedOnce()
        pump.flush()
    for endpoint in (server, client):
        assert endpoint.counters.handshakes_completed == 2
    assert server.counters.traffic().wire_received == client.counters.traffic().wire_sent


def test_endpoint_strings_have_counters(pki: PKI) -> None:
    memory = MemoryReactor()
    server: Any = serverFromString(
        memory, f"membiotls:443:privateKey={pki.server.key_file}:certKey={pki.server.chain_file}"
    )
    server.listen(Factory.forProtocol(Protocol))
    listening: Any = memory.tcpServers[0][1]
    assert listening.counters is server.counters
    client: Any = clientFromString(memory, "membiotls:localhost:443")
    assert client.counters.snapshot()["handshakes_begun"] == 0


def test_several_can_share_counters(pki: PKI) -> None:
    counters = Counters()
    for is_client in (False, True):
        connected(pki, TLS13, is_client=is_client, counters=counters)
    assert counters.handshakes_completed == counters.connections_open == 2


def test_what_is_no_counters_is_refused(pki: PKI) -> None:
    context: Any = pair.server_context(pki)
    with pytest.raises(TypeError, match=r"counters must be a txmembio.counters.Counters, not dict"):
        TLSFactory(context, False, Factory.forProtocol(Protocol), counters={})  # type: ignore[arg-type]


def test_a_snapshot_is_data_and_stays_as_it_is(pki: PKI) -> None:
    ends = connected(pki, TLS13)
    snapshot = counters_of(ends).snapshot()
    assert json.loads(json.dumps(snapshot)) == snapshot
    before = json.dumps(snapshot)
    ends.lose()
    assert json.dumps(snapshot) == before != json.dumps(counters_of(ends).snapshot())


# The log


def test_a_complete_handshake_is_told_to_those_who_ask(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    client.set_alpn_protocols(["http/1.1"])
    server.set_alpn_protocols(["http/1.1"])
    with capturedLogs() as events:
        ends = Ends(pki, client_context=client, server_context=server)
        ends.clock.advance(0.25)
        ends.settle()
    (event,) = events
    cipher = ends.peer.cipher()
    assert cipher is not None
    assert event["log_level"] == LogLevel.debug
    assert event["log_namespace"] == "txmembio.twisted"
    assert {key: value for key, value in event.items() if not key.startswith("log_")} == {
        "event": "handshake_completed",
        "role": "server",
        "peer": ends.beneath.getPeer(),
        "server_name": "localhost",
        "seconds": 0.25,
        "version": ends.peer.version(),
        "cipher": cipher[0],
        "group": ends.peer.group(),
        "alpn": "http/1.1",
        "resumed": False,
    }


#: Endings that a log tells of; the others are part of any day.
TOLD = set(FAILURES) - {"aborted", "lost", "clean"}


@pytest.mark.parametrize("key", FAILURES)
def test_a_failed_handshake_is_one_line_without_a_traceback(pki: PKI, key: str) -> None:
    with capturedLogs() as events:
        ends = FAILURES[key](pki)
    told = [event for event in events if event["event"] == "handshake_failed"]
    if key not in TOLD:
        assert events == []
        return
    (event,) = told
    assert event["log_level"] == (LogLevel.debug if key == "truncated" else LogLevel.info)
    assert (event["why"], event["stage"]) == (key, "handshake")
    assert event["role"] == ("client" if key == "certificate_verify_failed" else "server")
    assert event["peer"] == ends.beneath.getPeer()
    assert event["seconds"] == (HANDSHAKE if key == "timeout" else 0)
    assert "log_failure" not in event and "\n" not in formatEvent(event)
    assert event["error"] == str(event["reason"])
    # An exception in the program's own callback is the one thing that has a traceback, in a line of its own.
    assert [event["event"] for event in events if event not in told] == (
        ["callback_failed"] if key == "callback" else []
    )


@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__[4:])
def test_later_failures_are_for_those_who_ask(pki: PKI, end: Callable[[Ends], None]) -> None:
    ends = connected(pki, TLS13)
    with capturedLogs() as events:
        end(ends)
    if end in (end_clean, end_aborted, end_lost):
        assert events == []
        return
    (event,) = events
    assert (event["event"], event["log_level"]) == ("connection_failed", LogLevel.debug)
    assert event["why"] == end.__name__[4:]
    assert "\n" not in formatEvent(event)


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("end", ENDINGS, ids=lambda end: end.__name__[4:])
def test_no_secret_is_logged(
    pki: PKI, tmp_path: Path, tls_version: txmembio.TLSVersion, end: Callable[[Ends], None], is_client: bool
) -> None:
    """Neither plaintext nor what the key log has: not in a text, and not in an event."""
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    client.keylog_filename = tmp_path / "keys"
    with capturedLogs() as events:
        ends = connected(pki, tls_version, client_context=client, server_context=server, is_client=is_client)
        ends.say(SECRET)
        ends.tls.write(SECRET)
        ends.settle()
        end(ends)
    secrets = [line.split()[2] for line in (tmp_path / "keys").read_text().splitlines()[1:]]
    assert secrets and events
    everything = "".join(formatEvent(event) + repr(event) for event in events)
    for secret in (SECRET.decode(), *secrets):
        assert secret not in everything
        assert secret.upper() not in everything


def test_the_log_keeps_no_connection_alive(pki: PKI) -> None:
    with capturedLogs() as events:
        ends = connected(pki, TLS13)
        end_decryption_failed_or_bad_record_mac(ends)
    alive: list[weakref.ref[Any]] = [weakref.ref(each) for each in (ends.tls, ends.tls.connection, ends.application)]
    assert len(events) == 2
    del ends
    gc.collect()
    assert [ref() for ref in alive] == [None] * 3


# onHandshake


class Hook:
    """Writes down what it is told, then does what `then` says."""

    def __init__(self, then: Callable[[TLSTransport], object] = lambda tls: None) -> None:
        self.told: list[tuple[TLSTransport, Failure | None]] = []
        self.then = then

    def __call__(self, tls: TLSTransport, reason: Failure | None) -> None:
        self.told.append((tls, reason))
        self.then(tls)


def test_on_handshake_is_told_before_the_application(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    events: list[str] = []
    hook = Hook(lambda tls: events.append(f"hook: {tls.connection.version()}"))
    ends = Ends(pki, tls_version, Application(events), onHandshake=hook)
    ends.peer.send_plaintext(b"first words")
    ends.settle()
    version = ends.peer.version()
    assert [event for event in events if event != "write"] == [
        "connectionMade",
        f"hook: {version}",
        "handshakeCompleted",
        "dataReceived",
    ]
    ends.lose()
    assert hook.told == [(ends.tls, None)], "once for a connection"


@pytest.mark.parametrize("key", FAILURES)
def test_on_handshake_is_told_of_failures(pki: PKI, key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = Hook()
    original = Ends.__init__

    monkeypatch.setattr(Ends, "__init__", functools.partialmethod(original, onHandshake=hook))
    ends = FAILURES[key](pki)
    ((tls, reason),) = hook.told
    assert tls is ends.tls
    assert reason is not None and reason is ends.application.reason


def test_on_handshake_may_refuse_the_connection(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, onHandshake=Hook(lambda tls: tls.abortConnection()))
    ends.peer.send_plaintext(b"first words")
    ends.settle()
    assert "handshakeCompleted" not in ends.events
    assert ends.application.received == b""
    assert "abortConnection" in ends.events
    ends.lose(ConnectionAborted())
    assert ends.application.reason is not None and ends.application.reason.check(ConnectionAborted)


def test_what_on_handshake_raises_ends_the_connection(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """As what any callback of a protocol raises: the reactor logs it, and drops the connection."""

    def refuse(tls: TLSTransport) -> None:
        raise PermissionError("not you")

    ends = Ends(pki, tls_version, onHandshake=Hook(refuse))
    with pytest.raises(PermissionError, match="not you"):
        ends.settle()
    assert "handshakeCompleted" not in ends.events


def test_what_on_handshake_raises_about_a_failure_is_logged(pki: PKI) -> None:
    def fail(tls: TLSTransport) -> None:
        raise LookupError("in the hook")

    ends = Ends(pki, onHandshake=Hook(fail))
    with capturedLogs() as events:
        ends.lose()
    assert ends.events[-1] == "connectionLost"
    assert [event["event"] for event in events if event["log_level"] > LogLevel.debug] == ["hook_failed"]
    assert events[-1]["log_failure"].check(LookupError)


def test_on_handshake_has_to_be_callable(pki: PKI) -> None:
    with pytest.raises(TypeError, match="onHandshake must be callable, not str"):
        TLSFactory(
            pair.server_context(pki),
            False,
            Factory.forProtocol(Protocol),
            onHandshake="nobody",  # type: ignore[arg-type]
        )


# The key log


def test_sslkeylogfile_works_through_endpoint_strings(
    pki: PKI, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A real file, with the secrets of the very connection: they are listed under the ClientHello's random bytes."""
    path = tmp_path / "keys"
    monkeypatch.setenv("SSLKEYLOGFILE", str(path))
    memory = MemoryReactor()
    server: Any = serverFromString(
        memory, f"membiotls:443:privateKey={pki.server.key_file}:certKey={pki.server.chain_file}"
    )
    server.listen(Factory.forProtocol(Protocol))
    factory: Any = memory.tcpServers[0][1]
    transport = StringTransport()
    tls = factory.buildProtocol(None)
    tls.makeConnection(transport)
    monkeypatch.delenv("SSLKEYLOGFILE")
    peer = pair.client_context(pki, TLS13).connection(server_hostname="localhost")
    peer.do_handshake()
    hello = peer.wire_to_send()
    tls.dataReceived(hello)
    peer.receive_wire(transport.value())
    tls.dataReceived(peer.wire_to_send())
    assert server.counters.handshakes_completed == 1
    # Record header (5 bytes), message header (4), version (2), then the random (RFC 8446 section 4.1.2).
    random = hello[11:43].hex()
    lines = [line.split() for line in path.read_text().splitlines() if not line.startswith("#")]
    assert {line[0] for line in lines} >= {
        "CLIENT_HANDSHAKE_TRAFFIC_SECRET",
        "SERVER_HANDSHAKE_TRAFFIC_SECRET",
        "CLIENT_TRAFFIC_SECRET_0",
        "SERVER_TRAFFIC_SECRET_0",
    }
    assert {line[1] for line in lines} == {random}
    assert path.stat().st_mode & 0o077 == 0, "nobody else's to read"


@pytest.mark.parametrize("value", ["", "no/such/folder/keys"])
def test_sslkeylogfile_that_cannot_be_written(pki: PKI, monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    """Empty is unset, as for curl; a folder that is not there is an error of one line, before anything listens."""
    monkeypatch.setenv("SSLKEYLOGFILE", value)
    description = f"membiotls:443:privateKey={pki.server.key_file}:certKey={pki.server.chain_file}"
    if not value:
        serverFromString(MemoryReactor(), description)
        return
    with pytest.raises(OSError, match="no/such/folder/keys"):
        serverFromString(MemoryReactor(), description)
