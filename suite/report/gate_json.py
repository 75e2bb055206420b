"""The gate's answer as JSON, in the layout that `gate.schema.json` beside this file states."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from suite.judge.gate.finding import Finding
from suite.records import encoded
from suite.report.answer import headline, question
from suite.report.gate import Scope, Told
from suite.report.text import printable

SCHEMA = "adversarial-training-regression/gate/1"
"""Names the layout of the verdict's JSON; `gate.schema.json` beside this file states it."""


def verdict(told: Told) -> dict[str, Any]:
    """Give the answer as JSON values, in the layout `SCHEMA`."""
    answer = told.answer
    content = {
        "schema": SCHEMA,
        "question": question(answer),
        "decision": answer.decision,
        "answer": printable(headline(answer, told.titles)),
        "baseline": answer.baseline,
        "candidate": answer.candidate,
        "level": told.level,
        "margins": dict(told.margins),
        "expected": [_scope(side) for side in told.sides],
        "findings": [_finding(finding, told.seconds) for finding in answer.findings],
        "missing": [printable(text) for text in answer.missing],
        "notes": [printable(text) for text in told.notes],
    }
    found: dict[str, Any] = encoded(content)
    return found


def _scope(side: Scope) -> dict[str, Any]:
    """Give what was expected of a side as JSON values."""
    return {**side._asdict(), "cases": list(side.cases), "seeds": list(side.seeds)}


def _finding(finding: Finding, seconds: Mapping[str, float]) -> dict[str, Any]:
    """Give a finding as JSON values, with what would decide it."""
    cost = seconds.get(finding.case)
    needed = None if cost is None or finding.further is None else cost * finding.further
    return {**finding._asdict(), "seeds": list(finding.seeds), "further_s": needed}
