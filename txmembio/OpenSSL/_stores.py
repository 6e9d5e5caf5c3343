"""``OpenSSL.crypto``'s trust stores, and verification without a connection."""

from __future__ import annotations

import calendar
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any

from txmembio.native.store import NativeStore, Refusal
from txmembio.OpenSSL._arguments import Raises
from txmembio.OpenSSL._certificates import X509, from_core
from txmembio.OpenSSL._keys import Error

if TYPE_CHECKING:
    from os import PathLike

    Path = str | bytes | PathLike[str] | PathLike[bytes]

__all__ = ["X509Store", "X509StoreContext", "X509StoreContextError", "X509StoreFlags"]


class X509StoreFlags:
    """X509_V_FLAG_ bits (X509_VERIFY_PARAM_set_flags(3)), which are part of OpenSSL's ABI."""

    CRL_CHECK = 0x4
    CRL_CHECK_ALL = 0x8
    IGNORE_CRITICAL = 0x10
    X509_STRICT = 0x20
    ALLOW_PROXY_CERTS = 0x40
    POLICY_CHECK = 0x80
    EXPLICIT_POLICY = 0x100
    INHIBIT_MAP = 0x400
    CHECK_SS_SIGNATURE = 0x4000
    PARTIAL_CHAIN = 0x80000


class X509Store:
    """Whom to trust."""

    _core: NativeStore

    def __init__(self) -> None:
        """Nobody, so far."""
        self._core = NativeStore()

    @classmethod
    def around(cls, store: NativeStore) -> X509Store:
        """One of the core's."""
        self = cls.__new__(cls)
        self._core = store
        return self

    def add_cert(self, cert: X509) -> None:
        """Trusts it."""
        if not isinstance(cert, X509):
            raise TypeError(f"cert is {cert!r}, expected an X509")
        with Raises(Error):
            self._core.add(cert._core.certificate)

    def add_crl(self, crl: Any) -> None:
        """One of cryptography's revocation lists; it counts with X509StoreFlags.CRL_CHECK."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        if not isinstance(crl, x509.CertificateRevocationList):
            raise TypeError("CRL must be of type cryptography.x509.CertificateRevocationList")
        with Raises(Error):
            self._core.add_crl(crl.public_bytes(Encoding.DER))

    def set_flags(self, flags: int) -> None:
        """Adds X509StoreFlags."""
        with Raises(Error):
            self._core.set_flags(flags)

    def set_time(self, vfy_time: datetime) -> None:
        """Verifies as of then, in UTC, instead of now."""
        with Raises(Error):
            self._core.set_time(calendar.timegm(vfy_time.timetuple()))

    def load_locations(self, cafile: Path | None, capath: Path | None = None) -> None:
        """Trusts a PEM file, or a folder as ``openssl rehash`` makes it, or both."""
        with Raises(Error):
            self._core.load(cafile, capath)


class X509StoreContextError(Exception):
    """A chain was refused: `errors` is [number, depth, OpenSSL's words], `certificate` the one it was about."""

    def __init__(self, message: str, errors: list[Any], certificate: X509) -> None:
        super().__init__(message)
        self.errors = errors
        self.certificate = certificate


X509StoreContextError.__module__ = "OpenSSL.crypto"


class X509StoreContext:
    """Whether one certificate can be trusted."""

    def __init__(self, store: X509Store, certificate: X509, chain: Sequence[X509] | None = None) -> None:
        """`chain` may help to get from `certificate` to somebody whom `store` trusts."""
        for one in chain or ():
            if not isinstance(one, X509):
                raise TypeError("One of the elements is not an X509 instance")
        self._trusted = store
        self._certificate = certificate
        self._chain = [one._core.certificate for one in chain or ()]

    def set_store(self, store: X509Store) -> None:
        """Another store."""
        self._trusted = store

    def verify_certificate(self) -> None:
        """Raises X509StoreContextError unless it can be."""
        self.get_verified_chain()

    def get_verified_chain(self) -> list[X509]:
        """The chain to somebody trusted. Raises X509StoreContextError where there is none."""
        try:
            with Raises(Error):
                chain = self._trusted._core.verify(self._certificate._core.certificate, self._chain)
        except Refusal as refusal:
            message = str(refusal)
            raise X509StoreContextError(
                message, [refusal.number, refusal.depth, message], from_core(refusal.certificate)
            ) from None
        return [from_core(certificate) for certificate in chain]
