"""Tests of suite.report.html.judged: the gate's answer, just given or read from JSON."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from suite.errors import RecordError
from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.report.gate_json import verdict
from suite.report.html.judged import MARKS, MISSING, mark_of, of_json, of_told
from tests.report.html.conftest import finding
from tests.report.test_gate import KEPT, LOST, OPEN, STEPS, told
from tests.report.test_gate import MISSING as LACKING


def written(*findings: Any, **changes: Any) -> bytes:
    """Write a verdict as the gate does; `changes` replace fields of its JSON."""
    return json.dumps({**verdict(told(*findings)), **changes}).encode()


def test_what_the_gate_wrote_down_reads_like_what_it_judged() -> None:
    findings = (LOST._replace(detectable=math.inf), KEPT, OPEN, STEPS)
    read, now = of_json(written(*findings), "gate.json"), of_told(told(*findings))
    assert tuple(read.findings) == tuple(now.findings)
    assert read._replace(source="", notes=()) == now._replace(
        notes=(), findings=read.findings, missing=[]
    )
    assert (read.candidate, read.baseline, read.stored) == ("tf-2.21", "tf-2.15", False)
    assert read.mark.word == WORSE


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (b"", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[]", "its schema is None"),
        (written(KEPT, schema="adversarial-training-regression/gate/2"), "gate/2', this suite"),
        (written(KEPT, schema=["x"]), "its schema is"),
        (written(KEPT, decision="fine"), r"\$.decision"),
        (written(LOST, decision=NO_WORSE), r"\$"),
        (written(KEPT, findings=[{}]), "is a required property"),
        (written(KEPT, confidence=10**400), "64 bits"),
        (written(KEPT).replace(b"{", b'{"schema": "x", ', 1), "duplicate keys: schema"),
        (written(KEPT, confidence=math.nan), "NaN is not a JSON number"),
    ],
)
def test_what_is_no_verdict_is_refused_with_the_reason(text: bytes, found: str) -> None:
    with pytest.raises(RecordError, match=found) as caught:
        of_json(text, "gate.json")
    assert str(caught.value).startswith("gate.json")


@pytest.mark.parametrize(
    ("decisions", "lacking", "expected"),
    [
        ([NO_WORSE, WORSE, UNDECIDED], [], MARKS[WORSE]),
        ([NO_WORSE, UNDECIDED], ["x: gone"], MARKS[UNDECIDED]),
        ([NO_WORSE], ["x: gone"], MISSING),
        ([NO_WORSE], [], MARKS[NO_WORSE]),
        ([], [], None),
    ],
)
def test_the_worst_decision_counts(
    decisions: list[str], lacking: list[str], expected: object
) -> None:
    found = [finding(decision=decision) for decision in decisions]
    aside = finding(decision=WORSE, primary=False)
    assert mark_of([*found, aside], lacking) == expected


def test_marks_differ_in_word_and_symbol_not_in_colour_alone() -> None:
    marks = [*MARKS.values(), MISSING]
    assert len({mark.word for mark in marks}) == len({mark.symbol for mark in marks}) == len(marks)


def test_what_is_missing_for_one_reason_is_said_once() -> None:
    read = of_told(
        told(KEPT, missing=(*LACKING, "alexnet-plain: the candidate has no record of it."))
    )
    assert read.lacking[0].startswith("lenet5-plain, alexnet-plain: ")
    assert read.lacks("lenet5-plain") == [LACKING[0].partition(": ")[2]]
