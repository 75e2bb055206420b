"""The verdicts of `compare` in words: the answer, what failed or is missing, notes, a table."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from rich.text import Text

from suite.judge.verdicts import NEW, PASS, REGRESSION, VANISHED, Verdict, shown
from suite.report.grid import markdown_grid, text_grid
from suite.report.text import counted, markdown, printable, ranges

REFUSE, LEAVE_OUT, ACCEPT = "refuse", "leave-out", "accept"
"""What becomes of stale records: nothing can be told, they count as if not there, or are judged."""

TREATED = {LEAVE_OUT: "left out", ACCEPT: "judged all the same"}

COLUMNS = ("case", "metric", "baseline", "measured", "band", "verdict")
TABLE_HEAD = markdown_grid(COLUMNS, []).split("\n")
STYLES = {PASS: "green", REGRESSION: "bold red", NEW: "yellow", VANISHED: "yellow"}
MOST = 20  # lines of one kind, of one release and tier; ten thousand are for a file
NAMED = 3  # examples in a sentence
SEEN = "clean_accuracy"  # what a user sees: how little of it could be told is part of the answer


@dataclass
class Report:
    """What came of the records of one release and tier, counted as they were judged.

    Attributes:
        release: Name of the release.
        tier: Name of the tier.
        judged: How many numbers were held against a band.
        cases: The cases that these are of, each with its seeds.
        regressions: How many of them are outside.
        failures: The first `MOST` of these.
        blind: By case, how far `SEEN` may be off in one seed that passes: half of its interval.
        obstacles: What kept records from being judged, with the records; none may be passed over.
        stale: In what records are not of the present, with the records.
        stale_records: Their number.
        missing: Why something was not judged that should have been, with its names.
        waiting: Why cases have no baseline yet, with their names.
        waived: Reasons for which numbers need no verdict, with their numbers.
        notes: What else there is to know; the first says what was judged by what.
        table: Every verdict as a row of a Markdown table; empty unless it was asked for.
        verdicts: Every verdict; likewise.
    """

    release: str
    tier: str
    judged: int = 0
    cases: dict[str, set[str]] = field(default_factory=dict)
    regressions: int = 0
    failures: list[str] = field(default_factory=list)
    blind: dict[str, float] = field(default_factory=dict)
    obstacles: dict[str, list[str]] = field(default_factory=dict)
    stale: dict[str, list[str]] = field(default_factory=dict)
    stale_records: int = 0
    missing: dict[str, dict[str, None]] = field(default_factory=dict)
    waiting: dict[str, list[str]] = field(default_factory=dict)
    waived: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    table: list[str] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)

    @property
    def home(self) -> str:
        """The release and the tier."""
        return " ".join(filter(None, (self.release, self.tier)))

    def count(self, verdicts: Iterable[Verdict]) -> None:
        """Count the verdicts on one case, and keep those that must be told one by one."""
        for verdict in verdicts:
            if verdict.judged:
                self.judged += 1
                self.cases.setdefault(verdict.case, set()).add(verdict.seed)
                if verdict.metric == SEEN and verdict.expected is not None:
                    self.blind[verdict.case] = (verdict.expected.high - verdict.expected.low) / 2
            if verdict.failed:
                self.regressions += 1
                self.failures += [str(verdict)] if len(self.failures) < MOST else []
            elif verdict.missing:
                name = verdict.case if verdict.whole else f"{verdict.metric} of {verdict.case}"
                self.miss(name, verdict.reason)
            elif verdict.blocking:
                self.obstacles.setdefault(verdict.reason, []).append(verdict.subject)
            elif verdict.outcome != PASS:
                self.waived[verdict.reason] += 1

    def miss(self, name: str, reason: str) -> None:
        """Note once that something that should have been judged was not."""
        self.missing.setdefault(reason, {})[name] = None


class Leniency(NamedTuple):
    """What the user allows; the answer repeats it.

    Attributes:
        stale: What becomes of stale records: `REFUSE`, `LEAVE_OUT` or `ACCEPT`.
        partial: True where what is missing may be missing.
    """

    stale: str = REFUSE
    partial: bool = False


def regressions(reports: Iterable[Report]) -> int:
    """Count the numbers outside their bands."""
    return sum(report.regressions for report in reports)


def unanswered(reports: Sequence[Report], allowed: Leniency) -> list[str]:
    """Say in a few words each why it cannot be told whether all is well; nothing if it can be."""
    stale = sum(report.stale_records for report in reports)
    apart = sum(len(names) for report in reports for names in report.obstacles.values())
    missing = sum(len(names) for report in reports for names in report.missing.values())
    found = []
    if stale and allowed.stale == REFUSE:
        found.append(counted(stale, "stale record"))
    if apart:
        found.append(f"{counted(apart, 'record')} that cannot be compared")
    if missing and not allowed.partial:
        found.append(counted(missing, "missing case or number", "missing cases or numbers"))
    return found if any(report.judged for report in reports) else [*found, "nothing was judged"]


def answer(reports: Sequence[Report], allowed: Leniency) -> str:
    """Say whether there is a regression, in how much, what was not judged, and what may hide."""
    failed, reasons = regressions(reports), unanswered(reports, allowed)
    scope = f" in {_scope(reports)}" if any(report.judged for report in reports) else ""
    if failed:
        said = f"{counted(failed, 'REGRESSION', 'REGRESSIONS')}{scope}"
        said += f"; of the rest it cannot be told: {', '.join(reasons)}" if reasons else ""
    elif reasons:
        said = f"COULD NOT TELL: {', '.join(reasons)}"
        said += f"; no regression{scope}" if scope else ""
    else:
        said = f"No regression{scope}"
    missed = "" if failed or reasons else _blindness(reports)
    return f"{said}{_allowances(reports, allowed)}.{missed}"


def _blindness(reports: Sequence[Report]) -> str:
    """Write how large a difference may pass, as one seed against a few stored ones sees little."""
    points = [100 * half for report in reports for half in report.blind.values()]
    if not points:
        return ""
    sizes = dict.fromkeys(f"{size:.1f}" for size in (min(points), max(points)))
    return f" It would miss {' to '.join(sizes)} points of clean accuracy: see `nox -s gate`."


def _scope(reports: Sequence[Report]) -> str:
    """Write how much was judged."""
    judged = [report for report in reports if report.judged]
    releases = {report.release for report in judged}
    named = {seed for report in judged for seeds in report.cases.values() for seed in seeds}
    seeds = sorted(int(seed.rpartition(" ")[2]) for seed in named)
    return (
        f"{counted(sum(report.judged for report in judged), 'number')} of "
        f"{counted(sum(len(report.cases) for report in judged), 'case')} of "
        f"{judged[0].home if len(judged) == 1 else counted(len(releases), 'release')} "
        f"(seed{'s' if len(seeds) > 1 else ''} {ranges(seeds)})"
    )


def _allowances(reports: Sequence[Report], allowed: Leniency) -> str:
    """Repeat what was not judged and does not count, and what was allowed."""
    missing = [
        f"{name} of {report.home}"
        for report in reports
        for names in report.missing.values()
        for name in names
    ]
    stale = sum(report.stale_records for report in reports)
    waiting = sum(len(names) for report in reports for names in report.waiting.values())
    parts = []
    if missing and allowed.partial:
        parts.append(f"PARTIAL, missing: {_examples(missing)}")
    if stale and allowed.stale in TREATED:
        parts.append(f"{counted(stale, 'stale record')} {TREATED[allowed.stale]}")
    if waiting:
        parts.append(f"no baseline yet of {counted(waiting, 'case')}")
    return "".join(f"; {part}" for part in parts)


def findings(report: Report, allowed: Leniency) -> Iterator[str]:
    """Write what is wrong or missing in one release and tier, regressions first.

    Yields:
        One line each, safe to print.
    """
    stale = f"stale, {TREATED[allowed.stale]}," if allowed.stale in TREATED else "STALE"
    for word, lines, more in (
        ("REGRESSION", report.failures, report.regressions - len(report.failures)),
        ("NOT COMPARABLE", *_with_examples(report.obstacles)),
        (stale, *_with_examples(report.stale)),
        ("missing" if allowed.partial else "MISSING", *_with_examples(report.missing)),
    ):
        for line in lines:
            yield printable(f"{word} {report.home}: {line}")
        if more:
            yield printable(f"{word} {report.home}: and {more} more")


def notes(report: Report) -> Iterator[str]:
    """Write what was judged by what in one release and tier, and what else there is to know.

    Yields:
        One line each, safe to print.
    """
    for note in report.notes:
        yield printable(note)
    waived, more = report.waived.most_common(NAMED), len(report.waived) - NAMED
    for reason, count in waived:
        yield printable(f"  not comparable, which is no fault: {count} ({reason})")
    if more > 0:
        yield f"  not comparable, which is no fault: and {more:,} more"
    seeds = set().union(*report.cases.values())
    fewer = [case for case, own in report.cases.items() if own != seeds]
    known = {**report.waiting, **({"judged with fewer seeds than others": fewer} if fewer else {})}
    for line in _with_examples(known)[0]:
        yield printable(f"  {line}")


def page(reports: Sequence[Report], allowed: Leniency, *, closing: Sequence[str]) -> str:
    """Write the answer and every verdict of every report in Markdown, then the `closing` lines."""
    parts = [markdown(answer(reports, allowed))]
    for report in reports:
        told = [*findings(report, allowed), *notes(report)]
        parts += [f"## {markdown(report.home)}"]
        parts += ["\n".join(f"- {markdown(line.strip())}" for line in told)]
        parts += ["\n".join([*TABLE_HEAD, *report.table])] if report.table else []
    return "\n\n".join([*parts, *map(markdown, closing)]) + "\n"


def _with_examples(found: Mapping[str, Collection[str]]) -> tuple[list[str], int]:
    """Write each reason once, with what it is true of; and how many reasons are left out."""
    lines = [
        f"{reason}: {len(names):,} ({_examples([*names])})"
        if len(names) > 1
        else f"{reason}: {', '.join(names)}"
        for reason, names in found.items()
    ]
    return lines[:MOST], max(0, len(lines) - MOST)


def _examples(names: Sequence[str]) -> str:
    """List some names, and count the others."""
    more = len(names) - NAMED
    return ", ".join([*names[:NAMED], *([f"and {more} more"] if more > 0 else [])])


def text_table(
    verdicts: Iterable[Verdict], *, width: int | None = None, colour: bool = False
) -> str:
    """Write the verdicts as a table for a terminal or a log, a row each.

    A baseline reads mean ± standard deviation (seeds). Where the table is too wide, names are
    folded; nothing is cut off.

    Args:
        verdicts: In the order of the rows.
        width: Characters a line; None for as many as needed.
        colour: True to colour the verdicts with a terminal's control characters.
    """
    rows: list[list[str | Text]] = []
    for verdict in verdicts:
        *cells, outcome = _cells(verdict)
        rows.append([*cells, Text(outcome, style=STYLES.get(outcome, ""))])
    return text_grid(COLUMNS, rows, whole=("measured", "verdict"), width=width, colour=colour)


def markdown_rows(verdicts: Iterable[Verdict]) -> list[str]:
    """Write the same rows as lines of a Markdown table, without its head."""
    return markdown_grid(COLUMNS, map(_cells, verdicts)).split("\n")[len(TABLE_HEAD) :]


def _cells(verdict: Verdict) -> tuple[str, ...]:
    """Write the cells of a row; the outcome is the last."""
    band = verdict.expected
    measured = "-" if verdict.measured is None else shown(verdict.measured, band)
    cells = verdict.subject, verdict.metric, verdict.baseline or "-", measured
    return (*cells, "-" if band is None else str(band), verdict.outcome)
