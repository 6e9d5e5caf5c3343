"""The environment itself, without pyOpenSSL: what pip and `audit` say of it. docs/migrating.md quotes them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from support.applications import STOCK, Applications, pip_check

pytestmark = [pytest.mark.applications, pytest.mark.skipif(STOCK is not None, reason="this one has pyOpenSSL")]


def test_pip_check_misses_pyopenssl_and_nothing_else(apps: Applications) -> None:
    """pip does not look at extras: not a word of treq, which requires `twisted[tls]`."""
    assert sorted(pip_check(apps.python)) == [
        "foolscap 24.9.0 requires pyopenssl, which is not installed.",
        "matrix-synapse 1.163.2 requires pyopenssl, which is not installed.",
        "scrapy 2.19.0 requires pyopenssl, which is not installed.",
        "txsni 0.2.0 requires pyopenssl, which is not installed.",
    ]


def test_audit_misses_nothing(apps: Applications, tmp_path: Path) -> None:
    done = apps.finish("-m", "txmembio", "audit", "--json", cwd=tmp_path, switch=False)
    told = json.loads(done.output)
    assert (told["pyopenssl"], told["missing"], told["unreadable"]) == (None, False, [])
    required = {one["distribution"].lower(): (one["extras"], one["asked_by"]) for one in told["requirements"]}
    assert required["scrapy"] == required["matrix-synapse"] == ([], [])
    assert required["twisted"] == (["tls"], ["TxSNI", "foolscap", "matrix-synapse", "treq"])
    modules = {module["module"]: module for module in told["modules"]}
    assert {module["distribution"].lower() for module in modules.values()} >= {
        "autobahn",
        "matrix-synapse",
        "scrapy",
        "service-identity",
        "twisted",
    }
    names = {name["name"] for name in modules["synapse.crypto.context_factory"]["names"]}
    assert {"SSL.Context.use_certificate_chain_file", "SSL.SSL_CB_HANDSHAKE_DONE", "crypto.get_elliptic_curve"} <= names
