"""Limits: the numbers of each case that are the same in any release, held against their bands."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from suite.judge.bands import Band, bands_of
from suite.judge.gate.evidence import DRAWS, STEPS, TRAINING
from suite.judge.gate.finding import NO_WORSE, OUTCOME, UNDECIDED, WORSE, Finding
from suite.judge.gate.paired import CANDIDATE, MEND, QUESTIONS
from suite.judge.metrics import metric_row
from suite.judge.verdicts import shown
from suite.records import Record

METRIC = "limits of any release"
PREDICTIONS = "predictions"  # of a training, by label: they are counted apart from its accuracy
COUNTED = 1.5  # images, as two classes may be equally likely but for rounding; seen: none of 1000
WHOLE = 0.01  # images by which a share of them is no whole number; seen: 1e-13
SHARE, ANY = Band(0.0, 1.0), Band(-math.inf, math.inf)
UNITS = ("1", "pixel")
"""Of the metrics that a seed changes little or not at all: phases, parameters, updates. Others are
held by the lower end of their band: what a network of whatever release learns at least, what an
attack reaches. Above its band a control may lie that stalls no more: the outcome judges that."""


def limit_findings(before: Iterable[Record], after: Iterable[Record]) -> list[Finding]:
    """Judge what must hold in any release, such as the phases of a step, by the table of bands.

    One number outside its band is worse, of whatever seed, unless the baseline has such a one too:
    then nothing has become worse, and a diagnostic says so. What a single seed of a training has
    learned too little is undecided: that can be chance, of two it is none.

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
    found = {
        metric: f"{metric} is {shown(record.metrics[metric], band)}, expected {band}"
        for metric, band in _limits(record).items()
        if metric in record.metrics and record.metrics[metric] not in band
    }
    miscounted = _miscounted(record)
    return {**found, PREDICTIONS: miscounted} if miscounted else found


def _miscounted(record: Record) -> str:
    """Say where a training's accuracy is not that of its predictions, or these are of few images.

    The two are counted by passes of their own over the same images.
    """
    rows = [entry for entry in record.statistics if "predicted" in entry]
    accuracy, expected = record.metrics.get("clean_accuracy"), record.settings.get("test_images")
    if record.question != TRAINING or not rows or accuracy is None:
        return ""
    try:
        images = sum(int(count) for row in rows for count in row["predicted"].values())
        right = sum(int(row["predicted"].get(str(row["label"]), 0)) for row in rows)
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        return f"the predictions by label cannot be read: {error!r:.80}"
    told = images * accuracy
    whole = math.isfinite(told) and abs(told - round(told)) < WHOLE
    if images == expected and whole and abs(right - told) < COUNTED:
        return ""
    return (
        f"clean_accuracy is {accuracy:.6g}, but {right} of {images} predictions are right, "
        f"expected the same of {expected} images: the evaluation is of other images or weights"
    )


def _limits(record: Record) -> dict[str, Band]:
    """List the limits of a record's numbers; NaN and infinity are told as such."""
    finite = {metric for metric, value in record.metrics.items() if math.isfinite(value)}
    found = {metric: SHARE for metric in finite if metric_row(metric).is_fraction}
    for metric, band in bands_of(record).items():
        if metric_row(metric).unit in UNITS:
            found[metric] = band
        elif metric in finite and math.isfinite(band.low):
            found[metric] = Band(band.low, found.get(metric, ANY).high)
    return found


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
    found = [(run, metric, text) for run in runs for metric, text in outside(run).items()]
    new = [each for each in found if (case, each[1]) not in known]
    finding = Finding(
        OUTCOME, case, METRIC, NO_WORSE, "all within their limits", seeds=(0, len(runs))
    )
    words = "; ".join(dict.fromkeys(text for *_, text in new or found))
    if not new:
        return finding._replace(words=f"as before: {words}") if found else finding
    if len({run.seed for run, *_ in new}) == 1 and all(
        _learned(run, metric) for run, metric, _ in new
    ):
        words = f"{words}; of seed {new[0][0].seed} alone, which can be chance"
        return finding._replace(decision=UNDECIDED, words=words)
    return finding._replace(decision=WORSE, words=words)


def _learned(run: Record, metric: str) -> bool:
    """True for what a training's seed decides too: a number that there can be."""
    if metric == PREDICTIONS:
        return False
    row = metric_row(metric)
    possible = not row.is_fraction or run.metrics[metric] in SHARE
    return run.question == TRAINING and row.unit not in UNITS and possible
