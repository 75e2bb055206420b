"""Is a step through the suite as fast as in a bare loop that calls CleverHans, and what takes time?

`nox -s overhead` runs this alone; the loops are written for TensorFlow 2. Both train the same
network on the same noise, step by step in turn, in an order that is drawn: what slows the machine
down slows all of them. The first calls, which compile, are told and not judged: there is one each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from suite.cases import Case
from suite.data import CLASSES
from suite.measure.weights import build
from suite.stacks.loading import load
from suite.tables import table

if TYPE_CHECKING:
    from typing import TypeAlias

Step: TypeAlias = "Callable[[Any, Any], Any]"

GOAL = 0.95  # of a bare loop's speed
ROUNDS = 60  # of one step each; ten seconds for the slowest network
BATCHES = 10
RATE = 0.001
OWN, SHARED, PLAIN = "CleverHans predicts the labels", "the clean pass predicts them", "plain"
SUITE = "the suite"


@pytest.fixture(scope="module")
def stack() -> Any:
    loaded = load()
    if not loaded.__name__.endswith("eager"):
        pytest.exit(
            f"the bare loops are written for TensorFlow 2. Found: {loaded.__name__}. "
            "Run `nox -s overhead -- ROW` with a row of TensorFlow 2",
            returncode=2,
        )
    loaded.seed(0)
    return loaded


def bare(model: Any, epsilon: float, labels: str) -> Step:
    """Write the training step as a user would: nothing but the loss is measured."""
    import tensorflow as tf  # noqa: PLC0415 - other rows have none
    from cleverhans.tf2.attacks.fast_gradient_method import (  # noqa: PLC0415
        fast_gradient_method,
    )

    optimizer = tf.keras.optimizers.SGD(learning_rate=RATE, momentum=0.9, nesterov=True)
    if hasattr(optimizer, "build"):  # before Keras 2.11 the first update builds it
        optimizer.build(model.trainable_variables)

    def forward(images: Any) -> Any:
        return model(images, training=True)

    def cross_entropy(truth: Any, logits: Any) -> Any:
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
        )

    def attacked(images: Any, predicted: Any) -> Any:
        perturbed = fast_gradient_method(
            forward, images, epsilon, np.inf, clip_min=0.0, clip_max=1.0, y=predicted
        )
        return tf.stop_gradient(perturbed)

    @tf.function
    def step(images: Any, truth: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = forward(images)
            loss = cross_entropy(truth, logits)
            if labels != PLAIN:
                predicted = tf.argmax(logits, axis=1) if labels == SHARED else None
                with tape.stop_recording():
                    perturbed = attacked(images, predicted)
                loss = 0.5 * loss + 0.5 * cross_entropy(truth, forward(perturbed))
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    return lambda images, truth: float(step(tf.constant(images), tf.constant(truth)))


def steps_of(stack: Any, case: Case) -> dict[str, Step]:
    """Make the suite's step and the bare ones, each of a model of its own."""
    made = stack.train_step(build(stack, case), phases=case.phases, epsilon=case.epsilon)
    loops = {
        labels: bare(build(stack, case), case.epsilon, labels) for labels in (OWN, SHARED, PLAIN)
    }
    return {**loops, SUITE: lambda images, truth: made(images, truth, RATE)}


def seconds(step: Step, batch: tuple[Any, Any]) -> float:
    """Time one step, which ends once its loss is read."""
    start = time.perf_counter()
    step(*batch)
    return time.perf_counter() - start


def timed(steps: Mapping[str, Step], batches: list[Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Time the first call of each step, which compiles, and `ROUNDS` calls in drawn orders."""
    rng = np.random.default_rng(0)
    order = list(steps)
    first = {name: seconds(steps[name], batches[0]) for name in rng.permutation(order)}
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for index in range(ROUNDS):
        for name in rng.permutation(order):
            spent[name].append(seconds(steps[name], batches[index % BATCHES]))
    return first, spent


def fastest(spent: list[float]) -> float:
    """Take what the fastest tenth stays below: others may use the machine during the rest."""
    return float(np.quantile(spent, 0.1))


def noise(case: Case) -> list[tuple[Any, Any]]:
    """Draw batches of noise."""
    rng = np.random.default_rng(0)
    shape = (case.batch_size, case.size_px, case.size_px, 3)
    return [
        (rng.random(shape, dtype=np.float32), rng.integers(0, CLASSES, case.batch_size))
        for _ in range(BATCHES)
    ]


def told(case: Case, first: Mapping[str, float], spent: Mapping[str, list[float]]) -> Iterator[str]:
    """Say how fast the suite is beside a bare loop, then where the time of a step goes."""
    ms = {name: 1000 * fastest(own) for name, own in spent.items()}
    yield (
        f"{case.net}: {ms[OWN] / ms[SUITE]:.2f} of a bare loop's speed: {ms[SUITE]:.2f} ms a step "
        f"through the suite, {ms[OWN]:.2f} ms in a bare loop ({ROUNDS} steps each, in turn)"
    )
    parts = {
        "the plain step": ms[PLAIN],
        "the attack and the adversarial pass": ms[SHARED] - ms[PLAIN],
        "CleverHans' own pass for the labels": ms[OWN] - ms[SHARED],
        "the suite": ms[SUITE] - ms[OWN],
    }
    yield f"    of these: {', '.join(f'{name} {value:.2f} ms' for name, value in parts.items())}"
    yield f"    the first call: {first[SUITE]:.2f} s, in a bare loop {first[OWN]:.2f} s"


@pytest.mark.parametrize("case", table("step-time", tier="small"), ids=str)
def test_a_step_is_as_fast_as_in_a_bare_loop(
    case: Case, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, spent = timed(steps_of(stack, case), noise(case))
    with capsys.disabled():
        print("", *told(case, first, spent), sep="\n")  # noqa: T201 - what this file is for
    speed = fastest(spent[OWN]) / fastest(spent[SUITE])
    assert speed >= GOAL, f"{speed:.2f} of a bare loop's speed, expected {GOAL} at least"
