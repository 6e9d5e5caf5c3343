"""`txmembio.install`: names, order, all or nothing; and who has imported what. The targets have tests of their own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

import txmembio
from support.process import DEADLINE, environment
from txmembio import switch
from txmembio.switch import _importers

Log = list[str]


class Fake(ModuleType):
    """A target's module that writes down what happens to it."""

    def __init__(self, name: str, log: Log) -> None:
        super().__init__(f"txmembio.switch._{name}")
        self.target = name
        self.log = log
        self.done = False
        self.check_fails = self.apply_fails = False

    def check(self) -> None:
        self.log.append(f"check {self.target}")
        if self.check_fails:
            raise txmembio.InstallError(f"{self.target} is not there")

    def apply(self) -> Callable[[], None]:
        if self.apply_fails:
            raise txmembio.InstallError(f"{self.target} has failed")
        self.log.append(f"apply {self.target}")
        self.done = True
        return self.undo

    def undo(self) -> None:
        self.log.append(f"undo {self.target}")
        self.done = False

    def applied(self) -> bool:
        return self.done


@pytest.fixture
def targets(monkeypatch: pytest.MonkeyPatch) -> dict[str, Fake]:
    """All targets, without what they do."""
    log: Log = []
    fakes = {target: Fake(target, log) for target in switch.TARGETS}
    for target, module in switch.TARGETS.items():
        monkeypatch.setitem(sys.modules, f"txmembio.switch.{module}", fakes[target])
    return fakes


def log(targets: dict[str, Fake]) -> Log:
    return targets["ssl"].log


def done(targets: dict[str, Fake]) -> set[str]:
    return {name for name, fake in targets.items() if fake.done}


def run(source: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", source], cwd=folder, env=environment(), capture_output=True, text=True, timeout=DEADLINE
    )


def test_what_is_said_of_a_target_that_there_is_not() -> None:
    with pytest.raises(ValueError, match=r"'pyopenssl' is no target .* 'ssl', 'OpenSSL', 'twisted' or 'tornado'"):
        txmembio.install("ssl", "pyopenssl")
    with pytest.raises(TypeError, match=r"\['ssl'\]"):
        txmembio.install(["ssl"])  # type: ignore[arg-type]


def test_install_error_is_a_runtime_error() -> None:
    assert issubclass(txmembio.InstallError, RuntimeError)


def test_pyopenssl_is_the_default(targets: dict[str, Fake]) -> None:
    txmembio.install()
    assert done(targets) == {"OpenSSL"}


def test_twisted_brings_pyopenssl_along(targets: dict[str, Fake]) -> None:
    txmembio.install("twisted")
    assert done(targets) == {"OpenSSL", "twisted"}


def test_all_is_checked_and_then_applied_in_one_order(targets: dict[str, Fake]) -> None:
    txmembio.install("tornado", "twisted", "ssl", "tornado")
    order = ["ssl", "OpenSSL", "twisted", "tornado"]
    assert log(targets) == [f"check {name}" for name in order] + [f"apply {name}" for name in order]


def test_what_is_there_stays_as_it_is(targets: dict[str, Fake]) -> None:
    txmembio.install("ssl")
    log(targets).clear()
    targets["ssl"].check_fails = True
    txmembio.install("ssl")
    txmembio.install("ssl", "tornado")
    assert log(targets) == ["check tornado", "apply tornado"]


def test_nothing_is_applied_if_one_cannot_be(targets: dict[str, Fake]) -> None:
    targets["tornado"].check_fails = True
    with pytest.raises(txmembio.InstallError, match="tornado is not there"):
        txmembio.install("ssl", "tornado")
    assert not done(targets)
    assert not [entry for entry in log(targets) if entry.startswith("apply")]


def test_what_was_applied_is_undone_if_another_fails(targets: dict[str, Fake]) -> None:
    targets["tornado"].apply_fails = True
    with pytest.raises(txmembio.InstallError, match="tornado has failed"):
        txmembio.install("ssl", "twisted", "tornado")
    assert not done(targets)
    assert log(targets)[-3:] == ["undo twisted", "undo OpenSSL", "undo ssl"]


def test_what_was_there_before_is_not_undone(targets: dict[str, Fake]) -> None:
    txmembio.install("ssl")
    targets["tornado"].apply_fails = True
    with pytest.raises(txmembio.InstallError):
        txmembio.install("ssl", "OpenSSL", "tornado")
    assert done(targets) == {"ssl"}


def test_it_can_be_tried_again(targets: dict[str, Fake]) -> None:
    targets["tornado"].apply_fails = True
    with pytest.raises(txmembio.InstallError):
        txmembio.install("tornado")
    targets["tornado"].apply_fails = False
    txmembio.install("tornado")
    assert done(targets) == {"tornado"}


def test_naming_it_imports_nothing(tmp_path: Path) -> None:
    """Neither a framework nor a target; `ssl` least of all."""
    source = "import sys, txmembio; before = set(sys.modules); txmembio.install; print(*(set(sys.modules) - before))"
    imported = run(source, tmp_path).stdout.split()
    assert "txmembio.switch" in imported
    assert not {name.split(".")[0] for name in imported} & {"ssl", "asyncio", "twisted", "tornado", "OpenSSL", "socket"}
    assert not [name for name in imported if name.startswith("txmembio.switch.")]


# Who has imported a module

MODULES = {
    "sought": "class Thing: pass\ndef function(): pass",
    "by_name": "import sought",
    "by_other_name": "import sought as other",
    "by_class": "from sought import Thing",
    "by_function": "from sought import function",
    "package/__init__": "",
    "package/part": "",
    "by_part": "import package.part",
    "late": "def use():\n    import sought",
    "lazily": "class Proxy:\n    @property\n    def __class__(self): raise RuntimeError\n"
    "    def __getattr__(self, name): raise RuntimeError\nproxy = Proxy()\n"
    "def __getattr__(name): raise RuntimeError",
}


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, source in MODULES.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / f"{name}.py").write_text(source)
    return tmp_path


@pytest.mark.parametrize(
    ("imports", "name", "expected"),
    [
        ("by_name", "sought", "by_name"),
        ("by_other_name", "sought", "by_other_name"),
        ("by_class", "sought", "by_class"),
        ("by_function", "sought", "by_function"),
        ("by_part", "package", "by_part"),
        ("lazily, by_name, by_class", "sought", "by_name"),
        ("sought", "sought", "__main__"),
        ("lazily", "sought", None),
        ("late; late.use()", "sought", None),
    ],
)
def test_the_first_importer_is_found(imports: str, name: str, expected: str | None, modules: Path) -> None:
    source = f"import {imports}\nfrom txmembio.switch._importers import importer\nprint(importer({name!r}))"
    done = run(source, modules)
    assert (done.stdout.strip(), done.stderr) == (str(expected), "")


def test_the_first_importer_is_the_one_that_stands_before(modules: Path) -> None:
    """Who imports somebody that imports it, and then imports it, too, was not the first."""
    (modules / "outer.py").write_text("import by_name\nimport sought")
    source = "import outer\nfrom txmembio.switch._importers import importers\nprint(*importers('sought'))"
    assert run(source, modules).stdout.split() == ["by_name", "outer"]


def test_of_this_process() -> None:
    assert __name__ in _importers.importers("pytest")
    assert _importers.importers("no_such_module") == []
