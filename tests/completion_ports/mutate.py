"""Runs the scenarios with a mistake in the adapter: `python mutate.py MUTATION ...`, the rest as for `run.py`.

A test that no mistake can fail shows nothing. No file is changed: `TLSTransport` is, in this process.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: Bytes of wire that a transport takes at once in the mistake about partial sends: one full record of TLS 1.3.
TAKEN = 16 * 1024


def drop_last_chunk(tls: Any) -> None:
    """Of what leaves in one turn of the reactor after the handshake, the last chunk is forgotten."""
    send_wire = tls._send_wire

    def forgetful(self: Any, wire: bytes) -> None:
        if not self._established:
            send_wire(self, wire)
            return
        if (before := self.__dict__.get("last_chunk")) is not None:
            send_wire(self, before)
        else:
            self.factory.clock.callLater(0, self.__dict__.pop, "last_chunk")
        self.__dict__["last_chunk"] = wire

    tls._send_wire = forgetful


def read_before_reply(tls: Any) -> None:
    """What the handshake answers leaves when more has been read, instead of before."""
    send_wire, receive = tls._send_wire, tls.dataReceived

    def late(self: Any, wire: bytes) -> None:
        if self._established or not self.__dict__.get("reading"):
            send_wire(self, wire)
        else:
            self.__dict__.setdefault("replies", []).append(wire)

    def reading(self: Any, data: bytes) -> None:
        replies = self.__dict__.pop("replies", [])
        self.__dict__["reading"] = True
        try:
            receive(self, data)
        finally:
            self.__dict__["reading"] = False
        for reply in replies:
            send_wire(self, reply)

    tls._send_wire, tls.dataReceived = late, reading


def partial_send_is_whole(tls: Any) -> None:
    """The transport beneath takes so many bytes of a chunk, and all of it counts as sent.

    On a completion port it is Twisted that sends and counts; the adapter has no send of its own to misread. So this
    is made where its wire leaves it.
    """
    send_wire = tls._send_wire
    tls._send_wire = lambda self, wire: send_wire(self, wire[:TAKEN])


def paused_for_good(tls: Any) -> None:
    """A paused read is not armed again."""

    def forgetful(self: Any) -> None:
        self._reading_paused = False

    assert tls.resumeProducing
    tls.resumeProducing = forgetful


MUTATIONS: dict[str, Callable[[Any], None]] = {
    each.__name__: each for each in (drop_last_chunk, read_before_reply, partial_send_is_whole, paused_for_good)
}


def main(mutation: str, *arguments: str) -> int:
    """The exit status of the scenarios."""
    from completion_ports import run

    run.make_reactor(run.options(arguments))  # before anything else asks for one
    from txmembio.twisted import TLSTransport

    MUTATIONS[mutation](TLSTransport)
    return run.main(arguments)


if __name__ == "__main__":
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    sys.exit(main(*sys.argv[1:]))
