"""CertificateContext: a context's own certificate, and those it trusts."""

from __future__ import annotations

import errno
import os
from typing import Any

from txmembio import errors, trust
from txmembio._openssl.lib import NULL, ffi, lib
from txmembio.certificates import Certificate, Password, PrivateKey
from txmembio.constants import Purpose
from txmembio.context_base import BaseContext
from txmembio.loading import Path, cadata_bytes, pem_certificates, pem_key, read_file, trusted_in

__all__ = ["CertificateContext"]


class CertificateContext(BaseContext):
    """Reads certificates, keys and revocation lists from files, folders and bytes, and lists what it has."""

    # --- our certificate ---

    def load_cert_chain(self, certfile: Path, keyfile: Path | None = None, password: Password | None = None) -> None:
        """Our certificate, the chain behind it, and its key, from PEM files; the key from `certfile` if `keyfile` is
        left out. May be called once for each kind of key, and again to replace one; connections that exist keep theirs.

        Raises OSError for a file that cannot be read, SSLError for one that holds something else or a key that does not
        belong to the certificate, whatever a password callback raises. A failed call leaves the context as it was.
        """
        if certfile is None:
            raise TypeError("certfile should be a valid filesystem path")
        where = os.fsdecode(certfile)
        data = read_file(certfile, "certfile")
        key_where = where if keyfile is None else os.fsdecode(keyfile)
        key_data = data if keyfile is None else read_file(keyfile, "keyfile")
        self._use(pem_certificates(data, repr(where)), pem_key(key_data, password, repr(key_where)), where, key_where)

    def use_cert_chain(
        self, certificate: bytes, private_key: bytes | None = None, password: Password | None = None
    ) -> None:
        """The same from bytes: PEM, where the chain follows the certificate and the key may stand beside it, or DER,
        one certificate and one key (PKCS #8 or its kind's older form)."""
        if b"-----BEGIN" in certificate:
            chain = pem_certificates(certificate, "certificate")
        else:
            chain = [Certificate.from_der(certificate)]
        keys = certificate if private_key is None else private_key
        if b"-----BEGIN" in keys:
            key = pem_key(keys, password, "private_key")
        elif private_key is not None:
            key = PrivateKey.from_der(private_key)
        else:
            raise errors.make(errors.SSLError, 1, "private_key is missing: a certificate in DER has none beside it")
        self._use(chain, key, "certificate", "private_key")

    def _use(self, chain: list[Certificate], key: PrivateKey, where: str, key_where: str) -> None:
        leaf = chain[0]
        lib.txm_errors_clear()
        if not lib.X509_check_private_key(leaf._x509, key._pkey):
            raise errors.queued(
                f"the private key of {key_where!r} does not belong to the certificate of {where!r} ({leaf!r})"
            )
        # OpenSSL looks at one certificate at a time and may refuse the last (for a weak key, say): so all of them go
        # into a context that nobody uses first.
        trial = ffi.gc(lib.SSL_CTX_new(lib.TLS_method()), lib.SSL_CTX_free)
        if trial == NULL:
            raise errors.queued("making a context")
        lib.SSL_CTX_set_security_level(trial, self.security_level)
        for ctx in (trial, self._native):
            if not lib.SSL_CTX_use_certificate(ctx, leaf._x509):
                raise errors.queued(f"using the certificate of {where!r} ({leaf!r})")
            if not lib.SSL_CTX_use_PrivateKey(ctx, key._pkey):
                raise errors.queued(f"using the private key of {key_where!r}")
            lib.SSL_CTX_clear_chain_certs(ctx)
            for certificate in chain[1:]:
                if not lib.SSL_CTX_add1_chain_cert(ctx, certificate._x509):
                    raise errors.queued(f"using the chain of {where!r} ({certificate!r})")

    @property
    def certificate(self) -> Certificate | None:
        """Our own certificate, the last one set; None while there is none."""
        x509 = lib.SSL_CTX_get0_certificate(self._native)
        return Certificate(x509) if x509 != NULL and lib.X509_up_ref(x509) else None

    # --- whom we trust ---

    def load_verify_locations(
        self, cafile: Path | None = None, capath: Path | None = None, cadata: str | bytes | None = None
    ) -> None:
        """Certificates (and revocation lists) to trust: a PEM file, a folder as ``openssl rehash`` makes it, text in
        PEM or bytes in DER or PEM. Raises TypeError if all are left out, OSError for a path that cannot be read,
        SSLError for contents that are none."""
        if cafile is None and capath is None and cadata is None:
            raise TypeError("cafile, capath and cadata cannot be all omitted")
        if cadata is not None:
            self._trust(cadata_bytes(cadata), "cadata")
        if cafile is not None:
            where = os.fsdecode(cafile)
            self._trust(read_file(cafile, "cafile"), f"cafile {where!r}")
        if capath is not None:
            folder = os.fsencode(capath)
            if not os.path.isdir(folder):
                number = errno.ENOTDIR if os.path.exists(folder) else errno.ENOENT
                raise OSError(number, f"capath: {os.strerror(number)}", os.fsdecode(folder))
            self._settled = False
            self._trusted.update(folder)
            lib.txm_errors_clear()
            if not lib.SSL_CTX_load_verify_dir(self._native, folder):
                raise errors.queued(f"capath {os.fsdecode(folder)!r}")

    def _trust(self, data: bytes, what: str) -> None:
        store = lib.SSL_CTX_get_cert_store(self._native)
        lib.txm_errors_clear()
        certificates, crls = trusted_in(data, what)
        for certificate in certificates:
            if not lib.X509_STORE_add_cert(store, certificate._x509):
                raise errors.queued(f"{what}: {certificate!r}")
        for crl in crls:
            if not lib.X509_STORE_add_crl(store, crl):
                raise errors.queued(f"{what}: a certificate revocation list")
        self._trusted.update(data)
        self._settled = False

    def load_default_certs(self, purpose: Purpose = Purpose.SERVER_AUTH) -> None:
        """Trusts what the platform trusts; ``SSL_CERT_FILE`` and ``SSL_CERT_DIR`` are honoured. Raises TypeError for
        anything but a purpose, SSLError where OpenSSL fails, UnavailableError where there is no way to the roots."""
        if not hasattr(purpose, "oid"):
            raise TypeError(f"purpose is {purpose!r}, expected a member of txmembio.Purpose")
        self._verdict = trust.load_platform_roots(self._native, purpose) or self._verdict
        self._want(lib.TXM_WANTS_VERIFY, self._verify_callback is not None or self._verdict is not None)
        self._trusted.update(b"platform")
        self._settled = False

    def set_default_verify_paths(self) -> None:
        """Trusts what OpenSSL finds in its own default places, and nothing else."""
        if not lib.SSL_CTX_set_default_verify_paths(self._native):
            raise errors.queued("setting the default verify paths")
        self._trusted.update(b"default paths")
        self._settled = False

    def add_client_ca_names(self, cadata: str | bytes) -> None:
        """Names that a server sends along when it asks for a client certificate, to help the client choose one
        (RFC 8446 section 4.2.4): the subjects of these certificates."""
        for certificate in trusted_in(cadata_bytes(cadata), "cadata")[0]:
            if not lib.SSL_CTX_add_client_CA(self._native, certificate._x509):
                raise errors.queued(f"naming {certificate!r} to clients")

    def get_ca_certs(self, binary_form: bool = False) -> list[Any]:
        """The trusted certificates that are CAs, as dicts or DER. Those of a folder appear once they have been used."""
        found = [certificate for certificate in self._stored() if certificate.is_ca]
        return [certificate.der if binary_form else certificate.as_dict() for certificate in found]

    def cert_store_stats(self) -> dict[str, int]:
        """How many certificates ("x509"), CAs among them ("x509_ca") and revocation lists ("crl") are loaded."""
        certificates = self._stored()
        cas = sum(certificate.is_ca for certificate in certificates)
        return {"x509": len(certificates), "crl": self._objects(lib.X509_LU_CRL), "x509_ca": cas}

    def _objects(self, kind: int) -> int:
        store = lib.SSL_CTX_get_cert_store(self._native)
        lib.X509_STORE_lock(store)
        try:
            stack = lib.X509_STORE_get0_objects(store)
            found = [
                ffi.cast("X509_OBJECT *", lib.OPENSSL_sk_value(stack, at)) for at in range(lib.OPENSSL_sk_num(stack))
            ]
            return sum(lib.X509_OBJECT_get_type(entry) == kind for entry in found)
        finally:
            lib.X509_STORE_unlock(store)

    def _stored(self) -> list[Certificate]:
        store = lib.SSL_CTX_get_cert_store(self._native)
        out = []
        lib.X509_STORE_lock(store)
        try:
            stack = lib.X509_STORE_get0_objects(store)
            for at in range(lib.OPENSSL_sk_num(stack)):
                x509 = lib.X509_OBJECT_get0_X509(ffi.cast("X509_OBJECT *", lib.OPENSSL_sk_value(stack, at)))
                if x509 != NULL and lib.X509_up_ref(x509):
                    out.append(Certificate(x509))
        finally:
            lib.X509_STORE_unlock(store)
        return out
