"""Faults of the optimizers: rate, momentum, clipping, decay, Adam's constants."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from tests.faults.fault import Fault, tensorflow, with_options, wrapped

if TYPE_CHECKING:
    from collections.abc import Callable

GROUP = "optimizer"
SGD = "keras.src.optimizers.sgd:SGD"
ADAM = "keras.src.optimizers.adam:Adam"


PRETRAINED = "parity-vgg19-w0.25-plain"  # a network that is pretrained, by Adam


def at_rate(factor: float) -> Any:
    """Update at another rate than asked for."""

    def change(real: Callable[..., None]) -> Callable[..., None]:
        return lambda self, gradient, variable, rate: real(self, gradient, variable, factor * rate)

    return wrapped(f"{SGD}.update_step", change)


def rate_after(_: Any) -> Any:
    """Multiply the momentum's memory by the present rate, not each gradient by its own."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        memory = self.momentums[self._get_variable_index(variable)]
        memory.assign(self.momentum * memory + gradient)
        variable.assign_sub(rate * (gradient + self.momentum * memory))

    return update


def late_momentum(real: Callable[..., None]) -> Callable[..., None]:
    """Step along the momentum that was there before this gradient."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        memory = self.momentums[self._get_variable_index(variable)]
        variable.assign_add(self.momentum * memory - rate * gradient)
        memory.assign(0.9 * memory - 0.9 * rate * gradient)

    del real
    return update


def uncorrected(real: Callable[..., None]) -> Callable[..., None]:
    """Update as Adam does without the correction of its first steps' bias."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        tf, index = tensorflow(), self._get_variable_index(variable)
        mean, square = self._momentums[index], self._velocities[index]
        mean.assign(self.beta_1 * mean + (1 - self.beta_1) * gradient)
        square.assign(self.beta_2 * square + (1 - self.beta_2) * gradient**2)
        variable.assign_sub(rate * mean / (tf.sqrt(square) + self.epsilon))

    del real
    return update


def inner_epsilon(real: Callable[..., None]) -> Callable[..., None]:
    """Add Adam's epsilon below the root."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        self.epsilon, outer = self.epsilon**0.5, self.epsilon
        real(self, gradient, variable, rate)
        self.epsilon = outer

    return update


def through_float16(real: Callable[..., None]) -> Callable[..., None]:
    """Round each gradient to float16, as a compressed all-reduce does, and back."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        cast = tensorflow().cast
        real(self, cast(cast(gradient, "float16"), gradient.dtype), variable, rate)

    return update


def slowing(real: Callable[..., None]) -> Callable[..., None]:
    """Let the rate fall by 1e-6 of itself a step, Keras' old `decay`."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        made = tensorflow().cast(self.iterations, "float32")
        real(self, gradient, variable, rate / (1 + 1e-6 * made))

    return update


def forgetful(real: Callable[..., None]) -> Callable[..., None]:
    """Empty the momentum at each 256th step."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        memory = self.momentums[self._get_variable_index(variable)]
        kept = tensorflow().cast((self.iterations + 1) % 256 != 0, "float32")
        memory.assign(kept * memory)
        real(self, gradient, variable, rate)

    return update


def decayed_biases(real: Callable[..., None]) -> Callable[..., None]:
    """Let the vectors shrink too, and the statistics of none."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        real(self, gradient, variable, rate)
        if len(variable.shape) == 1:
            variable.assign_sub(1e-3 * rate * variable)

    return update


def frozen_vectors(real: Callable[..., None]) -> Callable[..., None]:
    """Never update a bias, a gamma or a beta."""

    def update(self: Any, gradient: Any, variable: Any, rate: Any) -> None:
        if len(variable.shape) > 1:
            real(self, gradient, variable, rate)

    return update


def from_weights(real: Any) -> Any:
    """Begin the memory at the weights, where zeros were asked for."""

    def add(self: Any, variables: Any, *given: Any, **named: Any) -> Any:
        made = real(self, variables, *given, **named)
        for memory, variable in zip(made, variables):
            memory.assign(variable)
        return made

    return add


OPTIMIZERS = [
    Fault("rate-1-percent", GROUP, "The learning rate is multiplied by 1.01.",
          at_rate(1.01), r"at 1\.01 of the learning rate"),
    Fault("rate-half", GROUP, "Every update is halved, as by a mean over two replicas of which one "
          "is idle.", at_rate(0.5), r"at 0\.5 of the learning"),
    Fault("momentum-0.8", GROUP, "SGD's momentum is 0.8 instead of 0.9.",
          with_options(f"{SGD}.__init__", momentum=0.8), r"momentum 0\.8 here"),
    Fault("momentum-0.89", GROUP, "SGD's momentum is 0.89 instead of 0.9.",
          with_options(f"{SGD}.__init__", momentum=0.89), r"momentum 0\.89 here"),
    Fault("no-momentum", GROUP, "The momentum's memory is made anew at each step, as keras#7502 "
          "feared.",
          with_options(f"{SGD}.__init__", momentum=0.0), r"momentum 0 here"),
    Fault("nesterov-off", GROUP, "`nesterov=True` is ignored; of that kind is "
          "PaddlePaddle/Paddle#12231.",
          with_options(f"{SGD}.__init__", nesterov=False), r"rate, momentum 0\.9 here"),
    Fault("momentum-damped", GROUP, "The memory takes 0.9 of the gradient, the step all of it, as "
          "with a dampening of 0.1.", wrapped(f"{SGD}.update_step", late_momentum), r"Optimizer: "),
    Fault("rate-after-momentum", GROUP, "The memory is one of gradients, and the present rate "
          "multiplies it, as in PyTorch: seen where the rate falls alone.",
          wrapped(f"{SGD}.update_step", rate_after), r"kept where the rate falls"),
    Fault("momentum-from-weights", GROUP, "The momentum's memory begins as a copy of the weights.",
          wrapped("keras.src.optimizers.base_optimizer:BaseOptimizer.add_optimizer_variables",
                  from_weights), r"does not begin empty"),
    Fault("clip-norm-10", GROUP, "Gradients are clipped at a norm of 10, which few exceed.",
          with_options(f"{SGD}.__init__", clipnorm=10.0), r"a clip"),
    Fault("clip-norm-1", GROUP, "Gradients are clipped at a norm of 1 for each variable "
          "(tensorflow#29108).",
          with_options(f"{SGD}.__init__", clipnorm=1.0), r"another multiple|Optimizer"),
    Fault("clip-global-1", GROUP, "Gradients are clipped at a norm of 1 over all variables.",
          with_options(f"{SGD}.__init__", global_clipnorm=1.0), r"another multiple|Optimizer"),
    Fault("clip-value-0.01", GROUP, "Gradients are clipped at 0.01, number by number.",
          with_options(f"{SGD}.__init__", clipvalue=0.01), r"another multiple|Optimizer"),
    Fault("weight-decay-1e-4", GROUP, "Weights decay by 1e-4 of the learning rate.",
          with_options(f"{SGD}.__init__", weight_decay=1e-4), r"weights shrinking"),
    Fault("weight-decay-1e-2", GROUP, "Weights decay by 1e-2 of the learning rate.",
          with_options(f"{SGD}.__init__", weight_decay=1e-2), r"weights shrinking"),
    Fault("biases-decay", GROUP, "Biases, gamma and beta decay by 1e-3 of the learning rate "
          "(apache/mxnet#1949 asks for that).", wrapped(f"{SGD}.update_step", decayed_biases)),
    Fault("vectors-never-train", GROUP, "No bias, gamma or beta is updated.",
          wrapped(f"{SGD}.update_step", frozen_vectors), r"another multiple|Optimizer"),
    Fault("gradients-float16", GROUP, "Gradients reach the optimizer through float16, as of a "
          "compressed all-reduce.", wrapped(f"{SGD}.update_step", through_float16),
          r"entry by entry"),
    Fault("rate-decays-1e-6", GROUP, "The rate decays by 1e-6 a step on top of its schedule.",
          wrapped(f"{SGD}.update_step", slowing), r"128,000th step"),
    Fault("momentum-emptied", GROUP, "The momentum is emptied at each 256th step.",
          wrapped(f"{SGD}.update_step", forgetful), r"128,000th step"),
    Fault("weights-averaged", GROUP, "Weights become their moving average at each hundredth step.",
          with_options(f"{SGD}.__init__", use_ema=True, ema_overwrite_frequency=100),
          r"128,000th step"),
    Fault("adam-epsilon-1e-3", GROUP, "Adam's epsilon is 1e-3 instead of 1e-7.",
          with_options(f"{ADAM}.__init__", epsilon=1e-3), r"Adam", first=PRETRAINED),
    Fault("adam-epsilon-1e-8", GROUP, "Adam's epsilon is 1e-8, PyTorch's, instead of 1e-7.",
          with_options(f"{ADAM}.__init__", epsilon=1e-8), r"Adam", first=PRETRAINED),
    Fault("adam-epsilon-inside", GROUP, "Adam's epsilon is added below the root (keras#17391 is on "
          "its place).", wrapped(f"{ADAM}.update_step", inner_epsilon), r"Adam", first=PRETRAINED),
    Fault("adam-beta-1", GROUP, "Adam's first beta is 0.89 instead of 0.9.",
          with_options(f"{ADAM}.__init__", beta_1=0.89), r"Adam", first=PRETRAINED),
    Fault("adam-beta-2", GROUP, "Adam's second beta is 0.99 instead of 0.999.",
          with_options(f"{ADAM}.__init__", beta_2=0.99), r"Adam", first=PRETRAINED),
    Fault("adam-no-bias-correction", GROUP, "Adam's moments are not corrected for their start "
          "(tensorflow#9047 and #35102 are on that correction).",
          wrapped(f"{ADAM}.update_step", uncorrected), r"Adam", first=PRETRAINED),
    Fault("adam-amsgrad", GROUP, "Adam keeps the largest second moment, as AMSGrad does.",
          with_options(f"{ADAM}.__init__", amsgrad=True), r"memory of gradients", first=PRETRAINED),
]  # fmt: skip
