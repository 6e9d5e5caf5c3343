"""Certificates, certificate requests and names that can be changed, as OpenSSL's own objects can."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import Any
from weakref import WeakSet

from txmembio._openssl.lib import NULL, copied, ffi, lib
from txmembio.certificates import Certificate, Password, PasswordSource, PrivateKey
from txmembio.native.errors import NativeError, check, fail

__all__ = [
    "NativeCertificate",
    "NativeExtension",
    "NativeKey",
    "NativeName",
    "NativeRequest",
    "curve_names",
    "has_cipher",
    "has_digest",
    "object_number",
]


def object_number(text: str) -> int:
    """The number OpenSSL has for an object by its short name, long name or dotted form; 0 for none."""
    number = int(lib.OBJ_txt2nid(text.encode("utf-8", "replace")))
    lib.txm_errors_clear()
    return number


def curve_names() -> list[str]:
    """The elliptic curves that this OpenSSL knows, by their short names."""
    count = lib.EC_get_builtin_curves(NULL, 0)
    curves = ffi.new("EC_builtin_curve[]", count)
    lib.EC_get_builtin_curves(curves, count)
    return [ffi.string(lib.OBJ_nid2sn(curve.nid)).decode() for curve in curves]


def has_digest(name: str) -> bool:
    """Whether OpenSSL knows a digest of this name."""
    return bool(_digest(name) != NULL)


def _digest(name: str) -> Any:
    return lib.EVP_get_digestbyname(name.encode("ascii", "replace"))


def _gc(made: Any, free: Any) -> Any:
    if made == NULL:
        fail()
    return ffi.gc(made, free)


def _encoded(encode: Any, thing: Any) -> bytes:
    """What one of OpenSSL's i2d_ functions writes for `thing`."""
    lib.txm_errors_clear()
    out = ffi.new("unsigned char **")
    length = encode(thing, out)
    if length < 0:
        fail()
    try:
        return copied(out[0], length)
    finally:
        lib.OPENSSL_free(out[0])


def _decoded(decode: Any, data: bytes) -> Any:
    """What one of OpenSSL's d2i_ functions reads from `data`, NULL for nothing."""
    lib.txm_errors_clear()
    return decode(NULL, ffi.new("unsigned char **", ffi.from_buffer("unsigned char[]", data)), len(data))


def _printed(write: Any, *what: Any) -> bytes:
    """What one of OpenSSL's printing functions writes into a BIO."""
    lib.txm_errors_clear()
    bio = _gc(lib.BIO_new(lib.BIO_s_mem()), lib.BIO_free)
    if not write(bio, *what):
        fail()
    length = lib.BIO_ctrl_pending(bio)
    out = ffi.new("char[]", length or 1)
    return copied(out, max(lib.BIO_read(bio, out, length), 0))


def _read(read: Any, data: bytes, password: Any = NULL, handle: Any = NULL) -> Any:
    """What one of OpenSSL's PEM_read_bio_ functions finds in `data`, NULL for nothing."""
    lib.txm_errors_clear()
    bio = _gc(lib.BIO_new_mem_buf(ffi.from_buffer(data), len(data)), lib.BIO_free)
    return read(bio, NULL, password, handle)


def has_cipher(name: str) -> bool:
    """Whether OpenSSL knows a cipher of this name."""
    return bool(lib.EVP_get_cipherbyname(name.encode("ascii", "replace")) != NULL)


class NativeName:
    """A distinguished name (X509_NAME_new(3))."""

    def __init__(self, name: Any) -> None:
        """Takes over an ``X509_NAME *`` of this package. Others use :meth:`from_der`, or get theirs elsewhere."""
        owned = _gc(name, lib.X509_NAME_free)
        self._find: Callable[[], Any] | None = lambda: owned

    @classmethod
    def within(cls, find: Callable[[Any], Any], keeper: Any) -> NativeName:
        """The name that `find` finds in one of OpenSSL's objects: changing it changes that. It is looked for each time,
        because OpenSSL frees the old one where the object, which others may share, is given another."""
        self = cls.__new__(cls)
        self._find = lambda: find(keeper)
        return self

    def invalidate(self) -> None:
        """To be called when the object that it was part of has another one: whatever is done with it raises
        AttributeError from now on."""
        self._find = None

    @property
    def _name(self) -> Any:
        if self._find is None:
            raise AttributeError("this name was replaced by another one in its certificate")
        return self._find()

    @classmethod
    def from_der(cls, data: bytes) -> NativeName:
        """From its DER. Raises NativeError for anything else."""
        return cls(_decoded(lib.d2i_X509_NAME, data))

    def copy(self) -> NativeName:
        """Another one that says the same."""
        return NativeName(lib.X509_NAME_dup(self._name))

    def release(self) -> Any:
        """The ``X509_NAME *``, for somebody who frees it. This object is of no more use then."""
        name = self._name
        ffi.gc(name, None)
        self._find = None
        return name

    def get(self, number: int) -> str | None:
        """The first value of this attribute, None for none."""
        at = lib.X509_NAME_get_index_by_NID(self._name, number, -1)
        if at < 0:
            return None
        out = ffi.new("unsigned char **")
        length = lib.ASN1_STRING_to_UTF8(out, lib.X509_NAME_ENTRY_get_data(lib.X509_NAME_get_entry(self._name, at)))
        if length < 0:
            fail()
        try:
            return copied(out[0], length).decode("utf-8")
        finally:
            lib.OPENSSL_free(out[0])

    def set(self, number: int, value: bytes) -> None:
        """Puts this attribute at the end, instead of the first one of its kind. Raises NativeError for a value that it
        cannot have."""
        at = lib.X509_NAME_get_index_by_NID(self._name, number, -1)
        if at >= 0:
            lib.X509_NAME_ENTRY_free(lib.X509_NAME_delete_entry(self._name, at))
        check(lib.X509_NAME_add_entry_by_NID, self._name, number, lib.MBSTRING_UTF8, value, len(value), -1, 0)

    def components(self) -> list[tuple[bytes, bytes]]:
        """(short name, value) pairs, values as they are encoded."""
        found = []
        for at in range(lib.X509_NAME_entry_count(self._name)):
            entry = lib.X509_NAME_get_entry(self._name, at)
            value = lib.X509_NAME_ENTRY_get_data(entry)
            short = ffi.string(lib.OBJ_nid2sn(lib.OBJ_obj2nid(lib.X509_NAME_ENTRY_get_object(entry))))
            data = copied(lib.ASN1_STRING_get0_data(value), lib.ASN1_STRING_length(value))
            found.append((bytes(short), data))
        return found

    def oneline(self, room: int = 512) -> bytes:
        """OpenSSL's old notation, "/C=DE/CN=example" (X509_NAME_oneline(3)): what fits into `room` - 1 bytes."""
        out = ffi.new("char[]", room)
        if lib.X509_NAME_oneline(self._name, out, room) == NULL:
            fail()
        return bytes(ffi.string(out))

    @property
    def hash(self) -> int:
        """What ``openssl rehash`` names files by."""
        return int(lib.X509_NAME_hash_ex(self._name, NULL, NULL, NULL))

    @property
    def der(self) -> bytes:
        """The name in DER."""
        return _encoded(lib.i2d_X509_NAME, self._name)

    def compare(self, other: NativeName) -> int:
        """Below, equal to, or above 0, in OpenSSL's order (X509_NAME_cmp(3))."""
        return int(lib.X509_NAME_cmp(self._name, other._name))


def _invalidate(names: WeakSet[NativeName]) -> None:
    for name in list(names):
        name.invalidate()
    names.clear()


class NativeKey(PrivateKey):
    """A key of which perhaps only the public half is there."""

    public_only = False

    @classmethod
    def of(cls, key: PrivateKey) -> NativeKey:
        """The same key as a NativeKey."""
        lib.EVP_PKEY_up_ref(key._pkey)
        return cls(key._pkey)

    @classmethod
    def _public(cls, pkey: Any) -> NativeKey:
        if pkey == NULL:
            fail()
        key = cls(pkey)
        key.public_only = True
        return key

    @classmethod
    def from_public_der(cls, data: bytes) -> NativeKey:
        """From a SubjectPublicKeyInfo. Raises NativeError for anything else."""
        return cls._public(_decoded(lib.d2i_PUBKEY, data))

    @classmethod
    def from_public_pem(cls, data: bytes) -> NativeKey:
        """From "PUBLIC KEY" in PEM. Raises NativeError for anything else."""
        return cls._public(_read(lib.PEM_read_bio_PUBKEY, data))

    @classmethod
    def _private(cls, pkey: Any) -> NativeKey:
        if pkey == NULL:
            fail()
        return cls(pkey)

    @classmethod
    def from_private_der(cls, data: bytes) -> NativeKey:
        """From PKCS #8 or the older form of its kind. Raises NativeError for anything else."""
        return cls._private(_decoded(lib.d2i_AutoPrivateKey, data))

    @classmethod
    def from_private_pem(cls, data: bytes, password: Password | None = None) -> NativeKey:
        """The first key in a PEM text. Raises NativeError where there is none or the password is wrong or missing;
        whatever the password callback raises."""
        source = PasswordSource(password)
        handle = ffi.new_handle(source)
        pkey = _read(lib.PEM_read_bio_PrivateKey, data, lib.txm_py_password, handle)
        if pkey == NULL and source.error is not None:
            lib.txm_errors_clear()
            raise source.error
        return cls._private(pkey)

    @classmethod
    def new_rsa(cls, bits: int) -> NativeKey:
        """A new RSA key. Raises NativeError for a size that OpenSSL will not make."""
        lib.txm_errors_clear()
        return cls._private(lib.EVP_PKEY_Q_keygen(NULL, NULL, b"RSA", ffi.cast("size_t", bits)))

    @property
    def kind(self) -> int:
        """Its type by OpenSSL's number for it: 6 is RSA (EVP_PKEY_get_base_id(3))."""
        return int(lib.EVP_PKEY_get_base_id(self._pkey))

    @property
    def bits(self) -> int:
        """Its size."""
        return int(lib.EVP_PKEY_get_bits(self._pkey))

    @property
    def public_der(self) -> bytes:
        """The public half's SubjectPublicKeyInfo."""
        return _encoded(lib.i2d_PUBKEY, self._pkey)

    @property
    def private_der(self) -> bytes:
        """The key in its kind's older form (i2d_PrivateKey(3))."""
        return _encoded(lib.i2d_PrivateKey, self._pkey)

    def check(self) -> None:
        """Raises NativeError unless its numbers belong together (EVP_PKEY_check(3))."""
        check(lib.EVP_PKEY_check, _gc(lib.EVP_PKEY_CTX_new(self._pkey, NULL), lib.EVP_PKEY_CTX_free))

    def pem(self) -> bytes:
        """The key in PEM (PKCS #8), not encrypted. Raises NativeError where only the public half is there."""
        return _printed(lib.PEM_write_bio_PKCS8PrivateKey, self._pkey, NULL, NULL, 0, NULL, NULL)

    def encrypted_pem(self, cipher: str, password: bytes) -> bytes:
        """The key in PEM (PKCS #8), encrypted with the cipher of that name."""
        kind = lib.EVP_get_cipherbyname(cipher.encode())
        return _printed(lib.PEM_write_bio_PKCS8PrivateKey, self._pkey, kind, password, len(password), NULL, NULL)

    def text(self) -> bytes:
        """It in words, all of it."""
        return _printed(lib.EVP_PKEY_print_private, self._pkey, 0, NULL)


class NativeExtension:
    """An extension of a certificate or request (RFC 5280 section 4.2)."""

    def __init__(self, extension: Any) -> None:
        """Takes over an ``X509_EXTENSION *`` of this package. Others use :meth:`from_words`."""
        self._extension = _gc(extension, lib.X509_EXTENSION_free)

    @classmethod
    def from_words(
        cls,
        name: bytes,
        critical: bool,
        value: bytes,
        subject: NativeCertificate | None = None,
        issuer: NativeCertificate | None = None,
    ) -> NativeExtension:
        """As x509v3_config(5) writes it: b"basicConstraints", True, b"CA:TRUE". Subject and issuer are what "hash" and
        "keyid" refer to. Raises NativeError for what OpenSSL cannot read."""
        context = ffi.new("X509V3_CTX *")
        lib.txm_errors_clear()
        x509 = [NULL if certificate is None else certificate._x509 for certificate in (issuer, subject)]
        lib.X509V3_set_ctx(context, *x509, NULL, NULL, 0)
        return cls(lib.X509V3_EXT_nconf(NULL, context, name, b"critical," + value if critical else value))

    @property
    def short_name(self) -> bytes:
        """OpenSSL's name for its kind, "UNDEF" where it has none."""
        return bytes(ffi.string(lib.OBJ_nid2sn(lib.OBJ_obj2nid(lib.X509_EXTENSION_get_object(self._extension)))))

    @property
    def critical(self) -> bool:
        """Whether whoever does not know it must refuse."""
        return bool(lib.X509_EXTENSION_get_critical(self._extension))

    @property
    def data(self) -> bytes:
        """Its value in DER."""
        string = ffi.cast("ASN1_STRING *", lib.X509_EXTENSION_get_data(self._extension))
        return copied(lib.ASN1_STRING_get0_data(string), lib.ASN1_STRING_length(string))

    def text(self) -> str:
        """Its value in words."""
        return _printed(lib.X509V3_EXT_print, self._extension, 0, 0).decode("utf-8", "replace")


class NativeCertificate:
    """A certificate under construction, or one that is there (X509_new(3))."""

    def __init__(self) -> None:
        self._x509 = _gc(lib.X509_new(), lib.X509_free)

    @classmethod
    def of(cls, certificate: Certificate) -> NativeCertificate:
        """The same certificate: not a copy."""
        self = cls.__new__(cls)
        lib.X509_up_ref(certificate._x509)
        self._x509 = ffi.gc(certificate._x509, lib.X509_free)
        return self

    @classmethod
    def from_der(cls, data: bytes) -> NativeCertificate:
        """From its DER. Raises NativeError for anything else."""
        return cls._owning(_decoded(lib.d2i_X509, data))

    @classmethod
    def from_pem(cls, data: bytes) -> NativeCertificate:
        """The first certificate in a PEM text. Raises NativeError where there is none."""
        return cls._owning(_read(lib.PEM_read_bio_X509, data))

    @classmethod
    def _owning(cls, x509: Any) -> NativeCertificate:
        self = cls.__new__(cls)
        self._x509 = _gc(x509, lib.X509_free)
        return self

    @property
    def certificate(self) -> Certificate:
        """It as the rest of the core takes it: not a copy, so only for what is finished."""
        lib.X509_up_ref(self._x509)
        return Certificate(self._x509)

    @property
    def der(self) -> bytes:
        """The certificate in DER. Raises NativeError before it is signed."""
        return _encoded(lib.i2d_X509, self._x509)

    @property
    def version(self) -> int:
        """0 is version 1."""
        return int(lib.X509_get_version(self._x509))

    @version.setter
    def version(self, value: int) -> None:
        check(lib.X509_set_version, self._x509, value)

    @property
    def serial_number(self) -> int:
        """The issuer's number for it."""
        return self.certificate.serial_number

    @serial_number.setter
    def serial_number(self, value: int) -> None:
        length = value.bit_length() // 8 + 1  # two's complement, as DER has it
        if length > 127:
            raise NativeError([("asn1 encoding routines", "", "too large")])
        data = bytes([2, length]) + value.to_bytes(length, "big", signed=True)
        number = _gc(_decoded(lib.d2i_ASN1_INTEGER, data), lib.ASN1_INTEGER_free)
        check(lib.X509_set_serialNumber, self._x509, number)

    @property
    def subject(self) -> NativeName:
        """Whose it is. Changing it changes the certificate; once that is given another, it is of no more use."""
        name = NativeName.within(lib.X509_get_subject_name, self._x509)
        self._subjects.add(name)
        return name

    @subject.setter
    def subject(self, name: NativeName) -> None:
        check(lib.X509_set_subject_name, self._x509, name._name)
        _invalidate(self._subjects)

    @cached_property
    def _subjects(self) -> WeakSet[NativeName]:
        return WeakSet()

    @property
    def issuer(self) -> NativeName:
        """Who signs it. Changing it changes the certificate; once that is given another, it is of no more use."""
        name = NativeName.within(lib.X509_get_issuer_name, self._x509)
        self._issuers.add(name)
        return name

    @issuer.setter
    def issuer(self, name: NativeName) -> None:
        check(lib.X509_set_issuer_name, self._x509, name._name)
        _invalidate(self._issuers)

    @cached_property
    def _issuers(self) -> WeakSet[NativeName]:
        return WeakSet()

    @property
    def public_key(self) -> NativeKey:
        """Whom it is about."""
        lib.txm_errors_clear()
        return NativeKey._public(lib.X509_get_pubkey(self._x509))

    @public_key.setter
    def public_key(self, key: PrivateKey) -> None:
        check(lib.X509_set_pubkey, self._x509, key._pkey)

    def _time(self, end: bool) -> Any:
        return (lib.X509_getm_notAfter if end else lib.X509_getm_notBefore)(self._x509)

    def time(self, end: bool) -> bytes | None:
        """From when, or until when, it is valid: b"20260816010108Z". None where that is not set."""
        time = self._time(end)
        if not lib.ASN1_STRING_length(ffi.cast("ASN1_STRING *", time)):
            return None
        lib.txm_errors_clear()
        long = ffi.cast("ASN1_STRING *", lib.ASN1_TIME_to_generalizedtime(time, NULL))
        if long == NULL:
            fail()
        text = copied(lib.ASN1_STRING_get0_data(long), lib.ASN1_STRING_length(long))
        lib.ASN1_TIME_free(ffi.cast("ASN1_TIME *", long))
        return text

    def set_time(self, end: bool, when: bytes) -> None:
        """The same notation; raises ValueError for any other."""
        set_it = b"\0" not in when and lib.ASN1_TIME_set_string(self._time(end), when)
        lib.txm_errors_clear()
        if not set_it:
            raise ValueError("Invalid string")

    def set_time_from_now(self, end: bool, seconds: int) -> None:
        """Seconds from now."""
        lib.X509_gmtime_adj(self._time(end), seconds)

    def sign(self, key: PrivateKey, digest: str) -> None:
        """Signs it, with the digest of that name."""
        check(lib.X509_sign, self._x509, key._pkey, _digest(digest))

    def digest(self, name: str) -> bytes:
        """The digest of that name over its DER."""
        out, size = ffi.new("unsigned char[64]"), ffi.new("unsigned int *")
        check(lib.X509_digest, self._x509, _digest(name), out, size)
        return copied(out, size[0])

    @property
    def signature_algorithm(self) -> bytes | None:
        """The algorithm's long name, b"sha256WithRSAEncryption"; None for one that OpenSSL does not know."""
        number = lib.X509_get_signature_nid(self._x509)
        return None if number == lib.NID_undef else bytes(ffi.string(lib.OBJ_nid2ln(number)))

    @property
    def subject_hash(self) -> int:
        """What ``openssl rehash`` names it by."""
        return int(lib.X509_subject_name_hash(self._x509))

    @property
    def extension_count(self) -> int:
        """How many extensions it has."""
        return int(lib.X509_get_ext_count(self._x509))

    def extension(self, at: int) -> NativeExtension | None:
        """One of them, None beyond the last."""
        found = lib.X509_get_ext(self._x509, at)
        return None if found == NULL else NativeExtension(lib.X509_EXTENSION_dup(found))

    def add_extension(self, extension: NativeExtension) -> None:
        """Appends one."""
        check(lib.X509_add_ext, self._x509, extension._extension, -1)

    def text(self) -> bytes:
        """It in words, as ``openssl x509 -text`` prints it."""
        return _printed(lib.X509_print, self._x509)


class NativeRequest:
    """A certificate signing request (PKCS #10, RFC 2986)."""

    def __init__(self, request: Any = None) -> None:
        """A new one, or an ``X509_REQ *`` of this package that it takes over."""
        self._request = _gc(lib.X509_REQ_new() if request is None else request, lib.X509_REQ_free)

    @classmethod
    def from_der(cls, data: bytes) -> NativeRequest:
        """From its DER. Raises NativeError for anything else."""
        return cls(_decoded(lib.d2i_X509_REQ, data))

    @classmethod
    def from_pem(cls, data: bytes) -> NativeRequest:
        """The first request in a PEM text. Raises NativeError where there is none."""
        return cls(_read(lib.PEM_read_bio_X509_REQ, data))

    @property
    def der(self) -> bytes:
        """It in DER. Raises NativeError before it is signed."""
        return _encoded(lib.i2d_X509_REQ, self._request)

    @property
    def version(self) -> int:
        """0, the only one there is."""
        return int(lib.X509_REQ_get_version(self._request))

    @version.setter
    def version(self, value: int) -> None:
        check(lib.X509_REQ_set_version, self._request, value)

    @property
    def subject(self) -> NativeName:
        """Who asks. Changing the name changes the request."""
        return NativeName.within(lib.X509_REQ_get_subject_name, self._request)

    @property
    def public_key(self) -> NativeKey:
        """Whom it is about."""
        lib.txm_errors_clear()
        return NativeKey._public(lib.X509_REQ_get_pubkey(self._request))

    @public_key.setter
    def public_key(self, key: PrivateKey) -> None:
        check(lib.X509_REQ_set_pubkey, self._request, key._pkey)

    def sign(self, key: PrivateKey, digest: str) -> None:
        """Signs it, with the digest of that name."""
        check(lib.X509_REQ_sign, self._request, key._pkey, _digest(digest))

    def verify(self, key: PrivateKey) -> None:
        """Raises NativeError unless this key's owner has signed it."""
        check(lib.X509_REQ_verify, self._request, key._pkey)

    def add_extensions(self, extensions: list[NativeExtension]) -> None:
        """Asks for these to be in the certificate."""
        stack = _gc(lib.OPENSSL_sk_new_null(), lib.OPENSSL_sk_free)
        for extension in extensions:
            lib.OPENSSL_sk_push(stack, extension._extension)
        check(lib.X509_REQ_add_extensions, self._request, stack)

    def extensions(self) -> list[NativeExtension]:
        """What was asked for."""
        stack = lib.X509_REQ_get_extensions(self._request)
        if stack == NULL:
            return []
        owned = [
            NativeExtension(ffi.cast("X509_EXTENSION *", lib.OPENSSL_sk_value(stack, at)))
            for at in range(lib.OPENSSL_sk_num(stack))
        ]
        lib.OPENSSL_sk_free(stack)
        return owned

    def text(self) -> bytes:
        """It in words."""
        return _printed(lib.X509_REQ_print, self._request)
