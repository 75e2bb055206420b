"""Verdicts: one measured number, judged by the band in which it was expected."""

from __future__ import annotations

from collections.abc import Sequence
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
WHOLE: Final = "all"
"""Stands for the metric where a verdict is about all numbers of a case."""

OUTCOMES = (PASS, REGRESSION, NEW, VANISHED, NOT_COMPARABLE)


SHOWN = 4  # names listed in one line


def listed(names: Sequence[str], *, most: int = SHOWN) -> str:
    """List the first names, and say how many more there are."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"{', '.join(names[:most])}{more}"


@dataclass(frozen=True)
class Verdict:
    """The judgement of one metric of one case.

    Attributes:
        case: Name of the case.
        seed: The seed, as text such as ``"seed 3"``; may be empty.
        metric: Name of the metric, or of what was judged instead, such as "settings".
        measured: The measured value; None where nothing was measured.
        expected: The band in which the value had to lie; None where there was none.
        baseline: The baseline in short, such as ``"0.41 ± 0.02 (5)"``; may be empty.
        outcome: One of `OUTCOMES`.
        reason: The metric, its measured value and what was expected, in words.
        blocking: True where a whole record is "not comparable", so that `compare` cannot tell.

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
        if self.outcome not in OUTCOMES:
            raise ValueError(f"outcome must be one of {OUTCOMES}. Received: {self.outcome!r}")

    @property
    def failed(self) -> bool:
        """True for a regression."""
        return self.outcome == REGRESSION

    @property
    def judged(self) -> bool:
        """True where a number was held against a band."""
        return self.outcome in (PASS, REGRESSION)

    @property
    def missing(self) -> bool:
        """True where the number or its baseline is missing, so that it could not be judged."""
        return self.outcome in (NEW, VANISHED)

    @property
    def whole(self) -> bool:
        """True where it is about the case as a whole, not about one number."""
        return self.metric == WHOLE

    @property
    def subject(self) -> str:
        """The case, with its seed if there is one."""
        return f"{self.case} ({self.seed})" if self.seed else self.case

    def __str__(self) -> str:
        return f"{self.subject}: {self.reason}"


def judge(
    case: str, metric: str, measured: float, band: Band, *, seed: str = "", baseline: str = ""
) -> Verdict:
    """Judge a measured number: it passes if it lies in `band`; NaN lies in no band."""
    reason = f"{metric} is {shown(measured, band)}, expected {band}"
    outcome = PASS if measured in band else REGRESSION
    return Verdict(case, seed, metric, measured, band, baseline, outcome, reason)


def shown(measured: float, band: Band | None = None) -> str:
    """Write a number in four digits; in all of them where four would move it across a limit."""
    text = f"{measured:.4g}"
    misleading = band is not None and (float(text) in band) != (measured in band)
    return repr(measured) if misleading else text
