"""The two ways into the pump, C and cffi: that both are there, and that nobody can tell them apart.

What the pump promises is tested elsewhere, by whichever way is on; here those tests run again with C turned off.
"""

from __future__ import annotations

import contextlib
import gc
import inspect
import os
import random
import subprocess
import sys
import sysconfig
import threading
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support import pair
from support.pair import Contexts, Pair
from support.pki import PKI
from support.process import environment
from txmembio._openssl import crossing
from txmembio._openssl.lib import KEPT, lib, scratch_count

HERE = Path(__file__).parent

only_in_c = pytest.mark.skipif(not crossing.IN_C, reason="crossing.c was not built here, or is turned off")

#: Bytes of plaintext around every place where crossing.c changes its ways, and around one record, four and eight.
SIZES = sorted(
    {
        around + aside
        for around in (1, 64, 4096, 12288, 16384, 32768, 65536, 131072, 138240)
        for aside in (-325, -22, -1, 0, 1, 17)
        if around + aside >= 0
    }
)


@pytest.mark.skipif(
    sys.implementation.name != "cpython"
    or bool(sysconfig.get_config_var("Py_GIL_DISABLED"))
    or hasattr(sys, "gettotalrefcount")
    or "TXMEMBIO_CROSSING" in os.environ,
    reason="not a Python that crossing.c is for, or it is turned off",
)
def test_c_is_there() -> None:
    assert crossing.IN_C
    assert inspect.ismethoddescriptor(txmembio.Connection.receive_wire)


@only_in_c
def test_the_methods_in_c_look_like_those_in_python() -> None:
    for method in (txmembio.Connection.receive_wire, txmembio.Connection.plaintext_to_wire):
        assert list(inspect.signature(method).parameters) == ["self", "data"]
        assert method.__doc__


def in_child(code: str, **more: str) -> str:
    """What a Python of its own prints."""
    child = subprocess.run(
        [sys.executable, "-c", code], env={**environment(), **more}, capture_output=True, text=True, check=True
    )
    return child.stdout.strip()


def test_c_can_be_turned_off() -> None:
    code = "import txmembio, inspect; print(inspect.isfunction(txmembio.Connection.receive_wire))"
    assert in_child(code, TXMEMBIO_CROSSING="cffi") == "True"


def test_c_can_be_missing() -> None:
    code = (
        "import sys; sys.modules['txmembio._openssl._crossing'] = None; import txmembio, inspect;"
        "print(inspect.isfunction(txmembio.Connection.plaintext_to_wire))"
    )
    assert in_child(code) == "True"


@only_in_c
def test_c_of_another_build_is_not_used() -> None:
    code = (
        "from txmembio._openssl import _crossing; _crossing.SCRATCH_SIZE += 8; import txmembio, inspect;"
        "print(inspect.isfunction(txmembio.Connection.receive_wire))"
    )
    assert in_child(code) == "True"


@only_in_c
def test_the_other_tests_pass_without_c() -> None:
    """TLS 1.3 suffices: what differs between the versions is below both ways."""
    names = ["test_connection.py", "test_pump.py", "test_lent_memory.py", "test_core_edges.py", "test_crossing.py"]
    files = [str(HERE / name) for name in names]
    child = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "not tls12", *files],
        env={**environment(), "TXMEMBIO_CROSSING": "cffi"},
        cwd=HERE.parent,  # and not the checkout, which pytest would put on the path
        capture_output=True,
        text=True,
    )
    assert child.returncode == 0, child.stdout[-4000:]
    assert "crossing.c was not built here, or is turned off" in child.stdout


@pytest.mark.parametrize("size", SIZES)
def test_messages_of_any_size_come_out_as_they_went_in(ends: Pair, size: int) -> None:
    client, server = ends.connections
    message = random.Random(size).randbytes(size)
    for sender, receiver in ((client, server), (server, client)):
        wire = sender.plaintext_to_wire(message)
        plaintext = receiver.receive_wire(wire)
        assert plaintext == message
        assert type(wire) is type(plaintext) is bytes
        assert hash(plaintext) == hash(message)  # it was shortened before anybody looked at it
        assert bytes.fromhex(plaintext.hex()) == message


@pytest.mark.parametrize("seed", range(20))
def test_a_stream_cut_anywhere_gives_the_same_plaintext(ends: Pair, seed: int) -> None:
    """Cuts within headers and bodies of records, so that what is complete with a piece is guessed wrong, too."""
    rng = random.Random(seed)
    client, server = ends.connections
    messages = [rng.randbytes(rng.choice(SIZES)) for _ in range(8)]
    wire = b"".join(client.plaintext_to_wire(message) for message in messages)
    got = []
    at = 0
    while at < len(wire):
        size = rng.choice((1, 2, 3, 4, 5, 6, 21, 4096, 8192, 9000, 16384, 16406, 16410, 65536, 70000))
        got.append(server.receive_wire(wire[at : at + size]))
        at += size
    assert b"".join(got) == b"".join(messages)
    assert server.error is None and not server.plaintext_held


@pytest.mark.parametrize(
    "suite",
    ["ECDHE-ECDSA-AES128-SHA", "ECDHE-ECDSA-AES256-SHA384", "ECDHE-ECDSA-CHACHA20-POLY1305", "ECDHE-ECDSA-AES128-CCM8"],
)
def test_every_kind_of_cipher_fits(pki: PKI, suite: str) -> None:
    """Padding, MACs and nonces of other lengths than those that the room for a result would suit."""
    version = txmembio.TLSVersion.TLSv1_2
    client, server = pair.client_context(pki, version), pair.server_context(pki, version)
    for context in (client, server):
        context.set_ciphers(suite + ":@SECLEVEL=0")
    ends = pair.connect(client, server)
    for size in SIZES:
        message = bytes(size)
        assert ends.server.connection.receive_wire(ends.client.connection.plaintext_to_wire(message)) == message


class OwnBytes(bytes):
    """A subclass, which C leaves to Python."""


@pytest.mark.parametrize("kind", [OwnBytes, bytearray, memoryview])
def test_other_buffers_are_left_to_python(ends: Pair, kind: Callable[[bytes], Any]) -> None:
    client, server = ends.connections
    for size in (64, 20_000):
        assert server.receive_wire(kind(client.plaintext_to_wire(kind(bytes(size))))) == bytes(size)


def test_plaintext_before_a_bad_record_is_handed_over_from_its_own_memory(ends: Pair) -> None:
    client, server = ends.connections
    good = client.plaintext_to_wire(bytes(50_000))
    bad = bytearray(client.plaintext_to_wire(bytes(20_000)))
    bad[-1] ^= 1
    assert server.receive_wire(good + bad) == bytes(50_000 + 16384)
    with pytest.raises(txmembio.SSLError) as caught:
        server.receive_wire(b"")
    assert caught.value is server.error


def test_a_close_behind_much_plaintext_is_heard(ends: Pair) -> None:
    client, server = ends.connections
    wire = client.plaintext_to_wire(bytes(60_000))
    client.close()
    assert server.receive_wire(wire + client.wire_to_send() + b"plain") == bytes(60_000)
    assert server.peer_closed and server.changed and server.unread_wire() == b"plain"


def test_wire_that_waits_goes_first(ends: Pair) -> None:
    client, server = ends.connections
    client.send_plaintext(b"one ")
    assert server.receive_wire(client.plaintext_to_wire(bytes(20_000))) == b"one " + bytes(20_000)
    assert client.wire_to_send() == b""


def test_sending_after_close_raises(ends: Pair) -> None:
    client, _ = ends.connections
    client.close()
    client.wire_to_send()
    for size in (1, 20_000):
        with pytest.raises(txmembio.SSLError, match="after close"):
            client.plaintext_to_wire(bytes(size))


def test_what_does_not_fit_one_call_comes_out_whole(ends: Pair) -> None:
    client, server = ends.connections
    message = random.Random(1).randbytes(3_000_000)
    assert server.receive_wire(client.plaintext_to_wire(message)) == message


@pytest.mark.parametrize("size", [64, 100_000])
def test_calls_leave_nothing_behind(ends: Pair, size: int) -> None:
    """Neither references to what they are given, nor memory, nor scratch: many small ones, many large ones."""
    client, server = ends.connections
    message = bytes(size)
    bad: Any = 5

    def run(times: int) -> None:
        for _ in range(times):
            server.receive_wire(client.plaintext_to_wire(message))
        for _ in range(times // 10):
            with pytest.raises(TypeError):
                server.receive_wire(bad)
            with pytest.raises(TypeError):
                client.plaintext_to_wire(bad)

    run(20)
    gc.collect()
    references = sys.getrefcount(message), sys.getrefcount(bad), sys.getrefcount(client), sys.getrefcount(server)
    scratches = scratch_count()
    tracemalloc.start()
    try:
        run(20)
        gc.collect()
        before = tracemalloc.get_traced_memory()[0]
        run(50_000 if size < 1000 else 1_000)
        gc.collect()
        after = tracemalloc.get_traced_memory()[0]
    finally:
        tracemalloc.stop()
    assert after - before < 50_000  # bytes; one reference lost for each call would be millions
    assert references == (
        sys.getrefcount(message),
        sys.getrefcount(bad),
        sys.getrefcount(client),
        sys.getrefcount(server),
    )
    assert scratch_count() == scratches


@pytest.mark.parametrize("size", [100, 60_000])
def test_threads_with_connections_of_their_own(shared: Contexts, size: int) -> None:
    """Large messages let go of the GIL, so that several are in the pump at once, each with its own scratch."""
    gc.collect()
    others = scratch_count()
    start = threading.Barrier(8)

    def talk(number: int) -> None:
        ends = pair.connect(*shared)
        message = random.Random(number).randbytes(size)
        start.wait()
        for _ in range(100):
            assert ends.server.connection.receive_wire(ends.client.connection.plaintext_to_wire(message)) == message

    with ThreadPoolExecutor(start.parties) as pool:
        list(pool.map(talk, range(start.parties)))
    pair.connect(*shared)
    gc.collect()
    assert scratch_count() <= others + KEPT + crossing.IN_C  # some of the others may be in use: a frame that is kept


@pytest.mark.parametrize("size", [100, 60_000])
def test_one_connection_in_two_threads_raises_or_works(ends: Pair, size: int) -> None:
    """Nothing is lost and nothing corrupted: whoever is refused has changed nothing, and tries again."""
    client, server = ends.connections
    piece = random.Random(size).randbytes(size)
    wires: list[bytes] = []
    turn = threading.Lock()

    def send() -> None:
        for _ in range(100):
            while True:
                try:
                    with turn:  # or the wire of two calls would be put down in the wrong order
                        wires.append(client.plaintext_to_wire(piece))
                    break
                except RuntimeError:
                    pass

    def disturb() -> None:
        for _ in range(500):
            with contextlib.suppress(RuntimeError):
                client.receive_wire(b"")

    with ThreadPoolExecutor(3) as pool:
        for future in [pool.submit(send), pool.submit(send), pool.submit(disturb)]:
            future.result()
    assert b"".join(map(server.receive_wire, wires)) == piece * 200


def test_a_connection_somebody_is_inside_of_is_refused(ends: Pair) -> None:
    """The same for certain: this thread is inside while another one calls."""
    client, server = ends.connections
    wire = client.plaintext_to_wire(b"later")
    large = client.plaintext_to_wire(bytes(60_000))
    connection: Any = server
    assert lib.txm_enter(connection._c) == 0
    try:
        with ThreadPoolExecutor(1) as pool:
            for data in (wire, large):
                with pytest.raises(RuntimeError, match="one thread at a time"):
                    pool.submit(server.receive_wire, data).result()
                with pytest.raises(RuntimeError, match="one thread at a time"):
                    pool.submit(server.plaintext_to_wire, data).result()
    finally:
        lib.txm_leave(connection._c)
    assert server.receive_wire(wire) == b"later"
    assert server.receive_wire(large) == bytes(60_000)


def asked_for_its_certificate(pki: PKI, answer: Callable[[], bool]) -> Pair:
    """A pair whose client was asked for its certificate after the handshake. The server verifies it within
    receive_wire(), which holds the GIL for so little wire; `answer` is what its callback does."""
    client = pair.client_context(pki, txmembio.TLSVersion.TLSv1_3, credential=pki.client)
    client.post_handshake_auth = True
    server = pair.server_context(pki, txmembio.TLSVersion.TLSv1_3, verify_client=True)
    server.post_handshake_auth = True
    server.set_verify_callback(lambda certificate, depth, error: answer())
    ends = pair.connect(client, server)
    ends.server.connection.request_client_certificate()
    return ends


def test_a_callback_in_an_established_connection_may_pump_another(pki: PKI) -> None:
    contexts = pair.client_context(pki), pair.server_context(pki)
    other = pair.connect(*contexts)
    carried: list[bytes] = []

    def answer() -> bool:
        for size in (7, 20_000):
            carried.append(other.server.connection.receive_wire(other.client.connection.plaintext_to_wire(bytes(size))))
        return True

    ends = asked_for_its_certificate(pki, answer)
    ends.settle()
    assert ends.server.connection.peer_certificate() is not None
    assert carried and set(carried) == {bytes(7), bytes(20_000)}


def test_a_callback_in_an_established_connection_may_not_pump_that(pki: PKI) -> None:
    refused: list[str] = []

    def answer() -> bool:
        for size in (7, 20_000):
            for call in (ends.server.connection.receive_wire, ends.server.connection.plaintext_to_wire):
                with pytest.raises(RuntimeError) as caught:
                    call(bytes(size))
                refused.append(str(caught.value))
        return True

    ends = asked_for_its_certificate(pki, answer)
    ends.settle()
    assert refused and ends.server.connection.peer_certificate() is not None
    assert ends.server.error is None


def test_an_exception_in_a_callback_of_an_established_connection_is_the_cause(pki: PKI) -> None:
    ends = asked_for_its_certificate(pki, lambda: 1 // 0 == 0)
    ends.settle()
    assert isinstance(ends.server.error, txmembio.SSLError)
    assert isinstance(ends.server.error.__cause__, ZeroDivisionError)


def test_a_connection_that_was_never_made_is_no_crash() -> None:
    connection: Any = txmembio.Connection.__new__(txmembio.Connection)
    for call in (connection.receive_wire, connection.plaintext_to_wire):
        with pytest.raises(AttributeError):
            call(b"data")


@only_in_c
def test_a_connection_cannot_be_replaced_in_c(ends: Pair) -> None:
    connection: Any = ends.client.connection
    with pytest.raises(RuntimeError, match="connection already"):
        connection.adopt(connection._c, 0)
    with pytest.raises(AttributeError):
        connection._c = None


@only_in_c
def test_a_second_module_is_refused() -> None:
    """It would share C's variables with the first: another interpreter, or another import, does without."""
    code = (
        "import sys, txmembio.connection; del sys.modules['txmembio._openssl._crossing']\n"
        "try:\n    import txmembio._openssl._crossing\nexcept ImportError as error:\n    print(error)"
    )
    assert "one interpreter" in in_child(code)
