"""The advice of a diagnosis followed: its code where there is some, else what its words say."""

from __future__ import annotations

import contextlib
import re
import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from suite.diagnose import recompute_statistics
from suite.diagnose.remedies import remedy
from suite.networks.types import Model
from tests.diagnose.reports.nets import compiled, fit
from tests.diagnose.reports.report import Case, Data

if TYPE_CHECKING:
    from tests.diagnose.reports.report import Build, Follow

STEPS = 700  # of a training that goes on, or is done anew


def its_code(case: Case) -> tuple[Model, Data]:
    """Run the code that comes with the advice, as a reader pastes it, but write no file.

    Code that converts images gets those that the network is used on, other code the training's.
    """
    code = re.sub(r"(?m)^( *)\w+\.save\(.*$", r"\1pass", remedy(case.found).code)
    given = case.data if "scaled" in code else case.training
    names: dict[str, Any] = {"model": case.model, "images": given.images, "labels": given.labels}
    with contextlib.redirect_stdout(sys.stderr):
        exec(code, names)  # noqa: S102 - what a reader pastes
    data = case.data
    if "scaled" in names:
        data = Data(np.asarray(names["scaled"]), case.data.labels)
    return names.get("mended", case.model), data


def its_code_then_statistics(case: Case) -> tuple[Model, Data]:
    """Run the code, then recompute the statistics on the images of the training."""
    model, data = its_code(case)
    recompute_statistics(model, case.training.images, keras=case.keras)
    return model, data


def anew(build: Build, *, steps: int = STEPS) -> Follow:
    """Build another network and train it; the images are fed as before."""

    def follow(case: Case) -> tuple[Model, Data]:
        return fit(build(case.keras), case.training, steps=steps), case.data

    return follow


def train_on(case: Case) -> tuple[Model, Data]:
    """Train on from these weights with the loss of logits, on all images and all classes."""
    model = compiled(case.keras, case.model)
    return fit(model, case.plain, steps=STEPS), case.data
