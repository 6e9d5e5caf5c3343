"""A `Connection` over a plain blocking socket: the smallest driver there is, and so the one that interop tests trust.

The conversation of all interop tests is the one `openssl s_server -rev` knows: each line is answered with its bytes
reversed.
"""

from __future__ import annotations

import contextlib
import queue
import socket
import threading
from types import TracebackType
from typing import Any, TypeVar

import txmembio

from .process import DEADLINE

#: Bytes asked of a socket at once: more than the largest record, so that one read often holds several.
SOCKET_READ_SIZE = 65536


def reverse_lines(lines: bytes) -> bytes:
    """The answer to whole lines: each reversed, its newline still at its end."""
    return b"".join(line[:-1][::-1] + b"\n" for line in lines.splitlines(keepends=True))


class Stream:
    """TLS over a connected socket. A `with` block ends with close_notify, or after an error without."""

    def __init__(self, sock: socket.socket, connection: txmembio.Connection) -> None:
        self.sock = sock
        self.connection = connection
        self._plaintext = b""
        sock.settimeout(DEADLINE)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
        else:
            self.sock.close()

    def handshake(self) -> None:
        """Shake hands, or raise what went wrong after telling the peer."""
        try:
            self.connection.do_handshake()
        finally:
            self.flush()
        while not self.connection.handshake_complete:
            self._plaintext += self._next()

    def receive(self) -> bytes:
        """Some plaintext; `b""` once the peer has said close_notify."""
        plaintext, self._plaintext = self._plaintext, b""
        while not plaintext and not self.connection.peer_closed:
            plaintext = self._next()
        return plaintext

    def receive_exactly(self, size: int) -> bytes:
        """`size` bytes of plaintext; what comes after them is kept."""
        received = bytearray()
        while len(received) < size:
            plaintext = self.receive()
            assert plaintext, f"the peer closed after {len(received)} of {size} bytes"
            received += plaintext
        self._plaintext = bytes(received[size:]) + self._plaintext
        return bytes(received[:size])

    def receive_all(self) -> bytes:
        """All plaintext until the peer says close_notify."""
        return b"".join(iter(self.receive, b""))

    def send(self, plaintext: bytes) -> None:
        """Encrypt and send all of it."""
        self.sock.sendall(self.connection.plaintext_to_wire(plaintext))

    def close(self) -> None:
        """Say close_notify and close the socket."""
        self.connection.close()
        self.flush()
        self.sock.close()

    def flush(self) -> None:
        """Send what there is. A peer that has gone away does not hide why: its wire says so, or the error in flight
        does.
        """
        with contextlib.suppress(ConnectionError):
            self.sock.sendall(self.connection.wire_to_send())

    def _next(self) -> bytes:
        if self.connection.error is not None:
            raise self.connection.error
        wire = self.sock.recv(SOCKET_READ_SIZE)
        if not wire:
            self.connection.receive_wire_eof()
            return b""
        try:
            return self.connection.receive_wire(wire)
        finally:
            self.flush()


def connect(
    context: txmembio.SSLContext,
    port: int,
    server_hostname: str = "localhost",
    session: txmembio.SSLSession | None = None,
) -> Stream:
    """A client's stream to 127.0.0.1, its handshake done. The socket is closed if that fails."""
    connection = context.connection(server_hostname=server_hostname, session=session)
    stream = Stream(socket.create_connection(("127.0.0.1", port), DEADLINE), connection)
    try:
        stream.handshake()
    except BaseException:
        stream.sock.close()
        raise
    return stream


AServer = TypeVar("AServer", bound="Server")


class Server:
    """Answers lines, on a free port of 127.0.0.1, one thread for each connection, until the `with` block ends.

    How each connection went is told by `outcome()`, in the order in which they ended.
    """

    def __init__(self, context: txmembio.SSLContext) -> None:
        self.context = context
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._outcomes: queue.Queue[tuple[txmembio.Connection, Any]] = queue.Queue()
        self._closing = False
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept)

    def outcome(self) -> tuple[txmembio.Connection, Any]:
        """The connection that ended next, and the error that ended it (None if it was closed as it should be)."""
        return self._outcomes.get(timeout=DEADLINE)

    def serve(self, stream: Stream) -> None:
        """The conversation. Overridden for others than lines."""
        rest = b""
        while plaintext := stream.receive():
            lines, newline, rest = (rest + plaintext).rpartition(b"\n")
            if newline:
                stream.send(reverse_lines(lines + newline))

    def __enter__(self: AServer) -> AServer:
        self._acceptor.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._closing = True
        socket.create_connection(self._listener.getsockname(), DEADLINE).close()  # wakes accept() on every platform
        self._acceptor.join(DEADLINE)
        self._listener.close()
        for thread in self._threads:
            thread.join(DEADLINE)

    def _accept(self) -> None:
        while True:
            sock, _ = self._listener.accept()
            if self._closing:
                sock.close()
                return
            thread = threading.Thread(target=self._converse, args=(sock,))
            self._threads.append(thread)
            thread.start()

    def _converse(self, sock: socket.socket) -> None:
        connection = self.context.connection(server_side=True)
        stream = Stream(sock, connection)
        error: Exception | None = None
        try:
            stream.handshake()
            self.serve(stream)
            stream.close()
        except (OSError, txmembio.SSLError) as caught:
            error = caught
        finally:
            sock.close()
            self._outcomes.put((connection, error))
