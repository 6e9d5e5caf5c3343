"""klein, a framework for web sites, serves on `ssl:`."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from support.applications import Applications, fetch, ssl_endpoint
from support.pki import PKI

pytestmark = pytest.mark.applications

SITE = """
import sys
from klein import Klein

app = Klein()

@app.route("/")
def home(request):
    return f"secure: {request.isSecure()}"

@app.route("/echo", methods=["POST"])
def echo(request):
    return request.content.read()

app.run(endpoint_description=sys.argv[1], logFile=sys.stdout)
"""

VISITORS = 10


def test_a_site(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    endpoint = ssl_endpoint(pki)
    with apps.run(apps.script(tmp_path, SITE), endpoint, cwd=tmp_path) as process:
        port = int(process.wait_for(r"starting on (\d+)")[1])
        assert fetch(pki, port, "/") == (200, b"secure: True")
        assert fetch(pki, port, "/nothing")[0] == 404
        body = bytes(range(256)) * 2000
        answers: list[tuple[int, bytes]] = []
        visitors = [
            threading.Thread(target=lambda: answers.append(fetch(pki, port, "/echo", "POST", body)))
            for _ in range(VISITORS)
        ]
        for visitor in visitors:
            visitor.start()
        for visitor in visitors:
            visitor.join()
        assert answers == [(200, body)] * VISITORS
    assert "Traceback" not in process.transcript()
