"""Applications of others, from their wheels, in an environment without pyOpenSSL; and peers for them that use neither
it nor txmembio: the standard library's TLS.

The environment is made the first time it is asked for, and kept in the clone. The txmembio in it is the one that is
being tested. To see whether a test or txmembio is to blame, run the test with pyOpenSSL: put the path of a Python that
has it and the applications into TXMEMBIO_STOCK_PYTHON, and nothing is installed or replaced.
"""

from __future__ import annotations

import functools
import http.client
import os
import ssl
import subprocess
import sys
import threading
import venv
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

import txmembio

from .peers import escape
from .pki import PKI, Authority, Credential
from .process import DEADLINE, Process
from .venvs import CLONE

REQUIREMENTS = (
    "autobahn==26.10.2",
    "buildbot==4.3.0",
    "buildbot-worker==4.3.0",
    "foolscap==24.9.0",
    "klein==24.8.0",
    "matrix-synapse==1.163.2",
    "scrapy==2.19.0",
    "treq==26.7.0",
    "twisted[tls]==26.10.0",
    "txsni==0.2.0",
)
"""What is installed. They agree about all that they share; all of them together bring pyOpenSSL."""

STOCK = os.environ.get("TXMEMBIO_STOCK_PYTHON")


@dataclass(frozen=True)
class Applications:
    """An environment with all of them, and what txmembio takes the place of there: nothing, if it has pyOpenSSL."""

    python: str
    path: str
    targets: str
    pki: PKI

    def run(
        self, *program: str | Path, cwd: Path, switch: bool = True, children: bool = False, **variables: str
    ) -> Process:
        """`python -m txmembio run program…`, or `python program…` without `switch`. It trusts `pki.ca` where it trusts
        what the platform trusts."""
        options = ["--children"] if children else []
        run = ["-m", "txmembio", "run", "--install", self.targets, *options] if switch and self.targets else []
        env = {
            **{name: value for name, value in os.environ.items() if not name.startswith("TXMEMBIO_")},
            "PYTHONPATH": self.path,
            "PYTHONUNBUFFERED": "1",
            "SSL_CERT_FILE": self.pki.ca.certificate_file,
            "SSL_CERT_DIR": str(self.pki.folder / "nowhere"),
        }
        return Process([self.python, *run, *program], cwd=cwd, env=env | variables)

    def script(self, folder: Path, source: str, name: str = "program.py") -> Path:
        """A file with this source."""
        path = folder / name
        path.write_text(source, encoding="utf-8")
        return path

    def finish(self, *program: str | Path, cwd: Path, switch: bool = True, **variables: str) -> Process:
        """The same, once it has ended well."""
        with self.run(*program, cwd=cwd, switch=switch, children=False, **variables) as process:
            assert process.wait() == 0, process.transcript()
        return process


def environment() -> tuple[str, str]:
    """The environment's Python, and a folder for its path. Skips the test if it cannot be made."""
    if STOCK:
        return STOCK, ""
    python, problem = _environment()
    if problem:
        pytest.skip(f"the applications cannot be installed: {problem}")
    return python, _path()


@functools.cache
def _environment() -> tuple[str, str]:
    """The Python, and what went wrong, if something did."""
    folder = CLONE / ".peer-venv" / "applications-{}.{}".format(*sys.version_info)
    python = str(folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python"))
    complete = folder / "complete"  # written last, with what is in it
    if complete.exists() and complete.read_text() == "\n".join(REQUIREMENTS):
        return python, ""
    venv.create(folder, clear=True, with_pip=False)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "--python", python]
    for command in (["install", *REQUIREMENTS], ["uninstall", "--yes", "pyOpenSSL"]):
        done = subprocess.run([*pip, *command], capture_output=True, text=True)
        if done.returncode:
            return python, (done.stderr or done.stdout).strip().splitlines()[-1]
    complete.write_text("\n".join(REQUIREMENTS))
    return python, ""


@functools.cache
def _path() -> str:
    """A folder with the txmembio that is being tested, and nothing that happens to lie beside it."""
    folder = CLONE / ".peer-venv" / "txmembio-alone"
    folder.mkdir(parents=True, exist_ok=True)
    link = folder / "txmembio"
    link.unlink(missing_ok=True)
    link.symlink_to(Path(txmembio.__file__).parent, target_is_directory=True)
    return str(folder)


def pip_check(python: str) -> list[str]:
    """What `pip check` prints about an environment."""
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", python, "check"]
    return subprocess.run(command, capture_output=True, text=True, timeout=DEADLINE).stdout.splitlines()


def ssl_endpoint(pki: PKI) -> str:
    """Twisted's own endpoint string for a server on any free port, with the chain that `pki.ca` belongs to."""
    files = {
        "privateKey": pki.server.key_file,
        "certKey": pki.server.certificate_file,
        "extraCertChain": pki.intermediate.certificate_file,
    }
    return ":".join(["ssl:0:interface=127.0.0.1", *(f"{key}={escape(file)}" for key, file in files.items())])


# --- peers ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Visit:
    """A request that a site has answered."""

    method: str
    path: str
    version: str
    body: bytes
    client: bytes | None
    """The certificate of the client, DER."""


class _Server(ThreadingHTTPServer):
    """Knows its pages and its visits."""

    daemon_threads = True
    context: ssl.SSLContext
    pages: Mapping[str, bytes]
    visits: list[Visit]

    def finish_request(self, request: Any, client_address: Any) -> None:
        # In the connection's own thread, so that a client that does not go on keeps nobody waiting.
        try:
            with self.context.wrap_socket(request, server_side=True) as stream:
                stream.settimeout(DEADLINE)
                super().finish_request(stream, client_address)
        except (ssl.SSLError, OSError):
            pass  # a client that does not trust us


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        stream: Any = self.connection  # an SSLSocket
        visit = Visit(self.command, self.path, stream.version(), body, stream.getpeercert(binary_form=True))
        self.server.visits.append(visit)
        page = self.server.pages.get(self.path)
        self.send_response(404 if page is None else 200)
        self.send_header("content-type", "text/html")
        self.send_header("content-length", str(len(page or body)))
        self.end_headers()
        self.wfile.write(page or body)

    do_POST = do_GET

    def log_message(self, *arguments: object) -> None:
        pass


@contextmanager
def site(
    credential: Credential, pages: Mapping[str, bytes], client_ca: Authority | None = None
) -> Iterator[tuple[str, list[Visit]]]:
    """An HTTPS site of the standard library's: its URL, and those who visited it. What it does not have it echoes. With
    `client_ca` it wants a certificate of its visitors."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.context.load_cert_chain(credential.combined_file)
        if client_ca is not None:
            server.context.load_verify_locations(client_ca.certificate_file)
            server.context.verify_mode = ssl.CERT_REQUIRED
        server.pages, server.visits = pages, []
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"https://localhost:{server.server_address[1]}", server.visits
        finally:
            server.shutdown()
            thread.join()


def fetch(pki: PKI, port: int, path: str, method: str = "GET", body: bytes | None = None) -> tuple[int, bytes]:
    """Status and body of a page that a site on this port of `localhost` serves, whose certificate is from `pki.ca`."""
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    connection = http.client.HTTPSConnection("localhost", port, timeout=DEADLINE, context=context)
    try:
        connection.request(method, path, body)
        response = connection.getresponse()
        return response.status, response.read()
    finally:
        connection.close()
