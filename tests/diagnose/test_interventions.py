"""Tests of what is tried on a network: each comes back as a trial, and the network as it was."""

from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.causes.worth import improves
from suite.diagnose.examine import examine
from suite.diagnose.found import Weights
from suite.diagnose.interventions import outliers, repair, rescale, single
from suite.diagnose.network import Network
from suite.diagnose.scales import scale_inputs
from suite.diagnose.trials import (
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PRECISE_BN,
    RESCALED,
    SINGLE,
)
from suite.networks.types import Keras, Model
from tests.arrays import assert_same
from tests.diagnose.nets import (
    CLASSES,
    QUIET,
    Data,
    Make,
    change,
    judge_of,
    norms,
    sample_of,
    scale_weights,
)

pytestmark = QUIET


def heard(keras: Keras, model: Model, data: Data) -> Network:
    listener = Network(model, keras)
    listener.hear(data[0])
    return listener


def test_only_a_part_of_the_statistics_is_recomputed(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    change(norms(model)[1], mean=6)
    before = [np.array(weight) for weight in model.get_weights()]
    listener = heard(keras, model, data)
    layers = examine(listener, sample_of(data)).layers
    recomputed = listener.recompute(data[0], batch_size=32)
    trials = repair(listener, sample_of(data), judge_of(data), layers, recomputed)
    assert [(trial.kind, trial.layer) for trial in trials] == [
        (ONLY_MEANS, ""),
        (ONLY_VARIANCES, ""),
        (ONLY_LAYER, "bn1"),
    ]
    means, variances, layer = (trial.evaluation.accuracy for trial in trials)
    assert variances < 0.7 < means
    assert layer > 0.9
    assert_same(before, model.get_weights())


@pytest.mark.parametrize("bias", [False, True])
def test_weights_that_stand_out_are_divided_and_put_back(
    keras: Keras, make: Make, data: Data, bias: bool
) -> None:
    model = make(norm=False)
    layer = model.get_layer("conv1")
    kernel, offset = layer.get_weights()
    layer.set_weights([1000 * kernel, 1000 * offset if bias else offset])
    before = [np.array(weight) for weight in model.get_weights()]
    weights = [Weights("conv1", True, 1000.0), *(Weights(f"{n}", True, 1.0) for n in range(3))]
    (trial,) = rescale(heard(keras, model, data), sample_of(data), judge_of(data), weights)
    assert (trial.kind, trial.layer) == (RESCALED, "conv1")
    assert trial.evaluation.accuracy > 0.9
    assert_same(before, model.get_weights())


def test_weights_of_which_none_stand_out_are_left_alone(
    keras: Keras, make: Make, data: Data
) -> None:
    weights = [Weights("conv1", True, 3.0), Weights("conv0", True, 1.0)]
    listener = heard(keras, make(), data)
    assert rescale(listener, sample_of(data), judge_of(data), weights) == ()


def test_the_scales_of_batch_norm_do_not_say_what_is_usual_of_kernels() -> None:
    kernels = [Weights("conv", True, 6.0), Weights("conv1", True, 1.0), Weights("head", True, 1.0)]
    scales = [Weights(f"bn{index}", False, 5.0) for index in range(9)]
    assert outliers([*kernels, *scales]) == {"conv": 6.0, **{f"bn{n}": 5.0 for n in range(9)}}
    assert outliers(scales[:1]) == {"bn0": 5.0}
    assert outliers([]) == {}


def test_kernels_that_are_0_do_not_say_what_is_usual() -> None:
    zeros = [Weights(name, True, 0.0) for name in "abc"]
    assert outliers(zeros) == {}
    assert outliers([*zeros, Weights("bn", False, 1.0), Weights("conv", True, 1.0)]) == {}


def test_a_scale_of_batch_norm_that_stands_out_is_divided_but_never_its_statistics(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    gamma, beta, *statistics = norms(model)[1].get_weights()
    norms(model)[1].set_weights([1000 * gamma, 1000 * beta, *statistics])
    weights = [Weights("bn1", False, 1000.0), Weights("head", True, 1.0)]
    (trial,) = rescale(heard(keras, model, data), sample_of(data), judge_of(data), weights)
    assert trial.layer == "bn1"
    assert trial.evaluation.accuracy > 0.9


@pytest.mark.parametrize("norm", [True, False])
def test_images_are_fed_in_the_scale_that_suits_the_network(
    keras: Keras, make: Make, data: Data, norm: bool
) -> None:
    images, labels = data
    wrong = (images / np.float32(255), labels)
    listener = heard(keras, make(norm=norm), wrong)
    recomputed = listener.recompute(wrong[0], batch_size=32) if norm else None
    found = scale_inputs(
        listener, sample_of(wrong), judge_of(wrong), recomputed=recomputed, batch_size=32
    )
    (trial,) = found.trials
    assert trial.kind == INPUT_SCALE
    assert str(trial.scale) == "[0, 1/255] -> [0, 1]"
    assert trial.evaluation.accuracy > 0.9
    assert {probe.scale for probe in found.probes} == {trial.scale}
    if norm:
        assert found.fit is not None
        assert found.fit.worst < 1
        assert found.fit.ratio > 6
    else:
        assert found.fit is None


def test_each_image_is_normalised_by_itself_where_recomputed_statistics_leave_it_poor(
    keras: Keras,
) -> None:
    rng, labels = np.random.default_rng(0), np.arange(96) % CLASSES
    patterns = rng.normal(size=(CLASSES, 36))
    patterns = (patterns - patterns.mean(1, keepdims=True)) / patterns.std(1, keepdims=True)
    layers = keras.layers
    inputs = keras.Input((6, 6, 1))
    x = layers.Flatten()(layers.Activation("relu")(layers.BatchNormalization()(inputs)))
    model = keras.Model(inputs, layers.Dense(CLASSES, use_bias=False, name="head")(x))
    model.get_layer("head").set_weights([np.float32(patterns.T / 2)])
    for spread, better in ((20, True), (0, False)):  # of the images' levels
        level = rng.uniform(-spread, spread, (len(labels), 1))
        images = np.float32(patterns[labels] + level).reshape(-1, 6, 6, 1)
        fed = (images, labels)
        listener = heard(keras, model, fed)
        recomputed = listener.recompute(images, batch_size=32)
        precise = judge_of(fed).trial(PRECISE_BN, recomputed.precise.outputs)
        made = single(listener, sample_of(fed), judge_of(fed), recomputed)
        assert [trial.kind for trial in made] == [SINGLE] * better
        assert all(improves(precise, trial) for trial in made)
        assert np.array_equal(model.get_weights()[2], np.zeros(1))  # the moving mean


def test_the_first_layers_variance_finds_a_scale_that_no_prediction_tells(
    keras: Keras, make: Make, data: Data
) -> None:
    model, bytes_fed = make(), (data[0] * np.float32(255), data[1])
    scale_weights(model.get_layer("head"), 0.0)
    listener = heard(keras, model, bytes_fed)
    found = scale_inputs(
        listener,
        sample_of(bytes_fed),
        judge_of(bytes_fed),
        recomputed=listener.recompute(bytes_fed[0], batch_size=32),
        batch_size=32,
    )
    assert str(found.trials[0].scale) == "[0, 255] -> [0, 1]"


def test_an_exploded_layer_is_told_by_the_first_that_is_about_as_large(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    for name, factor in (("conv0", 100.0), ("conv1", 150.0)):
        scale_weights(model.get_layer(name), factor)
    weights = [
        Weights("conv0", True, 100.0),
        Weights("conv1", True, 150.0),
        *(Weights(f"{n}", True, 1.0) for n in range(5)),
    ]
    (trial,) = rescale(heard(keras, model, data), sample_of(data), judge_of(data), weights)
    assert trial.layer == "conv0"
