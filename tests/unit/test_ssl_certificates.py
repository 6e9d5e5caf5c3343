"""Certificates as text, and the times in them, against the standard library's."""

from __future__ import annotations

import ssl

import pytest

import txmembio.ssl
from support.pki import PKI
from support.sslobjects import outcome

TIMES = [
    "Jan  5 09:34:43 2018 GMT",
    "Jan 05 09:34:43 2018 GMT",
    "JaN  5 09:34:43 2018 GmT",
    "Dec 31 23:59:60 2008 GMT",
    "Jan  5 09:34:61 2018 GMT",
    "Jan  5 09:34:62 2018 GMT",
    "Dec 31 23:59:59 9999 GMT",
    "Jan  5 09:34 2018 GMT",
    "Jan  5 09:34:43 2018",
    "Jan  5 09:34:43 2018 UTC",
    "Jan 35 09:34:43 2018 GMT",
    "Jon  5 09:34:43 2018 GMT",
    "Feb 29 00:00:00 2023 GMT",
    "",
]


@pytest.mark.parametrize("time", TIMES)
def test_times(time: str) -> None:
    assert outcome(txmembio.ssl.cert_time_to_seconds, time) == outcome(ssl.cert_time_to_seconds, time)


def test_der_and_pem(pki: PKI) -> None:
    der = pki.server.certificate_der
    pem = ssl.DER_cert_to_PEM_cert(der)
    assert txmembio.ssl.DER_cert_to_PEM_cert(der) == pem
    assert txmembio.ssl.PEM_cert_to_DER_cert(pem) == der
    for length in range(200):
        assert txmembio.ssl.DER_cert_to_PEM_cert(bytes(length)) == ssl.DER_cert_to_PEM_cert(bytes(length))


@pytest.mark.parametrize("pem", ["", "-----BEGIN CERTIFICATE-----", "x-----BEGIN CERTIFICATE-----\nx", "-----BEGIN CE"])
def test_what_is_no_certificate(pem: str) -> None:
    assert outcome(txmembio.ssl.PEM_cert_to_DER_cert, pem) == outcome(ssl.PEM_cert_to_DER_cert, pem)
