"""SGD with Nesterov's momentum is PyTorch's and optax's; the schedule is Keras' and PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import optax
import torch

from suite.measure.training import DECAY, DROP_EPOCHS, learning_rate
from suite.stacks.shared import OPTIMIZERS
from tests.cross_check.conftest import channels_first

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model
    from suite.stacks.protocol import Stack

RATE = 0.05
STEPS = 8


def test_the_plain_training_step_is_pytorchs(
    stack: Stack, foreign_model: Model, twin: Any, images: Images, labels: Labels
) -> None:
    step = stack.train_step(foreign_model, phases=None, epsilon=0.0)
    twin.train()
    descent = torch.optim.SGD(twin.parameters(), lr=RATE, momentum=0.9, nesterov=True)
    for _ in range(STEPS):
        found = step(images, labels, RATE)
        descent.zero_grad()
        loss = torch.nn.functional.cross_entropy(twin(channels_first(images)), torch.tensor(labels))
        np.testing.assert_allclose(found.loss, loss.item(), rtol=1e-4)
        loss.backward()
        descent.step()
    weights = foreign_model.get_weights()
    np.testing.assert_allclose(weights[-2], twin.head.weight.detach().T, rtol=1e-3, atol=1e-5)
    kernel = twin.conv.weight.detach().permute(2, 3, 1, 0)
    np.testing.assert_allclose(weights[0], kernel, rtol=1e-3, atol=1e-5)


def test_the_optimizer_is_optaxs(stack: Stack) -> None:
    rng = np.random.default_rng(0)
    start = rng.normal(size=20).astype(np.float32)
    descent, variable = OPTIMIZERS["sgd"](stack.keras), stack.keras.Variable(start)
    descent.build([variable])
    descent.learning_rate = RATE
    theirs = optax.sgd(RATE, momentum=0.9, nesterov=True)
    point, state = start, theirs.init(start)
    for _ in range(STEPS):
        gradient = rng.normal(size=20).astype(np.float32)
        descent.apply([stack.keras.ops.convert_to_tensor(gradient)])
        change, state = theirs.update(gradient, state)
        point = optax.apply_updates(point, change)
    np.testing.assert_allclose(np.asarray(variable), np.asarray(point), rtol=1e-5, atol=1e-6)


def test_the_schedule_is_keras_decay_and_pytorchs_steps(stack: Stack) -> None:
    decay = stack.keras.optimizers.schedules.InverseTimeDecay(RATE, 1, DECAY)
    parameter = torch.nn.Parameter(torch.zeros(1))
    descent = torch.optim.SGD([parameter], lr=1.0)
    drops = torch.optim.lr_scheduler.StepLR(descent, step_size=DROP_EPOCHS, gamma=0.1)
    per_epoch = 1219  # steps of 32 of the 39,002 training images
    for epoch in range(3 * DROP_EPOCHS):
        step = epoch * per_epoch
        expected = float(decay(step)) * drops.get_last_lr()[0]
        np.testing.assert_allclose(learning_rate(RATE, step=step, epoch=epoch), expected, rtol=1e-6)
        descent.step()
        drops.step()
