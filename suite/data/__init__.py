"""The data: GTSRB and synthetic signs as verified arrays, and the splits made of them."""

from __future__ import annotations

from suite.data.cache import cache_root
from suite.data.download import download_gtsrb
from suite.data.gtsrb import load_gtsrb
from suite.data.split import (
    CLASSES,
    LEAKED_TEST_IMAGES,
    TEST_COUNTS,
    TRAIN_COUNTS,
    Dataset,
    Split,
    label_entropy,
    stratified_subset,
    validation_split,
    without_leaked,
)
from suite.data.synthetic import load_synthetic

__all__ = [
    "CLASSES",
    "LEAKED_TEST_IMAGES",
    "TEST_COUNTS",
    "TRAIN_COUNTS",
    "Dataset",
    "Split",
    "cache_root",
    "download_gtsrb",
    "label_entropy",
    "load_gtsrb",
    "load_synthetic",
    "stratified_subset",
    "validation_split",
    "without_leaked",
]
