"""The bench: cases are measured on it as in a benchmark run, with or without a fault planted."""

from __future__ import annotations

import functools
import gc
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.data import Dataset, load_gtsrb
from suite.judge.gate.finding import NO_WORSE, Finding
from suite.measure.pipeline import run_case
from suite.stacks.loading import load
from suite.tables import asked

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from suite.cases import Case
    from suite.measure.kept import Kept
    from suite.records import Record
    from suite.stacks.protocol import Stack

RELEASE, TIER = "tf-2.21", "small"


class Bench(NamedTuple):
    """What all cases of a score share.

    Attributes:
        stack: The framework under measurement.
        cases: Every case that may be measured, by name.
        dataset: Gives the data of a case.
        seed: Of every case that is measured with one seed.
    """

    stack: Stack
    cases: Mapping[str, Case]
    dataset: Callable[[Case], Dataset]
    seed: int = 0

    def measure(
        self, name: str, seed: int | None = None, *, kept: Kept | None = None, pedantic: Any = None
    ) -> Record:
        """Run a case and return its record, which is stored nowhere."""
        case = self.cases[name]
        data = self.dataset(case)
        return run_case(
            case,
            seed=self.seed if seed is None else seed,
            release=RELEASE,
            tier=TIER,
            stack=self.stack,
            dataset=data,
            environment=environment(self.stack, data),
            kept=kept,
            pedantic=pedantic,
        )


def environment(stack: Stack, data: Dataset) -> dict[str, Any]:
    """Describe the environment of records that are compared with each other alone."""
    return {
        "stack": stack.__name__.rpartition(".")[2],
        "versions": stack.versions(),
        "lock_digest": "sha256:of this environment",
        "data_digest": data.digest,
        "code_digest": "sha256:of this checkout",
        "probe_digest": "sha256:of this checkout",
        "library_digest": "sha256:of this environment",
        "machine": {"fingerprint": "this machine"},
    }


def small_tier(seed: int = 0) -> Bench:
    """Make the bench of the small tier's cases on GTSRB, as `nox -s benchmarks` measures them."""
    root = os.environ.get("GTSRB_ROOT")

    @functools.lru_cache(maxsize=None)
    def data(size_px: int) -> Dataset:
        return load_gtsrb(Path(root) if root else None, size_px=size_px)

    return Bench(load(), asked(TIER), lambda case: data(case.size_px), seed)


class Probe(NamedTuple):
    """One thing that the suite measures, and how it judges it.

    Attributes:
        layer: Who judges: a layer of the gate, or another part of the suite.
        name: The case, or what else is measured.
        measure: Measures it on a bench.
        judge: Judges records of the baseline and of the candidate.
        alarming: The decisions of a finding that are an alarm.
    """

    layer: str
    name: str
    measure: Callable[[Bench], Sequence[Record]]
    judge: Callable[[Sequence[Record], Sequence[Record]], Sequence[Finding]]
    alarming: Sequence[str]

    def alarms(self, before: Sequence[Record], after: Sequence[Record]) -> list[Finding]:
        """List the findings that are an alarm."""
        found = self.judge(before, after)
        return [f for f in found if f.primary and f.decision in self.alarming]


class Measured(NamedTuple):
    """What a probe measured, and the seconds that it took."""

    records: Sequence[Record]
    seconds: float


def measured(probe: Probe, bench: Bench) -> Measured:
    """Measure a probe; collect the graphs of the last one first."""
    gc.collect()
    start = time.perf_counter()
    return Measured(probe.measure(bench), time.perf_counter() - start)


def agreed(findings: Sequence[Finding]) -> bool:
    """True where something was judged and nothing has become worse."""
    return bool(findings) and all(finding.decision == NO_WORSE for finding in findings)
