"""Chromium by remote control: pages are opened and scripts run in them, over its DevTools protocol.

async with controlled(pki, folder) as browser:
    page = await browser.open("https://localhost:8443/")
    await page.until("document.title == 'Ready'")
    title = await page.evaluate("document.title")
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import tornado.websocket

from .pki import PKI
from .process import DEADLINE
from .web_peers import browser

#: Seconds between two questions to a page.
PAUSE = 0.02


class Browser:
    """One that runs."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection
        self._number = 0

    async def call(self, method: str, session: str | None = None, **parameters: Any) -> dict[str, Any]:
        """The result of a method of the protocol. Events are passed over."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": parameters}
        if session is not None:
            message["sessionId"] = session
        await self._connection.write_message(json.dumps(message))
        while True:
            received = await self._connection.read_message()
            assert received is not None, f"the browser ended during {method}"
            answer = json.loads(received)
            if answer.get("id") == self._number:
                assert "result" in answer, answer
                result: dict[str, Any] = answer["result"]
                return result

    async def open(self, url: str) -> Page:
        """A new page, whether or not it can be loaded."""
        target = (await self.call("Target.createTarget", url="about:blank"))["targetId"]
        session = (await self.call("Target.attachToTarget", targetId=target, flatten=True))["sessionId"]
        page = Page(self, session)
        page.error = (await self.call("Page.navigate", session, url=url)).get("errorText")
        return page


class Page:
    """A page in it."""

    def __init__(self, browser: Browser, session: str) -> None:
        self._browser = browser
        self._session = session
        self.error: str | None = None
        """Why it could not be loaded, in Chromium's words: `net::ERR_CERT_AUTHORITY_INVALID`."""

    async def evaluate(self, script: str) -> Any:
        """The value of an expression."""
        answer = await self._browser.call("Runtime.evaluate", self._session, expression=script, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    async def until(self, script: str) -> None:
        """Returns once an expression is true."""
        end = asyncio.get_running_loop().time() + DEADLINE
        while not await self.evaluate(f"Boolean({script})"):
            if asyncio.get_running_loop().time() > end:
                shown = await self.evaluate("document.documentElement.outerHTML")
                raise AssertionError(f"never: {script}\n{shown}")
            await asyncio.sleep(PAUSE)


@asynccontextmanager
async def controlled(pki: PKI, home: Path) -> AsyncIterator[Browser]:
    """A browser with an empty profile in `home`, which trusts `pki.ca`."""
    with browser(pki, home, "--remote-debugging-port=0", "--remote-allow-origins=*", "about:blank") as process:
        url = process.wait_for(r"DevTools listening on (ws://\S+)")[1]
        connection = await tornado.websocket.websocket_connect(url)
        try:
            yield Browser(connection)
        finally:
            connection.close()
            while await connection.read_message() is not None:
                """What it still had to say; then its socket is closed."""
