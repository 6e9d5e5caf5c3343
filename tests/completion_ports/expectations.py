"""What each scenario must return, made anew from its name, the version and the size: nothing is taken from the run.

An end's facts are what it has received (bytes and SHA-256), the version it has agreed on, why `connectionLost` said
that it was over, and the alert, if one was sent or received. A value that is a set lists what may be there.
"""

from __future__ import annotations

import sys
from typing import Any

from completion_ports.ends import content, expected
from completion_ports.scenarios import CONNECTIONS, PARTS, PRODUCED, REQUESTS, SCENARIOS

Expectations = dict[str, dict[str, Any]]

#: The reason of a clean end.
CLEAN = "ConnectionDone"

#: What a reset looks like to the other side. Wine shows one that came before the receive as the end of the stream.
RESET: Any = {"ConnectionLost", "ConnectionTruncated"} if sys.platform == "win32" else "ConnectionLost"

#: The end of a `Raw` peer.
ENDED = {"ended": True}

#: Scenarios in which both sides send all there is, and the client closes.
BOTH_WAYS = {"starttls", "bulk", "early_write"}

#: Scenarios in which the server sends back what the client sends.
ECHOED = {"endpoint_strings", "wrapped_endpoints", "tls_in_tls"}

#: Scenarios in which only the server sends, and how many times as much as is usual.
ONE_WAY = {"close_after_write": 1, "push_producer": PRODUCED, "pull_producer": PRODUCED}


def expectations(name: str, version: str, size: int) -> Expectations:
    """The facts of both ends."""
    tls = version.replace("_", ".")
    client, server = content("client", size), content("server", size)
    if name in BOTH_WAYS:
        return _both(expected(server, tls, CLEAN), expected(client, tls, CLEAN))
    if name in ECHOED:
        return _both(expected(client, tls, CLEAN), expected(client, tls, CLEAN))
    if name in ONE_WAY:
        return _both(expected(content("server", ONE_WAY[name] * size), tls, CLEAN), expected(b"", tls, CLEAN))
    if name == "many_connections":
        each = {**expected(client[:1000], tls, CLEAN), "connections": CONNECTIONS}
        return _both(each, each)
    if name == "keep_alive":
        replies, requests = b"".join(PARTS) * REQUESTS, b"?" * REQUESTS
        return _both(expected(replies, tls, CLEAN), expected(requests, tls, CLEAN))
    if name == "half_close":
        answer = server if version == "TLSv1_3" else b""
        return _both(expected(answer, tls, CLEAN), expected(client, tls, CLEAN))
    if name == "abort":
        return _both(expected(b"", tls, "ConnectionAborted"), expected(b"enough", tls, RESET))
    if name == "handshake_timeout":
        return _both(ENDED, expected(b"", "", "HandshakeTimeout"))
    if name == "shutdown_timeout":
        return _both(ENDED, expected(b"", tls, "ShutdownTimeout"))
    if name == "truncated":
        return _both(ENDED, expected(b"", tls, "ConnectionTruncated"))
    return _certificates(name, version, tls)


def _certificates(name: str, version: str, tls: str) -> Expectations:
    welcomed, heard = expected(b"welcome", tls, CLEAN), expected(b"", tls, CLEAN)
    if name == "client_certificate":
        return _both(welcomed, heard)
    if name in ("untrusted_server", "server_with_another_name"):
        alert = "bad_certificate" if name == "server_with_another_name" else "unknown_ca"
        return _both(
            {**expected(b"", "", "SSLCertVerificationError"), "alert": alert},
            {**expected(b"", "", "SSLError"), "alert": alert},
        )
    # In TLS 1.3 a client is done before the server has looked at its certificate (RFC 8446 section 2).
    done = tls if version == "TLSv1_3" else ""
    if name == "no_client_certificate":
        alert = "certificate_required" if version == "TLSv1_3" else "handshake_failure"
        reason = "SSLError"
    elif name == "untrusted_client":
        alert, reason = "unknown_ca", "SSLCertVerificationError"
    else:
        raise ValueError(f"nothing is expected of {name!r}; there are {', '.join(SCENARIOS)}")
    return _both(
        {**expected(b"", done, "SSLError"), "alert": alert},
        {**expected(b"", "", reason), "alert": alert},
    )


def _both(client: dict[str, Any], server: dict[str, Any]) -> Expectations:
    return {"client": client, "server": server}


def problem(name: str, version: str, size: int, facts: dict[str, Any]) -> str | None:
    """How `facts` differ from what is expected; None if they do not."""
    differences = []
    for end, wanted in expectations(name, version, size).items():
        found = facts[end]
        for fact in sorted(wanted.keys() | found.keys()):
            want, have = wanted.get(fact), found.get(fact)
            if have != want and not (isinstance(want, set) and have in want):
                differences.append(f"{end}'s {fact} is {have!r}, not {want!r}")
    return "; ".join(differences) or None
