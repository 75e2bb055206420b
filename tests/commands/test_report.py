"""Tests of the command `report`: one page of whatever there is, and nothing silently left out."""

from __future__ import annotations

import json
import time
from collections import Counter
from pathlib import Path

import pytest

from suite.commands import gating, report
from suite.commands.report import main
from suite.errors import SuiteError
from suite.judge.staleness import Present, present
from suite.report.gate_json import verdict
from suite.store import read_resident, record_path
from tests.commands.conftest import PLAIN_CASE, TRACE, VALUES, Fill
from tests.report.test_gate import KEPT, told

Output = pytest.CaptureFixture[str]
PAGE = Path("report.html")


def written() -> str:
    """Read the page, without its scripts."""
    return PAGE.read_text(encoding="utf-8").partition("<body>")[2].partition("<script>")[0]


def path_of(seed: int, *, case: str = PLAIN_CASE) -> Path:
    """Give the path of a record."""
    return record_path(Path("records"), release="tf-2.21", tier="small", case=case, seed=seed)


def test_two_rows_are_compared_by_the_gate_and_the_answer_is_printed_first(
    fill: Fill, capsys: Output
) -> None:
    fill("records", started_at="2024-05-02T12:00:00+00:00")
    fill("records", release="tf-2.15")
    assert main([]) == 0
    answer, said = capsys.readouterr().out.splitlines()
    assert answer.startswith("May you upgrade from tf-2.15 to tf-2.21? ")
    assert said.startswith("report.html: 10 records of 2 rows")
    text = written()
    assert text.index("<h1>May you upgrade from tf-2.15 to tf-2.21?") < text.index('id="grid"')
    assert f'href="#cell_tf-2.21_small_{PLAIN_CASE}"' in text
    assert f"--baseline tf-2.15 --candidate tf-2.21 --cases {PLAIN_CASE}" in text


def test_baselines_alone_are_compared_too(fill: Fill, capsys: Output) -> None:
    fill("baselines", started_at="2024-05-02T12:00:00+00:00")
    fill("baselines", release="tf-2.15")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("May you upgrade from the stored baseline of tf-2.15 to the stored ")


def test_a_row_of_steps_and_draws_alone_is_passed_over_for_one_with_more(
    fill: Fill, capsys: Output
) -> None:
    fill("records", started_at="2024-05-02T12:00:00+00:00")
    fill("baselines", [0.8], release="tf-2.15", case="random-lenet5", question="random")
    fill("baselines", release="tf-2.16")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("May you upgrade from the stored baseline of tf-2.16 to tf-2.21? ")


def test_one_row_is_compared_with_its_own_baseline(fill: Fill, capsys: Output) -> None:
    fill("baselines")
    fill("records", started_at="2024-05-02T12:00:00+00:00")
    assert main([]) == 0
    out = capsys.readouterr().out
    assert out.startswith("May you upgrade from the stored baseline of tf-2.21 to tf-2.21? ")
    assert "--baseline stored:tf-2.21 --candidate tf-2.21" in written()


def test_rows_can_be_named(fill: Fill, capsys: Output) -> None:
    for row in ("tf-2.21", "tf-2.15", "tf-1.14"):
        fill("records", release=row)
    assert main(["--baseline", "tf-1.14", "--candidate", "tf-2.15"]) == 0
    assert capsys.readouterr().out.startswith("May you upgrade from tf-1.14 to tf-2.15? ")


def test_a_verdict_is_shown_as_it_was_given(fill: Fill, capsys: Output) -> None:
    fill("records")
    content = verdict(told(KEPT))
    Path("gate.json").write_text(json.dumps(content), encoding="utf-8")
    assert main(["--verdict", "gate.json"]) == 0
    assert capsys.readouterr().out.startswith(content["answer"])
    assert "as gate.json says" in written()
    assert 'href="#cell_tf-2.21_small_lenet5-plain"' in written()


def test_a_second_verdict_about_the_same_row_is_not_lost(fill: Fill) -> None:
    fill("records")
    for name, answer in (("a.json", "the first answer"), ("b.json", "the second answer")):
        content = {**verdict(told(KEPT)), "answer": answer}
        Path(name).write_text(json.dumps(content), encoding="utf-8")
    assert main(["--verdict", "a.json", "--verdict", "b.json"]) == 0
    text = written()
    assert "<h1>the first answer</h1>" in text
    assert "the second answer" in text


def damage(seed: int, **changes: object) -> None:
    """Change fields of a record's file."""
    content = json.loads(path_of(seed).read_text(encoding="utf-8"))
    path_of(seed).write_text(json.dumps({**content, **changes}), encoding="utf-8")


def test_what_cannot_be_read_is_listed_and_all_else_is_shown(fill: Fill, capsys: Output) -> None:
    fill("records")
    damage(0, schema=0)
    damage(1, schema=99)
    path_of(2).write_bytes(b"\x00\xff")
    damage(3, metrics={"clean_accuracy": "high"})
    strange = path_of(4).with_name("<b>\u202e.json")
    strange.write_text("{}", encoding="utf-8")
    Path("records/tf-2.21/huge").mkdir()
    Path("nothing.json").write_text("{}", encoding="utf-8")
    assert main(["--verdict", "nothing.json", "--verdict", "gone.json"]) == 0
    assert "9 things could not be read" in capsys.readouterr().out
    text = written()
    for part in (
        "its schema version is 0, this suite reads 1",
        "its schema version is 99, this suite reads 1",
        "seed2.json is not JSON",
        "its sha256 is not that of its content",
        "&lt;b&gt;\\u202e.json</th><td>it is not named after a record",
        "no tier is called so",
        "nothing.json is no verdict of the gate",
        "gone.json",
        "a row of its statistics is none",
    ):
        assert part in text, part
    assert "Made of 1 records" in text


def test_a_row_that_is_in_no_table_is_shown_and_said_not_to_be_judged(fill: Fill) -> None:
    fill("records")
    fill("records", release="tf-9.99")
    assert main([]) == 0
    assert "tf-9.99</th><td>it is no row of the release table" in written()
    assert f'href="#cell_tf-9.99_small_{PLAIN_CASE}"' in written()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        ({"code_digest": "sha256:other"}, "stale, judged all the same: seed 0"),
        ({"library_digest": "sha256:2"}, "not made alike: seed 1, seed 2, seed 3 and 1 more"),
        ({}, "is not JSON"),
    ],
)
def test_the_cell_says_which_records_the_gate_does_not_accept(
    fill: Fill, fault: dict[str, str], reason: str
) -> None:
    fill("records", release="tf-2.15", started_at="2024-05-02T12:00:00+00:00")
    fill("records", environment={"library_digest": "sha256:1"})
    if fault:
        fill("records", VALUES[:1], environment={"library_digest": "sha256:1", **fault})
    else:
        path_of(0).write_bytes(b"{")
    assert main([]) == 0
    cell = written().partition(f'id="cell_tf-2.21_small_{PLAIN_CASE}"')[2].partition("</ul>")[0]
    assert "missing</span>" in cell
    assert "<li>tf-2.21: " in cell
    assert reason in cell


def test_a_row_that_was_named_and_is_not_there_is_an_error(fill: Fill) -> None:
    fill("records")
    fill("records", release="tf-2.15", started_at="2024-05-02T12:00:00+00:00")
    fill("records", release="tf-1.14", tier="full")
    fill("records", release="tf-9.99")
    for option in ("candidate", "baseline"):
        for name in ("tf-2.5", "tf-1.14", "tf-9.99"):
            found = (
                f"--{option} {name}: found neither .*, expected one of tf-2.15, tf-2.21. Correct"
            )
            with pytest.raises(SuiteError, match=found):
                main([f"--{option}", name])
    with pytest.raises(
        SuiteError, match=r"--candidate tf-2\.15: it cannot be held against an older"
    ):
        main(["--candidate", "tf-2.15"])
    assert not PAGE.exists()


def test_a_verdict_about_another_row_does_not_answer_for_the_one_that_was_named(fill: Fill) -> None:
    fill("records", release="tf-2.16")
    Path("gate.json").write_text(json.dumps(verdict(told(KEPT))), encoding="utf-8")
    named = ["--verdict", "gate.json", "--candidate"]
    with pytest.raises(SuiteError, match=r"tf-2\.16: it cannot be held against tf-2\.15: "):
        main([*named, "tf-2.16"])
    with pytest.raises(SuiteError, match=r"expected one of tf-2\.16, tf-2\.21"):
        main([*named, "tf-1.14"])
    assert main([*named, "tf-2.21"]) == 0


def test_a_further_folder_of_a_row_is_said_not_to_be_judged(fill: Fill) -> None:
    fill("a", release="tf-2.15", started_at="2024-05-02T12:00:00+00:00")
    for folder in ("a", "b"):
        fill(folder)
    assert main(["--records", "a", "--records", "b"]) == 0
    text = written()
    assert (
        "b/tf-2.21</th><td>a further folder of records of tf-2.21: they are shown and not" in text
    )
    assert text.count("a further folder") == 1
    assert f"--cases {PLAIN_CASE} --records a</code>" in text


def test_the_gate_looks_into_the_baselines_that_were_named(fill: Fill) -> None:
    fill("records")
    fill("records", release="tf-2.15", started_at="2024-05-02T12:00:00+00:00")
    fill("elsewhere", case="dropped-plain", question="accuracy", settings={})
    assert main(["--baselines", "elsewhere"]) == 0
    reason = "in the stored baseline elsewhere/tf-2.21/small, and no longer asked"
    assert f"dropped-plain: {reason}" in written()
    assert f"--cases {PLAIN_CASE} --baselines elsewhere</code>" in written()


def test_what_each_row_must_be_is_looked_up_once(
    fill: Fill, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_up: list[str] = []

    def counted(release: str, tier: str) -> Present:
        looked_up.append(release)
        return present(release, tier)

    for row in ("tf-2.21", "tf-2.16", "tf-2.15"):
        fill("records", release=row)
    for module in (report, gating):
        monkeypatch.setattr(module, "present", counted)
    assert main(["--baseline", "tf-2.15"]) == 0
    assert Counter(looked_up) == dict.fromkeys(("tf-2.21", "tf-2.16", "tf-2.15"), 1)


def test_steps_that_cannot_be_compared_do_not_end_the_report(fill: Fill) -> None:
    fill("records", case=TRACE, values=[0.5], metrics={}, statistics=[{"odd": 1}])
    fill("records", case=TRACE, values=[0.5], metrics={}, statistics=[], release="tf-2.15")
    fill("records")
    fill("records", release="tf-2.15")
    assert main([]) == 0
    assert f"{TRACE}-seed0 of tf-2.21" in written()


@pytest.mark.usefixtures("fill")
def test_nothing_to_report_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(SuiteError, match="hold no record, and no verdict was given"):
        main([])
    with pytest.raises(SuiteError, match="nowhere is no folder"):
        main(["--records", "nowhere"])
    with pytest.raises(SuiteError, match="nowhere is no folder"):
        main(["--baselines", "nowhere"])
    assert not PAGE.exists()


def test_the_same_records_give_the_same_page(fill: Fill) -> None:
    fill("records")
    fill("baselines")
    pages = []
    for name in ("a.html", "b.html"):
        assert main(["--output", name]) == 0
        pages.append(Path(name).read_bytes())
    assert pages[0] == pages[1]


def test_thousands_of_records_make_a_small_page_in_seconds(fill: Fill) -> None:
    fill("records", [0.8 + seed / 1e5 for seed in range(3000)])
    assert read_resident(path_of(2999)).seed == 2999
    start_s = time.process_time()
    assert main([]) == 0
    assert time.process_time() - start_s < 30
    assert PAGE.stat().st_size < 1_000_000
    assert "2980 more seeds are left out" in written()
