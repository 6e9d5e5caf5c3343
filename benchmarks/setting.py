"""What a measurement stands on: the machine it was made on, and the certificate of its servers."""

from __future__ import annotations

import os
import platform
import sysconfig
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import Any

import trustme


def make_pem(folder: Path, key_type: trustme.KeyType = trustme.KeyType.ECDSA) -> Path:
    """A file in *folder* with a certificate for localhost, on P-256 or for RSA with 2048 bits, and its key."""
    pem = folder / ("server.pem" if key_type is trustme.KeyType.ECDSA else "server-rsa.pem")
    certificate = trustme.CA().issue_cert("localhost", key_type=key_type)
    certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
    return pem


def machine() -> dict[str, Any]:
    """What the JSON says about the machine, the Python and the cffi."""
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "python_configured_with": sysconfig.get_config_var("CONFIG_ARGS"),  # --enable-optimizations, or not
        "cffi": metadata.version("cffi"),
        "platform": platform.platform(),
        "machine": platform.machine(),
        "processors": os.cpu_count(),
        "load": os.getloadavg()[0] if hasattr(os, "getloadavg") else None,
    }


def versions(*names: str) -> str:
    """Those of the packages *names* that are installed, with their versions, as a heading has them."""
    found = []
    for name in names:
        with suppress(metadata.PackageNotFoundError):
            found.append(f"{name.capitalize() if name[0] == 't' else name} {metadata.version(name)}")
    return ", ".join(found)
