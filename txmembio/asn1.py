"""Object identifiers (X.660) as OpenSSL knows them: by number, dotted, and by name."""

from __future__ import annotations

from typing import Any, NamedTuple

from txmembio._openssl.lib import NULL, copied, ffi, lib

__all__ = ["ASN1Object", "by_name", "by_nid"]

DOTTED_ROOM = 256
"""Bytes for a dotted identifier; OpenSSL's own advice (OBJ_obj2txt(3)) is 80."""

Entry = tuple[int, str, str, "str | None"]
"""OpenSSL's number, the short name, the long name, and the dotted form, None where there is none."""


def _entry(asn1_object: Any) -> Entry:
    nid = lib.OBJ_obj2nid(asn1_object)
    if nid == lib.NID_undef:
        raise ValueError("Unknown object")
    room = ffi.new("char[]", DOTTED_ROOM)
    length = min(lib.OBJ_obj2txt(room, DOTTED_ROOM, asn1_object, 1), DOTTED_ROOM - 1)
    dotted = copied(room, length).decode("ascii") if length > 0 else None
    short, long = (ffi.string(name(nid)).decode("ascii") for name in (lib.OBJ_nid2sn, lib.OBJ_nid2ln))
    return int(nid), short, long, dotted


def by_name(txt: str, name: bool = False) -> Entry:
    """What is known of a dotted identifier; with `name`, of a short or long name too. Raises ValueError for one that
    OpenSSL does not know."""
    found = lib.OBJ_txt2obj(txt.encode(), not name)
    if found == NULL:
        lib.txm_errors_clear()
        raise ValueError(f"unknown object '{txt[:100]}'")
    try:
        return _entry(found)
    finally:
        lib.ASN1_OBJECT_free(found)


def by_nid(nid: int, /) -> Entry:
    """The same for OpenSSL's own number. Raises ValueError for one that is not in its table."""
    if nid < lib.NID_undef:
        raise ValueError("NID must be positive")
    found = lib.OBJ_nid2obj(nid)
    if found == NULL:
        lib.txm_errors_clear()
        raise ValueError(f"unknown NID {nid}")
    return _entry(found)  # OpenSSL's own: not for us to free


class _Fields(NamedTuple):
    nid: int
    shortname: str
    longname: str
    oid: str | None


class ASN1Object(_Fields):
    """An object identifier with its names; the standard library's ``_ASN1Object``."""

    __slots__ = ()

    def __new__(cls, oid: str) -> ASN1Object:
        """From the dotted form. Raises ValueError for anything else."""
        return super().__new__(cls, *by_name(oid))

    def __getnewargs__(self) -> tuple[str | None]:
        """For pickle and copy, which would give __new__() all four."""
        return (self.oid,)

    @classmethod
    def fromnid(cls, nid: int) -> ASN1Object:
        """From OpenSSL's number."""
        return super().__new__(cls, *by_nid(nid))

    @classmethod
    def fromname(cls, name: str) -> ASN1Object:
        """From the short name, the long name or the dotted form."""
        return super().__new__(cls, *by_name(name, name=True))
