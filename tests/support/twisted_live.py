"""A connection in plaintext on which TLS is begun: the protocol is whatever the test wants, its peer bytes and a bare
`Connection`. Time is a `Clock`, OpenSSL is real; nothing waits.

    live = Live(protocol)                   # connected, in plaintext
    live.receive(b"STARTTLS\r\n")           # a segment arrives
    live.take()                             # what it has answered
    live.begin(peer)                        # `peer`, a Connection, shakes hands with what the protocol has begun
    live.say(b"hello")                      # from the peer, encrypted
    live.heard                              # what the peer has decrypted
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure

import txmembio

from .twisted_ends import Beneath


class Live(Beneath):
    """The transport beneath, which keeps what is written; connected to `protocol`."""

    connected = True
    producer: Any
    startTLS: Any
    """Only on a transport of a StartTLSFactory."""

    def __init__(self, protocol: Any) -> None:
        super().__init__([])
        self.protocol: Any = protocol
        self.streamingProducer = self.producerPaused = False
        self.peer: txmembio.Connection | None = None
        self.heard = b""
        """The plaintext that the peer has received since TLS began."""
        protocol.makeConnection(self)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.write(b"".join(data))

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        self.streamingProducer = streaming

    def pause_producer(self) -> None:
        """What a transport does whose buffers are full."""
        self.producerPaused = True
        self.producer.pauseProducing()

    def resume_producer(self) -> None:
        """And when they are empty."""
        self.producerPaused = False
        self.producer.resumeProducing()

    def receive(self, data: bytes) -> None:
        """A segment arrives."""
        self.protocol.dataReceived(data)

    def begin(self, peer: txmembio.Connection) -> None:
        """Shake hands with `peer`."""
        self.peer = peer
        peer.do_handshake()
        self.settle()

    def settle(self) -> None:
        """Move wire both ways until neither end has any."""
        assert self.peer is not None
        while True:
            out = self.take()
            if out:
                self.heard += self.peer.receive_wire(out)
            back = self.peer.wire_to_send()
            if back:
                self.receive(back)
            if not out and not back:
                return

    def say(self, plaintext: bytes) -> None:
        """The peer sends `plaintext`, and it arrives."""
        assert self.peer is not None
        self.peer.send_plaintext(plaintext)
        self.settle()

    def lose(self, exception: Exception | None = None) -> None:
        """The connection is gone."""
        if self.producer is not None:
            self.producer.stopProducing()
        protocol, self.protocol = self.protocol, None
        self.connected = False
        protocol.connectionLost(Failure(exception or ConnectionDone()))


class Records(Protocol):
    """Writes down what it gets."""

    transport: Any

    def __init__(self) -> None:
        self.made = 0
        self.received = b""
        self.reason: Any = None

    def connectionMade(self) -> None:
        self.made += 1

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        assert self.reason is None, "connectionLost was called twice"
        self.reason = reason.value
