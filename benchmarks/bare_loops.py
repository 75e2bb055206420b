"""Is a step through the suite as fast as in a bare loop that calls CleverHans, and what takes time?

`nox -s overhead` runs this alone, with ``--tier full`` at the published size. Each framework has
its own loop, in its own idiom: a `tf.function`, a jitted function that hands the state on, a torch
optimizer. All of them train the same network on the same noise in the same phases, step by step in
turn, in an order that is drawn: what slows the machine down slows all of them. The first calls,
which compile, are told and not judged: there is one each.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pytest

from suite.cases import Case
from suite.data import CLASSES
from suite.measure.weights import build
from suite.networks.phases import TRAINING
from suite.stacks.loading import load
from suite.tables import table

if TYPE_CHECKING:
    from typing import TypeAlias

Step: TypeAlias = "Callable[[Any, Any], Any]"
Spent: TypeAlias = "dict[str, list[Took]]"

GOAL = 0.95  # of a bare loop's speed
ROUNDS = 10  # of one step each, at least, between two looks at what they say
LOOK_S = 20.0  # at least as long, so that short steps are many
LOOKS = 6  # at most: after each it may be decided
BUDGET_S = 900.0  # for a network; no look begins later
LEVEL = 0.05 / LOOKS  # so that the intervals of all looks together hold in 95 of 100 runs
RESAMPLES = 4000
BATCHES = 10
MIXED = "float16"  # ends the names of networks in mixed precision: no bare loop scales its loss
RATE = 0.001
OWN, SHARED, PLAIN = "CleverHans predicts the labels", "the clean pass predicts them", "plain"
SUITE = "the suite"


class Took(NamedTuple):
    """How long a step took.

    Attributes:
        wall_s: By the clock.
        processor_s: Of all processors together: what else runs here hardly changes it.
    """

    wall_s: float
    processor_s: float


class Speed(NamedTuple):
    """The suite's speed as a share of a bare loop's: the bare loop's median over the suite's.

    Attributes:
        ratio: As measured.
        low: Where its interval begins.
        high: Where it ends.
    """

    ratio: float
    low: float
    high: float

    @property
    def decided(self) -> bool:
        """True where the interval lies on one side of the goal."""
        return self.low >= GOAL or self.high < GOAL

    def __str__(self) -> str:
        return f"{self.ratio:.3f} (95 % interval {self.low:.3f} to {self.high:.3f})"


class Passes(NamedTuple):
    """What a bare loop is written for.

    Attributes:
        model: Ends in logits.
        clean: True where the clean images go through it in the training phase.
        attack: The same of CleverHans' passes.
        adversarial: The same of the perturbed images.
        epsilon: The attack's step in the max norm.
        labels: Who predicts CleverHans' labels: `OWN`, `SHARED` or `PLAIN`.
    """

    model: Any
    clean: bool
    attack: bool
    adversarial: bool
    epsilon: float
    labels: str


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run each test once a network, in the size of the tier that is asked for.

    ResNet-50, of which most is asked, is the last row and comes first: time may end.
    """
    if "case" in metafunc.fixturenames:
        rows = table("step-time", tier=metafunc.config.option.tier)
        alike = [row for row in reversed(rows) if not row.architecture.endswith(MIXED)]
        metafunc.parametrize("case", alike, ids=str)


@pytest.fixture(scope="module")
def stack() -> Any:
    loaded = load()
    if name_of(loaded) not in LOOPS:
        pytest.exit(
            "a bare loop is written for TensorFlow 2, JAX and torch. Found: TensorFlow 1. "
            "Run `nox -s overhead -- ROW` with a later row",
            returncode=2,
        )
    loaded.seed(0)
    return loaded


def name_of(stack: Any) -> str:
    """Name the module of a stack."""
    return str(stack.__name__.rpartition(".")[2])


def tensorflow_loop(fgsm: Any, given: Passes) -> Step:
    """Write the training step as a user of TensorFlow 2 would: nothing but the loss is measured."""
    import tensorflow as tf  # noqa: PLC0415 - other rows have none

    model = given.model
    optimizer = tf.keras.optimizers.SGD(learning_rate=RATE, momentum=0.9, nesterov=True)
    if hasattr(optimizer, "build"):  # before Keras 2.11 the first update builds it
        optimizer.build(model.trainable_variables)

    def victim(images: Any) -> Any:
        return model(images, training=given.attack)

    def cross_entropy(truth: Any, logits: Any) -> Any:
        return tf.reduce_mean(
            tf.nn.sparse_softmax_cross_entropy_with_logits(labels=truth, logits=logits)
        )

    @tf.function
    def step(images: Any, truth: Any) -> Any:
        with tf.GradientTape() as tape:
            logits = model(images, training=given.clean)
            loss = cross_entropy(truth, logits)
            if given.labels != PLAIN:
                predicted = tf.argmax(logits, axis=1) if given.labels == SHARED else None
                with tape.stop_recording():
                    perturbed = fgsm(
                        victim, images, given.epsilon, np.inf, clip_min=0.0, clip_max=1.0,
                        y=predicted,
                    )  # fmt: skip
                attacked = model(tf.stop_gradient(perturbed), training=given.adversarial)
                loss = 0.5 * loss + 0.5 * cross_entropy(truth, attacked)
        variables = model.trainable_variables
        optimizer.apply_gradients(zip(tape.gradient(loss, variables), variables))
        return loss

    return lambda images, truth: float(step(tf.constant(images), tf.constant(truth)))


def torch_loop(fgsm: Any, given: Passes) -> Step:
    """Write the training step as a user of PyTorch would: eager, with PyTorch's own optimizer."""
    import torch  # noqa: PLC0415 - other rows have none
    from keras.src.backend.torch.core import get_device  # noqa: PLC0415 - where the weights lie

    model, device = given.model, get_device()
    weights = [variable.value for variable in model.trainable_variables]
    optimizer = torch.optim.SGD(weights, lr=RATE, momentum=0.9, nesterov=True)
    cross_entropy = torch.nn.functional.cross_entropy

    def step(images: Any, truth: Any) -> float:
        images, truth = (torch.from_numpy(array).to(device) for array in (images, truth))
        logits = model(images, training=given.clean)
        loss = cross_entropy(logits, truth)
        if given.labels != PLAIN:
            predicted = logits.argmax(dim=1) if given.labels == SHARED else None
            perturbed = fgsm(
                lambda x: model(x, training=given.attack), images, given.epsilon, np.inf,
                clip_min=0.0, clip_max=1.0, y=predicted,
            ).detach()  # fmt: skip
            attacked = model(perturbed, training=given.adversarial)
            loss = 0.5 * loss + 0.5 * cross_entropy(attacked, truth)
        optimizer.zero_grad()  # after the attack, whose `backward` fills them too
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def jax_losses(fgsm: Any, given: Passes) -> Callable[..., Any]:
    """Write the loss of a batch as a function of the variables' values; it gives the others on.

    CleverHans' own labels are over ten classes, so that the loop predicts them by a pass.
    """
    import jax  # noqa: PLC0415 - other rows have none

    model, classes = given.model, CLASSES

    def cross_entropy(truth: Any, logits: Any) -> Any:
        likelihood = jax.nn.log_softmax(logits) * jax.nn.one_hot(truth, classes)
        return -likelihood.sum(axis=1).mean()

    def attacked(weights: Any, other: Any, images: Any, logits: Any) -> Any:
        def victim(x: Any) -> Any:
            return model.stateless_call(weights, other, x, training=given.attack)[0]

        seen = logits if given.labels == SHARED else victim(images)
        labels = jax.nn.one_hot(seen.argmax(axis=1), classes)
        return fgsm(victim, images, given.epsilon, np.inf, clip_min=0.0, clip_max=1.0, y=labels)

    def losses(weights: Any, other: Any, images: Any, truth: Any) -> Any:
        logits, other = model.stateless_call(weights, other, images, training=given.clean)
        loss = cross_entropy(truth, logits)
        if given.labels != PLAIN:
            perturbed = jax.lax.stop_gradient(attacked(weights, other, images, logits))
            logits, other = model.stateless_call(
                weights, other, perturbed, training=given.adversarial
            )
            loss = 0.5 * loss + 0.5 * cross_entropy(truth, logits)
        return loss, other

    return losses


def jax_loop(fgsm: Any, given: Passes) -> Step:
    """Write the training step as Keras' guide for JAX does: jitted, its state handed on."""
    import jax  # noqa: PLC0415 - other rows have none
    import keras  # noqa: PLC0415

    model, losses = given.model, jax_losses(fgsm, given)
    optimizer = keras.optimizers.SGD(learning_rate=RATE, momentum=0.9, nesterov=True)
    optimizer.build(model.trainable_variables)

    @jax.jit
    def step(state: Any, images: Any, truth: Any) -> Any:
        weights, other, slots = state
        found, gradients = jax.value_and_grad(losses, has_aux=True)(weights, other, images, truth)
        loss, other = found
        weights, slots = optimizer.stateless_apply(slots, gradients, weights)
        return loss, (weights, other, slots)

    parts = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
    state = tuple([variable.value for variable in part] for part in parts)

    def on(images: Any, truth: Any) -> float:
        nonlocal state
        loss, state = step(state, images, truth)
        return float(loss)

    return on


LOOPS: Mapping[str, Callable[[Any, Passes], Step]] = {
    "eager": tensorflow_loop,
    "jax": jax_loop,
    "torch": torch_loop,
}
"""The bare loop of each stack."""


def steps_of(stack: Any, case: Case) -> dict[str, Step]:
    """Make the suite's step and the bare ones, each of a model of its own."""
    made = stack.train_step(build(stack, case), phases=case.phases, epsilon=case.epsilon)
    loop, phases = LOOPS[name_of(stack)], [phase == TRAINING for phase in case.phases]
    loops = {
        labels: loop(
            stack.fast_gradient_method,
            Passes(build(stack, case), *phases, epsilon=case.epsilon, labels=labels),
        )
        for labels in (OWN, SHARED, PLAIN)
    }
    return {**loops, SUITE: lambda images, truth: made(images, truth, RATE)}


def took(step: Step, batch: tuple[Any, Any]) -> Took:
    """Time one step, which ends once its loss is read."""
    wall_s, processor_s = time.perf_counter(), time.process_time()
    step(*batch)
    return Took(time.perf_counter() - wall_s, time.process_time() - processor_s)


def in_turn(steps: Mapping[str, Step], batch: tuple[Any, Any], rng: Any) -> dict[str, Took]:
    """Time one call of each step, in a drawn order."""
    return {str(name): took(steps[str(name)], batch) for name in rng.permutation([*steps])}


def timed(steps: Mapping[str, Step], batches: list[Any]) -> tuple[dict[str, Took], Spent]:
    """Time the first call of each step, which compiles; then rounds, until they decide."""
    rng, end_s = np.random.default_rng(0), time.perf_counter() + BUDGET_S
    first = in_turn(steps, batches[0], rng)
    again = in_turn(steps, batches[0], rng)  # the second call may still lay out memory
    rounds = max(ROUNDS, int(LOOK_S / sum(found.wall_s for found in again.values())))
    spent: Spent = {name: [] for name in steps}
    for look in range(LOOKS):  # the parts of a step need no more than one
        judged = {name: step for name, step in steps.items() if name in (OWN, SUITE) or not look}
        for index in range(rounds):
            for name, found in in_turn(judged, batches[index % BATCHES], rng).items():
                spent[name].append(found)
        if speed(spent).decided or time.perf_counter() > end_s:
            break
    return first, spent


def speed(spent: Spent, clock: str = "wall_s") -> Speed:
    """Compare the medians; draw rounds anew for the interval (Efron 1979), whole ones."""
    both = np.array([[getattr(step, clock) for step in spent[name]] for name in (OWN, SUITE)])
    drawn = np.random.default_rng(0).integers(0, both.shape[1], (RESAMPLES, both.shape[1]))
    bare, suite = np.median(both[:, drawn], axis=2)
    low, high = np.quantile(bare / suite, (LEVEL / 2, 1 - LEVEL / 2))
    bare, suite = np.median(both, axis=1)
    return Speed(float(bare / suite), float(low), float(high))


def noise(case: Case) -> list[tuple[Any, Any]]:
    """Draw batches of noise."""
    rng = np.random.default_rng(0)
    shape = (case.batch_size, case.size_px, case.size_px, 3)
    return [
        (rng.random(shape, dtype=np.float32), rng.integers(0, CLASSES, case.batch_size))
        for _ in range(BATCHES)
    ]


def told(case: Case, first: Mapping[str, Took], spent: Spent) -> Iterator[str]:
    """Say how fast the suite is beside a bare loop, then where the time of a step goes."""
    ms = {name: 1000 * float(np.median(own, axis=0)[0]) for name, own in spent.items()}
    yield (
        f"{case.net}, {case.size_px} x {case.size_px}, batch {case.batch_size}: "
        f"{speed(spent)} of a bare loop's speed: {ms[SUITE]:.2f} ms a step through the suite, "
        f"{ms[OWN]:.2f} ms in a bare loop ({len(spent[SUITE])} steps each, in turn)"
    )
    busy = speed(spent, "processor_s")
    yield f"    by the processors' time, which what else runs here hardly changes: {busy}"
    parts = {
        "the plain step": ms[PLAIN],
        "the attack and the adversarial pass": ms[SHARED] - ms[PLAIN],
        "CleverHans' own pass for the labels": ms[OWN] - ms[SHARED],
        "the suite": ms[SUITE] - ms[OWN],
    }
    yield f"    of these: {', '.join(f'{name} {value:.2f} ms' for name, value in parts.items())}"
    compiling = [f"{first[name].wall_s:.2f} s" for name in (SUITE, OWN)]
    yield f"    the first call: {', in a bare loop '.join(compiling)}"


def test_a_step_is_as_fast_as_in_a_bare_loop(
    case: Case, stack: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    first, spent = timed(steps_of(stack, case), noise(case))
    with capsys.disabled():
        print("", *told(case, first, spent), sep="\n")  # noqa: T201 - what this file is for
    found = speed(spent)
    undecided = "" if found.decided else " Undecided: run it where less else runs."
    assert found.low >= GOAL, (
        f"{found} of a bare loop's speed, expected {GOAL} at least.{undecided}"
    )
