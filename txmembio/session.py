"""Sessions: what a client keeps to resume, and can write down."""

from __future__ import annotations

from typing import Any

from txmembio import errors
from txmembio._openssl.lib import NULL, copied, ffi, lib

__all__ = ["SSLSession"]


class SSLSession:
    """A TLS session (RFC 5246 section 7.4.1.2) or TLS 1.3 ticket (RFC 8446 section 4.6.1), for
    ``SSLContext.connection(session=…)``. The standard library's attributes, and bytes to keep it in."""

    __slots__ = ("_context", "_identity", "_session")

    def __init__(self, session: Any, context: object = None, identity: bytes | None = None) -> None:
        """Takes over an ``SSL_SESSION *`` of the core. Others get theirs from a connection, or by from_bytes()."""
        self._context = context  # the one it was made under, None if it came from bytes
        self._identity = identity  # the session-id context of the rules that were its context's then
        self._session = ffi.gc(session, lib.SSL_SESSION_free)

    @classmethod
    def from_bytes(cls, data: bytes) -> SSLSession:
        """What to_bytes() wrote (d2i_SSL_SESSION(3)). Raises SSLError for anything else."""
        lib.txm_errors_clear()
        start = ffi.from_buffer("unsigned char[]", data)
        at = ffi.new("unsigned char **", start)
        session = lib.d2i_SSL_SESSION(NULL, at, len(data))
        if session == NULL:
            raise errors.queued(f"not a session ({len(data)} bytes)")
        read = cls(session)
        if (behind := len(data) - (at[0] - start)) != 0:
            raise errors.make(errors.SSLError, 1, f"not a session: {behind} bytes follow it")
        return read

    def to_bytes(self) -> bytes:
        """The session as bytes, secrets and all: keep them as you would keep a key."""
        out = ffi.new("unsigned char **")
        length = lib.i2d_SSL_SESSION(self._session, out)
        if length <= 0:
            raise errors.queued("writing a session")
        try:
            return copied(out[0], length)
        finally:
            lib.OPENSSL_free(out[0])

    @property
    def id(self) -> bytes:
        """The session id."""
        length = ffi.new("unsigned int *")
        return copied(lib.SSL_SESSION_get_id(self._session, length), length[0])

    @property
    def time(self) -> int:
        """When it was made, in seconds since 1970."""
        return int(lib.SSL_SESSION_get_time(self._session))

    @property
    def timeout(self) -> int:
        """How long it is good for, in seconds."""
        return int(lib.SSL_SESSION_get_timeout(self._session))

    @property
    def ticket_lifetime_hint(self) -> int:
        """How long the server says its ticket is good for, in seconds."""
        return int(lib.SSL_SESSION_get_ticket_lifetime_hint(self._session))

    @property
    def has_ticket(self) -> bool:
        """True if the server keeps nothing and the session travels in a ticket."""
        return bool(lib.SSL_SESSION_has_ticket(self._session))

    @property
    def resumable(self) -> bool:
        """True if it can be offered to the server again (SSL_SESSION_is_resumable(3))."""
        return bool(lib.SSL_SESSION_is_resumable(self._session))

    def __eq__(self, other: object) -> bool:
        return self.id == other.id if isinstance(other, SSLSession) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)
