"""Plaintext that arrived too early: behind the command or the answer after which only TLS may follow.

Whoever sits on the way can append to the last plaintext segment. If a protocol goes on to parse what was appended, it
takes it for something that came through TLS (CVE-2011-0411 and its many relatives). The transport has handed those
bytes over already, so they are looked for where they are: in the buffer of the protocol (`unparsed`), and, for a
protocol that has taken a whole chunk apart before it looks at the first piece, in what it is about to do (`Guard`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.protocols.basic import IntNStringReceiver, LineOnlyReceiver, NetstringReceiver

__all__ = ["Guard", "unparsed"]

#: What a parser calls with each piece, and what it is looked up on. The second is the parser of Twisted's `XmlStream`.
_OF_PROTOCOL = ("lineReceived", "rawDataReceived", "stringReceived")
_OF_XML_STREAM = ("DocumentStartEvent", "ElementEvent", "DocumentEndEvent")


def unparsed(protocol: Any) -> int:
    """How many bytes `protocol` has received and not looked at yet. Line buffers are emptied.

    A protocol with a buffer of its own can have it watched by giving it the method that LineReceiver has:
    `clearLineBuffer()` empties the buffer and returns what was in it.
    """
    clear = getattr(protocol, "clearLineBuffer", None)
    if clear is not None:
        return len(clear())
    if isinstance(protocol, LineOnlyReceiver):
        buffer, protocol._buffer = protocol._buffer, b""
        return len(buffer)
    if isinstance(protocol, IntNStringReceiver):
        return len(protocol.recvd)
    if isinstance(protocol, NetstringReceiver):
        return len(protocol._remainingData)
    return 0


class Guard:
    """Stands before the callbacks of protocols until a handshake is complete.

    Until then nothing can have been decrypted, so whatever a parser gives to these callbacks is plaintext of before.

    :param protocols: whose parsers may still be at work.
    :param complete: says whether the handshake is complete.
    :param found: is called instead of a callback, with words for what was going to happen.
    """

    def __init__(self, protocols: list[Any], complete: Callable[[], bool], found: Callable[[str], None]) -> None:
        self._complete = complete
        self._found = found
        self._places: list[tuple[Any, str, Callable[..., Any], Any]] = []
        for protocol in protocols:
            for name in _OF_PROTOCOL:
                self._watch(protocol, protocol, name)
            for name in _OF_XML_STREAM:
                self._watch(protocol, getattr(protocol, "stream", None), name)

    def _watch(self, protocol: Any, owner: Any, name: str) -> None:
        callback = getattr(owner, name, None)
        if callback is None:
            return

        def instead(*arguments: Any) -> Any:
            if self._complete():
                self.release()
                return callback(*arguments)
            self._found(f"{type(protocol).__name__} was going to process it ({name})")
            return None

        self._places.append((owner, name, instead, vars(owner).get(name)))
        setattr(owner, name, instead)

    def release(self) -> None:
        """Step aside, where the protocol has not already put something else in its place."""
        for owner, name, instead, before in self._places:
            if vars(owner).get(name) is not instead:
                continue
            if before is None:
                delattr(owner, name)
            else:
                setattr(owner, name, before)
        self._places.clear()
