"""Files that this process may not read, whoever runs the tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: The user and group called nobody, by the number that Linux, BSD and macOS give to one who owns nothing.
NOBODY = 65534


@contextmanager
def unreadable(folder: Path) -> Iterator[None]:
    """Nobody may read *folder* until the block ends; root, who may, is somebody else meanwhile."""
    mode = folder.stat().st_mode
    folder.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(mode)
