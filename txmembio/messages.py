"""The protocol's own messages by name, for whoever looks into a connection with a message callback."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import Any

from txmembio.constants import TLSVersion

__all__ = ["MessageCallback", "TLSAlertType", "TLSContentType", "TLSMessageType", "described"]

MessageCallback = Callable[[Any, str, int, int, int, bytes], object]
"""``callback(connection, "read" or "write", version, content type, message type, data)``. The three numbers are members
of the enumerations below where these have them."""


class _TLSContentType(enum.IntEnum):
    """Content types (record layer)

    See RFC 8446, section B.1
    """

    CHANGE_CIPHER_SPEC = 20
    ALERT = 21
    HANDSHAKE = 22
    APPLICATION_DATA = 23
    # OpenSSL's own (SSL_CTX_set_msg_callback(3)): a record's header, and the type inside a TLS 1.3 record
    HEADER = 0x100
    INNER_CONTENT_TYPE = 0x101


class _TLSAlertType(enum.IntEnum):
    """Alert types for TLSContentType.ALERT messages

    See RFC 8466, section B.2
    """

    CLOSE_NOTIFY = 0
    UNEXPECTED_MESSAGE = 10
    BAD_RECORD_MAC = 20
    DECRYPTION_FAILED = 21
    RECORD_OVERFLOW = 22
    DECOMPRESSION_FAILURE = 30
    HANDSHAKE_FAILURE = 40
    NO_CERTIFICATE = 41
    BAD_CERTIFICATE = 42
    UNSUPPORTED_CERTIFICATE = 43
    CERTIFICATE_REVOKED = 44
    CERTIFICATE_EXPIRED = 45
    CERTIFICATE_UNKNOWN = 46
    ILLEGAL_PARAMETER = 47
    UNKNOWN_CA = 48
    ACCESS_DENIED = 49
    DECODE_ERROR = 50
    DECRYPT_ERROR = 51
    EXPORT_RESTRICTION = 60
    PROTOCOL_VERSION = 70
    INSUFFICIENT_SECURITY = 71
    INTERNAL_ERROR = 80
    INAPPROPRIATE_FALLBACK = 86
    USER_CANCELED = 90
    NO_RENEGOTIATION = 100
    MISSING_EXTENSION = 109
    UNSUPPORTED_EXTENSION = 110
    CERTIFICATE_UNOBTAINABLE = 111
    UNRECOGNIZED_NAME = 112
    BAD_CERTIFICATE_STATUS_RESPONSE = 113
    BAD_CERTIFICATE_HASH_VALUE = 114
    UNKNOWN_PSK_IDENTITY = 115
    CERTIFICATE_REQUIRED = 116
    NO_APPLICATION_PROTOCOL = 120


class _TLSMessageType(enum.IntEnum):
    """Message types (handshake protocol)

    See RFC 8446, section B.3
    """

    HELLO_REQUEST = 0
    CLIENT_HELLO = 1
    SERVER_HELLO = 2
    HELLO_VERIFY_REQUEST = 3
    NEWSESSION_TICKET = 4
    END_OF_EARLY_DATA = 5
    HELLO_RETRY_REQUEST = 6
    ENCRYPTED_EXTENSIONS = 8
    CERTIFICATE = 11
    SERVER_KEY_EXCHANGE = 12
    CERTIFICATE_REQUEST = 13
    SERVER_DONE = 14
    CERTIFICATE_VERIFY = 15
    CLIENT_KEY_EXCHANGE = 16
    FINISHED = 20
    CERTIFICATE_URL = 21
    CERTIFICATE_STATUS = 22
    SUPPLEMENTAL_DATA = 23
    KEY_UPDATE = 24
    NEXT_PROTO = 67
    MESSAGE_HASH = 254
    CHANGE_CIPHER_SPEC = 0x0101


# The standard library's names for them look private, and are in every repr().
TLSContentType = _TLSContentType
TLSAlertType = _TLSAlertType
TLSMessageType = _TLSMessageType


def _member(enumeration: type[enum.IntEnum], number: int) -> int:
    try:
        return enumeration(number)
    except ValueError:
        return number


def described(version: int, content_type: int, data: bytes) -> tuple[int, int, int]:
    """(version, content type, message type) of what OpenSSL shows to a message callback."""
    kinds: type[enum.IntEnum] = TLSMessageType
    if content_type == TLSContentType.HEADER:  # type(1), version(2), length(2); RFC 8446 section 5.1
        version, kind, kinds = int.from_bytes(data[1:3], "big"), data[0], TLSContentType
    elif content_type == TLSContentType.ALERT:  # level(1), description(1)
        kind, kinds = data[1], TLSAlertType
    elif content_type == TLSContentType.CHANGE_CIPHER_SPEC:
        kind = TLSMessageType.CHANGE_CIPHER_SPEC
    elif content_type in (TLSContentType.HANDSHAKE, TLSContentType.INNER_CONTENT_TYPE):
        kind = data[0]
    else:
        kind = -1
    return _member(TLSVersion, version), _member(TLSContentType, content_type), _member(kinds, kind)
