"""Metrics: one row each with its unit, its worse side, and how finely it can be judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from suite.errors import RecordError

BOTH, MORE, LESS = "both", "more", "less"
"""Values of `Metric.worse`. A metric that is worse on one side is bounded on that side alone."""

BINOMIAL_DEVIATIONS = 3.0  # an accuracy may always differ by so many standard deviations
RULE_OF_THREE = 3.0  # what never happened in n images has a rate of at most 3 / n (95 %)
ACCURACY_RESOLUTION = 0.01  # where the number of images is not known


class Metric(NamedTuple):
    """How one metric is judged.

    Five seeds can agree by chance, so a band is never narrower than what the metric can resolve.

    Attributes:
        unit: "fraction", "nats", "classes", "pixel", "s", "images/s", "bytes", or "1" for a number
            without a unit.
        worse: The side on which the metric is worse: `BOTH`, `MORE` or `LESS`.
        resolution: Half the width of the narrowest band, in the metric's unit.
        relative: The same as a share of the mean, for metrics without a scale of their own.
        per_machine: True where the number depends on the machine and the hour, so that it is held
            against no stored one; the gate measures two releases side by side instead.
        primary: True where the gate decides by it, if larger is better and the case learns; all
            other metrics are diagnostics to it. Few are: each one more costs power in all others.
    """

    unit: str
    worse: str = BOTH
    resolution: float = 0.0
    relative: float = 0.0
    per_machine: bool = False
    primary: bool = False

    @property
    def is_fraction(self) -> bool:
        """True for a share of images or of pixels, which lies in [0, 1]."""
        return self.unit == "fraction"

    def narrowest(self, mean: float, *, images: int | None = None) -> float:
        """Compute half the width of the narrowest band around `mean`.

        Args:
            mean: Mean over the seeds, in the metric's unit.
            images: Number of images that a fraction is taken over; None where it is not known.
        """
        if self.is_fraction:
            return _fraction_resolution(mean, images)
        return self.resolution + abs(mean) * self.relative


def _fraction_resolution(mean: float, images: int | None) -> float:
    """Compute how far a share of so many images may be off by chance alone."""
    if not images:
        return ACCURACY_RESOLUTION
    variance = max(mean * (1 - mean), 0.0) / images
    return max(BINOMIAL_DEVIATIONS * math.sqrt(variance), RULE_OF_THREE / images)


FRACTION = Metric("fraction")
NATS = Metric("nats", resolution=0.02)  # a stalled branch is within 0.002 of the entropy
CLASSES = Metric("classes", resolution=2.0)  # the rarest have about ten test images in a subset
PIXEL = Metric("pixel", resolution=0.05)  # the darkest and brightest pixel of other test images
EXACT = Metric("1", relative=1e-6)  # a few roundings of float32: counts must be exact
TIME = Metric("s", MORE, per_machine=True)
RATE = Metric("images/s", LESS, per_machine=True)
MEMORY = Metric("bytes", MORE, per_machine=True)
RATIO = Metric("1", per_machine=True)
"""Of two times. Both are taken in turn in one process, and yet it is the machine's: LeNet-5 costs
2.1 on one core and 1.75 on two. Five seeds on one machine do not show that spread."""

EVALUATED = {
    "clean_accuracy": FRACTION,
    "adversarial_accuracy": FRACTION,
    "pgd_accuracy": FRACTION,
    "information_gain": NATS,
    "adversarial_information_gain": NATS,
    "classes_predicted": CLASSES,
}
"""The metrics of one evaluation: in the inference phase, or in the way that a prefix names."""

PRIMARY = (
    "clean_accuracy",
    "adversarial_accuracy",
    "information_gain",
    "adversarial_information_gain",
)
"""Of `EVALUATED`, by which the gate decides: what a user sees, and the gains, which vary less."""

RANDOM = (
    "seed_repeats",
    "seeds_differ",
    "scale_error",  # standard deviations
    "reach",  # limits of Glorot's uniform distribution
    "constant_error",
    "correlation_error",  # standard deviations
    "dropout_seed_repeats",
    "dropout_rate_error",  # standard deviations
    "dropout_scale_error",
    "dropout_inference_change",
    "dropout_gradient_error",  # a share of units
    "plain_step_spread",  # nats, as the two below
    "clean_step_spread",
    "adversarial_step_spread",
)
"""The metrics of what is drawn at random, judged by bands alone."""

METRICS: Mapping[str, Metric] = MappingProxyType(
    {
        **EVALUATED,
        **{name: EVALUATED[name]._replace(primary=True) for name in PRIMARY},
        **{f"training_phase_{name}": row for name, row in EVALUATED.items()},
        **{f"precise_bn_{name}": row for name, row in EVALUATED.items()},
        "train_accuracy": FRACTION,
        "clean_branch_gain": NATS._replace(primary=True),
        "adversarial_branch_gain": NATS._replace(primary=True),
        "clean_accuracy_cost": EXACT,  # the difference of two accuracies
        "difference_from_control": EXACT,  # nats between two loss curves
        "phases_agree": EXACT,
        "parameters": EXACT,
        "statistics_moved": EXACT,
        "updates_per_step": EXACT,
        "statistics_mean_shift": EXACT,  # standard deviations
        "statistics_log_variance_ratio": EXACT,  # natural logarithm of a ratio
        "cost_ratio": RATIO,
        "adversarial_plain_ratio": RATIO,
        "plain_step_s": TIME,
        "adversarial_step_s": TIME,
        "plain_compile_s": TIME,
        "adversarial_compile_s": TIME,
        "plain_images_per_s": RATE,
        "adversarial_images_per_s": RATE,
        "peak_memory_bytes": MEMORY,
        "last_loss": NATS,
        "perturbation_max": EXACT,  # of pixels in [0, 1], equal to epsilon but for rounding
        "perturbed_fraction": FRACTION,
        "raised_fraction": FRACTION,
        "true_label_accuracy": FRACTION,
        "pixel_min": PIXEL,
        "pixel_max": PIXEL,
        "loss_rise": EXACT,  # nats, in an untrained network far below the resolution of `NATS`
        "linear_error": EXACT,
        "linear_label_gap": EXACT,
        "state_change": EXACT,
        "all_finite": EXACT,
        "unexpected": EXACT,  # a count
        **dict.fromkeys(RANDOM, EXACT),
    }
)
"""Every metric that is judged by a band or against a baseline."""


def metric_row(name: str) -> Metric:
    """Look up how a metric is judged.

    Raises:
        RecordError: If `METRICS` has no row of this name.
    """
    if name not in METRICS:
        raise RecordError(
            f"{name} is no metric that can be judged: suite/judge/metrics.py has no row of that "
            "name. Expected one of its rows. Add a row, or make the record anew."
        )
    return METRICS[name]
