"""The rules that hold the house together: who may import whom. Read from the source, so that lazy imports count."""

from __future__ import annotations

import ast
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import txmembio
from support.process import environment

PACKAGE = Path(txmembio.__file__).parent

#: What stands around the core, by the first part of its name below `txmembio`.
ADAPTERS = {"twisted", "tornado"}
FACADES = {"ssl", "OpenSSL", "pep748"}
TOOLS = {"__main__", "cli", "switch"}
EDGE = ADAPTERS | FACADES | TOOLS

#: What the core must not import: frameworks, sockets, and whatever would bring the standard library's `ssl` along.
FORBIDDEN_IN_CORE = {"twisted", "tornado", "zope", "OpenSSL", "asyncio", "http", "select", "selectors", "socket", "ssl"}


def modules() -> dict[str, Path]:
    """The package's modules by their name below `txmembio` (`""` is the package itself)."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def imports(module: str, path: Path) -> Iterator[tuple[str, str | None]]:
    """Everything `module` imports, absolute: (module, name), the name being None for `import module`."""
    package = ["txmembio", *filter(None, module.split("."))]
    if path.name != "__init__.py":
        package.pop()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else []
            source = ".".join(base + ([node.module] if node.module else []))
            yield from ((source, alias.name) for alias in node.names)


def own_imports(module: str, path: Path) -> Iterator[str]:
    """Which of the package's own modules `module` imports, by their name below `txmembio`."""
    known = modules()
    for source, name in imports(module, path):
        if source.split(".")[0] != "txmembio":
            continue
        below = source.partition(".")[2]
        submodule = f"{below}.{name}" if below else name or ""
        yield submodule if submodule in known or submodule == "_openssl._lib" else below


def layer(module: str) -> str:
    """The first part of the name: what the rules speak of."""
    return module.split(".")[0]


CORE = {name: path for name, path in modules().items() if layer(name) not in EDGE}
SURROUNDINGS = {name: path for name, path in modules().items() if layer(name) in EDGE}


def test_the_map_is_the_house() -> None:
    """The core exists, and every name the rules use is spelled as the folder is: a rule about nothing would always
    hold.
    """
    assert {"", "connection", "context", "errors"} <= set(CORE)
    assert "twisted" in {layer(name) for name in SURROUNDINGS}


@pytest.mark.parametrize("module", CORE)
def test_core_imports_no_framework_no_socket_and_no_standard_ssl(module: str) -> None:
    imported = {source.split(".")[0] for source, _ in imports(module, CORE[module])}
    assert not imported & FORBIDDEN_IN_CORE


@pytest.mark.parametrize("module", sorted(set(CORE) - {""}))
def test_core_imports_no_facade_adapter_or_tool(module: str) -> None:
    assert not {layer(other) for other in own_imports(module, CORE[module])} & EDGE


def test_package_itself_imports_no_facade_or_adapter() -> None:
    """But for `switch`, for the sake of `txmembio.install`; it is light, and fetched when that is asked for."""
    assert {layer(other) for other in own_imports("", CORE[""])} & EDGE <= {"switch"}


@pytest.mark.parametrize("module", SURROUNDINGS)
def test_only_the_core_imports_the_c_side(module: str) -> None:
    assert not [other for other in own_imports(module, SURROUNDINGS[module]) if layer(other) == "_openssl"]


@pytest.mark.parametrize("module", [name for name in SURROUNDINGS if layer(name) in ADAPTERS | FACADES])
def test_surroundings_use_only_public_names_of_the_core(module: str) -> None:
    """Neither a private module nor a private name of another layer is imported, and no private attribute of the core is
    touched.
    """
    private = []
    for source, name in imports(module, SURROUNDINGS[module]):
        parts = source.split(".")
        if parts[0] != "txmembio" or parts[1:2] == [layer(module)]:
            continue
        private += [part for part in [*parts, name or ""] if part.startswith("_")]
    assert not private
    touched = {
        f"{ast.unparse(node.value)}.{node.attr}"
        for node in ast.walk(ast.parse(SURROUNDINGS[module].read_text(encoding="utf-8")))
        if isinstance(node, ast.Attribute)
        and node.attr in PRIVATE_ATTRIBUTES_OF_THE_CORE
        and not (isinstance(node.value, ast.Name) and node.value.id in {"self", "cls"})
    }
    assert not touched


def _private_attributes_of_the_core() -> set[str]:
    """Names like `_ssl` that core classes give to their instances or methods."""
    found = set()
    for path in CORE.values():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef):
                found.add(node.name)
            elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "self":
                found.add(node.attr)
    return {name for name in found if name.startswith("_") and not name.startswith("__")}


PRIVATE_ATTRIBUTES_OF_THE_CORE = _private_attributes_of_the_core()


@pytest.mark.parametrize("module", [name for name in SURROUNDINGS if layer(name) in ADAPTERS])
def test_adapters_do_not_know_each_other(module: str) -> None:
    others = ADAPTERS - {layer(module)}
    assert not {layer(other) for other in own_imports(module, SURROUNDINGS[module])} & others
    assert not {source.split(".")[0] for source, _ in imports(module, SURROUNDINGS[module])} & others


@pytest.mark.parametrize("module", modules())
def test_nothing_imports_pyopenssl(module: str) -> None:
    assert "OpenSSL" not in {source.split(".")[0] for source, _ in imports(module, modules()[module])}


#: Run in a fresh interpreter: the state that an import could change, before and after `import txmembio`.
SNAPSHOT = """
import atexit, builtins, gc, json, os, signal, sys, threading, warnings

def state():
    return {
        "meta_path": list(map(repr, sys.meta_path)),
        "path": list(sys.path),
        "path_hooks": list(map(repr, sys.path_hooks)),
        "filters": list(map(repr, warnings.filters)),
        "signals": {int(number): repr(signal.getsignal(number)) for number in signal.valid_signals()},
        "hooks": list(map(repr, (sys.excepthook, sys.unraisablehook, threading.excepthook, sys.displayhook))),
        "atexit": atexit._ncallbacks(),
        "gc callbacks": len(gc.callbacks),
        "builtins": sorted(vars(builtins)),
        "environment": dict(os.environ),
        "threads": threading.active_count(),
        "recursion limit": sys.getrecursionlimit(),
        "switch interval": sys.getswitchinterval(),
    }

before = state()
modules = set(sys.modules)
import txmembio
print(json.dumps({"before": before, "after": state(), "imported": sorted(set(sys.modules) - modules)}))
"""


def test_importing_txmembio_changes_nothing_anywhere() -> None:
    done = subprocess.run(
        [sys.executable, "-c", SNAPSHOT], env=environment(), capture_output=True, text=True, check=True
    )
    seen = json.loads(done.stdout)
    assert seen["after"] == seen["before"]
    assert not {name.split(".")[0] for name in seen["imported"]} & FORBIDDEN_IN_CORE
    assert not [name for name in seen["imported"] if name.startswith("txmembio.") and layer(name[9:]) in EDGE]
