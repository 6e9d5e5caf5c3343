"""What a measurement stands on: the machine it was made on, and the certificate of its servers."""

from __future__ import annotations

import os
import platform
import sysconfig
from importlib import metadata
from pathlib import Path
from typing import Any

import trustme


def make_pem(folder: Path) -> Path:
    """A file in *folder* with a certificate for localhost on P-256, and its key."""
    pem = folder / "server.pem"
    certificate = trustme.CA().issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
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
