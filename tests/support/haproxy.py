"""HAProxy, from a configuration made for the test: as a TLS server, and as a TLS client of what it is a proxy for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from . import peers
from .pki import PKI, Credential
from .process import Process
from .waiting import free_port, wait_for_port

#: One thread: each has sessions of its own to resume.
CONFIGURATION = """
global
    nbthread 1
    log stderr format raw local0
defaults
    mode http
    timeout connect 60s
    timeout client 60s
    timeout server 60s
"""

TLS_SERVER = """
frontend tls
    bind 127.0.0.1:{port} ssl crt {credential.combined_file} tls-ticket-keys {keys}
    http-request return status 200 content-type text/plain lf-string "%[ssl_fc_is_resumed,iif(r,.)]"
"""

PROXY = """
listen plaintext
    bind 127.0.0.1:{port}
    http-reuse never
    server behind 127.0.0.1:{behind} ssl verify required ca-file {ca} sni str(localhost) verifyhost localhost
"""


@contextmanager
def tls_server(folder: Path, credential: Credential, key_file: Path) -> Iterator[int]:
    """The port of a TLS server with these ticket keys; its page is `r` where the session was resumed, else `.`."""
    port = free_port()
    with _running(folder, port, TLS_SERVER.format(port=port, credential=credential, keys=key_file)):
        yield port


@contextmanager
def proxy(folder: Path, pki: PKI, behind: int) -> Iterator[int]:
    """The port of a proxy, in plaintext, for the TLS server at the port `behind`, whose sessions it resumes."""
    port = free_port()
    with _running(folder, port, PROXY.format(port=port, behind=behind, ca=pki.ca.certificate_file)):
        yield port


@contextmanager
def _running(folder: Path, port: int, section: str) -> Iterator[Process]:
    program = peers.require("haproxy")
    configuration = folder / "haproxy.cfg"
    configuration.write_text(CONFIGURATION + section, encoding="utf-8")
    with Process([program, "-db", "-f", configuration]) as process:
        wait_for_port(process, port)
        yield process
