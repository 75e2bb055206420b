"""Fixtures of the cross-check: the small BatchNorm network once more, in PyTorch alone.

``nox -s cross-check`` runs these tests in an environment of their own, beside other people's
implementations; `nox -s tests` passes them over.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

if TYPE_CHECKING:
    from suite.networks.types import Images, Labels, Model

EPSILON = 0.02
collect_ignore_glob: list[str] = []

try:
    import torch
except ImportError:  # the environment is not that of the session
    collect_ignore_glob = ["test_*.py"]
else:
    torch.set_num_threads(1)


@pytest.fixture
def images() -> Images:
    return np.random.default_rng(0).random((16, 8, 8, 3), dtype=np.float32)


@pytest.fixture
def labels() -> Labels:
    return np.arange(16) % 5


def channels_first(images: Images) -> Any:
    """Copy images into a tensor of PyTorch, ``(batch, 3, height, width)``."""
    return torch.tensor(images.transpose(0, 3, 1, 2))


def channels_last(images: Any) -> Images:
    """Copy such a tensor, or an array, back."""
    found: Images = np.asarray(images).transpose(0, 2, 3, 1)
    return found


@pytest.fixture
def twin(foreign_model: Model) -> Any:
    """Build `foreign_model` in PyTorch, with its weights and statistics, in the inference phase."""
    return twin_of(foreign_model)


def twin_of(model: Model, normalisation: Any = None) -> Any:
    """Build a network like `foreign_model` in PyTorch; by default with BatchNorm."""
    kernel, bias, gamma, beta, *moving, dense, shift = map(torch.tensor, model.get_weights())

    class Twin(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3)
            self.norm = normalisation or torch.nn.BatchNorm2d(4, eps=1e-3, momentum=0.01)
            self.head = torch.nn.Linear(6 * 6 * 4, 5)

        def forward(self, x: Any) -> Any:
            x = torch.relu(self.norm(self.conv(x)))
            return self.head(x.permute(0, 2, 3, 1).flatten(1))

    made = Twin()
    with torch.no_grad():
        made.conv.weight.copy_(kernel.permute(3, 2, 0, 1))
        made.conv.bias.copy_(bias)
        made.norm.weight.copy_(gamma)
        made.norm.bias.copy_(beta)
        if moving:
            made.norm.running_mean.copy_(moving[0])
            made.norm.running_var.copy_(moving[1])
        made.head.weight.copy_(dense.T)
        made.head.bias.copy_(shift)
    return made.eval()
