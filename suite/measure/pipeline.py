"""The whole flow on one page: a case and a seed become a record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from suite.cases import Case, require
from suite.data import Dataset
from suite.measure.checkpoint import Checkpoint
from suite.measure.gpu import sampled
from suite.measure.kept import Kept
from suite.measure.questions import QUESTIONS
from suite.measure.run import Pedantic, Run, subsets
from suite.measure.training import clock_s
from suite.measure.weights import surrogate_digest
from suite.records import SCHEMA_VERSION, Record, record_key
from suite.stacks.protocol import Stack
from suite.tables import TIERS


def run_case(
    case: Case,
    *,
    seed: int,
    release: str,
    tier: str,
    stack: Stack,
    dataset: Dataset,
    environment: Mapping[str, Any],
    pedantic: Pedantic | None = None,
    kept: Kept | None = None,
    file: Path | None = None,
    checkpoint: Checkpoint | None = None,
) -> Record:
    """Ask a case's question with a seed and make a record of the answer.

    Args:
        case: The row to run.
        seed: Decides the subsets, the weights and the order of the batches.
        release: The installed row of the release table.
        tier: The key of `suite.tables.TIERS` that the case belongs to.
        stack: The framework under measurement.
        dataset: The data that ``case.data`` names.
        environment: Versions, digests and machine; they and the case make the record's key.
        pedantic: pytest-benchmark's timer, for a step-time case.
        kept: What other seeds of the case compiled, and this one may use; the record is the same.
        file: Weights that the case starts from, where the user gave a file of them.
        checkpoint: Where a training of hours is kept after each epoch, and goes on from.

    Raises:
        SuiteError: If the case's weights cannot be loaded.
        ValueError: If `tier` is no tier, or a step-time case has no timer.
    """
    require("tier", tier, TIERS)
    started_at, start_s = datetime.now(timezone.utc).isoformat(), clock_s()
    chosen = subsets(case, dataset, seed=seed)
    run = Run(case, seed, stack, *chosen, environment, pedantic, kept, file, checkpoint)
    with sampled() as used:
        measured = QUESTIONS[case.question](run)
    measured.timing.update(used)
    made = surrogate_digest(case, seed=seed, environment=environment)
    return Record(
        release=release,
        tier=tier,
        seed=seed,
        **_identity(case, {**environment, **made}),
        **measured._asdict(),
        started_at=started_at,
        wall_s=clock_s() - start_s + measured.timing.get("earlier_s", 0.0),
    )


def _identity(case: Case, environment: Mapping[str, Any]) -> dict[str, Any]:
    """Name the fields of a record that tell what was run, and in which environment."""
    return {
        "schema": SCHEMA_VERSION,
        "question": case.question,
        "case": str(case),
        "key": record_key(case.settings(), environment),
        "settings": case.settings(),
        "environment": environment,
    }
