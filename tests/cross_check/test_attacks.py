"""The attacks are those of ART, Foolbox and torchattacks."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import eagerpy
import foolbox
import numpy as np
import pytest
import tensorflow as tf
import torch
import torchattacks
from art.attacks.evasion import FastGradientMethod, ProjectedGradientDescent
from art.attacks.evasion.projected_gradient_descent import projected_gradient_descent_pytorch
from art.estimators.classification import PyTorchClassifier

from tests.cross_check.conftest import EPSILON, channels_first, channels_last

if TYPE_CHECKING:
    from suite.networks.types import Images, Model
    from suite.stacks.protocol import Stack

STEPS = 10
STEP = 2.5 * EPSILON / STEPS  # as Madry et al. 2018
FLIPPED = 2e-3  # share of the pixels whose gradient may be rounded to the other side of 0


def agree(found: Images, expected: Images) -> None:
    """Compare two attacks pixel by pixel, but for gradients that are 0 up to rounding."""
    differing = np.abs(found - expected) > 1e-6
    assert differing.mean() <= FLIPPED, f"{differing.mean():.2%} of the pixels differ"


def of_art(twin: Any) -> PyTorchClassifier:
    loss = torch.nn.CrossEntropyLoss()
    return PyTorchClassifier(
        twin, loss, input_shape=(3, 8, 8), nb_classes=5, clip_values=(0.0, 1.0)
    )


def fgsm_of_art(twin: Any, images: Any, predicted: Any) -> Images:
    attack = FastGradientMethod(of_art(twin), norm=np.inf, eps=EPSILON)
    return attack.generate(images.numpy(), y=predicted.numpy())


def fgsm_of_foolbox(twin: Any, images: Any, predicted: Any) -> Images:
    model = foolbox.PyTorchModel(twin, bounds=(0, 1), device="cpu")
    attack = foolbox.attacks.LinfFastGradientAttack(random_start=False)
    return attack.run(model, images, predicted, epsilon=EPSILON).detach().numpy()


def fgsm_of_torchattacks(twin: Any, images: Any, predicted: Any) -> Images:
    return torchattacks.FGSM(twin, eps=EPSILON)(images, predicted).detach().numpy()


@pytest.mark.parametrize("attack", [fgsm_of_art, fgsm_of_foolbox, fgsm_of_torchattacks])
def test_fgsm_is_theirs(
    stack: Stack, foreign_model: Model, twin: Any, images: Images, attack: Callable[..., Images]
) -> None:
    given = channels_first(images)
    expected = channels_last(attack(twin, given, twin(given).argmax(dim=1)))
    network = stack.network(foreign_model)
    agree(network.craft(images, epsilon=EPSILON, training=False), expected)
    assert (np.abs(expected - images) > EPSILON / 2).mean() > 0.5


def pgd_of_art(
    twin: Any, images: Any, predicted: Any, noise: Any, patch: pytest.MonkeyPatch
) -> Images:
    patch.setattr(projected_gradient_descent_pytorch, "random_sphere", lambda *_: noise.numpy())
    attack = ProjectedGradientDescent(
        of_art(twin), eps=EPSILON, eps_step=STEP, max_iter=STEPS, num_random_init=1, verbose=False
    )
    return attack.generate(images.numpy(), y=predicted.numpy())


def pgd_of_foolbox(
    twin: Any, images: Any, predicted: Any, noise: Any, patch: pytest.MonkeyPatch
) -> Images:
    attack = foolbox.attacks.LinfProjectedGradientDescentAttack(
        abs_stepsize=STEP, steps=STEPS, random_start=True
    )
    patch.setattr(attack, "get_random_start", lambda x, _: x + eagerpy.astensor(noise))
    model = foolbox.PyTorchModel(twin, bounds=(0, 1), device="cpu")
    return attack.run(model, images, predicted, epsilon=EPSILON).detach().numpy()


def pgd_of_torchattacks(
    twin: Any, images: Any, predicted: Any, noise: Any, patch: pytest.MonkeyPatch
) -> Images:
    patch.setattr(torch.Tensor, "uniform_", lambda tensor, *_: tensor.copy_(noise))
    attack = torchattacks.PGD(twin, eps=EPSILON, alpha=STEP, steps=STEPS, random_start=True)
    return attack(images, predicted).detach().numpy()


@pytest.fixture
def start(stack: Stack, images: Images) -> Any:
    """Draw the noise that the suite's own attack will draw first after the same seed."""
    stack.seed(0)
    noise = channels_first(tf.random.uniform(images.shape, -EPSILON, EPSILON).numpy())
    stack.seed(0)
    return noise


@pytest.mark.parametrize("attack", [pgd_of_art, pgd_of_foolbox, pgd_of_torchattacks])
def test_projected_gradient_descent_is_theirs_from_the_same_start(
    attack: Callable[..., Images], request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = ("stack", "foreign_model", "twin", "images", "start")
    stack, model, twin, images, noise = map(request.getfixturevalue, names)
    network = stack.network(model)
    found = network.craft(images, epsilon=EPSILON, training=False, steps=STEPS)
    given = channels_first(images)
    predicted = twin(given).argmax(dim=1)
    agree(found, channels_last(attack(twin, given, predicted, noise, monkeypatch)))
