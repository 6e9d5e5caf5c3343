"""A folder as an HTTPS site, by twisted.web.

    python https_site.py membiotls:8443:certificate=site.pem --path pages

What `twist web --listen=… --path …` does, in a program of one's own.
"""

from __future__ import annotations

import argparse
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.task import react
from twisted.web.server import Site
from twisted.web.static import File


async def serve(reactor: Any, listen: str, path: str) -> None:
    """Serves until the reactor is stopped."""
    port = await serverFromString(reactor, listen).listen(Site(File(path)))
    print(f"listening on port {port.getHost().port}", flush=True)
    await Deferred()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Serve a folder.")
    parser.add_argument("listen", help="an endpoint string, such as membiotls:8443:certificate=site.pem")
    parser.add_argument("--path", default=".", help="the folder, the working directory if left out")
    options = parser.parse_args()
    react(serve, (options.listen, options.path))
