"""A chat in the browser: a page over HTTPS, and a WebSocket beside it, by Tornado.

    python tornado_chat.py --certificate cert.pem --key key.pem
    python tornado_chat.py --certificate cert.pem --key key.pem --clients ca.pem     # only for those with a certificate

Open https://localhost:8443/ in two windows. A certificate that is renewed is noticed within seconds.
"""

from __future__ import annotations

import argparse
import asyncio
import ssl
from collections import deque
from contextlib import suppress
from typing import Any, ClassVar

from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketClosedError, WebSocketHandler

from txmembio.tornado import HTTPServer

PAGE = """<!DOCTYPE html>
<html lang="en">
<meta charset="utf-8">
<title>A chat</title>
<style>
  body { font: 1em/1.5 sans-serif; max-width: 40em; margin: 2em auto; }
  input { width: 80%; }
</style>
<h1>A chat</h1>
<p id="state">connecting</p>
<ul id="messages"></ul>
<form><input name="text" maxlength="1000" autocomplete="off" autofocus> <button>Say</button></form>
<script>
  const state = document.getElementById("state"), messages = document.getElementById("messages");
  const socket = new WebSocket(`wss://${location.host}/socket`);
  socket.onopen = () => { state.textContent = "connected"; };
  socket.onclose = () => { state.textContent = "closed"; };
  socket.onmessage = event => {
    const item = document.createElement("li");
    item.textContent = event.data;
    messages.append(item);
  };
  document.forms[0].onsubmit = event => {
    event.preventDefault();
    const field = event.target.elements.text;
    if (field.value) socket.send(field.value);
    field.value = "";
  };
</script>
</html>
"""


class Page(RequestHandler):
    """The page, to whoever asks."""

    def get(self) -> None:
        self.write(PAGE)


class Chat(WebSocketHandler):
    """One window."""

    everybody: ClassVar[set[Chat]] = set()
    said: ClassVar[deque[str]] = deque(maxlen=20)

    def open(self, *_: str, **__: str) -> None:
        for text in self.said:
            self.write_message(text)
        self.everybody.add(self)

    def on_message(self, message: str | bytes) -> None:
        if isinstance(message, str):
            self.said.append(message)
            for each in list(self.everybody):
                with suppress(WebSocketClosedError):  # its on_close() is on its way
                    each.write_message(message)

    def on_close(self) -> None:
        self.everybody.discard(self)


async def main(options: argparse.Namespace) -> None:
    ssl_options: dict[str, Any] = {"certfile": options.certificate, "keyfile": options.key}
    if options.clients:
        ssl_options |= {"ca_certs": options.clients, "cert_reqs": ssl.CERT_REQUIRED}
    application = Application([("/", Page), ("/socket", Chat)], websocket_max_message_size=4000)
    server = HTTPServer(application, ssl_options=ssl_options)
    sockets = bind_sockets(options.port, options.interface)
    server.add_sockets(sockets)
    print(f"listening on port {sockets[0].getsockname()[1]}", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="A chat in the browser.")
    parser.add_argument("--certificate", required=True, help="PEM file with the certificate and its chain")
    parser.add_argument("--key", help="PEM file with the private key, if it is not in that file")
    parser.add_argument("--clients", help="PEM file with the CAs that the clients' certificates must come from")
    parser.add_argument("--port", type=int, default=8443)
    parser.add_argument("--interface", default="localhost", help='address to listen on; "" for all')
    try:
        asyncio.run(main(parser.parse_args()))
    except KeyboardInterrupt:
        pass
    except (OSError, ValueError) as error:
        raise SystemExit(f"{type(error).__name__}: {error}") from error
