"""Socket addresses as bytes (`SOCKADDR_IN`, `SOCKADDR_IN6` of `ws2def.h` and `ws2ipdef.h`), and as Python has them."""

from __future__ import annotations

import socket
import struct
from typing import Any

#: Bytes of an address of each family.
SIZES: dict[int, int] = {socket.AF_INET: 16, socket.AF_INET6: 28}

#: An address as Python's sockets have it: (host, port), or (host, port, flow, scope).
Address = tuple[Any, ...]


def pack(address: Address, family: int) -> bytes:
    """The bytes of an address that a socket has given. Family and scope are in the machine's order, the rest in the
    network's."""
    host, port = address[:2]
    if family == socket.AF_INET:
        return struct.pack("=H", family) + struct.pack(">H4s8x", port, socket.inet_pton(family, host))
    flow, scope = address[2:]
    packed_host = socket.inet_pton(family, host.partition("%")[0])
    return struct.pack("=H", family) + struct.pack(">HI16s", port, flow, packed_host) + struct.pack("=I", scope)


def family_of(buffer: bytes | memoryview) -> int:
    """The family that the bytes of an address begin with."""
    family: int = struct.unpack_from("=H", buffer)[0]
    return family


def unpack(buffer: bytes | memoryview) -> tuple[str, int]:
    """Host and port of the bytes of an address. The host of a scoped address has the scope's number, as on Windows."""
    family = family_of(buffer)
    if family == socket.AF_INET:
        port, host = struct.unpack_from(">H4s", buffer, 2)
        return socket.inet_ntop(family, host), port
    if family == socket.AF_INET6:
        port, _flow, host = struct.unpack_from(">HI16s", buffer, 2)
        (scope,) = struct.unpack_from("=I", buffer, 24)
        return socket.inet_ntop(family, host) + (f"%{scope}" if scope else ""), port
    raise OSError(f"unsupported address family {family}", 0)


def numeric(address: Address, family: int) -> Address:
    """An address to connect to, as Linux wants it. Raises ValueError for a host that is a name, OverflowError for a
    port that is none, in the words of a conversion to C's `unsigned short`: Twisted's tests know them."""
    host, port = address[:2]
    if family == socket.AF_INET6:
        host = host.partition("%")[0]
    try:
        socket.inet_pton(family, host)
    except OSError:
        raise ValueError(f"invalid {'IPv6' if family == socket.AF_INET6 else 'IP'} address {host!r}") from None
    if port < 0:
        raise OverflowError("can't convert negative value to unsigned short")
    if port > 0xFFFF:
        raise OverflowError("value too large to convert to unsigned short")
    return (host, *address[1:])
