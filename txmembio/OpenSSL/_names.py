"""``OpenSSL.crypto.X509Name``."""

from __future__ import annotations

import functools
from typing import Any

from txmembio.native.x509 import NativeName, object_number
from txmembio.OpenSSL._arguments import Raises
from txmembio.OpenSSL._keys import Error

__all__ = ["X509Name"]


@functools.total_ordering
class X509Name:
    """A distinguished name: its attributes are the attributes of this, by their short or long names (``name.CN``,
    ``name.commonName``). One that came from a certificate is that certificate's: changing it changes that."""

    _core: NativeName

    def __init__(self, name: X509Name) -> None:
        """A copy of another."""
        self._core = name._core.copy()

    @classmethod
    def around(cls, name: NativeName) -> X509Name:
        """One of the core's."""
        self = cls.__new__(cls)
        self._core = name
        return self

    @property
    def _name(self) -> NativeName:
        """What programs hand to ``OpenSSL._util.lib.X509_NAME_oneline()``."""
        return self._core

    def __getattr__(self, name: str) -> str | None:
        number = object_number(name)
        if not number:
            raise AttributeError("No such attribute")
        with Raises(Error):
            return self._core.get(number)

    def __setattr__(self, name: str, value: Any) -> None:
        if name.startswith("_"):
            return super().__setattr__(name, value)
        if type(name) is not str:
            raise TypeError(f"attribute name must be string, not '{type(value).__name__:.200}'")
        number = object_number(name)
        if not number:
            raise AttributeError("No such attribute")
        with Raises(Error):
            self._core.set(number, value.encode() if isinstance(value, str) else value)
        return None

    def __eq__(self, other: object) -> bool:
        return self._core.compare(other._core) == 0 if isinstance(other, X509Name) else NotImplemented

    def __lt__(self, other: object) -> bool:
        return self._core.compare(other._core) < 0 if isinstance(other, X509Name) else NotImplemented

    __hash__ = None  # type: ignore[assignment]  # it can be changed

    def __repr__(self) -> str:
        return f"<X509Name object '{self._core.oneline().decode()}'>"

    def hash(self) -> int:
        """What ``openssl rehash`` names files by."""
        return self._core.hash

    def der(self) -> bytes:
        """The name in DER."""
        with Raises(Error):
            return self._core.der

    def get_components(self) -> list[tuple[bytes, bytes]]:
        """(short name, value) pairs."""
        return self._core.components()

    def to_cryptography(self) -> Any:
        """The same as one of cryptography's. Not one of pyOpenSSL's methods."""
        from cryptography import x509

        return x509.Name.from_bytes(self.der())
