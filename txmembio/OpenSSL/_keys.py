"""``OpenSSL.crypto``'s keys and curves."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from txmembio.certificates import PrivateKey
from txmembio.native.x509 import NativeKey, curve_names, has_cipher
from txmembio.OpenSSL._arguments import Raises, need_int

__all__ = [
    "FILETYPE_ASN1",
    "FILETYPE_PEM",
    "FILETYPE_TEXT",
    "TYPE_DH",
    "TYPE_DSA",
    "TYPE_EC",
    "TYPE_RSA",
    "Error",
    "PKey",
    "dump_privatekey",
    "dump_publickey",
    "get_elliptic_curve",
    "get_elliptic_curves",
    "load_privatekey",
    "load_publickey",
]

# OpenSSL's SSL_FILETYPE_ numbers, and one of pyOpenSSL's own.
FILETYPE_PEM = 1
FILETYPE_ASN1 = 2
FILETYPE_TEXT = 2**16 - 1

# OpenSSL's EVP_PKEY_ numbers.
TYPE_RSA = 6
TYPE_DH = 28
TYPE_DSA = 116
TYPE_EC = 408

Passphrase = bytes | Callable[..., bytes]

MOST_PASSPHRASE = 1024
"""Bytes: OpenSSL's PEM_BUFSIZE."""


class Error(Exception):
    """OpenSSL has failed. Its argument is the error queue: a list of (library, function, reason), oldest first."""


Error.__module__ = "OpenSSL.crypto"  # what tracebacks and logs have always said


def as_ascii(buffer: str | bytes) -> bytes:
    """What a PEM text is given as."""
    return buffer.encode("ascii") if isinstance(buffer, str) else bytes(buffer)


def pem(kind: str, der: bytes) -> bytes:
    """PEM (RFC 7468)."""
    text = b64encode(der)
    lines = b"\n".join(text[at : at + 64] for at in range(0, len(text), 64))
    return f"-----BEGIN {kind}-----\n".encode() + lines + f"\n-----END {kind}-----\n".encode()


class PKey:
    """A key, or only its public half."""

    def __init__(self) -> None:
        """One without a key: generate_key() makes it."""
        self._key: NativeKey | None = None

    _foreign: Any = None  # the same as one of cryptography's, once there is one: reading it checks it, which takes long

    @classmethod
    def around(cls, key: NativeKey) -> PKey:
        """One of the core's."""
        self = cls.__new__(cls)
        self._key = key
        return self

    @property
    def native(self) -> NativeKey:
        """It as the core knows it. Raises Error before generate_key()."""
        if self._key is None:
            raise Error([("digital envelope routines", "", "no key set")])
        return self._key

    @property
    def _initialized(self) -> bool:
        return self._key is not None

    @property
    def _only_public(self) -> bool:
        return self._key is not None and self._key.public_only

    def to_cryptography_key(self) -> Any:
        """The same as one of cryptography's."""
        from cryptography.hazmat.primitives import serialization

        if self._foreign is None:
            if self._only_public:
                self._foreign = serialization.load_der_public_key(self.native.public_der)
            else:
                self._foreign = serialization.load_der_private_key(self.native.private_der, None)
        return self._foreign

    @classmethod
    def from_cryptography_key(cls, crypto_key: Any) -> PKey:
        """From one of cryptography's. Raises TypeError for anything but RSA, DSA, EC, Ed25519 and Ed448."""
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import dsa, ec, ed448, ed25519, rsa

        kinds = ((dsa, "DSA"), (ec, "EllipticCurve"), (ed25519, "Ed25519"), (ed448, "Ed448"), (rsa, "RSA"))
        public = tuple(getattr(module, f"{name}PublicKey") for module, name in kinds)
        private = tuple(getattr(module, f"{name}PrivateKey") for module, name in kinds)
        if isinstance(crypto_key, public):
            form = serialization.PublicFormat.SubjectPublicKeyInfo
            made = load_publickey(FILETYPE_ASN1, crypto_key.public_bytes(serialization.Encoding.DER, form))
        elif isinstance(crypto_key, private):
            pkcs8, plain = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            made = load_privatekey(FILETYPE_ASN1, crypto_key.private_bytes(serialization.Encoding.DER, pkcs8, plain))
        else:
            raise TypeError("Unsupported key type")
        made._foreign = crypto_key
        return made

    def generate_key(self, type: int, bits: int) -> None:
        """A new one, TYPE_RSA or TYPE_DSA."""
        from cryptography.hazmat.primitives.asymmetric import dsa, rsa

        need_int("type", type)
        need_int("bits", bits)
        if type not in (TYPE_RSA, TYPE_DSA):
            raise Error("No such key type")
        if bits <= 0:
            raise ValueError("Invalid number of bits")
        try:
            key = rsa.generate_private_key(65537, bits) if type == TYPE_RSA else dsa.generate_private_key(bits)
        except ValueError as problem:  # a size that it finds too small to be of use
            if type == TYPE_DSA:
                raise Error([("dsa routines", "", str(problem))]) from problem
            with Raises(Error):
                self._key, self._foreign = NativeKey.new_rsa(bits), None
        else:
            made = PKey.from_cryptography_key(key)
            self._key, self._foreign = made._key, key

    def check(self) -> bool:
        """True if an RSA key is consistent; raises Error if it is not, TypeError for other kinds."""
        if self._only_public:
            raise TypeError("public key only")
        if self.type() != TYPE_RSA:
            raise TypeError("Only RSA keys can currently be checked.")
        with Raises(Error):
            self.native.check()
        return True

    def type(self) -> int:
        """A TYPE_ constant."""
        return 0 if self._key is None else self._key.kind

    def bits(self) -> int:
        """Its size."""
        return 0 if self._key is None else self._key.bits


def key_to_core(key: Any) -> PrivateKey:
    """What a context is given as a key, as the core takes it."""
    return (key if isinstance(key, PKey) else PKey.from_cryptography_key(key)).native


class _EllipticCurve:
    """A curve, by OpenSSL's short name for it."""

    def __init__(self, name: str) -> None:
        self.name = name

    def __repr__(self) -> str:
        return f"<Curve {self.name!r}>"


_curves: set[_EllipticCurve] = set()


def get_elliptic_curves() -> set[_EllipticCurve]:
    """The curves that this OpenSSL knows: the same objects each time."""
    if not _curves:
        _curves.update(_EllipticCurve(name) for name in curve_names())
    return _curves


def get_elliptic_curve(name: str) -> _EllipticCurve:
    """The one of this name. Raises ValueError for an unknown one."""
    for curve in get_elliptic_curves():
        if curve.name == name:
            return curve
    raise ValueError("unknown curve name", name)


def curve_name(curve: Any) -> str:
    """The name of a curve of ours or of cryptography's, as OpenSSL has it."""
    name = str(curve.name)
    return {"secp192r1": "prime192v1", "secp256r1": "prime256v1"}.get(name, name)


def load_publickey(type: int, buffer: str | bytes) -> PKey:
    """A public key, from FILETYPE_PEM or FILETYPE_ASN1."""
    data = as_ascii(buffer)
    with Raises(Error):
        if type == FILETYPE_PEM:
            return PKey.around(NativeKey.from_public_pem(data))
        if type == FILETYPE_ASN1:
            return PKey.around(NativeKey.from_public_der(data))
    raise ValueError("type argument must be FILETYPE_PEM or FILETYPE_ASN1")


def dump_publickey(type: int, pkey: PKey) -> bytes:
    """The public half, as FILETYPE_PEM or FILETYPE_ASN1."""
    if type not in (FILETYPE_PEM, FILETYPE_ASN1):
        raise ValueError("type argument must be FILETYPE_PEM or FILETYPE_ASN1")
    with Raises(Error):
        der = pkey.native.public_der
    return der if type == FILETYPE_ASN1 else pem("PUBLIC KEY", der)


def _asking(passphrase: Passphrase | None, writing: bool) -> Callable[[], bytes] | None:
    """A passphrase, or a callback for it, as the core asks for one."""
    if passphrase is None:
        return None
    if not (isinstance(passphrase, bytes) or callable(passphrase)):
        raise TypeError("Last argument must be a byte string or a callable.")

    def ask() -> bytes:
        answer = passphrase(writing) if callable(passphrase) else passphrase
        if not isinstance(answer, bytes):
            raise ValueError("Bytes expected")
        if len(answer) > MOST_PASSPHRASE:
            raise ValueError("passphrase returned by callback is too long")
        return answer

    return ask


def load_privatekey(type: int, buffer: str | bytes, passphrase: Passphrase | None = None) -> PKey:
    """A key, from FILETYPE_PEM or FILETYPE_ASN1."""
    data = as_ascii(buffer)
    if type != FILETYPE_PEM and passphrase is not None:
        raise ValueError("only FILETYPE_PEM key format supports encryption")
    asking = _asking(passphrase, False)
    with Raises(Error):
        if type == FILETYPE_PEM:
            return PKey.around(NativeKey.from_private_pem(data, asking))
        if type == FILETYPE_ASN1:
            return PKey.around(NativeKey.from_private_der(data))
    raise ValueError("type argument must be FILETYPE_PEM or FILETYPE_ASN1")


def dump_privatekey(type: int, pkey: PKey, cipher: str | None = None, passphrase: Passphrase | None = None) -> bytes:
    """The key as FILETYPE_PEM, perhaps encrypted, FILETYPE_ASN1 or FILETYPE_TEXT."""
    if not isinstance(pkey, PKey):
        raise TypeError("pkey must be a PKey")
    if cipher is not None:
        if passphrase is None:
            raise TypeError("if a value is given for cipher one must also be given for passphrase")
        if not has_cipher(cipher):
            raise ValueError("Invalid cipher name")
    if type != FILETYPE_PEM and passphrase is not None:
        raise ValueError("only FILETYPE_PEM key format supports encryption")
    asking = _asking(passphrase, True)
    with Raises(Error):
        if type == FILETYPE_PEM:
            if cipher is not None and asking is not None:
                return pkey.native.encrypted_pem(cipher, asking())
            return pkey.native.pem()
        if type == FILETYPE_ASN1:
            return pkey.native.private_der
        if type == FILETYPE_TEXT:
            if pkey.type() != TYPE_RSA:
                raise TypeError("Only RSA keys are supported for FILETYPE_TEXT")
            return pkey.native.text()
    raise ValueError("type argument must be FILETYPE_PEM, FILETYPE_ASN1, or FILETYPE_TEXT")
