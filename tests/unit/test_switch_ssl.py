"""install("ssl"), each time in a Python of its own."""

from __future__ import annotations

import subprocess
import sys

import pytest

from support.process import environment

#: A Python that was built without `ssl`: `import _ssl` fails as it does there.
WITHOUT = """
import sys
class NoSSL:
    def find_spec(self, name, path=None, target=None):
        if name == "_ssl":
            raise ModuleNotFoundError("No module named '_ssl'", name="_ssl")
sys.meta_path.insert(0, NoSSL())
"""


def said_by(code: str) -> list[str]:
    """The lines that a new Python prints."""
    done = subprocess.run([sys.executable, "-c", code], env=environment(), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.parametrize("prelude", ["", WITHOUT], ids=["with the interpreter's", "without"])
def test_import_finds_ours(prelude: str) -> None:
    code = """
import txmembio
txmembio.install("ssl")
txmembio.install("ssl")
import ssl, _ssl, asyncio, http.client, urllib.request, smtplib
print(ssl is txmembio.ssl, _ssl is ssl._ssl, hasattr(_ssl, "__file__"))
print(http.client.ssl is ssl, ssl.SSLContext is txmembio.SSLContext, ssl.SSLError is txmembio.SSLError)
print(http.client.HTTPSConnection("localhost")._context)
"""
    assert said_by(prelude + code) == [
        "True True False",
        "True True True",
        "<txmembio.context.SSLContext PROTOCOL_TLS_CLIENT, CERT_REQUIRED>",
    ]


def test_errors_of_a_python_without_ssl() -> None:
    code = """
import txmembio, pickle
txmembio.install("ssl")
import ssl
print(ssl.SSLError.__mro__[1].__name__, issubclass(ssl.SSLCertVerificationError, (ssl.SSLError, ValueError)))
print(str(ssl.SSLError(1, "what it says")), ssl.SSLError(1, "x").errno)
try:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).set_ciphers("NONE-SUCH")
except ssl.SSLError as error:
    print(error)
try:
    ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).wrap_bio(ssl.MemoryBIO(), ssl.MemoryBIO(), server_side=True).do_handshake()
except ssl.SSLWantReadError as error:
    print(repr(error), pickle.loads(pickle.dumps(error)).args == error.args)
"""
    assert said_by(WITHOUT + code) == [
        "OSError True",
        "what it says 1",
        "No cipher can be selected. (ciphers 'NONE-SUCH')",
        "SSLWantReadError(2, 'The operation did not complete (read)') True",
    ]


@pytest.mark.parametrize(
    ("first", "who"), [("import ssl", "__main__"), ("import http.client", "http.client"), ("import asyncio", "asyncio")]
)
def test_whoever_was_first_is_named_and_nothing_has_changed(first: str, who: str) -> None:
    code = f"""
import sys
{first}
before = dict(sys.modules)
import txmembio
try:
    txmembio.install("ssl")
except txmembio.InstallError as error:
    print(error)
print(all(sys.modules[name] is module for name, module in before.items()), "txmembio.ssl" in sys.modules)
"""
    text, state = said_by(code)
    assert "the standard library's ssl has been imported already by" in text and f"'{who}" in text
    assert "python -m txmembio run --install ssl" in text
    assert state == "True False"


def test_what_is_undone_is_as_it_was() -> None:
    code = """
import sys, txmembio
import _ssl as theirs
from txmembio.switch import _ssl as target
undo = target.apply()
print(target.applied(), sys.modules["_ssl"] is theirs)
undo()
print(target.applied(), sys.modules["_ssl"] is theirs, "ssl" in sys.modules)
"""
    assert said_by(code) == ["True False", "False True False"]


def test_a_python_without_sockets() -> None:
    code = """
import sys, importlib.machinery
import txmembio
for finder in sys.meta_path:
    if finder is importlib.machinery.PathFinder:
        sys.meta_path.remove(finder)
try:
    txmembio.install("ssl")
except (txmembio.InstallError, ImportError) as error:
    print(type(error).__name__, error)
"""
    lines = said_by("import txmembio.switch._ssl\n" + code)
    assert lines == ["InstallError 'ssl' cannot be installed: this Python has no module 'socket'"]


def test_run_installs_it_first() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "txmembio", "run", "--install", "ssl", "-m", "platform"],
        env=environment(),
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
