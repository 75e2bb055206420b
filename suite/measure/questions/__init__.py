"""The questions that a case can ask, one file each; `QUESTIONS` chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from suite.measure.questions import attack, draws, fixes, parity, stall, step_time, traps
from suite.measure.run import Measured, Run

QUESTIONS: Mapping[str, Callable[[Run], Measured]] = MappingProxyType(
    {
        "training": stall.train_and_evaluate,
        "fixes": fixes.measure_fix,
        "attack": attack.attack,
        "step-time": step_time.time_steps,
        "parity": parity.parity,
        "random": draws.draws,
        "traps": traps.traps,
    }
)
"""The function that answers each of `suite.cases.QUESTIONS`."""
