"""Tests of suite.cases: a case is valid, frozen and named, and its settings decide the run."""

from __future__ import annotations

import json
import math
from dataclasses import FrozenInstanceError, replace
from typing import Any

import pytest

from suite.cases import Case
from suite.networks.phases import PHASES, Phases


def test_the_policies_are_those_of_the_published_problem() -> None:
    assert PHASES == {
        "literal": ("inference", "inference", "inference"),
        "intended": ("training", "inference", "inference"),
    }
    assert Phases._fields == ("clean", "attack", "adversarial")


def test_the_defaults_are_the_published_setting() -> None:
    case = Case("resnet50")
    assert (case.epsilon, case.learning_rate, case.batch_size, case.epochs) == (0.01, 0.001, 32, 10)
    assert (case.size_px, case.width, case.blocks) == (64, 1, (3, 4, 6, 3))
    assert case.train_images is None
    assert case.test_images is None
    assert case.phases == PHASES["intended"]


@pytest.mark.parametrize(
    ("field", "value"),
    [
        *(("architecture", "resnet51"), ("loss", "adversarial"), ("fix", "all"), ("data", "cifar")),
        *(("question", "why"), ("batch_size", 0), ("epochs", -1), ("size_px", 0), ("width", 0.0)),
        *(("learning_rate", -0.1), ("learning_rate", math.nan), ("width", math.nan)),
        *(
            ("train_images", 0),
            ("test_images", -4),
            ("pretraining_steps", 3),
            ("weights", "imagenet"),
        ),
        *(("epsilon", -0.01), ("epsilon", 1.5), ("epsilon", math.nan)),
    ],
)
def test_an_invalid_field_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(ValueError, match=rf"^{field} must .*Received: {value}"):
        Case(**{"architecture": "lenet5", field: value})


def test_rows_are_frozen_and_hashable() -> None:
    case = Case("lenet5")
    with pytest.raises(FrozenInstanceError):
        case.epochs = 3  # type: ignore[misc]
    assert hash(case) == hash(Case("lenet5"))


def test_every_field_decides_the_run() -> None:
    changes: dict[str, Any] = {
        "architecture": "vgg19", "loss": "literal", "fix": "bn-momentum-0.5", "question": "attack",
        "epsilon": 0.02, "learning_rate": 0.1, "batch_size": 16, "epochs": 2, "train_images": 5,
        "test_images": 5, "size_px": 32, "width": 0.5, "blocks": (1, 1, 1, 1), "data": "synthetic",
    }  # fmt: skip
    case = Case("resnet50", weights="surrogate", pretraining_steps=3)
    others = [replace(case, **{name: value}) for name, value in changes.items()]
    others += [
        replace(case, pretraining_steps=5),
        replace(case, weights="random", pretraining_steps=0),
    ]
    texts = {json.dumps(row.settings(), sort_keys=True) for row in (case, *others)}
    assert len(texts) == len(changes) + 3


def test_settings_hold_the_phases_themselves() -> None:
    assert Case("lenet5").settings()["phases"] == ["training", "inference", "inference"]
    assert Case("lenet5", loss="plain").settings()["phases"] is None


def test_names_tell_architecture_width_loss_and_fix() -> None:
    assert str(Case("lenet5", loss="plain")) == "lenet5-plain"
    assert str(Case("lenet5")) == "lenet5-intended-none"
    reduced = Case("resnet50", loss="literal", fix="imagenet-inputs", width=0.25)
    assert str(reduced) == "resnet50-w0.25-literal-imagenet-inputs"
    assert str(Case("vgg19", question="step-time", width=0.5)) == "step-time-vgg19-w0.5"
    studied = Case("resnet50", fix="bn-freeze", question="fixes", batch_size=16)
    assert str(studied) == "resnet50-intended-bn-freeze-b16-lr0.001-64px"
