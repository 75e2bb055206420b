"""Tests of the list of what was tried: everything is in it, with what it gave."""

from __future__ import annotations

import math

from suite.diagnose.attempts import CHANGES
from tests.diagnose.nets import Data, Make, change, found, norms


def test_all_trials_are_listed_with_what_they_gave(make: Make, data: Data) -> None:
    model = make()
    change(norms(model)[1], mean=6)
    diagnosis = found(model, data)
    tried = {attempt.what: attempt for attempt in diagnosis.attempts}
    for kind, evaluation in diagnosis.evaluations.items():
        attempt = tried[CHANGES[kind]]
        assert attempt.accuracy == evaluation.accuracy
        assert attempt.information_gain == evaluation.information_gain
        assert attempt.classes_predicted == evaluation.classes_predicted
    mended = tried["only the moving statistics of bn1 recomputed"]
    assert mended.accuracy > tried["only the moving variances recomputed"].accuracy
    scales = [attempt for attempt in diagnosis.attempts if attempt.scale]
    assert [attempt.what for attempt in scales] == [f"images fed otherwise: {scales[0].scale}"]


def test_heads_fitted_anew_and_renamed_classes_are_tried_too(make: Make, data: Data) -> None:
    attempts = found(make(), data).attempts
    heads = [attempt for attempt in attempts if attempt.what.startswith("a linear head fitted to")]
    assert len(heads) == 6
    assert max(attempt.accuracy for attempt in heads) > 0.9
    assert all(math.isnan(attempt.information_gain) for attempt in heads)
    assert [attempt.classes_predicted for attempt in heads] == [None] * 6
    renamed = [attempt for attempt in attempts if "renamed" in attempt.what]
    assert renamed[0].accuracy > 0.9


def test_layers_are_examined_in_the_order_in_which_they_run(make: Make, data: Data) -> None:
    diagnosis = found(make(), data)
    assert [entry.layer for entry in diagnosis.weights if entry.kernel] == [
        "conv0", "conv1", "conv2", "head",
    ]  # fmt: skip
    assert [unit.layer for unit in diagnosis.units][-1] == "head"
