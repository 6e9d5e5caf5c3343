"""CPython's own tests of `ssl`, and of asyncio on top of it, as they are in this Python, with txmembio.ssl for `ssl`.

The interpreter's `_ssl` is blocked by an import hook, and must not even be mapped into the process: whatever passes,
passes without it.
"""

from __future__ import annotations

import sys
from importlib.util import find_spec

import pytest

from support import suites

pytestmark = pytest.mark.skipif(
    find_spec("test") is None or find_spec("test.test_ssl") is None, reason="this Python came without its own tests"
)

#: Seconds for one run, on a loaded machine. Alone, each takes less than one.
TIMEOUT = 400.0

#: Refuses `import _ssl` as a Python that was built without it does, and tells which of the two has been mapped.
BLOCKED = """
import sys

class NoSSL:
    def find_spec(self, name, path=None, target=None):
        if name == "_ssl":
            raise ModuleNotFoundError("No module named '_ssl'", name="_ssl")

sys.meta_path.insert(0, NoSSL())
import txmembio
txmembio.install("ssl")

def epilogue():
    import ssl, _ssl
    with open("/proc/self/maps") as maps:
        files = {line.split()[-1] for line in maps}
    return {
        "ssl": ssl.__name__,
        "has file": hasattr(_ssl, "__file__"),
        "mapped": sorted(file for file in files if "/_ssl." in file or "_lib." in file),
    }
"""

#: test_ssl_types asserts of each class that nothing can be assigned to it, as is so for classes that are written in C;
#: ours are Python's. It is one test, whose subtests count one by one.
TYPES = (
    "txmembio.context_certificates.CertificateContext",
    "txmembio.inner.InnerObject",
    "txmembio.memorybio.MemoryBIO",
    "txmembio.inner.InnerCertificate",
    "txmembio.session.SSLSession",
    "txmembio.errors.SSLError",
)
IMMUTABLE = "It asserts that a class is implemented in C, and immutable for that reason."

DEVIATIONS = {
    "test.test_ssl": {
        **{f"test.test_ssl.BasicSocketTests.test_ssl_types (ssl_type=<class '{name}'>)": IMMUTABLE for name in TYPES},
    },
    "test.test_asyncio.test_sslproto": {},
    "test.test_asyncio.test_ssl": {},
}


@pytest.mark.parametrize("module", DEVIATIONS)
def test_cpythons_own_tests_pass_without_the_interpreters_ssl(module: str) -> None:
    if find_spec(module) is None:
        pytest.skip(f"this Python has no {module}")
    real = suites.run([module], timeout=TIMEOUT)
    ours = suites.run([module], prelude=BLOCKED, timeout=TIMEOUT)
    assert ours.epilogue["ssl"] == "txmembio.ssl"
    assert not ours.epilogue["has file"]
    assert [file for file in ours.epilogue["mapped"] if "/_ssl." in file] == []
    assert any("txmembio" in file for file in ours.epilogue["mapped"])  # so the list above is one
    suites.check(ours, DEVIATIONS[module])
    assert len(DEVIATIONS[module]) <= 8
    assert len(ours.skipped) <= len(real.skipped) + 8, set(ours.skipped) - set(real.skipped)
    if sys.version_info[:3] == (3, 11, 7) and module == "test.test_ssl":
        assert len(real.passed) + len(real.skipped) == 183
