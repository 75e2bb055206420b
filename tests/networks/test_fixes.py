"""Tests of suite.fixes: each changes what it names and nothing else."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from suite.errors import FixError
from suite.networks.batch_norm import batch_norms
from suite.networks.fixes import FIXES, apply, require_fix
from suite.networks.phases import GRID, INFERENCE, PHASES, TRAINING, Phases
from suite.networks.preprocessing import MODES, imagenet_inputs
from suite.networks.types import Keras, Model
from suite.stacks.protocol import Stack

OF_MODELS = (
    "bn-momentum-0.5",
    "bn-momentum-0.9",
    "bn-freeze",
    "bn-reset",
    "precise-bn",
    "imagenet-inputs",
    "dual-bn",
    "group-norm",
)
"""The fixes that change the model."""

OF_BATCH_NORM = tuple(name for name in OF_MODELS if name != "imagenet-inputs")


pytestmark = pytest.mark.filterwarnings(
    "ignore:__array__ implementation:DeprecationWarning",  # Keras 3 saves variables so
    "ignore:You are saving your model as an HDF5:UserWarning",  # Keras 2.13 on
)


@pytest.fixture
def images() -> np.ndarray:
    return np.random.default_rng(0).random((4, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def nested(stack: Stack, foreign_model: Model) -> Model:
    """Return a model that calls another twice, once pinned, and a shared BatchNorm twice."""
    layers = stack.keras.layers
    inputs = stack.keras.Input((8, 8, 3))
    shared = layers.BatchNormalization(name="shared", scale=False)
    x = layers.TimeDistributed(layers.BatchNormalization(name="wrapped"))(shared(inputs))
    twice = layers.Add()([foreign_model(shared(x)), foreign_model(x, training=False)])
    model = stack.keras.Model(inputs, layers.Dense(3, name="head")(twice), name="outer")
    return foreign(model)


def foreign(model: Model) -> Model:
    """Give every BatchNorm of `model` the statistics of other data."""
    rng = np.random.default_rng(2)
    for layer in batch_norms(model):
        *learned, mean, variance = layer.get_weights()
        mean, variance = rng.normal(0, 0.3, mean.shape), rng.uniform(0.5, 2, variance.shape)
        layer.set_weights([*learned, mean, variance])
    return model


def recompute(model: Model) -> None:
    """Stand in for data: mean 2 and variance 3 everywhere."""
    for layer in batch_norms(model):
        *learned, mean, variance = layer.get_weights()
        layer.set_weights([*learned, 0 * mean + 2, 0 * variance + 3])


def fixed_model(name: str, keras: Keras, model: Model) -> Model:
    """Return the model of a fix, or skip the one that is not to be had."""
    if name == "group-norm" and not hasattr(keras.layers, "GroupNormalization"):
        pytest.skip("Keras before 2.11 has no GroupNormalization")
    return apply(name, keras, model, recompute=recompute).model


def reloaded(keras: Keras, model: Model, folder: Path, **custom_objects: Any) -> Model:
    """Return `model`, saved and loaded in the format of its Keras."""
    path = folder / ("model.keras" if hasattr(keras, "ops") else "model.h5")
    model.save(str(path))
    return keras.models.load_model(str(path), custom_objects=custom_objects, compile=False)


def names(model: Model) -> list[str]:
    """Return the names of the layers of `model`, but not its input's, which Keras 3 renames."""
    return [layer.name for layer in model.layers if type(layer).__name__ != "InputLayer"]


def pins(model: Model) -> int:
    """Return how many calls in the graph of `model` are pinned to the inference phase."""
    return str(model.get_config()).count("'training': False")


def assert_same_weights(old: list[np.ndarray], new: list[np.ndarray]) -> None:
    assert len(old) == len(new)
    for before, after in zip(old, new):
        np.testing.assert_array_equal(before, after)


def test_the_names_are_those_the_issue_lists() -> None:
    assert len(FIXES) == 13
    for name in (*FIXES, "bn-momentum-0", "bn-momentum-0.125"):
        require_fix(name)


@pytest.mark.parametrize(
    "name", ["", "momentum", "bn-momentum-1", "bn-momentum-nan", "bn-momentum--1", "bn-momentum-"]
)
def test_an_unknown_name_is_refused_with_the_rows(name: str) -> None:
    with pytest.raises(ValueError, match=r"fix must be one of none, .*X in \[0, 1\). Received: "):
        require_fix(name)


def test_the_control_changes_nothing(stack: Stack, foreign_model: Model) -> None:
    before = foreign_model.get_weights()
    fixed = apply("none", stack.keras, foreign_model, phases=PHASES["literal"])
    assert fixed == (foreign_model, foreign_model, PHASES["literal"], 32, 10, ())
    assert_same_weights(before, foreign_model.get_weights())
    assert [layer.momentum for layer in batch_norms(foreign_model)] == pytest.approx([0.99])


@pytest.mark.parametrize("name", OF_MODELS)
def test_the_given_model_is_left_as_it_was(stack: Stack, nested: Model, name: str) -> None:
    weights, config = nested.get_weights(), str(nested.get_config())
    model = fixed_model(name, stack.keras, nested)
    assert str(nested.get_config()) == config
    shared = set(map(id, nested.weights)) & set(map(id, model.weights))
    assert not shared
    model.set_weights([0 * weight for weight in model.get_weights()])
    assert_same_weights(weights, nested.get_weights())
    assert all(layer.trainable for layer in batch_norms(nested))


@pytest.mark.parametrize("name", ["bn-momentum-0.5", "bn-freeze", "dual-bn", "group-norm"])
def test_a_fixed_model_computes_the_same_after_saving_and_loading(
    stack: Stack, nested: Model, images: np.ndarray, tmp_path: Path, name: str
) -> None:
    model = fixed_model(name, stack.keras, nested)
    loaded = reloaded(stack.keras, model, tmp_path)
    settings = [
        [(layer.name, layer.momentum, layer.trainable) for layer in batch_norms(saved)]
        for saved in (model, loaded)
    ]
    assert settings[0] == settings[1]
    logits = [stack.network(saved).logits(images, training=False) for saved in (model, loaded)]
    np.testing.assert_allclose(*logits, rtol=1e-4, atol=1e-5)
    assert_same_weights(model.get_weights(), loaded.get_weights())


@pytest.mark.parametrize("name", ["bn-momentum-0.5", "bn-freeze", "dual-bn"])
def test_weights_nesting_sharing_and_pinned_calls_are_kept(
    stack: Stack, nested: Model, images: np.ndarray, name: str
) -> None:
    nested.get_layer("head").trainable = False
    fixed = apply(name, stack.keras, nested)
    assert [layer.name for layer in batch_norms(fixed.model)] == ["shared", "wrapped", "bn"]
    for model in (fixed.model, fixed.branch):
        assert_same_weights(nested.get_weights(), model.get_weights())
        assert len(model.weights) == len(nested.weights)
        assert names(model) == names(nested)
        assert pins(model) == pins(nested) == 1
        assert not model.get_layer("head").trainable
        found = stack.network(model).logits(images, training=False)
        expected = stack.network(nested).logits(images, training=False)
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)


def test_an_adapted_normalization_is_kept(stack: Stack, images: np.ndarray) -> None:
    keras = stack.keras
    if not hasattr(keras.layers, "Normalization"):
        pytest.skip("Keras has the layer Normalization from 2.6 on")
    normalization = keras.layers.Normalization()
    normalization.adapt(images * 7 + 3)
    inputs = keras.Input((8, 8, 3))
    x = keras.layers.BatchNormalization()(normalization(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2)(keras.layers.Flatten()(x)))
    fixed = apply("bn-momentum-0.5", keras, model).model
    expected = stack.network(model).logits(images, training=False)
    found = stack.network(fixed).logits(images, training=False)
    np.testing.assert_array_equal(found, expected)


def test_a_layer_that_two_models_share_is_one_layer_in_the_copy(stack: Stack) -> None:
    keras, shared = stack.keras, stack.keras.layers.BatchNormalization(name="shared")
    inputs, inner_inputs = keras.Input((3,)), keras.Input((3,))
    inner = keras.Model(inner_inputs, shared(inner_inputs))
    model = keras.Model(inputs, inner(shared(inputs)))
    (copy,) = batch_norms(apply("bn-momentum-0.5", keras, model).model)
    assert copy is not shared


def test_a_loaded_and_a_sequential_model_are_fixed_alike(
    stack: Stack, nested: Model, images: np.ndarray, tmp_path: Path
) -> None:
    keras = stack.keras
    loaded = reloaded(keras, nested, tmp_path)
    sequential = keras.Sequential([loaded, keras.layers.BatchNormalization(name="last")])
    stack.network(sequential).logits(images, training=False)
    for model, count in ((loaded, 3), (sequential, 4)):
        fixed = apply("bn-momentum-0.25", keras, model)
        assert_same_weights(model.get_weights(), fixed.model.get_weights())
        momenta = [layer.momentum for layer in batch_norms(fixed.model)]
        assert momenta == [0.25] * count
        assert type(fixed.model) is type(model)


def test_the_flags_of_a_half_frozen_model_are_kept(stack: Stack, nested: Model) -> None:
    nested.trainable = False
    nested.get_layer("head").trainable = True
    fixed = apply("dual-bn", stack.keras, nested)
    for model in (nested, fixed.model):
        learning = [layer.name for layer in model.layers if layer.weights and layer.trainable]
        assert learning == ["head"]
        assert not model.trainable


# The momentum


def published_patch(model: Model, momentum: float) -> Model:
    """Return the published answer's model: its config rewritten, its weights copied."""
    config = model.get_config()
    for layer in config["layers"]:
        if "momentum" in layer["config"]:
            layer["config"]["momentum"] = momentum
    patched = type(model).from_config(config)
    patched.set_weights(model.get_weights())
    return patched


def test_the_published_patch_and_the_attribute_and_the_fix_are_equal(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    keras = stack.keras
    passes = [np.roll(images, turn, axis=0) / (turn + 1) for turn in range(3)]

    def trained(model: Model) -> list[np.ndarray]:
        """Return weights and outputs after passes in the training phase, and after steps."""
        network, found = stack.network(model), []
        step = stack.train_step(model, phases=None, epsilon=0.0)  # the same at each run on 1.14
        for act in (
            lambda batch: network.logits(batch, training=True),
            lambda batch: step(batch, np.arange(4, dtype=np.int64), 0.01),
        ):
            for batch in passes:
                act(batch)
            found += [*model.get_weights(), network.logits(images, training=False)]
        return found

    patched = trained(published_patch(foreign_model, 0.5))
    fixed = trained(apply("bn-momentum-0.5", keras, foreign_model).model)
    unfixed = trained(apply("bn-momentum-0.99", keras, foreign_model).model)
    foreign_model.get_layer("bn").momentum = 0.5
    by_attribute = trained(foreign_model)
    for found in (fixed, by_attribute):
        for array, expected in zip(found, patched):
            np.testing.assert_allclose(array, expected, rtol=1e-5, atol=1e-6)
    assert np.abs(unfixed[-1] - patched[-1]).max() > 0.01


def test_any_momentum_is_set_and_told_of(stack: Stack, nested: Model) -> None:
    fixed = apply("bn-momentum-0.75", stack.keras, nested)
    assert fixed.changes == ("momentum of 3 BatchNorm layers (shared to bn) 0.99 -> 0.75",)
    assert [layer.momentum for layer in batch_norms(fixed.model)] == [0.75] * 3
    again = apply("bn-momentum-0.75", stack.keras, fixed.model)
    assert again.changes == ("momentum of 3 BatchNorm layers (shared to bn) is 0.75 already",)


# Phases and schedule

T, I = TRAINING, INFERENCE  # noqa: E741 - as in the tables of phases


@pytest.mark.parametrize(
    ("name", "given", "expected"),
    [
        ("bn-inference", PHASES["intended"], Phases(I, I, I)),
        ("training-phase", PHASES["literal"], Phases(T, T, T)),
        ("attack-inference-loss-training", PHASES["intended"], Phases(T, I, T)),
        ("phase-scope", PHASES["literal"], PHASES["intended"]),
        ("phase-scope", PHASES["intended"], PHASES["intended"]),
        ("phase-scope", GRID["clean-kept"], GRID["clean-kept"]),
        ("training-phase", None, None),
        ("attack-inference-loss-training", None, None),
        ("phase-scope", None, None),
    ],
)
def test_a_fix_of_phases_keeps_the_model(
    stack: Stack, foreign_model: Model, name: str, given: Phases | None, expected: Phases | None
) -> None:
    fixed = apply(name, stack.keras, foreign_model, phases=given)
    assert fixed[:-1] == (foreign_model, foreign_model, expected, 32, 10)
    (words,) = fixed.changes
    assert words.startswith("nothing to change" if given == expected else "phases ")


def test_more_iterations_are_smaller_batches_for_longer(stack: Stack, foreign_model: Model) -> None:
    fixed = apply("more-iterations", stack.keras, foreign_model, batch_size=16, epochs=2)
    assert fixed[:-1] == (foreign_model, foreign_model, None, 8, 10)
    assert fixed.changes == ("batch size 16 -> 8", "epochs 2 -> 10")


def test_what_cannot_be_applied_says_what_is_missing(stack: Stack, foreign_model: Model) -> None:
    with pytest.raises(ValueError, match=r"phases must .* bn-freeze .* Received: None"):
        apply("bn-inference", stack.keras, foreign_model)
    with pytest.raises(ValueError, match="recompute must be a function"):
        apply("precise-bn", stack.keras, foreign_model)
    unbuilt = stack.keras.Sequential([stack.keras.layers.BatchNormalization()])
    with pytest.raises(ValueError, match="model must be built"):
        apply("bn-reset", stack.keras, unbuilt)


@pytest.mark.parametrize("name", OF_BATCH_NORM)
def test_without_batch_norm_there_is_nothing_to_change(stack: Stack, name: str) -> None:
    inputs = stack.keras.Input((2,))
    model = stack.keras.Model(inputs, stack.keras.layers.Dense(2)(inputs))
    fixed = apply(name, stack.keras, model, recompute=recompute)
    assert fixed[:2] == (model, model)
    assert fixed.changes == ("nothing to change: the model has no BatchNorm layer",)


# Statistics


@pytest.mark.parametrize(
    ("name", "mean", "variance"), [("bn-reset", 0.0, 1.0), ("precise-bn", 2.0, 3.0)]
)
def test_only_the_statistics_are_replaced(
    stack: Stack, nested: Model, name: str, mean: float, variance: float
) -> None:
    fixed = apply(name, stack.keras, nested, recompute=recompute)
    for old, new in zip(batch_norms(nested), batch_norms(fixed.model)):
        *learned, moving_mean, moving_variance = new.get_weights()
        assert_same_weights(old.get_weights()[:-2], learned)
        np.testing.assert_array_equal(moving_mean, mean)
        np.testing.assert_array_equal(moving_variance, variance)
    old, new = (model.get_layer("head").get_weights() for model in (nested, fixed.model))
    assert_same_weights(old, new)


def test_poisoned_statistics_are_reset_too(stack: Stack, foreign_model: Model) -> None:
    layer = foreign_model.get_layer("bn")
    layer.set_weights([np.nan * weight for weight in layer.get_weights()])
    fixed = apply("bn-reset", stack.keras, foreign_model)
    *_, mean, variance = fixed.model.get_layer("bn").get_weights()
    np.testing.assert_array_equal(mean, 0)
    np.testing.assert_array_equal(variance, 1)


def test_frozen_batch_norm_runs_in_the_inference_phase_or_says_that_it_does_not(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("bn-freeze", stack.keras, foreign_model)
    network = stack.network(fixed.model)
    inference = network.logits(images, training=False)
    same = np.allclose(network.logits(images, training=True), inference, rtol=1e-5, atol=1e-6)
    assert same == (len(fixed.changes) == 1)
    assert ("from TensorFlow 2.0 on" in fixed.changes[-1]) != same
    learning = [weight.shape for weight in fixed.model.trainable_weights]
    assert len(learning) == len(foreign_model.trainable_weights) - 2


# Replaced layers


def test_dual_batch_norm_shares_all_but_batch_norm(stack: Stack, nested: Model) -> None:
    fixed = apply("dual-bn", stack.keras, nested, phases=PHASES["intended"])
    assert fixed.phases == Phases(T, I, T)
    own = {id(weight) for layer in batch_norms(fixed.branch) for weight in layer.weights}
    assert len(own) == 3 + 4 + 4
    kept = {id(weight) for layer in batch_norms(fixed.model) for weight in layer.weights}
    every = [{id(weight) for weight in model.weights} for model in (fixed.model, fixed.branch)]
    assert every[0] - kept == every[1] - own
    assert not every[0] & own
    both = stack.keras.Model(
        fixed.model.inputs, [fixed.model(fixed.model.inputs), fixed.branch(fixed.model.inputs)]
    )
    assert {id(weight) for weight in both.weights} == every[0] | own


def test_a_step_of_one_dual_branch_moves_what_is_shared_and_not_the_others_statistics(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("dual-bn", stack.keras, foreign_model, phases=PHASES["intended"])
    before = fixed.model.get_weights()
    step = stack.train_step(fixed.branch, phases=None, epsilon=0.0)
    step(images, np.arange(4, dtype=np.int64), 0.1)
    moved = [not np.array_equal(*pair) for pair in zip(before, fixed.model.get_weights())]
    names = [
        (layer.name, moved.pop(0)) for layer in fixed.model.layers for _ in layer.get_weights()
    ]
    assert {name for name, has_moved in names if has_moved} == {"conv", "logits"}


@pytest.mark.parametrize(("channels", "groups"), [(96, 32), (48, 24), (37, 1), (6, 6)])
def test_group_norm_keeps_gamma_and_beta_and_forms_the_most_groups(
    stack: Stack, channels: int, groups: int
) -> None:
    keras = stack.keras
    inputs = keras.Input((4, 4, channels))
    layer = keras.layers.BatchNormalization(name="bn", epsilon=0.01)
    model = keras.Model(inputs, layer(inputs, training=False))
    rng = np.random.default_rng(0)
    gamma, beta = rng.normal(size=(2, channels)).astype(np.float32)
    layer.set_weights([gamma, beta, beta, gamma**2])
    norm = fixed_model("group-norm", keras, model).get_layer("bn")
    assert (norm.groups, norm.epsilon) == (groups, 0.01)
    assert_same_weights([gamma, beta], norm.get_weights())


def test_group_norm_on_one_position_never_erases_its_input(stack: Stack) -> None:
    keras = stack.keras
    inputs = keras.Input((8,))
    model = keras.Model(inputs, keras.layers.BatchNormalization(name="bn")(inputs))
    fixed = fixed_model("group-norm", keras, model)
    logits = stack.network(fixed).logits(
        np.arange(16, dtype=np.float32).reshape(2, 8) ** 2, training=True
    )
    assert fixed.get_layer("bn").groups == 4
    assert (np.abs(logits) > 0.5).all()


def test_group_norm_names_the_release_that_has_it(
    stack: Stack, foreign_model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    if hasattr(stack.keras.layers, "GroupNormalization"):
        monkeypatch.delattr(stack.keras.layers, "GroupNormalization")
    with pytest.raises(FixError, match=r"from 2\.11 on"):
        apply("group-norm", stack.keras, foreign_model)


# Custom layers


@pytest.fixture
def block(stack: Stack) -> type:
    """Return a custom layer that holds a BatchNorm in a list."""
    layers = stack.keras.layers

    class Block(layers.Layer):  # type: ignore[misc, name-defined]
        def __init__(self, **options: Any) -> None:
            super().__init__(**options)
            self.conv = layers.Conv2D(3, 1, name="inner_conv")
            self.norms = [layers.BatchNormalization(name="inner_bn")]

        def call(self, inputs: Any, training: Any = None) -> Any:
            return self.norms[0](self.conv(inputs), training=training)

    return Block


@pytest.fixture
def composite(stack: Stack, block: Callable[..., Model]) -> Model:
    inputs = stack.keras.Input((8, 8, 3))
    outputs = stack.keras.layers.Flatten()(block(name="block")(inputs))
    return foreign(stack.keras.Model(inputs, outputs))


def test_batch_norm_inside_a_custom_layer_is_changed_there(
    stack: Stack, composite: Model, images: np.ndarray
) -> None:
    fixed = apply("bn-momentum-0.5", stack.keras, composite)
    assert [layer.momentum for layer in batch_norms(composite)] == pytest.approx([0.99])
    (layer,) = batch_norms(fixed.model)
    assert (layer.name, layer.momentum) == ("inner_bn", 0.5)
    assert fixed.changes[1:] == (
        "to be applied anew after loading: BatchNorm inside custom layers (block)",
    )
    assert_same_weights(composite.get_weights(), fixed.model.get_weights())
    _, _, before, _ = layer.get_weights()
    for turn in range(2):
        stack.network(fixed.model).logits(images, training=True)
        _, _, after, _ = layer.get_weights()
        if turn == 0:
            first = after
    np.testing.assert_allclose(after - first, (first - before) / 2, rtol=1e-3, atol=1e-6)


@pytest.mark.parametrize("name", ["dual-bn", "group-norm"])
def test_batch_norm_inside_a_custom_layer_is_not_replaced_silently(
    stack: Stack, composite: Model, name: str
) -> None:
    with pytest.raises(FixError, match=r"BatchNorm inside block of the class Block"):
        fixed_model(name, stack.keras, composite)


@pytest.mark.parametrize("remade", [True, False])
def test_a_model_of_a_class_of_its_own_is_copied_or_named(
    stack: Stack, images: np.ndarray, remade: bool
) -> None:
    keras = stack.keras

    class Own(keras.Model):  # type: ignore[misc, name-defined]
        def __init__(self, size: int, **options: Any) -> None:
            super().__init__(**options)
            self.conv = keras.layers.Conv2D(size, 3, trainable=False)
            self.bn = keras.layers.BatchNormalization(name="bn")

        def call(self, inputs: Any, training: Any = None) -> Any:
            return self.bn(self.conv(inputs), training=training)

        def get_config(self) -> dict[str, Any]:
            return {"size": 2} if remade else {}

    model = Own(2)
    model(keras.Input((8, 8, 3)), training=False)
    if not remade or not hasattr(model, "get_build_config"):
        with pytest.raises(FixError, match="of the class Own cannot be copied"):
            apply("bn-momentum-0.5", keras, model)
        return
    before = stack.network(model).logits(images, training=False)
    fixed = apply("bn-momentum-0.5", keras, model).model
    assert fixed.bn.momentum == 0.5
    assert not fixed.conv.trainable
    assert_same_weights(model.get_weights(), fixed.get_weights())
    fixed(images, training=False)  # on JAX its first call builds it
    found = stack.network(fixed).logits(images, training=False)
    np.testing.assert_allclose(found, before, rtol=1e-5, atol=1e-6)


def test_subclasses_of_batch_norm_are_found_and_keep_their_class(stack: Stack) -> None:
    class OwnNorm(stack.keras.layers.BatchNormalization):  # type: ignore[misc, name-defined]
        pass

    inputs = stack.keras.Input((8, 8, 3))
    model = stack.keras.Model(inputs, OwnNorm(name="own")(inputs))
    fixed = apply("bn-momentum-0.5", stack.keras, model)
    assert [type(layer) for layer in batch_norms(fixed.model)] == [OwnNorm]


# ImageNet's preprocessing


@pytest.mark.parametrize(
    ("name", "module"),
    [
        ("resnet50", "resnet50"),
        ("mobilenetv2_1.00_32", "mobilenet_v2"),
        ("densenet121", "densenet"),
    ],
)
def test_imagenet_inputs_are_the_preprocessing_of_keras_applications(
    stack: Stack, foreign_model: Model, images: np.ndarray, name: str, module: str
) -> None:
    keras = stack.keras
    named = keras.Model(foreign_model.inputs, foreign_model.outputs, name=name)
    fixed = apply("imagenet-inputs", keras, named)
    preprocess = getattr(keras.applications, module).preprocess_input
    prepared = preprocess(images.astype(np.float64) * 255).astype(np.float32)
    for training in (False, True):
        expected = stack.network(named).logits(prepared, training=training)
        found = stack.network(fixed.model).logits(images, training=training)
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_imagenet_inputs_leave_scaling_to_a_model_that_scales(stack: Stack) -> None:
    if not hasattr(stack.keras.layers, "Rescaling"):
        pytest.skip("Keras before 2.6 has no layer Rescaling")
    inputs = stack.keras.Input((8, 8, 3))
    model = stack.keras.Model(inputs, stack.keras.layers.Rescaling(1 / 255)(inputs))
    (words,) = apply("imagenet-inputs", stack.keras, model).changes
    assert MODES["raw"].words in words


def test_imagenet_inputs_want_images(stack: Stack) -> None:
    inputs = stack.keras.Input((8, 8, 1))
    model = stack.keras.Model(inputs, stack.keras.layers.Flatten()(inputs))
    with pytest.raises(FixError, match="for models of RGB images"):
        apply("imagenet-inputs", stack.keras, model)


def test_imagenet_inputs_share_the_models_weights_and_add_none_that_learn(
    stack: Stack, foreign_model: Model
) -> None:
    fixed = imagenet_inputs(stack.keras, foreign_model)
    assert fixed.count_params() == foreign_model.count_params() + 12
    learning = list(map(id, fixed.trainable_variables))
    assert learning == list(map(id, foreign_model.trainable_variables))
    assert [layer.name for layer in batch_norms(fixed)] == ["bn"]


def test_imagenet_inputs_keep_epsilon_in_pixels_and_let_the_gradient_through(
    stack: Stack, foreign_model: Model, images: np.ndarray
) -> None:
    fixed = apply("imagenet-inputs", stack.keras, foreign_model).model
    crafted = stack.network(fixed).craft(images, epsilon=0.01, training=False)
    change = np.abs(crafted - images)
    assert change.max() == pytest.approx(0.01, rel=1e-3)
    assert (change > 0.009).mean() > 0.5
    assert crafted.min() >= 0
    assert crafted.max() <= 1


def test_a_network_of_keras_applications_is_fixed(stack: Stack) -> None:
    keras = stack.keras
    model = keras.applications.MobileNetV2((32, 32, 3), alpha=0.35, weights=None, classes=5)
    count = len(list(batch_norms(model)))
    assert count == 52
    weights = model.get_weights()
    fixed = apply("bn-momentum-0.5", keras, model)
    assert "52 BatchNorm layers (bn_Conv1 to Conv_1_bn)" in fixed.changes[0]
    assert_same_weights(weights, fixed.model.get_weights())
    if hasattr(keras.layers, "GroupNormalization"):
        assert not any(batch_norms(apply("group-norm", keras, model).model))
