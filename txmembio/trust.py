"""The platform's roots.

- Linux and other systems: OpenSSL's own default places come first. An OpenSSL that was built for another prefix
  (statically, or from a wheel) knows places that do not exist here; then the bundles that distributions ship are looked
  for, then their folders.
- Windows: the same, and the system's certificate store.
- macOS: the keychain, asked through the package truststore; without it the bundle of the package certifi; without
  either what OpenSSL finds in its default places.

``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured everywhere: whoever names a place wants no other, though it be
empty. Only on Windows the store counts besides, as it does for the standard library.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from txmembio import errors
from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate
from txmembio.constants import Purpose
from txmembio.loading import read_file, trusted_in

__all__ = ["Verdict", "asks_platform", "default_verify_paths", "load_platform_roots"]

Verdict = Callable[[Any, list[bytes]], bool]
"""Asks the platform whether it trusts a chain: the context, the certificates as the peer sent them, in DER. OpenSSL
looks at names, dates and revocation all the same."""

PLATFORM = sys.platform

WELL_KNOWN_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo, NixOS
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, OpenBSD, FreeBSD
    "/etc/pki/tls/cacert.pem",  # OpenELEC
    "/usr/local/etc/ssl/cert.pem",  # FreeBSD, of its ports
    "/usr/local/share/certs/ca-root-nss.crt",  # FreeBSD, DragonFly
    "/etc/openssl/certs/ca-certificates.crt",  # NetBSD
    "/etc/certs/ca-certificates.crt",  # Solaris
)

WELL_KNOWN_FOLDERS = (
    "/etc/ssl/certs",  # SLES
    "/etc/pki/tls/certs",  # Fedora
    "/system/etc/security/cacerts",  # Android
)
"""Folders of single certificates, under names that need mean nothing to OpenSSL."""

MAX_FILES = 10_000
"""Files read of such a folder: the largest have a few hundred."""

NO_ISSUER = frozenset(
    {
        lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT,
        lib.X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT,
        lib.X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN,
        lib.X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY,
        lib.X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE,
    }
)
"""What OpenSSL says of a chain whose root it does not have."""

_HASHED = re.compile(r"[0-9a-f]{8}\.\d+")
"""A certificate's name in a folder that OpenSSL can use, as ``openssl rehash`` gives it."""


def default_verify_variables() -> tuple[str, str]:
    """The variables of the environment that say where OpenSSL looks: "SSL_CERT_FILE" and "SSL_CERT_DIR"."""
    file, folder = lib.X509_get_default_cert_file_env(), lib.X509_get_default_cert_dir_env()
    return ffi.string(file).decode(), ffi.string(folder).decode()


def default_verify_paths() -> tuple[str, str]:
    """(file, folder) that OpenSSL looks in by default: the environment's, else the ones it was built with."""
    file, folder = default_verify_variables()
    return (
        os.environ.get(file) or os.fsdecode(ffi.string(lib.X509_get_default_cert_file())),
        os.environ.get(folder) or os.fsdecode(ffi.string(lib.X509_get_default_cert_dir())),
    )


def load_platform_roots(ssl_ctx: Any, purpose: Purpose = Purpose.SERVER_AUTH) -> Verdict | None:
    """Makes an ``SSL_CTX *`` trust what the platform trusts. Returns whom to ask about chains that OpenSSL cannot
    complete, None for nobody. Raises SSLError where OpenSSL fails, UnavailableError where there is no way to the
    platform's roots."""
    named = any(os.environ.get(name) for name in default_verify_variables())
    if PLATFORM == "darwin" and not named:
        verdict = _keychain()
        if verdict is not None:
            return verdict
        if _load_certifi(ssl_ctx):
            return None
    lib.txm_errors_clear()
    if not lib.SSL_CTX_set_default_verify_paths(ssl_ctx):
        raise errors.queued("loading the platform's roots")
    if PLATFORM == "win32":
        _load_windows_store(ssl_ctx, purpose)
    elif named or _default_places_hold_roots():
        pass
    elif PLATFORM == "darwin":
        raise errors.UnavailableError(
            "the keychain's roots cannot be had: expected the package truststore, or certifi, to be installed,"
            f" SSL_CERT_FILE to be set, or a bundle at {default_verify_paths()[0]}"
        )
    else:
        _load_well_known(ssl_ctx)
    return None


def _default_places_hold_roots() -> bool:
    file, folder = default_verify_paths()
    if os.path.exists(file):
        return True
    return os.path.isdir(folder) and any(_HASHED.fullmatch(name) for name in os.listdir(folder))


def _load_well_known(ssl_ctx: Any) -> None:
    for bundle in WELL_KNOWN_BUNDLES:
        if os.path.exists(bundle):
            _load_file(ssl_ctx, bundle)
            return
    store = lib.SSL_CTX_get_cert_store(ssl_ctx)
    for folder in WELL_KNOWN_FOLDERS:
        found = list(_certificates_in(folder))
        for certificate in found:
            lib.X509_STORE_add_cert(store, certificate._x509)
        if found:
            break
    lib.txm_errors_clear()


def _load_file(ssl_ctx: Any, bundle: str) -> None:
    lib.txm_errors_clear()
    if not lib.SSL_CTX_load_verify_file(ssl_ctx, os.fsencode(bundle)):
        raise errors.queued(f"loading the platform's roots from {bundle}")


def _certificates_in(folder: str) -> Iterator[Certificate]:
    """The certificates in the files of a folder. What is no certificate is none of our business."""
    names = sorted(os.listdir(folder))[:MAX_FILES] if os.path.isdir(folder) else []
    for name in names:
        path = os.path.join(folder, name)
        try:
            if os.path.isfile(path):
                yield from trusted_in(read_file(path, "a root certificate"), path)[0]
        except OSError:  # an SSLError, too
            continue


# --- macOS ---


def _keychain() -> Verdict | None:
    """The keychain's verdict on a chain, None without truststore. It decides on chains and hands out no roots, so
    OpenSSL has none itself; and the function that does it is not one of that package's public names."""
    try:
        verify = import_module("truststore._api")._verify_peercerts_impl
    except (ImportError, AttributeError):
        return None

    def verdict(context: Any, chain: list[bytes]) -> bool:
        try:
            verify(context, chain, server_hostname=None)
        except errors.SSLCertVerificationError:
            return False
        return True

    return verdict


def _load_certifi(ssl_ctx: Any) -> bool:
    try:
        bundle = import_module("certifi").where()
    except ImportError:
        return False
    _load_file(ssl_ctx, bundle)
    return True


def asks_platform(verdict: Verdict, context: Any, store: Any) -> bool:
    """The platform's verdict on the chain that an ``X509_STORE_CTX *`` is about."""
    stack = lib.X509_STORE_CTX_get0_untrusted(store)
    chain = []
    for at in range(lib.OPENSSL_sk_num(stack) if stack != NULL else 0):
        x509 = ffi.cast("X509 *", lib.OPENSSL_sk_value(stack, at))
        if lib.X509_up_ref(x509):
            chain.append(Certificate(x509).der)
    return bool(chain) and verdict(context, chain)


# --- Windows ---


def _load_windows_store(ssl_ctx: Any, purpose: Purpose) -> None:
    # Not org.openssl.winstore: of OpenSSL 3.2, which asks no certificate what it may be trusted for.
    from txmembio.winstore import enum_certificates

    store = lib.SSL_CTX_get_cert_store(ssl_ctx)
    for name in ("CA", "ROOT"):
        for data, encoding, purposes in enum_certificates(name):
            if encoding == "x509_asn" and (purposes is True or purpose.oid in purposes):
                try:
                    lib.X509_STORE_add_cert(store, Certificate.from_der(data)._x509)
                except errors.SSLError:  # the store holds what no parser takes; the others are as good as before
                    continue
    lib.txm_errors_clear()
