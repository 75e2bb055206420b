"""Tests of suite.commands.gpu_collect: what a bundle left is filed, and nothing that is wrong."""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.commands import gpu_collect
from suite.commands.gpu_collect import main
from suite.errors import RecordError
from suite.files import measuring_digest, probing_digest
from suite.store import read_records, write_record
from suite.tables import asked
from tests.commands.conftest import MakeRecord, Output

LOCK = b"numpy==2.0.0\ntorch==2.1.0\n"
JOBS = [["lenet5-plain", 0], ["lenet5-plain", 1], ["resnet50-literal-none", 0]]
CODE = measuring_digest()
Leave = Callable[..., list[str]]


@pytest.fixture
def leave(tmp_path: Path, make_record: MakeRecord) -> Leave:
    """Give a function that leaves two of three records as a bundle does; gives the arguments."""

    def left(tier: str = "sample", **changes: Any) -> list[str]:
        content = {
            "release": "row", "tier": tier, "jobs": JOBS, "code_digest": CODE,
            "probe_digest": probing_digest(), "data_digests": ["sha256:7"],
            **changes.pop("content", {}),
        }  # fmt: skip
        environment = {
            "lock_digest": f"sha256:{hashlib.sha256(LOCK).hexdigest()}", "code_digest": CODE,
            "data_digest": "sha256:7", "versions": {"python": "3.12.3", "torch": "2.1.0"},
            "machine": {"fingerprint": "f", "gpus": ["A"]}, **changes.pop("environment", {}),
        }  # fmt: skip
        out = tmp_path / "out"
        out.mkdir()
        for number, (case, seed) in enumerate(JOBS[1:], start=1):
            own = asked(tier)[case]
            given = {"settings": own.settings(), "question": own.question, **changes}
            record = make_record(
                case=case, seed=seed, release="row", tier=tier, environment=environment, **given
            )
            write_record(record, tmp_path / f"{record}.json")
            with zipfile.ZipFile(out / f"records-{number}.zip", "w") as archive:
                archive.writestr("bundle.json", json.dumps(content))
                archive.writestr("installed.txt", LOCK)
                archive.write(tmp_path / f"{record}.json", f"records/{record}.json")
        return [f"{out}", "--records", f"{tmp_path / 'records'}"]

    return left


def test_records_are_filed_with_what_they_were_made_with(
    leave: Leave, tmp_path: Path, capsys: Output
) -> None:
    given = leave()
    for _ in range(2):
        assert main(given) == 1, "one is left to make"
    place = tmp_path / "records" / "row" / "sample"
    assert [record.name for record in read_records(place)] == [
        "lenet5-plain-seed1", "resnet50-literal-none-seed0",
    ]  # fmt: skip
    assert (place / "installed.txt").read_bytes() == LOCK
    said = capsys.readouterr().out
    assert "2 of 3 records are in" in said
    assert "left to make, by the bundle's command: lenet5-plain-seed0" in said
    assert "clean_accuracy 0.800 (0.800 to 0.800)" in said


def test_a_bundle_that_is_finished_ends_with_0(leave: Leave) -> None:
    assert main(leave(content={"jobs": JOBS[1:]})) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"content": {"code_digest": "sha256:1"}}, "of another state of what measures. Collect"),
        ({"content": {"probe_digest": "sha256:1"}}, "of another state of what measures. Collect"),
        ({"content": {"jobs": JOBS[:2]}}, "resnet50-literal-none-seed0 is no record .* asked for"),
        ({"content": {"data_digests": []}}, "it saw other images"),
        (
            {"content": {"release": "/row"}},
            "is not as a bundle leaves it: it asks for 3 records of 1 data",
        ),
        ({"content": {"release": "../row"}}, "of the release '../row' and the tier 'sample'"),
        ({"content": {"release": None}}, "bundle.json .* is not as a bundle leaves it"),
        ({"content": {"tier": "small "}}, "of the release 'row' and the tier 'small '"),
        ({"content": {"jobs": None}}, "bundle.json .* is not as a bundle leaves it"),
        ({"content": {"jobs": [["lenet5-plain"]]}}, "bundle.json .* is not as a bundle leaves it"),
        ({"content": {"data_digests": 7}}, "bundle.json .* is not as a bundle leaves it"),
        ({"content": {"release": "keras3-torch"}}, "belongs to row/sample, expected keras3-torch"),
        ({"environment": {"code_digest": "sha256:1"}}, "other code made it"),
        ({"environment": {"lock_digest": "sha256:1"}}, "not made with what installed.txt lists"),
        ({"environment": {"versions": {"torch": "2.2.0"}}}, r"its versions .* are not those"),
        ({"environment": {"versions": {"jax": "0.9.2"}}}, r"its versions .* are not those"),
        ({"environment": {"machine": {"fingerprint": "f", "gpus": []}}}, "no GPU made it"),
        ({"settings": {"architecture": "lenet5"}}, "its settings are not those of its case"),
    ],
)
def test_what_is_not_of_the_bundle_is_named_and_nothing_is_filed(
    changes: dict[str, Any], message: str, leave: Leave, tmp_path: Path
) -> None:
    with pytest.raises(RecordError, match=message):
        main(leave(**changes))
    assert {path.name for path in tmp_path.iterdir() if path.is_dir()} == {"out"}


def test_what_is_no_json_or_no_text_is_named(leave: Leave, tmp_path: Path) -> None:
    given = leave()
    for name, content in (
        ("bundle.json", b"[]"),
        ("bundle.json", b"{"),
        ("installed.txt", b"\xff"),
    ):
        parts = {"bundle.json": b"{}", "installed.txt": LOCK, name: content}
        with zipfile.ZipFile(tmp_path / "out" / "records-9.zip", "w") as archive:
            for part, text in parts.items():
                archive.writestr(part, text)
        with pytest.raises(RecordError, match="is not as a bundle leaves it"):
            main(given)


def test_a_member_that_holds_more_than_it_states_is_read_no_further(
    leave: Leave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given, path = leave(), tmp_path / "out" / "records-3.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("records/large.json", bytes(1_000_000))
    stated = (1_000_000).to_bytes(4, "little")
    path.write_bytes(path.read_bytes().replace(stated, (10).to_bytes(4, "little")))
    monkeypatch.setattr(gpu_collect, "RECORD_BYTES", 100_000)
    with pytest.raises(RecordError, match="is damaged: Bad CRC-32"):
        main(given)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        archive.writestr("records/large.json", b"small")
    with pytest.raises(RecordError, match=r"is damaged: records/large\.json: 5 bytes"):
        main(given)


def test_a_rehearsal_needs_no_gpu(leave: Leave) -> None:
    gpus = {"machine": {"fingerprint": "f", "gpus": []}}
    assert main(leave("rehearsal", environment=gpus)) == 1


def test_a_record_that_was_edited_is_refused(leave: Leave, tmp_path: Path) -> None:
    given = leave()
    path = tmp_path / "out" / "records-1.zip"
    with zipfile.ZipFile(path) as archive:
        held = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in held.items():
            archive.writestr(
                name, content.replace(b'"clean_accuracy": 0.8', b'"clean_accuracy": 1')
            )
    told = r"^records/[^/]*\.json in an archive is not a record .* it was edited or damaged"
    with pytest.raises(RecordError, match=told):
        main(given)
    assert not (tmp_path / "records").exists()


def test_files_that_no_bundle_leaves_are_refused(
    leave: Leave, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = leave()
    out = tmp_path / "out"
    (out / "records-2.zip").unlink()
    whole = (out / "records-1.zip").read_bytes()
    with zipfile.ZipFile(out / "records-1.zip") as archive:
        content = archive.read("bundle.json")
    with zipfile.ZipFile(tmp_path / "part.zip", "w") as archive:
        archive.writestr("bundle.json", content)
    for content, message in (
        (whole[:-40], "records-1.zip is damaged"),
        (b"PK\x05\x06" + bytes(18), "lacks bundle.json or installed.txt"),
        ((tmp_path / "part.zip").read_bytes(), "lacks bundle.json or installed.txt"),
    ):
        (out / "records-1.zip").write_bytes(content)
        with pytest.raises(RecordError, match=message):
            main(given)
    (out / "records-1.zip").write_bytes(whole)
    with zipfile.ZipFile(out / "records-1.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bundle.json", bytes(100_000))  # a few bytes there
    monkeypatch.setattr(gpu_collect, "RECORD_BYTES", 10_000)
    with pytest.raises(RecordError, match=r"damaged: bundle\.json: 100,000 bytes"):
        main(given)
    with monkeypatch.context() as patch:
        patch.setattr(gpu_collect, "FILE_BYTES", 100)
        with pytest.raises(RecordError, match=r"too large: records-1\.zip\. Expected at most"):
            main(given)
    for number in range(9):
        (out / f"{number}.txt").touch()
    with pytest.raises(RecordError, match=r"holds 10 files, too large: none\. Expected at most 8"):
        main(given)
    with pytest.raises(RecordError, match=r"holds no records-\*\.zip"):
        main([f"{tmp_path / 'nothing'}"])
