"""Tests of the workflow and the action: rights, pins, and every script run as it is written.

The gate itself is stood in for here; `python -m tests.workflow --rows ROW` runs it.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from suite.releases import WATCHED, pinned, read_releases
from tests.workflow.runner import (
    ACTION,
    ROOT,
    STAND_INS,
    WORKFLOW,
    Runner,
    StepError,
    copied,
    git,
    read,
)

WORK: dict[str, Any] = read(WORKFLOW)
JOBS: dict[str, dict[str, Any]] = WORK["jobs"]
ACTIONS = read(ROOT / ACTION)
STEPS = [
    *(step for job in JOBS.values() for step in job["steps"]),
    *ACTIONS["runs"]["steps"],
]
UVX = """#!/usr/bin/env bash
printf '%s\\n' "$@" >> "$CALLS"; echo ==== >> "$CALLS"
case "$*" in
  *" new-row -- "*) python3 - <<'PYTHON'
import pathlib
path = pathlib.Path("pyproject.toml")
first = "[[tool.suite.releases]]\\n"
row = first + 'name = "tf-9.9"\\npython = "3.11"\\npins = ["tensorflow==9.9"]\\nreason = "n"\\n'
path.write_text(path.read_text().replace(first, row + first, 1))
pathlib.Path("locks/tf-9.9.txt").write_text("tensorflow==9.9\\n")
print("added tf-9.9 (Python 3.11): tensorflow==9.9")
PYTHON
  ;;
  *" gate -- "*)
    while [ $# -gt 0 ]; do
      case "$1" in
        --summary) echo "### $MARK May you upgrade? ${ANSWER}" > "$2" ;;
        --junit) echo "<testsuites/>" > "$2" ;;
        --markdown | --json) echo "{}" > "$2" ;;
      esac
      shift
    done
    [ "$MARK" != crash ] || rm -f report/*
    mkdir -p records/row .nox/benchmarks-row && touch records/row/record.json
    exit "$STATUS"
  ;;
  *"--session data"*) mkdir -p "$HOME/.cache/adversarial-training-regression/data" ;;
  *) exit 9 ;;
esac
"""
GH = """#!/usr/bin/env bash
echo "$*" >> "$CALLS"
while [ $# -gt 1 ]; do [ "$1" != --field ] || cp "${2#body=@}" "$COMMENT"; shift; done
case "$(tail -n 1 "$CALLS")" in *" --jq "*) [ ! -f "$COMMENT" ] || echo 4711 ;; esac
"""


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Clone this repository once for all tests."""
    place = tmp_path_factory.mktemp("checkout")
    copied(place)
    return place


@pytest.fixture
def make(tmp_path: Path, checkout: Path) -> Any:
    """Return a function that makes a runner whose uvx and gh are stood in for."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name, text in (("uvx", UVX), ("gh", GH)):
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    (programs / "uv").write_text('#!/usr/bin/env bash\nexec python3 "${@:7}"\n')
    (programs / "uv").chmod(0o755)

    def made(name: str = "workflow_dispatch", **given: Any) -> Runner:
        github = {"event_name": name, "event": given.pop("event", {}), "ref": "refs/heads/main"}
        github |= {"repository": "owner/name", "server_url": "https://host", "token": "secret"}
        github |= {"run_id": "1", "run_attempt": "1"}
        variables = {
            "PATH": f"{programs}:{PYTHON}:/usr/bin:/bin",
            "CALLS": str(tmp_path / "calls"),
            "COMMENT": str(tmp_path / "comment.md"),
            "GTSRB_ROOT": "",  # whatever the user has: a runner of GitHub's has none
            **{"MARK": "✅", "ANSWER": "Yes", "STATUS": "0"},
            **given.pop("variables", {}),
        }
        source = given.pop("source", str(checkout))
        return Runner(tmp_path / "runner", github, given.pop("inputs", {}), variables, source)

    return made


PYTHON = str(Path(shutil.which("python3") or "").resolve().parent)


def matrix(runner: Runner) -> list[dict[str, str]]:
    found: list[dict[str, str]] = json.loads(runner.job("rows")["matrix"])["include"]
    return found


def calls(tmp_path: Path) -> list[list[str]]:
    text = (tmp_path / "calls").read_text()
    return [call.split("\n")[:-1] for call in text.split("====\n") if call]


# what the files say


def test_nothing_may_be_written_but_by_the_job_that_runs_no_code_of_the_repository() -> None:
    assert WORK["permissions"] == {}
    rights = {name: job["permissions"] for name, job in JOBS.items()}
    assert rights == {
        "rows": {"contents": "read"},
        "data": {"contents": "read"},
        "gate": {"contents": "read"},
        "report": {"checks": "write", "pull-requests": "write"},
    }
    used = [step.get("uses", "") for step in JOBS["report"]["steps"]]
    assert not any(name.startswith(("./", "actions/checkout")) for name in used)
    assert "head.repo.full_name == github.repository" in JOBS["report"]["if"]
    assert set(WORK["on"]) == {"pull_request", "schedule", "workflow_dispatch"}


def test_others_actions_are_pinned_by_commit_and_each_has_one_version() -> None:
    pins: dict[str, set[str]] = {}
    for path in (WORKFLOW, ROOT / ACTION):
        for name, pin in re.findall(r"uses: ([\w/-]+)@(.*)", path.read_text(encoding="utf-8")):
            assert re.fullmatch(r"[0-9a-f]{40} # v\d+\.\d+\.\d+", pin), (name, pin)
            pins.setdefault("/".join(name.split("/")[:2]), set()).add(pin)
    assert all(len(found) == 1 for found in pins.values())
    used = {step["uses"].partition("@")[0] for step in STEPS if "uses" in step}
    assert used == {"./", *STAND_INS}


def test_every_job_has_a_time_limit_and_no_script_an_expression() -> None:
    assert all(job["timeout-minutes"] <= 360 for job in JOBS.values())
    assert not [step["name"] for step in STEPS if "${{" in step.get("run", "")]
    checkouts = [step for step in STEPS if step.get("uses", "").startswith("actions/checkout@")]
    assert all(step["with"]["persist-credentials"] is False for step in checkouts)
    assert len(checkouts) == 3


def test_uv_is_that_of_the_lock() -> None:
    found = re.search(r"(?m)^uv==(\S+)", (ROOT / "locks" / "tools.txt").read_text())
    assert found
    versions = [step["with"]["version"] for step in STEPS if "version" in step.get("with", {})]
    assert versions == [found[1]] * 2


def test_scripts_pass_shellcheck() -> None:
    for step in STEPS:
        if "run" in step:
            command = ["shellcheck", "--shell", "bash", "--severity", "style", "-"]
            done = subprocess.run(command, input=step["run"].encode(), check=False)
            assert done.returncode == 0, step["name"]


def test_what_is_watched_has_a_row() -> None:
    rows = read_releases(ROOT / "pyproject.toml")
    text = (ROOT / WATCHED).read_text(encoding="utf-8")
    for package, version in re.findall(r"(?m)^([\w-]+)==(\S+)$", text):
        assert version in {pinned(row, package) for row in rows}


@pytest.mark.parametrize(
    "path",
    [str(WATCHED), "locks/tf-2.21.txt", "suite/judge/bands.csv", "baselines/states/x", ACTION],
)
def test_a_pull_request_that_changes_what_is_gated_starts_the_workflow(path: str) -> None:
    patterns = WORK["on"]["pull_request"]["paths"]
    assert any(fnmatchcase(path, pattern.replace("**", "*")) for pattern in patterns)
    assert not any(fnmatchcase("docs/ci.md", pattern) for pattern in patterns)


# which rows


def test_by_hand_all_rows_run_or_those_that_are_named(make: Any) -> None:
    rows = [row.name for row in read_releases(ROOT / "pyproject.toml") if not row.unpinned]
    assert [entry["row"] for entry in matrix(make())] == rows
    named = make(inputs={"rows": "tf-2.15,tf-nightly"})
    assert [entry["row"] for entry in matrix(named)] == ["tf-2.15", "tf-nightly"]


@pytest.mark.parametrize("cron", [row["cron"] for row in WORK["on"]["schedule"]])
def test_each_night_has_the_nightly_row_and_once_a_week_all_others(make: Any, cron: str) -> None:
    found = [entry["row"] for entry in matrix(make("schedule", event={"schedule": cron}))]
    assert (found == ["tf-nightly"]) == cron.endswith("*")
    assert len(found) in (1, len(read_releases(ROOT / "pyproject.toml")) - 1)


@pytest.mark.parametrize(
    ("change", "rows"),
    [
        (("README.md", "more"), ["tf-2.21"]),
        (("locks/tf-2.12.txt", "# more"), ["tf-2.12"]),
        ((str(WATCHED), "tensorflow==9.9"), ["tensorflow==9.9"]),
        ((str(WATCHED), "keras==3.15.1"), ["tf-2.21"]),
    ],
)
def test_a_pull_request_runs_what_it_changes(
    make: Any, checkout: Path, tmp_path: Path, change: tuple[str, str], rows: list[str]
) -> None:
    source = Path(shutil.copytree(checkout, tmp_path / "source"))
    file, line = change
    with (source / file).open("a") as opened:
        opened.write(f"{line}\n")
    git(source, "commit", "--quiet", "--all", "--message", "change")
    runner = make("pull_request", source=f"file://{source}")
    assert [entry["row"] for entry in matrix(runner)] == rows


# one row


def gated(runner: Runner, entry: Mapping[str, str]) -> None:
    runner.job("gate", needs={"rows": {"outputs": {"matrix": ""}}}, matrix=entry)


def test_the_gate_is_asked_what_the_matrix_says_and_the_summary_shows_its_answer(
    make: Any, tmp_path: Path
) -> None:
    runner = make(inputs={"rows": "tf-2.21", "cases": "a b;$(touch x)*", "budget": "5m"})
    (entry,) = matrix(runner)
    gated(runner, entry)
    data, gate = calls(tmp_path)
    assert data[-2:] == ["--session", "data"]
    report = runner.workspace / "report"
    start = gate.index("--")
    given = dict(zip(gate[start + 1 :: 2], gate[start + 2 :: 2]))
    assert given == {
        "--baseline": "stored", "--candidate": "tf-2.21", "--budget": "5m",
        "--cases": "a b;$(touch x)*", "--markdown": f"{report}/gate.md",
        "--summary": f"{report}/summary.md", "--json": f"{report}/gate.json",
        "--junit": f"{report}/gate.xml",
    }  # fmt: skip
    assert runner.summary.read_text() == "### ✅ May you upgrade? Yes\n"
    assert not [line for line in runner.log if line.startswith("nothing to save")]
    assert [key.split("-")[1] for key in runner.keys] == ["environments", "data", "records"]
    kept = runner.folder / "artefacts" / "upgrade-tf-2.21"
    assert (kept / "report" / "gate.json").exists()
    assert (kept / "records" / "row" / "record.json").exists()
    assert (kept / "report" / "new-row.patch").read_text() == ""


@pytest.mark.parametrize("status", [1, 2])
def test_a_red_or_undecided_gate_fails_after_all_was_kept(make: Any, status: int) -> None:
    runner = make(inputs={"rows": "tf-2.15"}, variables={"STATUS": str(status), "MARK": "❌"})
    (entry,) = matrix(runner)
    with pytest.raises(StepError, match=f"Answer: {status}"):
        gated(runner, entry)
    assert runner.log[-4:] == [
        "Save the records", "Save the environments", "Keep the records and the report", "Answer",
    ]  # fmt: skip
    assert runner.summary.read_text().startswith("### ❌")


def test_a_gate_that_cannot_tell_is_no_yes(make: Any) -> None:
    runner = make(inputs={"rows": "tf-2.15"}, variables={"MARK": "crash"})
    (entry,) = matrix(runner)
    with pytest.raises(StepError, match="Answer: 3"):
        gated(runner, entry)
    assert "tf-2.15? It could not be told" in runner.summary.read_text()


def test_the_nightly_row_has_no_environment_to_cache(make: Any) -> None:
    runner = make(inputs={"rows": "tf-nightly"})
    (entry,) = matrix(runner)
    gated(runner, entry)
    assert not any("environments" in name for name in runner.log)


def test_another_repository_uses_the_action_without_its_history(
    make: Any, checkout: Path, tmp_path: Path
) -> None:
    runner = make()
    place = Path(shutil.copytree(checkout, tmp_path / "actions"))
    shutil.rmtree(place / ".git")
    given = {"candidate": "tensorflow==9.9", "baseline": "tf-2.15", "cases": "lenet5"}
    outputs = runner.action(place, given)
    assert outputs == {"decision": "yes", "report": str(place / "report")}
    gate = calls(tmp_path)[-1]
    assert gate[gate.index("--candidate") + 1] == "tf-9.9"
    assert gate[gate.index("--baseline") + 1] == "tf-2.15"
    patch = (place / "report" / "new-row.patch").read_text()
    assert '+name = "tf-9.9"' in patch
    assert "b/locks/tf-9.9.txt" in patch
    assert list(runner.workspace.iterdir()) == []
    environments = re.fullmatch(r"upgrade-environments-Linux-(\w{16})-(\w{16})", runner.keys[0])
    assert environments  # of both sides
    assert environments[1] != environments[2]


def test_a_job_uses_the_action_several_times(make: Any, checkout: Path, tmp_path: Path) -> None:
    runner = make()
    place = Path(shutil.copytree(checkout, tmp_path / "actions"))
    uses = [
        {"candidate": "tensorflow==9.9", "baseline": "tf-2.15"},
        {
            "candidate": "tensorflow==9.9",
            "baseline": "tf-2.21",
            "cases": "*lenet5*,*vgg19*",
            "name": "lenet",
        },
        {"candidate": "tf-2.18"},
    ]
    folders = [Path(runner.action(place, given)["report"]) for given in uses]
    assert [folder.name for folder in folders] == ["report", "report-2", "report-3"]
    assert all((folder / "gate.json").exists() for folder in folders)
    asked = [" ".join(call) for call in calls(tmp_path)]
    assert sum(" new-row -- " in call for call in asked) == 1
    candidates = [
        call.partition("--candidate ")[2].split()[0] for call in asked if " gate " in call
    ]
    assert candidates == ["tf-9.9", "tf-9.9", "tf-2.18"]
    kept = sorted(path.name for path in (runner.folder / "artefacts").iterdir())
    assert kept == [
        "upgrade-tensorflow==9.9", "upgrade-tensorflow==9.9-lenet-2", "upgrade-tf-2.18-3",
    ]  # fmt: skip
    baselines = [call.partition("--baseline ")[2].split()[0] for call in asked if " gate " in call]
    assert baselines == ["tf-2.15", "tf-2.21", "stored:tf-2.21"], "tf-2.18 has no trainings"
    records = [key for key in runner.keys if key.startswith("upgrade-records-")]
    assert len(set(records)) == len(uses)


@pytest.mark.parametrize("candidate", ["", "tf-2.15,tf-2.12", "tf-2.15 ", "a==b==c", "$(id)"])
def test_a_candidate_that_is_no_single_one_is_refused(make: Any, candidate: str) -> None:
    with pytest.raises(StepError, match="Look up the rows: 2"):
        make().action(ROOT, {"candidate": candidate})


def test_the_comment_finds_the_answer_of_a_version_without_a_row(make: Any, tmp_path: Path) -> None:
    runner = make("pull_request", event=OWN)
    entry = {"row": "tensorflow==9.9", "baseline": "stored:tf-2.21"}
    gated(runner, entry)
    runner.job("report", needs=asked("tensorflow==9.9"))
    assert "its job ended without an answer" not in (tmp_path / "comment.md").read_text()


def test_an_input_that_the_action_does_not_have_is_refused(make: Any) -> None:
    with pytest.raises(ValueError, match="inputs must be of"):
        make().action(ROOT, {"row": "tf-2.21"})


# the report

OWN = {"pull_request": {"number": 7, "head": {"repo": {"full_name": "owner/name"}}}}


def artefact(runner: Runner, row: str, text: str) -> None:
    place = runner.folder / "artefacts" / f"upgrade-{row}" / "report"
    place.mkdir(parents=True)
    (place / "summary.md").write_text(text)
    (place / "gate.xml").write_text("<testsuites/>")


def asked(*rows: str) -> dict[str, Any]:
    """Give what the job that chooses the rows hands on."""
    include = [{"row": row} for row in rows]
    return {"rows": {"outputs": {"matrix": json.dumps({"include": include})}}}


def test_one_comment_tells_of_all_rows_the_gravest_first_and_is_edited_in_place(
    make: Any, tmp_path: Path
) -> None:
    runner = make("pull_request", event=OWN)
    for row, mark in (("a", "✅"), ("b", "❌"), ("c", "❔")):
        artefact(runner, row, f"### {mark} May you upgrade to {row}?\n")
    runner.job("report", needs=asked("a", "b", "c", "d"))
    runner.job("report", needs=asked("a", "b", "c", "d"))
    comment = (tmp_path / "comment.md").read_text()
    assert comment.startswith("<!-- adversarial-training-regression: upgrade -->\n### ❌")
    assert re.findall(r"upgrade to (\w)", comment) == ["b", "c", "d", "a"]
    assert "to d? Undecided: its job ended without an answer" in comment
    assert comment.endswith("https://host/owner/name/actions/runs/1\n")
    methods = re.findall(r"--method (\w+ \S+)", (tmp_path / "calls").read_text())
    assert methods == [
        "POST repos/owner/name/issues/7/comments",
        "PATCH repos/owner/name/issues/comments/4711",
    ]


@pytest.mark.parametrize(
    ("matrix", "told"),
    [
        ('{"include": [{"row": "a"}]}', "May you upgrade to a? Undecided: its job ended"),
        ("", "May you upgrade? No row gave an answer."),
    ],
)
def test_where_no_row_gave_an_answer_the_comment_says_so(
    make: Any, tmp_path: Path, matrix: str, told: str
) -> None:
    runner = make("pull_request", event=OWN)
    place = runner.folder / "artefacts" / "upgrade-a" / "report"
    place.mkdir(parents=True)
    (place / "gate.xml").write_text("<testsuites/>")
    runner.job("report", needs={"rows": {"outputs": {"matrix": matrix}}})
    assert f"### ❔ {told}" in (tmp_path / "comment.md").read_text()


def test_a_comment_is_never_longer_than_github_takes(make: Any, tmp_path: Path) -> None:
    runner = make("pull_request", event=OWN)
    for row in range(18):
        artefact(runner, str(row), "### ❌ May you?\n" + "é" * 9_000)
    runner.job("report", needs=asked())
    comment = (tmp_path / "comment.md").read_text()
    assert len(comment.encode()) < 65_536
    assert comment.endswith("runs/1\n")


def test_a_fork_is_not_commented_and_needs_no_right(make: Any) -> None:
    fork = {"pull_request": {"number": 7, "head": {"repo": {"full_name": "else/name"}}}}
    runner = make("pull_request", event=fork)
    assert runner.job("report", needs=asked()) == {}
    assert runner.log == ["skipped job report"]


def test_by_hand_and_at_night_there_are_tests_and_no_comment(make: Any) -> None:
    runner = make()
    artefact(runner, "a", "### ✅\n")
    runner.job("report", needs=asked())
    assert runner.log[-1] == "Show the tests"
