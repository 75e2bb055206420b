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
STALLED = 0.1  # nats: a constant predictor gains about 0, a head still on its way there less

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
        "lenet5-intended-none": {
            "clean_accuracy": (0.37, 1),  # 0.725 ± 0.050 (1)
            "adversarial_accuracy": (0.25, 0.96),  # 0.603 ± 0.050 (1)
            "training_phase_clean_accuracy": (0.37, 1),  # 0.725 ± 0.050 (1)
            "training_phase_adversarial_accuracy": (0.25, 0.96),  # 0.603 ± 0.050 (1)
            "train_accuracy": (0.45, 1),  # 0.801 ± 0.050 (1)
            "information_gain": (2.2, 2.95),  # 2.584 ± 0.050 (1)
            "adversarial_branch_gain": (2.3, 3.05),  # 2.694 ± 0.050 (1)
            "clean_accuracy_cost": (-math.inf, 0.30),  # -0.058 ± 0.050 (1)
            "phases_agree": (1, 1),
            "parameters": exactly(84107),
        },
        "lenet5-plain": {
            "clean_accuracy": (0.31, 1),  # 0.667 ± 0.050 (1)
            "adversarial_accuracy": (0.21, 0.92),  # 0.562 ± 0.050 (1)
            "training_phase_clean_accuracy": (0.31, 1),  # 0.667 ± 0.050 (1)
            "training_phase_adversarial_accuracy": (0.21, 0.92),  # 0.562 ± 0.050 (1)
            "train_accuracy": (0.44, 1),  # 0.792 ± 0.050 (1)
            "phases_agree": (1, 1),
            "parameters": exactly(84107),
        },
    },
    "small": {
        "alexnet-intended-none": {
            "clean_accuracy": (0.8, 1),  # 0.911 ± 0.016 (9)
            "adversarial_accuracy": (0.62, 0.84),  # 0.731 ± 0.015 (9)
            "training_phase_clean_accuracy": (0.7, 0.99),  # 0.844 ± 0.020 (9)
            "training_phase_adversarial_accuracy": (0.63, 0.83),  # 0.726 ± 0.013 (9)
            "train_accuracy": (0.7, 1),  # 0.849 ± 0.021 (9)
            "information_gain": (2.7, 3.55),  # 3.121 ± 0.055 (9)
            "adversarial_branch_gain": (2.35, 3.15),  # 2.749 ± 0.054 (9)
            "clean_accuracy_cost": (-math.inf, 0.14),  # -0.125 ± 0.037 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(571723),
        },
        "alexnet-plain": {
            "clean_accuracy": (0.61, 0.96),  # 0.785 ± 0.024 (9)
            "adversarial_accuracy": (0.28, 0.65),  # 0.465 ± 0.026 (9)
            "training_phase_clean_accuracy": (0.49, 0.91),  # 0.702 ± 0.029 (9)
            "training_phase_adversarial_accuracy": (0.35, 0.64),  # 0.493 ± 0.020 (9)
            "train_accuracy": (0.42, 0.92),  # 0.667 ± 0.035 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(571723),
        },
        "attack-alexnet": {
            "parameters": exactly(571723),
        },
        "attack-lenet5": {
            "parameters": exactly(84107),
        },
        "attack-resnet50-w0.25": {
            "parameters": exactly(656011),
        },
        "attack-vgg19-w0.25": {
            "parameters": exactly(1296955),
        },
        "lenet5-intended-none": {
            "clean_accuracy": (0.68, 0.89),  # 0.789 ± 0.014 (10)
            "adversarial_accuracy": (0.53, 0.64),  # 0.582 ± 0.007 (10)
            "training_phase_clean_accuracy": (0.68, 0.89),  # 0.789 ± 0.014 (10)
            "training_phase_adversarial_accuracy": (0.53, 0.64),  # 0.582 ± 0.007 (10)
            "train_accuracy": (0.81, 0.92),  # 0.861 ± 0.007 (10)
            "information_gain": (2.3, 2.95),  # 2.612 ± 0.042 (10)
            "adversarial_branch_gain": (2.35, 2.8),  # 2.555 ± 0.025 (10)
            "clean_accuracy_cost": (-math.inf, 0.12),  # -0.025 ± 0.019 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(84107),
        },
        "lenet5-plain": {
            "clean_accuracy": (0.66, 0.87),  # 0.763 ± 0.014 (10)
            "adversarial_accuracy": (0.4, 0.57),  # 0.483 ± 0.011 (10)
            "training_phase_clean_accuracy": (0.66, 0.87),  # 0.763 ± 0.014 (10)
            "training_phase_adversarial_accuracy": (0.4, 0.57),  # 0.483 ± 0.011 (10)
            "train_accuracy": (0.8, 0.91),  # 0.856 ± 0.006 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(84107),
        },
        "resnet50-w0.25-intended-bn-momentum-0.5": {
            "clean_accuracy": (0.29, 0.75),  # 0.521 ± 0.032 (9)
            "adversarial_accuracy": (0.32, 0.51),  # 0.413 ± 0.013 (9)
            "training_phase_clean_accuracy": (0.39, 0.66),  # 0.524 ± 0.018 (9)
            "training_phase_adversarial_accuracy": (0.32, 0.49),  # 0.406 ± 0.011 (9)
            "train_accuracy": (0.37, 0.67),  # 0.518 ± 0.020 (9)
            "information_gain": (1.25, 2.5),  # 1.882 ± 0.087 (9)
            "adversarial_branch_gain": (1.2, 1.85),  # 1.528 ± 0.042 (9)
            "classes_predicted": (18, 39),  # 28.444 ± 1.424 (9)
            "statistics_moved": (100, math.inf),  # 6556.755 ± 2708.959 (9)
            "statistics_mean_shift": (0, 0.4),  # 0.106 ± 0.016 (9)
            "statistics_log_variance_ratio": (0, 0.4),  # 0.073 ± 0.028 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-intended-imagenet-inputs": {
            "clean_accuracy": (0.42, 0.72),  # 0.571 ± 0.021 (9)
            "adversarial_accuracy": (0.28, 0.61),  # 0.445 ± 0.023 (9)
            "training_phase_clean_accuracy": (0.46, 0.74),  # 0.599 ± 0.020 (9)
            "training_phase_adversarial_accuracy": (0.3, 0.57),  # 0.437 ± 0.019 (9)
            "train_accuracy": (0.47, 0.74),  # 0.607 ± 0.018 (9)
            "information_gain": (1.55, 2.65),  # 2.081 ± 0.075 (9)
            "adversarial_branch_gain": (1.3, 2.15),  # 1.723 ± 0.059 (9)
            "classes_predicted": (24, 43),  # 33.556 ± 1.236 (9)
            "statistics_moved": (100, math.inf),  # 18462.907 ± 4034.475 (9)
            "statistics_mean_shift": (0, 0.6),  # 0.248 ± 0.024 (9)
            "statistics_log_variance_ratio": (0, 1.2),  # 0.330 ± 0.087 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656023),
        },
        "resnet50-w0.25-intended-none": {
            "clean_accuracy": (0, 0.28),  # 0.072 ± 0.028 (9)
            "adversarial_accuracy": (0, 0.25),  # 0.071 ± 0.025 (9)
            "training_phase_clean_accuracy": (0.36, 0.71),  # 0.535 ± 0.025 (9)
            "training_phase_adversarial_accuracy": (0.22, 0.48),  # 0.348 ± 0.018 (9)
            "train_accuracy": (0.4, 0.68),  # 0.540 ± 0.019 (9)
            "information_gain": (-0.6, 0.6),  # -0.003 ± 0.077 (9)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.048 ± 0.015 (9)
            "classes_predicted": (1, 24),  # 3.111 ± 2.848 (9)
            "statistics_moved": (100, math.inf),  # 5678.584 ± 2346.215 (9)
            "statistics_mean_shift": (0.5, 6),  # 2.322 ± 0.466 (9)
            "statistics_log_variance_ratio": (5, 10),  # 7.275 ± 0.124 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-literal-bn-momentum-0.5": {
            "difference_from_control": (0, 1e-6),
            "clean_accuracy": (0, 0.1),  # 0.056 ± 0.004 (9)
            "adversarial_accuracy": (0, 0.11),  # 0.056 ± 0.004 (9)
            "training_phase_clean_accuracy": (0, 0.14),  # 0.068 ± 0.010 (9)
            "training_phase_adversarial_accuracy": (0, 0.13),  # 0.057 ± 0.010 (9)
            "train_accuracy": (0, 0.12),  # 0.050 ± 0.009 (9)
            "information_gain": (-0.4, STALLED),  # -0.063 ± 0.014 (9)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.067 ± 0.014 (9)
            "classes_predicted": (1, 5),  # 1.000 ± 0.000 (9)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (9)
            "statistics_mean_shift": (10, 100),  # 34.473 ± 5.222 (9)
            "statistics_log_variance_ratio": (8, 14),  # 10.924 ± 0.098 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-literal-imagenet-inputs": {
            "clean_accuracy": (0.41, 0.62),  # 0.512 ± 0.014 (9)
            "adversarial_accuracy": (0.28, 0.52),  # 0.402 ± 0.017 (9)
            "training_phase_clean_accuracy": (0.22, 0.67),  # 0.448 ± 0.032 (9)
            "training_phase_adversarial_accuracy": (0.14, 0.51),  # 0.326 ± 0.025 (9)
            "train_accuracy": (0.35, 0.7),  # 0.525 ± 0.024 (9)
            "information_gain": (1.25, 2.4),  # 1.842 ± 0.079 (9)
            "adversarial_branch_gain": (0.95, 2.2),  # 1.573 ± 0.085 (9)
            "classes_predicted": (15, 43),  # 32.111 ± 2.421 (9)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (9)
            "statistics_mean_shift": (0, 1.5),  # 0.652 ± 0.070 (9)
            "statistics_log_variance_ratio": (0, 3.5),  # 1.764 ± 0.199 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656023),
        },
        "resnet50-w0.25-literal-none": {
            "clean_accuracy": (0, 0.1),  # 0.056 ± 0.004 (9)
            "adversarial_accuracy": (0, 0.11),  # 0.056 ± 0.004 (9)
            "training_phase_clean_accuracy": (0, 0.14),  # 0.068 ± 0.010 (9)
            "training_phase_adversarial_accuracy": (0, 0.13),  # 0.057 ± 0.010 (9)
            "train_accuracy": (0, 0.12),  # 0.050 ± 0.009 (9)
            "information_gain": (-0.4, STALLED),  # -0.063 ± 0.014 (9)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.067 ± 0.014 (9)
            "classes_predicted": (1, 5),  # 1.000 ± 0.000 (9)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (9)
            "statistics_mean_shift": (10, 100),  # 34.473 ± 5.222 (9)
            "statistics_log_variance_ratio": (8, 14),  # 10.924 ± 0.098 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-plain": {
            "clean_accuracy": (0, 0.19),  # 0.064 ± 0.018 (9)
            "adversarial_accuracy": (0, 0.16),  # 0.064 ± 0.013 (9)
            "training_phase_clean_accuracy": (0.3, 0.8),  # 0.550 ± 0.035 (9)
            "training_phase_adversarial_accuracy": (0.21, 0.51),  # 0.359 ± 0.021 (9)
            "train_accuracy": (0.33, 0.77),  # 0.552 ± 0.030 (9)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "vgg19-w0.25-plain": {
            "clean_accuracy": (0, 0.55),  # 0.195 ± 0.050 (1)
            "adversarial_accuracy": (0, 0.5),  # 0.143 ± 0.050 (1)
            "training_phase_clean_accuracy": (0, 0.55),  # 0.195 ± 0.050 (1)
            "training_phase_adversarial_accuracy": (0, 0.5),  # 0.143 ± 0.050 (1)
            "train_accuracy": (0, 0.59),  # 0.237 ± 0.050 (1)
            "phases_agree": (1, 1),
            "parameters": exactly(1296955),
        },
    },
    "full": {  # not measured: set from the published results, and wide
        "lenet5-plain": {
            "clean_accuracy": (0.75, 0.98),
            "adversarial_accuracy": (0.1, 0.9),
            "training_phase_clean_accuracy": (0.75, 0.98),
            "training_phase_adversarial_accuracy": (0.1, 0.9),
            "train_accuracy": (0.6, 1),
            "phases_agree": (1, 1),
            "parameters": exactly(391307),
        },
        "lenet5-intended-none": {
            "clean_accuracy": (0.75, 0.98),
            "adversarial_accuracy": (0.1, 0.9),
            "training_phase_clean_accuracy": (0.75, 0.98),
            "training_phase_adversarial_accuracy": (0.1, 0.9),
            "train_accuracy": (0.6, 1),
            "information_gain": (0.5, 4),
            "adversarial_branch_gain": (0.3, 4),
            "clean_accuracy_cost": (-math.inf, 0.15),
            "phases_agree": (1, 1),
            "parameters": exactly(391307),
        },
        "alexnet-plain": {
            "clean_accuracy": (0.85, 1),
            "adversarial_accuracy": (0.2, 0.98),
            "training_phase_clean_accuracy": (0.85, 1),
            "training_phase_adversarial_accuracy": (0.2, 0.98),
            "train_accuracy": (0.6, 1),
            "phases_agree": (1, 1),
            "parameters": exactly(2668875),
        },
        "alexnet-intended-none": {
            "clean_accuracy": (0.85, 1),
            "adversarial_accuracy": (0.2, 0.98),
            "training_phase_clean_accuracy": (0.85, 1),
            "training_phase_adversarial_accuracy": (0.2, 0.98),
            "train_accuracy": (0.6, 1),
            "information_gain": (0.5, 4),
            "adversarial_branch_gain": (0.3, 4),
            "clean_accuracy_cost": (-math.inf, 0.15),
            "phases_agree": (1, 1),
            "parameters": exactly(2668875),
        },
        "vgg19-plain": {
            "clean_accuracy": (0.88, 1),
            "adversarial_accuracy": (0.2, 0.99),
            "training_phase_clean_accuracy": (0.88, 1),
            "training_phase_adversarial_accuracy": (0.2, 0.99),
            "train_accuracy": (0.6, 1),
            "phases_agree": (1, 1),
            "parameters": exactly(22166635),
        },
        "vgg19-intended-none": {
            "clean_accuracy": (0.88, 1),
            "adversarial_accuracy": (0.2, 0.99),
            "training_phase_clean_accuracy": (0.88, 1),
            "training_phase_adversarial_accuracy": (0.2, 0.99),
            "train_accuracy": (0.6, 1),
            "information_gain": (0.5, 4),
            "adversarial_branch_gain": (0.3, 4),
            "clean_accuracy_cost": (-math.inf, 0.15),
            "phases_agree": (1, 1),
            "parameters": exactly(22166635),
        },
        "resnet50-plain": {
            "clean_accuracy": (0, 1),
            "adversarial_accuracy": (0, 1),
            "training_phase_clean_accuracy": (0, 1),
            "training_phase_adversarial_accuracy": (0, 1),
            "train_accuracy": (0.6, 1),
            "phases_agree": (1, 1),
            "parameters": exactly(32021419),
        },
        "resnet50-intended-none": {
            "clean_accuracy": (0, 1),
            "adversarial_accuracy": (0, 1),
            "training_phase_clean_accuracy": (0, 1),
            "training_phase_adversarial_accuracy": (0, 1),
            "train_accuracy": (0.6, 1),
            "information_gain": (-4, 4),
            "adversarial_branch_gain": (-4, 4),
            "classes_predicted": (1, 43),
            "statistics_moved": (0.01, math.inf),
            "statistics_mean_shift": (0, math.inf),
            "statistics_log_variance_ratio": (0, math.inf),
            "phases_agree": (1, 1),
            "parameters": exactly(32021419),
        },
        "resnet50-literal-none": {
            "train_accuracy": (0, 0.12),
            "clean_accuracy": (0, 0.12),
            "information_gain": (-0.4, STALLED),
            "adversarial_branch_gain": (-0.4, STALLED),
            "classes_predicted": (1, 5),
            "statistics_moved": exactly(0),
            "statistics_mean_shift": (0, math.inf),
            "statistics_log_variance_ratio": (0, math.inf),
            "phases_agree": (1, 1),
            "parameters": exactly(32021419),
        },
        "resnet50-literal-bn-momentum-0.5": {
            "train_accuracy": (0, 0.12),
            "clean_accuracy": (0, 0.12),
            "information_gain": (-0.4, STALLED),
            "adversarial_branch_gain": (-0.4, STALLED),
            "classes_predicted": (1, 5),
            "statistics_moved": exactly(0),
            "statistics_mean_shift": (0, math.inf),
            "statistics_log_variance_ratio": (0, math.inf),
            "difference_from_control": (0, 1e-6),
            "phases_agree": (1, 1),
            "parameters": exactly(32021419),
        },
        "resnet50-literal-imagenet-inputs": {
            "train_accuracy": (0.5, 1),
            "clean_accuracy": (0.5, 1),
            "information_gain": (1, 4),
            "adversarial_branch_gain": (0.5, 4),
            "classes_predicted": (20, 43),
            "statistics_moved": exactly(0),
            "statistics_mean_shift": (0, math.inf),
            "statistics_log_variance_ratio": (0, math.inf),
            "phases_agree": (1, 1),
            "parameters": exactly(32021431),
        },
        "resnet50-intended-bn-momentum-0.5": {
            "train_accuracy": (0.5, 1),
            "clean_accuracy": (0.5, 1),
            "information_gain": (1, 4),
            "adversarial_branch_gain": (0.5, 4),
            "classes_predicted": (20, 43),
            "statistics_moved": (0.01, math.inf),
            "statistics_mean_shift": (0, math.inf),
            "statistics_log_variance_ratio": (0, math.inf),
            "phases_agree": (1, 1),
            "parameters": exactly(32021419),
        },
        "resnet50-intended-imagenet-inputs": {
            "train_accuracy": (0.5, 1),
            "clean_accuracy": (0.5, 1),
            "information_gain": (1, 4),
            "adversarial_branch_gain": (0.5, 4),
            "classes_predicted": (20, 43),
            "statistics_moved": (0.01, math.inf),
            "statistics_mean_shift": (0, math.inf),
            "statistics_log_variance_ratio": (0, math.inf),
            "phases_agree": (1, 1),
            "parameters": exactly(32021431),
        },
        "attack-lenet5": {"parameters": exactly(391307)},
        "step-time-lenet5": {
            "adversarial_plain_ratio": (1.5, 5),
            "last_loss": (2.5, 5),
            "parameters": exactly(391307),
        },
        "attack-alexnet": {"parameters": exactly(2668875)},
        "step-time-alexnet": {
            "adversarial_plain_ratio": (1.5, 5),
            "last_loss": (2.5, 5),
            "parameters": exactly(2668875),
        },
        "attack-vgg19": {"parameters": exactly(22166635)},
        "step-time-vgg19": {
            "adversarial_plain_ratio": (1.5, 5),
            "last_loss": (2.5, 5),
            "parameters": exactly(22166635),
        },
        "attack-resnet50": {"parameters": exactly(32021419)},
        "step-time-resnet50": {
            "adversarial_plain_ratio": (1.5, 5),
            "last_loss": (2.5, 5),
            "parameters": exactly(32021419),
        },
    },
}
"""Bands by tier and case."""


def bands_of(case: str, *, tier: str) -> tuple[tuple[str, Band], ...]:
    """Return the metrics of `case` that are judged in `tier`, and their bands."""
    common = ATTACK if case.startswith("attack-") else {}
    bands = {**common, **BANDS[tier].get(case, {})}
    return tuple((metric, Band(*limits)) for metric, limits in bands.items())
