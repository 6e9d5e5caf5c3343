"""`twist web` in a process of its own, as a user would start it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure

__all__ = ["Site", "SiteError"]

START_TWIST = """
from importlib.metadata import entry_points
next(iter(entry_points(group="console_scripts", name="twist"))).load()()
"""
"""What the script `twist` does, wherever pip has put it. (`python -m twisted` needs pkg_resources in old versions.)"""

LISTENING = re.compile(rb"starting on (\d+)\s")
"""What Twisted logs once a port listens, with the port that port 0 has become."""

LOG_KEPT = 65536
"""Bytes of the site's log that are kept to find its last line in: far more than a traceback."""

ENDS_WITHIN = 10.0
"""Seconds between asking the site to end and ending it: it has no more to do than to close its sockets."""


class SiteError(Exception):
    """The site is not there; the text is its own last line."""


class Site(ProcessProtocol):
    """Started by the constructor; `listening` then fires with the port, or fails with SiteError."""

    def __init__(self, reactor: Any, listen: str, pages: Path) -> None:
        self.listening: Deferred[int] = Deferred()
        self.ended: Deferred[None] = Deferred()
        """Fires when the process is gone, whyever."""
        self.echo = False
        """Whether the log goes to our standard output too."""
        self._reactor = reactor
        self._log = b""
        # In the working directory, and with this Python: so with this txmembio.
        web = ["-c", START_TWIST, "--log-format=text", "web", f"--listen={listen}", "--path", str(pages)]
        reactor.spawnProcess(self, sys.executable, [sys.executable, *web], env=None)

    def outReceived(self, data: bytes) -> None:
        """The log."""
        self._log = (self._log + data)[-LOG_KEPT:]
        if self.echo:
            sys.stdout.buffer.write(data)
            sys.stdout.buffer.flush()
        if not self.listening.called and (found := LISTENING.search(self._log)):
            self.listening.callback(int(found[1]))

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        """The process is gone, and everything it said is here."""
        if not self.listening.called:
            said = self._log.decode("utf-8", "replace").split("\n")
            last = next((line.strip() for line in reversed(said) if line.strip()), reason.getErrorMessage())
            self.listening.errback(SiteError(last))
        self.ended.callback(None)

    async def stop(self) -> None:
        """Ends the process, and waits until it is gone."""
        assert self.transport is not None
        try:
            self.transport.signalProcess("TERM")
        except ProcessExitedAlready:
            return
        kill = self._reactor.callLater(ENDS_WITHIN, self._kill)
        await self.ended
        if kill.active():
            kill.cancel()

    def _kill(self) -> None:
        assert self.transport is not None
        self.transport.signalProcess("KILL")
