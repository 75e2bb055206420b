"""The judging of one release and tier: each file is read once, case by case, and then let go."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from suite.cases import has_baseline
from suite.judge.baselines import REBASELINE, folder_in, gaps
from suite.judge.compare import NEITHER, NO_BASELINE, NO_RECORD, compare
from suite.judge.lineage import Lineage, lineage_notes
from suite.judge.staleness import LIBRARIES, Present, differences, must_share, present
from suite.records import Record
from suite.report.verdicts import ACCEPT, REFUSE, Report, markdown_rows
from suite.store import Place, files_by_case, read_resident

NO_BASELINES = (
    "no baseline there (steps and draws alone are for `gate`). Restore it from version control, "
    f"judge by another release's with --against RELEASE, or make one with `{REBASELINE}`"
)


class Wishes(NamedTuple):
    """How records are judged.

    Attributes:
        baselines: Folder of all baselines.
        against: The release whose baseline judges; None for the records' own.
        stale: What becomes of stale records: `REFUSE`, `LEAVE_OUT` or `ACCEPT`.
        rows: True to keep every verdict as a row of Markdown.
        verdicts: True to keep every verdict.
    """

    baselines: Path
    against: str | None = None
    stale: str = REFUSE
    rows: bool = False
    verdicts: bool = False


class Job(NamedTuple):
    """The judging of one release and tier.

    Attributes:
        report: What was found, so far.
        files: The files of the records, by case.
        former: The files of the baseline, by case.
        gaps: Why cases have no baseline yet, by case.
        now: What the records must have been made with.
        wishes: How they are judged.
        measured: Where the records come from.
        lineage: Where the baseline comes from.
        shared: What all records must share, with the first record that states it.
    """

    report: Report
    files: Mapping[str, Sequence[Path]]
    former: Mapping[str, Sequence[Path]]
    gaps: Mapping[str, str]
    now: Present
    wishes: Wishes
    measured: Lineage
    lineage: Lineage
    shared: dict[str, tuple[str, str]]


def judged(place: Place, wishes: Wishes) -> Report:
    """Judge the records of one release and tier by a baseline.

    Raises:
        SuiteError: If a record, the baseline, a lock or the release table is damaged.
    """
    report = Report(place.release, place.tier)
    if place.fault:
        report.miss(str(place.path), place.fault)
        return report
    against = wishes.against or place.release
    folder = folder_in(wishes.baselines, against, place.tier)
    job = Job(
        report=report,
        files=_compared(place.path),
        former=_compared(folder),
        gaps=gaps(wishes.baselines, release=against, tier=place.tier),
        now=present(place.release, place.tier),
        wishes=wishes,
        measured=Lineage(),
        lineage=Lineage(),
        shared={},
    )
    if not job.former:
        report.miss(str(folder), NO_BASELINES)
        return report
    for case in sorted({*job.files, *job.former, *filter(has_baseline, job.now.cases)}):
        _judge(job, case)
    report.notes += _notes(job, against)
    return report


def _compared(folder: Path) -> dict[str, list[Path]]:
    """Find the files of the cases that are judged by a baseline."""
    return {case: paths for case, paths in files_by_case(folder).items() if has_baseline(case)}


def _judge(job: Job, case: str) -> None:
    """Judge the records of one case, or say what is missing."""
    report = job.report
    baseline = [read_resident(path, bare=True) for path in job.former.get(case, ())]
    records = [read_resident(path, bare=True) for path in job.files.get(case, ())]
    job.lineage.add(baseline)
    job.measured.add(records)
    fresh = [record for record in records if _counts(job, record)]
    if not baseline and case in job.gaps:
        report.waiting.setdefault(f"no baseline yet ({job.gaps[case]})", []).append(case)
        return
    if not baseline:
        report.miss(case, NO_BASELINE if records else NEITHER)
    elif not records:
        report.miss(case, NO_RECORD)
    elif not fresh and job.wishes.stale != REFUSE:
        report.miss(case, "no record of the case that is not stale")
    if baseline and fresh:
        verdicts = compare(baseline, fresh)
        report.count(verdicts)
        report.table += markdown_rows(verdicts) if job.wishes.rows else []
        report.verdicts += verdicts if job.wishes.verdicts else []


def _counts(job: Job, record: Record) -> bool:
    """True where a record is evidence; what speaks against it is put into the report."""
    found = differences(record, job.now)
    for difference in found:
        job.report.stale.setdefault(str(difference), []).append(record.name)
    job.report.stale_records += bool(found)
    if found:
        return job.wishes.stale == ACCEPT
    for what, value in must_share(record).items():
        first, name = job.shared.setdefault(what, (value, record.name))
        if value != first:
            reason = f"{what} are {value}, expected {first} as of {name}"
            job.report.obstacles.setdefault(reason, []).append(record.name)
    return True


def _notes(job: Job, against: str) -> list[str]:
    """Say what was judged by what, and what else there is to know."""
    home = f"{job.report.home}: {job.measured.records} records"
    told = lineage_notes(
        job.lineage, job.measured, code=job.now.code, alike=against == job.report.release
    )
    unchecked = [f"libraries not checked: {job.now.unchecked}"] if job.now.unchecked else []
    loose = sorted(what for what in job.shared if what != LIBRARIES)
    unchecked += [f"{what} not checked: only held against each other" for what in loose]
    return [
        f"{home} against {job.lineage.records} of the baseline of {against}",
        *(f"  {note}" for note in (*told, *unchecked)),
    ]
