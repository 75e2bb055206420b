"""Tests of answers that differ when the inference phase is run once more, and of what mends it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from suite.diagnose import pass_phase_on
from suite.diagnose.causes.unsteady import BATCH, RANDOM
from suite.diagnose.found import HEALTHY, OTHER, Repeats
from suite.diagnose.network import Network
from suite.diagnose.predictions import Judge, Reader, reader_of
from suite.diagnose.remedies import remedy
from suite.diagnose.repeats import Unsteady, repeated, steady_trials
from suite.diagnose.trials import STEADY, STEADY_PRECISE
from suite.networks.types import Keras, Model
from tests.diagnose.nets import (
    CLASSES,
    QUIET,
    SIDE_PX,
    Data,
    Make,
    change,
    found,
    network,
    norms,
    sample_of,
)

pytestmark = QUIET


def batch_norm(keras: Keras) -> Any:
    """Make a BatchNorm that always trains, as keras-resnet#46 had it."""

    class Pinned(keras.layers.BatchNormalization):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any, training: Any = None) -> Any:
            del training  # which is the mistake
            return super().call(inputs, training=True)

    return Pinned


def dropout(keras: Keras, *, told: bool = True) -> Any:
    """Make a Dropout that always drops, and may not even be told the phase."""

    class Always(keras.layers.Dropout):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any, training: Any = None) -> Any:
            del training
            return super().call(inputs, training=True)

    class Untold(keras.layers.Dropout):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            return super().call(inputs, training=True)

    return Always if told else Untold


def with_dropout(keras: Keras, make: Make, layer: Any) -> Model:
    """Put a layer between the trunk and the head of the healthy network."""
    whole = make()
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = inputs
    for each in whole.layers[1:-1]:
        x = each(x)
    outputs = keras.layers.Dense(CLASSES, name="head")(layer(x))
    model = keras.Model(inputs, outputs)
    model.get_layer("head").set_weights(whole.get_layer("head").get_weights())
    return model


def unsteady(keras: Keras, model: Model, data: Data) -> tuple[Unsteady, dict[str, float]]:
    """Search, and tell the accuracies that were tried."""
    listener = Network(model, keras)
    with listener.kept():
        outputs = listener.hear(data[0]).outputs
        judge = Judge(data[1], reader_of(outputs, listener.activations()))
        searched = repeated(listener, data[0], outputs, judge)
        again = listener.recompute(data[0], batch_size=32) if listener.norms else None
        trials = steady_trials(listener, sample_of(data), judge, searched, again)
    return searched, {trial.kind: trial.evaluation.accuracy for trial in trials}


@pytest.mark.parametrize("norm", [True, False])
@pytest.mark.parametrize("softmax", [True, False])
def test_a_network_that_obeys_the_phase_is_steady(
    keras: Keras, make: Make, data: Data, norm: bool, softmax: bool
) -> None:
    searched, tried = unsteady(keras, make(norm=norm, softmax=softmax), data)
    assert searched.layers == []
    assert searched.record == Repeats(again=0.0, elsewhere=0.0)
    assert tried == {}


def test_a_batch_norm_that_always_trains_is_found_by_another_batch(
    keras: Keras, make: Make, data: Data
) -> None:
    searched, tried = unsteady(keras, make(kind=batch_norm(keras)), data)
    record = searched.record
    assert record.again == 0
    assert record.elsewhere > 0.5
    assert record.layers == ("bn0", "bn1", "bn2")
    assert set(record.kinds) == {"Pinned"}
    assert record.random == (False, False, False)
    assert record.updated == ("bn0", "bn1", "bn2")
    assert record.mended
    assert record.alone < record.together - 0.3
    assert tried[STEADY] > 0.9


def test_recomputed_statistics_are_tried_where_those_of_the_layer_do_not_fit(
    keras: Keras, make: Make, data: Data
) -> None:
    model = make(kind=batch_norm(keras))
    for layer in norms(model):
        change(layer, mean=4)
    _, tried = unsteady(keras, model, data)
    assert tried[STEADY] < 0.6
    assert tried[STEADY_PRECISE] > 0.9


@pytest.mark.parametrize("told", [True, False])
def test_a_dropout_that_always_drops_is_found_by_the_same_batch(
    keras: Keras, make: Make, data: Data, told: bool
) -> None:
    layer = dropout(keras, told=told)(0.5, name="drops")
    searched, tried = unsteady(keras, with_dropout(keras, make, layer), data)
    record = searched.record
    assert record.again > 0.1
    assert (record.layers, record.random, record.mended) == (("drops",), (True,), True)
    assert record.updated == ()
    assert np.isnan(record.alone)
    assert tried[STEADY] > 0.9


def test_noise_of_a_layer_without_a_phase_is_named_and_not_mended(
    keras: Keras, make: Make, data: Data
) -> None:
    class Noisy(keras.layers.Layer):  # type: ignore[misc, name-defined]
        def call(self, inputs: Any) -> Any:
            rng = np.random.default_rng()
            return inputs * keras.backend.cast_to_floatx(rng.uniform(0.5, 1.5))

    searched, tried = unsteady(keras, with_dropout(keras, make, Noisy(name="noisy")), data)
    assert searched.record.layers == ("noisy",)
    assert searched.record.kinds == ("Noisy",)
    assert not searched.record.mended
    assert tried == {}


def test_two_kinds_are_found_one_after_the_other(keras: Keras, make: Make, data: Data) -> None:
    model = with_dropout(keras, make, dropout(keras)(0.5, name="drops"))
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    first = batch_norm(keras)(name="first")
    whole = keras.Model(inputs, model(first(inputs)))
    searched, _ = unsteady(keras, whole, data)
    assert dict(zip(searched.record.layers, searched.record.random)) == {
        "drops": True,
        "first": False,
    }
    assert searched.record.mended


def test_noise_of_the_models_own_call_is_no_layers(keras: Keras, data: Data) -> None:
    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.flat, self.dense = keras.layers.Flatten(), keras.layers.Dense(CLASSES)

        def call(self, inputs: Any) -> Any:
            return self.dense(self.flat(inputs * np.random.default_rng().uniform(0.5, 1.5)))

    model = Own()
    model(data[0][:2], training=False)
    searched, _ = unsteady(keras, model, data)
    assert searched.record.again > 0.01
    assert searched.record.layers == ()


def test_rounding_is_no_difference(keras: Keras, make: Make, data: Data) -> None:
    listener = Network(make(), keras)
    outputs = listener.hear(data[0]).outputs
    rounded = outputs.astype(np.float16).astype(np.float64)
    judge = Judge(data[1], Reader("logits"))
    assert repeated(listener, data[0], rounded, judge).record.elsewhere == 0
    shifted = outputs + 0.3 * outputs.std() * np.random.default_rng(0).normal(size=outputs.shape)
    assert repeated(listener, data[0], shifted, judge).record.elsewhere > 0.05


def test_outputs_that_are_not_finite_are_not_compared(keras: Keras, make: Make, data: Data) -> None:
    outputs = np.full((len(data[0]), CLASSES), np.nan)
    record = repeated(Network(make(), keras), data[0], outputs, Judge(data[1], Reader("logits")))
    assert np.isnan(record.record.again)


def test_it_beats_healthy_and_its_code_mends_the_network(
    keras: Keras, make: Make, data: Data, tmp_path: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    model = make(kind=batch_norm(keras))
    diagnosis = found(model, data)
    assert (diagnosis.verdict, diagnosis.cause, diagnosis.layer) == (OTHER, BATCH, "bn0")
    chosen = remedy(diagnosis)
    assert "Tried here" in chosen.words
    own = tuple(each for each in diagnosis.attempts if each.kind != STEADY)
    assert "Mend the layer's own call" in remedy(diagnosis._replace(attempts=own)).words
    names = {"model": model, "images": data[0], "labels": data[1]}
    exec(compile(chosen.code, "pasted", "exec"), names)  # noqa: S102
    assert found(model, data).verdict == HEALTHY
    assert found(keras.models.load_model("mended.keras"), data).verdict == HEALTHY


@pytest.mark.parametrize("told", [True, False])
def test_the_phase_is_passed_on_to_a_dropout(
    keras: Keras, make: Make, data: Data, told: bool
) -> None:
    model = with_dropout(keras, make, dropout(keras, told=told)(0.5, name="drops"))
    assert found(model, data).cause == RANDOM
    assert pass_phase_on(model, data[0]) == ["drops"]
    assert found(model, data).verdict == HEALTHY
    twice = [Network(model, keras).outputs(data[0], training=True) for _ in range(2)]
    assert not np.allclose(*twice)  # in training it still drops
    assert pass_phase_on(model, data[0]) == []


def test_a_call_in_the_graph_with_training_true_is_mended_where_keras_obeys_it(
    keras: Keras, data: Data
) -> None:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    x = keras.layers.Dropout(0.5, name="drops")(keras.layers.Flatten()(inputs), training=True)
    model = keras.Model(inputs, keras.layers.Dense(CLASSES)(x))
    twice = [Network(model, keras).outputs(data[0], training=False) for _ in range(2)]
    obeyed = not np.allclose(*twice)  # Keras 3 lets the model's own phase override it
    assert pass_phase_on(model, data[0]) == (["drops"] if obeyed else [])
    twice = [Network(model, keras).outputs(data[0], training=False) for _ in range(2)]
    assert np.allclose(*twice)


def test_the_network_is_left_as_it_was(keras: Keras, data: Data) -> None:
    model = network(keras, kind=batch_norm(keras))
    before = [np.array(weight) for weight in model.get_weights()]
    found(model, data)
    assert all(map(np.array_equal, before, model.get_weights()))
    assert all(type(layer).__name__ == "Pinned" for layer in norms(model))


def test_a_whole_network_called_with_training_true_is_mended_where_keras_obeys_it(
    keras: Keras, make: Make, data: Data
) -> None:
    inputs = keras.Input((SIDE_PX, SIDE_PX, 3))
    model = keras.Model(inputs, make()(inputs, training=True))
    listener = Network(model, keras)
    alone, together = (listener.outputs(data[0][:n], training=False)[0] for n in (1, 32))
    obeyed = not np.allclose(alone, together, atol=1e-3)
    changed = pass_phase_on(model, data[0])
    assert ("bn0" in changed) == obeyed
    assert found(model, data).verdict == HEALTHY
