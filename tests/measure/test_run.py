"""Tests of suite.measure.run: the subsets of a case, and the model it starts from."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import pytest

from suite.cases import Case
from suite.data import CLASSES
from suite.errors import FixError
from suite.measure.run import Run, fixed_training, subsets
from suite.networks.batch_norm import batch_norms
from suite.networks.types import Images, Model
from suite.stacks.protocol import Stack
from tests.arrays import assert_same
from tests.measure.conftest import ENVIRONMENT, NORMALISED, coloured


def test_subsets_are_seeded_sized_and_without_leaked_images() -> None:
    data = coloured()
    names = data.test.names.astype("U9")
    names[:8] = ["00666", "02291", "03546", "03594", "04548", "09384", "09575", "11906"]
    data = data._replace(test=data.test._replace(names=names))
    case = Case("lenet5", train_images=50)
    train, test = subsets(case, data, seed=0)
    assert (len(train.labels), len(test.labels)) == (50, 2 * CLASSES - 8)
    assert not set(test.names) & set(names[:8])
    again, _ = subsets(case, data, seed=0)
    other, _ = subsets(case, data, seed=1)
    np.testing.assert_array_equal(train.names, again.names)
    assert (train.names != other.names).any()


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize(("fix", "momentum"), [("none", 0.99), ("bn-momentum-0.5", 0.5)])
def test_the_fix_of_the_case_is_applied(stack: Stack, fix: str, momentum: float) -> None:
    data, case = coloured(), replace(NORMALISED, fix=fix)
    run = Run(case, 0, stack, data.train, data.test, ENVIRONMENT)
    fixed = fixed_training(run)
    assert [layer.momentum for layer in batch_norms(fixed.model)] == pytest.approx([momentum] * 2)
    assert (fixed.phases, fixed.batch_size, fixed.epochs) == (case.phases, 8, 1)


@pytest.mark.usefixtures("shallow")
def test_an_attack_in_the_training_phase_leaves_the_model_as_it_was(stack: Stack) -> None:
    data, case = coloured(), replace(NORMALISED, fix="training-phase")
    run = Run(case, 0, stack, data.train, data.test, ENVIRONMENT)
    control = fixed_training(run._replace(case=NORMALISED)).model.get_weights()
    assert_same(control, fixed_training(run).model.get_weights())


class Still(NamedTuple):
    """A network whose attack in the training phase changes nothing, as JAX's may not."""

    model: Model

    def craft(self, images: Images, *, epsilon: float, training: bool, steps: int = 1) -> Images:
        assert (training, steps) == (True, 1)
        assert epsilon > 0
        return images.copy()


@pytest.mark.usefixtures("shallow")
@pytest.mark.parametrize("fix", ["training-phase", "attack-inference-loss-training"])
def test_an_attack_that_changes_no_pixel_is_refused(
    stack: Stack, fix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stack, "network", Still)
    data, case = coloured(), replace(NORMALISED, fix=fix)
    run = Run(case, 0, stack, data.train, data.test, ENVIRONMENT)
    if fix == "training-phase":
        with pytest.raises(FixError, match=r"training-phase .* changes no pixel here: the case "):
            fixed_training(run)
    else:  # its attack runs in the inference phase
        assert fixed_training(run).phases is not None
