"""Two SSLSockets, of the standard library's `ssl` or of txmembio.ssl, in any mixture, joined by a real TCP connection.

with tls_sockets.connected(pki, client=txmembio.ssl, server=ssl) as (client, server):
    client.sendall(b"hello")
    server.recv(100)
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from .pki import PKI
from .process import DEADLINE


def client_context(pki: PKI, module: Any) -> Any:
    """One of `module`'s, which trusts the server of `server_context()`."""
    context = module.SSLContext(module.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(pki.ca.certificate_file)
    return context


def server_context(pki: PKI, module: Any) -> Any:
    """One of `module`'s, for localhost."""
    context = module.SSLContext(module.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki.server.chain_file, pki.server.key_file)
    return context


class Beside:
    """A function that runs in a thread of its own, and what became of it."""

    def __init__(self, function: Callable[[], Any]) -> None:
        self._function = function
        self._result: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._result = self._function()
        except BaseException as error:
            self._error = error

    def result(self) -> Any:
        """What it returned, once it has; raises what it raised."""
        self._thread.join(DEADLINE)
        assert not self._thread.is_alive(), f"{self._function} is still at it"
        if self._error is not None:
            raise self._error
        return self._result


@contextmanager
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    """Two plain sockets, joined by TCP: a pair of UNIX sockets knows no reset, and ends otherwise."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        ours = socket.create_connection(listener.getsockname())
        theirs, _ = listener.accept()
    with ours, theirs:
        yield ours, theirs


@contextmanager
def wrapped(
    client_context: Any, server_context: Any, session: Any = None, **arguments: Any
) -> Iterator[tuple[Any, Any]]:
    """A client and a server, with the handshake done. `arguments` are both sides' for wrap_socket()."""
    with pair() as (near, far):
        server_side = Beside(lambda: server_context.wrap_socket(far, server_side=True, **arguments))
        client = client_context.wrap_socket(near, server_hostname="localhost", session=session, **arguments)
        with client, server_side.result() as server:
            yield client, server


@contextmanager
def connected(pki: PKI, client: Any, server: Any, **arguments: Any) -> Iterator[tuple[Any, Any]]:
    """The same with contexts of these modules."""
    with wrapped(client_context(pki, client), server_context(pki, server), **arguments) as both:
        yield both
