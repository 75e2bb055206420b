"""Commands that make a cell again: the gate's where it judged the case, else those of its tier."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from suite.judge.compatibility import TIER
from suite.judge.study import photographed
from suite.report.html.judged import Judged
from suite.report.html.runs import Run

BUNDLE = "nox -s gpu-bundle --"  # which takes no cases: those that are there it leaves out
COMMANDS = {
    "quickstart": "nox -s quickstart --",
    "small": "nox -s benchmarks({0}) --",
    "study": "nox -s study -- {0}",
    "full": "nox -s gpu-benchmarks({0}) --",
    "full-rehearsal": "nox -s rehearsal -- {0}",
    "full-study": "python -m pytest benchmarks --tier full-study --release {0} "
    "--lock locks/{0}-gpu.txt",
    "sample": f"{BUNDLE} {{0}} --installed FILE",
    "rehearsal": f"{BUNDLE} {{0}} --installed FILE --tier rehearsal",
}
"""What measures the cases of each tier, for a row."""


class Given(NamedTuple):
    """The folders that the report was told to read: its commands name them too.

    Attributes:
        records: Those of records, by row and tier; empty where none was named.
        baselines: That of the baselines; empty where it was not named.
    """

    records: Mapping[tuple[str, str], str] = {}
    baselines: str = ""

    def options(self, release: str, tier: str) -> list[str]:
        """Name the folder of a row's records, or the first of all where it has none yet."""
        folder = self.records.get((release, tier)) or next(iter(self.records.values()), "")
        return ["--records", folder] if folder else []


def of_gate(judged: Judged, case: str, given: Given) -> str:
    """Write the command that has the gate judge a case again."""
    baseline = f"stored:{judged.baseline}" if judged.stored else judged.baseline
    more = ["--baselines", given.baselines] if given.baselines else []
    return shlex.join(
        [
            *("nox", "-s", "gate", "--", "--baseline", baseline, "--candidate", judged.candidate),
            *("--cases", case, *given.options(judged.candidate, TIER), *more),
        ]
    )


def of_tier(runs: Sequence[Run], given: Given) -> str:
    """Write the command that measures the seeds of a case again, one run or more."""
    record = runs[0].record
    seeds = sorted({run.record.seed for run in runs})
    command = COMMANDS[record.tier]
    words = [word.format(record.release) for word in command.split()]
    words += [] if command.startswith(BUNDLE) else ["-k", record.case]
    words += ["--seeds", ",".join(map(str, seeds))]
    words += given.options(record.release, record.tier)
    if photographed(record):
        words += ["--weights", f"{record.settings.get('architecture')}=FILE"]
    return shlex.join(words)
