"""Rounds of the gate: the seeds of some cases, measured on its rows until the budget is spent."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from suite.commands.cluster_jobs import Cluster, outcomes_of
from suite.commands.outcomes import failures, files_of
from suite.commands.plan import Plan
from suite.commands.processes import Run
from suite.commands.turns import in_turn
from suite.judge.compatibility import Outcome
from suite.releases import Release
from suite.report.text import printable

JOB = "gate"  # names the logs and reports
clock_s = time.perf_counter


@dataclass
class Rounds:
    """What the gate measures, in `stopped_together` with what is running.

    Attributes:
        rows: The rows of the release table, by the folder where their records, logs and reports go.
        until_s: The clock at which the budget is spent.
        jobs: Rows that run at the same time.
        arguments: Passed on to pytest.
        cluster: Where it runs; None for this machine.
        running: What runs at the moment.
        reasons: What the last run of each row said that did not end as expected.
        failed: What the tests that failed said, by row, case and seed; not of a cluster's.
    """

    rows: Mapping[Path, Sequence[Release]]
    until_s: float
    jobs: int = 1
    arguments: Sequence[str] = ()
    cluster: Cluster | None = None
    running: list[Run] = field(default_factory=list)
    reasons: dict[str, str] = field(default_factory=dict)
    failed: dict[tuple[str, str, int], str] = field(default_factory=dict)

    @property
    def over(self) -> bool:
        """True where the budget is spent."""
        return clock_s() >= self.until_s

    def run(self, cases: Sequence[str], seeds: Mapping[Path, Sequence[int]]) -> None:
        """Measure some seeds of some cases on all rows; what has its record is not run again.

        Args:
            cases: Names of the cases.
            seeds: Of the rows of each folder.

        Raises:
            RecordError: If a report cannot be written.
        """
        for records, rows in self.rows.items():
            if cases and seeds[records] and not self.over:
                self._run(cases, seeds[records], records, rows)

    def _run(
        self, cases: Sequence[str], seeds: Sequence[int], records: Path, rows: Sequence[Release]
    ) -> None:
        """Measure some seeds of some cases on the rows of one folder."""
        plan = Plan(rows, cases, seeds, records, options=tuple(self.arguments))
        of = f"{','.join(map(str, seeds))} of {', '.join(cases)}"
        print(printable(f"measuring seeds {of}"), flush=True)
        for row, outcome in self._ends(plan):
            end = "passed" if outcome.passed else f"not as expected: {outcome.reason}"
            print(printable(f"{row} {outcome.seconds:.0f} s, {end}"), flush=True)
            if outcome.reason:
                self.reasons[row.name] = outcome.reason
            if outcome.installs and not self.cluster:  # else no report is of this run
                said = failures(files_of(row, plan.records, JOB).tests)
                self.failed.update({(row.name, *test): why for test, why in said.items()})

    def _ends(self, plan: Plan) -> Iterator[tuple[Release, Outcome]]:
        """Run a plan here or on the cluster, and yield of each row what became of it."""
        if self.cluster:
            return outcomes_of(self.cluster, plan, until_s=self.until_s)
        return in_turn(
            plan.rows, self.running, records=plan.records, jobs=self.jobs,
            arguments=plan.arguments, job=JOB, until_s=self.until_s,
        )  # fmt: skip

    def notes(self) -> list[str]:
        """Say that the budget is spent, and what the rows' last failed runs said."""
        spent = ["the budget is spent; the same command goes on with it"] if self.over else []
        return [*spent, *(f"the run of {row} said: {why}" for row, why in self.reasons.items())]
