"""Session-ticket keys that processes on any number of hosts make, rotate and share through Redis.

Nobody has to hand out key files: every process reads the keys from one place, and whichever finds that a new one is due
and gets the lock makes it. The keys are a list, the newest first, and what each is for follows from its place:

    upcoming    decrypts only: for one interval, so that it has reached every process before anybody encrypts with it
    current     encrypts
    old ones    decrypt only, for as long as tickets under them live, then they are forgotten

Time is the store's, so that hosts need not agree on theirs. If the store cannot be reached, everybody goes on with the
last keys there were. If it comes back without its data, the first process that gets the lock writes the keys it knows,
so that tickets stay good.

The store is a `KeyStore`: `RedisStore`, which needs the package ``redis`` (``pip install 'txmembio[redis]'``), or
whatever has its four methods. Their data is checked as any input from outside is. Whoever can read it can decrypt
recorded TLS 1.2 traffic that was resumed, so give the store a password and TLS (``rediss://``).
"""

from __future__ import annotations

import base64
import json
import math
import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol
from urllib.parse import parse_qsl, urlsplit

from txmembio.tickets import MAX_KEYS

__all__ = ["KeyStore", "RedisStore", "SharedTicketKeys", "from_url", "shown"]

KEY_LENGTH = 80
"""Bytes: a name, and two secrets of 256 bits."""

ROTATE = 12 * 3600.0
"""Seconds between two keys; what HAProxy's manual advises, and Caddy does."""

LIFETIME = 7200.0
"""Seconds that a ticket can be used: OpenSSL's SSL_get_default_timeout(3) for a session."""

DEFAULT_NAME = "txmembio:ticket-keys"

TIMEOUT = 2.0
"""Seconds for each answer of the store; it is close by, and the old keys are as good meanwhile."""

LOCK_SECONDS = 10.0
"""How long the lock outlives a process that dies with it: longer than its two calls can take."""

MAX_STORED = 1 << 16
"""Bytes of stored keys, which need 150 each."""

SHARE_OF_INTERVAL = 10
"""How often every process looks between two rotations, so that a few failed attempts do no harm."""

FIRST_INTERVAL = 1.0
"""Seconds between two looks until there are keys: of several processes started at once, one makes them."""

LONGEST_INTERVAL = 30.0
"""Seconds between two looks, however rarely keys change: a store that was restarted gets its keys back soon."""


class KeyStore(Protocol):
    """Where the keys are. Each method blocks for a bounded time, and raises OSError, whose text names the store, when
    it cannot be reached."""

    def read(self) -> tuple[bytes | None, float]:
        """What is stored, None for nothing; and the store's time, in seconds since a point that stays the same."""

    def lock(self, token: bytes, seconds: float) -> bool:
        """Take the lock for at most *seconds*; False if another has it."""

    def write(self, token: bytes, value: bytes, seconds: float) -> bool:
        """Store *value* for *seconds* and release the lock, if it still is this *token*'s; False if it is not."""

    def close(self) -> None:
        """Give back connections. Other methods may be called again all the same."""


@dataclass(frozen=True)
class _Key:
    secret: bytes
    made: float
    """Seconds, by the store's clock."""


class SharedTicketKeys:
    """Keys that every process with the same store shares; a `txmembio.tickets.TicketKeySource`."""

    blocks = True

    def __init__(
        self,
        store: KeyStore,
        *,
        rotate: float = ROTATE,
        lifetime: float = LIFETIME,
        random: Callable[[int], bytes] = os.urandom,
    ) -> None:
        """
        *rotate*: seconds between two keys. *lifetime*: seconds that a key decrypts after it has stopped to encrypt.
        All processes should be given the same. Raises ValueError for what would need more keys than fit.
        """
        if not 0 < rotate < math.inf or not 0 <= lifetime < math.inf:
            raise ValueError(f"rotate is {rotate!r} and lifetime {lifetime!r}, expected positive numbers of seconds")
        # Upcoming, current, the one just retired, and those of a store that has come back without them.
        if 3 + lifetime / rotate > MAX_KEYS / 2:
            raise ValueError(
                f"rotate is {rotate:g} seconds, expected {lifetime / (MAX_KEYS / 2 - 3):g} or more, so that the keys of"
                f" {lifetime:g} seconds (lifetime) are at most {MAX_KEYS // 2}"
            )
        self.rotate = rotate
        self.lifetime = lifetime
        self.store = store
        self._random = random
        self._ring: list[_Key] = []  # what the store had when it was read last, or was given
        self._orphans: list[_Key] = []  # what it had before it lost them
        self._orphans_until = 0.0  # seconds, by the store's clock
        self._given: list[bytes] = []  # what load() has returned

    @property
    def interval(self) -> float:
        """Seconds between two calls of load()."""
        return min(self.rotate / SHARE_OF_INTERVAL, LONGEST_INTERVAL if self._ring else FIRST_INTERVAL)

    def load(self) -> list[bytes] | None:
        """The keys, after making a new one if it is due and no other process is at it; None if they are the same as
        before. Raises OSError if the store cannot be reached, ValueError for what it holds."""
        stored, now = self.store.read()
        ring = self._parse(stored)
        if self._is_due(ring, now) or self._living(ring, now) != ring:
            token = os.urandom(16)
            if self.store.lock(token, LOCK_SECONDS):
                stored, now = self.store.read()  # another may have had the lock before
                ring = self._successor(self._parse(stored), now)
                kept = 2 * self.rotate + self.lifetime  # nobody is there to use them if nobody rotates them
                if not self.store.write(token, self._format(ring), kept):
                    ring = []  # the lock had run out: there is a next time
        self._remember(self._living(ring, now), now)
        keys = self._in_use(now)
        if not keys or keys == self._given:
            return None
        self._given = keys
        return list(keys)

    def close(self) -> None:
        """Closes the store."""
        self.store.close()

    def __repr__(self) -> str:
        return f"ticket keys in {self.store!r}"

    def _is_due(self, ring: list[_Key], now: float) -> bool:
        # A key from further in the future than one interval is the trace of a clock that was set back.
        return not ring or not -self.rotate <= now - ring[0].made < self.rotate

    def _living(self, ring: list[_Key], now: float) -> list[_Key]:
        """The keys that somebody may still have a ticket for. One stopped to encrypt when the key two places before it
        was made."""
        old = zip(ring, ring[2:], strict=False)
        return ring[:2] + [key for successor, key in old if now - successor.made <= self.lifetime]

    def _successor(self, stored: list[_Key], now: float) -> list[_Key]:
        """What is to be stored after *stored*, or after what we know if that is nothing."""
        ring = stored or self._ring
        if self._is_due(ring, now):
            fresh = [_Key(self._random(KEY_LENGTH), now) for _ in range(1 if ring else 2)]
            ring = [*fresh, *ring][: MAX_KEYS // 2]
        return self._living(ring, now)

    def _remember(self, ring: list[_Key], now: float) -> None:
        if not ring:
            return
        if self._ring and self._ring[1] not in ring:
            # Not what followed: the store has lost its data and others have filled it, or it is an old copy.
            self._orphans, self._orphans_until = self._ring, now + self.lifetime
        self._ring = ring

    def _in_use(self, now: float) -> list[bytes]:
        if now > self._orphans_until:
            self._orphans = []
        if not self._ring:
            return []
        upcoming, current, *old = [key.secret for key in self._ring]
        return list(dict.fromkeys([current, upcoming, *old, *(key.secret for key in self._orphans)]))

    # What is stored: {"version": 1, "keys": [{"made": seconds, "key": base64}, …]}

    def _format(self, ring: list[_Key]) -> bytes:
        keys = [{"made": key.made, "key": base64.b64encode(key.secret).decode()} for key in ring]
        return json.dumps({"version": 1, "keys": keys}).encode()

    def _parse(self, stored: bytes | None) -> list[_Key]:
        if stored is None:
            return []
        try:
            if len(stored) > MAX_STORED:
                raise ValueError(f"{len(stored)} bytes")
            content = json.loads(stored)
            if content["version"] != 1:
                raise ValueError(f"version {content['version']!r}")
            ring = [_Key(base64.b64decode(entry["key"], validate=True), entry["made"]) for entry in content["keys"]]
            if not 2 <= len(ring) <= MAX_KEYS // 2:
                raise ValueError(f"{len(ring)} keys")
            for key in ring:
                if len(key.secret) != KEY_LENGTH:
                    raise ValueError(f"a key of {len(key.secret)} bytes")
                if type(key.made) not in (int, float) or not math.isfinite(key.made):
                    raise ValueError(f"a key made at {key.made!r}")
            if len({key.secret[:16] for key in ring}) < len(ring):
                raise ValueError("two keys of one name")
        except (ValueError, TypeError, LookupError, ArithmeticError, RecursionError) as error:
            problem = f"{type(error).__name__}: {error}"[:200]
            raise ValueError(
                f"{self.store!r} holds no ticket keys of txmembio's ({problem}): delete it to begin anew"
            ) from None
        return ring


_WRITE_IF_LOCKED = """
if redis.call('get', KEYS[2]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[1], ARGV[2], 'PX', ARGV[3])
redis.call('del', KEYS[2])
return 1
"""
"""Lua, which Redis runs without anything in between. KEYS are the value and the lock, ARGV the lock's token, the new
value and its life in milliseconds."""


class RedisStore:
    """A `KeyStore` in Redis, under *name*, with its lock in ``{name}:lock`` (the same slot of a cluster)."""

    def __init__(self, url: str, name: str = DEFAULT_NAME, timeout: float = TIMEOUT) -> None:
        """
        *url* is redis-py's: ``redis://[user:password@]host:port/db``, ``rediss://`` for TLS, ``unix://path``. Nothing
        is connected yet. *timeout*: seconds for each answer. Raises ModuleNotFoundError without the package redis,
        ValueError for a URL that it cannot use.
        """
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ModuleNotFoundError as error:
            raise ModuleNotFoundError(
                "ticket keys in Redis need the package redis: pip install 'txmembio[redis]'", name=error.name
            ) from error
        self.name = name
        self._shown = shown(url)
        self._lock_name = f"{{{name}}}:lock"
        self._errors: tuple[type[Exception], ...] = (redis.RedisError, OSError)
        self._redis: Any = redis.Redis.from_url(
            url,
            socket_timeout=timeout,
            socket_connect_timeout=timeout,
            retry=Retry(NoBackoff(), 0),  # the next look is the retry
        )

    def read(self) -> tuple[bytes | None, float]:
        def both() -> Any:
            with self._redis.pipeline(transaction=False) as pipeline:
                return pipeline.get(self.name).time().execute()

        value, (seconds, microseconds) = self._attempt(both)
        return value, seconds + microseconds / 1e6

    def lock(self, token: bytes, seconds: float) -> bool:
        return bool(self._attempt(lambda: self._redis.set(self._lock_name, token, nx=True, px=_milliseconds(seconds))))

    def write(self, token: bytes, value: bytes, seconds: float) -> bool:
        arguments = (self.name, self._lock_name, token, value, _milliseconds(seconds))
        return bool(self._attempt(lambda: self._redis.eval(_WRITE_IF_LOCKED, 2, *arguments)))

    def close(self) -> None:
        self._redis.close()

    def _attempt(self, call: Callable[[], Any]) -> Any:
        try:
            return call()
        except self._errors as error:
            raise OSError(f"{self!r}: {error}") from error

    def __repr__(self) -> str:
        return f"{self.name!r} of {self._shown}"


def from_url(url: str) -> SharedTicketKeys:
    """The keys in the Redis at *url*, which may end in a query: ``name=`` is what they are called there, ``rotate=``
    the seconds between two keys, ``lifetime=`` those that a key decrypts afterwards. Raises ValueError for a URL or a
    value that cannot be used, ModuleNotFoundError without the package redis."""
    place, _, query = url.partition("?")
    if urlsplit(place).scheme not in ("redis", "rediss", "unix"):
        raise ValueError(f"{shown(url)}: expected a URL that begins with redis://, rediss:// or unix://")
    options: dict[str, str] = {}
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key not in ("name", "rotate", "lifetime") or key in options:
            raise ValueError(f"{key}={value!r} in the URL: expected name=, rotate= and lifetime=, each once at most")
        options[key] = value
    store = RedisStore(place, options.get("name") or DEFAULT_NAME)
    rotate, lifetime = _seconds(options, "rotate", ROTATE), _seconds(options, "lifetime", LIFETIME)
    return SharedTicketKeys(store, rotate=rotate, lifetime=lifetime)


def shown(url: str) -> str:
    """A URL as logs and errors may have it: without its password and its query."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return url.partition("://")[0] + "://…"
    credentials, at, place = parts.netloc.rpartition("@")
    user, colon, _ = credentials.partition(":")
    return f"{parts.scheme}://{user}{colon and ':…'}{at}{place}{parts.path}"


def _seconds(options: dict[str, str], key: str, default: float) -> float:
    try:
        return float(options.get(key, default))
    except ValueError:
        raise ValueError(f"{key}={options[key]!r} in the URL: expected a number of seconds") from None


def _milliseconds(seconds: float) -> int:
    return max(1, math.ceil(seconds * 1000))
