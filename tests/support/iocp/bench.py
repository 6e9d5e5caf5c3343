"""What tests of the emulated kernel itself need: a port, sockets of one test, and the kernel left as it was found."""

from __future__ import annotations

import contextlib
import select
import socket
import struct
from collections.abc import Iterator

from support.iocp import sockets
from support.iocp.faults import Faults
from support.iocp.kernel import KERNEL, CompletionPort
from support.process import DEADLINE
from support.waiting import wait_until

#: What a transfer answers that is pending.
PENDING = (997, 0)

#: What getEvent() says when nothing has completed.
NOTHING = (258, 0, 0, None)

#: The key that the handles here are added with.
KEY = 7

#: More bytes than the socket buffers of both sides hold.
BULK = 8_000_000


class Bench:
    """A completion port, and sockets of this test."""

    def __init__(self) -> None:
        self.port = CompletionPort()
        self._sockets: list[socket.socket] = []

    def completion(self) -> tuple[int, int, int, object]:
        """The next one; waits for it."""
        completion = self.port.getEvent(int(DEADLINE * 1000))
        assert completion != NOTHING, "nothing has completed"
        return completion

    def nothing(self) -> bool:
        """Whether nothing has completed, of what can."""
        return self.port.getEvent(0) == NOTHING

    def handle(
        self, kind: int = socket.SOCK_STREAM, family: int = socket.AF_INET, bound: bool = False
    ) -> socket.socket:
        """A socket that belongs to the port."""
        made = self.keep(socket.socket(family, kind))
        self.port.addHandle(made.fileno(), KEY)
        if bound:
            made.bind(("::1" if family == socket.AF_INET6 else "127.0.0.1", 0))
        return made

    def listener(self, family: int = socket.AF_INET) -> socket.socket:
        """One that listens, and belongs to the port."""
        made = self.handle(family=family, bound=True)
        made.listen()
        return made

    def keep(self, made: socket.socket) -> socket.socket:
        """Closed at the end."""
        self._sockets.append(made)
        return made

    def connected(self) -> tuple[socket.socket, socket.socket]:
        """One end of a connection that belongs to the port, and the other that does not."""
        with socket.create_server(("127.0.0.1", 0)) as listener:
            ours = self.keep(socket.create_connection(listener.getsockname()))
            peer = self.keep(listener.accept()[0])
        self.port.addHandle(ours.fileno(), KEY)
        return ours, peer

    def close(self) -> None:
        for made in self._sockets:
            made.close()


@contextlib.contextmanager
def bench(faults: Faults | None = None) -> Iterator[Bench]:
    """A port of a kernel with these faults, or none."""
    before, hooked = KERNEL.faults, sockets.hooked()
    KERNEL.faults = faults or Faults()
    if not hooked:
        sockets.hook()
    made = Bench()
    try:
        yield made
    finally:
        made.close()
        if not hooked:
            sockets.unhook()
        KERNEL.faults = before


def readable(made: socket.socket) -> None:
    """Waits until there is something to receive."""
    assert select.select([made], [], [], DEADLINE)[0]


def wait_until_received(buffer: bytearray) -> None:
    """Lets the kernel's thread do its work, until a receive into the buffer has completed."""

    def done() -> bool:
        KERNEL.advance()
        return any(buffer)

    wait_until(done, "the receive completes")


def reset(made: socket.socket) -> None:
    """Closes with a RST."""
    made.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    made.close()


def received(peer: socket.socket, size: int) -> bytes:
    """This many bytes, or what there is before the end."""
    peer.settimeout(DEADLINE)
    data = bytearray()
    while len(data) < size and (chunk := peer.recv(size - len(data))):
        data += chunk
    return bytes(data)
