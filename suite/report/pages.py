"""Pages: the generated section of a Markdown page, written between its markers."""

from __future__ import annotations

from pathlib import Path

from suite.errors import ReleaseError
from suite.files import write_atomically

SECTION = "compatibility"  # unless a page has another


def markers(section: str) -> tuple[str, str]:
    """Name the two lines between which a section of a Markdown page is written."""
    return f"<!-- {section}: begin -->", f"<!-- {section}: end -->"


def write_section(page: Path, text: str, *, section: str = SECTION) -> None:
    """Put `text` between the markers of a section of a Markdown page; the rest stays as it is.

    Raises:
        ReleaseError: If the page cannot be read, or lacks the markers.
        RecordError: If the page cannot be written.
    """
    opening, closing = markers(section)
    try:
        before, begin, rest = page.read_text(encoding="utf-8").partition(f"{opening}\n")
        _, end, after = rest.partition(closing)
        if not (begin and end):
            raise ReleaseError(f"{page} lacks the lines {opening} and {closing}. Put them in.")
        write_atomically(page, f"{before}{begin}\n{text}\n\n{end}{after}".encode())
    except OSError as error:
        raise ReleaseError(f"{page} cannot be read: {error.strerror}. Name another.") from error
