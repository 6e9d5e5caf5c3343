"""`python -m txmembio run`: the switch, and then a program that knows nothing of it, as `python` would run it.

Nothing here may import `ssl`, or anything that does: then it could not be replaced.
"""

from __future__ import annotations

import builtins
import os
import pkgutil
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from importlib.machinery import BYTECODE_SUFFIXES, SourceFileLoader, SourcelessFileLoader
from pathlib import Path
from runpy import _run_module_as_main  # type: ignore[attr-defined]  # what `python -m` itself calls
from types import CodeType, ModuleType, TracebackType
from typing import NoReturn

import txmembio
from txmembio.switch.children import sitecustomize

__all__ = ["main", "split"]

NO_SUCH_FILE = 2
"""Python's exit status for a script that cannot be opened."""

_OURS = vars(sys.modules["__main__"])
"""What a `__main__` has in this Python."""


def split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The command with its own options, and what follows: SCRIPT or `-m MODULE`, with its arguments."""
    end = 1
    while end < len(arguments) and arguments[end].startswith("-") and not arguments[end].startswith("-m"):
        end += 2 if arguments[end] == "--install" else 1
    return list(arguments[:end]), list(arguments[end:])


def main(targets: Sequence[str], with_children: bool, program: Sequence[str]) -> int:
    """Installs `targets`, in children that are Pythons too if that is asked for, and becomes the program. Returns 1 if
    the switch cannot be made, else not before the program ends; raises what it raises."""
    try:
        if targets:
            txmembio.install(*targets)
    except txmembio.InstallError as error:
        print(f"txmembio run failed: {error}", file=sys.stderr)
        return 1
    if with_children and targets:
        include_children(targets)
    first, *rest = program
    if first.startswith("-m"):
        module, *rest = [first[2:], *rest] if first != "-m" else rest
        run_module(module, rest)
    else:
        run_script(first, rest)
    return 0


def include_children(targets: Sequence[str]) -> None:
    """Has the environment say it to Pythons that are started from here on, and to theirs."""
    folder = os.path.dirname(os.path.abspath(sitecustomize.__file__))
    others = [entry for entry in os.environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != folder]
    os.environ["PYTHONPATH"] = os.pathsep.join([folder, *others])
    os.environ[sitecustomize.TOLD] = f"{','.join(targets)}:{sys.prefix}"
    if folder not in sys.path:
        # Where PYTHONPATH's folders are. `trial -j` makes the PYTHONPATH of its workers from what is here.
        sys.path.insert(_has_our_folder(), folder)


def run_module(name: str, arguments: Sequence[str]) -> None:
    """`python -m name arguments…`. The first folder of `sys.path` is the right one: it was found for us by the same
    rule."""
    sys.argv[:] = ["-m", *arguments]
    _in_main(lambda: _run_module_as_main(name))


def run_script(path: str, arguments: Sequence[str]) -> None:
    """`python path arguments…`: source, or bytecode, or a folder or a zip file with `__main__` in it."""
    sys.argv[:] = [path, *arguments]
    file = _absolute(path)
    if pkgutil.get_importer(file) is not None:
        # Even for `python -P`: it is there that `__main__` is to be found.
        sys.path[: _has_our_folder()] = [file]
        _in_main(lambda: _run_module_as_main("__main__", alter_argv=False))
    else:
        code, loader = _code(file)
        if _has_our_folder():
            sys.path[0] = os.path.dirname(os.path.realpath(file))
        _in_main(partial(_run_code, code, loader, file))


def _has_our_folder() -> bool:
    """Whether Python has put a folder of its choice before all others in `sys.path`: not if it was told not to."""
    return not (sys.flags.isolated or getattr(sys.flags, "safe_path", False))


def _absolute(path: str) -> str:
    """The path as Python gives it to the script it runs: os.path.abspath() would tidy it up, as Pythons from 3.11 on do
    for one path only."""
    return os.getcwd() if path == "." and sys.version_info >= (3, 11) else os.path.join(os.getcwd(), path)


def _code(file: str) -> tuple[CodeType, object]:
    """A script's code, and the loader that Python would name. Exits for a file that cannot be read."""
    if file.endswith(tuple(BYTECODE_SUFFIXES)):
        loader = SourcelessFileLoader("__main__", file)
        try:
            code = loader.get_code("__main__")
        except OSError as error:
            _cannot_open(file, error)
        assert code is not None
        return code, loader
    try:
        source = Path(file).read_bytes()
    except OSError as error:
        _cannot_open(file, error)
    with _only_their_frames():
        return compile(source, file, "exec", dont_inherit=True), SourceFileLoader("__main__", file)


def _cannot_open(file: str, error: OSError) -> NoReturn:
    print(f"{sys.executable}: can't open file {file!r}: [Errno {error.errno}] {error.strerror}", file=sys.stderr)
    sys.exit(NO_SUCH_FILE)


def _run_code(code: CodeType, loader: object, file: str) -> None:
    namespace = vars(sys.modules["__main__"])
    namespace.update(__loader__=loader, __file__=file)
    if "__cached__" in _OURS:
        namespace["__cached__"] = None
    exec(code, namespace)


def _in_main(run: Callable[[], object]) -> None:
    """Calls `run` with a `__main__` that is as new."""
    main = sys.modules["__main__"] = ModuleType("__main__")
    namespace: dict[str, object] = {"__builtins__": builtins, "__annotations__": {}}  # the latter in older Pythons
    vars(main).update((name, value) for name, value in namespace.items() if name in _OURS)
    with _only_their_frames():
        run()


@contextmanager
def _only_their_frames() -> Iterator[None]:
    """An exception that ends the program is shown as Python would show it: without our part of its traceback. It is
    raised all the same, so that Python ends as it does for exceptions of its kind."""
    try:
        yield
    except SystemExit:
        raise
    except BaseException as error:
        last = error  # a name that outlives this block
        traceback = error.__traceback__
        while traceback is not None and traceback.tb_frame.f_code.co_filename == __file__:
            traceback = traceback.tb_next
        hook = sys.excepthook

        def show(kind: type[BaseException], value: BaseException, whole: TracebackType | None) -> None:
            sys.excepthook = hook
            if value is last:
                value, whole = value.with_traceback(traceback), traceback
                sys.last_traceback = whole
            hook(kind, value, whole)

        sys.excepthook = show
        raise
