"""Programs for Twisted that know nothing of txmembio, run under `install("twisted")`; what they saw, as JSON.

    python installed_twisted.py FOLDER

FOLDER has ca.pem, server.pem and server.key, for localhost. Each coroutine below that begins with an upper-case letter
is a scenario.
"""

from __future__ import annotations

import inspect
import json
import sys
from collections.abc import Callable
from typing import Any

import txmembio

txmembio.install("twisted")

from OpenSSL import SSL, crypto  # type: ignore[import-not-found,unused-ignore]  # noqa: E402
from twisted.internet import defer, endpoints, interfaces, protocol, ssl, task  # noqa: E402
from twisted.protocols.basic import LineReceiver  # noqa: E402
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol  # noqa: E402
from twisted.python.failure import Failure  # noqa: E402
from twisted.python.filepath import FilePath  # noqa: E402
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS, readBody  # noqa: E402
from twisted.web.resource import Resource  # noqa: E402
from twisted.web.server import Site  # noqa: E402
from zope.interface import implementer  # noqa: E402

FOLDER = FilePath(sys.argv[1])

#: Seconds that the time-outs are set to where a scenario waits for one.
SOON = 0.2


class Talker(protocol.Protocol):
    """Fires `made` with itself, `lost` with the reason; gathers what it receives."""

    transport: Any

    def __init__(self) -> None:
        self.received = b""
        self.made: Any = defer.Deferred()
        self.lost: Any = defer.Deferred()
        self.heard: Callable[[Talker], None] = lambda _: None

    def connectionMade(self) -> None:
        self.made.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received += data
        self.heard(self)

    def connectionLost(self, reason: Failure = protocol.connectionDone) -> None:
        self.lost.callback(reason.value)  # a Failure would go the way of errbacks


@implementer(interfaces.IHandshakeListener)
class Shaker(Talker):
    """Also fires `shaken`."""

    def __init__(self) -> None:
        super().__init__()
        self.shaken: Any = defer.Deferred()

    def handshakeCompleted(self) -> None:
        self.shaken.callback(None)


def factory_of(make: Callable[[], Any]) -> Any:
    factory = protocol.Factory()
    factory.protocol = make
    return factory


def credentials() -> Any:
    text = FOLDER.child("server.key").getContent() + FOLDER.child("server.pem").getContent()
    return ssl.PrivateCertificate.loadPEM(text)


def server_options() -> Any:
    chain = [crypto.load_certificate(crypto.FILETYPE_PEM, FOLDER.child("intermediate.pem").getContent())]
    mine = credentials()
    return ssl.CertificateOptions(mine.privateKey.original, mine.original, extraCertChain=chain)


def authority() -> Any:
    return ssl.Certificate.loadPEM(FOLDER.child("ca.pem").getContent())


def client_options(name: str = "localhost", trust: Any = None) -> Any:
    return ssl.optionsForClientTLS(name, trustRoot=trust or authority())


class Service:
    """A TLS port, and the one protocol it makes."""

    def __init__(self, reactor: Any, made: Talker | None = None) -> None:
        self.reactor = reactor
        self.talker = made or Talker()
        self.port: Any = None

    async def __aenter__(self) -> Service:
        factory = factory_of(lambda: self.talker)
        endpoint = endpoints.SSL4ServerEndpoint(self.reactor, 0, server_options(), interface="127.0.0.1")
        self.port = await endpoint.listen(factory)
        return self

    async def __aexit__(self, *_: object) -> None:
        await defer.maybeDeferred(self.port.stopListening)

    async def connect(self, talker: Any, options: Any = None) -> Any:
        number = self.port.getHost().port
        plain = endpoints.TCP4ClientEndpoint(self.reactor, "127.0.0.1", number)
        endpoint = plain if options == "plain" else endpoints.wrapClientTLS(options or client_options(), plain)
        await endpoint.connect(factory_of(lambda: talker))
        return talker


def told(error: Any) -> list[str]:
    """An exception's class and its bases, as far as they say something."""
    kinds = [f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__]
    return [kind for kind in kinds if not kind.startswith("builtins.")]


async def Conversation(reactor: Any) -> Any:
    async with Service(reactor) as service:
        client = await service.connect(Shaker())
        await client.shaken
        answered: defer.Deferred[None] = defer.Deferred()
        service.talker.heard = lambda talker: talker.transport.write(talker.received.upper())
        client.heard = lambda _: answered.callback(None)
        client.transport.write(b"hello")
        await answered
        transport: Any = client.transport
        handle = transport.getHandle()
        certificate = transport.getPeerCertificate()
        seen = [
            client.received.decode(),
            isinstance(transport, TLSMemoryBIOProtocol),
            isinstance(handle, SSL.Connection),
            isinstance(certificate, crypto.X509),
            ssl.Certificate.peerFromTransport(transport).serialNumber() == credentials().serialNumber(),
            handle.get_protocol_version_name(),
            len(handle.get_finished()) > 0,
            isinstance(service.port.factory, TLSMemoryBIOFactory),
            type(service.port.factory.wrappedFactory).__name__,
            interfaces.ISSLTransport.providedBy(transport),
            interfaces.INegotiated.providedBy(transport),
            transport.negotiatedProtocol,
        ]
        client.transport.loseConnection()
        reasons = [await client.lost, await service.talker.lost]
        return [*seen, [told(reason)[0] for reason in reasons]]


async def Web(reactor: Any) -> Any:
    class Page(Resource):
        isLeaf = True

        def render_GET(self, request: Any) -> bytes:
            return b"secure" if request.isSecure() else b"insecure"

    endpoint = endpoints.serverFromString(
        reactor,
        "ssl:0:interface=127.0.0.1:privateKey={}:certKey={}:extraCertChain={}".format(
            *(FOLDER.child(name).path for name in ("server.key", "server.pem", "intermediate.pem"))
        ),
    )
    port: Any = await endpoint.listen(Site(Page()))
    agent = Agent(reactor, BrowserLikePolicyForHTTPS(authority()))
    response = await agent.request(b"GET", b"https://localhost:%d/" % port.getHost().port)
    body = await readBody(response)
    await defer.maybeDeferred(port.stopListening)
    return [response.code, body.decode()]


async def WrongName(reactor: Any) -> Any:
    async with Service(reactor) as service:
        client = await service.connect(Talker(), client_options("elsewhere.example"))
        mine, theirs = await client.lost, await service.talker.lost
        return [told(mine)[0], told(theirs)[0]]


async def Untrusted(reactor: Any) -> Any:
    async with Service(reactor) as service:
        client = await service.connect(Talker(), ssl.optionsForClientTLS("localhost"))
        mine, theirs = await client.lost, await service.talker.lost
        return [told(mine)[0], mine.args[0][-1][2], told(theirs)[0], theirs.args[0][-1][2]]


async def PlainText(reactor: Any) -> Any:
    async with Service(reactor) as service:
        client = await service.connect(Talker(), "plain")
        client.transport.write(b"GET / HTTP/1.0\r\n\r\n")
        await client.lost
        reason = await service.talker.lost
        return [told(reason)[0], reason.args[0][-1][2]]


async def Truncated(reactor: Any) -> Any:
    async with Service(reactor) as service:
        client = await service.connect(Shaker())
        await client.shaken
        await service.talker.made
        client.transport.transport.loseConnection()  # beneath TLS
        return told(await service.talker.lost)


async def StalledHandshake(reactor: Any) -> Any:
    async with Service(reactor) as service:
        service.port.factory.handshakeTimeout = SOON
        client = await service.connect(Talker(), "plain")  # and says nothing
        await client.lost
        return told(await service.talker.lost)


async def StalledShutdown(reactor: Any) -> Any:
    server = Shaker()
    async with Service(reactor, server) as service:
        service.port.factory.shutdownTimeout = SOON
        client = await service.connect(Talker())
        await server.shaken
        client.transport.transport.pauseProducing()  # reads no close_notify
        server.transport.loseConnection()
        reason = await server.lost
        client.transport.abortConnection()
        return told(reason)


async def StartTLS(reactor: Any) -> Any:
    server, client = Talker(), Talker()
    plain = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port: Any = await plain.listen(factory_of(lambda: server))
    number = port.getHost().port
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", number)
    await endpoint.connect(factory_of(lambda: client))
    await server.made
    done: defer.Deferred[None] = defer.Deferred()

    def heard(talker: Talker) -> None:
        talker.transport.write(b"go")
        talker.transport.startTLS(server_options())
        talker.heard = lambda inner: inner.transport.write(inner.received)
        talker.received = b""

    def answered(talker: Talker) -> None:
        talker.received = b""
        talker.transport.startTLS(client_options())
        talker.transport.write(b"inside")
        talker.heard = lambda _: done.callback(None)

    server.heard, client.heard = heard, answered
    client.transport.write(b"STARTTLS")
    await done
    transport: Any = client.transport
    seen = [client.received.decode(), transport.TLS, isinstance(transport.protocol, TLSMemoryBIOProtocol)]
    seen.append(isinstance(transport.getHandle(), SSL.Connection))
    transport.loseConnection()
    reasons = [told(await client.lost)[0], told(await server.lost)[0]]
    await defer.maybeDeferred(port.stopListening)
    return [*seen, reasons]


async def InjectedBehindStartTLS(reactor: Any) -> Any:
    class Server(LineReceiver):
        lines: list[str]

        def connectionMade(self) -> None:
            self.lines = []

        def lineReceived(self, line: bytes) -> None:
            self.lines.append(line.decode())
            if line == b"STARTTLS":
                transport: Any = self.transport
                transport.startTLS(server_options())

        def connectionLost(self, reason: Any = protocol.connectionDone) -> None:
            lost.callback(reason.value)

    lost: Any = defer.Deferred()
    server, client = Server(), Talker()
    plain = endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
    port: Any = await plain.listen(factory_of(lambda: server))
    endpoint = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
    await endpoint.connect(factory_of(lambda: client))
    client.transport.write(b"EHLO\r\nSTARTTLS\r\nINJECTED\r\n")
    reason = await lost
    await client.lost
    await defer.maybeDeferred(port.stopListening)
    return [server.lines, told(reason)[0]]


async def AbortedByTheListener(reactor: Any) -> Any:
    """What was written before the handshake does not leave if handshakeCompleted() aborts."""

    class Careful(Shaker):
        def handshakeCompleted(self) -> None:
            self.transport.abortConnection()

    async with Service(reactor) as service:
        client = Careful()
        client.made.addCallback(lambda talker: talker.transport.write(b"secret"))
        await service.connect(client)
        await client.lost
        await service.talker.lost
        return service.talker.received.decode()


async def LateData(reactor: Any) -> Any:
    """After loseConnection(), what the peer had sent is delivered."""
    async with Service(reactor) as service:
        client = await service.connect(Shaker())
        await client.shaken
        client.transport.write(b"x" * 300_000)
        service.talker.heard = lambda talker: talker.transport.loseConnection()
        await service.talker.lost
        await client.lost
        return len(service.talker.received)


def main(reactor: Any) -> Any:
    async def run() -> None:
        results = {}
        for name, value in list(globals().items()):
            if name[0].isupper() and inspect.iscoroutinefunction(value):
                results[name] = await value(reactor)
        json.dump(results, sys.stdout)

    return defer.Deferred.fromCoroutine(run())


if __name__ == "__main__":
    task.react(main)
