"""Differences: what two traces that diverge look like in the terms of a training step."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import numpy as np

from suite.judge.parity.alone import several_steps_differ, start_differs, sure_differs
from suite.judge.parity.distances import (
    LOOSE,
    TOLERANCES,
    absolute_difference,
    distance,
    flips,
    other_weights,
    reference_of,
    rises,
    same,
    same_forward,
)
from suite.judge.parity.fed import batches_differ, data_differ, schedule_differs
from suite.judge.parity.implied import (
    Place,
    Trace,
    fgsm_epsilon,
    layers_of,
    projected,
    ratio,
    share_moved,
    trace_of,
    update_counts,
)
from suite.judge.parity.known import CORRECTION, keras_2
from suite.judge.parity.passes import (
    counting_differs,
    inference_differs,
    loss_differs,
    reported_loss_differs,
    step_differs,
)
from suite.judge.verdicts import listed
from suite.records import Record

CONSTANTS: Mapping[str, str] = {
    "momentum": "momentum, as set",
    "observed_momentum": "momentum, as observed",
    "epsilon": "epsilon, as set",
    "observed_epsilon": "epsilon, as observed",
    "observed_training_epsilon": "epsilon, as observed in training",
}
"""Those of a BatchNorm, by the names that a trace has for them."""

MOVED = 1e-3  # of epsilon; seen: 6.7e-5, where a gradient is 0 but for rounding
FLIPPED = 0.01  # share of the pixels; where the gradient is about 0 rounding decides its sign
FLIPPED_IMAGE = 0.2  # the same of one image; seen: 0.042, of one that is recognised for sure
ALIKE = 0.9  # of the pixels move as the first image's; seen: .55 to .80, .96 in one for all
FEW = 0.5  # of the images: an attack that moves no more of them elsewhere treats these otherwise
REVERSED = 2 / 3  # share of the pixels; another gradient turns half of them round
EVALUATED: Mapping[str, float] = {
    "information_gain": 2e-5,
    "adversarial_information_gain": 2e-3,
    "clean_accuracy": 1.5,
    "adversarial_accuracy": 3.5,
    "training_phase_information_gain": 2e-5,
    "weights_moved": 0.0,
}
"""Nats, or images, by which the evaluations of two honest releases may differ; seen: 2.5e-7 and
4.1e-5 nats, and no image. Behind an attack rounding turns pixels round."""

NEAR = 2  # the most that is subtracted from n by a correction
PROBED = 8  # values that it is observed on (`suite.measure.constants.batch_norm`)
GRADIENT = 2e-3  # distance of a gradient at step 0, relative to the largest of its layer
SHARE = 1e-4  # difference of the shares of its way that a moving statistic goes in a step


def causes(
    mine: Trace, theirs: Trace, *, twice: bool, broken_at_once: bool
) -> Iterator[tuple[Callable[..., Iterator[str]], str]]:
    """Describe what the differences between two traces look like, but for the known ones.

    What the updates show of the optimizer is `suite.judge.parity.updates.optimizer_differs`.

    Args:
        mine: The trace that is compared.
        theirs: The trace of the reference.
        twice: True where one of the two is known to update the moving statistics twice a step.
        broken_at_once: True where these statistics are known to turn into NaN at step 0.

    Yields:
        One sentence for each difference, after that of `CAUSES` which found it; "here" is `mine`,
        "there" is `theirs`.
    """
    for find in CAUSES:
        found: Iterable[str] = ()
        if twice and find is step_differs:
            found = step_differs(mine, theirs, share=LOOSE)
        elif not (twice and find is statistics_differ) and not (broken_at_once and find in AT_ONCE):
            found = find(mine, theirs)
        yield from ((find, words) for words in found)


def initial_weights(mine: Trace, theirs: Trace) -> Iterator[str]:
    """List the weights that do not start from the same values."""
    names = other_weights(mine, theirs)
    if names:
        yield f"Initial weights are not the same: {listed(names)}"


def evaluation_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say which numbers the evaluation finds otherwise from the same weights and images."""
    place = Place(0, "evaluation")
    if place not in theirs:
        return
    here, there = mine[place], theirs[place]
    odd = [
        f"The evaluation is another: from the same weights, {name.replace('_', ' ')} of "
        f"{here[name]:.5g} here, {there[name]:.5g} there"
        for name, allowed in EVALUATED.items()
        if name in there
        and not absolute_difference(here[name], there[name])
        <= allowed / (there["images"] if name.endswith("accuracy") else 1)
    ]
    if here["shown"] == there["shown"]:
        yield from odd if same_forward(mine, theirs) else ()  # else it is another for that reason
    elif _same_test_images(mine, theirs):  # else they are told as other ones
        yield "The evaluation is another: it is shown other images"


def _same_test_images(mine: Trace, theirs: Trace) -> bool:
    """True where both traces tell the same test images, as one from the first state does."""
    place = Place(0, "data")
    return place in theirs and bool(mine[place]["test_images"] == theirs[place]["test_images"])


def batch_norm_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """List the constants of BatchNorm, as set and as observed, that are not the same."""
    here, there = layers_of(mine), layers_of(theirs)
    for key, name in CONSTANTS.items():
        odd = _by_text(
            (
                f"{entry[key]:.5g} here, {there[layer][key]:.5g} there{_impossible(entry[key])}",
                layer,
            )
            for layer, entry in here.items()
            if not same(entry[key], there[layer][key])
        )
        for text, layers in odd.items():
            which = f"all {len(here)} layers" if len(layers) == len(here) else listed(layers)
            yield f"BatchNorm {name}: {text} ({which})"


def _impossible(constant: float) -> str:
    """Say what a constant below zero looks like."""
    words = ", which no layer has: its statistics are not those of the whole batch"
    return words if constant < 0 else ""  # NaN is no such constant


def statistics_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say how far the moving statistics of step 0 go, where that is not the same."""
    here, there = update_counts(mine), update_counts(theirs)
    shares = {
        (layer, kind): [share_moved(trace, layer, kind=kind) for trace in (mine, theirs)]
        for layer, kind in there
    }
    apart = {key: pair for key, pair in shares.items() if not same(*pair, floor=SHARE)}
    alike = [key for key in apart if _moved_alike(mine, theirs, *key)]
    odd = _by_text(
        (
            f"{a:.4g} of the way to the batch's here, {b:.4g} there: "
            f"{_moved_by(a, b)}; updates a step {here[layer, kind]:.4g} and "
            f"{there[layer, kind]:.4g}",
            f"{layer}/moving_{kind}",
        )
        for (layer, kind), (a, b) in apart.items()
        if (layer, kind) not in alike
    )
    for text, names in odd.items():
        yield f"Moving statistics of step 0 go {text} ({listed(names)})"
    if alike:
        names = [f"{layer}/moving_{kind}" for layer, kind in alike]
        yield (
            "A batch's own statistics are others, though step 0 moves the moving ones as there "
            f"({listed(names)}): a momentum of 0, by which they are read, is not followed"
        )


def _moved_alike(mine: Trace, theirs: Trace, layer: str, kind: str) -> bool:
    """True where step 0 moves a statistic as there."""
    place = Place(0, "change", layer, f"moving_{kind}")
    apart = distance(place, mine[place], theirs[place], reference_of(theirs))
    return apart <= TOLERANCES["change of statistics"].first


def _moved_by(here: float, there: float) -> str:
    """Say which momenta two shares of the way are, or that one of them is that of none."""
    if 0 <= here <= 1:
        return f"momentum {1 - here:.4g} and {1 - there:.4g} at one update a step"
    return "no momentum goes so far: they are rounded or kept otherwise"


def attack_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that the attack has another epsilon, or that it moves the pixels elsewhere."""
    here, there = fgsm_epsilon(mine), fgsm_epsilon(theirs)
    if here is None or there is None:
        return
    place = Place(0, "perturbation")
    if not same(here, there):
        yield (
            f"FGSM epsilon, the largest change of a pixel: {here:.5g} here, {there:.5g} there. "
            "Another norm shows so too"
        )
    pixels = flips(mine[place]["signs"], theirs[place]["signs"])
    images = np.array_split(pixels, theirs[Place(0, "batch")]["images"])
    odd = sum(bool(image.mean() > FLIPPED_IMAGE) for image in images)
    if (odd or pixels.mean() > FLIPPED) and same_forward(mine, theirs):
        yield (
            f"The attack goes elsewhere: {pixels.mean():.1%} of step 0's pixels move to the other "
            f"side, more than {FLIPPED_IMAGE:.0%} in {odd} of {len(images)} images. "
            f"{_elsewhere(pixels.mean(), odd / len(images), alike=_alike(mine) > _alike(theirs))}"
        )
    moved = np.divide([trace[place]["mean"] for trace in (mine, theirs)], [here, there])
    if here and there and not abs(moved[0] - moved[1]) <= MOVED and same_forward(mine, theirs):
        yield (
            f"FGSM moves a pixel by {moved[0]:.4g} of epsilon on average here, {moved[1]:.4g} "
            "there: another clip of the pixels, or a sign that is smooth or 0"
        )


def _alike(trace: Trace) -> bool:
    """True where the attack of step 0 moves all images of the batch alike, but for its clip."""
    signs, images = trace[Place(0, "perturbation")]["signs"], trace[Place(0, "batch")]["images"]
    rose = np.reshape(rises(signs), (images, -1))
    return images > 1 and bool(rose.any() and np.mean(rose[1:] == rose[0]) > ALIKE)


def _elsewhere(share: float, images: float, *, alike: bool) -> str:
    """Say what an attack looks like that moves a share of the pixels, and of the images, so."""
    if alike:
        return "It moves all images alike: one gradient, or its mean, for the whole batch"
    if share > REVERSED:
        return "It goes the other way: another sign, or towards labels instead of away from them"
    if not images:
        return "In each image a few pixels do: another sign of a gradient of 0, or coarser images"
    if images <= FEW:
        return "It treats these images otherwise: it leaves them out, or their loss is another"
    return (
        "It follows another gradient: other labels or images, another loss, phase or backward pass"
    )


def gradients_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """List the weights whose gradient at step 0 is a multiple of the reference's."""
    reference = reference_of(theirs)
    for place, entry in theirs.items():
        own = place.step == 0 and place.quantity == "gradient"
        if own and not distance(place, mine[place], entry, reference) <= GRADIENT:
            here, there = projected(mine, place), projected(theirs, place)
            factor = ratio(here, there)
            left = np.linalg.norm(here - factor * there) / (np.linalg.norm(there) or 1.0)
            if left < abs(factor - 1) / 100:  # else a multiple by chance
                where = f"{place.layer}/{place.weight}"
                yield f"The gradient of {where} is {factor:.5g} times the one there"


def correction_differs(measured: Record, reference: Record) -> Iterator[str]:
    """Say where a release does not correct the moving variance as its own Keras does."""
    for where, record in (("here", measured), ("there", reference)):
        own, name = (1, "Keras 2") if keras_2(record) else (0, "Keras 3")
        found = {
            layer: entry["observed_correction"]
            for layer, entry in layers_of(trace_of(record)).items()
            if entry["observed_momentum"] != 1  # where nothing moves, there is nothing to divide
        }
        odd = _by_text(
            (f"{_divisor(value)} {where}", layer)
            for layer, value in found.items()
            if not abs(value - own) <= CORRECTION
        )
        for text, layers in odd.items():
            yield (
                f"BatchNorm's moving variance: the sum of squares is divided by {text}; {name} "
                f"divides by {_divisor(own)} ({listed(layers)})"
            )


def _divisor(correction: float) -> str:
    """Write what a sum of n squares is divided by, where that is near n."""
    if abs(correction) <= CORRECTION:
        return "n"
    if correction < -CORRECTION or correction > NEAR:
        share = np.divide(PROBED, PROBED - correction)
        return f"no such number (what moves is {share:.4g} times the batch's variance)"
    return f"n - {1 if abs(correction - 1) <= CORRECTION else correction:.4g}"


def _by_text(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Sort pairs of a text and a name: the names that each text is true of."""
    found: dict[str, list[str]] = {}
    for text, name in pairs:
        found.setdefault(text, []).append(name)
    return found


CAUSES: Sequence[Callable[[Trace, Trace], Iterator[str]]] = (
    initial_weights,
    data_differ,
    batches_differ,
    schedule_differs,
    batch_norm_differs,
    statistics_differ,
    attack_differs,
    several_steps_differ,
    start_differs,
    sure_differs,
    evaluation_differs,
    inference_differs,
    step_differs,
    counting_differs,
    reported_loss_differs,
    loss_differs,
    gradients_differ,
)
"""The possible causes of a difference, cause before effect."""

AT_START = (initial_weights, data_differ, batches_differ, schedule_differs, start_differs)
"""Causes that are told beside other initial weights. All others may follow from weights that are
not those that were set, what is read off probes too."""

ATTACKS = (several_steps_differ, evaluation_differs)
"""Causes that are read off attacks which no step of a case makes."""

AT_ONCE = (statistics_differ, step_differs, gradients_differ)
"""Causes that read what step 0 does after its clean pass has moved the statistics."""
