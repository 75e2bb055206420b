"""Rules for images in a wrong scale: all of them, or some among the others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from suite.diagnose.causes.head import tells_nats
from suite.diagnose.causes.why import in_step, way_gone
from suite.diagnose.causes.worth import (
    POINTS,
    RECOVERED,
    SIGNIFICANT,
    accuracy,
    as_good,
    best_head,
    improves,
    learned,
    mends,
    mends_broken,
    more_right,
    points,
    reaches,
)
from suite.diagnose.found import OTHER, Finding
from suite.diagnose.probes import BYTES, TWICE, UNIT
from suite.diagnose.scales import CLOSER
from suite.diagnose.trials import CAFFE, INPUT_SCALE, INVERTED, PRECISE_BN
from suite.networks.phases import INFERENCE

if TYPE_CHECKING:
    from suite.diagnose.found import Examination, ScaleFit
    from suite.diagnose.trials import InputScale, Trial

FITTED_KL = 1.0
"""Distance that no layer may keep where the input scale is the cause."""

SPEAKING = 6.0
"""Log variance ratio of the first layer from which it speaks for itself (a factor of 400)."""

UNDONE: Mapping[tuple[str, str], str] = {
    (BYTES, UNIT): "They were not divided by 255.",
    (TWICE, UNIT): "They were divided by 255 twice, here or by a layer of the network.",
    (UNIT, BYTES): "They were divided by 255, which training did not do, or a layer does again.",
    (UNIT, TWICE): "The training divided them by 255 twice, here they were once.",
}
"""What was done to images of the first scale that were to be in the second."""

LISTED = 8  # images that are named

WRONG_SCALE, TURNED_IMAGES, INVERTED_IMAGES = CAUSES = (
    "wrong input scale",
    "images turned or mirrored",
    "images inverted",
)
"""What is called a cause here of all images; the remedy of each is to feed them as in training."""


def wrong_input_scale(found: Examination) -> Finding | None:
    """Name the input scale, if the network works under another, or its statistics are of one."""
    fed, fit = found.tried(INPUT_SCALE), found.scale_fit
    if fed is None or fed.scale is None:
        return None
    works = mends_broken(found, fed) and as_good(found, fed) and learned(found, fed)
    if fit is None:
        wrong = accuracy(found, INFERENCE) < 1 - POINTS and tells_nats(found)
        wrong = wrong or improves(found.inference, fed)
        return _scale_finding(found, fed) if works and wrong and reaches(found, fed) else None
    on_their_way = found.layers[:1] if found.iterations else found.layers
    if way_gone(found, on_their_way) is not None:  # a momentum too slow shifts the scale, too
        both = works and found.precise is not None and improves(found.precise, fed)
        return _scale_finding(found, fed, *_lagging(found, fed)) if both else None
    if works and fit.worst <= FITTED_KL:
        fits = "The moving statistics are not to blame: they fit the images so scaled."
        return _scale_finding(found, fed, fits, *_head(found))
    if _speaks(found, fit) and points(found.inference, fed) > -POINTS:
        return _scale_finding(found, fed, *_spoken(found, fed, fit), *_head(found))
    return None


def _speaks(found: Examination, fit: ScaleFit) -> bool:
    """True where the first layer's statistics are of images in the other scale, whatever it gives.

    Pixels of 0 to 255 in place of 0 to 1 shift its log variance ratio by 2 ln 255, or 11.
    """
    momentum = found.layers[0].momentum
    lags = in_step(fit.travelled, momentum=momentum, iterations=found.iterations)
    rest = fit.scaled * (1 - fit.explained if lags else 1)
    closer = rest <= FITTED_KL and fit.scaled * CLOSER < fit.as_fed
    return closer and abs(fit.ratio) > SPEAKING and not found.norms[0].initial


def _spoken(found: Examination, fed: Trial, fit: ScaleFit) -> list[str]:
    """Say what tells the scale where the network does not work in it as it is."""
    words = [
        f"The statistics of {fit.layer}, the first BatchNorm, say so: their log variance ratio is "
        f"{fit.ratio:+.1f} (a factor of 255 makes 11.1), and the symmetric KL is {fit.as_fed:.3g} "
        f"nats as fed and {fit.scaled:.3g} so scaled. Recomputing them would hide the cause."
    ]
    if found.precise is None or mends(fed, found.precise, found.label_entropy):
        words.append(
            f"So scaled, statistics that still lag are left: recomputed, they give "
            f"{accuracy(found, PRECISE_BN):.1%}."
        )
    return words


def _lagging(found: Examination, fed: Trial) -> list[str]:
    """Say that statistics lag besides, if they are on their way."""
    words = [
        f"Recomputing BatchNorm's statistics on the images as they are fed gives "
        f"{accuracy(found, PRECISE_BN):.1%}, less than {fed.evaluation.accuracy:.1%} so scaled."
    ]
    if found.scale_fit is not None and found.scale_fit.worst > FITTED_KL:
        words.append("So scaled, the statistics still do not fit: recompute them then.")
    return words


def _head(found: Examination) -> list[str]:
    """Say that the head was trained on images in the wrong scale, if the features say so."""
    as_fed, scaled = best_head(found), best_head(found, scaled=True)
    if as_fed is None or scaled is None or more_right(as_fed, scaled) > SIGNIFICANT:
        return []
    before, after = as_fed.accuracy, scaled.accuracy
    if after < before + POINTS or accuracy(found, INPUT_SCALE) > RECOVERED * after:
        return []
    return [
        f"From its features a linear head fitted anew tells {after:.1%} of the images so "
        f"scaled, {before:.1%} as they are fed: what was trained on top of these features was "
        "trained on images in the wrong scale, and is to be trained anew."
    ]


def _scale_finding(found: Examination, fed: Trial, *why: str) -> Finding:
    """Say in which scale the images are to be fed."""
    told, scale = fed.evaluation, fed.scale
    first, advice = _told(scale)
    words = [
        f"{first}: fed as {scale}, it is right in {told.accuracy:.1%} instead of "
        f"{accuracy(found, INFERENCE):.1%} and gives {told.information_gain:.2f} nats instead of "
        f"{found.inference.evaluation.information_gain:.2f}.",
        *advice,
        *why,
    ]
    fix = "imagenet-inputs" if scale and scale.target == CAFFE else ""
    if fix:
        words.append(f'Or put that scale inside the network: the fix {fix}, with inputs="caffe".')
    return Finding(OTHER, cause_of(scale), "", fix, tuple(words))


def cause_of(scale: InputScale | None) -> str:
    """Name what is wrong with images that do better when they are converted so."""
    if scale is None or not scale.turn:
        return WRONG_SCALE
    return INVERTED_IMAGES if scale.turn == INVERTED else TURNED_IMAGES


def _told(scale: InputScale | None) -> tuple[str, list[str]]:
    """Say what is wrong with the images, and what to do."""
    if cause_of(scale) != WRONG_SCALE:
        training = "The images are not as those that the network was trained with"
        return training, ["Feed them so, and see how those of the training were read."]
    undone = UNDONE.get((scale.source, scale.target)) if scale else None
    advice = ["Scale the images as in the training of these weights."]
    training = "The images are not in the input scale that the network was trained with"
    return training, [undone, *advice] if undone else advice


def unscaled_images(found: Examination) -> Finding | None:
    """Name images that are many times as large as the others, if the network does not do well."""
    if not found.outlying or accuracy(found, INFERENCE) >= 1 - POINTS:
        return None
    count, listed = len(found.outlying), ", ".join(map(str, found.outlying[:LISTED]))
    words = (
        f"{count} of {found.images} images are not scaled like the others: their pixels are dozens "
        f"of times as large, as bytes are among numbers in [0, 1] (in the order examined: "
        f"{listed}).",
        "One such image outweighs all others in the statistics of its batch. Scale all images "
        "alike, where they are loaded; then recompute the statistics, and train on.",
    )
    return Finding(OTHER, "images in different scales", "", "precise-bn", words)
