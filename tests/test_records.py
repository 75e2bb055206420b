"""Tests of suite.records: a record comes back as it was written, or an error says why not."""

from __future__ import annotations

import errno
import json
import math
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite import records
from suite.errors import RecordError
from suite.files import code_digest, file_digest
from suite.records import Record, record_key
from suite.store import (
    find,
    read_record,
    read_records,
    record_path,
    replace_records,
    store,
    stored_cases,
    write_record,
)

MakeRecord = Callable[..., Record]
HOME = Path("tf-2.21") / "small"


@pytest.fixture
def path(tmp_path: Path, make_record: MakeRecord) -> Path:
    """Return the file of a stored record."""
    return store(make_record(), tmp_path)


def _edit(path: Path, change: Callable[[dict[str, Any]], object], *, sign: bool = True) -> None:
    """Change the content of a record's file; with `sign`, give it a matching sha256."""
    content = json.loads(path.read_text())
    change(content)
    if sign:
        content.pop("sha256", None)
        content["sha256"] = records.json_digest(content)
    path.write_text(json.dumps(content))


def test_a_record_comes_back_as_it_was_written(path: Path, make_record: MakeRecord) -> None:
    assert read_record(path) == make_record()


def test_a_written_record_holds_no_shared_mutable_state(make_record: MakeRecord) -> None:
    metrics = {"clean_accuracy": 0.5}
    record = make_record(metrics=metrics)
    metrics["clean_accuracy"] = 0.9
    assert record.metrics == {"clean_accuracy": 0.5}


def test_numbers_that_are_not_finite_come_back_from_strict_json(
    tmp_path: Path, make_record: MakeRecord
) -> None:
    record = make_record(
        metrics={"a": math.nan, "b": math.inf}, curves={"loss": [1.0, -math.inf, math.nan]}
    )
    path = store(record, tmp_path)
    json.loads(path.read_text(), parse_constant=lambda name: pytest.fail(f"{name} in the file"))
    read = read_record(path)
    assert math.isnan(read.metrics["a"])
    assert read.metrics["b"] == math.inf
    assert read.curves["loss"][:2] == [1.0, -math.inf]
    assert math.isnan(read.curves["loss"][2])


def test_every_float_comes_back_to_the_last_bit(tmp_path: Path, make_record: MakeRecord) -> None:
    values = [0.1 + 0.2, 5e-324, 1 / 3, 1.7976931348623157e308]
    path = store(make_record(curves={"loss": values}), tmp_path)
    assert read_record(path).curves["loss"] == values


def test_a_curve_takes_one_line(path: Path) -> None:
    assert '  "loss": [3.4, 2.1, 1.0]\n' in path.read_text()


def test_line_ends_of_another_system_do_no_harm(path: Path, make_record: MakeRecord) -> None:
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    assert read_record(path) == make_record()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"schema": 2}, "schema must be 1"),
        ({"schema": True}, "schema must be 1"),
        ({"tier": "big"}, "tier must be one of"),
        ({"question": "why"}, "question must be one of"),
        ({"case": "../lenet5"}, "case must match"),
        ({"release": ""}, "release must match"),
        ({"seed": -1}, "seed must be"),
        ({"seed": True}, "seed must be"),
        ({"seed": 1.0}, "seed must be"),
        ({"key": "abc"}, "key must be"),
        ({"metrics": {"a": "much"}}, r"metrics\['a'\] must be a number"),
        ({"metrics": {"a": True}}, r"metrics\['a'\] must be a number"),
        ({"metrics": [1.0]}, "metrics must be a mapping"),
        ({"curves": {"loss": 1.0}}, r"curves\['loss'\] must be a list"),
        ({"curves": {"loss": [None]}}, r"curves\['loss'\] must be a list"),
        ({"statistics": [1]}, "statistics must be a list of mappings"),
        ({"timing": {"step_s": {1}}}, r"timing\['step_s'\] must be a JSON value"),
        ({"settings": {"fix": "nan"}}, r"settings\['fix'\] must be a JSON value"),
        ({"settings": {1: "a"}}, "must be a JSON value"),
        ({"started_at": "2024-05-01T12:00:00"}, "started_at must be"),
        ({"started_at": "2024-05-01T12:00:00+02:00"}, "started_at must be"),
        ({"started_at": "today"}, "started_at must be"),
        ({"wall_s": -1.0}, "wall_s must be"),
        ({"wall_s": math.nan}, "wall_s must be"),
        ({"environment": {"data_digest": ""}}, r"environment\['data_digest'\] must be text"),
        ({"environment": {"lock_digest": None}}, r"environment\['lock_digest'\] must be text"),
        ({"environment": {"versions": "2.21"}}, r"environment\['versions'\] must be a mapping"),
        ({"environment": {"fingerprint": ""}}, "fingerprint'.* must be text"),
    ],
)
def test_a_field_out_of_range_is_refused(
    make_record: MakeRecord, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=f"{message}.*Received"):
        make_record(**changes)


def test_the_key_follows_all_that_decides_the_result(make_record: MakeRecord) -> None:
    record = make_record()
    settings, environment = record.settings, record.environment
    key = record_key(settings, environment)
    assert key == record_key(dict(reversed(list(settings.items()))), environment)
    assert key != record_key({**settings, "steps": 4}, environment)
    for name in ("data_digest", "lock_digest", "code_digest", "versions"):
        assert key != record_key(settings, {**environment, name: "other"})


def test_of_the_machine_only_the_fingerprint_decides_the_key(make_record: MakeRecord) -> None:
    record = make_record()
    machine = record.environment["machine"]
    other = {**record.environment, "machine": {**machine, "memory_gb": 64}}
    assert record_key(record.settings, other) == record.key
    other = {**record.environment, "machine": {**machine, "fingerprint": "machine-b"}}
    assert record_key(record.settings, other) != record.key


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _rename(path: Path) -> None:
    path.replace(path.with_name("net-plain-seed1.json"))


def _turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGE: list[tuple[Callable[[Path], object], str]] = [
    (_truncate, "is not JSON"),
    (lambda path: path.write_bytes(b""), "is not JSON"),
    (lambda path: path.write_bytes(b"\xff\xfe\x00"), "is not JSON"),
    (lambda path: path.write_text("[]"), "expected an object"),
    (lambda path: path.write_text(path.read_text().replace("2.1", "NaN")), "NaN is not a JSON"),
    (lambda path: path.write_text(path.read_text().replace("2.1", "2.2")), "edited or damaged"),
    (lambda path: path.write_text(path.read_text().replace("2.1", "1e999")), "edited or damaged"),
    (
        lambda path: path.write_text(path.read_text().replace("{", '{"tier": "small",', 1)),
        "duplicate keys: tier",
    ),
    (lambda path: _edit(path, lambda c: c.update(schema=2)), "version is 2, this suite reads 1"),
    (lambda path: _edit(path, lambda c: c.update(schema=0)), "version is 0, this suite reads 1"),
    (lambda path: _edit(path, lambda c: c.pop("schema")), "version is None"),
    (lambda path: _edit(path, lambda c: c.pop("metrics")), "fields are missing: metrics"),
    (lambda path: _edit(path, lambda c: c.pop("sha256"), sign=False), "missing: sha256"),
    (lambda path: _edit(path, lambda c: c.update(mood=1)), "fields are unknown: mood"),
    (lambda path: _edit(path, lambda c: c.update(seed="0")), "seed must be an integer"),
    (lambda path: _edit(path, lambda c: c.update(environment=None)), "environment must be"),
    (lambda path: _edit(path, lambda c: c.update(seed=7)), "holds the record net-plain-seed7"),
    (_rename, "expected net-plain-seed1"),
    (lambda path: _edit(path, lambda c: c.update(tier="full")), "belongs to tf-2.21/full"),
    (_turn_into_folder, "cannot be read"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message for _, message in DAMAGE])
def test_damage_is_an_error_that_names_the_file_and_what_to_do(
    path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(path)
    with pytest.raises(RecordError, match=message) as caught:
        read_records(path.parent)
    assert str(path.parent) in str(caught.value)
    assert "Restore it from version control, or move it away and run" in str(caught.value)


def test_a_damaged_record_is_neither_skipped_nor_overwritten(
    path: Path, make_record: MakeRecord
) -> None:
    _truncate(path)
    damaged, root = path.read_bytes(), path.parents[2]
    with pytest.raises(RecordError, match="is not JSON"):
        _find(root, make_record())
    with pytest.raises(RecordError, match="is not JSON"):
        store(make_record(), root)
    assert path.read_bytes() == damaged


def _find(root: Path, record: Record) -> Record | None:
    return find(root, release="tf-2.21", tier="small", case=record.case, seed=0, key=record.key)


def test_a_record_is_found_by_its_key(path: Path, make_record: MakeRecord) -> None:
    root = path.parents[2]
    assert _find(root, make_record()) == make_record()
    assert _find(root, make_record(settings={"steps": 4})) is None
    assert _find(root, make_record(case="vgg19")) is None


def test_a_record_with_another_key_is_kept(path: Path, make_record: MakeRecord) -> None:
    old, new = make_record(), make_record(settings={"steps": 4})
    assert store(new, path.parents[2]) == path
    assert read_record(path) == new
    [kept] = (path.parent / "superseded").iterdir()
    assert kept.name == f"{old.name}-{old.key[:8]}.json"
    assert json.loads(kept.read_text())["key"] == old.key
    assert read_records(path.parent) == [new]


def test_a_record_with_the_same_key_is_replaced(path: Path, make_record: MakeRecord) -> None:
    store(make_record(wall_s=9.0), path.parents[2])
    assert read_record(path).wall_s == 9.0
    assert not (path.parent / "superseded").exists()


def test_records_lie_by_release_tier_case_and_seed(path: Path, tmp_path: Path) -> None:
    assert path == tmp_path / HOME / "net-plain-seed0.json"
    assert path == record_path(tmp_path, release="tf-2.21", tier="small", case="net-plain", seed=0)


def test_an_absent_folder_holds_no_records(tmp_path: Path) -> None:
    assert read_records(tmp_path / HOME) == []


def test_temporary_files_of_a_killed_run_are_ignored(path: Path, make_record: MakeRecord) -> None:
    path.with_name(f".{path.name}.0123.tmp").write_text("{")
    assert read_records(path.parent) == [make_record()]


def _full(*_: object, **__: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_full_disk_leaves_the_old_record_and_says_so(
    path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    monkeypatch.setattr(os, call, _full)
    with pytest.raises(RecordError, match=r"No space left on device.*Free some space") as caught:
        write_record(replace(make_record(), wall_s=9.0), path)
    monkeypatch.undo()
    assert str(path) in str(caught.value)
    assert list(path.parent.iterdir()) == [path]
    assert read_record(path) == make_record()


def test_a_write_that_stops_half_way_leaves_the_old_record(
    path: Path, make_record: MakeRecord
) -> None:
    long = make_record(curves={"loss": [1 / 3] * 10_000})
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        with pytest.raises(RecordError, match="File too large"):
            write_record(long, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(path.parent.iterdir()) == [path]
    assert read_record(path) == make_record()


WRITER = """
import sys
from dataclasses import replace
from pathlib import Path
from suite.records import read_record, write_record

path = Path(sys.argv[1])
record = replace(read_record(path), curves={"loss": [1 / 3] * 20_000})
print("ready", flush=True)
while True:
    write_record(record, path)
"""


@pytest.mark.parametrize("delay_s", [0.0, 0.01, 0.03, 0.05, 0.08])
def test_a_killed_writer_leaves_a_whole_record(path: Path, delay_s: float) -> None:
    command = [sys.executable, "-c", WRITER, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as writer:  # noqa: S603 - our own code
        assert writer.stdout is not None
        assert writer.stdout.readline() == b"ready\n"
        time.sleep(delay_s)
        writer.send_signal(signal.SIGKILL)
    assert [record.name for record in read_records(path.parent)] == ["net-plain-seed0"]


def test_replaced_records_are_exactly_the_new_ones(path: Path, make_record: MakeRecord) -> None:
    new = make_record(case="vgg19")
    replace_records([new], path.parent)
    assert read_records(path.parent) == [new]
    assert list(path.parents[1].iterdir()) == [path.parent]


def test_a_replacement_that_fails_changes_nothing(
    path: Path, make_record: MakeRecord, monkeypatch: pytest.MonkeyPatch
) -> None:
    renamed = os.replace

    def fail_on_second_folder(source: Path, target: Path) -> None:
        if source.name == ".small.fresh":
            _full()
        renamed(source, target)

    monkeypatch.setattr(os, "replace", fail_on_second_folder)
    with pytest.raises(RecordError, match="No space left"):
        replace_records([make_record(case="vgg19")], path.parent)
    assert read_records(path.parent) == [make_record()]
    assert list(path.parents[1].iterdir()) == [path.parent]


def test_a_replacement_killed_between_its_renames_is_an_error_that_names_the_remedy(
    path: Path,
) -> None:
    folder = path.parent
    folder.replace(folder.with_name(".small.retired"))
    for read in (read_records, stored_cases):
        with pytest.raises(RecordError, match=r"Move it back: mv .*\.small\.retired .*small"):
            read(folder)


def test_stored_cases_are_read_from_the_names_alone(path: Path, make_record: MakeRecord) -> None:
    store(make_record(case="vgg19-seedless", seed=12), path.parents[2])
    _truncate(path)
    assert stored_cases(path.parent) == {"net-plain", "vgg19-seedless"}


def test_the_digest_of_the_code_follows_what_measures_and_no_other_file(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    (tmp_path / "training.py").write_text("a = 1")
    digest = code_digest(tmp_path)
    for name in ("report/table.py", "verdicts.py", "notes.txt"):
        (tmp_path / name).write_text("b = 2")
    assert code_digest(tmp_path) == digest
    (tmp_path / "training.py").write_text("a = 2")
    assert code_digest(tmp_path) != digest
    (tmp_path / "training.py").replace(tmp_path / "diagnosis.py")
    (tmp_path / "diagnosis.py").write_text("a = 1")
    assert code_digest(tmp_path) != digest


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "lock").write_bytes(b"abc")
    expected = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert file_digest(tmp_path / "lock") == expected
    with pytest.raises(RecordError, match="cannot be read"):
        file_digest(tmp_path / "absent")
