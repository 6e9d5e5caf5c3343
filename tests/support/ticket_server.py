"""A program: a server among several on one port, by SO_REUSEPORT. It answers each connection in HTTP with its process
id, `resumed` or `new`, and the TLS version, and closes. What it logs goes to standard error.

    python ticket_server.py 'membiotls:8443:certificate=…:ticketKeys=…'
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

from twisted.internet.endpoints import serverFromString
from twisted.internet.main import installReactor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.selectreactor import SelectReactor
from twisted.internet.tcp import Port
from twisted.logger import globalLogBeginner, textFileLogObserver


class SharedPort(Port):
    """A port that other processes listen on too; the kernel spreads the connections."""

    def createInternetSocket(self) -> socket.socket:
        created: socket.socket = super().createInternetSocket()
        created.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        return created


class SharedPortReactor(SelectReactor):
    """A reactor all of whose ports are shared."""

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:
        shared = SharedPort(port, factory, backlog, interface, self)
        shared.startListening()
        return shared


class Answering(Protocol):
    """Whatever the request is."""

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        connection = transport.connection
        resumed = "resumed" if connection.session_reused else "new"
        body = f"{os.getpid()} {resumed} {connection.version()}".encode()
        head = b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n" % len(body)
        transport.write(head + body)
        transport.loseConnection()


def main(description: str) -> None:
    globalLogBeginner.beginLoggingTo([textFileLogObserver(sys.stderr)], redirectStandardIO=False)
    reactor: Any = SharedPortReactor()
    installReactor(reactor)
    listening = serverFromString(reactor, description).listen(Factory.forProtocol(Answering))
    listening.addCallback(lambda port: print(f"port {port.getHost().port}", flush=True))
    reactor.run()


if __name__ == "__main__":
    main(*sys.argv[1:])
