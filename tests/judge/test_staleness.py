"""Tests of suite.judge.staleness: a record is of the present, or it is told in what it is not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite.cases import PLAIN, Case
from suite.files import probing_digest
from suite.judge.staleness import DATA, Present, differences, machine_of, must_share, present
from suite.records import Record, record_key
from suite.store import read_record
from tests.judge.conftest import MakeRecord

ROOT = Path(__file__).parents[2]
CASE = Case("lenet5", loss=PLAIN, size_px=32)
LOCK, CODE = "sha256:10c", "sha256:c0de"
NOW = Present(
    cases={str(CASE): CASE},
    lock=LOCK,
    fault="",
    pins={"numpy": "2.0.0", "keras": "3.15.1", "tensorflow-cpu": "2.21.0"},
    python="3.11",
    code=CODE,
    libraries="sha256:11b",
    unchecked="",
)
Make = Callable[..., Record]


@pytest.fixture
def make(make_record: MakeRecord) -> Make:
    """Return a function that makes a record of the present; keywords change its environment."""

    def made(**environment: Any) -> Record:
        present = {
            "lock_digest": LOCK,
            "code_digest": CODE,
            "data_digest": DATA["gtsrb", "32"],
            "library_digest": "sha256:11b",
            "versions": {"python": "3.11.7", "numpy": "2.0.0", "keras": "3.15.1"},
        }
        around = {**present, "stack": "eager", **environment}
        return make_record(str(CASE), settings=CASE.settings(), environment=around)

    return made


def told(record: Record, now: Present = NOW) -> list[str]:
    return list(map(str, differences(record, now)))


def test_a_record_of_the_present_differs_in_nothing(make: Make) -> None:
    assert told(make()) == []


@pytest.mark.parametrize(
    ("environment", "difference"),
    [
        ({"lock_digest": "sha256:01d"}, "the lock: sha256:01d, expected sha256:10c"),
        ({"code_digest": "sha256:01d"}, "the code that measures: sha256:01d, expected sha256:c0de"),
        ({"library_digest": "sha256:01d"}, "the libraries: sha256:01d, expected sha256:11b"),
        ({"data_digest": "sha256:01d"}, "the data: sha256:01d, expected sha256:87e268464bdf"),
        ({"versions": {"keras": "3.14.0"}}, "the version of keras: 3.14.0, expected 3.15.1"),
        ({"versions": {"tensorflow": "2.2"}}, "the version of tensorflow: 2.2, expected 2.21.0"),
        ({"versions": {"python": "3.1.1"}}, "the version of python: 3.1.1, expected 3.11"),
    ],
)
def test_what_is_no_longer_there_is_told(
    make: Make, environment: dict[str, Any], difference: str
) -> None:
    assert told(make(**environment)) == [difference]


@pytest.mark.parametrize(
    "name", ["instructions", "keras", "library_digest", "python", "threads", "variables"]
)
def test_what_a_record_leaves_out_of_its_making_is_told(make: Make, name: str) -> None:
    record = make()
    around = {key: value for key, value in record.environment.items() if key != name}
    around["versions"] = {"keras": "3.15.1", **({} if name == "python" else {"python": "3.11.7"})}
    bare = replace(record, environment=around, key=record_key(record.settings, around))
    assert f"the environment: without {name}, expected all that a run states" in told(bare)


def test_what_probed_a_trace_is_told_of_traces_alone(make: Make) -> None:
    trained = make(probe_digest="sha256:01d")
    stale, fresh = (replace(each, question="parity") for each in
                    (trained, make(probe_digest=probing_digest())))  # fmt: skip
    [difference] = {*told(stale)} - {*told(fresh)}
    assert difference.startswith("the code that probes: sha256:01d, expected sha256:")
    assert told(trained) == []


@pytest.mark.parametrize(
    "versions",
    [
        {"keras": "2.2.4-tf"},  # TensorFlow's own
        {"pandas": "1.0"},  # which the lock does not hold
        {"python": "3.11.0rc1"},
    ],
)
def test_versions_of_which_the_lock_says_nothing_are_no_difference(
    make: Make, versions: dict[str, str]
) -> None:
    assert told(make(versions=versions)) == []


def test_a_nightly_writes_its_version_in_its_own_way(make: Make) -> None:
    now = NOW._replace(pins={"tf-nightly": "2.22.0.dev20261101"})
    assert told(make(versions={"tensorflow": "2.22.0-dev20261101"}), now) == []


def test_libraries_that_are_not_installed_are_not_held_against_a_record(make: Make) -> None:
    now = NOW._replace(libraries="", unchecked="no environment")
    assert told(make(library_digest="sha256:01d"), now) == []


def test_beside_another_lock_the_versions_that_it_changed_are_told(make: Make) -> None:
    record = make(lock_digest="sha256:01d", versions={"keras": "3.14.0", "numpy": "2.0.0"})
    assert told(record) == [
        "the lock: sha256:01d, expected sha256:10c",
        "the version of keras: 3.14.0, expected 3.15.1",
    ]


def test_the_reason_for_a_missing_lock_is_told(make: Make) -> None:
    now = NOW._replace(lock="", fault="locks/tf-2.21.txt is stale")
    assert told(make(), now) == ["the lock: sha256:10c, expected locks/tf-2.21.txt is stale"]


def test_an_edited_environment_does_not_fit_the_key(make: Make) -> None:
    old = make(lock_digest="sha256:01d")
    edited = replace(old, environment={**old.environment, "lock_digest": LOCK})
    [difference] = told(edited)
    assert difference.endswith("expected that of its settings and environment")


def test_another_case_setting_or_question_is_told(make: Make) -> None:
    record = make()
    now = NOW._replace(cases={})
    assert told(record, now) == ["the case: lenet5-plain, expected one of the small tier"]
    now = NOW._replace(cases={str(CASE): replace(CASE, epochs=2)})
    assert told(record, now) == ["epochs: 10, expected 2"]
    assert told(replace(record, question="attack")) == [
        "the question: 'attack', expected 'training'"
    ]


def test_records_must_share_their_libraries_and_data_that_are_not_known(make: Make) -> None:
    record = make()
    around = {"keras": "{}", "threads": '{"cores": 2}', "variables": "{}"}
    assert must_share(record) == {
        "the libraries": "sha256:11b",
        **{f"the {name} on machine {machine_of(record)}": text for name, text in around.items()},
    }
    machine = {**record.environment["machine"], "fingerprint": "0123456789"}
    alone = {**record.environment, "threads": {"intra_op": 1}, "machine": machine}
    del alone["instructions"]
    shared = must_share(replace(record, environment=alone))
    assert shared["the threads on machine 0123456789"] == '{"intra_op": 1}'
    larger = replace(record, settings={**record.settings, "size_px": 64})
    assert must_share(larger)["the data (gtsrb, 64 pixels)"] == DATA["gtsrb", "32"]


def test_two_processors_of_one_name_are_two_machines(make: Make) -> None:
    record = make()
    made = [
        replace(record, environment={**record.environment, "threads": {}, "instructions": sets})
        for sets in ("avx avx2", "avx avx2 avx512f", "avx avx2")
    ]
    first, second, third = ([*must_share(each)] for each in made)
    assert first == third != second
    assert machine_of(made[0]).startswith(record.environment["machine"]["fingerprint"][:8])


def test_the_known_data_are_those_of_every_stored_record() -> None:
    paths = sorted(ROOT.glob("baselines/*/*/*-seed0.json"))
    digests = {
        record.environment["data_digest"]
        for record in map(read_record, paths)
        if record.settings["size_px"] == 32
    }
    assert digests == {DATA["gtsrb", "32"]}


def test_the_present_is_read_from_the_release_table_and_its_lock(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    now = present("tf-2.21", "small", environments=tmp_path)
    assert (now.fault, now.python) == ("", "3.11")
    assert now.pins["keras"] == "3.15.1"
    assert now.lock.startswith("sha256:")
    assert now.unchecked.startswith(str(tmp_path / "benchmarks-tf-2-21"))
    assert "lenet5-plain" in now.cases
    assert present("tf-2.21", "full", environments=tmp_path).lock != now.lock
    gone = present("tf-9", "small", environments=tmp_path)
    assert (gone.lock, gone.fault) == ("", "tf-9 is no row of the release table")


def test_an_environment_counts_only_where_it_is_what_the_lock_lists(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(ROOT)
    pins = present("tf-2.21", "small", environments=tmp_path).pins
    folder = tmp_path / "benchmarks-tf-2-21" / "lib" / "python3.11" / "site-packages"
    for name, version in pins.items():
        info = folder / f"{name.replace('-', '_')}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "RECORD").write_text(f"{name}.py,sha256=abc,3\n")
    now = present("tf-2.21", "small", environments=tmp_path)
    assert now.unchecked == ""
    assert now.libraries.startswith("sha256:")
    info.rename(folder / "numpy-0.0.dist-info")
    other = present("tf-2.21", "small", environments=tmp_path)
    assert other.libraries == ""
    assert other.unchecked.endswith("is not what the lock lists")
