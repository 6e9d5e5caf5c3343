"""`install("OpenSSL")` and `install("twisted")`: what they change, when they refuse. Each in a Python of its own."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from support.process import DEADLINE, environment


def run(program: str, folder: Path | None = None) -> str:
    """What the program prints. `folder` comes first on its path."""
    env = environment()
    if folder is not None:
        env["PYTHONPATH"] = f"{folder}:{env['PYTHONPATH']}"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(program)],
        env=env,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def refusal(program: str, folder: Path | None = None) -> str:
    """The InstallError's text; `program` ends with the install() that raises it."""
    indented = textwrap.indent(textwrap.dedent(program).strip(), "    ")
    return run(f"import txmembio\ntry:\n{indented}\nexcept txmembio.InstallError as error:\n    print(error)", folder)


@pytest.fixture
def pyopenssl(tmp_path: Path) -> Path:
    """A folder with something that `import OpenSSL` finds, and a program that imports it."""
    (tmp_path / "OpenSSL").mkdir()
    (tmp_path / "OpenSSL" / "__init__.py").write_text("the_real_one = True\n")
    (tmp_path / "early_bird.py").write_text("import OpenSSL\n")
    return tmp_path


def test_import_finds_ours_under_both_names() -> None:
    said = run("""
        import txmembio
        txmembio.install()
        import OpenSSL, OpenSSL.SSL
        from OpenSSL import crypto, version
        from OpenSSL._util import lib
        import txmembio.OpenSSL.SSL
        print(OpenSSL is txmembio.OpenSSL, OpenSSL.SSL is txmembio.OpenSSL.SSL, crypto is txmembio.OpenSSL.crypto)
        print(OpenSSL.SSL.Error is txmembio.OpenSSL.SSL.Error, version.__version__ == OpenSSL.__version__)
    """)
    assert said.split() == ["True"] * 5


def test_nothing_is_imported_before_somebody_asks() -> None:
    said = run("""
        import sys, txmembio
        before = set(sys.modules)
        txmembio.install("OpenSSL", "twisted")
        new = set(sys.modules) - before
        print(sorted(name for name in new if name.split(".")[0] in ("OpenSSL", "twisted", "cryptography", "ssl")))
        print(sorted(name for name in new if name.startswith("txmembio.OpenSSL")))
    """)
    assert said.split() == ["[]", "[]"]


def test_modules_that_ours_does_not_have_are_not_found() -> None:
    said = run("""
        import importlib.util, txmembio
        txmembio.install()
        print(importlib.util.find_spec("OpenSSL.tsafe"), importlib.util.find_spec("OpenSSL").origin)
        try:
            import OpenSSL.tsafe
        except ModuleNotFoundError as error:
            print(error)
    """)
    assert said.startswith("None ") and "No module named 'OpenSSL.tsafe'" in said


def test_takes_the_place_of_one_that_is_installed(pyopenssl: Path) -> None:
    assert "True" in run("import OpenSSL; print(OpenSSL.the_real_one)", pyopenssl)
    said = run("import txmembio; txmembio.install(); import OpenSSL; print(OpenSSL.__name__)", pyopenssl)
    assert said.strip() == "txmembio.OpenSSL"


def test_refuses_when_another_was_imported_first_and_names_the_importer(pyopenssl: Path) -> None:
    said = refusal("import early_bird\ntxmembio.install()", pyopenssl)
    assert "pyOpenSSL was imported before by early_bird" in said and "first of all" in said


@pytest.mark.parametrize("module", ["twisted.internet.tcp", "twisted.internet.endpoints", "twisted.web.client"])
def test_refuses_when_twisted_has_found_that_there_is_none(module: str) -> None:
    said = refusal(f"import {module}\ntxmembio.install()")
    assert "was imported before" in said and "has found no OpenSSL" in said


@pytest.mark.parametrize("distribution", ["cryptography", "service-identity"])
def test_refuses_without_what_twisted_needs_and_names_the_extra(distribution: str) -> None:
    said = refusal(f"""
        import importlib.util
        find = importlib.util.find_spec
        hidden = {distribution.replace("-", "_")!r}
        importlib.util.find_spec = lambda name, package=None: None if name == hidden else find(name, package)
        txmembio.install()
    """)
    assert distribution in said and "pip install 'txmembio[openssl]'" in said


def test_twice_is_once() -> None:
    said = run("""
        import sys, txmembio
        txmembio.install()
        finders = list(sys.meta_path)
        import OpenSSL
        from twisted.internet import ssl
        txmembio.install("OpenSSL")
        txmembio.install()
        print(finders == sys.meta_path)
    """)
    assert said.strip() == "True"


def test_a_later_target_that_fails_undoes_it() -> None:
    said = run("""
        import sys, txmembio
        sys.modules["twisted.protocols.tls"] = sys  # in place, as far as anybody can see
        before = list(sys.meta_path)
        try:
            txmembio.install("OpenSSL", "twisted")
        except txmembio.InstallError as error:
            print(sys.meta_path == before, error)
    """)
    assert said.startswith("True ") and "twisted.protocols.tls was imported before" in said


def test_twisted_makes_our_transports() -> None:
    said = run("""
        import txmembio
        txmembio.install("twisted")
        from twisted.internet import ssl, endpoints
        from twisted.protocols import tls
        from txmembio.twisted import TLSTransport
        made = tls.TLSMemoryBIOFactory.protocol
        print(issubclass(made, TLSTransport), issubclass(made, tls.TLSMemoryBIOProtocol))
        print(endpoints._TLSMemoryBIOFactory is tls.TLSMemoryBIOFactory, tls.TLSMemoryBIOFactory.handshakeTimeout)
    """)
    assert said.split() == ["True", "True", "True", "60.0"]


def test_twisted_refuses_when_its_module_was_imported_first() -> None:
    said = refusal("""
        txmembio.install("OpenSSL")
        import twisted.internet.endpoints
        txmembio.install("twisted")
    """)
    assert "twisted.protocols.tls was imported before" in said


def test_programs_that_ask_what_is_installed_are_told(tmp_path: Path) -> None:
    """As Synapse does before it starts. Who asks about a folder is told of that folder."""
    program = f"""
        import txmembio
        txmembio.install("OpenSSL")
        import importlib.metadata
        from OpenSSL import version
        assert importlib.metadata.version("pyopenssl") == importlib.metadata.version("pyOpenSSL") == version.__version__
        assert not list(importlib.metadata.distributions(path=[{str(tmp_path)!r}]))
        print(importlib.metadata.metadata("PyOpenSSL")["Name"])
    """
    assert run(program) == "pyOpenSSL\n"
