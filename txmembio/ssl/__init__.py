"""A drop-in for the standard library's ``ssl``: its public names, signatures and behaviour for CPython 3.10 to 3.14, on
txmembio's core, with the OpenSSL that txmembio was built with.

    import txmembio.ssl as ssl                  for one module
    txmembio.install("ssl")                     for everything that says `import ssl` afterwards

The classes are the core's own (``txmembio.ssl.SSLContext is txmembio.SSLContext``), so groups, signature algorithms,
certificates from bytes, exporters, peer chains and ticket keys are there on every Python. Importing this module changes
nothing elsewhere, but that SSLContext.wrap_socket() can make sockets from then on.
"""

# ruff: noqa: F401  (the names are for others, the private ones for the standard library's own modules and tests)

from __future__ import annotations

import sys
from socket import SO_TYPE as SO_TYPE
from socket import SOCK_STREAM as SOCK_STREAM
from socket import SOL_SOCKET as SOL_SOCKET
from socket import create_connection as create_connection
from socket import socket as socket

from txmembio import CERT_NONE as CERT_NONE
from txmembio import CERT_OPTIONAL as CERT_OPTIONAL
from txmembio import CERT_REQUIRED as CERT_REQUIRED
from txmembio import OPENSSL_VERSION as OPENSSL_VERSION
from txmembio import OPENSSL_VERSION_NUMBER as OPENSSL_VERSION_NUMBER
from txmembio import PROTOCOL_TLS as PROTOCOL_TLS
from txmembio import PROTOCOL_TLS_CLIENT as PROTOCOL_TLS_CLIENT
from txmembio import PROTOCOL_TLS_SERVER as PROTOCOL_TLS_SERVER
from txmembio import AlertDescription as AlertDescription
from txmembio import MemoryBIO as MemoryBIO
from txmembio import Options as Options
from txmembio import Purpose as Purpose
from txmembio import SSLCertVerificationError as SSLCertVerificationError
from txmembio import SSLContext as SSLContext
from txmembio import SSLEOFError as SSLEOFError
from txmembio import SSLError as SSLError
from txmembio import SSLErrorNumber as SSLErrorNumber
from txmembio import SSLObject as SSLObject
from txmembio import SSLSession as SSLSession
from txmembio import SSLSyscallError as SSLSyscallError
from txmembio import SSLWantReadError as SSLWantReadError
from txmembio import SSLWantWriteError as SSLWantWriteError
from txmembio import SSLZeroReturnError as SSLZeroReturnError
from txmembio import TLSVersion as TLSVersion
from txmembio import VerifyFlags as VerifyFlags
from txmembio import VerifyMode as VerifyMode
from txmembio import create_default_context as create_default_context
from txmembio.asn1 import ASN1Object as _ASN1Object
from txmembio.constants import SSLMethod as _SSLMethod
from txmembio.messages import TLSAlertType as _TLSAlertType
from txmembio.messages import TLSContentType as _TLSContentType
from txmembio.messages import TLSMessageType as _TLSMessageType
from txmembio.ssl.certificates import PEM_FOOTER as PEM_FOOTER
from txmembio.ssl.certificates import PEM_HEADER as PEM_HEADER
from txmembio.ssl.certificates import DER_cert_to_PEM_cert as DER_cert_to_PEM_cert
from txmembio.ssl.certificates import PEM_cert_to_DER_cert as PEM_cert_to_DER_cert
from txmembio.ssl.certificates import cert_time_to_seconds as cert_time_to_seconds
from txmembio.ssl.defaults import GLOBAL_DEFAULT_TIMEOUT as _GLOBAL_DEFAULT_TIMEOUT
from txmembio.ssl.defaults import PROTOCOL_NAMES as _PROTOCOL_NAMES
from txmembio.ssl.defaults import DefaultVerifyPaths as DefaultVerifyPaths
from txmembio.ssl.defaults import get_default_verify_paths as get_default_verify_paths
from txmembio.ssl.defaults import get_protocol_name as get_protocol_name
from txmembio.ssl.defaults import get_server_certificate as get_server_certificate
from txmembio.ssl.defaults import unverified_context as _create_unverified_context
from txmembio.ssl.features import FEATURES
from txmembio.ssl.hostnames import address as _inet_paton
from txmembio.ssl.hostnames import address_fits as _ipaddress_match
from txmembio.ssl.hostnames import name_fits as _dnsname_match
from txmembio.ssl.lowlevel import lowlevel as _ssl
from txmembio.ssl.sslsocket import CHANNEL_BINDING_TYPES as CHANNEL_BINDING_TYPES
from txmembio.ssl.sslsocket import SSLSocket as SSLSocket

RAND_add = _ssl.RAND_add
RAND_bytes = _ssl.RAND_bytes
RAND_status = _ssl.RAND_status

OPENSSL_VERSION_INFO: tuple[int, int, int, int, int] = _ssl.OPENSSL_VERSION_INFO
HAS_NEVER_CHECK_COMMON_NAME = True

PROTOCOL_SSLv23 = PROTOCOL_TLS
CertificateError = SSLCertVerificationError
socket_error = OSError

# What http.client and others of the standard library's modules ask for, and tests of theirs replace.
_create_default_https_context = create_default_context
_create_stdlib_context = _create_unverified_context

_DEFAULT_CIPHERS = _RESTRICTED_SERVER_CIPHERS = _ssl._DEFAULT_CIPHERS
_OPENSSL_API_VERSION = _ssl._OPENSSL_API_VERSION
_SSLContext = _ssl._SSLContext
_nid2obj, _txt2obj = _ssl.nid2obj, _ssl.txt2obj

# HAS_TLSv1_3 and its like, and every member of an enumeration by its own name.
globals().update({name: value for name, value in FEATURES.items() if name != "HAS_TLS_UNIQUE"})
for _enumeration in (_SSLMethod, Options, AlertDescription, SSLErrorNumber, VerifyFlags, VerifyMode):
    globals().update(_enumeration.__members__)
del _enumeration, FEATURES

if sys.platform == "win32":
    from txmembio.winstore import enum_certificates as enum_certificates
    from txmembio.winstore import enum_crls as enum_crls

if sys.version_info < (3, 12):
    from txmembio.ssl.defaults import wrap_socket as wrap_socket
    from txmembio.ssl.hostnames import match_hostname as match_hostname

    RAND_pseudo_bytes = _ssl.RAND_pseudo_bytes
else:
    del _ssl.RAND_pseudo_bytes
