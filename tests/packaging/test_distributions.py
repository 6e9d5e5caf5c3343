"""What is inside the wheel and the source distribution, and that the wheel works where the checkout is not."""

from __future__ import annotations

import sys
import sysconfig
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest

import txmembio
from support.builds import CHECKOUT, run

pytestmark = pytest.mark.packaging

PLUGIN = "twisted/plugins/txmembio_endpoints.py"

FIND_PARSERS = """
from twisted.internet.interfaces import IStreamClientEndpointStringParserWithReactor, IStreamServerEndpointStringParser
from twisted.plugin import getPlugins
import txmembio
print(txmembio.__file__)
for interface in (IStreamServerEndpointStringParser, IStreamClientEndpointStringParserWithReactor):
    print(interface.__name__, [plugin.prefix for plugin in getPlugins(interface)].count("membiotls"))
"""


@pytest.fixture(scope="session")
def contents(wheel: Path) -> set[str]:
    """Names of the files in the wheel."""
    with zipfile.ZipFile(wheel) as archive:
        return set(archive.namelist())


@pytest.mark.skipif(
    sys.implementation.name != "cpython" or bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
    reason="cffi has no stable ABI to build against on this Python",
)
def test_wheel_is_tagged_for_the_stable_abi(wheel: Path) -> None:
    _name, _version, python, abi, _platform = wheel.stem.split("-")
    assert (python, abi) == ("cp310", "abi3")


def test_wheel_holds_both_extensions(contents: set[str]) -> None:
    assert {name for name in contents if name.endswith((".so", ".pyd"))} == {
        "txmembio/_openssl/_crossing.abi3.so",
        "txmembio/_openssl/_lib.abi3.so",
    }


def test_wheel_holds_the_plugin_and_does_not_claim_the_package_twisted(contents: set[str]) -> None:
    assert {name for name in contents if name.startswith("twisted/")} == {PLUGIN}


def test_wheel_is_typed_and_licensed(contents: set[str]) -> None:
    assert "txmembio/py.typed" in contents
    assert any(name.endswith(".dist-info/licenses/LICENSE") for name in contents)


def test_wheel_holds_neither_sources_in_c_nor_tests(contents: set[str]) -> None:
    assert not [name for name in contents if name.endswith((".c", ".h"))]
    assert {name.split("/")[0] for name in contents if ".dist-info/" not in name} == {"txmembio", "twisted"}


def test_wheel_requires_cffi_only(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        (metadata_name,) = (name for name in archive.namelist() if name.endswith(".dist-info/METADATA"))
        metadata = Parser().parsestr(archive.read(metadata_name).decode())
    required = [line for line in metadata.get_all("Requires-Dist", []) if "extra ==" not in line]
    assert [line.split(">=")[0] for line in required] == ["cffi"]
    assert metadata["Version"] == txmembio.__version__
    assert metadata["Requires-Python"] == ">=3.10"
    assert not any("pyopenssl" in line.lower() or "[tls]" in line for line in metadata.get_all("Requires-Dist", []))


def test_sdist_holds_every_source_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    in_c = {path.relative_to(CHECKOUT).as_posix() for path in (CHECKOUT / "txmembio").glob("**/*.[ch]")}
    assert in_c - {"txmembio/_openssl/_lib.c"} <= names
    assert {PLUGIN, "LICENSE", "README.md", "CHANGELOG.md", "setup.py", "Makefile", "tests/conftest.py"} <= names
    assert not [name for name in names if name.endswith((".so", ".pyc", "_lib.c"))]


def test_plugin_is_found_from_an_empty_folder(twisted_python: Path, tmp_path: Path) -> None:
    installed, *parsers = run(twisted_python, "-c", FIND_PARSERS, cwd=tmp_path, env={"PYTHONPATH": ""}).splitlines()
    assert Path(installed).is_relative_to(twisted_python.parents[1])
    assert parsers == ["IStreamServerEndpointStringParser 1", "IStreamClientEndpointStringParserWithReactor 1"]


def test_demo_needs_no_more_than_its_extra(twisted_python: Path, tmp_path: Path) -> None:
    run(twisted_python, "-m", "txmembio", "demo", cwd=tmp_path, env={"PYTHONPATH": ""})
