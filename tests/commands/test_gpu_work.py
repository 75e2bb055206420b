"""Tests of suite.commands.gpu_work: one worker measures each case; a fallen one's is skipped."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from suite.commands import gpu_work
from suite.commands.gpu_work import claimed, main, pedantic
from suite.measure.once import Session
from suite.store import write_record
from tests.commands.conftest import LOCK, MADE_WITH, MakeRecord, Output

JOBS = [["step-time-lenet5", 0], ["lenet5-plain", 0], ["lenet5-plain", 1], ["attack-lenet5", 0]]
OTHER = {"code_digest": "sha256:other"}
CONTENT = {
    "tier": "sample", "release": "row", "jobs": JOBS, "code_digest": "sha256:code",
    "probe_digest": "sha256:probes", "data_digests": ["sha256:64"],
}  # fmt: skip
FOLDER = Path("records", "row", "sample")


@pytest.fixture
def begun(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make_record: MakeRecord
) -> Callable[[], list[str]]:
    """Give a function that runs a worker for a minute and names what it began."""
    session = Session("row", "sample", tmp_path / "records", None, {}, None)  # type: ignore[arg-type]
    names: list[str] = []

    def measure_once(case: Any, seed: int, **_: Any) -> Any:
        names.append(f"{case}-seed{seed}")
        return make_record(case=str(case), seed=seed)

    def run() -> list[str]:
        given = ["--slice", "s", "--records", "records", "--workers", "3", "--seconds", "60"]
        assert main(given) == 0
        return names

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gpu_work, "opened", lambda *_: session)
    monkeypatch.setattr(gpu_work, "measure_once", measure_once)
    written()
    return run


def written() -> None:
    """Write what a bundle holds beside what measures."""
    Path("bundle.json").write_text(json.dumps(CONTENT))
    Path("locks").mkdir()
    Path("locks", "row-gpu.txt").write_bytes(LOCK)


def test_a_case_that_took_longer_than_is_left_is_not_begun(
    begun: Callable[[], list[str]], make_record: MakeRecord
) -> None:
    for case, wall_s in {"lenet5-plain": 50.0, "attack-lenet5": 70.0}.items():
        write_record(make_record(case=case, seed=2, wall_s=wall_s), FOLDER / f"{case}-seed2.json")
    (FOLDER / "attack-lenet5-seed3.json").write_text("damaged: it is made again")
    assert begun() == ["lenet5-plain-seed0", "lenet5-plain-seed1"]


def test_what_is_there_is_not_made_again_though_others_shared_the_gpu_or_it_was_another(
    begun: Callable[[], list[str]], make_record: MakeRecord
) -> None:
    machine = {"fingerprint": "another"}
    made = {**MADE_WITH, "versions": {}, "at_once": 12, "machine": machine}
    for case, environment in {"lenet5-plain": made, "attack-lenet5": {**made, **OTHER}}.items():
        record = make_record(case=case, seed=0, environment=environment)
        write_record(record, FOLDER / f"{case}-seed0.json")
    assert begun() == ["lenet5-plain-seed1", "attack-lenet5-seed0"], "that is of other code"


def test_a_case_is_held_by_one_and_skipped_where_a_worker_fell_in_this_slice(
    tmp_path: Path,
) -> None:
    with claimed(tmp_path / "new", "net-seed0", "one") as mine:
        assert mine
        with claimed(tmp_path / "new", "net-seed0", "one") as second:
            assert not second, "another has it"
    with claimed(tmp_path / "new", "net-seed0", "one") as mine:
        assert not mine, "it fell"
    with pytest.raises(RuntimeError), claimed(tmp_path / "new", "net-seed0", "two") as mine:
        raise RuntimeError(mine)
    with claimed(tmp_path / "new", "net-seed0", "three") as mine:
        assert mine, "who fell let go of it"


def test_steps_are_made_as_a_benchmarks_timer_makes_them() -> None:
    made: list[Any] = []
    given = iter(range(100))
    pedantic(
        lambda *values, **options: made.append((values, options)),
        setup=lambda: ((next(given),), {"a": 1}), rounds=3, iterations=1, warmup_rounds=2,
    )  # fmt: skip
    assert made == [((number,), {"a": 1}) for number in range(5)]


@pytest.mark.parametrize("alone", [True, False])
def test_a_worker_measures_what_is_asked_for_on_the_bundles_images(
    alone: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    make_record: MakeRecord,
    capsys: Output,
) -> None:
    expected = JOBS[:1] if alone else JOBS[1:]
    monkeypatch.chdir(tmp_path)
    written()
    opened: dict[str, Any] = {}
    measured = []

    def open_session(**given: Any) -> Session:
        opened.update(given)
        return Session("row", "sample", given["records"], None, {"a": 1}, None)  # type: ignore[arg-type]

    def measure_once(case: Any, seed: int, *, session: Session, timer: Any) -> Any:
        assert session.environment == {"a": 1, "at_once": 3}
        assert session.dataset("gtsrb", 64) == (Path("sample.zip"), 64)
        assert timer() is pedantic
        measured.append([str(case), seed])
        return make_record(case=str(case), seed=seed)

    monkeypatch.setattr(gpu_work, "open_session", open_session)
    monkeypatch.setattr(gpu_work, "measure_once", measure_once)
    monkeypatch.setattr(gpu_work, "load_sample", lambda path, *, size_px: (path, size_px))
    given = ["--slice", "s", "--records", "records", "--workers", "3", "--seconds", "60"]
    given += ["--alone"] * alone
    for _ in range(2):
        assert main(given) == 0
    assert measured == expected, "each once"
    assert opened["lock"] == Path("locks", "row-gpu.txt")
    assert opened["shares_gpu"], "else each worker would wait for the GPU of the others"
    assert f"{expected[0][0]}-seed0: 2 s, clean_accuracy 0.800" in capsys.readouterr().out
