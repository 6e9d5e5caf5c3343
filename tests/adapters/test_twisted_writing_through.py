"""Wire that goes straight to the socket: when it does, when it must not, and that nobody can tell the difference."""

from __future__ import annotations

import errno
import socket
import sys
from collections.abc import Callable
from typing import Any

import pytest
import pytest_twisted
from hypothesis import given
from hypothesis import strategies as st
from twisted.internet import endpoints, reactor, tcp
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IReactorFDSet
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.python.failure import Failure

from support import pair
from support.pki import PKI
from support.reactors import need
from support.twisted_ends import Application, HalfCloseable, Once
from support.twisted_wired import Wired
from txmembio.twisted import TLSTransport, startTLS, wrapClientTLS, wrapServerTLS
from txmembio.twisted.beneath import THROUGH_LIMIT, Through

RECORD = 16384
"""Bytes of plaintext."""

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs Twisted's transports for descriptors")


def echo(application: Any) -> None:
    application.transport.write(application.received)
    application.received = b""


def test_an_answer_is_on_its_way_when_the_call_ends(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo)) as wired:
        wired.say(b"m" * 100)
        assert wired.transport not in wired.reactor.writers
        assert wired.hear() == b"m" * 100


def test_turned_off_it_waits_for_the_reactor(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo), through=False) as wired:
        wired.say(b"m" * 100)
        assert wired.queued > 100
        assert wired.hear() == b""
        wired.turn()
        assert wired.hear() == b"m" * 100


def test_many_writes_are_one_record(pki: PKI) -> None:
    def ones(application: Any) -> None:
        for _ in range(1000):
            application.transport.write(b"1")

    with Wired(pki, Application(dataReceived=ones)) as wired:
        wired.say(b"?")
        assert wired.hear() == b"1" * 1000
        assert wired.peer_wire == 1000 + 22


def test_tickets_and_the_first_answer_leave_together(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo), shake=False) as wired:
        wired.peer.do_handshake()
        wired._send_from_peer()
        wired.read()
        wired.hear()
        wired.peer.send_plaintext(b"at once")
        sent: list[int] = []
        real = wired.transport.socket

        class Counting:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def send(self, wire: bytes) -> int:
                sent.append(len(wire))
                return int(real.send(wire))

        wired.transport.socket = Counting()
        wired._send_from_peer()
        wired.read()
        assert wired.hear() == b"at once"
        assert len(sent) == 1


def test_what_waits_in_the_transport_goes_first(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo)) as wired:
        wired.tls.write(b"a" * 3 * THROUGH_LIMIT)  # in one piece it is too much
        assert wired.queued
        wired.say(b"b")
        wired.settle()
        assert wired.hear() == b"a" * 3 * THROUGH_LIMIT + b"b"


def test_no_more_than_the_limit_leaves_before_the_reactor_has_its_turn(pki: PKI) -> None:
    with Wired(pki, Application()) as wired:
        for round_ in range(3):
            wired.peer_wire = 0
            for _ in range(20):
                wired.tls.write(bytes([round_]) * RECORD)
            wired.hear()
            assert 0 < wired.peer_wire <= THROUGH_LIMIT
            assert wired.queued >= 15 * RECORD
            wired.settle()
        assert wired.hear() == b"".join(bytes([round_]) * RECORD * 20 for round_ in range(3))


def test_what_the_socket_does_not_take_is_queued(pki: PKI) -> None:
    with Wired(pki, Application()) as wired:
        wired.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        data = b""
        while not wired.queued:
            data += b"x" * 60000
            wired.tls.write(b"x" * 60000)
        wired.tls.write(b"the end")
        wired.settle()
        assert wired.hear() == data + b"the end"


def test_a_full_socket_is_no_failure(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo)) as wired:
        wired.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        times = 0
        while not wired.queued:
            wired.say(b"m" * 100)
            times += 1
        assert wired.queued == 122, "the socket has taken some of it, so it has not refused"
        wired.settle()
        assert wired.hear() == b"m" * 100 * times
        assert not wired.tls._through.failed


@pytest.mark.parametrize("number", [errno.EAGAIN, errno.ENOBUFS, errno.EPIPE])
def test_what_a_socket_says_that_takes_nothing(pki: PKI, number: int) -> None:
    class Refusing:
        def __getattr__(self, name: str) -> Any:
            return getattr(real, name)

        def send(self, wire: bytes) -> int:
            raise OSError(number, "no")

    with Wired(pki, Application(dataReceived=echo)) as wired:
        real = wired.transport.socket
        wired.transport.socket = Refusing()
        wired.say(b"m" * 100)
        assert wired.queued == 122
        assert wired.tls._through.failed == (number == errno.EPIPE)
        wired.transport.socket = real
        wired.settle()
        assert wired.hear() == b"m" * 100


@pytest.mark.parametrize("behind", [1, 3])
def test_a_reset_is_found_by_the_reactor_and_told_once(pki: PKI, behind: int) -> None:
    inside: list[bool] = []

    def lost(application: Application) -> None:
        inside.append(writing)

    writing = False
    with Wired(pki, Application(connectionLost=lost)) as wired:
        wired.reset()
        for _ in range(behind):
            writing = True
            wired.tls.write(b"x" * RECORD)
            writing = False
        assert wired.application.events.count("connectionLost") == 0
        while hasattr(wired.transport, "socket"):
            wired.turn()
        assert inside == [False]
        assert wired.application.reason is not None
        assert wired.application.reason.check(ConnectionLost)


def test_a_reset_that_the_write_has_heard_of_is_no_clean_end(pki: PKI) -> None:
    """The socket tells of a reset once, and then of an end. After our close_notify that would look clean."""
    with Wired(pki, Application()) as wired:
        wired.reset()
        wired.tls.write(b"x" * RECORD)
        assert wired.tls._through.failed
        wired.tls.loseConnection()
        while hasattr(wired.transport, "socket"):
            wired.turn()
        assert wired.application.reason is not None
        assert wired.application.reason.check(ConnectionLost)
        assert not wired.application.reason.check(ConnectionDone)


class Tapped(tcp.Server):
    """Sees what is written."""

    def write(self, data: bytes) -> None:
        self.seen = [*getattr(self, "seen", []), data]
        super().write(data)


def test_a_subclass_sees_every_byte(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo), kind=Tapped) as wired:
        wired.transport.seen = []
        wired.say(b"m" * 100)
        assert [len(each) for each in wired.transport.seen] == [122]
        wired.turn()
        assert wired.hear() == b"m" * 100


def test_a_write_replaced_on_the_transport_sees_every_byte(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo)) as wired:
        wired.say(b"before")
        seen: list[bytes] = []
        write = wired.transport.write

        def tap(data: bytes) -> None:
            seen.append(data)
            write(data)

        wired.transport.write = tap
        wired.say(b"m" * 100)
        assert [len(each) for each in seen] == [122]
        del wired.transport.write
        wired.settle()
        wired.say(b"after")
        assert len(seen) == 1
        assert wired.hear() == b"before" + b"m" * 100 + b"after"


def test_a_wrapper_beneath_sees_every_byte(pki: PKI) -> None:
    seen: list[bytes] = []

    class Tap(ProtocolWrapper):
        def write(self, data: bytes) -> None:
            seen.append(data)
            super().write(data)

    def wrap(factory: Any) -> WrappingFactory:
        wrapping = WrappingFactory(factory)
        wrapping.protocol = Tap
        return wrapping

    with Wired(pki, Application(dataReceived=echo), wrap=wrap) as wired:
        seen.clear()
        wired.say(b"m" * 100)
        assert [len(each) for each in seen] == [122]
        wired.turn()
        assert wired.hear() == b"m" * 100


def test_a_protocol_put_in_between_gets_every_byte_its_own_way(pki: PKI) -> None:
    """Whoever takes the transport over after the connection was made, as Twisted's own startTLS does."""
    with Wired(pki, Application()) as wired:
        tls = wired.transport.protocol

        class Between:
            def dataReceived(self, data: bytes) -> None:
                tls.dataReceived(data)

            def connectionLost(self, reason: Any) -> None:
                tls.connectionLost(reason)

        wired.transport.protocol = Between()
        wired.tls.write(b"x" * RECORD)
        assert wired.queued > RECORD


@pytest.mark.parametrize("streaming", [True, False], ids=["push", "pull"])
def test_with_a_producer_everything_goes_by_write(pki: PKI, streaming: bool) -> None:
    class Producer:
        def __init__(self) -> None:
            self.calls: list[str] = []

        def resumeProducing(self) -> None:
            self.calls.append("resume")

        def pauseProducing(self) -> None:
            self.calls.append("pause")

        def stopProducing(self) -> None:
            self.calls.append("stop")

    with Wired(pki, Application()) as wired:
        producer = Producer()
        wired.tls.registerProducer(producer, streaming)
        producer.calls.clear()
        for _ in range(5):
            wired.tls.write(b"p" * RECORD)
        assert wired.queued > 5 * RECORD
        assert producer.calls == (["pause"] if streaming else [])
        wired.turn()
        wired.turn()
        assert "resume" in producer.calls
        wired.hear()
        wired.tls.unregisterProducer()
        wired.settle()
        wired.tls.write(b"q" * RECORD)
        assert not wired.queued
        assert wired.hear() == b"p" * 5 * RECORD + b"q" * RECORD


def test_a_loop_that_writes_until_it_is_paused_is_paused(pki: PKI) -> None:
    """Though the peer's socket takes all of it."""

    class Loop:
        paused = False
        written = 0

        def resumeProducing(self) -> None:
            self.paused = False
            while not self.paused:
                wired.tls.write(b"x" * 1000)
                self.written += 1000
                wired.hear()

        def pauseProducing(self) -> None:
            self.paused = True

        def stopProducing(self) -> None:
            self.paused = True

    with Wired(pki, Application()) as wired:
        loop = Loop()
        wired.tls.registerProducer(loop, True)
        loop.resumeProducing()
        assert loop.written < 3 * THROUGH_LIMIT


def test_a_close_right_behind(pki: PKI) -> None:
    def answer_and_close(application: Any) -> None:
        application.transport.write(b"bye")
        application.transport.loseConnection()

    with Wired(pki, Application(dataReceived=answer_and_close)) as wired:
        wired.say(b"?")
        assert wired.hear() == b"bye"
        assert wired.peer.peer_closed
        wired.peer.close()
        wired._send_from_peer()
        while hasattr(wired.transport, "socket"):
            wired.turn()
        assert wired.application.reason is not None
        assert wired.application.reason.check(ConnectionDone)


def test_a_half_close_right_behind(pki: PKI) -> None:
    def answer_and_close(application: Any) -> None:
        application.transport.write(b"bye")
        application.transport.loseWriteConnection()

    with Wired(pki, HalfCloseable(dataReceived=answer_and_close)) as wired:
        wired.say(b"?")
        assert wired.hear() == b"bye"
        assert wired.peer.peer_closed
        wired.say(b"more")
        assert wired.application.received == b"?more"


def test_an_abort_right_behind(pki: PKI) -> None:
    def answer_and_abort(application: Any) -> None:
        application.transport.write(b"bye")
        application.transport.abortConnection()

    with Wired(pki, Application(dataReceived=answer_and_abort)) as wired:
        wired.say(b"?")
        assert wired.application.events.count("connectionLost") == 0
        wired.reactor.advance(0)
        assert wired.application.reason is not None
        assert wired.application.reason.check(ConnectionAborted)


def test_which_transports_there_is_a_way_through() -> None:
    def way(transport: Any, protocol: object) -> Through | None:
        transport.protocol = protocol
        return Through.of(tls, transport, transport)

    tls = object()
    for kind in (tcp.Server, tcp.Client):
        assert way(kind.__new__(kind), tls) is not None
        assert way(kind.__new__(kind), object()) is None
        assert Through.of(tls, kind.__new__(kind), kind.__new__(kind)) is None, "it delivers to nobody"
    assert way(Tapped.__new__(Tapped), tls) is None
    assert Through.of(tls, object(), object()) is None
    patched = tcp.Server.__new__(tcp.Server)
    patched.write = lambda data: None  # type: ignore[method-assign]
    assert way(patched, tls) is None


# Behind Twisted's client endpoints, and after STARTTLS


def test_what_client_endpoints_put_in_between_changes_nothing(pki: PKI) -> None:
    with Wired(pki, Application(dataReceived=echo), wrap=endpoints._WrappingFactory) as wired:
        assert type(wired.transport.protocol) is endpoints._WrappingProtocol
        wired.say(b"m" * 100)
        assert wired.transport not in wired.reactor.writers
        assert wired.hear() == b"m" * 100


def test_a_wrapper_that_is_built_on_theirs_may_be_anything(pki: PKI) -> None:
    class Between(endpoints._WrappingProtocol):
        pass

    class Wrapping(endpoints._WrappingFactory):
        protocol = Between

    with Wired(pki, Application(dataReceived=echo), wrap=Wrapping) as wired:
        assert type(wired.transport.protocol) is Between
        wired.say(b"m" * 100)
        assert wired.queued == 122


@pytest_twisted.ensureDeferred
async def test_both_ends_of_a_connection_by_endpoints_have_the_way(pki: PKI) -> None:
    need(IReactorFDSet)
    server, client = Application(dataReceived=echo), Application()
    heard: Deferred[None] = Deferred()
    client.on["dataReceived"] = lambda application: heard.callback(None)
    ended: list[Deferred[None]] = [Deferred(), Deferred()]
    for application, end in zip((server, client), ended, strict=True):
        application.on["connectionLost"] = lambda application, end=end: end.callback(None)  # type: ignore[misc]
    beneath = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port: Any = await wrapServerTLS(pair.server_context(pki), beneath).listen(Once(server))
    to = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    await wrapClientTLS(pair.client_context(pki), "localhost", to).connect(Once(client))
    transport: Any = client.transport
    transport.write(b"m")
    await heard
    for application in (server, client):
        assert isinstance(application.transport, TLSTransport)
        assert application.transport._through is not None
    transport.loseConnection()
    for end in ended:
        await end
    await maybeDeferred(port.stopListening)


def upgraded(wired: Wired, pki: PKI) -> TLSTransport:
    """TLS on what was plain TCP."""
    tls = wired.tls = startTLS(wired.application, pair.server_context(pki), clock=wired.reactor)
    return tls


def plain(pki: PKI, application: Any, kind: type[tcp.Server] = tcp.Server) -> Wired:
    """Without TLS as yet."""
    return Wired(pki, application, kind=kind, wrap=lambda factory: factory.wrappedFactory, shake=False)


def test_after_starttls_an_answer_is_on_its_way_when_the_call_ends(pki: PKI) -> None:
    with plain(pki, Application(dataReceived=echo)) as wired:
        upgraded(wired, pki)
        wired.shake()
        wired.say(b"m" * 100)
        assert wired.transport not in wired.reactor.writers
        assert wired.hear() == b"m" * 100


def test_what_was_written_before_starttls_goes_first(pki: PKI) -> None:
    with plain(pki, Application()) as wired:
        wired.transport.write(b"ready")
        upgraded(wired, pki)
        wired.peer.do_handshake()
        wired._send_from_peer()
        wired.read()
        assert wired.queued > len(b"ready"), "nothing has overtaken it"
        wired.turn()
        wired.socket.setblocking(True)
        assert wired.socket.recv(5, socket.MSG_WAITALL) == b"ready"
        wired.socket.setblocking(False)
        wired.shake()
        assert wired.tls.connection.handshake_complete


def test_after_starttls_a_subclass_sees_every_byte(pki: PKI) -> None:
    with plain(pki, Application(dataReceived=echo), Tapped) as wired:
        upgraded(wired, pki)
        wired.shake()
        wired.transport.seen = []
        wired.say(b"m" * 100)
        assert [len(each) for each in wired.transport.seen] == [122]


def test_a_write_replaced_before_starttls_sees_every_byte(pki: PKI) -> None:
    seen: list[bytes] = []
    with plain(pki, Application(dataReceived=echo)) as wired:
        write = wired.transport.write

        def tap(data: bytes) -> None:
            seen.append(data)
            write(data)

        wired.transport.write = tap
        upgraded(wired, pki)
        wired.shake()
        seen.clear()
        wired.say(b"m" * 100)
        assert [len(each) for each in seen] == [122]
        del wired.transport.write


def test_after_starttls_a_producer_has_everything_go_by_write(pki: PKI) -> None:
    with plain(pki, Application()) as wired:
        tls = upgraded(wired, pki)
        wired.shake()
        tls.registerProducer(Quiet(), True)
        tls.write(b"p" * RECORD)
        assert wired.queued > RECORD
        tls.unregisterProducer()


def test_half_closed_beneath_there_is_nothing_to_hear_of(pki: PKI) -> None:
    """By somebody who has closed the sending half without asking TLS."""
    with Wired(pki, Application()) as wired:
        wired.transport.loseWriteConnection()
        wired.turn()
        wired.tls.write(b"x" * RECORD)
        assert not wired.queued
        assert wired.tls._through is not None
        assert not wired.tls._through.failed


def test_the_way_ends_with_the_connection(pki: PKI) -> None:
    with Wired(pki, Application()) as wired:
        assert wired.tls._through is not None
        wired.transport.connectionLost(Failure(ConnectionDone()))
        assert wired.tls._through is None, "each would keep the other"


def test_a_write_replaced_in_the_class_is_not_bypassed(pki: PKI, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[bytes] = []
    write: Callable[[Any, bytes], None] = tcp.Server.write

    def tap(self: Any, data: bytes) -> None:
        seen.append(data)
        write(self, data)

    with Wired(pki, Application(dataReceived=echo)) as wired:
        monkeypatch.setattr(tcp.Server, "write", tap)
        wired.say(b"m" * 100)
        assert [len(each) for each in seen] == [122]


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.sampled_from([1, 100, RECORD - 1, RECORD, 40_000, 70_000, 200_000])),
        st.tuples(st.just("echo"), st.sampled_from([1, 1000, 20_000])),
        st.tuples(st.sampled_from(["turn", "hear", "register", "unregister", "pull"]), st.just(0)),
    ),
    max_size=25,
)


class Quiet:
    """A producer that has nothing to say."""

    def resumeProducing(self) -> None: ...

    def pauseProducing(self) -> None: ...

    def stopProducing(self) -> None: ...


@given(steps=STEPS, small=st.booleans())
def test_whatever_happens_the_peer_hears_the_same(pki: PKI, steps: list[tuple[str, int]], small: bool) -> None:
    def run(through: bool) -> bytes:
        with Wired(pki, Application(dataReceived=echo), through=through) as wired:
            if small:
                wired.transport.socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            for number, (what, size) in enumerate(steps):
                if what == "write":
                    wired.tls.write(bytes([number]) * size)
                elif what == "echo":
                    wired.say(bytes([number]) * size)
                elif what == "turn":
                    wired.turn()
                elif what == "hear":
                    wired.hear()
                elif what == "unregister":
                    wired.tls.unregisterProducer()
                elif wired.tls.producer is None:
                    wired.tls.registerProducer(Quiet(), what == "register")
            wired.tls.unregisterProducer()
            wired.tls.loseConnection()
            wired.settle()
            assert wired.peer.peer_closed
            return wired.heard

    assert run(True) == run(False)
