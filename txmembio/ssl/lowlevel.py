"""A module object with what the interpreter's ``_ssl`` has, made of ours.

It has no ``__file__``: who finds one takes whatever is an ``ssl.SSLContext`` for the C struct of that file.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

import txmembio
from txmembio import constants, inner, library
from txmembio.asn1 import by_name, by_nid
from txmembio.certificates import Certificate
from txmembio.context_base import STDLIB_CIPHERS
from txmembio.context_certificates import CertificateContext
from txmembio.loading import read_file
from txmembio.ssl.features import FEATURES

__all__ = ["lowlevel"]

ENUMERATIONS = (
    constants.SSLMethod,
    constants.Options,
    constants.AlertDescription,
    constants.SSLErrorNumber,
    constants.VerifyFlags,
    constants.VerifyMode,
)
"""Whose members are plain numbers there."""


def decoded_certificate(path: str) -> dict[str, Any]:
    """The first certificate of a PEM file as getpeercert() tells of it; for CPython's tests."""
    return Certificate.from_pem_all(read_file(path, "certificate"))[0].as_dict()


def RAND_bytes(n: int, /) -> bytes:
    """`n` random bytes."""
    return library.random_bytes(n)


def RAND_pseudo_bytes(n: int, /) -> tuple[bytes, bool]:
    """`n` random bytes, and True; until Python 3.11."""
    return library.random_bytes(n), True


def RAND_status() -> bool:
    """True if there is randomness."""
    return library.has_randomness()


def _contents() -> dict[str, Any]:
    numbers = {name: int(member) for enumeration in ENUMERATIONS for name, member in enumeration.__members__.items()}
    return {
        **numbers,
        **{f"PROTO_{version.name}": int(version) for version in constants.TLSVersion},
        **{name: getattr(constants, name) for name in dir(constants) if name.startswith("HOSTFLAG_")},
        **FEATURES,
        **{
            name: getattr(txmembio, name)
            for name in txmembio.__all__
            if name.startswith("SSL") and name.endswith("Error")
        },
        "PROTOCOL_SSLv23": int(constants.PROTOCOL_TLS),
        "Certificate": inner.InnerCertificate,
        "ENCODING_DER": inner.ENCODING_DER,
        "ENCODING_PEM": inner.ENCODING_PEM,
        "MemoryBIO": txmembio.MemoryBIO,
        "OPENSSL_VERSION": constants.OPENSSL_VERSION,
        "OPENSSL_VERSION_INFO": library.version_info(constants.OPENSSL_VERSION_NUMBER),
        "OPENSSL_VERSION_NUMBER": constants.OPENSSL_VERSION_NUMBER,
        "RAND_add": library.add_randomness,
        "RAND_bytes": RAND_bytes,
        "RAND_pseudo_bytes": RAND_pseudo_bytes,
        "RAND_status": RAND_status,
        "SSLSession": txmembio.SSLSession,
        "_DEFAULT_CIPHERS": STDLIB_CIPHERS.decode(),
        "_OPENSSL_API_VERSION": library.version_info(constants.OPENSSL_BUILD_VERSION_NUMBER),
        "_SSLContext": CertificateContext,
        "_SSLSocket": inner.InnerObject,
        "_test_decode_cert": decoded_certificate,
        "get_default_verify_paths": library.built_in_paths,
        "nid2obj": by_nid,
        "txt2obj": by_name,
    }


lowlevel = ModuleType("_ssl", __doc__)
vars(lowlevel).update(_contents())
