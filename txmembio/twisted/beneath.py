"""What `TLSTransport` knows of the transport beneath: whether wire can go to its socket at once, how much waits in its
buffers, and what it provides.

Writing through. A transport of Twisted's puts what it is given into a buffer, and waits for the reactor to say that its
socket can take it: two changes of what the reactor watches, and one more event, for a socket that nearly always could
have taken it there and then. So `Through` gives it to the socket itself where nobody can tell the difference:

- the transport is exactly one of Twisted's two TCP classes for descriptors, its `write` is theirs, and it delivers to
  the TLS transport itself, or to what Twisted's client endpoints put before each protocol, which passes everything on:
  nobody in between, above or in a subclass wants to see what is written;
- nothing waits in its buffers, so that the order stays what it was;
- it has no producer. A push producer is paused by `write` alone, and a pull producer is only asked again when `write`
  has left something to send;
- no more than `THROUGH_LIMIT` leaves that way until the reactor has had its turn.

What the socket does not take, whatever the reason, goes to `write`. So errors are found where they always were, by the
reactor, and never in the middle of the application's own call.
"""

from __future__ import annotations

import errno
import sys
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from twisted.internet.interfaces import IHalfCloseableProtocol, ITLSTransport
from zope.interface import providedBy
from zope.interface.declarations import Provides

if TYPE_CHECKING:
    from zope.interface.declarations import Declaration

__all__ = ["THROUGH_LIMIT", "Through", "provide", "unsent_wire"]

#: Bytes of wire: what 64 KiB of plaintext become in four full records, with what AEAD ciphers add to them. As much as a
#: transport's buffer holds before it pauses a producer. A loop that writes without end to a peer that reads fast would
#: otherwise never let the reactor come in between.
THROUGH_LIMIT = 65 * 1024

#: Where the `write` of Twisted's TCP classes comes from: the first with pyOpenSSL installed, the second without.
_OWN_MODULES = ("twisted.internet._newtls", "twisted.internet.abstract")

#: What a socket says that cannot take anything just now.
_FULL = frozenset({errno.EAGAIN, errno.EWOULDBLOCK, errno.EINTR, errno.ENOBUFS})


class Through:
    """The way to the socket of one transport, past its buffers."""

    __slots__ = ("_left", "_protocol", "_socket_of", "_transport", "_write", "failed")

    @classmethod
    def of(cls, tls: object, transport: Any, socket_of: Any) -> Through | None:
        """The way through for the wire of `tls`, which it writes to `transport`; None if there is none.

        :param socket_of: the transport with the socket, which may be `transport` itself.
        """
        tcp: Any = sys.modules.get("twisted.internet.tcp")  # imported by whoever has made one; else by nobody
        kind = type(socket_of)
        if tcp is None or (kind is not tcp.Server and kind is not tcp.Client):
            return None
        write = transport.write
        if getattr(getattr(write, "__func__", None), "__module__", None) not in _OWN_MODULES:
            return None
        protocol: Any = getattr(socket_of, "protocol", None)
        if protocol is not tls:
            endpoints = sys.modules.get("twisted.internet.endpoints")
            passing_on = getattr(endpoints, "_WrappingProtocol", None)
            if type(protocol) is not passing_on or protocol._wrappedProtocol is not tls:
                return None
        return cls(protocol, transport, socket_of, write)

    def __init__(self, protocol: Any, transport: Any, socket_of: Any, write: object) -> None:
        self._protocol = protocol
        self._transport = transport
        self._socket_of = socket_of
        self._write = write
        self._left = THROUGH_LIMIT  # bytes of wire that may go this way until the reactor has had its turn
        self.failed = False
        """The socket has said so here, and may not say it again."""

    def send(self, wire: bytes) -> bytes:
        """Send what may be sent at once; returns the rest, which is for `write`."""
        transport = self._socket_of
        if (
            len(wire) <= self._left
            and transport.connected
            and transport.protocol is self._protocol
            and not transport._tempDataLen
            and not transport.dataBuffer
            and transport.producer is None
            and self._transport.write == self._write
        ):
            try:
                sent = transport.socket.send(wire)
            except OSError as error:
                sent = 0
                # After a half close of its own it is only told what it knows.
                if error.errno not in _FULL and not transport._writeDisconnected:
                    self.failed = True
            if sent == len(wire):
                self._left -= sent
                return b""
            wire = wire[sent:]
        self._left = THROUGH_LIMIT  # what is written now stays until the reactor has had its turn
        return wire


def unsent_wire(transport: Any) -> int:
    """How many bytes wait in the buffers of `transport`, as far as that can be known: 0 for one that is not built on
    `twisted.internet.abstract.FileDescriptor` or its IOCP counterpart."""
    try:
        unsent: int = len(transport.dataBuffer) - transport.offset + transport._tempDataLen
        return unsent
    except AttributeError:
        return 0


def provide(tls: Any, transport: object, half_closeable: bool) -> None:
    """Have `tls` provide what `transport` does, but for `ITLSTransport`; and `IHalfCloseableProtocol` as told."""
    inherited = providedBy(transport)
    kind: Any = type(tls)
    tls.__provides__ = _declaration(kind, inherited, inherited.__sro__, half_closeable)


# Making one takes longer than all else that is done for a connection. There are as many as combinations of classes.
@lru_cache(maxsize=64)
def _declaration(kind: Any, inherited: Declaration, resolved: tuple[Any, ...], half_closeable: bool) -> Declaration:
    """:param resolved: changes when somebody declares more of a class."""
    interfaces = [
        each for each in inherited if not each.isOrExtends(ITLSTransport) and each is not IHalfCloseableProtocol
    ]
    if half_closeable:
        interfaces.append(IHalfCloseableProtocol)
    return Provides(kind, *interfaces)
