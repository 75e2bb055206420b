"""The page of claims: which claims of the published answer hold, and the numbers behind it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from suite.judge.claims import FEW, RULES, Claim, judge_claims
from suite.judge.study import NOT_MEASURED
from suite.records import Record
from suite.report.grid import markdown_grid, text_grid
from suite.report.text import markdown


def claims_markdown(records: Iterable[Record]) -> str:
    """Write the verdicts as a Markdown table, then their rules and, folded up, the numbers.

    Args:
        records: Records of the question "fixes" count; others are passed over.
    """
    claims = judge_claims(records)
    if not claims:
        return f"The claims: {NOT_MEASURED}."
    measured = [claim for claim in claims if claim.verdict != NOT_MEASURED]
    grid = markdown_grid(*_verdicts(measured)) if measured else f"The claims: {NOT_MEASURED}."
    numbers = [
        f"- {markdown(f'{claim.place}, {claim.phases}: {claim.text}')}: **{claim.verdict}**. "
        f"{markdown(claim.numbers)}."
        for claim in measured
    ]
    summary = "<details><summary>The numbers behind the verdicts</summary>"
    lines = "\n".join([*numbers, *_not_measured(claims)])
    return "\n\n".join([grid, RULES, summary, lines, "</details>"])


def _not_measured(claims: Iterable[Claim]) -> Iterator[str]:
    """Write a line for each release and policy with claims that lack records, and which."""
    lacking: dict[tuple[str, str], list[str]] = {}
    for claim in claims:
        if claim.verdict == NOT_MEASURED:
            told = lacking.setdefault((claim.place, claim.phases), [])
            told.append(f"{claim.text} ({claim.numbers})")
    for where, texts in lacking.items():
        yield f"- {markdown(', '.join(where))}: {NOT_MEASURED}: {markdown('; '.join(texts))}."


def claims_text(records: Iterable[Record], *, width: int | None = None) -> str:
    """Write the claims, their verdicts, numbers and rules for a terminal.

    Args:
        records: As in `claims_markdown`.
        width: Characters a line; None for as many as needed.
    """
    claims = judge_claims(records)
    if not claims:
        return f"The claims: {NOT_MEASURED}."
    columns = ("claim", "release", "phases", "verdict", "numbers")
    return "\n\n".join([text_grid(columns, claims, width=width), RULES])


def _verdicts(claims: Sequence[Claim]) -> tuple[list[str], list[list[str]]]:
    """Lay out the table of verdicts: its columns (one a release and policy) and its rows."""
    found = {(claim.text, f"{claim.place} {claim.phases}"): _cell(claim) for claim in claims}
    texts, columns = (list(dict.fromkeys(key[index] for key in found)) for index in (0, 1))
    rows = [[text, *(found.get((text, column), "-") for column in columns)] for text in texts]
    return ["claim", *columns], rows


def _cell(claim: Claim) -> str:
    """Write a verdict, marked where it rests on few seeds."""
    return f"{claim.verdict} {FEW}" if FEW in claim.numbers else claim.verdict
