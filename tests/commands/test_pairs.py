"""Tests of suite.commands.pairs and costs: workers are asked in turn, and none is left behind."""

from __future__ import annotations

import itertools
import json
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from suite import machine
from suite.commands import costs, pairs
from suite.commands.outcomes import files_of
from suite.commands.pairs import BLOCKS, FEWEST_BLOCKS, MOST_BLOCKS, alternated, measure, workers
from suite.commands.processes import Run, stopped_together
from suite.errors import RecordError, SuiteError
from suite.judge.gate.evidence import Side
from suite.judge.gate.finding import NO_WORSE, WORSE
from suite.judge.staleness import Present
from suite.records import json_digest
from suite.releases import Release

CASE = "step-time-lenet5"
NOW = Present({}, "sha256:lock", "", {}, "3.11", "sha256:code", "sha256:libraries", "")
SIDES = tuple(
    Side(name, name, Path("records"), "small", {}, NOW) for name in ("tf-2.15", "tf-2.21")
)
SAID = {"lock_digest": NOW.lock, "code_digest": NOW.code, "library_digest": NOW.libraries}
FAKE = """
import json, random, sys
from multiprocessing.connection import Listener
address, said, factor, memory, answers = sys.argv[1], *map(json.loads, sys.argv[2:])
with Listener(address, family="AF_UNIX") as listener, listener.accept() as connection:
    connection.send_bytes(json.dumps(said).encode())
    while True:
        try:
            question = json.loads(connection.recv_bytes())
        except EOFError:
            break
        if answers == 0:
            sys.exit("out of memory, said the allocator")
        answers -= 1
        step_s = [0.01 * factor * random.uniform(1, 1.02) for _ in range(question["steps"])]
        answer = {"step_s": step_s, "peak_memory_bytes": 1e8 * memory}
        connection.send_bytes(json.dumps(answer).encode())
"""
Open = Callable[[str], Run]


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(pairs, "POLL_S", 0.01)
    monkeypatch.setattr(pairs, "GRACE_S", 2.0)


def begin(
    address: str, *, side: Side, factor: float = 1.0, memory: float = 1.0, answers: int = -1,
    said: dict[str, Any] | None = None,
) -> Run:  # fmt: skip
    """Start a fake worker, whose steps take no time and are told to take some."""
    own = {"release": side.release, **SAID, "machine": machine.describe(()), **(said or {})}
    release = Release(side.release, "3.11", ("numpy==2.0.0",), "to test")
    files = files_of(release, side.root, pairs.JOB)
    files.log.parent.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-I", "-S", "-c", FAKE, address]
    given = [json.dumps(value) for value in (own, factor, memory, answers)]
    with files.log.open("wb") as log:
        process = subprocess.Popen(
            [*command, *given], stdout=log, stderr=log, start_new_session=True
        )
    return Run(release, process, time.perf_counter(), files)


def openers(**candidate: Any) -> list[Open]:
    return [partial(begin, side=SIDES[0]), partial(begin, side=SIDES[1], **candidate)]


PATH = costs.place(Path("records"), (SIDES[0], SIDES[1]))


def measured(begins: Sequence[Open], *, budget_s: float = 60.0) -> list[Run]:
    """Measure; give the runs that were started, of which none may be left."""
    begun: list[Run] = []

    def kept(open_: Open, address: str) -> Run:
        begun.append(open_(address))
        return begun[-1]

    running: list[Run] = []
    measure(
        (SIDES[0], SIDES[1]), [CASE], [partial(kept, each) for each in begins], path=PATH,
        running=running, until_s=pairs.clock_s() + budget_s, margins={},
    )  # fmt: skip
    assert not running
    assert all(run.process.poll() is not None for run in begun)
    return begun


def judged(now: Present = NOW, *, lenient: bool = False) -> tuple[list[str], list[str]]:
    """Judge what is stored: the decisions on time and memory, and what is missing."""
    own = [replace(side, now=now) for side in SIDES]
    found, missing = costs.judged(PATH, (own[0], own[1]), [CASE], margins={}, lenient=lenient)
    return [finding.decision for finding in found], missing


def test_equal_workers_are_no_worse_and_what_is_stored_is_not_measured_again() -> None:
    measured(openers())
    assert judged() == ([NO_WORSE, NO_WORSE], [])
    assert measured(openers()) == []


def test_a_slower_and_a_heavier_candidate_are_found() -> None:
    measured(openers(factor=1.15, memory=1.3))
    assert judged() == ([WORSE, WORSE], [])


def test_a_worker_that_dies_leaves_it_undecided_with_its_last_words() -> None:
    measured(openers(answers=9))
    found, missing = judged()
    assert found == []
    (text,) = missing
    assert text.startswith(f"{CASE}: time and memory were not measured side by side: ")
    assert "the worker of tf-2.21 ended" in text
    assert "out of memory, said the allocator" in text


def test_a_row_that_cannot_be_started_leaves_it_undecided() -> None:
    def refused(_: str) -> Run:
        raise SuiteError("tf-2.21: its lock is stale")

    first, _ = openers()
    measured([first, refused])
    assert judged()[1] == [
        f"{CASE}: time and memory were not measured side by side: tf-2.21: its lock is stale"
    ]


def test_a_spent_budget_ends_it_and_is_told() -> None:
    measured(openers(), budget_s=0.0)
    assert "in time" in judged()[1][0]


def test_what_is_missing_says_how_to_get_it() -> None:
    words = "time and memory were not measured side by side: `nox -s gate` measures them"
    assert judged() == ([], [f"{CASE}: {words}, without --no-run"])


@pytest.mark.parametrize("field", ["lock", "code", "libraries"])
def test_what_is_stale_is_told_and_measured_anew(field: str) -> None:
    measured(openers())
    found, missing = judged(NOW._replace(**{field: "sha256:other"}))
    assert found == []
    assert "sha256:other" in missing[0]
    found, missing = judged(NOW._replace(**{field: "sha256:other"}), lenient=True)
    assert found == [NO_WORSE, NO_WORSE]
    assert "stale, judged all the same" in missing[0]


@pytest.mark.parametrize(
    ("field", "reason"),
    [
        ("sides", "it states what 0 of 2 workers were"),
        ("starts", "two starts have the very same times"),
        ("step_s", "a start has 1 pairs of blocks, expected at least 20"),
    ],
)
def test_times_that_nobody_measured_are_no_evidence(field: str, reason: str) -> None:
    measured(openers())
    content = json.loads(PATH.read_text())
    starts = content["starts"]
    copied = {case: [own[0]] * 2 for case, own in starts.items()}
    few = {case: [{**own[0], "step_s": own[0]["step_s"][:1]}] for case, own in starts.items()}
    changes = {"sides": {"sides": []}, "starts": {"starts": copied}, "step_s": {"starts": few}}
    edited = {**content, **changes[field]}
    PATH.write_text(json.dumps(edited))
    assert "it was edited" in judged()[1][0]
    del edited["digest"]
    PATH.write_text(json.dumps({**edited, "digest": json_digest(edited)}))
    found, missing = judged()
    assert found == []
    assert reason in missing[0]


@pytest.mark.parametrize("content", ["{", '{"sides": [], "starts": {}, "fault": ""}'])
def test_times_that_cannot_be_read_are_measured_anew(
    content: str, capsys: pytest.CaptureFixture[str]
) -> None:
    measured(openers())
    PATH.write_text(content)
    measured(openers())
    assert "cannot be read" in capsys.readouterr().out
    assert judged()[0] == [NO_WORSE, NO_WORSE]


def test_times_of_another_machine_are_stale() -> None:
    there = {**machine.describe(()), "cores": 99}
    measured(openers(said={"machine": there}))
    found, missing = judged()
    assert found == []
    assert "the machine's cores: 99, expected" in missing[0]
    assert measured(openers())  # measured anew
    assert judged() == ([NO_WORSE, NO_WORSE], [])


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"sides": [], "starts": {"a": [{"step_s": [[0, 1]]}]}, "fault": ""}']
)
def test_a_damaged_file_is_an_error_that_is_told(text: str) -> None:
    PATH.parent.mkdir(parents=True)
    PATH.write_text(text)
    with pytest.raises(RecordError, match="Remove it"):
        costs.read(PATH)
    assert "cannot be read" in judged()[1][0]


def test_the_order_is_drawn_and_a_pair_takes_one_block_of_each() -> None:
    calls: list[int] = []

    def ask(side: int, steps: int) -> dict[str, Any]:
        calls.append(side)
        return {"step_s": [0.1] * steps}

    asks = [partial(ask, 0), partial(ask, 1)]
    made = alternated(asks, random.Random(0), until_s=pairs.clock_s() + 60)  # noqa: S311
    assert len(made.step_s) == BLOCKS
    assert made.peak_memory_bytes is None
    taken = [tuple(calls[i : i + 2]) for i in range(2, len(calls), 2)]
    assert {*taken} == {(0, 1), (1, 0)}


def test_what_scatters_is_measured_for_longer() -> None:
    draw = random.Random(0)  # noqa: S311

    def ask(steps: int) -> dict[str, Any]:
        return {"step_s": [0.1 * draw.uniform(1, 9)] * steps}

    made = alternated([ask, ask], draw, until_s=pairs.clock_s() + 60)
    assert len(made.step_s) == MOST_BLOCKS
    with pytest.raises(SuiteError, match=f"after 0 of {FEWEST_BLOCKS} pairs"):
        alternated([ask, ask], draw, until_s=0.0)


def test_a_budget_that_ends_meanwhile_keeps_the_pairs_that_were_made(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    now = itertools.count()
    monkeypatch.setattr(pairs, "clock_s", lambda: next(now))

    def ask(steps: int) -> dict[str, Any]:
        return {"step_s": [0.1] * steps}

    made = alternated([ask, ask], random.Random(0), until_s=25)  # noqa: S311
    assert FEWEST_BLOCKS <= len(made.step_s) < BLOCKS


def test_a_signal_leaves_no_worker_behind() -> None:
    running: list[Run] = []
    begun: list[Run] = []
    until_s = pairs.clock_s() + 60

    def interrupted() -> None:
        with stopped_together(running), workers(openers(), running, until_s=until_s):
            begun.extend(running)
            signal.raise_signal(signal.SIGTERM)

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert len(begun) == 2
    assert all(run.process.poll() is not None for run in begun)


def test_a_path_that_no_socket_may_have_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    deep = Path.cwd() / ("d" * 90)
    deep.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(deep))
    measured(openers())
    assert "give a shorter TMPDIR" in judged()[1][0]
