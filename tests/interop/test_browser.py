"""A browser: headless Chromium loads pages from a site on `membiotls:`, over HTTP/2, and opens a WebSocket to it."""

from __future__ import annotations

import re
from collections import Counter
from pathlib import Path

import pytest

from support import web_site
from support.pki import PKI
from support.web_peers import chromium, site

pytest.importorskip("h2", reason="h2 is not installed")

pytestmark = pytest.mark.reactor  # the site runs on it


def test_a_page_over_http_2(pki: PKI, tmp_path: Path) -> None:
    """What a script has fetched is in the page: twenty resources at once, a style sheet, an upload of a megabyte. The
    browser says that all of it came over h2, and so does the site; a WebSocket beside it carries a message there and
    back, and is closed in order.
    """
    pytest.importorskip("autobahn", reason="autobahn is not installed")
    with site(pki.server) as (serving, port):
        with chromium(pki, tmp_path, f"https://localhost:{port}/browser/") as browser:
            assert browser.wait() == 0, browser.transcript()
        page = browser.output.decode()
        serving.wait_for("websocket closed: clean True, code 1000")
        requests = Counter(re.findall(r"^(\S+) (GET|POST) (\S+)$", serving.output.decode(), re.MULTILINE))
    digest = web_site.digest(b"x" * 1_000_000)
    assert f"sum 190; digest {digest}; page over h2; resources over h2; color rgb(1, 2, 3)" in page, page
    assert "100000 characters; closed 1000, clean true" in page, page
    paths = ["", "style.css", "app.js", "held.svg", *(f"number/{number}" for number in range(20))]
    expected = {("HTTP/2", "GET", f"/browser/{path}") for path in paths}
    expected |= {("HTTP/2", "POST", "/digest"), ("HTTP/2", "POST", "/browser/done")}
    assert expected <= set(requests)
    assert {protocol for protocol, _, _ in requests} == {"HTTP/2"}
    assert max(requests.values()) == 1


def test_without_http_2_the_same_page_comes_over_http_1(pki: PKI, tmp_path: Path) -> None:
    """alpn= has the last word."""
    with site(pki.server, ":alpn=http/1.1") as (serving, port):
        with chromium(pki, tmp_path, f"https://localhost:{port}/browser/") as browser:
            assert browser.wait() == 0, browser.transcript()
        assert "page over http/1.1; resources over http/1.1;" in browser.output.decode(), browser.transcript()
        assert "HTTP/2" not in serving.output.decode()


@pytest.mark.parametrize("credential", ["wrong_name", "untrusted", "expired"])
def test_a_certificate_that_the_browser_refuses(credential: str, pki: PKI, tmp_path: Path) -> None:
    """So in the tests above it has accepted one for what it is. The site goes on."""
    with site(getattr(pki, credential)) as (serving, port):
        with chromium(pki, tmp_path, f"https://localhost:{port}/browser/") as browser:
            browser.wait()
        assert "sum 190" not in browser.output.decode()
        assert " GET " not in serving.output.decode()
        assert serving.running()
