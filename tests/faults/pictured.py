"""What the pictures of failures show: each kind of failure, measured from a planted fault.

`nox -s faults -- --pictures` plants them (minutes; GTSRB), writes docs/failures.json and draws it
(`tests.faults.pictures`). With the names of kinds these alone are measured, the others kept.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from suite.files import write_atomically
from suite.judge.bands import STALLED, bands_of
from suite.judge.gate.cost import MARGINS as COST_MARGINS
from suite.judge.gate.cost import TIME, UNITS
from suite.judge.gate.drawn import DRAWN
from suite.judge.gate.draws import draw_findings
from suite.judge.gate.finding import Answer, Finding
from suite.judge.gate.outcome import outcome_findings
from suite.judge.gate.sequential import Plan
from suite.judge.gate.steps import step_findings
from suite.judge.parity.compare import compare_states
from suite.judge.study import running_gains, window
from suite.judge.traps import TRAPS
from suite.measure.kept import Kept
from suite.report.gate import Told, lines
from tests.faults import bookkeeping, costs
from tests.faults.bench import Bench, small_tier
from tests.faults.bookkeeping import BOOKKEEPING
from tests.faults.fault import Fault, with_options
from tests.faults.optimizers import SGD
from tests.faults.pictures import draw
from tests.faults.probes import SEEDS, outside
from tests.faults.table import FAULTS

if TYPE_CHECKING:
    from suite.judge.parity.distances import Distance
    from suite.records import Record
    from tests.faults.fault import Tampering

FILE = Path("docs/failures.json")
BASELINE, CANDIDATE = "tf-2.21", "tf-2.21-with-a-fault"
POINTS = 100  # of a curve at most
DIGITS = 5  # of a number in the file
TOLD = 400  # times its tolerance: a distance further off is drawn as this
MOST_PAIRS = 300  # of steps, in a file
BOOKS = ("books-stale-lock", "books-seed-dropped", "books-baseline-edited")


class Kind(NamedTuple):
    """One kind of failure.

    Attributes:
        name: Of the picture's file, and of the anchor.
        picture: How it is drawn: a function of `tests.faults.pictures`.
        fault: The name of the planted fault.
        case: The case that is measured.
        measure: Gives the words that are printed and what is drawn.
    """

    name: str
    picture: str
    fault: str
    case: str
    measure: Callable[[Kind, Honest], tuple[list[str], Mapping[str, Any]]]


class Honest:
    """What the cases measure without a fault, each case and seed once."""

    def __init__(self, bench: Bench) -> None:
        """Measure nothing yet."""
        self.bench = bench
        self._known: dict[str, list[Record]] = {}

    def of(self, case: str, seeds: Sequence[int]) -> list[Record]:
        """Give the honest records of a case."""
        if case not in self._known:
            self._known[case] = measured(self.bench, case, seeds)
        return self._known[case]

    def both(self, kind: Kind, seeds: Sequence[int] = (0,)) -> tuple[list[Record], list[Record]]:
        """Give the records of a case without and with its fault; the honest ones come first.

        What is cached, such as pretrained weights, is so never made by a broken library.
        """
        before = self.of(kind.case, seeds)
        with PLANTED[kind.fault].plant():
            return before, measured(self.bench, kind.case, seeds)


def measured(bench: Bench, case: str, seeds: Sequence[int]) -> list[Record]:
    """Measure some seeds of a case."""
    kept = Kept()
    return [bench.measure(case, seed, kept=kept) for seed in seeds]


def failures(record: Record) -> list[str]:
    """Write what a benchmark run prints of each number outside its band."""
    place = f"{record.case} (seed {record.seed}): "
    if record.question == "traps":  # which name themselves
        place = ""
    return [f"FAILED {place}{text}" for text in outside(record).values()]


def answer_of(findings: Sequence[Finding], missing: Sequence[str] = ()) -> list[str]:
    """Write the gate's first lines where these findings are all that was judged."""
    return first_lines(Answer(BASELINE, CANDIDATE, findings, missing))


def first_lines(answer: Answer) -> list[str]:
    """Write what the gate prints of an answer above its tables."""
    return [*takewhile(bool, lines(Told(answer, (), {}, 0.0, {}, {})))]


def curves(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Train one seed without and with the fault; draw the gain of the adversarial branch."""
    before, after = (records[0] for records in honest.both(kind))
    gains = [running_gains(record) for record in (before, after)]
    taken = slice(None, None, math.ceil(len(gains[0]) / POINTS))
    steps = (window(before) + np.arange(len(gains[0])))[taken]
    names = ("without", "with")
    lines = {name: rounded(own[taken]) for name, own in zip(names, gains)}
    return failures(after), {"steps": steps.tolist(), "stalled": STALLED, **lines}


def steps(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Trace the steps without and with the fault; draw how far each quantity and layer parts."""
    before, after = honest.both(kind)
    found = next(each for each in compare_states(after[0], before[0]) if each.first)
    at = found.first.place if found.first else None
    own = [each for each in found.distances if at and each.place.step == at.step]
    quantities = list(dict.fromkeys(each.place.quantity for each in own))
    layers = list(dict.fromkeys(each.place.layer for each in own))
    cells = [[cell(own, quantity, layer) for layer in layers] for quantity in quantities]
    first = [at.quantity, at.layer, at.weight] if at else []
    drawn = {"state": found.state or "the drawn weights", "step": at.step if at else 0}
    said = answer_of(step_findings(before, after))
    return said, {**drawn, "quantities": quantities, "layers": layers, "cells": cells,
                  "first": first}  # fmt: skip


def cell(own: Sequence[Distance], quantity: str, layer: str) -> float | None:
    """Give the largest distance of a quantity in a layer, in tolerances; None if there is none."""
    there = [each for each in own if each.place[1:3] == (quantity, layer)]
    shares = [share(each) for each in there]
    return max(shares, default=None)


def share(each: Distance) -> float:
    """Give a distance in tolerances, at most `TOLD`."""
    if not each.tolerance:
        return float(TOLD if each.diverges else 0)
    return round(min(each.share, TOLD), DIGITS) if each.value == each.value else float(TOLD)


def draws(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Draw initial weights without and with the fault; compare the histograms of a kernel."""
    before, after = honest.both(kind)
    entries = [largest(record) for (record,) in (before, after)]
    shares = [np.asarray(entry["counts"]) / sum(entry["counts"]) for entry in entries]
    names = ("without", "with")
    said = answer_of(draw_findings(before, after))
    place = f"{entries[0]['weight']} of {entries[0]['layer']}"
    (seeds,) = (len(e["seeds"]) for e in before[0].statistics if e["quantity"] == "builds")
    return said, {
        "place": place,
        "seeds": seeds,
        **{n: rounded(own) for n, own in zip(names, shares)},
    }


def largest(record: Record) -> Mapping[str, Any]:
    """Find the kernel of which most numbers are drawn."""
    kernels = [entry for entry in record.statistics if entry["quantity"] == DRAWN]
    return max(kernels, key=lambda entry: entry["draws"])


def outcome(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Train five seeds without and with the fault; draw them with the interval and the margin."""
    before, after = honest.both(kind, SEEDS)
    found, missing = outcome_findings(before, after, plan=Plan())
    told = [finding for finding in found if finding.primary]
    metrics = [
        {
            "metric": f.metric, "unit": f.unit, "decision": f.decision, "margin": f.margin,
            "interval": [f.low, f.estimate, f.high],
            "without": rounded([r.metrics[f.metric] for r in before]),
            "with": rounded([r.metrics[f.metric] for r in after]),
        }
        for f in told
        if f.metric in before[0].metrics
    ]  # fmt: skip
    return answer_of(told, missing), {"metrics": metrics}


def slower(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Let a worker with the fault and one without make steps in turn; draw each pair."""
    del honest  # it measures in processes of its own
    made = costs.measured(kind.fault, FAULT_SHARE, cases=[kind.case])
    found = made.findings(kind.case, {})
    finding = next(each for each in found if each.metric == TIME)
    pairs = [math.exp(ratio) for start in made.starts[kind.case] for ratio in start.ratios(TIME)]
    shares = rounded([100 * (ratio - 1) for ratio in pairs[:MOST_PAIRS]])
    interval = [finding.low, finding.estimate, finding.high]
    margin = 100 * COST_MARGINS[UNITS[TIME]]
    return answer_of([finding]), {"pairs": shares, "interval": interval, "margin": margin}


def banded(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Measure a case with the fault; draw the numbers outside their band beside the honest ones."""
    (before,), (after,) = honest.both(kind)
    bands = bands_of(after)
    rows = [
        {"metric": name, "band": [finite(bands[name].low), finite(bands[name].high)],
         "without": before.metrics[name], "with": after.metrics[name]}
        for name in outside(after)
    ]  # fmt: skip
    return failures(after), {"rows": rows}


def trapped(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Try all traps without and with the fault; draw what each call was seen to do."""
    (before,), (after,) = honest.both(kind)
    seen = [{row["trap"]: row["outcome"] for row in r.statistics} for r in (before, after)]
    rows = [[trap.question, *(own[trap.name] for own in seen)] for trap in TRAPS]
    return failures(after), {"rows": rows}


def books(kind: Kind, honest: Honest) -> tuple[list[str], dict[str, Any]]:
    """Tamper with folders of records in three ways; draw the files and what the gate says."""
    del kind, honest
    panels = [tampered(each) for each in BOOKKEEPING if each.name in BOOKS]
    return [text for panel in panels for text in panel["said"]], {"panels": panels}


def tampered(tampering: Tampering) -> dict[str, Any]:
    """Make up records, tamper with them, and tell each file's fate and the gate's words."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        bookkeeping.made_up(folder)
        before = {path: path.read_bytes() for path in sorted(folder.rglob("*.json"))}
        tampering.tamper(folder)
        fates = {
            f"{path.parts[-3]}/{path.stem}": "gone" if not path.exists()
            else "as it was" if path.read_bytes() == content else "changed"
            for path, content in before.items()
        }  # fmt: skip
        answer = bookkeeping.answered(folder)
    missing = [text for text in first_lines(answer) if text.startswith("MISSING")]
    said = [text.replace(name, "records") for text in missing]
    return {"what": tampering.what, "said": said, "files": fates}


def finite(limit: float) -> float | None:
    """Give a limit; None where there is none."""
    return limit if math.isfinite(limit) else None


def rounded(values: Any) -> list[float]:
    """Round numbers to the digits of the file."""
    return [round(float(value), DIGITS) for value in values]


BETWEEN = Fault(
    "momentum-0.84", "optimizer", "SGD's momentum is 0.84 instead of 0.9.",
    with_options(f"{SGD}.__init__", momentum=0.84),
)  # fmt: skip
"""Five seeds cannot tell what it costs; the step map finds it at once."""

PLANTED = {**FAULTS, BETWEEN.name: BETWEEN}
FAULT_SHARE = 0.15  # of a step's time, that is planted
RESNET, LENET = "resnet50-w0.25-intended", "lenet5-intended-none"
KINDS = (
    Kind("stall", "curves", "bn-never-updates", f"{RESNET}-bn-momentum-0.5", curves),
    Kind("no-stall", "curves", "bn-momentum-hidden", f"{RESNET}-none", curves),
    Kind("attack", "bands", "attack-half-batch", "attack-lenet5", banded),
    Kind("trap", "traps", "bn-frozen-updates", "traps", trapped),
    Kind("step", "steps", "bn-epsilon-hidden", f"parity-{RESNET}", steps),
    Kind("random", "draws", "init-normal", "random-lenet5", draws),
    Kind("worse", "outcome", "loss-detached", LENET, outcome),
    Kind("too-good", "outcome", "evaluation-unattacked", LENET, outcome),
    Kind("undecided", "outcome", BETWEEN.name, LENET, outcome),
    Kind("slower", "slower", "cost-15-percent-slower", "step-time-lenet5", slower),
    Kind("evidence", "books", BOOKS[0], bookkeeping.CASES[0], books),
)
"""The kinds, in the order of the page."""


def main(names: Sequence[str]) -> int:
    """Measure the kinds that are named, or all, write the file after each, and draw them.

    Raises:
        ValueError: If a name is no kind.
    """
    unknown = {*names} - {kind.name for kind in KINDS}
    if unknown:
        rule = f"of {', '.join(kind.name for kind in KINDS)}"
        raise ValueError(f"names must be {rule}. Received: {', '.join(sorted(unknown))}")
    known = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() and names else {}
    honest = Honest(small_tier())
    for kind in KINDS:
        if not names or kind.name in names:
            words, drawn = kind.measure(kind, honest)
            known[kind.name] = entry(kind, words, drawn)
            print(kind.name, *words, sep="\n  ", flush=True)  # noqa: T201 - a command prints
            ordered = {each.name: known[each.name] for each in KINDS if each.name in known}
            write_atomically(FILE, f"{json.dumps(ordered)}\n".encode())
    draw(FILE.parent)
    return 0


def entry(kind: Kind, words: Sequence[str], drawn: Mapping[str, Any]) -> dict[str, Any]:
    """Put together all that the file tells of a kind."""
    rows = [*PLANTED.values(), *BOOKKEEPING]
    what = next(row.what for row in rows if row.name == kind.fault)
    named = {"fault": kind.fault, "what": what, "case": kind.case, "picture": kind.picture}
    return {**named, "words": [*words], "drawn": drawn}
