"""GroupNorm in the place of BatchNorm (Wu & He 2018), whatever layer of Keras can be it."""

from __future__ import annotations

from suite.errors import FixError
from suite.networks.types import Keras, Model

GROUPS = 32  # the most GroupNorm forms, as Wu & He 2018 do


def group_normalised(keras: Keras, layer: Model) -> Model:
    """Return a GroupNorm with the name and the settings of a BatchNorm."""
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
    """Return the largest divisor of `channels` up to `GROUPS`.

    Where a channel is `alone`, of one value an image, a group has two channels at least: a single
    value less its own mean would always be 0.
    """
    most = min(GROUPS, channels // 2 if alone else channels)
    return next((count for count in range(most, 0, -1) if channels % count == 0), 1)


def _alone(layer: Model, axis: int) -> bool:
    """Return whether a channel has one value in each image, as far as Keras can tell."""
    built = layer.get_build_config() if hasattr(layer, "get_build_config") else None
    if built is None:  # Keras 2 where a wrapper built it, and before 2.12
        return False
    shape = list(built["input_shape"])
    del shape[axis]
    return all(side == 1 for side in shape[1:])
