"""What a child Python imports when it starts, since this folder is on its PYTHONPATH: does what its parent was told to,
then takes itself away and gives the turn to the `sitecustomize` that there would have been without it.

An environment without txmembio is left alone. If it cannot be installed, Python says why, and goes on.
"""

from __future__ import annotations

import os
import sys
from importlib.machinery import PathFinder
from importlib.util import find_spec, module_from_spec

TOLD = "TXMEMBIO_CHILDREN"
"""The variable with the targets, separated by commas, and behind a colon the `sys.prefix` of the parent."""


def install_as_told() -> None:
    targets, _, prefix = os.environ.get(TOLD, "").partition(":")
    if not targets:
        return
    found_elsewhere = []
    if find_spec("txmembio") is None:
        if prefix != sys.prefix:
            return
        # The parent has found it in a folder that is none of its environment: the one that it was started in.
        found_elsewhere = [os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(__file__))))]
    sys.path += found_elsewhere
    try:
        import txmembio

        txmembio.install(*targets.split(","))
    finally:
        for folder in found_elsewhere:
            sys.path.remove(folder)


def import_next() -> None:
    spec = PathFinder.find_spec("sitecustomize", sys.path)
    if spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    sys.modules["sitecustomize"] = module
    spec.loader.exec_module(module)


if __name__ == "sitecustomize":
    sys.path[:] = [
        folder for folder in sys.path if os.path.abspath(folder) != os.path.dirname(os.path.abspath(__file__))
    ]
    try:
        install_as_told()
    finally:
        import_next()
