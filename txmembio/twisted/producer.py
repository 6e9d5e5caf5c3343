"""How back-pressure reaches the application's producer: from the transport beneath, and from the handshake; and how the
application puts pressure on its peer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IPushProducer
from twisted.protocols.policies import ProtocolWrapper
from zope.interface import implementer

if TYPE_CHECKING:
    from .transport import TLSTransport

__all__ = ["FlowControl", "ProducerProxy"]


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


class FlowControl(ProtocolWrapper):
    """The part of a TLSTransport that producers and consumers meet."""

    __slots__ = ("_producer", "_reading_paused")

    transport: Any
    _established: bool
    _producer: ProducerProxy | None
    _reading_paused: bool
    _writable: bool

    _proxy: type[ProducerProxy] = ProducerProxy

    # IPushProducer: the application asks for less

    def pauseProducing(self) -> None:
        """Stop reading from the transport beneath; a handshake under way stops too, its time-out does not.

        One chunk may still be delivered, if it had been received already.
        """
        if self.connected and not self.disconnecting:
            self._reading_paused = True
            self.transport.pauseProducing()

    def resumeProducing(self) -> None:
        """Go on reading. Does nothing once the connection is closing."""
        if self.connected and not self.disconnecting:
            self._reading_paused = False
            self.transport.resumeProducing()

    def stopProducing(self) -> None:
        """The same as `loseConnection`."""
        self.loseConnection()

    # IConsumer: the application is asked for less

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        """Let `producer` write as fast as the transport beneath can take it.

        As on TCP: a push producer (`streaming` true) is paused when the transport beneath has had enough, and resumed;
        a pull producer is asked for more each time there is room. Before the handshake is complete, a push producer
        is paused once 64 KiB of plaintext are waiting for that, and a pull producer is not yet asked at all. On a
        connection that takes no more data, `producer.stopProducing()` is called instead.

        :raises RuntimeError: another producer is registered.
        """
        if self._producer is not None:
            raise RuntimeError(
                f"cannot register producer {producer!r}: {self._producer.producer!r} is still registered"
            )
        if not self._writable:
            producer.stopProducing()
            return
        self._producer = self._proxy(self, producer, streaming)  # type: ignore[arg-type]
        if streaming or self._established:
            self._producer.attach()

    def unregisterProducer(self) -> None:
        """The producer is done. If the connection is to be closed, that happens now."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.detach()
            if self._ending:
                self._finish_writing()

    @property
    def _ending(self) -> bool:
        """The application has asked for an end to its plaintext."""
        raise NotImplementedError

    def _finish_writing(self) -> None:
        """As soon as nothing has to go before it, close."""
        raise NotImplementedError

    # As on FileDescriptor; startTLS() asks.

    @property
    def producer(self) -> Any:
        """The registered producer, or None."""
        return None if self._producer is None else self._producer.producer

    @property
    def streamingProducer(self) -> bool:
        """Whether it is a push producer."""
        return self._producer is not None and self._producer.streaming

    @property
    def producerPaused(self) -> bool:
        """Whether it has been told to pause."""
        return self._producer is not None and self._producer.paused

    def stopConsuming(self) -> None:
        """Unregister the producer and close."""
        self.unregisterProducer()
        self.loseConnection()
