"""python -m support.iocp -m support.iocp.transfer [MUTATION]: data through Twisted's IOCP reactor, both ways at a time.

Says `intact` if all of it came. With a mutation, Twisted's own code has that mistake, and the program should end with
another word: `lost`, or what was raised. It needs no time limit to see a loss, since both sides say when they are done.
"""

from __future__ import annotations

import random
import sys
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.interfaces import IHalfCloseableProtocol, ITCPTransport
from twisted.internet.iocpreactor.abstract import FileHandle
from twisted.internet.protocol import Factory, Protocol
from twisted.python import log
from zope.interface import implementer

#: Bytes sent each way: more than Twisted sends at once, 128 KiB.
SIZE = 300_000


@implementer(IHalfCloseableProtocol)
class Peer(Protocol):
    """Sends the data, and says that it was all; is done when the other has said so too."""

    transport: ITCPTransport

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.received = bytearray()
        self.done: Deferred[bytes] = Deferred()

    def connectionMade(self) -> None:
        self.transport.write(self.data)
        self.transport.loseWriteConnection()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def readConnectionLost(self) -> None:
        self.transport.loseConnection()

    def writeConnectionLost(self) -> None:
        """Nothing to do: the other side is not done."""

    def connectionLost(self, reason: Any = None) -> None:
        self.done.callback(bytes(self.received))


def count_all_as_sent() -> None:
    """A completed send is taken to have sent the whole buffer."""
    handle_write = FileHandle._handleWrite

    def mutated(self: Any, rc: int, number: int, event: Any) -> Any:
        return handle_write(self, rc, number if rc else len(event.buff), event)

    FileHandle._handleWrite = mutated  # type: ignore[method-assign]


def receive_twice() -> None:
    """A second receive is asked for, into the buffers of the first."""
    do_read = FileHandle.doRead

    def mutated(self: Any) -> None:
        do_read(self)
        do_read(self)

    FileHandle.doRead = mutated  # type: ignore[method-assign]


def grow_a_buffer() -> None:
    """A buffer is made larger while a receive into it is pending."""
    do_read = FileHandle.doRead

    def mutated(self: Any) -> None:
        do_read(self)
        self._readBuffers[0].extend(bytes(self.readBufferSize))

    FileHandle.doRead = mutated  # type: ignore[method-assign]


MUTATIONS = {made.__name__: made for made in (count_all_as_sent, receive_twice, grow_a_buffer)}


def main(arguments: list[str]) -> None:
    for name in arguments:
        MUTATIONS[name]()
    results: list[str] = []

    def finish(result: str) -> None:
        if not results:
            results.append(result)
            reactor.stop()

    def failed(event: dict[str, Any]) -> None:
        if event["isError"]:
            finish(type(event["failure"].value).__name__ if "failure" in event else "error")

    log.addObserver(failed)
    data = random.Random(7).randbytes(SIZE)
    peers = [Peer(data), Peer(data[::-1])]
    factory = Factory.forProtocol(lambda: peers[0])

    def start(port: Any) -> None:
        client = endpoints.TCP4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port)
        endpoints.connectProtocol(client, peers[1]).addErrback(log.err)

    endpoints.TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(factory).addCallback(start)
    gatherResults([peer.done for peer in peers]).addCallback(
        lambda received: finish("intact" if received == [peers[1].data, peers[0].data] else "lost")
    )
    reactor.run()
    print(type(reactor).__name__, results[0])


if __name__ == "__main__":
    main(sys.argv[1:])
