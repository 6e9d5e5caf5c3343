"""What a side of TLS is to be like, in the words of PEP 748: nothing here knows OpenSSL.

All objects are immutable, equal to others of the same contents, and hashable. Nothing is read and nothing is looked
into before a context is made of a configuration.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from enum import Enum, IntEnum
from typing import Any, TypeVar

__all__ = [
    "DEFAULT_CIPHER_LIST",
    "Certificate",
    "CipherSuite",
    "NextProtocol",
    "PrivateKey",
    "SigningChain",
    "TLSClientConfiguration",
    "TLSServerConfiguration",
    "TLSVersion",
    "TrustStore",
]

_T = TypeVar("_T")
_S = TypeVar("_S", bound="_Source")

Path = str | os.PathLike[str]


class CipherSuite(IntEnum):
    """Cipher suites by their number on the wire, under IANA's names. Where one can be given, another number can be."""

    TLS_AES_128_GCM_SHA256 = 0x1301
    TLS_AES_256_GCM_SHA384 = 0x1302
    TLS_CHACHA20_POLY1305_SHA256 = 0x1303
    TLS_AES_128_CCM_SHA256 = 0x1304
    TLS_AES_128_CCM_8_SHA256 = 0x1305
    TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256 = 0xC02B
    TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384 = 0xC02C
    TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256 = 0xC02F
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384 = 0xC030
    TLS_ECDHE_ECDSA_WITH_AES_128_CCM = 0xC0AC
    TLS_ECDHE_ECDSA_WITH_AES_256_CCM = 0xC0AD
    TLS_ECDHE_ECDSA_WITH_AES_128_CCM_8 = 0xC0AE
    TLS_ECDHE_ECDSA_WITH_AES_256_CCM_8 = 0xC0AF
    TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256 = 0xCCA8
    TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256 = 0xCCA9


DEFAULT_CIPHER_LIST: tuple[CipherSuite, ...] = tuple(
    suite for suite in CipherSuite if suite <= CipherSuite.TLS_AES_128_CCM_8_SHA256 or "CCM" not in suite.name
)
"""The PEP's own: the five of TLS 1.3, and those of TLS 1.2 with AES-GCM or ChaCha20-Poly1305. A configuration without
``ciphers`` does not mean this list, but what :func:`txmembio.create_default_context` chooses: it heeds the system's
policy."""


class NextProtocol(Enum):
    """Well-known protocols of the application layer (RFC 7301). Where one can be given, other bytes can be."""

    H2 = b"h2"
    H2C = b"h2c"
    HTTP1 = b"http/1.1"
    WEBRTC = b"webrtc"
    C_WEBRTC = b"c-webrtc"
    FTP = b"ftp"
    STUN = b"stun.nat-discovery"
    TURN = b"stun.turn"


class TLSVersion(Enum):
    """Protocol versions, and two that mean the lowest and the highest one that there is."""

    MINIMUM_SUPPORTED = "MINIMUM_SUPPORTED"
    TLSv1_2 = "TLSv1.2"
    TLSv1_3 = "TLSv1.3"
    MAXIMUM_SUPPORTED = "MAXIMUM_SUPPORTED"


class _Value:
    """Equal to others of the same class and contents, and hashable: what `_contents()` returns decides."""

    __slots__ = ()

    def _contents(self) -> tuple[object, ...]:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Value) or type(other) is not type(self):
            return NotImplemented
        return self._contents() == other._contents()

    def __hash__(self) -> int:
        return hash((type(self), self._contents()))


class _Source(_Value):
    """Where something comes from: bytes, a file, or an identifier that means something to an implementation."""

    # The PEP's names: an implementation has no others to ask.
    __slots__ = ("_buffer", "_id", "_path")

    _may_be_empty = False

    def __init__(self, buffer: bytes | None = None, path: Path | None = None, id: bytes | None = None) -> None:
        """Raises ValueError unless exactly one of them is given, TypeError for one that is of the wrong type."""
        name = type(self).__name__
        given = [key for key, value in (("buffer", buffer), ("path", path), ("id", id)) if value is not None]
        if len(given) > 1 or not (given or self._may_be_empty):
            raise ValueError(f"{name} has {' and '.join(given) or 'none'}, expected one of buffer, path and id")
        self._buffer = _bytes(buffer, f"{name}'s buffer")
        self._path = None if path is None else os.fsdecode(path)
        self._id = _bytes(id, f"{name}'s id")

    @classmethod
    def from_buffer(cls: type[_S], buffer: bytes) -> _S:
        """From bytes in memory: PEM, or DER where they hold no PEM."""
        return cls(buffer=buffer)

    @classmethod
    def from_file(cls: type[_S], path: Path) -> _S:
        """From a file with such bytes in it. It is read when a context is made."""
        return cls(path=path)

    @classmethod
    def from_id(cls: type[_S], id: bytes) -> _S:
        """By an identifier for another implementation: this one has no store to look it up in, and its contexts raise
        ConfigurationError."""
        return cls(id=id)

    def _contents(self) -> tuple[object, ...]:
        return self._buffer, self._path, self._id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.describe()}>"

    def describe(self) -> str:
        """Where it comes from, in words; never what is in it."""
        if self._buffer is not None:
            return f"from a buffer of {len(self._buffer)} bytes"
        if self._path is not None:
            return f"from the file {self._path!r}"
        return f"with the id {self._id!r}"


class Certificate(_Source):
    """A certificate: where it comes from. A file or buffer for a leaf may hold its intermediates behind it, too."""

    __slots__ = ()


class PrivateKey(_Source):
    """A certificate's private key: where it comes from. Not encrypted: the PEP has no passwords."""

    __slots__ = ()


class TrustStore(_Source):
    """Whom to trust: a number of certificates in PEM, or, made without arguments, the platform's roots."""

    __slots__ = ()

    _may_be_empty = True

    @classmethod
    def system(cls) -> TrustStore:
        """The platform's roots, found as :meth:`txmembio.SSLContext.load_default_certs` finds them."""
        return cls()

    def describe(self) -> str:
        return "of the system" if self._contents() == (None, None, None) else super().describe()


class SigningChain(_Value):
    """What a side shows to prove who it is: a certificate with its private key, and the intermediates behind it."""

    __slots__ = ("_chain", "_leaf")

    def __init__(self, leaf: tuple[Certificate, PrivateKey | None], chain: Sequence[Certificate] | None = None) -> None:
        """`leaf` is the certificate and its key, or None in the key's place where the key stands beside the
        certificate. Raises TypeError for anything else."""
        if not isinstance(leaf, tuple) or len(leaf) != 2:
            raise TypeError(f"leaf is {leaf!r}, expected a pair of a Certificate and a PrivateKey or None")
        self._leaf = (_instance(leaf[0], Certificate, "leaf[0]"), _optional(leaf[1], PrivateKey, "leaf[1]"))
        self._chain = _all(chain or (), Certificate, "chain")

    @property
    def leaf(self) -> tuple[Certificate, PrivateKey | None]:
        """The certificate and its private key."""
        return self._leaf

    @property
    def chain(self) -> list[Certificate]:
        """The intermediates, each followed by its issuer. A new list each time."""
        return list(self._chain)

    def _contents(self) -> tuple[object, ...]:
        return self._leaf, self._chain

    def __repr__(self) -> str:
        certificate, key = self._leaf
        key_words = "a key beside it" if key is None else f"a key {key.describe()}"
        return f"<SigningChain {certificate.describe()}, with {key_words} and {len(self._chain)} more certificates>"


class _Configuration(_Value):
    """What both sides' configurations have in common."""

    __slots__ = (
        "_ciphers",
        "_highest_supported_version",
        "_inner_protocols",
        "_lowest_supported_version",
        "_trust_store",
    )

    def __init__(
        self,
        ciphers: Sequence[CipherSuite | int] | None,
        inner_protocols: Sequence[NextProtocol | bytes] | None,
        lowest_supported_version: TLSVersion | None,
        highest_supported_version: TLSVersion | None,
        trust_store: TrustStore | None,
    ) -> None:
        self._ciphers = None if ciphers is None else _tuple(ciphers, "ciphers")
        self._inner_protocols = _tuple(inner_protocols or (), "inner_protocols")
        self._lowest_supported_version = _optional(lowest_supported_version, TLSVersion, "lowest_supported_version")
        self._highest_supported_version = _optional(highest_supported_version, TLSVersion, "highest_supported_version")
        self._trust_store = _optional(trust_store, TrustStore, "trust_store")

    @property
    def ciphers(self) -> Sequence[CipherSuite | int] | None:
        """Cipher suites in order of preference. None: those that :func:`txmembio.create_default_context` chooses."""
        return self._ciphers

    @property
    def inner_protocols(self) -> Sequence[NextProtocol | bytes]:
        """What a client offers and a server picks from by ALPN, in order of preference."""
        return self._inner_protocols

    @property
    def lowest_supported_version(self) -> TLSVersion | None:
        """None: TLS 1.2, or what the system's policy says."""
        return self._lowest_supported_version

    @property
    def highest_supported_version(self) -> TLSVersion | None:
        """None: the highest there is."""
        return self._highest_supported_version

    @property
    def trust_store(self) -> TrustStore | None:
        """Whom to trust. None: a client trusts the platform's roots, a server asks for no client certificate."""
        return self._trust_store

    def _contents(self) -> tuple[object, ...]:
        return (
            self._ciphers,
            self._inner_protocols,
            self._lowest_supported_version,
            self._highest_supported_version,
            self._trust_store,
        )

    def __repr__(self) -> str:
        names = [name for name in vars(type(self)) if isinstance(getattr(type(self), name), property)]
        names += [name for name in vars(_Configuration) if isinstance(getattr(_Configuration, name), property)]
        given = [f"{name}={value!r}" for name in names if (value := getattr(self, name)) not in (None, ())]
        return f"{type(self).__name__}({', '.join(given)})"


class TLSClientConfiguration(_Configuration):
    """What a client is to be like. Raises TypeError, naming the field, for a value of the wrong type."""

    __slots__ = ("_certificate_chain",)

    def __init__(
        self,
        certificate_chain: SigningChain | None = None,
        ciphers: Sequence[CipherSuite | int] | None = None,
        inner_protocols: Sequence[NextProtocol | bytes] | None = None,
        lowest_supported_version: TLSVersion | None = None,
        highest_supported_version: TLSVersion | None = None,
        trust_store: TrustStore | None = None,
    ) -> None:
        super().__init__(ciphers, inner_protocols, lowest_supported_version, highest_supported_version, trust_store)
        self._certificate_chain = _optional(certificate_chain, SigningChain, "certificate_chain")

    @property
    def certificate_chain(self) -> SigningChain | None:
        """What the client shows to a server that asks."""
        return self._certificate_chain

    def _contents(self) -> tuple[object, ...]:
        return self._certificate_chain, *super()._contents()


class TLSServerConfiguration(_Configuration):
    """What a server is to be like. Raises TypeError, naming the field, for a value of the wrong type."""

    __slots__ = ("_certificate_chain",)

    def __init__(
        self,
        certificate_chain: Sequence[SigningChain] | None = None,
        ciphers: Sequence[CipherSuite | int] | None = None,
        inner_protocols: Sequence[NextProtocol | bytes] | None = None,
        lowest_supported_version: TLSVersion | None = None,
        highest_supported_version: TLSVersion | None = None,
        trust_store: TrustStore | None = None,
    ) -> None:
        super().__init__(ciphers, inner_protocols, lowest_supported_version, highest_supported_version, trust_store)
        chains = certificate_chain
        self._certificate_chain = None if chains is None else _all(chains, SigningChain, "certificate_chain")

    @property
    def certificate_chain(self) -> Sequence[SigningChain] | None:
        """What the server shows: of several chains the one for the name that the client asks for."""
        return self._certificate_chain

    def _contents(self) -> tuple[object, ...]:
        return self._certificate_chain, *super()._contents()


def _bytes(value: Any, what: str) -> bytes | None:
    if value is None or type(value) is bytes:
        return value
    try:
        return bytes(memoryview(value))
    except TypeError:
        raise TypeError(f"{what} is a {type(value).__name__}, expected bytes") from None


def _instance(value: object, kind: type[_T], what: str) -> _T:
    if not isinstance(value, kind):
        raise TypeError(f"{what} is {value!r}, expected a {kind.__name__}")
    return value


def _optional(value: object, kind: type[_T], what: str) -> _T | None:
    if value is not None and not isinstance(value, kind):
        raise TypeError(f"{what} is {value!r}, expected a {kind.__name__} or None")
    return value


def _tuple(value: Iterable[_T], what: str) -> tuple[_T, ...]:
    if isinstance(value, (str, bytes)) or not isinstance(value, Iterable):
        raise TypeError(f"{what} is {value!r}, expected a sequence")
    return tuple(value)


def _all(value: Iterable[object], kind: type[_T], what: str) -> tuple[_T, ...]:
    values = _tuple(value, what)
    return tuple(_instance(each, kind, f"{what}[{at}]") for at, each in enumerate(values))
