"""The command line: choose the command; its file in `suite.commands` parses the rest."""

from __future__ import annotations

import argparse
import importlib
import io
import os
import sys
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TextIO

from suite.commands.options import ERROR_STATUS, INTERRUPTED_STATUS, explained
from suite.machine import end_with_parent
from suite.report.text import printable

COMMANDS = {
    "bisect": "find the package and version that made a release worse",
    "cluster": "measure rows, cases and seeds on a cluster of Ray",
    "compare": "judge the records against the stored baselines",
    "data": "download GTSRB's official archives",
    "diagnose": "tell what is wrong with a network of your own",
    "fix-table": "compare the fixes and judge the claims",
    "gate": "tell whether a release may replace another",
    "gpu-bundle": "pack what measures beside a GPU that reaches no network",
    "gpu-collect": "check the files that it left, and keep their records",
    "gpu-work": "measure the cases of a bundle, which calls this itself",
    "lock": "resolve the release table into locks/*.txt",
    "matrix": "run the small tier on the rows of the release table",
    "new-row": "add a new version to the release table, and gate it",
    "parity": "compare the first steps of the releases",
    "rebaseline": "make records the baseline",
    "results": "show what every network reaches",
    "report": "write one page of records, baselines and verdicts",
    "rows": "list the rows of the release table",
    "states": "train the networks that parity steps from, and store them",
}
"""What each command does; `suite.commands` has a module of each name, with _ for -."""

DEBUG = "--debug"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return its exit status: 0, 1 for a finding, 2 where it could not tell.

    130 is that of an interrupted command. Whatever else ends one is told in one line: a crash must
    not read as a verdict.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _open_output()
    try:
        with _flushed(sys.stdout):
            return _run([word for word in given if word != DEBUG])
    except KeyboardInterrupt:
        return INTERRUPTED_STATUS
    except BrokenPipeError:  # as of `| head`: who reads has enough, but was not told the verdict
        return ERROR_STATUS
    except Exception as error:  # the one border where any is caught, or Python would end with 1
        _tell(error, debug=DEBUG in given)
        return ERROR_STATUS


def _run(arguments: Sequence[str]) -> int:
    """Run the command that is named first."""
    options = _parser().parse_args(arguments)
    command = importlib.import_module(f"suite.commands.{options.command.replace('-', '_')}")
    return int(command.main(options.arguments))


def _parser() -> argparse.ArgumentParser:
    """Make the parser of the command's name; what follows is parsed by the command."""
    listed = "\n".join(f"  {name:<12}{what}" for name, what in COMMANDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m suite",
        description=f"commands:\n{listed}",
        epilog=f"{DEBUG}, anywhere, prints the traceback of an error.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS, metavar="COMMAND")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, metavar="...")
    return parser


def _open_output() -> None:
    """Make printing safe: what a terminal's encoding lacks is replaced, what is closed is void."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:  # closed by the caller, as by `>&-`
            void = open(os.devnull, "w", errors="replace")  # noqa: SIM115, PTH123 - while we run
            setattr(sys, name, void)
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="replace")


@contextmanager
def _flushed(stream: TextIO) -> Iterator[None]:
    """Flush a stream at the end: what was not written was not told.

    Raises:
        OSError: If it cannot be written. It is void from then on, or Python would try again at its
            exit and end with a status of its own.
    """
    try:
        yield
    finally:
        try:
            stream.flush()
        except OSError:
            with suppress(io.UnsupportedOperation):  # a stream of a test has no number
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            raise


def _tell(error: Exception, *, debug: bool) -> None:
    """Print what ended the command, in one line; before it the traceback, if that is wanted."""
    lines = (
        "".join(traceback.format_exception(type(error), error, error.__traceback__)).splitlines()
        if debug
        else []
    )
    with suppress(OSError), _flushed(sys.stderr):  # nowhere is left to tell it; the status does
        for line in [*lines, f"error: {explained(error)}"]:
            print(printable(line), file=sys.stderr)


if __name__ == "__main__":
    end_with_parent()
    sys.exit(main())
