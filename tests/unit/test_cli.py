"""`python -m txmembio`: its commands and options, and `info`."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import txmembio
from support.process import DEADLINE, environment
from txmembio import trust
from txmembio.cli import main

#: A command, in a Python that then says what it has imported.
WATCHED = """
import json, sys
from txmembio.cli import main
status = main(sys.argv[1:])
print(json.dumps(sorted(sys.modules)), file=sys.stderr)
sys.exit(status)
"""

#: A command, in a Python that has txmembio and what cffi needs at run time, and nothing else that is installed.
ALONE = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("_cffi_backend", sys.argv.pop(1))
if spec is not None:
    sys.modules["_cffi_backend"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(sys.modules["_cffi_backend"])
from txmembio.cli import main
sys.exit(main())
"""


def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python -m txmembio …`, ended."""
    return finish("-m", "txmembio", *arguments, cwd=None, **variables)


def finish(*arguments: str, cwd: Path | None = None, **variables: str) -> subprocess.CompletedProcess[str]:
    """`python …`, ended."""
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=cwd,
        env=environment() | variables,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def alone(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """A command where nothing but the core's own needs can be imported; there is a folder twisted/plugins, as in every
    installation."""
    (folder / "txmembio").symlink_to(Path(txmembio.__file__).parent, target_is_directory=True)
    (folder / "twisted" / "plugins").mkdir(parents=True)
    backend = getattr(sys.modules["_cffi_backend"], "__file__", "")  # PyPy has it built in
    return finish("-S", "-c", ALONE, backend, *arguments, cwd=folder, PYTHONPATH=str(folder))


def version_or_none(distribution: str) -> str | None:
    try:
        return importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        return None


@pytest.fixture(scope="module")
def facts() -> dict[str, Any]:
    """What `info --json` says."""
    done = run("info", "--json")
    assert done.returncode == 0, done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_command_is_needed() -> None:
    done = run()
    assert done.returncode == 2
    assert done.stderr.startswith("usage: python -m txmembio ")
    assert "COMMAND" in done.stderr.splitlines()[-1]


def test_an_unknown_command_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["serve"])
    assert ended.value.code == 2
    assert "'serve'" in capsys.readouterr().err.splitlines()[-1]


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"txmembio {txmembio.__version__}\n"


@pytest.mark.parametrize("port", ["-1", "65536", "http", "", "1e3", "9" * 5000, "٣"])
def test_a_port_that_is_none_is_named(port: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["demo", f"--port={port}"])
    assert ended.value.code == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert "--port" in last and repr(port) in last and "0 to 65535" in last


def test_info_tells_versions(facts: dict[str, Any]) -> None:
    assert facts["txmembio"] == {"version": txmembio.__version__, "folder": str(Path(txmembio.__file__).parent)}
    assert facts["python"]["version"] == platform.python_version()
    assert os.path.normpath(facts["python"]["executable"]) == os.path.normpath(sys.executable)
    assert facts["cffi"] == getattr(sys.modules["_cffi_backend"], "__version__", None)
    assert facts["tornado"] == version_or_none("tornado")
    assert facts["pyopenssl"] == version_or_none("pyOpenSSL")


def test_info_tells_which_openssl(facts: dict[str, Any]) -> None:
    openssl = facts["openssl"]
    assert openssl["version"] == txmembio.OPENSSL_VERSION
    number = txmembio.OPENSSL_BUILD_VERSION_NUMBER
    assert openssl["compiled"] == f"{number >> 28}.{number >> 20 & 0xFF}.{number >> 4 & 0xFF}"
    assert openssl["library"] == txmembio.openssl_library()
    assert (openssl["roots"]["file"], openssl["roots"]["folder"]) == trust.default_verify_paths()
    assert openssl["roots"]["file_exists"] == os.path.isfile(openssl["roots"]["file"])
    assert openssl["roots"]["folder_exists"] == os.path.isdir(openssl["roots"]["folder"])


def test_info_tells_every_feature_flag(facts: dict[str, Any]) -> None:
    flags = {name for name in txmembio.__all__ if name.startswith("has_")}
    assert flags
    assert facts["openssl"]["features"] == {name: getattr(txmembio, name) for name in flags}


def test_info_tries_groups(facts: dict[str, Any]) -> None:
    """What it says there is can be negotiated; what it says there is not cannot be set."""
    groups: dict[str, bool] = facts["openssl"]["groups"]
    assert "X25519MLKEM768" in groups and groups["X25519"] and groups["P-256"]
    for name, there in groups.items():
        context = txmembio.SSLContext(txmembio.PROTOCOL_TLS_CLIENT)
        if there:
            context.set_groups(name)
        else:
            with pytest.raises(ValueError, match=name):
                context.set_groups(name)


def test_info_tells_of_twisted(facts: dict[str, Any]) -> None:
    pytest.importorskip("twisted.internet", reason="Twisted is not installed")
    assert facts["twisted"]["version"] == version_or_none("twisted")
    assert facts["twisted"]["endpoint_strings"] is True
    assert facts["twisted"]["problem"] is None
    installed = finish("-c", "from twisted.internet import reactor; print(type(reactor).__module__)")
    assert facts["twisted"]["default_reactor"] == installed.stdout.strip()


def test_info_says_what_is_wrong_with_twisted(tmp_path: Path) -> None:
    """A Twisted that cannot be imported is not the end of `info`."""
    (tmp_path / "twisted").mkdir()
    (tmp_path / "twisted" / "__init__.py").write_text("raise RuntimeError('half an installation')")
    parts = [str(tmp_path), environment()["PYTHONPATH"]]
    done = run("info", PYTHONPATH=os.pathsep.join(parts))
    assert done.returncode == 0, done.stderr
    assert "half an installation" in done.stdout


def test_info_imports_no_neighbour() -> None:
    done = finish("-c", WATCHED, "info", "--json")
    assert done.returncode == 0, done.stderr
    packages = {name.split(".")[0] for name in json.loads(done.stderr)}
    assert "txmembio" in packages
    assert not packages & {"twisted", "tornado", "zope", "OpenSSL", "trustme", "ssl", "asyncio"}


def test_info_never_imports_pyopenssl(tmp_path: Path) -> None:
    """One that ends whoever imports it, and is installed as far as anybody can see."""
    (tmp_path / "OpenSSL").mkdir()
    (tmp_path / "OpenSSL" / "__init__.py").write_text("import os; os._exit(9)")
    (tmp_path / "pyopenssl-99.1.dist-info").mkdir()
    (tmp_path / "pyopenssl-99.1.dist-info" / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: pyOpenSSL\nVersion: 99.1\n"
    )
    parts = [str(tmp_path), environment()["PYTHONPATH"]]
    done = run("info", "--json", PYTHONPATH=os.pathsep.join(parts))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["pyopenssl"] == "99.1"


def test_info_as_text_has_a_line_for_everything(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["info"]) == 0
    lines = capsys.readouterr().out.splitlines()
    labels = [line[:13].strip() for line in lines]
    expected = ["txmembio", "Python", "cffi", "OpenSSL", "its file", "features", "groups", "roots", "", "Twisted"]
    assert labels[: len(expected)] == expected
    assert labels[-2:] == ["Tornado", "pyOpenSSL"]
    assert txmembio.OPENSSL_VERSION in lines[3]
    assert all(line == line.rstrip() and line.isprintable() for line in lines)


def test_info_needs_the_core_alone(tmp_path: Path) -> None:
    done = alone(tmp_path, "info", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert (told["twisted"], told["tornado"], told["pyopenssl"]) == (None, None, None)
    assert told["openssl"]["version"] == txmembio.OPENSSL_VERSION


def test_demo_names_what_it_lacks(tmp_path: Path) -> None:
    done = alone(tmp_path, "demo")
    assert done.returncode == 1
    last = done.stdout.splitlines()[-1]
    assert "twisted and trustme" in last and "txmembio[demo]" in last
    assert not done.stderr
