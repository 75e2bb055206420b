"""The flow on one page: a case and a seed become a record."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any

from suite.cases import Case, require
from suite.data import Dataset
from suite.measure.questions import QUESTIONS
from suite.measure.run import Pedantic, Run, subsets
from suite.measure.training import clock_s
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
) -> Record:
    """Run a case with a seed and make its record.

    Args:
        case: The row to run.
        seed: Of the subsets, the weights and the order of the batches.
        release: Name of the release that is installed.
        tier: Name of the tier the case belongs to.
        stack: The framework under measurement.
        dataset: What ``case.data`` names.
        environment: Versions, digests and machine; with the case, they make the record's key.
        pedantic: pytest-benchmark's; a step-time case needs it.

    Raises:
        SuiteError: If the case's weights cannot be had.
        ValueError: If `tier` is no tier, or a step-time case has no timer.
    """
    require("tier", tier, TIERS)
    started_at, start_s = datetime.now(timezone.utc).isoformat(), clock_s()
    run = Run(case, seed, stack, *subsets(case, dataset, seed=seed), environment, pedantic)
    measured = QUESTIONS[case.question](run)
    return Record(
        schema=SCHEMA_VERSION,
        release=release,
        tier=tier,
        question=case.question,
        case=str(case),
        seed=seed,
        key=record_key(case.settings(), environment),
        settings=case.settings(),
        environment=environment,
        started_at=started_at,
        wall_s=clock_s() - start_s,
        **measured._asdict(),
    )
