"""Complete: what a record must hold to be evidence, whether or not the other side holds it too.

What both sides lack would be compared by nobody: two records that lost the same metric, state or
quantity agree.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from suite.cases import Case
from suite.errors import SuiteError
from suite.judge.metrics import PRIMARY
from suite.judge.verdicts import listed
from suite.measure.states import load_states, states_path
from suite.networks.architectures import PRETRAINED
from suite.records import Record

ONCE = ("data", "start")  # told from the first state alone
STEPPED = (
    "evaluation", "schedule", "optimizer", "several steps", "initial weight", "batch",
    "inference logits", "clean_ce", "loss", "clean_accuracy", "gradient", "change",
)  # fmt: skip
"""The quantities that every trace has, from each of its states."""

ATTACKED = ("perturbation", "replay", "adversarial_ce", "adversarial_accuracy")
"""Those beside them under the adversarial loss."""

DRAWN = ("builds", "drawn", "layers")
DROPPED = ("dropout", "dropout layers", "dropout steps")
WITH_DROPOUT = "alexnet"  # the only network that has any


def lost(record: Record, case: Case) -> list[str]:
    """List what a record of a case must hold, and does not."""
    try:
        if case.question == "training":
            return [*_of_training(record)]
        if case.question == "parity":
            return [*_of_trace(record, case)]
        return [*_of_draws(record, case)] if case.question == "random" else []
    except (SuiteError, OSError, TypeError, LookupError) as error:  # no states, no such field
        return [f"what it should ({error})"]


def _of_training(record: Record) -> Iterator[str]:
    """Yield the metrics that decide and that are not there."""
    branch = "adversarial" if record.settings.get("phases") else "clean"
    yield from (name for name in (*PRIMARY, f"{branch}_branch_gain") if name not in record.metrics)


def _of_trace(record: Record, case: Case) -> Iterator[str]:
    """Yield the states, or their quantities, that are not there."""
    found = _quantities(record, "state")
    every = {*STEPPED, *(ATTACKED if case.phases is not None else ()), *found.get("0", ())}
    for state in _states(case):
        wanted = every | {*ONCE} if state == "0" else every - {*ONCE}
        wanted -= {"evaluation"} if state.endswith("Adam") else set()
        if state not in found:
            yield f"the state {state}"
        elif not wanted <= found[state]:
            yield f"{listed(sorted(wanted - found[state]))} from the state {state}"


def _states(case: Case) -> list[str]:
    """Name the states that a case steps from, by each optimizer.

    Raises:
        WeightsError: If the stored ones cannot be read.
    """
    trained = _trained(states_path(case)) if case.weights == "states" else ()
    states = ["0", *map(str, trained)]
    adam = case.phases is None and case.architecture in PRETRAINED
    return [*states, *(f"{state}, Adam" for state in states if adam)]


def _trained(path: Path) -> tuple[int, ...]:
    """Read after how many steps of a training the states of a file are.

    Raises:
        WeightsError: If it cannot be read.
    """
    changed_ns = path.stat().st_mtime_ns if path.exists() else 0
    return _read(path, changed_ns)


@functools.lru_cache(maxsize=None)
def _read(path: Path, changed_ns: int) -> tuple[int, ...]:
    """Read a file of states once, unless it changed."""
    del changed_ns
    return tuple(load_states(path))


def _of_draws(record: Record, case: Case) -> Iterator[str]:
    """Yield the quantities that are not there, and whether some weights are not."""
    wanted = {*DRAWN, *(DROPPED if case.architecture == WITH_DROPOUT else ())}
    yield from sorted(wanted - {*_quantities(record, "quantity")})
    rows = record.statistics
    builds = sum(len(row["seeds"]) for row in rows if row.get("quantity") == "builds")
    drawn = sum(row["draws"] for row in rows if "weight" in row)
    if drawn != builds * record.metrics["parameters"]:
        yield f"{builds} draws of each weight"


def _quantities(record: Record, name: str) -> dict[str, set[str]]:
    """Collect the quantities of a record's entries, by what another field of them says."""
    found: dict[str, set[str]] = {}
    for entry in record.statistics:
        found.setdefault(str(entry.get(name)), set()).add(str(entry.get("quantity")))
    return found
