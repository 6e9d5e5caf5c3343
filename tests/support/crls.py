"""Certificate revocation lists of the authorities in `support.pki`."""

from __future__ import annotations

from datetime import datetime, timezone

from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256

from .pki import ONE_DAY, Authority, Credential


def crl(authority: Authority, *revoked: Credential, expired: bool = False) -> bytes:
    """A list of *authority*'s in PEM that revokes the certificates of *revoked*; *expired* yesterday, or good for two
    days.
    """
    now = datetime.now(timezone.utc)
    key = serialization.load_pem_private_key(authority.ca.private_key_pem.bytes(), None)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    builder = x509.CertificateRevocationListBuilder(
        issuer_name=x509.load_pem_x509_certificate(authority.certificate).subject,
        last_update=now - 2 * ONE_DAY,
        next_update=now - ONE_DAY if expired else now + 2 * ONE_DAY,
    )
    for credential in revoked:
        number = x509.load_pem_x509_certificate(credential.certificate).serial_number
        builder = builder.add_revoked_certificate(
            x509.RevokedCertificateBuilder(serial_number=number, revocation_date=now - ONE_DAY).build()
        )
    return builder.sign(key, SHA256()).public_bytes(serialization.Encoding.PEM)
