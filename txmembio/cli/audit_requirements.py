"""Which installed distributions require another one, read from their metadata (PEP 566) alone.

A requirement may hold always, or with an extra; and an extra counts as asked for when another requirement that counts
names it: `treq` requires `Twisted[tls]`, and so, through Twisted, pyOpenSSL. `pip check` does not look at extras.
"""

from __future__ import annotations

import ast
import operator
import os
import platform
import re
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from typing import Any

__all__ = ["Requirement", "applies", "name_of", "normalized", "requirements_of"]

REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][\w.-]*)\s*(?:\[([^\]]*)\])?\s*([^;]*?)\s*(?:;(.*))?", re.DOTALL)
"""Name, extras, versions or an address, marker (PEP 508)."""

VERSIONS = {"python_version", "python_full_version", "implementation_version", "platform_release"}
"""The variables of markers that are compared as versions, not as texts."""

COMPARISONS: dict[type[ast.cmpop], Callable[[Any, Any], bool]] = {
    ast.Eq: operator.eq,
    ast.NotEq: operator.ne,
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}


@dataclass(frozen=True)
class Requirement:
    """An installed distribution that requires the one that was asked about.

    `requires` is its requirement, without the marker. `extras` is empty if it is always required; else those of its
    extras that bring it and that other installed distributions, `asked_by`, ask for; or all that would bring it, if
    none does.
    """

    distribution: str
    version: str
    requires: str
    extras: tuple[str, ...]
    asked_by: tuple[str, ...]

    @property
    def holds(self) -> bool:
        """Whether it is required by what is installed, not just by an extra that nobody has asked for."""
        return not self.extras or bool(self.asked_by)


@dataclass(frozen=True)
class _Line:
    """A Requires-Dist line whose marker may hold."""

    name: str
    extras: tuple[str, ...]
    text: str
    marker: str


def normalized(name: str) -> str:
    """The one spelling of a distribution's or an extra's name (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def name_of(distribution: Distribution) -> str | None:
    """Its name as it writes it; None if its metadata are damaged."""
    metadata = distribution.metadata
    if "Name" not in metadata:
        return None
    return metadata["Name"]


def requirements_of(wanted: str, installed: Iterable[Distribution] | None = None) -> list[Requirement]:
    """Those that require the distribution `wanted`, by name. `installed` is what Python can find, if left out."""
    found: dict[str, Distribution] = {}
    for distribution in distributions() if installed is None else installed:
        name = name_of(distribution)
        if name:
            # Of two of the same name the first on the path is the one that is imported.
            found.setdefault(normalized(name), distribution)
    lines = {name: list(_lines(distribution)) for name, distribution in found.items()}
    asked = _asked_for(found, lines)
    results = []
    for name, distribution in sorted(found.items()):
        direct = [line for line in lines[name] if line.name == normalized(wanted)]
        always = [line for line in direct if applies(line.marker, "")]
        extras = _extras(distribution)
        bring = {extra: line for extra in extras for line in direct if applies(line.marker, extra)}
        if not always and not bring:
            continue  # or only on another platform or another Python
        chosen = [] if always else [extra for extra in bring if (name, extra) in asked] or list(bring)
        by = {found[other].metadata["Name"] for extra in chosen for other in asked.get((name, extra), ())}
        requires = (always or [bring[extra] for extra in chosen])[0].text
        about = (distribution.metadata["Name"], distribution.version, requires)
        results.append(Requirement(*about, tuple(chosen), tuple(sorted(by))))
    return results


def _lines(distribution: Distribution) -> Iterator[_Line]:
    for text in distribution.requires or ():
        match = REQUIREMENT.fullmatch(text)
        if match:
            extras = tuple(normalized(extra) for extra in (match[2] or "").split(",") if extra.strip())
            yield _Line(normalized(match[1]), extras, text.partition(";")[0].strip(), (match[4] or "").strip())


def _extras(distribution: Distribution) -> list[str]:
    return sorted({normalized(extra) for extra in distribution.metadata.get_all("Provides-Extra") or ()})


def _asked_for(found: dict[str, Distribution], lines: dict[str, list[_Line]]) -> dict[tuple[str, str], set[str]]:
    """Who asks for which extra of what: `{("twisted", "tls"): {"treq"}}`. An extra that is asked for may ask for
    others.
    """
    asked: dict[tuple[str, str], set[str]] = {}
    todo = [(name, "") for name in found]
    while todo:
        name, extra = todo.pop()
        for line in lines[name]:
            if line.name not in found or not applies(line.marker, extra):
                continue
            for wanted in line.extras:
                key = (line.name, wanted)
                # A distribution that gathers extras of its own in one more passes on who asked for that one.
                by = asked.get((name, extra), set()) if line.name == name and extra else {name}
                if key not in asked or not by <= asked[key]:
                    asked.setdefault(key, set()).update(by)
                    todo.append(key)
    return asked


def applies(marker: str, extra: str) -> bool:
    """Whether a marker (PEP 508) holds on this Python, with this extra or, if that is "", with none. One that is not
    understood holds: it is better to hear of too much."""
    if not marker:
        return not extra
    try:
        # The grammar of markers is a part of Python's, but for two operators that nobody has been seen to use.
        tree = ast.parse(marker.strip(), mode="eval").body
        holds = bool(_evaluate(tree, _variables() | {"extra": normalized(extra)}))
    except (SyntaxError, ValueError, TypeError, KeyError):
        return not extra
    if extra:
        # Only what the extra brings about: what holds without it was found without it.
        return holds and not applies(marker, "")
    return holds


def _evaluate(node: ast.expr, variables: dict[str, str]) -> bool | str:
    if isinstance(node, ast.BoolOp):
        results = [_evaluate(value, variables) for value in node.values]
        return all(results) if isinstance(node.op, ast.And) else any(results)
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        return _compare(node, variables)
    if isinstance(node, ast.Name):
        return variables[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    raise ValueError(ast.dump(node))


def _compare(node: ast.Compare, variables: dict[str, str]) -> bool:
    left, right = (_evaluate(side, variables) for side in (node.left, node.comparators[0]))
    if not (isinstance(left, str) and isinstance(right, str)):
        raise ValueError(ast.dump(node))
    how = node.ops[0]
    if isinstance(how, (ast.In, ast.NotIn)):
        return (left in right) == isinstance(how, ast.In)
    names = {side.id for side in (node.left, node.comparators[0]) if isinstance(side, ast.Name)}
    if names & VERSIONS:
        first, second = _version(left), _version(right)
        # 3.11 is 3.11.0, but 3.* is every 3.
        length = (min if "*" in left + right else max)(len(first), len(second))
        return COMPARISONS[type(how)](_resized(first, length), _resized(second, length))
    if names == {"extra"}:
        left, right = normalized(left), normalized(right)
    return COMPARISONS[type(how)](left, right)


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(number) for number in re.findall(r"\d+", text))


def _resized(version: tuple[int, ...], length: int) -> tuple[int, ...]:
    return (version + (0,) * length)[:length]


def _variables() -> dict[str, str]:
    """What markers can ask for (PEP 508, "Environment Markers")."""
    implementation = sys.implementation.version
    return {
        "os_name": os.name,
        "sys_platform": sys.platform,
        "platform_machine": platform.machine(),
        "platform_python_implementation": platform.python_implementation(),
        "platform_release": platform.release(),
        "platform_system": platform.system(),
        "platform_version": platform.version(),
        "python_version": ".".join(platform.python_version_tuple()[:2]),
        "python_full_version": platform.python_version(),
        "implementation_name": sys.implementation.name,
        "implementation_version": ".".join(map(str, implementation[:3])),
    }
