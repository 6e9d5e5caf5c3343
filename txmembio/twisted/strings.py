"""The grammar of the endpoint strings ``membiotls:``: which keys there are, and what a value may look like.

Twisted splits ``membiotls:8443:privateKey=key.pem`` at its colons and hands over positional values and keyed values.
`bind` gives every value its key, and the readers (`number`, `seconds`, ...) turn text into what the key means. Nothing
is opened, listened on or imported from the TLS core here; `txmembio.twisted.endpoints` does that with the result.

Each mistake is a ValueError of one line that names the key, the value and what was expected.
"""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HIGHEST_PORT = 65535
"""Ports are 16 bits wide (RFC 9293, section 3.1)."""

HIGHEST_BACKLOG = 2**31 - 1
"""``listen(2)`` takes a C int; the kernel lowers what is too much for it."""

LONGEST_SECONDS = 86400.0
"""A time-out of more than a day is a typing error, such as milliseconds."""

MOST_HANDSHAKES = 1_000_000
"""At once, of one server: more than a process has file descriptors for."""

LONGEST_ALPN_NAME = 255
"""Bytes of one ALPN name, which has a length of one byte in front (RFC 7301, section 3.1)."""

LONGEST_ALPN_LIST = 65535
"""Bytes of the whole ALPN list, each name with its length byte (RFC 7301, section 3.1)."""


@dataclass(frozen=True)
class Form:
    """
    One shape a string can have.

    *positional* are the keys that values without a key belong to, in Twisted's order. Of these, *leading* may also
    be given by key without shutting the rest out: ``path=/etc/pems:8443`` leaves 8443 to be the port, whereas
    ``8443:privateKey=C:/key.pem`` is a colon that somebody forgot to escape. *keyed* are the other keys.
    """

    name: str
    positional: tuple[str, ...]
    leading: frozenset[str]
    keyed: tuple[str, ...]

    @property
    def keys(self) -> tuple[str, ...]:
        return self.positional + self.keyed


_TLS_KEYS = (
    "minVersion",
    "maxVersion",
    "ciphers",
    "cipherSuites",
    "groups",
    "alpn",
    "crl",
    "crlCheck",
    "handshakeTimeout",
    "shutdownTimeout",
)
_SERVER_KEYS = (
    *_TLS_KEYS,
    "endpoint",
    "maxHandshakes",
    "clientCA",
    "verifyClient",
    "unknownName",
    "ticketKeys",
    "reloadInterval",
)

SERVER_FILES = Form(
    "a server with one certificate",
    ("port", "privateKey", "certKey", "sslmethod", "interface", "backlog", "extraCertChain", "dhParameters"),
    frozenset({"port"}),
    ("certificate", *_SERVER_KEYS),
)
SERVER_FOLDER = Form(
    "a server with a folder of certificates",
    ("path", "port", "backlog", "interface"),
    frozenset({"path", "port"}),
    ("dhParameters", *_SERVER_KEYS),
)
CLIENT = Form(
    "a client",
    ("host", "port", "timeout", "bindAddress", "certificate", "privateKey", "trustRoots", "endpoint"),
    frozenset({"host", "port"}),
    _TLS_KEYS,
)

_DIGITS = re.compile("[0-9]+")
_SECONDS = re.compile(r"[0-9]+(\.[0-9]*)?|\.[0-9]+")
_VERSION = re.compile(r"(TLS)?v?1([._](?P<minor>[0-3]))?", re.IGNORECASE)
_METHODS_OF_ANY_VERSION = ("TLS_METHOD", "TLS_SERVER_METHOD", "SSLv23_METHOD")
_METHODS_OF_ONE_VERSION = {"TLSv1_METHOD": "TLSv1", "TLSv1_1_METHOD": "TLSv1_1", "TLSv1_2_METHOD": "TLSv1_2"}
_ESCAPE_HINT = r"escape a colon inside a value as \:"


def server_form(args: Sequence[str], keyed: Mapping[str, str]) -> Form:
    """A first positional of digits only is the form of ``ssl:``; any other, and ``path=``, that of ``tls:``."""
    folder = "path" in keyed or (args and not _DIGITS.fullmatch(args[0]))
    return SERVER_FOLDER if folder else SERVER_FILES


def text(value: str | bytes) -> str:
    """What Twisted hands over, as text; bytes that are not UTF-8 stay what they are in a file's name."""
    return os.fsdecode(value) if isinstance(value, bytes) else value


def _working_folder() -> str:
    try:
        return os.getcwd()
    except OSError:  # it was removed; absolute paths do not need it
        return os.curdir


@dataclass(frozen=True)
class Arguments:
    """The values of one string by their keys, all of them text, and which of them were given without a key."""

    form: Form
    values: Mapping[str, str]
    unkeyed: frozenset[str]
    folder: str = field(default_factory=_working_folder)
    """What paths in the values are relative to: the working directory in which the string was parsed."""

    def __contains__(self, key: object) -> bool:
        return key in self.values

    def get(self, key: str) -> str | None:
        return self.values.get(key)

    def file(self, key: str) -> str:
        """The absolute path that the value of *key* stands for, wherever the process has gone since."""
        return os.path.join(self.folder, self.values[key])

    def refuse(self, key: str, expected: str, because: object = None) -> ValueError:
        """The error for the value of *key* (an absent one is named as such)."""
        message = f"membiotls: {self.shown(key)}: expected {expected}"
        if because is not None:
            message += f" ({one_line(because)})"
        # The first value without a key is what the string begins with; a later one may be the tail of another value.
        if key in self.unkeyed and self.form.positional.index(key) > 0:
            message += f"; it was given without a key: {_ESCAPE_HINT}"
        return ValueError(message)

    def shown(self, key: str) -> str:
        return f"{key}={self.values[key]!r}" if key in self.values else f"{key}= is missing"

    def number(self, key: str, default: int | None, low: int, high: int) -> int:
        """An integer from *low* to *high*; without a *default* the key must be there."""
        value = self.values.get(key)
        if value is None and default is not None:
            return default
        # Ten digits are enough for every key; int() refuses thousands of them with an error that names nothing.
        if value is None or not _DIGITS.fullmatch(value) or len(value) > 10 or not low <= int(value) <= high:
            raise self.refuse(key, f"a whole number from {low} to {high}")
        return int(value)

    def seconds(self, key: str, default: float, without: str = "for no time-out") -> float | None:
        """A time in seconds; None when it is switched off with ``0`` or ``none``. *without* says what that means."""
        value = self.values.get(key)
        if value is None:
            return default
        if value.lower() == "none":
            return None
        if not _SECONDS.fullmatch(value) or float(value) > LONGEST_SECONDS:
            raise self.refuse(key, f'seconds from 0 to {LONGEST_SECONDS:.0f}, 0 or "none" {without}')
        return float(value) or None

    def limit(self, key: str, default: int, highest: int) -> int | None:
        """How many at most; None when there is no limit, with ``0`` or ``none``."""
        value = self.values.get(key)
        if value is not None and value.lower() == "none":
            return None
        try:
            return self.number(key, default, 0, highest) or None
        except ValueError:
            raise self.refuse(key, f'a whole number from 0 to {highest}, 0 or "none" for no limit') from None

    def choice(self, key: str, choices: Sequence[str]) -> str | None:
        value = self.values.get(key)
        if value is not None and value not in choices:
            raise self.refuse(key, " or ".join(choices))
        return value

    def version(self, key: str) -> str | None:
        """A protocol version by the name it has in `txmembio.TLSVersion`: TLSv1.2, 1.2 and tlsv1_2 are all TLSv1_2."""
        value = self.values.get(key)
        if value is None:
            return None
        match = _VERSION.fullmatch(value)
        if match is None:
            raise self.refuse(key, "TLSv1.2 or TLSv1.3 (or, for old peers, TLSv1 or TLSv1.1)")
        minor = match["minor"] or "0"
        return "TLSv1" if minor == "0" else f"TLSv1_{minor}"

    def ssl_method(self) -> tuple[str | None, str | None]:
        """
        The lowest and the highest version that ``sslmethod=``, a name from pyOpenSSL, stands for; None leaves one
        as it is. The names without a version in them have long meant "whatever both sides speak".
        """
        value = self.values.get("sslmethod")
        if value is None or value in _METHODS_OF_ANY_VERSION:
            return None, None
        if value not in _METHODS_OF_ONE_VERSION:
            broken = "SSL 2 and SSL 3 are broken" if value in ("SSLv2_METHOD", "SSLv3_METHOD") else None
            names = [*_METHODS_OF_ANY_VERSION, *_METHODS_OF_ONE_VERSION]
            raise self.refuse("sslmethod", f"one of {', '.join(names)}", broken)
        return _METHODS_OF_ONE_VERSION[value], _METHODS_OF_ONE_VERSION[value]

    def openssl_list(self, key: str) -> str | None:
        """A list as OpenSSL writes it, with colons; in a string commas do as well, and need no backslash."""
        value = self.values.get(key)
        return None if value is None else value.replace(",", ":")

    def alpn(self) -> list[str] | None:
        """``alpn=h2,http/1.1``: the application protocols, the preferred one first."""
        value = self.values.get("alpn")
        if value is None:
            return None
        names = [name.strip() for name in value.split(",")]
        valid = all(name and name.isascii() and name.isprintable() and len(name) <= LONGEST_ALPN_NAME for name in names)
        if not valid or len(set(names)) < len(names) or sum(len(name) + 1 for name in names) > LONGEST_ALPN_LIST:
            raise self.refuse("alpn", "different names such as h2,http/1.1, each of 1 to 255 ASCII characters")
        return names

    def exclusive(self, key: str, others: Sequence[str], why: str) -> None:
        """Refuse each of *others* beside *key*: it would do nothing, or contradict it."""
        for other in others:
            if key in self.values and other in self.values:
                raise self.refuse(other, f"it to be left out with {self.shown(key)}", why)


def one_line(because: object) -> str:
    """The text of an error, without the line breaks that would push the key's name out of the last line."""
    if isinstance(because, OSError) and because.strerror:
        return because.strerror
    return " ".join(str(because).split()) or type(because).__name__


def bind(form: Form, args: Sequence[str], keyed: Mapping[str, str]) -> Arguments:
    """Give each positional value its key, and refuse keys the form does not have."""
    for key, value in keyed.items():
        if key not in form.keys:
            # The nearest key whatever its case: Twisted's are camelCase, which few remember.
            by_lower_case = {known.lower(): known for known in form.keys}
            near = [by_lower_case[each] for each in difflib.get_close_matches(key.lower(), by_lower_case, 1, 0.8)]
            hint = f"; did you mean {near[0]}=?" if near else ""
            raise ValueError(
                f"membiotls: unknown key {key!r} with the value {value!r}: expected, for {form.name}, "
                f"one of {', '.join(sorted(form.keys, key=str.lower))}{hint}"
            )
    places = [key for key in form.positional if key not in form.leading or key not in keyed]
    if len(args) > len(places):
        raise ValueError(
            f"membiotls: surplus value {args[len(places)]!r} without a key: expected, for {form.name}, "
            f"at most {', '.join(places)} without one; {_ESCAPE_HINT}"
        )
    unkeyed = dict(zip(places, args, strict=False))
    for key, value in unkeyed.items():
        if key in keyed:
            raise ValueError(
                f"membiotls: surplus value {value!r} without a key: expected one {key}= only, "
                f"and there is {key}={keyed[key]!r}; {_ESCAPE_HINT}"
            )
    return Arguments(form, {**keyed, **unkeyed}, frozenset(unkeyed))
