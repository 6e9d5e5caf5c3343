"""Certificates as text, and the times in them."""

from __future__ import annotations

import base64
import binascii
from calendar import timegm
from time import strptime

__all__ = ["PEM_FOOTER", "PEM_HEADER", "DER_cert_to_PEM_cert", "PEM_cert_to_DER_cert", "cert_time_to_seconds"]

PEM_HEADER = "-----BEGIN CERTIFICATE-----"
PEM_FOOTER = "-----END CERTIFICATE-----"

PEM_LINE = 64
"""Characters (RFC 7468 section 2)."""

MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
"""As OpenSSL writes them, whatever the locale."""

REST_OF_TIME = " %d %H:%M:%S %Y GMT"


def cert_time_to_seconds(cert_time: str) -> int:
    """Seconds since 1970 of a time as getpeercert() has it, "Jan  5 09:34:43 2018 GMT". Raises ValueError for anything
    else."""
    try:
        month = MONTHS.index(cert_time[:3].title()) + 1
    except ValueError:
        raise ValueError(f'time data {cert_time!r} does not match format "%b{REST_OF_TIME}"') from None
    # strptime() knows leap seconds; timegm() adds them up.
    parsed = strptime(cert_time[3:], REST_OF_TIME)
    return timegm((parsed[0], month, *parsed[2:6]))


def DER_cert_to_PEM_cert(der_cert_bytes: bytes) -> str:
    """A certificate's DER as PEM."""
    text = base64.standard_b64encode(der_cert_bytes).decode("ascii")
    lines = [text[at : at + PEM_LINE] for at in range(0, len(text), PEM_LINE)]
    return "\n".join([PEM_HEADER, *lines, PEM_FOOTER, ""])


def PEM_cert_to_DER_cert(pem_cert_string: str) -> bytes:
    """A certificate's PEM as DER. Raises ValueError unless the text starts and ends as a certificate does."""
    if not pem_cert_string.startswith(PEM_HEADER):
        raise ValueError(f"Invalid PEM encoding; must start with {PEM_HEADER}")
    body = pem_cert_string.strip()
    if not body.endswith(PEM_FOOTER):
        raise ValueError(f"Invalid PEM encoding; must end with {PEM_FOOTER}")
    return binascii.a2b_base64(body[len(PEM_HEADER) : -len(PEM_FOOTER)].encode("ascii"))
