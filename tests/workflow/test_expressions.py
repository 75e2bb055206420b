"""Tests of tests.workflow.expressions: GitHub's rules, and an error for whatever is not known."""

from __future__ import annotations

from typing import Any

import pytest

from tests.workflow.expressions import ExpressionError, evaluate, filled

CONTEXTS: dict[str, Any] = {
    "github": {"event_name": "push", "event": {"pull_request": {"number": 7}}, "ref": "main"},
    "inputs": {"cases": ""},
    "steps": {"rows": {"outputs": {"rows": '{"include": [{"row": "a"}, {"row": "b"}]}'}}},
}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("github.ref", "main"),
        ("github.event.pull_request.number || github.ref", 7),
        ("github.event.schedule", None),
        ("github.event.pull_request.head.repo", None),
        ("inputs.budget || '30m'", "30m"),
        ("inputs.cases == ''", True),
        ("inputs.missing != ''", False),
        ("'it''s'", "it's"),
        ("!cancelled() && (github.event_name != 'pull_request' || true)", True),
        ("github.event_name == 'push' && 1 == 2", False),
        ("fromJSON(steps.rows.outputs.rows).include[1].row", "b"),
        ("join(fromJSON(steps.rows.outputs.rows).include.*.row, '-')", "a-b"),
        ("steps.rows.outputs.cache-hit != 'true'", True),
    ],
)
def test_what_the_workflow_uses_is_evaluated_as_github_does(text: str, value: object) -> None:
    assert evaluate(text, CONTEXTS) == value


@pytest.mark.parametrize(
    "text",
    [
        "secrets.TOKEN", "github.reff", "steps.row.outputs.rows", "hashFiles('x')", "github.ref ==",
        "(github.ref", "github.ref github.ref", "github.ref > 1", "join(github.event.list, '-'",
    ],
)  # fmt: skip
def test_what_is_not_known_is_an_error(text: str) -> None:
    with pytest.raises(ExpressionError):
        evaluate(text, CONTEXTS)


def test_a_text_is_filled_in_and_an_object_in_one_refused() -> None:
    assert filled("${{ github.ref }}-${{ inputs.cases }}x${{ true }}", CONTEXTS) == "main-xtrue"
    assert filled("${{ github.event }}", CONTEXTS) == CONTEXTS["github"]["event"]
    with pytest.raises(ExpressionError, match="an object in a text"):
        filled("a ${{ github.event }}", CONTEXTS)
