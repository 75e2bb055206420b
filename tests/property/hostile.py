"""Input that a stranger could write: valid content, damaged or changed with intent."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hypothesis import strategies as st

from tests.bounds import within

NASTY = (
    b"", b"\x00", b"\xff\xfe", b"\xef\xbb\xbf", b'"', b"'", b"\\", b"\\ud800", b"\n", b"\r",
    b"\x1b[2J", b"[", b"]", b"{", b"}", b",", b":", b";", b"..", b"/", b"-", b"1e999", b"NaN",
    b"-Infinity", b"null", b"9" * 401, b"[" * 2_000, b"\xe2\x80\xae", "\u00b2".encode(),
    b"PK\x01\x02", b"PK\x05\x06", b"\xff\xff\xff\xff",
)  # fmt: skip
"""What has broken a reader somewhere: marks of formats, numbers without end, marks of direction."""

SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(max_size=20),
    st.sampled_from(["nan", "inf", "-inf", "\x00", "a\nb", "\u202e", "x" * 5_000, ""]),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)
    ),
    max_leaves=8,
)
"""Any JSON value, and the numbers that JSON does not have."""


class Answer:
    """Whether a reader refused what it was given."""

    refused = False


@contextmanager
def answered(*ours: type[Exception], about: str = "") -> Iterator[Answer]:
    """Fail if a reader raises what is not `ours`, or takes longer or more memory than is honest.

    Args:
        ours: The exceptions that are an answer.
        about: What their messages name.
    """
    answer = Answer()
    with within(30, megabytes=100):
        try:
            yield answer
        except ours as error:
            answer.refused = True
            _check_message(str(error), about)


def _check_message(message: str, about: str) -> None:
    assert message
    assert about in message


@st.composite
def damaged(draw: st.DrawFn, valid: bytes) -> bytes:
    """Damage valid content in one to four places."""
    content = valid
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.sampled_from([0, 0, 1, 2, 4, 40, len(content)])))
        piece = draw(
            st.one_of(
                st.sampled_from(NASTY), st.binary(max_size=8), st.just(content[start:end] * 2)
            )
        )
        content = content[:start] + piece + content[end:]
    return content


@st.composite
def changed(draw: st.DrawFn, valid: Any) -> Any:
    """Put any value in one to three places of a JSON value, or take something away."""
    value = valid
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(list(_paths(value))))
        value = _replaced(value, path, draw)
    return value


def _paths(value: Any, above: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Name every place in a JSON value; of a long list the first and the last few."""
    yield above
    if isinstance(value, dict):
        for key in value:
            yield from _paths(value[key], (*above, key))
    elif isinstance(value, list):
        for index in sorted(
            {*range(min(len(value), 2)), *range(max(0, len(value) - 2), len(value))}
        ):
            yield from _paths(value[index], (*above, index))


def _replaced(value: Any, path: tuple[Any, ...], draw: st.DrawFn) -> Any:
    """Copy a JSON value with another one at `path`, or without what is there."""
    if not path:
        return draw(VALUES)
    first, rest = path[0], path[1:]
    copy = dict(value) if isinstance(value, dict) else list(value)
    if not rest and draw(st.booleans()) and draw(st.booleans()):
        del copy[first]
    else:
        copy[first] = _replaced(copy[first], rest, draw)
    return copy
