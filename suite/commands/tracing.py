"""The comparing of traces: a process for each processor, each trace of the reference read once."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import NamedTuple

from suite.errors import RecordError
from suite.judge.parity.compare import compare_states
from suite.judge.staleness import Present, differences
from suite.judge.verdicts import listed
from suite.records import Record
from suite.report.parity import paragraph, section
from suite.store import read_resident


class Task(NamedTuple):
    """The traces of one case and seed, which are compared with the same trace of the reference.

    Attributes:
        reference: Its file.
        others: The files of the others, by release.
        now: What the records of each release must have been made with; empty to accept any.
        everything: True where those that agree are told in words, too.
        page: True where each is told in Markdown.
    """

    reference: Path
    others: Mapping[str, Path]
    now: Mapping[str, Present]
    everything: bool = False
    page: bool = False


class Found(NamedTuple):
    """What came of one trace of a release.

    Attributes:
        release: Name of the release.
        agrees: True where no difference but known ones was found.
        known: True where a known one was.
        text: What was found, for the terminal; empty if nothing needs to be told.
        page: The same as Markdown, with a table; empty if that is not wanted.
        stale: In what the trace or its reference is not of the present; empty if it is, or is
            accepted as it is.
        error: Why both cannot be compared; empty if they can.
    """

    release: str
    agrees: bool = False
    known: bool = False
    text: str = ""
    page: str = ""
    stale: str = ""
    error: str = ""


def compared(tasks: Sequence[Task]) -> Iterator[Found]:
    """Compare all traces of some tasks, each file read once.

    Yields:
        What came of each trace, in the order of the tasks.

    Raises:
        RecordError: If a reference is not valid.
    """
    processors = len(os.sched_getaffinity(0))
    if len(tasks) <= processors:  # a process takes longer to start than these to compare
        for task in tasks:
            yield from _task(task)
        return
    with ProcessPoolExecutor(processors) as pool:
        for found in pool.map(_task, tasks):
            yield from found


def _task(task: Task) -> list[Found]:
    """Compare the traces of one case and seed."""
    reference = read_resident(task.reference)
    stale = _stale(reference, task)
    return [_found(release, path, reference, stale, task) for release, path in task.others.items()]


def _found(release: str, path: Path, reference: Record, stale: str, task: Task) -> Found:
    """Compare one trace with the reference; what is wrong with it is its release's error alone."""
    try:
        record = read_resident(path)
        apart = _stale(record, task) or stale
        if apart:
            return Found(release, stale=apart)
        _check_metrics(record, reference)
        found = compare_states(record, reference)
    except RecordError as error:
        return Found(release, error=str(error))
    told = [each for each in found if task.everything or not each.agrees]
    return Found(
        release,
        agrees=all(each.agrees for each in found),
        known=any(each.known for each in found),
        text="\n".join(map(paragraph, told)),
        page="\n\n".join(map(section, found)) if task.page else "",
    )


def _check_metrics(record: Record, reference: Record) -> None:
    """Refuse a trace without the numbers that its reference has.

    Raises:
        RecordError: If there are none, or one is missing on either side.
    """
    apart = sorted(set(record.metrics) ^ set(reference.metrics))
    if apart or not record.metrics:
        raise RecordError(
            f"{record.name} of {record.release} or of {reference.release} lacks the metrics "
            f"{listed(apart)}, expected those that a trace has. Remove its file and run "
            f'`nox -s "benchmarks({record.release})"` again, or that of {reference.release}.'
        )


def _stale(record: Record, task: Task) -> str:
    """Say in what a record is not of the present; empty if it is, or is accepted as it is."""
    if not task.now:
        return ""
    found = differences(record, task.now[record.release])
    return f"{record.name} of {record.release}: {'; '.join(map(str, found))}" if found else ""
