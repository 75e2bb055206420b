"""Tests of what is measured of a network: whole, in order, and never changed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose.examine import examine
from suite.diagnose.found import WEIGHT, Examination
from suite.diagnose.network import Network
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    CENTRED,
    FEATURES,
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PIXELS,
    PRECISE_BN,
    RENAMED,
    RESCALED,
    TRUNK,
)
from suite.networks.phases import INFERENCE, TRAINING
from suite.networks.types import Keras, Model
from tests.diagnose.nets import (
    CLASSES,
    QUIET,
    Data,
    Make,
    change,
    network,
    norms,
    sample_of,
    scale_weights,
)

pytestmark = QUIET
OTHERWISE = [RENAMED, CENTRED]


def examined(keras: Keras, model: Model, data: Data) -> Examination:
    listener = Network(model, keras)
    with listener.kept():
        return examine(listener, sample_of(data))


@pytest.fixture(scope="module")
def healthy(keras: Keras, make: Make, data: Data) -> Examination:
    return examined(keras, make(), data)


def test_a_healthy_network_is_examined_as_it_is_and_with_its_statistics_recomputed(
    healthy: Examination,
) -> None:
    kinds = [trial.kind for trial in healthy.trials]
    assert kinds == [INFERENCE, TRAINING, BATCH_STATISTICS, PRECISE_BN, *OTHERWISE]
    assert all(trial.evaluation.accuracy > 0.9 for trial in healthy.trials)
    probes = [(probe.source, probe.precise) for probe in healthy.probes]
    sources = (PIXELS, FEATURES, TRUNK)
    assert probes == [(source, precise) for precise in (False, True) for source in sources]
    assert (healthy.images, healthy.classes) == (160, CLASSES)
    assert (healthy.broken, healthy.iterations) == (None, None)
    assert healthy.scale_fit is None
    assert healthy.outlying == ()
    assert healthy.untouched == ()
    assert "bn1" in healthy.touched
    assert all(state.calls == 1 for state in healthy.norms)


def test_layers_stand_in_the_order_in_which_they_run(healthy: Examination) -> None:
    assert [layer.layer for layer in healthy.layers] == ["bn0", "bn1", "bn2"]
    assert len(healthy.norms) == 3
    assert [entry.layer for entry in healthy.weights] == [
        *("conv0", "bn0", "conv1", "bn1", "conv2", "bn2"),
        "head",
    ]
    assert [unit.kind for unit in healthy.units if unit.layer.startswith("conv")] == ["Conv2D"] * 3


def test_an_examination_holds_nothing_that_could_be_filled(healthy: Examination) -> None:
    assert not any(isinstance(value, (dict, list)) for value in healthy)
    assert all(not isinstance(value, (dict, list)) for trial in healthy.trials for value in trial)


def test_a_broken_network_is_examined_with_one_thing_changed_at_a_time(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    change(norms(model)[1], mean=6)
    scale_weights(model.get_layer("conv2"), 100.0)
    found = examined(keras, model, data)
    assert [(trial.kind, trial.layer) for trial in found.trials[6:]] == [
        (ALIKE, ""),
        (ONLY_MEANS, ""),
        (ONLY_VARIANCES, ""),
        (ONLY_LAYER, max(found.layers, key=lambda layer: layer.symmetric_kl).layer),
        (RESCALED, "conv2"),
        (INPUT_SCALE, ""),
    ]
    assert [trial.scale is not None for trial in found.trials[6:]] == [False] * 5 + [True]
    assert found.scale_fit is not None
    assert found.scale_fit.layer == "bn0"
    assert found.scale_fit.worst >= found.scale_fit.scaled > 0
    assert sum(probe.scale is not None for probe in found.probes) == 3


def test_a_network_without_batch_norm_has_fewer_trials(
    keras: Keras, make: Make, data: Data
) -> None:
    found = examined(keras, make(norm=False), data)
    assert [trial.kind for trial in found.trials] == [INFERENCE, TRAINING, *OTHERWISE]
    assert (found.layers, found.norms) == ((), ())
    assert not any(probe.precise for probe in found.probes)


def test_of_weights_that_are_not_numbers_nothing_is_recomputed(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    scale_weights(model.get_layer("conv1"), np.nan)
    found = examined(keras, model, data)
    assert found.broken is not None
    assert (found.broken.layer, found.broken.what) == ("conv1", WEIGHT)
    assert [trial.kind for trial in found.trials] == [INFERENCE, TRAINING, *OTHERWISE]
    assert found.layers == ()


def test_a_layer_that_is_called_twice_is_known_to_be(keras: Keras, data: Data) -> None:
    layers = keras.layers
    inputs, shared = keras.Input(data[0].shape[1:]), layers.BatchNormalization(name="shared")
    x = shared(layers.Conv2D(4, 3)(inputs))
    outputs = layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(shared(2 * x)))
    found = examined(keras, keras.Model(inputs, outputs), data)
    assert [state.calls for state in found.norms] == [2]


def test_layers_that_are_as_they_were_made_are_known(keras: Keras, data: Data) -> None:
    model = network(keras)
    found = examined(keras, model, data)
    assert found.untouched == ("bn0", "bn1", "bn2", "head")
    model.get_layer("head").bias.assign(np.full(CLASSES, 0.1))
    assert examined(keras, model, data).touched == ("head",)


def test_images_many_times_as_large_as_the_others_stand_out(
    keras: Keras, make: Make, data: Data
) -> None:
    images = data[0].copy()
    images[[3, 5]] *= 255
    assert examined(keras, make(), (images, data[1])).outlying == (3, 5)
    images[::2] *= 255  # every other image: these are two kinds
    assert examined(keras, make(), (images, data[1])).outlying == ()


def test_the_scale_of_any_batch_norm_is_no_kernel(keras: Keras) -> None:
    class SyncBatchNormalization(keras.layers.BatchNormalization):  # type: ignore[misc, name-defined]
        pass

    rng = np.random.default_rng(0)
    data: Any = rng.random((16, 12, 12, 3), dtype=np.float32), np.arange(16) % CLASSES
    for kind in (keras.layers.BatchNormalization, SyncBatchNormalization):
        weights = examined(keras, network(keras, kind=kind), data).weights
        assert [entry.kernel for entry in weights] == [True, False] * 3 + [True]


def test_a_kernel_is_measured_by_hes_initialisation(keras: Keras, make: Make, data: Data) -> None:
    model = make()
    kernel = model.get_layer("conv1").get_weights()[0]
    fan_in = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
    expected = float(np.sqrt(np.mean(kernel.astype(float) ** 2)) / np.sqrt(2 / fan_in))
    found = {entry.layer: entry.ratio for entry in examined(keras, model, data).weights}
    assert found["conv1"] == pytest.approx(expected)
    assert found["bn1"] == pytest.approx(
        float(np.sqrt(np.mean(norms(model)[1].get_weights()[0].astype(float) ** 2)))
    )


def test_the_steps_of_the_optimizer_are_what_can_have_updated_a_layer(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make()
    model.compile(keras.optimizers.SGD(0.0), keras.losses.MeanSquaredError())
    model.optimizer.iterations.assign(17)
    norms(model)[0].trainable = False
    found = examined(keras, model, data)
    assert found.iterations == 17
    assert [layer.updates_seen for layer in found.layers] == [0, 17, 17]
    assert [layer.phase for layer in found.layers] == ["inference", "training", "training"]
