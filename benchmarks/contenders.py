"""The contenders written in Python. Each is a client or a server; its peer is an ``End`` of the C loop.

A contender says how to make one side of a connection: an object that takes a handshake step by step, and then has two
functions, one message each: *encrypt*, from plaintext to wire, and *decrypt*, from wire to plaintext. A result may be
in pieces where that is how the contender hands it over: they are not joined while the clock runs.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from time import perf_counter, process_time
from typing import Any, NamedTuple

from benchmarks import c_loop
from benchmarks.c_loop import TICKETS, End, Library, wire_bytes
from benchmarks.slices import DIRECTIONS, HANDSHAKES, BenchmarkError, Direction, Side, Slice, Work

Result = bytes | list[bytes]
OneMessage = Callable[[bytes], Result]

MOST_FLIGHTS = 10
"""Flights of a handshake after which it is given up: TLS 1.3 needs three (RFC 8446, 2)."""


def _joined(result: Result) -> bytes:
    return result if isinstance(result, bytes) else b"".join(result)


class Party(NamedTuple):
    """One side of one connection, in Python."""

    step: Callable[[bytes], tuple[bytes, bool]]
    """Takes wire, b"" to begin with; returns wire to send, and whether the handshake is complete."""
    encrypt: OneMessage
    decrypt: OneMessage
    session: Callable[[], Any]
    """What another client resumes, once the tickets have been read."""


class Recipe(NamedTuple):
    """How a contender makes its side of a connection."""

    library: str
    """The libssl it runs with."""
    client: Callable[[Any], Party]
    """Takes the session to resume, or None."""
    server: Callable[[], Party]


Watch = Callable[[], None]


class Connection:
    """A connection whose handshake is complete; :class:`~benchmarks.slices.Connected` says what its methods do."""

    def __init__(self, name: str, party: Party, peer: End) -> None:
        self.encrypt = party.encrypt
        self.decrypt = party.decrypt
        self._name = name
        self._peer = peer
        self._batch: list[bytes] = []
        self._last: Result = b""

    def check(self, data: bytes) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        wire = _joined(self.encrypt(data))
        encrypted = self._peer.decrypt(wire)
        self.make_batch(data, 2)
        decrypted = [_joined(self.decrypt(wire)) for wire in self._batch]
        if encrypted != data or decrypted != [data, data] or len(wire) != wire_bytes(len(data)):
            raise BenchmarkError(f"{self._name}: a message of {len(data)} bytes did not come out as it went in")

    def encrypt_many(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        encrypt = self.encrypt
        for _ in range(count):
            result = encrypt(data)
        self._last = result

    def last_wire(self) -> bytes:
        """See :class:`~benchmarks.slices.Connected`."""
        return _joined(self._last)

    def make_batch(self, data: bytes, count: int) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        self._batch = self._peer.encrypt_batch(data, count)

    def decrypt_batch(self) -> None:
        """See :class:`~benchmarks.slices.Connected`."""
        decrypt = self.decrypt
        for wire in self._batch:
            result = decrypt(wire)
        self._last = result

    def last_plaintext(self) -> bytes:
        """See :class:`~benchmarks.slices.Connected`."""
        return _joined(self._last)


class PythonContender:
    """A contender with its peers; :class:`~benchmarks.slices.Contender` says what its methods do."""

    def __init__(
        self, key: str, name: str, recipe: Recipe, library: Library, pem: Path, directions: tuple[Direction, ...]
    ) -> None:
        self.key = key
        self.name = name
        self.library = recipe.library
        self.directions = directions
        self._recipe = recipe
        self._peers = {
            "client": c_loop.Context(library, pem, tickets=TICKETS),
            "server": c_loop.Context(library),
        }
        self._connections: dict[Side, Connection] = {}
        self._sessions: dict[Side, Any] = {}
        self._kept: list[Party] = []

    def connected(self, side: Side) -> Connection:
        """See :class:`~benchmarks.slices.Contender`."""
        if side not in self._connections:
            peer = End(self._peers[side])
            party = self._handshake(side, peer, None, _nothing, _nothing)
            self._connections[side] = Connection(self.name, party, peer)
        return self._connections[side]

    def shake_hands(self, work: Work, count: int) -> Slice:
        """See :class:`~benchmarks.slices.Contender`."""
        wall = cpu = 0.0

        def on() -> None:
            nonlocal wall, cpu
            wall -= perf_counter()
            cpu -= process_time()

        def off() -> None:
            nonlocal wall, cpu
            cpu += process_time()
            wall += perf_counter()

        self.watched_handshakes(work, count, on, off)
        return Slice(count, wall, cpu)

    def watched_handshakes(self, work: Work, count: int, on: Watch, off: Watch) -> None:
        """*count* handshakes, with calls of *on* and *off* around this contender's part of them."""
        session = self._session(work.side) if work.direction == "resumption" else None
        for _ in range(count):
            peer = End(self._peers[work.side], session if work.side == "server" else None, handshake=True)
            party = self._handshake(work.side, peer, session if work.side == "client" else None, on, off)
            on()
            del party
            off()
            if peer.resumed != (session is not None):
                raise BenchmarkError(f"{self.name}: as {work.side}, {work.direction} was expected, and did not happen")

    def _session(self, side: Side) -> Any:
        """What a client on the other side of *side*, or this one, resumes."""
        if side not in self._sessions:
            peer = End(self._peers[side], handshake=True)
            party = self._handshake(side, peer, None, _nothing, _nothing)
            self._kept.append(party)  # an SSL that is freed without close_notify takes its session along
            self._sessions[side] = party.session() if side == "client" else c_loop.Session(peer)
        return self._sessions[side]

    def _handshake(self, side: Side, peer: End, session: Any, on: Watch, off: Watch) -> Party:
        """The handshake of a new party with *peer*, until there is nothing more to send: the client has the tickets."""
        wire = peer.handshake(b"") if side == "server" else b""
        on()
        party = self._recipe.server() if side == "server" else self._recipe.client(session)
        off()
        for _ in range(MOST_FLIGHTS):
            on()
            sent, complete = party.step(wire)
            off()
            wire = peer.handshake(sent)
            if complete and peer.complete and not wire:
                return party
        raise BenchmarkError(f"{self.name}: the handshake was not complete after {MOST_FLIGHTS} flights")


def _nothing() -> None:
    pass


def txmembio_one_call(pem: Path) -> Recipe:
    """txmembio's Connection: ``plaintext_to_wire()`` and ``receive_wire()``."""
    import txmembio

    client_context, server_context = _contexts(txmembio, pem)

    def party(connection: Any) -> Party:
        def step(wire: bytes) -> tuple[bytes, bool]:
            if wire:
                connection.receive_wire(wire)
            else:
                connection.do_handshake()
            return connection.wire_to_send(), connection.handshake_complete

        return Party(step, connection.plaintext_to_wire, connection.receive_wire, lambda: connection.session)

    return Recipe(
        txmembio.OPENSSL_VERSION,
        lambda session: party(client_context.connection(session=session)),
        lambda: party(server_context.connection(server_side=True)),
    )


def txmembio_two_calls(pem: Path) -> Recipe:
    """txmembio's Connection, encrypting by ``send_plaintext()`` and ``wire_to_send()``."""
    one_call = txmembio_one_call(pem)

    def party(one: Party) -> Party:
        connection: Any = one.encrypt.__self__  # type: ignore[attr-defined]
        send_plaintext, wire_to_send = connection.send_plaintext, connection.wire_to_send

        def encrypt(data: bytes) -> Result:
            send_plaintext(data)
            wire: bytes = wire_to_send()
            return wire

        return one._replace(encrypt=encrypt)

    return Recipe(one_call.library, lambda session: party(one_call.client(session)), lambda: party(one_call.server()))


def standard_library(pem: Path) -> Recipe:
    """The standard library's ``SSLObject`` between two ``MemoryBIO``."""
    import ssl

    return _memory_bios(ssl, pem)


def txmembio_ssl(pem: Path) -> Recipe:
    """``txmembio.ssl``'s ``SSLObject`` between two ``MemoryBIO``: the calls that asyncio makes of either."""
    import txmembio.ssl

    return _memory_bios(txmembio.ssl, pem)


def _contexts(ssl: Any, pem: Path) -> tuple[Any, Any]:
    """A client's context that verifies nothing, and a server's, of ``ssl`` or what has its names."""
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_mode = ssl.CERT_NONE
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(pem)
    return client, server


def _memory_bios(ssl: Any, pem: Path) -> Recipe:
    client_context, server_context = _contexts(ssl, pem)
    want_read = ssl.SSLWantReadError
    record = 2**14  # bytes: read() never returns more than a record's, and allocates what it is told

    def party(context: Any, **arguments: Any) -> Party:
        incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = context.wrap_bio(incoming, outgoing, **arguments)
        complete = False

        def step(wire: bytes) -> tuple[bytes, bool]:
            nonlocal complete
            incoming.write(wire)
            try:
                if complete:
                    tls.read(record)  # tickets
                tls.do_handshake()
                complete = True
            except want_read:
                pass
            return outgoing.read(), complete

        def encrypt(data: bytes) -> Result:
            tls.write(data)
            wire: bytes = outgoing.read()
            return wire

        def decrypt(wire: bytes) -> Result:
            pieces = []
            incoming.write(wire)
            try:
                while True:
                    pieces.append(tls.read(record))
            except want_read:
                return pieces

        return Party(step, encrypt, decrypt, lambda: tls.session)

    return Recipe(
        ssl.OPENSSL_VERSION,
        lambda session: party(client_context, session=session),
        lambda: party(server_context, server_side=True),
    )


def pyopenssl_as_twisted(pem: Path) -> Recipe:
    """pyOpenSSL, with the calls that Twisted 26.10's ``protocols/tls.py`` makes and the mode its contexts set.

    Twisted encrypts 16 KiB at a time and asks the memory BIO for up to 32 KiB of wire after each; it decrypts 32 KiB at
    a time until WantReadError, and then asks whether there is wire to send. Its own Python around that is not counted.
    """
    ssl: Any = import_module("OpenSSL.SSL")
    client_context, server_context = ssl.Context(ssl.TLS_CLIENT_METHOD), ssl.Context(ssl.TLS_SERVER_METHOD)
    client_context.set_mode(ssl.MODE_RELEASE_BUFFERS)
    server_context.set_mode(ssl.MODE_RELEASE_BUFFERS)
    server_context.use_certificate_chain_file(str(pem))
    server_context.use_privatekey_file(str(pem))
    want_read = ssl.WantReadError
    record, most = 2**14, 2**15  # bytes

    def party(connection: Any) -> Party:
        send, receive = connection.send, connection.recv
        bio_read, bio_write = connection.bio_read, connection.bio_write
        complete = False

        def step(wire: bytes) -> tuple[bytes, bool]:
            nonlocal complete
            if wire:
                bio_write(wire)
            try:
                if complete:
                    receive(most)  # tickets
                connection.do_handshake()
                complete = True
            except want_read:
                pass
            try:
                return bio_read(most), complete
            except want_read:
                return b"", complete

        def encrypt(data: bytes) -> Result:
            written = []
            sent = 0
            while sent < len(data):
                sent += send(data[sent : sent + record])
                try:  # noqa: SIM105 (Twisted has no suppress(), which would cost it two calls)
                    written.append(bio_read(most))
                except want_read:
                    pass
            return written

        def decrypt(wire: bytes) -> Result:
            delivered = []
            bio_write(wire)
            while True:
                try:
                    delivered.append(receive(most))
                except want_read:
                    break
            try:  # noqa: SIM105 (as above)
                bio_read(most)
            except want_read:
                pass
            return delivered

        return Party(step, encrypt, decrypt, connection.get_session)

    def client(session: Any) -> Party:
        connection = ssl.Connection(client_context, None)
        connection.set_connect_state()
        if session is not None:
            connection.set_session(session)
        return party(connection)

    def server() -> Party:
        connection = ssl.Connection(server_context, None)
        connection.set_accept_state()
        return party(connection)

    return Recipe(ssl.SSLeay_version(0).decode("ascii"), client, server)


class _Listed(NamedTuple):
    name: str
    recipe: Callable[[Path], Recipe]
    directions: tuple[Direction, ...] = DIRECTIONS + HANDSHAKES


_LISTED = {
    "txmembio": _Listed("txmembio, one call", txmembio_one_call),
    "txmembio-two": _Listed("txmembio, two calls", txmembio_two_calls, ("encrypt",)),
    "txmembio-ssl": _Listed("txmembio.ssl, SSLObject and MemoryBIO", txmembio_ssl),
    "pyopenssl": _Listed("pyOpenSSL {}, as Twisted calls it", pyopenssl_as_twisted),
    "ssl": _Listed("stdlib ssl, SSLObject and MemoryBIO", standard_library),
}

PYTHON_CONTENDERS = tuple(_LISTED)
"""The keys that name this module's contenders on the command line and in the JSON."""


def python_contender(key: str, library: Library, pem: Path) -> PythonContender:
    """The contender of that *key*. Its peers are ends of *library*; its servers have the certificate in *pem*."""
    listed = _LISTED[key]
    name = listed.name
    if key == "pyopenssl":
        name = name.format(import_module("OpenSSL.version").__version__)
    return PythonContender(key, name, listed.recipe(pem), library, pem, listed.directions)
