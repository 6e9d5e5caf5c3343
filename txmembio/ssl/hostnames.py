"""match_hostname(), which the standard library had until Python 3.11: the check of a name against a certificate's dict.

Connections do not use it. OpenSSL checks names while it verifies (X509_check_host(3)).
"""

from __future__ import annotations

import socket
import warnings
from collections.abc import Mapping
from typing import Any

from txmembio import SSLCertVerificationError

__all__ = ["address", "match_hostname"]


def _refusal(text: str) -> SSLCertVerificationError:
    return SSLCertVerificationError(text)


def name_fits(pattern: str, hostname: str) -> bool:
    """Whether a DNS name of a certificate is for `hostname` (RFC 6125 section 6.4.3): a wildcard is the whole leftmost
    label and stands for just one. Raises SSLCertVerificationError for a wildcard anywhere else."""
    if not pattern:
        return False
    wildcards = pattern.count("*")
    if not wildcards:
        return pattern.lower() == hostname.lower()
    if wildcards > 1:
        raise _refusal(f"too many wildcards in certificate DNS name: {pattern!r}.")
    first, dot, rest = pattern.partition(".")
    if "*" in rest:
        raise _refusal(f"wildcard can only be present in the leftmost label: {pattern!r}.")
    if not dot:
        raise _refusal(f"sole wildcard without additional labels are not support: {pattern!r}.")
    if first != "*":
        raise _refusal(f"partial wildcards in leftmost label are not supported: {pattern!r}.")
    label, dot, parent = hostname.partition(".")
    return bool(label and dot) and parent.lower() == rest.lower()


def address(text: str) -> bytes:
    """The bytes of an IP address in its usual form. Raises ValueError for anything else, such as "127.1"."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_pton(family, text)
        except OSError:
            continue
    raise ValueError(f"{text!r} is neither an IPv4 nor an IP6 address.")


def address_fits(listed: str, wanted: bytes) -> bool:
    """Whether an address of a certificate is `wanted`. Some OpenSSLs print a newline behind it."""
    return address(listed.rstrip()) == wanted


def match_hostname(cert: Mapping[str, Any] | None, hostname: str) -> None:
    """Raises SSLCertVerificationError unless a getpeercert() dict is for `hostname`, which may be an address."""
    warnings.warn("ssl.match_hostname() is deprecated", category=DeprecationWarning, stacklevel=2)
    if not cert:
        raise ValueError(
            "empty or no certificate, match_hostname needs a SSL socket or SSL context with either CERT_OPTIONAL or"
            " CERT_REQUIRED"
        )
    try:
        wanted: bytes | None = address(hostname)
    except ValueError:
        wanted = None
    listed = []
    for kind, value in cert.get("subjectAltName", ()):
        if kind == "DNS":
            if wanted is None and name_fits(value, hostname):
                return
            listed.append(value)
        elif kind == "IP Address":
            if wanted is not None and address_fits(value, wanted):
                return
            listed.append(value)
    if not listed:  # the common name counts only where there are no others
        for key, value in (pair for part in cert.get("subject", ()) for pair in part):
            if key == "commonName":
                if name_fits(value, hostname):
                    return
                listed.append(value)
    if not listed:
        raise _refusal("no appropriate commonName or subjectAltName fields were found")
    if len(listed) == 1:
        raise _refusal(f"hostname {hostname!r} doesn't match {listed[0]!r}")
    raise _refusal(f"hostname {hostname!r} doesn't match either of {', '.join(map(repr, listed))}")
