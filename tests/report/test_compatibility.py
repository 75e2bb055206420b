"""Tests of suite.report.compatibility: every cell says what the records say, no more."""

from __future__ import annotations

from dataclasses import replace

import pytest

from suite.judge.compatibility import Evidence, Outcome
from suite.records import Record
from suite.report.compatibility import COLUMNS, compatibility, markdown_report, text_report
from tests.judge.conftest import DIGEST, changed, with_environment

FAILED = Outcome(False, False, None, 3.0, "No solution found", DIGEST, "2024-06-01")


def without(store: list[Record], *cases: str) -> list[Record]:
    return [record for record in store if record.case not in cases]


def cells(
    store: list[Record], outcome: Outcome | None = None, digest: str = DIGEST
) -> dict[str, str]:
    row = compatibility(Evidence("tf-1.0", digest, tuple(store), outcome))
    return {**dict(zip(COLUMNS, row.cells)), "note": row.note}


def test_a_release_that_does_all_has_yes_in_every_cell(good: list[Record]) -> None:
    assert cells(good) == {
        "release": "tf-1.0",
        "installs": "yes",
        "imports": "yes",
        "attacks": "yes",
        "trains": "yes",
        "stall appears": "yes",
        "fix works": "yes",
        "cost": "2.0 to 3.1",
        "date": "2024-05-01",
        "lock": "abababababab",
        "note": "",
    }


def test_nothing_is_claimed_of_a_release_that_never_ran() -> None:
    found = cells([])
    assert {found[name] for name in COLUMNS[1:8]} == {"not run"}
    assert found["date"] == "-"
    assert found["note"] == ""


def test_a_release_that_cannot_be_installed_says_why() -> None:
    found = cells([], FAILED)
    assert (found["installs"], found["imports"], found["attacks"]) == ("no", "not run", "not run")
    assert (found["date"], found["note"]) == ("2024-06-01", "No solution found")


def test_a_framework_that_cannot_be_imported_was_installed() -> None:
    outcome = replace(FAILED, installs=True, imports=False, reason="TypeError: Descriptors")
    found = cells([], outcome)
    assert (found["installs"], found["imports"]) == ("yes", "no")
    assert found["note"] == "TypeError: Descriptors"


def test_an_outcome_of_another_lock_does_not_count() -> None:
    found = cells([], replace(FAILED, lock_digest="sha256:other"))
    assert (found["installs"], found["note"]) == ("not run", "")


def test_a_release_without_lock_that_failed_without_lock_says_why() -> None:
    found = cells([], replace(FAILED, lock_digest=""), digest="")
    assert (found["installs"], found["lock"], found["note"]) == ("no", "-", "No solution found")


def test_records_of_another_lock_do_not_count_and_are_told(good: list[Record]) -> None:
    found = cells(good, digest="sha256:new")
    assert found["attacks"] == "not run"
    assert found["note"] == f"{len(good)} records of another lock do not count"


def test_records_of_another_state_of_the_suite_count_and_are_told(good: list[Record]) -> None:
    newest = replace(good[0], started_at="2025-01-02T00:00:00+00:00")
    older = with_environment(good[1:4], code_digest="sha256:older")
    stale = with_environment(good[:2], lock_digest="sha256:old", code_digest="sha256:oldest")
    found = cells([*older, newest, *good[4:], *stale])
    assert found["attacks"] == found["trains"] == "yes"
    assert found["note"] == (
        "2 records of another lock do not count; "
        f"3 of {len(good)} records are of another state of the suite"
    )


def test_records_that_are_all_of_an_older_state_are_told(good: list[Record]) -> None:
    row = compatibility(Evidence("tf-1.0", DIGEST, tuple(good), None, code="sha256:now"))
    count = len(good)
    assert row.note == f"{count} of {count} records are of another state of the suite"


def test_a_failed_attack_is_named_with_its_metric(good: list[Record]) -> None:
    found = cells(changed(good, "attack-lenet5", linear_error=0.25))
    assert found["attacks"] == "no: attack-lenet5"
    assert found["note"] == "attack-lenet5 (seed 0): linear_error is 0.25, expected 0 to 1e-06"
    assert found["trains"] == "yes"


def test_a_network_without_batch_norm_that_does_not_train_is_named(good: list[Record]) -> None:
    found = cells(changed(good, "lenet5-plain", clean_accuracy=0.05))
    assert found["trains"] == "no: lenet5-plain"


def test_a_resnet_that_does_not_train_is_the_stall_and_no_fault(good: list[Record]) -> None:
    found = cells(changed(good, "resnet50-w0.25-plain", clean_accuracy=0.99))
    assert found["trains"] == "yes"


@pytest.mark.parametrize("loss", ["literal", "intended"])
def test_a_control_that_learns_does_not_stall(good: list[Record], loss: str) -> None:
    control = f"resnet50-w0.25-{loss}-none"
    found = cells(changed(good, control, adversarial_branch_gain=2.0))
    assert (found["stall appears"], found["fix works"]) == (f"no: {control}", "yes")
    assert "adversarial_branch_gain is 2, expected" in found["note"]


@pytest.mark.parametrize(
    "case", ["intended-bn-momentum-0.5", "intended-imagenet-inputs", "literal-imagenet-inputs"]
)
def test_a_fix_that_mends_nothing_does_not_work(good: list[Record], case: str) -> None:
    treated = f"resnet50-w0.25-{case}"
    found = cells(changed(good, treated, adversarial_branch_gain=0.0))
    assert (found["stall appears"], found["fix works"]) == ("yes", f"no: {treated}")


def test_a_fix_works_by_the_gain_of_the_branch_alone(good: list[Record]) -> None:
    store = changed(good, "resnet50-w0.25-intended-imagenet-inputs", clean_accuracy=0.0)
    assert cells(store)["fix works"] == "yes"


def test_momentum_under_literal_phases_is_no_fix(good: list[Record]) -> None:
    store = without(good, "resnet50-w0.25-literal-bn-momentum-0.5")
    assert cells(store)["fix works"] == "yes"


def test_missing_cases_are_told(good: list[Record]) -> None:
    store = without(good, "attack-lenet5", "resnet50-w0.25-literal-none", "step-time-lenet5")
    found = cells(store)
    assert found["attacks"] == "partly (3 of 4 cases)"
    assert found["stall appears"] == "partly (1 of 2 cases)"
    assert found["cost"] == "2.5 to 3.1 (1 of 4 networks missing)"


def test_one_bad_seed_of_several_is_a_fault(good: list[Record]) -> None:
    bad = replace(
        next(record for record in good if record.case == "attack-lenet5"),
        seed=3,
        metrics={"linear_error": 0.5},
    )
    found = cells([bad, *good])
    assert found["attacks"] == "no: attack-lenet5"
    assert found["note"].startswith("attack-lenet5 (seed 3)")


def test_further_faults_are_counted(good: list[Record]) -> None:
    store = changed(good, "attack-lenet5", linear_error=0.25)
    store = changed(store, "lenet5-plain", clean_accuracy=0.05)
    assert cells(store)["note"].endswith("(and 1 more)")


def test_a_run_that_failed_without_a_fault_in_the_records_says_why(good: list[Record]) -> None:
    store = without(good, "attack-lenet5")
    outcome = replace(FAILED, installs=True, reason="the disk is full")
    assert cells(store, outcome)["note"] == "the disk is full"


def test_the_newest_record_gives_the_date(good: list[Record]) -> None:
    newer = replace(good[0], started_at="2025-01-02T00:00:00+00:00")
    assert cells([newer, *good[1:]])["date"] == "2025-01-02"


def test_a_terminal_gets_the_table_and_the_notes(good: list[Record]) -> None:
    rows = [
        compatibility(Evidence("tf-1.0", DIGEST, tuple(good), None)),
        compatibility(Evidence("tf-9.9", DIGEST, (), FAILED)),
    ]
    head, _, first, second, blank, note = text_report(rows).splitlines()
    assert head.split()[:3] == ["release", "installs", "imports"]
    assert first.split()[:3] == ["tf-1.0", "yes", "yes"]
    assert second.split()[:4] == ["tf-9.9", "no", "not", "run"]
    assert (blank, note) == ("", "tf-9.9: No solution found")


def test_markdown_holds_table_notes_and_what_batch_norm_did(good: list[Record]) -> None:
    facts = {"updates_per_step": 0.0, "statistics_moved": 0.0, "phases_agree": 1.0}
    store = changed(good, "resnet50-w0.25-literal-none", **facts)
    facts = {"updates_per_step": 34.0, "statistics_moved": 9273.3, "phases_agree": 1.0}
    store = changed(store, "resnet50-w0.25-intended-none", **facts)
    rows = [
        compatibility(Evidence("tf-1.0", DIGEST, tuple(store), None)),
        compatibility(Evidence("tf-9.9", DIGEST, (), FAILED)),
    ]
    text = markdown_report(rows, records=len(store))
    assert "| tf-9.9 | no | not run |" in text
    assert "- tf-9.9: No solution found" in text
    assert "| tf-1.0 | 0 | 0 | 1 | 34 | 9273 | 1 |" in text
    assert text.count("tf-9.9") == 2
    assert f"From {len(store)} records" in text
