"""The command line: choose the command; its file in `suite.commands` parses the rest."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from suite.commands.options import ERROR_STATUS
from suite.errors import SuiteError

COMMANDS = {
    "compare": "judge the records against the stored baselines",
    "data": "download GTSRB's official archives",
    "diagnose": "tell what is wrong with a network of your own",
    "lock": "resolve the release table into locks/*.txt",
    "matrix": "run the small tier on the rows of the release table",
    "parity": "compare the first steps of the releases",
    "rebaseline": "make records the baseline",
    "results": "show what every network reaches",
    "study": "compare the fixes and judge the claims",
}
"""What each command does; `suite.commands` has a module of each name."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 for a finding, 2 for an error."""
    options = _parser().parse_args(arguments)
    command = importlib.import_module(f"suite.commands.{options.command}")
    try:
        return int(command.main(options.arguments))
    except SuiteError as error:
        print(f"error: {error}", file=sys.stderr)
        return ERROR_STATUS


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command's name; what follows is parsed by the command."""
    listed = "\n".join(f"  {name:<12}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m suite",
        description=f"commands:\n{listed}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    return parser


if __name__ == "__main__":
    sys.exit(main())
