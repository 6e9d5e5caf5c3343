"""Programs that say `import ssl`, after install("ssl"): servers and clients of several libraries against each other,
and against nginx. None of them is changed, and each runs in a Python of its own, as `python -m txmembio run` starts it.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from support import nginx, peers, process, ssl_apps, venvs
from support.pki import PKI
from support.process import DEADLINE, Process, environment

APPS = Path(ssl_apps.__file__)

#: What each needs besides the standard library.
PACKAGES = {
    "aiofastnet": ["aiohttp", "aiofastnet"],
    "aiohttp": ["aiohttp"],
    "asyncio": [],
    "httpx": ["httpx"],
    "requests": ["requests"],
    "truststore": ["truststore", "urllib3"],
    "urllib": [],
    "urllib3": ["urllib3"],
}


def needs(kind: str) -> None:
    for package in PACKAGES[kind]:
        if find_spec(package) is None:
            pytest.skip(f"{package} is not installed")


def app(*arguments: str) -> Process:
    """A program of `ssl_apps`, with txmembio in the place of ssl."""
    return process.python("-W", "error", "-m", "txmembio", "run", "--install", "ssl", APPS, *arguments)


class Servers:
    """One of each kind, started when it is first asked for: its port."""

    def __init__(self, pki: PKI, folder: Path) -> None:
        self.pki = pki
        self.folder = folder
        self.ports: dict[str, int] = {}
        self.running: dict[str, Process] = {}
        self.stack = ExitStack()

    def port(self, kind: str) -> int:
        if kind not in self.ports:
            if kind == "nginx":
                (self.folder / "pages").mkdir()
                (self.folder / "pages" / "index.html").write_bytes(ssl_apps.PAGE)
                self.ports[kind] = self.stack.enter_context(
                    nginx.site(self.folder, self.pki.server, self.folder / "pages")
                )
            else:
                needs(kind)
                started = app("serve", kind, self.pki.server.chain_file, self.pki.server.key_file)
                self.running[kind] = self.stack.enter_context(started)
                self.ports[kind] = int(started.wait_for(r"port (\d+)")[1])
        return self.ports[kind]


@pytest.fixture(scope="module")
def servers(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    started = Servers(pki, tmp_path_factory.mktemp("servers"))
    with started.stack:
        yield started
        for each in started.running.values():
            assert each.running() and not each.errors, each.transcript()


def fetch(kind: str, port: int, ca: str) -> dict[str, Any]:
    """What a client's program says."""
    needs(kind)
    with app("fetch", kind, f"https://localhost:{port}/", ca) as fetching:
        assert fetching.wait() == 0, fetching.transcript()
        assert not fetching.errors
    found: dict[str, Any] = json.loads(fetching.output)
    assert found.pop("ssl").startswith("txmembio")
    return found


@pytest.mark.parametrize("server", [*ssl_apps.SERVERS, "nginx"])
@pytest.mark.parametrize("client", ssl_apps.CLIENTS)
def test_everybody_talks_to_everybody(client: str, server: str, servers: Servers, pki: PKI) -> None:
    found = fetch(client, servers.port(server), pki.ca.certificate_file)
    assert found["page"] == [200, len(ssl_apps.PAGE), hashlib.sha256(ssl_apps.PAGE).hexdigest()]
    if server == "nginx":
        assert found["upload"][0] == 405  # it only has files
    else:
        assert found["upload"] == [200, 64, hashlib.sha256(ssl_apps.UPLOAD).hexdigest()]
    assert found["connections"] == 2


@pytest.mark.parametrize("client", ssl_apps.CLIENTS)
def test_every_client_verifies(client: str, servers: Servers, pki: PKI) -> None:
    found = fetch(client, servers.port("nginx"), pki.untrusted_ca.certificate_file)
    assert found == {"refused": "unable to get local issuer certificate", "connections": 1}


@pytest.mark.parametrize("server", ssl_apps.SERVERS)
def test_servers_serve_others(server: str, servers: Servers, pki: PKI) -> None:
    """curl, for one: somebody else's TLS and HTTP."""
    url = f"https://localhost:{servers.port(server)}/"
    with peers.curl("--noproxy", "*", "--cacert", pki.ca.certificate_file, url) as fetching:
        assert fetching.wait() == 0, fetching.transcript()
    assert fetching.output == ssl_apps.PAGE


@pytest.mark.parametrize("lowlevel", ["there", "blocked"])
@pytest.mark.parametrize("which", ["installed", "newest"])
def test_pip_fetches_a_package(which: str, lowlevel: str, tmp_path: Path) -> None:
    """Through whatever index it is configured for. The newest pip's own copy of truststore looks through SSLContext and
    SSLSocket to what is below them. `blocked` is as in an interpreter that has no `_ssl`."""
    python = sys.executable if which == "installed" else venvs.python_with("newest-pip", "--upgrade", "pip", "cffi")
    done = subprocess.run(
        [python, "-c", RUN_PIP.format(blocked=lowlevel == "blocked"), "download", *PIP_OPTIONS, "six"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env=environment(),
        timeout=5 * DEADLINE,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(tmp_path.glob("six-*"))
    if (tmp_path / "connections").read_text() == "0":
        pytest.skip("the index that pip is configured for is not reached by TLS")


PIP_OPTIONS = ["--no-cache-dir", "--no-deps"]

RUN_PIP = """
import atexit, sys
from runpy import run_module

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name == "_ssl":
            raise ModuleNotFoundError("No module named '_ssl'", name=name)

if {blocked}:
    sys.meta_path.insert(0, Blocker())

from txmembio.connection import Connection

def make(self, *arguments, **more):
    made.append(self)
    original(self, *arguments, **more)

made = []
original, Connection.__init__ = Connection.__init__, make
atexit.register(lambda: open("connections", "w").write(str(len(made))))
sys.argv[1:1] = ["run", "--install", "ssl", "-m", "pip"]
run_module("txmembio", run_name="__main__", alter_sys=True)
"""
