"""Cipher suites: what a context has enabled, and the choice of the safe ones."""

from __future__ import annotations

from typing import Any

from txmembio import errors
from txmembio._openssl.lib import NULL, ffi, lib

__all__ = ["describe", "keep_forward_secret_aead"]

# Key exchanges with a fresh key for each connection, TLS 1.3's included (SSL_CIPHER_get_kx_nid(3)).
_FORWARD_SECRET = ("kx-ecdhe", "kx-any")


MIN_SECURITY_LEVEL = 2
"""112 bits of security (SSL_CTX_set_security_level(3)): RSA of 2048 bits at least; OpenSSL's own default since 3.2."""


def _enabled(ctx: Any) -> list[Any]:
    ssl = lib.SSL_new(ctx)
    if ssl == NULL:
        raise errors.queued("listing cipher suites")
    try:
        stack = lib.SSL_get_ciphers(ssl)
        count = lib.OPENSSL_sk_num(stack) if stack != NULL else 0
        # Ciphers are constants of the library: they outlive the SSL.
        return [ffi.cast("SSL_CIPHER *", lib.OPENSSL_sk_value(stack, at)) for at in range(count)]
    finally:
        lib.SSL_free(ssl)


def _nid_name(number: int, long: bool = True) -> str | None:
    if number == lib.NID_undef:
        return None
    name = (lib.OBJ_nid2ln if long else lib.OBJ_nid2sn)(number)
    return ffi.string(name).decode() if name != NULL else None


def describe(ctx: Any) -> list[dict[str, Any]]:
    """An ``SSL_CTX *``'s suites in order of preference, as ``ssl.SSLContext.get_ciphers()`` describes them."""
    out = []
    for cipher in _enabled(ctx):
        total = ffi.new("int *")
        secret = lib.SSL_CIPHER_get_bits(cipher, total)
        text = ffi.new("char[]", 512)  # bytes; SSL_CIPHER_description(3) asks for at least 128
        lib.SSL_CIPHER_description(cipher, text, 512)
        digest, exchange = lib.SSL_CIPHER_get_digest_nid(cipher), lib.SSL_CIPHER_get_kx_nid(cipher)
        out.append(
            {
                "id": int(lib.SSL_CIPHER_get_id(cipher)),
                "name": ffi.string(lib.SSL_CIPHER_get_name(cipher)).decode(),
                "protocol": ffi.string(lib.SSL_CIPHER_get_version(cipher)).decode(),
                "description": ffi.string(text).decode().removesuffix("\n"),
                "strength_bits": int(secret),
                "alg_bits": int(total[0]),
                "aead": bool(lib.SSL_CIPHER_is_aead(cipher)),
                "symmetric": _nid_name(lib.SSL_CIPHER_get_cipher_nid(cipher)),
                "digest": _nid_name(digest),
                "kea": _nid_name(exchange),
                "auth": _nid_name(lib.SSL_CIPHER_get_auth_nid(cipher)),
            }
        )
    return out


def keep_forward_secret_aead(ctx: Any) -> None:
    """Disables every suite of TLS 1.2 without forward secrecy or without authenticated encryption.

    It filters what the system enables instead of setting a list of its own, so that a stricter openssl.cnf stays in
    force. CBC with encrypt-then-MAC and finite-field Diffie-Hellman go too: no current peer needs them.
    """
    untouched = ffi.gc(lib.SSL_CTX_new(lib.TLS_method()), lib.SSL_CTX_free)
    if untouched == NULL:
        raise errors.queued("reading the system's cipher policy")
    kept = []
    for cipher in _enabled(untouched):
        exchange = _nid_name(lib.SSL_CIPHER_get_kx_nid(cipher), long=True)
        if lib.SSL_CIPHER_is_aead(cipher) and exchange in _FORWARD_SECRET:
            name = ffi.string(lib.SSL_CIPHER_get_name(cipher)).decode()
            if not name.startswith("TLS_"):  # those of TLS 1.3 are a list of their own, all of them fit
                kept.append(name)
    level = max(lib.SSL_CTX_get_security_level(untouched), MIN_SECURITY_LEVEL)
    if not kept:  # the policy has none for TLS 1.2, and a list of none cannot be set
        lib.SSL_CTX_set_min_proto_version(ctx, lib.TLS1_3_VERSION)
        lib.SSL_CTX_set_security_level(ctx, level)
    elif not lib.SSL_CTX_set_cipher_list(ctx, f"@SECLEVEL={level}:{':'.join(kept)}".encode()):
        raise errors.queued("choosing forward-secret AEAD cipher suites")
