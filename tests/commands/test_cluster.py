"""Tests of suite.commands.cluster and its jobs, with a stand-in for Ray: it runs a job when asked.

What Ray itself does is tested in tests/cluster, on a cluster of several nodes.
"""

from __future__ import annotations

import os
import re
import socket
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest

from suite.__main__ import main
from suite.commands import cluster, cluster_link, matrix
from suite.commands.cluster import measurable
from suite.commands.cluster_jobs import LOGS, Cluster, Result, lost, outcomes_of
from suite.commands.cluster_link import (
    address,
    connected,
    official_files,
    packed,
    places,
    reach,
    started,
)
from suite.commands.cluster_node import (
    Job,
)
from suite.commands.cluster_parcel import NAME, cache, digest_of, placed
from suite.commands.plan import Plan, collected
from suite.commands.rounds import Rounds
from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER
from suite.errors import DataError, SuiteError
from suite.files import SUITE
from suite.judge.compatibility import Outcome
from suite.releases import chosen, read_releases
from suite.store import read_records
from tests.commands.conftest import PLAIN_CASE, TRACE, Fill, Output

if TYPE_CHECKING:
    from typing import TypeAlias

Answers: TypeAlias = "Callable[[Job, Mapping[str, bytes]], Any]"

ROOT = SUITE.parent
GOOD = Outcome(True, True, True, 1.0, "", "sha256:1", "2026-01-01")
BAD = replace(GOOD, passed=False, reason="test_it: too good")
ROW = "tf-2.21"
ALONE = "lenet5-plai[n]"  # a pattern: the word would be in the names of other cases too


class RayError(Exception):
    """Stands in for what Ray raises where a worker or a node was lost."""


def ray_of(answer: Answers) -> Any:
    """Stand in for Ray: each job is answered when its result is asked for."""
    asked: dict[int, Any] = {}
    options: list[dict[str, Any]] = []

    def remote(job: Any, *sent: Any) -> int:
        asked[len(asked)] = (Job(*job), sent[-1])
        return len(asked) - 1

    def get(reference: int) -> Any:
        return answer(*asked[reference])

    task = SimpleNamespace(remote=remote)
    task.options = lambda **given: options.append(given) or task
    return SimpleNamespace(
        remote=lambda _: task,
        get=get,
        wait=lambda waiting, **_: (waiting[:1], waiting[1:]),
        cancel=lambda reference, **_: asked.pop(reference),
        exceptions=SimpleNamespace(RayError=RayError),
        asked=asked,
        options=options,
    )


@pytest.fixture
def nodes(fill: Fill) -> Callable[..., tuple[str, bytes]]:
    """Return a function that measures on a node: the file of a record of a case and seed."""

    def made(job: Job, seed: int, **changes: Any) -> tuple[str, bytes]:
        case = changes.pop("case", job.case)
        fill("node", [0.1] * (seed + 1), case=case, release=job.row, **changes)
        path = Path("node", job.row, "small", f"{case}-seed{seed}.json")
        return path.name, path.read_bytes()

    return made


def returned(
    made: Mapping[str, bytes], outcome: Outcome = GOOD, **reports: bytes
) -> tuple[Any, ...]:
    return ("node-1", outcome, made, {"log": b"said", **reports}, {"run": 1.0})


def plan_of(*seeds: int, rows: str = ROW, cases: Sequence[str] = (PLAIN_CASE,)) -> Plan:
    return Plan(chosen(read_releases(), rows), cases, seeds, Path("records"))


def results(answer: Answers, plan: Plan, **how: Any) -> list[Result]:
    return [*Cluster(ray_of(answer), 1, ("p", [0]), ("", [])).run(plan, **how)]


def test_what_comes_back_is_stored_whole_and_beside_it_the_log(nodes: Any) -> None:
    def answer(job: Job, _: Any) -> Any:
        return returned(dict(nodes(job, seed) for seed in job.seeds))

    (result,) = results(answer, plan_of(0, 1))
    assert (result.missing, result.reason, result.node) == ((), "", "node-1")
    assert [record.seed for record in read_records(Path("records", ROW, "small"))] == [0, 1]
    assert Path("records", ROW, LOGS, f"{PLAIN_CASE}.log").read_bytes() == b"said"


@pytest.mark.usefixtures("fill")
@pytest.mark.parametrize(("tier", "gpus"), [("small", 0), ("full", 1)])
def test_ray_is_told_what_a_job_takes_and_how_often_it_is_tried_again(tier: str, gpus: int) -> None:
    ray = ray_of(lambda *_: returned({}))
    plan = plan_of(0)._replace(tier=tier, rows=read_releases(table="gpu-releases")[:1])
    assert len([*Cluster(ray, 3, ("p", [0]), ("", [])).run(plan)]) == 1
    name = f"{ROW} {PLAIN_CASE} seed 0"
    assert ray.options == [{"num_cpus": 3, "num_gpus": gpus, "max_retries": 5, "name": name}]


def test_rows_take_turns_so_that_their_environments_are_made_at_once(fill: Fill) -> None:
    fill("records", [0.5], case=TRACE, release="tf-2.15")
    plan = plan_of(0, rows=f"{ROW},tf-2.15", cases=(PLAIN_CASE, TRACE))
    assert [(job.row, job.case) for job in plan.lacking()] == [
        (ROW, PLAIN_CASE), ("tf-2.15", PLAIN_CASE), (ROW, TRACE)
    ]  # fmt: skip


def test_what_has_a_record_that_holds_is_not_run_again(fill: Fill) -> None:
    fill("records", [0.5, 0.6])
    fill("records", [0.5], case=TRACE, environment={"code_digest": "sha256:other"})
    plan = plan_of(0, 1, 2, cases=(PLAIN_CASE, TRACE))
    assert plan.lacking() == [Job(ROW, PLAIN_CASE, (2,)), Job(ROW, TRACE, (0, 1, 2))]


@pytest.mark.parametrize("kept", [0, 100, -2])
def test_half_a_record_is_none(nodes: Any, kept: int) -> None:
    def answer(job: Job, _: Any) -> Any:
        name, content = nodes(job, 0)
        return returned({name: content[:kept]})

    (result,) = results(answer, plan_of(0))
    assert result.missing == (0,)
    assert not [*Path("records").rglob("*.json")]
    assert "Restore it" in result.reason or "truncated" in result.reason


def test_a_whole_record_is_kept_where_another_of_its_job_is_damaged(nodes: Any) -> None:
    def answer(job: Job, _: Any) -> Any:
        made = dict(nodes(job, seed) for seed in job.seeds)
        return returned({**made, f"{job.case}-seed0.json": b""})

    (result,) = results(answer, plan_of(0, 1))
    assert result.missing == (0,)
    assert [record.seed for record in read_records(Path("records", ROW, "small"))] == [1]


def test_a_record_that_comes_twice_is_stored_once(nodes: Any, fill: Fill) -> None:
    def answer(job: Job, _: Any) -> Any:
        fill("records", [0.9])  # another try came through while this one was on its way
        return returned(dict([nodes(job, 0)]))

    results(answer, plan_of(0))
    (record,) = read_records(Path("records", ROW, "small"))
    assert record.metrics == {"clean_accuracy": 0.9}
    assert not Path("records", ROW, "small", "superseded").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"environment": {"lock_digest": "sha256:other"}}, "the lock"),
        ({"environment": {"code_digest": "sha256:other"}}, "the code"),
        ({"case": TRACE}, "expected the job"),
        ({"seed": 1}, "expected the job"),
        ({"release": "tf-2.15"}, "belongs to"),
    ],
)
def test_what_a_job_was_not_to_make_is_not_taken(
    nodes: Any, changes: dict[str, Any], said: str
) -> None:
    def answer(job: Job, _: Any) -> Any:
        other = dict(changes)
        asked = job._replace(row=other.pop("release", job.row))
        return returned(dict([nodes(asked, other.pop("seed", 0), **other)]))

    (result,) = results(answer, plan_of(0))
    assert result.missing == (0,)
    assert said in result.reason
    assert not [*Path("records").rglob("*.json")]


@pytest.mark.usefixtures("fill")
def test_a_job_that_ray_lost_is_missing_with_the_reason() -> None:
    def answer(*_: Any) -> Any:
        raise RayError("the worker died: killed by SIGKILL")

    (result,) = results(answer, plan_of(0))
    assert result.missing == (0,)
    assert "retries" in result.reason
    assert "killed by SIGKILL" in result.reason


def test_an_error_on_the_node_is_told_as_it_is() -> None:
    error = RayError("a long traceback")
    error.cause = OSError(28, "No space left on device")  # type: ignore[attr-defined]
    assert lost(error) == "OSError: [Errno 28] No space left on device"


def test_a_failed_check_is_told_and_its_record_kept(nodes: Any) -> None:
    (result,) = results(
        lambda job, _: returned(dict([nodes(job, 0)]), BAD), plan_of(0)
    )  # fmt: skip
    assert (result.missing, result.reason) == ((), "test_it: too good (on node-1)")


def test_a_whole_session_that_skips_is_no_pass(fill: Fill) -> None:
    fill("records", [0.5])
    skipped = replace(BAD, reason="skipped: test_it: no TensorFlow")
    (result,) = results(lambda _, given: returned(given, skipped), plan_of(0), judged=True)
    assert result.reason == "skipped: test_it: no TensorFlow (on node-1)"


def test_a_case_that_failed_is_what_became_of_its_row_whatever_follows(nodes: Any) -> None:
    def answer(job: Job, _: Any) -> Any:
        return returned(dict([nodes(job, 0)]), BAD if job.case == PLAIN_CASE else GOOD)

    stood = Cluster(ray_of(answer), 1, ("p", [0]), ("", []))
    ((_, outcome),) = outcomes_of(stood, plan_of(0, cases=(PLAIN_CASE, TRACE)))
    assert (outcome.passed, outcome.reason) == (False, "test_it: too good (on node-1)")


def test_a_test_for_another_job_is_no_fault(nodes: Any) -> None:
    skipped = replace(BAD, reason="skipped: test_it: net is measured by a job of its own")
    (result,) = results(lambda job, _: returned(dict([nodes(job, 0)]), skipped), plan_of(0))
    assert not result.reason
    (result,) = results(lambda *_: returned({}, skipped), plan_of(1))
    assert result.reason  # a release that lacks the fix: there is no record


def test_the_session_that_judges_comes_last_and_has_all_records(nodes: Any, fill: Fill) -> None:
    fill("records", [0.4], environment={"code_digest": "sha256:other"})
    fill("records", [0.5])  # it takes the place of that
    seen = []

    def answer(job: Job, given: Mapping[str, bytes]) -> Any:
        seen.append((job.case, sorted(given)))
        if job.case:
            return returned(dict(nodes(job, seed) for seed in job.seeds))
        beside = {"checks.txt": b"all hold", "timing/step-times.json": b"{}", "../out": b"no"}
        return returned({**given, **beside}, BAD, tests=b"<testsuites/>")

    plan = plan_of(0, cases=(PLAIN_CASE, TRACE, "traps"))
    stood = Cluster(ray_of(answer), 1, ("p", [0]), ("", []))
    ((row, outcome),) = outcomes_of(stood, plan, judged=True)
    assert seen == [
        (TRACE, []),
        ("traps", []),
        ("", [f"{case}-seed0.json" for case in plan.cases]),
    ]
    assert (row.name, outcome.passed, outcome.reason) == (
        ROW,
        False,
        "test_it: too good",
    )
    folder = Path("records", ROW)
    assert (folder / "matrix-tests.xml").read_bytes() == b"<testsuites/>"
    assert (folder / "small" / "checks.txt").read_bytes() == b"all hold"
    assert (folder / "small" / "timing" / "step-times.json").exists()
    assert not [*Path().rglob("out")]
    assert len(read_records(folder / "small")) == 3


def test_a_row_is_judged_where_nothing_is_to_be_measured(fill: Fill) -> None:
    fill("records", [0.5])
    done = results(lambda _, given: returned(given), plan_of(0), judged=True)
    assert [result.job.case for result in done] == [""]


@pytest.mark.usefixtures("fill")
@pytest.mark.parametrize("judged", [False, True])
def test_rows_without_a_fresh_lock_are_refused(judged: bool) -> None:
    Path("locks", "tf-2.15.txt").write_text("edited")
    plan = plan_of(0, rows="tf-2.15,tf-nightly")
    done = results(lambda *_: pytest.fail("it was run"), plan, judged=judged)
    said = {result.job.row: result.reason for result in done}
    assert "edited by hand" in said["tf-2.15"] or "no header" in said["tf-2.15"]
    assert "nox -s matrix -- --rows tf-nightly" in said["tf-nightly"]


@pytest.mark.usefixtures("fill")
def test_what_has_not_ended_is_cancelled_when_the_time_is_over() -> None:
    ray = ray_of(lambda *_: pytest.fail("it was asked for"))
    plan = plan_of(0, cases=(PLAIN_CASE, TRACE))
    assert not [*Cluster(ray, 1, ("p", [0]), ("", [])).run(plan, until_s=0.0)]
    assert not ray.asked


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Callable[[Answers], None]:
    """Return a function that makes `cluster` connect with a stand-in."""

    def on(answer: Answers) -> None:
        @contextmanager
        def connected(*_: Any, **__: Any) -> Iterator[Cluster]:
            yield Cluster(ray_of(answer), 1, ("p", [0]), ("", []))

        monkeypatch.setattr(cluster, "connected", connected)

    return on


ASKED = ("cluster", "--address", "local", "--rows", ROW, "--seeds", "0,1", "--cases", ALONE)


def test_the_answer_comes_first_and_alone_on_stdout(nodes: Any, on: Any, capsys: Output) -> None:
    on(lambda job, _: returned(dict(nodes(job, seed) for seed in job.seeds)))
    assert main(ASKED) == 0
    found = capsys.readouterr()
    assert re.fullmatch(
        r"2 of 2 records are there, 2 measured now in \d+ s on 1 node; they lie in records\.\n",
        found.out,
    )
    assert f"1/1 {ROW} {PLAIN_CASE} seeds 0,1: 1 s on node-1, measured" in found.err


def test_nothing_to_measure_needs_no_cluster(fill: Fill, on: Any, capsys: Output) -> None:
    fill("records", [0.5, 0.5])
    on(lambda *_: pytest.fail("it was run"))
    assert main(ASKED) == 0
    assert capsys.readouterr().out.startswith("2 of 2 records are there; they lie in records")


def test_what_is_missing_is_told_with_its_log(nodes: Any, on: Any, capsys: Output) -> None:
    on(lambda job, _: returned(dict([nodes(job, 0)]), replace(BAD, reason="no space")))
    assert main(ASKED) == 2
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("1 of 2 records are there, 1 measured now")
    log = Path("records", ROW, LOGS, f"{PLAIN_CASE}.log")
    assert second == f"MISSING {ROW} {PLAIN_CASE} seed 1: no space (on node-1); log: {log}"


def test_without_rows_all_that_have_a_lock_are_measured(
    nodes: Any, on: Any, capsys: Output
) -> None:
    on(lambda job, _: returned(dict([nodes(job, 0)])))
    assert main([*ASKED[:3], *ASKED[-2:]]) == 0
    assert capsys.readouterr().out.startswith("4 of 4 records are there, 4 measured now")


@pytest.mark.usefixtures("fill")
def test_why_a_row_was_refused_is_told_of_each_of_its_cases(on: Any, capsys: Output) -> None:
    on(lambda *_: pytest.fail("it was run"))
    assert main([*ASKED, "--rows", "tf-nightly"]) == 2
    found = capsys.readouterr().out.splitlines()
    assert found[1].startswith(f"MISSING tf-nightly {PLAIN_CASE} seeds 0,1: it has no lock")


def test_a_failed_check_is_status_1(nodes: Any, on: Any, capsys: Output) -> None:
    on(lambda job, _: returned(dict(nodes(job, seed) for seed in job.seeds), BAD))
    assert main(ASKED) == 1
    assert "measured, but not as expected" in capsys.readouterr().out


def test_an_interrupted_run_tells_what_is_there(nodes: Any, on: Any, capsys: Output) -> None:
    def answer(job: Job, _: Any) -> Any:
        if job.case == TRACE:
            raise KeyboardInterrupt
        return returned(dict(nodes(job, seed) for seed in job.seeds))

    on(answer)
    assert main([*ASKED[:-1], f"{ALONE},{TRACE}"]) == 130
    out = capsys.readouterr().out
    assert out.startswith("2 of 4 records are there, 2 measured now")
    assert "it was not run" in out
    assert "the same command goes on" in out


def test_matrix_ends_as_the_sessions_on_the_cluster_do(
    nodes: Any, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    def answer(job: Job, given: Mapping[str, bytes]) -> Any:
        if job.case:
            return returned(dict([nodes(job, 0)]))
        return returned(given, BAD if job.row == "tf-2.15" else GOOD)

    @contextmanager
    def connected(*_: Any) -> Iterator[Cluster]:
        yield Cluster(ray_of(answer), 1, ("p", [0]), ("", []))

    def planned(rows: Any, arguments: Sequence[str], records: Path) -> Plan:
        return Plan(rows, (PLAIN_CASE,), (0,), records, options=tuple(arguments))

    monkeypatch.setattr(matrix, "connected", connected)
    monkeypatch.setattr(matrix, "collected", planned)
    rows = chosen(read_releases(), f"{ROW},tf-2.15")
    found = matrix.run_matrix(rows, records=Path("records"), address="auto")
    assert {name: outcome.passed for name, outcome in found.items()} == {
        ROW: True,
        "tf-2.15": False,
    }
    out = capsys.readouterr().out
    assert f"{ROW} 1 s, passed" in out
    assert "tf-2.15 1 s, failed: test_it: too good" in out
    assert "2 of 2 rows done" in out
    for row in rows:
        assert matrix.read_outcome(row, Path("records")) == found[row.name]
        assert len(read_records(Path("records", row.name, "small"))) == 1


def test_rounds_of_the_gate_are_measured_on_the_cluster(nodes: Any) -> None:
    def answer(job: Job, _: Any) -> Any:
        made = dict(nodes(job, seed) for seed in job.seeds)
        return returned(made, BAD if job.case == TRACE else GOOD)

    row, root = chosen(read_releases(), ROW), Path("records")
    stood = Cluster(ray_of(answer), 1, ("p", [0]), ("", []))
    rounds = Rounds({root: row}, time.perf_counter() + 60, cluster=stood)
    rounds.run([PLAIN_CASE, TRACE], {root: (3, 4)})
    assert [r.name for r in read_records(root / ROW / "small")] == [
        f"{case}-seed{seed}" for case in (PLAIN_CASE, TRACE) for seed in (3, 4)
    ]
    assert rounds.notes() == [f"the run of {ROW} said: test_it: too good (on node-1)"]


@pytest.mark.usefixtures("fill")
def test_a_gate_on_a_cluster_takes_no_options_of_pytest(capsys: Output) -> None:
    sides = ("--baseline", "tf-2.15", "--candidate", ROW)
    assert main(["gate", *sides, "--address", "auto", "-k", "attack"]) == 2
    assert "Leave out: -k attack" in capsys.readouterr().err


@pytest.mark.usefixtures("fill")
@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--cases", "nonsense"), "names no case of the small tier, which has lenet5-plain"),
        (("--rows", "tf-9"), "tf-9 is no row"),
        (("--rows", ""), "nothing is no row"),
        (("--tier", "quickstart", "--rows", "tf-2.15"), "runs on tf-2.21 alone"),
    ],
)
def test_names_that_are_none_are_refused(capsys: Output, options: Sequence[str], said: str) -> None:
    assert main(["cluster", "--address", "local", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("text", ["somewhere", "host:", ":6379", "host:port", "host:99999", ""])
def test_an_address_is_local_auto_or_host_and_port(text: str, capsys: Output) -> None:
    with pytest.raises(SystemExit):
        main(["cluster", "--address", text])
    assert "must be local, auto or HOST:PORT" in capsys.readouterr().err


def test_addresses_are_taken() -> None:
    for text in ("local", "auto", "10.0.0.1:6379", "head.example:1", "[::1]:6379"):
        assert address(text) == text


def test_an_address_where_nothing_listens_is_told_at_once() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        where = f"127.0.0.1:{free.getsockname()[1]}"
        started_s = time.monotonic()
        with pytest.raises(SuiteError, match=f"nothing answers at {where}.*ray start --head"):
            reach(where)
        assert time.monotonic() - started_s < 2 * cluster_link.ANSWER_S


@pytest.mark.parametrize(("case", "sent"), [("synthetic", False), ("gtsrb", True)])
def test_data_are_sent_where_one_case_needs_them_and_the_cluster_is_left_whatever_happens(
    case: str, sent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def known(_: str) -> dict[str, Any]:
        return {name: SimpleNamespace(data=name) for name in ("synthetic", "gtsrb")}

    left: list[str] = []
    ray = SimpleNamespace(
        cloudpickle=SimpleNamespace(register_pickle_by_value=lambda _: None),
        nodes=lambda: [node(4)], put=lambda files: files, shutdown=lambda: left.append("left"),
        exceptions=SimpleNamespace(RayError=RayError),
    )  # fmt: skip
    monkeypatch.setattr(cluster_link, "asked", known)
    monkeypatch.setattr(cluster_link, "gtsrb_root", lambda: Path("downloaded"))
    monkeypatch.setattr(cluster_link, "official_files", lambda _: {"train.zip": b"images"})
    monkeypatch.setattr(cluster_link, "packed", lambda _: {"noxfile.py": b""})
    monkeypatch.setattr(cluster_link, "started", lambda _: ray)
    plan = Plan((), ("synthetic", case), (0,), Path("records"))
    seen = []

    def ended(error: BaseException) -> None:
        with connected("auto", plan) as stood:
            seen.append(stood.data)
            raise error

    with pytest.raises(KeyboardInterrupt):
        ended(KeyboardInterrupt())
    with pytest.raises(
        SuiteError, match=r"Ray cannot go on: Local disk is full\. What is finished"
    ):
        ended(RayError("Local disk\nis full."))
    files = {"train.zip": b"images"} if sent else {}
    assert seen == [(digest_of(files), [files])] * 2
    assert left == ["left"] * 2


def test_without_ray_it_is_told_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.setattr(os, "environ", dict(os.environ))
    with pytest.raises(SuiteError, match=r"Ray is not installed here\. Run this through nox"):
        started("local")


def node(cpus: float, gpus: float = 0, alive: bool = True) -> dict[str, Any]:
    return {"Alive": alive, "Resources": {"CPU": cpus, "GPU": gpus}}


def test_a_job_takes_a_node_of_the_smallest_size(capsys: Output) -> None:
    assert places([node(0), node(8), node(4), node(1, alive=False)], cpus=None, gpu=False) == 4
    assert "nodes: 2, processors: 12; a job takes 4, jobs at once: 3" in capsys.readouterr().out
    assert places([node(8, 1), node(2)], cpus=None, gpu=True) == 8
    assert places([node(2, 4)], cpus=None, gpu=True) == 1
    assert places([node(16, 4), node(16, 2)], cpus=None, gpu=True) == 4
    assert "a job takes 4 and a GPU, jobs at once: 6" in capsys.readouterr().out
    assert places([node(8)], cpus=2, gpu=False) == 2


@pytest.mark.parametrize(
    ("nodes", "options"),
    [([node(0)], {}), ([], {}), ([node(4)], {"gpu": True}), ([node(4)], {"cpus": 8})],
)
def test_a_cluster_without_a_place_for_a_job_is_refused(
    nodes: list[dict[str, Any]], options: dict[str, Any]
) -> None:
    with pytest.raises(SuiteError, match=r"no node of the cluster has .* Found: .*ray start"):
        places(nodes, **{"cpus": None, "gpu": False, **options})


def test_the_cases_are_those_that_pytest_collects() -> None:
    found = collected(chosen(read_releases(ROOT / "pyproject.toml"), ROW), (), Path("records"))
    assert sorted(found.cases) == sorted(measurable("small"))
    assert [*found.seeds] == [0]


def test_options_of_pytest_choose_the_cases() -> None:
    rows = chosen(read_releases(ROOT / "pyproject.toml"), ROW)
    found = collected(rows, ("-k", "attack and lenet5", "--seeds", "3,1"), Path("records"))
    assert (found.cases, found.seeds) == (["attack-lenet5"], [3, 1])
    with pytest.raises(SuiteError, match="pytest finds no benchmark with -k nonsense"):
        collected(rows, ("-k", "nonsense"), Path("records"))
    with pytest.raises(SuiteError, match="--weights names a file of this machine"):
        collected(rows, ("--weights=resnet50=a.h5",), Path("records"))


def test_the_project_is_sent_with_the_locks_of_the_rows_alone() -> None:
    os.chdir(ROOT)
    found = packed(chosen(read_releases(), "tf-2.15"))
    assert "locks/tf-2.15.txt" in found
    assert "locks/tf-2.21.txt" not in found
    assert {"noxfile.py", "conftest.py", "suite/store.py", "suite/judge/bands.csv"} <= set(found)
    assert not [name for name in found if "__pycache__" in name]


def test_data_are_sent_as_archives_or_as_they_were_extracted(tmp_path: Path) -> None:
    archives = {TRAINING_ARCHIVE: b"a", TEST_ARCHIVE: b"b", TRUTH_ARCHIVE: b"c"}
    extracted = {
        f"{TRAINING_FOLDER}/00000/1.ppm": b"a", f"{TEST_FOLDER}/1.ppm": b"b",
        "GT-final_test.csv": b"c",
    }  # fmt: skip
    for kind, files in (("archives", archives), ("extracted", extracted)):
        for name, content in files.items():
            (tmp_path / kind / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / kind / name).write_bytes(content)
        assert official_files(tmp_path / kind) == files
    with pytest.raises(DataError, match="no GTSRB there"):
        official_files(tmp_path / "nowhere")


def test_files_are_placed_once_and_as_a_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path))
    files, fetched = {"a/b": b"1", "c": b"2"}, list[int]()

    def fetch() -> dict[str, bytes]:
        fetched.append(1)
        return files

    def broken() -> dict[str, bytes]:
        raise KeyboardInterrupt  # as a worker that is killed between two files

    digest = digest_of(files)
    left = tmp_path / "cluster" / "data" / f"{digest[:16]}.partial"
    left.mkdir(parents=True)
    (left / "half").write_bytes(b"")
    with pytest.raises(KeyboardInterrupt):
        placed("data", digest, broken)
    home, again = (placed("data", digest, fetch) for _ in range(2))
    assert home == again
    assert fetched == [1]
    found = {p.relative_to(home).as_posix(): p.read_bytes() for p in home.rglob("*") if p.is_file()}
    assert found == files
    assert digest_of({}) == ""
    different = (
        {"a": b"b"},
        {"b": b"a"},
        {"b": b"b"},
        {"a": b"", "b": b"a"},
        {"a": b"a", "b": b""},
    )
    assert len({digest_of(one) for one in different}) == 5
    monkeypatch.delenv("SUITE_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert cache() == tmp_path / NAME / "cluster"
