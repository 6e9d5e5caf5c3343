"""Other people's TLS, to talk to: OpenSSL's programs, curl, Python's own `ssl`, Twisted with pyOpenSSL.

A peer that this machine lacks skips its tests and is named in the reason (`require`). All listen on a free port of
127.0.0.1, are ready when they say so, and are stopped by their own process id. All hold the same conversation: each
line is answered reversed (`blocking.reverse_lines`).
"""

from __future__ import annotations

import shutil
import socket
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

import txmembio

from .blocking import SOCKET_READ_SIZE, reverse_lines
from .pki import PKI, Credential
from .process import DEADLINE, Process, environment
from .reactors import program
from .venvs import python_with

#: The program that is Twisted's side of the conversation.
TWISTED_LINES = Path(__file__).with_name("twisted_lines.py")

#: The program that does what `twist` does.
TWIST = Path(__file__).with_name("twist.py")


def require(program: str) -> str:
    """The path of `program`; skips the test, naming it, if there is none."""
    path = shutil.which(program)
    if path is None:
        pytest.skip(f"{program} is not installed")
    return path


def pyopenssl_python() -> str:
    """The Python of an environment that has Twisted and pyOpenSSL, made the first time it is asked for and kept in the
    clone.
    """
    return python_with("pyopenssl", "twisted", "pyopenssl", "service-identity", "idna")


@dataclass(frozen=True)
class Scenario:
    """What both sides of a conversation must agree on."""

    pki: PKI
    version: txmembio.TLSVersion
    credential: Credential
    """The server's."""
    client_credential: Credential | None = None
    """The client's; the server requires one if it is set."""


# Peers that serve: each yields the port it listens on.


@contextmanager
def openssl_server(scenario: Scenario) -> Iterator[int]:
    """`openssl s_server -rev`."""
    command = [require("openssl"), "s_server", "-rev", "-accept", "127.0.0.1:0", _version_option(scenario.version)]
    command += ["-cert", scenario.credential.certificate_file, "-cert_chain", scenario.credential.chain_file]
    command += ["-key", scenario.credential.key_file, "-CAfile", scenario.pki.ca.certificate_file]
    if scenario.client_credential is not None:
        command += ["-Verify", "3", "-verify_return_error"]
    with Process(command) as process:
        yield int(process.wait_for(r"ACCEPT \S*:(\d+)").group(1))


@contextmanager
def stdlib_server(scenario: Scenario) -> Iterator[int]:
    """Python's own `ssl` on a blocking socket, in a thread; serves one connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(scenario.credential.chain_file, scenario.credential.key_file)
    if scenario.client_credential is not None:
        context.load_verify_locations(scenario.pki.ca.certificate_file)
        context.verify_mode = ssl.CERT_REQUIRED
    _stdlib_version(context, scenario.version)

    def serve() -> None:
        sock, _ = listener.accept()
        sock.settimeout(DEADLINE)
        # The answer leaves in several records; without this, the last waits for the client's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        try:
            with context.wrap_socket(sock, server_side=True) as stream:
                rest = b""
                while plaintext := stream.recv(SOCKET_READ_SIZE):
                    lines, newline, rest = (rest + plaintext).rpartition(b"\n")
                    stream.sendall(reverse_lines(lines + newline) if newline else b"")
                stream.unwrap().close()
        except (OSError, ValueError):
            sock.close()  # the client's side of the test tells what went wrong

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join(DEADLINE)


@contextmanager
def pyopenssl_server(scenario: Scenario) -> Iterator[int]:
    """Twisted with pyOpenSSL, `ssl:`."""
    assert scenario.client_credential is None, "Twisted's ssl: endpoint cannot require a client certificate"
    method = {txmembio.TLSVersion.TLSv1_2: "TLSv1_2_METHOD", txmembio.TLSVersion.TLSv1_3: "TLS_METHOD"}[
        scenario.version
    ]
    description = (
        f"ssl:0:interface=127.0.0.1:privateKey={escape(scenario.credential.key_file)}"
        f":certKey={escape(scenario.credential.certificate_file)}"
        f":extraCertChain={escape(scenario.pki.intermediate.certificate_file)}:sslmethod={method}"
    )
    with Process([pyopenssl_python(), TWISTED_LINES, "serve", description]) as process:
        yield int(process.wait_for(r"port (\d+)").group(1))


# Peers that connect: each sends `request` to `port` and returns what came back, or raises AssertionError with all that
# the peer said.


def s_client(scenario: Scenario, port: int, *more: str) -> Process:
    """`openssl s_client`, with `more` options: it verifies the server, and sends what comes on its standard input."""
    command = [require("openssl"), "s_client", "-connect", f"127.0.0.1:{port}", "-servername", "localhost"]
    command += ["-CAfile", scenario.pki.ca.certificate_file, "-verify_return_error", "-verify_hostname", "localhost"]
    command += ["-quiet", "-no_ign_eof", _version_option(scenario.version), *more]
    if scenario.client_credential is not None:
        command += ["-cert", scenario.client_credential.certificate_file, "-key", scenario.client_credential.key_file]
        command += ["-cert_chain", scenario.client_credential.chain_file]
    return Process(command)


def openssl_client(scenario: Scenario, port: int, request: bytes, *more: str) -> bytes:
    """`openssl s_client`, with `more` options."""
    with s_client(scenario, port, "-nocommands", *more) as process:
        process.stdin.write(request)
        answer = process.wait_for_output(len(request))
        process.stdin.close()
        assert process.wait() == 0, process.transcript()
        return answer


def stdlib_client(scenario: Scenario, port: int, request: bytes) -> bytes:
    """Python's own `ssl` on a blocking socket."""
    context = ssl.create_default_context(cafile=scenario.pki.ca.certificate_file)
    if scenario.client_credential is not None:
        context.load_cert_chain(scenario.client_credential.chain_file, scenario.client_credential.key_file)
    _stdlib_version(context, scenario.version)
    with (
        socket.create_connection(("127.0.0.1", port), DEADLINE) as sock,
        context.wrap_socket(sock, server_hostname="localhost") as stream,
    ):
        stream.sendall(request)
        answer = bytearray()
        while len(answer) < len(request):
            plaintext = stream.recv(SOCKET_READ_SIZE)
            assert plaintext, f"the server closed after {len(answer)} bytes"
            answer += plaintext
        stream.unwrap()
        return bytes(answer)


def pyopenssl_client(scenario: Scenario, port: int, request: bytes) -> bytes:
    """Twisted with pyOpenSSL, `tls:`. The server decides which version is spoken."""
    description = f"tls:localhost:{port}:endpoint={escape(f'tcp:127.0.0.1:{port}')}"
    description += f":trustRoots={escape(scenario.pki.roots)}"
    if scenario.client_credential is not None:
        description += f":certificate={escape(scenario.client_credential.chain_file)}"
        description += f":privateKey={escape(scenario.client_credential.key_file)}"
    with Process([pyopenssl_python(), TWISTED_LINES, "converse", description]) as process:
        process.stdin.write(request)
        process.stdin.close()
        assert process.wait() == 0, process.transcript()
        return process.output


ServerPeer = Callable[[Scenario], AbstractContextManager[int]]
ClientPeer = Callable[[Scenario, int, bytes], bytes]

SERVERS: dict[str, ServerPeer] = {
    "openssl": openssl_server,
    "stdlib": stdlib_server,
    "pyopenssl": pyopenssl_server,
}
#: Twisted's `ssl:` endpoint has no argument for it.
SERVERS_THAT_ASK_FOR_CERTIFICATES = ["openssl", "stdlib"]

CLIENTS: dict[str, ClientPeer] = {
    "openssl": openssl_client,
    "stdlib": stdlib_client,
    "pyopenssl": pyopenssl_client,
}


def escape(value: str) -> str:
    """`value` as one argument of an endpoint string."""
    return value.replace("\\", "\\\\").replace(":", "\\:").replace("=", "\\=")


def escaped_files(credential: Credential) -> str:
    """The arguments of a server's endpoint string that name a key and a chain."""
    return f"privateKey={escape(credential.key_file)}:certKey={escape(credential.chain_file)}"


def curl(*arguments: str) -> Process:
    """curl, silent but for its errors."""
    return Process([require("curl"), "--silent", "--show-error", "--max-time", str(DEADLINE), *arguments])


def curl_version(version: txmembio.TLSVersion) -> list[str]:
    """The options that make curl speak `version` and no other."""
    number = _number(version)
    return [f"--tlsv{number}", "--tls-max", number]


def txmembio_lines(role: str, description: str) -> Process:
    """Twisted's side of the conversation over an endpoint of txmembio's: `role` is `serve` or `converse`."""
    return Process(program(TWISTED_LINES, role, description), env=environment())


def _number(version: txmembio.TLSVersion) -> str:
    return {txmembio.TLSVersion.TLSv1_2: "1.2", txmembio.TLSVersion.TLSv1_3: "1.3"}[version]


def _version_option(version: txmembio.TLSVersion) -> str:
    """What `openssl` calls it."""
    return "-tls" + _number(version).replace(".", "_")


def _stdlib_version(context: ssl.SSLContext, version: txmembio.TLSVersion) -> None:
    context.minimum_version = context.maximum_version = ssl.TLSVersion(int(version))
