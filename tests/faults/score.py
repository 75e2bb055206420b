"""The score: which layer finds each planted fault, in how many seconds, and what it calls it."""

from __future__ import annotations

import json
import re
import statistics
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from suite.errors import SuiteError
from tests.faults.bench import Bench, Measured, Probe, measured

if TYPE_CHECKING:
    from tests.faults.fault import Fault

WORDS = 240  # characters of a finding in the table
STOPPED = "measurement"
"""In the place of a layer where the candidate could not be measured at all: the gate lacks its
records, and says "undecided"."""

FIRST: Mapping[str, str] = MappingProxyType(
    {
        "BatchNorm": "parity-resnet50",
        "dropout": "random-alexnet",
        "initialisers": "random-lenet5",
        "seeds": "random-lenet5",
        "padding": "parity-alexnet",
    }
)
"""What is measured first for the faults of a group: a network that has what is broken."""


class Outcome(NamedTuple):
    """What became of one fault.

    Attributes:
        name: Of the fault.
        group: Of the fault.
        what: What it stands for.
        layer: That found it; empty where none did.
        case: In which it was found.
        words: Of the finding.
        named: True where they name the cause rightly, as the fault's pattern says; None where it
            has no pattern.
        seconds: That its measurements took, up to the one that found it.
        missed: Why nothing found it, where that is known.
    """

    name: str
    group: str
    what: str
    layer: str = ""
    case: str = ""
    words: str = ""
    named: bool | None = None
    seconds: float = 0.0
    missed: str = ""


class Honest:
    """What the probes measure without a fault, each once."""

    def __init__(self, bench: Bench) -> None:
        """Measure nothing yet."""
        self.bench = bench
        self._known: dict[tuple[str, str], Measured] = {}

    def of(self, probe: Probe) -> Measured:
        """Give the honest measurement of a probe."""
        key = probe.layer, probe.name
        if key not in self._known:
            self._known[key] = measured(probe, self.bench)
        return self._known[key]


def ordered(probes: Iterable[Probe], fault: Fault) -> list[Probe]:
    """Sort probes: first those that have what is broken, then the others by their cost."""
    first = fault.first or FIRST.get(fault.group, "")
    return sorted(probes, key=lambda probe: not probe.name.startswith(first))


def outcome(fault: Fault, probes: Iterable[Probe], honest: Honest) -> Outcome:
    """Plant a fault and measure until something finds it."""
    found = Outcome(fault.name, fault.group, fault.what, missed=fault.missed)
    seconds = 0.0
    for probe in ordered(probes, fault):
        before = honest.of(probe)
        try:
            with fault.plant():
                after = measured(probe, honest.bench)
        except (SuiteError, ArithmeticError) as error:
            return found._replace(
                layer=STOPPED, case=probe.name, words=repr(error), seconds=seconds
            )
        seconds += after.seconds
        alarms = probe.alarms(before.records, after.records)
        if alarms:
            words = " ".join(f"{finding.metric}: {finding.words}" for finding in alarms)
            named = bool(re.search(fault.named, words)) if fault.named else None
            return found._replace(
                layer=probe.layer, case=probe.name, words=words, named=named, seconds=seconds
            )
    return found._replace(seconds=seconds)


def headline(outcomes: Sequence[Outcome]) -> str:
    """Say how many were found, by which layer, and how many of them were named rightly."""
    caught = [each for each in outcomes if each.layer]
    layers = ", ".join(
        f"{n} by the {layer}" for layer, n in Counter(c.layer for c in caught).items()
    )
    named = [each.named for each in caught if each.named is not None]
    share = len(caught) / len(outcomes) if outcomes else 0.0
    return (
        f"{len(caught)} of {len(outcomes)} planted faults found ({share:.1%}): {layers or 'none'}. "
        f"The finding names the cause rightly in {sum(named)} of {len(named)} that have a name."
    )


def table(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of a Markdown table."""
    yield "| Fault | Group | Found by | In | s | Named | What the finding says |"
    yield "|---|---|---|---|---|---|---|"
    for each in outcomes:
        named = {True: "yes", False: "no", None: ""}[each.named]
        said = each.words if each.layer else f"missed: {each.missed or 'nothing finds it'}"
        text = said[:WORDS].replace("|", "/").replace("\n", " ")
        yield (
            f"| {each.name} | {each.group} | {each.layer or '-'} | {each.case or '-'} | "
            f"{each.seconds:.0f} | {named} | {text} |"
        )


def groups(outcomes: Sequence[Outcome]) -> Iterator[str]:
    """Yield the lines of a Markdown table with one row for each group of faults."""
    yield "| Group | Found | By | Named | Median s | Missed |"
    yield "|---|---|---|---|---|---|"
    for group in dict.fromkeys(each.group for each in outcomes):
        own = [each for each in outcomes if each.group == group]
        caught = [each for each in own if each.layer]
        named = [each.named for each in caught if each.named is not None]
        layers = ", ".join(dict.fromkeys(each.layer for each in caught)) or "-"
        missed = ", ".join(each.name for each in own if not each.layer) or "-"
        seconds = statistics.median(each.seconds for each in own)
        yield (
            f"| {group} | {len(caught)} of {len(own)} | {layers} | "
            f"{sum(named)} of {len(named)} | {seconds:.0f} | {missed} |"
        )


def page(outcomes: Sequence[Outcome]) -> str:
    """Write the score, what was missed, the groups and every fault."""
    missed = [each for each in outcomes if not each.layer]
    lines = [headline(outcomes), ""]
    lines += [f"- missed: {each.name}: {each.what} {each.missed}".rstrip() for each in missed]
    return "\n".join([*lines, "", *groups(outcomes), "", *table(outcomes), ""])


def as_json(outcomes: Sequence[Outcome]) -> str:
    """Write the same for machines."""
    content: list[Mapping[str, Any]] = [each._asdict() for each in outcomes]
    return json.dumps({"score": headline(outcomes), "faults": content}, indent=1)


def of_json(text: str) -> dict[str, Outcome]:
    """Read what `as_json` wrote, by the name of the fault."""
    return {row["name"]: Outcome(**row) for row in json.loads(text)["faults"]}
