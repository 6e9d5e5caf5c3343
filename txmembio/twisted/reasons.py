"""Why a connection ended: the reasons of our own that `connectionLost` gets, beside Twisted's and `SSLError`."""

from __future__ import annotations

from twisted.internet.error import ConnectionLost, TimeoutError

__all__ = [
    "ConnectionTruncated",
    "HandshakeTimeout",
    "PlaintextInjected",
    "ShutdownTimeout",
    "TimedOut",
    "TooManyHandshakes",
]


class ConnectionTruncated(ConnectionLost):
    """The peer's transport ended without close_notify: what was received may be cut short (RFC 8446 section 6.1).

    `__cause__` is the `txmembio.SSLEOFError`.
    """

    MESSAGE = "The connection ended without a TLS close_notify"


class PlaintextInjected(ConnectionLost):
    """Plaintext came behind the command or the answer after which only TLS may follow (`startTLS`).

    It was there before the handshake, so anybody on the way may have put it there. None of it was processed.
    """

    MESSAGE = "Plaintext arrived behind STARTTLS, before the handshake"


class TimedOut(ConnectionLost, TimeoutError):
    """What the three below have in common."""

    def __init__(self, message: str) -> None:
        super().__init__(string=message)


class HandshakeTimeout(TimedOut):
    """The TLS handshake was not complete within `TLSFactory.handshakeTimeout` seconds of the connection being made."""

    MESSAGE = "The TLS handshake timed out"


class TooManyHandshakes(HandshakeTimeout):
    """Of more than `TLSFactory.maxHandshakes` handshakes under way, this one had been so the longest."""

    MESSAGE = "The TLS handshake made way for a newer one"


class ShutdownTimeout(TimedOut):
    """A connection being closed made no progress for `TLSFactory.shutdownTimeout` seconds."""

    MESSAGE = "The TLS shutdown timed out"
