"""Fetches a page with Tornado's HTTP client over TLS in memory: redirects followed, gzip decoded, through a proxy.

    python tornado_fetch.py https://example.com/
    python tornado_fetch.py https://localhost:8443/ --roots ca.pem --certificate me.pem --proxy proxy.example:3128

The page goes to standard output; how it came, to standard error.
"""

from __future__ import annotations

import argparse
import asyncio
import sys

from tornado.httpclient import HTTPClientError
from tornado.httputil import split_host_and_port

import txmembio
from txmembio.tornado import AsyncHTTPClient


async def main(options: argparse.Namespace) -> None:
    context = txmembio.create_default_context(cafile=options.roots)
    if options.certificate:
        context.load_cert_chain(options.certificate)
    proxy_host, proxy_port = split_host_and_port(options.proxy) if options.proxy else (None, None)
    response = await AsyncHTTPClient().fetch(
        options.url, ssl_options=context, proxy_host=proxy_host, proxy_port=proxy_port
    )
    print(f"{response.code} {response.reason} from {response.effective_url}", file=sys.stderr)
    sys.stdout.buffer.write(response.body)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Fetch a page.")
    parser.add_argument("url")
    parser.add_argument("--roots", help="PEM file: the CAs to trust; the platform's if left out")
    parser.add_argument("--certificate", help="PEM file with the client's certificate, its chain and its key")
    parser.add_argument("--proxy", help="HTTP proxy: its name and port, such as proxy.example:3128")
    try:
        asyncio.run(main(parser.parse_args()))
    except (HTTPClientError, OSError, ValueError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
