"""Probes: what the suite measures and judges, in the order of its cost."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from suite.judge.bands import bands_of
from suite.judge.gate.draws import draw_findings
from suite.judge.gate.finding import (
    OUTCOME,
    RANDOM_PARTS,
    STEP_MAP,
    UNDECIDED,
    WORSE,
    Finding,
)
from suite.judge.gate.outcome import outcome_findings
from suite.judge.gate.sequential import Plan
from suite.judge.gate.steps import step_findings
from suite.judge.traps import TRAPS, news
from suite.judge.verdicts import judge
from suite.measure.kept import Kept
from tests.faults.bench import Bench, Probe

if TYPE_CHECKING:
    from suite.records import Record

BANDS = "bands"
"""The layer of the benchmarks' own limits, of traps and of costs."""

SURE = (WORSE, UNDECIDED)  # of what is not left to chance: the gate is not passed
SEEDS = (0, 1, 2, 3, 4)


def stepped(name: str) -> Probe:
    """Make the probe of a case of the step map."""
    return Probe(STEP_MAP, name, lambda bench: [bench.measure(name)], step_findings, SURE)


def drawn(name: str) -> Probe:
    """Make the probe of a case of the random parts."""
    return Probe(RANDOM_PARTS, name, lambda bench: [bench.measure(name)], draw_findings, SURE)


def banded(name: str) -> Probe:
    """Make the probe of a case whose numbers have bands."""
    return Probe(BANDS, name, lambda bench: [bench.measure(name)], band_findings, SURE)


def timed(name: str) -> Probe:
    """Make the probe of a case whose steps are timed."""
    return Probe(
        BANDS, name, lambda bench: [bench.measure(name, pedantic=pedantic)], band_findings, SURE
    )


def trained(name: str, seeds: Sequence[int] = SEEDS) -> Probe:
    """Make the probe of the outcome of a case over some seeds."""

    def measure(bench: Bench) -> list[Record]:
        kept = Kept()
        return [bench.measure(name, seed, kept=kept) for seed in seeds]

    return Probe(OUTCOME, name, measure, compared, SURE)


def compared(before: Sequence[Record], after: Sequence[Record]) -> list[Finding]:
    """Judge the outcome of seeds that were measured in this process on both sides.

    What further seeds may decide is no alarm; what is too good is one.
    """
    found, missing = outcome_findings(before, after, plan=Plan())
    found = [each for each in found if each.decision != UNDECIDED or each.further is None]
    case = after[0].case
    lacking = [Finding(OUTCOME, case, "records", UNDECIDED, text) for text in missing]
    return [*found, *lacking]


def pedantic(
    function: Any, *, setup: Any, rounds: int, iterations: int, warmup_rounds: int
) -> None:
    """Call a function as often as pytest-benchmark would; the suite times it itself."""
    del iterations
    for _ in range(rounds + warmup_rounds):
        given, named = setup()
        function(*given, **named)


def band_findings(before: Sequence[Record], after: Sequence[Record]) -> list[Finding]:
    """Hold each number of the candidate against its band; one that was outside before is none."""
    known = {name for record in before for name in outside(record)}
    return [
        Finding(BANDS, record.case, name, WORSE, words)
        for record in after
        for name, words in outside(record).items()
        if name not in known
    ]


def outside(record: Record) -> dict[str, str]:
    """Say of each number outside its band what it is."""
    if record.question == "traps":
        return {trap.name: text for trap in TRAPS for text in [news(trap, record)] if text}
    verdicts = {
        name: judge(record.case, name, record.metrics.get(name, math.nan), band)
        for name, band in bands_of(record).items()
    }
    return {name: verdict.reason for name, verdict in verdicts.items() if verdict.failed}


SMALL_TIER = (
    stepped("parity-lenet5-intended"),
    stepped("parity-lenet5-plain"),
    banded("attack-lenet5"),
    drawn("random-lenet5"),
    stepped("parity-resnet50-w0.25-intended"),
    drawn("random-alexnet-w0.5"),
    stepped("parity-alexnet-w0.5-plain"),
    stepped("parity-alexnet-w0.5-intended"),
    banded("traps"),
    stepped("parity-vgg19-w0.25-intended"),
    stepped("parity-vgg19-w0.25-plain"),
    timed("step-time-lenet5"),
    trained("lenet5-intended-none"),
)
"""What a fault of the small tier has to pass, the cheapest first."""
