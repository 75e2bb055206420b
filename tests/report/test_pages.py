"""Tests of suite.report.pages: a section is written between its markers, and nothing else."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from suite.errors import ReleaseError
from suite.report.pages import SECTION, markers, write_section

BEGIN, END = markers(SECTION)


def test_a_section_is_replaced_and_the_rest_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(f"# Title\n\n{BEGIN}\nold\n{END}\n\nLast line\n", encoding="utf-8")
    for _ in range(2):
        write_section(page, "new\n\ntext")
        assert page.read_text(encoding="utf-8") == (
            f"# Title\n\n{BEGIN}\n\nnew\n\ntext\n\n{END}\n\nLast line\n"
        )


def test_another_section_of_the_page_stays(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    other = f"{BEGIN}\nold\n{END}\n"
    opening, closing = markers("fixes")
    page.write_text(f"{other}{opening}\n{closing}\n", encoding="utf-8")
    write_section(page, "new", section="fixes")
    assert page.read_text(encoding="utf-8") == f"{other}{opening}\n\nnew\n\n{closing}\n"


@pytest.mark.parametrize("text", ["", f"{BEGIN}\n", f"{END}\n{BEGIN}\n"])
def test_a_page_without_its_markers_is_an_error_and_stays(tmp_path: Path, text: str) -> None:
    page = tmp_path / "page.md"
    page.write_text(text, encoding="utf-8")
    with pytest.raises(ReleaseError, match=r"page\.md lacks the lines <!-- compatibility: begin"):
        write_section(page, "new")
    assert page.read_text(encoding="utf-8") == text


def test_a_page_that_is_not_there_is_an_error_that_names_it(tmp_path: Path) -> None:
    with pytest.raises(ReleaseError, match=r"absent\.md cannot be read: No such file"):
        write_section(tmp_path / "absent.md", "new")


def test_what_is_no_page_is_an_error_that_names_it(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.md")
    with pytest.raises(ReleaseError, match=r"pipe\.md cannot be read: it is a named pipe"):
        write_section(tmp_path / "pipe.md", "new")
    (tmp_path / "bytes.md").write_bytes(b"\xff\xfe")
    with pytest.raises(ReleaseError, match=r"bytes\.md is no text in UTF-8"):
        write_section(tmp_path / "bytes.md", "new")
