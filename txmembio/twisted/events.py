"""What the adapter writes to Twisted's log, and the words that it counts by.

All events have the namespace `txmembio.twisted`, and an `event` that stays the same when texts change; what else is in
them, docs/operations.md says. A program may keep its log in memory, so nothing in an event refers to a connection.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from .. import SSLError
from ..counters import Negotiated, failure_key
from .reasons import ConnectionTruncated, PlaintextInjected, TimedOut, TooManyHandshakes

if TYPE_CHECKING:
    from .transport import TLSTransport

__all__ = ["failure_word", "log_completed", "log_failed", "log_hook_failed"]

_log = Logger(namespace="txmembio.twisted")


def failure_word(reason: Failure) -> str:
    """Why a connection ended, in a word to count by."""
    error = reason.value
    if isinstance(error, SSLError):
        return failure_key(error)
    for kind, word in (
        (ConnectionDone, "clean"),
        (ConnectionTruncated, "truncated"),
        (PlaintextInjected, "injected"),
        (TooManyHandshakes, "displaced"),
        (TimedOut, "timeout"),
        (ConnectionAborted, "aborted"),
    ):
        if isinstance(error, kind):
            return word
    return "lost"


def log_completed(tls: TLSTransport, negotiated: Negotiated) -> None:
    """A handshake is complete."""
    _log.debug(
        "TLS handshake with {peer} complete: {version}, {cipher}",
        event="handshake_completed",
        **negotiated._asdict(),
        **_about(tls),
    )


def log_failed(tls: TLSTransport, reason: Failure, complete: bool) -> None:
    """A line for a connection that did not end well. No traceback: what a peer does is no error in a program.

    :param complete: the handshake was.
    """
    error = reason.value
    if not isinstance(error, (SSLError, ConnectionTruncated, PlaintextInjected, TimedOut)):
        return
    # A refused handshake is what an operator looks for; many peers, and all port scanners, truncate; injecting takes an
    # attacker, or a peer that is badly broken.
    emit = _log.debug if complete or isinstance(error, ConnectionTruncated) else _log.info
    if isinstance(error, PlaintextInjected):
        emit = _log.warn
    emit(
        "TLS {stage} with {peer} failed: {error}",
        event="connection_failed" if complete else "handshake_failed",
        stage="connection" if complete else "handshake",
        why=failure_word(reason),
        error=str(error),
        reason=error,
        **_about(tls),
    )
    if isinstance(error, SSLError) and error.__cause__ is not None:  # an exception in a callback, which is one
        cause = Failure(error.__cause__)
        _log.failure("A callback of the TLS context failed", cause, LogLevel.error, event="callback_failed")


def log_hook_failed() -> None:
    """`TLSFactory.onHandshake` has raised when it was told of a failure."""
    _log.failure("onHandshake failed", event="hook_failed")


def _about(tls: TLSTransport) -> dict[str, Any]:
    connection = tls.connection
    return {
        "role": "server" if connection.server_side else "client",
        "peer": _peer(tls),
        "server_name": connection.server_name(),
        "seconds": tls.factory.clock.seconds() - tls.began,
    }


def _peer(tls: TLSTransport) -> Any:
    """Its address, or words for a peer that has none, such as a process."""
    try:
        return tls.getPeer()
    except (AttributeError, NotImplementedError):
        return "a peer without an address"
