"""A browser and `examples/tornado_chat.py`: Chromium loads its page, and the page's WebSocket talks."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("tornado", reason="Tornado is not installed")
from support.devtools import controlled
from support.peers import require
from support.pki import PKI, Credential
from support.process import DEADLINE, Process, python
from support.tornado_site import request
from txmembio.tornado import websocket_connect

CHAT = Path(__file__).parents[2] / "examples" / "tornado_chat.py"

SAID = "Array.from(document.querySelectorAll('li'), item => item.textContent)"


def chat(credential: Credential, *more: str) -> Process:
    """The example, started."""
    return python(CHAT, "--certificate", credential.chain_file, "--key", credential.key_file, "--port", "0", *more)


def run(scenario: Coroutine[Any, Any, None]) -> None:
    """In a loop of its own. Skips without a browser."""
    try:
        require("chromium"), require("certutil")
    except BaseException:
        scenario.close()
        raise
    asyncio.run(asyncio.wait_for(scenario, 2 * DEADLINE))


def test_people_chat(pki: PKI, tmp_path: Path) -> None:
    """Two windows and a program: all see what each of them says, whoever comes late sees it as well."""

    async def say(page: Any, text: str) -> None:
        await page.evaluate(
            f"document.forms[0].elements.text.value = {text!r}; document.querySelector('button').click()"
        )

    async def scenario(port: int) -> None:
        asked = request(pki, port, "/socket", scheme="wss")
        program: Any = await websocket_connect(asked)
        async with controlled(pki, tmp_path) as browser:
            first = await browser.open(f"https://localhost:{port}/")
            assert first.error is None
            await first.until("document.getElementById('state')?.textContent == 'connected'")
            await say(first, "hello from the first window")
            assert await program.read_message() == "hello from the first window"
            await program.write_message("hello from a program")
            second = await browser.open(f"https://localhost:{port}/")
            await second.until(f"{SAID}.length == 2")
            await say(second, "<b>late</b> \u00fc" + "x" * 900)
            expected = ["hello from the first window", "hello from a program", "<b>late</b> \u00fc" + "x" * 900]
            for page in (first, second):
                await page.until(f"{SAID}.length == 3")
                assert await page.evaluate(SAID) == expected
            security = await first.evaluate(
                "location.protocol + performance.getEntriesByType('navigation')[0].nextHopProtocol"
            )
            assert security == "https:http/1.1"
        program.close()
        while await program.read_message() is not None:
            """Until it is closed."""

    with chat(pki.server) as serving:
        port = int(serving.wait_for(r"listening on port (\d+)")[1])
        run(scenario(port))
        assert serving.running()
        assert set(serving.errors.split("\n")[:-1]) <= set(re.findall("404 GET /favicon.ico .*", serving.errors))


@pytest.mark.parametrize(
    ("credential", "error"),
    [
        ("wrong_name", "net::ERR_CERT_COMMON_NAME_INVALID"),
        ("untrusted", "net::ERR_CERT_AUTHORITY_INVALID"),
        ("expired", "net::ERR_CERT_DATE_INVALID"),
    ],
)
def test_a_certificate_that_the_browser_refuses(credential: str, error: str, pki: PKI, tmp_path: Path) -> None:
    """So above it has accepted one for what it is. The site goes on."""

    async def scenario(port: int) -> None:
        async with controlled(pki, tmp_path) as browser:
            assert (await browser.open(f"https://localhost:{port}/")).error == error

    with chat(getattr(pki, credential)) as serving:
        run(scenario(int(serving.wait_for(r"listening on port (\d+)")[1])))
        assert serving.running()
