"""History: the index of a baseline, with every change of it, its reason and what it measured."""

from __future__ import annotations

import hashlib
import json
import math
import os
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields
from datetime import date
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from suite.errors import RecordError
from suite.files import parse_json, read_bytes
from suite.records import NOT_FINITE, Record, encoded, json_digest

HISTORY = "history.jsonl"
"""The index: it lies beside the records, so that one rename exchanges both."""

MEASURED, FOUND = HOW = ("measured", "found")
"""How an entry came about: by new records, or for a baseline that lay there without one."""

DIGITS = 6  # of a mean or deviation; no metric is told apart by more
RESTORE = "Restore the folder from version control"


class Numbers(NamedTuple):
    """One metric of one case.

    Attributes:
        mean: Over the seeds, in the metric's unit; may be NaN or infinite.
        deviation: Standard deviation of the seeds; NaN of a single one.
        seeds: Their number.
    """

    mean: float
    deviation: float
    seeds: int

    def __str__(self) -> str:
        deviation = "" if math.isnan(self.deviation) else f" ± {self.deviation:.2g}"
        return f"{self.mean:.4g}{deviation} ({self.seeds})"


class Entry(NamedTuple):
    """One state of a baseline, as a line of its index.

    Attributes:
        date: The day on which it became the baseline, ISO 8601.
        reason: Why, in one line.
        how: One of `HOW`.
        worse: What the gate called worse and was accepted, each with its case and numbers.
        removed: Cases that it lost.
        former: Digest of the records before it; empty where there were none.
        digest: `records_digest` of its records.
        measured: The first and the last day on which they were measured.
        versions: All versions that they state, by package.
        code: Digests of the code that measured.
        lock: Digests of the locks.
        data: Digests of the data.
        cases: By case and metric, its numbers.
    """

    date: str
    reason: str
    how: str
    worse: Sequence[str]
    removed: Sequence[str]
    former: str
    digest: str
    measured: Sequence[str]
    versions: Mapping[str, Sequence[str]]
    code: Sequence[str]
    lock: Sequence[str]
    data: Sequence[str]
    cases: Mapping[str, Mapping[str, Numbers]]


def numbers(runs: Sequence[Record]) -> dict[str, Numbers]:
    """Sum up every metric of the records of one case."""
    names = sorted({name for run in runs for name in run.metrics})
    return {name: _numbers([r.metrics[name] for r in runs if name in r.metrics]) for name in names}


def _numbers(values: Sequence[float]) -> Numbers:
    """Sum up the values of one metric, one a seed."""
    finite = all(map(math.isfinite, values))
    mean = statistics.mean(map(float, values)) if finite else sum(values)
    deviation = statistics.stdev(map(float, values)) if finite and len(values) > 1 else math.nan
    return Numbers(_rounded(mean), _rounded(deviation), len(values))


def _rounded(value: float) -> float:
    """Keep `DIGITS` digits of a number."""
    return float(f"{value:.{DIGITS}g}")


def records_digest(records: Iterable[Record]) -> str:
    """Compute ``"sha256:..."`` of the contents of records, in whatever order they come."""
    lines = sorted(f"{record.name} {_content_digest(record)}\n" for record in records)
    return f"sha256:{hashlib.sha256(''.join(lines).encode()).hexdigest()}"


def _content_digest(record: Record) -> str:
    """Compute the digest that a record's file is signed with."""
    return json_digest(
        encoded({field.name: getattr(record, field.name) for field in fields(record)})
    )


def entry_of(
    cases: Mapping[str, Sequence[Record]],
    *,
    day: str,
    reason: str,
    how: str = MEASURED,
    former: str = "",
    worse: Iterable[str] = (),
    removed: Iterable[str] = (),
) -> Entry:
    """Sum up a baseline.

    Args:
        cases: Its records by case.
        day: The day on which it becomes the baseline, ISO 8601.
        reason: Why; what ends a line in it becomes a space.
        how: One of `HOW`.
        former: Digest of the records before it.
        worse: What the gate called worse and is accepted.
        removed: Cases that it loses.

    Raises:
        RecordError: If there is no reason, it is no text, or the day is none.
    """
    records = [record for runs in cases.values() for record in runs]
    days = sorted(record.started_at[:10] for record in records)
    made = [record.environment for record in records]
    return Entry(
        _day(day),
        _one_line(reason),
        how,
        list(worse),
        sorted(removed),
        former,
        records_digest(records),
        [days[0], days[-1]],
        _versions(made),
        _values(e["code_digest"] for e in made),
        _values(e["lock_digest"] for e in made),
        _values(e["data_digest"] for e in made),
        {case: numbers(runs) for case, runs in cases.items() if len(runs) > 1},
    )


def _versions(made: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """List the versions of each package in some environments."""
    names = sorted({name for environment in made for name in environment["versions"]})
    return {name: _values(each["versions"].get(name) for each in made) for name in names}


def _values(found: Iterable[Any]) -> list[str]:
    """List values, each once; what is not stated is left out."""
    return sorted({str(value) for value in found if value is not None})


def _one_line(reason: str) -> str:
    """Write a reason on one line.

    Raises:
        RecordError: If nothing is left of it, or it is no text in UTF-8.
    """
    line = " ".join(reason.split())
    try:
        line.encode("utf-8")
    except UnicodeEncodeError as error:
        raise RecordError(f"--reason is no text in UTF-8: {error}. Write it anew.") from error
    if not line:
        raise RecordError("--reason is empty, expected why the baseline changes. Write it out.")
    return line


def _day(text: str) -> str:
    """Read a day.

    Raises:
        RecordError: If it is none.
    """
    try:
        return date.fromisoformat(text).isoformat()
    except ValueError as error:
        raise RecordError(f"{text!r} is no day, expected one such as 2026-11-22.") from error


def read_history(folder: Path) -> list[Entry]:
    """Read the index of the baseline in `folder`, the oldest entry first; none without one.

    Raises:
        RecordError: If it cannot be read, or a line of it is no entry.
    """
    path = folder / HISTORY
    if not os.path.lexists(path):
        return []
    found = []
    for number, line in enumerate(read_bytes(path).splitlines(), start=1):
        try:
            found.append(_entry(parse_json(line)))
        except ValueError as error:
            raise RecordError(
                f"{path} is no index of a baseline: line {number}: {error}. {RESTORE}: "
                f"git checkout -- {folder}"
            ) from error
    return found


def history_text(entries: Iterable[Entry]) -> bytes:
    """Write an index, an entry a line."""
    return b"".join(f"{json.dumps(_plain(entry), sort_keys=True)}\n".encode() for entry in entries)


def _plain(entry: Entry) -> Any:
    """Write an entry as a JSON value: a case's metrics as mean, deviation and seeds."""
    cases = {
        case: {name: encoded(list(found)) for name, found in metrics.items()}
        for case, metrics in entry.cases.items()
    }
    return {**entry._asdict(), "cases": cases}


def check_fits(entries: Sequence[Entry], records: Iterable[Record], folder: Path) -> None:
    """Refuse an index that is not whole, or does not end with the records beside it.

    Raises:
        RecordError: If there is no entry, one is missing, or the last one tells of other records.
    """
    check_whole(entries, folder)
    found = records_digest(records)
    last = entries[-1] if entries else None
    if last is None or last.digest != found:
        told = f"ends with others ({last.digest[:19]}, {last.date})" if last else "is missing"
        raise RecordError(
            f"{folder} holds the records {found[:19]}, but its index {HISTORY} {told}: one was "
            f"edited, merged or copied by hand, expected both as `rebaseline` wrote them. {RESTORE}"
            f" (git checkout -- {folder}), or, if the records are right, enter them as they are: "
            "nox -s rebaseline -- --release R --tier T --index --reason WHY"
        )


def check_whole(entries: Sequence[Entry], folder: Path) -> None:
    """Refuse an index of which an entry does not follow the one before it.

    Raises:
        RecordError: If one names other records before it than those, or an earlier day.
    """
    for before, after in zip(entries, entries[1:]):
        if after.former != before.digest or after.date < before.date:
            raise RecordError(
                f"{folder / HISTORY}: the entry of {after.date} does not follow that of "
                f"{before.date}: an entry is missing, or a day is wrong. {RESTORE}: "
                f"git checkout -- {folder}"
            )


def _entry(content: Any) -> Entry:
    """Read an entry of parsed JSON.

    Raises:
        ValueError: If it is none.
    """
    if not isinstance(content, dict) or set(content) != {*Entry._fields}:
        kind = sorted(content) if isinstance(content, dict) else type(content).__name__
        _refuse("it", f"have the fields {', '.join(Entry._fields)}", kind)
    for name in ("date", "reason", "how", "former", "digest"):
        _check(isinstance(content[name], str), name, "be text", content[name])
    for name in ("worse", "removed", "measured", "code", "lock", "data"):
        _check(_is_texts(content[name]), name, "be a list of texts", content[name])
    _check(len(content["measured"]) == 2, "measured", "be two days", content["measured"])  # noqa: PLR2004
    _check(content["how"] in HOW, "how", f"be one of {HOW}", content["how"])
    date.fromisoformat(content["date"])
    versions, cases = content["versions"], content["cases"]
    valid = isinstance(versions, dict) and all(map(_is_texts, versions.values()))
    _check(valid, "versions", "be lists of texts by name", versions)
    valid = isinstance(cases, dict) and all(isinstance(own, dict) for own in cases.values())
    _check(valid, "cases", "be metrics by case", cases)
    read = {case: {name: _read(own[name]) for name in own} for case, own in cases.items()}
    return Entry(**{**content, "cases": read})


def _read(found: Any) -> Numbers:
    """Read the numbers of a metric.

    Raises:
        ValueError: If they are not a mean, a deviation and a count.
    """
    rule = "be a mean, a standard deviation and a number of seeds"
    _check(isinstance(found, list) and len(found) == len(Numbers._fields), "a metric", rule, found)
    mean, deviation, seeds = found
    plain = all(type(v) in (int, float) or v in NOT_FINITE for v in (mean, deviation))
    _check(plain and type(seeds) is int and seeds > 0, "a metric", rule, found)
    _check(not float(deviation) < 0, "a standard deviation", "be 0 or more", deviation)
    return Numbers(float(mean), float(deviation), seeds)


def _is_texts(value: Any) -> bool:
    """True for a list of texts."""
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _check(valid: bool, name: str, rule: str, received: object) -> None:
    """Refuse what is not `valid`.

    Raises:
        ValueError: If it is not.
    """
    if not valid:
        _refuse(name, rule, received)


def _refuse(name: str, rule: str, received: object) -> NoReturn:
    """Say what is wrong with an entry.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{name} must {rule}. Received: {received!r:.200}")
