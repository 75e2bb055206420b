"""All planted faults, by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.faults.attacks import ATTACKS, LOSSES
from tests.faults.batch_norms import BATCH_NORMS
from tests.faults.inputs import INPUTS
from tests.faults.layers import LAYERS
from tests.faults.optimizers import OPTIMIZERS

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.faults.fault import Fault

FAULTS: Mapping[str, Fault] = {
    fault.name: fault for fault in (*OPTIMIZERS, *BATCH_NORMS, *ATTACKS, *LOSSES, *LAYERS, *INPUTS)
}
"""Those that are planted into a library or into what the suite measures."""
