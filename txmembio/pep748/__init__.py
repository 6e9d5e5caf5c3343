"""The unified TLS API of PEP 748, on the same core as everything else here.

    configuration  ──►  ClientContext   ──►  TLSBuffer   in memory: wire in, plaintext out, and back
                        ServerContext   ──►  TLSSocket   the same over TCP

The PEP's protocols are classes here. Libraries that let their users choose an implementation take
:data:`TXMEMBIO_IMPLEMENTATION`. ``txmembio.pep748.insecure`` is for tests. Source: PEP 748 (a draft, as of April 2025).
"""

from __future__ import annotations

from .buffer import TLSBuffer
from .configuration import (
    DEFAULT_CIPHER_LIST,
    Certificate,
    CipherSuite,
    NextProtocol,
    PrivateKey,
    SigningChain,
    TLSClientConfiguration,
    TLSServerConfiguration,
    TLSVersion,
    TrustStore,
)
from .context import TXMEMBIO_IMPLEMENTATION, ClientContext, ServerContext, TLSImplementation
from .errors import ConfigurationError, RaggedEOF, TLSError, WantReadError, WantWriteError
from .settings import validate_config
from .socket import TLSSocket

__all__ = [
    "DEFAULT_CIPHER_LIST",
    "TXMEMBIO_IMPLEMENTATION",
    "Certificate",
    "CipherSuite",
    "ClientContext",
    "ConfigurationError",
    "NextProtocol",
    "PrivateKey",
    "RaggedEOF",
    "ServerContext",
    "SigningChain",
    "TLSBuffer",
    "TLSClientConfiguration",
    "TLSError",
    "TLSImplementation",
    "TLSServerConfiguration",
    "TLSSocket",
    "TLSVersion",
    "TrustStore",
    "WantReadError",
    "WantWriteError",
    "validate_config",
]
