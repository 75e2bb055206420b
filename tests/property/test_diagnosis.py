"""Whatever was measured of a network, it is not healthy if a trial makes it right more often."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from suite.diagnose.attempts import attempts
from suite.diagnose.causes.left import NEXT
from suite.diagnose.causes.rules import judge
from suite.diagnose.found import HEALTHY, MORE_IMAGES, UNDECIDED, VERDICTS, Diagnosis, Examination
from suite.diagnose.remedies import BY_NEXT, remedy
from suite.diagnose.trials import (
    ALIKE,
    BATCH_STATISTICS,
    CENTRED,
    INPUT_SCALE,
    ONLY_LAYER,
    ONLY_MEANS,
    ONLY_VARIANCES,
    PRECISE_BN,
    RENAMED,
    RESCALED,
    STEADY,
    STEADY_PRECISE,
    Evaluation,
    InputScale,
    Trial,
)
from suite.networks.phases import INFERENCE, TRAINING
from tests.diagnose.causes.examined import ENTROPY, IMAGES, NORM, VARIED, examined, layer, scores

if TYPE_CHECKING:
    from numpy.typing import NDArray

POINTS = 0.05
CHANGES = (
    *(TRAINING, BATCH_STATISTICS, PRECISE_BN, ONLY_MEANS, ONLY_VARIANCES, ONLY_LAYER, ALIKE),
    *(RESCALED, INPUT_SCALE, RENAMED, CENTRED, STEADY, STEADY_PRECISE),
)
SCALE = InputScale("[0, 1]", "[0, 255]", swapped=False)
KL = st.sampled_from([0.0, 0.01, 0.2, 0.5, 5.0, 1e3])


def trial(kind: str, hits: NDArray[np.bool_], worth: float) -> Trial:
    """Make up a trial that is right in these images."""
    evaluation = Evaluation(float(hits.mean()), worth, ENTROPY - worth, 4)
    scale = SCALE if kind == INPUT_SCALE else None
    named = {RESCALED: "conv", ONLY_LAYER: "bn0"}.get(kind, "")
    return Trial(kind, named, scores(worth), hits, evaluation, scale)


@st.composite
def networks(draw: Any) -> Examination:
    """Make up a network that one trial at least makes right in 5 more of 100 images."""
    worth = st.floats(-1.0, ENTROPY)
    before = draw(st.integers(0, IMAGES - round(POINTS * IMAGES)))
    after = draw(st.integers(before + round(POINTS * IMAGES), IMAGES))
    right = np.arange(IMAGES)
    moved = draw(st.integers(0, IMAGES))  # so many other images are lost
    better = trial(draw(st.sampled_from(CHANGES)), np.roll(right < after, moved), draw(worth))
    others = [
        trial(kind, np.roll(right < draw(st.integers(0, IMAGES)), moved), draw(worth))
        for kind in draw(st.sets(st.sampled_from(CHANGES)))
        if kind != better.kind
    ]
    distances = draw(st.lists(KL, min_size=1, max_size=3))
    layers = tuple(
        layer(f"bn{place}", symmetric_kl=distance) for place, distance in enumerate(distances)
    )
    norms = tuple(
        NORM._replace(typical_kl=distance, initial=draw(st.booleans())) for distance in distances
    )
    inference = trial(INFERENCE, right < before, draw(worth))
    steps = draw(st.sampled_from([None, 0, 1, 100, 100_000]))
    count = draw(st.sampled_from([IMAGES, 1000]))
    predicted = VARIED._replace(marginal_distance=draw(st.floats(0, 1)))
    state = {"norms": norms, "iterations": steps, "images": count, "predictions": predicted}
    return examined((inference, better, *others), layers=layers, **state)


@given(networks())
def test_a_network_that_a_trial_makes_right_more_often_is_never_healthy(found: Examination) -> None:
    verdict = judge(found).verdict
    assert verdict in VERDICTS
    assert verdict != HEALTHY


@given(networks())
def test_what_the_words_say_comes_next_is_what_the_remedy_says(found: Examination) -> None:
    finding = judge(found)
    said = [key for key, sentence in NEXT.items() if sentence in finding.words]
    assert said == [finding.next] * bool(finding.next)
    assert bool(finding.next) == (finding.verdict == UNDECIDED)
    blank = Diagnosis("", "", "", "", 0.0, 0, 0.0, 0.0, (), {}, (), 0, 0, 0.0)
    parts = {name: getattr(finding, name) for name in finding._fields}
    advice = remedy(blank._replace(**parts, attempts=attempts(found)))
    told = " ".join((*finding.words, advice.words))
    if finding.next:
        assert advice.words == BY_NEXT[finding.next].words
    more = "times as many images" in told
    assert more == (finding.next == MORE_IMAGES)
    if more:
        assert found.images < 1000
