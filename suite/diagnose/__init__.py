"""What is wrong with anyone's Keras network: measured, then found by trying what mends it."""

from __future__ import annotations

from suite.diagnose.diagnosis import diagnose
from suite.diagnose.found import VERDICTS, Diagnosis, Evaluation, LayerExamination
from suite.diagnose.remedies import recompute_statistics

__all__ = [
    "VERDICTS",
    "Diagnosis",
    "Evaluation",
    "LayerExamination",
    "diagnose",
    "recompute_statistics",
]
