"""What a new baseline changes, in words: the answer, then each number with how sure it is."""

from __future__ import annotations

from collections.abc import Iterator

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE, Finding
from suite.judge.history import Numbers, numbers
from suite.judge.metrics import METRICS
from suite.judge.renewal import Renewal
from suite.report.grid import text_grid
from suite.report.text import printable

COLUMNS = ("case", "metric", "old", "new", "difference", "how sure", "the gate says")
ORDER = (WORSE, UNDECIDED, NO_WORSE)
NONE = "-"
MOST = 12  # lines of one kind; -v prints all
LEGEND = (
    "old and new: mean ± standard deviation (seeds). How sure: the gate's interval, 95 % over all "
    "looks at the seeds, and its p-value over all looks (Student's t of seeds in pairs where both "
    "sides have them, Welch's where not). Worse: lower by more than the margin, and below 5 % "
    "after Holm's correction over all metrics; docs/gate.md."
)


def answer(found: Renewal) -> str:
    """Say in one sentence how many cases change, and what gets worse."""
    if not found.former:
        return f"First baseline: {len(found.fresh)} cases, none before."
    count, worse = len(found.changed), sorted({f.case for f in found.worse})
    verb = "changes" if count == 1 else "change"
    parts = [f"{count} of {len(found.cases)} cases {verb}"]
    parts += [f"{len(own)} {word}" for own, word in _kinds(found) if own]
    if not worse:
        return f"{', '.join(parts)}, none gets worse{_open(found)}."
    first = found.worse[0]
    verb = "gets" if len(worse) == 1 else "get"
    text = f"{', '.join(parts)}, {len(worse)} {verb} worse: {first.case}: {first.words}"
    others = [case for case in worse if case != first.case]
    text += f"; also {', '.join(others)}" if others else ""
    return f"{text}{_open(found)}."


def _kinds(found: Renewal) -> list[tuple[list[str], str]]:
    """Name the cases that only one side has."""
    new, gone = found.new, found.removed
    return [(new, "is new" if len(new) == 1 else "are new"), (gone, "removed")]


def _open(found: Renewal) -> str:
    """Say how much the gate could not decide."""
    count = len(found.undecided) + len(found.answer.missing)
    return f"; the gate leaves {count} undecided" if count else ""


def lines(found: Renewal, *, width: int | None = None, verbose: bool = False) -> Iterator[str]:
    """Yield the answer, what is worse or undecided, and the table of what changes.

    Args:
        found: What changes.
        width: Characters a line; None for as many as needed.
        verbose: True to show every metric that differs, not only those that the gate decides by.
    """
    yield printable(answer(found))
    told = found.worse[1:]  # the answer has told of the first
    for word, findings in (("worse", told), ("undecided", found.undecided)):
        yield from _cut([f"{word}: {f.case}: {f.words}" for f in findings], verbose=verbose)
    missing = [f"cannot be compared: {text}" for text in found.answer.missing]
    yield from _cut(missing, verbose=verbose)
    differing = sorted(_differing(found), key=lambda name: _rank(found, *name))
    rows = differing if verbose else [name for name in differing if _is_shown(found, *name)]
    if rows:
        yield text_grid(COLUMNS, [_row(found, *name) for name in rows], width=width)
        yield LEGEND
    if len(differing) > len(rows):
        yield f"{len(differing) - len(rows)} diagnostics differ too: -v"


def _rank(found: Renewal, case: str, metric: str) -> int:
    """Rank a metric: first what is worse, then what is undecided, diagnostics last."""
    finding = found.finding(case, metric)
    if finding is None or not finding.primary:
        return len(ORDER)
    return ORDER.index(finding.decision)


def _cut(texts: list[str], *, verbose: bool) -> Iterator[str]:
    """Yield the first lines of one kind, and how many more there are."""
    shown = texts if verbose else texts[:MOST]
    yield from map(printable, shown)
    if len(texts) > len(shown):
        yield f"and {len(texts) - len(shown)} more: -v"


def _differing(found: Renewal) -> list[tuple[str, str]]:
    """List the metrics of the changed cases whose numbers differ."""
    names = []
    for case in found.changed:
        old, new = numbers(found.former[case]), numbers(found.fresh[case])
        names += [
            (case, name)
            for name in sorted({*old, *new})
            if str(old.get(name)) != str(new.get(name))
        ]
    return names


def _is_shown(found: Renewal, case: str, metric: str) -> bool:
    """True for a metric that the gate decides by, or calls worse."""
    row = METRICS.get(metric)
    return bool(row and row.primary) or (case, metric) in {(f.case, f.metric) for f in found.worse}


def _row(found: Renewal, case: str, metric: str) -> tuple[str, ...]:
    """Write the cells of `COLUMNS`."""
    old, new = (numbers(side[case]).get(metric) for side in (found.former, found.fresh))
    finding = found.finding(case, metric)
    texts = [NONE if side is None else str(side) for side in (old, new)]
    return (case, metric, *texts, _difference(old, new, finding), *_certainty(finding))


def _difference(old: Numbers | None, new: Numbers | None, finding: Finding | None) -> str:
    """Write by how much a metric differs, in the gate's unit where it was judged."""
    if finding is not None and finding.estimate is not None:
        return f"{finding.estimate:+.3g} {finding.unit}".strip()
    return NONE if old is None or new is None else f"{new.mean - old.mean:+.3g}"


def _certainty(finding: Finding | None) -> tuple[str, str]:
    """Write the interval and p-value of a finding, and its decision."""
    if finding is None or finding.low is None or finding.high is None:
        return NONE, finding.decision if finding and finding.primary else "not judged"
    p = "" if finding.p is None else f", p = {finding.p:.2g}"
    decision = finding.decision if finding.primary else f"diagnostic ({finding.decision})"
    return f"{finding.low:+.3g} to {finding.high:+.3g}{p}", decision
