"""The evaluation of a model: accuracy and information gain, clean and attacked, in either phase."""

from __future__ import annotations

import base64
import zlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import log_softmax, softmax

from suite.data import Split, label_entropy
from suite.data.split import pixels
from suite.networks.types import Images, Labels, Logits
from suite.stacks.protocol import Network

if TYPE_CHECKING:
    from typing import TypeAlias

    from numpy.typing import NDArray

PGD_STEPS = 10
PGD_IMAGES = 320  # each costs ten attacks; so many give the accuracy to 0.03
LIKELIEST = 3  # classes of an example whose probabilities are kept
EVALUATION_BATCH = 32  # as in training: in the training phase a batch makes its own statistics

Floats: TypeAlias = "NDArray[np.float64]"


def log_likelihood(logits: Logits, labels: Labels) -> Floats:
    """Compute the log probability of each image's label, ``(batch,)`` in nats."""
    with np.errstate(invalid="ignore"):  # an infinite logit is recorded, not raised
        scores: Floats = log_softmax(logits.astype(np.float64), axis=1)
    return scores[np.arange(len(labels)), labels]


def cross_entropy(logits: Logits, labels: Labels) -> float:
    """Compute the mean cross-entropy of `logits`, in nats; NaN if a logit is NaN."""
    return -float(log_likelihood(logits, labels).mean())


def accuracy(logits: Logits, labels: Labels) -> float:
    """Compute the fraction of the images whose largest logit is that of their label."""
    return float((logits.argmax(axis=1) == labels).mean())


def evaluate(network: Network, split: Split, *, epsilon: float, training: bool) -> dict[str, float]:
    """Measure clean and FGSM accuracy, information gain and classes predicted, in one phase.

    In the training phase every batch is normalised by itself and moves the moving statistics;
    they are put back, so that the model is left as it was.
    """
    labels = split.labels.astype(np.int64)
    state = network.model.get_weights() if training else None
    clean = _logits(split, lambda x: network.logits(x, training=training))
    perturbed = _attacked(network, split, epsilon=epsilon, training=training)
    if state is not None:
        network.model.set_weights(state)
    return {
        "clean_accuracy": accuracy(clean, labels),
        "adversarial_accuracy": accuracy(perturbed, labels),
        "information_gain": label_entropy(labels) - cross_entropy(clean, labels),
        "adversarial_information_gain": label_entropy(labels) - cross_entropy(perturbed, labels),
        "classes_predicted": float(len(np.unique(clean.argmax(axis=1)))),
    }


def confusions(network: Network, split: Split) -> list[dict[str, Any]]:
    """Count what the images of each class are taken for, clean and in the inference phase.

    Returns:
        One row a class that is there: ``{"label": 14, "predicted": {"14": 20, "38": 3}}``.
    """
    predicted = _logits(split, lambda x: network.logits(x, training=False)).argmax(axis=1)
    return [
        {"label": int(label), "predicted": _counts(predicted[split.labels == label])}
        for label in np.unique(split.labels)
    ]


def _counts(predicted: Labels) -> dict[str, int]:
    """Count how often each class was predicted."""
    return {str(name): int(count) for name, count in zip(*np.unique(predicted, return_counts=True))}


def example(network: Network, split: Split, *, epsilon: float) -> dict[str, Any]:
    """Show what the attack does to one image, in the inference phase.

    The image is the first of a batch that is recognised until it is attacked; where there is none,
    the first.

    Returns:
        ``image`` and ``perturbed``, base64 of compressed bytes ``(size_px, size_px, 3)`` from 0 to
        255, RGB; its ``label``; and the probabilities of the likeliest classes, before and after.
    """
    few = _first(split, EVALUATION_BATCH)
    images = pixels(few.images)
    clean = network.logits(images, training=False)
    perturbed = network.craft(images, epsilon=epsilon, training=False)
    attacked = network.logits(perturbed, training=False)
    fooled = (clean.argmax(axis=1) == few.labels) & (attacked.argmax(axis=1) != few.labels)
    chosen = int(fooled.argmax())
    return {
        "image": _packed(images[chosen]),
        "perturbed": _packed(perturbed[chosen]),
        "size_px": int(images.shape[1]),
        "label": int(few.labels[chosen]),
        "clean_probabilities": _likeliest(clean[chosen]),
        "perturbed_probabilities": _likeliest(attacked[chosen]),
    }


def _packed(image: Images) -> str:
    """Write an image of pixels in [0, 1] as text: its bytes, compressed, in base64; NaN is 0."""
    values = np.rint(np.nan_to_num(image) * 255).astype(np.uint8)
    return base64.b64encode(zlib.compress(values.tobytes())).decode()


def _likeliest(logits: Logits) -> dict[str, float]:
    """Compute the probabilities of the likeliest classes, the likeliest first."""
    with np.errstate(invalid="ignore"):  # an infinite logit is recorded, not raised
        probabilities = softmax(logits.astype(np.float64))
    order = np.argsort(-probabilities)[:LIKELIEST]
    return {str(label): round(float(probabilities[label]), 4) for label in order}


def pgd_accuracy(network: Network, split: Split, *, epsilon: float, training: bool) -> float:
    """Measure the accuracy on the first images of `split` under PGD (Madry et al. 2018).

    The attack makes ten steps of 2.5 epsilon / 10 from a random start, away from the model's own
    predictions, as FGSM does. The model is left as it was.
    """
    few = _first(split, PGD_IMAGES)
    state = network.model.get_weights()
    logits = _attacked(network, few, epsilon=epsilon, training=training, steps=PGD_STEPS)
    network.model.set_weights(state)
    return float((logits.argmax(axis=1) == few.labels).mean())


def _first(split: Split, count: int) -> Split:
    """Take the first `count` images."""
    images, labels, tracks, names = split
    return Split(images[:count], labels[:count], tracks[:count], names[:count])


def _attacked(
    network: Network, split: Split, *, epsilon: float, training: bool, steps: int = 1
) -> Logits:
    """Compute the logits of all images, attacked and classified in the phase `training`."""

    def attacked(images: Images) -> Logits:
        perturbed = network.craft(images, epsilon=epsilon, training=training, steps=steps)
        return network.logits(perturbed, training=training)

    return _logits(split, attacked)


def _logits(split: Split, forward: Callable[[Images], Logits]) -> Logits:
    """Apply `forward` to all images in batches; the last is filled up with the first images."""
    count = len(split.labels)
    starts = range(0, count, EVALUATION_BATCH)
    chosen = [np.arange(start, start + EVALUATION_BATCH) % count for start in starts]
    return np.concatenate([forward(pixels(split.images[indices])) for indices in chosen])[:count]
