"""Fixtures that every kind of test shares. Helpers are in `support`, which pytest's `pythonpath` puts within reach."""

from __future__ import annotations

import functools
import os
import sys
import warnings
from collections.abc import Generator
from types import ModuleType

import hypothesis
import pytest

import txmembio
from support import reactors
from support.pki import PKI

# No deadline: an example's time depends on what else the machine does, and is not what these tests are about. Where CI
# is set, the examples are the same every time: a change should not be turned away for what somebody else's did.
hypothesis.settings.register_profile("txmembio", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("txmembio")


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Generator[None, object, object]:
    """pytest-twisted wraps the inside of a Hypothesis test, and once more for each of its parameters, as they share it;
    from the second on that fails. So what it put there is taken away after each.
    """
    handle = getattr(pyfuncitem.obj, "hypothesis", None)
    inner_test = getattr(handle, "inner_test", None)
    try:
        return (yield)
    finally:
        if handle is not None:
            handle.inner_test = inner_test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.getgroup("twisted").addoption(
        "--twisted-reactor",
        default=reactors.DEFAULT,
        choices=tuple(reactors.CHOICES),
        help="the reactor that runs the tests on Twisted and the programs they start (default: %(default)s)",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Install the reactor, and have pytest-twisted, which is configured next, take what is there for its default."""
    config.addinivalue_line("markers", "reactor: runs on Twisted's reactor, or tests what does")
    if not config.pluginmanager.hasplugin("twisted"):
        return  # the core is tested without Twisted
    import pytest_twisted

    name = config.getoption("--twisted-reactor")
    if config.getoption("--reactor") != "default":
        raise pytest.UsageError("--reactor is pytest-twisted's; the reactor of these tests is --twisted-reactor")
    os.environ[reactors.VARIABLE] = name
    try:
        running = reactors.install(name)
    except (reactors.WrongReactor, ImportError) as error:
        raise pytest.UsageError(f"--twisted-reactor: {error}") from error
    if name == "iocp":
        # Twisted's port drops, without closing it, the socket that would have been the next connection; the collector
        # closes it. It has no address yet.
        unclosed = r"unclosed <socket.socket .*laddr=\(\S+, 0[^<]*\)>"
        config.addinivalue_line("filterwarnings", f"ignore:{unclosed}:ResourceWarning")
        warnings.filterwarnings("ignore", unclosed, ResourceWarning)  # when the reactor stops, after all tests
    pytest_twisted.reactor_installers["default"] = lambda: pytest_twisted._install_reactor(lambda: None, type(running))


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Say what is being tested, with which OpenSSL, and on which reactor: a failure report without them is worth
    little.
    """
    lines = [f"txmembio: {txmembio.__file__} with {txmembio.OPENSSL_VERSION}"]
    if running := sys.modules.get("twisted.internet.reactor"):
        lines.append(f"reactor: {config.getoption('--twisted-reactor')}, {reactors.shown(running)}")
    return lines


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the tests that have to do with Twisted, as their modules' imports say: they have something of Twisted or of
    the adapter, or what starts programs on the chosen reactor.
    """
    for item in items:
        if isinstance(item, pytest.Function) and _on_twisted(item.module):
            item.add_marker("reactor")


@functools.cache
def _on_twisted(module: ModuleType) -> bool:
    values = vars(module).values()
    names = (
        value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", None) for value in values
    )
    return any(value is reactors.program for value in values) or any(
        f"{name}.".startswith(("twisted.", "pytest_twisted.", "txmembio.twisted.")) for name in names
    )


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> PKI:
    """Certificates of this session."""
    return PKI(tmp_path_factory.mktemp("pki"))


@pytest.fixture(scope="session", params=["TLSv1_2", "TLSv1_3"], ids=["tls12", "tls13"])
def tls_version(request: pytest.FixtureRequest) -> txmembio.TLSVersion:
    """Each of the two versions in turn."""
    version: txmembio.TLSVersion = txmembio.TLSVersion[request.param]
    return version
