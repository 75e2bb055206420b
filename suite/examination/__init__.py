"""What is wrong with anyone's Keras network: measured, then found by trying what mends it."""

from __future__ import annotations

from suite.examination.examine import (
    VERDICTS,
    Diagnosis,
    Evaluation,
    LayerExamination,
    diagnose,
)

__all__ = ["VERDICTS", "Diagnosis", "Evaluation", "LayerExamination", "diagnose"]
