"""Fixtures that every kind of test shares. Helpers are in `support`, which pytest's `pythonpath` puts within reach."""

from __future__ import annotations

import os
from collections.abc import Generator

import hypothesis
import pytest

import txmembio
from support.pki import PKI

# No deadline: an example's time depends on what else the machine does, and is not what these tests are about. Where CI
# is set, the examples are the same every time: a change should not be turned away for what somebody else's did.
hypothesis.settings.register_profile("txmembio", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("txmembio")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """pytest-twisted wraps the inside of a Hypothesis test, and once more for each of its parameters, as they share it;
    from the second on that fails. So what it put there is taken away after each.
    """
    handle = getattr(pyfuncitem.obj, "hypothesis", None)
    inner_test = getattr(handle, "inner_test", None)
    try:
        return (yield)
    finally:
        if handle is not None:
            handle.inner_test = inner_test


def pytest_report_header() -> str:
    """Say which OpenSSL and which checkout or wheel is being tested: a failure report without them is worth little."""
    return f"txmembio: {txmembio.__file__} with {txmembio.OPENSSL_VERSION}"


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    """Certificates of this session."""
    return PKI(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session", params=["TLSv1_2", "TLSv1_3"], ids=["tls12", "tls13"])
def tls_version(request: pytest.FixtureRequest) -> txmembio.TLSVersion:
    """Each of the two versions in turn."""
    version: txmembio.TLSVersion = txmembio.TLSVersion[request.param]
    return version
