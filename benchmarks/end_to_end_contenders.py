"""Who is measured end to end: each a server in a process of its own, started anew for each round."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

import txmembio
from benchmarks.building import compile_c
from benchmarks.processes import OpenSSLServer, Server
from benchmarks.remote import ROOT, python_with_pyopenssl
from benchmarks.slices import BenchmarkError


class Contender(NamedTuple):
    """A server by what it is called, and how it is started."""

    key: str
    """On the command line and in the JSON; what is before its first hyphen says where it belongs."""
    name: str
    program: str
    """A module of this package, or what :func:`start` knows besides."""
    tls: bool
    needs: tuple[str, ...] = ()
    """Packages without which it is left out."""
    install: tuple[str, ...] = ()
    """What txmembio stands in for, before anything is imported."""

    @property
    def family(self) -> str:
        return self.key.partition("-")[0]

    def does(self, who: str) -> bool:
        """Whether it belongs to the *who* of a work."""
        if who == "sites":
            return self.family in ("twisted", "tornado") and self.key != "twisted-through"
        if who == "resuming":
            return self.tls and self.key not in WITHOUT_SESSIONS
        return who == "all" or (who == "tls" and self.tls) or who == self.family


_TWISTED, _TORNADO, _ASYNCIO = "benchmarks.twisted_server", "benchmarks.tornado_server", "benchmarks.asyncio_server"
_UVLOOP, _AIOFASTNET = ("uvloop",), ("aiofastnet",)

CONTENDERS = (
    Contender("twisted-plain", "Twisted, plain TCP", _TWISTED, False, ("twisted",)),
    Contender("twisted-through", "Twisted, plain TCP, write-through", _TWISTED, False, ("twisted",)),
    Contender("twisted-pyopenssl", "Twisted, pyOpenSSL's wheel", _TWISTED, True, ("twisted",)),
    Contender("twisted-pyopenssl-system", "Twisted, pyOpenSSL on the system's libssl", _TWISTED, True, ("twisted",)),
    Contender("twisted-shim", 'Twisted unmodified, install("OpenSSL")', _TWISTED, True, ("twisted",), ("OpenSSL",)),
    Contender(
        "twisted-installed",
        'Twisted unmodified, install("OpenSSL", "twisted")',
        _TWISTED,
        True,
        ("twisted",),
        ("OpenSSL", "twisted"),
    ),
    Contender("twisted-txmembio", "Twisted, txmembio", _TWISTED, True, ("twisted",)),
    Contender("twisted-txmembio-off", "Twisted, txmembio, short cut off", _TWISTED, True, ("twisted",)),
    Contender("tornado-plain", "Tornado, plain TCP", _TORNADO, False, ("tornado",)),
    Contender("tornado-ssl", "Tornado, SSLIOStream", _TORNADO, True, ("tornado",)),
    Contender("tornado-txmembio", "Tornado, txmembio", _TORNADO, True, ("tornado",)),
    Contender("asyncio-plain", "asyncio, plain TCP", _ASYNCIO, False),
    Contender("asyncio-ssl", "asyncio, ssl", _ASYNCIO, True),
    Contender("asyncio-txmembio", "asyncio, txmembio.ssl", _ASYNCIO, True, (), ("ssl",)),
    Contender("uvloop-plain", "uvloop, plain TCP", _ASYNCIO, False, _UVLOOP),
    Contender("uvloop-ssl", "uvloop, ssl", _ASYNCIO, True, _UVLOOP),
    Contender("uvloop-txmembio", "uvloop, txmembio.ssl", _ASYNCIO, True, _UVLOOP, ("ssl",)),
    Contender("aiofastnet-ssl", "aiofastnet, ssl", _ASYNCIO, True, _AIOFASTNET),
    Contender("c-plain", "C and epoll, plain TCP", "epoll_server", False),
    Contender("c-tls", "C and epoll, memory BIOs", "epoll_server", True),
    Contender("c-s_server", "openssl s_server", "s_server", True),
)
"""Everyone, in the order in which they are shown."""

CONTENDERS_BY_KEY = {contender.key: contender for contender in CONTENDERS}

WITHOUT_SESSIONS = ("twisted-pyopenssl", "twisted-pyopenssl-system", "twisted-shim", "twisted-installed")
"""Twisted's own TLS resumes nothing unless it is told to, and an endpoint string cannot tell it."""

HANDSHAKES_ONLY = "c-s_server"
"""It serves one connection at a time, and does nothing but say lines backwards."""

RUN = """import runpy, sys
sys.path[:] = [*{first!r}, {where!r}, *filter(None, sys.path), {root!r}]
if {install!r}:
    import txmembio
    txmembio.install(*{install!r})
runpy.run_module({module!r}, None, '__main__', True)"""
# A module of the checkout's, and txmembio from where this process has it: the checkout, or where it is installed.

SYSTEM_PYTHON = Path("/usr/bin/python3")
"""Where a distribution's packages are found."""

_WHERE_PYOPENSSL_IS = """import sysconfig
print(sysconfig.get_path("platlib"))"""

_WHERE_EACH_IS = """from importlib.util import find_spec
for name in "OpenSSL", "cryptography", "service_identity", "pyasn1", "pyasn1_modules", "six":
    if found := find_spec(name):
        print(*(found.submodule_search_locations or [found.origin]))"""
# What is there of pyOpenSSL, and of what Twisted's TLS needs besides; which of these, has changed over the years.


class Starter:
    """Starts contenders' servers. *folder* is for what is built; it can go once this is not used any more."""

    def __init__(self, folder: Path, pems: Sequence[Path]) -> None:
        self._folder = folder
        self._pems = pems
        self._paths: dict[str, list[str]] = {}

    def start(self, contender: Contender) -> Server | OpenSSLServer:
        """A new process. Raises BenchmarkError when there cannot be one, with the reason."""
        missing = [package for package in contender.needs if find_spec(package) is None]
        if missing:
            raise BenchmarkError(f"{', '.join(missing)} is not installed")
        if contender.program == "s_server":
            if shutil.which("openssl") is None:
                raise BenchmarkError("openssl is not on PATH")
            return OpenSSLServer(self._pems)
        if contender.program == "epoll_server":
            program = self._folder / "epoll_server"
            if not program.exists():
                compile_c(Path(__file__).parent / "epoll_server.c", program)
            return Server([program, "tls" if contender.tls else "plain", *self._pems], contender.key)
        where = str(Path(txmembio.__file__).parents[1])
        first = self._first(contender.key)
        code = RUN.format(first=first, where=where, root=str(ROOT), install=contender.install, module=contender.program)
        return Server([sys.executable, "-c", code, contender.key, *self._pems], contender.key)

    def _first(self, key: str) -> list[str]:
        """Where this contender's process looks for packages first: pyOpenSSL's are of no use to anyone else."""
        if key not in self._paths:
            self._paths[key] = []
            if key == "twisted-pyopenssl":
                self._paths[key] = _said(python_with_pyopenssl(), _WHERE_PYOPENSSL_IS)
            elif key == "twisted-pyopenssl-system":
                self._paths[key] = [self._packages_of_the_system()]
        return self._paths[key]

    def _packages_of_the_system(self) -> str:
        """A folder with the distribution's pyOpenSSL, and what that needs, and nothing else of the distribution's: the
        interpreter and Twisted are the same for all. Its cryptography is for any Python 3, and has the system's libssl.
        """
        if not SYSTEM_PYTHON.exists():
            raise BenchmarkError(f"there is no {SYSTEM_PYTHON}, so no distribution's pyOpenSSL")
        folder = Path(tempfile.mkdtemp(dir=self._folder))
        for found in _said(SYSTEM_PYTHON, _WHERE_EACH_IS):
            (folder / Path(found).name).symlink_to(found)
        return str(folder)


def _said(python: Path, code: str) -> list[str]:
    finished = subprocess.run([str(python), "-c", code], capture_output=True, text=True, check=False)
    if finished.returncode != 0:
        raise BenchmarkError(f"{python}: {finished.stderr.strip().splitlines()[-1]}")
    return finished.stdout.splitlines()
