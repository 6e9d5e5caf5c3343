"""Contexts as the standard library's own modules ask for them, and what else it can do in one call."""

from __future__ import annotations

import os
import socket
import sys
import warnings
from typing import Any, NamedTuple

from txmembio import CERT_NONE, CERT_REQUIRED, PROTOCOL_TLS_CLIENT, PROTOCOL_TLS_SERVER, Purpose, SSLContext
from txmembio.asn1 import ASN1Object
from txmembio.constants import SSLMethod
from txmembio.library import built_in_paths
from txmembio.ssl.certificates import DER_cert_to_PEM_cert

__all__ = [
    "DefaultVerifyPaths",
    "get_default_verify_paths",
    "get_protocol_name",
    "get_server_certificate",
    "unverified_context",
    "wrap_socket",
]

GLOBAL_DEFAULT_TIMEOUT: Any = socket._GLOBAL_DEFAULT_TIMEOUT  # type: ignore[attr-defined]
"""What create_connection() takes for "whatever socket.setdefaulttimeout() said"."""

PROTOCOL_NAMES = {value: name for name, value in SSLMethod.__members__.items()}


class DefaultVerifyPaths(NamedTuple):
    """Where trusted certificates are looked for; the first two are None where there is nothing."""

    cafile: str | None
    capath: str | None
    openssl_cafile_env: str
    openssl_cafile: str
    openssl_capath_env: str
    openssl_capath: str


def get_default_verify_paths() -> DefaultVerifyPaths:
    """OpenSSL's own places, and what the environment says instead of them."""
    paths = built_in_paths()
    cafile = os.environ.get(paths[0], paths[1])
    capath = os.environ.get(paths[2], paths[3])
    return DefaultVerifyPaths(
        cafile if os.path.isfile(cafile) else None, capath if os.path.isdir(capath) else None, *paths
    )


def unverified_context(
    protocol: int | None = None,
    *,
    cert_reqs: int | None = CERT_NONE,
    check_hostname: bool = False,
    purpose: Purpose = Purpose.SERVER_AUTH,
    certfile: Any = None,
    keyfile: Any = None,
    cafile: Any = None,
    capath: Any = None,
    cadata: Any = None,
) -> SSLContext:
    """A context that verifies nothing unless told to: what modules of the standard library make for old protocols.
    New code wants create_default_context()."""
    if not isinstance(purpose, ASN1Object):
        raise TypeError(purpose)
    kinds = {Purpose.SERVER_AUTH.oid: PROTOCOL_TLS_CLIENT, Purpose.CLIENT_AUTH.oid: PROTOCOL_TLS_SERVER}
    if purpose.oid not in kinds:
        raise ValueError(purpose)
    context = SSLContext(kinds[purpose.oid] if protocol is None else protocol)
    context.check_hostname = check_hostname
    if cert_reqs is not None:
        context.verify_mode = cert_reqs
    if check_hostname:
        context.check_hostname = True
    if keyfile and not certfile:
        raise ValueError("certfile must be specified")
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    if cafile or capath or cadata:
        context.load_verify_locations(cafile, capath, cadata)
    elif context.verify_mode != CERT_NONE:
        context.load_default_certs(purpose)
    keylog = os.environ.get("SSLKEYLOGFILE")
    if keylog and not sys.flags.ignore_environment:
        context.keylog_filename = keylog
    return context


def wrap_socket(
    sock: socket.socket,
    keyfile: Any = None,
    certfile: Any = None,
    server_side: bool = False,
    cert_reqs: int = CERT_NONE,
    ssl_version: int = SSLMethod.PROTOCOL_TLS,
    ca_certs: Any = None,
    do_handshake_on_connect: bool = True,
    suppress_ragged_eofs: bool = True,
    ciphers: str | None = None,
) -> Any:
    """The standard library had it until Python 3.11. It checks no names."""
    warnings.warn(
        "ssl.wrap_socket() is deprecated, use SSLContext.wrap_socket()", category=DeprecationWarning, stacklevel=2
    )
    if server_side and not certfile:
        raise ValueError("certfile must be specified for server-side operations")
    if keyfile and not certfile:
        raise ValueError("certfile must be specified")
    context = SSLContext(ssl_version)
    context.verify_mode = cert_reqs
    if ca_certs:
        context.load_verify_locations(ca_certs)
    if certfile:
        context.load_cert_chain(certfile, keyfile)
    if ciphers:
        context.set_ciphers(ciphers)
    return context.wrap_socket(
        sock,
        server_side=server_side,
        do_handshake_on_connect=do_handshake_on_connect,
        suppress_ragged_eofs=suppress_ragged_eofs,
    )


def get_server_certificate(
    addr: tuple[str, int],
    ssl_version: int = PROTOCOL_TLS_CLIENT,
    ca_certs: Any = None,
    timeout: float | None = GLOBAL_DEFAULT_TIMEOUT,
) -> str:
    """The certificate that a server shows, in PEM; verified, but not its name, if `ca_certs` says with what."""
    context = unverified_context(ssl_version, cert_reqs=CERT_REQUIRED if ca_certs else CERT_NONE, cafile=ca_certs)
    with (
        socket.create_connection(addr, timeout=timeout) as sock,
        context.wrap_socket(sock, server_hostname=addr[0]) as tls,
    ):
        return DER_cert_to_PEM_cert(tls.getpeercert(True))


def get_protocol_name(protocol_code: int) -> str:
    """The name of a PROTOCOL_ constant."""
    return PROTOCOL_NAMES.get(protocol_code, "<unknown>")  # type: ignore[call-overload,no-any-return]
