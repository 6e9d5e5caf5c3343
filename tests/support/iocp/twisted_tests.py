"""Makes Twisted's tests run on the IOCP reactor, and expect of it what they expect on Windows.

For a prelude of `support.suites`. Nothing of Twisted's is changed but which reactors are tested, and what the tests are
told about the platform.
"""

from __future__ import annotations

import importlib
import socket
import sys
import types

from support import iocp

#: What looks at the platform to know what to do, and not what to expect: it has to be here before the platform changes.
DECIDES_BY_PLATFORM = (
    "twisted.internet.endpoints",
    "twisted.internet.iocpreactor.tcp",
    "twisted.internet.posixbase",
    "twisted.internet.process",
    "twisted.internet.stdio",
    "twisted.internet.test.reactormixins",
    "twisted.internet.testing",
    "twisted.trial.reporter",
    "twisted.trial.runner",
    "twisted.trial.unittest",
)


def prepare() -> None:
    """Installs the emulation, with the faults of the environment; the tests make their reactors themselves."""
    iocp.install()
    for name in DECIDES_BY_PLATFORM:
        importlib.import_module(name)
    from twisted.internet.test import reactormixins
    from twisted.python import runtime

    reactormixins.ReactorBuilder._reactors = ["twisted.internet.iocpreactor.reactor.IOCPReactor"]
    sys.modules["twisted.internet.test._win32ifaces"] = _interfaces()
    runtime.platformType = "win32"
    runtime.platform.isWindows = lambda: True  # type: ignore[method-assign]


def _interfaces() -> types.ModuleType:
    """The place of a module that asks Windows for its link-local IPv6 addresses. Instead of one of those, which Linux
    writes in another way, the tests get the loopback's, if it has one."""
    addresses = []
    with socket.socket(socket.AF_INET6 if socket.has_ipv6 else socket.AF_INET) as probe:
        try:
            probe.bind(("::1", 0))
            addresses.append("::1")
        except OSError:
            pass
    module = types.ModuleType("twisted.internet.test._win32ifaces")
    module.win32GetLinkLocalIPv6Addresses = lambda: addresses  # type: ignore[attr-defined]
    return module
