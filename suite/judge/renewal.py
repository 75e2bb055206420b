"""Renewal: what changes when records replace a baseline, and what the gate says of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import NamedTuple

from suite.judge.baselines import by_case
from suite.judge.gate.decide import decide
from suite.judge.gate.finding import UNDECIDED, WORSE, Answer, Finding
from suite.judge.gate.paired import BASELINE, CANDIDATE
from suite.judge.metrics import METRICS
from suite.records import Record, encoded, json_digest


class Renewal(NamedTuple):
    """A baseline as it is, what is to replace it, and the gate's answer.

    Attributes:
        former: Its records, by case.
        fresh: Those that are to replace them.
        answer: What the gate says of the cases that were measured anew.
    """

    former: Mapping[str, Sequence[Record]]
    fresh: Mapping[str, Sequence[Record]]
    answer: Answer

    @property
    def cases(self) -> list[str]:
        """All cases of either."""
        return sorted({*self.former, *self.fresh})

    @property
    def new(self) -> list[str]:
        """The cases that the baseline did not have."""
        return sorted({*self.fresh} - {*self.former})

    @property
    def removed(self) -> list[str]:
        """The cases that it loses."""
        return sorted({*self.former} - {*self.fresh})

    @property
    def changed(self) -> list[str]:
        """The cases of both whose numbers, or whose seeds, are others."""
        both = sorted({*self.former} & {*self.fresh})
        return [case for case in both if _told(self.former[case]) != _told(self.fresh[case])]

    @property
    def worse(self) -> list[Finding]:
        """What the gate calls worse."""
        return self._decided(WORSE)

    @property
    def undecided(self) -> list[Finding]:
        """What the gate could not decide."""
        return self._decided(UNDECIDED)

    def finding(self, case: str, metric: str) -> Finding | None:
        """Look up what the gate says of a metric of a case."""
        found = (f for f in self.answer.findings if (f.case, f.metric) == (case, metric))
        return next(found, None)

    def _decided(self, decision: str) -> list[Finding]:
        """Pick the findings that the answer depends on, of one decision, the surest first."""
        own = [f for f in self.answer.findings if f.primary and f.decision == decision]
        return sorted(own, key=lambda finding: finding.p or 0.0)


def renewal(former: Iterable[Record], fresh: Iterable[Record]) -> Renewal:
    """Compare a baseline with the records that are to replace it, as the gate does.

    Runs that are part of both say nothing of a change: of a case that got further seeds, those are
    held against the former ones; of a case that stays as it is, nothing is judged.
    """
    before, after = by_case(map(_judgeable, former)), by_case(fresh)
    runs = {case: _own(after[case], before[case]) for case in after if case in before}
    judged = [case for case, own in runs.items() if own]
    answer = decide(
        BASELINE,
        CANDIDATE,
        before=[record for case in judged for record in before[case]],
        after=[record for case in judged for record in runs[case]],
    )
    return Renewal(before, after, answer)


def _judgeable(record: Record) -> Record:
    """Leave out the metrics that have no row any more: a baseline may be older than the table."""
    known = {name: value for name, value in record.metrics.items() if name in METRICS}
    return record if len(known) == len(record.metrics) else replace(record, metrics=known)


def _own(runs: Iterable[Record], former: Iterable[Record]) -> list[Record]:
    """Pick the runs that are not the baseline's: no two begin and last alike."""
    known = {(run.started_at, run.wall_s) for run in former}
    return [run for run in runs if (run.started_at, run.wall_s) not in known]


def _told(runs: Iterable[Record]) -> list[str]:
    """Digest what the runs of a case measured, seed by seed."""
    return [json_digest(encoded([run.seed, run.metrics, run.statistics])) for run in runs]
