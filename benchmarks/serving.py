"""What the servers of the end-to-end benchmarks have in common: how they are started, and what clients ask of them.

A server is a program of its own, ``python -m benchmarks.NAME_server CONTENDER PEM…``. It listens on 127.0.0.1, a port
for each PEM file (a certificate and its key), and says in a line of JSON where (:func:`hello`). Whoever measures looks
at its processor time from outside; a line on its standard input, ``settle``, has it free what can be freed before its
memory is looked at. It ends with its input.

A client (``load.c``) asks for what it wants in a line of text, ``WHAT AMOUNT SIZE``, and for the next thing when that
is done:

==============  =====================================================================================
``ping``        the answer, ``.``
``up``          reads AMOUNT bytes, as they come; then the answer
``up-pieces``   the same; where a framework has two ways of reading, the one that makes ``bytes`` of them
``down``        writes AMOUNT bytes, SIZE at a time, each when there is room for it
``echo``        sends back whatever comes, until the client closes
``writes``      writes SIZE times one byte, for each that comes, until the client closes
==============  =====================================================================================

Twisted and asyncio hand over what has come, with almost the same words; :class:`Service` is what both
call. Tornado's
streams are asked instead, so its server has a reading of its own.
"""

from __future__ import annotations

import ctypes
import gc
import json
import os
import resource
import sys
from typing import Any

ANSWER = b"."

LONGEST_LINE = 64
"""Bytes of a client's line, at most."""

BACKLOG = 8192
"""Connections that may wait to be accepted: so many that no client waits to be let in. The kernel has a limit too."""

PAGE = b"x" * 1024
"""What the site of every framework that has one serves."""


def allow_many_files() -> None:
    """As many open files as the hard limit allows: thousands of connections need one each."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def hello(ports: list[int], library: str | None, web: int | None = None, over: str = "") -> None:
    """Says that the server listens: its *ports*, one for each PEM file, and the one of its site, *web*; which libssl
    does its TLS, *library*, and what is *over* that, if it does not go without saying.
    """
    print(json.dumps({"ports": ports, "web": web, "library": library, "over": over}), flush=True)


def asked() -> bool:
    """Does what a line of standard input asks for, which is there to be read. False when the input has ended."""
    line = os.read(sys.stdin.fileno(), 100)  # one question at a time is asked, and it is a short line: read whole
    if not line:
        return False
    if line != b"settle\n":
        raise ValueError(f"asked for {line!r}: expected 'settle'")
    gc.collect()
    if hasattr(libc := ctypes.CDLL(None), "malloc_trim"):  # glibc keeps some of what free() has been given
        libc.malloc_trim(0)
    print(json.dumps(True), flush=True)
    return True


class Service:
    """What one client is served; a base of the frameworks' protocols, which call its methods by names of their own."""

    _writer: Any
    _doing = _line = _block = b""
    _left = _size = 0
    _ready = True

    def serve(self, writer: Any) -> None:
        """The connection is made; *writer* has ``write()``."""
        self._writer = writer

    def begin_download(self) -> None:
        """:meth:`pause` and :meth:`resume` have to be called from now on."""

    def received(self, data: bytes) -> None:
        """Plaintext has come."""
        if self._doing == b"echo":
            self._writer.write(data)
        elif self._doing == b"up":
            self._left -= len(data)
            if self._left == 0:
                self._doing = b""
                self._writer.write(ANSWER)
        elif self._doing == b"writes":
            write = self._writer.write
            for _ in range(self._size):
                write(b"t")
        else:
            self._line += data
            if b"\n" in self._line:
                line, _, data = self._line.partition(b"\n")
                self._line = b""
                self._begin(*line.split())
                if data:
                    self.received(data)

    def _begin(self, what: bytes, amount: bytes, size: bytes) -> None:
        if what == b"ping":
            self._writer.write(ANSWER)
            return
        self._doing, self._left, self._size = what, int(amount), int(size)
        if what == b"up-pieces":
            self._doing = b"up"
        elif what == b"down":
            self._block = bytes(self._size)
            self.begin_download()
            self.resume()
        elif what not in (b"up", b"echo", b"writes"):
            raise ValueError(f"a client asked for {what!r}")

    def pause(self) -> None:
        """The transport has enough."""
        self._ready = False

    def resume(self) -> None:
        """The transport has room again."""
        self._ready = True
        while self._ready and self._doing == b"down":
            now = min(self._size, self._left)
            self._left -= now
            if self._left == 0:
                self._doing = b""
            self._writer.write(self._block if now == self._size else self._block[:now])
