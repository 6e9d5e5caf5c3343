"""Scrapy fetches from HTTPS sites."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path

import pytest

from support.applications import Applications, site
from support.pki import PKI

pytestmark = pytest.mark.applications

#: Follows all links, and says of each page what Scrapy knows about the connection.
SPIDER = """
import scrapy

class Spider(scrapy.Spider):
    name = "spider"

    def __init__(self, url):
        self.start_urls = [url]

    def parse(self, response):
        yield {
            "path": response.url.rpartition("/")[2],
            "size": len(response.body),
            "certificate": response.certificate.digest("sha256").decode().replace(":", ""),
            "address": str(response.ip_address),
        }
        yield from response.follow_all(css="a")
"""

PAGES = {"/": b"".join(b'<a href="/page%d">%d</a>' % (n, n) for n in range(20))}
PAGES |= {f"/page{n}": b"<html>" + b"x" * 10_000 * n for n in range(20)}


def test_fetch(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with site(pki.server, {"/page": b"what the site has to say"}) as (url, visits):
        done = apps.finish("-m", "scrapy", "fetch", "--nolog", f"{url}/page", cwd=tmp_path)
    assert done.output.rstrip() == b"what the site has to say"
    assert "/page" in {visit.path for visit in visits}


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_a_spider_that_verifies(version: str, apps: Applications, pki: PKI, tmp_path: Path) -> None:
    (tmp_path / "spider.py").write_text(SPIDER)
    settings = {
        "DOWNLOAD_VERIFY_CERTIFICATES": "True",
        "DOWNLOAD_TLS_MAX_VERSION": version,
        "DOWNLOADER_CLIENT_TLS_VERBOSE_LOGGING": "True",
    }
    options = [word for name, value in settings.items() for word in ("-s", f"{name}={value}")]
    with site(pki.server, PAGES) as (url, visits):
        command = ["runspider", "spider.py", "-a", f"url={url}/", "-o", "items.json", *options]
        done = apps.finish("-m", "scrapy", *command, cwd=tmp_path, SSLKEYLOGFILE=str(tmp_path / "keys"))
    items = {item["path"]: item for item in json.loads((tmp_path / "items.json").read_text())}
    assert {f"/{path}": item["size"] for path, item in items.items()} == {
        path: len(page) for path, page in PAGES.items()
    }
    assert {visit.version for visit in visits} == {version}
    assert {item["certificate"] for item in items.values()} == {sha256(pki.server.certificate_der).hexdigest().upper()}
    assert {item["address"] for item in items.values()} == {"127.0.0.1"}
    assert version in done.errors, "what it logs of the connection"
    assert (tmp_path / "keys").read_text().count("CLIENT_RANDOM" if version == "TLSv1.2" else "CLIENT_TRAFFIC_SECRET_0")


def test_a_certificate_that_is_not_trusted(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with site(pki.untrusted, {"/page": b"page"}) as (url, visits):
        verify = ["-s", "DOWNLOAD_VERIFY_CERTIFICATES=True", "-s", "RETRY_ENABLED=False"]
        with apps.run("-m", "scrapy", "fetch", *verify, f"{url}/page", cwd=tmp_path) as process:
            process.wait()
        assert "certificate verify failed" in process.errors
        assert not process.output.strip() and not visits
        done = apps.finish("-m", "scrapy", "fetch", "--nolog", f"{url}/page", cwd=tmp_path)
        assert done.output.strip() == b"page", "unless asked to, Scrapy does not verify"
