"""Limits: the numbers of each case that are the same in any release, held against their bands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from suite.judge.bands import Band, bands_of
from suite.judge.gate.evidence import DRAWS, STEPS
from suite.judge.gate.finding import NO_WORSE, OUTCOME, WORSE, Finding
from suite.judge.gate.paired import CANDIDATE, MEND, QUESTIONS
from suite.judge.metrics import metric_row
from suite.judge.verdicts import shown
from suite.records import Record

METRIC = "limits of any release"
SHARE = Band(0.0, 1.0)
UNITS = ("1", "pixel")
"""Of the metrics that a seed changes little or not at all: phases, parameters, updates, attack."""


def limit_findings(before: Iterable[Record], after: Iterable[Record]) -> list[Finding]:
    """Judge what must hold in any release, such as the phases of a step, by the table of bands.

    One number outside its band is worse, of whatever seed, unless the baseline has such a one too:
    then nothing has become worse, and a diagnostic says so.

    Args:
        before: Records of the baseline.
        after: Records of the candidate.
    """
    known = {(record.case, metric) for record in before for metric in outside(record)}
    cases: dict[str, list[Record]] = {}
    for record in after:
        alone = record.question in (STEPS, DRAWS) and outside(record)  # judged by their layers else
        if record.question in QUESTIONS or alone:
            cases.setdefault(record.case, []).append(record)
    return [_finding(case, cases[case], known) for case in sorted(cases)]


def outside(record: Record) -> dict[str, str]:
    """Say of each number that lies outside its band what it is and was expected to be."""
    shares = (m for m, value in record.metrics.items() if math.isfinite(value))  # else told as such
    found = {metric: SHARE for metric in shares if metric_row(metric).is_fraction}
    found |= {m: band for m, band in bands_of(record).items() if metric_row(m).unit in UNITS}
    return {
        metric: f"{metric} is {shown(record.metrics[metric], band)}, expected {band}"
        for metric, band in found.items()
        if metric in record.metrics and record.metrics[metric] not in band
    }


def lacking(before: Iterable[Record], after: Iterable[Record]) -> list[str]:
    """Say which numbers that have a band the candidate lacks, though the baseline has them."""
    had = {(record.case, metric) for record in before for metric in record.metrics}
    seeds: dict[tuple[str, str], list[int]] = {}
    for record in after:
        for metric in bands_of(record):
            if metric not in record.metrics and (record.case, metric) in had:
                seeds.setdefault((record.case, metric), []).append(record.seed)
    return [
        f"{case}: {CANDIDATE} has no {metric} for seed {', '.join(map(str, own))}. {MEND}"
        for (case, metric), own in seeds.items()
    ]


def _finding(case: str, runs: Sequence[Record], known: set[tuple[str, str]]) -> Finding:
    """Judge the records of one case."""
    found = [
        (text, (case, metric) in known) for run in runs for metric, text in outside(run).items()
    ]
    new = [*dict.fromkeys(text for text, old in found if not old)]
    old = [*dict.fromkeys(text for text, old in found if old)]
    finding = Finding(
        OUTCOME, case, METRIC, NO_WORSE, "all within their limits", seeds=(0, len(runs))
    )
    if new:
        return finding._replace(decision=WORSE, words="; ".join(new))
    return finding._replace(words=f"as before: {'; '.join(old)}") if old else finding
