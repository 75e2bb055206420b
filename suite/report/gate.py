"""The gate's answer in words: may you upgrade, why, by how much, how sure, what is left open."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

from suite.judge.gate.finding import (
    LAYERS,
    NO_WORSE,
    OUTCOME,
    UNDECIDED,
    WORSE,
    Answer,
    Finding,
)
from suite.judge.staleness import brief
from suite.report.answer import grouped, headline, judged, ranked, sized
from suite.report.grid import markdown_grid, text_grid
from suite.report.text import counted, markdown, printable, ranges

COLUMNS = (
    "case", "metric", "difference", "interval", "margin", "smallest found", "seeds", "decision",
)  # fmt: skip
MOST = 20  # lines of one kind on a terminal; the files hold all
MINUTE_S = 60.0
NONE = "-"
WORDED = [layer for layer in LAYERS if layer != OUTCOME]
UNITS, ROUNDING = ("points", "nats"), 5e-4


class Scope(NamedTuple):
    """What was expected of one side, and what lay there.

    Attributes:
        name: What the side is called.
        release: Its row of the release table.
        stored: True for a stored baseline.
        folder: Where its records lie.
        cases: The cases that were to be judged.
        fewest: Seeds that each trained case must have at least.
        seeds: The seeds that its records have.
        records: How many records were judged.
        lock: Digest of the lock that they had to be made with; empty where there is none.
        code: Digest of the code that measures.
        libraries: Digest of the libraries; empty where they could not be looked up.
        unchecked: Why not.
    """

    name: str
    release: str
    stored: bool
    folder: str
    cases: Sequence[str]
    fewest: int
    seeds: Sequence[int]
    records: int
    lock: str
    code: str
    libraries: str = ""
    unchecked: str = ""


class Told(NamedTuple):
    """The gate's answer with all that belongs to it.

    Attributes:
        answer: What was found.
        sides: What was expected of baseline and candidate.
        margins: How much worse still counts as no worse, by unit.
        level: Chance that an unchanged candidate is called worse, all findings taken together.
        seconds: What one more seed on each side takes, by case.
        titles: What people call the network of each case.
        notes: What else there is to know.
    """

    answer: Answer
    sides: Sequence[Scope]
    margins: Mapping[str, float]
    level: float
    seconds: Mapping[str, float]
    titles: Mapping[str, str]
    notes: Sequence[str] = ()


def lines(told: Told, *, width: int | None = None, verbose: bool = False) -> Iterator[str]:
    """Write the answer, then why, by how much, how sure, what is open, what was expected.

    Args:
        told: The answer with all that belongs to it.
        width: Characters a line of a table; None for as many as needed.
        verbose: True to write every finding.

    Yields:
        One line each, or a table; all of them safe to print.
    """
    yield printable(headline(told.answer, told.titles))
    for decision, word in ((WORSE, "WORSE"), (UNDECIDED, "UNDECIDED")):
        found = ranked(told.answer, decision)
        yield from _cut(word, [sentence(one, told) for one in found], verbose)
    yield from _cut("MISSING", grouped(told.answer.missing), verbose)
    yield ""
    yield from map(printable, layers(told.answer))
    if verbose:
        for layer in WORDED:
            yield from map(printable, _worded(told.answer, layer))
    rows = _rows(told.answer, verbose=verbose)
    if rows:
        yield f"\n{text_grid(COLUMNS, rows, width=width)}\n"
    yield from map(printable, closing(told))


def _cut(word: str, texts: Sequence[str], verbose: bool) -> Iterator[str]:
    """Write lines of one kind, the first ones alone unless all are wanted."""
    shown = texts if verbose else texts[:MOST]
    for text in shown:
        yield printable(f"{word} {text}")
    if len(texts) > len(shown):
        yield f"{word} and {len(texts) - len(shown)} more: -v, or --markdown FILE"


def sentence(finding: Finding, told: Told) -> str:
    """Write one finding: where, what, how sure, and what would decide it."""
    words = finding.words.rstrip(".")
    what = "" if words.startswith(finding.metric) else f", {finding.metric}"
    parts = [f"{finding.layer}, {finding.case}{what}: {words}"]
    if finding.decision == UNDECIDED:
        parts.append(_decides(finding, told.seconds))
    return "; ".join(filter(None, parts))


def _decides(finding: Finding, seconds: Mapping[str, float]) -> str:
    """Say what would decide a finding: so many seeds, and the minutes that they take."""
    if not finding.further:
        return ""
    cost = seconds.get(finding.case)
    minutes = f", about {_minutes(cost * finding.further)}" if cost else ""
    return f"{finding.further} further seeds on each side would decide it{minutes}"


def _minutes(seconds: float) -> str:
    """Write a duration in minutes, at least one."""
    count = max(1, round(seconds / MINUTE_S))
    return counted(count, "minute")


def layers(answer: Answer) -> Iterator[str]:
    """Say for each layer how many findings it has, of how many cases, and how they ended."""
    for layer in LAYERS:
        own = [finding for finding in judged(answer) if finding.layer == layer]
        more = sum(finding.layer == layer for finding in answer.findings) - len(own)
        counts: dict[str, int] = defaultdict(int)
        for finding in own:
            counts[finding.decision] += 1
        ends = ", ".join(f"{counts[d]} {d}" for d in (WORSE, UNDECIDED, NO_WORSE) if counts[d])
        cases = len({finding.case for finding in own})
        told = f"{ends} of {len(own)} findings on {counted(cases, 'case')}"
        aside = f"; {counted(more, 'diagnostic')} beside it" if more else ""
        yield f"{layer}: {told if own else 'nothing was judged'}{aside}"


def _rows(answer: Answer, *, verbose: bool) -> list[tuple[str, ...]]:
    """Write the findings of the outcome as rows of a table; with `verbose`, diagnostics too."""
    chosen = [f for decision in (WORSE, UNDECIDED, NO_WORSE) for f in ranked(answer, decision)]
    aside = [finding for finding in answer.findings if verbose and not finding.primary]
    return [_row(finding) for finding in (*chosen, *aside) if finding.layer == OUTCOME]


def _worded(answer: Answer, layer: str) -> list[str]:
    """Write each finding of a layer in words: its numbers differ from quantity to quantity."""
    return [
        f"{finding.decision}: {layer}, {finding.case}, {finding.metric}: {finding.words}"
        for finding in answer.findings
        if finding.layer == layer
    ]


def _row(finding: Finding) -> tuple[str, ...]:
    """Write one finding as the cells of a row, in the order of `COLUMNS`."""
    interval, unit = NONE, finding.unit
    if finding.low is not None and finding.high is not None:
        interval = f"{_signed(finding.low, unit)} to {_signed(finding.high, unit)}"
    seeds = " and ".join(dict.fromkeys(map(str, finding.seeds))) if any(finding.seeds) else NONE
    return (
        finding.case,
        finding.metric,
        NONE if finding.estimate is None else f"{_signed(finding.estimate, unit)} {unit}".strip(),
        interval,
        NONE if finding.margin is None else f"{finding.margin:.4g}",
        NONE if finding.detectable is None else f"{finding.detectable:.2g}",
        seeds,
        finding.decision if finding.primary else f"diagnostic ({finding.decision})",
    )


def closing(told: Told) -> Iterator[str]:
    """Say how sure the answer is and what was expected to be judged, side by side.

    Yields:
        One line each.
    """
    margins = ", ".join(sized(value, unit) for unit, value in told.margins.items())
    yield (
        f"how sure: an unchanged candidate is called worse with a chance of at most "
        f"{told.level:g} over all of this (Holm); margins: {margins or 'none'}"
    )
    for side in told.sides:
        yield _expected(side)
    yield from told.notes


def _expected(side: Scope) -> str:
    """Say what was expected of one side, and what lay there."""
    stored = "stored, " if side.stored else ""
    libraries = brief(side.libraries) if side.libraries else f"not checked ({side.unchecked})"
    return (
        f"judged of {side.name}: {stored}{side.records} records of "
        f"{counted(len(side.cases), 'expected case')}, "
        f"seeds {ranges(side.seeds) or 'none'}, in {side.folder}; expected: at least "
        f"{side.fewest} seeds of each trained case, lock "
        f"{brief(side.lock) or 'none'}, code {brief(side.code)}, libraries {libraries}"
    )


def page(told: Told) -> str:
    """Write the answer and every finding in Markdown."""
    parts = [f"# {markdown(headline(told.answer, told.titles))}"]
    for decision, head in ((WORSE, "Worse"), (UNDECIDED, "Not decided")):
        texts = [sentence(finding, told) for finding in ranked(told.answer, decision)]
        parts += [f"## {head}\n\n{bullets(texts)}"] if texts else []
    if told.answer.missing:
        texts = grouped(told.answer.missing, named=None)
        parts.append(f"## Missing\n\n{bullets(texts)}")
    parts.append(f"## Judged\n\n{bullets([*layers(told.answer), *closing(told)])}")
    for layer in WORDED:
        texts = _worded(told.answer, layer)
        parts += [f"## {layer.capitalize()}\n\n{bullets(texts)}"] if texts else []
    rows = _rows(told.answer, verbose=True)
    parts += [f"## {OUTCOME.capitalize()}\n\n{markdown_grid(COLUMNS, rows)}"] if rows else []
    return "\n\n".join(parts) + "\n"


def bullets(texts: Iterable[str]) -> str:
    """Write a Markdown list of anybody's text."""
    return "\n".join(f"- {markdown(text)}" for text in texts)


def _signed(value: float, unit: str) -> str:
    """Write a difference, with its sign; what is rounding of the unit is zero."""
    return "0" if unit in UNITS and abs(value) < ROUNDING else f"{value:+.3g}"
