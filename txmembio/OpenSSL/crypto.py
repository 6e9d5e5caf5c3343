"""``OpenSSL.crypto``: keys, certificates, requests and trust stores."""

from __future__ import annotations

from txmembio.OpenSSL._certificates import X509, X509Extension, dump_certificate, load_certificate
from txmembio.OpenSSL._keys import (
    FILETYPE_ASN1,
    FILETYPE_PEM,
    FILETYPE_TEXT,
    TYPE_DH,
    TYPE_DSA,
    TYPE_EC,
    TYPE_RSA,
    Error,
    PKey,
    dump_privatekey,
    dump_publickey,
    get_elliptic_curve,
    get_elliptic_curves,
    load_privatekey,
    load_publickey,
)
from txmembio.OpenSSL._missing import absent, missing
from txmembio.OpenSSL._names import X509Name
from txmembio.OpenSSL._requests import X509Req, dump_certificate_request, load_certificate_request
from txmembio.OpenSSL._stores import X509Store, X509StoreContext, X509StoreContextError, X509StoreFlags

__all__ = [
    "FILETYPE_ASN1",
    "FILETYPE_PEM",
    "FILETYPE_TEXT",
    "TYPE_DH",
    "TYPE_DSA",
    "TYPE_EC",
    "TYPE_RSA",
    "X509",
    "Error",
    "PKey",
    "X509Extension",
    "X509ExtensionType",
    "X509Name",
    "X509NameType",
    "X509Req",
    "X509ReqType",
    "X509Store",
    "X509StoreContext",
    "X509StoreContextError",
    "X509StoreFlags",
    "X509StoreType",
    "X509Type",
    "dump_certificate",
    "dump_certificate_request",
    "dump_privatekey",
    "dump_publickey",
    "get_elliptic_curve",
    "get_elliptic_curves",
    "load_certificate",
    "load_certificate_request",
    "load_privatekey",
    "load_publickey",
]

PKeyType = PKey
X509Type = X509
X509NameType = X509Name
X509ReqType = X509Req
X509ExtensionType = X509Extension
X509StoreType = X509Store


_ELSEWHERE = "cryptography has it"


class _Absent:
    __not_implemented__ = _ELSEWHERE

    def __init__(self, *args: object, **kwargs: object) -> None:
        raise missing(f"crypto.{type(self).__name__}", _ELSEWHERE)


class CRL(_Absent):
    """Not here: raises NotImplementedError. Gone from pyOpenSSL since 24.3."""


class Revoked(_Absent):
    """Not here: raises NotImplementedError. Gone from pyOpenSSL since 24.3."""


class PKCS7(_Absent):
    """Not here: raises NotImplementedError. Gone from pyOpenSSL since 23.3."""


class PKCS12(_Absent):
    """Not here: raises NotImplementedError. Gone from pyOpenSSL since 23.3."""


class NetscapeSPKI(_Absent):
    """Not here: raises NotImplementedError. Gone from pyOpenSSL since 24.3."""


sign = absent("crypto.sign", _ELSEWHERE)
verify = absent("crypto.verify", _ELSEWHERE)
dump_crl = absent("crypto.dump_crl", _ELSEWHERE)
load_crl = absent("crypto.load_crl", _ELSEWHERE)
load_pkcs7_data = absent("crypto.load_pkcs7_data", _ELSEWHERE)
load_pkcs12 = absent("crypto.load_pkcs12", _ELSEWHERE)
