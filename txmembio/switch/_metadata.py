"""What `importlib.metadata` says of pyOpenSSL while `txmembio.OpenSSL` stands in for it."""

from __future__ import annotations

from importlib.metadata import Distribution
from os import PathLike
from pathlib import Path

import txmembio
from txmembio.OpenSSL.version import __version__

__all__ = ["PyOpenSSL"]


class PyOpenSSL(Distribution):
    """Its name and version. Some programs (Synapse) ask at start whether what they require is installed."""

    def read_text(self, filename: str | PathLike[str]) -> str | None:
        """The metadata; nothing else is there."""
        if str(filename) != "METADATA":
            return None
        return f"Metadata-Version: 2.1\nName: pyOpenSSL\nVersion: {__version__}\nSummary: txmembio stands in for it\n"

    def locate_file(self, path: str | PathLike[str]) -> Path:
        """Below the folder that txmembio lies in."""
        return Path(txmembio.__file__).parents[1] / path
