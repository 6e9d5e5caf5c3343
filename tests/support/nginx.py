"""nginx, from a configuration made for the test: as a TLS server, and as a TLS client of what it is a proxy for."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from . import peers
from .pki import PKI, Credential
from .process import Process
from .waiting import free_port, wait_for_port

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/nginx.pid;
error_log stderr;
events {{}}
http {{
    access_log off;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
{server}
    }}
}}
"""

TLS_SERVER = """
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {credential.chain_file};
        ssl_certificate_key {credential.key_file};
        ssl_session_cache off;
{keys}
        location / {{ return 200 "$ssl_session_reused"; }}
"""

SITE = """
        listen 127.0.0.1:{port} ssl;
        ssl_protocols TLSv1.2 TLSv1.3;
        ssl_certificate {credential.chain_file};
        ssl_certificate_key {credential.key_file};
        root {pages};
"""

PROXY = """
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass https://127.0.0.1:{behind};
            proxy_ssl_protocols TLSv1.2 TLSv1.3;
            proxy_ssl_session_reuse on;
            proxy_ssl_server_name on;
            proxy_ssl_name localhost;
            proxy_ssl_verify on;
            proxy_ssl_verify_depth 5;
            proxy_ssl_trusted_certificate {ca};
        }}
"""


@contextmanager
def tls_server(folder: Path, credential: Credential, key_files: Sequence[Path]) -> Iterator[int]:
    """The port of a TLS server with these ticket keys; its page is `r` where the session was resumed, else `.`."""
    port = free_port()
    keys = "".join(f"        ssl_session_ticket_key {path};\n" for path in key_files)
    with _running(folder, port, TLS_SERVER.format(port=port, credential=credential, keys=keys)):
        yield port


@contextmanager
def site(folder: Path, credential: Credential, pages: Path) -> Iterator[int]:
    """The port of a TLS server of the files in a folder."""
    port = free_port()
    with _running(folder, port, SITE.format(port=port, credential=credential, pages=pages)):
        yield port


@contextmanager
def proxy(folder: Path, pki: PKI, behind: int) -> Iterator[int]:
    """The port of a proxy, in plaintext, for the TLS server at the port `behind`, whose sessions it resumes."""
    port = free_port()
    with _running(folder, port, PROXY.format(port=port, behind=behind, ca=pki.ca.certificate_file)):
        yield port


@contextmanager
def _running(folder: Path, port: int, server: str) -> Iterator[Process]:
    program = peers.require("nginx")
    configuration = folder / "nginx.conf"
    configuration.write_text(CONFIGURATION.format(folder=folder, server=server), encoding="utf-8")
    with Process([program, "-e", "stderr", "-p", folder, "-c", configuration]) as process:
        wait_for_port(process, port)
        yield process
