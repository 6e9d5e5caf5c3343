"""The platform's roots.

OpenSSL's own default places come first, with ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` honoured. An OpenSSL that was built
for another prefix (statically, or from a wheel) knows places that do not exist here; then the bundles that
distributions ship are looked for. Windows has a store instead.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from txmembio import errors
from txmembio._openssl.lib import ffi, lib
from txmembio.certificates import Certificate

__all__ = ["default_verify_paths", "load_platform_roots"]

WELL_KNOWN_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",  # Debian, Ubuntu, Arch, Gentoo
    "/etc/pki/tls/certs/ca-bundle.crt",  # Fedora, RHEL
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",  # RHEL
    "/etc/ssl/ca-bundle.pem",  # openSUSE
    "/etc/ssl/cert.pem",  # Alpine, macOS, OpenBSD, FreeBSD
    "/usr/local/share/certs/ca-root-nss.crt",  # FreeBSD
)


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


def load_platform_roots(ssl_ctx: Any) -> None:
    """Makes an ``SSL_CTX *`` trust what the platform trusts. Raises SSLError where OpenSSL fails."""
    lib.txm_errors_clear()
    if not lib.SSL_CTX_set_default_verify_paths(ssl_ctx):
        raise errors.queued("loading the platform's roots")
    if sys.platform == "win32":
        _load_windows_store(ssl_ctx)
        return
    if any(os.environ.get(name) for name in default_verify_variables()):
        return  # whoever names a place wants no other, though it be empty
    file, folder = default_verify_paths()
    if os.path.exists(file) or (os.path.isdir(folder) and os.listdir(folder)):
        return
    for bundle in WELL_KNOWN_BUNDLES:
        if os.path.exists(bundle):
            if not lib.SSL_CTX_load_verify_file(ssl_ctx, os.fsencode(bundle)):
                raise errors.queued(f"loading the platform's roots from {bundle}")
            return


def _load_windows_store(ssl_ctx: Any) -> None:
    if lib.TXM_HAS_WINSTORE:
        if not lib.SSL_CTX_load_verify_store(ssl_ctx, b"org.openssl.winstore://"):
            raise errors.queued("loading roots from the Windows certificate store")
        return
    try:
        from _ssl import enum_certificates  # type: ignore[attr-defined,unused-ignore]  # Windows only
    except ImportError:
        raise errors.UnavailableError(
            f"this OpenSSL ({lib.OPENSSL_VERSION_NUMBER:#x}) cannot read the Windows certificate store and the"
            " interpreter has no ssl to ask: expected OpenSSL 3.2 or later, or pass cafile="
        ) from None
    store = lib.SSL_CTX_get_cert_store(ssl_ctx)
    for name in ("ROOT", "CA"):
        for data, encoding, purposes in enum_certificates(name):
            if encoding == "x509_asn" and (purposes is True or "1.3.6.1.5.5.7.3.1" in purposes):
                try:
                    lib.X509_STORE_add_cert(store, Certificate.from_der(data)._x509)
                except errors.SSLError:  # the store holds what no parser takes; the others are as good as before
                    continue
    lib.txm_errors_clear()
