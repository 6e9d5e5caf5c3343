"""The classes of txmembio.pep748 are what PEP 748 calls for: its protocols, as its text spells them, stand here for
mypy, with uses of each. Nothing of this runs but mypy, on this file and on a copy with a mistake in it."""

from __future__ import annotations

import os
import subprocess
import sys
from abc import abstractmethod
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import pytest

from txmembio import pep748
from txmembio.pep748 import (
    CipherSuite,
    NextProtocol,
    SigningChain,
    TLSClientConfiguration,
    TLSImplementation,
    TLSServerConfiguration,
    TLSVersion,
    TrustStore,
    insecure,
)

if TYPE_CHECKING:
    from typing_extensions import Buffer

CHECKOUT = Path(__file__).parents[2]


class ClientContextProtocol(Protocol):
    @abstractmethod
    def __init__(self, configuration: TLSClientConfiguration) -> None: ...
    @property
    @abstractmethod
    def configuration(self) -> TLSClientConfiguration: ...
    @abstractmethod
    def connect(self, address: tuple[str | None, int]) -> TLSSocketProtocol: ...
    @abstractmethod
    def create_buffer(self, server_hostname: str) -> TLSBufferProtocol: ...


class ServerContextProtocol(Protocol):
    @abstractmethod
    def __init__(self, configuration: TLSServerConfiguration) -> None: ...
    @property
    @abstractmethod
    def configuration(self) -> TLSServerConfiguration: ...
    @abstractmethod
    def connect(self, address: tuple[str | None, int]) -> TLSSocketProtocol: ...
    @abstractmethod
    def create_buffer(self) -> TLSBufferProtocol: ...


class ConnectedProtocol(Protocol):
    """What sockets and buffers have in common."""

    @property
    @abstractmethod
    def context(self) -> ClientContextProtocol | ServerContextProtocol: ...
    @abstractmethod
    def cipher(self) -> CipherSuite | int | None: ...
    @abstractmethod
    def negotiated_protocol(self) -> NextProtocol | bytes | None: ...
    @property
    @abstractmethod
    def negotiated_tls_version(self) -> TLSVersion | None: ...
    @abstractmethod
    def getpeercert(self) -> bytes | None: ...


class TLSSocketProtocol(ConnectedProtocol, Protocol):
    @abstractmethod
    def recv(self, bufsize: int) -> bytes: ...
    @abstractmethod
    def send(self, bytes: bytes) -> int: ...
    @abstractmethod
    def close(self, force: bool = False) -> None: ...
    @abstractmethod
    def listen(self, backlog: int) -> None: ...
    @abstractmethod
    def accept(self) -> tuple[TLSSocketProtocol, tuple[str | None, int]]: ...
    @abstractmethod
    def getsockname(self) -> tuple[str | None, int]: ...
    @abstractmethod
    def getpeername(self) -> tuple[str | None, int]: ...


class TLSBufferProtocol(ConnectedProtocol, Protocol):
    @abstractmethod
    def read(self, amt: int, buffer: Buffer | None) -> bytes | int: ...
    @abstractmethod
    def write(self, buf: Buffer) -> int: ...
    @abstractmethod
    def do_handshake(self) -> None: ...
    @abstractmethod
    def shutdown(self) -> None: ...
    @abstractmethod
    def process_incoming(self, data_from_network: bytes) -> None: ...
    @abstractmethod
    def incoming_bytes_buffered(self) -> int: ...
    @abstractmethod
    def process_outgoing(self, amount_bytes_for_network: int) -> bytes: ...
    @abstractmethod
    def outgoing_bytes_buffered(self) -> int: ...


class SourceProtocol(Protocol):
    """Certificate, PrivateKey and TrustStore."""

    def __init__(
        self, buffer: bytes | None = None, path: os.PathLike[str] | None = None, id: bytes | None = None
    ) -> None: ...
    @classmethod
    def from_buffer(cls, buffer: bytes) -> SourceProtocol: ...
    @classmethod
    def from_file(cls, path: os.PathLike[str]) -> SourceProtocol: ...
    @classmethod
    def from_id(cls, id: bytes) -> SourceProtocol: ...


class ConfigurationProtocol(Protocol):
    @property
    def ciphers(self) -> Sequence[CipherSuite | int] | None: ...
    @property
    def inner_protocols(self) -> Sequence[NextProtocol | bytes]: ...
    @property
    def lowest_supported_version(self) -> TLSVersion | None: ...
    @property
    def highest_supported_version(self) -> TLSVersion | None: ...
    @property
    def trust_store(self) -> TrustStore | None: ...


class ClientConfigurationProtocol(ConfigurationProtocol, Protocol):
    @property
    def certificate_chain(self) -> SigningChain | None: ...


class ServerConfigurationProtocol(ConfigurationProtocol, Protocol):
    @property
    def certificate_chain(self) -> Sequence[SigningChain] | None: ...


_C = TypeVar("_C", bound=ClientContextProtocol)
_S = TypeVar("_S", bound=ServerContextProtocol)


def classes_satisfy_the_protocols() -> None:
    _client: type[ClientContextProtocol] = pep748.ClientContext
    _server: type[ServerContextProtocol] = pep748.ServerContext
    _buffer: type[TLSBufferProtocol] = pep748.TLSBuffer
    _sock: type[TLSSocketProtocol] = pep748.TLSSocket
    _sources: list[type[SourceProtocol]] = [pep748.Certificate, pep748.PrivateKey, pep748.TrustStore]
    _of_client: type[ClientConfigurationProtocol] = TLSClientConfiguration
    _of_server: type[ServerConfigurationProtocol] = TLSServerConfiguration
    _validate: Callable[[TLSClientConfiguration | TLSServerConfiguration], None] = pep748.validate_config


def a_library_that_takes_any_implementation(implementation: TLSImplementation[_C, _S], store: TrustStore) -> bytes:
    """As the PEP describes it in its section on access at run time."""
    configuration = TLSClientConfiguration(None, None, [NextProtocol.H2, b"x"], TLSVersion.TLSv1_2, trust_store=store)
    implementation.validate_config(configuration)
    buffer = implementation.client_context(configuration).create_buffer("localhost")
    buffer.do_handshake()
    return buffer.process_outgoing(buffer.outgoing_bytes_buffered())


def a_program_that_uses_this_one(chain: SigningChain) -> tuple[bytes, int, tuple[str | None, int]]:
    a_library_that_takes_any_implementation(pep748.TXMEMBIO_IMPLEMENTATION, TrustStore.system())
    a_library_that_takes_any_implementation(insecure.insecure_implementation(), TrustStore.system())
    context = pep748.ServerContext(TLSServerConfiguration([chain], [CipherSuite.TLS_AES_128_GCM_SHA256, 0x1302]))
    buffer = context.create_buffer()
    _sock, address = context.connect((None, 0)).accept()
    return buffer.read(5), buffer.read(5, bytearray(5)), address


def mypy(path: Path, folder: Path) -> subprocess.CompletedProcess[str]:
    """Checks a file as strictly as this project's own are."""
    configuration = CHECKOUT / "pyproject.toml"
    command = [sys.executable, "-m", "mypy", "--config-file", str(configuration), "--cache-dir", str(folder), str(path)]
    return subprocess.run(command, capture_output=True, text=True, cwd=CHECKOUT)


def test_mypy_finds_the_classes_to_be_what_the_pep_calls_for(tmp_path: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed: it comes with the extra `dev`")
    done = mypy(Path(__file__), tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    # And it would notice: a protocol that asks for one thing more, another type, another argument.
    text = Path(__file__).read_text("utf-8")
    copy = tmp_path / "with_mistakes.py"
    for right, wrong in {
        "def send(self, bytes: bytes) -> int": "def send(self, bytes: bytes) -> str",
        "def incoming_bytes_buffered(self)": "def incoming_bytes_awaited(self)",
        "def create_buffer(self, server_hostname: str)": "def create_buffer(self, server_hostname: str, more: int)",
    }.items():
        assert right in text
        copy.write_text(text.replace(right, wrong), "utf-8")
        assert "Incompatible types in assignment" in mypy(copy, tmp_path).stdout
