"""SSLObject against the standard library's: one script of operations on a pair of theirs, a pair of ours and both mixed
pairs, and the same outcome of each operation.

Where ours differs on purpose, `agrees()` says how and why; nothing else may differ.
"""

from __future__ import annotations

import ssl
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import txmembio
from support import sslobjects
from support.pki import PKI
from support.sslobjects import Contexts, Ends, Outcome, outcome


@pytest.fixture(scope="session")
def both_kinds(pki: PKI, tls_version: txmembio.TLSVersion) -> Contexts:
    """Contexts that no test changes."""
    return sslobjects.contexts_of_both(pki, int(tls_version))


def mixtures(contexts: Contexts) -> dict[str, Ends]:
    """Fresh ends of each mixture of client and server; the standard library's own come first."""
    return {
        f"{client} client, {server} server": Ends(contexts[client, "client"], contexts[server, "server"])
        for client, server in (("ssl", "ssl"), ("txmembio", "txmembio"), ("txmembio", "ssl"), ("ssl", "txmembio"))
    }


def forget_errors() -> None:
    """The standard library's unwrap() may leave an error in OpenSSL's queue (the alert that it read instead of a
    close_notify), which then comes out of the next operation on whatever object. This failure empties the queue.
    """
    with pytest.raises(ssl.SSLError):
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).set_ciphers("none such")


def agrees(operation: str, theirs: Outcome, ours: Outcome, *, failed: bool, ended: bool) -> bool:
    """Whether `ours` is what the standard library does, or differs in one of the ways that are meant. `failed`: this
    end has raised something fatal before; `ended`: SSLEOFError, both theirs and ours.
    """
    if theirs == ours:
        return True
    if failed and operation in ("version", "getpeercert"):
        # They look whether OpenSSL is between handshakes, which it is not after an error. Ours keep what was agreed on.
        return theirs == ("returned", None) or theirs == ("raised", "ValueError")
    if ended and ours[:2] == ("raised", "SSLEOFError"):
        # The end of the wire is told however often it is asked for, on every version of OpenSSL. Asked again, the
        # standard library's may be an SSLSyscallError, or whatever was before it.
        return True
    if theirs[0] != "raised" or ours[0] != "raised":
        return False
    kind, number, library, reason = (*theirs[1:], None, None, None)[:4]
    if operation in ("verify_client_post_handshake", "incoming.write"):
        # There errno is the reason's number, or None for want of one: ours is SSL_ERROR_SSL as everywhere else.
        return bool(ours[1] == kind and ours[3:5] == (library, reason))
    # A reason that is common to all of OpenSSL's libraries has no name in the standard library.
    return bool(ours[1:5] == (kind, number, library, "INTERNAL_ERROR") and reason is None and ours[5:] == theirs[5:])


# A script: any operations, on either end, at any time

GARBAGE = [
    b"x",
    b"GET / HTTP/1.0\r\n\r\n",
    b"\x15\x03\x03\x00\x02\x02\x28",  # an alert: fatal, handshake_failure
    b"\x15\x03\x03\x00\x02\x01\x00",  # close_notify, not encrypted
    b"\x17\x03\x03\x00\x05hello",  # application data that nobody encrypted
    b"\x16\x03\x03\x40\x01",  # a handshake record that is still to come
]

plain_operations = st.sampled_from(
    [
        ("do_handshake",),
        ("do_handshake",),
        ("unwrap",),
        ("pending",),
        ("version",),
        ("cipher",),
        *[("shared_ciphers",)] * sslobjects.knows_shared_ciphers(),
        ("selected_alpn_protocol",),
        ("compression",),
        ("getpeercert",),
        ("getpeercert", True),
        ("verify_client_post_handshake",),
    ]
)
operations = (
    plain_operations
    | st.tuples(st.just("read"), st.sampled_from([0, 1, 5, 100, 16384, 20_000, -1]))
    | st.tuples(st.just("read_into"), st.sampled_from([0, 1, 5, 100, -1]), st.sampled_from([0, 1, 10, 200]))
    | st.tuples(st.just("write"), st.sampled_from([0, 1, 5, 1000, 16_385, 70_000]))
    | st.tuples(st.just("deliver"), st.sampled_from([None, None, 1, 2]), st.booleans())
    | st.tuples(st.just("deliver"), st.none(), st.just(False))
    | st.tuples(st.just("deliver"), st.none(), st.just(False))
    | st.tuples(st.just("garbage"), st.sampled_from(GARBAGE))
    | st.just(("incoming.write_eof",))
    | st.just(("outgoing.write_eof",))
)
scripts = st.lists(st.tuples(st.sampled_from(["client", "server"]), operations), max_size=40)


def perform(ends: Ends, side: str, operation: str, *arguments: Any) -> Outcome:
    """One line of a script."""
    end = ends.end(side)
    if operation == "deliver":
        records, torn = arguments
        return ("returned", ends.deliver(side, records, torn))
    if operation == "garbage":
        if ends.end("client" if side == "server" else "server").owed:
            return ("returned", "nothing: inside a record, what it does to the decryption is a matter of chance")
        return outcome(end.incoming.write, *arguments)
    if operation in ("incoming.write_eof", "outgoing.write_eof"):
        return outcome(getattr(end, operation.partition(".")[0]).write_eof)
    if operation == "read_into":
        return end.read_into(*arguments)
    if operation == "write":
        return end.outcome("write", b"z" * arguments[0])
    return end.outcome(operation, *arguments)


#: Asked of both ends when a script is over.
LAST_WORDS = ["version", "cipher", "pending", "selected_alpn_protocol", "getpeercert", "compression"]

#: What does not end a connection.
HARMLESS = {"SSLWantReadError", "ValueError", "SSLZeroReturnError"}


@settings(max_examples=150)
@given(script=scripts, shake_hands=st.booleans())
@example(
    script=[
        ("server", ("garbage", GARBAGE[1])),
        ("server", ("read", 1)),
        ("client", ("deliver", None, False)),
        ("client", ("unwrap",)),
    ],
    shake_hands=True,
)
def test_any_script_has_the_same_outcomes(
    both_kinds: Contexts, script: list[tuple[str, tuple[Any, ...]]], shake_hands: bool
) -> None:
    everyone = mixtures(both_kinds)
    if shake_hands:
        for ends in everyone.values():
            ends.handshake()
    failed: set[str] = set()
    ended: set[str] = set()
    whole = [*script, *((side, (operation,)) for side in ("client", "server") for operation in LAST_WORDS)]
    for line, (side, (operation, *arguments)) in enumerate(whole):
        outcomes = {}
        for name, ends in everyone.items():
            outcomes[name] = perform(ends, side, operation, *arguments)
            forget_errors()
        theirs = outcomes.pop("ssl client, ssl server")
        named = "incoming.write" if operation == "garbage" else operation
        for name, got in outcomes.items():
            assert agrees(named, theirs, got, failed=side in failed, ended=side in ended), (
                f"line {line}, {side} {operation} {arguments}:\n  ssl: {theirs}\n  {name}: {got}"
            )
        if operation == "unwrap":
            failed.add(side)  # it may have read a fatal alert, which OpenSSL takes for as good as a close_notify
        if theirs[0] == "raised" and theirs[1] not in HARMLESS and operation != "garbage":
            failed.add(side)
            if theirs[1] == "SSLEOFError":
                ended.add(side)
