"""The command line that the benchmarks share."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path


def parser(
    module: str, doc: str | None, rounds: int, quick_rounds: int, contenders: Iterable[str]
) -> argparse.ArgumentParser:
    """For ``python -m benchmarks.MODULE``, whose docstring is *doc*."""
    made = argparse.ArgumentParser(prog=f"python -m benchmarks.{module}", description=(doc or "").splitlines()[0])
    made.add_argument("--quick", action="store_true", help="a smoke test: its figures mean little")
    made.add_argument("--rounds", type=int, metavar="N", help=f"default {rounds}, with --quick {quick_rounds}")
    made.add_argument("--json", type=Path, metavar="FILE", help="write raw rounds and all figures to FILE as well")
    made.add_argument("--markdown", type=Path, metavar="FILE", help="write what is printed to FILE as well")
    made.add_argument(
        "--without",
        action="append",
        default=[],
        choices=sorted(contenders),
        help="leave this contender out; can be given more than once",
    )
    made.set_defaults(default_rounds=(rounds, quick_rounds))
    return made


def parse(parser: argparse.ArgumentParser, arguments: list[str] | None) -> argparse.Namespace:
    """The options, with ``rounds`` a number. Ends the program if they make no sense."""
    options = parser.parse_args(arguments)
    if options.rounds is None:
        options.rounds = options.default_rounds[options.quick]
    if options.rounds < 1:
        parser.error(f"--rounds {options.rounds}: expected 1 or more")
    return options


def progress(text: str) -> None:
    """Says on standard error how far it is."""
    print(text, file=sys.stderr, flush=True)
