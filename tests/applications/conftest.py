"""What the tests of applications share: their environment, with each way to put txmembio into it."""

from __future__ import annotations

import pytest

from support import applications
from support.pki import PKI


@pytest.fixture(params=["OpenSSL", "OpenSSL,twisted"])
def apps(request: pytest.FixtureRequest, pki: PKI) -> applications.Applications:
    """The applications, on both targets in turn."""
    python, path = applications.environment()
    targets: str = request.param
    if applications.STOCK and targets != "OpenSSL":
        pytest.skip("pyOpenSSL is tried once")
    return applications.Applications(python, path, "" if applications.STOCK else targets, pki)
