"""Recomputed statistics are fvcore's; frozen BatchNorm and GroupNorm are PyTorch's."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from fvcore.nn.precise_bn import update_bn_stats

from suite.measure.statistics import recompute_statistics
from suite.networks.batch_norm import moving_moments
from suite.networks.fixes import apply
from tests.cross_check.conftest import channels_first, twin_of

if TYPE_CHECKING:
    from suite.networks.types import Images, Model
    from suite.stacks.protocol import Stack


def test_precise_bn_is_fvcores(
    stack: Stack, foreign_model: Model, twin: Any, images: Images
) -> None:
    batches = [channels_first(images[start : start + 6]) for start in (0, 6, 12)]  # 6, 6 and 4
    twin.train()
    update_bn_stats(twin, batches, num_iters=len(batches))
    recompute_statistics(stack, foreign_model, images, batch_size=6)
    [(mean, variance)] = moving_moments(foreign_model).values()
    np.testing.assert_allclose(mean, twin.norm.running_mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(variance, twin.norm.running_var, rtol=1e-5)


def test_frozen_batch_norm_is_pytorchs_in_evaluation(
    stack: Stack, foreign_model: Model, twin: Any, images: Images
) -> None:
    frozen = apply("bn-freeze", stack.keras, foreign_model).model
    found = stack.network(frozen).logits(images, training=True)
    expected = twin(channels_first(images)).detach().numpy()
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_group_norm_is_pytorchs(stack: Stack, foreign_model: Model, images: Images) -> None:
    fixed = apply("group-norm", stack.keras, foreign_model).model
    assert fixed.get_layer("bn").groups == 4
    expected = twin_of(fixed, torch.nn.GroupNorm(4, 4, eps=1e-3))
    for training in (False, True):
        found = stack.network(fixed).logits(images, training=training)
        by_torch = expected(channels_first(images)).detach().numpy()
        np.testing.assert_allclose(found, by_torch, rtol=1e-4, atol=1e-5)
