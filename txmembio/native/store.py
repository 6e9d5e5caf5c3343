"""NativeStore: whom to trust, and whether a chain leads there, without a connection."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate
from txmembio.loading import Path
from txmembio.native.errors import check, fail

__all__ = ["NativeStore", "Refusal"]


class Refusal(Exception):
    """A chain was refused."""

    def __init__(self, number: int, depth: int, message: str, certificate: Certificate) -> None:
        super().__init__(message)
        self.number = number
        self.depth = depth
        self.certificate = certificate


class NativeStore:
    """An X509_STORE. Methods that fail raise NativeError."""

    def __init__(self) -> None:
        store = lib.X509_STORE_new()
        if store == NULL:
            fail()
        self._store = ffi.gc(store, lib.X509_STORE_free)

    @classmethod
    def borrowed(cls, store: Any) -> NativeStore:
        """One that belongs to a context: what is added counts there."""
        self = cls.__new__(cls)
        lib.X509_STORE_up_ref(store)
        self._store = ffi.gc(store, lib.X509_STORE_free)
        return self

    def add(self, certificate: Certificate) -> None:
        """Trusts it."""
        check(lib.X509_STORE_add_cert, self._store, certificate._x509)

    def add_crl(self, der: bytes) -> None:
        """Knows what was revoked."""
        lib.txm_errors_clear()
        crl = lib.d2i_X509_CRL(NULL, ffi.new("unsigned char **", ffi.from_buffer("unsigned char[]", der)), len(der))
        if crl == NULL:
            fail()
        try:
            check(lib.X509_STORE_add_crl, self._store, crl)
        finally:
            lib.X509_CRL_free(crl)

    def set_flags(self, flags: int) -> None:
        """X509_V_FLAG_ bits, in addition to those that are set."""
        check(lib.X509_STORE_set_flags, self._store, flags)

    def set_time(self, seconds: int) -> None:
        """Verifies as of then, in seconds since 1970, instead of now."""
        parameters = lib.X509_VERIFY_PARAM_new()
        if parameters == NULL:
            fail()
        parameters = ffi.gc(parameters, lib.X509_VERIFY_PARAM_free)
        lib.X509_VERIFY_PARAM_set_time(parameters, seconds)
        check(lib.X509_STORE_set1_param, self._store, parameters)

    def load(self, file: Path | None, folder: Path | None) -> None:
        """X509_STORE_load_locations(3)."""
        lib.txm_errors_clear()
        paths = [NULL if path is None else os.fsencode(path) for path in (file, folder)]
        check(lib.X509_STORE_load_locations, self._store, *paths)

    def verify(self, certificate: Certificate, untrusted: Sequence[Certificate] = ()) -> list[Certificate]:
        """The chain from `certificate` to somebody who is trusted, built with the help of `untrusted`. Raises Refusal
        where there is none."""
        lib.txm_errors_clear()
        stack = ffi.gc(lib.OPENSSL_sk_new_null(), lib.OPENSSL_sk_free)
        for helper in untrusted:
            check(lib.OPENSSL_sk_push, stack, helper._x509)
        context = ffi.gc(lib.X509_STORE_CTX_new(), lib.X509_STORE_CTX_free)
        check(lib.X509_STORE_CTX_init, context, self._store, certificate._x509, stack)
        if lib.X509_verify_cert(context) <= 0:
            lib.txm_errors_clear()
            number = lib.X509_STORE_CTX_get_error(context)
            message = ffi.string(lib.X509_verify_cert_error_string(number)).decode()
            depth = lib.X509_STORE_CTX_get_error_depth(context)
            current = lib.X509_STORE_CTX_get_current_cert(context)
            # Not a copy: what cannot be encoded, such as an empty certificate, cannot be copied.
            known = current != NULL and lib.X509_up_ref(current)
            raise Refusal(number, depth, message, Certificate(current) if known else certificate)
        chain = lib.X509_STORE_CTX_get0_chain(context)
        found = []
        for at in range(lib.OPENSSL_sk_num(chain)):
            x509 = ffi.cast("X509 *", lib.OPENSSL_sk_value(chain, at))
            lib.X509_up_ref(x509)
            found.append(Certificate(x509))
        return found
