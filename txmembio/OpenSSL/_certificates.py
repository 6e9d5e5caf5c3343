"""``OpenSSL.crypto``'s certificates and their extensions."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from txmembio.certificates import Certificate
from txmembio.native.x509 import NativeCertificate, NativeExtension, has_digest
from txmembio.OpenSSL._arguments import Raises, need_int
from txmembio.OpenSSL._keys import FILETYPE_ASN1, FILETYPE_PEM, FILETYPE_TEXT, Error, PKey, as_ascii, pem
from txmembio.OpenSSL._names import X509Name

if TYPE_CHECKING:
    from cryptography import x509

__all__ = ["X509", "X509Extension", "dump_certificate", "from_core", "load_certificate", "to_core"]


def signer(pkey: Any, digest: str, public: str = "Key only has public part") -> Any:
    """The key to sign with. Raises TypeError or ValueError where it or the digest's name will not do; `public` is what
    to say of a key that is no more than that."""
    if not isinstance(pkey, PKey):
        raise TypeError("pkey must be a PKey instance")
    if pkey._only_public:
        raise ValueError(public)
    if not pkey._initialized:
        raise ValueError("Key is uninitialized")
    if not has_digest(digest):
        raise ValueError("No such digest method")
    return pkey.native


class X509Extension:
    """An extension of a certificate. Gone from pyOpenSSL since 26.2."""

    _core: NativeExtension

    def __init__(
        self,
        type_name: bytes,
        critical: bool,
        value: bytes,
        subject: X509 | None = None,
        issuer: X509 | None = None,
    ) -> None:
        """As x509v3_config(5) writes it: X509Extension(b"basicConstraints", True, b"CA:TRUE")."""
        for what, certificate in (("issuer", issuer), ("subject", subject)):
            if certificate is not None and not isinstance(certificate, X509):
                raise TypeError(f"{what} must be an X509 instance")
        with Raises(Error):
            self._core = NativeExtension.from_words(
                type_name,
                bool(critical),
                value,
                None if subject is None else subject._core,
                None if issuer is None else issuer._core,
            )

    @classmethod
    def around(cls, extension: NativeExtension) -> X509Extension:
        """One of the core's."""
        self = cls.__new__(cls)
        self._core = extension
        return self

    def __str__(self) -> str:
        with Raises(Error):
            return self._core.text()

    def get_critical(self) -> bool:
        """Whether whoever does not know it must refuse."""
        return self._core.critical

    def get_short_name(self) -> bytes:
        """b"basicConstraints"."""
        return self._core.short_name

    def get_data(self) -> bytes:
        """Its value in DER."""
        return self._core.data


class X509:
    """A certificate."""

    _core: NativeCertificate

    def __init__(self) -> None:
        """An empty one, to fill in and sign."""
        self._core = NativeCertificate()

    @classmethod
    def around(cls, certificate: NativeCertificate) -> X509:
        """One of the core's."""
        self = cls.__new__(cls)
        self._core = certificate
        return self

    def to_cryptography(self) -> x509.Certificate:
        """The same as one of cryptography's."""
        from cryptography import x509

        return x509.load_der_x509_certificate(dump_certificate(FILETYPE_ASN1, self))

    @classmethod
    def from_cryptography(cls, crypto_cert: x509.Certificate) -> X509:
        """From one of cryptography's. Raises TypeError for anything else."""
        from cryptography import x509
        from cryptography.hazmat.primitives.serialization import Encoding

        if not isinstance(crypto_cert, x509.Certificate):
            raise TypeError("Must be a certificate")
        return load_certificate(FILETYPE_ASN1, crypto_cert.public_bytes(Encoding.DER))

    def get_version(self) -> int:
        """0 is version 1."""
        return self._core.version

    def set_version(self, version: int) -> None:
        """0 is version 1."""
        need_int("version", version)
        with Raises(Error):
            self._core.version = version

    def get_pubkey(self) -> PKey:
        """Whom it is about."""
        with Raises(Error):
            return PKey.around(self._core.public_key)

    def set_pubkey(self, pkey: PKey) -> None:
        """Whom it is about."""
        if not isinstance(pkey, PKey):
            raise TypeError("pkey must be a PKey instance")
        with Raises(Error):
            self._core.public_key = pkey.native

    def sign(self, pkey: PKey, digest: str) -> None:
        """Signs it, with a digest by OpenSSL's name for it."""
        key = signer(pkey, digest)
        with Raises(Error):
            self._core.sign(key, digest)

    def get_signature_algorithm(self) -> bytes:
        """b"sha256WithRSAEncryption"."""
        name = self._core.signature_algorithm
        if name is None:
            raise ValueError("Undefined signature algorithm")
        return name

    def digest(self, digest_name: str) -> bytes:
        """A digest of it, in pairs of hexadecimal digits with colons between."""
        if not has_digest(digest_name):
            raise ValueError("No such digest method")
        with Raises(Error):
            return self._core.digest(digest_name).hex(":").upper().encode()

    def subject_name_hash(self) -> int:
        """What ``openssl rehash`` names it by."""
        return self._core.subject_hash

    def get_serial_number(self) -> int:
        """The issuer's number for it."""
        return self._core.serial_number

    def set_serial_number(self, serial: int) -> None:
        """The issuer's number for it."""
        need_int("serial", serial)
        with Raises(Error):
            self._core.serial_number = serial

    def gmtime_adj_notAfter(self, amount: int) -> None:
        """Valid until so many seconds from now."""
        need_int("amount", amount)
        self._core.set_time_from_now(True, amount)

    def gmtime_adj_notBefore(self, amount: int) -> None:
        """Valid from so many seconds from now on."""
        need_int("amount", amount)
        self._core.set_time_from_now(False, amount)

    def has_expired(self) -> bool:
        """Whether it was valid until some time in the past."""
        text = self.get_notAfter()
        if text is None:
            raise ValueError("Unable to determine notAfter")
        until = datetime.strptime(text.decode(), "%Y%m%d%H%M%SZ").replace(tzinfo=timezone.utc)
        return until < datetime.now(timezone.utc)

    def get_notBefore(self) -> bytes | None:
        """Valid from: b"20260816010108Z"; None while that is not set."""
        with Raises(Error):
            return self._core.time(False)

    def get_notAfter(self) -> bytes | None:
        """Valid until."""
        with Raises(Error):
            return self._core.time(True)

    def set_notBefore(self, when: bytes) -> None:
        """Valid from: b"20260816010108Z". Raises ValueError for any other notation."""
        self._core.set_time(False, _moment(when))

    def set_notAfter(self, when: bytes) -> None:
        """Valid until."""
        self._core.set_time(True, _moment(when))

    def get_issuer(self) -> X509Name:
        """Who signs it. Changing the name changes the certificate."""
        return X509Name.around(self._core.issuer)

    def set_issuer(self, issuer: X509Name) -> None:
        """Who signs it."""
        with Raises(Error):
            self._core.issuer = _name(issuer)._core

    def get_subject(self) -> X509Name:
        """Whose it is. Changing the name changes the certificate."""
        return X509Name.around(self._core.subject)

    def set_subject(self, subject: X509Name) -> None:
        """Whose it is."""
        with Raises(Error):
            self._core.subject = _name(subject)._core

    def get_extension_count(self) -> int:
        """How many extensions it has."""
        return self._core.extension_count

    def get_extension(self, index: int) -> X509Extension:
        """One of them. Raises IndexError beyond the last."""
        extension = self._core.extension(index)
        if extension is None:
            raise IndexError("extension index out of bounds")
        return X509Extension.around(extension)

    def add_extensions(self, extensions: Iterable[X509Extension]) -> None:
        """Appends extensions. Raises ValueError for anything else."""
        for extension in extensions:
            if not isinstance(extension, X509Extension):
                raise ValueError("One of the elements is not an X509Extension")
            with Raises(Error):
                self._core.add_extension(extension._core)


def _moment(when: Any) -> bytes:
    if not isinstance(when, bytes):
        raise TypeError("when must be a byte string")
    return when


def _name(name: Any) -> X509Name:
    if not isinstance(name, X509Name):
        raise TypeError("name must be an X509Name")
    return name


def to_core(certificate: Any) -> Certificate:
    """What a context is given as a certificate, an X509 or one of cryptography's, as the core takes it."""
    return (certificate if isinstance(certificate, X509) else X509.from_cryptography(certificate))._core.certificate


def from_core(certificate: Certificate) -> X509:
    """One of the core's."""
    return X509.around(NativeCertificate.of(certificate))


def load_certificate(type: int, buffer: str | bytes) -> X509:
    """A certificate, from FILETYPE_PEM or FILETYPE_ASN1."""
    data = as_ascii(buffer)
    with Raises(Error):
        if type == FILETYPE_PEM:
            return X509.around(NativeCertificate.from_pem(data))
        if type == FILETYPE_ASN1:
            return X509.around(NativeCertificate.from_der(data))
    raise ValueError("type argument must be FILETYPE_PEM or FILETYPE_ASN1")


def dump_certificate(type: int, cert: X509) -> bytes:
    """The certificate as FILETYPE_PEM, FILETYPE_ASN1 or FILETYPE_TEXT."""
    with Raises(Error):
        if type == FILETYPE_PEM:
            return pem("CERTIFICATE", cert._core.der)
        if type == FILETYPE_ASN1:
            return cert._core.der
        if type == FILETYPE_TEXT:
            return cert._core.text()
    raise ValueError("type argument must be FILETYPE_PEM, FILETYPE_ASN1, or FILETYPE_TEXT")
