"""`TLSFactory`, `wrapServerTLS`, `wrapClientTLS`: what they refuse, what they pass through, what they negotiate."""

from __future__ import annotations

import math
import ssl
import subprocess
import sys
from typing import Any

import pytest
from twisted.internet import error
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import (
    IProtocol,
    IProtocolFactory,
    IProtocolNegotiationFactory,
    IStreamClientEndpoint,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import ClientFactory, Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock, StringTransport
from twisted.python.failure import Failure
from twisted.test.iosim import ConnectionCompleter
from zope.interface import implementer
from zope.interface.verify import verifyObject

import txmembio
from support import pair
from support.pki import PKI
from support.process import environment
from support.twisted_ends import Application
from txmembio.twisted import TLSFactory, TLSTransport, wrapClientTLS, wrapServerTLS

TLS13 = txmembio.TLSVersion.TLSv1_3

ADDRESS = IPv4Address("TCP", "127.0.0.1", 8443)


class Wrapped(ClientFactory):
    """An application's factory that writes down what it is told."""

    protocol = Application
    noisy = False

    def __init__(self) -> None:
        self.told: list[Any] = []

    def doStart(self) -> None:
        self.told.append("doStart")

    def doStop(self) -> None:
        self.told.append("doStop")

    def startedConnecting(self, connector: Any) -> None:
        self.told.append(("startedConnecting", connector))

    def clientConnectionFailed(self, connector: Any, reason: Failure) -> None:
        self.told.append(("clientConnectionFailed", connector, reason))

    def clientConnectionLost(self, connector: Any, reason: Failure) -> None:
        self.told.append(("clientConnectionLost", connector, reason))


@implementer(IProtocolNegotiationFactory)
class Negotiating(Factory):
    """An application's factory that has an opinion about ALPN."""

    protocol = Application
    noisy = False

    def __init__(self, *protocols: bytes) -> None:
        self.protocols = list(protocols)

    def acceptableProtocols(self) -> list[bytes]:
        return self.protocols


@pytest.fixture
def client(pki: PKI) -> txmembio.SSLContext:
    return pair.client_context(pki)


@pytest.fixture
def server(pki: PKI) -> txmembio.SSLContext:
    return pair.server_context(pki)


def make(kind: str, context: Any, is_client: bool, **settings: Any) -> object:
    """Through each of the ways there are to give a context and settings."""
    hostname = settings.pop("hostname", "localhost")
    if kind == "factory":
        more = {"hostname": hostname} if is_client else {}
        return TLSFactory(context, is_client, Factory.forProtocol(Protocol), **more, **settings)
    reactor = MemoryReactorClock()
    if is_client:
        return wrapClientTLS(context, hostname, TCP4ClientEndpoint(reactor, "127.0.0.1", 8443), **settings)
    return wrapServerTLS(context, TCP4ServerEndpoint(reactor, 8443), **settings)


each_way = pytest.mark.parametrize(
    ("kind", "is_client"),
    [("factory", True), ("factory", False), ("endpoint", True), ("endpoint", False)],
    ids=["client factory", "server factory", "client endpoint", "server endpoint"],
)


# What is refused, before anything listens or connects


@each_way
def test_a_context_of_the_standard_library_is_refused(kind: str, is_client: bool) -> None:
    with pytest.raises(TypeError, match=r"^context is .*ssl\.SSLContext.* expected a txmembio\.SSLContext"):
        make(kind, ssl.create_default_context(), is_client)


@each_way
def test_what_is_no_context_is_refused(kind: str, is_client: bool) -> None:
    with pytest.raises(TypeError, match=r"^context is None"):
        make(kind, None, is_client)


@each_way
def test_a_context_for_the_other_role_is_refused(
    kind: str, is_client: bool, client: txmembio.SSLContext, server: txmembio.SSLContext
) -> None:
    role = "client" if is_client else "server"
    with pytest.raises(ValueError, match=f"^context is for the other role: .* cannot be used for a TLS {role}$"):
        make(kind, server if is_client else client, is_client)


@pytest.mark.parametrize("kind", ["factory", "endpoint"])
@pytest.mark.parametrize("hostname", [None, ""])
def test_a_name_to_check_is_required(kind: str, hostname: str | None, client: txmembio.SSLContext) -> None:
    with pytest.raises(ValueError, match=r"^hostname must be the server's name or address, not .*\(check_hostname\)$"):
        make(kind, client, True, hostname=hostname)


@pytest.mark.parametrize("kind", ["factory", "endpoint"])
def test_no_name_is_required_where_none_is_checked(kind: str, client: txmembio.SSLContext) -> None:
    client.check_hostname = False
    make(kind, client, True, hostname=None)


@pytest.mark.parametrize("kind", ["factory", "endpoint"])
def test_a_name_in_bytes_is_refused(kind: str, client: txmembio.SSLContext) -> None:
    with pytest.raises(TypeError, match=r"^hostname must be a str, not bytes: b'localhost'$"):
        make(kind, client, True, hostname=b"localhost")


@each_way
@pytest.mark.parametrize("name", ["handshakeTimeout", "shutdownTimeout"])
@pytest.mark.parametrize("seconds", [0, -1, math.nan])
def test_a_time_out_is_positive(
    kind: str,
    is_client: bool,
    name: str,
    seconds: float,
    client: txmembio.SSLContext,
    server: txmembio.SSLContext,
) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be a positive number of seconds, or None for no limit, not"):
        make(kind, client if is_client else server, is_client, **{name: seconds})


# What is passed through


def test_the_wrapped_factory_is_told_everything(client: txmembio.SSLContext) -> None:
    wrapped = Wrapped()
    factory = TLSFactory(client, True, wrapped, hostname="localhost")
    verifyObject(IProtocolFactory, factory)
    assert factory.wrappedFactory is wrapped
    connector, reason = object(), Failure(error.ConnectionRefusedError())
    factory.doStart()
    factory.startedConnecting(connector)
    factory.clientConnectionFailed(connector, reason)
    factory.clientConnectionLost(connector, reason)
    factory.doStop()
    assert wrapped.told == [
        "doStart",
        ("startedConnecting", connector),
        ("clientConnectionFailed", connector, reason),
        ("clientConnectionLost", connector, reason),
        "doStop",
    ]
    assert factory.logPrefix() == "Wrapped (TLSFactory)"


def test_a_transport_is_made_for_each_protocol(server: txmembio.SSLContext) -> None:
    wrapped = Wrapped()
    factory = TLSFactory(server, False, wrapped)
    first, second = factory.buildProtocol(ADDRESS), factory.buildProtocol(ADDRESS)
    assert isinstance(first, TLSTransport) and isinstance(second, TLSTransport)
    assert first.factory is factory
    assert isinstance(first.wrappedProtocol, Application) and first.wrappedProtocol is not second.wrappedProtocol
    assert first.wrappedProtocol.factory is wrapped
    assert first.connection.context is server and first.connection is not second.connection
    assert first.connection.server_side


def test_a_client_names_its_server(client: txmembio.SSLContext) -> None:
    factory = TLSFactory(client, True, Wrapped(), hostname="localhost")
    transport = factory.buildProtocol(ADDRESS)
    assert transport is not None
    assert not transport.connection.server_side
    assert transport.connection.server_hostname == "localhost"


def test_a_refusal_of_the_wrapped_factory_is_passed_on(server: txmembio.SSLContext) -> None:
    class Refusing(Factory):
        def buildProtocol(self, addr: Any) -> None:
            assert addr is ADDRESS

    assert TLSFactory(server, False, Refusing()).buildProtocol(ADDRESS) is None


def test_nothing_is_asked_of_the_wrapped_factory_when_there_can_be_no_connection(server: txmembio.SSLContext) -> None:
    """A factory that counts its protocols waits for the end of each."""

    class Counting(Negotiating):
        def buildProtocol(self, addr: Any) -> Any:
            pytest.fail("a protocol was made that nobody will connect")

    with pytest.raises((ValueError, txmembio.SSLError), match="ALPN"):
        TLSFactory(server, False, Counting(b"x" * 256)).buildProtocol(ADDRESS)


def test_a_subclass_of_the_transport_can_be_used(server: txmembio.SSLContext) -> None:
    class Special(TLSTransport):
        pass

    class SpecialFactory(TLSFactory):
        protocol = Special

    assert isinstance(SpecialFactory(server, False, Wrapped()).buildProtocol(ADDRESS), Special)


def test_time_outs_are_on_by_default(server: txmembio.SSLContext) -> None:
    from twisted.internet import reactor

    factory = TLSFactory(server, False, Wrapped())
    assert (factory.handshakeTimeout, factory.shutdownTimeout) == (60, 30)
    assert factory.clock is reactor


def test_the_clock_is_the_reactor_of_the_first_connection(server: txmembio.SSLContext) -> None:
    """A program may run a reactor that is not the installed one. Small writes and time-outs have to be done there."""

    class Transport(StringTransport):
        def __init__(self, reactor: Clock) -> None:
            super().__init__()
            self.reactor = reactor

        def abortConnection(self) -> None: ...

    first, second, given = Clock(), Clock(), Clock()
    factory = TLSFactory(server, False, Wrapped())
    for reactor in (first, second):
        tls = factory.buildProtocol(ADDRESS)
        assert tls is not None
        tls.makeConnection(Transport(reactor))
    assert factory.clock is first and not second.getDelayedCalls()
    assert len(first.getDelayedCalls()) == 2
    first.advance(60)
    assert not first.getDelayedCalls()

    factory = TLSFactory(server, False, Wrapped(), clock=given)
    tls = factory.buildProtocol(ADDRESS)
    assert tls is not None
    tls.makeConnection(Transport(first))
    assert factory.clock is given and given.getDelayedCalls() and not first.getDelayedCalls()
    tls.abortConnection()


# ALPN


def negotiate(
    client: txmembio.SSLContext, server: txmembio.SSLContext, client_factory: Factory, server_factory: Factory
) -> tuple[bytes | None, bytes | None]:
    """What the two ends make of it: the `negotiatedProtocol` of the client and of the server."""
    clock = Clock()
    ends = [
        TLSFactory(client, True, client_factory, hostname="localhost", clock=clock).buildProtocol(ADDRESS),
        TLSFactory(server, False, server_factory, clock=clock).buildProtocol(ADDRESS),
    ]
    transports = [StringTransport(), StringTransport()]
    for end, transport in zip(ends, transports, strict=True):
        assert end is not None
        end.makeConnection(transport)
    moved = True
    while moved:
        moved = False
        for sender, receiver in ((0, 1), (1, 0)):
            wire = transports[sender].value()
            transports[sender].clear()
            if wire:
                moved = True
                ends[receiver].dataReceived(wire)  # type: ignore[union-attr]
    assert all(end is not None and end.connection.handshake_complete for end in ends)
    return ends[0].negotiatedProtocol, ends[1].negotiatedProtocol  # type: ignore[union-attr]


@pytest.fixture
def plain() -> Factory:
    """A factory without an opinion."""
    return Factory.forProtocol(Application)


def test_the_wrapped_factories_decide(client: txmembio.SSLContext, server: txmembio.SSLContext, plain: Factory) -> None:
    h2, both = Negotiating(b"h2"), Negotiating(b"http/1.1", b"h2")
    assert negotiate(client, server, both, both) == (b"http/1.1", b"http/1.1")
    assert negotiate(client, server, h2, both) == (b"h2", b"h2")
    assert negotiate(client, server, both, Negotiating(b"spdy/3", b"h2")) == (b"h2", b"h2")
    assert negotiate(client, server, plain, both) == (None, None)
    assert negotiate(client, server, both, plain) == (None, None)
    assert negotiate(client, server, Negotiating(), both) == (None, None)


def test_the_contexts_own_protocols_come_first(
    client: txmembio.SSLContext, server: txmembio.SSLContext, plain: Factory
) -> None:
    server.set_alpn_protocols(["own"])
    client.set_alpn_protocols(["h2", "own"])
    assert negotiate(client, server, Negotiating(b"h2"), Negotiating(b"h2")) == (b"own", b"own")
    assert negotiate(client, server, plain, plain) == (b"own", b"own")


def test_the_contexts_own_callback_comes_first(client: txmembio.SSLContext, server: txmembio.SSLContext) -> None:
    server.set_alpn_callback(lambda offered: offered[-1])
    assert negotiate(client, server, Negotiating(b"h2", b"last"), Negotiating(b"h2")) == (b"last", b"last")


def test_the_wrapped_factory_is_asked_for_each_connection(
    client: txmembio.SSLContext, server: txmembio.SSLContext
) -> None:
    """It may change its mind; and one connection's protocols stay its own."""
    changing = Negotiating(b"h2")
    offer = Negotiating(b"h2", b"http/1.1")
    assert negotiate(client, server, offer, changing) == (b"h2", b"h2")
    changing.protocols = [b"http/1.1"]
    assert negotiate(client, server, offer, changing) == (b"http/1.1", b"http/1.1")
    assert server.alpn_protocols == client.alpn_protocols == []


# Endpoints


def test_endpoints_connect_the_applications_protocols(client: txmembio.SSLContext, server: txmembio.SSLContext) -> None:
    reactor = MemoryReactorClock()
    listening = wrapServerTLS(server, TCP4ServerEndpoint(reactor, 8443), clock=reactor)
    connecting = wrapClientTLS(client, "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", 8443), clock=reactor)
    verifyObject(IStreamServerEndpoint, listening)
    verifyObject(IStreamClientEndpoint, connecting)
    accepted: list[Application] = []

    class Accepting(Factory):
        def buildProtocol(self, addr: Any) -> Application:
            accepted.append(Application())
            return accepted[0]

    listening.listen(Accepting())
    connected: list[tuple[Application, list[str]]] = []

    def note(protocol: IProtocol) -> None:
        assert isinstance(protocol, Application)
        connected.append((protocol, list(protocol.events)))

    connecting.connect(Factory.forProtocol(Application)).addCallback(note)
    pump = ConnectionCompleter(reactor).succeedOnce()
    assert pump is not None
    ((application, events),) = connected
    # It was when the connection beneath was made: nothing had been said yet.
    assert events == ["connectionMade"]
    assert application.events == accepted[0].events == ["connectionMade", "handshakeCompleted"]
    application.transport.write(b"hello")  # type: ignore[union-attr]
    reactor.advance(0)
    pump.flush()
    assert accepted[0].received == b"hello"
    application.transport.loseConnection()  # type: ignore[union-attr]
    pump.flush()
    for end in (application, accepted[0]):
        assert end.reason is not None and end.reason.check(error.ConnectionDone)


def test_a_failure_to_connect_is_passed_on(client: txmembio.SSLContext) -> None:
    reactor = MemoryReactorClock()
    connecting = wrapClientTLS(client, "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", 8443))
    failures: list[Failure] = []
    connecting.connect(Factory.forProtocol(Application)).addErrback(failures.append)
    ConnectionCompleter(reactor).failOnce(Failure(error.ConnectionRefusedError()))
    assert failures[0].check(error.ConnectionRefusedError)


def test_cancelling_a_connection_attempt_cancels_the_one_beneath(client: txmembio.SSLContext) -> None:
    reactor = MemoryReactorClock()
    connecting = wrapClientTLS(client, "localhost", TCP4ClientEndpoint(reactor, "127.0.0.1", 8443))
    failures: list[Failure] = []
    attempt = connecting.connect(Factory.forProtocol(Application)).addErrback(failures.append)
    attempt.cancel()
    assert failures[0].check(error.ConnectingCancelledError)
    assert reactor.connectors[0].stoppedConnecting


# Imports

#: What must not be imported: all of it imports pyOpenSSL. `asked` has each such import with the module that made it.
WATCH = """
import builtins, sys
UNWANTED = ("OpenSSL", "twisted.internet.ssl", "twisted.internet._sslverify", "twisted.protocols.tls")
asked, original = [], builtins.__import__

def watch(name, globals=None, locals=None, fromlist=(), level=0):
    wanted = [name, *(f"{name}.{part}" for part in fromlist or ())]
    asked.extend((found, (globals or {}).get("__name__")) for found in wanted if found.startswith(UNWANTED))
    return original(name, globals, locals, fromlist, level)

builtins.__import__ = watch
"""


def run(script: str) -> None:
    subprocess.run([sys.executable, "-c", WATCH + script], env=environment(), check=True)


def test_the_adapter_brings_no_pyopenssl_no_reactor_and_no_web() -> None:
    run("""
import txmembio.twisted.factory, txmembio.twisted.transport
assert asked == [], asked
assert not {"OpenSSL", "twisted.internet.reactor", "twisted.web", "tornado"} & set(sys.modules)
""")


def test_the_package_itself_is_light() -> None:
    run("""
import txmembio.twisted
assert asked == [], asked
assert not [name for name in sys.modules if name.startswith(("twisted.internet", "twisted.web", "txmembio.twisted."))]
assert set(txmembio.twisted.__all__) <= set(dir(txmembio.twisted))
""")


def test_no_module_of_the_adapter_asks_for_pyopenssl() -> None:
    run("""
import txmembio.twisted
for name in txmembio.twisted.__all__:
    getattr(txmembio.twisted, name)
assert "twisted.web" in sys.modules
ours = [found for found in asked if (found[1] or "").startswith("txmembio")]
assert ours == [], ours
""")


def test_public_names() -> None:
    import txmembio.twisted as package

    assert [name for name in package.__all__ if not hasattr(package, name)] == []
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
