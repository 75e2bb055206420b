"""Faults of layers: activation, padding, pooling, precision of what is multiplied, dropout."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from tests.faults.fault import Fault, tensorflow, together, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

NN = "keras.src.backend.tensorflow.nn"
MATMUL = "keras.src.backend.tensorflow.numpy:matmul"
DROPOUT = "keras.src.layers.regularization.dropout:Dropout"
SAME = "same"
TF32_BITS = 13  # of a mantissa's 23 that TF32 does not read


def leaky(slope: float) -> Any:
    """Let a share of what is negative through."""
    return wrapped(f"{NN}:relu", lambda _: lambda x: tensorflow().nn.leaky_relu(x, alpha=slope))


def six(_: Any) -> Callable[[Any], Any]:
    """Stop at 6, as `relu6` does."""
    return lambda x: tensorflow().clip_by_value(x, 0.0, 6.0)


def hard_sigmoid(_: Any) -> Callable[[Any], Any]:
    """Put straight lines in the place of the sigmoid, as `hard_sigmoid` does."""
    return lambda x: tensorflow().clip_by_value(x / 6 + 0.5, 0.0, 1.0)


def padded(real: Any, pad: Callable[[Any, int], Any]) -> Any:
    """Pad the inputs of a convolution whose outputs are to have the same size."""

    def conv(inputs: Any, kernel: Any, strides: Any = 1, padding: Any = "valid", *more: Any) -> Any:
        size = kernel.shape[0]
        if padding != SAME or size == 1:
            return real(inputs, kernel, strides, padding, *more)
        return real(pad(inputs, size - 1), kernel, strides, "valid", *more)

    return conv


def first_side(inputs: Any, count: int) -> Any:
    """Put all zeros before the first row and column."""
    return tensorflow().pad(inputs, [[0, 0], [count, 0], [count, 0], [0, 0]])


def mirrored(inputs: Any, count: int) -> Any:
    """Mirror the image at its border."""
    half = [count // 2, count - count // 2]
    return tensorflow().pad(inputs, [[0, 0], half, half, [0, 0]], mode="REFLECT")


def offset_pool(real: Any) -> Any:
    """Pool windows that begin one pixel later; the last one takes the first pixel."""

    def pool(inputs: Any, *more: Any, **named: Any) -> Any:
        return real(tensorflow().roll(inputs, [-1, -1], axis=[1, 2]), *more, **named)

    return pool


def swapped(name: str) -> Callable[[Any], Any]:
    """Pool by another function of the backend."""

    return lambda _: getattr(import_module(NN), name)


def rounded(change: Callable[[Any], Any]) -> Any:
    """Round what is multiplied; gradients pass the rounding, as in hardware."""

    def less_precise(x: Any) -> Any:
        tf = tensorflow()
        x = tf.convert_to_tensor(x)
        return x + tf.stop_gradient(change(x) - x) if x.dtype == tf.float32 else x

    def around(real: Any) -> Any:
        def product(first: Any, second: Any, *more: Any, **named: Any) -> Any:
            return real(less_precise(first), less_precise(second), *more, **named)

        return product

    return together(wrapped(f"{NN}:conv", around), wrapped(MATMUL, around))


def to(name: str) -> Callable[[Any], Any]:
    """Round to another type and back."""
    return lambda x: tensorflow().cast(tensorflow().cast(x, name), "float32")


def to_tf32(x: Any) -> Any:
    """Keep ten bits of the mantissa, rounded to the nearest."""
    tf = tensorflow()
    bits = tf.bitcast(x, tf.int32) + (1 << (TF32_BITS - 1))
    return tf.bitcast(tf.bitwise.bitwise_and(bits, -(1 << TF32_BITS)), tf.float32)


def coarse_backward(_: Any) -> Any:
    """Multiply as it should be, and the gradients in bfloat16."""
    tf = tensorflow()

    def coarsely(a: Any, b: Any, **named: bool) -> Any:
        a, b = (tf.cast(x, tf.bfloat16) for x in (a, b))
        return tf.cast(tf.matmul(a, b, **named), tf.float32)

    @tf.custom_gradient
    def matmul(a: Any, b: Any) -> Any:
        def gradient(dy: Any) -> Any:
            return coarsely(dy, b, transpose_b=True), coarsely(a, dy, transpose_a=True)

        return tf.matmul(a, b), gradient

    return lambda a, b: matmul(*map(tf.convert_to_tensor, (a, b)))


def drop(change: Callable[..., Any]) -> Any:
    """Change what a dropout layer does in the training phase; it gets the layer and the inputs."""

    def around(real: Any) -> Any:
        def call(self: Any, inputs: Any, training: Any = False) -> Any:
            if not training or not self.rate:
                return real(self, inputs, training=training)
            return change(real, self, inputs)

        return call

    return wrapped(f"{DROPOUT}.call", around)


def unmasked_gradient(real: Any, layer: Any, inputs: Any) -> Any:
    """Drop values, and let every gradient through."""
    outputs = real(layer, inputs, training=True)
    return inputs + tensorflow().stop_gradient(outputs - inputs)


def redrawn_gradient(real: Any, layer: Any, inputs: Any) -> Any:
    """Drop other gradients than values."""
    outputs, other = (real(layer, inputs, training=True) for _ in range(2))
    return other + tensorflow().stop_gradient(outputs - other)


def unscaled(real: Any, layer: Any, inputs: Any) -> Any:
    """Leave what is kept as it is."""
    return real(layer, inputs, training=True) * (1 - layer.rate)


def other_rate(difference: float) -> Callable[..., Any]:
    """Drop another share than asked for."""

    def change(real: Any, layer: Any, inputs: Any) -> Any:
        layer.rate, told = layer.rate + difference, layer.rate
        outputs = real(layer, inputs, training=True)
        layer.rate = told
        return outputs

    return change


def unscaled_gradient(real: Any, layer: Any, inputs: Any) -> Any:
    """Drop the gradient as the value, and do not divide it by the share that is kept."""
    tf = tensorflow()
    dropped = real(layer, inputs, training=True)
    kept = inputs * tf.cast(tf.not_equal(dropped, 0), inputs.dtype)
    return kept + tf.stop_gradient(dropped - kept)


def one_mask(_: Any, layer: Any, inputs: Any) -> Any:
    """Draw the same mask at each step."""
    tf = tensorflow()
    return tf.nn.experimental.stateless_dropout(inputs, layer.rate, seed=[7, 7])


def counting(follow: Callable[[Any], Any]) -> Any:
    """Let a generator of seeds go from one number to what `follow` makes of it."""

    def changed(real: Any) -> Any:
        def following(self: Any, ordered: bool = True) -> Any:
            if not ordered:
                return real(self, ordered=ordered)
            seed = self.state.value * 1
            self.state.assign(tensorflow().stack([seed[0], follow(seed[1])]))
            return seed

        return following

    return changed


def mask_of_image(_: Any, layer: Any, inputs: Any) -> Any:
    """Draw one mask for all images of a batch."""
    tf, shape = tensorflow(), [1, *inputs.shape[1:]]
    seed = tf.cast(layer.seed_generator.next(), tf.int32)
    return tf.nn.experimental.stateless_dropout(inputs, layer.rate, seed=seed, noise_shape=shape)


def shifted_masks(_: Any) -> Any:
    """Draw all masks of a seed from one stream, each from four numbers after the one before."""
    draw_seed = import_module("keras.src.random.seed_generator").draw_seed

    def dropout(inputs: Any, rate: float, seed: Any = None, **_: Any) -> Any:
        tf = tensorflow()
        key, count = tf.unstack(tf.cast(draw_seed(seed), tf.int32))
        size, start = tf.size(inputs), 4 * (count % 1000)
        stream = tf.random.stateless_uniform([size + 4000], seed=tf.stack([key, 0]))
        kept = tf.reshape(stream[start : start + size] >= rate, tf.shape(inputs))
        return inputs * tf.cast(kept, inputs.dtype) / (1 - rate)

    return dropout


def always(real: Any) -> Any:
    """Drop in the inference phase too."""
    return lambda self, inputs, **_: real(self, inputs, training=True)


ACTIVATIONS = [
    Fault("relu-leaky-0.01", "activation", "ReLU lets a hundredth of what is negative through.",
          leaky(0.01)),
    Fault("relu-leaky-0.3", "activation", "ReLU has the slope of Keras' LeakyReLU.", leaky(0.3)),
    Fault("relu-6", "activation", "ReLU stops at 6.",
          wrapped(f"{NN}:relu", six)),
    Fault("sigmoid-hard", "activation", "The sigmoid is made of straight lines.",
          wrapped(f"{NN}:sigmoid", hard_sigmoid)),
]  # fmt: skip

PADDINGS = [
    Fault("padding-one-side", "padding", "All the padding goes before the first row and column; "
          "libraries differ so (taehoonlee/tensornets#25).",
          wrapped(f"{NN}:conv", lambda real: padded(real, first_side))),
    Fault("padding-mirrored", "padding", "The image is mirrored at its border, not padded by 0.",
          wrapped(f"{NN}:conv", lambda real: padded(real, mirrored))),
]  # fmt: skip

POOLINGS = [
    Fault("pool-average-for-max", "pooling", "The mean of a window is taken for its largest.",
          wrapped(f"{NN}:max_pool", swapped("average_pool"))),
    Fault("pool-max-for-average", "pooling", "The largest of a window is taken for its mean.",
          wrapped(f"{NN}:average_pool", swapped("max_pool"))),
    Fault("pool-offset", "pooling", "The windows of max pooling begin one pixel later.",
          wrapped(f"{NN}:max_pool", offset_pool)),
]  # fmt: skip

PRECISIONS = [
    Fault("bfloat16", "precision", "What is multiplied is rounded to bfloat16.",
          rounded(to("bfloat16"))),
    Fault("float16", "precision", "What is multiplied is rounded to float16.",
          rounded(to("float16"))),
    Fault("tf32", "precision", "What is multiplied is rounded to ten bits, as on an Ampere GPU "
          "(pytorch#53635, tensorflow/community#247).", rounded(to_tf32)),
    Fault("bfloat16-backward", "precision", "Dense layers round to bfloat16 in the backward pass.",
          wrapped("keras.src.ops:matmul", coarse_backward), r"Gradients part from every state"),
]  # fmt: skip

DROPOUTS = [
    Fault("dropout-rate", "dropout", "A layer drops one unit in a hundred more than asked for.",
          drop(other_rate(0.01)), r"drops \d+\.\d+ % of its units|multiplies"),
    Fault("dropout-unscaled", "dropout", "What is kept is not divided by what is kept of it.",
          drop(unscaled), r"multiplies what it keeps"),
    Fault("dropout-in-inference", "dropout", "The inference phase drops too (tensorflow#44614 is "
          "on the phase).", wrapped(f"{DROPOUT}.call", always), r"in the inference phase"),
    Fault("dropout-one-mask", "dropout", "Each step draws the same mask "
          "(PaddlePaddle/Paddle#7796).", drop(one_mask), r"steps|seeds"),
    Fault("dropout-two-masks", "dropout", "Two masks take turns.",
          wrapped("keras.src.random.seed_generator:SeedGenerator.next",
                  counting(lambda number: 1 - number)), r"over steps"),
    Fault("dropout-frozen", "dropout", "From the 256th on all masks of a layer are one.",
          wrapped("keras.src.random.seed_generator:SeedGenerator.next",
                  counting(lambda number: tensorflow().minimum(number + 1, 255))),
          r"alone .*over passes are alike"),
    Fault("dropout-shifted", "dropout", "Each call goes on four numbers after the last one began.",
          wrapped("keras.src.backend.tensorflow.random:dropout", shifted_masks),
          r"draws of Dropout \d repeat after"),
    Fault("dropout-mask-of-batch", "dropout", "All images of a batch share a mask.",
          drop(mask_of_image), r"images"),
    Fault("dropout-gradient-kept", "dropout", "Values are dropped, gradients are not.",
          drop(unmasked_gradient), r"does not drop or scale the gradient"),
    Fault("dropout-gradient-unscaled", "dropout", "Gradients are dropped and not scaled.",
          drop(unscaled_gradient), r"does not drop or scale the gradient"),
    Fault("dropout-gradient-redrawn", "dropout", "The mask is drawn anew for the backward pass, as "
          "by a rematerialisation without its seed.", drop(redrawn_gradient),
          r"does not drop or scale the gradient"),
    Fault("dropout-never", "dropout", "Nothing is dropped.",
          drop(lambda _, __, inputs: inputs), r"drops 0|not at work"),
]  # fmt: skip

LAYERS = [*ACTIVATIONS, *PADDINGS, *POOLINGS, *PRECISIONS, *DROPOUTS]
