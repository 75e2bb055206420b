"""What the diagnosis says of each report, and what its advice does when it is followed."""

from __future__ import annotations

import re
from typing import NamedTuple

from suite.diagnose import Diagnosis, diagnose
from suite.diagnose.remedies import remedy
from suite.networks.types import Keras, Model
from tests.diagnose.reports import follow
from tests.diagnose.reports.nets import MEASURES
from tests.diagnose.reports.report import Case, Data, Report, sample, stored

MENDED = 0.05  # that following the advice must gain


class Row(NamedTuple):
    """What was measured of a report.

    Attributes:
        verdict: Of the diagnosis.
        cause: Of the diagnosis.
        right: Whether that is the right answer.
        before: What the network is worth as it is, by the report's measure.
        after: The same after the advice was followed.
        by_code: Whether the code that comes with the advice did it.
    """

    verdict: str
    cause: str
    right: bool
    before: float
    after: float
    by_code: bool

    @property
    def mended(self) -> bool:
        """True where the advice made the network clearly better."""
        return self.after > self.before + MENDED


def examined(report: Report, keras: Keras) -> tuple[Model, Data, Diagnosis]:
    """Diagnose the network of a report on the data that it is used on."""
    model, data = stored(report, keras), report.use(sample())
    found = diagnose(model, *data, keras=keras, batch_size=report.batch_size, check_steps=0)
    return model, data, found


def lacking(report: Report, found: Diagnosis) -> list[str]:
    """List what a right answer has, and this one has not; nothing where it is right."""
    advice = remedy(found)
    said = "\n".join([found.cause, found.layer, *found.words, advice.words, advice.code])
    patterns = [pattern for pattern in report.words if not re.search(pattern, said)]
    patterns += [f"not {bad}" for bad in report.wrong if re.search(bad, said, re.MULTILINE)]
    if found.verdict not in report.verdicts:
        patterns.append(" or ".join(report.verdicts))
    return patterns


def measured(report: Report, keras: Keras, training: Data) -> Row:
    """Diagnose a report's network, follow the advice, and measure what that does."""
    model, data, found = examined(report, keras)
    worth = MEASURES[report.measure]
    before = worth(model, data)
    case = Case(keras, model, data, report.trained_on(training), training, found)
    after = worth(*report.follow(case))
    by_code = report.follow in (follow.its_code, follow.its_code_then_statistics)
    right = not lacking(report, found)
    return Row(found.verdict, found.cause, right, round(before, 3), round(after, 3), by_code)
