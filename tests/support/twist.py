"""A program: what the console script `twist` does, wherever pip has put it.

`python -m twisted` would do, but asks for pkg_resources in old versions, which is no more.
"""

from __future__ import annotations

from importlib.metadata import entry_points

if __name__ == "__main__":
    (twist,) = entry_points(group="console_scripts", name="twist")
    twist.load()()
