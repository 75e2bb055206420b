"""Whatever lies in the index of a baseline, it is an index, a page of it or an error of ours."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import example, given

from suite.errors import RecordError
from suite.judge.history import HISTORY, Entry, history_text, read_history
from suite.report.trend import Row, oldest_first, trends_figure, trends_markdown
from tests.property.hostile import answered, changed, damaged

LINES = Path("baselines/tf-2.21/small", HISTORY).read_bytes().splitlines(keepends=True)
WHOLE = json.loads(LINES[0])
CASE = "vgg19-w0.25-intended-none"
FEW = {**WHOLE, "cases": {CASE: WHOLE["cases"][CASE]}}
SMALL = f"{json.dumps(FEW)}\n".encode()


def _read(content: bytes) -> list[Entry] | None:
    """Read an index and write it again; None where it is refused."""
    with TemporaryDirectory() as place:
        path = Path(place, HISTORY)
        path.write_bytes(content)
        with answered(RecordError, about=str(path)):
            found = read_history(path.parent)
            path.write_bytes(history_text(found))
            assert repr(read_history(path.parent)) == repr(found)
            return found
        return None


def test_a_whole_index_is_read() -> None:
    assert len(_read(b"".join(LINES)) or []) == len(LINES)
    assert _read(SMALL)


@given(damaged(SMALL))
def test_a_damaged_index_is_refused_or_harmless(content: bytes) -> None:
    _read(content)


@given(changed(FEW))
@example({**FEW, "date": "2026-W48-4"})
@example({**FEW, "cases": {"a\n| b": {"clean_accuracy": ["nan", "-inf", 1]}}})
@example({**FEW, "versions": {"tensorflow": []}})
def test_an_index_that_was_changed_gives_a_page_or_is_refused(content: Any) -> None:
    found = _read(f"{json.dumps(content)}\n".encode())
    if found:
        rows = [Row("tf-2.21", "small", found), Row("tf-2.15", "small", found)]
        page = trends_markdown(oldest_first(rows), ["tf-2.21"])
        assert not [line for line in page.split("\n") if not line.isprintable()]


@pytest.mark.parametrize("numbers", [["nan", "inf", 5], [1e308, 1e308, 5], [1e300, 0, 5]])
def test_numbers_without_a_place_in_a_figure_are_left_out(tmp_path: Path, numbers: Any) -> None:
    cases = {CASE: {"clean_accuracy": numbers}}
    found = _read(f"{json.dumps({**FEW, 'cases': cases})}\n".encode())
    assert found
    trends_figure([Row(name, "small", found) for name in ("a", "b")], tmp_path / "a.svg")
    assert (tmp_path / "a.svg").read_bytes().endswith(b"</svg>\n")
