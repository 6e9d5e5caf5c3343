"""Writes the certificates that the scenarios need into a folder: `python certificates.py FOLDER`, where trustme is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from support.pki import PKI


def write(pki: PKI, folder: Path) -> None:
    """`ca.pem`, and a file with key and chain for everybody who has something to show."""
    (folder / "ca.pem").write_bytes(pki.ca.certificate)
    for name in ("server", "untrusted", "wrong_name", "client", "untrusted_client"):
        credential = getattr(pki, name)
        (folder / f"{name}.pem").write_bytes(credential.private_key + credential.chain)


if __name__ == "__main__":
    sys.path[:0] = [str(Path(__file__).resolve().parents[1])]
    import tempfile

    from support.pki import PKI

    destination = Path(sys.argv[1])
    destination.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        write(PKI(Path(scratch)), destination)
