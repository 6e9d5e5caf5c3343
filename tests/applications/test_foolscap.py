"""foolscap: tubs call one another, each known by its certificate's digest, on connections that began in plaintext."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.applications import Applications

pytestmark = pytest.mark.applications

#: Says where it can be found, and answers.
SERVER = """
from foolscap.api import Referenceable, Tub
from twisted.internet import reactor

class Reverse(Referenceable):
    def remote_reverse(self, text):
        return text[::-1]

tub = Tub()
listener = tub.listenOn("tcp:0:interface=127.0.0.1")

def listening(_):
    tub.setLocation(f"tcp:127.0.0.1:{listener.getPortnum()}")
    print(tub.registerReference(Reverse(), "reverse"))

tub.startService()
reactor.callWhenRunning(reactor.callLater, 0, listening, None)
reactor.run()
"""

CLIENT = """
import sys
from foolscap.api import Tub
from twisted.internet.defer import ensureDeferred
from twisted.internet.task import react

async def main(reactor, url):
    for _ in range(3):
        tub = Tub()
        tub.startService()
        remote = await tub.getReference(url)
        answer = await remote.callRemote("reverse", b"abc" * 100_000)
        print(answer == b"cba" * 100_000, remote.tracker.broker.remote_tubref.getTubID() in url)
        await tub.stopService()

react(lambda reactor: ensureDeferred(main(reactor, sys.argv[1])))
"""


def test_tubs(apps: Applications, tmp_path: Path) -> None:
    with apps.run(apps.script(tmp_path, SERVER, "server.py"), cwd=tmp_path) as server:
        url = server.wait_for(r"pb://\S+")[0]
        client = apps.finish(apps.script(tmp_path, CLIENT, "client.py"), url, cwd=tmp_path)
    assert client.output.splitlines() == [b"True True"] * 3


def test_a_tub_that_is_not_who_it_should_be(apps: Applications, tmp_path: Path) -> None:
    """Another certificate at the same place."""
    with apps.run(apps.script(tmp_path, SERVER, "server.py"), cwd=tmp_path) as server:
        url = server.wait_for(r"pb://\S+")[0]
        name, place = url.removeprefix("pb://").split("@")
        other = ("a" if name[0] != "a" else "b") + name[1:]
        with apps.run(apps.script(tmp_path, CLIENT, "client.py"), f"pb://{other}@{place}", cwd=tmp_path) as client:
            assert client.wait() == 1
    assert "True" not in client.output.decode()
