"""Programs on Twisted's IOCP reactor over the emulated kernel: how they are started, and what it finds in them."""

from __future__ import annotations

import select
import sys
from pathlib import Path

import pytest

from support import iocp
from support.process import Process

if not hasattr(select, "epoll"):
    pytest.skip("the emulation needs epoll", allow_module_level=True)

pytest.importorskip("twisted")

#: Says how it was started, and which kernel is under which reactor.
PROGRAM = """
import sys
from twisted.internet import reactor
from twisted.internet.iocpreactor import iocpsupport
print(__name__, sys.argv, type(reactor).__name__, iocpsupport.recv.__module__)
from support.iocp.kernel import KERNEL
print("faults", KERNEL.faults)
raise SystemExit(3)
"""


def run(*arguments: str, faults: iocp.Faults | None = None, environment: dict[str, str] | None = None) -> Process:
    """The program, when it has ended."""
    process = Process(iocp.command(*arguments), env={**iocp.environment(faults), **(environment or {})})
    with process:
        process.wait()
    return process


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


class TestLauncher:
    def test_a_script(self, program: Path) -> None:
        process = run(str(program), "-m", "argument", faults=iocp.Faults(max_send=5))
        said = process.output.decode().splitlines()
        assert said[0] == f"__main__ {[str(program), '-m', 'argument']} IOCPReactor support.iocp.calls"
        assert said[1] == "faults max_send=5"
        assert process.wait() == 3

    def test_a_script_finds_what_is_beside_it(self, tmp_path: Path) -> None:
        (tmp_path / "beside.py").write_text("name = 'found'", encoding="utf-8")
        (tmp_path / "program.py").write_text("import beside; print(beside.name)", encoding="utf-8")
        process = run(str(tmp_path / "program.py"))
        assert (process.output, process.wait()) == (b"found\n", 0), process.transcript()

    def test_a_module(self, program: Path) -> None:
        environment = iocp.environment()
        environment["PYTHONPATH"] += f":{program.parent}"
        process = run("-m", "program", "argument", environment=environment)
        said = process.output.decode()
        assert said.startswith(f"__main__ {[str(program), 'argument']} IOCPReactor support.iocp.calls\n"), (
            process.errors
        )

    def test_faults_on_the_command_line(self, program: Path) -> None:
        process = run("--faults", "never_at_once", str(program), faults=iocp.Faults(max_send=5))
        assert b"faults never_at_once\n" in process.output

    def test_faults_that_there_are_not(self, program: Path) -> None:
        process = run(str(program), environment={iocp.VARIABLE: "max_send=none"})
        assert "ValueError: TXMEMBIO_IOCP: 'max_send=none'" in process.errors
        assert process.wait() == 1

    @pytest.mark.parametrize("arguments", [[], ["-m"], ["--faults"], ["-x", "y"]])
    def test_no_program(self, arguments: list[str]) -> None:
        assert "usage: python -m support.iocp" in run(*arguments).errors

    def test_another_reactor_is_installed(self, tmp_path: Path) -> None:
        path = tmp_path / "late.py"
        path.write_text(
            "from twisted.internet import selectreactor; selectreactor.install()\n"
            "from support import iocp; iocp.install_reactor()",
            encoding="utf-8",
        )
        with Process([sys.executable, str(path)], env=iocp.environment()) as process:
            process.wait()
        assert "RuntimeError: the reactor of this process is a SelectReactor already" in process.errors

    def test_it_is_installed_late_and_twice(self, tmp_path: Path) -> None:
        """What of Twisted was imported before it knows the errors of Windows all the same."""
        path = tmp_path / "late.py"
        path.write_text(
            "import errno\n"
            "from twisted.internet import error\n"
            "from support import iocp\n"
            "iocp.install_reactor(iocp.Faults(max_send=1)); iocp.install_reactor(iocp.Faults(max_send=2))\n"
            "from support.iocp.kernel import KERNEL\n"
            "print(type(error.getConnectError((errno.WSAECONNREFUSED, ''))).__name__, KERNEL.faults)\n",
            encoding="utf-8",
        )
        with Process([sys.executable, "-W", "error", str(path)], env=iocp.environment()) as process:
            assert process.wait() == 0, process.errors
        assert process.output == b"ConnectionRefusedError max_send=2\n"


class TestTransfer:
    """What the emulation is for: Twisted's code passes, and each of three mistakes in it does not."""

    SETTINGS = {name: faults for name, faults in iocp.SETTINGS.items() if faults.max_receive is None} | {
        "max_receive": iocp.Faults(max_receive=1000),
        "all": iocp.Faults(never_at_once=True, max_send=1000, max_receive=1000, close_code=64),
    }

    @pytest.mark.parametrize("faults", SETTINGS.values(), ids=SETTINGS)
    def test_twisted_as_it_is(self, faults: iocp.Faults) -> None:
        process = run("-m", "support.iocp.transfer", faults=faults)
        assert process.output == b"IOCPReactor intact\n", process.transcript()

    @pytest.mark.parametrize("setting", ["default", "never_at_once"])
    @pytest.mark.parametrize(
        ("mutation", "found"),
        [("count_all_as_sent", "lost"), ("receive_twice", "BufferError"), ("grow_a_buffer", "BufferError")],
    )
    def test_mistakes(self, mutation: str, found: str, setting: str) -> None:
        process = run("-m", "support.iocp.transfer", mutation, faults=self.SETTINGS[setting])
        assert process.output.decode() == f"IOCPReactor {found}\n", process.transcript()


def test_a_process_that_was_forked_has_a_kernel_of_its_own(tmp_path: Path) -> None:
    """While the parent's thread waits for what the child has not asked for."""
    path = tmp_path / "forks.py"
    path.write_text(
        "import os, socket, sys\n"
        "from support import iocp; iocp.install()\n"
        "from support.iocp import calls, kernel\n"
        "def receive():\n"
        "    port, (ours, peer) = kernel.CompletionPort(), socket.socketpair(socket.AF_UNIX)\n"
        "    port.addHandle(ours.fileno()); calls.recv(ours.fileno(), [bytearray(8)], None)\n"
        "    assert kernel.KERNEL.thread.is_alive()\n"
        "    peer.send(b'hello')\n"
        "    return port.getEvent(-1)[:2]\n"
        "first, second = socket.socketpair(); port = kernel.CompletionPort(); port.addHandle(first.fileno())\n"
        "calls.recv(first.fileno(), [bytearray(8)], None)\n"
        "child = os.fork()\n"
        "if not child:\n"
        "    os._exit(0 if receive() == (0, 5) else 1)\n"
        "print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), receive(), port.getEvent(0))\n",
        encoding="utf-8",
    )
    with Process([sys.executable, str(path)], env=iocp.environment()) as process:
        process.wait()
    assert process.output == b"0 (0, 5) (258, 0, 0, None)\n", process.transcript()
