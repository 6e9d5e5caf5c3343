"""`TLSTransport` as a consumer: producers of both kinds, and the back-pressure that reaches them."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IPullProducer, IPushProducer
from zope.interface import implementer

import txmembio
from support.pki import PKI
from support.twisted_ends import Application, Ends, connected
from txmembio.twisted import TLSTransport
from txmembio.twisted.transport import HELD_LIMIT

PIECE = b"p" * 5_000


@implementer(IPushProducer)
class Pushing:
    """Writes whenever it is not paused, as fast as `run()` is called."""

    def __init__(self, transport: TLSTransport) -> None:
        self.transport = transport
        self.told: list[str] = []
        self.paused = False
        self.written = 0

    def run(self, pieces: int) -> None:
        """Write until paused, at most `pieces` times."""
        for _ in range(pieces):
            if self.paused:
                break
            self.transport.write(PIECE)
            self.written += len(PIECE)

    def pauseProducing(self) -> None:
        self.told.append("pause")
        self.paused = True

    def resumeProducing(self) -> None:
        self.told.append("resume")
        self.paused = False

    def stopProducing(self) -> None:
        self.told.append("stop")


@implementer(IPullProducer)
class Pulled:
    """Writes `pieces` small pieces each time it is asked, `times` times; then unregisters itself."""

    def __init__(self, transport: TLSTransport, times: int, pieces: int = 3) -> None:
        self.transport = transport
        self.told: list[str] = []
        self.times = times
        self.pieces = pieces

    def resumeProducing(self) -> None:
        self.told.append("resume")
        for _ in range(self.pieces):
            self.transport.write(b"pulled, ")
        self.times -= 1
        if not self.times:
            self.transport.unregisterProducer()

    def stopProducing(self) -> None:
        self.told.append("stop")


def beneath_of(ends: Ends) -> Any:
    """What the transport beneath knows as its producer."""
    return ends.beneath.producer


# Push producers


def test_back_pressure_reaches_a_push_producer(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, True)
    assert ends.beneath.streaming is True
    assert producer.told == []
    beneath_of(ends).pauseProducing()
    assert producer.told == ["pause"]
    beneath_of(ends).resumeProducing()
    assert producer.told == ["pause", "resume"]


def test_a_push_producer_is_told_only_of_changes(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, True)
    for _ in range(3):
        beneath_of(ends).resumeProducing()
    assert producer.told == []
    for _ in range(3):
        beneath_of(ends).pauseProducing()
    assert producer.told == ["pause"]


def test_what_a_resumed_producer_writes_is_sent_before_resume_returns(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    class Eager(Pushing):
        def resumeProducing(self) -> None:
            super().resumeProducing()
            self.transport.write(b"one, ")
            self.transport.write(b"two")

    ends = connected(pki, tls_version)
    producer = Eager(ends.tls)
    ends.tls.registerProducer(producer, True)
    beneath_of(ends).pauseProducing()
    beneath_of(ends).resumeProducing()
    assert ends.events == ["write"]
    ends.to_peer()
    assert ends.heard == b"one, two"


def test_a_push_producer_is_paused_once_enough_waits_for_the_handshake(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = Ends(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, True)
    producer.run(1000)
    assert producer.told == ["pause"]
    assert HELD_LIMIT < producer.written <= 2 * HELD_LIMIT + len(PIECE)
    ends.settle()
    assert producer.told == ["pause", "resume"]
    assert len(ends.heard) == producer.written


def test_the_handshake_and_the_transport_beneath_are_both_waited_for(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = Ends(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, True)
    producer.run(1000)
    beneath_of(ends).pauseProducing()
    ends.settle()
    assert producer.told == ["pause"]
    beneath_of(ends).resumeProducing()
    assert producer.told == ["pause", "resume"]

    ends = Ends(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, True)
    producer.run(1000)
    beneath_of(ends).pauseProducing()
    beneath_of(ends).resumeProducing()
    assert producer.told == ["pause"]
    ends.settle()
    assert producer.told == ["pause", "resume"]


# Pull producers


@pytest.mark.parametrize("times", [1, 4])
def test_a_pull_producer_is_asked_each_time_there_is_room(
    pki: PKI, tls_version: txmembio.TLSVersion, times: int
) -> None:
    """And its answer is sent before the transport beneath, which asked, goes on: it asks nobody who gave nothing."""
    ends = connected(pki, tls_version)
    producer = Pulled(ends.tls, times)
    # TCP asks when a producer is registered and when its buffer is empty; StringTransport leaves that to us.
    ends.tls.registerProducer(producer, False)
    assert ends.beneath.streaming is False
    for number in range(times):
        assert len(ends.beneath.chunks) == number
        beneath_of(ends).resumeProducing()
    assert producer.told == ["resume"] * times
    assert ends.beneath.producer is None
    ends.to_peer()
    assert ends.heard == b"pulled, " * 3 * times


def test_a_pull_producer_is_not_asked_before_the_handshake_is_complete(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = Ends(pki, tls_version)
    producer = Pulled(ends.tls, 2)
    ends.tls.registerProducer(producer, False)
    assert ends.beneath.producer is None
    ends.settle()
    assert ends.beneath.streaming is False
    beneath_of(ends).resumeProducing()
    ends.to_peer()
    assert ends.heard == b"pulled, " * 3


def test_a_pull_producer_that_left_before_the_handshake_is_never_asked(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = Ends(pki, tls_version)
    producer = Pulled(ends.tls, 2)
    ends.tls.registerProducer(producer, False)
    ends.tls.unregisterProducer()
    ends.settle()
    assert ends.beneath.producer is None
    assert producer.told == []


# Registering


@pytest.mark.parametrize("streaming", [True, False])
def test_a_second_producer_is_refused(pki: PKI, tls_version: txmembio.TLSVersion, streaming: bool) -> None:
    ends = connected(pki, tls_version)
    first, second = Pushing(ends.tls), Pushing(ends.tls)
    ends.tls.registerProducer(first, streaming)
    with pytest.raises(RuntimeError, match="still registered"):
        ends.tls.registerProducer(second, streaming)
    ends.tls.unregisterProducer()
    ends.tls.registerProducer(second, streaming)


def test_unregistering_nobody_is_nothing(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    connected(pki, tls_version).tls.unregisterProducer()


@pytest.mark.parametrize("streaming", [True, False])
def test_a_producer_registered_after_the_end_is_stopped(
    pki: PKI, tls_version: txmembio.TLSVersion, streaming: bool
) -> None:
    ends = connected(pki, tls_version)
    ends.lose()
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, streaming)
    assert producer.told == ["stop"]


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.parametrize("close", ["loseConnection", "abortConnection", "loseWriteConnection"])
def test_a_producer_registered_on_a_closing_connection_is_stopped(
    pki: PKI, tls_version: txmembio.TLSVersion, streaming: bool, close: str
) -> None:
    """There is nothing left that it could send."""
    ends = connected(pki, tls_version)
    getattr(ends.tls, close)()
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, streaming)
    assert producer.told == ["stop"]
    assert ends.beneath.producer is None


# The end


@pytest.mark.parametrize("streaming", [True, False])
def test_a_producer_is_stopped_once_when_the_connection_is_lost(
    pki: PKI, tls_version: txmembio.TLSVersion, streaming: bool
) -> None:
    ends = connected(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, streaming)
    ends.lose()
    assert producer.told == ["stop"]


def test_a_producer_that_waits_for_the_handshake_is_stopped_when_the_connection_is_lost(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    ends = Ends(pki, tls_version)
    producer = Pulled(ends.tls, 1)
    ends.tls.registerProducer(producer, False)
    ends.lose()
    assert producer.told == ["stop"]


@pytest.mark.parametrize("then", ["unregisterProducer", "loseConnection", "abortConnection", "write"])
def test_what_a_stopped_producer_does_cannot_hide_that_the_peer_truncated(
    pki: PKI, tls_version: txmembio.TLSVersion, then: str
) -> None:
    class Stopped(Pushing):
        def stopProducing(self) -> None:
            super().stopProducing()
            getattr(self.transport, then)(*[b"late"] * (then == "write"))

    ends = connected(pki, tls_version)
    producer = Stopped(ends.tls)
    ends.tls.registerProducer(producer, True)
    ends.lose()
    assert producer.told == ["stop"]
    assert ends.application.reason is not None
    assert ends.application.reason.check(txmembio.twisted.ConnectionTruncated)


@pytest.mark.parametrize("streaming", [True, False])
def test_losing_the_connection_waits_for_the_producer(
    pki: PKI, tls_version: txmembio.TLSVersion, streaming: bool
) -> None:
    ends = connected(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, streaming)
    ends.tls.loseConnection()
    producer.run(3)
    ends.settle()
    assert not ends.peer.peer_closed
    ends.say(b"discarded")
    assert ends.application.received == b""
    # However long it takes: nothing is being shut down yet.
    ends.clock.advance(1_000_000)
    producer.run(3)
    ends.tls.unregisterProducer()
    producer.run(3)
    ends.to_peer()
    assert ends.heard == PIECE * 6
    assert ends.peer.peer_closed
    ends.peer.close()
    ends.from_peer()
    ends.lose()
    assert ends.application.reason is not None and ends.application.reason.check(ConnectionDone)
    assert "stop" not in producer.told


def test_a_producer_that_leaves_a_lost_connection_starts_no_close(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    class Leaving(Pushing):
        def stopProducing(self) -> None:
            super().stopProducing()
            self.transport.unregisterProducer()

    ends = connected(pki, tls_version)
    ends.tls.registerProducer(Leaving(ends.tls), True)
    ends.tls.loseConnection()
    ends.lose()
    assert ends.events == ["connectionLost"]
    assert ends.application.reason is not None
    assert ends.application.reason.check(txmembio.twisted.ConnectionTruncated)


def test_stop_consuming(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    ends = connected(pki, tls_version)
    ends.tls.registerProducer(Pushing(ends.tls), True)
    ends.tls.stopConsuming()
    assert ends.beneath.producer is None
    ends.to_peer()
    assert ends.peer.peer_closed


@pytest.mark.parametrize("end", ["abort", "failure", "peer"])
def test_a_producer_does_not_keep_a_finished_connection_open(
    pki: PKI, tls_version: txmembio.TLSVersion, end: str
) -> None:
    """A transport waits for its producer before it closes: so ours is taken away, and the application's stopped."""
    ends = connected(pki, tls_version)
    producer = Pushing(ends.tls)
    ends.tls.registerProducer(producer, True)
    if end == "abort":
        ends.tls.abortConnection()
    elif end == "failure":
        ends.tls.dataReceived(b"\x17\x03\x03\x00\x20" + b"?" * 32)
    else:
        ends.peer.close()
        ends.from_peer()
    assert ends.beneath.producer is None
    assert ends.beneath.disconnecting
    producer.run(100)  # what it still writes is dropped
    ends.lose()
    assert producer.told == ["stop"]


def test_a_producer_can_be_registered_and_unregistered_while_data_is_delivered(
    pki: PKI, tls_version: txmembio.TLSVersion
) -> None:
    def register(application: Application) -> None:
        ends.tls.write(b"first, ")
        ends.tls.registerProducer(Pulled(ends.tls, 1), False)
        beneath_of(ends).resumeProducing()
        ends.tls.write(b"last")
        ends.tls.loseConnection()

    ends = connected(pki, tls_version)
    ends.application.on["dataReceived"] = register
    ends.say(b"go")
    assert ends.events == ["dataReceived", "write"]
    ends.to_peer()
    assert ends.heard == b"first, " + b"pulled, " * 3 + b"last"
    assert ends.peer.peer_closed


ACTS = {
    "write": lambda tls: tls.write(b"w"),
    "write much": lambda tls: tls.write(b"W" * 200_000),
    "lose": lambda tls: tls.loseConnection(),
    "lose half": lambda tls: tls.loseWriteConnection(),
    "abort": lambda tls: tls.abortConnection(),
    "unregister": lambda tls: tls.unregisterProducer(),
    "unregister and lose": lambda tls: (tls.unregisterProducer(), tls.loseConnection()),
    "lose and unregister": lambda tls: (tls.loseConnection(), tls.unregisterProducer()),
}


@pytest.mark.parametrize("act", ACTS)
@pytest.mark.parametrize("callback", ["pauseProducing", "resumeProducing", "stopProducing"])
@pytest.mark.parametrize("streaming", [True, False], ids=["push", "pull"])
@pytest.mark.parametrize("waiting", [True, False], ids=["in-the-handshake", "handshake-complete"])
def test_anything_can_be_done_in_any_call_of_a_producer(
    pki: PKI, tls_version: txmembio.TLSVersion, waiting: bool, streaming: bool, callback: str, act: str
) -> None:
    """Each call is made, once; then the connection ends, once, with a reason that fits."""
    ends = Ends(pki, tls_version)
    if not waiting:
        ends.settle()
    producer = Pushing(ends.tls)
    called: list[str] = []
    original = getattr(producer, callback)

    def call() -> None:
        original()
        if not called:
            called.append(callback)
            ACTS[act](ends.tls)

    setattr(producer, callback, call)
    ends.tls.registerProducer(producer, streaming)
    if waiting:
        producer.run(1000)  # a push producer is paused by this, and resumed at the end of the handshake
        ends.settle()
    if ends.beneath.producer is not None and streaming:
        ends.beneath.producer.pauseProducing()
    if ends.beneath.producer is not None:
        ends.beneath.producer.resumeProducing()
    ends.settle()
    aborted = ends.beneath.disconnected
    assert aborted == (called != [] and act == "abort")
    # A producer that is still registered holds a close up, and nothing else does.
    registered = ends.beneath.producer is not None
    if called and act in ("unregister and lose", "lose and unregister"):
        assert not registered and ends.peer.peer_closed
    if called and act in ("lose", "lose half"):
        assert registered and not ends.peer.peer_closed
    ends.lose()
    assert producer.told.count("stop") == (registered or aborted)
    assert ends.events.count("connectionLost") == 1
    assert callback in called or (callback == "pauseProducing" and not streaming) or not registered
