"""Faults of BatchNorm: its constants, its updates, its phase."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Any

from tests.faults.fault import Fault, tensorflow, with_options, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.faults.fault import Plant

GROUP = "BatchNorm"
LAYER = "keras.src.layers.normalization.batch_normalization:BatchNormalization"
NORMALISE = "keras.src.backend.tensorflow.nn:batch_normalization"


@contextlib.contextmanager
def other(layer: Any, **values: Any) -> Iterator[None]:
    """Give attributes of a layer other values for a moment."""
    before = {name: getattr(layer, name) for name in values}
    for name, value in values.items():
        setattr(layer, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(layer, name, value)


def hidden(**values: Any) -> Plant:
    """Compute with other constants than the attributes say."""

    def change(real: Any) -> Any:
        def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            with other(self, **values):
                return real(self, inputs, training=training, mask=mask)

        return call

    return wrapped(f"{LAYER}.call", change)


def phased(phase: Callable[[Any], Any]) -> Plant:
    """Run in the phase that is made of the one that was asked for."""

    def change(real: Any) -> Any:
        def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            return real(self, inputs, training=phase(training), mask=mask)

        return call

    return wrapped(f"{LAYER}.call", change)


def updates(times: int) -> Plant:
    """Update the moving statistics so many times a training pass."""

    def change(real: Any) -> Any:
        def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
            if not training:
                return real(self, inputs, training=training, mask=mask)
            mean, variance = self.moving_mean.value, self.moving_variance.value
            before = mean.read_value(), variance.read_value()
            outputs = real(self, inputs, training=training, mask=mask)
            if not times:
                mean.assign(before[0])
                variance.assign(before[1])
            for _ in range(times - 1):
                real(self, inputs, training=training, mask=mask)
            return outputs

        return call

    return wrapped(f"{LAYER}.call", change)


def training_epsilon(real: Any) -> Any:
    """Let the training phase alone compute with an epsilon of 1e-3."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        told, self.epsilon = self.epsilon, 1e-3 if training else self.epsilon
        outputs = real(self, inputs, training=training, mask=mask)
        self.epsilon = told
        return outputs

    return call


def moved_by_deviation(real: Any) -> Any:
    """Let the moving variance follow the root of the batch's variance."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        before = self.moving_variance.value.read_value()
        outputs = real(self, inputs, training=training, mask=mask)
        if training:
            kept = self.momentum * before
            share = 1 - self.momentum
            batch = (self.moving_variance.value.read_value() - kept) / share
            root = tensorflow().sqrt(tensorflow().maximum(batch, 0.0))
            self.moving_variance.value.assign(kept + share * root)
        return outputs

    return call


def frozen_follows(real: Any) -> Any:
    """Let a frozen layer normalise by its batch and go on updating, as before TensorFlow 2."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        trainable, self._trainable = self._trainable, True
        outputs = real(self, inputs, training=training, mask=mask)
        self._trainable = trainable
        return outputs

    return call


def moments(change: Callable[[Any, Any, Any], Any]) -> Plant:
    """Change the batch's mean and variance: `change` takes the inputs and both."""

    def around(real: Any) -> Any:
        return lambda self, inputs, mask: change(inputs, *real(self, inputs, mask))

    return wrapped(f"{LAYER}._moments", around)


def unbiased(inputs: Any, mean: Any, variance: Any) -> Any:
    """Divide the sum of squares by n - 1."""
    tf = tensorflow()
    count = tf.cast(tf.size(inputs) / tf.size(mean), tf.float32)
    return mean, variance * count / (count - 1)


def ghost(inputs: Any, mean: Any, variance: Any) -> Any:
    """Take the statistics of the first half of the batch."""
    del mean, variance
    tf, axes = tensorflow(), [*range(len(inputs.shape) - 1)]
    return tf.nn.moments(inputs[: tf.shape(inputs)[0] // 2], axes)


def of_image(inputs: Any, mean: Any, variance: Any) -> Any:
    """Forget the variance between images, as a mean of variances does."""
    if len(inputs.shape) < 4:
        return mean, variance
    tf = tensorflow()
    return mean, tf.reduce_mean(tf.math.reduce_variance(inputs, axis=[1, 2]), axis=0)


def moved_only(real: Any) -> Any:
    """Correct the variance that is stored, not the one that normalises, as Keras 2 did."""

    def call(self: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        if not training:
            return real(self, inputs, training=training, mask=mask)
        variable = self.moving_variance.value
        before = variable.read_value()
        outputs = real(self, inputs, training=training, mask=mask)
        tf = tensorflow()
        count = tf.cast(tf.size(inputs) / tf.size(before), tf.float32)
        batch = (variable.read_value() - self.momentum * before) / (1 - self.momentum)
        variable.assign_add((1 - self.momentum) * batch / (count - 1))
        return outputs

    return call


def outer_epsilon(real: Any) -> Any:
    """Add epsilon to the standard deviation."""

    def normalise(x: Any, mean: Any, variance: Any, *more: Any) -> Any:
        tf, (*kept, epsilon) = tensorflow(), more
        square = (tf.sqrt(tf.maximum(variance, 0.0)) + epsilon) ** 2
        return real(x, mean, square, *kept, 0.0)

    return normalise


def fixed_gamma(real: Any) -> Any:
    """Take gamma out of what is trained."""

    def build(self: Any, input_shape: Any) -> None:
        real(self, input_shape)
        self.gamma.trainable = False

    return build


BATCH_NORMS = [
    Fault("bn-momentum-0.985", GROUP, "The default momentum is 0.985 instead of 0.99.",
          with_options(f"{LAYER}.__init__", momentum=0.985), r"BatchNorm momentum, as set: 0\.985"),
    Fault("bn-momentum-hidden", GROUP, "The layer computes with a momentum of 0.9, whatever it is "
          "told.", hidden(momentum=0.9), r"momentum, as observed: 0\.9 here"),
    Fault("bn-momentum-swapped", GROUP, "Momentum is the share of the new batch, as in PyTorch "
          "(d2l-ai/d2l-en#2213).", hidden(momentum=0.01), r"momentum, as observed: 0\.01 here"),
    Fault("bn-epsilon-10-percent", GROUP, "Epsilon is 1.1 times what was asked for.",
          with_options(f"{LAYER}.__init__", epsilon=1.1011e-5), r"BatchNorm epsilon, as set: 1\.1"),
    Fault("bn-epsilon-hidden", GROUP, "The layer computes with the default epsilon, 1e-3, whatever "
          "it is told.", hidden(epsilon=1e-3),
          r"epsilon, as observed: 0\.001 here"),
    Fault("bn-epsilon-outside", GROUP, "Epsilon is added to the deviation, not to the variance.",
          wrapped(NORMALISE, outer_epsilon), r"BatchNorm epsilon, as observed"),
    Fault("bn-correction", GROUP, "The stored variance is divided by n - 1, as in Keras 2 "
          "(keras#10443, tensorflow#55545).", wrapped(f"{LAYER}.call", moved_only),
          r"divided by n - 1 here; Keras 3"),
    Fault("bn-unbiased", GROUP, "Batches are normalised by their unbiased variance too.",
          moments(unbiased), r"n - 1"),
    Fault("bn-updates-twice", GROUP, "Each training pass updates the statistics twice, as the "
          "graph of TensorFlow 1 does under this loss.", updates(2),
          r"updates a step|momentum, as observed"),
    Fault("bn-never-updates", GROUP, "The updates are collected and never run "
          "(tensorflow#16102, keras-core#338).",
          updates(0), r"momentum, as observed: 1 here|0 of the way"),
    Fault("bn-training-always", GROUP, "The inference phase normalises by the batch.",
          phased(lambda _: True), r"inference|phase|Moving statistics|epsilon, as observed"),
    Fault("bn-inference-always", GROUP, "The training phase normalises by the moving "
          "statistics.", phased(lambda _: False),
          r"Moving statistics|momentum, as observed"),
    Fault("bn-frozen-updates", GROUP, "A frozen layer goes on normalising by its batch "
          "(keras#7085, keras#9965).", wrapped(f"{LAYER}.call", frozen_follows), r"frozen",
          first="traps"),
    Fault("bn-ghost", GROUP, "The batch's statistics are those of its first half, as of one of two "
          "replicas.", moments(ghost), r"Moving statistics|of the way|batch mean|phase or loss"),
    Fault("bn-variance-of-images", GROUP, "The variance between images is left out, as by a mean "
          "of the replicas' variances.", moments(of_image), r"batch variance|of the way"),
    Fault("bn-gamma-frozen", GROUP, "Gamma is multiplied by, but is no variable to train.",
          wrapped(f"{LAYER}.build", fixed_gamma), r"gamma"),
    Fault("bn-epsilon-in-training", GROUP, "The training phase alone has an epsilon of 1e-3, as of "
          "a fused kernel with a default of its own.", wrapped(f"{LAYER}.call", training_epsilon),
          r"epsilon, as observed in training"),
    Fault("bn-moving-deviation", GROUP, "The moving variance gathers standard deviations.",
          wrapped(f"{LAYER}.call", moved_by_deviation), r"moving variance"),
]  # fmt: skip
