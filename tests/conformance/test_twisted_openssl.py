"""Twisted's own tests of everything that speaks TLS, from the Twisted that is installed, without pyOpenSSL."""

from __future__ import annotations

from support import suites

#: What Twisted's suites are run with. The child has no pyOpenSSL: the suite would find it, and prove nothing.
PRELUDE = """
import importlib.metadata, sys
try:
    importlib.metadata.distribution("pyOpenSSL")
except importlib.metadata.PackageNotFoundError:
    pass
else:
    raise SystemExit("pyOpenSSL is installed here")
import txmembio
txmembio.install({targets})

def epilogue():
    from OpenSSL import SSL
    from twisted.protocols import tls
    return {{"connection": SSL.Connection.__module__, "transport": tls.TLSMemoryBIOFactory.protocol.__module__}}
"""

MODULES = [
    "twisted.protocols.test.test_tls",
    "twisted.internet.test.test_tls",
    "twisted.internet.test.test_newtls",
    "twisted.internet.test.test_endpoints",
    "twisted.test.test_ssl",
    "twisted.test.test_sslverify",
    "twisted.test.test_sni",
    "twisted.test.test_amp",
    "twisted.web.test.test_agent",
    "twisted.web.test.test_webclient",
    "twisted.mail.test.test_smtp",
    "twisted.mail.test.test_imap",
    "twisted.mail.test.test_pop3client",
    "twisted.words.test.test_jabberclient",
]

#: Tests that fail under install("OpenSSL"), and why.
DEVIATIONS: dict[str, str] = {}

_TLS = "twisted.protocols.test.test_tls.TLSMemoryBIOTests."

#: Tests that fail under install("twisted"), and why.
DEVIATIONS_OF_THE_TRANSPORT = {
    _TLS + "test_connectionLostOnlyAfterUnderlyingCloses": "Calls the private method `_tlsShutdownFinished`.",
    _TLS + "test_loseConnectionAfterConnectionLost": "Replaces the private method `_shutdownTLS`, to count its calls.",
    _TLS + "test_loseConnectionTwice": "Replaces the private method `_shutdownTLS`, to count its calls.",
}

#: Why a test may be skipped, with pyOpenSSL as without: nothing that has to do with TLS.
SKIPS = {
    "No module named 'gi'",  # no GLib here, whose reactor is one of those that the builders try
    "SSL Present.",  # a test of what happens without
    "The es_AR.UTF8 locale is not installed.",
}

#: Seconds for all modules; they take 30 on two idle cores.
TIME = 420.0

#: What Twisted 26.10 has in these modules, one skip less where the locale is installed.
TESTS = 1429


def run(targets: str) -> suites.Outcome:
    """The suites under `install(targets)`."""
    return suites.run(MODULES, prelude=PRELUDE.format(targets=targets), timeout=TIME, runner="trial")


def check(outcome: suites.Outcome, deviations: dict[str, str], transport: str) -> None:
    """Nothing failed but what is listed, nothing was skipped for want of TLS, and it was ours that was tested."""
    suites.check(outcome, deviations)
    assert set(outcome.skipped.values()) <= SKIPS
    assert outcome.epilogue == {"connection": "txmembio.OpenSSL._connection", "transport": transport}
    assert len(outcome.passed) + len(outcome.failed) + len(outcome.skipped) >= TESTS


def test_suites_under_install_openssl() -> None:
    check(run('"OpenSSL"'), DEVIATIONS, "twisted.protocols.tls")


def test_suites_under_install_twisted() -> None:
    check(run('"OpenSSL", "twisted"'), DEVIATIONS_OF_THE_TRANSPORT, "txmembio.twisted.memory_bio")
