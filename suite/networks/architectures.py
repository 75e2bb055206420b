"""The architectures under measurement: each is one row here and one module beside it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import NamedTuple

from suite.networks import alexnet, lenet5, mixed, resnet50, vgg19
from suite.networks.head import with_linear_head
from suite.networks.types import Model


class Architecture(NamedTuple):
    """One architecture.

    Attributes:
        title: Its name in reports.
        build: Builds it, untrained, for a Keras, a size of images, a number of classes and a
            width.
        batch_norm: True where it has BatchNorm layers, whose statistics can be stale.
        options: Fields of a case that `build` takes as well.
        imagenet: Name and checksum of the file with the weights that `keras.applications`
            pretrained on ImageNet; None for a network that starts from random weights.
        photographs: Checksum of the file with weights that photographs gave, whose path the user
            has to give; None where there are none.
    """

    title: str
    build: Callable[..., Model]
    batch_norm: bool = False
    options: tuple[str, ...] = ()
    imagenet: tuple[str, str] | None = None
    photographs: str | None = None


RESNET50 = (
    "resnet/resnet50_weights_tf_dim_ordering_tf_kernels_notop.h5",
    "md5:4d473c1dd8becc155b73f8504c6f6626",
)

ARCHITECTURES: Mapping[str, Architecture] = MappingProxyType(
    {
        "lenet5": Architecture("LeNet-5", lenet5.build),
        "alexnet": Architecture("AlexNet", alexnet.build),
        "vgg19": Architecture(
            "VGG19",
            vgg19.build,
            imagenet=(
                "vgg19/vgg19_weights_tf_dim_ordering_tf_kernels_notop.h5",
                "md5:253f8cb515780f3b799900260a226db6",
            ),
        ),
        "resnet50": Architecture(
            "ResNet-50",
            resnet50.build,
            batch_norm=True,
            options=("blocks",),
            imagenet=RESNET50,
        ),
        "resnet50-linear": Architecture(
            "ResNet-50 with a linear head",
            partial(resnet50.build, head=with_linear_head),
            batch_norm=True,
            options=("blocks",),
        ),
        "resnet50-photos": Architecture(
            "ResNet-50 of half the channels, pretrained on photographs",
            resnet50.build_half,
            batch_norm=True,
            photographs="sha256:5a5e94087f3e3fe4858fca624d25726e8c45f657dc206c8765fdcf3fd9b10007",
        ),
        "lenet5-float16": Architecture(
            "LeNet-5 in mixed precision, float16",
            partial(mixed.build, lenet5.build, "mixed_float16"),
        ),
        **{
            f"resnet50-{precision}": Architecture(
                f"ResNet-50 in mixed precision, {precision}",
                partial(mixed.build, resnet50.build, f"mixed_{precision}"),
                batch_norm=True,
                options=("blocks",),
                imagenet=RESNET50,
            )
            for precision in ("float16", "bfloat16")
        },
    }
)

PRETRAINED_INPUTS = "caffe"
"""The input scale of all weights that networks here start from, ImageNet's and the suite's own in
their place; a key of `suite.networks.preprocessing.MODES`."""

PRETRAINED = tuple(name for name, row in ARCHITECTURES.items() if row.imagenet)
"""The architectures whose base starts from pretrained weights, as in the published problem."""

FILED = tuple(name for name, row in ARCHITECTURES.items() if row.imagenet or row.photographs)
"""The architectures whose weights may be given as a file."""
