"""Whatever lies in a record's file, it is a record or an error of ours."""

from __future__ import annotations

import json
import math
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from suite.commands.matrix import read_outcome
from suite.errors import RecordError
from suite.files import parse_json
from suite.records import Record, encoded, json_digest
from suite.releases import Release
from suite.store import read_record, read_records, stored_cases, write_record
from tests.property.hostile import SCALARS, VALUES, answered, changed, damaged

STORED = sorted(Path("baselines").glob("*/*/*-seed0.json"), key=lambda path: path.stat().st_size)
SMALL = STORED[0]
CONTENT = json.loads(SMALL.read_text())
OUTCOME = {
    "passed": True, "installs": True, "imports": None, "seconds": 1.5, "reason": "",
    "lock_digest": "sha256:1", "date": "2026-01-01", "schema": 1,
}  # fmt: skip


def _signed(content: Any) -> bytes:
    """Write a record's content with the digest that belongs to it, as anybody can."""
    content = encoded(content)
    if isinstance(content, dict):
        content = {name: value for name, value in content.items() if name != "sha256"}
        content["sha256"] = json_digest(content)
    return json.dumps(content).encode()


def _read(content: bytes) -> Record | None:
    """Read the content as a record's file and as a folder's only one; None where it is refused."""
    with TemporaryDirectory() as place:
        path = Path(place, CONTENT["release"], CONTENT["tier"], SMALL.name)
        path.parent.mkdir(parents=True)
        path.write_bytes(content)
        with answered(RecordError, about=str(path)):
            record = read_record(path)
            _check_stays_the_same(record, Path(place))
            return record
        with pytest.raises(RecordError):
            read_records(path.parent)
        return None


def _check_stays_the_same(record: Record, place: Path) -> None:
    """Write a record and read it again: what is kept must be what was read."""
    path = place / f"{record.name}.json"
    write_record(record, path)
    assert encoded(vars(read_record(path))) == encoded(vars(record))


def test_a_whole_record_is_read() -> None:
    assert _read(SMALL.read_bytes()) is not None
    assert _read(_signed(CONTENT)) is not None


@given(damaged(SMALL.read_bytes()))
def test_a_damaged_record_is_refused_or_harmless(content: bytes) -> None:
    _read(content)


@given(changed(CONTENT))
@example({**CONTENT, "metrics": {"a": math.inf, "b": -math.inf, "c": math.nan}})
@example({**CONTENT, "started_at": "0001-01-01T00:00:00+23:59"})
@example({**CONTENT, "environment": {**CONTENT["environment"], "versions": {"a\n": "\x1b"}}})
def test_a_record_that_was_changed_and_signed_anew_is_whole_or_refused(content: Any) -> None:
    _read(_signed(content))


@given(st.binary(max_size=300) | VALUES.map(lambda value: json.dumps(value).encode()))
def test_json_is_parsed_strictly_or_refused(content: bytes) -> None:
    with answered(ValueError):
        found = parse_json(content)
        assert json.loads(content) == found
        json.dumps(found, ensure_ascii=False).encode()


@given(st.lists(st.text(st.characters(exclude_characters="/\0"), min_size=1, max_size=40)))
def test_a_folder_of_files_of_any_name_is_listed_or_refused(names: list[str]) -> None:
    with TemporaryDirectory() as place:
        folder = Path(place, "tf-2.21", "small")
        folder.mkdir(parents=True)
        for name in names:
            (folder / f"{name}.json").touch()
        for read in (read_records, stored_cases):
            with answered(RecordError, about=str(folder)):
                read(folder)


@given(st.one_of(changed(OUTCOME), st.fixed_dictionaries(dict.fromkeys(OUTCOME, SCALARS))))
def test_what_became_of_a_row_is_whole_or_refused(content: Any) -> None:
    row = Release("tf-2.21", "3.11", ("keras==3.15.1",), "the newest")
    with TemporaryDirectory() as place:
        path = Path(place, row.name, "matrix.json")
        path.parent.mkdir()
        path.write_text(json.dumps(content))
        with answered(RecordError, about=str(path)):
            outcome = read_outcome(row, Path(place))
            assert outcome is not None
            assert type(outcome.passed) is bool
            assert isinstance(outcome.seconds * 1.0, float)
