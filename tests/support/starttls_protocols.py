"""Protocols that begin in plaintext: those of Twisted, with what a server needs around them, and the two that Twisted
leaves to its users, POP3's STLS and the receiving side of XMPP's STARTTLS (docs/starttls.md has them too).
"""

from __future__ import annotations

import base64
import io
from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, succeed
from twisted.internet.protocol import Factory
from twisted.mail import imap4, pop3, smtp
from twisted.words.protocols.jabber import sasl, xmlstream
from twisted.words.protocols.jabber.client import NS_XMPP_BIND, NS_XMPP_SESSION
from twisted.words.xish import domish
from zope.interface import implementer

import txmembio
from txmembio.twisted import startTLS

#: Who may log in on every server here.
USER, PASSWORD = b"alice", b"secret"

#: The one message that the POP3 server has.
MESSAGE = b"Subject: hello\r\n\r\nWorld\r\n"


# Where mail goes


@implementer(smtp.IMessageDelivery)
class Delivery:
    """Accepts everything for everybody; `delivered` gets the lines of each message."""

    def __init__(self, delivered: Any) -> None:
        self.delivered = delivered

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        return b"Received: by a test"

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        return origin

    def validateTo(self, user: Any) -> Any:
        return lambda: _Message(self.delivered)


@implementer(smtp.IMessage)
class _Message:
    def __init__(self, delivered: Any) -> None:
        self.delivered = delivered
        self.lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self.lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self.delivered(self.lines)
        return succeed(None)

    def connectionLost(self) -> None:
        """An incomplete one."""


# Where mail is kept


class _Mailbox(pop3.Mailbox):
    def listMessages(self, i: int | None = None) -> Any:
        return [len(MESSAGE)] if i is None else len(MESSAGE)

    def getMessage(self, i: int) -> Any:
        return io.BytesIO(MESSAGE.replace(b"\r\n", b"\n"))  # as files have it

    def getUidl(self, i: int) -> bytes:
        return b"one"


@implementer(IRealm)
class _Realm:
    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        if pop3.IMailbox in interfaces:
            return pop3.IMailbox, _Mailbox(), lambda: None
        return imap4.IAccount, imap4.MemoryAccount(avatarId), lambda: None


def portal() -> Portal:
    """Lets USER in."""
    checker = InMemoryUsernamePasswordDatabaseDontUse()
    checker.users = {USER: PASSWORD}
    return Portal(_Realm(), [checker])


# The servers


def esmtp(context: txmembio.SSLContext, delivered: Any = None) -> Any:
    """SMTP as Twisted has it."""
    server: Any = smtp.ESMTP(contextFactory=context)
    server.delivery = Delivery(delivered)
    server.host = b"localhost"
    return server


def imap(context: txmembio.SSLContext) -> Any:
    """IMAP as Twisted has it."""
    server: Any = imap4.IMAP4Server(contextFactory=context)
    server.portal = portal()
    return server


class POP3WithSTLS(pop3.POP3):
    """RFC 2595 section 4, which Twisted's server has not."""

    transport: Any

    def __init__(self, context: txmembio.SSLContext, **settings: Any) -> None:
        self.context = context
        self.settings = settings

    def listCapabilities(self) -> Any:
        offered: Any = super().listCapabilities()
        return offered if isinstance(offered, Exception) or self.secure else [*offered, b"STLS"]

    @property
    def secure(self) -> bool:
        return hasattr(self.transport, "getPeerCertificate")

    def processCommand(self, command: bytes, *args: bytes) -> Any:
        if command.upper() != b"STLS":
            return super().processCommand(command, *args)
        if self.secure:
            return self.failResponse(b"TLS is active")
        self.successResponse(b"Begin TLS negotiation")
        return startTLS(self, self.context, **self.settings) and None


class _NoChallenge(Factory):
    """What POP3 asks its factory."""

    challengers: dict[bytes, Any] = {}  # noqa: RUF012

    def cap_IMPLEMENTATION(self) -> str:
        return "test"

    def cap_EXPIRE(self) -> int:
        return 60

    def cap_LOGIN_DELAY(self) -> int:
        return 0

    def perUserExpiration(self) -> bool:
        return False

    def perUserLoginDelay(self) -> bool:
        return False


def pop(context: txmembio.SSLContext, **settings: Any) -> Any:
    """POP3 with STLS."""
    server: Any = POP3WithSTLS(context, **settings)
    server.magic = b"localhost"  # no challenge for APOP, which Twisted's server cannot do: it compares bytes with text
    server.factory = _NoChallenge()
    server.portal = portal()
    return server


class Receiving(xmlstream.ListenAuthenticator):
    """The receiving entity: STARTTLS, then SASL PLAIN, then resource binding; each only after the one before."""

    namespace = "jabber:client"
    xmlstream: Any

    def __init__(self, context: txmembio.SSLContext, **settings: Any) -> None:
        super().__init__()
        self.context = context
        self.settings = settings
        self.authenticated = False

    @property
    def secure(self) -> bool:
        return hasattr(self.xmlstream.transport, "getPeerCertificate")

    def associateWithStream(self, xs: Any) -> None:
        super().associateWithStream(xs)
        self.processed: list[str] = []
        xs.addObserver("/*", lambda element: self.processed.append(element.name), -1)
        xs.addObserver(f"/starttls[@xmlns='{xmlstream.NS_XMPP_TLS}']", self.on_starttls)
        xs.addObserver(f"/auth[@xmlns='{sasl.NS_XMPP_SASL}']", self.on_auth)
        xs.addObserver(f"/iq/bind[@xmlns='{NS_XMPP_BIND}']", self.on_bind)
        xs.addObserver(f"/iq/session[@xmlns='{NS_XMPP_SESSION}']", self.on_session)

    def streamStarted(self, rootElement: Any) -> None:
        super().streamStarted(rootElement)
        self.xmlstream.sendHeader()
        features: Any = domish.Element((xmlstream.NS_STREAMS, "features"))
        if not self.secure:
            features.addElement((xmlstream.NS_XMPP_TLS, "starttls")).addElement("required")
        elif not self.authenticated:
            features.addElement((sasl.NS_XMPP_SASL, "mechanisms")).addElement("mechanism", content="PLAIN")
        else:
            features.addElement((NS_XMPP_BIND, "bind"))
            features.addElement((NS_XMPP_SESSION, "session"))
        self.xmlstream.send(features)

    def on_starttls(self, element: Any) -> None:
        self.xmlstream.send(domish.Element((xmlstream.NS_XMPP_TLS, "proceed")))
        startTLS(self.xmlstream, self.context, **self.settings)
        self.xmlstream.reset()

    def on_auth(self, element: Any) -> None:
        assert base64.b64decode(str(element)) == b"\0" + USER + b"\0" + PASSWORD
        assert self.secure
        self.authenticated = True
        self.xmlstream.send(domish.Element((sasl.NS_XMPP_SASL, "success")))
        self.xmlstream.reset()

    def on_bind(self, iq: Any) -> None:
        answer = xmlstream.toResponse(iq, "result")
        answer.addElement((NS_XMPP_BIND, "bind")).addElement("jid", content="alice@localhost/test")
        self.xmlstream.send(answer)

    def on_session(self, iq: Any) -> None:
        self.xmlstream.send(xmlstream.toResponse(iq, "result"))


def xmpp(context: txmembio.SSLContext, **settings: Any) -> Any:
    """An XMPP stream that is the server's."""
    return xmlstream.XmlStreamServerFactory(lambda: Receiving(context, **settings)).buildProtocol(None)
