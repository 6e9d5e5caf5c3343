"""txsni: certificates picked by server name, through proxies around pyOpenSSL's contexts and connections."""

from __future__ import annotations

import socket
import ssl
from pathlib import Path

import pytest

from support.applications import Applications
from support.peers import escape
from support.pki import PKI
from support.process import DEADLINE

pytestmark = pytest.mark.applications

SERVER = """
import sys
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString
from twisted.internet.protocol import Factory, Protocol

class Reverse(Protocol):
    def dataReceived(self, data):
        self.transport.write(data[::-1])

listening = serverFromString(reactor, sys.argv[1]).listen(Factory.forProtocol(Reverse))
listening.addCallback(lambda port: print("port", port.getHost().port))
reactor.run()
"""


def test_each_name_has_its_certificate(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    for name in ("a.example", "b.example"):
        Path(tmp_path, f"{name}.pem").write_bytes(Path(pki.issue(name).combined_file).read_bytes())
    endpoint = f"txsni:{escape(str(tmp_path))}:tcp:0:interface=127.0.0.1"
    context = ssl.create_default_context(cafile=pki.ca.certificate_file)
    with apps.run(apps.script(tmp_path, SERVER), endpoint, cwd=tmp_path) as server:
        port = int(server.wait_for(r"port (\d+)")[1])
        for name in ("a.example", "b.example", "a.example"):
            with (
                socket.create_connection(("127.0.0.1", port), DEADLINE) as connection,
                context.wrap_socket(connection, server_hostname=name) as stream,
            ):
                stream.sendall(b"abc")
                assert stream.recv(3) == b"cba"
