"""What the standard library keeps under its SSLObject and SSLSocket, and in its ``_ssl``: for programs that look there.

New code has no use for this: :class:`txmembio.SSLObject` and :class:`txmembio.Certificate` say the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from txmembio._openssl.lib import copied, ffi, lib
from txmembio.certificates import Certificate

if TYPE_CHECKING:
    from txmembio.context import SSLContext
    from txmembio.session import SSLSession
    from txmembio.sslobject import SSLObject

__all__ = ["ENCODING_DER", "ENCODING_PEM", "InnerCertificate", "InnerObject", "as_der"]

ENCODING_PEM = 1
ENCODING_DER = 2
"""What InnerCertificate.public_bytes() is asked for; the standard library's numbers."""


class InnerCertificate(Certificate):
    """``_ssl.Certificate``: made by connections alone."""

    def __init__(self, x509: Any = None) -> None:
        if x509 is None:
            raise TypeError(f"cannot create '{type(self).__module__}.{type(self).__qualname__}' instances")
        super().__init__(x509)

    def public_bytes(self, format: int = ENCODING_PEM) -> str | bytes:
        """The certificate in PEM, as text, or in DER. Raises ValueError for another format."""
        if format == ENCODING_PEM:
            return self.pem().decode("ascii")
        if format == ENCODING_DER:
            return self.der
        raise ValueError("Unsupported format")

    def get_info(self) -> dict[str, Any]:
        """What getpeercert() tells of it."""
        return self.as_dict()

    def __repr__(self) -> str:
        bio = lib.BIO_new(lib.BIO_s_mem())
        try:
            flags = lib.XN_FLAG_RFC2253 & ~lib.ASN1_STRFLGS_ESC_MSB
            lib.X509_NAME_print_ex(bio, lib.X509_get_subject_name(self._x509), 0, flags)
            room = ffi.new("char[]", lib.BIO_ctrl_pending(bio) or 1)
            name = copied(room, max(lib.BIO_read(bio, room, len(room)), 0))
        finally:
            lib.BIO_free(bio)
        return f"<Certificate {name.decode('utf-8', 'replace')!r}>"


class DER(bytes):
    """A certificate of a chain. Before Python 3.13 the standard library had certificates there and no bytes, and
    programs that look for them ask for the bytes of each: truststore does, and so does pip."""

    def public_bytes(self, format: int = ENCODING_PEM) -> str | bytes:
        """See :meth:`InnerCertificate.public_bytes`."""
        return InnerCertificate.from_der(self).public_bytes(format)


def as_der(chain: list[bytes]) -> list[bytes]:
    """The same certificates, in DER, for those programs too."""
    return [DER(each) for each in chain]


class InnerObject:
    """``_ssl._SSLSocket``: the methods of an SSLObject, and a few under other names."""

    __slots__ = ("_object",)

    def __init__(self, tls: SSLObject) -> None:
        """Looks at an SSLObject, which it keeps alive."""
        self._object = tls

    def __getattr__(self, name: str) -> Any:
        if name == "_object":  # it was not made by __init__(): copy and pickle try that
            raise AttributeError(name)
        return getattr(self._object, name)

    @property
    def owner(self) -> Any:
        """What callbacks are given for this connection."""
        return self._object.owner

    @property
    def context(self) -> SSLContext:
        """See :attr:`txmembio.SSLObject.context`."""
        return self._object.context

    @context.setter
    def context(self, context: SSLContext) -> None:
        self._object.context = context

    @property
    def session(self) -> SSLSession | None:
        """See :attr:`txmembio.SSLObject.session`."""
        return self._object.session

    @session.setter
    def session(self, session: SSLSession) -> None:
        self._object.session = session

    def shutdown(self) -> Any:
        """SSLObject.unwrap()."""
        return self._object.unwrap()

    def get_verified_chain(self) -> list[InnerCertificate] | None:
        """The chain as certificates, None where there is none."""
        return _certificates(self._object.get_verified_chain())

    def get_unverified_chain(self) -> list[InnerCertificate] | None:
        """The same of what the peer sent."""
        return _certificates(self._object.get_unverified_chain())


def _certificates(chain: list[bytes]) -> list[InnerCertificate] | None:
    return [InnerCertificate.from_der(der) for der in chain] or None
