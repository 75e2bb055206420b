"""Tests of suite.report.gate: the answer first, and JSON that follows its schema."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

import suite.report.gate_json
from suite.judge.gate.finding import (
    NO_WORSE,
    OUTCOME,
    RANDOM_PARTS,
    STEP_MAP,
    UNDECIDED,
    WORSE,
    Answer,
    Finding,
)
from suite.report.answer import grouped, headline
from suite.report.gate import Scope, Told, lines, page
from suite.report.gate_json import SCHEMA, verdict

CASE = "vgg19-w0.25-intended-none"
GAIN = "adversarial_branch_gain"
LOWER = f"{GAIN} is 0.149 nats lower (-0.197 to -0.101 nats; 5 and 5 seeds)"
LOST = Finding(
    OUTCOME, CASE, GAIN, WORSE, f"{LOWER}; p = 0.026 over all", -0.149, -0.197, -0.101, 0.1, "nats",
    p=0.0001, detectable=0.14, seeds=(5, 5),
)  # fmt: skip
KEPT = Finding(
    OUTCOME, "lenet5-plain", "clean_accuracy", NO_WORSE, "clean_accuracy is 0.1 points higher",
    0.1, -0.5, 0.7, 2.0, "points", p=0.7, detectable=0.9, seeds=(5, 10),
)  # fmt: skip
OPEN = Finding(
    OUTCOME, "alexnet-plain", "information_gain", UNDECIDED, "information_gain is 0.05 nats lower",
    -0.05, -0.2, 0.1, 0.1, "nats", p=0.3, detectable=0.4, seeds=(5, 5), further=15,
)  # fmt: skip
STEPS = Finding(STEP_MAP, "parity-lenet5-intended", "steps", NO_WORSE, "Steps agree.", seeds=(1, 1))
DRAWN = Finding(RANDOM_PARTS, "random-lenet5", "initial weights", NO_WORSE, "as before.")
ASIDE = Finding(
    OUTCOME, "lenet5-plain", "classes_predicted", WORSE, "3 classes fewer", primary=False
)
MISSING = ("lenet5-plain: the candidate has no record of it.", "baselines: NOT CLEAN")
SCHEMA_FILE = Path(suite.report.gate_json.__file__).with_name("gate.schema.json")


def told(*findings: Finding, missing: tuple[str, ...] = (), **changes: Any) -> Told:
    """Make the answer of some findings."""
    sides = [
        Scope(name, name, stored=False, folder=f"records/{name}/small", cases=[CASE],
              fewest=5, seeds=[0, 1, 2, 5], records=4, lock="sha256:1", code="sha256:2",
              unchecked="not here")
        for name in ("tf-2.15", "tf-2.21")
    ]  # fmt: skip
    content: dict[str, Any] = {
        "answer": Answer("tf-2.15", "tf-2.21", findings, missing),
        "sides": sides,
        "margins": {"points": 2.0, "nats": 0.1},
        "level": 0.05,
        "seconds": {"alexnet-plain": 40.0},
        "titles": {CASE: "VGG19"},
        "notes": ["the budget is spent"],
    }
    return Told(**{**content, **changes})


def first(*findings: Finding, missing: tuple[str, ...] = ()) -> str:
    """Write the first line."""
    answer = told(*findings, missing=missing)
    return headline(answer.answer, answer.titles)


def test_no_names_the_network_by_how_much_and_what_is_left() -> None:
    assert first(KEPT, LOST, OPEN, missing=MISSING) == (
        f"May you upgrade from tf-2.15 to tf-2.21? No: VGG19 ({CASE}): {LOWER}; p = 0.026 over "
        "all; of the rest, 1 finding is not decided and 2 things are missing."
    )


def test_what_a_user_sees_is_named_before_a_step_that_parts() -> None:
    parted = STEPS._replace(decision=WORSE, words="the kernel of conv1 is off by 3 %.")
    assert f"No: VGG19 ({CASE})" in first(parted, LOST)
    assert first(parted).endswith("No: parity-lenet5-intended: the kernel of conv1 is off by 3 %.")
    assert "; 1 more is worse." in first(parted, LOST)


def test_the_largest_loss_in_margins_is_named() -> None:
    less = LOST._replace(case="resnet50", estimate=-0.12)
    points = KEPT._replace(decision=WORSE, estimate=-2.1, words="2.1 points lower")
    assert "No: VGG19" in first(less, points, LOST)


def test_yes_says_how_little_could_have_been_missed_and_where() -> None:
    wide = KEPT._replace(case="alexnet-plain", detectable=3.25, primary=False)
    assert first(KEPT, wide, LOST._replace(decision=NO_WORSE), STEPS).endswith(
        "Yes: nothing is worse in 3 findings on 3 cases; what could have been missed is less than "
        f"0.14 nats ({CASE}); 0.9 points in half of 2 findings, 3.25 in the least sure "
        "(alexnet-plain)."
    )


def test_yes_says_where_both_give_the_same_numbers() -> None:
    same = [each._replace(decision=NO_WORSE, detectable=0.0) for each in (KEPT, LOST)]
    assert first(*same, STEPS).endswith(
        "Yes: nothing is worse in 3 findings on 3 cases; both give the same numbers, seed by seed."
    )


def test_undecided_names_what_is_open_and_what_is_missing() -> None:
    assert first(KEPT, OPEN, missing=MISSING).endswith(
        "Undecided: nothing that was judged is worse, but 1 of 2 findings is not decided, such as "
        "information_gain of alexnet-plain; evidence is missing, or does not count, in 2 places, "
        "such as lenet5-plain: the candidate has no record of it."
    )
    assert first().endswith("Undecided: nothing was judged.")
    assert "Undecided: nothing that was judged is worse, but evidence" in first(
        KEPT, missing=MISSING[:1] * 2
    )
    assert first(missing=MISSING[1:]).endswith(
        "Undecided: evidence is missing, or does not count, in 1 place, such as baselines: NOT "
        "CLEAN."
    )
    assert len(first(missing=(f"{CASE}: {'stale ' * 200}",))) < 400


def test_all_that_is_wrong_with_the_same_records_is_one_line() -> None:
    texts = [
        f"{case}: tf-2.21: stale: seed 0: {reason}"
        for case in ("a", "b")
        for reason in ("the lock: x, expected y", "the version of numpy: 1, expected 2")
    ]
    alone = ["a: it has no record.", "a: it has no record.", "baselines: NOT CLEAN"]
    assert grouped([*texts, *alone]) == [
        "a, b: tf-2.21: stale: seed 0: the lock: x, expected y; the version of numpy: 1, "
        "expected 2",
        "a: it has no record.",
        "baselines: NOT CLEAN",
    ]


def test_a_diagnostic_decides_nothing() -> None:
    assert "? Yes: nothing is worse in 1 findings" in first(KEPT, ASIDE)
    output = list(lines(told(KEPT, ASIDE)))
    assert not any(line.startswith("WORSE") for line in output)
    assert "outcome: 1 no worse of 1 findings on 1 case; 1 diagnostic beside it" in output
    assert "classes_predicted" not in "".join(output)
    verbose = "".join(lines(told(KEPT, ASIDE), verbose=True))
    assert "diagnostic (worse)" in verbose


def test_the_report_says_why_by_how_much_how_sure_and_what_would_decide() -> None:
    output = list(lines(told(KEPT, OPEN, LOST, STEPS, DRAWN, missing=MISSING)))
    assert output[1] == f"WORSE outcome, {CASE}: {LOWER}; p = 0.026 over all"
    assert output[2] == (
        "UNDECIDED outcome, alexnet-plain: information_gain is 0.05 nats lower; 15 further seeds "
        "on each side would decide it, about 10 minutes"
    )
    assert output[3:5] == [f"MISSING {text}" for text in MISSING]
    assert "step map: 1 no worse of 1 findings on 1 case" in output
    assert "random parts: 1 no worse of 1 findings on 1 case" in output
    assert "outcome: 1 worse, 1 undecided, 1 no worse of 3 findings on 3 cases" in output
    assert any("at most 0.05 over all" in line and "2 points, 0.1 nats" in line for line in output)
    assert any(
        "judged of tf-2.21: 4 records of 1 expected case, seeds 0 to 2, 5, in records/tf-2.21/"
        "small; expected: at least 5 seeds of each trained case, lock sha256:1, code sha256:2, "
        "libraries not checked (not here)" in line
        for line in output
    )
    assert output[-1] == "the budget is spent"


def test_the_table_gives_the_interval_and_the_smallest_effect_that_would_have_been_found() -> None:
    [table] = [text for text in lines(told(KEPT, LOST)) if "smallest found" in text]
    row = next(line.split() for line in table.splitlines() if line.startswith(CASE))
    assert row == [
        CASE,
        GAIN,
        "-0.149",
        "nats",
        "-0.197",
        "to",
        "-0.101",
        "0.1",
        "0.14",
        "5",
        "worse",
    ]
    kept = next(line for line in table.splitlines() if line.startswith("lenet5-plain"))
    assert "5 and 10" in kept
    assert table.index(CASE) < table.index("lenet5-plain")


def test_what_is_only_rounding_is_zero_in_the_table() -> None:
    tiny = KEPT._replace(estimate=4e-16, low=-1e-9, high=1e-9)
    [table] = [text for text in lines(told(tiny)) if "smallest found" in text]
    assert "0 points" in table
    assert "0 to 0" in table


def test_what_is_missing_for_one_reason_is_one_line() -> None:
    texts = [f"case{number}: gone" for number in range(10)] + ["a b: gone", "no colon"]
    assert grouped(texts)[0] == (
        "case0, case1, case2, case3, case4, case5, case6, case7 and 2 more: gone"
    )
    assert grouped(texts)[1:] == ["a b: gone", "no colon"]
    assert grouped(texts, named=None)[0].count("case") == 10


def test_a_terminal_gets_the_first_lines_of_many_and_says_so() -> None:
    many = [LOST._replace(case=f"case{number}") for number in range(30)]
    output = list(lines(told(*many)))
    assert sum(line.startswith("WORSE outcome") for line in output) == 20
    assert "WORSE and 10 more: -v, or --markdown FILE" in output
    assert sum(line.startswith("WORSE outcome") for line in lines(told(*many), verbose=True)) == 30


def test_steps_and_draws_are_told_in_words_where_all_is_wanted() -> None:
    told_ = told(KEPT, STEPS, DRAWN)
    wanted = [
        "no worse: step map, parity-lenet5-intended, steps: Steps agree.",
        "no worse: random parts, random-lenet5, initial weights: as before.",
    ]
    assert [line for line in lines(told_, verbose=True) if line.startswith("no worse")] == wanted
    assert not any(line.startswith("no worse") for line in lines(told_))
    assert f"## Step map\n\n- {wanted[0]}\n" in page(told_)


def test_markdown_has_every_finding_and_no_markup_of_strangers() -> None:
    evil = KEPT._replace(case="<b>*x*</b>\n# May you? Yes", metric="a|b")
    text = page(told(LOST, OPEN, evil, STEPS, missing=MISSING))
    assert text.startswith("# May you upgrade from tf-2.15 to tf-2.21? No: VGG19")
    for head in (
        "## Worse",
        "## Not decided",
        "## Missing",
        "## Judged",
        "## Outcome",
        "## Step map",
    ):
        assert f"\n{head}\n" in text
    assert "<b>" not in text
    assert "\n# May you? Yes" not in text
    assert text.count("\n# ") == 0


def test_names_of_strangers_cannot_forge_a_line() -> None:
    evil = LOST._replace(case="x\nMay you upgrade? Yes", words="\x1b[2Jgone")
    output = list(lines(told(evil, missing=("y\nWORSE z",)), verbose=True))
    assert not any("\x1b" in text for text in output)
    single = [text for text in output if "smallest found" not in text]
    assert not any("\n" in text for text in single)
    content = verdict(told(evil, missing=("y\nWORSE z",)))
    assert content["missing"] == ["y\\nWORSE z"]
    assert "\n" not in content["answer"]


# JSON


def schema() -> dict[str, Any]:
    """Read the schema."""
    content: dict[str, Any] = json.loads(SCHEMA_FILE.read_text())
    return content


def check(content: Any) -> list[str]:
    """List what is wrong with a verdict by its schema."""
    return [error.message for error in Draft202012Validator(schema()).iter_errors(content)]


def test_the_schema_is_one_of_its_draft_and_names_the_version() -> None:
    Draft202012Validator.check_schema(schema())
    assert schema()["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    assert schema()["properties"]["schema"]["const"] == SCHEMA


@pytest.mark.parametrize(
    "findings",
    [(), (KEPT,), (LOST, KEPT, OPEN, STEPS, DRAWN, ASIDE), (OPEN,), (KEPT, ASIDE)],
)
@pytest.mark.parametrize("missing", [(), MISSING])
def test_every_verdict_follows_the_schema(
    findings: tuple[Finding, ...], missing: tuple[str, ...]
) -> None:
    content = json.loads(json.dumps(verdict(told(*findings, missing=missing)), allow_nan=False))
    assert check(content) == []
    assert content["decision"] == told(*findings, missing=missing).answer.decision
    assert len(content["findings"]) == len(findings)


def test_the_verdict_holds_what_was_expected_and_what_would_decide() -> None:
    content = verdict(told(OPEN, LOST, missing=MISSING))
    assert content["findings"][0]["further_s"] == 600.0
    assert content["findings"][1]["further_s"] is None
    assert content["expected"][1]["seeds"] == [0, 1, 2, 5]
    assert content["missing"] == list(MISSING)
    assert content["answer"].startswith(content["question"])


def test_numbers_that_are_not_finite_are_words() -> None:
    wild = KEPT._replace(estimate=math.nan, low=-math.inf, high=math.inf)
    content = json.loads(json.dumps(verdict(told(wild)), allow_nan=False))
    found = content["findings"][0]
    assert [found[name] for name in ("estimate", "low", "high")] == ["nan", "-inf", "inf"]
    assert check(content) == []


Spoil = Callable[[dict[str, Any]], object]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda content: content.update(schema="adversarial-training-regression/gate/2"),
        lambda content: content.update(decision="yes"),
        lambda content: content.update(decision=NO_WORSE),
        lambda content: content.update(decision=UNDECIDED),
        lambda content: content.pop("missing"),
        lambda content: content.update(more=1),
        lambda content: content["findings"][0].update(layer="other"),
        lambda content: content["findings"][0].update(p="small"),
        lambda content: content["findings"][0].pop("primary"),
        lambda content: content["expected"].pop(),
        lambda content: content["margins"].update(points=-1),
        lambda content: content.update(level=0),
    ],
)
def test_the_schema_refuses_what_contradicts_itself(spoil: Spoil) -> None:
    content = copy.deepcopy(verdict(told(LOST, KEPT)))
    assert check(content) == []
    spoil(content)
    assert check(content) != []


def test_the_schema_refuses_a_pass_with_something_missing() -> None:
    content = verdict(told(KEPT))
    content["missing"] = ["a record"]
    assert check(content) != []
    content.update(missing=[], findings=[])
    assert check(content) != []
