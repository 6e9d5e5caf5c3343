"""A program: Twisted's side of protocols that begin in plaintext, with `txmembio.twisted.startTLS`.

    python -m support.starttls_peer serve smtp CERTIFICATE VERSION    prints the port, then what happens
    python -m support.starttls_peer ask smtp CA VERSION PORT          is a client, and prints what came of it

for `smtp`, `imap`, `pop3` and `xmpp`. VERSION is a member of TLSVersion. A client says whether pyOpenSSL was imported.
"""

from __future__ import annotations

import io
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import react
from twisted.mail import imap4, smtp
from twisted.mail.pop3 import AdvancedPOP3Client
from twisted.words.protocols.jabber import xmlstream
from twisted.words.protocols.jabber.jid import JID

import txmembio
from support import starttls_protocols
from support.starttls_protocols import PASSWORD, USER
from txmembio.twisted import StartTLSFactory
from txmembio.twisted.xmpp import XMPPClientFactory


def say(*words: object) -> None:
    print(*words, flush=True)


def told(protocol: Any) -> Any:
    """`protocol`, which says why it has lost its connection and which TLS that was; `protocol.lost` fires then."""
    connectionLost = protocol.connectionLost
    protocol.lost = Deferred()

    def saying(reason: Any) -> None:
        connectionLost(reason)
        connection = getattr(protocol.transport, "connection", None)
        say("lost", type(reason.value).__name__, connection and connection.version())
        protocol.lost.callback(None)

    protocol.connectionLost = saying
    return protocol


# Servers


def delivered(lines: list[bytes]) -> None:
    say("delivered", lines[-1].decode())


def server(protocol: str, context: txmembio.SSLContext) -> Any:
    """Makes the server's protocols."""
    make = {
        "smtp": lambda: starttls_protocols.esmtp(context, delivered),
        "imap": lambda: starttls_protocols.imap(context),
        "pop3": lambda: starttls_protocols.pop(context),
        "xmpp": lambda: starttls_protocols.xmpp(context),
    }[protocol]

    class Serving(Factory):
        noisy = False

        def buildProtocol(self, addr: object) -> Any:
            return told(make())

    return Serving()


async def serve(reactor: Any, protocol: str, certificate: str, version: str) -> None:
    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    context.minimum_version = context.maximum_version = txmembio.TLSVersion[version]
    factory = StartTLSFactory(server(protocol, context))
    port = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory)
    say("port", port.getHost().port)
    await Deferred()  # until the test stops this process


# Clients


async def ask_smtp(reactor: Any, port: int, context: txmembio.SSLContext) -> None:
    sent: Deferred[Any] = Deferred()

    class Sending(smtp.ESMTPSenderFactory):
        def buildProtocol(self, addr: object) -> Any:
            return told(super().buildProtocol(addr))

    factory = Sending(
        USER,
        PASSWORD,
        "alice@localhost",
        "bob@localhost",
        io.BytesIO(b"Subject: hello\n\nWorld\n"),
        sent,
        retries=0,
        contextFactory=context,
        requireAuthentication=False,
        requireTransportSecurity=True,
    )
    # It expects to hear from a connector when the connection is lost.
    reactor.connectTCP("127.0.0.1", port, StartTLSFactory(factory, hostname="localhost"))
    accepted, _ = await sent
    say("sent", accepted)
    sender: Any = factory.currentProtocol
    await sender.lost


async def ask_imap(reactor: Any, port: int, context: txmembio.SSLContext) -> None:
    client: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(
        StartTLSFactory(Factory.forProtocol(lambda: told(imap4.IMAP4Client(context))), hostname="localhost")
    )
    await client.login(USER, PASSWORD)
    say("capabilities", b"IMAP4rev1" in await client.getCapabilities())
    await client.logout()
    await client.lost


async def ask_pop3(reactor: Any, port: int, context: txmembio.SSLContext) -> None:
    client: Any = await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(
        StartTLSFactory(Factory.forProtocol(lambda: told(AdvancedPOP3Client())), hostname="localhost")
    )
    greeted: Deferred[None] = Deferred()
    client.serverGreeting = lambda greeting: greeted.callback(None)
    await greeted
    await client.startTLS(context)
    await client.login(USER, PASSWORD)
    say("message", b" ".join(await client.retrieve(0)).decode())
    await client.quit()
    await client.lost


async def ask_xmpp(reactor: Any, port: int, context: txmembio.SSLContext) -> None:
    done: Deferred[Any] = Deferred()
    ended: Deferred[Any] = Deferred()
    factory = XMPPClientFactory(JID("alice@localhost"), PASSWORD.decode(), context)
    factory.addBootstrap(xmlstream.STREAM_AUTHD_EVENT, done.callback)
    factory.addBootstrap(xmlstream.INIT_FAILED_EVENT, done.errback)

    def end(reason: Any) -> None:
        if done.called:
            ended.callback(None)
        else:
            done.errback(reason)

    factory.addBootstrap(xmlstream.STREAM_END_EVENT, end)
    await TCP4ClientEndpoint(reactor, "127.0.0.1", port).connect(factory)
    stream = await done
    say("jid", stream.authenticator.jid.full(), stream.transport.connection.version())
    stream.sendFooter()
    stream.transport.loseConnection()
    await ended


async def ask(reactor: Any, protocol: str, roots: str, version: str, port: str) -> None:
    context = txmembio.create_default_context(cafile=roots)
    context.minimum_version = context.maximum_version = txmembio.TLSVersion[version]
    converse = {"smtp": ask_smtp, "imap": ask_imap, "pop3": ask_pop3, "xmpp": ask_xmpp}[protocol]
    await converse(reactor, int(port), context)
    say("pyOpenSSL", "OpenSSL" in sys.modules)


if __name__ == "__main__":
    role: Any = {"serve": serve, "ask": ask}[sys.argv[1]]
    react(lambda reactor, *arguments: Deferred.fromCoroutine(role(reactor, *arguments)), sys.argv[2:])
