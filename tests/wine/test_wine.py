"""The real thing but for the kernel: Windows' CPython, Twisted's IOCP reactor over the C module `twisted_iocpsupport`,
CPython's own OpenSSL, and our extension, built as for Windows. Wine stands for Windows itself.

`make test-wine` runs these; the bed that they need is made by `support.wine_bed`.
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from completion_ports.scenarios import SCENARIOS
from support.peers import require
from support.process import DEADLINE, Process
from support.waiting import free_port, wait_until
from support.wine import Wine, checkout
from support.wine_bed import CHECKOUT, windows_path

pytestmark = pytest.mark.wine

#: Bytes that are sent each way between the two systems.
SIZE = 3_000_000

#: Seconds for the unit tests, which start a thousand handshakes.
UNIT_DEADLINE = 540.0

IOCP_REACTOR = "twisted.internet.iocpreactor.reactor.IOCPReactor"

UNIT_TESTS = [
    "test_build_windows.py",
    "test_connection.py",
    "test_context.py",
    "test_errors.py",
    "test_facts.py",
    "test_memorybio.py",
    "test_negotiation.py",
    "test_session.py",
    "test_sslobject.py",
    "test_verification.py",
]
"""The core. Left out: what knows nothing of the platform, what is of POSIX (signals, modes of files, uids, epoll), and
what starts a Python for each test, which takes seconds under wine."""

VERSIONS = """
import importlib.metadata, json, platform, sys, txmembio, txmembio._openssl.crossing
names = "twisted", "twisted-iocpsupport", "tornado", "pywin32", "cffi"
facts = {name: importlib.metadata.version(name) for name in names}
facts |= {"CPython": sys.version, "OpenSSL": txmembio.OPENSSL_VERSION, "Windows": platform.version()}
facts["hot calls in C"] = txmembio._openssl.crossing.IN_C
print(json.dumps(facts))
"""

WITHOUT_THE_DLLS = """
import sys
sys.base_prefix = sys.base_prefix + "-elsewhere"
import txmembio._openssl.lib
"""

STORES = """
import json, ssl, txmembio
from txmembio import winstore
try:
    context = txmembio.create_default_context()
    facts = {"trusted": len(context.get_ca_certs()), "ours": len(winstore.enum_certificates("ROOT"))}
    facts["same"] = set(winstore.enum_certificates("ROOT")) == set(ssl.enum_certificates("ROOT"))
    facts["crls"] = set(winstore.enum_crls("ROOT")) == set(ssl.enum_crls("ROOT"))
finally:
    print(json.dumps(facts))
"""


def last_line(output: str) -> Any:
    """What a program has printed last, which is JSON."""
    return json.loads(output.splitlines()[-1])


def payload() -> bytes:
    """What scripts/echo.py sends."""
    return hashlib.shake_256(b"txmembio").digest(SIZE)


def feed(process: Process, data: bytes) -> None:
    """All of it to a program's standard input, however slowly it reads."""
    left = memoryview(data)
    while left:
        left = left[process.stdin.write(left) :]


def listens(port: int) -> bool:
    """Whether somebody listens on a port of 127.0.0.1: asked of Linux, as s_server would count a connection."""
    sockets = (line.split() for line in Path("/proc/net/tcp").read_text(encoding="ascii").splitlines()[1:])
    return any((local, state) == (f"0100007F:{port:04X}", "0A") for _, local, _, state, *_ in sockets)


# Which it is


def test_versions(wine: Wine, summary: list[str]) -> None:
    status, output, errors = wine.run("-c", VERSIONS)
    assert status == 0, errors
    facts = last_line(output)
    assert "MSC" in facts["CPython"] and facts["CPython"].startswith("3.11.")
    assert facts.pop("hot calls in C")
    summary.append(wine.version())
    summary.extend(version if version.startswith(name) else f"{name} {version}" for name, version in facts.items())


def test_info(wine: Wine) -> None:
    """The OpenSSL that Python has, and from its file; Twisted's default reactor, and the plugin."""
    status, output, errors = wine.run("-m", "txmembio", "info", "--json")
    assert status == 0, errors
    facts = json.loads(output)
    assert facts["openssl"]["library"].lower() == windows_path(wine.bed.python / "DLLs" / "libssl-3.dll").lower()
    assert facts["openssl"]["compiled"].startswith("3.0.")
    assert facts["twisted"]["default_reactor"] == "twisted.internet.selectreactor"
    assert facts["twisted"]["endpoint_strings"] is True


def test_without_its_dlls_the_extension_says_which_and_where_it_looked(wine: Wine) -> None:
    status, _, errors = wine.run("-c", WITHOUT_THE_DLLS)
    last = errors.splitlines()[-1]
    assert status == 1 and last.startswith("ImportError: DLL load failed while importing _lib")
    assert "it needs libssl-3.dll and libcrypto-3.dll" in last
    assert windows_path(wine.bed.python) + "-elsewhere\\DLLs" in last


def test_the_certificate_stores(wine: Wine, summary: list[str]) -> None:
    """Through wine's crypt32, whose roots are those of this system."""
    status, output, errors = wine.run("-c", STORES)
    assert status == 0, errors
    facts = last_line(output)
    assert facts["same"] and facts["crls"] and 0 < facts["trusted"] <= facts["ours"]
    summary.append(f"certificate store: {facts['trusted']} of {facts['ours']} roots trusted for servers")


# The adapter over completion ports


def test_every_scenario(wine: Wine, certificates: Path, summary: list[str]) -> None:
    """The files of tests/completion_ports, as they are, on the port of wine."""
    script = checkout("tests", "completion_ports", "run.py")
    status, output, errors = wine.run(script, windows_path(certificates))
    header, *lines = (json.loads(line) for line in output.splitlines())
    assert header["reactor"] == IOCP_REACTOR and header["platform"] == "win32" and not header["faults"]
    failed = [line for line in lines if not line["ok"]]
    assert status == 0 and not failed, f"{failed}\n{errors}"
    assert {line["scenario"] for line in lines} == set(SCENARIOS)
    assert {line["tls"] for line in lines} == {"TLSv1_2", "TLSv1_3"}
    summary.append(f"scenarios over a completion port: {len(lines)} passed, each with TLS 1.2 or TLS 1.3")


@contextmanager
def serving(wine: Wine, certificates: Path) -> Iterator[int]:
    """scripts/echo.py under wine; its port."""
    script = checkout("tests", "wine", "scripts", "echo.py")
    with wine.start(script, "serve", windows_path(certificates), str(SIZE)) as server:
        yield int(server.wait_for(r"listening on (\d+)")[1])


def visited(wine: Wine, certificates: Path, port: int) -> None:
    """A visit by scripts/echo.py under wine."""
    script = checkout("tests", "wine", "scripts", "echo.py")
    status, output, errors = wine.run(script, "visit", windows_path(certificates), str(SIZE), str(port))
    assert status == 0, output + errors
    assert last_line(output) == {
        "received": SIZE,
        "sha256": hashlib.sha256(payload()).hexdigest(),
        "version": "TLSv1.3",
        "reason": "ConnectionDone",
    }


def test_a_client_here_and_a_server_there_ssl(wine: Wine, certificates: Path, summary: list[str]) -> None:
    context = ssl.create_default_context(cafile=str(certificates / "ca.pem"))
    with (
        serving(wine, certificates) as port,
        socket.create_connection(("127.0.0.1", port), DEADLINE) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as client,
    ):
        sending = threading.Thread(target=client.sendall, args=(payload(),))
        sending.start()
        received = b"".join(iter(lambda: client.recv(65536), b""))
        sending.join(DEADLINE)
        assert client.version() == "TLSv1.3"
    assert received == payload()
    summary.append(f"ssl here, server there: {SIZE} bytes each way")


def test_a_client_here_and_a_server_there_openssl(wine: Wine, certificates: Path, summary: list[str]) -> None:
    command = [require("openssl"), "s_client", "-quiet", "-verify_return_error", "-verify_hostname", "localhost"]
    command += ["-CAfile", str(certificates / "ca.pem")]
    with (
        serving(wine, certificates) as port,
        Process([*command, "-connect", f"127.0.0.1:{port}", "-servername", "localhost"]) as client,
    ):
        feed(client, payload())
        received = client.wait_for_output(SIZE)
    assert received == payload()
    summary.append(f"openssl s_client here, server there: {SIZE} bytes each way")


def test_a_server_here_and_a_client_there_ssl(wine: Wine, certificates: Path, summary: list[str]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificates / "server.pem")
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(DEADLINE)

        def serve() -> None:
            plain, _ = listening.accept()
            plain.settimeout(DEADLINE)
            with context.wrap_socket(plain, server_side=True) as server:
                left = SIZE
                while left:
                    data = server.recv(65536)
                    server.sendall(data)
                    left -= len(data)
                while server.recv(1):
                    raise AssertionError("more came than was sent")

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            visited(wine, certificates, listening.getsockname()[1])
        finally:
            thread.join(DEADLINE)
    summary.append(f"ssl here, client there: {SIZE} bytes each way")


def test_a_server_here_and_a_client_there_openssl(wine: Wine, certificates: Path, summary: list[str]) -> None:
    port = free_port()  # with -quiet, s_server does not say which it has chosen; without, bytes are commands to it
    files = ["-cert", str(certificates / "server.pem"), "-key", str(certificates / "server.pem")]
    command = [require("openssl"), "s_server", "-accept", f"127.0.0.1:{port}", "-naccept", "1", *files]
    command += ["-cert_chain", str(certificates / "server.pem"), "-quiet"]
    with Process(command) as server:
        wait_until(lambda: not server.running() or listens(port), f"s_server listens on port {port}")
        # It reads its standard input once there is a connection to send that to.
        sending = threading.Thread(target=feed, args=(server, payload()))
        sending.start()
        visited(wine, certificates, port)
        sending.join(DEADLINE)
        assert server.wait_for_output(SIZE) == payload()
    summary.append(f"openssl s_server here, client there: {SIZE} bytes each way")


# What is not completion ports


def test_unit_tests(wine: Wine, tmp_path: Path, summary: list[str]) -> None:
    """Those of the core."""
    files = [checkout("tests", "unit", name) for name in UNIT_TESTS]
    status, output, errors = wine.run(
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-c", checkout("pyproject.toml")),
        *(f"--basetemp={windows_path(tmp_path / 'unit')}", *files),
        path=(CHECKOUT / "tests",),
        deadline=UNIT_DEADLINE,
    )
    assert status == 0, output + errors
    summary.append(f"unit tests: {output.splitlines()[-1].strip('= ')}")


def test_tornado_on_the_proactor_loop(wine: Wine, certificates: Path, summary: list[str]) -> None:
    """A loop of completion ports, on which Tornado waits for its sockets in a thread with `select()`."""
    script = checkout("tests", "wine", "scripts", "tornado_proactor.py")
    status, output, errors = wine.run(script, windows_path(certificates), str(SIZE))
    assert status == 0, output + errors
    facts = last_line(output)
    sha256 = hashlib.sha256(payload()).hexdigest()
    assert facts["loop"] == "ProactorEventLoop" and facts["sent"] == sha256
    assert facts["stream"] == {"received": SIZE, "sha256": sha256, "version": "TLSv1.3"}
    assert facts["http"] == {"received": SIZE, "sha256": sha256, "status": 200}
    summary.append(f"Tornado on {facts['loop']}, not counted as completion ports: a stream and HTTP, {SIZE} bytes")


# Twisted's own tests


@pytest.mark.parametrize("module", ["test_iocp", "test_tls"])
def test_twisteds_own(wine: Wine, tmp_path: Path, summary: list[str], module: str) -> None:
    """Unmodified, with `install("twisted")` in the place of pyOpenSSL."""
    status, output, errors = wine.run(
        *("-m", "txmembio", "run", "--install", "twisted", "-m", "twisted.trial", "--reactor=iocp"),
        *(f"--temp-directory={windows_path(tmp_path / 'trial')}", f"twisted.internet.test.{module}"),
    )
    ran = re.search(r"^(PASSED|FAILED) \((.*)\)$", output, re.MULTILINE)
    assert status == 0 and ran, output + errors
    summary.append(f"twisted.internet.test.{module}: {ran[2]}")
