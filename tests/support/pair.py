"""Two `Connection`s joined in memory, with the wire between them cut wherever the test wants it.

    ends = pair.connect(pair.client_context(pki, tls_version), pair.server_context(pki, tls_version))
    ends.client.send_plaintext(b"hello")
    ends.settle()
    assert ends.server.received == b"hello"

Nothing here waits: `settle()` moves wire until neither end has more to send, and returns.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import chain, repeat
from typing import Any

import txmembio

from .pki import PKI, Credential

#: How the wire from one end is cut before the other end sees it: a function from one `wire_to_send()` to the pieces
#: delivered.
Segmentation = Callable[[bytes], Iterable[bytes]]


def whole(wire: bytes) -> Iterable[bytes]:
    """Not at all: everything an end had to send arrives at once."""
    return (wire,)


def pieces_of(size: int) -> Segmentation:
    """Into pieces of `size` bytes, the last one shorter."""

    def segment(wire: bytes) -> Iterator[bytes]:
        return (wire[start : start + size] for start in range(0, len(wire), size))

    return segment


def pieces_by(sizes: Iterable[int]) -> Segmentation:
    """Into pieces of these sizes in turn, and once they are used up, whole. The sizes are counted over all calls, as
    one stream.
    """
    remaining: Iterator[int | None] = chain(sizes, repeat(None))

    def segment(wire: bytes) -> Iterator[bytes]:
        while wire:
            size = next(remaining)
            yield wire[:size]
            wire = wire[size:] if size is not None else b""

    return segment


class End:
    """One of the two: a connection, the plaintext that came out of it, and the error that ended it."""

    def __init__(self, connection: txmembio.Connection) -> None:
        self.connection = connection
        self.received = bytearray()
        """All plaintext, in order."""
        self.error: Any = None
        """The first error that `receive_wire` or `do_handshake` raised."""

    def send_plaintext(self, plaintext: bytes | bytearray) -> None:
        """Have the connection encrypt `plaintext`; `Pair.settle` delivers it."""
        self.connection.send_plaintext(plaintext)

    def start(self) -> None:
        """Begin the handshake, and keep the error if that fails."""
        try:
            self.connection.do_handshake()
        except txmembio.SSLError as error:
            self.error = error

    def receive(self, wire: bytes) -> None:
        """Give the connection `wire`; keep the plaintext, and keep the error if that fails."""
        if self.error is not None:
            return
        try:
            self.received += self.connection.receive_wire(wire)
        except txmembio.SSLError as error:
            self.error = error


class Pair:
    """A client and a server, and the wire between them, cut by `segmentation`."""

    def __init__(
        self, client: txmembio.Connection, server: txmembio.Connection, segmentation: Segmentation = whole
    ) -> None:
        self.client = End(client)
        self.server = End(server)
        self.segmentation = segmentation

    @property
    def connections(self) -> tuple[txmembio.Connection, txmembio.Connection]:
        """The client's and the server's."""
        return self.client.connection, self.server.connection

    @property
    def complete(self) -> bool:
        """Whether both ends have finished the handshake, and neither has failed since."""
        return all(end.connection.handshake_complete and end.error is None for end in (self.client, self.server))

    def settle(self) -> None:
        """Move wire both ways until neither end has more to send. Errors stay with the end that met them."""
        while self.move(self.client, self.server) | self.move(self.server, self.client):
            pass

    def move(self, sender: End, receiver: End) -> bool:
        """Deliver what `sender` has to send; True if there was anything."""
        wire = sender.connection.wire_to_send()
        for piece in self.segmentation(wire) if wire else ():
            receiver.receive(piece)
        return bool(wire)

    def handshake(self) -> None:
        """Shake hands, session tickets included, and raise the error of the end that refused, if one did."""
        self.attempt_handshake()
        for end in (self.client, self.server):
            if end.error is not None and not end.error.alert_received:
                raise end.error
        for end in (self.client, self.server):
            if end.error is not None:
                raise end.error
        assert self.complete

    def attempt_handshake(self) -> None:
        """The same, for handshakes that are expected to fail: look at `client.error` and `server.error` afterwards."""
        self.server.start()
        self.client.start()
        self.settle()

    def refusal(self) -> tuple[Any, Any]:
        """Shake hands, which must fail; the error of the client and of the server."""
        self.attempt_handshake()
        assert isinstance(self.client.error, txmembio.SSLError)
        assert isinstance(self.server.error, txmembio.SSLError)
        return self.client.error, self.server.error


Contexts = tuple[txmembio.SSLContext, txmembio.SSLContext]
"""A client's and a server's."""


def client_context(
    pki: PKI, version: txmembio.TLSVersion | None = None, *, credential: Credential | None = None
) -> txmembio.SSLContext:
    """A client's: trusts `pki.ca`, shows `credential` if asked for one; `version` alone, or every version that is on by
    default.
    """
    context = txmembio.create_default_context(txmembio.Purpose.SERVER_AUTH, cafile=pki.ca.certificate_file)
    return _only(context, version, credential)


def server_context(
    pki: PKI,
    version: txmembio.TLSVersion | None = None,
    *,
    credential: Credential | None = None,
    verify_client: bool = False,
) -> txmembio.SSLContext:
    """A server's: `credential` (`pki.server` if none is given); with `verify_client`, requires a certificate that
    `pki.ca` vouches for.
    """
    context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH, cafile=pki.ca.certificate_file)
    context.verify_mode = txmembio.CERT_REQUIRED if verify_client else txmembio.CERT_NONE
    return _only(context, version, credential or pki.server)


def connect(
    client_context: txmembio.SSLContext,
    server_context: txmembio.SSLContext,
    *,
    server_hostname: str | None = "localhost",
    session: txmembio.SSLSession | None = None,
    segmentation: Segmentation = whole,
) -> Pair:
    """A pair whose handshake is done."""
    pair = unconnected(
        client_context,
        server_context,
        server_hostname=server_hostname,
        session=session,
        segmentation=segmentation,
    )
    pair.handshake()
    return pair


def unconnected(
    client_context: txmembio.SSLContext,
    server_context: txmembio.SSLContext,
    *,
    server_hostname: str | None = "localhost",
    session: txmembio.SSLSession | None = None,
    segmentation: Segmentation = whole,
) -> Pair:
    """A pair that has said nothing yet."""
    return Pair(
        client_context.connection(server_hostname=server_hostname, session=session),
        server_context.connection(server_side=True),
        segmentation,
    )


def _only(
    context: txmembio.SSLContext, version: txmembio.TLSVersion | None, credential: Credential | None
) -> txmembio.SSLContext:
    if version is not None:
        context.minimum_version = context.maximum_version = version
    if credential is not None:
        context.use_cert_chain(credential.chain, credential.private_key, credential.password)
    return context
