"""Twisted's own tests of its IOCP reactor and of TCP and TLS on it, unmodified, on the emulated completion port.

They are to tell whether the emulation is one: nothing here is about txmembio but that the TLS is its own.
"""

from __future__ import annotations

import select
import sys
from collections.abc import Sequence

import pytest

from support import iocp, suites, venvs

if not hasattr(select, "epoll"):
    pytest.skip("the emulation needs epoll", allow_module_level=True)

PRELUDE = """
{install}
from support.iocp import twisted_tests
twisted_tests.prepare()

def epilogue():
    from twisted.internet.iocpreactor import iocpsupport
    from twisted.protocols import tls
    from support.iocp import kernel
    return {{
        "port": iocpsupport.CompletionPort.__module__,
        "faults": str(kernel.KERNEL.faults),
        "transport": tls.TLSMemoryBIOFactory.protocol.__module__,
    }}
"""

OUR_TRANSPORT = 'import txmembio; txmembio.install("twisted")'
OUR_OPENSSL = 'import txmembio; txmembio.install("OpenSSL")'

MODULES = [
    "twisted.internet.test.test_iocp",
    "twisted.internet.test.test_newtls",
    "twisted.internet.test.test_tcp",
    "twisted.internet.test.test_tls",
    "twisted.internet.test.test_udp",
    "twisted.test.test_tcp",
]

_TCP = "twisted.internet.test.test_tcp."

#: Tests that fail in every setting, and why.
DEVIATIONS = {
    _TCP + "TCP4ClientTestsBuilder_IOCPReactorTests.test_getaddrinfo_negative_port": (
        "Of getaddrinfo() alone: Linux has no service for the port -1, Windows does not look for one."
    ),
    _TCP + "TCP6ClientTestsBuilder_IOCPReactorTests.test_getaddrinfo_negative_port": (
        "Of getaddrinfo() alone: Linux has no service for the port -1, Windows does not look for one."
    ),
    _TCP + "TCP6ClientTestsBuilder_IOCPReactorTests.test_connectPortUnderflow": (
        "Twisted gives IPv6 addresses to getaddrinfo() before it connects, see above."
    ),
    "twisted.test.test_tcp.ProperlyCloseFilesTests.test_properlyCloseFiles": (
        "Sees what a plain socket says when it is closed: EBADF on Linux, WSAENOTSOCK on Windows."
    ),
}

#: Tests that fail with txmembio's own transport, and why.
DEVIATIONS_OF_THE_TRANSPORT = {
    _TCP + "TCPConnectionTests.test_tlsAfterStartTLS": (
        "Leaves a TLS connection open, whose handshake is limited in time: trial finds the delayed call."
    ),
}

#: Tests that fail when receives are small, and why. They pass with `max_receive=23`, see below.
DEVIATIONS_OF_SMALL_RECEIVES = {
    _TCP + "TCPConnectionTestsBuilder_IOCPReactorTests.test_connectionLostAfterPausedTransport": (
        "Counts calls of dataReceived(), and expects one for 18 bytes. TCP promises nothing of the kind."
    ),
    _TCP + "TCPTransportTestsBuilder_IOCPReactorTests.test_writeSequeceWithoutWrite": (
        "Expects 23 bytes in one call of dataReceived(). TCP promises nothing of the kind."
    ),
}

#: Why a test may be skipped.
SKIPS = {
    "Link local IPv6 address unavailable",  # where not even the loopback has IPv6
    "Only works on POSIX",
    "Reactor does not provide IReactorSocket",
    "Reserved EMFILE file descriptor not supported on Windows.",
    "The AI_NUMERICSERV flag is not supported by Microsoft providers.",
    "twisted.internet.iocpreactor.reactor.IOCPReactor does not provide IReactorFDSet,IReactorSocket",
    "twisted.internet.iocpreactor.reactor.IOCPReactor does not provide IReactorSocket",
}

#: What Twisted 26.10 has in these modules.
TESTS = 253

#: Seconds for all modules; they take 4 on two idle cores.
TIME = 120.0


def run(
    install: str,
    faults: iocp.Faults,
    only: Sequence[str] = (),
    python: str = sys.executable,
) -> suites.Outcome:
    """The suites, after this statement."""
    return suites.run(
        MODULES,
        prelude=PRELUDE.format(install=install),
        env=iocp.environment(faults),
        timeout=TIME,
        runner="trial",
        only=only,
        python=python,
    )


def check(outcome: suites.Outcome, deviations: dict[str, str], faults: iocp.Faults, transport: str) -> None:
    """Nothing failed but what is listed, and it was the emulation that was tested, with these faults."""
    if "Link local IPv6 address unavailable" in outcome.skipped.values():
        deviations = {test: reason for test, reason in deviations.items() if "TCP6" not in test}
    suites.check(outcome, deviations)
    assert set(outcome.skipped.values()) <= SKIPS
    assert outcome.epilogue == {"port": "support.iocp.kernel", "faults": str(faults), "transport": transport}
    assert len(outcome.passed) + len(outcome.failed) + len(outcome.skipped) >= TESTS


@pytest.mark.parametrize("faults", iocp.SETTINGS.values(), ids=iocp.SETTINGS)
def test_suites_with_our_transport(faults: iocp.Faults) -> None:
    deviations = {**DEVIATIONS, **DEVIATIONS_OF_THE_TRANSPORT}
    if faults.max_receive is not None:
        deviations |= DEVIATIONS_OF_SMALL_RECEIVES
    check(run(OUR_TRANSPORT, faults), deviations, faults, "txmembio.twisted.memory_bio")


def test_suites_with_the_transport_of_twisted() -> None:
    check(
        run(OUR_OPENSSL, iocp.Faults()),
        DEVIATIONS,
        iocp.Faults(),
        "twisted.protocols.tls",
    )


def test_suites_with_pyopenssl() -> None:
    """Nothing of txmembio is there: the emulation does not lean on it."""
    packages = ["twisted", "pyopenssl", "service-identity", "idna", "pyhamcrest"]
    outcome = run("", iocp.Faults(), python=venvs.python_with("twisted-suites", *packages))
    check(outcome, DEVIATIONS, iocp.Faults(), "twisted.protocols.tls")


def test_what_fails_with_small_receives_fails_for_want_of_one_piece() -> None:
    """The longest that one of the tests expects in one piece is 23 bytes."""
    faults = iocp.Faults(max_receive=23)
    outcome = run(OUR_TRANSPORT, faults, only=list(DEVIATIONS_OF_SMALL_RECEIVES))
    assert sorted(outcome.passed) == sorted(DEVIATIONS_OF_SMALL_RECEIVES)
    faults = iocp.Faults(max_receive=17)
    outcome = run(OUR_TRANSPORT, faults, only=list(DEVIATIONS_OF_SMALL_RECEIVES))
    assert sorted(outcome.failed) == sorted(DEVIATIONS_OF_SMALL_RECEIVES)
