"""The gate's answer in one sentence: may you upgrade, the worst, or how little was missed."""

from __future__ import annotations

import math
import statistics
import textwrap
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from suite.judge.gate.finding import NO_WORSE, OUTCOME, UNDECIDED, WORSE, Answer, Finding
from suite.judge.metrics import METRICS
from suite.report.text import counted

WORDS = {NO_WORSE: "Yes", WORSE: "No", UNDECIDED: "Undecided"}
QUOTED = 220  # characters of the first thing that is missing, in the first sentence
PLACE = 4  # parts with a colon before what is wrong with records: case, side, word, seeds
NAMED = 8  # cases on one line of a terminal; the files name all
ALIKE = "both give the same numbers, seed by seed"
NO_TITLES: Mapping[str, str] = MappingProxyType({})


def question(answer: Answer) -> str:
    """Ask what the gate answers."""
    return f"May you upgrade from {answer.baseline} to {answer.candidate}?"


def headline(answer: Answer, titles: Mapping[str, str] = NO_TITLES) -> str:
    """Answer in one sentence: the worst, or what is open, or how little could have been missed.

    Args:
        answer: What was found.
        titles: What people call the network of each case.
    """
    if answer.decision == WORSE:
        said = _worse(answer, titles)
    else:
        said = _passed(answer) if answer.decision == NO_WORSE else _open(answer)
    return f"{question(answer)} {WORDS[answer.decision]}: {said}."


def _worse(answer: Answer, titles: Mapping[str, str]) -> str:
    """Name the worst finding, and count the others."""
    found = ranked(answer, WORSE)
    worst = max(found, key=_gravity)
    more = f"; {counted(len(found) - 1, 'more is', 'more are')} worse" if len(found) > 1 else ""
    left = _left(answer)
    rest = f"; of the rest, {left}" if left else ""
    title = titles.get(worst.case)
    where = f"{title} ({worst.case})" if title else worst.case
    return f"{where}: {worst.words.rstrip('.')}{more}{rest}"


def _left(answer: Answer) -> str:
    """Count what is not decided and what is missing; empty where nothing is."""
    undecided, missing = len(ranked(answer, UNDECIDED)), len(grouped(answer.missing))
    found = [f"{counted(undecided, 'finding is', 'findings are')} not decided"] if undecided else []
    found += [f"{counted(missing, 'thing is', 'things are')} missing"] if missing else []
    return " and ".join(found)


def _gravity(finding: Finding) -> tuple[bool, float]:
    """Rank a finding: what a user sees of it first, then by how many margins it is off."""
    size = abs(finding.estimate or 0.0) / finding.margin if finding.margin else 0.0
    return finding.layer == OUTCOME, size if math.isfinite(size) else math.inf


def _open(answer: Answer) -> str:
    """Say that nothing is worse, then what is not decided and what is missing, each with one."""
    parts = []
    undecided = ranked(answer, UNDECIDED)
    if undecided:
        worst, verb = undecided[0], "is" if len(undecided) == 1 else "are"
        some = f"{len(undecided)} of {len(judged(answer))} findings {verb} not decided"
        parts.append(f"{some}, such as {worst.metric} of {worst.case}")
    if answer.missing:
        parts.append(_lacking(answer.missing))
    worse = "nothing that was judged is worse, but " if judged(answer) else ""
    return f"{worse}{'; '.join(parts)}" if parts else "nothing was judged"


def _lacking(missing: Sequence[str]) -> str:
    """Count the cases and files whose evidence is missing, and quote the first reason."""
    count = len({text.partition(": ")[0] for text in missing})
    first = textwrap.shorten(missing[0].rstrip("."), QUOTED)
    where = counted(count, "place")
    return f"evidence is missing, or does not count, in {where}, such as {first}"


def _passed(answer: Answer) -> str:
    """Say how much was judged, and how little could have been missed."""
    own = judged(answer)
    cases = {finding.case for finding in own}
    least = missed(answer.findings)
    could = f"; what could have been missed is less than {least}" if least else ""
    if least == ALIKE:
        could = f"; {ALIKE}"
    return f"nothing is worse in {len(own)} findings on {len(cases)} cases{could}"


def judged(answer: Answer) -> list[Finding]:
    """Pick the findings that the answer depends on: all but diagnostics."""
    return [finding for finding in answer.findings if finding.primary]


def missed(findings: Iterable[Finding]) -> str:
    """Write of each unit the smallest effects that would have been found: the median, the largest.

    Where any would have been found, that is `ALIKE`. Diagnostics count where the answer would
    depend on their metric if it varied less.
    """
    units: dict[str, list[Finding]] = defaultdict(list)
    for finding in findings:
        metric = METRICS.get(finding.metric)
        if metric and metric.primary and finding.detectable is not None:
            units[finding.unit].append(finding)
    if units and not any(finding.detectable for own in units.values() for finding in own):
        return ALIKE
    return "; ".join(_found_from(unit, own) for unit, own in sorted(units.items()))


def _found_from(unit: str, findings: Sequence[Finding]) -> str:
    """Write from which size on effects of one unit would have been found."""
    worst = max(findings, key=lambda finding: finding.detectable or 0.0)
    largest = worst.detectable or 0.0
    half = statistics.median_low(finding.detectable or 0.0 for finding in findings)
    if half == largest:
        return f"{sized(largest, unit)} ({worst.case})"
    some = f"{sized(half, unit)} in half of {len(findings)} findings"
    return f"{some}, {largest:.3g} in the least sure ({worst.case})"


def ranked(answer: Answer, decision: str) -> list[Finding]:
    """Pick the findings of one decision, the gravest first."""
    own = [finding for finding in judged(answer) if finding.decision == decision]
    return sorted(own, key=_gravity, reverse=True)


def grouped(texts: Iterable[str], *, named: int | None = NAMED) -> list[str]:
    """Write what is missing for the same reason as one: ``CASE, CASE and 7 more: reason``.

    Args:
        texts: Each the name of a case, a colon and the reason, or any sentence.
        named: How many cases are named; None for all.
    """
    groups: dict[str, list[str]] = defaultdict(list)
    for text in merged(texts):
        name, colon, reason = text.partition(": ")
        groups[f"{colon}{reason}"].append(name) if " " not in name else groups[text].append("")
    return [
        f"{', '.join(names[:named])}{_more(len(names), named)}{reason}"
        for reason, names in groups.items()
    ]


def merged(texts: Iterable[str]) -> list[str]:
    """Write all that is wrong with the same records as one: ``PLACE: reason; reason``."""
    places: dict[str, list[str]] = {}
    for text in texts:
        *place, reason = text.split(": ", PLACE)
        key = ": ".join((*place, "")) if len(place) == PLACE else text
        places.setdefault(key, []).append(reason if key != text else "")
    return [f"{place}{'; '.join(filter(None, reasons))}" for place, reasons in places.items()]


def _more(count: int, named: int | None) -> str:
    """Count the names that are not listed."""
    return "" if named is None or count <= named else f" and {count - named} more"


def sized(value: float, unit: str) -> str:
    """Write a size with its unit."""
    return f"{value:.3g} {unit}".strip()
