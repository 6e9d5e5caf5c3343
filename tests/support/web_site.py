"""A site of twisted.web, and a program that serves it on an endpoint:

    python web_site.py 'membiotls:0:…'      prints "port N", then a line for each request: "HTTP/2 GET /numbers"

What it serves:

    /facts           what the site knows of the connection, as JSON
    /bytes/N         N bytes of `pattern`, from a push producer
    /pulled/N        the same from a pull producer, as twisted.web.static.File sends a file
    /whole/N         the same in one write
    /digest          (POST) length and SHA-256 of the request's body
    /packed          text, gzipped for those who accept that
    /moved           a redirect to /facts
    /echo            a WebSocket that says the same (autobahn), where autobahn is installed
    /browser/…       the files of a page, for a browser
"""

from __future__ import annotations

import hashlib
import json
import sys
from importlib.util import find_spec
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.interfaces import IPushProducer
from twisted.internet.task import react
from twisted.web.resource import EncodingResourceWrapper, Resource
from twisted.web.server import NOT_DONE_YET, GzipEncoderFactory, Site
from twisted.web.util import Redirect
from zope.interface import implementer

#: Bytes that a producer writes at once: more than one HTTP/2 frame (16384), and no divisor of anything.
PIECE = 50_001

#: A prime, so that no block of the pattern looks like the one before.
_PERIOD = bytes(range(251))

TEXT = b"the same line again\n" * 1000
"""What /packed serves."""


def pattern(size: int) -> bytes:
    """`size` bytes in which nothing lost, doubled or moved goes unnoticed."""
    return (_PERIOD * (size // len(_PERIOD) + 1))[:size]


def digest(body: bytes) -> str:
    """What /digest answers."""
    return f"{len(body)} {hashlib.sha256(body).hexdigest()}"


class Data(Resource):
    """As in twisted.web.static, which cannot be imported without a warning."""

    isLeaf = True

    def __init__(self, data: bytes, kind: str) -> None:
        super().__init__()
        self.data = data
        self.kind = kind

    def render_GET(self, request: Any) -> bytes:
        request.setHeader(b"content-type", self.kind.encode())
        return self.data


class Facts(Resource):
    isLeaf = True

    def render_GET(self, request: Any) -> bytes:
        facts = {"secure": request.isSecure(), "protocol": request.clientproto.decode()}
        # A stream of HTTP/2 has no transport of its own.
        transport = getattr(request.channel, "transport", None)
        certificate = getattr(transport, "getPeerCertificate", lambda: None)()
        alpn = getattr(transport, "negotiatedProtocol", None)
        facts["alpn"] = "h2" if request.clientproto == b"HTTP/2" else alpn and alpn.decode()
        facts["client"] = certificate and certificate.subject
        facts["port"] = request.getClientAddress().port
        request.setHeader(b"content-type", b"application/json")
        return json.dumps(facts).encode()


class Digest(Resource):
    isLeaf = True

    def render_POST(self, request: Any) -> bytes:
        return digest(request.content.read()).encode()


@implementer(IPushProducer)
class Producing:
    """Writes the pattern to a request as fast as it may. What it has been told is in `told`; how the request has ended,
    in `outcome`, once `done` has fired.
    """

    def __init__(self, request: Any, size: int, streaming: bool) -> None:
        self.request = request
        self.channel = request.channel
        self.outcome: str | None = None
        self.done: Deferred[None] = request.notifyFinish()
        self.done.addCallbacks(lambda _: self._ended("finished"), lambda _: self._ended("lost"))
        self.left = pattern(size)
        self.written = 0
        self.told: list[str] = []
        self.streaming = streaming
        self.paused = True
        request.registerProducer(self, streaming)
        if streaming:
            self.resumeProducing()

    def resumeProducing(self) -> None:
        self.told.append("resume")
        self.paused = False
        self.produce()

    def pauseProducing(self) -> None:
        self.told.append("pause")
        self.paused = True

    def stopProducing(self) -> None:
        self.told.append("stop")
        self.paused = True
        self.left = b""

    def _ended(self, outcome: str) -> None:
        self.outcome = outcome
        self.left = b""

    def produce(self) -> None:
        """One piece if pulled; all of them until paused, if not."""
        while self.left and not self.paused:
            piece, self.left = self.left[:PIECE], self.left[PIECE:]
            self.written += len(piece)
            self.request.write(piece)
            if not self.left and self.outcome is None and "stop" not in self.told:
                self.request.unregisterProducer()
                self.request.finish()
            if not self.streaming:
                break


class Bytes(Resource):
    """`made` has the producers of all requests so far."""

    def __init__(self, streaming: bool) -> None:
        super().__init__()
        self.streaming = streaming
        self.made: list[Producing] = []

    def getChild(self, path: bytes, request: Any) -> Resource:
        return _Produced(self, int(path))


class _Produced(Resource):
    isLeaf = True

    def __init__(self, parent: Bytes, size: int) -> None:
        super().__init__()
        self.parent = parent
        self.size = size

    def render_GET(self, request: Any) -> int:
        request.setHeader(b"content-length", b"%d" % self.size)
        self.parent.made.append(Producing(request, self.size, self.parent.streaming))
        return NOT_DONE_YET


class Whole(Resource):
    def getChild(self, path: bytes, request: Any) -> Resource:
        return Data(pattern(int(path)), "application/octet-stream")


#: The page is loaded when its image is, and that is held back until the script has said that it is done.
PAGE = b"""<!doctype html>
<meta charset="utf-8">
<title>a page</title>
<link rel="stylesheet" href="style.css">
<link rel="icon" href="icon.svg">
<img src="held.svg" alt="">
<p id="fetched">nothing yet</p>
<p id="socket">nothing yet</p>
<script type="module" src="app.js"></script>
"""

STYLE = b"#fetched { color: rgb(1, 2, 3) }\n"

ICON = b'<svg xmlns="http://www.w3.org/2000/svg" width="16" height="16"><rect width="16" height="16"/></svg>'

#: Fetches twenty numbers at once; sends a WebSocket a message and waits for it to come back. The page then says so.
SCRIPT = b"""
async function fetched() {
  const numbers = await Promise.all(
    [...Array(20).keys()].map(async (i) => Number(await (await fetch(`number/${i}`)).text())));
  const digest = await (await fetch("/digest", {method: "POST", body: "x".repeat(1000000)})).text();
  const [navigation] = performance.getEntriesByType("navigation");
  const protocols = performance.getEntriesByType("resource").map((entry) => entry.nextHopProtocol);
  const color = getComputedStyle(document.getElementById("fetched")).color;
  return `sum ${numbers.reduce((a, b) => a + b)}; digest ${digest}; page over ${navigation.nextHopProtocol};` +
    ` resources over ${[...new Set(protocols)].join(" ")}; color ${color}`;
}

function socket() {
  return new Promise((resolve) => {
    const socket = new WebSocket(`wss://${location.host}/echo`);
    let answer = "";
    socket.onopen = () => socket.send("\\u00e9".repeat(100000));
    socket.onmessage = (event) => { answer = event.data; socket.close(1000, "enough"); };
    socket.onclose = (event) => resolve(`${answer.length} characters; closed ${event.code}, clean ${event.wasClean}`);
  });
}

for (const task of [fetched, socket])
  document.getElementById(task.name).textContent = await task().catch((error) => `failed: ${error}`);
await fetch("done", {method: "POST"});
"""


class Held(Resource):
    """The image, once `done` has been posted: one page for each site."""

    isLeaf = True

    def __init__(self, done: Deferred[None]) -> None:
        super().__init__()
        self.done = done

    def render_GET(self, request: Any) -> int:
        def answer(_: None) -> None:
            request.setHeader(b"content-type", b"image/svg+xml")
            request.write(ICON)
            request.finish()

        self.done.addCallback(answer)
        return NOT_DONE_YET

    def render_POST(self, request: Any) -> bytes:
        self.done.callback(None)
        return b""


class Numbers(Resource):
    def getChild(self, path: bytes, request: Any) -> Resource:
        return Data(path, "text/plain")


class Browser(Resource):
    def __init__(self) -> None:
        super().__init__()
        for name, contents, kind in [
            (b"", PAGE, "text/html"),
            (b"style.css", STYLE, "text/css"),
            (b"app.js", SCRIPT, "text/javascript"),
            (b"icon.svg", ICON, "image/svg+xml"),
        ]:
            self.putChild(name, Data(contents, kind))
        self.putChild(b"number", Numbers())
        held = Held(Deferred())
        self.putChild(b"held.svg", held)
        self.putChild(b"done", held)


def echo_factory() -> Any:
    """Of a server that speaks nothing but WebSocket, and says the same. It closes when asked to: "close 4000 why"."""
    from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol

    class Echo(WebSocketServerProtocol):
        def onMessage(self, payload: bytes, isBinary: bool) -> None:
            if payload.startswith(b"close "):
                _, code, why = payload.decode().split(" ", 2)
                self.sendClose(int(code), why)
            else:
                self.sendMessage(payload, isBinary)

        def onClose(self, wasClean: bool, code: int, reason: str) -> None:
            print(f"websocket closed: clean {wasClean}, code {code}", flush=True)

    factory = WebSocketServerFactory()
    factory.protocol = Echo
    return factory


def echo_resource() -> Any:
    """The same on a path of a site."""
    from autobahn.twisted.resource import WebSocketResource

    return WebSocketResource(echo_factory())


def root() -> Resource:
    """All of it."""
    top = Resource()
    top.putChild(b"facts", Facts())
    top.putChild(b"bytes", Bytes(streaming=True))
    top.putChild(b"pulled", Bytes(streaming=False))
    top.putChild(b"whole", Whole())
    top.putChild(b"digest", Digest())
    top.putChild(b"packed", EncodingResourceWrapper(Data(TEXT, "text/plain"), [GzipEncoderFactory()]))
    top.putChild(b"moved", Redirect(b"/facts"))
    top.putChild(b"browser", Browser())
    if find_spec("autobahn") is not None:
        top.putChild(b"echo", echo_resource())
    return top


def site(served: Resource | None = None) -> Site:
    """Quiet."""
    made = Site(served or root())
    made.noisy = False
    return made


class Telling(Site):
    """Prints a line for each request."""

    noisy = False

    def log(self, request: Any) -> None:
        print(f"{request.clientproto.decode()} {request.method.decode()} {request.uri.decode()}", flush=True)


async def main(reactor: Any, description: str) -> None:
    port = await serverFromString(reactor, description).listen(Telling(root()))
    print(f"port {port.getHost().port}", flush=True)
    await Deferred()  # until the test stops this process


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
