"""Certificates and private keys: read from PEM or DER, and what a certificate says.

Both classes own one OpenSSL object and never change. Everything they tell comes from OpenSSL's own parser.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from functools import cached_property
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any

from txmembio import errors
from txmembio._openssl.lib import NULL, copied, ffi, lib

if TYPE_CHECKING:
    from typing_extensions import Self

__all__ = ["Certificate", "Password", "PrivateKey"]

Password = str | bytes | bytearray | Callable[[], str | bytes | bytearray]
"""A password, or what gives it when (and only when) it is asked for, as in ``ssl.SSLContext.load_cert_chain``."""

Name = tuple[tuple[tuple[str, str], ...], ...]
"""A distinguished name as in ``ssl.SSLSocket.getpeercert()``: relative names of (attribute, value) pairs."""

MAX_CERTIFICATES = 10_000
"""Certificates or keys that one PEM text may hold. The largest public bundles have a few hundred."""

_EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
_PEM_BLOCK = re.compile(rb"-----BEGIN ([A-Z0-9 ]+)-----.*?-----END \1-----", re.DOTALL)


def _bytes_of(bio: Any) -> bytes:
    """Empties a memory BIO and frees it."""
    try:
        length = lib.BIO_ctrl_pending(bio)
        out = ffi.new("char[]", length or 1)
        read = lib.BIO_read(bio, out, length)
        return copied(out, max(read, 0))
    finally:
        lib.BIO_free(bio)


def _memory_bio() -> Any:
    bio = lib.BIO_new(lib.BIO_s_mem())
    if bio == NULL:
        raise MemoryError("no memory for a BIO")
    return bio


def _der(encode: Callable[[Any, Any], int], thing: Any) -> bytes:
    """What one of OpenSSL's i2d_ functions writes for `thing`."""
    out = ffi.new("unsigned char **")
    length = encode(thing, out)
    if length < 0:
        raise errors.queued("encoding to DER")
    try:
        return copied(out[0], length)
    finally:
        lib.OPENSSL_free(out[0])


def _text(string: Any) -> str:
    """An ASN1_STRING of any kind as text."""
    out = ffi.new("unsigned char **")
    length = lib.ASN1_STRING_to_UTF8(out, string)
    if length < 0:
        lib.txm_errors_clear()
        return str(copied(lib.ASN1_STRING_get0_data(string), lib.ASN1_STRING_length(string)), "latin-1")
    try:
        return str(copied(out[0], length), "utf-8", "replace")
    finally:
        lib.OPENSSL_free(out[0])


def _dotted(asn1_object: Any, no_name: int) -> str:
    out = ffi.new("char[]", 256)  # OpenSSL's own advice for OBJ_obj2txt(3) is 80
    length = lib.OBJ_obj2txt(out, 256, asn1_object, no_name)
    return str(copied(out, min(max(length, 0), 255)), "ascii", "replace")


def _name(name: Any) -> Name:
    parts: list[tuple[tuple[str, str], ...]] = []
    group: list[tuple[str, str]] = []
    last = -1
    for at in range(lib.X509_NAME_entry_count(name)):
        entry = lib.X509_NAME_get_entry(name, at)
        if lib.X509_NAME_ENTRY_set(entry) != last and group:
            parts.append(tuple(group))
            group = []
        last = lib.X509_NAME_ENTRY_set(entry)
        key = _dotted(lib.X509_NAME_ENTRY_get_object(entry), 0)
        group.append((key, _text(lib.X509_NAME_ENTRY_get_data(entry))))
    if group:
        parts.append(tuple(group))
    return tuple(parts)


def _stack(stack: Any) -> list[Any]:
    """What an OpenSSL stack points to. The stack keeps it."""
    return [lib.OPENSSL_sk_value(stack, at) for at in range(lib.OPENSSL_sk_num(stack))]


def _general_name(general_name: Any) -> tuple[str, Any]:
    """One name of a subjectAltName, in the standard library's spelling of kinds and values."""
    kind = ffi.new("int *")
    value = lib.GENERAL_NAME_get0_value(ffi.cast("GENERAL_NAME *", general_name), kind)
    if kind[0] == lib.GEN_DIRNAME:
        return "DirName", _name(ffi.cast("X509_NAME *", value))
    if kind[0] == lib.GEN_RID:
        return "Registered ID", _dotted(ffi.cast("ASN1_OBJECT *", value), 0)
    labels = {lib.GEN_EMAIL: "email", lib.GEN_DNS: "DNS", lib.GEN_URI: "URI", lib.GEN_IPADD: "IP Address"}
    label = labels.get(kind[0])
    if label is None:  # as OpenSSL prints it: "othername:UPN:somebody@example.com", "X400Name:<unsupported>"
        bio = _memory_bio()
        lib.GENERAL_NAME_print(bio, ffi.cast("GENERAL_NAME *", general_name))
        printed, _, text = str(_bytes_of(bio), "utf-8", "replace").partition(":")
        return printed, text
    string = ffi.cast("ASN1_STRING *", value)
    data = copied(lib.ASN1_STRING_get0_data(string), lib.ASN1_STRING_length(string))
    if label != "IP Address":
        return label, str(data, "utf-8", "replace")
    if len(data) == 4:
        return label, str(ip_address(data))
    if len(data) == 16:  # the standard library writes all eight groups, upper case, unshortened
        return label, ":".join(f"{data[at] << 8 | data[at + 1]:X}" for at in range(0, 16, 2))
    return label, "<invalid>"


class Certificate:
    """An X.509 certificate (RFC 5280). Equal to another one of the same bytes."""

    def __init__(self, x509: Any) -> None:
        """Takes over an ``X509 *`` of the core. Others use :meth:`from_der` and :meth:`from_pem_all`."""
        self._x509 = ffi.gc(x509, lib.X509_free)

    @classmethod
    def from_der(cls, data: bytes) -> Self:
        """One certificate from its DER. Raises SSLError where it is none, or where bytes follow it."""
        lib.txm_errors_clear()
        start = ffi.from_buffer("unsigned char[]", data)
        at = ffi.new("unsigned char **", start)
        x509 = lib.d2i_X509(NULL, at, len(data))
        if x509 == NULL:
            raise errors.queued(f"not a certificate in DER ({len(data)} bytes)")
        certificate = cls(x509)
        if at[0] - start != len(data):
            raise errors.make(errors.SSLError, 1, f"{len(data) - (at[0] - start)} bytes follow a certificate in DER")
        return certificate

    @classmethod
    def from_pem_all(cls, data: bytes) -> list[Certificate]:
        """Every certificate of a PEM text, in its order; other kinds of blocks are passed over. Raises SSLError where a
        block is damaged or there are more than MAX_CERTIFICATES."""
        return [cls._from_pem(block) for kind, block in pem_blocks(data) if kind.endswith("CERTIFICATE")]

    @classmethod
    def _from_pem(cls, block: bytes) -> Certificate:
        lib.txm_errors_clear()
        bio = lib.BIO_new_mem_buf(ffi.from_buffer(block), len(block))
        if bio == NULL:
            raise MemoryError("no memory for a BIO")
        x509 = lib.PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL)
        lib.BIO_free(bio)
        if x509 == NULL:
            raise errors.queued(f"PEM lib: damaged certificate, starting {block[:64]!r}")
        return cls(x509)

    @cached_property
    def der(self) -> bytes:
        """The certificate in DER."""
        return _der(lib.i2d_X509, self._x509)

    def pem(self) -> bytes:
        """The certificate in PEM, as bytes that end in a newline."""
        from base64 import b64encode

        text = b64encode(self.der)
        lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
        return b"-----BEGIN CERTIFICATE-----\n" + lines + b"\n-----END CERTIFICATE-----\n"

    @cached_property
    def subject(self) -> Name:
        """Whose certificate this is."""
        return _name(lib.X509_get_subject_name(self._x509))

    @cached_property
    def issuer(self) -> Name:
        """Who signed it."""
        return _name(lib.X509_get_issuer_name(self._x509))

    @cached_property
    def subject_der(self) -> bytes:
        """The subject in DER: what an issuer's certificate is found by."""
        return _der(lib.i2d_X509_NAME, lib.X509_get_subject_name(self._x509))

    @cached_property
    def issuer_der(self) -> bytes:
        """The issuer's name in DER."""
        return _der(lib.i2d_X509_NAME, lib.X509_get_issuer_name(self._x509))

    @cached_property
    def subject_alt_names(self) -> tuple[tuple[str, Any], ...]:
        """(kind, value) pairs of RFC 5280 section 4.2.1.6, as in ``getpeercert()["subjectAltName"]``."""
        names = lib.X509_get_ext_d2i(self._x509, lib.NID_subject_alt_name, NULL, NULL)
        if names == NULL:
            return ()
        try:
            return tuple(_general_name(name) for name in _stack(names))
        finally:
            lib.GENERAL_NAMES_free(names)

    @cached_property
    def not_before(self) -> datetime:
        """Valid from, in UTC."""
        return _moment(lib.X509_get0_notBefore(self._x509))

    @cached_property
    def not_after(self) -> datetime:
        """Valid until, in UTC."""
        return _moment(lib.X509_get0_notAfter(self._x509))

    @cached_property
    def serial_number(self) -> int:
        """The issuer's number for it."""
        return int(self._serial_text(), 16)

    def _serial_text(self) -> str:
        bio = _memory_bio()
        lib.i2a_ASN1_INTEGER(bio, lib.X509_get_serialNumber(self._x509))
        return _bytes_of(bio).decode("ascii").replace("\\\n", "")

    def is_issued_by(self, issuer: Certificate) -> bool:
        """True if names and key identifiers say so, and the signature is that key's (X509_check_issued(3))."""
        if lib.X509_check_issued(issuer._x509, self._x509) != lib.X509_V_OK:
            return False
        signed = lib.X509_verify(self._x509, lib.X509_get0_pubkey(issuer._x509)) == 1
        lib.txm_errors_clear()
        return bool(signed)

    @cached_property
    def is_ca(self) -> bool:
        """True if it may sign others (X509_check_ca(3))."""
        return bool(lib.X509_check_ca(self._x509) > 0)

    @cached_property
    def public_key_sha256(self) -> bytes:
        """SHA-256 of its SubjectPublicKeyInfo: the same for every certificate of one key, and for the key."""
        return _sha256(_der(lib.i2d_X509_PUBKEY, lib.X509_get_X509_PUBKEY(self._x509)))

    @cached_property
    def sha256(self) -> bytes:
        """SHA-256 of the DER, which people call the fingerprint."""
        return _sha256(self.der)

    @cached_property
    def signature_digest(self) -> str | None:
        """The hash in its signature as OpenSSL names it ("SHA256"), None for schemes without a separate one."""
        digest = ffi.new("int *")
        if not lib.X509_get_signature_info(self._x509, digest, NULL, NULL, NULL) or digest[0] == lib.NID_undef:
            return None
        return str(ffi.string(lib.OBJ_nid2sn(digest[0])), "ascii")

    def as_dict(self) -> dict[str, Any]:
        """What ``ssl.SSLSocket.getpeercert()`` returns for it."""
        out: dict[str, Any] = {
            "subject": self.subject,
            "issuer": self.issuer,
            "version": lib.X509_get_version(self._x509) + 1,
            "serialNumber": self._serial_text(),
            "notBefore": self._printed(lib.X509_get0_notBefore(self._x509)),
            "notAfter": self._printed(lib.X509_get0_notAfter(self._x509)),
        }
        if self.subject_alt_names:
            out["subjectAltName"] = self.subject_alt_names
        for key, value in (
            ("OCSP", self._authority_uris(lib.NID_ad_OCSP)),
            ("caIssuers", self._authority_uris(lib.NID_ad_ca_issuers)),
            ("crlDistributionPoints", self._crl_uris()),
        ):
            if value:
                out[key] = value
        return out

    @staticmethod
    def _printed(time: Any) -> str:
        bio = _memory_bio()
        lib.ASN1_TIME_print(bio, time)
        return _bytes_of(bio).decode("ascii")

    def _authority_uris(self, method: int) -> tuple[str, ...]:
        access = lib.X509_get_ext_d2i(self._x509, lib.NID_info_access, NULL, NULL)
        if access == NULL:
            return ()
        try:
            entries = [ffi.cast("ACCESS_DESCRIPTION *", entry) for entry in _stack(access)]
            names = [
                _general_name(lib.txm_access_location(entry))
                for entry in entries
                if lib.OBJ_obj2nid(lib.txm_access_method(entry)) == method
            ]
            return tuple(value for kind, value in names if kind == "URI")
        finally:
            lib.AUTHORITY_INFO_ACCESS_free(access)

    def _crl_uris(self) -> tuple[str, ...]:
        points = lib.X509_get_ext_d2i(self._x509, lib.NID_crl_distribution_points, NULL, NULL)
        if points == NULL:
            return ()
        try:
            stacks = [lib.txm_dist_point_names(ffi.cast("DIST_POINT *", point)) for point in _stack(points)]
            names = [_general_name(name) for stack in stacks if stack != NULL for name in _stack(stack)]
            return tuple(value for kind, value in names if kind == "URI")
        finally:
            lib.CRL_DIST_POINTS_free(points)

    def __eq__(self, other: object) -> bool:
        return self.der == other.der if isinstance(other, Certificate) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.der)

    def __repr__(self) -> str:
        name = ", ".join(f"{key}={value}" for part in self.subject for key, value in part)
        return f"<Certificate {name or 'without a subject'}, until {self.not_after:%Y-%m-%d}>"


class PasswordSource:
    """Answers OpenSSL's question for a password, once, and keeps what went wrong."""

    def __init__(self, password: Password | None) -> None:
        if not (password is None or isinstance(password, (str, bytes, bytearray)) or callable(password)):
            raise TypeError("password should be a string or callable")
        self._password = password
        self.asked = False
        self.error: BaseException | None = None

    def password(self) -> bytes | None:
        """The password in UTF-8, None where there is none. Raises TypeError for anything but text or bytes."""
        self.asked = True
        password = self._password() if callable(self._password) else self._password
        if password is None and self._password is None:
            return None
        if isinstance(password, str):
            return password.encode()
        if isinstance(password, (bytes, bytearray)):
            return bytes(password)
        raise TypeError("password callback must return a string")


class PrivateKey:
    """A private key of any kind that OpenSSL knows."""

    def __init__(self, pkey: Any) -> None:
        """Takes over an ``EVP_PKEY *`` of the core. Others use :meth:`from_der` and :meth:`from_pem_all`."""
        self._pkey = ffi.gc(pkey, lib.EVP_PKEY_free)

    @classmethod
    def from_der(cls, data: bytes) -> PrivateKey:
        """One unencrypted key from DER: PKCS #8, or the older form of its kind. Raises SSLError where it is none."""
        lib.txm_errors_clear()
        at = ffi.new("unsigned char **", ffi.from_buffer("unsigned char[]", data))
        pkey = lib.d2i_AutoPrivateKey(NULL, at, len(data))
        if pkey == NULL:
            raise errors.queued(f"not a private key in DER ({len(data)} bytes)")
        return cls(pkey)

    @classmethod
    def from_pem_all(cls, data: bytes, password: Password | None = None) -> list[PrivateKey]:
        """Every key of a PEM text, in its order; other kinds of blocks are passed over. Raises SSLError where a block
        is damaged, or is encrypted and the password is missing or wrong; whatever the password callback raises."""
        return [cls._from_pem(block, password) for kind, block in pem_blocks(data) if kind.endswith("PRIVATE KEY")]

    @classmethod
    def _from_pem(cls, block: bytes, password: Password | None) -> PrivateKey:
        source = PasswordSource(password)
        handle = ffi.new_handle(source)
        lib.txm_errors_clear()
        bio = lib.BIO_new_mem_buf(ffi.from_buffer(block), len(block))
        if bio == NULL:
            raise MemoryError("no memory for a BIO")
        pkey = lib.PEM_read_bio_PrivateKey(bio, NULL, lib.txm_py_password, handle)
        lib.BIO_free(bio)
        if pkey != NULL:
            return cls(pkey)
        if source.error is not None:
            lib.txm_errors_clear()
            raise source.error
        if source.asked:
            given = "no password was given" if password is None else "the password does not fit"
            raise errors.queued(f"the private key is encrypted, and {given}")
        raise errors.queued(f"PEM lib: damaged private key, starting {block[:32]!r}")

    @cached_property
    def public_key_sha256(self) -> bytes:
        """SHA-256 of the public half's SubjectPublicKeyInfo, to find its certificate by."""
        return _sha256(_der(lib.i2d_PUBKEY, self._pkey))

    def pem(self) -> bytes:
        """The key in PEM (PKCS #8), not encrypted."""
        bio = _memory_bio()
        if not lib.PEM_write_bio_PKCS8PrivateKey(bio, self._pkey, NULL, NULL, 0, NULL, NULL):
            lib.BIO_free(bio)
            raise errors.queued("writing a private key")
        return _bytes_of(bio)

    def __repr__(self) -> str:
        return f"<PrivateKey for public key {self.public_key_sha256.hex()[:16]}>"


def pem_blocks(data: bytes) -> list[tuple[str, bytes]]:
    """The (kind, text) blocks of a PEM file (RFC 7468), in order. Raises SSLError beyond MAX_CERTIFICATES of them, and
    for a block that begins and does not end: half a file must not pass for a whole one."""
    blocks = [(match[1].decode("ascii"), match[0] + b"\n") for match in _PEM_BLOCK.finditer(data)]
    if len(blocks) > MAX_CERTIFICATES:
        raise errors.make(
            errors.SSLError, 1, f"a PEM text with {len(blocks)} blocks, expected at most {MAX_CERTIFICATES}"
        )
    begun = data.count(b"-----BEGIN ")
    if begun != len(blocks):
        text = f"PEM lib: {begun} blocks begin and {len(blocks)} end: is it cut short?"
        raise errors.make(errors.SSLError, 1, text)
    return blocks


def _moment(time: Any) -> datetime:
    days, seconds = ffi.new("int *"), ffi.new("int *")
    epoch = ffi.gc(lib.ASN1_TIME_set(NULL, 0), lib.ASN1_TIME_free)
    if not lib.ASN1_TIME_diff(days, seconds, epoch, time):
        raise errors.queued("a certificate's time")
    return _EPOCH + timedelta(days=days[0], seconds=seconds[0])


def _sha256(data: bytes) -> bytes:
    digest = ffi.new("unsigned char[]", 32)
    if not lib.EVP_Digest(ffi.from_buffer(data), len(data), digest, NULL, lib.EVP_sha256(), NULL):
        raise errors.queued("SHA-256")
    return copied(digest)
