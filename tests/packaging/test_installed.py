"""What this run tests is what is installed, where it claims to."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

import txmembio
from support.builds import CHECKOUT


@pytest.mark.skipif(
    os.environ.get("TXMEMBIO_TEST_INSTALLED") != "1",
    reason="the checkout is tested (TXMEMBIO_TEST_INSTALLED is not set)",
)
def test_what_is_tested_is_what_is_installed() -> None:
    assert Path(txmembio.__file__).is_relative_to(sys.prefix)
    assert not Path(txmembio.__file__).is_relative_to(CHECKOUT / "txmembio")
