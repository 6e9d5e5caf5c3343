"""python -m support.iocp [--faults TEXT] SCRIPT [ARGS...], or -m MODULE [ARGS...] in the place of the script.

Runs a program with Twisted's IOCP reactor installed: on the emulated kernel, or on Windows on the real one.
"""

from __future__ import annotations

import os
import runpy
import sys

from support import iocp

USAGE = "usage: python -m support.iocp [--faults TEXT] SCRIPT [ARGS...] | -m MODULE [ARGS...]"


def main(arguments: list[str]) -> None:
    """Runs what the arguments say, as `python` with them would."""
    faults = iocp.Faults.from_environment()
    if arguments[:1] == ["--faults"] and len(arguments) > 1:
        faults = iocp.Faults.from_text(arguments[1])
        os.environ[iocp.VARIABLE] = str(faults)  # for the program's own children
        del arguments[:2]
    module = arguments[:1] == ["-m"]
    if module:
        del arguments[0]
    if not arguments or arguments[0].startswith("-"):
        raise SystemExit(USAGE)
    iocp.install_reactor(faults)
    sys.argv = arguments
    if module:
        runpy.run_module(arguments[0], run_name="__main__", alter_sys=True)
    else:
        sys.path.insert(0, os.path.dirname(os.path.abspath(arguments[0])))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
