"""The standard library's HAS_ constants: what this OpenSSL can do."""

from __future__ import annotations

from txmembio.constants import HAS_PSK, HAS_SSLv3, HAS_TLSv1, HAS_TLSv1_1

__all__ = ["FEATURES"]

FEATURES: dict[str, bool] = {
    "HAS_ALPN": True,
    "HAS_ECDH": True,
    "HAS_NPN": False,
    "HAS_PHA": True,
    "HAS_PSK": HAS_PSK,
    "HAS_PSK_TLS13": HAS_PSK,
    "HAS_SNI": True,
    "HAS_SSLv2": False,
    "HAS_SSLv3": HAS_SSLv3,
    "HAS_TLS_UNIQUE": True,
    "HAS_TLSv1": HAS_TLSv1,
    "HAS_TLSv1_1": HAS_TLSv1_1,
    "HAS_TLSv1_2": True,
    "HAS_TLSv1_3": True,
}
"""OpenSSL 3 always has what is written out here, but for what it has never had."""
