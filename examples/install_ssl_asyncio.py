"""asyncio's streams, server and client, over txmembio: `install("ssl")` first, and everything else as always.

    python install_ssl_asyncio.py chain.pem key.pem "hello" --roots ca.pem --hostname localhost

The same without a change in a program: `python -m txmembio run --install ssl PROGRAM`.
"""

from __future__ import annotations

import txmembio

txmembio.install("ssl")  # before anybody has imported the other one: asyncio does

import argparse  # noqa: E402
import asyncio  # noqa: E402
import ssl  # noqa: E402


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """The server's side of a connection."""
    while line := await reader.readline():
        writer.write(line)
        await writer.drain()
    writer.close()
    await writer.wait_closed()


async def talk(chain: str, key: str, line: str, roots: str | None, hostname: str) -> None:
    """Serves on a free port, and calls it."""
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server_context.load_cert_chain(chain, key)
    async with await asyncio.start_server(echo, "127.0.0.1", 0, ssl=server_context) as server:
        port = server.sockets[0].getsockname()[1]
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=ssl.create_default_context(cafile=roots), server_hostname=hostname
        )
        print(type(writer.get_extra_info("ssl_object")), writer.get_extra_info("cipher"))
        writer.write(line.encode() + b"\n")
        print((await reader.readline()).decode(), end="")
        writer.close()
        await writer.wait_closed()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Say a line to oneself, over TLS.")
    parser.add_argument("chain", help="PEM file: the server's certificate, and the intermediates behind it")
    parser.add_argument("key", help="PEM file: the certificate's private key")
    parser.add_argument("line", help="what to say")
    parser.add_argument("--roots", help="PEM file: the CAs that the client trusts; the platform's if left out")
    parser.add_argument("--hostname", default="localhost", help="the name in the server's certificate")
    options = parser.parse_args()
    try:
        asyncio.run(talk(options.chain, options.key, options.line, options.roots, options.hostname))
    except ssl.SSLError as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
