"""The first screen of a benchmark run: the answer in words, question by question."""

from __future__ import annotations

import textwrap
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from suite.cases import PLAIN
from suite.files import write_atomically
from suite.judge.bands import MENDED, STALLED
from suite.judge.traps import TRAPS, news, unexpected
from suite.judge.verdicts import Verdict
from suite.networks.architectures import ARCHITECTURES
from suite.records import Record
from suite.report.grid import terminal_width
from suite.report.text import counted, printable
from suite.report.verdicts import text_table
from suite.tables import TIERS

SYNTHETIC = (
    "SYNTHETIC SIGNS, not GTSRB: this shows that the suite works here, not what a release is worth."
)
COUNTED_COST = 3.0  # passes of an adversarial step, over those of a plain one
POINT = 0.01  # of accuracy; a smaller difference is not called a price
HIDDEN = 0.1  # of accuracy; where the training phase is so much better, both phases are told
WIDTH = 100  # characters a line where there is no terminal
MARGIN = 21  # characters; where the words begin, after question and outcome
NARROW = 80  # characters; a terminal with fewer has no room for such a margin
WORDS: Mapping[str, Any] = {"break_on_hyphens": False, "break_long_words": False}
"""How lines are folded: between words alone, so that names and paths can be copied."""

TABLE = "checks.txt"

FIXES_IN_WORDS = {"bn-momentum-0.5": "Momentum 0.5", "imagenet-inputs": "ImageNet-style input"}


def first_screen(
    records: Sequence[Record],
    verdicts: Sequence[Verdict],
    *,
    folder: Path,
    unanswered: Sequence[str] = (),
    stopped: str = "",
    log: Path | None = None,
    whole: bool = False,
) -> list[str]:
    """Write the lines that answer a run: what holds, each question in numbers, all failures.

    Args:
        records: The records that were measured or found, of one release and tier; at least one.
        verdicts: The verdicts on these records.
        folder: Where the records and the table of all checks are.
        unanswered: Tests that ended in an error or were skipped, each with its reason.
        stopped: Why the run ended before its last test; empty if it did not.
        log: The file with what the framework printed; None if there is none.
        whole: True to print the table of all checks too.
    """
    groups = {} if TIERS[records[0].tier].rehearsal else grouped(records)
    failed = [verdict for verdict in verdicts if verdict.failed]
    faulty = [name for name, own in groups.items() if _concerns(failed, own)]
    release, checks = records[0].release, len(verdicts)
    answer = (
        headline(release, checks, len(failed), faulty=faulty, unanswered=len(unanswered))
        if groups
        else rehearsed(release, len(records), unanswered=len(unanswered))
    )
    lines = _folded(f"{_stop(stopped)}. So far: {answer}" if stopped else answer)
    lines += _paragraphs(groups, faulty)
    lines += ["", *_folded(SYNTHETIC)] if records[0].tier == "quickstart" else []
    lines += ["", *_failures(failed, groups.get("traps", []))] if failed else []
    lines += ["", *_silent(unanswered)] if unanswered else []
    lines += _unlimited(records, verdicts) if groups else []
    lines += ["", text_table(verdicts, width=terminal_width())] if whole else []
    return [*lines, "", *_files(folder, log)]


def _paragraphs(groups: Mapping[str, list[Record]], faulty: Collection[str]) -> Iterator[str]:
    """Write what each question gave, after an empty line."""
    if groups:
        yield ""
    for name, own in groups.items():
        yield from _paragraph(name, "FAILS" if name in faulty else "holds", QUESTIONS[name](own))


def nothing(release: str, unanswered: Iterable[str], *, stopped: str = "") -> list[str]:
    """Say that no case was measured, and of each test that was to do so why not."""
    first = f"{release} is not judged: no case was measured, and none was found."
    return [*_folded(f"{first} {_stop(stopped)}"), *_silent(unanswered)]


def _stop(stopped: str) -> str:
    """Say why the run ended before its last test, if it did."""
    return printable(f"STOPPED before its end: {stopped}") if stopped else ""


def _files(folder: Path, log: Path | None) -> list[str]:
    """Say where the records, the table and the log are."""
    beside = log is not None and log.parent == folder
    own = f" and {log.name}, what the framework printed" if log and beside else ""
    lines = [f"{folder} has the records, {TABLE} (all checks, or -v){own}"]
    return [*lines, *([] if beside or log is None else [f"{log} has what the framework printed"])]


def _silent(unanswered: Iterable[str]) -> Iterator[str]:
    """Write a line for each test that gave no answer."""
    return (printable(f"NO ANSWER {text}") for text in unanswered)


def _unlimited(records: Iterable[Record], verdicts: Iterable[Verdict]) -> Iterator[str]:
    """Name the cases of which nothing was judged: what is recorded alone is no check that holds."""
    judged = {verdict.case for verdict in verdicts}
    alone = [
        record.case
        for record in records
        if record.case not in judged
        and record.question != "traps"  # each call is a test of its own
    ]
    if alone:
        yield ""
        yield printable(f"RECORDED ALONE, without a limit to hold: {_listed(alone)}.")


def _failures(failed: Iterable[Verdict], traps: Sequence[Record]) -> Iterator[str]:
    """Write every failed check in full, and every call that does not do what is expected."""
    for verdict in failed:
        yield printable(f"FAILED {verdict}")
    for text in (news(trap, record) for record in traps for trap in TRAPS):
        if text:
            yield printable(f"FAILED {text}")


def write_table(verdicts: Iterable[Verdict], folder: Path) -> Path:
    """Write the table of all checks beside the records.

    Raises:
        RecordError: If it cannot be written.
    """
    path = folder / TABLE
    write_atomically(path, f"{text_table(verdicts)}\n".encode())
    return path


def headline(
    release: str, checks: int, failed: int, *, faulty: Sequence[str], unanswered: int
) -> str:
    """Say in one sentence what holds, what does not, and what was not answered."""
    tests = counted(unanswered, "test")
    silent = f"; {tests} gave NO ANSWER, see below" if unanswered else ""
    if failed:
        return (
            f"{release} does NOT do as expected: {failed} of {checks} checks fail, on "
            f"{_listed(faulty)}{silent}."
        )
    holding = "1 check holds" if checks == 1 else f"{checks} checks hold"
    if unanswered:
        return f"{release} is not fully judged: {holding}{silent}."
    whole = holding if checks == 1 else f"all {holding}"
    return f"{release} does as expected: {whole}."


def rehearsed(release: str, cases: int, *, unanswered: int) -> str:
    """Say in a sentence or two what ran in a rehearsal, and that it judges nothing."""
    ran = f"{counted(cases, 'case')} ran on the CPU"
    first = f"{release} is rehearsed: {ran}."
    if unanswered:
        tests = counted(unanswered, "test")
        first = f"{release} is NOT wholly rehearsed: {ran}, and {tests} gave NO ANSWER, see below."
    return f"{first} Nothing is judged: so few steps show that each line runs, not what it gives."


def grouped(records: Iterable[Record]) -> dict[str, list[Record]]:
    """Sort records by the question that they answer, in the order of `QUESTIONS`."""
    groups: dict[str, list[Record]] = defaultdict(list)
    for record in sorted(records, key=lambda record: (record.case, record.seed)):
        groups[question_of(record)].append(record)
    return {name: groups[name] for name in QUESTIONS if name in groups}


NAMED = {"step-time": "cost", "parity": "first steps", "random": "draws"}
"""The keys of `QUESTIONS` that have another name in a record."""


def question_of(record: Record) -> str:
    """Name the key of `QUESTIONS` that a record answers."""
    if record.question != "training":
        return NAMED.get(record.question, record.question)
    settings = record.settings
    if settings["loss"] == PLAIN or not ARCHITECTURES[settings["architecture"]].batch_norm:
        return "accuracy"
    return "stall" if settings["fix"] == "none" else "mending"


def attack(records: Sequence[Record]) -> Iterator[str]:
    """Say what the attack does to the pixels and to the loss."""
    moved = max(record.metrics["perturbation_max"] for record in records)
    raised = [record.metrics["raised_fraction"] for record in records]
    yield (
        f"FGSM on the model's own predictions, on {_listed(map(title, records))}: pixels move by "
        f"at most {moved:.4g}, the loss rises in {_range(raised, _percent)} of the images"
    )


def accuracy(records: Sequence[Record]) -> Iterator[str]:
    """Say what each network reaches, and what the adversarial loss costs it."""
    for name in dict.fromkeys(map(title, records)):
        own = [record for record in records if title(record) == name]
        plain = [record for record in own if record.settings["loss"] == PLAIN]
        adversarial = [record for record in own if record not in plain]
        if adversarial:
            yield f"{name} {_price(plain, adversarial)}{_reached(adversarial)}"
        else:
            yield f"{name} under the plain loss: {_plain(plain)}"


def _plain(records: Sequence[Record]) -> str:
    """Write what the plain loss reaches: in both phases where the training phase hides a stall."""
    trained, used = "training_phase_clean_accuracy", "clean_accuracy"
    if _mean(records, trained) > _mean(records, used) + HIDDEN:
        return f"{_share(records, 'train_accuracy')} in training, {_share(records, used)} when used"
    return _reached(records)


def _price(plain: Sequence[Record], adversarial: Sequence[Record]) -> str:
    """Say how much clean accuracy the adversarial loss costs, if there are plain runs too."""
    if not plain:
        return "under the adversarial loss: "
    cost = _mean(plain, "clean_accuracy") - _mean(adversarial, "clean_accuracy")
    return f"pays {100 * cost:.1f} points of accuracy: " if cost > POINT else "pays no accuracy: "


def _reached(records: Sequence[Record]) -> str:
    """Write the accuracy on clean and on attacked images."""
    return (
        f"{_share(records, 'clean_accuracy')} clean, "
        f"{_share(records, 'adversarial_accuracy')} attacked"
    )


def stall(records: Sequence[Record]) -> Iterator[str]:
    """Say under which phases the unfixed network stalls, and how."""
    for name, loss, own in _by(records, "loss"):
        stalls = _mean(own, "adversarial_branch_gain") < STALLED
        yield (
            f"{name} without a fix {'stalls' if stalls else 'does NOT stall'} under `{loss}` "
            f"phases: {_share(own, 'clean_accuracy')} right, {_classes(own)}"
        )


def _classes(records: Sequence[Record]) -> str:
    """Write how many classes the network predicts at all."""
    text = _range([record.metrics["classes_predicted"] for record in records], _whole)
    return "one class" if text == "1" else f"{text} classes"


def mending(records: Sequence[Record]) -> Iterator[str]:
    """Say which fix mends the stall under which phases."""
    for _, fix, treated in _by(records, "fix"):
        effects: dict[str, list[str]] = defaultdict(list)
        for _, loss, own in _by(treated, "loss"):
            effects[_effect(own)].append(f"under `{loss}` phases ({_share(own, 'clean_accuracy')})")
        parts = [f"{effect} {' and '.join(places)}" for effect, places in effects.items()]
        yield f"{FIXES_IN_WORDS.get(fix, fix)} {', '.join(parts)}"


def _effect(treated: Sequence[Record]) -> str:
    """Say whether a network with a fix learns in its adversarial branch."""
    gain = _mean(treated, "adversarial_branch_gain")
    return "mends it" if gain >= MENDED else "does not mend it"


def cost(records: Sequence[Record]) -> Iterator[str]:
    """Say how many plain steps an adversarial one costs."""
    ratios: dict[str, list[float]] = defaultdict(list)
    for record in records:
        ratios[title(record)].append(record.metrics["adversarial_plain_ratio"])
    parts = [f"{_range(found, _tenths)} ({name})" for name, found in ratios.items()]
    yield (
        f"a step of the adversarial loss costs {', '.join(parts)} plain ones; by the passes that "
        f"it makes it would be {COUNTED_COST:.1f}"
    )


def traps(records: Sequence[Record]) -> Iterator[str]:
    """Say how many of the traps' calls do what is expected of them in this release."""
    odd = max(unexpected(record) for record in records)
    yield f"{len(TRAPS) - odd} of {len(TRAPS)} calls do what is expected of them in this release"


def first_steps(records: Sequence[Record]) -> Iterator[str]:
    """Say how many cases were traced, and which session compares them."""
    cases = {record.case for record in records}
    yield f"{len(cases)} cases traced; `nox -s parity` compares them with the default row's"


def random_parts(records: Sequence[Record]) -> Iterator[str]:
    """Say of how many networks it was measured what they draw, and which session compares it."""
    cases = {record.case for record in records}
    yield f"initial weights and dropout of {len(cases)} networks drawn; `nox -s gate` compares them"


def fixes(records: Sequence[Record]) -> Iterator[str]:
    """Say how many cases of the study were measured, and which session compares them."""
    cases = {record.case for record in records}
    yield f"{len(cases)} cases of the study measured; `nox -s fix-table` compares the fixes"


QUESTIONS: Mapping[str, Callable[[Sequence[Record]], Iterator[str]]] = {
    "attack": attack,
    "accuracy": accuracy,
    "stall": stall,
    "mending": mending,
    "cost": cost,
    "traps": traps,
    "first steps": first_steps,
    "draws": random_parts,
    "fixes": fixes,
}
"""The questions in the order of reading, and the functions that put their numbers into words."""


def title(record: Record) -> str:
    """Name the network of a record as people call it."""
    return ARCHITECTURES[record.settings["architecture"]].title


def _concerns(verdicts: Iterable[Verdict], records: Iterable[Record]) -> bool:
    """True where one of the verdicts is on one of the records' cases."""
    cases = {record.case for record in records}
    return any(verdict.case in cases for verdict in verdicts)


def _by(records: Iterable[Record], field: str) -> list[tuple[str, str, list[Record]]]:
    """Group records by network and a field of their settings."""
    groups: dict[tuple[str, str], list[Record]] = defaultdict(list)
    for record in records:
        groups[title(record), str(record.settings[field])].append(record)
    return [(name, value, own) for (name, value), own in groups.items()]


def _paragraph(name: str, outcome: str, sentences: Iterable[str]) -> list[str]:
    """Lay out a question, its outcome and its sentences, folded to the terminal's width.

    On a narrow terminal the sentences begin on a line of their own.
    """
    text, width = printable("; ".join(sentences)), terminal_width() or WIDTH
    head = f"  {name:<12}{outcome:<7}"
    if width < NARROW:
        own = textwrap.wrap(f"{text}.", width - 4, **WORDS)
        return [head.rstrip(), *(f"    {line}" for line in own)]
    return textwrap.wrap(f"{head}{text}.", width, subsequent_indent=" " * MARGIN, **WORDS)


def _folded(text: str) -> list[str]:
    """Fold a sentence to the terminal's width; elsewhere it stays on one line."""
    return textwrap.wrap(text, terminal_width() or len(text) + 1, **WORDS)


def _mean(records: Iterable[Record], metric: str) -> float:
    """Average a metric over records; NaN where one of them is NaN."""
    return float(np.mean([record.metrics[metric] for record in records]))


def _share(records: Iterable[Record], metric: str) -> str:
    """Average a fraction over records, and write it in percent."""
    return _percent(_mean(records, metric))


def _percent(value: float) -> str:
    """Write a fraction in percent, with a decimal where it is small."""
    digits = 1 if abs(value) < 0.1 else 0  # noqa: PLR2004 - below 10 % a whole number is coarse
    return f"{100 * value:.{digits}f} %"


def _whole(value: float) -> str:
    """Write a number without decimals."""
    return f"{value:.0f}"


def _tenths(value: float) -> str:
    """Write a number with one decimal."""
    return f"{value:.1f}"


def _range(values: Sequence[float], shown: Callable[[float], str]) -> str:
    """Write the smallest and the largest value; only one where both read the same."""
    return " to ".join(dict.fromkeys((shown(min(values)), shown(max(values)))))


def _listed(names: Iterable[str]) -> str:
    """List each name once, as in a sentence; at least one name."""
    *first, last = dict.fromkeys(names)
    return f"{', '.join(first)} and {last}" if first else last
