"""Tests of what can be told from images and activations, and of the scales of images."""

from __future__ import annotations

import numpy as np
import pytest

from suite.diagnose.found import CAFFE, FEATURES, PIXELS, TRUNK, InputScale
from suite.diagnose.probes import (
    NUMBERS,
    input_conventions,
    over_positions,
    probe,
    probes,
    thinned,
    unit,
)
from suite.diagnose.sample import Sample


def test_a_probe_tells_what_features_tell() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, 128)
    features = np.eye(4)[labels] + rng.normal(0, 0.2, (128, 4))
    assert probe(features, labels).accuracy > 0.95
    assert probe(rng.normal(size=(128, 4)), labels).p_value > 0.01
    assert probe(np.ones((128, 4)), labels).accuracy <= probe(features, labels).chance + 0.05


def test_the_input_scales_hold_the_one_the_images_came_from() -> None:
    pixels = np.random.default_rng(0).uniform(0, 1, (4, 6, 6, 3)).astype(np.float32)
    for wrong in (255 * pixels, 2 * pixels - 1, pixels / 255):
        nearest = min(
            float(np.abs(each - pixels).max()) for each in input_conventions(wrong).values()
        )
        assert nearest < 0.02


def test_a_probe_knows_what_it_reads() -> None:
    rng = np.random.default_rng(0)
    sample = Sample(rng.random((32, 4, 4, 3), dtype=np.float32), np.arange(32) % 2)
    head, trunk = rng.random((32, 5)), np.zeros((0, 0))
    made = probes(sample, head, trunk, precise=True)
    assert [(each.source, each.precise) for each in made] == [(PIXELS, True), (FEATURES, True)]
    assert [each.source for each in probes(sample, trunk, head)] == [PIXELS, TRUNK]
    assert made[1] == probe(head, sample.labels, precise=True)


def test_an_input_scale_is_named_by_where_it_comes_from_and_goes_to() -> None:
    pixels = np.random.default_rng(0).uniform(0.1, 0.9, (4, 6, 6, 3)).astype(np.float32)
    scales = input_conventions(pixels)
    expected = pixels[..., ::-1] * np.float32(255) - np.float32([103.939, 116.779, 123.68])
    np.testing.assert_array_equal(scales[InputScale("[0, 1]", CAFFE, False)], expected)
    assert str(InputScale("[0, 1]", CAFFE, True)) == (
        "[0, 1] -> BGR, mean subtracted (caffe), channels reversed"
    )
    assert InputScale("[0, 1]", "[0, 1]", True) in scales
    assert InputScale("[0, 1]", "[0, 1]", False) not in scales  # it would change nothing
    grey = input_conventions(pixels[..., :1])
    assert not any(scale.swapped or scale.target == CAFFE for scale in grey)


def test_a_layer_that_puts_out_the_same_for_all_images_varies_by_nothing() -> None:
    values = np.random.default_rng(0).normal(size=(8, 5))
    assert unit("dense", "Dense", values).variation == pytest.approx(1, abs=0.3)
    assert unit("dense", "Dense", values[:1].repeat(8, axis=0)).variation == pytest.approx(0)
    assert unit("dense", "Dense", 0 * values)[2:] == (0.0, 0.0)


def test_of_many_numbers_some_are_taken_evenly() -> None:
    assert thinned(np.zeros((2, 3, 5))).shape == (2, 15)
    assert thinned(np.zeros((2, 3 * NUMBERS))).shape == (2, NUMBERS)
    np.testing.assert_array_equal(
        over_positions(np.arange(12.0).reshape(1, 2, 2, 3)), [[4.5, 5.5, 6.5]]
    )
    assert over_positions(np.zeros((2, 7))).shape == (2, 7)
