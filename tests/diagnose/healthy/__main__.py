"""Train the healthy networks anew and keep their weights: python -m tests.diagnose.healthy."""

from __future__ import annotations

import sys

from suite.stacks.loading import load
from tests.diagnose.healthy.rows import ROWS, trained
from tests.diagnose.healthy.stored import path_of
from tests.diagnose.kept import keep


def main() -> None:
    """Train those that are named on the command line, or all."""
    stack = load()
    for row in ROWS:
        if row.name in sys.argv[1:] or not sys.argv[1:]:
            stack.seed(0)
            keep(path_of(row), trained(row, stack.keras))


if __name__ == "__main__":
    main()
