"""`python -m txmembio run`: programs cannot tell it from `python`, but for what was installed."""

from __future__ import annotations

import importlib
import json
import os
import py_compile
import re
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

from support.process import DEADLINE, environment
from txmembio.cli import main
from txmembio.switch.children import sitecustomize

#: Says all that a program can see of how it was started, but for the Python's own command line.
PROBE = """
import json, sys
import neighbour
print(json.dumps({
    "globals": {name: repr(value) for name, value in sorted(globals().items())},
    "argv": sys.argv,
    "path": sys.path,
    "is main": sys.modules["__main__"].__dict__ is globals(),
    "neighbour": neighbour.__file__,
    "stdin": sys.stdin.read(),
}))
"""

#: What is run, in the folder that `programs` makes.
PROGRAMS = {
    "script": ["script.py"],
    "script in a folder": ["below/script.py"],
    "script by ./": ["./script.py"],
    "script by ..": ["below/../script.py"],
    "script by its whole path": ["{folder}/script.py"],
    "link": ["link.py"],
    "bytecode": ["compiled.pyc"],
    "folder": ["application"],
    "folder by ./": ["./application"],
    "folder by ..": ["below/../application"],
    "folder with a slash": ["application/"],
    "this folder": ["."],
    "zip file": ["application.zip"],
    "module": ["-m", "script"],
    "module, in one word": ["-mscript"],
    "module in a package": ["-m", "package.module"],
    "package": ["-m", "package"],
}

ARGUMENTS = ["-m", "--install", "ssl", "--children", "", "*", "--", "-h"]

#: Programs that end, each in its way.
ENDS = {
    "well": "",
    "with a status": "import sys; sys.exit(3)",
    "with a text": "import sys; sys.exit('that was it')",
    "with SystemExit": "raise SystemExit",
    "with an exception": "def fail(): raise LookupError('gone')\nfail()",
    "with an exception that has a cause": "try: [][1]\nexcept IndexError as error: raise OSError('gone') from error",
    "with an exception from elsewhere": "import json; json.loads('{')",
    "with an exception raised twice": "error = OSError('gone')\ntry: raise error\nexcept OSError: raise error",
    "with a syntax error": "first = 1\nsecond = (",
    "with bad indentation": "if True:\nFalse",
    "with an import that fails": "import no_such_module",
    "with a hook for exceptions": "import sys\n"
    "sys.excepthook = lambda *error: print(error[:2], error[2].tb_lineno)\n[][1]",
    "with things left to do": "import atexit, threading\natexit.register(print, 'done')\n"
    "threading.Timer(0, lambda: print(__name__)).start()\n[][1]",
    "with a look at its traceback": "import atexit, sys, traceback\n"
    "atexit.register(lambda: print(traceback.format_tb(sys.last_traceback)))\n[][1]",
    "by a signal": "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\nsignal.pause()",
    "at once": "import os; os._exit(5)",
}


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of programs that are all the same, and of what they import."""
    folder = tmp_path_factory.mktemp("programs")
    for name in ("below", "application", "package", "elsewhere"):
        (folder / name).mkdir()
        (folder / name / "neighbour.py").touch()
    (folder / "neighbour.py").touch()
    for name in ("script", "__main__", "below/script", "application/__main__", "elsewhere/script"):
        (folder / f"{name}.py").write_text(PROBE)
    for name in ("package/__main__", "package/module"):
        (folder / f"{name}.py").write_text(PROBE)
    (folder / "package" / "__init__.py").touch()
    (folder / "link.py").symlink_to(Path("elsewhere", "script.py"))
    py_compile.compile(str(folder / "script.py"), cfile=str(folder / "compiled.pyc"))
    with zipfile.ZipFile(folder / "application.zip", "w") as archive:
        archive.writestr("__main__.py", PROBE)
        archive.writestr("neighbour.py", "")
    return folder


def run(
    folder: Path, *arguments: str, options: tuple[str, ...] = (), text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """`python …` in `folder`, ended."""
    return subprocess.run(
        [sys.executable, *options, *arguments],
        cwd=folder,
        env=environment() | variables,
        input=text,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
    )


def under_switch(
    folder: Path, *arguments: str, options: tuple[str, ...] = (), text: str = "", **variables: str
) -> subprocess.CompletedProcess[str]:
    """The same by way of `run`, with nothing installed."""
    arguments = ("-m", "txmembio", "run", "--install=", *arguments)
    return run(folder, *arguments, options=options, text=text, **variables)


def without_addresses(text: str) -> str:
    return re.sub(r"0x[0-9a-f]+", "0x", text)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
@pytest.mark.parametrize("option", [(), ("-P",), ("-O", "-X", "dev")], ids=lambda option: "".join(option) or "plain")
def test_a_program_is_started_as_python_would(program: list[str], option: tuple[str, ...], programs: Path) -> None:
    if "-P" in option and sys.version_info < (3, 11):
        pytest.skip("Python 3.11 is the first with -P")
    command = [part.format(folder=programs) for part in program] + ARGUMENTS
    expected = run(programs, *command, options=option, text="typed")
    done = under_switch(programs, *command, options=option, text="typed")
    assert without_addresses(done.stdout) == without_addresses(expected.stdout)
    assert (done.returncode, done.stderr) == (expected.returncode, expected.stderr)
    if "-P" not in option:
        assert json.loads(done.stdout)["argv"][1:] == ARGUMENTS


@pytest.mark.parametrize("source", ENDS.values(), ids=ENDS)
@pytest.mark.parametrize("as_module", [False, True], ids=["script", "module"])
def test_a_program_ends_as_under_python(source: str, as_module: bool, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(source, errors="surrogateescape")
    command = ["-m", "program"] if as_module else ["program.py"]
    expected = run(tmp_path, *command)
    done = under_switch(tmp_path, *command)
    assert (done.returncode, done.stdout, done.stderr) == (expected.returncode, expected.stdout, expected.stderr)


@pytest.mark.parametrize("source", ["# coding: nonesuch", "'\udcff'"], ids=["encoding", "bytes"])
def test_source_that_is_no_text_is_refused(source: str, tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(source, errors="surrogateescape")
    expected = run(tmp_path, "program.py")
    done = under_switch(tmp_path, "program.py")
    assert done.returncode == expected.returncode == 1
    for told in (expected.stderr, done.stderr):
        assert "SyntaxError: " in told and "Traceback" not in told and "run.py" not in told


@pytest.mark.parametrize(
    "program",
    [
        ["nowhere.py"],
        ["nowhere/at/all.py"],
        ["nowhere.pyc"],
        ["-m", "nowhere"],
        ["-m", "nowhere.at.all"],
        ["-m", "empty"],
        ["-m", "neighbour.module"],
        ["empty"],
        ["unreadable.pyc"],
    ],
    ids=" ".join,
)
def test_what_cannot_be_run_is_said_as_python_does(program: list[str], tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "__init__.py").touch()
    (tmp_path / "neighbour.py").touch()
    (tmp_path / "unreadable.pyc").write_bytes(b"no bytecode")
    expected = run(tmp_path, *program)
    done = under_switch(tmp_path, *program)
    assert expected.returncode
    assert done.returncode == expected.returncode
    assert done.stdout == expected.stdout
    if "unreadable" not in program[0]:  # Python says that from C, in other words
        assert done.stderr == expected.stderr


def test_objects_of_the_program_can_be_pickled_and_sent_to_processes(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        """
import multiprocessing, pickle

class Thing:
    def double(self, number): return 2 * number

if __name__ == "__main__":
    thing = pickle.loads(pickle.dumps(Thing()))
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        print(pool.map(thing.double, [1, 2, 3]))
"""
    )
    for command in (["program.py"], ["-m", "program"]):
        done = under_switch(tmp_path, *command)
        assert (done.stdout, done.stderr) == ("[2, 4, 6]\n", "")


def test_nothing_that_could_be_replaced_is_imported_before(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text("import sys; print(*sorted(sys.modules))")
    for command in (["program.py"], ["-m", "program"]):
        before = set(under_switch(tmp_path, *command).stdout.split())
        assert "txmembio" in before
        packages = {name.split(".")[0] for name in before}
        assert not packages & {"ssl", "asyncio", "http", "OpenSSL", "twisted", "tornado", "zope", "cryptography"}


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ([], "SCRIPT or -m MODULE expected"),
        (["-m"], "SCRIPT or -m MODULE expected"),
        (["--install=ssl"], "SCRIPT or -m MODULE expected"),
        (["--install", "openssl", "x.py"], "'openssl' is no target of install(): expected 'ssl', 'OpenSSL', "),
        (["--instal=ssl", "x.py"], "--instal=ssl"),
        (["-x", "x.py"], "-x"),
        (["--install"], "--install"),
    ],
)
def test_arguments_that_make_no_sense(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", *arguments])
    assert ended.value.code == 2
    told = capsys.readouterr().err.splitlines()
    assert told[0].startswith("usage: python -m txmembio ")
    assert complaint in told[-1]


def test_help_is_its_own_before_the_program(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["run", "--help", "x.py"])
    assert ended.value.code == 0
    assert "--children" in capsys.readouterr().out


# Children

#: Says what is installed here, and in a child, and in a child of that, and in processes of `multiprocessing`.
GENERATIONS = """
import multiprocessing, os, subprocess, sys

def installed():
    tornado = sys.modules.get("txmembio.switch._tornado")
    return tornado is not None and tornado.applied()

if __name__ == "__main__":
    print("here" if len(sys.argv) == 1 else sys.argv[1], installed(), flush=True)
    if len(sys.argv) == 1:
        subprocess.run([sys.executable, __file__, "child"])
        context = multiprocessing.get_context("spawn")
        with context.Pool(1) as pool:
            print("spawned", pool.apply(installed), flush=True)
    elif sys.argv[1] == "child":
        subprocess.run([sys.executable, __file__, "grandchild"])
        subprocess.run([sys.executable, "-I", __file__, "isolated"])
        subprocess.run([sys.executable, __file__, "freed"], env={**os.environ, "PYTHONPATH": ""})
"""

SITECUSTOMIZE = Path(sitecustomize.__file__)


@pytest.fixture
def generations(tmp_path: Path) -> Path:
    pytest.importorskip("tornado", reason="Tornado is not installed")
    (tmp_path / "program.py").write_text(GENERATIONS)
    return tmp_path


def test_children_are_as_they_were(generations: Path) -> None:
    done = run(generations, "-m", "txmembio", "run", "--install", "tornado", "program.py")
    assert done.stdout.split("\n")[:-1] == [
        "here True",
        "child False",
        "grandchild False",
        "isolated False",
        "freed False",
        "spawned False",
    ]
    assert not done.stderr


def test_children_can_be_included(generations: Path) -> None:
    """But not those that are told not to look at their environment, or that get another."""
    done = run(generations, "-m", "txmembio", "run", "--install=tornado", "--children", "program.py")
    assert done.stdout.split("\n")[:-1] == [
        "here True",
        "child True",
        "grandchild True",
        "isolated False",
        "freed False",
        "spawned True",
    ]
    assert not done.stderr


def test_a_child_finds_all_else_as_it_would_be(generations: Path) -> None:
    """Its path, and the `sitecustomize` that there is."""
    customs = generations / "customs"
    customs.mkdir()
    (customs / "sitecustomize.py").write_text("import sys; custom = list(sys.path)")
    (generations / "program.py").write_text(
        "import subprocess, sys; subprocess.run([sys.executable, 'child.py'], check=True)"
    )
    (generations / "child.py").write_text(
        "import json, sitecustomize, sys\n"
        "print(json.dumps([sitecustomize.__file__, sitecustomize.custom, sitecustomize.__spec__.origin, sys.path]))\n"
        "print('txmembio' in sys.modules)"
    )
    path = os.pathsep.join([str(customs), environment()["PYTHONPATH"]])
    expected = run(generations, "program.py", PYTHONPATH=path).stdout.splitlines()
    command = ("-m", "txmembio", "run", "--install=tornado", "--children", "program.py")
    done = run(generations, *command, PYTHONPATH=path)
    assert done.stdout.splitlines() == [expected[0], "True"]
    assert expected[1] == "False"
    assert str(customs) in expected[0] and not done.stderr


def test_what_children_are_told_does_not_pile_up(tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="Tornado is not installed")
    (tmp_path / "program.py").write_text("import os; print(os.environ['PYTHONPATH'], os.environ['TXMEMBIO_CHILDREN'])")
    command = ["-m", "txmembio", "run", "--install=tornado", "--children"]
    once = run(tmp_path, *command, "program.py").stdout
    twice = run(tmp_path, *command, *command, "program.py").stdout
    assert once == twice
    assert once.split()[0] == os.pathsep.join([str(SITECUSTOMIZE.parent), environment()["PYTHONPATH"]])


@pytest.mark.parametrize("option", [(), ("-I",)], ids=["as usual", "isolated"])
def test_children_that_are_told_the_path_are_included(option: tuple[str, ...], tmp_path: Path) -> None:
    """By a program that makes their environment from its own `sys.path`. Its first entry is still its own folder."""
    pytest.importorskip("tornado", reason="Tornado is not installed")
    root = environment()["PYTHONPATH"]
    (tmp_path / "program.py").write_text(
        "import json, os, subprocess, sys\n"
        "print(json.dumps(sys.path), flush=True)\n"
        "environment = os.environ | {'PYTHONPATH': os.pathsep.join(sys.path)}\n"
        "subprocess.run([sys.executable, 'child.py'], env=environment, check=True)"
    )
    (tmp_path / "child.py").write_text(
        "import json, sys\nprint(json.dumps(sys.path))\nprint(sys.modules['txmembio.switch._tornado'].applied())"
    )
    command = ["run", "--install=tornado", "--children", "program.py"]
    start = f"import sys; sys.path.append({root!r}); from txmembio.cli import main; sys.exit(main({command!r}))"
    done = run(tmp_path, *(["-c", start] if option else ["-m", "txmembio", *command]), options=option)
    path, path_of_child, applied = done.stdout.splitlines()
    folder = str(SITECUSTOMIZE.parent)
    assert (applied, done.stderr) == ("True", "")
    assert json.loads(path).count(folder) == 1
    assert json.loads(path)[: 1 if option else 2] == ([folder] if option else [str(tmp_path), folder])
    assert folder not in json.loads(path_of_child)


def test_workers_of_trial_are_included(tmp_path: Path) -> None:
    pytest.importorskip("tornado", reason="Tornado is not installed")
    pytest.importorskip("twisted", reason="Twisted is not installed")
    (tmp_path / "test_it.py").write_text(
        "import os, sys\n"
        "from twisted.trial.unittest import TestCase\n"
        "class Tests(TestCase):\n"
        "    def test_where(self):\n"
        "        switch = sys.modules.get('txmembio.switch._tornado')\n"
        "        with open(os.environ['TOLD'], 'a') as told:\n"
        "            print(os.getpid(), switch is not None and switch.applied(), file=told)\n"
        "    test_too = test_three = test_four = test_where\n"
    )
    command = ("-m", "txmembio", "run", "--install=tornado", "--children", "-m", "twisted.trial", "-j2", "test_it")
    done = run(tmp_path, *command, TOLD=str(tmp_path / "told"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line.split()[1] for line in (tmp_path / "told").read_text().splitlines()] == ["True"] * 4


class Elsewhere:
    """An environment of its own, where there is nothing of what there is here but for what `neighbours` names."""

    def __init__(self, folder: Path, *neighbours: str) -> None:
        self.folder = folder / "elsewhere"
        venv.create(self.folder, symlinks=True)
        site_packages = next(self.folder.glob("[Ll]ib/**/site-packages"))
        for name in neighbours:
            origin = importlib.import_module(name).__file__
            assert origin is not None
            path = Path(origin).parent if Path(origin).stem == "__init__" else Path(origin)
            (site_packages / path.name).symlink_to(path)
        python = "Scripts/python.exe" if os.name == "nt" else "bin/python"
        self.python = str(self.folder / python)

    def run(self, source: str, told: str) -> subprocess.CompletedProcess[str]:
        """What comes of a child there."""
        variables = {"PYTHONPATH": str(SITECUSTOMIZE.parent), "TXMEMBIO_CHILDREN": told}
        return subprocess.run(
            [self.python, "-c", source],
            env={**os.environ, **variables},
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )


ASK = "import sys; print('txmembio' in sys.modules, sys.path[1] if sys.path[0] == '' else sys.path[0])"


def test_environments_without_txmembio_are_left_alone(tmp_path: Path) -> None:
    done = Elsewhere(tmp_path).run(ASK, f"tornado:{sys.prefix}")
    assert (done.stdout.split()[0], done.stderr) == ("False", "")
    assert str(SITECUSTOMIZE.parent) not in done.stdout


def test_a_child_finds_the_txmembio_of_its_parent(tmp_path: Path) -> None:
    """Which may have found it in its current folder, where the child's is another."""
    pytest.importorskip("tornado", reason="Tornado is not installed")
    elsewhere = Elsewhere(tmp_path, "tornado", "_cffi_backend")
    done = elsewhere.run(ASK, f"tornado:{elsewhere.folder}")
    assert (done.stdout.split()[0], done.stderr) == ("True", "")
    assert str(SITECUSTOMIZE.parents[3]) not in done.stdout.split()[1:]


def test_a_child_says_what_cannot_be_installed_and_goes_on(tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path, "txmembio", "_cffi_backend")
    done = elsewhere.run(ASK, f"tornado:{elsewhere.folder}")
    assert (done.returncode, done.stdout.split()[0]) == (0, "True")
    assert "InstallError: 'tornado' cannot be installed: there is no Tornado here" in done.stderr


def test_what_cannot_be_installed_ends_the_command(tmp_path: Path) -> None:
    """Before the program begins."""
    (tmp_path / "tornado.py").write_text("version_info = (6, 1, 0, 0); version = '6.1'")
    (tmp_path / "program.py").write_text("print('begun')")
    done = run(tmp_path, "-m", "txmembio", "run", "--install=tornado", "program.py")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "txmembio run failed: 'tornado' cannot be installed: Tornado is 6.1, expected 6.2 or newer\n"
