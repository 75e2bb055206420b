"""The gate's second layer: do two releases draw initial weights and dropout alike?"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

from suite.errors import RecordError
from suite.judge.gate.contrasts import (
    DROPOUT_RATE,
    ELSEWHERE,
    INDEPENDENCE,
    LEVEL,
    NEGLIGIBLE,
    SCALE_OF_ALL,
    SPREAD,
    WEIGHT_SCALE,
    Contrast,
    certain,
    correlated,
    dropout_contrasts,
    repeated,
    strongest_pair,
    together,
    weight_contrasts,
)
from suite.judge.gate.drawn import DRAWN, Drawn, drawn_by
from suite.judge.gate.finding import NO_WORSE, RANDOM_PARTS, UNDECIDED, WORSE, Finding
from suite.records import Record

QUESTION = "random"
WEIGHTS, SEEDS, DROPOUT = QUANTITIES = ("initial weights", "seeds", "dropout")

ENOUGH = 0.5  # of the baseline's draws: units that are 0 are none of dropout's, and vary
SCALES = (WEIGHT_SCALE, SCALE_OF_ALL)
FOLLOW = (SCALE_OF_ALL, ELSEWHERE)  # kinds that go without saying where another is said

ROUNDING = 1e-6  # of a root mean square; that of other draws is some 1e-4 to 1e-2 off
ANEW = (
    "the same seed draws other weights than before, with the same libraries and code: something "
    "else decides them too, such as the process or a variable"
)

PASSES = {
    "plain_step_spread": "the plain loss",
    "clean_step_spread": "the clean pass of the adversarial loss",
    "adversarial_step_spread": "the adversarial pass of the adversarial loss",
}
"""In which pass of a step dropout makes a loss vary."""


class Judged(NamedTuple):
    """How the numbers of a finding are stated.

    Attributes:
        metric: One of `QUANTITIES`.
        unit: Of the estimate, its interval, the margin and the detectable effect.
        per_unit: Units in one.
        kinds: The kinds of the contrasts that the estimate is of.
        what: What the finding says that agrees, where nothing differs.
    """

    metric: str
    unit: str
    per_unit: float
    kinds: Sequence[str]
    what: str


def draw_findings(before: Sequence[Record], after: Sequence[Record]) -> list[Finding]:
    """Judge what two releases drew in each case that both have; other questions are passed over.

    A finding is worse where a quantity differs by more than what is negligible, at `LEVEL` after
    Bonferroni's correction over all that was tested for the finding. A case is undecided where a
    record lacks something that is judged, as one of before it was measured does.

    Args:
        before: Records of the baseline.
        after: Records of the candidate.
    """
    mine, theirs = by_case(before), by_case(after)
    return [
        finding
        for case in mine
        if case in theirs
        for finding in judged_case(case, mine[case], theirs[case])
    ]


def judged_case(case: str, before: Sequence[Record], after: Sequence[Record]) -> list[Finding]:
    """Judge what two releases drew in one case."""
    try:
        mine, theirs = drawn_by(before), drawn_by(after)
        found, words = [*case_findings(case, mine, theirs)], "; ".join(lacks(mine, theirs))
    except RecordError as error:
        found, words = [], str(error)
    except (ArithmeticError, LookupError, TypeError, ValueError) as error:
        found, words = [], f"an entry cannot be judged: {error!r:.200}. Measure the case anew."
    return [*found, *([Finding(RANDOM_PARTS, case, WEIGHTS, UNDECIDED, words)] if words else [])]


def lacks(before: Drawn, after: Drawn) -> Iterator[str]:
    """Yield what the candidate lacks of what the baseline has: there no difference can be seen."""
    if len(after.digests) < len(before.digests):
        yield f"networks of {len(after.digests)} seeds, expected of {len(before.digests)}"
    for mine, theirs in (
        (before.weights, after.weights),
        (before.dropout, after.dropout),
        (before.layers, after.layers),
    ):
        for name, entry in mine.items():
            own = theirs.get(name, {} if mine is before.layers else entry)  # else it is missing
            for kind in sorted({*entry.get("correlations", ())} - {*own.get("correlations", ())}):
                yield f"{name or 'all weights'}: no correlation of {kind}"
            if own.get("draws", 0) < ENOUGH * entry.get("draws", 0):
                yield f"{name}: {own.get('draws', 0):,} draws, expected some {entry['draws']:,}"


def by_case(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Group the records of the question by their case."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.question == QUESTION:
            found.setdefault(record.case, []).append(record)
    return found


def case_findings(case: str, before: Drawn, after: Drawn) -> Iterator[Finding]:
    """Yield what is found of the weights, the seeds and, where a network has it, the dropout."""
    same = before.digests == after.digests
    kernels = [entry for entry in before.weights.values() if entry["quantity"] == DRAWN]
    draws = sum(entry["draws"] for entry in kernels)
    what = f"{len(kernels)} weights, {draws:,} draws on each side"
    note = "the same bit for bit" if same else "drawn alike"
    judged = Judged(WEIGHTS, "%", 100, SCALES, f"{what}, are {note}")
    drawn, dropped = found(case, judged, weights(before, after)), []
    if before.dropout or after.dropout:
        what = f"{len(before.dropout)} layers drop alike"
        judged = Judged(DROPOUT, "points", 100, [DROPOUT_RATE], what)
        dropped = [found(case, judged, masks(before, after))]
    alike = all(finding.decision != WORSE for finding in (drawn, *dropped))
    contrasts = [*seed(before, after), *(anew(before, after) if alike else [])]
    what = "a seed decides what is drawn, and no two draw alike"
    seeded = found(case, Judged(SEEDS, "", 1, [INDEPENDENCE], what), contrasts)
    for finding in (drawn, seeded, *dropped):
        yield finding._replace(seeds=seeds_of(before, after, finding.metric))


def weights(before: Drawn, after: Drawn) -> list[Contrast]:
    """Compare the initial weights: each, all together, and layers with one another."""
    made = list(both(before.weights, after.weights, weight_contrasts))
    pairs = [
        (one, after.weights[name])
        for name, one in before.weights.items()
        if name in after.weights and {one["quantity"], after.weights[name]["quantity"]} == {DRAWN}
    ]
    if pairs:
        made.append(together(*zip(*pairs)))
    if "" in before.layers and "" in after.layers:
        layers = before.layers[""], after.layers[""]
        made += [strongest_pair(*layers), repeated("all weights, layer by layer,", *layers)]
    return made


def both(
    before: object, after: object, compare: Callable[..., list[Contrast]]
) -> Iterator[Contrast]:
    """Compare what both have by name; what only one of them has is a difference too."""
    mine, theirs = dict(before), dict(after)  # type: ignore[call-overload]
    for name in [*mine, *(name for name in theirs if name not in mine)]:
        if name not in theirs:
            yield certain("missing", f"{name} is missing")
        elif name not in mine:
            yield certain("new", f"{name} is new")
        else:
            yield from compare(name, mine[name], theirs[name])


def seed(before: Drawn, after: Drawn) -> list[Contrast]:
    """Compare what a seed decides: the same gives the same, another gives something independent."""
    made = []
    if before.repeats and not after.repeats:
        made.append(certain("repeats", "the same seed draws something else the second time"))
    if unlike(before) and not unlike(after):
        made.append(certain("ignored", "two seeds draw the same weights: the seed is ignored"))
    for mine, theirs in ((before.weights, after.weights), (before.dropout, after.dropout)):
        made += [
            correlated(f"draws of {name} by two seeds", "seeds", entry, theirs[name])
            for name, entry in mine.items()
            if name in theirs
            and all("seeds" in row.get("correlations", {}) for row in (entry, theirs[name]))
        ]
    return made


def anew(before: Drawn, after: Drawn) -> list[Contrast]:
    """Say where a seed drew other weights than before, with the same libraries and code."""
    shared = [key for key in before.sizes if key in after.sizes]
    other = [key for key in shared if not abs(after.sizes[key] / before.sizes[key] - 1) <= ROUNDING]
    if not other or not after.repeats or not unlike(after):  # else that is said
        return []
    now, then = (side.sizes[other[0]] for side in (after, before))
    words = f"{other[0][-1]} has a root mean square of {now:.6g} instead of {then:.6g}"
    return [certain("anew", f"{ANEW}: {with_more(words, len(other) - 1)}")]


def unlike(drawn: Drawn) -> bool:
    """True where each seed drew other weights."""
    return len(set(drawn.digests.values())) == len(drawn.digests)


def masks(before: Drawn, after: Drawn) -> list[Contrast]:
    """Compare dropout: each layer, layers with one another, and the passes that it works in."""
    made = list(both(before.dropout, after.dropout, dropout_contrasts))
    made += [
        correlated(f"masks of {name}", "layers", entry, after.layers[name])
        for name, entry in before.layers.items()
        if name and name in after.layers
    ]
    for name, where in PASSES.items():
        was, now = (drawn.spreads.get(name, 0.0) > SPREAD for drawn in (before, after))
        if was != now:
            words = f"dropout is {'' if now else 'not '}at work in {where}"
            made.append(certain(name, words))
    return made


def seeds_of(before: Drawn, after: Drawn, metric: str) -> tuple[int, int]:
    """Count the seeds that were drawn from on both sides."""
    if metric == DROPOUT:
        return len(before.mask_seeds), len(after.mask_seeds)
    return len(before.digests), len(after.digests)


def found(case: str, judged: Judged, contrasts: Sequence[Contrast]) -> Finding:
    """Make the finding of some contrasts: worse if one of them is beyond chance."""
    level = LEVEL / max(1, len(contrasts))
    parted = sorted((c for c in contrasts if c.p <= level), key=lambda c: c.p)
    sized = [contrast for contrast in contrasts if contrast.kind in judged.kinds]
    seen = [judged.per_unit * contrast.detectable(level) for contrast in sized]
    finding = Finding(
        RANDOM_PARTS,
        case,
        judged.metric,
        WORSE if parted else NO_WORSE if seen else UNDECIDED,
        f"{named(parted)}." if parted else agreed(judged, seen),
        margin=judged.per_unit * NEGLIGIBLE[judged.kinds[0]],
        unit=judged.unit,
        p=min(1.0, len(contrasts) * min((c.p for c in contrasts), default=1.0)),
        detectable=max(seen, default=None),
    )
    return with_estimate(finding, judged, sized)


def with_estimate(finding: Finding, judged: Judged, sized: Sequence[Contrast]) -> Finding:
    """Add the difference that stands out most among those that have the unit of the finding."""
    if not sized:
        return finding
    chosen = max(sized, key=lambda contrast: abs(contrast.size or 0.0) / contrast.deviation)
    low, high = (judged.per_unit * end for end in chosen.interval)
    estimate = judged.per_unit * (chosen.size or 0.0)
    return finding._replace(estimate=estimate, low=low, high=high)


def named(parted: Sequence[Contrast]) -> str:
    """Name the largest difference of each kind, and count the others of it; the surest first."""
    kinds: dict[str, list[Contrast]] = {}
    for contrast in parted:
        kinds.setdefault(contrast.kind, []).append(contrast)
    telling = [alike for kind, alike in kinds.items() if kind not in FOLLOW]
    return "; ".join(map(largest, telling or kinds.values()))


def largest(alike: Sequence[Contrast]) -> str:
    """Say the largest of some differences of one kind, and how many more there are."""
    chosen = max(alike, key=lambda contrast: abs(contrast.size or 0.0))
    return with_more(chosen.words, len(alike) - 1)


def with_more(words: str, more: int) -> str:
    """Add to what is said of one difference how many more there are of its kind."""
    return f"{words} (and {more} more like it)" if more else words


def agreed(judged: Judged, seen: Sequence[float]) -> str:
    """Say that nothing differs, and what would have been found, as often as `POWER`."""
    if not seen:
        return "the records of neither release hold draws that could be compared."
    least, most = (f"{size:.2g} {judged.unit}".rstrip() for size in (min(seen), max(seen)))
    return (
        f"{judged.what}; a difference of {most} in any of them would have been found, where there "
        f"are most draws one of {least}."
    )
