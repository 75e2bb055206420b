"""Runs the workflow for some rows here, in an empty home: python -m tests.workflow --help."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.workflow.runner import Runner, StepError


def main() -> int:
    """Run the jobs one after the other, print the summary; 1 where a row's job fails."""
    parser = argparse.ArgumentParser(prog="python -m tests.workflow", description=__doc__)
    parser.add_argument("--rows", required=True, help="such as tf-2.21,tf-2.15")
    parser.add_argument("--cases", default="", help="words or patterns of cases")
    parser.add_argument("--budget", default="10m")
    parser.add_argument("--folder", type=Path, help="where to run; a new folder unless given")
    parser.add_argument(
        "--action", type=Path, metavar="DIR",
        help="run the action alone, as another repository does: from DIR, for the first row",
    )  # fmt: skip
    parser.add_argument("--baseline", default="stored", help="of --action")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="workflow-"))
    github = {"event_name": "workflow_dispatch", "event": {}, "ref": "refs/heads/main"}
    github |= {"repository": "owner/name", "run_id": "1", "run_attempt": "1", "token": ""}
    inputs = {"rows": options.rows, "cases": options.cases, "budget": options.budget}
    runner = Runner(folder.resolve(), github, inputs)
    failed = _run(runner, options)
    print(f"\nsteps: {json.dumps(runner.log, indent=1)}\nfolder: {runner.folder}\n")
    print(runner.summary.read_text() if runner.summary.exists() else "no summary")
    return int(failed)


def _run(runner: Runner, options: argparse.Namespace) -> bool:
    """Run the action alone, or all jobs; True where one failed."""
    failed = False
    if options.action:
        given = {"candidate": options.rows, "baseline": options.baseline}
        given |= {"cases": options.cases, "budget": options.budget}
        try:
            print(runner.action(options.action.resolve(), given))
        except StepError as error:
            print(error, file=sys.stderr)
            failed = True
        return failed
    needs = {"rows": {"outputs": runner.job("rows")}}
    for entry in json.loads(needs["rows"]["outputs"]["matrix"])["include"]:
        try:
            runner.job("gate", needs=needs, matrix=entry)
        except StepError as error:
            print(f"{entry['row']}: {error}", file=sys.stderr)
            failed = True
    runner.job("report", needs=needs)
    return failed


if __name__ == "__main__":
    sys.exit(main())
