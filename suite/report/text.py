"""Text of strangers, such as a name in a record or a network, made safe to show on one line.

Everything that the suite did not word itself goes through here before it is printed, written as
Markdown or drawn. It imports the standard library alone: `suite.__main__` prints errors with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable

LIMIT = 4_000  # characters: more is no name, and would push what else is said off the screen
MARKS = 2  # accents on one letter; a pile of them covers the lines above and below
LITERAL = {"text.usetex": False, "text.parse_math": False}
"""Settings of matplotlib under which a text is drawn as it stands: no formulas, no LaTeX."""

_BLANKS = re.compile(  # drawn as nothing or as a space, though Unicode counts them as visible
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
_MARKUP = re.compile(
    r"[&<|`*\[\]\\$~]|(?<![^\W_])_|_(?![^\W_])"  # an underscore within a word is no markup
    r"|:(?=//)|(?<=\bwww)\.|[@#](?=\w)",  # what GitHub makes a link, a mention or a reference of
    re.IGNORECASE,
)


def printable(text: str, *, limit: int = LIMIT) -> str:
    r"""Write `text` on one line, in characters that can be seen and do nothing.

    What controls a terminal, ends a line, turns the direction of writing or cannot be seen is
    written as in Python's source, such as ``\n`` and ``\x1b``.

    Args:
        text: Anybody's.
        limit: How many of its characters are kept; longer text is cut in its middle, with a mark.
    """
    if len(text) > limit:
        cut = f"[... {len(text) - limit} characters ...]"
        text = f"{text[: limit - limit // 2]}{cut}{text[len(text) - limit // 2 :]}"
    return text if text.isascii() and text.isprintable() else _escaped(text)


def markdown(text: str, *, limit: int = LIMIT) -> str:
    """Write `text` in Markdown so that it reads as it stands: no markup, link, mention or HTML."""
    return _MARKUP.sub(_literal, printable(text, limit=limit))


def _literal(found: re.Match[str]) -> str:
    """Write a character of Markdown so that it is shown and does nothing."""
    sign = found[0]
    return f"{sign}<!-- -->" if sign in "@#" else f"&#{ord(sign)};"


def _escaped(text: str) -> str:
    """Write every character that is no visible one as its escape in Python's source."""
    parts, marks = [], MARKS  # text that begins with an accent would put it on what stands before
    for character in text:
        marks = marks + 1 if unicodedata.category(character).startswith("M") else 0
        plain = character.isprintable() and marks <= MARKS and not _BLANKS.match(character)
        parts.append(character if plain else character.encode("unicode_escape").decode("ascii"))
    return "".join(parts)


def ranges(numbers: Iterable[int]) -> str:
    """List whole numbers, each once, three or more that follow each other as a range: 0 to 4, 7."""
    runs: list[list[int]] = []
    for number in sorted(set(numbers)):
        if runs and number == runs[-1][-1] + 1:
            runs[-1].append(number)
        else:
            runs.append([number])
    return ", ".join(
        f"{run[0]} to {run[-1]}" if run[2:] else ", ".join(map(str, run)) for run in runs
    )


def counted(count: int, one: str, many: str = "") -> str:
    """Write a number with its noun, whose plural ends in s unless it is given."""
    return f"{count:,} {one if count == 1 else many or f'{one}s'}"
