"""Reads certificates, keys and revocation lists from files and bytes, and says clearly what they are not."""

from __future__ import annotations

import os
from typing import Any

from txmembio import errors
from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate, Password, PrivateKey, pem_blocks

__all__ = ["Path", "cadata_bytes", "pem_certificates", "pem_key", "read_file", "trusted_in"]

Path = str | bytes | os.PathLike[str] | os.PathLike[bytes]

MAX_PEM_FILE = 64 << 20
"""Bytes read of one certificate file at most: the largest public bundles are under 1 MB, revocation lists can be 30."""

MAX_ALPN_LIST = 65533
"""Bytes of an ALPN list in wire format: what a two-byte length inside a two-byte extension leaves (RFC 7301 section
3.1)."""


def read_file(path: Path, what: str) -> bytes:
    """A file's contents, at most MAX_PEM_FILE bytes. Raises OSError with the path in it, SSLError for a larger one."""
    with open(os.fsdecode(path), "rb") as file:  # a number would be taken for a descriptor, and closed
        data = file.read(MAX_PEM_FILE + 1)
    if len(data) > MAX_PEM_FILE:
        raise errors.make(errors.SSLError, 1, f"{what} {os.fsdecode(path)!r} is larger than {MAX_PEM_FILE} bytes")
    return data


def pem_certificates(data: bytes, where: str) -> list[Certificate]:
    found = Certificate.from_pem_all(data)
    if not found:
        raise errors.make(errors.SSLError, 1, f"[SSL] PEM lib: {where}: expected a certificate in PEM, found none")
    return found


def pem_key(data: bytes, password: Password | None, where: str) -> PrivateKey:
    found = PrivateKey.from_pem_all(data, password)
    if not found:
        raise errors.make(errors.SSLError, 1, f"[SSL] PEM lib: {where}: expected a private key in PEM, found none")
    return found[0]


def cadata_bytes(cadata: str | bytes) -> bytes:
    if isinstance(cadata, str):
        try:
            data = cadata.encode("ascii")
        except UnicodeEncodeError:
            raise TypeError("cadata should be an ASCII string or a bytes-like object") from None
    else:
        try:
            data = bytes(memoryview(cadata))
        except TypeError:
            raise TypeError("cadata should be an ASCII string or a bytes-like object") from None
    if not data:
        raise ValueError("Empty certificate data")
    if isinstance(cadata, str) and b"-----BEGIN" not in data:
        raise errors.make(errors.SSLError, 1, "no start line: cadata does not contain a certificate")
    return data


def trusted_in(data: bytes, what: str) -> tuple[list[Certificate], list[Any]]:
    """The certificates and revocation lists in PEM text, or certificates one after another in DER."""
    if b"-----BEGIN" not in data:
        return _der_certificates(data, what), []
    certificates = Certificate.from_pem_all(data)
    crls = []
    for kind, block in pem_blocks(data):
        if kind == "X509 CRL":
            bio = lib.BIO_new_mem_buf(ffi.from_buffer(block), len(block))
            crl = lib.PEM_read_bio_X509_CRL(bio, NULL, NULL, NULL)
            lib.BIO_free(bio)
            if crl == NULL:
                raise errors.queued(f"{what}: damaged certificate revocation list in PEM")
            crls.append(ffi.gc(crl, lib.X509_CRL_free))
    if not certificates and not crls:
        raise errors.make(errors.SSLError, 1, f"[SSL] PEM lib: {what}: expected certificates in PEM, found none")
    return certificates, crls


def _der_certificates(data: bytes, what: str) -> list[Certificate]:
    if what.startswith("cafile"):
        raise errors.make(errors.SSLError, 1, f"[SSL] PEM lib: {what}: expected certificates in PEM, found none")
    start = ffi.from_buffer("unsigned char[]", data)
    at = ffi.new("unsigned char **", start)
    out = []
    while (taken := at[0] - start) < len(data):
        x509 = lib.d2i_X509(NULL, at, len(data) - taken)
        if x509 == NULL:
            lib.txm_errors_clear()
            raise errors.make(errors.SSLError, 1, f"not enough data: {what} does not contain a certificate")
        out.append(Certificate(x509))
    return out
