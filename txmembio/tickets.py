"""Session-ticket keys that several processes and hosts share, so that each resumes what another began.

    files ──────► TicketKeyFiles ──┐
                                   ├──► load() ──► TicketKeys.replace(keys) ──► every SSLContext that uses them
    Redis ──► SharedTicketKeys ────┘

A *source* says what the keys are: `TicketKeyFiles` here, `txmembio.redis_tickets.SharedTicketKeys` with Redis behind
it. `TicketKeys` hands them to contexts, those of today and those made later. Neither waits, polls or logs: an adapter
asks the source every `interval` seconds, in a thread if the source `blocks`, and reports what it raises.

Keys are 48 or 80 bytes in nginx's layout (see `SSLContext.set_ticket_keys`). Of the keys in use the first encrypts and
all decrypt. A file holds them in one of two formats, told apart by its contents:

- nginx's (``ssl_session_ticket_key``): the bytes of one key and nothing else. Several files make several keys, and the
  first file's encrypts.
- HAProxy's (``tls-ticket-keys``): lines of base64, the newest key last. As in HAProxy the last three keys count, and
  the one before the last encrypts: so a new key is known everywhere before anybody uses it, as long as all hosts
  have read the file before the next one is appended. Of a key of 80 bytes, HAProxy takes the two secrets in the other
  order than nginx.
"""

from __future__ import annotations

import base64
import binascii
import os
import threading
from collections.abc import Iterable, Sequence
from typing import Protocol
from weakref import WeakSet

from txmembio._openssl.lib import lib
from txmembio.context import SSLContext
from txmembio.loading import Path
from txmembio.watch import signature

__all__ = ["TicketKeyFiles", "TicketKeySource", "TicketKeys", "parse_ticket_keys"]

KEY_LENGTHS = (48, 80)
"""Bytes of a key: a name of 16, then two secrets of 16 (AES-128) or of 32 (AES-256)."""

KEY_NAME_LENGTH = 16
"""Bytes of a key's name, with which every ticket begins (RFC 5077 section 4)."""

MAX_KEYS: int = lib.TXM_TICKET_KEYS
"""Keys in use at once."""

HAPROXY_KEYS = 3
"""How many keys HAProxy takes from the end of a file: TLS_TICKETS_NO, unless it was built with another number."""

MAX_FILE_SIZE = 1 << 16
"""Bytes read of a key file: over 500 lines of HAProxy's, to which an operator appends two a day."""

FILE_INTERVAL = 5.0
"""Seconds between two looks at key files. A look is a stat() for each; whoever rotates keys leaves hours between."""


class TicketKeySource(Protocol):
    """Where keys come from."""

    blocks: bool
    """load() may wait for a network: it must not be called on an event loop's thread."""

    @property
    def interval(self) -> float | None:
        """Seconds between two calls of load(); None: one call is enough."""

    def load(self) -> Sequence[bytes] | None:
        """The keys, the one that encrypts first; None if they are what the last call returned. Raises OSError or
        ValueError, whose text names the source, if there are none to be had now; then the last good ones stay in use.
        Never called by two threads at once."""

    def close(self) -> None:
        """Gives back what the source holds. load() may be called again all the same."""


class TicketKeys:
    """The keys in use, and the contexts that use them. Safe to use from several threads."""

    def __init__(self, keys: Sequence[bytes] = ()) -> None:
        """Without keys, contexts keep OpenSSL's own, which are random in each of them, until replace() is called."""
        self._lock = threading.Lock()
        self._contexts: WeakSet[SSLContext] = WeakSet()
        self._keys = _checked(keys) if keys else []

    @classmethod
    def of(cls, source: TicketKeySource) -> TicketKeys:
        """Those of `source`; of one that blocks none, before it has been asked in a thread. Raises OSError and
        ValueError if there are none, or none any more."""
        if source.blocks:
            return cls()
        keys = source.load()
        if keys is None:
            raise ValueError(f"{source} cannot be used here: somebody else has loaded from it before")
        return cls(keys)

    @property
    def keys(self) -> tuple[bytes, ...]:
        """The keys in use, the one that encrypts first."""
        return tuple(self._keys)

    def use_in(self, context: SSLContext) -> None:
        """Make a server's *context* use these keys, and those that follow them."""
        with self._lock:
            self._contexts.add(context)
            if self._keys:
                context.set_ticket_keys(self._keys)

    def replace(self, keys: Sequence[bytes]) -> None:
        """From the next handshake on, use *keys* in all contexts. Raises ValueError for keys that cannot be used, and
        the old ones stay."""
        checked = _checked(keys)
        with self._lock:
            self._keys = checked
            for context in list(self._contexts):
                context.set_ticket_keys(checked)


class TicketKeyFiles:
    """Keys in files, which are read again when they change."""

    blocks = False

    def __init__(self, paths: Sequence[Path], interval: float | None = FILE_INTERVAL) -> None:
        """Reads nothing yet. Paths are made absolute, so that the working directory may change. *interval*: seconds
        between two looks, None for no second one."""
        if not paths:
            raise ValueError("no ticket key file, expected one or more")
        self.paths = [os.path.abspath(os.fsdecode(path)) for path in paths]
        self.interval = interval
        self._looks: object = None
        self._error: OSError | ValueError | None = None  # what came of reading them

    def load(self) -> list[bytes] | None:
        """The keys in all files, the one that encrypts first; None if no file has changed since the last call. Raises
        OSError for a file that cannot be read, ValueError for what is in one, both with its name in them."""
        looks = signature(self.paths)
        if looks == self._looks:
            if self._error is not None:
                raise self._error.with_traceback(None)
            return None
        self._looks = looks  # taken before reading: a change from now on shows as another one
        self._error = None
        try:
            return self._read()
        except (OSError, ValueError) as error:
            self._error = error
            raise

    def _read(self) -> list[bytes]:
        keys: list[bytes] = []
        for path in self.paths:
            with open(path, "rb") as file:
                data = file.read(MAX_FILE_SIZE + 1)
            if len(self.paths) > 1 and len(data) not in KEY_LENGTHS:
                _refuse(repr(path), data, "one key of 48 or 80 bytes in each of several files")
            keys += parse_ticket_keys(data, repr(path))
        return _checked(keys, ", ".join(map(repr, self.paths)))

    def close(self) -> None:
        """Nothing is held."""

    def __repr__(self) -> str:
        return f"ticket key file{'s' * (len(self.paths) > 1)} {', '.join(map(repr, self.paths))}"


def parse_ticket_keys(data: bytes, where: str = "ticket keys") -> list[bytes]:
    """The keys that a file holds, the one that encrypts first. Raises ValueError, with *where* in it, for contents that
    are in neither format."""
    if len(data) in KEY_LENGTHS:
        return [data]
    if len(data) > MAX_FILE_SIZE:
        raise ValueError(f"{where} is larger than {MAX_FILE_SIZE} bytes, expected one key or lines of base64")
    if not data.isascii() or len(data.split()) < 2:
        _refuse(where, data, "48 or 80 (one key, as in nginx), or lines of base64 (as in HAProxy)")
    keys = []
    for number, line in enumerate(data.splitlines(), 1):
        try:
            key = base64.b64decode(line, validate=True)
        except binascii.Error as error:
            raise ValueError(f"{where}, line {number}: expected a key in base64 ({error})") from None
        if len(key) not in KEY_LENGTHS:
            raise ValueError(f"{where}, line {number}: a key of {len(key)} bytes, expected 48 or 80")
        keys.append(_from_haproxy(key))
    if len(keys) < HAPROXY_KEYS:
        raise ValueError(f"{where}: {len(keys)} lines of base64, expected {HAPROXY_KEYS} keys or more, as in HAProxy")
    upcoming, *rest = reversed(keys[-HAPROXY_KEYS:])
    return _checked([rest[0], upcoming, *rest[1:]], where)


def _from_haproxy(key: bytes) -> bytes:
    """HAProxy has the key for AES before the one for HMAC at both lengths; nginx, and we, only at 48 bytes."""
    return key if len(key) == 48 else key[:16] + key[48:] + key[16:48]


def _refuse(where: str, data: bytes, expected: str) -> None:
    raise ValueError(f"{where}: {len(data)} bytes, expected {expected}")


def _checked(keys: Iterable[bytes], where: str = "ticket keys") -> list[bytes]:
    """*keys* without repetitions, if they can be used together. Raises ValueError otherwise."""
    distinct = list(dict.fromkeys(keys))
    lengths = sorted({len(key) for key in distinct})
    if not 1 <= len(distinct) <= MAX_KEYS:
        raise ValueError(f"{where}: {len(distinct)} keys, expected 1 to {MAX_KEYS}")
    if len(lengths) != 1 or lengths[0] not in KEY_LENGTHS:
        raise ValueError(f"{where}: keys of {lengths} bytes, expected all of 48 bytes or all of 80")
    if len({key[:KEY_NAME_LENGTH] for key in distinct}) < len(distinct):
        raise ValueError(f"{where}: two keys with the same name, their first {KEY_NAME_LENGTH} bytes")
    return distinct
