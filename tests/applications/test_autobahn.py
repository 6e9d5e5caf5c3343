"""autobahn speaks WebSocket over `wss:`, in both roles, and tells what it knows of the TLS below."""

from __future__ import annotations

import json
from hashlib import sha1
from pathlib import Path

import pytest

from support.applications import Applications, ssl_endpoint
from support.pki import PKI

pytestmark = pytest.mark.applications

SERVER = """
import json, sys
from autobahn.twisted.util import create_transport_details
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from twisted.internet import reactor
from twisted.internet.endpoints import serverFromString

class Echo(WebSocketServerProtocol):
    def onOpen(self):
        details = create_transport_details(self.transport, True)
        print(json.dumps({"secure": details.is_secure, "id": details.channel_id["tls-unique"].hex()}))

    def onMessage(self, payload, is_binary):
        self.sendMessage(payload, is_binary)

factory = WebSocketServerFactory("wss://localhost")
factory.protocol = Echo
port = serverFromString(reactor, sys.argv[1]).listen(factory)
port.addCallback(lambda port: print("port", port.getHost().port))
reactor.run()
"""

CLIENT = """
import json, sys
from autobahn.twisted.util import create_transport_details, transport_channel_id
from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol, connectWS
from twisted.internet import reactor
from twisted.internet.ssl import optionsForClientTLS

MESSAGES = [b"hello", b"x" * 400_000, b""]

class Client(WebSocketClientProtocol):
    def onOpen(self):
        details = create_transport_details(self.transport, False)
        self.said = {"secure": details.is_secure, "id": details.channel_id["tls-unique"].hex()}
        self.sha1 = details.peer_cert["sha1"]
        self.answers = []
        for message in MESSAGES:
            self.sendMessage(message, True)

    def onMessage(self, payload, is_binary):
        self.answers.append(payload)
        if len(self.answers) == len(MESSAGES):
            print(json.dumps(self.said))
            print(self.sha1.replace(":", ""), self.answers == MESSAGES)
            self.sendClose(1000)

    def onClose(self, clean, code, reason):
        print("closed", clean, code)
        reactor.stop()

factory = WebSocketClientFactory(sys.argv[1])
factory.protocol = Client
connectWS(factory, optionsForClientTLS("localhost"))
reactor.run()
"""


def test_messages_come_back(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    endpoint = ssl_endpoint(pki)
    with apps.run(apps.script(tmp_path, SERVER, "server.py"), endpoint, cwd=tmp_path) as server:
        port = int(server.wait_for(r"port (\d+)")[1])
        client = apps.finish(apps.script(tmp_path, CLIENT, "client.py"), f"wss://localhost:{port}", cwd=tmp_path)
    said, facts, closed = client.output.splitlines()
    assert json.loads(said) == json.loads(server.output.splitlines()[1]), "both know the same channel"
    assert json.loads(said)["secure"] and len(json.loads(said)["id"]) >= 24
    assert facts.split() == [sha1(pki.server.certificate_der).hexdigest().upper().encode(), b"True"]
    assert closed == b"closed True 1000"
