"""`HTTPConnectEndpoint`, and an agent behind a proxy: TLS in a tunnel, and in a tunnel inside TLS."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import pytest
import pytest_twisted
from twisted.internet import reactor
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint
from twisted.internet.error import ConnectionDone, ConnectionRefusedError, NoProtocol
from twisted.internet.interfaces import IHalfCloseableProtocol, IStreamClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.web.client import ResponseNeverReceived
from zope.interface import implementer
from zope.interface.verify import verifyObject

import txmembio
from support import pair, web_site
from support.pki import PKI
from support.twisted_ends import Application, HalfCloseable, Once
from support.twisted_http import Proxy, facts, fetching, get, listening, serving
from txmembio.twisted import HTTPConnectEndpoint, ProxyConnectError, agentEndpointFactory, startTLS, wrapClientTLS
from txmembio.twisted.proxy import ANSWER_LIMIT

OK = b"HTTP/1.1 200 Connection established\r\n\r\n"

SIZE = 3_000_017


# With a proxy in memory that says what a test wants it to


class Transport(StringTransport):
    """Writes down how it is closed."""

    closed: str | None = None

    def loseConnection(self) -> None:
        self.closed = "lost"

    def abortConnection(self) -> None:
        self.closed = "aborted"


@implementer(IStreamClientEndpoint)
class ToProxy:
    """What connects to the proxy: at once, in memory."""

    def __init__(self) -> None:
        self.transport = Transport()
        self.protocol: Any = None

    def __repr__(self) -> str:
        return "<the proxy>"

    def connect(self, factory: Any) -> Deferred[Any]:
        factory.doStart()
        self.protocol = factory.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        made: Deferred[Any] = Deferred()
        made.callback(self.protocol)
        return made


class Case:
    """An attempt to connect: `made` is what came of it, the protocol or the failure."""

    def __init__(self, application: Application | None = None, factory: Any = None, **options: Any) -> None:
        self.clock = Clock()
        self.below = ToProxy()
        self.application = application or Application()
        self.endpoint = HTTPConnectEndpoint("there.example", 443, self.below, clock=self.clock, **options)
        self.made: list[Any] = []
        self.attempt = self.endpoint.connect(factory or Once(self.application))
        self.attempt.addBoth(self.made.append)

    def answer(self, data: bytes) -> None:
        """From the proxy, in one piece."""
        self.below.protocol.dataReceived(data)

    def error(self) -> ProxyConnectError:
        """What it has failed with, and that nothing is left of it."""
        (failure,) = self.made
        assert isinstance(failure, Failure)
        assert isinstance(failure.value, ProxyConnectError), failure
        assert not self.application.events
        assert not self.clock.getDelayedCalls()
        assert "\n" not in str(failure.value)
        return failure.value


def test_it_is_an_endpoint() -> None:
    verifyObject(IStreamClientEndpoint, HTTPConnectEndpoint("there.example", 443, ToProxy()))


def test_the_request() -> None:
    case = Case()
    assert case.below.transport.value() == b"CONNECT there.example:443 HTTP/1.1\r\nHost: there.example:443\r\n\r\n"
    case = Case(credentials=("näme", "pa:ss"), headers={"User-Agent": "x/1"})
    lines = case.below.transport.value().split(b"\r\n")
    assert lines[2:] == [
        b"Proxy-Authorization: Basic " + b64encode("näme:pa:ss".encode()),
        b"User-Agent: x/1",
        b"",
        b"",
    ]
    assert not case.made
    assert b"\r\nHost: [2001:db8::1]:8443\r\n" in HTTPConnectEndpoint("2001:db8::1", 8443, case.below).request


@pytest.mark.parametrize(
    "answer",
    [
        OK,
        b"HTTP/1.0 200\r\n\r\n",
        b"HTTP/1.1 204 No Content\r\nVia: 1.1 proxy\r\n\r\n",
        b"HTTP/1.1 200 \xfcber\n\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 200 OK\r\n\r\n",
    ],
    ids=["1.1", "1.0, no phrase", "204", "bare LF", "header of a body", "interim answers"],
)
@pytest.mark.parametrize("size", [1, 2, 7, 1000])
def test_what_follows_the_header_is_from_the_host(answer: bytes, size: int) -> None:
    """However the bytes are divided; and the transport is the one to the proxy."""
    case = Case()
    wire = answer + b"\n\r\nfrom the host"
    for start in range(0, len(wire), size):
        case.answer(wire[start : start + size])
    assert case.made == [case.application]
    assert case.application.received == b"\n\r\nfrom the host"
    assert case.application.transport is case.below.transport
    assert not case.clock.getDelayedCalls()
    case.below.protocol.connectionLost(Failure(ConnectionDone()))
    assert case.application.events[0] == "connectionMade"
    assert case.application.events[-1] == "connectionLost"
    assert case.made == [case.application]


def test_the_application_is_connected_before_the_deferred_fires() -> None:
    """As with every endpoint."""
    case = Case()
    seen: list[list[str]] = []
    case.attempt.addBoth(lambda _: seen.append(list(case.application.events)))
    case.answer(OK + b"data")
    assert seen == [["connectionMade"]]
    assert case.application.events == ["connectionMade", "dataReceived"]


def test_half_closing_is_the_applications_business() -> None:
    case = Case(HalfCloseable())
    assert not IHalfCloseableProtocol.providedBy(case.below.protocol)
    case.answer(OK)
    half_closeable = IHalfCloseableProtocol(case.below.protocol)
    half_closeable.readConnectionLost()
    half_closeable.writeConnectionLost()
    assert case.application.events == ["connectionMade", "readConnectionLost", "writeConnectionLost"]
    plain = Case()
    plain.answer(OK)
    assert not IHalfCloseableProtocol.providedBy(plain.below.protocol)


def test_an_application_that_is_gone_gets_nothing_more() -> None:
    """It closes in connectionMade, over a transport that ends at once."""
    case = Case()
    case.application.on["connectionMade"] = lambda _: case.below.protocol.connectionLost(Failure(ConnectionDone()))
    case.answer(OK + b"data")
    assert case.application.events == ["connectionMade", "connectionLost"]


def test_a_refusal() -> None:
    case = Case(proxyName="http://proxy.example:3128")
    case.answer(b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 9\r\n\r\ngo away!!")
    error = case.error()
    assert str(error) == (
        "http://proxy.example:3128 did not connect to there.example:443: it answered 407 Proxy Authentication Required"
    )
    assert (error.status, error.target, error.proxy) == (407, "there.example:443", "http://proxy.example:3128")
    assert case.below.transport.closed == "aborted"
    case.answer(b"more")
    case.below.protocol.connectionLost(Failure(ConnectionDone()))
    case.error()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"HTTP/1.1 502\r\n\r\n", r"it answered 502$"),
        (b"HTTP/1.1 101 Switching Protocols\r\n\r\n", r"it answered 101 Switching Protocols$"),
        (b"HTTP/1.1 503 \x1b[2Jgone\x7f" + b"!" * 99 + b"\r\n\r\n", r"it answered 503 \[2Jgone!{29,31}$"),
        (b"HTTP/1.1 302 Found\r\nLocation: /\r\n\r\n", r"it answered 302 Found$"),
        (b"SSH-2.0-OpenSSH\r\n", r"its answer is not HTTP/1: b'S"),
        (b"H\x15\x03\x01", r"its answer is not HTTP/1: "),
        (b"HTTP/1.1 OK\r\n\r\n", r"its answer has no status line: b'HTTP/1.1 OK"),
        (b"HTTP/1.1 20\r\n\r\n", r"no status line"),
        (b"HTTP/1.1 2000 OK\r\n\r\n", r"no status line"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"x" * ANSWER_LIMIT, r"the header of its answer is longer than 16384 bytes$"),
        (b"HTTP/1.1 100 Go on\r\n\r\n" * 3 + b"HTTX", r"not HTTP/1: b'HTTX'"),
    ],
    ids=[
        "no phrase",
        "another protocol",
        "control characters",
        "redirect",
        "SSH",
        "TLS",
        "no status",
        "two digits",
        "four",
        "endless",
        "after interim",
    ],
)
@pytest.mark.parametrize("bytewise", [False, True], ids=["whole", "bytewise"])
def test_answers_that_are_no_success(answer: bytes, said: str, bytewise: bool) -> None:
    case = Case()
    for piece in [answer[at : at + 1] for at in range(len(answer))] if bytewise else [answer]:
        case.answer(piece)
    assert case.error().args[0].startswith("<the proxy> did not connect to there.example:443: ")
    with pytest.raises(ProxyConnectError, match=said):
        raise case.error()
    assert case.below.transport.closed == "aborted"


@pytest.mark.parametrize("so_far", [b"", b"HTTP/1.1 200 OK\r\n"])
def test_a_proxy_that_says_nothing_more(so_far: bytes) -> None:
    case = Case(timeout=7)
    if so_far:
        case.answer(so_far)
    case.clock.advance(6.9)
    assert not case.made
    case.clock.advance(0.1)
    assert str(case.error()).endswith(": no answer within 7 seconds")
    assert case.below.transport.closed == "aborted"


def test_no_time_out() -> None:
    case = Case(timeout=None)
    assert not case.clock.getDelayedCalls()
    case.answer(OK)
    assert case.made == [case.application]


def test_a_proxy_that_closes() -> None:
    case = Case()
    case.answer(b"HTTP/1.1 200")
    case.below.protocol.connectionLost(Failure(ConnectionDone()))
    assert str(case.error()).endswith(": it closed the connection without an answer")
    assert isinstance(case.error().__cause__, ConnectionDone)


def test_cancelling() -> None:
    case = Case()
    case.attempt.cancel()
    (failure,) = case.made
    assert failure.check(CancelledError)
    assert case.below.transport.closed == "aborted"
    assert not case.clock.getDelayedCalls()
    case.answer(OK)
    case.below.protocol.connectionLost(Failure(ConnectionDone()))
    assert not case.application.events


class Refusing(Factory):
    """Makes no protocol: `error` says how."""

    def __init__(self, error: Exception | None) -> None:
        self.error = error

    def buildProtocol(self, addr: object) -> None:
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize("error", [None, ZeroDivisionError()], ids=["None", "raises"])
def test_a_factory_that_makes_no_protocol(error: Exception | None) -> None:
    case = Case(factory=Refusing(error))
    case.answer(OK)
    (failure,) = case.made
    assert failure.check(NoProtocol if error is None else ZeroDivisionError)
    assert case.below.transport.closed == "aborted"
    case.below.protocol.connectionLost(Failure(ConnectionDone()))


def test_the_factory_is_started_and_stopped() -> None:
    factory = Once(Application())
    case = Case(factory=factory)
    assert factory.numPorts == 1
    assert case.endpoint.address.hostname == b"there.example"


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"host": ""}, "host must be"),
        ({"host": "a b"}, "host must be .* not 'a b'"),
        ({"host": "there\r\nX: y"}, "host must be"),
        ({"host": "b\u00fccher.example"}, "host must be a name in ASCII"),
        ({"host": "[::1]"}, "host must be"),
        ({"port": 0}, "port must be from 1 to 65535, not 0"),
        ({"port": 65536}, "port must be"),
        ({"timeout": 0}, "timeout must be"),
        ({"timeout": -1}, "timeout must be"),
        ({"credentials": ("a:b", "c")}, "credentials: a user name ends .* not 'a:b'"),
        ({"headers": {"X Y": "z"}}, "'X Y' is not the name"),
        ({"headers": {"": "z"}}, "'' is not the name"),
        ({"headers": {"X": "y\r\nZ: a"}}, "the value of X has the end of a line"),
    ],
)
def test_what_cannot_be_sent_is_refused(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        HTTPConnectEndpoint(**{"host": "there.example", "port": 443, "proxyEndpoint": ToProxy(), **arguments})


# Over sockets


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest_twisted.ensureDeferred
async def test_an_agent_behind_a_proxy(pki: PKI, tls_version: txmembio.TLSVersion, scheme: str) -> None:
    """Names and certificates are verified at both; bodies larger than any buffer pass, also those without TLS."""
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    proxy = Proxy(b64encode(b"me@here:pass/word"))
    async with (
        serving(server) as port,
        serving(None) as plain_port,
        listening(server if scheme == "https" else None, proxy) as proxy_port,
        fetching(client, proxy=f"{scheme}://me%40here:pass%2Fword@localhost:{proxy_port}") as agent,
    ):
        for kind in ("bytes", "pulled", "whole"):
            assert await get(agent, f"https://localhost:{port}/{kind}/{SIZE}") == web_site.pattern(SIZE)
        assert await get(agent, f"http://localhost:{plain_port}/bytes/{SIZE}") == web_site.pattern(SIZE)
        assert (await facts(agent, port))["alpn"] == "http/1.1"
        asked_for = [request.split()[1] for request in proxy.requests]
        assert asked_for == [f"localhost:{port}", f"localhost:{plain_port}"]  # one tunnel for each, which is kept


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest_twisted.ensureDeferred
async def test_a_site_behind_a_proxy_that_is_not_who_it_should_be(pki: PKI, scheme: str) -> None:
    server = pair.server_context(pki)
    async with (
        serving(pair.server_context(pki, credential=pki.wrong_name)) as port,
        listening(server if scheme == "https" else None, Proxy()) as proxy_port,
        fetching(pair.client_context(pki), proxy=f"{scheme}://localhost:{proxy_port}") as agent,
    ):
        with pytest.raises(ResponseNeverReceived) as raised:
            await facts(agent, port)
        (reason,) = raised.value.reasons
        assert reason.check(txmembio.SSLCertVerificationError)


@pytest_twisted.ensureDeferred
async def test_an_https_proxy_that_is_not_who_it_should_be(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    client = pair.client_context(pki, tls_version)
    for credential in (pki.wrong_name, pki.untrusted):
        proxy = Proxy()
        untrusted = pair.server_context(pki, tls_version, credential=credential)
        async with (
            listening(untrusted, proxy) as proxy_port,
            fetching(client, proxy=f"https://localhost:{proxy_port}") as agent,
        ):
            with pytest.raises(
                ProxyConnectError, match=f"^https://localhost:{proxy_port} did not connect to"
            ) as raised:
                await get(agent, "https://there.example/")
            assert isinstance(raised.value.__cause__, txmembio.SSLCertVerificationError)
            assert not proxy.requests


@pytest_twisted.ensureDeferred
async def test_the_proxy_may_have_a_context_of_its_own(pki: PKI) -> None:
    """Which shows a certificate to the proxy, and to nobody else."""
    asking = pair.server_context(pki, verify_client=True)
    context, for_proxy = pair.client_context(pki), pair.client_context(pki, credential=pki.client)
    async with (
        serving(pair.server_context(pki)) as port,
        listening(asking, Proxy()) as proxy_port,
        fetching(context, proxy=f"https://localhost:{proxy_port}", proxyContext=for_proxy) as agent,
    ):
        found = await facts(agent, port)
    assert (found["secure"], found["client"]) == (True, None)


@pytest_twisted.ensureDeferred
async def test_errors_name_the_proxy(pki: PKI) -> None:
    client = pair.client_context(pki)
    proxy = Proxy(password=b"secret")
    async with listening(None, proxy) as port, fetching(client, proxy=f"http://localhost:{port}") as agent:
        with pytest.raises(ProxyConnectError, match="407 Proxy Authentication Required") as raised:
            await get(agent, "https://there.example/")
        assert raised.value.status == 407
        assert str(raised.value).startswith(f"http://localhost:{port} did not connect to there.example:443: ")
    async with fetching(client, proxy=f"http://localhost:{port}") as agent:
        with pytest.raises(ProxyConnectError, match="refused") as raised:
            await get(agent, "https://there.example/")
        assert raised.value.proxy == f"http://localhost:{port}"
        assert isinstance(raised.value.__cause__, ConnectionRefusedError)
    async with listening(None, Proxy()) as port, fetching(client, proxy=f"http://localhost:{port}") as agent:
        with pytest.raises(ProxyConnectError, match="502 Bad Gateway"):
            await get(agent, "https://localhost:1/")


@pytest.mark.parametrize(
    "url",
    [
        "proxy.example:3128",
        "socks5://proxy.example",
        "http://",
        "http://p:99999",
        "http://p:x",
        "http://p/path",
        "",
        "h",
    ],
)
def test_proxies_that_are_none(pki: PKI, url: str) -> None:
    with pytest.raises(ValueError, match=r"^proxy must be the URL of an HTTP proxy, .*, not "):
        agentEndpointFactory(pair.client_context(pki), reactor, proxy=url)


def test_passwords_are_not_in_errors(pki: PKI) -> None:
    with pytest.raises(ValueError) as raised:
        agentEndpointFactory(pair.client_context(pki), reactor, proxy="socks://me:sec:r@et@proxy.example")
    assert "proxy.example" in str(raised.value)
    assert "sec" not in str(raised.value)
    assert "secret" not in repr(HTTPConnectEndpoint("there.example", 443, ToProxy(), credentials=("me", "secret")))


@pytest_twisted.ensureDeferred
async def test_a_chain_of_proxies(pki: PKI, tls_version: txmembio.TLSVersion) -> None:
    """Three times TLS: to one proxy, through it to another, through both to the host; and IPv6's address syntax."""
    client, server = pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)
    first, second = Proxy(), Proxy()
    closed: Deferred[None] = Deferred()
    sent = web_site.pattern(SIZE)

    def send(application: Any) -> None:
        application.transport.write(sent)

    def close(application: Any) -> None:
        if len(application.received) == SIZE:
            application.transport.loseConnection()

    application = Application(connectionMade=send, dataReceived=close, connectionLost=lambda _: closed.callback(None))
    async with (
        listening(server, Factory.forProtocol(Echo)) as port,
        listening(server, first) as first_port,
        listening(server, second) as second_port,
    ):
        to_first = wrapClientTLS(client, "localhost", HostnameEndpoint(reactor, "127.0.0.1", first_port))
        through_first = HTTPConnectEndpoint("localhost", second_port, to_first)
        to_second = wrapClientTLS(client, "localhost", through_first)
        through_both = HTTPConnectEndpoint("127.0.0.1", port, to_second)
        made = await wrapClientTLS(client, "localhost", through_both).connect(Once(application))
        assert made is application
        await closed
    assert application.received == sent
    assert application.reason is not None
    assert application.reason.check(ConnectionDone)
    assert len(first.requests) == len(second.requests) == 1


@pytest.mark.parametrize("scheme", ["http", "https"])
@pytest_twisted.ensureDeferred
async def test_tls_begun_later_in_a_tunnel(pki: PKI, scheme: str) -> None:
    """As mail clients do; in a tunnel that has TLS around it, it is a second one."""
    client, server = pair.client_context(pki), pair.server_context(pki)
    closed: Deferred[None] = Deferred()

    def begin(application: Any) -> None:
        if not application.received.endswith(b"\n"):
            return
        if application.received == b"220 go ahead\n":
            startTLS(application, client, hostname="localhost", nested=scheme == "https")
            application.transport.write(b"inside\n")
        else:
            application.transport.loseConnection()

    application = Application(dataReceived=begin, connectionLost=lambda _: closed.callback(None))
    factory = Factory.forProtocol(Upgrading)
    factory.context = server  # type: ignore[attr-defined]
    async with (
        listening(None, factory) as port,
        listening(server if scheme == "https" else None, Proxy()) as proxy_port,
    ):
        to_proxy: Any = HostnameEndpoint(reactor, "127.0.0.1", proxy_port)
        if scheme == "https":
            to_proxy = wrapClientTLS(client, "localhost", to_proxy)
        await HTTPConnectEndpoint("127.0.0.1", port, to_proxy).connect(Once(application))
        await closed
    assert application.received == b"220 go ahead\ninside\n"
    assert application.events[-2:] == ["dataReceived", "connectionLost"]
    assert "handshakeCompleted" in application.events


class Upgrading(Protocol):
    """Says that TLS can begin, begins it, and says the same from then on."""

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"220 go ahead\n")
        self.factory: Any
        startTLS(self, self.factory.context)

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


class Echo(Protocol):
    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
