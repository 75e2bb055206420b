"""Tests of suite.report.bisect: the answer comes first, and says how sure it is."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from suite.judge.gate.symptom import BAD, UNRESOLVED, Symptom
from suite.report.bisect import NAMED, NOTHING, UNDECIDED, Result, Step, answer, as_json, lines

SYMPTOM = Symptom("step map", "parity-net", "steps", "gradient", "dense/kernel", "Steps differ.")
STEPS = [
    Step("rows", "tf-2.21", BAD, "gradient parts", 12.3),
    Step("versions", "tf-2.15 with keras 3.0.0", UNRESOLVED, "no import", known=True),
]
FOUND = Result(
    "tf-2.15", "tf-2.21", SYMPTOM, rows=("tf-2.15", "tf-2.16"), package="keras",
    culprits=["keras 2.15.0 -> 3.3.3"], versions=("2.15.0", "3.1.0"), skipped=["3.0.0"],
    culprit="keras 3.1.0", steps=STEPS,
)  # fmt: skip


def test_the_first_line_names_package_version_rows_quantity_and_layer() -> None:
    first = next(lines(FOUND))
    assert first == (
        "To blame is keras 3.1.0 (the last good version is 2.15.0; untried between them: 3.0.0), "
        "which came between tf-2.15 and tf-2.16; what parts is gradient of dense/kernel in "
        "parity-net (step map)."
    )


def test_the_chain_tells_status_time_and_reason_by_stage() -> None:
    text = "\n".join(lines(FOUND))
    assert "  rows\n    bad        tf-2.21 (12 s): gradient parts" in text
    assert "unresolved tf-2.15 with keras 3.0.0 (known from before): no import" in text


def test_lines_are_broken_where_a_terminal_ends() -> None:
    assert max(map(len, lines(FOUND, width=60))) <= 60
    assert " ".join(" ".join(lines(FOUND, width=60)).split()) == (
        " ".join(" ".join(lines(FOUND)).split())
    )


@pytest.mark.parametrize(
    ("result", "end", "told"),
    [
        (FOUND, NAMED, "To blame is keras 3.1.0"),
        (Result("a", "b", nothing="9 were judged"), NOTHING,
         "Nothing to bisect: nothing is worse on b than on a; 9 were judged."),
        (Result("a", "b", metric="gradient", nothing="9 were judged"), NOTHING,
         "Nothing to bisect: gradient is no worse on b than on a; 9 were judged."),
        (replace(FOUND, skipped=[], unlisted="No index."), NAMED,
         "To blame is keras 3.1.0 (the last good version is 2.15.0; versions between them could "
         "not be listed: No index), which"),
        (Result("a", "b"), UNDECIDED, "Could not be decided: "),
        (replace(FOUND, culprit="", undecided="The budget is spent."), UNDECIDED,
         "Could not be decided: The budget is spent; so far: it begins between tf-2.15 and "
         "tf-2.16; suspected: keras 2.15.0 -> 3.3.3; keras 2.15.0 is good and 3.1.0 bad"),
    ],
    ids=str,
)  # fmt: skip
def test_each_end_has_its_words(result: Result, end: str, told: str) -> None:
    assert result.end == end
    assert answer(result).startswith(told)


def test_a_side_that_could_not_be_had_is_told() -> None:
    text = "\n".join(lines(replace(FOUND, one_sided="it was put back elsewhere")))
    assert "Confirmed from both sides, but it was put back elsewhere." in text
    assert "measured anew" not in text


def test_the_json_holds_answer_and_chain() -> None:
    found = json.loads(json.dumps(as_json(FOUND)))
    assert (found["end"], found["answer"]) == (NAMED, answer(FOUND))
    assert found["symptom"]["quantity"] == "gradient"
    assert [step["status"] for step in found["steps"]] == [BAD, UNRESOLVED]
