"""Tests of suite.commands.gate: what is measured in which order, and that a weak pass is none."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from suite import tables
from suite.__main__ import main
from suite.cases import PLAIN, Case
from suite.commands import gating, processes, turns
from suite.commands.plan import expression
from suite.commands.rounds import Rounds
from suite.judge import staleness
from suite.judge.baselines import by_case
from suite.judge.gate.evidence import ASKED
from suite.judge.gate.finding import NO_WORSE, STEP_MAP, Finding
from suite.judge.gate.sequential import Plan
from suite.judge.history import HISTORY, entry_of, history_text
from suite.records import record_key
from suite.store import read_record, read_records, write_record
from tests.bounds import within
from tests.commands.conftest import Fill, Output, write_locks

CODE = "sha256:code"
OLD, NEW = "tf-2.15", "tf-2.21"
BOTH = ["gate", "--baseline", OLD, "--candidate", NEW]
STORED = ["gate", "--baseline", "stored", "--candidate", NEW]
JUDGE = [*BOTH, "--no-run"]
CASES = {"accuracy": (Case("lenet5", loss=PLAIN), Case("lenet5"))}
PLAIN_CASE, LOSS_CASE = "lenet5-plain", "lenet5-intended-none"
FINE = [0.8 + points / 10_000 for points in (0, 41, -22, 13, -35, 27, -8, 34, -17, 5)]
OTHER = [value + (-1) ** seed * (seed + 1) / 20_000 for seed, value in enumerate(FINE)]
WORSE = [value - 0.2 for value in OTHER]
OPEN = [0.8 + points / 200 for points in (0, 3, -3.1, 2, -2.1, 1, -1.1, 2.5, -2.4, 0.2)]
LOWER = [value - 0.025 for value in OPEN][::-1]

FAKE = """
import json, pathlib, re, shutil, sys
options, _, given = sys.argv[1:], 0, []
if "--" in options:
    options, given = options[: options.index("--")], options[options.index("--") + 1 :]
name = options[options.index("-s") + 1][len("benchmarks("):-1]
report = pathlib.Path(options[options.index("--report") + 1])
report.write_text(json.dumps({"sessions": [{"result": "success", "reason": None}]}))
if "--install-only" in options:
    sys.exit()
value = lambda option: given[given.index(option) + 1]
cases, seeds = re.findall(r"\\[(.+?)-seed", value("-k")), value("--seeds").split(",")
with open("calls", "a") as file:
    file.write(json.dumps([name, cases, seeds, given]) + "\\n")
target = pathlib.Path(value("--records"), name, "small")
target.mkdir(parents=True, exist_ok=True)
for case in cases:
    for seed in seeds:
        source = pathlib.Path("pool", name, "small", f"{case}-seed{seed}.json")
        if source.exists():
            shutil.copy(source, target)
tests = '<testcase classname="benchmarks.test_it" name="test"/>'
for case in cases:
    crash = pathlib.Path("crashes", name, case)
    if crash.exists():
        end = "E     File y&#10;E&#10;E     KeyError: 'no'&#10;&#10;x.py:1: KeyError"
        said = f'<failure message="{crash.read_text()}">{end}</failure>'
        tests += f'<testcase classname="b" name="test[{case}-seed{seeds[0]}]">{said}</testcase>'
path = pathlib.Path(value("--junitxml"))
path.write_text(f"<testsuites><testsuite>{tests}</testsuite></testsuites>")
"""


ROOT = Path(__file__).parents[2]
REAL = {name: case for name, case in tables.asked("small").items() if case.question in ASKED}


def collected(*cases: str) -> set[str]:
    """List the cases of the benchmarks that a round of some cases selects."""
    options = ("-k", expression(cases), "--seeds", "0", "--release", NEW, "--lock", "any")
    command = [sys.executable, "-m", "pytest", "benchmarks", "--collect-only", "-q", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return set(re.findall(r"\[(.+)-seed0\]$", done.stdout, re.MULTILINE))


def test_a_round_selects_the_benchmarks_of_its_cases_and_no_other() -> None:
    some = ("lenet5-plain", "resnet50-w0.25-literal-none")
    assert collected(*some) == set(some)


def test_every_case_of_the_gate_has_a_benchmark() -> None:
    assert collected(*REAL) == set(REAL)
    assert {case.question for case in REAL.values()} == set(ASKED)


@pytest.fixture(autouse=True)
def project(fill: Fill, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the gate ask two cases, and let a fake nox measure them out of the folder `pool`."""
    del fill  # it makes the project
    monkeypatch.setattr(tables, "TABLES", CASES)
    Path("fake.py").write_text(FAKE)
    monkeypatch.setattr(processes, "NOX", (sys.executable, "-I", "-S", "fake.py"))
    monkeypatch.setattr(turns, "POLL_S", 0.01)
    monkeypatch.setattr(staleness, "measuring_digest", lambda *_: CODE)
    monkeypatch.setattr(staleness, "_with_libraries", lambda now, _: now._replace(unchecked=""))
    monkeypatch.setattr(gating, "PLAN", Plan(looks=(5, 10)))


RUNS = itertools.count(1.0, 1 / 64)  # seconds


def put(fill: Fill, root: str, values: list[float], **changes: Any) -> None:
    """Store a record a value, as runs of their own: no two take the same time."""
    fill(root, values, environment={"code_digest": CODE}, **changes)
    for path in Path(root, changes.get("release", NEW), "small").glob(f"{changes['case']}-*"):
        record = read_record(path)
        accuracy = record.metrics["clean_accuracy"]
        change(path, metrics=whole(accuracy, record.settings), wall_s=float(next(RUNS)))


def whole(accuracy: float, settings: Mapping[str, Any]) -> dict[str, float]:
    """Give a training all that decides, each as good as its accuracy."""
    branch = "adversarial" if settings["phases"] else "clean"
    gains = ("information_gain", "adversarial_information_gain", f"{branch}_branch_gain")
    accuracies = ("clean_accuracy", "adversarial_accuracy")
    return {**dict.fromkeys(accuracies, accuracy), **dict.fromkeys(gains, 2 * accuracy)}


def change(path: Path, **fields: Any) -> None:
    """Write a record anew with other fields, and the digest that goes with it."""
    write_record(replace(read_record(path), **fields), path)


def both(fill: Fill, root: str, old: list[float] = FINE, new: list[float] = OTHER) -> None:
    """Fill a folder with the records of both releases, five seeds unless there are more."""
    for case in (PLAIN_CASE, LOSS_CASE):
        put(fill, root, old, case=case, release=OLD)
        put(fill, root, new, case=case, release=NEW)


def calls() -> list[list[Any]]:
    """Read what was measured: row, cases, seeds and all arguments, in this order."""
    return [json.loads(line) for line in Path("calls").read_text().splitlines()]


def told(capsys: Output) -> str:
    """Give what was printed for the reader."""
    return capsys.readouterr().out


def first(capsys: Output) -> str:
    """Give the first line that was printed."""
    return told(capsys).splitlines()[0]


# The answer and its status


def test_nothing_worse_is_a_yes_that_says_what_it_could_have_missed(
    fill: Fill, capsys: Output
) -> None:
    both(fill, "records")
    assert main(JUDGE) == 0
    answer = first(capsys)
    assert answer.startswith(f"May you upgrade from {OLD} to {NEW}? Yes: nothing is worse")
    assert "what could have been missed is less than 0." in answer


def test_what_is_worse_is_a_no_that_names_it(fill: Fill, capsys: Output) -> None:
    both(fill, "records", new=WORSE)
    assert main(JUDGE) == 1
    answer, *rest = told(capsys).splitlines()
    assert "? No: LeNet-5 (lenet5-" in answer
    assert " lower (" in answer
    wanted = f"WORSE outcome, {PLAIN_CASE}: clean_accuracy is 20 points lower"
    assert any(line.startswith(wanted) for line in rest)


def test_what_more_seeds_would_decide_is_undecided(fill: Fill, capsys: Output) -> None:
    both(fill, "records", old=OPEN[:5], new=LOWER[:5])
    assert main(JUDGE) == 2
    output = told(capsys)
    assert "? Undecided: nothing that was judged is worse, but 6 of " in output.splitlines()[0]
    assert "further seeds on each side would decide it, about 1 minute" in output


@pytest.mark.parametrize("name", ["tf-9", "stored:tf-9", "tf-2.15,tf-2.21"])
def test_a_row_that_is_none_is_an_error(capsys: Output, name: str) -> None:
    assert main(["gate", "--baseline", name, "--candidate", NEW]) == 2
    assert re_row(capsys.readouterr().err)


def test_a_row_without_a_stored_baseline_is_refused_before_anything_is_measured(
    fill: Fill, capsys: Output
) -> None:
    assert main(STORED) == 2
    assert f"{NEW} has no stored baseline. Found in baselines: none." in capsys.readouterr().err
    put(fill, "baselines", FINE, case=PLAIN_CASE, release=OLD)
    assert main(STORED) == 2
    assert f"Found in baselines: {OLD}. Compare with one of these" in capsys.readouterr().err
    assert not Path("calls").exists()


def re_row(text: str) -> bool:
    """True where an error says that a name is no single row."""
    return "is no row of the release table" in text or "names 2 rows, expected one" in text


@pytest.mark.parametrize(
    "options",
    [
        ["--budget", "soon"], ["--budget", "30"], ["--budget", "5d"], ["--margin", "accuracy"],
        ["--margin", "accuracy=-1"], ["--margin", "=1"], ["--margin", "accuracy=nan"],
        ["--seeds", "a"], ["--seeds", "0,,1"], ["--jobs", "0"], ["--margin", "acuracy=0.02"],
        ["--margin", "plain_step_s=0.1"],
        ["--cases", ""], ["--cases", ","],
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_read_is_an_error(options: list[str], capsys: Output) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*BOTH, *options])
    assert ended.value.code == 2
    assert re.search(r"must (be|name)", capsys.readouterr().err)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--cases", "nonsense"], "--cases nonsense names no case, expected of lenet5-plain, len"),
        (["--no-run", "--bogus"], "what is not run takes no options of pytest. Leave out: --bogus"),
        (["--baseline", "stored:"], "nothing is no row of the release table"),
    ],
)
def test_what_would_judge_nothing_or_be_passed_over_is_an_error(
    options: list[str], message: str, capsys: Output
) -> None:
    assert main([*BOTH, *options]) == 2
    assert message in capsys.readouterr().err
    assert not Path("calls").exists()


@pytest.mark.usefixtures("good")
def test_an_answer_is_told_even_if_a_file_cannot_be_written(capsys: Output) -> None:
    Path("file").touch()
    assert main([*JUDGE, "--json", "file/gate.json"]) == 2
    said = capsys.readouterr()
    assert said.out.startswith("May you upgrade")
    assert "file/gate.json" in said.err


def test_a_margin_decides_how_much_worse_is_no_worse(fill: Fill) -> None:
    both(fill, "records", new=[value - 0.03 for value in OTHER])
    assert main(JUDGE) == 1
    assert main([*JUDGE, "--margin", "accuracy=0.05"]) == 0
    assert main([*JUDGE, "--margin", "clean_accuracy=0.05,adversarial_accuracy=0.05"]) == 0
    assert main([*JUDGE, "--margin", "clean_accuracy=0.05"]) == 1
    assert main([*JUDGE, "--margin", "nats=0.5"]) == 1


# What is measured


def test_what_a_run_without_a_record_ended_with_is_told_first(fill: Fill, capsys: Output) -> None:
    both(fill, "pool")
    for path in Path("pool", NEW, "small").glob(f"{LOSS_CASE}-*"):
        path.unlink()
    for case in (LOSS_CASE, PLAIN_CASE):  # the second has its records all the same
        crash = Path("crashes", NEW, case)
        crash.parent.mkdir(parents=True, exist_ok=True)
        crash.write_text("KeyError: in user code:&#10;  File x&#10;[+5 more lines]")
    assert main([*BOTH, "--records", "own", "--cases", LOSS_CASE + "," + PLAIN_CASE]) == 2
    output = told(capsys)
    said = f"{LOSS_CASE}: {NEW}: no record: KeyError: 'no'"
    assert f"such as {said}" in output.splitlines()[0]
    assert f"MISSING {said}" in output
    assert f"{LOSS_CASE}: the candidate has no record of it" not in output
    assert f"{PLAIN_CASE}: {NEW}: no record" not in output
    assert main([*BOTH, "--records", "own", "--no-run"]) == 2
    assert f"{LOSS_CASE}: the candidate has no record of it. Measure" in told(capsys)


def test_what_the_run_of_one_seed_ended_with_is_told(fill: Fill, capsys: Output) -> None:
    both(fill, "pool")
    Path("pool", NEW, "small", f"{LOSS_CASE}-seed0.json").unlink()
    crash = Path("crashes", NEW, LOSS_CASE)
    crash.parent.mkdir(parents=True)
    crash.write_text("MemoryError")
    assert main([*BOTH, "--records", "own"]) == 2
    output = told(capsys)
    assert f"{LOSS_CASE}: {NEW}: no record of seed 0: MemoryError" in output
    assert f"{LOSS_CASE}: the candidate has no record of seed 0" not in output


def test_what_an_earlier_run_ended_with_is_not_told_of_one_that_never_began(
    fill: Fill, capsys: Output
) -> None:
    both(fill, "pool")
    for path in Path("pool", NEW, "small").glob(f"{LOSS_CASE}-*"):
        path.unlink()
    crash = Path("crashes", NEW, LOSS_CASE)
    crash.parent.mkdir(parents=True)
    crash.write_text("MemoryError")
    assert main([*BOTH, "--records", "own"]) == 2
    assert "no record: MemoryError" in told(capsys)
    Path("locks", f"{NEW}.txt").write_text("edited")
    assert main([*BOTH, "--records", "own"]) == 2
    assert "MemoryError" not in told(capsys)


def test_the_first_look_is_measured_on_both_rows_and_suffices_where_it_decides(
    fill: Fill, capsys: Output
) -> None:
    both(fill, "pool")
    assert main([*BOTH, "--records", "own", "--gtsrb-root", "/data"]) == 0
    found = sorted(calls())
    assert [call[:3] for call in found] == [
        [row, [PLAIN_CASE, LOSS_CASE], ["0", "1", "2", "3", "4"]] for row in (OLD, NEW)
    ]
    assert all(call[3][4:6] == ["--gtsrb-root", "/data"] for call in found)
    output = capsys.readouterr()
    assert output.out.startswith("May you upgrade")
    assert f"{OLD} started, log in own/{OLD}/gate.log" in output.err


def test_only_what_is_undecided_gets_further_seeds(fill: Fill) -> None:
    both(fill, "pool")
    put(fill, "pool", OPEN, case=LOSS_CASE, release=OLD)
    put(fill, "pool", LOWER, case=LOSS_CASE, release=NEW)
    main([*BOTH, "--jobs", "1"])
    seeds = [str(seed) for seed in range(10)]
    assert [call[:3] for call in calls()] == [
        [OLD, [PLAIN_CASE, LOSS_CASE], seeds[:5]],
        [NEW, [PLAIN_CASE, LOSS_CASE], seeds[:5]],
        [OLD, [LOSS_CASE], seeds],
        [NEW, [LOSS_CASE], seeds],
    ]


def test_what_is_cheap_is_measured_first(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    traced = Case("lenet5", loss=PLAIN, question="parity")
    attacked = Case("lenet5", question="attack")
    cases = {**CASES, "attack": (attacked,), "parity": (traced,)}
    monkeypatch.setattr(tables, "TABLES", cases)
    both(fill, "pool")
    assert main([*BOTH, "--jobs", "1", "--seeds", "3,4,5,6,7"]) == 2
    found = [call[1:3] for call in calls() if call[0] == NEW]
    assert found == [
        [["parity-lenet5-plain"], ["3"]],
        [["attack-lenet5"], ["3"]],
        [[PLAIN_CASE, LOSS_CASE], ["3", "4", "5", "6", "7"]],
    ]
    assert "MISSING" in told(capsys)


def test_libraries_that_cannot_be_checked_after_a_run_are_no_pass(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    both(fill, "pool")
    lost = "there is no environment"
    monkeypatch.setattr(staleness, "_with_libraries", lambda now, _: now._replace(unchecked=lost))
    assert main(BOTH) == 2
    reason = f"MISSING {OLD}, {NEW}: its libraries could not be checked: {lost}"
    assert reason in told(capsys)
    assert main(JUDGE) == 0


def test_a_release_that_is_resolved_when_it_runs_is_judged_by_what_it_became(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    both(fill, "pool")
    write_locks(pin="numpy==2.0.1")
    real = Rounds.run

    def resolving(self: Rounds, *given: Any) -> None:
        write_locks()
        real(self, *given)

    monkeypatch.setattr(Rounds, "run", resolving)
    assert main(BOTH) == 0


def test_a_run_that_makes_nothing_is_not_repeated(capsys: Output) -> None:
    assert main(BOTH) == 2
    assert len(calls()) == 2
    output = told(capsys)
    assert f"MISSING {PLAIN_CASE}, {LOSS_CASE}: the baseline has no record of it" in output


def test_rounds_end_when_no_further_record_comes(fill: Fill) -> None:
    both(fill, "pool", old=FINE[:3], new=OTHER[:3])
    assert main([*BOTH, "--jobs", "1"]) == 2
    assert [call[0] for call in calls()] == [OLD, NEW] * 2


def test_a_spent_budget_stops_what_runs_and_says_so(fill: Fill, capsys: Output) -> None:
    both(fill, "pool")
    hanging = "import sys, time\nif '--install-only' not in sys.argv: time.sleep(200)\n"
    Path("fake.py").write_text(hanging + FAKE)
    with within(60):
        assert main([*BOTH, "--budget", "1s"]) == 2
    output = capsys.readouterr()
    assert "the budget is spent; the same command goes on with it" in output.out
    assert f"{NEW} stopped" in output.err


def test_an_interrupted_run_tells_nothing(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    both(fill, "records")

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Rounds, "run", interrupted)
    assert main(BOTH) == 130
    assert told(capsys) == ""


def test_one_row_against_itself_has_seeds_of_its_own_on_each_side(
    fill: Fill, capsys: Output
) -> None:
    for case in (PLAIN_CASE, LOSS_CASE):
        put(fill, "pool", FINE, case=case)
    itself = ["gate", "--baseline", NEW, "--candidate", NEW]
    for path in Path("pool", NEW, "small").iterdir():
        change(path, wall_s=float(next(RUNS)))
    shutil.copytree("pool", "records")  # the even seeds of a gate with another row lie there
    assert main([*itself, "--seeds", "0,1,2,3,4,5,6,7,8,9"]) == 0
    found = [(call[2], Path(call[3][call[3].index("--records") + 1]).name) for call in calls()]
    assert found == [(list("02468"), ".baseline"), (list("13579"), "records")]
    output = told(capsys)
    assert "seeds 0, 2, 4, 6, 8, in records/.baseline/tf-2.21/small" in output
    assert "seeds 1, 3, 5, 7, 9, in records/tf-2.21/small" in output


def test_a_stored_baseline_needs_no_second_environment(fill: Fill, capsys: Output) -> None:
    both(fill, "pool")
    for case in (PLAIN_CASE, LOSS_CASE):
        put(fill, "baselines", FINE, case=case, release=OLD)
    commit()
    assert main(["gate", "--baseline", f"stored:{OLD}", "--candidate", NEW]) == 0
    assert {call[0] for call in calls()} == {NEW}
    assert f"May you upgrade from the stored baseline of {OLD} to {NEW}? Yes" in told(capsys)


def test_a_library_that_was_edited_here_is_judged_against_a_stored_baseline_on_demand(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    for case in (PLAIN_CASE, LOSS_CASE):
        put(fill, "baselines", FINE, case=case)
        put(fill, "records", WORSE, case=case)
    for path in Path("records", NEW, "small").glob("*.json"):
        record = read_record(path)
        made = {**record.environment, "library_digest": "sha256:edited"}
        change(path, environment=made, key=record_key(record.settings, made))
    commit()
    monkeypatch.setattr(
        staleness,
        "_with_libraries",
        lambda now, _: now._replace(libraries="sha256:edited", unchecked=""),
    )
    stored = ["gate", "--baseline", "stored", "--candidate", NEW, "--no-run"]
    assert main(stored) == 2
    assert "a library was edited or built here. --stale judges it as it is" in told(capsys)
    assert main([*stored, "--stale"]) == 1
    write_locks(pin="numpy==2.0.1")  # then the lock says why they are others
    assert main(stored) == 2
    assert "was edited or built here" not in told(capsys)


def test_what_a_stored_baseline_has_no_record_of_is_not_measured_and_no_pass(
    fill: Fill, capsys: Output
) -> None:
    both(fill, "pool")
    put(fill, "baselines", FINE, case=PLAIN_CASE)
    commit()
    assert main(STORED) == 2
    assert {case for call in calls() for case in call[1]} == {PLAIN_CASE}
    output = told(capsys)
    assert f"MISSING {LOSS_CASE}: the baseline has no record of it" in output
    assert "candidate has no record" not in output


def test_steps_that_a_stored_baseline_lacks_are_not_measured_either(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = Case("lenet5", loss=PLAIN, question="parity")
    monkeypatch.setattr(tables, "TABLES", {**CASES, "parity": (traced,)})
    both(fill, "pool")
    put(fill, "baselines", FINE, case=PLAIN_CASE)
    commit()
    assert main(STORED) == 2
    assert {case for call in calls() for case in call[1]} == {PLAIN_CASE}


def test_steps_are_those_of_the_stored_baseline(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    traced = Case("lenet5", loss=PLAIN, question="parity")
    monkeypatch.setattr(tables, "TABLES", {"parity": (traced,)})
    fill("baselines", FINE[:3], case=str(traced))
    for seed in (0, 1):
        Path("baselines", NEW, "small", f"{traced}-seed{seed}.json").unlink()
    main([*STORED, "--seeds", "5,6,7,8,9"])
    assert [call[2] for call in calls()] == [["2"]]


# A pass that was weakened on purpose


def enter(release: str = NEW) -> None:
    """Write the index of a stored baseline."""
    folder = Path("baselines", release, "small")
    entry = entry_of(by_case(read_records(folder)), day="2026-01-01", reason="new")
    (folder / HISTORY).write_bytes(history_text([entry]))


def commit(*, entered: bool = True) -> None:
    """Commit the baselines, with an index of what they hold."""
    for folder in Path("baselines").glob("*/small") if entered else ():
        enter(folder.parent.name)
    names = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    for words in (
        ("init", "-q"),
        ("add", "-A", "baselines"),
        (*names, "commit", "-qm", "baselines"),
    ):
        subprocess.run(["git", *words], check=True, capture_output=True)  # noqa: S607


@pytest.fixture
def good(fill: Fill) -> None:
    """Store a baseline and fresh records that pass."""
    both(fill, "records")
    for case in (PLAIN_CASE, LOSS_CASE):
        put(fill, "baselines", OTHER[::-1], case=case)
        put(fill, "baselines", FINE, case=case, release=OLD)
    commit()
    assert main(JUDGE) == main([*STORED, "--no-run"]) == 0


Weaken = Callable[[], object]
SMALL = Path("records", NEW, "small")
STORED_ONE = Path("baselines", NEW, "small", f"{PLAIN_CASE}-seed0.json")
ONE = SMALL / f"{PLAIN_CASE}-seed1.json"
OLD_ONE = Path("records", OLD, "small", ONE.name)
LATER = "2026-03-01T00:00:00+00:00"


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("weaken", "reason"),
    [
        (
            lambda: [path.unlink() for path in SMALL.glob(f"{LOSS_CASE}*")],
            f"{LOSS_CASE}: the candidate has no record of it",
        ),
        (
            lambda: [path.unlink() for path in SMALL.glob("*-seed[3-9].json")],
            "10 and 3 seeds",
        ),
        (
            (SMALL / f"{PLAIN_CASE}-seed3.json").unlink,
            f"{PLAIN_CASE}: {NEW}: no record of seed 3, but of later ones",
        ),
        (
            lambda: [ONE.with_name(f"{PLAIN_CASE}-seed3.json").unlink(),
                     OLD_ONE.with_name(f"{PLAIN_CASE}-seed3.json").unlink()],
            f"{PLAIN_CASE}: {NEW}: no record of seed 3, but of later ones",
        ),
        (
            lambda: change(ONE, wall_s=read_record(OLD_ONE).wall_s, started_at=LATER),
            f"seed 1 of the candidate is the run of the baseline's {PLAIN_CASE}-seed1 ",
        ),
        (lambda: shutil.rmtree(SMALL), "the candidate has no record of it"),
        (
            lambda: shutil.copy(f"records/{OLD}/small/{PLAIN_CASE}-seed0.json", SMALL),
            f"{PLAIN_CASE}-seed0.json is not a record that can be trusted: it belongs to {OLD}",
        ),
        (
            lambda: shutil.copy(ONE, ONE.with_name(f"{PLAIN_CASE}-seed0.json")),
            "it holds the record lenet5-plain-seed1, expected lenet5-plain-seed0",
        ),
        (
            lambda: (SMALL / f"{PLAIN_CASE}-seed0.json").write_text("{"),
            f"{PLAIN_CASE}-seed0.json is not JSON",
        ),
        (
            lambda: write_locks(pin="numpy==2.0.1"),
            f"MISSING {LOSS_CASE}, {PLAIN_CASE}: {NEW}: stale: seed 0, seed 1, seed 2 and",
        ),
        (
            lambda: Path("records").rename("elsewhere"),
            "the baseline has no record of it",
        ),
    ],
)  # fmt: skip
def test_what_was_taken_away_or_put_in_is_named_and_no_pass(
    weaken: Weaken, reason: str, capsys: Output
) -> None:
    weaken()
    assert main([*JUDGE, "-v"]) == 2
    assert reason in told(capsys)


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    ("weaken", "reason"),
    [
        (
            lambda: change(STORED_ONE, wall_s=9.0),
            "NOT CLEAN, other than its commit (of ",
        ),
        (
            STORED_ONE.unlink,
            "NOT CLEAN",
        ),
        (
            lambda: (STORED_ONE.unlink(), commit(entered=False)),
            "its index history.jsonl ends with others",
        ),
        (
            lambda: (STORED_ONE.with_name(HISTORY).unlink(), commit(entered=False)),
            "its index history.jsonl is missing",
        ),
        (lambda: shutil.rmtree(".git"), "whether it was edited cannot be told"),
        (
            lambda: shutil.rmtree(f"baselines/{NEW}"),
            f"{NEW} has no stored baseline. Found in baselines: ",
        ),
    ],
)  # fmt: skip
def test_a_baseline_that_is_not_as_committed_is_no_pass(
    weaken: Weaken, reason: str, capsys: Output
) -> None:
    weaken()
    assert main([*STORED, "--no-run", "-v"]) == 2
    assert reason in "".join(capsys.readouterr())


@pytest.mark.usefixtures("good")
def test_a_case_that_is_deselected_is_named_and_no_pass(capsys: Output) -> None:
    assert main([*JUDGE, "--cases", "*-plain"]) == 2
    output = told(capsys)
    assert f"MISSING {LOSS_CASE}: not asked, because of --cases" in output
    assert "nothing that was judged is worse" in output.splitlines()[0]


@pytest.mark.usefixtures("good")
def test_a_case_that_was_dropped_from_the_suite_is_named_and_no_pass(
    monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    monkeypatch.setattr(tables, "TABLES", {"accuracy": CASES["accuracy"][:1]})
    assert main(JUDGE) == 2
    reason = f"in the stored baseline baselines/{OLD}/small, and no longer asked"
    assert f"MISSING {LOSS_CASE}: {reason}" in told(capsys)


@pytest.mark.usefixtures("good")
def test_stale_records_are_judged_only_if_that_is_asked_and_are_no_pass(capsys: Output) -> None:
    write_locks(pin="numpy==2.0.1")
    assert main(JUDGE) == 2
    assert "outcome: nothing was judged" in told(capsys)
    assert main([*JUDGE, "--stale"]) == 2
    output = told(capsys)
    assert "stale, judged all the same" in output
    assert "outcome: nothing was judged" not in output


@pytest.mark.usefixtures("good")
def test_seeds_that_lie_there_cannot_be_left_out_of_a_pass(capsys: Output) -> None:
    assert main([*JUDGE, "--seeds", "0,1,2,3,4,5,6,7,8,9"]) == 0
    told(capsys)
    assert main([*JUDGE, "--seeds", "0,1,2,3,4"]) == 2
    output = told(capsys)
    assert f": {OLD}: seed 5, 6, 7, 8, 9 lies there and is left out by --seeds" in output
    assert f"{OLD}: 10 records of other seeds were not judged" in output
    assert "seeds 0 to 4" in output


@pytest.mark.usefixtures("good")
def test_a_metric_that_both_sides_lost_is_no_pass(capsys: Output) -> None:
    for path in Path("records").glob(f"*/small/{PLAIN_CASE}-*"):
        metrics = read_record(path).metrics
        change(path, metrics={name: metrics[name] for name in metrics if "gain" not in name})
    assert main(JUDGE) == 2
    lost = "information_gain, adversarial_information_gain, clean_branch_gain"
    output = told(capsys)
    for name in (OLD, NEW):
        assert f"{PLAIN_CASE}: {name}: not whole: seed 0, seed 1, seed 2 and " in output
    assert f"without {lost}" in output


@pytest.mark.usefixtures("good")
def test_the_states_that_steps_start_from_must_be_as_committed(capsys: Output) -> None:
    states = Path("baselines/states/lenet5.npz")
    states.parent.mkdir()
    states.write_text("weights")
    assert main(JUDGE) == 2
    assert "MISSING baselines/states: no git commit holds it" in told(capsys)


# What is written


@pytest.mark.usefixtures("good")
def test_the_answer_is_written_to_every_file_that_is_named() -> None:
    names = [f"out/gate.{end}" for end in ("md", "json", "xml", "summary.md")]
    options = zip(("--markdown", "--json", "--junit", "--summary"), names, strict=True)
    assert main([*JUDGE, *(word for pair in options for word in pair)]) == 0
    question = f"May you upgrade from {OLD} to {NEW}? Yes"
    assert all(question in Path(name).read_text() for name in names)
    verdict = json.loads(Path("out/gate.json").read_text())
    assert verdict["decision"] == NO_WORSE
    assert [side["release"] for side in verdict["expected"]] == [OLD, NEW]
    assert verdict["expected"][0]["cases"] == sorted([PLAIN_CASE, LOSS_CASE])


@pytest.mark.usefixtures("good")
@pytest.mark.parametrize(
    "taken",
    [Path.mkdir, os.mkfifo, lambda path: path.symlink_to("gate.md")],
    ids=["folder", "pipe", "link"],
)
def test_a_file_that_cannot_be_written_is_an_error_before_anything_is_removed(
    capsys: Output, taken: Callable[[Path], None]
) -> None:
    taken(Path("taken"))
    Path("gate.md").touch()
    assert main([*JUDGE, "--markdown", "gate.md", "--json", "taken"]) == 2
    said = capsys.readouterr()
    assert said.err.startswith("error: taken cannot be written: it is a link, a folder or a device")
    assert not said.out
    assert Path("gate.md").exists()


def test_two_answers_for_one_file_are_an_error(capsys: Output) -> None:
    assert main([*JUDGE, "--markdown", "gate.md", "--summary", "./gate.md"]) == 2
    assert "gate.md, gate.md: found one file twice" in capsys.readouterr().err


def test_findings_of_every_layer_are_counted(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    both(fill, "records")
    real = gating.decide

    def with_steps(*names: str, **given: Any) -> Any:
        found = real(*names, **given)
        step = Finding(STEP_MAP, PLAIN_CASE, "steps", NO_WORSE, "Steps from 4 states agree.")
        return found._replace(findings=[step, *found.findings])

    monkeypatch.setattr(gating, "decide", with_steps)
    assert main(JUDGE) == 0
    assert "step map: 1 no worse of 1 findings on 1 case" in told(capsys)


def test_names_of_strangers_cannot_forge_a_line(fill: Fill, capsys: Output) -> None:
    both(fill, "records")
    evil = SMALL / f"{PLAIN_CASE}-seed1\nMay you? Yes.json"
    evil.write_text("{}")
    assert main(JUDGE) == 2
    assert not any(line.startswith("May you? Yes") for line in told(capsys).splitlines())
    assert os.path.lexists(evil)


@pytest.mark.usefixtures("good")
def test_an_answer_of_before_does_not_stand_where_none_came(capsys: Output) -> None:
    assert main([*JUDGE, "--json", "gate.json"]) == 0
    assert main(["gate", "--baseline", "tf-9", "--candidate", NEW, "--json", "gate.json"]) == 2
    assert not Path("gate.json").exists()
    assert "tf-9" in capsys.readouterr().err


def test_a_trace_from_other_states_is_stale(
    fill: Fill, monkeypatch: pytest.MonkeyPatch, capsys: Output
) -> None:
    traced = Case("lenet5", loss=PLAIN, question="parity")
    monkeypatch.setattr(tables, "TABLES", {"parity": (traced,)})
    fill("records", FINE[:1], case=str(traced), release=OLD, environment={"code_digest": CODE})
    main([*JUDGE, "-v"])
    assert f"{traced}: {OLD}: stale: the states that it steps from: not stated" in told(capsys)
