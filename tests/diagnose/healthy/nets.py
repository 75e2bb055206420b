"""How healthy networks are built: convolutions of every normalisation, sequences, tables."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from suite.networks.types import Keras, Model

if TYPE_CHECKING:
    from typing import TypeAlias

Build: TypeAlias = "Callable[[Keras, tuple[int, ...], int], Model]"
"""Builds a network of the library, for samples of that shape, with so many outputs."""

Step: TypeAlias = "Callable[[Keras, Any], Any]"
"""Adds layers to what is given."""


def normalised(keras: Keras, norm: str, momentum: float, name: str) -> Any:
    """Make the layer that normalises, or None."""
    layers = keras.layers
    if norm in ("batch", "sync"):
        options = {"synchronized": True} if norm == "sync" else {}
        return layers.BatchNormalization(momentum=momentum, name=name, **options)
    kinds = {"group": "GroupNormalization", "layer": "LayerNormalization"}
    options = {"groups": 4} if norm == "group" else {}
    return getattr(layers, kinds[norm])(name=name, **options) if norm in kinds else None


def convolution(keras: Keras, kind: str, width: int, strides: int, **options: Any) -> Any:
    """Make a convolution of 3 by 3, its `kind` "Conv2D" unless another is wanted."""
    layers = keras.layers
    kernel = {"depthwise_initializer": "he_normal", "pointwise_initializer": "he_normal"}
    if kind == "Conv2D":
        kernel = {"kernel_initializer": "he_normal"}
    spectral, kind = kind == "spectral", "Conv2D" if kind == "spectral" else kind
    made = getattr(layers, kind)(
        width, 3, strides=strides, padding="same", **(kernel if not spectral else {}), **options
    )
    return layers.SpectralNormalization(made) if spectral else made


def images(
    norm: str = "batch",
    *,
    widths: Sequence[int] = (8, 16, 16),
    kind: str = "Conv2D",
    momentum: float = 0.9,
    activation: Any = "relu",
    pool: str = "mean",
    head: str | None = None,
    units: int | None = None,
    dropout: float = 0.0,
    before: Step | None = None,
    between: Step | None = None,
    first: bool = False,
    decay: float = 0.0,
) -> Build:
    """Describe convolutions, each normalised and activated, and a head.

    Args:
        norm: "batch", "sync", "group", "layer" or "none".
        widths: Channels of the convolutions; all but the first one halve the side.
        kind: Of convolution: "Conv2D", "SeparableConv2D" or "spectral".
        momentum: Of BatchNorm.
        activation: Its name, or what makes a layer of the library.
        pool: "mean", "max" or "flat", before the head.
        head: Its activation.
        units: Its outputs, if not one a class.
        dropout: Before the head.
        before: Layers before the first convolution.
        between: Layers after each activation.
        first: Whether the activation comes before the normalisation.
        decay: Weight decay (L2).
    """

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        penalty = {"kernel_regularizer": keras.regularizers.l2(decay)} if decay else {}
        x = inputs = keras.Input(shape)
        x = before(keras, x) if before else x
        for index, width in enumerate(widths):
            strides = 1 if index == 0 else 2
            plain = norm in ("none", "group", "layer")
            x = convolution(keras, kind, width, strides, use_bias=plain, **penalty)(x)
            activate = (
                layers.Activation(activation) if isinstance(activation, str) else activation(keras)
            )
            normalise = normalised(keras, norm, momentum, f"norm{index}")
            for step in (activate, normalise) if first else (normalise, activate):
                x = step(x) if step is not None else x
            x = between(keras, x) if between else x
        x = {
            "mean": layers.GlobalAveragePooling2D,
            "max": layers.GlobalMaxPooling2D,
            "flat": layers.Flatten,
        }[pool]()(x)
        x = layers.Dropout(dropout)(x) if dropout else x
        return keras.Model(inputs, layers.Dense(units or classes, activation=head)(x))

    return build


def dense(
    *, widths: Sequence[int] = (32, 16), norm: str = "none", head: str | None = None,
    units: int | None = None, activation: Any = "relu", before: Step | None = None,
    dropout: float = 0.0, kernel: str = "he_normal",
) -> Build:  # fmt: skip
    """Describe dense layers, as a sequential network."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        model = keras.Sequential([keras.Input(shape)])
        if before:
            model = keras.Sequential([keras.Input(shape), *before(keras, None)])
        if len(shape) > 1:
            model.add(layers.Flatten())
        for index, width in enumerate(widths):
            model.add(layers.Dense(width, kernel_initializer=kernel))
            normalise = normalised(keras, norm, 0.9, f"norm{index}")
            if normalise is not None:
                model.add(normalise)
            model.add(layers.Activation(activation))
            if dropout:
                model.add(layers.Dropout(dropout))
        model.add(layers.Dense(units or classes, activation=head))
        return model

    return build


def recurrent(kind: str, *, norm: bool = False, both: bool = False, dropout: float = 0.0) -> Build:
    """Describe a recurrent layer over a sequence, and a head."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        x = inputs = keras.Input(shape)
        cell = getattr(layers, kind)(16, return_sequences=norm, dropout=dropout)
        x = (layers.Bidirectional(cell) if both else cell)(x)
        if norm:
            x = layers.GlobalAveragePooling1D()(layers.BatchNormalization(momentum=0.9)(x))
        return keras.Model(inputs, layers.Dense(classes, activation="softmax")(x))

    return build


def sequence_convolutions(*, separable: bool = False) -> Build:
    """Describe convolutions along a sequence, with BatchNorm."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        x = inputs = keras.Input(shape)
        kind = layers.SeparableConv1D if separable else layers.Conv1D
        for width in (16, 16):
            x = kind(width, 5, padding="same")(x)
            x = layers.BatchNormalization(momentum=0.9)(x)
            x = layers.MaxPooling1D(2)(layers.ReLU()(x))
        return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling1D()(x)))

    return build


def embedded(body: str, *, words: int = 40) -> Build:
    """Describe an embedding of token ids, and a `body`: "mean", "LSTM", "Conv1D", "attention"."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape, dtype="int32")
        x = layers.Embedding(words, 16)(inputs)
        if body == "LSTM":
            x = layers.LSTM(16)(x)
        elif body == "Conv1D":
            x = layers.Conv1D(16, 3, use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
            x = layers.GlobalMaxPooling1D()(x)
        else:
            x = _attended(keras, x) if body == "attention" else x
            x = layers.GlobalAveragePooling1D()(x)
        return keras.Model(inputs, layers.Dense(classes)(x))

    return build


def attention() -> Build:
    """Describe a transformer's block over a sequence."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        x = _attended(keras, layers.Conv1D(16, 5, padding="same")(inputs))
        return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling1D()(x)))

    return build


def patches() -> Build:
    """Describe a small vision transformer: patches of 4 by 4, one block."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        x = layers.Conv2D(24, 4, strides=4)(inputs)
        x = _attended(keras, layers.Reshape((shape[0] * shape[1] // 16, 24))(x), width=24)
        return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling1D()(x)))

    return build


def _attended(keras: Keras, x: Any, *, width: int = 16) -> Any:
    """Add attention and a dense layer, each with LayerNorm and a way around it."""
    layers = keras.layers
    normed = layers.LayerNormalization()(x)
    x = layers.Add()([x, layers.MultiHeadAttention(2, 8)(normed, normed)])
    hidden = layers.Dense(2 * width, activation="gelu")(layers.LayerNormalization()(x))
    return layers.Add()([x, layers.Dropout(0.1)(layers.Dense(width)(hidden))])


def residual(*, last_zero: bool = False) -> Build:
    """Describe residual blocks; `last_zero` starts each with a scale (gamma) of 0."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        x = layers.Conv2D(16, 3, padding="same", use_bias=False)(inputs)
        for _ in range(2):
            y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
            y = layers.Conv2D(16, 3, padding="same", use_bias=False)(y)
            start = "zeros" if last_zero else "ones"
            y = layers.BatchNormalization(momentum=0.9, gamma_initializer=start)(y)
            x = layers.MaxPooling2D(2)(layers.Add()([x, y]))
        x = layers.GlobalAveragePooling2D()(layers.ReLU()(x))
        return keras.Model(inputs, layers.Dense(classes)(x))

    return build


def depthwise() -> Build:
    """Describe inverted bottlenecks with depthwise convolutions, as in MobileNetV2."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        x = layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)
        for _ in range(2):
            y = layers.Conv2D(36, 1, use_bias=False)(x)
            y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(y))
            y = layers.DepthwiseConv2D(3, padding="same", use_bias=False)(y)
            y = layers.ReLU(6.0)(layers.BatchNormalization(momentum=0.9)(y))
            y = layers.Conv2D(12, 1, use_bias=False)(y)
            x = layers.Add()([x, layers.BatchNormalization(momentum=0.9)(y)])
        return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

    return build


def dense_blocks() -> Build:
    """Describe a DenseNet: each layer reads all before it."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        x = layers.Conv2D(12, 3, padding="same", use_bias=False)(inputs)
        for _ in range(4):
            y = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
            x = layers.Concatenate()([x, layers.Conv2D(8, 3, padding="same", use_bias=False)(y)])
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return keras.Model(inputs, layers.Dense(classes)(layers.GlobalAveragePooling2D()(x)))

    return build


def cubes() -> Build:
    """Describe convolutions of three dimensions."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        x = layers.Conv3D(8, 3)(inputs)
        x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        return keras.Model(inputs, layers.Dense(classes)(layers.Flatten()(x)))

    return build


def half_precision() -> Build:
    """Describe convolutions that compute in float16, with BatchNorm and weights in float32."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers, mixed = keras.layers, "mixed_float16"
        x = inputs = keras.Input(shape)
        for width in (8, 16):
            x = layers.Conv2D(width, 3, strides=2, use_bias=False, dtype=mixed)(x)
            x = layers.BatchNormalization(momentum=0.9, dtype=mixed)(x)
            x = layers.ReLU(dtype=mixed)(x)
        x = layers.GlobalAveragePooling2D(dtype=mixed)(x)
        return keras.Model(inputs, layers.Dense(classes, dtype="float32")(x))

    return build


def subclassed() -> Build:
    """Describe a network that is a class of the user's own, with BatchNorm and Dropout."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers

        class Own(keras.Model):  # type: ignore[misc, name-defined]
            def __init__(self) -> None:
                super().__init__()
                self.convolutions = [layers.Conv2D(width, 3, strides=2) for width in (12, 16)]
                self.norms = [layers.BatchNormalization(momentum=0.9) for _ in range(2)]
                self.flat, self.drop = layers.Flatten(), layers.Dropout(0.3)
                self.head = layers.Dense(classes)

            def call(self, x: Any, training: Any = None) -> Any:
                for convolve, normalise in zip(self.convolutions, self.norms):
                    x = keras.activations.relu(normalise(convolve(x), training=training))
                return self.head(self.drop(self.flat(x), training=training))

        model = Own()
        model(keras.backend.zeros((1, *shape)) if not hasattr(keras, "ops") else
              keras.ops.zeros((1, *shape)), training=False)  # fmt: skip
        return model

    return build


def nested() -> Build:
    """Describe a base and a head that are networks of their own, as with keras.applications."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        base_inputs = keras.Input(shape)
        x = base_inputs
        for width in (12, 16):
            x = layers.Conv2D(width, 3, strides=2, use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization(momentum=0.9)(x))
        base = keras.Model(base_inputs, x, name="base")
        return keras.Sequential(
            [
                keras.Input(shape),
                base,
                layers.GlobalAveragePooling2D(),
                layers.Dropout(0.2),
                layers.Dense(classes, activation="softmax"),
            ]
        )

    return build


def ensemble() -> Build:
    """Describe the mean of two heads that share a base, which also sees the image mirrored."""

    def build(keras: Keras, shape: tuple[int, ...], classes: int) -> Model:
        layers = keras.layers
        inputs = keras.Input(shape)
        convolve = layers.Conv2D(16, 3, strides=2, use_bias=False)
        normalise = layers.BatchNormalization(momentum=0.9)
        mirror = layers.Permute((2, 1, 3))
        views = [
            layers.GlobalAveragePooling2D()(layers.ReLU()(normalise(convolve(view))))
            for view in (inputs, mirror(inputs))
        ]
        heads = [layers.Dense(classes, activation="softmax")(view) for view in views]
        return keras.Model(inputs, layers.Average()(heads))

    return build
