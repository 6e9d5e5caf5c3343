"""Where a configuration is applied: what makes buffers and sockets, in the words of PEP 748."""

from __future__ import annotations

import socket
from collections.abc import Callable
from typing import Generic, TypeVar

from txmembio.context import SSLContext
from txmembio.limits import HANDSHAKE_TIMEOUT

from .buffer import TLSBuffer
from .configuration import TLSClientConfiguration, TLSServerConfiguration
from .settings import client_settings, server_settings, validate_config
from .socket import TLSSocket, connected, listening

__all__ = ["TXMEMBIO_IMPLEMENTATION", "ClientContext", "ServerContext", "TLSImplementation"]

_ClientContext = TypeVar("_ClientContext")
_ServerContext = TypeVar("_ServerContext")


class ClientContext:
    """Makes a client's connections. Immutable; files are read when it is made."""

    __slots__ = ("_configuration", "_settings")

    def __init__(self, configuration: TLSClientConfiguration) -> None:
        """Raises ConfigurationError, naming the field, for what this implementation does not have or what cannot be;
        OSError for a file that cannot be read; TypeError for what is no client's configuration."""
        if not isinstance(configuration, TLSClientConfiguration):
            raise TypeError(f"configuration is {configuration!r}, expected a TLSClientConfiguration")
        self._configuration = configuration
        self._settings = client_settings(configuration, self._relax)

    def _relax(self, settings: SSLContext) -> None:
        """Takes back what an insecure context does without."""

    @property
    def configuration(self) -> TLSClientConfiguration:
        """What it was made of."""
        return self._configuration

    def connect(self, address: tuple[str | None, int]) -> TLSSocket:
        """Connects to a server, whose certificate must be for the host; None is localhost.

        Raises TLSError (SSLCertVerificationError for the certificate) where the handshake fails, TimeoutError where
        connecting, or the handshake, takes more than 60 seconds, OSError where there is no connection.
        """
        host, port = address
        buffer = self._buffer(host or "localhost")
        return connected(self, socket.create_connection((host or "localhost", port), HANDSHAKE_TIMEOUT), buffer)

    def create_buffer(self, server_hostname: str) -> TLSBuffer:
        """A client's connection in memory. `server_hostname` is the name or IP address that the server's certificate
        must be for. Raises TypeError or ValueError for what cannot be a name."""
        return self._buffer(server_hostname)

    def _buffer(self, server_hostname: str) -> TLSBuffer:
        return TLSBuffer(self, self._settings.connection(server_hostname=server_hostname))


class ServerContext:
    """Makes a server's connections. Immutable; files are read when it is made.

    Of several signing chains, a client is shown the one for the name it asks for: exact names come before wildcards;
    of several chains for a name, the first one with the kind of key (RSA, ECDSA…) that the client can verify. Clients
    that ask for no name, or for one that no chain is for, are shown the first chain.
    """

    __slots__ = ("_configuration", "_settings")

    def __init__(self, configuration: TLSServerConfiguration) -> None:
        """Raises as :class:`ClientContext` does, and ConfigurationError where there is no signing chain."""
        if not isinstance(configuration, TLSServerConfiguration):
            raise TypeError(f"configuration is {configuration!r}, expected a TLSServerConfiguration")
        self._configuration = configuration
        self._settings = server_settings(configuration, self._relax)

    def _relax(self, settings: SSLContext) -> None:
        """Takes back what an insecure context does without."""

    @property
    def configuration(self) -> TLSServerConfiguration:
        """What it was made of."""
        return self._configuration

    def connect(self, address: tuple[str | None, int]) -> TLSSocket:
        """A socket bound to an address, for ``listen()`` and ``accept()``; None for the host means every IPv4 address
        of this machine, 0 for the port a free one. Raises OSError where the address cannot be had."""
        return listening(self, address, self._buffer)

    def create_buffer(self) -> TLSBuffer:
        """A server's connection in memory."""
        return self._buffer()

    def _buffer(self) -> TLSBuffer:
        return TLSBuffer(self, self._settings.connection(server_side=True))


class TLSImplementation(Generic[_ClientContext, _ServerContext]):
    """An implementation of the PEP, for libraries that let their users choose one."""

    __slots__ = ("_client_context", "_server_context", "_validate_config")

    def __init__(
        self,
        client_context: type[_ClientContext],
        server_context: type[_ServerContext],
        validate_config: Callable[[TLSClientConfiguration | TLSServerConfiguration], None],
    ) -> None:
        self._client_context = client_context
        self._server_context = server_context
        self._validate_config = validate_config

    @property
    def client_context(self) -> type[_ClientContext]:
        """The class that makes a client's connections."""
        return self._client_context

    @property
    def server_context(self) -> type[_ServerContext]:
        """The class that makes a server's connections."""
        return self._server_context

    @property
    def validate_config(self) -> Callable[[TLSClientConfiguration | TLSServerConfiguration], None]:
        """A function that raises ConfigurationError where certificates, keys or trust are given in a way that the
        implementation does not have."""
        return self._validate_config


TXMEMBIO_IMPLEMENTATION = TLSImplementation(ClientContext, ServerContext, validate_config)
"""This one."""
