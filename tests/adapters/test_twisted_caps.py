"""`maxHandshakes`: how many handshakes a server has under way at once, and which one makes way for one more."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.endpoints import TCP4ServerEndpoint, serverFromString
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransportWithDisconnection
from twisted.python.failure import Failure

import txmembio
from support import pair
from support.memory_reactor import MemoryReactor
from support.pki import PKI
from support.twisted_ends import Application, Beneath
from txmembio.twisted import HandshakeTimeout, TLSFactory, TLSTransport, TooManyHandshakes, wrapServerTLS

#: A ClientHello that ends too soon: what OpenSSL answers with an alert.
BAD_HELLO = b"\x16\x03\x01\x00\x06\x01\x00\x00\x02\x03\x03"

#: The default, which docs/operations.md gives a reason for.
DEFAULT = 4000


class Crowd(Factory):
    """A server with any number of connections in memory: `connect()` makes one, whose client may say something."""

    noisy = False

    def __init__(self, pki: PKI, version: txmembio.TLSVersion | None = None, **settings: Any) -> None:
        self.clock = Clock()
        self.client_context = pair.client_context(pki, version)
        self.tls = TLSFactory(pair.server_context(pki, version), False, self, clock=self.clock, **settings)
        self.on: dict[str, Any] = {}

    def buildProtocol(self, addr: object) -> Application:
        return Application(**self.on)

    def connect(self) -> One:
        return One(self)

    @property
    def under_way(self) -> int:
        return self.tls.counters.handshakes_under_way


class One:
    """One of its connections."""

    def __init__(self, crowd: Crowd) -> None:
        built = crowd.tls.buildProtocol(None)
        assert built is not None
        self.tls = built
        self.beneath = Beneath([])
        self.peer = crowd.client_context.connection(server_hostname="localhost")
        self.tls.makeConnection(self.beneath)
        application = self.tls.wrappedProtocol
        assert isinstance(application, Application)
        self.application = application

    @property
    def aborted(self) -> bool:
        return "abortConnection" in self.beneath.events

    def shake_hands(self) -> None:
        self.peer.do_handshake()
        while wire := self.peer.wire_to_send():
            self.tls.dataReceived(wire)
            self.peer.receive_wire(self.beneath.take())
        assert self.peer.handshake_complete

    def lose(self, exception: Exception | None = None) -> BaseException:
        """The transport beneath is gone; the reason that the application is given."""
        self.tls.connectionLost(Failure(exception or ConnectionDone()))
        assert self.application.reason is not None
        value = self.application.reason.value
        assert isinstance(value, BaseException)
        return value


def test_the_oldest_makes_way(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    crowd = Crowd(pki, tls_version, maxHandshakes=3)
    ones = [crowd.connect() for _ in range(3)]
    assert not any(one.aborted for one in ones)
    for oldest in range(3):
        ones.append(crowd.connect())
        assert [one.aborted for one in ones] == [True] * (oldest + 1) + [False] * 3
    for one in ones[3:]:
        one.shake_hands()
        assert one.application.events[-1] == "handshakeCompleted"


def test_the_reason_says_so(pki: PKI) -> None:
    crowd = Crowd(pki, maxHandshakes=1)
    first = crowd.connect()
    crowd.clock.advance(2.5)
    crowd.connect()
    reason = first.lose(ConnectionAborted())
    assert isinstance(reason, TooManyHandshakes) and isinstance(reason, HandshakeTimeout)
    assert str(reason) == "The TLS handshake made way for a newer one: more than 1 were under way, this one for 2.5 s."
    assert crowd.tls.counters.failures == {"displaced": 1}


def test_a_complete_handshake_leaves_its_place(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    crowd = Crowd(pki, tls_version, maxHandshakes=1)
    ones = []
    for _ in range(5):
        ones.append(crowd.connect())
        ones[-1].shake_hands()
    assert not any(one.aborted for one in ones)
    assert crowd.under_way == 0


@pytest.mark.parametrize("end", ["the peer closes", "bad wire", "time-out", "abort", "close"])
def test_a_connection_that_is_gone_leaves_its_place(pki: PKI, end: str) -> None:
    crowd = Crowd(pki, maxHandshakes=1)
    first = crowd.connect()
    if end == "bad wire":
        first.tls.dataReceived(BAD_HELLO)
    elif end == "time-out":
        crowd.clock.advance(60)
        assert first.aborted
    elif end == "abort":
        first.tls.abortConnection()
    elif end == "close":
        first.tls.loseConnection()
    first.lose()
    second = crowd.connect()
    assert not second.aborted
    second.shake_hands()


def test_one_that_has_failed_keeps_its_place_until_it_is_gone(pki: PKI) -> None:
    """A peer that does not let go of its socket holds as much of ours as any other."""
    crowd = Crowd(pki, maxHandshakes=1)
    first = crowd.connect()
    first.tls.dataReceived(BAD_HELLO)
    assert first.beneath.events == ["write", "loseConnection"]
    crowd.connect()
    assert first.beneath.events == ["write", "loseConnection", "abortConnection"]
    reason = first.lose(ConnectionAborted())
    assert isinstance(reason, txmembio.SSLError), "what went wrong first is the reason"


def test_what_was_aborted_at_once_takes_no_place_for_long(pki: PKI) -> None:
    crowd = Crowd(pki, maxHandshakes=1)
    crowd.on["connectionMade"] = lambda application: application.transport.abortConnection()
    first = crowd.connect()
    assert first.aborted
    first.lose(ConnectionAborted())
    crowd.on.clear()
    second = crowd.connect()
    second.shake_hands()
    assert not second.aborted


def test_time_outs_run_as_ever(pki: PKI) -> None:
    crowd = Crowd(pki, maxHandshakes=2, handshakeTimeout=10)
    first = crowd.connect()
    crowd.clock.advance(6)
    second = crowd.connect()
    crowd.clock.advance(4)
    assert (first.aborted, second.aborted) == (True, False)
    assert type(first.lose(ConnectionAborted())) is HandshakeTimeout
    crowd.clock.advance(6)
    assert second.aborted
    second.lose(ConnectionAborted())
    assert crowd.tls.counters.failures == {"timeout": 2}
    assert not crowd.clock.getDelayedCalls()


def test_any_number_without_a_limit(pki: PKI) -> None:
    crowd = Crowd(pki, maxHandshakes=None)
    ones = [crowd.connect() for _ in range(50)]
    assert not any(one.aborted for one in ones)
    assert crowd.under_way == 50


def test_a_default_for_servers_and_none_for_clients(pki: PKI) -> None:
    wrapped = Factory.forProtocol(Protocol)
    assert TLSFactory(pair.server_context(pki), False, wrapped).maxHandshakes == DEFAULT
    assert TLSFactory(pair.client_context(pki), True, wrapped, hostname="localhost").maxHandshakes is None


@pytest.mark.parametrize("value", [0, -1, 1.5, "5", True])
def test_what_is_no_number_of_handshakes_is_refused(pki: PKI, value: Any) -> None:
    context = pair.server_context(pki)
    with pytest.raises(ValueError, match="maxHandshakes must be a positive number") as caught:
        TLSFactory(context, False, Factory.forProtocol(Protocol), maxHandshakes=value)
    assert repr(value) in str(caught.value)
    with pytest.raises(ValueError, match="maxHandshakes"):
        wrapServerTLS(context, TCP4ServerEndpoint(MemoryReactorClock(), 8443), maxHandshakes=value)


# In endpoint strings


def server_string(pki: PKI, keys: str) -> str:
    return f"membiotls:443:privateKey={pki.server.key_file}:certKey={pki.server.chain_file}{keys}"


@pytest.mark.parametrize(
    ("keys", "cap"),
    [("", DEFAULT), (":maxHandshakes=2", 2), (":maxHandshakes=0", None), (":maxHandshakes=none", None)],
)
def test_endpoint_strings_set_it(pki: PKI, keys: str, cap: int | None) -> None:
    memory = MemoryReactor()
    serverFromString(memory, server_string(pki, keys)).listen(Factory.forProtocol(Protocol))
    factory: Any = memory.tcpServers[0][1]
    connections = []
    for _ in range(5):
        transport = StringTransportWithDisconnection()
        transport.protocol = factory.buildProtocol(None)
        assert isinstance(transport.protocol, TLSTransport)
        transport.protocol.makeConnection(transport)
        connections.append(transport.connected)
    assert factory.maxHandshakes == cap
    assert factory.counters.failures == ({"displaced": 3} if cap == 2 else {})


@pytest.mark.parametrize("value", ["-1", "many", "1.5", "1000001", ""])
def test_mistakes_in_endpoint_strings(pki: PKI, value: str) -> None:
    memory = MemoryReactor()
    with pytest.raises(ValueError, match="membiotls: maxHandshakes=") as caught:
        serverFromString(memory, server_string(pki, f":maxHandshakes={value}"))
    assert f"maxHandshakes='{value}': expected a whole number from 0 to 1000000, 0 or \"none\" for no limit" in str(
        caught.value
    )
    assert not memory.tcpServers
