"""The architectures under measurement, each a function of Keras: one row and one module a net."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from suite.architectures import alexnet, lenet5, resnet50, vgg19
from suite.architectures.head import with_linear_head
from suite.types import Model

ARCHITECTURES: Mapping[str, Callable[..., Model]] = MappingProxyType(
    {
        "lenet5": lenet5.build,
        "alexnet": alexnet.build,
        "vgg19": vgg19.build,
        "resnet50": resnet50.build,
        "resnet50-linear": partial(resnet50.build, head=with_linear_head),
    }
)
PRETRAINED = ("vgg19", "resnet50")
"""Those whose base starts from pretrained weights, in the published problem as here."""
