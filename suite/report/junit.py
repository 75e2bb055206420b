"""JUnit's XML of the gate's answer: one test for each case and metric, for whatever shows tests.

The file has four elements, which the standard library writes and escapes as well as any other; the
libraries for JUnit are made to read and to merge such files, and would be one more thing to lock.
"""

from __future__ import annotations

from xml.etree import ElementTree

from suite.judge.gate.finding import NO_WORSE, WORSE, Finding
from suite.report.answer import headline
from suite.report.gate import Told
from suite.report.text import printable

ENDS = {"failures": "failure", "errors": "error", "skipped": "skipped"}
"""What is worse fails. What is undecided or missing is an error, not skipped: to be skipped is to
be fine for most readers of such files. That is for diagnostics, which decide nothing."""


def junit(told: Told) -> str:
    """Write the answer as JUnit's XML: a test a finding, and one for each thing that is missing."""
    answer = told.answer
    tests = [_test(finding) for finding in answer.findings]
    tests += [_missing(number, text) for number, text in enumerate(answer.missing, start=1)]
    counts = {
        name: str(sum(test.find(tag) is not None for test in tests)) for name, tag in ENDS.items()
    }
    names = {"name": printable(f"gate {answer.baseline} {answer.candidate}")}
    numbers = {**names, "tests": str(len(tests)), **counts, "time": "0"}
    own = {name: value for name, value in numbers.items() if name != "skipped"}  # has a suite alone
    root = ElementTree.Element("testsuites", own)
    suite = ElementTree.SubElement(root, "testsuite", numbers)
    notes = ElementTree.SubElement(suite, "properties")
    for name, value in (("decision", answer.decision), ("answer", headline(answer, told.titles))):
        ElementTree.SubElement(notes, "property", {"name": name, "value": printable(value)})
    suite.extend(tests)
    ElementTree.indent(root, " ")
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _test(finding: Finding) -> ElementTree.Element:
    """Write one finding as a test of its case."""
    layer = finding.layer.replace(" ", "-")
    test = _named(f"gate.{layer}.{finding.case}", finding.metric)
    if not finding.primary:
        _end(test, "skipped", "diagnostic", f"diagnostic, decides nothing: {finding.words}")
    elif finding.decision != NO_WORSE:
        tag = ENDS["failures" if finding.decision == WORSE else "errors"]
        _end(test, tag, finding.decision, finding.words)
    return test


def _missing(number: int, text: str) -> ElementTree.Element:
    """Write what is missing as a test that could not be made."""
    test = _named("gate.missing", f"{number} {text.partition(': ')[0]}")
    _end(test, ENDS["errors"], "missing", text)
    return test


def _named(group: str, name: str) -> ElementTree.Element:
    """Make a test of a group; it took no time of its own."""
    given = {"classname": printable(group), "name": printable(name), "time": "0"}
    return ElementTree.Element("testcase", given)


def _end(test: ElementTree.Element, tag: str, kind: str, text: str) -> None:
    """Say how a test ended that did not pass."""
    message = printable(text)
    ElementTree.SubElement(test, tag, {"type": kind, "message": message}).text = message
