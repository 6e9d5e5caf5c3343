"""What C asks of Python, and how exceptions get home.

A connection that wants callbacks keeps a handle made by :func:`handle_for`. It points to a weak reference, so that a
connection and its handle are no cycle. Each function below finds the connection, calls its method, and never lets an
exception into C: the first one is kept in ``connection.callback_error``, C is told "fatal", and the connection raises
it (or chains it) when the call that led here has returned.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import Any, Protocol

from txmembio._openssl.lib import ffi

INTERNAL_ERROR = 80  # the alert that stands for "our side broke" (RFC 8446 section 6)


class Answers(Protocol):
    """What a connection offers to C."""

    callback_error: BaseException | None

    def on_info(self, where: int, value: int) -> None: ...
    def on_client_hello(self, server_name: bytes | None) -> int | None: ...
    def on_alpn(self, offered: list[bytes]) -> bytes | None: ...
    def on_verify(self, ok: bool, store: Any) -> bool: ...
    def on_keylog(self, line: bytes) -> None: ...
    def on_message(self, sent: bool, version: int, content_type: int, data: bytes) -> None: ...
    def on_psk_client(self, hint: bytes | None) -> tuple[bytes, bytes]: ...
    def on_psk_server(self, identity: bytes | None) -> bytes: ...


def handle_for(connection: Answers) -> Any:
    """What C hands back to find the connection. The caller keeps it alive as long as C may call."""
    return ffi.new_handle(weakref.ref(connection))


def _asked(handle: Any, fatal: int, answer: Callable[[Answers], int]) -> int:
    connection = ffi.from_handle(handle)()
    if connection is None:
        return fatal
    try:
        return answer(connection)
    except BaseException as error:
        if connection.callback_error is None:
            connection.callback_error = error
        return fatal


@ffi.def_extern(error=INTERNAL_ERROR)  # type: ignore[untyped-decorator]
def txm_py_client_hello(handle: Any, name: Any, length: int) -> int:
    """-1: go on; else the alert to refuse with."""

    def answer(connection: Answers) -> int:
        alert = connection.on_client_hello(ffi.buffer(name, length)[:] if length else None)
        return -1 if alert is None else alert

    return _asked(handle, INTERNAL_ERROR, answer)


@ffi.def_extern(error=-2)  # type: ignore[untyped-decorator]
def txm_py_alpn(handle: Any, offered: Any, length: int) -> int:
    """Where the chosen protocol starts in what was offered; -1: none, go on without; -2: refuse."""

    def answer(connection: Answers) -> int:
        wire = ffi.buffer(offered, length)[:]
        places: dict[bytes, int] = {}
        at = 0
        while at < length:
            places.setdefault(wire[at + 1 : at + 1 + wire[at]], at)
            at += 1 + wire[at]
        chosen = connection.on_alpn(list(places))
        if chosen is None:
            return -1
        if chosen not in places:
            raise ValueError(f"the ALPN callback chose {chosen!r}, expected one of {list(places)!r}, or None")
        return places[chosen]

    return _asked(handle, -2, answer)


@ffi.def_extern(error=0)  # type: ignore[untyped-decorator]
def txm_py_verify(handle: Any, ok: int, store: Any) -> int:
    return _asked(handle, 0, lambda connection: int(connection.on_verify(bool(ok), store)))


@ffi.def_extern(error=None)  # type: ignore[untyped-decorator]
def txm_py_keylog(handle: Any, line: Any) -> None:
    def answer(connection: Answers) -> int:
        connection.on_keylog(ffi.string(line))
        return 0

    _asked(handle, 0, answer)


@ffi.def_extern(error=None)  # type: ignore[untyped-decorator]
def txm_py_message(handle: Any, sent: int, version: int, content_type: int, data: Any, length: int) -> None:
    def answer(connection: Answers) -> int:
        connection.on_message(bool(sent), version, content_type, ffi.buffer(data, length)[:])
        return 0

    _asked(handle, 0, answer)


def _written(text: bytes, room: int, buffer: Any, what: str) -> int:
    if len(text) > room:
        raise ValueError(f"{what} has {len(text)} bytes, expected at most {room}")
    ffi.memmove(buffer, text, len(text))
    return len(text)


TOO_LONG = 1 << 16
"""A length of a pre-shared key that no OpenSSL has room for (its PSK_MAX_PSK_LEN is 256 or 512 bytes): this ends the
handshake with internal_error. In TLS 1.3 a length of 0 does not; it means to go on without a key."""


@ffi.def_extern(error=TOO_LONG)  # type: ignore[untyped-decorator]
def txm_py_psk_client(handle: Any, hint: Any, identity: Any, identity_room: int, secret: Any, secret_room: int) -> int:
    """How long the pre-shared key is, in bytes; TOO_LONG refuses, and so does a key that is empty."""

    def answer(connection: Answers) -> int:
        name, key = connection.on_psk_client(ffi.string(hint) if hint != ffi.NULL else None)
        _written(name + b"\0", identity_room, identity, "the PSK identity, with the NUL that ends it,")
        return _written(key, secret_room, secret, "the pre-shared key") or TOO_LONG

    return _asked(handle, TOO_LONG, answer)


@ffi.def_extern(error=TOO_LONG)  # type: ignore[untyped-decorator]
def txm_py_psk_server(handle: Any, identity: Any, secret: Any, secret_room: int) -> int:
    """The same on a server; but 0 says that the identity is not known. In TLS 1.3 it may well be a ticket, which
    OpenSSL looks at only afterwards."""

    def answer(connection: Answers) -> int:
        key = connection.on_psk_server(ffi.string(identity) if identity != ffi.NULL else None)
        return _written(key, secret_room, secret, "the pre-shared key")

    return _asked(handle, TOO_LONG, answer)


@ffi.def_extern(error=-1)  # type: ignore[untyped-decorator]
def txm_py_password(buffer: Any, size: int, writing: int, handle: Any) -> int:
    """PEM's question for a password: handle is a PasswordSource of certificates.py, or NULL. -1 when there is none."""
    if handle == ffi.NULL:
        return -1
    source = ffi.from_handle(handle)
    try:
        password = source.password()
    except BaseException as error:
        source.error = error
        return -1
    if password is None:
        return -1
    if len(password) > size:
        source.error = ValueError(f"password cannot be longer than {size} bytes")
        return -1
    ffi.memmove(buffer, password, len(password))
    return len(password)


@ffi.def_extern(error=None)  # type: ignore[untyped-decorator]
def txm_py_info(handle: Any, where: int, value: int) -> None:
    def answer(connection: Answers) -> int:
        connection.on_info(where, value)
        return 0

    _asked(handle, 0, answer)
