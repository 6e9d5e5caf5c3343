"""SSLObject.read() and write() in C beside the same in Python, and MemoryBIO likewise: what each does for itself.

Without the extension both names are Python's, and the tests hold as well.
"""

from __future__ import annotations

import array
import gc
import ssl
import sys
import threading
import weakref
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

import pytest

import txmembio
from support import sslobjects
from support.pki import PKI
from support.sslobjects import RECORD_HEADER
from txmembio._openssl import crossing

RECORD = 16384
"""Bytes of plaintext in a full record (RFC 8446 section 5.1)."""

BLOCK = 262144
"""Bytes that asyncio and uvloop receive at a time, at most, and MemoryBIO has one place for."""

in_c = pytest.mark.skipif(not crossing.IN_C, reason="txmembio's types in C are not there, or not wanted")


class InPython(txmembio.SSLObject):
    """With the methods that are there everywhere."""

    read = txmembio.SSLObject._read
    write = txmembio.SSLObject._write


class PlainMemoryBIO(txmembio.MemoryBIO):
    """Likewise."""

    read = txmembio.MemoryBIO._read
    write = txmembio.MemoryBIO._write


class Ends:
    """A client of either kind, and a server that is always ours; the handshake is done."""

    def __init__(self, pki: PKI, kind: type[txmembio.SSLObject], bio: Any, version: int | None = None) -> None:
        self.to_client, self.to_server = bio(), bio()
        incoming, outgoing = bio(), bio()
        context = sslobjects.client_context(txmembio, pki, version)
        context.sslobject_class = kind
        self.client: Any = context.wrap_bio(self.to_client, outgoing, server_hostname="localhost")
        context = sslobjects.server_context(txmembio, pki, version)
        context.num_tickets = 0
        context.sslobject_class = kind
        self.server: Any = context.wrap_bio(incoming, self.to_server, server_side=True)
        self.incoming, self.outgoing = incoming, outgoing  # the server's, the client's
        for _ in range(4):
            for tls in (self.client, self.server):
                with suppress(txmembio.SSLWantReadError):
                    tls.do_handshake()
                incoming.write(outgoing.read())
                self.to_client.write(self.to_server.read())
        with pytest.raises(txmembio.SSLWantReadError):
            self.client.read()

    def wire_of(self, data: Any) -> bytes:
        """The client's wire for it."""
        assert self.client.write(data) == memoryview(data).nbytes
        wire: bytes = self.outgoing.read()
        return wire

    def all_that_is_there(self, size: int = BLOCK) -> Iterator[bytes]:
        """What the server reads, until it wants more wire."""
        while True:
            try:
                yield self.server.read(size)
            except txmembio.SSLWantReadError:
                return


@pytest.fixture(
    params=[(txmembio.SSLObject, txmembio.MemoryBIO), (InPython, PlainMemoryBIO), (InPython, txmembio.MemoryBIO)]
)
def ends(request: pytest.FixtureRequest, pki: PKI) -> Ends:
    """As it is; all in Python; and Python's methods on BIOs in C."""
    return Ends(pki, *request.param)


SIZES = [1, 100, 4097, RECORD, RECORD + 1, 8 * RECORD, 8 * RECORD + 1, 200_000, 2**20 + 7]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("version", ["TLSv1_2", "TLSv1_3"])
@pytest.mark.parametrize("kind", [txmembio.SSLObject, InPython])
def test_every_length_arrives(pki: PKI, kind: type[txmembio.SSLObject], version: str, size: int) -> None:
    ends = Ends(pki, kind, txmembio.MemoryBIO, int(txmembio.TLSVersion[version]))
    data = bytes(range(251)) * (size // 251 + 1)
    data = data[:size]
    wire = ends.wire_of(data)
    for part in range(0, len(wire), BLOCK):  # as event loops give it
        ends.incoming.write(memoryview(bytearray(wire[part : part + BLOCK])))
    assert b"".join(ends.all_that_is_there()) == data
    assert ends.incoming.pending == 0


def test_wire_of_one_write_is_one_object(pki: PKI) -> None:
    """However long it is: nobody has to join it."""
    ends = Ends(pki, txmembio.SSLObject, txmembio.MemoryBIO)
    for size in SIZES:
        wire = ends.wire_of(bytes(size))
        assert type(wire) is bytes and hash(wire) == hash(bytes(bytearray(wire))) and wire[-1:] != b""
        ends.incoming.write(wire)
        assert sum(map(len, ends.all_that_is_there())) == size


def test_reading_a_little_at_a_time(ends: Ends) -> None:
    data = bytes(range(256)) * 400
    ends.incoming.write(memoryview(ends.wire_of(data)))
    got = ends.server.read(1)
    assert got == data[:1] and ends.server.pending() == RECORD - 1
    assert ends.incoming.pending > 0
    ends.incoming.write(memoryview(ends.wire_of(b"behind it")))
    got += b"".join(ends.all_that_is_there(1000))
    assert got == data + b"behind it"


def test_records_torn_anywhere(ends: Ends) -> None:
    wire = ends.wire_of(bytes(3 * RECORD))
    got = 0
    for cut in (1, RECORD_HEADER, 100, RECORD + 100, 2 * RECORD + 50, len(wire)):
        part, wire = wire[:cut], wire[cut:]
        ends.incoming.write(memoryview(part))
        got += sum(map(len, ends.all_that_is_there()))
        for _ in range(2):  # the same, however often it is asked
            with pytest.raises(txmembio.SSLWantReadError):
                ends.server.read(BLOCK)
    assert got == 3 * RECORD and not wire


def test_into_a_buffer(ends: Ends) -> None:
    data = bytes(range(256)) * 200
    ends.incoming.write(ends.wire_of(data))
    into = bytearray(len(data))
    view, got = memoryview(into), 0
    while got < len(data):
        got += ends.server.read(len(data) - got, view[got:])
    assert into == data
    view.release()
    ends.incoming.write(ends.wire_of(b"short"))
    assert ends.server.read(3, into) == 3 and into[:3] == b"sho"
    assert ends.server.read(0, into) == 2 and into[:2] == b"rt"  # 0 for as much as fits
    assert ends.server.read(10, bytearray()) == 0
    with pytest.raises(txmembio.SSLWantReadError) as caught:
        ends.server.read(10, into)
    into += b"can be resized while the error is kept"
    assert caught.value.errno == ssl.SSL_ERROR_WANT_READ


def test_memory_that_will_not_do(ends: Ends) -> None:
    ends.incoming.write(ends.wire_of(b"kept"))
    gone = memoryview(bytearray(10))
    gone.release()
    unfit: Any
    for unfit in (bytes(10), memoryview(b"read only"), memoryview(bytearray(20))[::2], gone, "text", 7):
        with pytest.raises((TypeError, BufferError, ValueError)):
            ends.server.read(10, unfit)
    for unfit in (gone, "text", 7, None):
        with pytest.raises((TypeError, ValueError)):
            ends.server.write(unfit)
    with pytest.raises(TypeError):
        ends.server.read("text")
    with pytest.raises(TypeError):
        ends.server.read(1, None, None)
    with pytest.raises(TypeError):
        ends.server.write()
    with pytest.raises(ValueError):
        ends.server.read(-1)
    assert ends.server.read(0) == b""
    assert ends.server.read(len=2, buffer=None) == b"ke" and ends.server.read(buffer=bytearray(1), len=1) == 1
    assert ends.server.read() == b"t"


class Ten:
    """A number that is no int."""

    def __index__(self) -> int:
        return 10


def test_arguments_are_refused_as_the_standard_library_does(ends: Ends) -> None:
    ours = ends.server, txmembio.MemoryBIO()
    theirs = ssl.create_default_context().wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO()), ssl.MemoryBIO()
    gaps: Any = memoryview(bytearray(20))[::2]
    wrong: Any
    for wrong in (bytes(10), memoryview(b"read only"), gaps, "text", 7):
        for tls, _ in (ours, theirs):
            with pytest.raises(TypeError):
                tls.read(10, wrong)
    for wrong in (1.5, "text", None):
        for tls, bio in (ours, theirs):
            with pytest.raises(TypeError):
                tls.read(wrong)
            with pytest.raises(TypeError):
                bio.read(wrong)
    for tls, bio in (ours, theirs):
        for write in (tls.write, bio.write):
            with pytest.raises(BufferError):
                write(gaps)
    ends.incoming.write(ends.wire_of(b"more than ten bytes"))
    assert ends.server.read(Ten()) == b"more than " and ends.server.read(Ten(), bytearray(20)) == 9


def test_other_memory_is_written_as_its_bytes(ends: Ends) -> None:
    numbers = array.array("I", range(1000))
    for data in (bytearray(b"a bytearray"), memoryview(b"a view"), numbers, memoryview(numbers)):
        ends.incoming.write(ends.wire_of(data))
        assert ends.server.read(8192) == bytes(data)
    grows = bytearray(b"it grows")
    ends.client.write(grows)
    grows += b" afterwards"
    assert ends.client.write(data=b"by name") == 7
    ends.incoming.write(ends.outgoing.read())
    assert b"".join(ends.all_that_is_there()) == b"it growsby name"


@pytest.mark.parametrize("good", [0, 1, 12])
def test_plaintext_before_a_bad_record_comes_first(ends: Ends, good: int) -> None:
    wire = bytearray(ends.wire_of(bytes((good + 1) * RECORD)))
    wire[-1] ^= 1
    ends.incoming.write(memoryview(wire))
    got = 0
    with pytest.raises(txmembio.SSLError) as caught:
        while True:
            got += len(ends.server.read(BLOCK))
    assert caught.value.reason == "DECRYPTION_FAILED_OR_BAD_RECORD_MAC" and got == good * RECORD
    assert ends.to_server.pending > 0  # the alert
    with pytest.raises(txmembio.SSLError):
        ends.server.write(b"x")


@pytest.mark.parametrize("records", [0, 1, 12])
def test_plaintext_before_the_end_comes_first(ends: Ends, records: int) -> None:
    wire = ends.wire_of(bytes(records * RECORD)) if records else b""
    with pytest.raises(txmembio.SSLWantReadError):
        ends.client.unwrap()
    wire += ends.outgoing.read()
    ends.incoming.write(memoryview(wire + b"plain again"))
    assert sum(len(ends.server.read(BLOCK)) for _ in range(13)) == records * RECORD
    assert ends.server.read(1, bytearray(1)) == 0
    assert ends.incoming.read() == b"plain again"


@pytest.mark.parametrize("records", [1, 4])
@pytest.mark.parametrize("into", [None, bytearray(BLOCK)])
def test_an_end_that_is_decrypted_with_what_comes_before_it_is_not_lost(
    ends: Ends, records: int, into: bytearray | None
) -> None:
    """Behind a full record a read looks for another one, and finds the close, which leaves no wire for a next look."""
    wire = ends.wire_of(bytes(records * RECORD))
    with pytest.raises(txmembio.SSLWantReadError):
        ends.client.unwrap()
    ends.incoming.write(wire + ends.outgoing.read())
    got = 0
    while more := ends.server.read(BLOCK, into):
        got += more if into is not None else len(more)
    assert got == records * RECORD
    assert ends.server.read() == b"" and ends.server.read(1, bytearray(1)) == 0


@pytest.mark.parametrize("into", [None, bytearray(BLOCK)])
def test_the_wire_wanted_next_is_a_header(ends: Ends, into: bytearray | None) -> None:
    """Also where the answer is known without asking OpenSSL: more than that may be what follows TLS, and nobody's to
    take."""
    wire = ends.wire_of(bytes(900))
    ends.incoming.write(wire[:RECORD_HEADER])
    with pytest.raises(txmembio.SSLWantReadError):
        ends.server.read(BLOCK, into)
    assert ends.server.wire_wanted == len(wire) - RECORD_HEADER
    ends.incoming.write(wire[RECORD_HEADER:])
    ends.server.read(BLOCK, into)
    with pytest.raises(txmembio.SSLWantReadError):
        ends.server.read(BLOCK, into)
    assert ends.server.wire_wanted == RECORD_HEADER


def test_a_truncation_is_told_as_often_as_it_is_asked(ends: Ends) -> None:
    ends.incoming.write(ends.wire_of(b"all"))
    ends.incoming.write_eof()
    assert ends.server.read() == b"all"
    for _ in range(2):
        with pytest.raises(txmembio.SSLEOFError):
            ends.server.read()


def test_want_read_is_a_new_exception_each_time(ends: Ends) -> None:
    caught = []
    for _ in range(2):
        with pytest.raises(ssl.SSLWantReadError) as info:
            ends.server.read()
        caught.append(info.value)
    first, second = caught
    assert first is not second and first.args == second.args == (2, "The operation did not complete (read)")
    assert first.__context__ is first.__cause__ is None and first.reason is None
    assert type(first).__name__ == "SSLWantReadError"


def test_it_goes_when_it_is_let_go_of(ends: Ends) -> None:
    gone = weakref.ref(ends.client)
    ends.client.in_a_circle = ends.client
    del ends.client
    gc.collect()
    assert gone() is None


def test_a_connection_is_not_read_inside_its_own_callback(pki: PKI) -> None:
    """A server's verify callback runs in its read(), where the client sends its certificate late."""
    inside: list[BaseException] = []

    def verify(*_: object) -> bool:
        for use in (lambda: tls.read(10), lambda: tls.write(b"now"), lambda: tls.read(10, bytearray(10))):
            try:
                use()
            except Exception as problem:
                inside.append(problem)
        return True

    client, server = (make(txmembio, pki) for make in (sslobjects.client_context, sslobjects.server_context))
    client.post_handshake_auth = server.post_handshake_auth = True
    client.load_cert_chain(pki.client.chain_file, pki.client.key_file)
    server.verify_mode = txmembio.CERT_REQUIRED
    server.set_verify_callback(verify)
    ends = sslobjects.Ends(client, server)
    tls = ends.server.tls
    ends.handshake()
    ends.talk()
    tls.verify_client_post_handshake()
    tls.write(b"who are you?")
    ends.deliver("client")
    assert ends.client.tls.read() == b"who are you?"
    ends.client.tls.write(b"I am")
    ends.deliver("server")
    assert tls.read() == b"I am"
    assert inside and all(type(problem) is RuntimeError for problem in inside)
    tls.write(b"goes on")
    ends.deliver("client")
    assert ends.client.tls.read() == b"goes on"


@pytest.mark.parametrize("bio", [txmembio.MemoryBIO, PlainMemoryBIO])
def test_a_callback_may_empty_the_bio_that_is_being_read(pki: PKI, bio: type[txmembio.MemoryBIO]) -> None:
    """What OpenSSL has taken meanwhile is not taken off what comes next."""
    client = sslobjects.client_context(txmembio, pki)
    server = sslobjects.server_context(txmembio, pki)
    incoming, outgoing, to_client = bio(), bio(), bio()
    taken: list[bytes] = []
    server.sni_callback = lambda *_: taken.append(incoming.read())
    asks: Any = client.wrap_bio(to_client, incoming, server_hostname="localhost")
    answers: Any = server.wrap_bio(incoming, outgoing, server_side=True)
    with pytest.raises(txmembio.SSLWantReadError):
        asks.do_handshake()
    with pytest.raises(txmembio.SSLWantReadError):
        answers.do_handshake()
    assert taken[0] and incoming.pending == 0
    to_client.write(outgoing.read())
    asks.do_handshake()
    answers.do_handshake()
    assert incoming.pending == 0
    asks.write(b"still in step")
    assert answers.read() == b"still in step"


def test_objects_of_many_threads_do_not_meet(pki: PKI) -> None:
    """Each finds memory of its own for its results, while others are in OpenSSL without the GIL."""
    problems: list[BaseException] = []
    everybody = [Ends(pki, txmembio.SSLObject, txmembio.MemoryBIO) for _ in range(4)]
    together = threading.Barrier(len(everybody))

    def work(ends: Ends, mark: bytes) -> None:
        try:
            together.wait(10)
            for size in (50_000, 100, 150_000) * 8:
                ends.incoming.write(memoryview(ends.wire_of(mark * size)))
                assert b"".join(ends.all_that_is_there()) == mark * size
        except BaseException as problem:
            problems.append(problem)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(ends, b"%d" % i)) for i, ends in enumerate(everybody)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
    finally:
        sys.setswitchinterval(interval)
    assert not problems


# MemoryBIO's place for much wire


def test_one_place_and_many_that_want_it() -> None:
    bios = [txmembio.MemoryBIO() for _ in range(3)]
    for mark, bio in enumerate(bios):
        memory = bytearray([mark]) * BLOCK
        assert bio.write(memoryview(memory)) == BLOCK
        memory[:] = bytes(BLOCK)  # the caller's again
        assert bio.pending == BLOCK and not bio.eof
        bio.write(b"behind")
    del bios[0]  # with what it had
    again = txmembio.MemoryBIO()
    again.write(memoryview(b"x" * BLOCK))
    assert again.read() == b"x" * BLOCK and again.read() == b""
    for mark, bio in enumerate(bios, 1):
        assert bio.read(10) == bytes([mark]) * 10
        assert bio.readinto(bytearray(10)) == 10
        assert bio.pending == BLOCK - 20 + 6
        assert bio.read() == bytes([mark]) * (BLOCK - 20) + b"behind"
        bio.write_eof()
        assert bio.eof


@in_c
def test_python_sees_one_list_of_chunks() -> None:
    """What is in that place is a chunk like any other, and nobody keeps it."""
    bio: Any = txmembio.MemoryBIO()
    bio.write(memoryview(bytearray(b"w" * 5000)))
    assert bio._at == 0 and bio._chunks == [b"w" * 5000] and bio._joined() == b"w" * 5000
    bio._drop(4000)
    assert bio._at == 4000 and bio.pending == 1000
    bio._at = 4999
    assert bio.read() == b"w"
    bio._drop(10)  # of what is gone already
    assert bio._at == 0 == bio.pending
    bio.write(memoryview(bytearray(b"w" * 5000)))
    kept = [bio.read(5000)]
    for mark in b"abc":
        bio.write(memoryview(bytearray([mark]) * 5000))
        kept += [bio.read() if mark % 2 else bio.read(5000)]
    assert [part[:1] * 5000 for part in kept] == kept and [part[:1] for part in kept] == [b"w", b"a", b"b", b"c"]
    with pytest.raises(TypeError):
        bio.read(1, 2)


def test_wire_that_cannot_be_where_it_is_said_to_be_is_none(ends: Ends) -> None:
    ends.incoming.write(ends.wire_of(b"x"))
    ends.incoming._at = 5000
    for into in (None, bytearray(10)):
        with pytest.raises(txmembio.SSLWantReadError):
            ends.server.read(BLOCK, into)


@in_c
def test_what_is_half_made_says_so() -> None:
    tls: Any = txmembio.SSLObject.__new__(txmembio.SSLObject)
    for use in (tls.read, lambda: tls.write(b"x"), lambda: tls.read(1, bytearray(1))):
        with pytest.raises(AttributeError):
            use()
    with pytest.raises(TypeError):
        tls._begin(1, 2)
    with pytest.raises(TypeError):
        tls._begin(None, "no address", None, None)
    with pytest.raises(RuntimeError):
        crossing.hasten_facades(Exception, (), "")
