"""`python -m txmembio`: the commands and their options.

    info    what this installation is made of
    demo    serve a site over TLS without pyOpenSSL, and fetch it
    run     install the switch, and run a program
    audit   what still wants pyOpenSSL, and what of that txmembio supplies

A command's own module does the work, and is imported when the command is asked for: `info` needs the core alone.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import txmembio
from txmembio.cli.installed import is_installed
from txmembio.switch import DEFAULT, TARGETS, in_order

__all__ = ["main"]

HIGHEST_PORT = 65535
"""Ports are 16 bits wide (RFC 9293, section 3.1)."""

DEMO_NEEDS = ("twisted", "trustme")
"""Packages that the core does without, and the extra `demo` brings."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; `arguments` are those of the command line if left out. Returns the exit status: 0, or 1 if the
    command failed, which its last line then explains. Raises SystemExit for arguments that make no sense."""
    parser = argparse.ArgumentParser(prog="python -m txmembio", description="TLS in memory, for Twisted and Tornado.")
    parser.add_argument("--version", action="version", version=f"txmembio {txmembio.__version__}")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_info(commands)
    _add_demo(commands)
    _add_run(commands)
    _add_audit(commands)
    given = list(sys.argv[1:] if arguments is None else arguments)
    program: list[str] = []
    if given[:1] == ["run"]:
        from txmembio.cli import run

        given, program = run.split(given)
    options = parser.parse_args(given, argparse.Namespace(program=program))
    status: int = options.run(options)
    return status


def _add_info(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "say what this installation is made of: versions, which OpenSSL, what it can do"
    parser = commands.add_parser("info", help=text, description=text)
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_info)


def _add_demo(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "serve a site over TLS without pyOpenSSL, and fetch it"
    more = "Certificates and pages are kept in the folder txmembio-demo of the working directory."
    parser = commands.add_parser("demo", help=text, description=f"{text}. {more}")
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="where to listen; any free port if left out")
    parser.add_argument("--keep", action="store_true", help="leave the site running until Ctrl-C")
    parser.set_defaults(run=_demo)


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "run a Python program with txmembio in the place of the TLS that it knows"
    usage = "python -m txmembio run [--install TARGET,…] [--children] (SCRIPT | -m MODULE) [ARGUMENT …]"
    parser = commands.add_parser("run", help=text, description=text, usage=usage, allow_abbrev=False)
    targets = ", ".join(TARGETS)
    parser.add_argument(
        "--install",
        type=_targets,
        default=DEFAULT,
        metavar="TARGET,…",
        help=f"what to take the place of: {targets}; {','.join(DEFAULT)} if left out, nothing if empty",
    )
    parser.add_argument("--children", action="store_true", help="the same in Pythons that the program starts")
    parser.set_defaults(run=_run, usage=parser.error)


def _add_audit(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    text = "say what still wants pyOpenSSL, and what of that txmembio supplies"
    more = "Nothing of it is imported. Exit status: 0 if nothing is missing, 1 if something is, 2 for mistakes."
    parser = commands.add_parser("audit", help=text, description=f"{text}. {more}")
    what = "packages, modules, distributions, folders, files; all that is installed if left out"
    parser.add_argument("what", nargs="*", metavar="PACKAGE|PATH", help=what)
    parser.add_argument("--tests", action="store_true", help="count modules of tests as well")
    parser.add_argument("--json", action="store_true", help="for programs")
    parser.set_defaults(run=_audit, usage_error=parser.error)


def _targets(text: str) -> tuple[str, ...]:
    targets = tuple(filter(None, text.split(",")))
    try:
        in_order(targets)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return targets


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 5 and int(text) <= HIGHEST_PORT):
        raise argparse.ArgumentTypeError(f"{text!r} is no port: expected a number from 0 to {HIGHEST_PORT}")
    return int(text)


def _info(options: argparse.Namespace) -> int:
    from txmembio.cli import info

    print(info.as_json() if options.json else info.as_text())
    return 0


def _run(options: argparse.Namespace) -> int:
    if not options.program or options.program == ["-m"]:
        options.usage("SCRIPT or -m MODULE expected")
    from txmembio.cli import run

    return run.main(options.install, options.children, options.program)


def _demo(options: argparse.Namespace) -> int:
    missing = [name for name in DEMO_NEEDS if not is_installed(name)]
    if missing:
        print(f"txmembio demo failed: {' and '.join(missing)} not installed: pip install 'txmembio[demo]' brings them")
        return 1
    from txmembio.cli import demo

    return demo.main(options.port, options.keep)


def _audit(options: argparse.Namespace) -> int:
    from txmembio.cli import audit

    try:
        found = audit.audit(options.what, options.tests)
    except ValueError as error:
        options.usage_error(str(error))
    print(audit.as_json(found) if options.json else audit.as_text(found))
    return int(found.missing)
