"""Nothing is left behind: connections dropped in every state, contexts, sessions, and what callbacks hold on to."""

from __future__ import annotations

import gc
import os
import sys
import tracemalloc
import weakref
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI
from txmembio._openssl.lib import lib

Make = Callable[[txmembio.SSLContext, txmembio.SSLContext], Any]


def started(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = pair.unconnected(client, server)
    ends.client.start()
    return ends


def halfway(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = started(client, server)
    ends.server.receive(ends.client.connection.wire_to_send())
    return ends


def with_kept_plaintext(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = halfway(client, server)
    ends.client.send_plaintext(b"kept" * 1000)
    ends.server.send_plaintext(b"kept" * 1000)
    return ends


def talked(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = pair.connect(client, server)
    ends.client.send_plaintext(b"x" * 100)
    ends.server.send_plaintext(b"x" * 40_000)
    ends.settle()
    return ends


def in_a_record(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = talked(client, server)
    ends.server.receive(ends.client.connection.plaintext_to_wire(b"x" * 1000)[:500])
    return ends


def with_wire_to_send(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = talked(client, server)
    ends.client.send_plaintext(b"x" * 1000)
    return ends


def closed(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = talked(client, server)
    for end in (ends.client, ends.server):
        end.connection.close()
    ends.settle()
    return ends


def half_closed(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = talked(client, server)
    ends.client.connection.close()
    ends.server.receive(ends.client.connection.wire_to_send() + b"plaintext behind it")
    return ends


def truncated(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = talked(client, server)
    with pytest.raises(txmembio.SSLEOFError):
        ends.client.connection.receive_wire_eof()
    return ends


def failed(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = talked(client, server)
    ends.server.receive(b"this is no record")
    ends.settle()
    return ends


def refused(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    ends = pair.unconnected(client, server, server_hostname="wrong.example")
    ends.attempt_handshake()
    return ends


def resumed(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Pair:
    return pair.connect(client, server, session=talked(client, server).client.connection.session)


def looked_at(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Any:
    ends = talked(client, server)
    connection = ends.client.connection
    return (
        connection.getpeercert(),
        connection.peer_certificate(),
        connection.get_verified_chain(),
        connection.get_unverified_chain(),
        connection.get_channel_binding("tls-server-end-point"),
        connection.export_keying_material("EXPORTER-test", 32),
        ends.server.connection.shared_ciphers(),
        connection.session and connection.session.to_bytes(),
    )


def wrapped(client: txmembio.SSLContext, server: txmembio.SSLContext) -> Any:
    tls = client.wrap_bio(txmembio.MemoryBIO(), txmembio.MemoryBIO(), server_hostname="localhost")
    with pytest.raises(txmembio.SSLWantReadError):
        tls.do_handshake()
    return tls


STATES: list[Make] = [
    pair.unconnected,
    started,
    halfway,
    with_kept_plaintext,
    pair.connect,
    talked,
    in_a_record,
    with_wire_to_send,
    closed,
    half_closed,
    truncated,
    failed,
    refused,
    resumed,
    looked_at,
    wrapped,
]


@pytest.fixture
def with_callbacks(contexts: Contexts, tmp_path: Any) -> Contexts:
    """Contexts with every callback there is."""
    client, server = contexts
    client.set_verify_callback(lambda certificate, depth, error: error == 0)
    client.set_alpn_protocols(["a", "b"])
    client.keylog_filename = tmp_path / "secrets"
    server.sni_callback = lambda connection, name, context: None
    server.set_alpn_callback(lambda offered: offered[0])
    server.set_ticket_keys([os.urandom(48)])
    return contexts


@pytest.mark.parametrize("make", STATES, ids=lambda make: make.__name__)
def test_connections_dropped_in_every_state_are_freed_at_once(with_callbacks: Contexts, make: Make) -> None:
    """Without the garbage collector: a connection is part of no cycle, whatever has happened to it. (An exception's
    traceback is one, where a connection has failed; it is the test's own, and the collector's to find.)
    """
    make(*with_callbacks)
    gc.collect()
    before = lib.txm_live_connections(), lib.txm_live_scratches()
    gc.disable()
    try:
        for _ in range(20):
            make(*with_callbacks)
        if make not in (failed, truncated, refused, wrapped):
            assert (lib.txm_live_connections(), lib.txm_live_scratches()) == before
    finally:
        gc.enable()
    gc.collect()
    assert (lib.txm_live_connections(), lib.txm_live_scratches()) == before


def test_two_thousand_connections_leave_nothing(with_callbacks: Contexts) -> None:
    """No connection, no scratch, and no object of Python's that grows with their number."""

    def batch(count: int) -> None:
        for number in range(count):
            STATES[number % len(STATES)](*with_callbacks)

    batch(2 * len(STATES))
    gc.collect()
    connections, objects = lib.txm_live_connections(), len(gc.get_objects())
    tracemalloc.start()
    try:
        batch(len(STATES))
        gc.collect()
        first, _ = tracemalloc.get_traced_memory()
        batch(1000 - 3 * len(STATES))  # each makes two connections or more
        gc.collect()
        second, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert lib.txm_live_connections() == connections
    assert len(gc.get_objects()) - objects < 100
    assert second - first < 50_000  # bytes; one connection's Python side alone has more than 1000


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
@pytest.mark.skipif(
    "asan" in os.environ.get("LD_PRELOAD", ""), reason="AddressSanitizer keeps what is freed for a while"
)
def test_what_c_holds_does_not_grow_either(with_callbacks: Contexts) -> None:
    """What Python's own accounting cannot see: OpenSSL's memory. 600 connections kept would be 9 MB."""

    def resident() -> int:
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")

    def batch() -> None:
        for number in range(300):
            STATES[number % len(STATES)](*with_callbacks)
        gc.collect()

    batch()
    before = resident()
    batch()
    assert resident() - before < 4_000_000


def contexts_of_every_kind(pki: PKI) -> Iterator[txmembio.SSLContext]:
    """Contexts that hold all that a context can hold."""
    for purpose in txmembio.Purpose:
        context = txmembio.create_default_context(purpose, cafile=pki.ca.certificate_file)
        context.use_cert_chain(pki.server.chain, pki.server.private_key)
        context.set_alpn_protocols(["a"])
        context.set_verify_callback(lambda certificate, depth, error, context=context: bool(context))  # type: ignore[misc]
        yield context
        if purpose is txmembio.Purpose.CLIENT_AUTH:
            context.sni_callback = lambda connection, name, first, context=context: context and None
            context.set_alpn_callback(lambda offered, context=context: offered[0])  # type: ignore[misc]
            context.set_ticket_keys([bytes(48)])
            context.connection(server_side=True)


def test_contexts_are_freed_though_their_callbacks_know_them(pki: PKI) -> None:
    watched = []
    for _ in range(20):
        watched += [weakref.ref(context) for context in contexts_of_every_kind(pki)]
    gc.collect()
    assert [context() for context in watched] == [None] * len(watched)


def test_sessions_and_certificates_outlive_everything(shared: Contexts) -> None:
    ends = talked(*shared)
    session, certificate = ends.client.connection.session, ends.client.connection.peer_certificate()
    chain = ends.client.connection.get_verified_chain()
    del ends
    gc.collect()
    assert session is not None and certificate is not None
    assert session.to_bytes() and certificate.der == chain[0] and certificate.as_dict()["subject"]
