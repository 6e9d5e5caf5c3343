"""treq, a client for HTTP, talks to HTTPS sites."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.applications import Applications, site
from support.pki import PKI

pytestmark = pytest.mark.applications

#: Its own agent, which trusts what the platform trusts.
PLATFORM = """
import sys
import treq
from twisted.internet.task import react

async def main(reactor, url):
    page = await treq.get(f"{url}/page")
    print(page.code, await page.text())
    posted = await treq.post(f"{url}/echo", data=b"x" * 300_000)
    print(posted.code, len(await posted.content()))

react(main, sys.argv[1:])
"""

#: An agent that trusts one CA, and shows a certificate of its own.
MUTUAL = """
import sys
from treq.client import HTTPClient
from twisted.internet.ssl import Certificate, PrivateCertificate, optionsForClientTLS
from twisted.internet.task import react
from twisted.web.client import Agent
from twisted.web.iweb import IPolicyForHTTPS
from zope.interface import implementer

@implementer(IPolicyForHTTPS)
class Policy:
    def __init__(self, ca, own):
        self.ca, self.own = Certificate.loadPEM(open(ca).read()), PrivateCertificate.loadPEM(open(own).read())

    def creatorForNetloc(self, hostname, port):
        return optionsForClientTLS(hostname.decode(), trustRoot=self.ca, clientCertificate=self.own)

async def main(reactor, url, ca, own):
    response = await HTTPClient(Agent(reactor, Policy(ca, own))).get(f"{url}/page")
    print(response.code, await response.text())

react(main, sys.argv[1:])
"""


def test_get_and_post(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with site(pki.server, {"/page": b"a page"}) as (url, visits):
        done = apps.finish(apps.script(tmp_path, PLATFORM), url, cwd=tmp_path)
    assert done.output.splitlines() == [b"200 a page", b"404 300000"]
    assert [(visit.method, len(visit.body)) for visit in visits] == [("GET", 0), ("POST", 300_000)]


def test_a_certificate_that_is_not_trusted(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with site(pki.untrusted, {"/page": b"a page"}) as (url, visits):
        with apps.run(apps.script(tmp_path, PLATFORM), url, cwd=tmp_path) as process:
            assert process.wait() == 1
        assert "certificate verify failed" in process.errors
    assert not visits and not process.output


def test_a_certificate_for_another_name(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with site(pki.wrong_name, {"/page": b"a page"}) as (url, visits):
        with apps.run(apps.script(tmp_path, PLATFORM), url, cwd=tmp_path) as process:
            assert process.wait() == 1
        assert "VerificationError" in process.errors
    assert not visits and not process.output


def test_client_certificate(apps: Applications, pki: PKI, tmp_path: Path) -> None:
    with site(pki.server, {"/page": b"a page"}, client_ca=pki.ca) as (url, visits):
        files = (pki.ca.certificate_file, pki.client.combined_file)
        done = apps.finish(apps.script(tmp_path, MUTUAL), url, *files, cwd=tmp_path)
    assert done.output.splitlines() == [b"200 a page"]
    assert [visit.client for visit in visits] == [pki.client.certificate_der]
