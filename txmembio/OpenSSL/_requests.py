"""``OpenSSL.crypto``'s certificate signing requests. Gone from pyOpenSSL since 26.3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from txmembio.native.x509 import NativeRequest
from txmembio.OpenSSL._arguments import Raises
from txmembio.OpenSSL._certificates import X509Extension, signer
from txmembio.OpenSSL._keys import FILETYPE_ASN1, FILETYPE_PEM, FILETYPE_TEXT, Error, PKey, as_ascii, pem
from txmembio.OpenSSL._names import X509Name

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["X509Req", "dump_certificate_request", "load_certificate_request"]


class X509Req:
    """A certificate signing request (PKCS #10)."""

    _core: NativeRequest

    def __init__(self) -> None:
        """An empty one, to fill in and sign."""
        self._core = NativeRequest()
        self.set_version(0)

    @classmethod
    def around(cls, request: NativeRequest) -> X509Req:
        """One of the core's."""
        self = cls.__new__(cls)
        self._core = request
        return self

    def to_cryptography(self) -> x509.CertificateSigningRequest:
        """The same as one of cryptography's."""
        from cryptography import x509

        return x509.load_der_x509_csr(dump_certificate_request(FILETYPE_ASN1, self))

    @classmethod
    def from_cryptography(cls, crypto_req: x509.CertificateSigningRequest) -> X509Req:
        """From one of cryptography's. Raises TypeError for anything else."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        if not isinstance(crypto_req, x509.CertificateSigningRequest):
            raise TypeError("Must be a certificate signing request")
        return load_certificate_request(FILETYPE_ASN1, crypto_req.public_bytes(Encoding.DER))

    def get_version(self) -> int:
        """0, the only one there is."""
        return self._core.version

    def set_version(self, version: int) -> None:
        """0, the only one there is."""
        if not isinstance(version, int):
            raise TypeError("version must be an int")
        if version != 0:
            raise ValueError("Invalid version. The only valid version for X509Req is 0.")
        with Raises(Error):
            self._core.version = version

    def get_pubkey(self) -> PKey:
        """Whom it is about."""
        with Raises(Error):
            return PKey.around(self._core.public_key)

    def set_pubkey(self, pkey: PKey) -> None:
        """Whom it is about."""
        with Raises(Error):
            self._core.public_key = pkey.native

    def get_subject(self) -> X509Name:
        """Who asks. Changing the name changes the request."""
        return X509Name.around(self._core.subject)

    def add_extensions(self, extensions: Iterable[X509Extension]) -> None:
        """Asks for these to be in the certificate. Raises ValueError for anything else."""
        wanted = []
        for extension in extensions:
            if not isinstance(extension, X509Extension):
                raise ValueError("One of the elements is not an X509Extension")
            wanted.append(extension._core)
        with Raises(Error):
            self._core.add_extensions(wanted)

    def get_extensions(self) -> list[X509Extension]:
        """What was asked for."""
        return [X509Extension.around(extension) for extension in self._core.extensions()]

    def sign(self, pkey: PKey, digest: str) -> None:
        """Signs it, with a digest by OpenSSL's name for it."""
        key = signer(pkey, digest, "Key has only public part")
        with Raises(Error):
            self._core.sign(key, digest)

    def verify(self, pkey: PKey) -> bool:
        """True if this key's owner has signed it; raises Error if not."""
        if not isinstance(pkey, PKey):
            raise TypeError("pkey must be a PKey instance")
        with Raises(Error):
            self._core.verify(pkey.native)
        return True


def load_certificate_request(type: int, buffer: str | bytes) -> X509Req:
    """A request, from FILETYPE_PEM or FILETYPE_ASN1."""
    data = as_ascii(buffer)
    with Raises(Error):
        if type == FILETYPE_PEM:
            return X509Req.around(NativeRequest.from_pem(data))
        if type == FILETYPE_ASN1:
            return X509Req.around(NativeRequest.from_der(data))
    raise ValueError("type argument must be FILETYPE_PEM or FILETYPE_ASN1")


def dump_certificate_request(type: int, req: X509Req) -> bytes:
    """The request as FILETYPE_PEM, FILETYPE_ASN1 or FILETYPE_TEXT."""
    with Raises(Error):
        if type == FILETYPE_PEM:
            return pem("CERTIFICATE REQUEST", req._core.der)
        if type == FILETYPE_ASN1:
            return req._core.der
        if type == FILETYPE_TEXT:
            return req._core.text()
    raise ValueError("type argument must be FILETYPE_PEM, FILETYPE_ASN1, or FILETYPE_TEXT")
