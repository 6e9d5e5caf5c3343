"""match_hostname(), against the standard library's where there is one."""

from __future__ import annotations

import ssl
import sys
from typing import Any

import pytest

import txmembio.ssl
from support.sslobjects import Outcome, outcome
from txmembio.ssl import hostnames

pytestmark = [
    pytest.mark.skipif(sys.version_info >= (3, 12), reason="ssl.match_hostname() is gone since Python 3.12"),
    pytest.mark.filterwarnings("ignore:ssl.match_hostname:DeprecationWarning"),
]


def certificate(*names: str, common_name: str | None = None, addresses: tuple[str, ...] = ()) -> dict[str, Any]:
    made: dict[str, Any] = {"subject": ((("commonName", common_name),),) if common_name else ()}
    listed = [("DNS", name) for name in names] + [("IP Address", address) for address in addresses]
    return {**made, "subjectAltName": tuple(listed)} if listed else made


CERTIFICATES: list[Any] = [
    None,
    {},
    certificate("example.com"),
    certificate("EXAMPLE.com", "other.example"),
    certificate("*.example.com"),
    certificate("w*.example.com"),
    certificate("*.*.com"),
    certificate("www.*.com"),
    certificate("*"),
    certificate("*.com", common_name="example.com"),
    certificate(common_name="example.com"),
    certificate(common_name="*.example.com"),
    certificate("", addresses=("127.0.0.1", "2001:DB8:0:0:0:0:0:1\n")),
    certificate(common_name="127.0.0.1"),
    {"subject": ((("organizationName", "somebody"),),)},
    {"subject": ((("commonName", "a.example"),),), "subjectAltName": (("email", "a@b.example"),)},
]

NAMES = [
    "example.com",
    "www.example.com",
    "a.b.example.com",
    ".example.com",
    "com",
    "127.0.0.1",
    "127.1",
    "::1",
    "2001:db8::1",
    "xn--a.example.com",
    "",
    "a.example",
]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("number", range(len(CERTIFICATES)))
def test_names(number: int, name: str) -> None:
    def said(module: Any) -> Outcome:
        try:
            return ("returned", module.match_hostname(CERTIFICATES[number], name))
        except ValueError as error:
            return (type(error).__name__, str(error))

    assert said(txmembio.ssl) == said(ssl)


@pytest.mark.parametrize(
    "text", ["127.0.0.1", "1", "", "1.2.3", "256.0.0.1", "127.0.0.1/24", "::1", "2001:db8::8a2e", ":::"]
)
def test_addresses(text: str) -> None:
    assert outcome(hostnames.address, text) == outcome(ssl._inet_paton, text)  # type: ignore[attr-defined]
