"""The bands of every tier: where each metric of each case must end, and why it is that wide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Band:
    """A closed interval in which a metric must lie.

    Attributes:
        low: Smallest value allowed; may be minus infinity.
        high: Largest value allowed; may be infinity.

    Raises:
        ValueError: If a bound is NaN or ``low`` exceeds ``high``.
    """

    low: float
    high: float

    def __post_init__(self) -> None:
        if not self.low <= self.high:
            raise ValueError(f"low must be at most high. Received: {self.low} and {self.high}")

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high

    def __str__(self) -> str:
        if math.isinf(self.high):
            return f"at least {self.low:.4g}"
        if math.isinf(self.low):
            return f"at most {self.high:.4g}"
        return f"{self.low:.4g} to {self.high:.4g}"


Bands = Mapping[str, tuple[float, float]]
"""Metrics and the lowest and highest value allowed."""

EPSILON = 0.01
NATS_STALLED = 0.1  # a constant predictor gains about 0; an untrained head on it, a little less

ATTACK: Bands = {
    "perturbation_max": (EPSILON * 0.9999, EPSILON * 1.0001),  # float32 rounding of x + epsilon
    "perturbed_fraction": (0.8, 1.0),  # black and white pixels stay, and those that no unit sees
    "pixel_min": (0.0, 1.0),
    "pixel_max": (0.0, 1.0),
    "linear_error": (0.0, 1e-6),
    "linear_label_gap": (EPSILON, math.inf),  # else predicted and true labels were not told apart
    "loss_rise": (0.0, math.inf),
    "raised_fraction": (0.95, 1.0),
    "state_change": (0.0, 0.0),
}
"""The same for every network and tier: what FGSM is does not depend on them."""


def exactly(value: float) -> tuple[float, float]:
    """Return the limits that only `value` keeps."""
    return value, value


BANDS: Mapping[str, Mapping[str, Bands]] = {
    "quickstart": {
        "attack-lenet5": {"parameters": exactly(84107)},
    },
    "small": {},
    "full": {},
}
"""Bands by tier and case."""


def bands_of(case: str, *, tier: str) -> tuple[tuple[str, Band], ...]:
    """Return the metrics of `case` that are judged in `tier`, and their bands."""
    common = ATTACK if case.startswith("attack-") else {}
    bands = {**common, **BANDS[tier].get(case, {})}
    return tuple((metric, Band(*limits)) for metric, limits in bands.items())
