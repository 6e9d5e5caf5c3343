"""`python -m txmembio audit`: what still wants pyOpenSSL, and what of that txmembio supplies.

Installed distributions are asked for their requirements, and sources are read; nothing that is audited is imported.
What cannot be seen that way is not told of: extension modules, code without its source, and objects of pyOpenSSL that
reach a module from elsewhere without an annotation.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, distribution, distributions
from itertools import chain
from pathlib import Path
from typing import Any

from txmembio.cli import audit_files, audit_supply, audit_uses
from txmembio.cli.audit_requirements import Requirement, name_of, normalized, requirements_of

__all__ = ["SCHEMA", "Audit", "as_json", "as_text", "audit"]

SCHEMA = 1
"""The number of the form that `--json` has. What is there keeps its name and meaning; a change would raise it."""

PYOPENSSL = "pyOpenSSL"
"""The distribution that installs `OpenSSL`."""

SHOWN_PLACES = 3
"""Places that are listed for one missing name, in the text for people."""


@dataclass(frozen=True)
class Name:
    """A name of pyOpenSSL that a module uses. `why` says more of what is not supplied, if more is known; `optional` is
    whether the module does without it."""

    name: str
    lines: tuple[int, ...]
    supplied: bool
    optional: bool
    why: str | None


@dataclass(frozen=True)
class Module:
    """A module that imports `OpenSSL`."""

    module: str
    distribution: str | None
    file: str
    imports: tuple[audit_uses.Import, ...]
    names: tuple[Name, ...]

    @property
    def missing(self) -> list[Name]:
        """What it needs and would not get."""
        return [name for name in self.names if not (name.supplied or name.optional)]

    @property
    def counted(self) -> list[Name]:
        """All but what is not there and that it does without."""
        return [name for name in self.names if name.supplied or not name.optional]


@dataclass
class Audit:
    """All that was found. `tests` counts the modules of tests that were left out."""

    pyopenssl: str | None
    requirements: list[Requirement]
    modules: list[Module] = field(default_factory=list)
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    tests: int = 0

    @property
    def missing(self) -> bool:
        """Whether a module needs what txmembio does not supply."""
        return any(module.missing for module in self.modules)


def audit(arguments: Sequence[str], tests: bool = False) -> Audit:
    """Of packages, modules, distributions, folders and files, or of all that is installed if there are none. With
    `tests`, tests count as well. Raises ValueError for an argument that is none of these."""
    each = [audit_files.of_argument(argument) for argument in arguments] or [list(audit_files.everything())]
    found = Audit(_version(PYOPENSSL), [])
    sources = {source.path.resolve(): source for source in chain.from_iterable(each)}
    owners = _owners(sources)
    for path, source in sources.items():
        try:
            text = path.read_bytes()
        except OSError as error:
            found.unreadable.append((str(path), error.strerror or str(error)))
            continue
        if audit_uses.PACKAGE.encode() not in text:
            continue
        try:
            imports, uses = audit_uses.read(text)
        except SyntaxError as error:
            found.unreadable.append((str(path), f"line {error.lineno}: {error.msg}"))
            continue
        except (ValueError, RecursionError, MemoryError) as error:
            found.unreadable.append((str(path), str(error) or "too deep"))
            continue
        if source.test and not tests:
            found.tests += bool(imports)
        elif imports:
            module = audit_files.module_name(path)
            found.modules.append(Module(module, owners.get(str(path)), str(path), tuple(imports), _names(uses)))
    found.modules.sort(key=lambda module: (module.module, module.file))
    found.requirements = requirements_of(PYOPENSSL)
    if arguments:
        # A package's __init__.py comes first. Others may have put modules of theirs into it: Twisted's plugins.
        first = [owners.get(str(files[0].path.resolve())) for files in each if files]
        asked = {normalized(name) for name in [*arguments, *filter(None, first)]}
        found.requirements = [one for one in found.requirements if normalized(one.distribution) in asked]
    return found


def _names(uses: Iterable[audit_uses.Use]) -> tuple[Name, ...]:
    lines: dict[audit_supply.Answer, list[audit_uses.Use]] = {}
    for use in uses:
        answers = [answer for answer in map(audit_supply.ask, sorted(use.paths)) if answer is not None]
        # Which of them it is depends on how the program runs: one that supplies the name will do.
        answers.sort(key=lambda answer: not answer.supplied)
        if answers and not answers[0].module:
            lines.setdefault(answers[0], []).append(use)
    return tuple(
        Name(
            answer.name,
            tuple(sorted({use.line for use in where})),
            answer.supplied,
            all(use.optional for use in where),
            answer.why,
        )
        for answer, where in sorted(lines.items(), key=lambda item: item[0].name)
    )


def _owners(paths: Iterable[Path]) -> dict[str, str]:
    """Which distribution each file of Python belongs to; nothing if none of `paths` lies where packages are installed.
    Of a project in development only its metadata are listed."""
    folders = {Path(entry).resolve() for entry in sys.path if entry}
    if not any(folders.intersection(path.parents) for path in paths):
        return {}
    owners = {}
    for found in distributions():
        name = name_of(found)
        folder = os.path.realpath(str(found.locate_file("")))
        for file in found.files or ():
            if name and file.suffix == ".py":
                owners[os.path.normpath(os.path.join(folder, *file.parts))] = name
    return owners


def _version(name: str) -> str | None:
    try:
        return distribution(name).version
    except PackageNotFoundError:
        return None


def as_json(found: Audit) -> str:
    """Everything, indented. docs/migrating.md describes the form."""
    return json.dumps(_as_dict(found), indent=2)


def _as_dict(found: Audit) -> dict[str, Any]:
    return {
        "schema": SCHEMA,
        "pyopenssl": found.pyopenssl,
        "missing": found.missing,
        "requirements": [asdict(requirement) | {"holds": requirement.holds} for requirement in found.requirements],
        "modules": [asdict(module) for module in found.modules],
        "unreadable": [{"file": file, "problem": problem} for file, problem in found.unreadable],
        "tests_left_out": found.tests,
    }


def as_text(found: Audit) -> str:
    """The same for people: who requires it, who imports it, what is missing, and a last line that sums up."""
    version = f"{PYOPENSSL} {found.pyopenssl} is installed" if found.pyopenssl else f"{PYOPENSSL} is not installed"
    parts = [[version + "."]]
    if found.requirements:
        parts.append(["Required by", *_table(map(_requirement_row, found.requirements))])
    if found.modules:
        parts.append(["Imported by", *_table(map(_module_row, found.modules))])
    if found.missing:
        parts.append(["Missing", *_table(_missing_rows(found.modules))])
    if found.unreadable:
        parts.append(["Not read", *(f"  {_short(file)}: {problem}" for file, problem in found.unreadable)])
    parts.append([_summary(found)])
    return "\n\n".join("\n".join(part) for part in parts)


def _requirement_row(requirement: Requirement) -> tuple[str, str]:
    text = requirement.requires
    if requirement.extras:
        plural = "s" if len(requirement.extras) > 1 else ""
        by = f"asked for by {', '.join(requirement.asked_by)}" if requirement.asked_by else "not asked for"
        text += f" with the extra{plural} {', '.join(requirement.extras)}: {by}"
    return f"{requirement.distribution} {requirement.version}", text


def _module_row(module: Module) -> tuple[str, str]:
    lacking = f", {len(module.missing)} missing" if module.missing else ""
    when = {found.when for found in module.imports}
    notes = {"module": "", "function": " (in a function)", "optional": " (if it is there)", "types": " (types only)"}
    # The most demanding of its imports says how it stands.
    note = next(text for key, text in notes.items() if key in when)
    return module.module, f"{_count(len(module.counted), 'name')}{lacking}{note}"


def _missing_rows(modules: list[Module]) -> list[tuple[str, str]]:
    places: dict[tuple[str, str | None], list[str]] = {}
    for module in modules:
        for name in module.missing:
            places.setdefault((name.name, name.why), []).append(f"{_short(module.file)}:{name.lines[0]}")
    return [
        (name, (f"{why}; " if why else "") + ", ".join(where[:SHOWN_PLACES]) + (", …" if where[SHOWN_PLACES:] else ""))
        for (name, why), where in sorted(places.items(), key=lambda item: item[0][0])
    ]


def _summary(found: Audit) -> str:
    names = {name.name for module in found.modules for name in module.counted}
    missing = {name.name for module in found.modules for name in module.missing}
    left_out = f" Left out: {_count(found.tests, 'module')} of tests (--tests)." if found.tests else ""
    if not found.modules:
        return f"Nothing imports OpenSSL.{left_out}"
    supplies = f"all but {len(missing)}" if missing else "them all"
    counted = f"{_count(len(found.modules), 'module')} using {_count(len(names), 'name')} of {PYOPENSSL}"
    return f"{counted}: txmembio supplies {supplies}.{left_out}"


def _count(number: int, noun: str) -> str:
    return f"{number or 'no'} {noun}{'' if number == 1 else 's'}"


def _table(rows: Iterable[tuple[str, str]]) -> list[str]:
    rows = list(rows)
    width = max(len(first) for first, _ in rows)
    return [f"  {first:<{width}}  {second}".rstrip() for first, second in rows]


def _short(file: str) -> str:
    """Below the working directory without it, else as it is."""
    path = Path(file)
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else file
