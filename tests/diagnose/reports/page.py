"""The table of docs/reports.md, from what was measured."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from suite.diagnose.found import HEALTHY
from suite.report.pages import write_section
from tests.diagnose.reports.measure import Row
from tests.diagnose.reports.report import Report

PAGE, SECTION = Path("docs/reports.md"), "reports"
MEASURED = Path("docs/reports.json")
GITHUB = re.compile(r"https://github\.com/([\w.-]+)/([\w.-]+)/(?:issues|pull)/(\d+)")
HEAD = (
    "| report | what was wrong | the diagnosis says | right | advice followed |",
    "|---|---|---|---|---|",
)


def read(path: Path) -> dict[str, Row]:
    """Read what was measured, by the name of the report."""
    rows: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return {name: Row(**row) for name, row in rows.items()}


def write(path: Path, rows: Mapping[str, Row]) -> None:
    """Write what was measured."""
    text = json.dumps({name: row._asdict() for name, row in rows.items()}, indent=1)
    path.write_text(f"{text}\n", encoding="utf-8")


def short(address: str) -> str:
    """Name a thread as people do: keras#7265."""
    found = GITHUB.match(address)
    if not found:
        return re.sub(r"^https?://(?:www\.)?([^/]+)/.*", r"\1", address)
    owner, project, number = found.groups()
    return f"{project}#{number}" if project != "docs" else f"{owner}/{project}#{number}"


def line(report: Report, row: Row) -> str:
    """Write a report's line of the table."""
    said = row.verdict if row.verdict == HEALTHY else f"{row.verdict}: {row.cause}"
    link = f"[{short(report.address)}]({report.address})"
    by = "its code" if row.by_code else "by hand"
    right = "yes" if row.right else "no"
    gained = f"{report.measure} {row.before:.2f} to {row.after:.2f}, {by}"
    return f"| {link} | {report.cause} | {said} | {right} | {gained} |"


def table(reports: Sequence[Report], rows: Mapping[str, Row]) -> str:
    """Write the table, and the count before it."""
    shown = [(report, rows[report.name]) for report in reports]
    right = sum(row.right for _, row in shown)
    healthy = sum(row.verdict == HEALTHY for _, row in shown)
    mended = sum(row.mended for _, row in shown)
    first = (
        f"The cause is named for {right} of {len(shown)} reports; {healthy} are called healthy. "
        f"The advice, followed, mends {mended}."
    )
    return "\n".join([first, "", *HEAD, *(line(*each) for each in shown)])


def renew(reports: Sequence[Report], rows: Mapping[str, Row]) -> None:
    """Write the table into its page."""
    write_section(PAGE, table(reports, rows), section=SECTION)
