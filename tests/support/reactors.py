"""Which of Twisted's reactors runs the tests: `pytest --twisted-reactor=iocp`. And a program for those that they start:

    python reactors.py SCRIPT [ARGS...]          runs SCRIPT on the reactor that the environment's variable names
    python reactors.py -m MODULE [ARGS...]

`iocp` is Twisted's own IOCP reactor: on Windows over the system's completion ports, elsewhere over `support.iocp`.
"""

from __future__ import annotations

import os
import runpy
import select
import sys
import threading
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

#: The variable that tells the programs started by tests which reactor to install.
VARIABLE = "TXMEMBIO_REACTOR"


class WrongReactor(Exception):
    """The reactor of this process is not the one that was asked for."""


@dataclass(frozen=True)
class Choice:
    """One that can be chosen."""

    module: str
    """Where Twisted has it."""
    reactor: str
    """The name of its class there."""
    loop: Callable[[], Any] | None = None
    """Makes the asyncio loop that it runs on."""

    @property
    def reactor_class(self) -> type:
        """Its class."""
        found: type = getattr(import_module(self.module), self.reactor)
        return found

    def install(self) -> None:
        """As the reactor of this process, which must have none yet."""
        module = import_module(self.module)
        if self.loop is None:
            module.install()
        else:
            module.install(self.loop())


def _selector_loop() -> Any:
    import asyncio

    return asyncio.SelectorEventLoop()


def _uvloop() -> Any:
    import uvloop

    return uvloop.new_event_loop()


class _IOCP(Choice):
    def install(self) -> None:
        from support import iocp

        iocp.install_reactor()


CHOICES = {
    "epoll": Choice("twisted.internet.epollreactor", "EPollReactor"),
    "select": Choice("twisted.internet.selectreactor", "SelectReactor"),
    "poll": Choice("twisted.internet.pollreactor", "PollReactor"),
    "asyncio": Choice("twisted.internet.asyncioreactor", "AsyncioSelectorReactor", _selector_loop),
    "uvloop": Choice("twisted.internet.asyncioreactor", "AsyncioSelectorReactor", _uvloop),
    "iocp": _IOCP("twisted.internet.iocpreactor.reactor", "IOCPReactor"),
}

#: The one that runs if none is chosen.
DEFAULT = "epoll" if hasattr(select, "epoll") else "select"

_installed: str | None = None


def install(name: str) -> Any:
    """The reactor of that name, which is the reactor of this process from here on.

    :raises WrongReactor: the process has another already.
    """
    global _installed
    choice = CHOICES[name]
    there = sys.modules.get("twisted.internet.reactor")
    if there is not None and name != _installed:
        raise WrongReactor(f"{name}, an instance of {choice.reactor}, cannot run: {shown(there)} is installed already")
    if there is None:
        choice.install()
        _installed = name
    reactor = sys.modules["twisted.internet.reactor"]
    if type(reactor) is not choice.reactor_class:
        raise WrongReactor(f"{name} is an instance of {choice.reactor}, but what runs is {shown(reactor)}")
    return reactor


def shown(reactor: Any) -> str:
    """The class of `reactor`, and of the loop beneath it, for people."""
    loop = getattr(reactor, "_asyncioEventloop", None)
    name = f"{type(reactor).__module__}.{type(reactor).__qualname__}"
    return name if loop is None else f"{name} on {type(loop).__module__}.{type(loop).__qualname__}"


def need(*interfaces: type) -> None:
    """Skip the test if the reactor of this process lacks one of these interfaces, such as `IReactorUNIX`."""
    import pytest
    from twisted.internet import reactor

    for interface in interfaces:
        if not interface.providedBy(reactor):  # type: ignore[attr-defined]
            pytest.skip(f"{type(reactor).__name__} does not provide {interface.__name__}")


def need_processes() -> None:
    """Skip the test if the reactor of this process cannot start others: off Windows, it needs their pipes for that."""
    from twisted.internet.interfaces import IReactorFDSet, IReactorProcess

    need(IReactorProcess, *([] if sys.platform == "win32" else [IReactorFDSet]))


def need_repeated_errors() -> None:
    """Skip the test if the reactor of this process hears only once that a descriptor is in error. A connection that
    has read what came before a reset is not told of that then, nor a process of a pipe's end: until a time-out.
    """
    import pytest
    from twisted.internet import reactor

    loop = getattr(reactor, "_asyncioEventloop", None)
    if loop is not None and not _repeats_errors(loop.__class__):
        pytest.skip(f"{shown(reactor)} hears of an error once, whether or not that was enough")


@cache
def _repeats_errors(loop_type: type) -> bool:
    """Of a loop: in a thread, since one is running in this."""
    import asyncio

    told: list[int] = []

    def ask() -> None:
        reading, writing = os.pipe()
        os.close(reading)
        loop = loop_type()
        loop.add_writer(writing, told.append, writing)
        for _ in range(5):
            loop.run_until_complete(asyncio.sleep(0))
        loop.remove_writer(writing)
        loop.close()
        os.close(writing)

    asking = threading.Thread(target=ask)
    asking.start()
    asking.join()
    return len(told) > 1


def program(*arguments: str | os.PathLike[str]) -> list[str]:
    """The command that runs `SCRIPT, *ARGS` or `"-m", MODULE, *ARGS` with this Python on the chosen reactor."""
    return [sys.executable, __file__, *(os.fspath(argument) for argument in arguments)]


def main(arguments: list[str]) -> None:
    """Run what the arguments say, as `python` with them would."""
    if not arguments or arguments == ["-m"]:
        raise SystemExit("usage: python reactors.py SCRIPT [ARGS...] | -m MODULE [ARGS...]")
    install(os.environ.get(VARIABLE) or DEFAULT)
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[:0] = [str(Path(arguments[0]).resolve().parent)]
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    # In the place of this file's own folder, whose modules are those of the package `support`.
    sys.path[0] = str(Path(__file__).resolve().parents[1])
    main(sys.argv[1:])
