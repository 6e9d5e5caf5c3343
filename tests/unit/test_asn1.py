"""Object identifiers, against the standard library's."""

from __future__ import annotations

import copy
import pickle
import ssl

import pytest

import txmembio
from support.sslobjects import outcome
from txmembio.asn1 import ASN1Object, by_name, by_nid

THEIRS = ssl._ASN1Object

same_openssl = pytest.mark.skipif(
    txmembio.OPENSSL_VERSION_NUMBER != ssl.OPENSSL_VERSION_NUMBER,
    reason="the interpreter's ssl runs on another OpenSSL, which has other tables",
)


@same_openssl
def test_every_number() -> None:
    for nid in [-1, *range(1500), 100_000, 2**31 - 1]:
        ours, theirs = outcome(ASN1Object.fromnid, nid), outcome(THEIRS.fromnid, nid)
        assert ours == theirs, nid


@pytest.mark.parametrize(
    "text",
    ["serverAuth", "TLS Web Server Authentication", "1.3.6.1.5.5.7.3.1", "serverauth", "", "1.2.3.4.5.6.7", "1."],
)
def test_names(text: str) -> None:
    assert outcome(ASN1Object.fromname, text) == outcome(THEIRS.fromname, text)
    assert outcome(ASN1Object, text) == outcome(THEIRS, text)


def test_what_is_unknown_is_named() -> None:
    with pytest.raises(ValueError, match="unknown object 'nothing'"):
        by_name("nothing", name=True)
    with pytest.raises(ValueError, match="unknown NID 100000"):
        by_nid(100_000)


def test_fields_and_copies() -> None:
    server = ASN1Object("1.3.6.1.5.5.7.3.1")
    assert (server.nid, server.shortname, server.oid) == (129, "serverAuth", "1.3.6.1.5.5.7.3.1")
    assert server.longname == "TLS Web Server Authentication"
    assert pickle.loads(pickle.dumps(server)) == server == copy.deepcopy(server)
    assert server == txmembio.Purpose.SERVER_AUTH and isinstance(txmembio.Purpose.SERVER_AUTH, ASN1Object)
    for name in ("SERVER_AUTH", "CLIENT_AUTH"):
        assert tuple(txmembio.Purpose[name]) == tuple(ssl.Purpose[name])
