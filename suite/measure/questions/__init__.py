"""What is asked of a case, one file a question; `QUESTIONS` chooses."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from suite.measure.questions.attack import attack
from suite.measure.questions.fixes import measure_fix
from suite.measure.questions.parity import parity
from suite.measure.questions.stall import train_and_evaluate
from suite.measure.questions.step_time import time_steps
from suite.measure.questions.traps import traps
from suite.measure.run import Measured, Run

QUESTIONS: Mapping[str, Callable[[Run], Measured]] = MappingProxyType(
    {
        "training": train_and_evaluate,
        "fixes": measure_fix,
        "attack": attack,
        "step-time": time_steps,
        "parity": parity,
        "traps": traps,
    }
)
"""What answers each of `suite.cases.QUESTIONS`."""
