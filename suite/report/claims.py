"""The claims of the published answer, judged by the records of a study."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from suite.judge.claims import FEW, RULES, Claim, judge_claims
from suite.judge.study import NOT_MEASURED
from suite.records import Record
from suite.report.grid import markdown_grid, text_grid


def claims_markdown(records: Iterable[Record]) -> str:
    """Return the verdicts as a Markdown table, their rules and, folded up, the numbers."""
    claims = judge_claims(records)
    if not claims:
        return f"The claims: {NOT_MEASURED}."
    grid = markdown_grid(*_verdicts(claims))
    lines = "\n".join(
        f"- {claim.place}, {claim.phases}: {claim.text}: **{claim.verdict}**. {claim.numbers}."
        for claim in claims
    )
    summary = "<details><summary>The numbers behind the verdicts</summary>"
    return "\n\n".join([grid, RULES, summary, lines, "</details>"])


def claims_text(records: Iterable[Record], *, width: int | None = None) -> str:
    """Return the same for a terminal; None is as wide as needed."""
    claims = judge_claims(records)
    if not claims:
        return f"The claims: {NOT_MEASURED}."
    columns = ("claim", "release", "phases", "verdict", "numbers")
    return "\n\n".join([text_grid(columns, claims, width=width), RULES])


def _cell(claim: Claim) -> str:
    """Return the verdict, marked where it rests on few seeds."""
    few = FEW in claim.numbers and claim.verdict != NOT_MEASURED
    return f"{claim.verdict} {FEW}" if few else claim.verdict


def _verdicts(claims: Sequence[Claim]) -> tuple[list[str], list[list[str]]]:
    """Return the columns and rows of the table of verdicts: a column a release and policy."""
    found = {(claim.text, f"{claim.place} {claim.phases}"): _cell(claim) for claim in claims}
    texts, columns = (list(dict.fromkeys(key[index] for key in found)) for index in (0, 1))
    rows = [[text, *(found[text, column] for column in columns)] for text in texts]
    return ["claim", *columns], rows
