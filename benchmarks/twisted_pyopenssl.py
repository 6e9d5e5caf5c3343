"""An unmodified Twisted server, with pyOpenSSL and with txmembio: ``python -m benchmarks.twisted_pyopenssl``.

The server is ``twisted_unmodified.py``, once in a virtual environment that has pyOpenSSL, and twice here, under
``python -m txmembio run``. In every round each of them does each kind of work, in turn, for the same client in this
process, the standard library's `ssl` over blocking sockets, and is asked for the processor time it took. What is
printed is the median of the rounds, and the median of the ratios to pyOpenSSL within each round. Plain TCP on the same
server stands beside it, as that is what the loop itself costs.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import ssl
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import trustme

ROOT = Path(__file__).resolve().parent.parent
SERVER = Path(__file__).with_name("twisted_unmodified.py")

ROUNDS, QUICK_ROUNDS = 9, 1

MESSAGE = b"m" * 100
CHUNK = b"c" * 65536
REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"

Connect = Callable[[], socket.socket]


class Work(NamedTuple):
    """One kind of work: what it is called, the server's port, how many connections, and how often each."""

    name: str
    port: str
    connections: int
    times: int
    talk: Callable[[list[socket.socket], int], None]
    unit: str = "message"


def echo(message: bytes) -> Callable[[list[socket.socket], int], None]:
    """All connections say `message`, then all hear it."""

    def talk(peers: list[socket.socket], times: int) -> None:
        for _ in range(times):
            for peer in peers:
                peer.sendall(message)
            for peer in peers:
                hear(peer, len(message))

    return talk


def fetch(peers: list[socket.socket], times: int) -> None:
    """A page on each connection, which stays open."""
    for _ in range(times):
        for peer in peers:
            peer.sendall(REQUEST)
        for peer in peers:
            answer = b""
            while not answer.endswith(b"x" * 1024):
                answer += peer.recv(65536)


def hear(peer: socket.socket, size: int) -> None:
    while size > 0:
        size -= len(peer.recv(size))


WORKS = (
    Work("100-byte echo", "echo", 50, 40, echo(MESSAGE)),
    Work("64 KiB echo", "echo", 4, 40, echo(CHUNK)),
    Work("HTTPS request, kept alive", "web", 20, 20, fetch, "request"),
    Work("connection", "echo", 0, 100, lambda *_: None, "connection"),
    Work("100-byte echo over plain TCP", "plain echo", 50, 40, echo(MESSAGE)),
)


class Server:
    """One of the servers."""

    def __init__(self, command: Sequence[str | Path], pem: Path) -> None:
        self._process = subprocess.Popen(
            [*map(str, command), str(pem)],
            cwd=pem.parent,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self.ports: dict[str, int] = json.loads(self._hear())

    def _hear(self) -> str:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit(f"the server ended with status {self._process.wait()}; its own words are above")
        return line

    def seconds(self) -> float:
        """Of processor time so far."""
        assert self._process.stdin is not None
        self._process.stdin.write("?\n")
        self._process.stdin.flush()
        return float(self._hear())

    def close(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        self._process.wait(10)
        self._process.stdout.close()


def measure(server: Server, work: Work, context: ssl.SSLContext) -> float:
    """Microseconds of the server's processor time for one unit."""

    def connect() -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", server.ports[work.port]))
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if work.port.startswith("plain"):
            return plain
        return context.wrap_socket(plain, server_hostname="localhost")

    with ExitStack() as open_:
        peers = [open_.enter_context(connect()) for _ in range(work.connections)]
        if peers:
            work.talk(peers, 2)
            before = server.seconds()
            work.talk(peers, work.times)
            return (server.seconds() - before) * 1e6 / (work.times * len(peers))
        before = server.seconds()
        for _ in range(work.times):
            with connect() as peer:
                peer.sendall(MESSAGE)
                hear(peer, len(MESSAGE))
        return (server.seconds() - before) * 1e6 / work.times


def python_with_pyopenssl() -> Path:
    """The Python of an environment with this Twisted and pyOpenSSL, made if there is none."""
    twisted = metadata.version("twisted")
    folder = ROOT / ".peer-venv" / "bench-{}.{}-{}".format(*sys.version_info[:2], twisted)
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    complete = folder / "complete"
    if not complete.exists():
        print(f"making {folder.relative_to(ROOT)}, for pyOpenSSL", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", folder], check=True)
        wanted = [f"twisted=={twisted}", "pyopenssl", "service-identity", "idna"]
        subprocess.run([python, "-m", "pip", "install", "--quiet", *wanted], check=True)
        complete.touch()
    return python


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition(":")[0])
    parser.add_argument("--pyopenssl", type=Path, metavar="PYTHON", help="one that has Twisted and pyOpenSSL")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--quick", action="store_true", help="one round, with little work: to see that it runs")
    options = parser.parse_args(arguments)
    rounds = QUICK_ROUNDS if options.quick else options.rounds
    run: list[str | Path] = [sys.executable, "-m", "txmembio", "run", "--install"]
    commands: dict[str, list[str | Path]] = {
        "pyOpenSSL": [options.pyopenssl or python_with_pyopenssl(), SERVER],
        'install("OpenSSL")': [*run, "OpenSSL", SERVER],
        'install("twisted")': [*run, "OpenSSL,twisted", SERVER],
    }
    figures: dict[str, dict[str, list[float]]] = {work.name: {name: [] for name in commands} for work in WORKS}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        authority = trustme.CA()
        certificate = authority.issue_cert("localhost", key_type=trustme.KeyType.ECDSA)
        pem = folder / "server.pem"
        certificate.private_key_and_cert_chain_pem.write_to_path(str(pem))
        context = ssl.create_default_context()
        authority.configure_trust(context)
        servers = {}
        for name, command in commands.items():
            servers[name] = Server(command, pem)
            stack.callback(servers[name].close)
        for _ in range(rounds):
            for work in WORKS:
                scaled = work._replace(times=max(work.times // 20, 1)) if options.quick else work
                for name, server in servers.items():
                    figures[work.name][name].append(measure(server, scaled, context))
    report(figures)


def report(figures: dict[str, dict[str, list[float]]]) -> None:
    """A table in Markdown."""
    names = list(next(iter(figures.values())))
    print(f"| µs of the server's processor time for one | {' | '.join(names)} |")
    print("|---" * (len(names) + 1) + "|")
    for work, by_name in figures.items():
        base = by_name[names[0]]
        cells = []
        for name in names:
            ratio = statistics.median(theirs / mine for mine, theirs in zip(by_name[name], base, strict=True))
            cells.append(f"{statistics.median(by_name[name]):.1f}" + ("" if name == names[0] else f" ({ratio:.2f}x)"))
        print(f"| {work} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
