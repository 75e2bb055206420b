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
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite import machine, records
from suite.errors import RecordError
from suite.records import Record
from suite.store import (
    files_by_case,
    find,
    places,
    read_record,
    read_records,
    read_resident,
    record_path,
    replace_records,
    store,
    stored_cases,
    write_record,
)
from tests.bounds import within

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


def _truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-40])


def _rename(path: Path) -> None:
    path.replace(path.with_name("net-plain-seed1.json"))


def _turn_into_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _replace_by(path: Path, make: Callable[[Path], object]) -> None:
    path.unlink()
    make(path)


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
    (_turn_into_folder, "cannot be read: it is a folder"),
    (lambda path: _replace_by(path, os.mkfifo), "cannot be read: it is a named pipe"),
    (lambda path: _replace_by(path, lambda p: p.symlink_to("/dev/zero")), "it is a device"),
    (lambda path: _replace_by(path, lambda p: p.symlink_to(p)), "cannot be read: Too many levels"),
    (lambda path: _replace_by(path, lambda p: p.symlink_to("gone")), "cannot be read: No such"),
    (lambda path: os.truncate(path, 1 << 40), "holds more than 16,000,000 bytes"),
    (lambda path: path.write_text('{"a":' * 99 + "1" + "}" * 99), "nests deeper than 32"),
    (lambda path: path.write_text("[" * 1_000_000), "nests deeper than 32"),
    (lambda path: path.write_bytes(b"\xef\xbb\xbf" + path.read_bytes()), "BOM"),
    (lambda path: _edit(path, lambda c: c.update(timing={"n": 10**401})), "more than 64 bits"),
    (lambda path: _edit(path, lambda c: c.update(timing={"n": "\ud800"})), "surrogates"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message for _, message in DAMAGE])
def test_damage_is_an_error_that_names_the_file_and_what_to_do(
    path: Path, damage: Callable[[Path], object], message: str
) -> None:
    damage(path)
    with within(30), pytest.raises(RecordError, match=message) as caught:
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


@pytest.mark.parametrize("target", ["small", "nothing"])
def test_a_folder_of_records_that_cannot_be_listed_is_an_error(tmp_path: Path, target: str) -> None:
    (tmp_path / "small").symlink_to(tmp_path / target)
    for read in (read_records, stored_cases):
        with pytest.raises(RecordError, match=r"small cannot be read: .*Make it readable"):
            read(tmp_path / "small")


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
from suite.store import read_record, write_record

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


def test_files_are_sorted_by_case_and_seed_as_their_names_tell(
    path: Path, make_record: MakeRecord
) -> None:
    for seed in (10, 2):
        store(make_record(seed=seed), path.parents[2])
    store(make_record(case="vgg19-seedless", seed=1), path.parents[2])
    path.write_text("{")
    assert {
        case: [file.name for file in files] for case, files in files_by_case(path.parent).items()
    } == {
        "net-plain": [f"net-plain-seed{seed}.json" for seed in (0, 2, 10)],
        "vgg19-seedless": ["vgg19-seedless-seed1.json"],
    }


@pytest.mark.parametrize("name", ["net-plain.json", "net-plain-seed.json", "net-seed-1.json"])
def test_a_file_that_is_not_named_after_a_record_is_an_error(path: Path, name: str) -> None:
    path.with_name(name).write_text("{}")
    with pytest.raises(RecordError, match=f"{name} is .*expected CASE-seedNUMBER.json"):
        files_by_case(path.parent)


def test_a_bare_record_has_no_curves_and_is_checked_as_a_whole(
    path: Path, make_record: MakeRecord
) -> None:
    whole = make_record()
    bare = replace(whole, curves={}, statistics=[], timing={})
    assert read_record(path, bare=True) == read_resident(path, bare=True) == bare
    path.write_text(path.read_text().replace("2.1", "2.2"))
    with pytest.raises(RecordError, match="edited or damaged"):
        read_record(path, bare=True)


@pytest.mark.parametrize("numbers", [3, 3000])
def test_a_record_in_another_layout_is_as_good_and_no_edit_goes_unnoticed(
    path: Path, make_record: MakeRecord, numbers: int
) -> None:
    curve = [seed / 7 for seed in range(numbers)]
    name = 'a, "b": c\\ d'
    record = make_record(curves={name: curve}, statistics=[{"layer": name}])
    store(record, path.parents[2])
    text = path.read_text()
    assert read_record(path) == record
    for indent in (None, 4, "\t"):
        path.write_text(json.dumps(json.loads(text), indent=indent))
        assert read_record(path) == record
    for old, new in (("a, ", "a,"), ("0.5", "0.6"), ("0.14285714285714285", "0.14285714285714288")):
        if old in text:
            path.write_text(text.replace(old, new))
            with pytest.raises(RecordError, match="edited or damaged"):
                read_record(path)


@pytest.mark.parametrize("text", ["a" * 15_000_000, "\n" * 7_500_000, 'a"' * 5_000_000])
def test_a_record_of_long_text_takes_little_memory(
    text: str, tmp_path: Path, make_record: MakeRecord
) -> None:
    record = make_record()
    record = replace(record, environment={**record.environment, "cpu": text})
    path = store(record, tmp_path)
    if not machine.reset_peak_memory():
        pytest.skip("this system does not measure the peak of a process's memory anew")
    before = machine.peak_memory_bytes()
    read_record(path)
    assert machine.peak_memory_bytes() - before < 300_000_000


def test_places_are_the_folders_with_records_and_what_is_wrong_with_others(
    path: Path, make_record: MakeRecord
) -> None:
    root = path.parents[2]
    store(make_record(release="tf-2.15", tier="full"), root)
    (root / "tf-2.15" / "matrix.json").write_text("{}")
    (root / "notes").write_text("")
    (root / ".hidden").write_text("")
    (root / "tf-2.0").write_text("")
    (root / "tf-2.3" / "small").mkdir(parents=True)
    (root / "tf-2.6").mkdir()
    (root / "tf-2.6" / "small").symlink_to("nowhere")
    (root / "tf-2.8" / "tiny").mkdir(parents=True)
    (root / "tf-2.10").symlink_to("tf-2.10")
    known = {"releases": ["tf-2.0", "tf-2.10", "tf-2.21"], "tiers": ["small", "full"]}
    assert {(p.release, p.tier): p.fault for p in places(root, **known)} == {
        ("tf-2.21", "small"): "",
        ("tf-2.15", "full"): "",
        ("tf-2.0", ""): "it is no folder, expected one of records",
        ("tf-2.10", ""): "it is no folder, expected one of records",
        ("tf-2.3", "small"): "it holds no record",
        ("tf-2.6", "small"): "it is no folder, expected one of records",
        ("tf-2.8", "tiny"): "no tier is called so, expected one of small, full. Move it away.",
    }


def test_a_root_that_cannot_be_read_is_a_place_with_a_fault(tmp_path: Path) -> None:
    known = {"releases": [], "tiers": []}
    assert places(tmp_path / "absent", **known) == []
    (tmp_path / "file").write_text("")
    [place] = places(tmp_path / "file", **known)
    assert (place.release, place.tier) == ("", "")
    assert place.fault == "it cannot be read: Not a directory. Make it readable."


def test_a_folder_that_may_not_be_read_is_a_place_with_a_fault(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = Path.iterdir

    def forbidden(folder: Path) -> Iterator[Path]:
        if folder.name == "tf-2.21":
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        return real(folder)

    monkeypatch.setattr(Path, "iterdir", forbidden)
    [place] = places(path.parents[2], releases=[], tiers=["small"])
    assert place.fault == "it cannot be read: Permission denied. Make it readable."


def test_stored_cases_are_read_from_the_names_alone(path: Path, make_record: MakeRecord) -> None:
    store(make_record(case="vgg19-seedless", seed=12), path.parents[2])
    _truncate(path)
    assert stored_cases(path.parent) == {"net-plain", "vgg19-seedless"}
