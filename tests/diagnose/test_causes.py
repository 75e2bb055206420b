from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.diagnose.causes.rules import judge
from suite.diagnose.causes.worth import mends, suspicious
from suite.diagnose.found import (
    VERDICTS,
    Examination,
    Finding,
    LayerExamination,
    NormState,
    Weights,
)
from suite.diagnose.network import Unit
from suite.diagnose.predictions import Evaluation
from suite.diagnose.probes import Predictions, Probe

if TYPE_CHECKING:
    from numpy.typing import NDArray

ENTROPY = float(np.log(4))
IMAGES = 200


def scores(worth: float) -> NDArray[np.float64]:
    """Return scores of that information gain, nats, in the mean."""
    noise = np.random.default_rng(0).uniform(-0.05, 0.05, IMAGES)
    return worth - ENTROPY + noise - noise.mean()


def evaluation(worth: float) -> Evaluation:
    accuracy = 0.25 + 0.75 * max(0.0, worth) / ENTROPY
    return Evaluation(accuracy, worth, ENTROPY - worth, 4 if worth > 0 else 1)


def layer(name: str, **changes: Any) -> LayerExamination:
    healthy = LayerExamination(name, 0.99, 1e-3, True, "training", None, 69, 0.05, 0.01, 0.01, 0.0)
    return healthy._replace(**changes)


STALE = {"symmetric_kl": 20.0, "mean_shift": 3.0, "steps_needed": 300.0}
FINE = Probe(0.9, 0.25, 0.0)
BLIND = Probe(0.25, 0.25, 0.5)
VARIED = Predictions(3.0, (), 0.2, 0.3, 0.9, 0.9, 0.05)


def examined(worths: dict[str, float], **changes: Any) -> Examination:
    """Return an examination of a network of three BatchNorm layers."""
    layers = changes.pop("layers", tuple(map(layer, ("bn1", "bn2", "bn3"))))
    content = {
        "norms": (NormState(False, float("nan"), True, 0.01),) * len(layers),
        "nonfinite": "",
        "overflow": False,
        "weights": (Weights("conv", "Conv2D", 1.0), Weights("head", "Dense", 1.2)),
        "units": (Unit("conv", "Conv2D", 0.8, 1.0), Unit("head", "Dense", 0.8, 1.0)),
        "predictions": VARIED,
        "probes": {"pixels": FINE, "features": FINE, "features (precise-bn)": FINE},
        "input_kl": float("nan"),
        "iterations": None,
        "images": IMAGES,
        "classes": 4,
        "label_entropy": ENTROPY,
        "majority": 0.25,
    }
    return Examination(
        evaluations={name: evaluation(worth) for name, worth in worths.items()},
        scores={name: scores(worth) for name, worth in worths.items()},
        layers=layers,
        **{**content, **changes},
    )


def worths(inference: float, precise: float, **others: float) -> dict[str, float]:
    return {"inference": inference, "training": inference, "precise-bn": precise, **others}


def stale_layers(**changes: Any) -> tuple[LayerExamination, ...]:
    return tuple(layer(f"bn{index}", **{**STALE, **changes}) for index in (1, 2, 3))


def found(*args: Any, **changes: Any) -> Finding:
    finding = judge(examined(*args, **changes))
    assert finding.verdict in VERDICTS
    return finding


def test_a_network_that_recomputing_does_not_mend_is_healthy() -> None:
    assert found(worths(1.0, 1.1))[:4] == ("healthy", "", "", "")
    assert found(worths(1.0, 1.1), layers=stale_layers(symmetric_kl=1.0)).verdict == "healthy"


def test_a_gain_without_a_distance_is_no_stale_statistic() -> None:
    assert found(worths(0.5, 1.2)).verdict == "healthy"


@pytest.mark.parametrize(
    ("parts", "cause"),
    [
        ({"only means": 1.2, "only variances": 0.1}, "stale mean"),
        ({"only means": 0.1, "only variances": 1.2}, "stale variance"),
        ({"only means": 0.4, "only variances": 0.4}, "stale mean and variance"),
    ],
)
def test_what_alone_restores_the_network_is_the_stale_part(
    parts: dict[str, float], cause: str
) -> None:
    finding = found(worths(0.0, 1.2, **parts), layers=stale_layers())
    assert finding[:4] == ("stale statistics", cause, "bn1", "precise-bn")


def test_a_layer_that_alone_explains_it_is_the_bad_one() -> None:
    layers = (layer("bn1"), layer("bn2", **STALE), layer("bn3"))
    parts = {"only means": 1.2, "only variances": 0.1, "only bn2": 1.2}
    finding = found(worths(0.0, 1.2, **parts), layers=layers)
    assert finding.cause == "one bad layer: stale mean"
    assert finding.layer == "bn2"


@pytest.mark.parametrize(
    ("changes", "start", "fix"),
    [
        ({"trainable": False, "phase": "inference"}, "frozen by mistake", "precise-bn"),
        ({"phase": "inference"}, "phase pinned", "precise-bn"),
        ({"momentum": 1.0}, "wrong momentum", "bn-momentum-0.5"),
        ({"momentum": 0.99999}, "wrong momentum", "bn-momentum-0.5"),
    ],
)
def test_what_keeps_statistics_stale_is_named_first(
    changes: dict[str, Any], start: str, fix: str
) -> None:
    finding = found(worths(0.0, 1.2), layers=stale_layers(**changes))
    assert finding.cause.startswith(start)
    assert finding.fix == fix


def test_statistics_still_on_their_way_are_the_momentums() -> None:
    norms = (NormState(False, 0.3, True, 20.0),) * 3
    finding = found(worths(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("wrong momentum")


def test_a_training_that_has_only_begun_is_healthy() -> None:
    norms = (NormState(False, 0.4, True, 20.0),) * 3
    finding = found(worths(0.0, 1.2), layers=stale_layers(), norms=norms, iterations=60)
    assert (finding.verdict, finding.cause) == ("healthy", "")
    slow = stale_layers(momentum=0.9999, half_life_steps=6931)
    finding = found(worths(0.0, 1.2), layers=slow, norms=norms, iterations=60)
    assert finding.cause.startswith("wrong momentum")


def test_statistics_never_updated_though_the_network_is_trained_tell_a_pinned_phase() -> None:
    norms = (NormState(True, 0.0, True, 20.0),) * 3
    finding = found(worths(0.0, 1.2), layers=stale_layers(), norms=norms)
    assert finding.cause.startswith("phase pinned")


def test_stale_statistics_under_a_head_trained_on_them_are_told_by_the_features() -> None:
    probes = {"pixels": FINE, "features": BLIND, "features (precise-bn)": FINE}
    constant = VARIED._replace(variation=0.5, marginal_distance=0.7)
    layers = stale_layers(phase="inference")
    finding = found(worths(0.0, 0.0), layers=layers, probes=probes, predictions=constant)
    assert finding.verdict == "stale statistics"
    assert finding.cause.startswith("phase pinned")


def test_an_untrained_network_is_no_case_of_batch_norm() -> None:
    norms = (NormState(True, 0.0, False, 20.0),) * 3
    vague = VARIED._replace(variation=0.2, marginal_distance=0.7)
    finding = found(
        worths(0.0, 0.0), norms=norms, layers=stale_layers(), predictions=vague, iterations=0
    )
    assert (finding.verdict, finding.cause, finding.fix) == ("something else", "not trained", "")


def test_an_input_scale_that_fits_comes_before_the_statistics() -> None:
    name = "input: [0, 1] -> BGR, mean subtracted (caffe)"
    finding = found(worths(0.0, 1.2, **{name: 1.2}), layers=stale_layers(), input_kl=0.05)
    assert (finding.cause, finding.fix) == ("wrong input scale", "imagenet-inputs")
    finding = found(worths(0.0, 1.2, **{name: 1.2}), layers=stale_layers(), input_kl=9.0)
    assert finding.verdict == "stale statistics"


def test_exploded_weights_come_before_the_statistics_behind_them() -> None:
    weights = (Weights("conv", "Conv2D", 100.0), Weights("head", "Dense", 1.2))
    finding = found(
        worths(0.0, 1.2, **{"rescaled: conv": 1.2}), layers=stale_layers(), weights=weights
    )
    assert finding[:3] == ("diverged", "exploded weights", "conv")


def test_a_constant_output_names_the_layer_at_which_the_images_are_lost() -> None:
    units = (Unit("conv", "Conv2D", 0.8, 1.0), Unit("head", "Dense", 0.0, 1.0))
    constant = VARIED._replace(variation=0.0, marginal_distance=0.75)
    finding = found(worths(0.0, 0.0), units=units, predictions=constant)
    assert finding[:3] == ("constant predictor", "dead head", "head")


def test_a_bias_that_outweighs_the_images_is_a_dead_head() -> None:
    biased = VARIED._replace(centred_accuracy=0.9, marginal_distance=0.75)
    finding = found(worths(0.0, 0.0), predictions=biased)
    assert finding[:3] == ("constant predictor", "dead head", "head")


def test_sure_and_varied_predictions_that_do_not_match_tell_shuffled_labels() -> None:
    careless = VARIED._replace(confidence_auc=0.5)
    unlucky = examined(worths(-1.0, -1.0), predictions=careless)
    varied = {
        name: each._replace(classes_predicted=4) for name, each in unlucky.evaluations.items()
    }
    assert judge(unlucky._replace(evaluations=varied)).cause == "label shuffle"


def test_renamed_classes_tell_permuted_labels() -> None:
    renamed = VARIED._replace(permuted_accuracy=0.95)
    finding = found(worths(-1.0, -1.0), predictions=renamed)
    assert finding.cause == "label shuffle (classes permuted)"


def test_labels_that_nothing_tells_are_no_labels_of_these_images() -> None:
    vague = VARIED._replace(variation=0.2, marginal_distance=0.7)
    probes = {"pixels": BLIND, "features": BLIND}
    assert found(worths(0.0, 0.0), predictions=vague, probes=probes).cause == "label shuffle"


def test_weights_that_are_not_numbers_come_first() -> None:
    finding = found({"inference": -1.0, "training": -1.0}, layers=(), nonfinite="conv")
    assert finding[:3] == ("diverged", "NaN weights", "conv")


def test_a_network_without_batch_norm_is_told_so() -> None:
    finding = found({"inference": 1.0, "training": 1.0}, layers=(), norms=())
    assert "not your problem" in " ".join(finding.words)


def test_a_small_or_chance_gain_mends_nothing() -> None:
    before = scores(0.5)
    assert not mends(before, before + 0.1, ENTROPY)
    assert mends(before, before + 0.5, ENTROPY)
    lucky = before.copy()
    lucky[:2] += 60.0
    assert not mends(before, lucky, ENTROPY)


def test_only_what_can_be_mended_is_tried() -> None:
    assert not suspicious(0.9 * ENTROPY, ENTROPY, 0.1)
    assert suspicious(0.5 * ENTROPY, ENTROPY, 0.1)
    assert suspicious(0.9 * ENTROPY, ENTROPY, 50.0)
    assert suspicious(float("nan"), ENTROPY, 0.1)
