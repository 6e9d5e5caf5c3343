"""The world's web programs, to talk to: Chromium, tinyproxy, HAProxy, treq. Used as those of `support.peers` are."""

from __future__ import annotations

import functools
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from .peers import escape, require
from .pki import PKI, Credential
from .process import Process, environment
from .reactors import program
from .venvs import CLONE

#: The program that serves.
WEB_SITE = Path(__file__).with_name("web_site.py")

#: The program that fetches.
AGENT_FETCH = Path(__file__).with_name("agent_fetch.py")


@contextmanager
def site(credential: Credential, more: str = "") -> Iterator[tuple[Process, int]]:
    """`web_site` on a `membiotls:` endpoint, with `more` in its string; the process and the port."""
    listen = f"membiotls:0:interface=127.0.0.1:certificate={escape(credential.combined_file)}{more}"
    with Process(program(WEB_SITE, listen), env=environment()) as process:
        yield process, int(process.wait_for(r"port (\d+)")[1])


def chromium(pki: PKI, home: Path, url: str) -> Process:
    """Headless Chromium, as from `browser()`; it prints the document once it is loaded."""
    return browser(pki, home, "--dump-dom", url)


def browser(pki: PKI, home: Path, *arguments: str) -> Process:
    """Headless Chromium with an empty profile in `home`; it trusts `pki.ca`.

    The CA gets into its trust store the way that a person's does, by NSS's certutil: no check is turned off.
    """
    program, certutil = require("chromium"), require("certutil")
    database = home / ".pki" / "nssdb"
    database.mkdir(parents=True)
    for command in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "tests", "-i", pki.ca.certificate_file]):
        subprocess.run([certutil, "-d", f"sql:{database}", *command], check=True, capture_output=True)
    options = ["--headless", "--disable-gpu", "--disable-quic", "--no-first-run", f"--user-data-dir={home / 'profile'}"]
    options += ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
    options += ["--no-sandbox"]  # which refuses to run as root, as tests in containers do
    return Process([program, *options, *arguments], env={**environment(), "HOME": str(home)})


@contextmanager
def tinyproxy(folder: Path, *more: str) -> Iterator[tuple[Process, int]]:
    """An HTTP proxy, with `more` lines in its configuration; the process and the port."""
    program = require("tinyproxy")
    port = _free_port()
    configuration = folder / "tinyproxy.conf"
    lines = [f"Port {port}", "Listen 127.0.0.1", "Timeout 60", "MaxClients 20", "LogLevel Info", *more]
    configuration.write_text("\n".join([*lines, ""]))
    with Process([program, "-d", "-c", configuration]) as process:
        process.wait_for("Accepting connections")
        yield process, port


@contextmanager
def https_proxy(pki: PKI, folder: Path, *more: str) -> Iterator[tuple[Process, int]]:
    """tinyproxy with HAProxy in front, which does TLS; the process of tinyproxy, and the port of HAProxy."""
    program = require("haproxy")
    with ExitStack() as stack:
        proxy, proxy_port = stack.enter_context(tinyproxy(folder, *more))
        # HAProxy gets its socket from here, so that there is no time at which nobody listens.
        listening = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        listening.set_inheritable(True)
        configuration = folder / "haproxy.cfg"
        configuration.write_text(
            "defaults\n mode tcp\n timeout connect 60s\n timeout client 60s\n timeout server 60s\n"
            f"listen proxy\n bind fd@{listening.fileno()} ssl crt {pki.server.combined_file}\n"
            f" server tinyproxy 127.0.0.1:{proxy_port}\n"
        )
        stack.enter_context(Process([program, "-db", "-f", configuration], pass_fds=[listening.fileno()]))
        yield proxy, listening.getsockname()[1]


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port: int = listening.getsockname()[1]
        return port


def treq_folder() -> str:
    """A folder to put on the path: treq, without the pyOpenSSL that its package asks for. Kept in the clone."""
    folder, problem = _treq_folder()
    if problem:
        pytest.skip(f"treq cannot be installed: {problem}")
    return folder


@functools.cache
def _treq_folder() -> tuple[str, str]:
    """The folder, and what went wrong, if something did."""
    folder = CLONE / ".peer-venv" / "treq-{}.{}".format(*sys.version_info)
    complete = folder / "complete"  # written last
    if not complete.exists():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--upgrade"]
        command += ["--no-deps", "--target", str(folder), "treq", "multipart"]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            return str(folder), (done.stderr or done.stdout).strip().splitlines()[-1]
        complete.touch()
    return str(folder), ""
