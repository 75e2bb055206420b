"""What does an adversarial step cost beside a plain one, in time and memory?

Whether it costs more than on another release is the gate's question: it starts this file's worker
on both and asks them in turn (`suite.commands.pairs`).

The times also go to ``timing/step-times.json`` beside the records, under these tests' node ids:
pytest-benchmark's own ``compare`` and ``--benchmark-compare`` read them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

from conftest import Check, Measure
from suite.cases import Case
from suite.judge.bands import judged

if TYPE_CHECKING:
    from typing import TypeAlias

    from suite.measure.once import Session

Timer: TypeAlias = "Callable[[], Callable[..., Any]]"


@pytest.fixture
def timer(benchmark: Any, case: Case) -> Iterator[Timer]:
    """Give pytest-benchmark's timer to a case that must run; one that has its record is not timed.

    That fixture is asked for here, not by its name later: ``--benchmark-only`` and pytest-codspeed
    choose their tests by the fixtures that these declare.
    """
    used: list[Callable[..., Any]] = []
    benchmark.group = str(case)

    def pedantic() -> Callable[..., Any]:
        if getattr(benchmark, "disabled", False):
            pytest.skip(
                "no step is timed: pytest-benchmark is disabled, by --benchmark-disable or by "
                "pytest-xdist's -n. Run the step times without it"
            )
        return timed

    def timed(step: Callable[..., Any], **rounds: Any) -> Any:
        used.append(step)
        return benchmark.pedantic(step, **rounds)

    yield pedantic
    if not used:
        benchmark.skipped = True  # else pytest-benchmark warns that it was not used


@pytest.mark.table("step-time", "full-size")
def test_adversarial_step_costs_its_ratio(
    case: Case, seed: int, measure: Measure, check: Check, timer: Timer
) -> None:
    record = measure(case, seed, timer)
    check(record, judged(record))


@pytest.mark.worker
def test_worker_times_steps_as_it_is_asked(session: Session, pytestconfig: pytest.Config) -> None:
    from suite.measure.worker import serve  # noqa: PLC0415 - takes seconds

    serve(pytestconfig.option.worker, session)
