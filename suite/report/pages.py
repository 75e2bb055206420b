"""Pages: the generated section of a Markdown page, written between its markers."""

from __future__ import annotations

from pathlib import Path

from suite.errors import ReleaseError
from suite.files import RECORD_BYTES, read_within, write_atomically

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
        former = read_within(page, RECORD_BYTES).decode("utf-8")
    except OSError as error:
        raise ReleaseError(f"{page} cannot be read: {error.strerror}. Name another.") from error
    except UnicodeDecodeError as error:
        raise ReleaseError(f"{page} is no text in UTF-8: {error}. Name another.") from error
    before, begin, rest = former.partition(f"{opening}\n")
    _, end, after = rest.partition(closing)
    if not (begin and end):
        raise ReleaseError(f"{page} lacks the lines {opening} and {closing}. Put them in.")
    write_atomically(page, f"{before}{begin}\n{text}\n\n{end}{after}".encode())
