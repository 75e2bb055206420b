"""Mixed precision: a network that computes in 16 bits and keeps its variables in 32, as Keras does.

Micikevicius et al. 2018. BatchNorm's statistics and the logits stay in 32 bits.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from suite.networks.types import Keras, Model


def build(plain: Callable[..., Model], policy: str, keras: Keras, **options: Any) -> Model:
    """Build a network under a policy of Keras, ending in logits of 32 bits.

    Args:
        plain: Builds the network in 32 bits.
        policy: ``"mixed_float16"`` or ``"mixed_bfloat16"``.
        keras: The Keras of the release under measurement, of TensorFlow 2.4 or newer.
        options: What `plain` takes beside Keras.
    """
    precision = keras.mixed_precision
    former = precision.global_policy()
    precision.set_global_policy(policy)
    try:
        model = plain(keras, **options)
    finally:
        precision.set_global_policy(former)
    logits = keras.layers.Activation("linear", dtype="float32", name="logits_in_32_bits")
    return keras.Model(model.inputs, logits(model.outputs[0]), name=model.name)
