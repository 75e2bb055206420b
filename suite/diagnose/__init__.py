"""What is wrong with anyone's Keras network: measured, then found by trying what mends it."""

from __future__ import annotations

from suite.diagnose.diagnosis import diagnose
from suite.diagnose.finite import in_float32
from suite.diagnose.found import VERDICTS, Diagnosis, LayerExamination
from suite.diagnose.remedies import recompute_statistics
from suite.diagnose.repeats import pass_phase_on
from suite.diagnose.trials import Evaluation

__all__ = [
    "VERDICTS",
    "Diagnosis",
    "Evaluation",
    "LayerExamination",
    "diagnose",
    "in_float32",
    "pass_phase_on",
    "recompute_statistics",
]
