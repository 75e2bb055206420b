"""A GroupNorm layer made to take the place of a BatchNorm layer (Wu & He 2018)."""

from __future__ import annotations

from suite.errors import FixError
from suite.networks.types import Keras, Model

GROUPS = 32  # at most, as in Wu & He 2018


def group_normalised(keras: Keras, layer: Model) -> Model:
    """Make a GroupNorm with the name and the settings of the BatchNorm `layer`.

    Raises:
        FixError: If the BatchNorm normalises several axes.
    """
    config, known = layer.get_config(), keras.layers.GroupNormalization().get_config()
    axis = config["axis"]
    if not isinstance(axis, int):
        if len(axis) != 1:
            raise FixError(f"The fix group-norm is for one axis; {layer.name} has {list(axis)}.")
        (axis,) = axis
    channels = int(layer.moving_mean.shape[0])
    settings = {key: value for key, value in config.items() if key in known}
    settings.update(axis=axis, groups=_groups(channels, alone=_alone(layer, axis)))
    return keras.layers.GroupNormalization.from_config(settings)


def _groups(channels: int, *, alone: bool) -> int:
    """Find the largest divisor of `channels` up to `GROUPS`.

    Where a channel is `alone`, with one value in each image, a group has at least two channels:
    a single value minus its own mean would always be 0.
    """
    most = min(GROUPS, channels // 2 if alone else channels)
    return next((count for count in range(most, 0, -1) if channels % count == 0), 1)


def _alone(layer: Model, axis: int) -> bool:
    """True where a channel has one value in each image, as far as Keras can tell."""
    built = layer.get_build_config() if hasattr(layer, "get_build_config") else None
    if built is None:  # Keras before 2.12, and Keras 2 where a wrapper built the layer
        return False
    shape = list(built["input_shape"])
    del shape[axis]
    return all(side == 1 for side in shape[1:])
