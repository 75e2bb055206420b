"""The bands of every tier: where each metric of each case must end, and why it is that wide."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import TypeAlias


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
        if self.low == self.high:
            return f"exactly {self.low:.12g}"
        return f"{self.low:.4g} to {self.high:.4g}"


Bands: TypeAlias = "Mapping[str, tuple[float, float]]"
"""Metrics and the lowest and highest value allowed."""

EPSILON = 0.01
UPDATED = (0.98, 1.02)  # once, by the clean pass
STALLED = 0.1  # nats: a constant predictor gains about 0, a head still on its way there less

FGSM_STEP = (EPSILON * 0.9999, EPSILON * 1.0001)  # float32 rounding of x + epsilon
ATTACK: Bands = {
    "perturbation_max": FGSM_STEP,
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


TRAPS: Bands = {"unexpected": (0.0, 0.0)}
"""Traps of `suite.traps` in which a release does not do what is stated of it."""


def exactly(value: float) -> tuple[float, float]:
    """Return the limits that only `value` keeps."""
    return value, value


BANDS: Mapping[str, Mapping[str, Bands]] = {
    "quickstart": {
        "attack-lenet5": {
            "parameters": exactly(84107),
        },
        "attack-resnet50-w0.25": {
            "parameters": exactly(656011),
        },
        "lenet5-intended-none": {
            "clean_accuracy": (0.56, 0.86),  # 0.710 ± 0.016 (3)
            "adversarial_accuracy": (0.45, 0.76),  # 0.605 ± 0.003 (3)
            "training_phase_clean_accuracy": (0.56, 0.86),  # 0.710 ± 0.016 (3)
            "training_phase_adversarial_accuracy": (0.45, 0.76),  # 0.605 ± 0.003 (3)
            "train_accuracy": (0.64, 0.95),  # 0.790 ± 0.012 (3)
            "information_gain": (1.75, 3.2),  # 2.477 ± 0.101 (3)
            "adversarial_branch_gain": (1.95, 3.4),  # 2.672 ± 0.028 (3)
            "clean_accuracy_cost": (-math.inf, 0.08),  # -0.041 ± 0.016 (3)
            "phases_agree": (1, 1),
            "parameters": exactly(84107),
        },
        "lenet5-plain": {
            "clean_accuracy": (0.51, 0.82),  # 0.669 ± 0.015 (3)
            "adversarial_accuracy": (0.37, 0.71),  # 0.537 ± 0.024 (3)
            "training_phase_clean_accuracy": (0.51, 0.82),  # 0.669 ± 0.015 (3)
            "training_phase_adversarial_accuracy": (0.37, 0.71),  # 0.537 ± 0.024 (3)
            "train_accuracy": (0.62, 0.93),  # 0.780 ± 0.011 (3)
            "phases_agree": (1, 1),
            "parameters": exactly(84107),
        },
        "resnet50-w0.25-intended-bn-momentum-0.5": {
            "clean_accuracy": (0.37, 0.68),  # 0.525 ± 0.013 (2)
            "adversarial_accuracy": (0.18, 0.75),  # 0.463 ± 0.040 (2)
            "training_phase_clean_accuracy": (0.36, 0.71),  # 0.536 ± 0.024 (2)
            "training_phase_adversarial_accuracy": (0.3, 0.61),  # 0.454 ± 0.015 (2)
            "train_accuracy": (0.57, 0.88),  # 0.727 ± 0.002 (2)
            "information_gain": (1.15, 2.6),  # 1.878 ± 0.005 (2)
            "adversarial_branch_gain": (1.65, 3.1),  # 2.363 ± 0.026 (2)
            "classes_predicted": (25, 43),  # 35.500 ± 0.707 (2)
            "statistics_moved": (100, math.inf),  # 8482.141 ± 3147.649 (2)
            "updates_per_step": UPDATED,
            "statistics_mean_shift": (0, 0.4),  # 0.193 ± 0.001 (2)
            "statistics_log_variance_ratio": (0, 0.4),  # 0.139 ± 0.016 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-intended-imagenet-inputs": {
            "clean_accuracy": (0.27, 0.86),  # 0.568 ± 0.042 (2)
            "adversarial_accuracy": (0.33, 0.64),  # 0.484 ± 0.014 (2)
            "training_phase_clean_accuracy": (0.4, 0.8),  # 0.599 ± 0.028 (2)
            "training_phase_adversarial_accuracy": (0.34, 0.65),  # 0.497 ± 0.011 (2)
            "train_accuracy": (0.68, 0.99),  # 0.839 ± 0.000 (2)
            "information_gain": (1.25, 2.7),  # 1.997 ± 0.061 (2)
            "adversarial_branch_gain": (1.85, 3.3),  # 2.575 ± 0.036 (2)
            "classes_predicted": (23, 43),  # 38.500 ± 2.121 (2)
            "statistics_moved": (100, math.inf),  # 17593.874 ± 1493.566 (2)
            "updates_per_step": UPDATED,
            "statistics_mean_shift": (0, 0.6),  # 0.182 ± 0.006 (2)
            "statistics_log_variance_ratio": (0, 1.2),  # 0.318 ± 0.093 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656023),
        },
        "resnet50-w0.25-intended-none": {
            "clean_accuracy": (0, 0.44),  # 0.091 ± 0.049 (2)
            "adversarial_accuracy": (0, 0.36),  # 0.086 ± 0.038 (2)
            "training_phase_clean_accuracy": (0.39, 0.8),  # 0.595 ± 0.029 (2)
            "training_phase_adversarial_accuracy": (0.27, 0.58),  # 0.427 ± 0.014 (2)
            "train_accuracy": (0.61, 0.92),  # 0.767 ± 0.001 (2)
            "information_gain": (-0.6, 0.6),  # 0.075 ± 0.115 (2)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.037 ± 0.018 (2)
            "classes_predicted": (1, 14),  # 3.500 ± 0.707 (2)
            "statistics_moved": (100, math.inf),  # 7345.727 ± 2726.015 (2)
            "updates_per_step": UPDATED,
            "statistics_mean_shift": (0.5, 6),  # 2.701 ± 0.059 (2)
            "statistics_log_variance_ratio": (5, 10),  # 7.309 ± 0.026 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-literal-bn-momentum-0.5": {
            "difference_from_control": (0, 1e-6),
            "clean_accuracy": (0, 0.1),  # 0.058 ± 0.002 (2)
            "adversarial_accuracy": (0, 0.21),  # 0.058 ± 0.002 (2)
            "training_phase_clean_accuracy": (0, 0.3),  # 0.142 ± 0.012 (2)
            "training_phase_adversarial_accuracy": (0, 0.25),  # 0.091 ± 0.014 (2)
            "train_accuracy": (0, 0.12),  # 0.053 ± 0.004 (2)
            "information_gain": (-0.4, STALLED),  # -0.050 ± 0.006 (2)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.077 ± 0.014 (2)
            "classes_predicted": (1, 11),  # 1.000 ± 0.000 (2)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (2)
            "updates_per_step": exactly(0),
            "statistics_mean_shift": (10, 100),  # 33.657 ± 5.562 (2)
            "statistics_log_variance_ratio": (8, 14),  # 10.839 ± 0.085 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-literal-imagenet-inputs": {
            "clean_accuracy": (0.45, 0.76),  # 0.605 ± 0.004 (2)
            "adversarial_accuracy": (0.15, 0.84),  # 0.496 ± 0.048 (2)
            "training_phase_clean_accuracy": (0.38, 0.69),  # 0.535 ± 0.016 (2)
            "training_phase_adversarial_accuracy": (0.27, 0.58),  # 0.427 ± 0.005 (2)
            "train_accuracy": (0.64, 0.95),  # 0.796 ± 0.000 (2)
            "information_gain": (1.35, 2.8),  # 2.094 ± 0.056 (2)
            "adversarial_branch_gain": (1.8, 3.25),  # 2.516 ± 0.003 (2)
            "classes_predicted": (25, 43),  # 40.500 ± 2.121 (2)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (2)
            "updates_per_step": exactly(0),
            "statistics_mean_shift": (0, 1.5),  # 0.597 ± 0.076 (2)
            "statistics_log_variance_ratio": (0, 3.5),  # 1.856 ± 0.041 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656023),
        },
        "resnet50-w0.25-literal-none": {
            "clean_accuracy": (0, 0.1),  # 0.058 ± 0.002 (2)
            "adversarial_accuracy": (0, 0.21),  # 0.058 ± 0.002 (2)
            "training_phase_clean_accuracy": (0, 0.3),  # 0.142 ± 0.012 (2)
            "training_phase_adversarial_accuracy": (0, 0.25),  # 0.091 ± 0.014 (2)
            "train_accuracy": (0, 0.12),  # 0.053 ± 0.004 (2)
            "information_gain": (-0.4, STALLED),  # -0.050 ± 0.006 (2)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.077 ± 0.014 (2)
            "classes_predicted": (1, 11),  # 1.000 ± 0.000 (2)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (2)
            "updates_per_step": exactly(0),
            "statistics_mean_shift": (10, 100),  # 33.657 ± 5.562 (2)
            "statistics_log_variance_ratio": (8, 14),  # 10.839 ± 0.085 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-plain": {
            "clean_accuracy": (0, 0.57),  # 0.071 ± 0.070 (2)
            "adversarial_accuracy": (0, 0.51),  # 0.066 ± 0.063 (2)
            "training_phase_clean_accuracy": (0.43, 0.74),  # 0.581 ± 0.016 (2)
            "training_phase_adversarial_accuracy": (0.28, 0.59),  # 0.432 ± 0.007 (2)
            "train_accuracy": (0.63, 0.94),  # 0.784 ± 0.004 (2)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "step-time-lenet5": {
            "adversarial_plain_ratio": (1.3, 3.5),  # 2.119 ± 0.019 (2)
            "last_loss": (2.25, 4.45),  # 3.358 ± 0.154 (2)
            "parameters": exactly(84107),
        },
        "step-time-resnet50-w0.25": {
            "adversarial_plain_ratio": (1.3, 3.5),  # 2.339 ± 0.051 (2)
            "last_loss": (1.5, 4.65),  # 3.086 ± 0.223 (2)
            "parameters": exactly(656011),
        },
    },
    "small": {
        "alexnet-intended-none": {
            "clean_accuracy": (0.8, 1),  # 0.911 ± 0.015 (10)
            "adversarial_accuracy": (0.63, 0.84),  # 0.731 ± 0.014 (10)
            "training_phase_clean_accuracy": (0.7, 0.98),  # 0.844 ± 0.019 (10)
            "training_phase_adversarial_accuracy": (0.62, 0.83),  # 0.728 ± 0.014 (10)
            "train_accuracy": (0.71, 0.99),  # 0.850 ± 0.020 (10)
            "information_gain": (2.7, 3.5),  # 3.119 ± 0.053 (10)
            "adversarial_branch_gain": (2.35, 3.15),  # 2.754 ± 0.053 (10)
            "clean_accuracy_cost": (-math.inf, 0.14),  # -0.130 ± 0.038 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(571723),
        },
        "alexnet-plain": {
            "clean_accuracy": (0.59, 0.97),  # 0.781 ± 0.026 (10)
            "adversarial_accuracy": (0.28, 0.66),  # 0.467 ± 0.026 (10)
            "training_phase_clean_accuracy": (0.5, 0.9),  # 0.699 ± 0.028 (10)
            "training_phase_adversarial_accuracy": (0.34, 0.65),  # 0.496 ± 0.021 (10)
            "train_accuracy": (0.43, 0.9),  # 0.667 ± 0.033 (10)
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
            "clean_accuracy": (0.29, 0.74),  # 0.518 ± 0.032 (10)
            "adversarial_accuracy": (0.31, 0.51),  # 0.411 ± 0.013 (10)
            "training_phase_clean_accuracy": (0.4, 0.65),  # 0.523 ± 0.017 (10)
            "training_phase_adversarial_accuracy": (0.32, 0.49),  # 0.405 ± 0.012 (10)
            "train_accuracy": (0.38, 0.66),  # 0.518 ± 0.019 (10)
            "information_gain": (1.3, 2.5),  # 1.882 ± 0.082 (10)
            "adversarial_branch_gain": (1.25, 1.85),  # 1.528 ± 0.040 (10)
            "classes_predicted": (17, 40),  # 28.700 ± 1.567 (10)
            "statistics_moved": (100, math.inf),  # 6656.762 ± 2573.536 (10)
            "updates_per_step": UPDATED,
            "statistics_mean_shift": (0, 0.4),  # 0.113 ± 0.026 (10)
            "statistics_log_variance_ratio": (0, 0.4),  # 0.071 ± 0.027 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-intended-imagenet-inputs": {
            "clean_accuracy": (0.42, 0.72),  # 0.573 ± 0.021 (10)
            "adversarial_accuracy": (0.29, 0.6),  # 0.445 ± 0.022 (10)
            "training_phase_clean_accuracy": (0.44, 0.76),  # 0.603 ± 0.022 (10)
            "training_phase_adversarial_accuracy": (0.31, 0.57),  # 0.437 ± 0.018 (10)
            "train_accuracy": (0.47, 0.75),  # 0.609 ± 0.019 (10)
            "information_gain": (1.55, 2.65),  # 2.089 ± 0.075 (10)
            "adversarial_branch_gain": (1.3, 2.15),  # 1.726 ± 0.056 (10)
            "classes_predicted": (25, 42),  # 33.600 ± 1.174 (10)
            "statistics_moved": (100, math.inf),  # 18608.120 ± 3831.358 (10)
            "updates_per_step": UPDATED,
            "statistics_mean_shift": (0, 0.6),  # 0.246 ± 0.023 (10)
            "statistics_log_variance_ratio": (0, 1.2),  # 0.316 ± 0.094 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656023),
        },
        "resnet50-w0.25-intended-none": {
            "clean_accuracy": (0, 0.27),  # 0.071 ± 0.027 (10)
            "adversarial_accuracy": (0, 0.24),  # 0.070 ± 0.024 (10)
            "training_phase_clean_accuracy": (0.37, 0.71),  # 0.536 ± 0.023 (10)
            "training_phase_adversarial_accuracy": (0.2, 0.49),  # 0.344 ± 0.020 (10)
            "train_accuracy": (0.41, 0.68),  # 0.541 ± 0.019 (10)
            "information_gain": (-0.6, 0.6),  # -0.004 ± 0.073 (10)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.050 ± 0.015 (10)
            "classes_predicted": (1, 23),  # 2.900 ± 2.767 (10)
            "statistics_moved": (100, math.inf),  # 5765.196 ± 2228.925 (10)
            "updates_per_step": UPDATED,
            "statistics_mean_shift": (0.5, 6),  # 2.352 ± 0.450 (10)
            "statistics_log_variance_ratio": (5, 10),  # 7.282 ± 0.118 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-literal-bn-momentum-0.5": {
            "difference_from_control": (0, 1e-6),
            "clean_accuracy": (0, 0.1),  # 0.056 ± 0.004 (10)
            "adversarial_accuracy": (0, 0.11),  # 0.056 ± 0.004 (10)
            "training_phase_clean_accuracy": (0, 0.14),  # 0.070 ± 0.010 (10)
            "training_phase_adversarial_accuracy": (0, 0.14),  # 0.054 ± 0.012 (10)
            "train_accuracy": (0, 0.12),  # 0.050 ± 0.009 (10)
            "information_gain": (-0.4, STALLED),  # -0.063 ± 0.013 (10)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.068 ± 0.015 (10)
            "classes_predicted": (1, 5),  # 1.000 ± 0.000 (10)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (10)
            "updates_per_step": exactly(0),
            "statistics_mean_shift": (10, 100),  # 35.508 ± 5.912 (10)
            "statistics_log_variance_ratio": (8, 14),  # 10.931 ± 0.095 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-literal-imagenet-inputs": {
            "clean_accuracy": (0.33, 0.71),  # 0.519 ± 0.026 (10)
            "adversarial_accuracy": (0.28, 0.52),  # 0.403 ± 0.016 (10)
            "training_phase_clean_accuracy": (0.23, 0.67),  # 0.451 ± 0.031 (10)
            "training_phase_adversarial_accuracy": (0.15, 0.5),  # 0.327 ± 0.024 (10)
            "train_accuracy": (0.31, 0.75),  # 0.532 ± 0.030 (10)
            "information_gain": (1.15, 2.6),  # 1.864 ± 0.101 (10)
            "adversarial_branch_gain": (0.95, 2.2),  # 1.581 ± 0.084 (10)
            "classes_predicted": (16, 43),  # 32.100 ± 2.283 (10)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (10)
            "updates_per_step": exactly(0),
            "statistics_mean_shift": (0, 1.5),  # 0.643 ± 0.071 (10)
            "statistics_log_variance_ratio": (0, 3.5),  # 1.745 ± 0.198 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656023),
        },
        "resnet50-w0.25-literal-none": {
            "clean_accuracy": (0, 0.1),  # 0.056 ± 0.004 (10)
            "adversarial_accuracy": (0, 0.11),  # 0.056 ± 0.004 (10)
            "training_phase_clean_accuracy": (0, 0.14),  # 0.070 ± 0.010 (10)
            "training_phase_adversarial_accuracy": (0, 0.14),  # 0.054 ± 0.012 (10)
            "train_accuracy": (0, 0.12),  # 0.050 ± 0.009 (10)
            "information_gain": (-0.4, STALLED),  # -0.063 ± 0.013 (10)
            "adversarial_branch_gain": (-0.4, STALLED),  # -0.068 ± 0.015 (10)
            "classes_predicted": (1, 5),  # 1.000 ± 0.000 (10)
            "statistics_moved": exactly(0),  # 0.000 ± 0.000 (10)
            "updates_per_step": exactly(0),
            "statistics_mean_shift": (10, 100),  # 35.508 ± 5.912 (10)
            "statistics_log_variance_ratio": (8, 14),  # 10.931 ± 0.095 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "resnet50-w0.25-plain": {
            "clean_accuracy": (0, 0.19),  # 0.064 ± 0.017 (10)
            "adversarial_accuracy": (0, 0.16),  # 0.064 ± 0.013 (10)
            "training_phase_clean_accuracy": (0.31, 0.79),  # 0.552 ± 0.034 (10)
            "training_phase_adversarial_accuracy": (0.21, 0.5),  # 0.359 ± 0.020 (10)
            "train_accuracy": (0.33, 0.78),  # 0.556 ± 0.031 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(656011),
        },
        "step-time-alexnet": {
            "adversarial_plain_ratio": (1.8, 4.5),  # 2.7 to 4.0, busy cores
            "last_loss": (3.35, 3.9),  # 3.623 ± 0.037 (10)
            "parameters": exactly(571723),
        },
        "parity-resnet50-w0.25-literal": {
            "perturbation_max": FGSM_STEP,
            "parameters": exactly(656011),
        },
        "parity-resnet50-w0.25-intended": {
            "perturbation_max": FGSM_STEP,
            "parameters": exactly(656011),
        },
        "parity-resnet50-w0.25-plain": {"parameters": exactly(656011)},
        "parity-lenet5-intended": {
            "perturbation_max": FGSM_STEP,
            "parameters": exactly(84107),
        },
        "step-time-lenet5": {
            "adversarial_plain_ratio": (1.3, 3.5),  # 2.167 ± 0.063 (10)
            "last_loss": (3.2, 4.2),  # 3.688 ± 0.068 (10)
            "parameters": exactly(84107),
        },
        "step-time-resnet50": {
            "adversarial_plain_ratio": (1.7, 3.5),  # 2.598 ± 0.126 (5)
            "last_loss": (2.8, 4.6),  # 3.699 ± 0.124 (5)
            "parameters": exactly(25729963),
        },
        "step-time-resnet50-w0.25": {
            "adversarial_plain_ratio": (1.3, 3.5),  # 2.463 ± 0.148 (10)
            "last_loss": (2.75, 4.3),  # 3.536 ± 0.106 (10)
            "parameters": exactly(656011),
        },
        "step-time-vgg19": {
            "adversarial_plain_ratio": (2, 4.2),  # 2.94 to 3.28 in six runs
            "last_loss": (3.3, 4.2),  # 3.61 to 3.80 in six runs
            "parameters": exactly(20593771),
        },
        "step-time-vgg19-w0.25": {
            "adversarial_plain_ratio": (1.9, 4.2),  # 2.6 to 3.3 where the cores were free
            "last_loss": (3.05, 4.55),  # 3.801 ± 0.105 (10)
            "parameters": exactly(1296955),
        },
        "vgg19-w0.25-intended-none": {
            "clean_accuracy": (0.15, 0.49),  # 0.318 ± 0.023 (10)
            "adversarial_accuracy": (0.06, 0.33),  # 0.186 ± 0.020 (10)
            "training_phase_clean_accuracy": (0.15, 0.49),  # 0.318 ± 0.023 (10)
            "training_phase_adversarial_accuracy": (0.06, 0.33),  # 0.186 ± 0.020 (10)
            "train_accuracy": (0.17, 0.48),  # 0.328 ± 0.021 (10)
            "information_gain": (0.5, 1.55),  # 1.008 ± 0.073 (10)
            "adversarial_branch_gain": (0.2, 1.25),  # 0.559 ± 0.092 (10)
            "clean_accuracy_cost": (-math.inf, 0.16),  # 0.029 ± 0.017 (10)
            "phases_agree": (1, 1),
            "parameters": exactly(1296955),
        },
        "vgg19-w0.25-plain": {
            "clean_accuracy": (0.22, 0.47),  # 0.347 ± 0.017 (10)
            "adversarial_accuracy": (0.06, 0.33),  # 0.146 ± 0.025 (10)
            "training_phase_clean_accuracy": (0.22, 0.47),  # 0.347 ± 0.017 (10)
            "training_phase_adversarial_accuracy": (0.06, 0.33),  # 0.146 ± 0.025 (10)
            "train_accuracy": (0.21, 0.5),  # 0.359 ± 0.020 (10)
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
            "updates_per_step": UPDATED,
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
            "updates_per_step": exactly(0),
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
            "updates_per_step": exactly(0),
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
            "updates_per_step": exactly(0),
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
            "updates_per_step": UPDATED,
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
            "updates_per_step": UPDATED,
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


STUDIED: Bands = {"phases_agree": (1.0, 1.0)}
STALLING: Bands = {"adversarial_branch_gain": (-0.5, STALLED)}
MENDED: Bands = {"adversarial_branch_gain": (0.8, 3.0), "information_gain": (0.8, 3.0)}
BRANCH_MENDED: Bands = {  # by statistics that the inference phase does not have
    "adversarial_branch_gain": (0.8, 3.0),
    "training_phase_information_gain": (0.8, 3.0),
    "information_gain": (-12.0, 1.2),
}
OUTCOMES: tuple[tuple[str, str, Bands], ...] = (
    ("literal", "none bn-momentum-0.5 more-iterations bn-reset phase-scope", STALLING),
    ("literal", "imagenet-inputs", MENDED),
    ("intended", "none bn-freeze bn-inference", STALLING),
    (
        "intended",
        "bn-momentum-0.5 more-iterations training-phase bn-reset precise-bn imagenet-inputs "
        "group-norm",
        MENDED,
    ),
    ("intended", "attack-inference-loss-training dual-bn", BRANCH_MENDED),
    ("own-kept", "none", BRANCH_MENDED),
    ("clean-kept", "none", BRANCH_MENDED),
    ("clean-updating", "none", BRANCH_MENDED),
)
"""What each fix and point of the grid comes to, by loss; from the study of tf-2.21.

Under `literal`, precise-bn ends either way: at this rate the bias of the first convolution may
outrun statistics that nothing updates. So does the branch of moving-updating.
"""

STUDY: Mapping[str, Bands] = {
    f"resnet50-w0.25-{loss}-{fix}-b32-lr0.01-32px": bands
    for loss, fixes, bands in OUTCOMES
    for fix in fixes.split()
}


def bands_of(case: str, *, tier: str) -> tuple[tuple[str, Band], ...]:
    """Return the metrics of `case` that are judged in `tier`, and their bands."""
    question = case.split("-", maxsplit=1)[0]
    common = {"attack": ATTACK, "traps": TRAPS}.get(question, {})
    known = BANDS.get(tier, {})
    if tier in ("study", "full-study"):
        common, known = STUDIED, STUDY
    bands = {**common, **known.get(case, {})}
    return tuple((metric, Band(*limits)) for metric, limits in bands.items())


UPDATED_TWICE: Bands = {"updates_per_step": (1.98, 2.02)}
UNATTACKED: Bands = {"training_phase_adversarial_accuracy": (0.31, 0.79)}  # as the clean one
STACK_BANDS: Mapping[str, Mapping[str, Bands]] = {
    "graph": {
        "resnet50-w0.25-intended-bn-momentum-0.5": UPDATED_TWICE,
        "resnet50-w0.25-intended-imagenet-inputs": UPDATED_TWICE,
        "resnet50-w0.25-intended-none": {
            **UPDATED_TWICE,
            "clean_accuracy": (0, 0.4),  # 0.250 ± 0.013 (3)
            "adversarial_accuracy": (0, 0.36),
            "information_gain": (-0.6, 1.2),  # 0.805 ± 0.032 (3)
            "adversarial_branch_gain": (-0.4, 0.35),  # 0.149 ± 0.059 (3)
            "classes_predicted": (1, 36),  # 17.333 ± 3.512 (3)
            "statistics_mean_shift": (0.1, 6),  # 0.376 ± 0.044 (3)
            "statistics_log_variance_ratio": (4, 8),  # 5.151 ± 0.242 (3)
        },
    },
    "jax": {
        "resnet50-w0.25-plain": UNATTACKED,
        "resnet50-w0.25-intended-none": UNATTACKED,
    },
}
"""What ends elsewhere on one stack, in the small tier, and why.

In the graph of TensorFlow 1, with two updates a step, the variances fall by 0.99^2, and the control
comes out of the stall within the last of its 200 steps (tf-1.14, seeds 0 to 2). CleverHans' attack
for JAX takes the gradient image by image: in the training phase BatchNorm normalises each by
itself, where a stage of one pixel leaves nothing of it, so the attack changes no pixel.
"""


def stack_bands(case: str, *, tier: str, stack: str) -> dict[str, Band]:
    """Return the bands of `case` that are others on one of `suite.stacks`."""
    bands = STACK_BANDS.get(stack, {}).get(case, {}) if tier == "small" else {}
    return {metric: Band(*limits) for metric, limits in bands.items()}
