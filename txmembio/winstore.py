"""The certificate stores of Windows, read through crypt32.dll: for the platform's roots, since OpenSSL's own
``org.openssl.winstore:`` does not look at purposes, and for ``ssl.enum_certificates()`` and ``ssl.enum_crls()``.

Declared at run time (cffi's ABI mode), with the names of wincrypt.h: so the extension is the same on every platform,
and these few structures have not changed since there were certificate stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any, Literal

from cffi import FFI

__all__ = ["enum_certificates", "enum_crls"]

ffi = FFI()
ffi.cdef("""
typedef struct {
    uint32_t dwCertEncodingType;
    uint8_t *pbCertEncoded;
    uint32_t cbCertEncoded;
    void *pCertInfo;
    void *hCertStore;
} CERT_CONTEXT;

typedef struct {
    uint32_t dwCertEncodingType;
    uint8_t *pbCrlEncoded;
    uint32_t cbCrlEncoded;
    void *pCrlInfo;
    void *hCertStore;
} CRL_CONTEXT;

typedef struct {
    uint32_t cUsageIdentifier;
    char **rgpszUsageIdentifier;
} CERT_ENHKEY_USAGE;

void *__stdcall CertOpenStore(uintptr_t provider, uint32_t encoding, uintptr_t unused, uint32_t flags,
                              const wchar_t *name);
int __stdcall CertCloseStore(void *store, uint32_t flags);
const CERT_CONTEXT *__stdcall CertEnumCertificatesInStore(void *store, const CERT_CONTEXT *previous);
const CRL_CONTEXT *__stdcall CertEnumCRLsInStore(void *store, const CRL_CONTEXT *previous);
int __stdcall CertFreeCertificateContext(const CERT_CONTEXT *certificate);
int __stdcall CertFreeCRLContext(const CRL_CONTEXT *crl);
int __stdcall CertGetEnhancedKeyUsage(const CERT_CONTEXT *certificate, uint32_t flags, CERT_ENHKEY_USAGE *usage,
                                      uint32_t *size);
""")

CERT_STORE_PROV_SYSTEM_W = 10
"""The provider of the system's stores, which takes a name in UTF-16."""

CURRENT_USER = 1 << 16
"""CERT_SYSTEM_STORE_CURRENT_USER: this user's store, which shows the machine's and the group policy's, too."""

READ_ONLY = 0x8000
"""CERT_STORE_READONLY_FLAG."""

OPEN_EXISTING = 0x4000
"""CERT_STORE_OPEN_EXISTING_FLAG: without it an unknown name would make a new store."""

PREDEFINED = frozenset({"CA", "MY", "ROOT"})
"""Stores that every user has. Windows may make one only when it is asked for; wine fills "ROOT" then."""

CRYPT_E_NOT_FOUND = 0x80092004
"""What CertGetEnhancedKeyUsage() leaves as the last error for a certificate that is good for every purpose: it may fail
with it, or succeed and find no purposes. No purposes without this error mean that the certificate is good for none."""

ENCODINGS = {1: "x509_asn", 0x10000: "pkcs_7_asn"}
"""X509_ASN_ENCODING and PKCS_7_ASN_ENCODING, in the standard library's spelling."""


Purposes = Literal[True] | frozenset[str]
"""What a certificate is good for: everything, or purposes by their OIDs."""


@cache
def _crypt32() -> Any:
    return ffi.dlopen("crypt32.dll")


def _last_error() -> tuple[int, str]:
    """The number and the text of Windows' last error."""
    number, text = ffi.getwinerror()
    return number & 0xFFFFFFFF, text


def _failed(what: str) -> OSError:
    number, text = _last_error()
    return OSError(0, f"{what}: {text}", None, number)


def _entries(name: str, step: Callable[[Any, Any], Any], free: Callable[[Any], object]) -> Iterator[Any]:
    """What one of crypt32's enumerations finds in a store; each is good until the next one is asked for."""
    if not isinstance(name, str):
        raise TypeError(f"store_name is {name!r}, expected the name of a store, such as 'ROOT'")
    flags = CURRENT_USER | READ_ONLY | (0 if name.upper() in PREDEFINED else OPEN_EXISTING)
    store = _crypt32().CertOpenStore(CERT_STORE_PROV_SYSTEM_W, 0, 0, flags, ffi.new("wchar_t[]", name))
    if store == ffi.NULL:
        raise _failed(f"opening the Windows certificate store {name!r}")
    entry = ffi.NULL
    try:
        while (entry := step(store, entry)) != ffi.NULL:  # which frees the one before
            yield entry
    finally:
        if entry != ffi.NULL:
            free(entry)
        _crypt32().CertCloseStore(store, 0)


def enum_certificates(store_name: str) -> list[tuple[bytes, str | int, Purposes]]:
    """The certificates of a store, "ROOT", "CA" or "MY": (bytes, encoding, trust), as ``ssl.enum_certificates()`` gives
    them. `encoding` is "x509_asn" for DER; `trust` is True for every purpose, or the OIDs of the purposes. Raises
    OSError for a store that does not exist or cannot be read."""
    crypt32 = _crypt32()
    found = {}
    for entry in _entries(store_name, crypt32.CertEnumCertificatesInStore, crypt32.CertFreeCertificateContext):
        data = ffi.buffer(entry.pbCertEncoded, entry.cbCertEncoded)[:]
        found[data] = _encoding(entry), _trust(entry)
    return [(data, *rest) for data, rest in found.items()]


def enum_crls(store_name: str) -> list[tuple[bytes, str | int]]:
    """The revocation lists of a store: (bytes, encoding), as ``ssl.enum_crls()`` gives them. Raises OSError for a store
    that does not exist or cannot be read."""
    crypt32 = _crypt32()
    entries = _entries(store_name, crypt32.CertEnumCRLsInStore, crypt32.CertFreeCRLContext)
    found = {ffi.buffer(entry.pbCrlEncoded, entry.cbCrlEncoded)[:]: _encoding(entry) for entry in entries}
    return list(found.items())


def _encoding(entry: Any) -> str | int:
    return ENCODINGS.get(entry.dwCertEncodingType, int(entry.dwCertEncodingType))


def _trust(certificate: Any) -> Purposes:
    """The purposes that an extension or a property of the store limits a certificate to."""
    ask = _crypt32().CertGetEnhancedKeyUsage
    size = ffi.new("uint32_t *")
    if not ask(certificate, 0, ffi.NULL, size):
        return _no_usage()
    room = ffi.new("char[]", int(size[0]))
    usage = ffi.cast("CERT_ENHKEY_USAGE *", room)
    if not ask(certificate, 0, usage, size):
        return _no_usage()
    if not usage.cUsageIdentifier and _last_error()[0] == CRYPT_E_NOT_FOUND:
        return True
    return frozenset(ffi.string(usage.rgpszUsageIdentifier[at]).decode() for at in range(usage.cUsageIdentifier))


def _no_usage() -> Literal[True]:
    if _last_error()[0] == CRYPT_E_NOT_FOUND:
        return True
    raise _failed("reading a certificate's purposes")
