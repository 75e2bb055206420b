"""Tests of suite.measure.kept: a seed gives the same after others as in a process of its own."""

from __future__ import annotations

import gc
import json
import subprocess
import sys
import weakref
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from suite.cases import Case
from suite.measure import weights
from suite.measure.kept import Kept, give_state, renewable
from suite.stacks import loading
from tests.arrays import assert_same
from tests.measure.conftest import SMALL, coloured, run_small, shallow_network

if TYPE_CHECKING:
    from collections.abc import Iterator

    from suite.networks.types import Model
    from suite.records import Record
    from suite.stacks.protocol import Stack

ROOT = Path(__file__).parents[2]
SHALLOW = {**SMALL, "blocks": (1, 1, 1, 1), "epochs": 1, "train_images": 43}
ALEXNET = Case("alexnet", **SMALL)  # dropout, random weights
RESNET = Case("resnet50", fix="bn-momentum-0.5", **SHALLOW)
TWO_BRANCHES = Case("resnet50", fix="dual-bn", **SHALLOW)
CASES = (ALEXNET, RESNET, TWO_BRANCHES)
PRETRAINED = (
    replace(RESNET, fix="none", weights="surrogate", pretraining_steps=3),
    Case("vgg19", weights="surrogate", pretraining_steps=3, **{**SMALL, "train_images": 43}),
)


def measured(record: Record) -> dict[str, Any]:
    """Collect all that a run measured, but for its times."""
    curves = {name: values for name, values in record.curves.items() if name != "step_s"}
    found = {"metrics": record.metrics, "curves": curves, "statistics": record.statistics}
    plain: dict[str, Any] = json.loads(json.dumps(found))
    return plain


def trained(stack: Stack, case: Case, *, seed: int, **more: Any) -> dict[str, Any]:
    """Train AlexNet, or two BatchNorm layers in the place of ResNet-50; give what was measured."""
    with nullcontext() if case is ALEXNET else shallow_network():
        return measured(run_small(stack, case, seed=seed, **more))


def print_measured() -> None:
    stack = loading.load()
    for case in CASES:
        sys.stdout.write(json.dumps(trained(stack, case, seed=1)) + "\n")


@pytest.fixture(scope="module")
def alone() -> dict[Case, dict[str, Any]]:
    """Run seed 1 of each case in another process, where nothing is kept."""
    code = (
        f"import sys; sys.path.insert(0, {str(ROOT)!r}); "
        "from tests.measure.test_kept import print_measured; print_measured()"
    )
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()[-len(CASES) :]
    return {case: json.loads(line) for case, line in zip(CASES, lines, strict=True)}


@pytest.fixture
def made(stack: Stack, monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Model]]:
    """Collect the models that a step is made for."""
    models: list[Model] = []
    real = stack.train_step

    def train_step(model: Model, **options: Any) -> Any:
        models.append(model)
        return real(model, **options)

    monkeypatch.setattr(stack, "train_step", train_step)
    yield models
    models.clear()


@pytest.mark.parametrize("case", CASES, ids=str)
def test_a_seed_after_another_gives_to_the_bit_what_it_gives_alone(
    stack: Stack, case: Case, alone: dict[Case, dict[str, Any]], made: list[Model]
) -> None:
    if stack.GRAPH and case is not ALEXNET:
        pytest.skip("a graph of TensorFlow 1 does not order the updates of BatchNorm's statistics")
    kept = Kept()
    first, second = (trained(stack, case, seed=seed, kept=kept) for seed in (0, 1))
    assert second == alone[case]
    assert second["curves"]["step_loss"] != first["curves"]["step_loss"]
    assert len(made) == (1 if renewable(stack) else 2)


@pytest.mark.parametrize("case", PRETRAINED, ids=str)
def test_a_pretraining_after_another_gives_to_the_bit_what_it_gives_alone(
    stack: Stack, case: Case, made: list[Model]
) -> None:
    signs, kept = coloured().train, Kept()
    first, second = (weights.pretrain(stack, case, signs, seed=seed, kept=kept) for seed in (0, 1))
    assert len(made) == (1 if renewable(stack) else 2)
    assert_same(second, weights.pretrain(stack, case, signs, seed=1))
    assert any((one != other).any() for one, other in zip(first, second, strict=True))


class Thing(NamedTuple):
    """What a role keeps, without anything that is compiled."""

    models: tuple[Any, ...]
    step: Any


class Step:
    """A step that counts how often it was made to forget."""

    def __init__(self) -> None:
        self.forgotten = 0

    def forget(self) -> None:
        self.forgotten += 1


def dense(stack: Stack, units: int = 2) -> Model:
    inputs = stack.keras.Input((3,))
    return stack.keras.Model(inputs, stack.keras.layers.Dense(units)(inputs))


def test_another_case_is_compiled_after_the_one_before_is_let_go(stack: Stack) -> None:
    kept, alive = Kept(), []

    def compiled() -> Thing:
        gc.collect()
        alive.append([step() is not None for step in steps])
        step = Step()
        steps.append(weakref.ref(step))
        return Thing((), step)

    steps: list[Any] = []
    for case in (RESNET, RESNET, ALEXNET, RESNET):
        kept.renewed("training", case, stack, [], compiled)
    kept.renewed("pretraining", RESNET, stack, [], compiled)
    if not renewable(stack):
        assert not any(any(steps) for steps in alive)
    else:
        assert alive == [[], [False], [False, False], [False, False, True]]


def test_the_kept_model_takes_the_new_one_s_state_and_its_step_forgets(stack: Stack) -> None:
    kept, step = Kept(), Step()
    first, second = dense(stack), dense(stack)
    kept.renewed("training", RESNET, stack, [first], lambda: Thing((first,), step))
    if not renewable(stack):
        pytest.skip("before Keras 3 every seed is built anew")
    again = kept.renewed("training", RESNET, stack, [second], lambda: Thing((second,), step))
    assert again.models == (first,)
    assert step.forgotten == 1
    assert_same(first.get_weights(), second.get_weights())


def test_state_of_another_build_is_refused(stack: Stack) -> None:
    with pytest.raises(ValueError, match="new must have the variables of"):
        give_state(dense(stack), dense(stack, units=3))


def test_dropout_of_what_is_kept_has_its_seed_among_its_variables(stack: Stack) -> None:
    keras = stack.keras
    inputs = keras.Input((3,))
    dropping = keras.Model(inputs, keras.layers.Dropout(0.5)(inputs))
    assert dropping.variables or not renewable(stack)
