"""Fetches a page with Twisted's Agent: redirects followed, gzip decoded, through a proxy if there is one.

    python agent.py https://example.com/
    python agent.py https://localhost:8443/page --roots ca.pem --certificate me.pem --proxy http://proxy.example:3128

The page goes to standard output; how it came, to standard error.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import react
from twisted.python.failure import Failure
from twisted.web.client import (
    Agent,
    BrowserLikeRedirectAgent,
    ContentDecoderAgent,
    GzipDecoder,
    HTTPConnectionPool,
    ResponseDone,
    ResponseFailed,
)
from twisted.web.http_headers import Headers

import txmembio
from txmembio.twisted import agentEndpointFactory


class Printing(Protocol):
    """Prints a body as it comes."""

    def __init__(self) -> None:
        self.done: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        sys.stdout.buffer.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        sys.stdout.buffer.flush()
        if reason.check(ResponseDone):
            self.done.callback(None)
        else:
            self.done.errback(reason)


async def fetch(reactor: Any, options: argparse.Namespace) -> None:
    """One request. Raises what went wrong."""
    context = txmembio.create_default_context(cafile=options.roots)
    if options.certificate:
        context.load_cert_chain(options.certificate)
    pool = HTTPConnectionPool(reactor)
    agent = Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor, proxy=options.proxy), pool)
    browsing = ContentDecoderAgent(BrowserLikeRedirectAgent(agent), [(b"gzip", GzipDecoder)])
    headers = Headers({b"User-Agent": [b"txmembio-example"]})
    response: Any = await browsing.request(b"GET", options.url.encode(), headers)
    name, major, minor = response.version
    version = f"{name.decode()}/{major}.{minor}"
    print(f"{version} {response.code} from {response.request.absoluteURI.decode()}", file=sys.stderr)
    body = Printing()
    response.deliverBody(body)
    await body.done
    await pool.closeCachedConnections()


async def main(reactor: Any, options: argparse.Namespace) -> None:
    """An error in one line."""
    try:
        await fetch(reactor, options)
    except Exception as error:
        # Agent wraps what befell a connection: it may have tried more than one.
        reasons = [reason.value for reason in error.reasons] if isinstance(error, ResponseFailed) else [error]
        raise SystemExit("; ".join(f"{type(reason).__name__}: {reason}" for reason in reasons)) from error


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetch a page.")
    parser.add_argument("url")
    parser.add_argument("--roots", help="PEM file: the CAs to trust; the platform's if left out")
    parser.add_argument("--certificate", help="PEM file with the client's certificate, its chain and its key")
    parser.add_argument("--proxy", help="URL of an HTTP proxy: http://… or https://…, with name:password@ if it asks")
    react(main, (parser.parse_args(),))
