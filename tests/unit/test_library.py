"""Randomness, versions and places of the OpenSSL that runs."""

from __future__ import annotations

import ssl

import pytest

import txmembio
from support.sslobjects import outcome
from txmembio import library


def test_random_bytes() -> None:
    assert library.random_bytes(0) == b""
    assert [len(library.random_bytes(count)) for count in (1, 16, 100_000)] == [1, 16, 100_000]
    assert library.random_bytes(16) != library.random_bytes(16)
    assert library.has_randomness() is True
    for bad, error in ((-5, ValueError), (2**40, OverflowError), ("5", TypeError)):
        with pytest.raises(error):
            library.random_bytes(bad)  # type: ignore[arg-type]


@pytest.mark.parametrize("seed", ["text", b"bytes", bytearray(b"more"), memoryview(b"bytes"), 5, None], ids=repr)
def test_seeds(seed: object) -> None:
    assert outcome(library.add_randomness, seed, 0.5) == outcome(ssl.RAND_add, seed, 0.5)


def test_versions() -> None:
    assert library.version_info(ssl.OPENSSL_VERSION_NUMBER) == ssl.OPENSSL_VERSION_INFO
    assert library.version_info(0x30500060) == (3, 5, 0, 6, 0)


@pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER != ssl.OPENSSL_VERSION_NUMBER,
    reason="the interpreter's ssl runs on another OpenSSL, which looks in other places",
)
def test_places() -> None:
    paths = ssl.get_default_verify_paths()
    assert library.built_in_paths() == paths[2:]
