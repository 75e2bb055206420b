"""The compatibility table: what each row of the release table can do, as its records show."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from suite.cases import Case
from suite.judge.compatibility import (
    TIER,
    Evidence,
    Fault,
    Outcome,
    cases_without_batch_norm,
    control_cases,
    not_mended,
    not_stalled,
    outside_band,
    treatment_cases,
)
from suite.networks.phases import PHASES
from suite.records import Record
from suite.report.grid import markdown_grid, text_grid
from suite.report.text import markdown, printable
from suite.tables import table

YES, NO, NOT_RUN = "yes", "no", "not run"
COLUMNS = (
    "release",
    "installs",
    "imports",
    "attacks",
    "trains",
    "stall appears",
    "fix works",
    "cost",
    "date",
    "lock",
)

RATIO = "adversarial_plain_ratio"  # of the times of a step
FACTS = ("updates_per_step", "statistics_moved", "phases_agree")
FACT_COLUMNS = (
    "release",
    *(f"{loss}: {fact.replace('_', ' ')}" for loss in PHASES for fact in FACTS),
)

DIGEST_LENGTH = 12


class Row(NamedTuple):
    """What is written about one release.

    Attributes:
        cells: One for each column of `COLUMNS`.
        facts: One for each column of `FACT_COLUMNS`.
        note: What is wrong or missing, in one line; empty if nothing is.
    """

    cells: tuple[str, ...]
    facts: tuple[str, ...]
    note: str


def compatibility(evidence: Evidence) -> Row:
    """Sum up one release: only what was measured with its present lock counts."""
    records, outcome = evidence.current, evidence.outcome
    if outcome and outcome.lock_digest != evidence.lock_digest:
        outcome = None
    abilities = _abilities(records)
    cells = (
        evidence.release,
        YES if records else _known(outcome.installs if outcome else None),
        YES if records else _known(outcome.imports if outcome else None),
        *(cell for cell, _ in abilities),
        _cost(records),
        _date(records, outcome),
        evidence.lock_digest.rpartition(":")[2][:DIGEST_LENGTH] or "-",
    )
    faults = [fault for _, found in abilities for fault in found]
    notes = [*_failure(faults, outcome), *_left_out(evidence), *_mixed(records, evidence.code)]
    return Row(cells, (evidence.release, *_facts(records)), "; ".join(notes))


def text_report(rows: Sequence[Row], *, width: int | None = None) -> str:
    """Write the table and the notes below it for a terminal or a log.

    Args:
        rows: One a release.
        width: Characters a line; None for as many as needed.
    """
    grid = text_grid(COLUMNS, [row.cells for row in rows], whole=("release", "date"), width=width)
    notes = [printable(f"{row.cells[0]}: {row.note}") for row in rows if row.note]
    return "\n".join([grid, *(["", *notes] if notes else [])])


def markdown_report(rows: Sequence[Row], *, records: int) -> str:
    """Write the table, the notes and what BatchNorm did in Markdown.

    Args:
        rows: One a release.
        records: How many records they were made from.
    """
    notes = [f"- {markdown(f'{row.cells[0]}: {row.note}')}" for row in rows if row.note]
    facts = [row.facts for row in rows if set(row.facts[1:]) != {NOT_RUN}]
    parts = [
        markdown_grid(COLUMNS, [row.cells for row in rows]),
        "\n".join(notes),
        f"What BatchNorm did in ResNet-50 without a fix:\n\n{markdown_grid(FACT_COLUMNS, facts)}"
        if facts
        else "",
        f"From {records} records of the {TIER} tier, by `nox -s matrix -- --table --page FILE`.",
    ]
    return "\n\n".join(part for part in parts if part)


def _abilities(records: Sequence[Record]) -> list[tuple[str, list[str]]]:
    """Judge what a release can do: the cells from "attacks" to "fix works", and their faults."""
    return [
        _ability(cases, records, fault)
        for cases, fault in (
            (table("attack", tier=TIER), outside_band),
            (cases_without_batch_norm(), outside_band),
            (control_cases(), not_stalled),
            (treatment_cases(), not_mended),
        )
    ]


def _ability(
    cases: Sequence[Case], records: Sequence[Record], fault: Fault
) -> tuple[str, list[str]]:
    """Judge the records of some cases: write the cell, and list the faults that it names."""
    measured = [record for case in cases for record in records if record.case == str(case)]
    faults = {record.case: text for record in measured for text in [fault(record)] if text}
    present = {record.case for record in measured}
    if faults:
        return f"{NO}: {', '.join(faults)}", list(faults.values())
    if not present:
        return NOT_RUN, []
    if len(present) < len(cases):
        return f"partly ({len(present)} of {len(cases)} cases)", []
    return YES, []


def _known(truth: bool | None) -> str:
    """Write yes or no, or that it is not known."""
    return NOT_RUN if truth is None else YES if truth else NO


def _cost(records: Iterable[Record]) -> str:
    """Write the smallest and the largest ratio of the times of an adversarial and a plain step."""
    cases = {str(case) for case in table("step-time", tier=TIER)}
    timed = [r for r in records if r.case in cases and RATIO in r.metrics]
    ratios = [r.metrics[RATIO] for r in timed]
    if not ratios:
        return NOT_RUN
    missing = len(cases) - len({r.case for r in timed})
    partly = f" ({missing} of {len(cases)} networks missing)" if missing else ""
    return f"{min(ratios):.1f} to {max(ratios):.1f}{partly}"


def _date(records: Sequence[Record], outcome: Outcome | None) -> str:
    """Write the day of the newest record, or of the last run where there is no record."""
    days = [record.started_at[:10] for record in records]
    return max(days) if days else outcome.date if outcome else "-"


def _facts(records: Sequence[Record]) -> list[str]:
    """Write what BatchNorm's updates did in the controls: one cell a phase policy and fact."""
    controls = {case.loss: str(case) for case in control_cases()}
    return [
        _range([r.metrics[fact] for r in records if r.case == control and fact in r.metrics])
        for control in (controls[loss] for loss in PHASES)
        for fact in FACTS
    ]


def _range(values: Sequence[float]) -> str:
    """Write the smallest and the largest of some values, once where they read the same."""
    found = list(dict.fromkeys(f"{value:.4g}" for value in sorted(values)))
    return NOT_RUN if not found else found[0] if len(found) == 1 else f"{found[0]} to {found[-1]}"


def _failure(faults: Sequence[str], outcome: Outcome | None) -> list[str]:
    """Say what is wrong with a release; if nothing is, why its last run did not pass."""
    more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
    if faults:
        return [f"{faults[0]}{more}"]
    return [outcome.reason] if outcome and not outcome.passed else []


def _left_out(evidence: Evidence) -> list[str]:
    """Say how many records do not count, if any."""
    stale = len(evidence.records) - len(evidence.current)
    return [f"{stale} records of another lock do not count"] if stale else []


def _mixed(records: Sequence[Record], code: str) -> list[str]:
    """Say how many records are of another state of the suite than now, if any."""
    if not records:
        return []
    newest = max(records, key=lambda record: record.started_at).environment["code_digest"]
    others = sum(record.environment["code_digest"] != (code or newest) for record in records)
    text = f"{others} of {len(records)} records are of another state of the suite"
    return [text] if others else []
