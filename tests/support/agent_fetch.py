"""A program: fetches one https: page with Twisted's `Agent` over txmembio, or through a proxy, and prints it.

python agent_fetch.py https://localhost:8443/page CA.pem [http://localhost:3128]
"""

from __future__ import annotations

import sys
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from twisted.web.client import Agent, readBody

import txmembio
from txmembio.twisted import agentEndpointFactory


async def main(reactor: Any, url: str, cafile: str, proxy: str | None = None) -> None:
    context = txmembio.create_default_context(cafile=cafile)
    agent = Agent.usingEndpointFactory(reactor, agentEndpointFactory(context, reactor, proxy=proxy))
    response = await agent.request(b"GET", url.encode())
    sys.stdout.buffer.write(await readBody(response))
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    react(lambda reactor, *arguments: Deferred.fromCoroutine(main(reactor, *arguments)), sys.argv[1:])
