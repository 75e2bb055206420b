"""Of healthy networks of many kinds no cause is named, whatever they look like."""

from __future__ import annotations

import pytest

from suite.diagnose.diagnosis import diagnose
from suite.networks.types import Keras
from tests.diagnose.healthy.data import TEST
from tests.diagnose.healthy.rows import ROWS, Row, drawn
from tests.diagnose.healthy.stored import stored
from tests.diagnose.nets import QUIET

pytestmark = QUIET

OTHERWISE = ("spectral", "subclassed")  # wrapped by a layer, and of a class of its own


@pytest.mark.parametrize("row", ROWS, ids=str)
def test_of_a_healthy_network_no_cause_is_named(keras: Keras, row: Row) -> None:
    if not hasattr(keras.layers, "SpectralNormalization"):
        pytest.skip("some networks need layers that came with Keras 2.13")
    if row.name in OTHERWISE and not hasattr(keras, "ops"):
        pytest.skip("Keras 2 keeps the weights of this network in another order")
    if row.name == "sync" and keras.backend.backend() != "tensorflow":
        pytest.skip("Keras synchronizes BatchNorm on TensorFlow alone")
    images, labels = drawn(row, row.sample, TEST)
    found = diagnose(
        stored(row, keras), images, labels, batch_size=row.batch_size, keras=keras, check_steps=0
    )
    assert (found.cause, found.fix) == ("", ""), "\n".join(found.words)
