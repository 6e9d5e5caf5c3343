"""`python -m txmembio`."""

from __future__ import annotations

import sys

from txmembio.cli import main

if __name__ == "__main__":
    sys.exit(main())
