"""The name or address a client wants to reach: checked once, then given to OpenSSL for SNI and for verification."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from txmembio import errors
from txmembio._openssl.lib import ffi, lib

__all__ = ["ServerName", "encoded_hostname"]

MAX_NAME = 253
"""Bytes of a host name in DNS, without the final dot (RFC 1035 section 2.3.4)."""

MAX_LABEL = 63
"""Bytes of one label of it (the same section)."""


class ServerName:
    """A host name (Unicode or A-labels, a final dot allowed) or an IP address."""

    __slots__ = ("address", "ascii", "given")

    def __init__(self, given: str | bytes) -> None:
        """Raises TypeError for anything but text or with NUL in it, ValueError for no possible name."""
        if isinstance(given, (bytes, bytearray)):
            given = bytes(given).decode("ascii")
        if not isinstance(given, str):
            raise TypeError(f"server_hostname must be str, not {type(given).__name__}")
        if "\0" in given:
            raise TypeError("server_hostname: embedded null character")
        self.given = given
        self.address: bytes | None = None
        self.ascii = b""
        try:
            self.address = ip_address(given.partition("%")[0]).packed
            return
        except ValueError:
            pass
        if not given or given.startswith("."):
            raise ValueError("server_hostname cannot be an empty string or start with a leading dot.")
        try:
            self.ascii = given.encode("ascii") if given.isascii() else given.encode("idna")
        except UnicodeError as error:
            raise ValueError(f"server_hostname {given!r} is no host name: {error}") from None
        # RFC 6066 section 3: no final dot on the wire; certificates have none either.
        if self.ascii.endswith(b"."):
            self.ascii = self.ascii[:-1]
        if any(len(label) > MAX_LABEL for label in self.ascii.split(b".")):
            raise ValueError(
                f"server_hostname {given!r}: label too long, expected at most {MAX_LABEL} bytes between dots"
            )
        if len(self.ascii) > MAX_NAME:
            raise ValueError(
                f"server_hostname has {len(self.ascii)} bytes, expected at most {MAX_NAME}: {given[:64]!r}…"
            )

    def apply(self, ssl: Any, check: bool, flags: int) -> None:
        """SNI, but for addresses (RFC 6066 section 3), and verification of the peer's name if `check`."""
        lib.txm_errors_clear()
        if self.address is None and not lib.SSL_set_tlsext_host_name(ssl, ffi.new("char[]", self.ascii)):
            raise errors.queued(f"setting the server name {self.given!r}")
        if not check:
            return
        parameters = lib.SSL_get0_param(ssl)
        lib.X509_VERIFY_PARAM_set_hostflags(parameters, flags)
        if self.address is not None:
            ok = lib.X509_VERIFY_PARAM_set1_ip(parameters, self.address, len(self.address))
        else:
            ok = lib.X509_VERIFY_PARAM_set1_host(parameters, self.ascii, len(self.ascii))
        if not ok:
            raise errors.queued(f"verification of {self.given!r}")

    def fits(self, x509: Any, flags: int) -> bool:
        """True if an ``X509 *`` is for this name or address (X509_check_host(3))."""
        if self.address is not None:
            found = lib.X509_check_ip(x509, self.address, len(self.address), 0)
        else:
            found = lib.X509_check_host(x509, self.ascii, len(self.ascii), flags, ffi.NULL)
        lib.txm_errors_clear()
        return bool(found == 1)


def encoded_hostname(hostname: str | bytes | None) -> str | None:
    """A host name as the standard library shows it: in A-labels (RFC 5890 section 2.3.2.1), whatever it came in. Raises
    UnicodeError, which is a ValueError, for one with a label that is empty or too long."""
    if hostname is None:
        return None
    return hostname.encode("idna").decode("ascii") if isinstance(hostname, str) else bytes(hostname).decode("ascii")
