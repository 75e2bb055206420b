"""The verdict: one measured number judged against what was expected of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from suite.judge.bands import Band

if TYPE_CHECKING:
    from typing import Final

PASS: Final = "pass"  # noqa: S105 - no password
REGRESSION: Final = "regression"
NEW: Final = "new"
VANISHED: Final = "vanished"
NOT_COMPARABLE: Final = "not comparable"
OUTCOMES = (PASS, REGRESSION, NEW, VANISHED, NOT_COMPARABLE)


@dataclass(frozen=True)
class Verdict:
    """What became of one metric of one case.

    Attributes:
        case: Name of the case.
        seed: The seed or seeds it is about, as text; may be empty.
        metric: Name of the metric, or of what the verdict is about instead.
        measured: The measured value; None where nothing was measured.
        expected: The band it was held against, if any.
        baseline: The baseline in short, such as ``"0.41 ± 0.02 (5)"``; may be empty.
        outcome: One of `OUTCOMES`.
        reason: Metric, measured value and what was expected, in words.
        blocking: Whether a verdict "not comparable" fails the gate, as a regression does.

    Raises:
        ValueError: If `outcome` is not one of `OUTCOMES`.
    """

    case: str
    seed: str
    metric: str
    measured: float | None
    expected: Band | None
    baseline: str
    outcome: str
    reason: str
    blocking: bool = False

    def __post_init__(self) -> None:
        """Check the outcome."""
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}. Received: {self.outcome!r}")

    @property
    def failed(self) -> bool:
        """Whether this verdict alone makes `compare` fail."""
        return self.outcome == REGRESSION or self.blocking

    @property
    def subject(self) -> str:
        """The case, with the seed if there is one."""
        return f"{self.case} ({self.seed})" if self.seed else self.case

    def __str__(self) -> str:
        """Return case, seed and reason."""
        return f"{self.subject}: {self.reason}"


def judge(
    case: str, metric: str, measured: float, band: Band, *, seed: str = "", baseline: str = ""
) -> Verdict:
    """Return "pass" if `measured` lies in `band`, else "regression"; NaN lies in no band."""
    inside = measured in band
    reason = f"{metric} is {shown(measured, band)}, expected {band}"
    outcome = PASS if inside else REGRESSION
    return Verdict(case, seed, metric, measured, band, baseline, outcome, reason)


def shown(measured: float, band: Band | None = None) -> str:
    """Return a number in four digits, or in all where four would lie otherwise in `band`."""
    text = f"{measured:.4g}"
    misleading = band is not None and (float(text) in band) != (measured in band)
    return repr(measured) if misleading else text
