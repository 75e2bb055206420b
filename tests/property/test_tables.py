"""Whatever a table, a lock or an option holds, it is what it should be or is refused."""

from __future__ import annotations

import argparse
import math
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import conftest
from suite import locks
from suite.cases import read_seeds
from suite.commands import options
from suite.errors import SuiteError
from suite.judge import bands, traps
from suite.locks import Lock, pins_of, staleness
from suite.releases import chosen, read_releases
from tests.property.hostile import answered, damaged

BANDS, TRAPS = bands.TABLE.read_bytes(), traps.TABLE.read_bytes()
LOCK = Path("locks/tf-1.14.txt").read_bytes()
WORDS = st.one_of(
    st.text(max_size=30),
    st.from_regex(r"[0-9,\-]{0,12}", fullmatch=True),
    st.sampled_from(
        ["9" * 5_000, "\u0663", "\u00b2", "0x1", "1_0", "1e3", " 1", "-0", "", ",", "0,,1"]
    ),
)
NUMBER = re.compile(r"\d+")


@pytest.fixture(scope="module")
def path() -> Path:
    with TemporaryDirectory() as place:
        yield Path(place, "table")


@given(content=damaged(BANDS) | st.binary(max_size=200))
def test_a_table_of_bands_is_one_of_bands_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    bands.rows.cache_clear()
    with answered(ValueError, about=str(path)):
        for row in bands.rows(path):
            assert row.band.low <= row.band.high


@given(content=damaged(TRAPS) | st.binary(max_size=200))
def test_a_table_of_traps_is_one_of_traps_or_refused(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with answered(ValueError, about=str(path)):
        for trap in traps.read_traps(path):
            assert traps.expected(trap, "999999.0") == trap.expected[-1][1]


@given(content=damaged(LOCK) | st.binary(max_size=200))
@example(content=b"\xff")
def test_a_lock_is_fresh_or_it_is_said_why_not(path: Path, content: bytes) -> None:
    folder = path.parent / "locks"
    folder.mkdir(exist_ok=True)
    lock = Lock(path.name, "3.7")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locks, "LOCKS", folder)
        lock.path.write_bytes(content)
        with answered(SuiteError):
            assert staleness(lock)  # the row is another one than this
            assert all(map(str.isprintable, pins_of(lock.path)))


@given(WORDS)
@example("999999999999")
def test_seeds_are_numbers_or_refused(text: str) -> None:
    with answered(ValueError, argparse.ArgumentTypeError):
        found = read_seeds(text)
        assert found == [int(number) for number in NUMBER.findall(text)]
        assert all(0 <= seed < 2**32 for seed in found)


@given(WORDS | st.sampled_from(["vgg19=" + "x" * 5_000, "vgg19=\0", "vgg19=/dev/zero", "=", "a=b"]))
@example("vgg19=/etc/hostname")
@example("vgg19=" + "x" * 5_000)
def test_a_file_of_weights_is_one_that_is_there_or_refused(text: str) -> None:
    with answered(ValueError, argparse.ArgumentTypeError):
        architecture, file = conftest.weights_file(text)
        assert Path(file).is_file()
        assert f"{architecture}={file}" == text


@given(WORDS)
def test_numbers_of_a_command_are_whole_and_bounded_or_refused(text: str) -> None:
    for read, least in ((options.positive, 1), (options.several, 2), (options.seed, 0)):
        with answered(argparse.ArgumentTypeError):
            assert least <= read(text) < math.inf


@given(st.one_of(WORDS, st.just("tf-2.21,tf-1.14"), st.just("tf-2.21,tf-2.21")))
def test_rows_of_a_command_are_rows_or_refused(text: str) -> None:
    table = read_releases()
    with answered(ValueError, SuiteError):
        found = chosen(table, text)
        assert found
        assert set(found) <= set(table)
