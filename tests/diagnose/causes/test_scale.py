from __future__ import annotations

import pytest

from suite.diagnose.found import HEALTHY, OTHER, STALE, ScaleFit
from suite.diagnose.trials import CAFFE, FEATURES, INPUT_SCALE, PIXELS, InputScale, Trial
from tests.diagnose.causes.examined import (
    NORM,
    blind,
    found,
    layer,
    stale_layers,
    tells,
    trial,
    trials,
)

FITS = ScaleFit("bn1", 20.0, 0.04, float("nan"), float("nan"), 0.05, -8.0)
BYTES = InputScale("[0, 255]", "[0, 1]", False)


def fed(target: str, *, swapped: bool = False) -> Trial:
    return trial(INPUT_SCALE, 1.2, scale=InputScale("[0, 1]", target, swapped))


@pytest.mark.parametrize(
    ("target", "swapped", "fix"),
    [(CAFFE, False, "imagenet-inputs"), (CAFFE, True, "imagenet-inputs"), ("[0, 255]", False, "")],
)
def test_an_input_scale_that_fits_comes_before_the_statistics(
    target: str, swapped: bool, fix: str
) -> None:
    made = trials(0.0, 1.2, fed(target, swapped=swapped))
    finding = found(made, layers=stale_layers(), scale_fit=FITS)
    assert (finding.cause, finding.fix) == ("wrong input scale", fix)
    assert f"fed as [0, 1] -> {target}" in finding.words[0]
    assert any('imagenet-inputs, with inputs="caffe"' in text for text in finding.words) == bool(
        fix
    )


def test_an_input_scale_under_which_statistics_do_not_fit_is_not_the_cause() -> None:
    finding = found(
        trials(0.0, 1.2, fed(CAFFE)),
        layers=stale_layers(),
        scale_fit=FITS._replace(scaled=9.0, worst=9.0),
    )
    assert finding.verdict == STALE


def test_the_first_layers_variance_tells_bytes_though_recomputing_mends_more() -> None:
    layers = (layer("bn1", symmetric_kl=2000.0, log_variance_ratio=-9.0), *stale_layers()[1:])
    made = trials(0.3, 1.3, trial(INPUT_SCALE, 0.6, scale=BYTES))
    early = FITS._replace(as_fed=2000.0, scaled=5.0, travelled=0.45, explained=0.95, ratio=-9.0)
    finding = found(made, layers=layers, scale_fit=early, iterations=60)
    assert finding[:2] == (OTHER, "wrong input scale")
    words = " ".join(finding.words)
    assert "They were not divided by 255." in words
    assert "their log variance ratio is -9.0 (a factor of 255 makes 11.1)" in words
    assert "statistics that still lag are left" in words
    for other in (
        early._replace(scaled=1500.0),
        early._replace(ratio=-3.0),
        early._replace(travelled=0.95),  # further than 60 steps go
        early._replace(explained=0.2),
    ):
        assert found(made, layers=layers, scale_fit=other, iterations=60).verdict == STALE


def test_a_head_trained_on_images_in_the_wrong_scale_is_told_by_the_features() -> None:
    layers = (layer("bn1", symmetric_kl=2000.0, log_variance_ratio=11.0), *stale_layers()[1:])
    probes = (tells(PIXELS), blind(FEATURES), tells(FEATURES)._replace(scale=BYTES))
    made = trials(0.1, 0.1, trial(INPUT_SCALE, 0.1, scale=BYTES))
    fit = FITS._replace(as_fed=2000.0, ratio=11.0)
    finding = found(made, layers=layers, scale_fit=fit, probes=probes)
    assert finding[:2] == (OTHER, "wrong input scale")
    assert "tells 90.0% of the images so scaled, 25.0% as they are fed" in finding.words[-2]


def test_images_that_stand_out_are_named_where_the_network_does_not_do_well() -> None:
    finding = found(trials(0.1, 0.1), outlying=(3, 7))
    assert finding.cause == "images in different scales"
    assert "2 of 200 images are not scaled like the others" in finding.words[0]
    assert found(trials(1.35, 1.35), outlying=(3, 7)).verdict == HEALTHY


def test_a_scale_under_which_nothing_is_told_is_not_the_networks() -> None:
    made = trials(-3.0, -3.0, trial(INPUT_SCALE, -1.5, scale=BYTES))
    finding = found(made, layers=stale_layers(), scale_fit=FITS._replace(ratio=0.5))
    assert finding.cause != "wrong input scale"


def test_a_momentum_too_slow_is_not_taken_for_a_scale() -> None:
    norms = (NORM._replace(typical_kl=20.0, travelled=0.5, explained=0.99),) * 3
    made = trials(0.3, 1.2, trial(INPUT_SCALE, 1.2, scale=BYTES))
    finding = found(made, layers=stale_layers(), norms=norms, scale_fit=FITS, iterations=60)
    assert finding.cause.startswith("wrong momentum")


def test_a_scale_that_does_more_than_recomputing_is_named_though_statistics_lag() -> None:
    norms = (NORM._replace(typical_kl=20.0, travelled=0.5, explained=0.99),) * 3
    made = trials(0.1, 0.3, trial(INPUT_SCALE, 1.2, scale=BYTES))
    finding = found(
        made, layers=stale_layers(), norms=norms, scale_fit=FITS._replace(worst=3.0), iterations=60
    )
    assert finding.cause == "wrong input scale"
    assert "So scaled, the statistics still do not fit: recompute them then." in finding.words
