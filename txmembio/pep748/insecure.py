"""Connections that are not verified, for tests: anybody on the way can read and change everything.

Better than any of this is to put the server's own certificate, be it self-signed, into a `TrustStore`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Generic, TypeVar

from txmembio.constants import CERT_NONE
from txmembio.context import SSLContext

from .buffer import TLSBuffer
from .configuration import TLSClientConfiguration, TLSServerConfiguration
from .context import ClientContext, ServerContext, TLSImplementation
from .settings import validate_config
from .socket import TLSSocket

__all__ = [
    "InsecureClientContext",
    "InsecureConfiguration",
    "InsecureServerContext",
    "InsecureTLSImplementation",
    "SecurityWarning",
    "insecure_implementation",
]

_C = TypeVar("_C")
_S = TypeVar("_S")
_IC = TypeVar("_IC")
_IS = TypeVar("_IS")


class SecurityWarning(Warning):
    """Something here was used: the connection is not safe."""


def _warn(what: str) -> None:
    text = f"{what} does without verification: good for tests, not safe anywhere else"
    warnings.warn(text, SecurityWarning, stacklevel=3)


class InsecureConfiguration:
    """What to do without."""

    __slots__ = ("_disable_hostname_check", "_disable_verification")

    def __init__(self, disable_hostname_check: bool = False, disable_verification: bool = False) -> None:
        """`disable_hostname_check`: a client takes a certificate for any name. `disable_verification`: it takes any
        certificate, and a server asks for none. Raises ValueError for the second without the first: a name in a
        certificate that nobody has verified says nothing."""
        _warn("InsecureConfiguration")
        if disable_verification and not disable_hostname_check:
            raise ValueError(
                "disable_verification is True and disable_hostname_check is False, expected that to be True as well"
            )
        self._disable_hostname_check = bool(disable_hostname_check)
        self._disable_verification = bool(disable_verification)

    @property
    def disable_hostname_check(self) -> bool:
        """Whether a certificate for any name will do."""
        return self._disable_hostname_check

    @property
    def disable_verification(self) -> bool:
        """Whether any certificate will do."""
        return self._disable_verification

    def relax(self, settings: SSLContext) -> None:
        """Makes a context do without."""
        if self._disable_hostname_check:
            settings.check_hostname = False
        if self._disable_verification:
            settings.verify_mode = CERT_NONE


class InsecureClientContext(ClientContext):
    """A :class:`ClientContext` that does without what its insecure configuration says."""

    __slots__ = ("_insecure_configuration",)

    def __init__(
        self, tls_configuration: TLSClientConfiguration, insecure_configuration: InsecureConfiguration
    ) -> None:
        _warn("InsecureClientContext")
        self._insecure_configuration = insecure_configuration
        super().__init__(tls_configuration)

    def _relax(self, settings: SSLContext) -> None:
        self._insecure_configuration.relax(settings)

    @property
    def insecure_configuration(self) -> InsecureConfiguration:
        """What it does without."""
        return self._insecure_configuration

    def connect(self, address: tuple[str | None, int]) -> TLSSocket:
        """As the secure one's, with a warning."""
        _warn("InsecureClientContext.connect()")
        return super().connect(address)

    def create_buffer(self, server_hostname: str) -> TLSBuffer:
        """As the secure one's, with a warning."""
        _warn("InsecureClientContext.create_buffer()")
        return super().create_buffer(server_hostname)


class InsecureServerContext(ServerContext):
    """A :class:`ServerContext` that does without what its insecure configuration says."""

    __slots__ = ("_insecure_configuration",)

    def __init__(
        self, tls_configuration: TLSServerConfiguration, insecure_configuration: InsecureConfiguration
    ) -> None:
        _warn("InsecureServerContext")
        self._insecure_configuration = insecure_configuration
        super().__init__(tls_configuration)

    def _relax(self, settings: SSLContext) -> None:
        self._insecure_configuration.relax(settings)

    @property
    def insecure_configuration(self) -> InsecureConfiguration:
        """What it does without."""
        return self._insecure_configuration

    def connect(self, address: tuple[str | None, int]) -> TLSSocket:
        """As the secure one's, with a warning."""
        _warn("InsecureServerContext.connect()")
        return super().connect(address)

    def create_buffer(self) -> TLSBuffer:
        """As the secure one's, with a warning."""
        _warn("InsecureServerContext.create_buffer()")
        return super().create_buffer()


class InsecureTLSImplementation(TLSImplementation[_C, _S], Generic[_C, _S, _IC, _IS]):
    """An implementation that has insecure contexts too."""

    __slots__ = ("_insecure_client_context", "_insecure_server_context")

    def __init__(
        self,
        client_context: type[_C],
        server_context: type[_S],
        validate_config: Callable[[TLSClientConfiguration | TLSServerConfiguration], None],
        insecure_client_context: type[_IC],
        insecure_server_context: type[_IS],
    ) -> None:
        _warn("InsecureTLSImplementation")
        super().__init__(client_context, server_context, validate_config)
        self._insecure_client_context = insecure_client_context
        self._insecure_server_context = insecure_server_context

    @property
    def insecure_client_context(self) -> type[_IC]:
        """The class that makes a client's insecure connections."""
        return self._insecure_client_context

    @property
    def insecure_server_context(self) -> type[_IS]:
        """The class that makes a server's insecure connections."""
        return self._insecure_server_context


def insecure_implementation() -> InsecureTLSImplementation[
    ClientContext, ServerContext, InsecureClientContext, InsecureServerContext
]:
    """This one, with its insecure contexts. It warns."""
    return InsecureTLSImplementation(
        ClientContext, ServerContext, validate_config, InsecureClientContext, InsecureServerContext
    )
