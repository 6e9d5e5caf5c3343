"""`txmembio.native`: steps and the pump on one connection, and callbacks that come back to it."""

from __future__ import annotations

import pytest

import txmembio
from support.pki import PKI
from txmembio.certificates import Certificate, PrivateKey
from txmembio.native.connection import NativeConnection, Step, Verdict
from txmembio.native.context import NativeContext
from txmembio.native.errors import NativeError


@pytest.fixture
def server_context(pki: PKI) -> NativeContext:
    context = NativeContext(txmembio.PROTOCOL_TLS_SERVER)
    leaf, *rest = Certificate.from_pem_all(pki.server.chain)
    context.use_certificate(leaf)
    for each in rest:
        context.add_chain_certificate(each)
    context.use_private_key(PrivateKey.from_pem_all(pki.server.private_key)[0])
    return context


@pytest.fixture
def client_context(pki: PKI) -> NativeContext:
    context = NativeContext(txmembio.PROTOCOL_TLS_CLIENT)
    context.load_locations(pki.ca.certificate_file, None)
    context.set_verify(1, None)
    return context


def joined(client_context: NativeContext, server_context: NativeContext) -> tuple[NativeConnection, NativeConnection]:
    """Two ends, after the handshake: the client goes by steps, the server is pumped."""
    client, server = client_context.connection(), server_context.connection(server_side=True)
    while True:
        verdict, _ = client.step(Step.HANDSHAKE)
        server.receive_wire(client.wire_to_send())
        client.feed(server.wire_to_send())
        if verdict is Verdict.DONE:
            return client, server
        assert verdict is Verdict.WANT_WIRE


def test_steps_and_the_pump_are_one_connection(client_context: NativeContext, server_context: NativeContext) -> None:
    client, server = joined(client_context, server_context)
    assert client.handshake_complete and server.handshake_complete
    assert client.read(100) is Verdict.WANT_WIRE  # the tickets are read
    # the client writes with a step and the pump, the server reads with the pump and a step
    assert client.write(b"step ") == 5
    client.send_plaintext(b"pump ")
    assert server.receive_wire(client.wire_to_send()) == b"step pump "
    client.write(b"again")
    server.feed(client.wire_to_send())
    assert server.read(2) == b"ag"
    assert server.read(100) == b"ain"
    assert server.read(100) is Verdict.WANT_WIRE
    assert server.wanted == 3
    # and the close
    assert client.step(Step.SHUTDOWN)[0] is Verdict.WANT_WIRE
    assert server.receive_wire(client.wire_to_send()) == b"" and server.peer_closed
    server.close()
    client.feed(server.wire_to_send())
    assert client.read(100) is Verdict.CLOSED
    assert client.shutdown_bits == 3


def test_wire_is_taken_in_pieces(client_context: NativeContext) -> None:
    client = client_context.connection()
    client.step(Step.HANDSHAKE)
    pieces = [client.take_wire(100) for _ in range(30)]
    assert len(pieces[0]) == 100 and pieces[-1] == b""
    again = client_context.connection()
    again.step(Step.HANDSHAKE)
    assert len(b"".join(pieces)) == len(again.wire_to_send())


def test_a_large_write_takes_several_calls_and_keeps_order(
    client_context: NativeContext, server_context: NativeContext
) -> None:
    client, server = joined(client_context, server_context)
    text = bytes(range(256)) * 4096  # 1 MiB: eight times what one call has room for
    done = 0
    while done < len(text):
        taken = client.write(text[done:])
        assert type(taken) is int and taken > 0
        done += taken
    assert server.receive_wire(client.wire_to_send()) == text


def test_the_wire_ends_without_a_close(client_context: NativeContext, server_context: NativeContext) -> None:
    client, _ = joined(client_context, server_context)
    client.read(100)
    client.end_feed()
    assert client.read(100) is Verdict.TRUNCATED


def test_garbage_is_a_failure_with_a_queue(client_context: NativeContext) -> None:
    client = client_context.connection()
    client.step(Step.HANDSHAKE)
    client.feed(b"HTTP/1.1 400 Bad Request\r\n\r\n")
    verdict, _ = client.step(Step.HANDSHAKE)
    assert verdict is Verdict.FAILED
    library, function, reason = client.queue[-1]
    assert (library, function) == ("SSL routines", "") and reason


def test_a_callback_that_closes_its_connection_is_told_that_it_cannot(
    client_context: NativeContext, server_context: NativeContext
) -> None:
    verdicts = []

    def verify(owner: NativeConnection, *_: object) -> bool:
        verdicts.append(owner.step(Step.SHUTDOWN)[0])
        return True

    client_context.set_verify(1, verify)
    client, _ = joined(client_context, server_context)
    assert set(verdicts) == {Verdict.FAILED}
    assert client.queue[-1][2] == "shutdown while in init"


def test_a_callback_that_reads_from_its_connection_refuses(
    client_context: NativeContext, server_context: NativeContext
) -> None:
    client_context.set_verify(1, lambda owner, *_: bool(owner.read(1)))
    with pytest.raises(RuntimeError, match="one thread at a time"):
        joined(client_context, server_context)


def test_what_a_callback_raises_comes_out_of_the_step(
    client_context: NativeContext, server_context: NativeContext
) -> None:
    def verify(*_: object) -> bool:
        raise LookupError("mine")

    client_context.set_verify(1, verify)
    with pytest.raises(LookupError, match="mine"):
        joined(client_context, server_context)


def test_alpn_that_refuses_is_no_exception_of_a_callback(
    client_context: NativeContext, server_context: NativeContext
) -> None:
    server_context.alpn_choice = lambda owner, offered: b""
    client_context.set_alpn_wire(b"\x02h2")
    with pytest.raises(txmembio.SSLError) as raised:
        joined(client_context, server_context)
    assert raised.value.alert == "no_application_protocol"
    assert raised.value.__cause__ is None


def test_starts_with_openssls_own_defaults() -> None:
    context = NativeContext(txmembio.PROTOCOL_TLS)
    assert context.minimum_version == txmembio.TLSVersion.MINIMUM_SUPPORTED
    assert (context.verify_bits, context.verify_depth) == (0, -1)
    assert not context.options & txmembio.Options.OP_NO_TICKET
    assert context.session_cache_mode == 2


def test_failures_say_why() -> None:
    with pytest.raises(NativeError) as raised:
        NativeContext(txmembio.PROTOCOL_TLS).set_cipher_words(b"nothing-of-the-kind")
    assert raised.value.queue == [("SSL routines", "", "no cipher match")]
