"""Tests of what can be told from images and activations, and of the scales of images."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom

from suite.diagnose.inputs import Head, Inputs
from suite.diagnose.probes import (
    NUMBERS,
    counted,
    input_conventions,
    over_positions,
    probe,
    probes,
    thinned,
    unit,
)
from suite.diagnose.sample import Sample
from suite.diagnose.trials import CAFFE, FEATURES, PIXELS, TRUNK, InputScale


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
            float(np.abs(each(wrong) - pixels).max()) for each in input_conventions(wrong).values()
        )
        assert nearest < 0.02


def test_a_probe_knows_what_it_reads() -> None:
    rng = np.random.default_rng(0)
    sample = Sample(rng.random((32, 4, 4, 3), dtype=np.float32), np.arange(32) % 2)
    head, trunk = rng.random((32, 5)), np.zeros((0, 0))
    made = probes(sample, head, trunk, precise=True)
    assert [(each.source, each.precise) for each in made] == [(PIXELS, True), (FEATURES, True)]
    assert [each.source for each in probes(sample, trunk, head)] == [PIXELS, TRUNK]
    assert made[1].accuracy == probe(head, sample.labels, precise=True).accuracy


def test_an_input_scale_is_named_by_where_it_comes_from_and_goes_to() -> None:
    pixels = np.random.default_rng(0).uniform(0.1, 0.9, (4, 6, 6, 3)).astype(np.float32)
    scales = input_conventions(pixels)
    expected = pixels[..., ::-1] * np.float32(255) - np.float32([103.939, 116.779, 123.68])
    np.testing.assert_array_equal(scales[InputScale("[0, 1]", CAFFE, False)](pixels), expected)
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


def test_a_label_for_each_position_is_told_from_around_it() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, (80, 10, 10))
    images = (labels[..., None] + rng.normal(0, 0.3, (80, 10, 10, 1))).astype(np.float32)
    places = np.arange(100)
    head = Head(None, (10, 10), places)
    sample = Sample(images, labels.reshape(80, -1), head)
    found = probes(sample, head.features(images), np.zeros((0, 0)))
    assert [probe.source for probe in found] == [PIXELS, FEATURES]
    assert all(probe.accuracy > 0.9 and probe.p_value < 1e-6 for probe in found)
    shuffled = Sample(images, rng.permutation(sample.labels), head)
    blind = probes(shuffled, head.features(images), np.zeros((0, 0)))
    assert all(probe.p_value > 0.01 for probe in blind)


def test_an_image_counts_once_in_the_p_value() -> None:
    labels = np.random.default_rng(2).integers(0, 2, (40, 1)) * np.ones((1, 4), np.int64)
    told = np.random.default_rng(1).normal(size=(40, 4, 1)) + 0.8 * labels[..., None]
    many = probe(told, labels)
    assert many.accuracy > many.chance
    assert many.p_value > 2 * binom.sf(round(many.accuracy * 160) - 1, 160, many.chance)
    assert probe(told[:, 0], labels).accuracy >= 0.5  # features of the whole image do


def test_tokens_are_counted_since_their_numbers_mean_nothing() -> None:
    assert counted(np.array([[3, 0, 3], [1, 1, 1 + NUMBERS]])).tolist() == [
        [1, 0, 0, 2],
        [0, 3, 0, 0],
    ]
    tokens = np.random.default_rng(0).integers(0, 40, (200, 30))
    labels = (np.sum(tokens % 2, axis=1) > 14).astype(np.int64)
    (found,) = probes(Sample(tokens, labels), np.zeros((0, 0)), np.zeros((0, 0)))
    assert found.p_value < 1e-6
    assert probe(tokens.astype(float), labels).p_value > 1e-3


def test_only_what_is_measured_has_a_scale() -> None:
    pixels, facts = np.random.default_rng(0).random((5, 4, 4, 3), np.float32), np.ones((5, 2))
    both = Inputs({"image": pixels, "facts": facts.astype(np.float32)}, named=True)
    scaled = input_conventions(both)
    assert len(scaled) == len(input_conventions(pixels)) > 5
    for images in (convert(both) for convert in scaled.values()):
        assert np.array_equal(images.parts["facts"], facts)  # type: ignore[union-attr]
        assert not np.allclose(images.parts["image"], pixels)  # type: ignore[union-attr]
    assert input_conventions(np.ones((5, 20), np.int32)) == {}
    assert not any(scale.swapped for scale in input_conventions(pixels[:, 0, 0]))  # 3 columns
