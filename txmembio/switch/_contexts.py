"""Contexts of the standard library, as contexts of ours.

A certificate and its key cannot be read out of an `ssl.SSLContext`; but the calls that put them there can be noted. So
from `record()` on, the contexts that are made have what they are told written down, and `ours()` makes a context of
ours from that, the *twin*, the first time somebody needs it. Everything else a context can be asked. The twin asks
before each connection, so that it changes when its original does.

Files are read when they are named, since they may be gone later, as temporary ones are.
"""

from __future__ import annotations

import os
import ssl
import threading
from collections.abc import Callable
from functools import partial, wraps
from pathlib import Path
from typing import Any, cast
from weakref import ref

from txmembio import Connection, SSLContext, SSLSession, VerifyMode

__all__ = ["ours", "record"]

Call = Callable[[SSLContext], object]

CALLS = (
    "load_cert_chain",
    "load_default_certs",
    "load_dh_params",
    "load_verify_locations",
    "set_alpn_protocols",
    "set_ciphers",
    "set_default_verify_paths",
    "set_ecdh_curve",
)
"""Methods whose effect cannot be read back."""

LOST = ("set_psk_client_callback", "set_psk_server_callback")
"""Methods that there is nothing for in a context of ours."""

ATTRIBUTES = (
    "options",
    "minimum_version",
    "maximum_version",
    "verify_flags",
    "hostname_checks_common_name",
    "post_handshake_auth",
    "num_tickets",
    "keylog_filename",
)
"""What can be read back, but for those that have to be set with care."""

_notes: dict[int, tuple[ref[ssl.SSLContext], Note]] = {}
"""The notes on contexts, by their `id()`, as long as there are these: subclasses may be equal, or have no hash."""

_inside = threading.local()
"""Its `context` is the one that this thread is in one of CALLS of: what that calls itself is a part of it."""


def _begin_note(context: ssl.SSLContext) -> None:
    key = id(context)
    _notes[key] = ref(context, lambda _: _notes.pop(key, None)), Note()


def _note_on(context: ssl.SSLContext) -> Note | None:
    _, note = _notes.get(id(context), (None, None))
    return note


class Note:
    """What one context has been told."""

    def __init__(self) -> None:
        self._calls: list[Call] = []
        self._lost: str | None = None
        self._twin: Twin | None = None

    def add(self, call: Call) -> None:
        if self._twin is None:
            self._calls.append(call)
        else:
            call(self._twin)

    def lose(self, name: str) -> None:
        self._lost = name

    def twin(self, original: ssl.SSLContext) -> Twin:
        if self._lost is not None:
            raise TypeError(
                f"{original!r} cannot be used by txmembio: {self._lost}() was called, and there is nothing like it"
                " for a txmembio.SSLContext"
            )
        if self._twin is None:
            twin = Twin(int(original.protocol))
            twin.original = ref(original)
            for call in self._calls:
                call(twin)
            self._twin = twin
            self._calls.clear()
        self._twin.follow()
        return self._twin


class Twin(SSLContext):
    """A context of ours that is what an `ssl.SSLContext` is."""

    original: Callable[[], ssl.SSLContext | None]
    _followed_callback: object = None

    def connection(
        self, server_side: bool = False, server_hostname: Any = None, session: SSLSession | None = None
    ) -> Connection:
        """As for every context."""
        self.follow()
        return super().connection(server_side, server_hostname, session)

    def follow(self) -> None:
        """Takes over what has been changed in the original."""
        original = self.original()
        if original is None:
            return
        for name in ATTRIBUTES:
            value = getattr(original, name)
            if getattr(self, name) != value:
                setattr(self, name, value)
        if self.check_hostname and not original.check_hostname:  # as long as it is on, there must be verification
            self.check_hostname = False
        mode = VerifyMode(original.verify_mode)
        if self.verify_mode != mode:
            self.verify_mode = mode
        if self.check_hostname != original.check_hostname:
            self.check_hostname = original.check_hostname
        callback = original.sni_callback
        if callback is not self._followed_callback:
            self._followed_callback = callback
            self.sni_callback = None if callback is None else partial(_on_server_name, callback)


class Asking:
    """What a standard `sni_callback` is given in the place of an SSLObject: a connection, whose `context` is a standard
    one and can be changed for another."""

    def __init__(self, connection: Any, context: ssl.SSLContext | None) -> None:
        self.__dict__.update(_connection=connection, context=context)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "context":
            self._connection.context = ours(value)
            self.__dict__["context"] = value
        else:
            setattr(self._connection, name, value)


def _on_server_name(callback: Callable[..., Any], connection: Any, name: str | None, twin: SSLContext) -> int | None:
    original = cast(Twin, twin).original()
    return cast("int | None", callback(Asking(connection, original), name, original))


def ours(context: Any) -> Any:
    """The context of ours for a standard one, the same as long as there is that one; anything else as it is.

    Raises TypeError for one that was made before `record()`, or has something in it that cannot be taken over; and
    what our SSLContext raises for what is in it, such as a cipher that our OpenSSL does not have.
    """
    if not isinstance(context, ssl.SSLContext) or isinstance(context, SSLContext):
        return context
    note = _note_on(context)
    if note is None:
        raise TypeError(
            f"{context!r} was made before txmembio was installed, and its certificates and keys cannot be read out of"
            " it: install first, or pass a txmembio.SSLContext"
        )
    return note.twin(context)


def record() -> Callable[[], None]:
    """Begins to note what standard contexts are told. Returns what ends it."""
    kind = ssl.SSLContext
    if issubclass(kind, SSLContext):  # txmembio.ssl is in the place of ssl: they are ours
        return lambda: None
    before = {name: vars(kind).get(name) for name in ("__new__", *CALLS, *LOST) if hasattr(kind, name)}
    make = kind.__new__

    def __new__(cls: type[ssl.SSLContext], *args: Any, **kwargs: Any) -> ssl.SSLContext:
        context = make(cls, *args, **kwargs)
        _begin_note(context)
        return context

    replace: Any = partial(setattr, kind)
    replace("__new__", staticmethod(__new__))
    for name in CALLS:
        if name in before:
            replace(name, _noting(name, getattr(kind, name)))
    for name in LOST:
        if name in before:
            replace(name, _losing(name, getattr(kind, name)))

    def undo() -> None:
        for name, value in before.items():
            if value is None:
                delattr(kind, name)
            else:
                replace(name, value)
        _notes.clear()

    return undo


def _noting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    """`call`, which makes a note when it has gone well."""
    calling = _WITH_FILES.get(name, partial(_call, name))

    @wraps(call)
    def noting(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> None:
        note = _note_on(self)
        outside = getattr(_inside, "context", None)
        if note is None or outside is self:
            call(self, *args, **kwargs)
            return
        _inside.context = self
        try:
            again = calling(partial(call, self), *args, **kwargs)
        finally:
            _inside.context = outside
        note.add(again)

    return noting


def _call(name: str, call: Callable[..., Any], *args: Any, **kwargs: Any) -> Call:
    """Calls, and returns what does the same to a context of ours."""
    call(*args, **kwargs)
    return lambda context: getattr(context, name)(*args, **kwargs)


def _load_cert_chain(call: Callable[..., Any], certfile: Any, keyfile: Any = None, password: Any = None) -> Call:
    said = password

    def ask() -> Any:
        nonlocal said
        said = password()
        return said

    call(certfile, keyfile, ask if callable(password) else password)
    certificate = _read(certfile)
    key = None if keyfile is None else _read(keyfile)
    return lambda context: context.use_cert_chain(certificate, key, None if callable(said) else said)


def _load_verify_locations(
    call: Callable[..., Any], cafile: Any = None, capath: Any = None, cadata: Any = None
) -> Call:
    call(cafile, capath, cadata)
    trusted = [data for data in (cadata, None if cafile is None else _read(cafile)) if data is not None]

    def again(context: SSLContext) -> None:
        for data in trusted:
            context.load_verify_locations(cadata=data)
        if capath is not None:
            context.load_verify_locations(capath=capath)

    return again


def _read(path: Any) -> bytes:
    return Path(os.fsdecode(path)).read_bytes()


_WITH_FILES: dict[str, Callable[..., Call]] = {
    "load_cert_chain": _load_cert_chain,
    "load_verify_locations": _load_verify_locations,
}


def _losing(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(call)
    def losing(self: ssl.SSLContext, *args: Any, **kwargs: Any) -> Any:
        note = _note_on(self)
        if note is not None:
            note.lose(name)
        return call(self, *args, **kwargs)

    return losing
