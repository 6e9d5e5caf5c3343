"""Twisted's IOCP reactor on Linux: an emulation of what is beneath it, with faults on request.

Twisted's reactor for Windows is Python over a small C module, `twisted_iocpsupport`, and that is a thin layer over
Winsock's overlapped calls and one completion port. This package takes the place of the C module. Everything above it is
Twisted's own, and unmodified: the reactor, its transports, endpoints, and TLS in memory on top.

How it is used
--------------

    python -m support.iocp SCRIPT [ARGS...]          # or -m MODULE: a program, on that reactor
    iocp.install_reactor(iocp.Faults(max_send=1000)) # the same from within, before there is a reactor

:class:`Faults` is the setting of the kernel; the variable `TXMEMBIO_IOCP` hands it to a child process. On Windows the
same entry points install the real thing, which has no settings.

How it works
------------

`faults`     the settings, written and read
`winsock`    the numbers of Windows: an error of a call that fails at once, and of an operation that fails later
`addresses`  `SOCKADDR_IN` and `SOCKADDR_IN6`
`kernel`     handles with what is pending on each, completion ports, and the thread that does what is pending
`calls`      the module that Twisted imports: AcceptEx, ConnectEx, WSARecv, WSASend, WSARecvFrom
`sockets`    what is around it: closesocket() cancels, SO_UPDATE_*_CONTEXT, `errno.WSA*`, names of pywin32

A call tries at once, without waiting, unless something is pending before it or a fault forbids it. What cannot be done
is left to a thread that waits with epoll, and reads into the caller's own buffers while Python runs, as the system
would. In either case the completion goes into the port's queue; that a call has done its work at once does not save
it. The thread is there while something is pending, and no longer. Before getEvent() says that there is nothing, it
does what can be done by then, so that the emulation is never late, and tests are the same every time.

The buffers are the kernel's until getEvent() has handed out the completion, by a view of each of them: nobody can
resize one, and a second receive into one is refused. There the emulation is stricter than Windows, where both go
unnoticed until data is wrong.

`bench`, `transfer` and `twisted_tests` are for the tests of the emulation: a port and sockets; a program with mistakes
to choose from; and what makes Twisted's suites expect the answers of Windows.

What is as on Windows
---------------------

As seen of `twisted_iocpsupport` on a Windows CPython under wine 8, or as documented; a test in `unit/test_iocp_*` each:

- a transfer that is done at once answers 0 and completes all the same; one that is not answers 997;
- transfers of one direction complete in the order of the calls; a receive fills its buffers in turn;
- a receive of no bytes completes when there is data, and takes none; the end of the data is a receive of 0 bytes;
- a send completes when all of it was taken, be it long after;
- a reset completes what is pending with 64, and each call from then on answers 10054;
- its own close completes what is pending with 995 (or 64, a setting); closing a listener its accepts with 995;
- not connected is 10057, shut down 10058, not a socket 10038, not bound 10022, connected already 10056;
- nobody listens is 1225, nobody can have the address 10049, and a name is a ValueError;
- until SO_UPDATE_*_CONTEXT is set, a connection answers getpeername() and shutdown() with 10057;
- a datagram that does not fit completes with 234; one that found nobody makes the next receive complete with 1234;
- a handle has one port: a second is OSError 87; getEvent() answers 258 when its time is over.

What is not
-----------

- The C module: its references, its pointers.
- The system's own stack: Linux moves the bytes, with its buffer sizes, timing, and order of events across connections.
  Data that came before a reset can be received after it; Windows may have thrown it away.
- Errors of sockets that are used without the module: they are those of Linux (a closed socket is EBADF, not 10038).
- getaddrinfo() and the spelling of IPv6 zones are those of Linux, but for the addresses that AcceptEx gives.
- Several threads that wait on one port: nobody has tried. What is pending is cancelled by closing alone.
- Processes, consoles, events of Windows: their names can be imported, since Twisted does, and mean nothing.
"""

from __future__ import annotations

import os
import select
import sys
import warnings
from pathlib import Path

from support.iocp.faults import SETTINGS, VARIABLE, Faults

__all__ = [
    "SETTINGS",
    "VARIABLE",
    "Faults",
    "command",
    "environment",
    "install",
    "install_reactor",
]

#: The folder that `support` is in.
TESTS = Path(__file__).parents[2]


def install(faults: Faults | None = None) -> None:
    """Puts the emulation in the place of `twisted_iocpsupport`, with these faults, or those of the environment. On
    Windows, it leaves the real one where it is.

    Raises RuntimeError if there should be faults on Windows, or if this is neither Windows nor Linux. When called again
    it changes the faults, and nothing else.
    """
    if faults is None:
        faults = Faults.from_environment()
    if sys.platform == "win32":
        if faults != Faults():
            raise RuntimeError(f"this is the kernel of Windows, which has no such setting: {faults}")
        return
    if not hasattr(select, "epoll"):
        raise RuntimeError(f"the emulated completion port needs epoll, which {sys.platform} does not have")
    from support.iocp import calls, sockets
    from support.iocp.kernel import KERNEL

    KERNEL.faults = faults
    if sys.modules.get("twisted_iocpsupport.iocpsupport") is calls:
        return
    sockets.install_modules()
    sockets.hook()


def install_reactor(faults: Faults | None = None) -> None:
    """Installs the emulation, and Twisted's IOCP reactor as the reactor of this process, if it is not that already.

    Raises RuntimeError if another reactor is installed, and what :func:`install` raises.
    """
    install(faults)
    with warnings.catch_warnings():
        # Without pyOpenSSL the reactor has no listenSSL(): that is what this project is about.
        warnings.filterwarnings("ignore", "pyOpenSSL 0.10 or newer is required", UserWarning)
        from twisted.internet.iocpreactor import reactor as iocpreactor
    installed = sys.modules.get("twisted.internet.reactor")
    if installed is None:
        iocpreactor.install()
    elif not isinstance(installed, iocpreactor.IOCPReactor):
        raise RuntimeError(f"the reactor of this process is a {type(installed).__name__} already")


def command(*arguments: str) -> list[str]:
    """The command that runs `SCRIPT, *ARGS` or `"-m", MODULE, *ARGS` with this Python on the IOCP reactor."""
    return [sys.executable, "-m", "support.iocp", *arguments]


def environment(faults: Faults | None = None) -> dict[str, str]:
    """The environment that such a command needs, wherever it is run: with these faults, or none."""
    from support.process import environment

    inherited = environment()
    path = [inherited["PYTHONPATH"], str(TESTS)]
    return {**inherited, "PYTHONPATH": os.pathsep.join(path), VARIABLE: str(faults or Faults())}
