"""Tests of suite.judge.gate.bisect: the search names what was planted, and nothing else."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import combinations
from typing import AbstractSet

import pytest
from hypothesis import given
from hypothesis import strategies as st

from suite.judge.gate.bisect import (
    VARIABLES,
    Change,
    Kit,
    changes,
    first_bad,
    mixed,
    rows_between,
    smallest,
)
from suite.judge.gate.symptom import BAD, GOOD, UNRESOLVED
from suite.releases import read_releases, read_table

Test = Callable[[AbstractSet[str]], str]


def holds(*needed: str, together: Iterable[AbstractSet[str]] = ()) -> Test:
    """Make a test that is bad with some changes, and unresolved where some are torn apart."""

    def test(names: AbstractSet[str]) -> str:
        torn = any(names & group not in (set(), group) for group in together)
        return UNRESOLVED if torn else BAD if {*needed} <= names else GOOD

    return test


NAMES = [f"package-{number}" for number in range(9)]


@pytest.mark.parametrize("needed", [*combinations(NAMES[:5], 1), *combinations(NAMES, 2)])
def test_the_smallest_set_of_changes_is_found(needed: tuple[str, ...]) -> None:
    assert smallest(NAMES, holds(*needed)) == sorted(needed)


def test_one_change_needs_no_test() -> None:
    assert smallest(["only"], holds("other")) == ["only"]


def test_what_cannot_be_torn_apart_stays_together() -> None:
    pair = {"package-0", "package-8"}
    assert {*smallest(NAMES, holds("package-8", together=[pair]))} == pair


@given(st.sets(st.sampled_from(NAMES), min_size=1), st.sets(st.sampled_from(NAMES)))
def test_nothing_can_be_taken_out_of_the_smallest_set(needed: set[str], glued: set[str]) -> None:
    test = holds(*needed, together=[glued])
    found = smallest(NAMES, test)
    assert test(frozenset(found)) == BAD
    assert all(test(frozenset(found) - {name}) != BAD for name in found)


@pytest.mark.parametrize("first", range(1, 12))
@pytest.mark.parametrize("broken", [(), (5,), (4, 5, 6), tuple(range(1, 11))], ids=str)
def test_the_first_bad_point_is_found_and_what_was_passed_over_told(
    first: int, broken: tuple[int, ...]
) -> None:
    def test(point: int) -> str:
        asked.append(point)
        return UNRESOLVED if point in broken else BAD if point >= first else GOOD

    asked: list[int] = []
    low, high, between = first_bad(range(12), test)
    assert low < first <= high
    assert between == [point for point in broken if low < point < high]
    assert len(between) == high - low - 1
    assert len(asked) == len({*asked})
    assert broken or len(asked) <= 4


def test_neighbours_leave_nothing_to_test() -> None:
    assert first_bad(["a", "b"], lambda _: pytest.fail("asked")) == ("a", "b", [])


TABLE = {entry["name"]: entry for entry in read_table()["releases"]}
ROWS = [row.name for row in read_releases()]


def test_rows_on_the_way_are_of_the_framework_and_the_variables_of_the_ends() -> None:
    found = rows_between(ROWS, TABLE, "tf-2.15", "tf-2.21")
    assert found[:2] == ["tf-2.15", "tf-2.16"]
    assert found[-1] == "tf-2.21"
    assert not {"tf-2.16-legacy", "keras3-jax", "tf-nightly", "tf-2.12"} & {*found}


def test_rows_can_be_walked_downward() -> None:
    assert rows_between(ROWS, TABLE, "tf-2.21", "tf-2.15") == [
        *reversed(rows_between(ROWS, TABLE, "tf-2.15", "tf-2.21"))
    ]


def test_no_row_lies_between_two_frameworks() -> None:
    assert rows_between(ROWS, TABLE, "tf-2.21", "keras3-jax") == ["tf-2.21", "keras3-jax"]


def kit(asked: str, variables: dict[str, str] | None = None, **pins: str) -> Kit:
    """Make a kit on Python 3.11 of which the row asks for some packages."""
    versions = {name.replace("_", "-"): version for name, version in pins.items()}
    return Kit("row", "3.11", versions, frozenset(asked.split()), variables or {})


OLD = kit("tensorflow keras", tensorflow="2.0", keras="2.15", idna="3", wrapt="1", estimator="2")
NEW = kit(
    "tensorflow-cpu keras", tensorflow_cpu="2.16", keras="3.3", idna="3", wrapt="2", namex="0"
)


def test_changes_begin_with_what_rows_pin_and_leave_out_what_others_bring() -> None:
    assert [str(change) for change in changes(OLD, NEW)] == [
        "keras 2.15 -> 3.3",
        "tensorflow (tensorflow 2.0 -> tensorflow-cpu 2.16)",
        "wrapt 1 -> 2",
    ]


def test_variables_are_a_change() -> None:
    legacy = OLD._replace(variables={"TF_USE_LEGACY_KERAS": "1"})
    assert changes(OLD, legacy) == [Change(VARIABLES, {}, {"TF_USE_LEGACY_KERAS": "1"})]
    assert mixed(OLD, legacy, {VARIABLES}, python="3.11").variables == legacy.variables
    assert mixed(OLD, legacy, set(), python="3.11").variables == {}


def test_a_package_that_a_row_adds_is_a_change() -> None:
    more = OLD._replace(pins={**OLD.pins, "h5py": "3"}, asked={*OLD.asked, "h5py"})
    assert changes(OLD, more) == [Change("h5py", {}, {"h5py": "3"})]
    assert mixed(OLD, more, {"h5py"}, python="3.11").pins["h5py"] == "3"
    assert "h5py" not in mixed(OLD, more, set(), python="3.11").pins


def test_a_mixture_has_what_was_taken_and_the_rest_of_the_good_kit() -> None:
    found = mixed(OLD, NEW, {"tensorflow"}, python="3.12")
    assert found.python == "3.12"
    assert found.pins == {"tensorflow-cpu": "2.16", "keras": "2.15", "idna": "3", "wrapt": "1"}
    assert found.followers == {"estimator": "2", "namex": "0"}


def test_mixtures_of_nothing_and_of_all_are_the_two_kits() -> None:
    names = {change.name for change in changes(OLD, NEW)}
    for kit_, taken in ((OLD, set[str]()), (NEW, names)):
        found = mixed(OLD, NEW, taken, python="3.11")
        assert {**found.followers, **found.pins}.items() >= kit_.pins.items()
