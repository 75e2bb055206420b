"""Unbroken runs: other seeds, threads and instruction sets change rounding, and must not alarm.

Each run is a process of its own. Its steps are compared with those that the default setting made
from the same seed.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.judge.gate.finding import NO_WORSE
from suite.judge.gate.steps import step_findings
from suite.judge.parity.compare import compare_states
from suite.judge.parity.distances import FINITE, tolerance_name
from suite.store import read_record, write_record
from tests.faults.bench import small_tier

if TYPE_CHECKING:
    from collections.abc import Mapping

    from suite.records import Record

SETTINGS: Mapping[str, Mapping[str, str]] = {
    "as it is": {},
    "1 thread": {"TF_NUM_INTRAOP_THREADS": "1", "OMP_NUM_THREADS": "1"},
    "2 threads": {"TF_NUM_INTRAOP_THREADS": "2", "OMP_NUM_THREADS": "2"},
    "no oneDNN": {"TF_ENABLE_ONEDNN_OPTS": "0"},
    "no oneDNN, 1 thread": {"TF_ENABLE_ONEDNN_OPTS": "0", "TF_NUM_INTRAOP_THREADS": "1"},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2"},
    "AVX2, 1 thread": {"ONEDNN_MAX_CPU_ISA": "AVX2", "TF_NUM_INTRAOP_THREADS": "1"},
    "SSE4.1": {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    "AVX": {"ONEDNN_MAX_CPU_ISA": "AVX"},
    "4 threads": {"TF_NUM_INTRAOP_THREADS": "4", "OMP_NUM_THREADS": "4"},
}
"""Environment variables of each setting."""

CASES: Sequence[Sequence[str]] = (
    ("parity-lenet5-plain", "parity-lenet5-intended", "parity-resnet50-w0.25-intended"),
    ("parity-lenet5-intended", "parity-alexnet-w0.5-plain"),
    ("parity-lenet5-plain", "parity-vgg19-w0.25-intended"),
    ("parity-alexnet-w0.5-intended", "parity-resnet50-w0.25-plain"),
    ("parity-vgg19-w0.25-plain", "parity-resnet50-w0.25-literal"),
)
"""What a seed measures in the default setting, five seeds taking turns; in another one of these,
the next five seeds another than the last."""

FIRST_SEED = 11  # the seeds of the small tier are below


class Run(NamedTuple):
    """One unbroken run.

    Attributes:
        seed: Of the batches and of the weights before the first step.
        setting: Name of the setting.
        alarms: The words of each finding that is not "no worse".
        nearest: The largest share of its tolerance that each kind of distance took.
    """

    seed: int
    setting: str
    alarms: Sequence[str]
    nearest: Mapping[str, float]


def measure(seed: int, folder: Path, cases: Sequence[str]) -> None:
    """Measure cases with a seed and store their records."""
    bench = small_tier(seed)
    for name in cases:
        record = bench.measure(name)
        write_record(record, folder / f"{record.name}.json")


def spawn(seed: int, folder: Path, cases: Sequence[str], variables: Mapping[str, str]) -> None:
    """Measure in a new process, whose environment decides how it rounds."""
    words = [str(seed), str(folder), *cases]
    command = [sys.executable, "-m", "tests.faults.unbroken", *words]
    subprocess.run(command, env={**os.environ, **variables}, check=True)  # noqa: S603 - itself


def runs(folder: Path, seeds: Sequence[int], settings: Sequence[str]) -> Iterator[Run]:
    """Measure each seed in the default setting and in every other; yield what is said of each."""
    for number, setting in enumerate(settings):
        for seed in seeds:
            turn, own = divmod(seed - FIRST_SEED, len(CASES))
            cases = CASES[own]
            case = cases[(number + turn) % len(cases)]
            known = records(seed, folder / f"seed{seed}-reference", cases, {})
            before = [record for record in known if record.case == case]
            place = folder / f"seed{seed}-{number}"
            yield judged(seed, setting, before, records(seed, place, [case], SETTINGS[setting]))


def records(
    seed: int, folder: Path, cases: Sequence[str], variables: Mapping[str, str]
) -> list[Record]:
    """Read the records of a run; those that its folder lacks are made."""
    paths = [folder / f"{name}-seed{seed}.json" for name in cases]
    lacking = [name for name, path in zip(cases, paths) if not path.exists()]
    if lacking:
        spawn(seed, folder, lacking, variables)
    return [read_record(path) for path in paths]


def judged(seed: int, setting: str, before: Sequence[Record], after: Sequence[Record]) -> Run:
    """Compare the steps of two runs of one seed."""
    found = step_findings(before, after)
    alarms = [f"{f.case}: {f.words}" for f in found if f.decision != NO_WORSE]
    return Run(seed, setting, alarms, nearest(before, after))


def nearest(before: Sequence[Record], after: Sequence[Record]) -> dict[str, float]:
    """Find the largest share of its tolerance that each kind of distance takes."""
    largest: dict[str, float] = {}
    for old, new in zip(before, after):
        for compared in compare_states(new, old):
            for found in compared.distances:
                if 0 < found.tolerance < FINITE:
                    when = "step 0" if found.place.step == 0 else "later"
                    key = f"{tolerance_name(found.place)}, {when}"
                    share = found.value / found.tolerance
                    largest[key] = max(largest.get(key, 0.0), share)
    return largest


def summary(made: Sequence[Run]) -> list[str]:
    """Say how many runs alarmed, which, and how near the others came."""
    bad = [run for run in made if run.alarms]
    moved = sum(any(run.nearest.values()) for run in made)
    lines = [
        f"False alarms: {len(bad)} of {len(made)} unbroken runs, {moved} of which round otherwise."
    ]
    lines += [f"- seed {run.seed}, {run.setting}: {text}" for run in bad for text in run.alarms]
    kinds = sorted({kind for run in made for kind in run.nearest})
    for kind in kinds:
        shares = [(run.nearest[kind], run.seed, run.setting) for run in made if kind in run.nearest]
        share, seed, setting = max(shares)
        lines.append(f"- {kind}: at most {share:.1%} of its tolerance (seed {seed}, {setting})")
    return lines


def count_alarms(folder: Path, first_seed: int) -> int:
    """Make every run, five seeds in all settings; print what came of them; 1 for an alarm."""
    made: list[Run] = []
    for run in runs(folder, range(first_seed, first_seed + len(CASES)), [*SETTINGS]):
        made.append(run)
        state = f"{len(run.alarms)} alarms" if run.alarms else "no alarm"
        print(f"seed {run.seed}, {run.setting}: {state}", flush=True)  # noqa: T201 - a command
    content: list[dict[str, Any]] = [run._asdict() for run in made]
    (folder / "unbroken.json").write_text(json.dumps(content, indent=1))
    print("\n".join(summary(made)))  # noqa: T201 - likewise
    return int(any(run.alarms for run in made))


if __name__ == "__main__":
    measure(int(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:])
