"""What is wrong with anyone's Keras network: measured, then found by trying what mends it."""

from __future__ import annotations

from suite.diagnose.diagnosis import diagnose
from suite.diagnose.found import VERDICTS, Diagnosis, LayerExamination
from suite.diagnose.predictions import Evaluation

__all__ = ["VERDICTS", "Diagnosis", "Evaluation", "LayerExamination", "diagnose"]
