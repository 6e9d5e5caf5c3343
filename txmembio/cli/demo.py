"""`python -m txmembio demo`: a site over `membiotls:` in a process of its own, fetched by three clients.

    twist web --listen=membiotls:…  ◄──  a protocol over the endpoint string membiotls:…, to see what is negotiated
                                    ◄──  twisted.web.client.Agent, by txmembio.twisted.agentEndpointFactory
                                    ◄──  curl, if there is one

Each step prints a line. The first one that fails ends the demonstration with a line that names it.
"""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Coroutine
from pathlib import Path
from time import perf_counter
from typing import Any, TypeVar

from twisted.internet.defer import Deferred, TimeoutError, ensureDeferred
from twisted.internet.endpoints import clientFromString, quoteStringArgument
from twisted.internet.interfaces import IHandshakeListener
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import react
from twisted.internet.utils import getProcessOutputAndValue
from twisted.python.failure import Failure
from twisted.web.client import Agent, ResponseDone
from zope.interface import implementer

import txmembio
from txmembio.cli.demo_files import FOLDER, LINES_PAGE, MODULES_PAGE, Files, make_files
from txmembio.cli.demo_site import Site
from txmembio.cli.installed import version_of
from txmembio.twisted import TLSTransport, agentEndpointFactory

__all__ = ["main"]

STEP_WITHIN = 60.0
"""Seconds for one step, each of which takes a fraction of one: so this is for machines that do a lot else."""

SUGGESTED_PORT = 8443
"""Where the site of the command printed at the end listens, unless --port says something else."""

_T = TypeVar("_T")


class StepFailed(Exception):
    """Its text says what was tried and why it failed, in one line."""


def main(port: int, keep: bool) -> int:
    """Runs the demonstration, its site on `port` of 127.0.0.1 (0: any), and leaves the site running if `keep`. Returns
    the exit status."""
    try:
        files = make_files(Path(FOLDER))
    except OSError as error:
        return _failed(f"making the folder {FOLDER} in the working directory: {error}")
    try:
        react(_demonstrate, (files, port, keep))
    except SystemExit as end:
        return _failed(end.code) if isinstance(end.code, str) else int(end.code or 0)


def _failed(text: str) -> int:
    print(f"txmembio demo failed: {text}")
    return 1


def _say(label: str, text: str) -> None:
    print(f"{label:<12} {text}", flush=True)


async def _demonstrate(reactor: Any, files: Files, port: int, keep: bool) -> None:
    """The whole of it. Raises SystemExit with the reason, which is printed when all else has ended, if a step fails."""
    _say("txmembio", f"{txmembio.__version__}, {txmembio.OPENSSL_VERSION}, Twisted {version_of('twisted', 'twisted')}")
    _say("certificate", f"{'made' if files.fresh else 'from an earlier run'}, in {files.roots.parent}")
    site = Site(reactor, _listen_string(files, port), files.pages)
    # So that Ctrl-C, too, leaves nothing behind that runs.
    trigger = reactor.addSystemEventTrigger("before", "shutdown", lambda: ensureDeferred(site.stop()))
    try:
        port_in_use = await _fetch(reactor, files, site)
        if keep:
            print("\nThe site goes on until Ctrl-C. This fetches from it; below is its log.\n")
            print(" ", _curl_command(files, port_in_use), "\n", flush=True)
            site.echo = True
            await site.ended
    except StepFailed as error:
        raise SystemExit(str(error)) from None
    finally:
        reactor.removeSystemEventTrigger(trigger)
        await site.stop()
    if not keep:
        port = port or SUGGESTED_PORT
        print("\nAll of it worked. Either of these leaves a site running, and the third line fetches from it:\n")
        print(" ", _demo_command(port))
        print(" ", _twist_command(files, port))
        print(" ", _curl_command(files, port))


async def _fetch(reactor: Any, files: Files, site: Site) -> int:
    """Has the clients fetch, and prints a line for each. Returns the site's port; raises StepFailed."""
    port = await _step(reactor, "starting twist web", site.listening)
    _say("site", f"twist web --listen=membiotls:..., on port {port} of 127.0.0.1")

    _say("handshake", await _step(reactor, "the handshake", _shake_hands(reactor, files, port)))

    begun = perf_counter()
    page = await _step(reactor, "fetching with Agent", _get(reactor, files, port, LINES_PAGE))
    _say("Agent", f"{_compare(page, files.lines, 'Agent')}, in {_milliseconds(begun)}")

    curl = shutil.which("curl")
    if curl is None:
        _say("curl", "not installed, so not tried")
    else:
        _say("curl", await _step(reactor, "fetching with curl", _curl(reactor, curl, files, port)))

    theirs = await _step(reactor, "asking the site for its modules", _get(reactor, files, port, MODULES_PAGE))
    _say("pyOpenSSL", _who_imported({*theirs.decode().split("\n"), *sys.modules}))
    return port


async def _step(reactor: Any, name: str, work: Deferred[_T] | Coroutine[Any, Any, _T]) -> _T:
    """The result of `work`. Raises StepFailed, with `name` in it, if it fails or takes too long."""
    try:
        return await ensureDeferred(work).addTimeout(STEP_WITHIN, reactor)
    except TimeoutError:
        raise StepFailed(f"{name}: no answer within {STEP_WITHIN:g} seconds") from None
    except Exception as error:
        # Agent's own text is a list of failures; what they are is in their texts.
        reasons: list[Failure] = getattr(error, "reasons", [Failure(error)])
        text = " ".join(reasons[-1].getErrorMessage().split())
        raise StepFailed(f"{name}: {text or type(error).__name__}") from error


# --- the clients ---


@implementer(IHandshakeListener)
class _Handshake(Protocol):
    """Shakes hands, tells what was agreed on, and closes."""

    def __init__(self) -> None:
        self.told: Deferred[str] = Deferred()
        self._begun = 0.0

    def connectionMade(self) -> None:
        self._begun = perf_counter()

    def handshakeCompleted(self) -> None:
        took = _milliseconds(self._begun)
        assert isinstance(self.transport, TLSTransport)
        connection = self.transport.connection
        cipher = connection.cipher()
        agreed = [
            connection.version(),
            cipher and cipher[0],
            f"group {connection.group()}",
            f"ALPN {connection.selected_alpn_protocol()}",
        ]
        self.told.callback(f"{', '.join(map(str, agreed))}, in {took}")
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if not self.told.called:
            self.told.errback(reason)


async def _shake_hands(reactor: Any, files: Files, port: int) -> str:
    """What a client made from an endpoint string has negotiated. It verifies one name and connects to another."""
    string = (
        f"membiotls:localhost:endpoint={quoteStringArgument(f'tcp:127.0.0.1:{port}')}"
        f":trustRoots={quoteStringArgument(str(files.roots))}:alpn=h2,http/1.1"
    )
    protocol = await clientFromString(reactor, string).connect(Factory.forProtocol(_Handshake))
    assert isinstance(protocol, _Handshake)
    return await protocol.told


async def _get(reactor: Any, files: Files, port: int, page: str) -> bytes:
    """A page, by Agent. Raises StepFailed for an answer that is none."""
    context = txmembio.create_default_context(cafile=files.roots)
    agent = Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor))
    response = await agent.request(b"GET", f"https://127.0.0.1:{port}/{page}".encode())
    if response.code != 200:
        raise StepFailed(f"status {response.code} for /{page}, expected 200")
    body = _Body()
    response.deliverBody(body)
    return await body.complete


class _Body(Protocol):
    """Gathers a body; `complete` fires with it. (twisted.web.client.readBody warns of every transport there is, its own
    included: twisted issue 8227.)"""

    def __init__(self) -> None:
        self.complete: Deferred[bytes] = Deferred()
        self._pieces: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        self._pieces.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if reason.check(ResponseDone):
            self.complete.callback(b"".join(self._pieces))
        else:
            self.complete.errback(reason)


async def _curl(reactor: Any, curl: str, files: Files, port: int) -> str:
    """What fetching the long page with curl was like. Raises StepFailed."""
    begun = perf_counter()
    # The first option has curl read no .curlrc; what it knows when it has finished goes where errors go.
    options = ["--disable", "--silent", "--show-error", "--noproxy", "*", "--max-time", f"{STEP_WITHIN:g}"]
    options += ["--cacert", str(files.roots), "--resolve", f"localhost:{port}:127.0.0.1"]
    options += ["--write-out", "%{stderr}%{http_version}", f"https://localhost:{port}/{LINES_PAGE}"]
    page, said, status = await getProcessOutputAndValue(curl, options, env=None, reactor=reactor)
    if status:
        raise StepFailed(f"exit status {status}: {said.decode(errors='replace')}")
    return f"{_compare(page, files.lines, 'curl')}, over HTTP/{said.decode()}, in {_milliseconds(begun)}"


def _compare(page: bytes, expected: bytes, client: str) -> str:
    """What to say of a page that is as expected. Raises StepFailed for another."""
    if page != expected:
        raise StepFailed(f"{client} received {len(page)} bytes that are not the {len(expected)} of /{LINES_PAGE}")
    return f"{len(page):,} bytes, each as it should be"


def _who_imported(modules: set[str]) -> str:
    if "OpenSSL" not in modules:
        return "never imported, neither by the site nor here"
    return f"{version_of('OpenSSL', 'pyOpenSSL')} is installed here, so Twisted imports it; txmembio does not use it"


def _milliseconds(begun: float) -> str:
    return f"{(perf_counter() - begun) * 1000:.1f} ms"


# --- commands ---


def _listen_string(files: Files, port: int) -> str:
    key, certificate = quoteStringArgument(str(files.key)), quoteStringArgument(str(files.certificate))
    return f"membiotls:{port}:interface=127.0.0.1:privateKey={key}:certKey={certificate}"


def _demo_command(port: int) -> str:
    # In this folder, where the files are, and where Python finds the same txmembio.
    again = _shell(sys.executable, "-m", "txmembio", "demo", "--keep", "--port", str(port))
    return f"{_shell('cd', Path.cwd())} && {again}"


def _twist_command(files: Files, port: int) -> str:
    # By its path, unless the shell finds this very one.
    twist = shutil.which("twist", path=str(Path(sys.executable).parent))
    if twist is None:
        program = [sys.executable, "-m", "twisted"]
    else:
        program = ["twist" if twist == shutil.which("twist") else twist]
    return _shell(*program, "web", f"--listen={_listen_string(files, port)}", "--path", files.pages)


def _curl_command(files: Files, port: int) -> str:
    return _shell("curl", "--cacert", files.roots, f"https://localhost:{port}/")


def _shell(*words: str | Path) -> str:
    """The words as one would type them."""
    texts = [str(word) for word in words]
    return subprocess.list2cmdline(texts) if sys.platform == "win32" else shlex.join(texts)
