"""What the demonstration keeps on disk: a development certificate, and pages to serve."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import trustme

__all__ = ["FOLDER", "LINES_PAGE", "MODULES_PAGE", "NAMES", "Files", "make_files"]

FOLDER = "txmembio-demo"
"""In the working directory: commands that the demonstration suggests name these files, so they have to stay."""

NAMES = ("localhost", "127.0.0.1", "::1")
"""Whom the certificate is for."""

LINES_PAGE = "lines.txt"
MODULES_PAGE = "modules.rpy"

LINES = 1_000_000
"""Numbered lines of 10 bytes: 10 MB, some six hundred full TLS records."""

INDEX = f"""<!doctype html>
<title>txmembio</title>
<h1>txmembio</h1>
<p>TLS by OpenSSL, in memory. No pyOpenSSL. <a href="{LINES_PAGE}">A million lines</a>,
<a href="{MODULES_PAGE}">the modules that this site has imported</a>.
"""

MODULES = """import sys

from twisted.web.static import Data

resource = Data("\\n".join(sys.modules).encode(), "text/plain")
"""
"""`twist web` runs a .rpy page, so this tells what the site's own process has imported."""


@dataclass(frozen=True)
class Files:
    """Absolute paths, and what is in them."""

    roots: Path
    """The certificate of the authority that clients have to trust, PEM."""
    certificate: Path
    key: Path
    pages: Path
    """A folder for `twist web --path`."""
    lines: bytes
    """What LINES_PAGE holds."""
    fresh: bool
    """Whether the certificate was made now, not in an earlier run."""


def make_files(folder: Path) -> Files:
    """Makes what is not there yet; raises OSError where it cannot. The authority's key is thrown away, so that nothing
    but the one certificate for this machine can ever come from it."""
    folder = folder.absolute()
    pages = folder / "pages"
    pages.mkdir(parents=True, exist_ok=True)
    roots, certificate, key = folder / "ca.pem", folder / "cert.pem", folder / "key.pem"
    fresh = not certificate.exists()
    if fresh:
        authority = trustme.CA(organization_name="txmembio demo")
        issued = authority.issue_cert(*NAMES)
        roots.write_bytes(authority.cert_pem.bytes())
        with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
            file.write(issued.private_key_pem.bytes())
        # The last one: a run that was interrupted before leaves none, and the next one begins anew.
        certificate.write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    lines = b"".join(b"%09d\n" % number for number in range(LINES))
    (pages / LINES_PAGE).write_bytes(lines)
    (pages / "index.html").write_text(INDEX, encoding="utf-8")
    (pages / MODULES_PAGE).write_text(MODULES, encoding="utf-8")
    return Files(roots, certificate, key, pages, lines, fresh)
