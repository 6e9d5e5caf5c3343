"""Fixtures of the tests that need no more than connections joined in memory."""

from __future__ import annotations

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI


@pytest.fixture(scope="session")
def shared(pki: PKI, tls_version: txmembio.TLSVersion) -> Contexts:
    """A client's and a server's context that many connections use, as they do in life; tests change them nowhere."""
    return pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)


@pytest.fixture
def contexts(pki: PKI, tls_version: txmembio.TLSVersion) -> Contexts:
    """A client's and a server's context of this test's own, to be changed."""
    return pair.client_context(pki, tls_version), pair.server_context(pki, tls_version)


@pytest.fixture
def ends(shared: Contexts) -> Pair:
    """A pair whose handshake is done."""
    return pair.connect(*shared)


@pytest.fixture
def fresh(shared: Contexts) -> Pair:
    """A pair that has said nothing yet."""
    return pair.unconnected(*shared)
