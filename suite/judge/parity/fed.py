"""Fed: what two traces tell of the images that steps are fed, and in which order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from suite.judge.parity.implied import Place, Trace, steps_of


def data_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say which images are others, and whether the epochs come in another order."""
    place = Place(0, "data")
    if place not in theirs:
        return
    here, there = mine[place], theirs[place]
    yield from _images_differ(here, there)
    sizes, others = (" ".join(map(str, told["batches"])) for told in (here, there))
    if sizes != others:
        yield f"Two and a half batches of images are fed by {sizes} here, by {others} there"
    yield from _seeds_differ(here, there)
    yield from _epochs_differ(here, there)


def _images_differ(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Say which images are others, or their labels, and which are in both splits."""
    for name in ("training_images", "test_images"):
        (count, *here), (known, *there) = mine[name], theirs[name]
        words = name.replace("_", " ")
        if count != known:
            yield f"Other {words}: {count} of them here, {known} there"
        elif here[0] != there[0]:
            yield f"Other {words}, as many as there, or another order of the same"
        elif here != there:
            yield f"Other labels of the same {words}"
    if mine["leaked"] != theirs["leaked"]:
        yield (
            f"{mine['leaked']} of the test images are among the training images here, "
            f"{theirs['leaked']} there"
        )


def _seeds_differ(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Say that other seeds draw otherwise, where the seed of the trace itself does not."""
    here, there = mine["seeds"], theirs["seeds"]
    alike = len({*here}) == 1 < len({*there})
    told = any(mine[name] != theirs[name] for name in ("training_images", "epochs", "labels"))
    if here != there and (alike or not told):
        words = ": the same, whatever the seed" if alike else ""
        yield f"Other seeds draw other images, or another order{words}"


def _epochs_differ(mine: Mapping[str, Any], theirs: Mapping[str, Any]) -> Iterator[str]:
    """Say what is otherwise about the images of the epochs."""
    here, there = mine["epochs"], theirs["epochs"]
    labelled = mine["labels"] == theirs["labels"]
    if here == there and not labelled:
        yield "The images of the epochs have other labels"
    elif len(here) != len(there) and all(len({*own}) == len(own) for own in (here, there)):
        yield f"The batches are of {len(here)} epochs here, of {len(there)} there"
    elif here != there and labelled:
        yield "The images of the epochs have other pixels, in the same order"
    elif here != there:
        told = [
            f": {'each' if len(set(own)) == 1 else 'one'} repeats another {where}"
            for where, own in (("here", here), ("there", there))
            if len(set(own)) < len(own)
        ]
        yield f"The epochs come in another order{''.join(told) or ', or with other images'}"


def batches_differ(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say from which step on other batches are fed, or the same in another order."""
    fed = [
        [trace[Place(step, "batch")]["digest"] for step in steps_of(theirs)]
        for trace in (mine, theirs)
    ]
    if fed[0] != fed[1]:
        first = next(step for step, pair in enumerate(zip(*fed)) if pair[0] != pair[1])
        batch = Place(first, "batch")
        if sorted(fed[0]) == sorted(fed[1]):
            what = "The same batches in another order"
        elif mine[batch]["pixels"] == theirs[batch]["pixels"]:
            what = "Other batches: the same images with other labels"
        elif mine[batch]["labels"] == theirs[batch]["labels"]:
            what = "Other batches: other pixels with the same labels"
        else:
            what = "Other batches"
        yield f"{what}, from step {first} on"


def schedule_differs(mine: Trace, theirs: Trace) -> Iterator[str]:
    """Say that the learning rate follows another schedule."""
    place = Place(0, "schedule")
    if place in theirs and mine[place]["digest"] != theirs[place]["digest"]:
        here, there = (
            ", ".join(f"{rate:.4g}" for rate in trace[place]["rates"]) for trace in (mine, theirs)
        )
        yield f"Learning rate in epochs 0, 9, 10 and 20, of its first: {here} here, {there} there"
