"""What every scenario is given: the reactor, certificates in files, contexts, endpoints; and how it says goodbye."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet.defer import gatherResults
from twisted.internet.endpoints import TCP4ClientEndpoint, TCP4ServerEndpoint
from twisted.internet.protocol import Factory

import txmembio
from completion_ports.ends import End, Making, content
from txmembio.twisted import wrapClientTLS, wrapServerTLS

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

#: Where everything listens.
ADDRESS = "127.0.0.1"


class Stage:
    """One scenario's surroundings: TLS `version` alone, and `size` bytes for each side to send."""

    def __init__(self, reactor: Any, certificates: Path, version: txmembio.TLSVersion, size: int) -> None:
        self.reactor = reactor
        self.certificates = certificates
        self.version = version
        self.size = size

    def file(self, name: str) -> str:
        """The path of a file with certificates."""
        return str(self.certificates / f"{name}.pem")

    def data(self, seed: str) -> bytes:
        """`size` bytes of their own."""
        return content(seed, self.size)

    # TLS

    def server_context(self, credential: str = "server", *, verify: bool = False) -> txmembio.SSLContext:
        """A server's context; with `verify`, one that requires a client's certificate."""
        context = txmembio.create_default_context(txmembio.Purpose.CLIENT_AUTH, cafile=self.file("ca"))
        context.load_cert_chain(self.file(credential))
        context.verify_mode = txmembio.CERT_REQUIRED if verify else txmembio.CERT_NONE
        return self._only(context)

    def client_context(self, credential: str | None = None) -> txmembio.SSLContext:
        """A client's context, which shows `credential` if asked for one."""
        context = txmembio.create_default_context(txmembio.Purpose.SERVER_AUTH, cafile=self.file("ca"))
        if credential is not None:
            context.load_cert_chain(self.file(credential))
        return self._only(context)

    def _only(self, context: txmembio.SSLContext) -> txmembio.SSLContext:
        context.minimum_version = context.maximum_version = self.version
        return context

    # TCP

    def tcp_server(self) -> Any:
        """The endpoint of a server on a free port."""
        return TCP4ServerEndpoint(self.reactor, 0, interface=ADDRESS)

    def tcp_client(self, port: Any) -> Any:
        """The endpoint of a client of `port`."""
        return TCP4ClientEndpoint(self.reactor, ADDRESS, port.getHost().port)

    def tls_server(self, **settings: Any) -> Any:
        """The same with TLS around it."""
        return wrapServerTLS(self.server_context(), self.tcp_server(), **settings)

    def tls_client(self, port: Any, **settings: Any) -> Any:
        """The same with TLS around it."""
        return wrapClientTLS(self.client_context(), "localhost", self.tcp_client(port), **settings)

    # Conversations

    @asynccontextmanager
    async def listening(self, endpoint: Any, make: Callable[[], Any] = End) -> AsyncIterator[tuple[Any, Making]]:
        """A server at `endpoint`: its port, and the factory of its protocols."""
        making = Making(make)
        port = await endpoint.listen(making)
        try:
            yield port, making
        finally:
            await port.stopListening()

    @asynccontextmanager
    async def conversation(
        self,
        make_client: Callable[[], Any] = End,
        make_server: Callable[[], Any] = End,
        *,
        server: Any = None,
        connecting: Callable[[Any], Any] | None = None,
    ) -> AsyncIterator[tuple[Any, Any]]:
        """A client and a server that know that the handshake is complete: over TLS on TCP, or the endpoints given."""
        async with self.listening(server or self.tls_server(), make_server) as (port, making):
            client = await self.connect((connecting or self.tls_client)(port), make_client)
            served = await making.first()
            await gatherResults([client.handshaken, served.handshaken])
            yield client, served

    async def connect(self, endpoint: Any, make: Callable[[], Any] = End) -> Any:
        """A client's protocol, connected to `endpoint`."""
        return await endpoint.connect(Factory.forProtocol(make))

    async def close(self, first: End, second: End) -> dict[str, Any]:
        """`first` closes; the facts of both, once both have ended. `first` is the client."""
        first.transport.loseConnection()
        return await self.ended(first, second)

    async def ended(self, client: End, server: End) -> dict[str, Any]:
        """The facts of both, once both have ended."""
        await gatherResults([client.lost, server.lost])
        return {"client": client.facts(), "server": server.facts()}
