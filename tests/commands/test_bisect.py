"""Tests of suite.commands.bisect: a planted fault is named, and nothing is left behind."""

from __future__ import annotations

import json
import os
import re
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from suite import tables
from suite.__main__ import main
from suite.cases import PLAIN, Case
from suite.commands import bisect, bisecting, intermediate, probing, processes
from suite.errors import ReleaseError
from suite.judge import staleness
from suite.judge.gate.finding import (
    NO_WORSE,
    OUTCOME,
    STEP_MAP,
    UNDECIDED,
    WORSE,
    Answer,
    Finding,
)
from suite.judge.gate.symptom import Symptom
from suite.judge.metrics import PRIMARY
from suite.releases import read_releases
from tests.commands.conftest import Fill, Output, write_lock

CODE = "sha256:code"
CASE = "lenet5-plain"
ROOT = Path(__file__).parents[2]
GOOD_ROW, MIDDLE, BAD_ROW = "one", "two", "three"
BOTH = ["bisect", "--baseline", GOOD_ROW, "--candidate", BAD_ROW]
VERSIONS = ["1.0", "1.1", "1.2", "1.3", "2.0"]

FAKE = """
import dataclasses, json, pathlib, random, re, sys
sys.path.insert(0, {root!r})
options, given = sys.argv[1:], []
if "--" in options:
    options, given = options[: options.index("--")], options[options.index("--") + 1 :]
name = options[options.index("-s") + 1][len("benchmarks("):-1]
table = open("pyproject.toml").read()
python = re.findall('name = "' + name + '"\\npython = "([^"]*)"', table)[0]
lock = pathlib.Path("locks", name + ".txt").read_text()
plan = json.loads(pathlib.Path({plan!r}).read_text())
pins = {{**dict(re.findall("(?m)^([a-z]+)==(.*)$", lock)), "python": python}}
holds = lambda needed: all(pins.get(p, "0") >= v for p, v in needed.items())
report = pathlib.Path(options[options.index("--report") + 1])
installs = not any(holds(needed) for needed in plan["uninstallable"])
result = "success" if installs else "failed"
report.write_text(json.dumps({{"sessions": [{{"result": result, "reason": None}}]}}))
if "--install-only" in options:
    place = "benchmarks-" + re.sub("[^a-z0-9-]", "-", name)
    pathlib.Path(".nox", place).mkdir(parents=True, exist_ok=True)
    sys.exit(not installs)
with open({calls!r}, "a") as file:
    file.write(json.dumps([name, pins]) + "\\n")
value = lambda option: given[given.index(option) + 1]
broken = any(pins.get(p) == v for p, v in plan["broken"])
note = '<properties><property name="framework" value="%s"/></properties>'
test = '<testcase classname="benchmarks.test_it" name="test">%s</testcase>'
parts = ("asked for", '<error message="no import"/>') if broken else ("loaded", "")
path = pathlib.Path(value("--junitxml"))
text = note % parts[0] + test % parts[1]
path.write_text("<testsuites><testsuite>" + text + "</testsuite></testsuites>")
if broken:
    sys.exit(1)
from suite.files import file_digest
from suite.records import record_key
from suite.store import read_record, store
records = [option[len("--records="):] for option in given if option.startswith("--records=")]
target = pathlib.Path(records[0] if records else value("--records"))
template = read_record(pathlib.Path({template!r}))
for seed in value("--seeds").split(","):
    noise = random.Random(name + seed).gauss(0, 0.002)
    fall = 0.2 if holds(plan["fault"]) else 0.0
    accuracy = 0.8 + 0.004 * (int(seed) % 5) + noise - fall
    metrics = {{
        name: accuracy if name.endswith("accuracy") else 2 * accuracy for name in template.metrics
    }}
    metrics["information_gain"] = 2 + noise  # nats; a fault leaves it alone
    digest = file_digest(pathlib.Path("locks", name + ".txt"))
    ran = {{"python": f"{{python}}.0"}}
    environment = {{**template.environment, "lock_digest": digest, "versions": ran}}
    record = dataclasses.replace(
        template, release=name, seed=int(seed), environment=environment, metrics=metrics,
        wall_s=1 + abs(noise), key=record_key(template.settings, environment),
    )
    store(record, target)
"""


def row(name: str, *pins: str, python: str = "3.11") -> str:
    """Write a row of the release table."""
    return (
        f'[[tool.suite.releases]]\nname = "{name}"\npython = "{python}"\n'
        f"pins = {json.dumps(pins)}\nreason = 'to test'\n"
    )


Plan = Callable[..., None]


@pytest.fixture
def plan(fill: Fill, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plan:
    """Give a function that plants a fault; a fake nox measures and a fake uv resolves."""
    monkeypatch.setattr(tables, "TABLES", {"accuracy": (Case("lenet5", loss=PLAIN),)})
    metrics = dict.fromkeys((*PRIMARY, "clean_branch_gain"), 0.8)
    fill("pool", [0.8], case=CASE, environment={"code_digest": CODE}, metrics=metrics)
    template, places = tmp_path / "template" / f"{CASE}-seed0.json", tmp_path
    template.parent.mkdir()
    Path("pool/tf-2.21/small", template.name).rename(template)
    named = {
        "root": str(ROOT), "template": str(template), "plan": str(places / "plan.json"),
        "calls": str(places / "calls"),
    }  # fmt: skip
    Path("fake.py").write_text(FAKE.format(**named))
    monkeypatch.setattr(processes, "NOX", (sys.executable, "-I", "fake.py"))
    monkeypatch.setattr(intermediate, "PROJECT", tmp_path)
    monkeypatch.setattr(intermediate, "COPIED", ("fake.py",))
    monkeypatch.setattr(intermediate, "POLL_S", 0.01)
    monkeypatch.setattr(staleness, "measuring_digest", lambda *_: CODE)
    monkeypatch.setattr(intermediate, "measuring_digest", lambda *_: CODE)
    monkeypatch.setattr(staleness, "_with_libraries", lambda now, _: now._replace(unchecked=""))
    monkeypatch.setattr(intermediate, "compiled", resolver({}))
    write(row(BAD_ROW, "a==2.0", "b==2.0"), row(MIDDLE, "a==1.0", "b==1.0"),
          row(GOOD_ROW, "a==1.0", "b==1.0"))  # fmt: skip
    for name, pins in (
        (GOOD_ROW, "a==1.0\nb==1.0\nc==1.0"), (MIDDLE, "a==1.0\nb==1.0\nc==1.1"),
        (BAD_ROW, "a==2.0\nb==2.0\nc==2.0\nd==1.0"),
    ):  # fmt: skip
        relock(name, pins)

    def planted(
        fault: dict[str, str], *, broken: Sequence[Sequence[str]] = (),
        uninstallable: Sequence[dict[str, str]] = (),
    ) -> None:  # fmt: skip
        content = {"fault": fault, "broken": broken, "uninstallable": uninstallable}
        Path("plan.json").write_text(json.dumps(content))

    return planted


def write(*rows: str) -> None:
    """Write a project with some rows."""
    head = '[project]\ndependencies = []\n[tool.uv]\n[tool.suite]\ndefault = "one"\n'
    Path("pyproject.toml").write_text("".join([head, *rows]))


def relock(name: str, pins: str) -> None:
    """Write the lock of a row."""
    write_lock(next(row for row in read_releases() if row.name == name), f"{pins}\n")


def resolver(conflicts: dict[str, str], *, index: Sequence[str] = VERSIONS) -> Callable[..., str]:
    """Make a fake of uv: what is asked for is what comes, and versions come from an index."""

    def compiled(
        name: str, pins: Sequence[str], options: Sequence[str], *,
        project: Path | None = Path(), **_: Any,
    ) -> str:  # fmt: skip
        if project is None:
            package, low, high = re.split(r">=|,<", pins[0])
            return f"{package}=={[each for each in index if low <= each < high][-1]}\n"
        for pin, reason in conflicts.items():
            if pin in pins and (reason != "by what it asks" or "--override" not in options):
                raise ReleaseError(f"{name} cannot be resolved: {reason}")
        return "".join(f"{pin}\n" for pin in sorted(pins))

    return compiled


def asked(*more: str) -> tuple[int, dict[str, Any]]:
    """Run the command, and read what it wrote."""
    status = main([*BOTH, *more, "--json", "found.json"])
    assert environments() == []
    return status, json.loads(Path("found.json").read_text())


def environments() -> list[str]:
    """List the environments that are left, and copies of the project."""
    return sorted(map(str, (*Path().glob("**/.nox/*"), *Path("records/.bisect").glob("project-*"))))


def calls() -> list[list[Any]]:
    """Read what was measured: row and versions."""
    return [json.loads(line) for line in Path("calls").read_text().splitlines()]


def test_the_package_and_its_first_bad_version_are_named_first(plan: Plan, capsys: Output) -> None:
    plan({"b": "1.2"})
    status, found = asked()
    assert status == 1
    assert (found["rows"], found["package"]) == ([MIDDLE, BAD_ROW], "b")
    assert (found["versions"], found["culprit"]) == (["1.1", "1.2"], "b 1.2")
    out = capsys.readouterr().out
    assert out.startswith("To blame is b 1.2 (the last good version is 1.1), which came between")
    assert "Confirmed from both sides, measured anew." in out
    sides = [step for step in found["steps"] if step["stage"] == bisecting.BOTH_SIDES]
    assert [step["status"] for step in sides] == ["bad", "good"]
    pins = [json.dumps(call[1:]) for call in calls()]
    assert any(pins.count(each) > 1 for each in pins)  # measured anew, not known
    assert len([*Path("records/.bisect").glob("*-again")]) == 2


def test_a_finished_search_is_known_and_measures_nothing(plan: Plan) -> None:
    plan({"b": "1.2"})
    first = asked()[1]
    before = len(calls())
    status, second = asked()
    assert (status, len(calls())) == (1, before)
    assert second["answer"] == first["answer"]
    assert all(step["known"] for step in second["steps"])


def test_two_packages_that_only_do_it_together_are_named_together(plan: Plan) -> None:
    plan({"a": "2.0", "b": "2.0"})
    status, found = asked()
    assert status == 1
    assert found["culprits"] == ["a 1.0 -> 2.0", "b 1.0 -> 2.0"]
    assert (found["versions"], found["inseparable"]) == (None, [])


def test_a_version_that_cannot_be_imported_is_passed_over_and_said(
    plan: Plan, capsys: Output
) -> None:
    plan({"b": "1.2"}, broken=[["b", "1.1"], ["b", "1.2"]])
    status, found = asked()
    assert status == 1
    assert (found["versions"], found["skipped"]) == (["1.0", "1.3"], ["1.1", "1.2"])
    assert "untried between them: 1.1, 1.2" in capsys.readouterr().out


def test_what_the_packages_ask_of_each_other_is_overridden_and_said(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "1.2"})
    monkeypatch.setattr(intermediate, "compiled", resolver({"b==1.2": "by what it asks"}))
    status, found = asked()
    assert (status, found["versions"]) == (1, ["1.1", "1.2"])
    assert any("against what its packages ask" in step["words"] for step in found["steps"])


def test_where_the_bad_row_cannot_be_put_back_the_other_side_is_told(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "1.2"}, uninstallable=[])
    real = resolver({})

    def torn(name: str, pins: Sequence[str], *rest: Any, **more: Any) -> str:
        if "a==2.0" in pins and "b==2.0" not in pins:
            raise ReleaseError(f"{name} cannot be resolved: no such pair")
        return real(name, pins, *rest, **more)

    monkeypatch.setattr(intermediate, "compiled", torn)
    status, found = asked()
    assert (status, found["culprit"]) == (1, "b 1.2")
    assert "three cannot be had with it put back" in found["one_sided"]


def test_two_causes_of_one_fault_are_no_culprit(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"c": "2.0"})
    real = probing.Search.look

    def look(search: Any, point: Any, stage: str, *, again: bool = False) -> str:
        status = real(search, point, stage, again=again)
        return "bad" if again else status

    monkeypatch.setattr(probing.Search, "look", look)
    status, found = asked()
    assert status == 2
    assert "something else causes it too" in found["undecided"]


def test_a_range_in_which_nothing_is_wrong_says_so_first(plan: Plan, capsys: Output) -> None:
    plan({"b": "9.0"})
    status, found = asked()
    assert (status, found["end"]) == (0, "nothing to bisect")
    out = capsys.readouterr().out
    assert out.startswith("Nothing to bisect: nothing is worse on three than on one; ")
    assert found["nothing"].endswith("; time, memory and the attack's cases were not looked at")
    assert {name for name, _ in calls()} == {GOOD_ROW, BAD_ROW}


def test_a_metric_that_alone_is_looked_at_is_named(plan: Plan, capsys: Output) -> None:
    plan({"b": "9.0"})
    assert asked("--metric", "clean_accuracy")[0] == 0
    out = capsys.readouterr().out
    assert out.startswith("Nothing to bisect: clean_accuracy is no worse on three than on one; ")


def judge(monkeypatch: pytest.MonkeyPatch, *findings: Finding) -> None:
    """Let the gate find something, whatever was measured."""
    monkeypatch.setattr(bisect, "decide", lambda *names, **_: Answer(*names, findings))


def test_what_is_worse_elsewhere_is_not_nothing(
    plan: Plan, capsys: Output, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "9.0"})
    ours = Finding(OUTCOME, CASE, "adversarial_accuracy", NO_WORSE, "fine.")
    other = ours._replace(decision=UNDECIDED, primary=False)  # of which the answer is independent
    judge(monkeypatch, ours, other, Finding(OUTCOME, CASE, "clean_accuracy", WORSE, "far lower."))
    status, found = asked("--metric", "adversarial_accuracy")
    assert (status, found["end"]) == (2, "undecided")
    told = "adversarial_accuracy was not found to be worse in what was judged, but lenet5-plain, "
    out = " ".join(capsys.readouterr().out.split())
    assert f"{told}clean_accuracy, is worse (far lower)." in out
    assert "1 findings were judged, 1 of the outcome." in out
    assert "Without --metric the cause of what is worse is looked for." in out


def test_a_metric_that_no_record_has_is_undecided(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "9.0"})
    judge(monkeypatch, Finding(OUTCOME, CASE, "clean_accuracy", NO_WORSE, "fine."))
    status, found = asked("--metric", "pgd_accuracy")
    assert status == 2
    assert found["undecided"].endswith("but no record that is judged has it")


def test_a_quantity_that_does_not_part_trains_no_seed(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "9.0"})
    steps = Case("lenet5", loss=PLAIN, question="parity")
    cases = {"accuracy": (Case("lenet5", loss=PLAIN),), "parity": (steps,)}
    monkeypatch.setattr(tables, "TABLES", cases)
    judge(monkeypatch, Finding(STEP_MAP, str(steps), "steps", WORSE, "Steps differ."))
    status, found = asked("--metric", "gradient")
    assert status == 2
    told = "gradient does not part in what was judged, but parity-lenet5-plain, steps, is worse"
    assert told in found["undecided"]
    ran: list[Any] = []
    monkeypatch.setattr(bisect.Rounds, "run", lambda _, cases, seeds: ran.append([cases, seeds]))
    asked("--metric", "gradient")
    assert {name for cases, _ in ran for name in cases} == {"parity-lenet5-plain"}


def test_a_case_of_which_nothing_decides_is_missing(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "9.0"})
    assert asked()[0] == 0
    judge(monkeypatch, Finding(OUTCOME, "lenet5-other", "clean_accuracy", NO_WORSE, "fine."))
    status, found = asked()
    assert status == 2
    assert "lenet5-plain: nothing was found that the answer could depend on" in found["undecided"]


def test_a_baseline_that_cannot_be_measured_leaves_a_chain(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    judge(monkeypatch, Finding(OUTCOME, CASE, "clean_accuracy", WORSE, "lower."))
    plan({"b": "1.2"}, broken=[["b", "1.0"]])
    status, found = asked()
    assert (status, found["symptom"]["metric"]) == (2, "clean_accuracy")
    assert found["undecided"].startswith("one cannot be measured: ")


@pytest.mark.parametrize(
    ("fault", "broken", "told"),
    [
        ({"b": "1.2"}, [["b", "2.0"]], "three is unresolved when it is looked at again: "),
        ({"b": "9.0"}, [], "three does not show again what the gate called worse: clean_accuracy"),
    ],
)
def test_a_candidate_that_is_not_bad_again_says_why(
    plan: Plan, monkeypatch: pytest.MonkeyPatch, fault: dict[str, str], broken: list[list[str]],
    told: str,
) -> None:  # fmt: skip
    plan(fault, broken=broken)
    judge(monkeypatch, Finding(OUTCOME, CASE, "clean_accuracy", WORSE, "lower."))
    status, found = asked()
    assert (status, found["rows"]) == (2, None)
    assert found["undecided"].startswith(told)


def test_a_list_of_versions_that_ends_early_is_told_where_it_matters(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "1.2"})
    real = intermediate.compiled

    def torn(name: str, pins: Sequence[str], *rest: Any, **more: Any) -> str:
        if "project" in more and pins[0].endswith(f"<{ends}"):
            raise ReleaseError("the index is away")
        return real(name, pins, *rest, **more)

    monkeypatch.setattr(intermediate, "compiled", torn)
    ends = "1.3"  # 1.1 and 1.2 are not listed
    status, found = asked()
    assert (status, found["versions"]) == (1, ["1.0", "1.3"])
    assert "; versions between them could not be listed: the index is away)" in found["answer"]
    ends = "1.1"  # all are
    assert asked()[1]["unlisted"] == ""


def test_listing_versions_ends_with_the_budget(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan({"b": "1.2"})
    real = bisecting.versions_between
    monkeypatch.setattr(
        bisecting, "versions_between",
        lambda *given, **named: real(*given, **{**named, "until_s": 0.0}),
    )  # fmt: skip
    status, found = asked()
    assert status == 2
    assert "The budget was spent while versions of b were listed" in found["undecided"]


def test_another_cause_is_not_answered_from_the_journal(plan: Plan, tmp_path: Path) -> None:
    plan({})
    rows = [intermediate.row_point(row, tmp_path) for row in read_releases()]
    bench = intermediate.Bench(0.0, [], tmp_path)

    def key(cause: str) -> str:
        symptom = Symptom(STEP_MAP, "case", "steps", cause=cause)
        search = probing.Search(symptom, rows[0], rows[1], tmp_path, tmp_path, bench, {})
        return search._key(rows[1], again=False)

    assert key("Optimizer: SGD at 1.05") == key("Optimizer: SGD at 1.1")
    assert key("Optimizer: SGD at 1.05") != key("Epsilon: 0.011")


def test_an_environment_that_cannot_be_built_leaves_it_undecided(
    plan: Plan, capsys: Output
) -> None:
    plan({"b": "1.2"}, uninstallable=[{"b": "2.0"}])
    status, _ = asked()
    assert status == 2
    out = capsys.readouterr().out
    assert out.startswith("Could not be decided: ")
    assert "the run of three said" in out


def test_a_row_between_that_cannot_be_built_is_passed_over(plan: Plan) -> None:
    plan({"b": "1.2"})
    relock(MIDDLE, "a==1.0\nb==1.0\nc==1.5")
    plan({"b": "1.2"}, broken=[["c", "1.5"]])
    status, found = asked()
    assert (status, found["rows"], found["passed_over"]) == (1, [GOOD_ROW, BAD_ROW], [MIDDLE])


def test_python_itself_can_be_to_blame(plan: Plan) -> None:
    plan({"python": "3.12"})
    write(row(BAD_ROW, "a==1.0", python="3.12"), row(GOOD_ROW, "a==1.0"))
    for name in (GOOD_ROW, BAD_ROW):
        relock(name, "a==1.0\nb==1.0")
    status, found = asked()
    assert (status, found["culprit"]) == (1, "Python 3.11 -> 3.12")


def test_rows_of_two_pythons_are_compared_on_one_that_both_have(plan: Plan) -> None:
    plan({"b": "1.2"})
    write(row(BAD_ROW, "a==1.0", "b==2.0", python="3.12"), row(GOOD_ROW, "a==1.0", "b==1.0"))
    relock(GOOD_ROW, "a==1.0\nb==1.0")
    relock(BAD_ROW, "a==1.0\nb==2.0")
    status, found = asked()
    assert (status, found["culprit"]) == (1, "b 1.2")
    assert any("three's packages on Python 3.11" in step["what"] for step in found["steps"])


def test_no_common_python_is_said(plan: Plan, monkeypatch: pytest.MonkeyPatch) -> None:
    plan({"b": "1.2"})
    write(row(BAD_ROW, "a==1.0", "b==2.0", python="3.12"), row(GOOD_ROW, "a==1.0", "b==1.0"))
    relock(GOOD_ROW, "a==1.0\nb==1.0")
    relock(BAD_ROW, "a==1.0\nb==2.0")
    monkeypatch.setattr(intermediate, "compiled", resolver({"a==1.0": "no wheel for it"}))
    status, found = asked()
    assert status == 2
    assert "no Python was found" in found["undecided"]
    assert any("no wheel for it" in step["words"] for step in found["steps"])


def test_a_spent_budget_says_how_far_it_came_and_the_next_run_goes_on(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "1.2"})
    real = intermediate.Bench.measured

    def spent(bench: Any, point: Any, *rest: Any) -> Any:
        late = bench._replace(until_s=0.0) if len(calls()) >= 6 else bench
        return real(late, point, *rest)

    monkeypatch.setattr(intermediate.Bench, "measured", spent)
    status, found = asked()
    assert status == 2
    assert "The budget was spent" in found["undecided"]
    assert "it begins between two and three" in found["answer"]
    monkeypatch.setattr(intermediate.Bench, "measured", real)
    before = len(calls())
    status, found = asked()
    assert (status, found["culprit"]) == (1, "b 1.2")
    assert any(step["known"] for step in found["steps"])
    assert len(calls()) > before


def test_an_interrupted_search_removes_its_environments(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "1.2"})
    real = intermediate.outcome_of

    def interrupted(*given: Any, **named: Any) -> Any:
        os.kill(os.getpid(), signal.SIGTERM)
        return real(*given, **named)

    monkeypatch.setattr(intermediate, "outcome_of", interrupted)
    assert main([*BOTH]) == 130
    assert environments() == []


def test_what_a_killed_search_left_is_removed(plan: Plan) -> None:
    plan({"b": "9.0"})
    Path("records/.bisect/project-left/.nox/benchmarks-x").mkdir(parents=True)
    assert asked()[0] == 0


def test_an_environment_that_a_killed_search_left_is_removed_and_no_other(
    plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan({"b": "1.2"})
    process = os.fork()
    if process == 0:
        killed = signal.SIGKILL
        monkeypatch.setattr(
            intermediate, "outcome_of", lambda *_, **__: os.kill(os.getpid(), killed)
        )
        main(BOTH)
        os._exit(1)
    assert os.WTERMSIG(os.waitpid(process, 0)[1]) == signal.SIGKILL
    left = [path for path in environments() if path.startswith(".nox/")]
    assert left
    own = Path(".nox", "benchmarks-of-mine")
    own.mkdir()
    with Path("records/.bisect/made.txt").open("a") as made:
        made.write(f"{Path('records').resolve()}\n/\n")  # no environments of rows
    assert main(BOTH) == 1
    assert environments() == [str(own)]


def test_an_environment_of_a_row_stays_if_it_was_there(plan: Plan) -> None:
    plan({"b": "1.2"})
    there = Path(".nox", f"benchmarks-{MIDDLE}")
    there.mkdir(parents=True)
    assert main(BOTH) == 1
    assert environments() == [str(there)]


def test_a_damaged_journal_is_no_evidence(plan: Plan) -> None:
    plan({"b": "1.2"})
    Path("records/.bisect").mkdir(parents=True)
    Path("records/.bisect/journal.json").write_text('{"x": ["fine"]')
    assert asked()[0] == 1


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--candidate", "nine"], "nine is no row of the release table"),
        (["--candidate", GOOD_ROW], "are both one, expected two"),
        (["--case", "vgg"], "--case vgg fits no case, expected one of lenet5-plain"),
        (
            ["--metric", "speed"],
            "--metric speed is none that is looked at, expected one of clean_acc",
        ),
        (["--metric", "peak_memory_bytes"], "--metric peak_memory_bytes is none"),
        (["--metric", "gradient"], "is looked for in the cases called parity-..., of which none"),
        (["--baseline", "stored"], "stored"),
    ],
)
def test_what_cannot_be_asked_is_refused(
    plan: Plan, capsys: Output, options: list[str], told: str
) -> None:
    plan({"b": "9.0"})
    assert main([*BOTH, *options]) == 2
    assert told in capsys.readouterr().err
    assert not Path("calls").exists()  # before anything is measured


def test_two_searches_at_once_are_refused(plan: Plan, capsys: Output) -> None:
    plan({"b": "9.0"})
    Path("records/.bisect").mkdir(parents=True)
    with FileLock("records/.bisect/lock"):
        assert main(BOTH) == 2
    assert "another bisect is at work" in capsys.readouterr().err
