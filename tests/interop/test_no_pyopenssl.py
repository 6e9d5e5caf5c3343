"""No frame of txmembio ever asks for `OpenSSL`: watched where pyOpenSSL is installed, where it is not, and where it
would break whoever asks.

The programs run under `support/import_watch.py`, which breaks the import and says whose it was.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import txmembio
from support import blocking, peers
from support.peers import TWIST, TWISTED_LINES, escape
from support.pki import PKI
from support.process import Process, environment

IMPORT_WATCH = Path(peers.__file__).with_name("import_watch.py")

AGENT_FETCH = IMPORT_WATCH.with_name("agent_fetch.py")

REQUEST = b"".join(b"%040d is a number\n" % number for number in range(30))

#: How the watch's own test makes txmembio ask: the watch must see what it is there to see.
PLANTED = "import txmembio\nexec(compile('import OpenSSL', 'planted', 'exec'), {'__name__': 'txmembio.planted'})\n"


@pytest.fixture(params=["without pyOpenSSL", "with pyOpenSSL", "with pyOpenSSL, Twisted's own imports done"])
def watched_python(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[list[str], dict[str, str]]:
    """The beginning of a command line, and its environment: a Python that runs a program under watch."""
    if request.param == "without pyOpenSSL":
        env = environment()
        asked = subprocess.run([sys.executable, "-c", "import OpenSSL"], env=env, capture_output=True)
        if asked.returncode == 0:
            pytest.skip("pyOpenSSL is installed in the environment of the tests")
        return [sys.executable, str(IMPORT_WATCH)], env
    # The environment of the pyOpenSSL peer sees this txmembio and no other package of ours.
    package = Path(txmembio.__file__).parent
    (tmp_path / "twisted" / "plugins").mkdir(parents=True)
    (tmp_path / "txmembio").symlink_to(package, target_is_directory=True)
    plugin = "txmembio_endpoints.py"
    (tmp_path / "twisted" / "plugins" / plugin).write_bytes(
        (package.parent / "twisted" / "plugins" / plugin).read_bytes()
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path), "PYTHONUNBUFFERED": "1"}
    python = peers.pyopenssl_python()
    subprocess.run([python, "-c", "import OpenSSL, txmembio"], env=env, check=True)
    return [python, str(IMPORT_WATCH)] + (["--preload"] if "imports done" in request.param else []), env


Watched = tuple[list[str], dict[str, str]]


def test_the_watch_sees_what_it_is_there_to_see(watched_python: Watched, tmp_path: Path) -> None:
    command, env = watched_python
    program = tmp_path / "planted.py"
    program.write_text(PLANTED)
    with Process([*command, str(program)], env=env) as process:
        assert process.wait() != 0
    assert "OpenSSL asked for by txmembio.planted" in process.errors


def test_nothing_asks_for_pyopenssl_in_a_conversation(watched_python: Watched, pki: PKI) -> None:
    """Server and client, each under watch, over `membiotls:` both."""
    command, env = watched_python
    server = f"membiotls:0:interface=127.0.0.1:{peers.escaped_files(pki.server)}"
    with Process([*command, str(TWISTED_LINES), "serve", server], env=env) as serving:
        port = int(serving.wait_for(r"port (\d+)").group(1))
        client = f"membiotls:localhost:{port}:endpoint={escape(f'tcp:127.0.0.1:{port}')}:trustRoots={escape(pki.roots)}"
        with Process([*command, str(TWISTED_LINES), "converse", client], env=env) as asking:
            asking.stdin.write(REQUEST)
            asking.stdin.close()
            assert asking.wait() == 0, asking.transcript()
        assert asking.output == blocking.reverse_lines(REQUEST)
    assert "asked for" not in serving.errors + asking.errors


def test_nothing_asks_for_pyopenssl_in_twist_web_or_agent(watched_python: Watched, pki: PKI, tmp_path: Path) -> None:
    command, env = watched_python
    (tmp_path / "page").write_bytes(REQUEST)
    listen = f"membiotls:0:interface=127.0.0.1:{peers.escaped_files(pki.server)}"
    program = [*command, str(TWIST), "web", f"--listen={listen}", "--path", str(tmp_path)]
    with Process(program, env=env, cwd=tmp_path) as site:
        port = int(site.wait_for(r"Site .*starting on (\d+)").group(1))
        options = ["--cacert", pki.ca.certificate_file, "--resolve", f"localhost:{port}:127.0.0.1"]
        with peers.curl(*options, f"https://localhost:{port}/page") as fetching:
            assert fetching.wait() == 0, fetching.transcript()
        assert fetching.output == REQUEST
        url = f"https://localhost:{port}/page"
        with Process([*command, str(AGENT_FETCH), url, pki.ca.certificate_file], env=env) as agent:
            assert agent.wait() == 0, agent.transcript()
        assert agent.output == REQUEST
    assert "asked for" not in site.errors + site.output.decode() + agent.errors
