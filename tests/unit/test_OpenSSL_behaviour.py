"""`txmembio.OpenSSL` does what pyOpenSSL does: the same program with each, step by step."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization

from support import peers
from support.pki import PKI
from support.process import DEADLINE, environment

PROGRAM = Path(peers.__file__).with_name("openssl_behaviour.py")

Results = dict[str, Any]


@pytest.fixture(scope="module")
def folder(pki: PKI, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the program reads."""
    made = tmp_path_factory.mktemp("behaviour")
    server, client, other = pki.server_rsa, pki.client, pki.issue("other.example")
    key = serialization.load_pem_private_key(server.private_key, None)
    encrypted = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.BestAvailableEncryption(b"secret"),
    )
    for name, contents in {
        "ca.pem": pki.ca.certificate,
        "intermediate.pem": pki.intermediate.certificate,
        "server.pem": server.chain,
        "server.key": server.private_key,
        "encrypted.key": encrypted,
        "client.pem": client.chain,
        "client.key": client.private_key,
        "other.pem": other.chain,
        "other.key": other.private_key,
        "garbage.pem": b"garbage",
    }.items():
        (made / name).write_bytes(contents)
    return made


def run(python: str, folder: Path, *options: str) -> Results:
    done = subprocess.run(
        [python, str(PROGRAM), str(folder), *options],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    results: Results = json.loads(done.stdout)
    return results


@pytest.fixture(scope="module")
def theirs(folder: Path) -> Results:
    return run(peers.pyopenssl_python(), folder)


@pytest.fixture(scope="module")
def ours(folder: Path) -> Results:
    return run(sys.executable, folder, "--install")


def scenarios() -> list[str]:
    text = PROGRAM.read_text(encoding="utf-8")
    return [line[4 : line.index("(")] for line in text.splitlines() if line.startswith("def ") and line[4].isupper()]


@pytest.mark.parametrize("scenario", scenarios())
def test_does_what_pyopenssl_does(scenario: str, ours: Results, theirs: Results) -> None:
    assert not (isinstance(theirs[scenario], dict) and "raised" in theirs[scenario])  # the scenario got to its end
    assert ours[scenario] == theirs[scenario]
