"""How back-pressure reaches the application's producer: from the transport beneath, and from the handshake."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

if TYPE_CHECKING:
    from .transport import TLSTransport

__all__ = ["ProducerProxy"]


@implementer(IPushProducer)
class ProducerProxy:
    """What the transport beneath knows as its producer, on behalf of the application's.

    A push producer is paused while either of two things holds it up, the transport beneath or the handshake; it is told
    only when that begins and when it ends. A pull producer is simply asked when the transport beneath asks.
    """

    __slots__ = ("_attached", "_full", "_stopped", "_tls", "_waiting", "producer", "streaming")

    def __init__(self, tls: TLSTransport, producer: Any, streaming: bool) -> None:
        self.producer = producer
        self._tls = tls
        self.streaming = streaming
        self._attached = False
        self._full = False  # the transport beneath has asked for a pause
        self._waiting = False  # enough plaintext is kept until the handshake is complete
        self._stopped = False

    @property
    def paused(self) -> bool:
        """A push producer that has been told to pause."""
        return self._full or self._waiting

    # What the TLS transport calls

    def attach(self) -> None:
        """Register with the transport beneath; a pull producer is asked for data in this very call."""
        self._attached = True
        self._tls.transport.registerProducer(self, self.streaming)

    def detach(self) -> None:
        """Unregister from the transport beneath."""
        if self._attached:
            self._attached = False
            self._tls.transport.unregisterProducer()

    def wait_for_handshake(self) -> None:
        """Enough plaintext is waiting for the handshake."""
        if self.streaming and not self._waiting:
            self._waiting = True
            if not self._full:
                self.producer.pauseProducing()

    def handshake_complete(self) -> None:
        """Let what the handshake held up go on."""
        if not self._attached:
            self.attach()
        elif self._waiting:
            self._waiting = False
            if not self._full:
                self._tls.call_application(self.producer.resumeProducing)

    def stop(self) -> None:
        """Tell the application's producer, once."""
        if not self._stopped:
            self._stopped = True
            self.producer.stopProducing()

    # What the transport beneath calls

    def pauseProducing(self) -> None:
        if not self._full:
            self._full = True
            if not self._waiting:
                self.producer.pauseProducing()

    def resumeProducing(self) -> None:
        # Through call_application(), so that what is produced goes down before this call ends: a transport that asks a
        # pull producer and gets nothing does not ask again.
        if not self.streaming:
            self._tls.call_application(self.producer.resumeProducing)
        elif self._full:
            self._full = False
            if not self._waiting:
                self._tls.call_application(self.producer.resumeProducing)

    def stopProducing(self) -> None:
        """The transport beneath is gone, and about to say so. What the producer now does must not look like a close."""
        self._tls.connected = False
        self.stop()
