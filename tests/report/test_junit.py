"""Tests of suite.report.junit: a test for each case and metric, in the shape readers ask for."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.report.junit import junit
from tests.report.test_gate import ASIDE, CASE, GAIN, KEPT, LOST, LOWER, MISSING, OPEN, STEPS, told

ALL = (LOST, KEPT, OPEN, STEPS, ASIDE)

ATTRIBUTES = {
    "testsuites": (set(), {"name", "tests", "failures", "errors", "time"}),
    "testsuite": ({"name", "tests", "failures", "errors"}, {"skipped", "time", "timestamp"}),
    "properties": (set(), set()),
    "property": ({"name", "value"}, set()),
    "testcase": ({"name"}, {"classname", "time", "group"}),
    "failure": (set(), {"type", "message"}),
    "error": (set(), {"type", "message"}),
    "skipped": (set(), {"type", "message"}),
}
CHILDREN = {
    "testsuites": ["testsuite"],
    "testsuite": ["properties", "testcase"],
    "properties": ["property"],
    "testcase": ["failure", "error", "skipped"],
}
"""What the schema of Jenkins' xUnit plugin (junit-10.xsd) allows of what is written here: the
attributes that an element needs and those that it may have, and its children in
their order."""


def parsed(text: str) -> ElementTree.Element:
    """Parse what was written."""
    return ElementTree.fromstring(text)  # noqa: S314 - our own


def faults(element: ElementTree.Element) -> list[str]:
    """List where an element is not as the schema has it."""
    needed, allowed = ATTRIBUTES[element.tag]
    own, order = set(element.attrib), CHILDREN.get(element.tag, [])
    found = [f"{element.tag} has {sorted(own)}"] if not needed <= own <= needed | allowed else []
    tags = [child.tag for child in element]
    if [tag for tag in tags if tag not in order] or tags != sorted(tags, key=order.index):
        return [*found, f"{element.tag} holds {tags}"]
    return found + [fault for child in element for fault in faults(child)]


@pytest.mark.parametrize("missing", [(), MISSING])
def test_the_file_has_the_shape_that_readers_ask_for(missing: tuple[str, ...]) -> None:
    root = parsed(junit(told(*ALL, missing=missing)))
    assert root.tag == "testsuites"
    assert faults(root) == []
    for suite in (root, root[0]):
        cases = suite.findall(".//testcase")
        assert int(suite.attrib["tests"]) == len(cases) == len(ALL) + len(missing)
        for name, tag in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
            count = len(suite.findall(f".//{tag}"))
            assert suite.get(name) in (str(count), None if suite is root else "")


def test_the_shape_is_held_against_it() -> None:
    root = parsed(junit(told(LOST)))
    root[0].attrib.pop("tests")
    root[0].append(ElementTree.Element("properties"))
    root[0].find("testcase").attrib["case"] = "x"  # type: ignore[union-attr]
    assert len(faults(root)) == 2


@pytest.mark.parametrize(
    ("decision", "end"), [(NO_WORSE, None), (WORSE, "failure"), (UNDECIDED, "error")]
)
def test_each_finding_is_a_test_of_its_case_and_metric(decision: str, end: str | None) -> None:
    [case] = parsed(junit(told(LOST._replace(decision=decision)))).iter("testcase")
    assert (case.get("classname"), case.get("name")) == (f"gate.outcome.{CASE}", GAIN)
    assert [child.tag for child in case] == ([end] if end else [])
    if end:
        assert case[0].get("type") == decision
        assert LOWER in str(case[0].get("message"))
        assert LOWER in str(case[0].text)


def test_what_is_missing_is_an_error() -> None:
    cases = list(parsed(junit(told(KEPT, missing=MISSING))).iter("testcase"))
    assert [case.get("name") for case in cases[1:]] == ["1 lenet5-plain", "2 baselines"]
    assert [case[0].tag for case in cases[1:]] == ["error", "error"]
    assert cases[2][0].get("message") == "baselines: NOT CLEAN"


def test_a_diagnostic_neither_fails_nor_passes() -> None:
    [case] = parsed(junit(told(ASIDE))).iter("testcase")
    assert [child.tag for child in case] == ["skipped"]


def test_the_answer_is_a_property() -> None:
    notes = {
        note.get("name"): note.get("value") for note in parsed(junit(told(LOST))).iter("property")
    }
    assert notes["decision"] == WORSE
    assert str(notes["answer"]).startswith("May you upgrade from tf-2.15 to tf-2.21? No: VGG19")


def test_text_of_strangers_is_escaped() -> None:
    evil = LOST._replace(case='x"/><testcase name="y"/>', words="\x00\x1b]]> & <b>")
    [case] = parsed(junit(told(evil))).iter("testcase")
    assert case.get("classname") == 'gate.outcome.x"/><testcase name="y"/>'
    assert case[0].get("message") == "\\x00\\x1b]]> & <b>"
