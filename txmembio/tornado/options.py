"""What Tornado calls `ssl_options`, as a context: one of ours, a dict with the keys that Tornado knows and some more,
or True.

A dict makes a context with the defaults of `create_default_context`, and never a less careful one than Tornado makes of
it. A client verifies the chain and the name unless `cert_reqs` is CERT_NONE, whatever `ssl_version` says (in Tornado,
PROTOCOL_TLS turns both off); without `ca_certs` it trusts what the platform trusts (there, nobody).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from operator import index
from typing import Any, TypeVar

from .. import (
    CERT_NONE,
    PROTOCOL_TLS,
    PROTOCOL_TLS_CLIENT,
    PROTOCOL_TLS_SERVER,
    Certificate,
    PrivateKey,
    Purpose,
    SSLContext,
    TLSVersion,
    VerifyMode,
    create_default_context,
)
from ..context import require_context
from ..loading import read_file
from ..pems import Identity, PEMFile, identity_from
from ..watch import Signature, signature

__all__ = ["KEYS", "Options", "context_for"]

TORNADO_KEYS = ("certfile", "keyfile", "ca_certs", "cert_reqs", "ciphers", "ssl_version")
"""What `tornado.netutil.ssl_options_to_context` knows."""

OUR_KEYS = ("password", "check_hostname", "minimum_version", "maximum_version", "ciphersuites", "groups")
"""What it does not, by the names that `SSLContext` has for it; and `alpn_protocols`."""

KEYS = (*TORNADO_KEYS, *OUR_KEYS, "alpn_protocols")

FILE_KEYS = ("certfile", "keyfile", "ca_certs")

MAX_CONTEXTS = 64
"""Contexts kept for dicts. One that trusts what a platform trusts takes about a megabyte. A program has a handful; one
with more gets new ones for some, as with Tornado, which makes one for each connection."""

BROKEN_PROTOCOLS = (0, 1)
"""The standard library's PROTOCOL_SSLv2 and PROTOCOL_SSLv3."""

ONE_VERSION = {3: TLSVersion.TLSv1, 4: TLSVersion.TLSv1_1, 5: TLSVersion.TLSv1_2}
"""Its PROTOCOL_TLSv1, PROTOCOL_TLSv1_1 and PROTOCOL_TLSv1_2."""

_T = TypeVar("_T")

standard_contexts: Callable[[object], object] | None = None
"""Set by `install("tornado")`: what makes contexts of ours of the standard library's, and leaves all else as it is."""


def context_for(ssl_options: object, server_side: bool, what: str = "ssl_options") -> SSLContext:
    """The context that `ssl_options` stands for; for equal dicts the same one, as long as their files do not change.

    :param ssl_options: a `txmembio.SSLContext`; a mapping with some of `KEYS`; for clients also True, which is what
        `create_default_context()` makes.
    :param what: how errors call it.
    :raises TypeError: it is nothing of that; one of the standard library's contexts, for example.
    :raises ValueError: the context is for the other role, or something in the mapping cannot be used.
    :raises KeyError: a server's mapping has no `certfile`.
    """
    if standard_contexts is not None:
        ssl_options = standard_contexts(ssl_options)
    if isinstance(ssl_options, Mapping):
        options = Options(ssl_options, server_side, what)
        return _kept(options, signature(options.paths))
    if ssl_options is True and not server_side:
        return context_for({}, False, what)
    if not hasattr(ssl_options, "wrap_bio"):  # it is nobody's context
        kind = type(ssl_options)
        true = "" if server_side else ", or True"
        raise TypeError(
            f"{what} is {ssl_options!r} ({kind.__module__}.{kind.__qualname__}), expected a txmembio.SSLContext, or a"
            f" dict with some of the keys {', '.join(KEYS)}{true}"
        )
    context = require_context(ssl_options, what)
    role, other = ("server", PROTOCOL_TLS_CLIENT) if server_side else ("client", PROTOCOL_TLS_SERVER)
    if context.protocol == other:
        raise ValueError(f"{what} is for the other role: {context.protocol!r} cannot be used for a TLS {role}")
    return context


@lru_cache(maxsize=MAX_CONTEXTS)
def _kept(options: Options, looks: Signature) -> SSLContext:
    # One context for all connections to a server is what their sessions need to be resumed.
    return options.context()


class Options:
    """A mapping of options, checked as far as that goes without reading a file. What is None counts as left out.

    Two are equal if all that is in them is. Errors are ValueErrors that name the key, its value, and what was expected.
    """

    def __init__(self, options: Mapping[str, Any], server_side: bool, what: str = "ssl_options") -> None:
        self._what = what
        self._server_side = server_side
        self._values: dict[str, Any] = {key: value for key, value in options.items() if value is not None}
        unknown = [repr(key) for key in options if key not in KEYS]
        if unknown:
            raise ValueError(f"{what} has the unknown key {', '.join(unknown)}: expected some of {', '.join(KEYS)}")
        # What is equal need not be the same here: 1 is CERT_OPTIONAL, and True is a mistake.
        self._all = server_side, repr(sorted(self._values.items()))
        if server_side and "certfile" not in self._values:
            raise KeyError(f'missing key "certfile" in {what}: expected a file with a certificate in PEM format')
        for key in FILE_KEYS:
            if key in self._values and not isinstance(self._values[key], (str, bytes, os.PathLike)):
                raise self._refused(key, "the path of a file in PEM format")
        for key in ("keyfile", "password"):
            if key in self._values and "certfile" not in self._values:
                raise self._refused(key, "certfile beside it, with the certificate")
        present = [key for key in FILE_KEYS if key in self._values]
        self._paths = {key: os.path.abspath(os.fsdecode(self._values[key])) for key in present}

    @property
    def paths(self) -> list[str]:
        """The files, by paths that do not depend on the working directory."""
        return list(self._paths.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Options) and self._all == other._all

    def __hash__(self) -> int:
        return hash(self._all)

    def context(self) -> SSLContext:
        """A new context. Raises ValueError for anything wrong in the options or in the files."""
        context = self.context_without_certificate()
        if "certfile" in self._values:
            identity = self.identity()
            self._attempt("certfile", "a certificate that OpenSSL can use", partial(identity.use_in, context))
        return context

    def context_without_certificate(self) -> SSLContext:
        """The same, but it cannot prove who it is yet."""
        purpose = Purpose.CLIENT_AUTH if self._server_side else Purpose.SERVER_AUTH
        trusted = partial(create_default_context, purpose, cafile=self._paths.get("ca_certs"))
        context = self._attempt("ca_certs", "a file with certificates in PEM format", trusted)
        self._set_versions(context)
        self._set_verification(context)
        for key, expected, setter in (
            ("ciphers", "names of TLS 1.2 ciphers that OpenSSL has, with colons between them", context.set_ciphers),
            ("ciphersuites", "names of TLS 1.3 cipher suites, with colons between them", context.set_ciphersuites),
            ("groups", "names of key-exchange groups, with colons between them", context.set_groups),
            ("alpn_protocols", "a list of names such as http/1.1", context.set_alpn_protocols),
        ):
            if key in self._values:
                self._attempt(key, expected, partial(setter, self._values[key]))
        return context

    def identity(self) -> Identity:
        """The certificate, its chain and its key, as they are in the files now."""
        certificates = self._pem_file("certfile")
        if not certificates.certificates:
            raise self._refused("certfile", "a file with a certificate in PEM format", "there is none in it")
        key_from = "keyfile" if "keyfile" in self._values else "certfile"
        keys = self._pem_file(key_from)
        if not keys.keys:
            raise self._refused(key_from, "a file with a private key in PEM format", "there is none in it")
        identity = identity_from(certificates, keys)
        if identity is None:
            certfile = self._values["certfile"]
            raise self._refused(key_from, f"the private key of the certificate in {certfile!r}", "it has another one")
        return identity

    def _pem_file(self, key: str) -> PEMFile:
        path, password = self._paths[key], self._values.get("password")

        def read() -> PEMFile:
            data = read_file(path, "PEM file")
            # Where both are in one file, the password is for the key; where they are not, there is no key to read.
            keys = () if key == "certfile" and "keyfile" in self._values else PrivateKey.from_pem_all(data, password)
            return PEMFile(path, tuple(Certificate.from_pem_all(data)), tuple(keys))

        return self._attempt(key, "a readable file in PEM format", read)

    def _set_verification(self, context: SSLContext) -> None:
        values = self._values
        check = values.get("check_hostname", not self._server_side)
        if not isinstance(check, bool) or (check and self._server_side):
            raise self._refused("check_hostname", "True or False, on a client")
        mode = context.verify_mode
        if "cert_reqs" in values:
            number = -1 if isinstance(values["cert_reqs"], bool) else values["cert_reqs"]  # True is not CERT_OPTIONAL
            expected = "CERT_NONE, CERT_OPTIONAL or CERT_REQUIRED"
            mode = self._attempt("cert_reqs", expected, lambda: VerifyMode(index(number)))
        if self._server_side and mode != CERT_NONE and "ca_certs" not in values:
            raise self._refused("cert_reqs", "ca_certs beside it, with the CAs that client certificates come from")
        if mode == CERT_NONE and values.get("check_hostname"):
            raise self._refused(
                "cert_reqs", "CERT_REQUIRED beside check_hostname, as there is no name to check without"
            )
        context.check_hostname = check and mode != CERT_NONE
        context.verify_mode = mode

    def _set_versions(self, context: SSLContext) -> None:
        own = PROTOCOL_TLS_SERVER if self._server_side else PROTOCOL_TLS_CLIENT
        if "ssl_version" in self._values:
            expected = f"{own.name}, or one that both sides can use such as PROTOCOL_TLS"
            number = self._attempt("ssl_version", expected, lambda: index(self._values["ssl_version"]))
            if number in ONE_VERSION:
                for key in ("minimum_version", "maximum_version"):
                    if key in self._values:
                        raise self._refused(key, "it to be left out beside an ssl_version that is one version")
                    self._set_version(context, "ssl_version", key, ONE_VERSION[number])
            elif number not in (PROTOCOL_TLS, own):
                broken = "SSL 2 and SSL 3 are broken" if number in BROKEN_PROTOCOLS else None
                raise self._refused("ssl_version", expected, broken)
        for key in ("minimum_version", "maximum_version"):
            if key in self._values:
                value = self._values[key]
                version = self._attempt(key, "a member of TLSVersion", lambda: TLSVersion(index(value)))  # noqa: B023
                self._set_version(context, key, key, version)
        highest = context.maximum_version
        if 0 < highest < context.minimum_version:
            raise self._refused("maximum_version", f"a version not below {context.minimum_version.name}")

    def _set_version(self, context: SSLContext, key: str, attribute: str, version: TLSVersion) -> None:
        if version < TLSVersion.TLSv1_2 and "ciphers" not in self._values and version != TLSVersion.MAXIMUM_SUPPORTED:
            expected = "TLS 1.2 or newer, or ciphers beside it that older versions can use: ECDHE+AES:@SECLEVEL=0"
            raise self._refused(key, expected)
        self._attempt(key, "a version that OpenSSL has", partial(setattr, context, attribute, version))

    def _attempt(self, key: str, expected: str, call: Callable[[], _T]) -> _T:
        """Call; what is raised becomes the error for the value of *key*."""
        try:
            return call()
        except (OSError, TypeError, ValueError) as error:
            raise self._refused(key, expected, error) from error

    def _refused(self, key: str, expected: str, because: object = None) -> ValueError:
        value = repr(self._values[key]) if key in self._values else "missing"
        value = "set" if key == "password" else value
        if isinstance(because, OSError) and because.strerror:
            because = because.strerror
        reason = "" if because is None else f" ({because})"
        return ValueError(
            f"{self._what}[{key!r}] is {'set' if key == 'password' else value}: expected {expected}{reason}"
        )
