"""STARTTLS for XMPP clients made with `twisted.words` (RFC 6120 section 5).

`twisted.words` has its own, `TLSInitiatingInitializer`, but that only asks the transport for TLS where pyOpenSSL is
installed; without it, it says that TLS is not supported.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.defer import Deferred
from twisted.words.protocols.jabber.client import XMPPAuthenticator
from twisted.words.protocols.jabber.xmlstream import (
    NS_XMPP_TLS,
    BaseFeatureInitiatingInitializer,
    Reset,
    TLSFailed,
    TLSInitiatingInitializer,
    XmlStreamFactory,
)
from twisted.words.xish.domish import Element

from .. import SSLContext
from .factory import Settings, check_settings
from .starttls import startTLS

if TYPE_CHECKING:
    from twisted.words.protocols.jabber.jid import JID
    from typing_extensions import Unpack

__all__ = ["StartTLSInitializer", "XMPPClientFactory"]


class StartTLSInitializer(BaseFeatureInitiatingInitializer):
    """One of an `XmlStream`'s `initializers`: begins TLS if the server offers it, fails if it is required and is not.

    :param xs: the stream.
    :param context: a `txmembio.SSLContext` for clients.
    :param hostname: what the server's certificate must be for; the domain that the stream is for, if not given
        (RFC 6120 section 13.7.2.1).
    :param required: go on only with TLS.
    :param settings: as for `startTLS`.
    """

    feature = (NS_XMPP_TLS, "starttls")

    def __init__(
        self,
        xs: Any,
        context: SSLContext,
        *,
        hostname: str | None = None,
        required: bool = True,
        **settings: Unpack[Settings],
    ) -> None:
        super().__init__(xs, required=required)
        self._context = context
        self._hostname = hostname
        self._settings = settings
        self._begun: Deferred[object] = Deferred()

    def start(self) -> Deferred[object]:
        """Ask the server to go on with TLS."""
        self._begun = Deferred()
        self.xmlstream.addOnetimeObserver("/proceed", self._proceed)
        self.xmlstream.addOnetimeObserver("/failure", self._refused)
        self.xmlstream.send(Element(self.feature))
        return self._begun

    def _proceed(self, element: object) -> None:
        stream = self.xmlstream
        stream.removeObserver("/failure", self._refused)
        startTLS(stream, self._context, hostname=self._hostname or stream.otherEntity.host, **self._settings)
        stream.reset()
        stream.sendHeader()
        self._begun.callback(Reset)

    def _refused(self, element: object) -> None:
        self.xmlstream.removeObserver("/proceed", self._proceed)
        self._begun.errback(TLSFailed())


class _Authenticator(XMPPAuthenticator):
    def __init__(self, jid: JID, password: str, *arguments: Any, **settings: Any) -> None:
        super().__init__(jid, password)
        self._arguments = arguments
        self._settings = settings

    def associateWithStream(self, xs: Any) -> None:
        """XMPPAuthenticator's initializers, but for the one of TLS."""
        super().associateWithStream(xs)
        xs.initializers = [
            StartTLSInitializer(xs, *self._arguments, **self._settings)
            if isinstance(each, TLSInitiatingInitializer)
            else each
            for each in xs.initializers
        ]


def XMPPClientFactory(
    jid: JID, password: str, context: SSLContext, *, hostname: str | None = None, **settings: Unpack[Settings]
) -> Any:
    """`twisted.words.protocols.jabber.client.XMPPClientFactory` with `context` for its TLS, which is required.

    :param jid: who to log in as.
    :param hostname: what the server's certificate must be for; the JID's domain if not given.
    :param settings: as for `startTLS`.
    :raises TypeError, ValueError: as `TLSFactory`.
    """
    check_settings(context, True, hostname or jid.host, **settings)
    return XmlStreamFactory(_Authenticator(jid, password, context, hostname=hostname, **settings))
