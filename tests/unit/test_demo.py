"""`python -m txmembio demo`: what it shows, what it leaves, and what it says when something fails."""

from __future__ import annotations

import importlib.util
import os
import re
import shlex
import shutil
import socket
import ssl
import sys
import urllib.request
from pathlib import Path

import pytest

from support import peers
from support.pki import PKI
from support.process import DEADLINE, Process, environment

pytest.importorskip("twisted.web", reason="Twisted is not installed")
pytest.importorskip("trustme", reason="trustme is not installed")

LABELS = ["txmembio", "certificate", "site", "handshake", "Agent", "curl", "pyOpenSSL"]
"""The lines of a demonstration that works, by what they begin with."""

BYTES = "10,000,000 bytes, each as it should be"


def demo(folder: Path, *options: str, **variables: str) -> Process:
    """A demonstration in `folder`, started."""
    command = [sys.executable, "-m", "txmembio", "demo", *options]
    return Process(command, cwd=folder, env=environment() | variables)


def lines_of(running: Process) -> dict[str, str]:
    """What it printed up to the first empty line, by label."""
    shown = running.output.decode().partition("\n\n")[0]
    return {line[:12].strip(): line[13:] for line in shown.splitlines()}


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port


def fetch(port: int, folder: Path, page: str = "") -> bytes:
    """A page of the site, by the standard library."""
    context = ssl.create_default_context(cafile=folder / "txmembio-demo" / "ca.pem")
    with urllib.request.urlopen(f"https://127.0.0.1:{port}/{page}", context=context, timeout=DEADLINE) as answer:
        body: bytes = answer.read()
        return body


def test_demo_shows_what_works(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        assert running.wait() == 0, running.transcript()
    lines = lines_of(running)
    assert list(lines) == LABELS
    assert re.search(r"on port [1-9]\d* of 127\.0\.0\.1$", lines["site"])
    assert re.fullmatch(
        r"TLSv1\.3, TLS_\w+, group [\w-]+, ALPN (h2|http/1\.1), in [\d.]+ ms",
        lines["handshake"],
    )
    assert lines["Agent"].startswith(BYTES)
    assert lines["certificate"] == f"made, in {tmp_path / 'txmembio-demo'}"
    assert not running.errors


def test_demo_fetches_with_curl(tmp_path: Path) -> None:
    peers.require("curl")
    with demo(tmp_path) as running:
        assert running.wait() == 0, running.transcript()
    assert re.fullmatch(rf"{BYTES}, over HTTP/[\d.]+, in [\d.]+ ms", lines_of(running)["curl"])


def test_demo_needs_no_curl(tmp_path: Path) -> None:
    with demo(tmp_path, PATH=str(tmp_path)) as running:
        assert running.wait() == 0, running.transcript()
    assert lines_of(running)["curl"] == "not installed, so not tried"


@pytest.mark.skipif(
    importlib.util.find_spec("OpenSSL") is not None, reason="pyOpenSSL is installed, so Twisted imports it"
)
def test_demo_imports_no_pyopenssl(tmp_path: Path) -> None:
    with demo(tmp_path) as running:
        assert running.wait() == 0, running.transcript()
    assert lines_of(running)["pyOpenSSL"].startswith("never imported")


def test_demo_leaves_its_files_and_uses_them_again(tmp_path: Path) -> None:
    folder = tmp_path / "txmembio-demo"
    with demo(tmp_path) as first:
        assert first.wait() == 0, first.transcript()
    roots = (folder / "ca.pem").read_bytes()
    if os.name == "posix":
        assert (folder / "key.pem").stat().st_mode & 0o077 == 0, "others can read the private key"
    with demo(tmp_path) as second:
        assert second.wait() == 0, second.transcript()
    assert lines_of(second)["certificate"] == f"from an earlier run, in {folder}"
    assert (folder / "ca.pem").read_bytes() == roots
    assert {path.name for path in tmp_path.iterdir()} == {"txmembio-demo"}


def test_commands_it_suggests_work(tmp_path: Path) -> None:
    """Typed as they stand: `twist web …`, and curl."""
    port = free_port()
    folder = tmp_path / "with a space"
    folder.mkdir()
    with demo(folder, "--port", str(port)) as running:
        assert running.wait() == 0, running.transcript()
    again, twist, curl = (line.strip() for line in running.output.decode().splitlines()[-3:])
    here, _, command = again.partition(" && ")
    assert shlex.split(here) == ["cd", str(folder)]
    python, *arguments = shlex.split(command)
    assert os.path.normpath(python) == os.path.normpath(sys.executable)
    assert arguments == ["-m", "txmembio", "demo", "--keep", "--port", str(port)]
    with Process(shlex.split(twist), cwd=tmp_path, env=environment()) as site:
        site.wait_for(rf"starting on {port}")
        assert b"<h1>txmembio</h1>" in fetch(port, folder)
        with Process([peers.require("curl"), "--silent", *shlex.split(curl)[1:]]) as fetching:
            assert fetching.wait() == 0, fetching.transcript()
        assert b"<h1>txmembio</h1>" in fetching.output


def test_kept_site_goes_on_until_it_is_ended(tmp_path: Path) -> None:
    with demo(tmp_path, "--keep") as running:
        port = int(running.wait_for(r"https://localhost:(\d+)/ *\n")[1])
        assert len(fetch(port, tmp_path, "lines.txt")) == 10_000_000
        running.wait_for(r'"GET /lines\.txt HTTP/1\.1" 200 10000000 .*urllib')  # its log
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), DEADLINE)


def failure(running: Process) -> str:
    """The last line of a demonstration that has failed."""
    assert running.wait() == 1, running.transcript()
    assert not running.errors
    last = running.output.decode().splitlines()[-1]
    assert last.startswith("txmembio demo failed: ")
    return last


def test_a_port_in_use_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        with demo(tmp_path, "--port", str(port)) as running:
            assert f"127.0.0.1:{port}" in failure(running)


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "txmembio-demo").touch()
    with demo(tmp_path) as running:
        assert "txmembio-demo" in failure(running)


def test_a_damaged_certificate_is_named(tmp_path: Path) -> None:
    (tmp_path / "txmembio-demo").mkdir()
    (tmp_path / "txmembio-demo" / "cert.pem").write_text("-----BEGIN CERTIFICATE-----\n")
    (tmp_path / "txmembio-demo" / "key.pem").touch()
    with demo(tmp_path) as running:
        assert "starting twist web: " in failure(running)
    assert "cert.pem" in failure(running) or "key.pem" in failure(running)


def test_a_site_that_is_not_trusted_is_a_failed_handshake(tmp_path: Path, pki: PKI) -> None:
    folder = tmp_path / "txmembio-demo"
    folder.mkdir()
    shutil.copy(pki.untrusted.chain_file, folder / "cert.pem")
    shutil.copy(pki.untrusted.key_file, folder / "key.pem")
    shutil.copy(pki.ca.certificate_file, folder / "ca.pem")
    with demo(tmp_path) as running:
        assert "the handshake: [SSL: CERTIFICATE_VERIFY_FAILED]" in failure(running)


@pytest.mark.skipif(os.name != "posix", reason="takes POSIX's true and false for curl")
@pytest.mark.parametrize(("program", "said"), [("true", "received 0 bytes"), ("false", "exit status 1")])
def test_a_curl_that_fails_is_named(program: str, said: str, tmp_path: Path) -> None:
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "curl").symlink_to(peers.require(program))
    with demo(tmp_path, PATH=f"{programs}{os.pathsep}{os.environ['PATH']}") as running:
        last = failure(running)
    assert "curl" in last and said in last
