"""The enumerations are the standard library's, name by name and value by value."""

from __future__ import annotations

import enum
import ssl

import pytest

import txmembio
from txmembio import constants

#: The standard library's and ours, by the standard library's name.
ENUMERATIONS: dict[str, type[enum.Enum]] = {
    "TLSVersion": txmembio.TLSVersion,
    "VerifyMode": txmembio.VerifyMode,
    "VerifyFlags": txmembio.VerifyFlags,
    "Options": txmembio.Options,
    "AlertDescription": txmembio.AlertDescription,
    "SSLErrorNumber": txmembio.SSLErrorNumber,
    "_SSLMethod": constants.SSLMethod,
}

#: What only some Pythons have, or we do not want: SSLv2 and SSLv3 are in no OpenSSL that we can be built with.
NOT_OURS = {
    "PROTOCOL_SSLv23": "an alias of PROTOCOL_TLS since Python 3.6",
    "PROTOCOL_SSLv3": "not in OpenSSL any more",
}


def members(enumeration: type[enum.Enum]) -> dict[str, object]:
    """Names, aliases too, and values as plain integers."""
    return {name: member.value for name, member in enumeration.__members__.items()}


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_every_member_of_the_standard_librarys_is_here_with_its_value(name: str) -> None:
    theirs = members(getattr(ssl, name))
    ours = members(ENUMERATIONS[name])
    wanted = {key: value for key, value in theirs.items() if key not in NOT_OURS}
    assert {key: ours.get(key) for key in wanted} == wanted


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_the_constants_are_in_the_enumerations_and_compare_equal_to_the_standard_librarys(name: str) -> None:
    for key, member in ENUMERATIONS[name].__members__.items():
        theirs = getattr(ssl, key, None)
        if theirs is not None:
            assert member == theirs and hash(member) == hash(theirs)


def test_purposes_are_the_extended_key_usages() -> None:
    for name in ("SERVER_AUTH", "CLIENT_AUTH"):
        assert getattr(txmembio.Purpose, name).oid == ssl.Purpose[name].oid
    assert {purpose.name for purpose in txmembio.Purpose} == {purpose.name for purpose in ssl.Purpose}


def test_the_short_names_are_the_members() -> None:
    for name in ("CERT_NONE", "CERT_OPTIONAL", "CERT_REQUIRED"):
        assert getattr(txmembio, name) is txmembio.VerifyMode[name]
    for name in ("PROTOCOL_TLS", "PROTOCOL_TLS_CLIENT", "PROTOCOL_TLS_SERVER"):
        assert getattr(txmembio, name) is getattr(constants.SSLMethod, name)


@pytest.mark.parametrize(
    ("number", "name"), [(48, "unknown_ca"), (0, "close_notify"), (116, "certificate_required"), (200, "alert 200")]
)
def test_alerts_are_named_as_the_rfc_names_them(number: int, name: str) -> None:
    assert constants.alert_name(number) == name
