"""How a `TLSTransport` ends: every way there is, what goes out, and the reason that the application is given."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.error import (
    ConnectionAborted,
    ConnectionClosed,
    ConnectionDone,
    ConnectionLost,
    TimeoutError,
)
from twisted.internet.testing import StringTransport

import txmembio
from support import pair
from support.pki import PKI
from support.twisted_ends import Application, Ends, HalfCloseable, connected
from txmembio.twisted import ConnectionTruncated, HandshakeTimeout, ShutdownTimeout

TLS12 = txmembio.TLSVersion.TLSv1_2
TLS13 = txmembio.TLSVersion.TLSv1_3

#: A record that no key decrypts, and one whose ClientHello ends too soon.
BAD_RECORD = b"\x17\x03\x03\x00\x20" + b"?" * 32
BAD_HELLO = b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"

#: Seconds, the defaults.
HANDSHAKE, SHUTDOWN = 60, 30


def reason_of(ends: Ends, *, lost: Exception | None = None) -> BaseException:
    """Have the transport beneath report its end; the exception that the application was given."""
    ends.lose(lost)
    assert ends.application.reason is not None
    assert not ends.clock.getDelayedCalls()
    value = ends.application.reason.value
    assert isinstance(value, BaseException)
    return value


# In order, from this side


def test_closing_flushes_then_says_so_then_waits_for_the_peer(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.write(b"last words")
    ends.tls.loseConnection()
    assert ends.tls.disconnecting
    assert ends.events == ["write"]  # data and close_notify in one piece
    ends.to_peer()
    assert ends.heard == b"last words"
    assert ends.peer.peer_closed
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["write", "loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


def test_the_peers_end_is_as_good_as_its_close_notify_once_ours_is_out(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    assert isinstance(reason_of(ends), ConnectionDone)


def test_a_reset_after_our_close_notify_is_told(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """What was written may not have arrived."""
    ends = connected(pki, tls_version)
    ends.tls.write(b"last words")
    ends.tls.loseConnection()
    assert type(reason_of(ends, lost=ConnectionLost())) is ConnectionLost


def test_data_that_arrives_after_we_closed_is_discarded(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    for _ in range(3):
        ends.say(b"too late")
    assert ends.application.received == b""
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["write", "loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


def test_closing_twice_is_closing_once(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    ends.tls.loseConnection()
    ends.tls.stopProducing()
    assert ends.events == ["write"]


def test_writes_after_closing_are_dropped(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    ends.tls.write(b"late")
    ends.tls.write(b"L" * 100_000)
    ends.settle()
    assert ends.heard == b""
    assert ends.peer_error is None


def test_a_paused_connection_reads_again_to_be_closed(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.pauseProducing()
    ends.tls.loseConnection()
    assert ends.beneath.producerState == "producing"
    ends.tls.pauseProducing()
    ends.tls.resumeProducing()
    assert ends.beneath.producerState == "producing"


def test_stop_producing_closes(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.stopProducing()
    ends.to_peer()
    assert ends.peer.peer_closed


# In order, from the peer


def test_the_peer_closes(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """What came before is delivered, what is held goes out, close_notify is answered, the transport beneath closed."""
    ends = connected(pki, tls_version)
    ends.tls.write(b"last words")
    ends.peer.send_plaintext(b"the peer's")
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["dataReceived", "write", "write", "loseConnection"]
    assert ends.application.received == b"the peer's"
    ends.to_peer()
    assert ends.heard == b"last words"
    assert ends.peer.peer_closed
    assert isinstance(reason_of(ends), ConnectionDone)


def test_an_answer_to_the_peers_last_data_goes_out(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = lambda application: application.transport.write(b"answer")  # type: ignore[union-attr]
    ends.peer.send_plaintext(b"question")
    ends.peer.close()
    ends.from_peer()
    ends.to_peer()
    assert ends.heard == b"answer"


def test_a_reset_that_answers_our_answer_is_no_loss(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Many peers close their socket right behind their close_notify; ours then meets nobody."""
    ends = connected(pki, tls_version)
    ends.peer.close()
    ends.from_peer()
    assert isinstance(reason_of(ends, lost=ConnectionLost()), ConnectionDone)


def test_both_close_at_once(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    ends.peer.close()
    ends.from_peer()
    ends.to_peer()
    assert ends.peer.peer_closed and ends.peer_error is None
    assert ends.events == ["write", "loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


def test_bytes_behind_the_peers_close_notify_change_nothing(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.peer.close()
    ends.tls.dataReceived(ends.peer.wire_to_send() + b"plaintext again")
    for _ in range(3):
        ends.tls.dataReceived(b"x" * 60_000)
    assert ends.events == ["write", "loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


# Out of order


def test_truncation(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.say(b"half of")
    reason = reason_of(ends)
    assert isinstance(reason, ConnectionTruncated)
    assert isinstance(reason, ConnectionLost)
    assert isinstance(reason.__cause__, txmembio.SSLEOFError)
    assert "close_notify" in str(reason)
    assert ends.application.received == b"half of"


def test_truncation_within_the_handshake(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version)
    reason = reason_of(ends)
    assert isinstance(reason, ConnectionTruncated)
    assert "during the handshake" in str(reason)


def test_truncation_while_a_close_waits_for_the_handshake(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Nothing of what was written has been sent."""
    ends = Ends(pki, tls_version)
    ends.tls.write(b"never sent")
    ends.tls.loseConnection()
    assert isinstance(reason_of(ends), ConnectionTruncated)


def test_what_the_transport_beneath_says_is_passed_on(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    reset = ConnectionLost("reset")
    assert reason_of(connected(pki, tls_version), lost=reset) is reset
    assert reason_of(Ends(pki, tls_version), lost=reset) is reset


@pytest.mark.parametrize("handshake", [True, False], ids=["handshake-complete", "in-the-handshake"])
def test_bad_wire_is_answered_with_an_alert(pki: PKI, tls_version: txmembio.TLSVersion, handshake: bool) -> None:
    ends = connected(pki, tls_version) if handshake else Ends(pki, tls_version)
    ends.forget()
    ends.tls.dataReceived(BAD_RECORD if handshake else BAD_HELLO)
    assert ends.events == ["write", "loseConnection"]
    ends.tls.dataReceived(BAD_RECORD)  # nothing more comes of it
    ends.tls.write(b"late")
    ends.tls.loseConnection()
    ends.clock.advance(0)
    assert ends.events == ["write", "loseConnection"]
    reason = reason_of(ends)
    assert isinstance(reason, txmembio.SSLError)
    assert reason.__traceback__ is None


def test_a_refused_certificate(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """The client says why, to its application and to the server; the server's application hears that."""
    untrusting = txmembio.create_default_context(cafile=pki.untrusted_ca.certificate_file)
    untrusting.minimum_version = untrusting.maximum_version = tls_version
    client = Ends(pki, tls_version, is_client=True, client_context=untrusting)
    client.settle()
    assert "loseConnection" in client.events and "handshakeCompleted" not in client.events
    assert client.peer_error is not None and client.peer_error.alert == "unknown_ca"
    reason = reason_of(client)
    assert isinstance(reason, txmembio.SSLCertVerificationError)
    assert "localhost" in str(reason)

    server = Ends(pki, tls_version, client_context=untrusting)
    server.settle()
    assert isinstance(server.peer_error, txmembio.SSLCertVerificationError)
    server.from_peer()
    reason = reason_of(server)
    assert isinstance(reason, txmembio.SSLError)
    assert reason.alert == "unknown_ca" and reason.alert_received


def test_a_refused_client_certificate_reaches_the_client(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """In TLS 1.3 the client's handshake is complete by then, and it may even have begun to close."""
    for closing in (False, True):
        ends = Ends(
            pki,
            tls_version,
            is_client=True,
            server_context=pair.server_context(pki, tls_version, verify_client=True),
        )
        while not ends.tls.connection.handshake_complete and ends.peer_error is None:
            ends.to_peer()
            ends.from_peer()
        if closing:
            ends.tls.loseConnection()
        ends.settle()
        reason = reason_of(ends)
        assert isinstance(reason, txmembio.SSLError)
        assert reason.alert_received


# Abortion


def test_aborting_sends_nothing(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.write(b"held")
    ends.tls.abortConnection()
    ends.tls.abortConnection()
    ends.tls.write(b"late")
    ends.tls.loseConnection()
    ends.say(b"late")
    ends.clock.advance(SHUTDOWN)
    assert ends.events == ["abortConnection"]
    assert isinstance(reason_of(ends, lost=ConnectionAborted()), ConnectionAborted)


def test_aborting_a_transport_that_cannot_be_aborted(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    class Pipe(StringTransport):
        abortConnection = None  # type: ignore[assignment]

        def __getattribute__(self, name: str) -> Any:
            if name == "abortConnection":
                raise AttributeError(name)
            return super().__getattribute__(name)

    ends = Ends(pki, tls_version, connect=False)
    ends.beneath = Pipe()  # type: ignore[assignment]
    ends.tls.makeConnection(ends.beneath)
    ends.tls.abortConnection()
    assert ends.beneath.disconnecting
    ends.peer.do_handshake()
    ends.from_peer()
    assert ends.beneath.value() == b"", "it went on with the handshake"
    assert isinstance(reason_of(ends), ConnectionAborted)


def test_aborting_a_connection_that_is_being_closed(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    ends.tls.abortConnection()
    assert ends.events == ["write", "abortConnection"]
    assert isinstance(reason_of(ends, lost=ConnectionAborted()), ConnectionAborted)
    ends = connected(pki, tls_version)
    ends.peer.close()
    ends.from_peer()
    ends.tls.abortConnection()
    assert ends.events == ["write", "loseConnection", "abortConnection"]
    assert isinstance(reason_of(ends, lost=ConnectionAborted()), ConnectionAborted)


def test_nothing_happens_after_the_end(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.lose()
    ends.forget()
    for act in (
        ends.tls.loseConnection,
        ends.tls.abortConnection,
        ends.tls.loseWriteConnection,
        ends.tls.pauseProducing,
        ends.tls.resumeProducing,
        ends.tls.stopProducing,
        ends.tls.stopConsuming,
        ends.tls.unregisterProducer,
    ):
        act()
    assert ends.events == []
    assert ends.clock.getDelayedCalls() == []


def test_the_transport_beneath_can_be_lost_while_data_is_delivered(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    def write_and_be_lost(application: Application) -> None:
        write_small(application)
        ends.lose(ConnectionLost())
        write_small(application)

    for last in (False, True):
        ends = connected(pki, tls_version)
        ends.application.on["dataReceived"] = write_and_be_lost
        ends.peer.send_plaintext(b"hello")
        if last:
            ends.peer.close()
        ends.from_peer()
        assert ends.events == ["dataReceived", "connectionLost"]
        assert ends.clock.getDelayedCalls() == []


# Before the handshake is complete


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
def test_closing_before_anything_was_written_closes_at_once(
    pki: PKI, tls_version: txmembio.TLSVersion, is_client: bool
) -> None:
    ends = Ends(pki, tls_version, is_client=is_client)
    ends.forget()
    ends.tls.loseConnection()
    assert ends.events == ["loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
@pytest.mark.parametrize("size", [10, 100_000])
def test_what_was_written_before_a_close_is_sent_when_the_handshake_is_complete(
    pki: PKI, tls_version: txmembio.TLSVersion, is_client: bool, size: int
) -> None:
    def say_and_close(application: Application) -> None:
        assert application.transport is not None
        application.transport.write(b"w" * size)
        application.transport.loseConnection()
        application.transport.write(b"late")

    ends = Ends(pki, tls_version, Application(connectionMade=say_and_close), is_client=is_client)
    ends.settle()
    assert ends.heard == b"w" * size
    assert ends.peer.peer_closed
    ends.peer.close()
    ends.from_peer()
    assert isinstance(reason_of(ends), ConnectionDone)


# Time-outs


def test_the_handshake_has_a_time_limit(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version)
    ends.clock.advance(HANDSHAKE - 1)
    assert "abortConnection" not in ends.events
    ends.clock.advance(1)
    assert ends.events[-1] == "abortConnection"
    reason = reason_of(ends, lost=ConnectionAborted())
    assert isinstance(reason, HandshakeTimeout)
    assert isinstance(reason, ConnectionLost) and isinstance(reason, TimeoutError)
    assert str(reason) == "The TLS handshake timed out: not complete after 60 seconds."


def test_a_peer_that_sends_slowly_gains_no_time_for_the_handshake(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version)
    wire = ends.peer.wire_to_send()
    for at in range(HANDSHAKE):
        assert "abortConnection" not in ends.events
        ends.tls.dataReceived(wire[at : at + 1])
        ends.clock.advance(1)
    assert ends.events[-1] == "abortConnection"


def test_a_complete_handshake_has_no_time_limit(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    assert ends.clock.getDelayedCalls() == []
    ends.clock.advance(1_000_000)
    assert ends.events == []


def test_the_shutdown_has_a_time_limit(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    ends.clock.advance(SHUTDOWN - 1)
    assert ends.events == ["write"]
    ends.clock.advance(1)
    assert ends.events == ["write", "abortConnection"]
    reason = reason_of(ends, lost=ConnectionAborted())
    assert isinstance(reason, ShutdownTimeout)
    assert isinstance(reason, ConnectionLost) and isinstance(reason, TimeoutError)
    assert str(reason) == "The TLS shutdown timed out: no progress in 30 seconds."


def test_a_peer_that_keeps_sending_gains_no_time_for_the_shutdown(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.loseConnection()
    for _ in range(SHUTDOWN):
        assert "abortConnection" not in ends.events
        ends.say(b"more and more")
        ends.clock.advance(1)
    assert ends.events == ["write", "abortConnection"]


def test_a_transport_that_makes_progress_gains_time_for_the_shutdown(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    """A slow peer may take longer than the time-out for what was written before the close; one that stops may not."""
    ends = connected(pki, tls_version)
    # What twisted.internet.abstract.FileDescriptor has.
    buffer: Any = ends.beneath
    buffer.dataBuffer, buffer.offset, buffer._tempDataLen = b"b" * 1000, 0, 1_000_000
    ends.tls.loseConnection()
    for moved in range(100, 600, 100):
        ends.clock.advance(SHUTDOWN - 1)
        buffer.offset = moved
        ends.clock.advance(1)
        assert ends.events == ["write"]
    ends.clock.advance(SHUTDOWN)
    assert ends.events == ["write", "abortConnection"]


@pytest.mark.parametrize("end", ["peer", "failure"])
def test_the_transport_beneath_has_a_time_limit_too(pki: PKI, tls_version: txmembio.TLSVersion, end: str) -> None:
    """A peer that does not read keeps an alert or a close_notify from leaving."""
    ends = connected(pki, tls_version)
    if end == "peer":
        ends.peer.close()
        ends.from_peer()
    else:
        ends.tls.dataReceived(BAD_RECORD)
    ends.clock.advance(SHUTDOWN)
    assert ends.events == ["write", "loseConnection", "abortConnection"]
    reason = reason_of(ends, lost=ConnectionAborted())
    assert isinstance(reason, ShutdownTimeout if end == "peer" else txmembio.SSLError)


def test_time_outs_can_be_set(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, handshakeTimeout=0.5, shutdownTimeout=0.25)
    ends.clock.advance(0.5)
    assert ends.events[-1] == "abortConnection"
    ends = connected(pki, tls_version, handshakeTimeout=0.5, shutdownTimeout=0.25)
    ends.tls.loseConnection()
    ends.clock.advance(0.25)
    assert ends.events[-1] == "abortConnection"


def test_time_outs_can_be_switched_off(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = Ends(pki, tls_version, handshakeTimeout=None, shutdownTimeout=None)
    assert ends.clock.getDelayedCalls() == []
    ends.settle()
    ends.tls.loseConnection()
    assert ends.clock.getDelayedCalls() == []


# Half a connection


def test_the_sending_half_is_closed(pki: PKI) -> None:
    ends = connected(pki, TLS13, HalfCloseable())
    ends.tls.write(b"last words")
    ends.tls.loseWriteConnection()
    ends.tls.loseWriteConnection()
    ends.tls.write(b"late")
    assert ends.events == ["write", "writeConnectionLost"]
    ends.settle()
    assert ends.heard == b"last words" and ends.peer.peer_closed
    ends.say(b"the peer goes on")
    assert ends.application.received == b"the peer goes on"
    # However long it takes.
    ends.clock.advance(1_000_000)
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["write", "writeConnectionLost", "dataReceived", "readConnectionLost", "loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


def test_the_sending_half_is_closed_when_the_handshake_is_complete(pki: PKI) -> None:
    application = HalfCloseable(connectionMade=lambda application: application.transport.loseWriteConnection())  # type: ignore[union-attr]
    ends = Ends(pki, TLS13, application)
    ends.settle()
    assert ends.peer.peer_closed
    assert ends.events.index("handshakeCompleted") < ends.events.index("writeConnectionLost")
    ends.say(b"hello")
    assert ends.application.received == b"hello"


def test_a_half_closed_connection_is_closed(pki: PKI) -> None:
    ends = connected(pki, TLS13, HalfCloseable())
    ends.tls.loseWriteConnection()
    ends.tls.loseConnection()
    ends.say(b"late")
    assert ends.application.received == b""
    ends.clock.advance(SHUTDOWN)
    assert isinstance(reason_of(ends, lost=ConnectionAborted()), ShutdownTimeout)


def test_truncation_of_the_half_that_is_left(pki: PKI) -> None:
    ends = connected(pki, TLS13, HalfCloseable())
    ends.tls.loseWriteConnection()
    assert isinstance(reason_of(ends), ConnectionTruncated)


def test_the_peer_closes_its_half(pki: PKI) -> None:
    ends = connected(pki, TLS13, HalfCloseable())
    ends.peer.send_plaintext(b"the peer's last")
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["dataReceived", "readConnectionLost"]
    assert not ends.tls.disconnecting
    ends.tls.write(b"we go on")
    ends.settle()
    assert ends.heard == b"we go on"
    ends.tls.dataReceived(b"bytes behind the close_notify")
    assert ends.events.count("readConnectionLost") == 1
    ends.tls.loseConnection()
    assert ends.events[-2:] == ["write", "loseConnection"]
    ends.to_peer()
    assert ends.peer.peer_closed
    assert isinstance(reason_of(ends), ConnectionDone)


def test_tls_1_2_has_no_halves(pki: PKI) -> None:
    """RFC 5246 section 7.2.1: the other party answers with a close_notify of its own and closes."""
    ends = connected(pki, TLS12, HalfCloseable())
    ends.peer.close()
    ends.from_peer()
    assert ends.events == ["write", "loseConnection"]
    assert isinstance(reason_of(ends), ConnectionDone)


def test_a_protocol_that_knows_no_halves_is_closed(pki: PKI) -> None:
    ends = connected(pki, TLS13, Application())
    ends.tls.loseWriteConnection()
    ends.settle()
    ends.say(b"still received")
    assert ends.application.received == b"still received"
    ends.peer.close()
    ends.from_peer()
    assert ends.events[-1] == "loseConnection"
    assert isinstance(reason_of(ends), ConnectionDone)


# From within every callback


def write_small(application: Application) -> None:
    application.transport.write(b"w")  # type: ignore[union-attr]


def write_large(application: Application) -> None:
    application.transport.write(b"W" * 100_000)  # type: ignore[union-attr]


def lose(application: Application) -> None:
    application.transport.loseConnection()  # type: ignore[union-attr]


def write_and_lose(application: Application) -> None:
    write_small(application)
    lose(application)


def lose_and_write(application: Application) -> None:
    lose(application)
    write_small(application)


def lose_half(application: Application) -> None:
    application.transport.loseWriteConnection()  # type: ignore[union-attr]


def abort(application: Application) -> None:
    application.transport.abortConnection()  # type: ignore[union-attr]


def write_and_abort(application: Application) -> None:
    write_small(application)
    abort(application)


def pause(application: Application) -> None:
    application.transport.pauseProducing()  # type: ignore[union-attr]


def resume(application: Application) -> None:
    application.transport.resumeProducing()  # type: ignore[union-attr]


class Producer:
    def pauseProducing(self) -> None: ...
    def resumeProducing(self) -> None: ...
    def stopProducing(self) -> None: ...


def register_push(application: Application) -> None:
    application.transport.registerProducer(Producer(), True)  # type: ignore[union-attr]
    application.transport.unregisterProducer()  # type: ignore[union-attr]


def register_pull(application: Application) -> None:
    application.transport.registerProducer(Producer(), False)  # type: ignore[union-attr]
    application.transport.unregisterProducer()  # type: ignore[union-attr]


ACTS = [
    write_small,
    write_large,
    lose,
    write_and_lose,
    lose_and_write,
    lose_half,
    abort,
    write_and_abort,
    pause,
    resume,
    register_push,
    register_pull,
]
CALLBACKS = [
    "connectionMade",
    "handshakeCompleted",
    "dataReceived",
    "readConnectionLost",
    "writeConnectionLost",
    "connectionLost",
]
#: How each act, done before the end, shows in the reason.
ABORTING = {abort, write_and_abort}
CLOSING = {lose, write_and_lose, lose_and_write}


@pytest.mark.parametrize("act", ACTS, ids=lambda act: act.__name__)
@pytest.mark.parametrize("callback", CALLBACKS)
@pytest.mark.parametrize("is_client", [False, True], ids=["server", "client"])
def test_anything_can_be_done_in_any_callback(
    pki: PKI, tls_version: txmembio.TLSVersion, is_client: bool, callback: str, act: Callable[[Application], None]
) -> None:
    """A whole conversation, closed by the peer unless the application did; it ends once, and nothing follows."""
    application = HalfCloseable()
    application.on[callback] = act
    ends = Ends(pki, tls_version, application, is_client=is_client)
    ends.peer.send_plaintext(b"hello")
    ends.settle()
    if callback == "writeConnectionLost":
        ends.tls.loseWriteConnection()
        ends.settle()
    ends.peer.close()
    ends.settle()
    if not ends.tls.disconnecting:
        ends.tls.loseConnection()
        ends.settle()
    assert ends.beneath.disconnecting, "the transport beneath was never told to close"
    aborted = ends.beneath.disconnected
    happened = callback in ends.events
    reason = reason_of(ends, lost=ConnectionAborted() if aborted else ConnectionDone())
    assert aborted == (happened and act in ABORTING)
    assert isinstance(reason, ConnectionAborted if aborted else ConnectionDone)
    assert isinstance(reason, ConnectionClosed)
    assert ends.events.count("connectionLost") == 1 and ends.events[-1] == "connectionLost"
    for event in CALLBACKS:
        assert ends.events.count(event) <= 1
    if happened and callback != "connectionLost":
        expected = {"write_small": b"w", "write_large": b"W" * 100_000, "write_and_lose": b"w"}.get(act.__name__, b"")
        # With our own close_notify out, there is nothing that could still be written.
        assert ends.heard == (b"" if callback == "writeConnectionLost" else expected)
    if act in ABORTING | CLOSING and callback in ("connectionMade", "handshakeCompleted"):
        assert ends.application.received == b""
