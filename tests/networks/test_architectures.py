"""Tests of the architectures: every layer is the published one, and ends in logits."""

from __future__ import annotations

from typing import Any

import pytest

from suite.networks import mixed, resnet50, vgg19
from suite.networks.architectures import ARCHITECTURES, PRETRAINED
from suite.networks.types import Model
from suite.stacks.protocol import Stack

CLASSES = 43
TOLD = (
    "filters", "kernel_size", "strides", "padding", "activation", "units", "rate", "pool_size",
    "use_bias", "epsilon", "momentum", "center", "scale",
)  # fmt: skip


def built(stack: Stack, name: str, *, size_px: int = 32, width: float = 1.0, **more: Any) -> Model:
    stack.keras.backend.clear_session()
    options = {"size_px": size_px, "classes": CLASSES, "width": width, **more}
    return ARCHITECTURES[name].build(stack.keras, **options)


def plan(model: Model) -> list[tuple[str, dict[str, Any]]]:
    """List the class and the telling settings of every layer after the input, but casts to 32."""
    layers = [layer for layer in model.layers if type(layer).__name__ != "InputLayer"]
    return [told(layer) for layer in layers if layer.name != "logits_in_32_bits"]


def told(layer: Any) -> tuple[str, dict[str, Any]]:
    config = {key: plain(value) for key, value in layer.get_config().items() if key in TOLD}
    if config.get("kernel_size") == [1, 1]:
        del config["padding"]  # a 1x1 convolution pads nothing either way
    return type(layer).__name__, config


def plain(value: Any) -> Any:
    """Write `value` as JSON would; a nested padding of one number is that number."""
    return [plain(part) for part in value] if isinstance(value, tuple | list) else value


def conv(filters: int, *, padding: str = "valid") -> tuple[str, dict[str, Any]]:
    settings = {"kernel_size": [3, 3], "strides": [1, 1], "activation": "relu", "use_bias": True}
    return "Conv2D", {**settings, "filters": filters, "padding": padding}


def dense(units: int, activation: str) -> tuple[str, dict[str, Any]]:
    return "Dense", {"units": units, "activation": activation, "use_bias": True}


def pool(kind: str) -> tuple[str, dict[str, Any]]:
    return f"{kind}Pooling2D", {"pool_size": [2, 2], "strides": [2, 2], "padding": "valid"}


FLATTEN: tuple[str, dict[str, Any]] = ("Flatten", {})


def test_lenet5_is_the_published_one(stack: Stack) -> None:
    model = built(stack, "lenet5")
    assert plan(model) == [
        conv(6),
        pool("Average"),
        conv(16),
        pool("Average"),
        FLATTEN,
        dense(120, "relu"),
        dense(84, "relu"),
        dense(CLASSES, "linear"),
    ]
    by_hand = (27 * 6 + 6) + (54 * 16 + 16) + (576 * 120 + 120) + (120 * 84 + 84) + (84 * 43 + 43)
    assert model.count_params() == by_hand == 84_107


def test_alexnet_is_the_published_one(stack: Stack) -> None:
    model = built(stack, "alexnet", size_px=64)
    pairs = [
        layer
        for filters in (32, 64, 128)
        for layer in (
            conv(filters, padding="same"),
            conv(filters),
            pool("Max"),
            ("Dropout", {"rate": 0.2}),
        )
    ]
    head = [FLATTEN, dense(512, "relu"), ("Dropout", {"rate": 0.5}), dense(CLASSES, "linear")]
    assert plan(model) == [*pairs, *head]
    assert model.count_params() == 2_668_875


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_every_architecture_ends_in_logits_and_takes_rgb_images(stack: Stack, name: str) -> None:
    model = built(stack, name, width=0.125)
    assert tuple(model.input_shape) == (None, 32, 32, 3)
    assert tuple(model.output_shape) == (None, CLASSES)
    assert plan(model)[-1] == dense(CLASSES, "linear")


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_width_multiplies_channels_and_hidden_units_alone(stack: Stack, name: str) -> None:
    blocks = {"blocks": (1, 1, 1, 1)} if "blocks" in ARCHITECTURES[name].options else {}
    full, half = (plan(built(stack, name, width=width, **blocks)) for width in (2.0, 0.5))
    for (kind, wide), (_, narrow) in zip(full[:-1], half[:-1], strict=True):
        for size in ("filters", "units"):
            if size in wide:
                assert wide.pop(size) == pytest.approx(4 * narrow.pop(size), rel=0.01), kind
        assert wide == narrow
    assert full[-1] == half[-1] == dense(CLASSES, "linear")


@pytest.mark.parametrize("name", PRETRAINED)
def test_the_head_is_flatten_sigmoid_logits(stack: Stack, name: str) -> None:
    head = [FLATTEN, dense(256, "sigmoid"), dense(CLASSES, "linear")]
    assert plan(built(stack, name, width=0.25))[-3:] == head


def own_base(stack: Stack, name: str) -> Model:
    """Build the base by the suite's own builder, at the published size."""
    keras = stack.keras
    inputs = keras.Input((64, 64, 3))
    if name == "vgg19":
        return keras.Model(inputs, vgg19.convolutions(keras, inputs, width=1.0))
    features = resnet50.convolutions(keras, inputs, width=1.0, blocks=resnet50.BLOCKS)
    return keras.Model(inputs, features)


def wiring(model: Model) -> dict[str, tuple[Any, ...]]:
    """List, by layer name, the settings, the parameters and the shapes of every layer."""
    return {
        layer.name: (
            *told(layer),
            plain(layer.get_config().get("padding")) if "pad" in layer.name else None,
            [tuple(weight.shape) for weight in layer.weights],
            tuple(layer.output.shape),
            sources(layer),
        )
        for layer in model.layers[1:]
    }


def sources(layer: Any) -> list[tuple[int | None, ...]]:
    inputs = layer.input if isinstance(layer.input, list) else [layer.input]
    return [tuple(tensor.shape) for tensor in inputs]


@pytest.mark.parametrize(("name", "published"), [("resnet50", "ResNet50"), ("vgg19", "VGG19")])
def test_the_own_builder_makes_the_layers_of_keras_applications(
    stack: Stack, name: str, published: str
) -> None:
    stack.keras.backend.clear_session()
    theirs = getattr(stack.keras.applications, published)(
        include_top=False, weights=None, input_shape=(64, 64, 3)
    )
    ours = own_base(stack, name)
    assert [layer.name for layer in ours.layers[1:]] == [layer.name for layer in theirs.layers[1:]]
    assert wiring(ours) == wiring(theirs)


def test_batch_norm_of_the_reduced_resnet_is_the_published_one(stack: Stack) -> None:
    settings = [
        config
        for kind, config in plan(built(stack, "resnet50", width=0.25, blocks=(1, 1, 1, 1)))
        if kind == "BatchNormalization"
    ]
    assert len(settings) == 1 + 4 * 4
    for config in settings:
        assert config["epsilon"] == pytest.approx(1.001e-5)
        assert config["momentum"] == pytest.approx(0.99)


def test_blocks_are_counted_by_stage_and_strides_open_the_later_stages(stack: Stack) -> None:
    model = built(stack, "resnet50", size_px=64, width=0.125, blocks=(1, 2, 1, 3))
    strided = {
        layer.name
        for layer in model.layers
        if type(layer).__name__ == "Conv2D" and plain(layer.strides) == [2, 2]
    }
    openings = {f"conv{stage}_block1_{part}_conv" for stage in (3, 4, 5) for part in (0, 1)}
    assert strided == {"conv1_conv", *openings}
    sums = [layer.name for layer in model.layers if type(layer).__name__ == "Add"]
    assert sums == [
        *("conv2_block1_add", "conv3_block1_add", "conv3_block2_add", "conv4_block1_add"),
        *(f"conv5_block{block}_add" for block in (1, 2, 3)),
    ]
    assert tuple(model.get_layer("conv5_block3_out").output.shape) == (None, 2, 2, 256)


@pytest.mark.parametrize("width", [1.0, 0.125])
def test_the_first_eight_layers_of_vgg19_are_frozen_and_only_these(
    stack: Stack, width: float
) -> None:
    model = built(stack, "vgg19", width=width)
    learning = [layer.name for layer in model.layers if layer.trainable]
    assert [layer.name for layer in model.layers[1:8]] == [
        *("block1_conv1", "block1_conv2", "block1_pool"),
        *("block2_conv1", "block2_conv2", "block2_pool", "block3_conv1"),
    ]
    assert learning == [layer.name for layer in model.layers[8:]]
    assert len(model.trainable_variables) == 2 * (16 - 5 + 2)


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name != "vgg19"])
def test_nothing_is_frozen_in_the_others(stack: Stack, name: str) -> None:
    model = built(stack, name, width=0.125)
    assert all(layer.trainable for layer in model.layers)


@pytest.mark.parametrize(("name", "parameters"), [("resnet50", 25_729_963), ("vgg19", 20_593_771)])
def test_the_published_size_has_the_published_parameters(
    stack: Stack, name: str, parameters: int
) -> None:
    assert built(stack, name).count_params() == parameters


@pytest.mark.parametrize("name", [name for name in ARCHITECTURES if name.endswith("float16")])
def test_mixed_precision_changes_the_precision_alone_and_no_network_after_it(
    stack: Stack, name: str
) -> None:
    plain, _, precision = name.partition("-")
    options = {"blocks": (1, 1, 1, 1)} if "blocks" in ARCHITECTURES[name].options else {}
    mixed = built(stack, name, width=0.25, **options)
    assert stack.keras.mixed_precision.global_policy().name == "float32"
    after = built(stack, plain, width=0.25, **options)
    assert plan(mixed) == plan(after)
    assert mixed.name == after.name
    assert {layer.compute_dtype for layer in mixed.layers[:-1]} <= {precision, "float32"}
    computing = [layer for layer in mixed.layers if type(layer).__name__ in ("Conv2D", "Dense")]
    assert {layer.compute_dtype for layer in computing} == {precision}
    assert {layer.compute_dtype for layer in after.layers} == {"float32"}
    assert mixed.layers[-1].compute_dtype == "float32"


def test_the_policy_is_as_it_was_where_a_network_in_mixed_precision_cannot_be_built(
    stack: Stack,
) -> None:
    def fails(keras: Any) -> Any:
        raise RuntimeError(keras.mixed_precision.global_policy().name)

    precision = stack.keras.mixed_precision
    precision.set_global_policy("mixed_bfloat16")
    try:
        with pytest.raises(RuntimeError, match="mixed_float16"):
            mixed.build(fails, "mixed_float16", stack.keras)
        assert precision.global_policy().name == "mixed_bfloat16"
    finally:
        precision.set_global_policy("float32")
