"""Tests of the report as a whole: the answer first, every cell with its evidence, nothing live."""

from __future__ import annotations

import math
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from suite.judge.gate.finding import NO_WORSE, UNDECIDED, WORSE
from suite.report.html.commands import COMMANDS, Given
from suite.report.html.report import Evidence, Unread, report
from suite.report.html.runs import Run, run_of
from suite.tables import TIERS
from tests.conftest import record_of
from tests.report.html.conftest import (
    CASE,
    NEW,
    OLD,
    SETTINGS,
    MakeRuns,
    assert_in_order,
    finding,
    judgement,
)
from tests.report.html.test_page import HOSTILE

FIXED = "resnet50-w0.25-intended-bn-momentum-0.5"


class Read(HTMLParser):
    """A page as its reader has it: the cells of the grid, ids, links, texts."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.ids: list[str] = []
        self.links: list[str] = []
        self.cells: list[tuple[str, str]] = []
        self.heads: list[str] = []
        self.text = text.partition("<body>")[2].partition("<script>")[0]
        self._tag = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self.ids += [given["id"]] if "id" in given else []
        self.links += [given["href"]] if tag == "a" else []
        if tag == "a" and given["href"].startswith("#cell"):
            self.cells.append((given["href"][1:], given["class"]))
        self._tag = tag

    def handle_data(self, text: str) -> None:
        if self._tag == "h1":
            self.heads.append(text)
            self._tag = ""


def evidence(runs: list[Run], *judged: Any, **more: Any) -> Evidence:
    """Make the evidence of some runs and answers."""
    found = {own.candidate: own for own in judged}
    return Evidence([NEW, OLD], OLD if judged else "", runs, found, **more)


@pytest.fixture
def both(make_runs: MakeRuns) -> list[Run]:
    """The runs of two rows: a control on both, a treatment on the newer."""
    treated = {"case": FIXED, "settings": {**SETTINGS, "fix": "bn-momentum-0.5"}}
    return [*make_runs(), *make_runs(OLD), *make_runs(**treated)]


def test_the_answer_comes_first_and_says_how_little_could_have_been_missed(both: list[Run]) -> None:
    page = Read(report(evidence(both, judgement())))
    assert page.heads == ["May you upgrade from tf-2.15 to tf-2.21? No: it is worse."]
    text = page.text
    order = [
        "No: it is worse",
        "1.5 points (somewhere)",
        'id="grid"',
        'id="evidence"',
        'id="trends"',
    ]
    assert_in_order(text, order)
    assert 'class="answer bad"' in text


@pytest.mark.parametrize(
    ("findings", "missing", "word", "style"),
    [
        ([finding(decision=WORSE)], (), "worse", "bad"),
        ([finding(decision=UNDECIDED)], (), "undecided", "open"),
        ([finding(decision=NO_WORSE)], (), "no worse", "good"),
        ([finding(decision=WORSE, primary=False)], (f"{CASE}: gone",), "missing", "open"),
    ],
)
def test_a_cell_is_marked_by_word_symbol_and_colour(
    both: list[Run], findings: list[Any], missing: tuple[str, ...], word: str, style: str
) -> None:
    page = Read(report(evidence(both, judgement(*findings, missing=missing))))
    assert (f"cell_{NEW}_small_{CASE}", style) in page.cells
    cell = re.search(rf'href="#cell_{NEW}_small_{CASE}">(.*?)</a>', page.text)
    assert cell
    assert re.fullmatch(rf'<span aria-hidden="true">.</span> {word}<span.*', cell[1])


def test_each_link_leads_to_one_place(both: list[Run]) -> None:
    page = Read(report(evidence(both, judgement())))
    assert len(page.ids) == len(set(page.ids))
    assert {link[1:] for link in page.links} <= {*page.ids}
    assert all(link.startswith("#") for link in page.links)
    assert {name for name, _ in page.cells} == {i for i in page.ids if i.startswith("cell_")}


def test_a_treatment_is_drawn_beside_its_control_and_the_other_way_round(both: list[Run]) -> None:
    text = report(evidence(both, judgement()))
    mine = re.search(
        rf"<figure data-plot=\"lines\" data-options='([^']*)' id=\"curves_{NEW}_small_{FIXED}\"",
        text,
    )
    assert mine
    assert f'"beside":"curves_{NEW}_small_{CASE}","besideName":"{CASE}"' in mine[1]
    control = re.search(rf"data-options='([^']*)' id=\"curves_{NEW}_small_{CASE}\"", text)
    assert control
    assert f'"besideName":"{FIXED}"' in control[1]


def test_a_cell_has_its_evidence_and_the_command_that_makes_it_again(both: list[Run]) -> None:
    text = report(evidence(both, judgement()))
    start = text.index(f'id="cell_{NEW}_small_{CASE}"')
    cell = text[start : text.index('<details class="cell"', start)]
    for part in (
        f"nox -s gate -- --baseline {OLD} --candidate {NEW} --cases {CASE}",
        "What was judged of", 'data-plot="estimate"', 'data-plot="lines"', "BatchNorm",
        "no prediction changed", "data:image/png;base64,", "The network says 14 (90.0%)",
    ):  # fmt: skip
        assert part in cell, part


@pytest.mark.parametrize(
    ("tier", "command"),
    [
        ("study", f"study -- {NEW}"),
        ("full", f"&#39;gpu-benchmarks({NEW})&#39; --"),
        ("small", f"&#39;benchmarks({NEW})&#39; --"),
        ("quickstart", "quickstart --"),
        ("full-rehearsal", f"rehearsal -- {NEW}"),
    ],
)
def test_what_the_gate_did_not_judge_has_the_command_of_its_tier(
    make_runs: MakeRuns, tier: str, command: str
) -> None:
    text = report(evidence(make_runs(tier=tier, seeds=2), judgement(findings=[])))
    assert f">nox -s {command} -k {CASE} --seeds 0,1</code>" in text


def test_every_tier_has_its_command(make_runs: MakeRuns) -> None:
    assert set(COMMANDS) == set(TIERS)
    bundle, by_hand = (
        report(evidence(make_runs(tier=tier, seeds=2), judgement(findings=[])))
        for tier in ("sample", "full-study")
    )
    assert f">nox -s gpu-bundle -- {NEW} --installed FILE --seeds 0,1</code>" in bundle
    assert f"--tier full-study --release {NEW} --lock locks/{NEW}-gpu.txt -k {CASE}" in by_hand


def test_a_command_names_the_folders_that_were_named(make_runs: MakeRuns) -> None:
    own = judgement(finding(decision=WORSE), stored=True)
    runs = [*make_runs(seeds=1), *make_runs(seeds=1, tier="study")]
    given = Given({(NEW, "small"): "my records", (NEW, "study"): "there"}, "elsewhere")
    text = report(evidence(runs, own, given=given))
    ask = f"nox -s gate -- --baseline stored:{OLD} --candidate {NEW} --cases {CASE}"
    assert f">{ask} --records &#39;my records&#39; --baselines elsewhere</code>" in text
    assert f">nox -s study -- {NEW} -k {CASE} --seeds 0 --records there</code>" in text


def test_a_command_asks_for_the_file_of_weights_that_photographs_gave(make_runs: MakeRuns) -> None:
    weights = {"architecture": "resnet50-photos", "weights": "photographs"}
    text = report(evidence(make_runs(tier="study", seeds=1, settings={**SETTINGS, **weights})))
    assert f"-k {CASE} --seeds 0 --weights resnet50-photos=FILE</code>" in text


def test_without_an_answer_of_the_gate_bands_judge(make_runs: MakeRuns) -> None:
    case = "lenet5-plain"
    good = make_runs(case=case, metrics={"clean_accuracy": 0.9})
    bad = make_runs(OLD, case=case, metrics={"clean_accuracy": 0.01})
    page = Read(report(evidence([*good, *bad])))
    assert dict(page.cells) == {
        f"cell_{NEW}_small_{case}": "fine",
        f"cell_{OLD}_small_{case}": "odd",
    }
    assert "clean_accuracy is 0.01, expected" in page.text
    assert page.heads[0].startswith("May you upgrade? Undecided: no two releases")


def test_nothing_at_all_is_a_page_too() -> None:
    text = report(Evidence([], "", []))
    assert "No record and no verdict could be read." in text
    assert "Everything could be read." in text


def test_what_could_not_be_read_is_listed_with_the_reason() -> None:
    text = report(
        Evidence([], "", [], unread=[Unread("records/a.json", "its schema version is 2")])
    )
    assert '<th scope="row">records/a.json</th><td>its schema version is 2</td>' in text
    assert "Not read (1)" in text


def test_a_verdict_without_records_has_its_cells() -> None:
    page = Read(report(Evidence([NEW, OLD], OLD, [], {NEW: judgement()})))
    assert page.cells == [(f"cell_{NEW}_small_{CASE}", "bad")]


def test_a_case_that_is_expected_and_nowhere_measured_has_its_line() -> None:
    text = report(Evidence([NEW], "", [], expected={"lenet5-plain": "training"}))
    assert 'data-name="lenet5-plain small"' in text


def test_one_seed_and_numbers_that_are_none_are_shown(make_runs: MakeRuns) -> None:
    odd = make_runs(
        seeds=1,
        metrics={"clean_accuracy": math.nan, "adversarial_branch_gain": -math.inf},
        curves={"step_adversarial_ce": [math.nan] * 50, "clean_accuracy": [math.inf]},
        statistics=[{"layer": "bn", "mean_shift": math.nan, "log_variance_ratio": math.inf}],
    )
    text = report(evidence([*odd, *make_runs(OLD)], judgement()))
    assert "<td>nan" in text
    assert "<td>-inf" in text


def test_text_of_strangers_does_nothing_wherever_it_comes_from() -> None:
    name = HOSTILE.replace("\ud800", "")
    strange = record_of(
        CASE,
        settings={**SETTINGS, "phases": [name] * 3},
        metrics={name: 1.0},
        statistics=[{"layer": name, "mean_shift": 1.0, "log_variance_ratio": 1.0},
                    {"label": name, "predicted": {name: 3}}],
    )  # fmt: skip
    worse = finding(case=name, metric=name, words=name, unit=name, decision=WORSE)
    own = judgement(
        worse,
        answer=name,
        missed=name,
        missing=(name, f"{name}: {name}"),
        notes=(name,),
        source=name,
    )
    text = report(
        Evidence([name, NEW], name, [run_of(strange, stored=False)], {name: own, NEW: own},
                 pins={name: {name: name}, "b": {name: "1"}}, unread=[Unread(name, name)],
                 places=[name])
    )  # fmt: skip
    body = Read(text).text
    assert "<img src=x" not in body
    assert not set(body) & {"\x1b", "\u202e", "\ud800", "\x00"}
    assert text.count("<script>") == 2
    assert len(Read(text).ids) == len(set(Read(text).ids))


def test_every_run_counts_and_the_same_evidence_is_the_same_page(both: list[Run]) -> None:
    first = report(evidence(both, judgement()))
    assert first == report(evidence(both, judgement()))
    assert f"Made of {len(both)} records" in first


def test_images_are_those_of_the_rows_that_the_answer_is_about(make_runs: MakeRuns) -> None:
    older = [*make_runs(), *make_runs(OLD), *make_runs("tf-1.14")]
    text = report(Evidence([NEW, OLD, "tf-1.14"], OLD, older, {NEW: judgement()}))
    assert text.count("data:image/png") == 2 * 3
    assert text.count("Of a clean test image of label 14 the network says") == 1


def test_the_control_may_lie_in_a_baseline(make_runs: MakeRuns) -> None:
    treated = make_runs(case=FIXED, settings={**SETTINGS, "fix": "bn-momentum-0.5"})
    text = report(evidence([*treated, *make_runs(stored=True)]))
    assert f'"besideName":"{CASE}"' in text


def cell_of(text: str, release: str) -> str:
    """Give the evidence of the case on a release, in a page."""
    found = text.partition(f'<details class="cell" id="cell_{release}_small_{CASE}"')[2]
    return found.partition('<details class="c')[0].partition("</section>")[0]


def test_a_cell_is_drawn_beside_the_baseline_that_its_own_answer_names(make_runs: MakeRuns) -> None:
    runs = [*make_runs(), *make_runs(OLD), *make_runs("tf-1.14")]
    own = judgement(finding(decision=WORSE), baseline="tf-1.14")
    text = report(Evidence([NEW, OLD, "tf-1.14"], OLD, runs, {NEW: own}))
    cell = cell_of(text, NEW)
    assert "tf-1.14" in cell
    assert OLD not in cell


def test_a_stored_baseline_is_not_drawn_beside_itself(make_runs: MakeRuns) -> None:
    own = judgement(finding(decision=WORSE), baseline=NEW, stored=True)
    alone = cell_of(report(Evidence([NEW], NEW, make_runs(stored=True), {NEW: own})), NEW)
    runs = [*make_runs(), *make_runs(stored=True)]
    both = cell_of(report(Evidence([NEW], NEW, runs, {NEW: own})), NEW)
    assert "no prediction changed" in both
    assert "no prediction changed" not in alone


def test_the_candidate_is_not_called_the_baseline_where_it_is_held_against_itself(
    make_runs: MakeRuns,
) -> None:
    aside = "resnet50-w0.25-intended-traps"
    runs = [*make_runs(), *make_runs(case=aside)]
    own = judgement(finding(decision=WORSE), baseline=NEW, stored=True)
    page = Read(report(Evidence([NEW, OLD], NEW, runs, {NEW: own})))
    assert f'baseline<span class="hidden">: {aside}' not in page.text
    page = Read(report(Evidence([NEW, OLD], NEW, runs)))
    assert f'baseline<span class="hidden">: {aside}' in page.text


def test_names_that_differ_have_places_that_differ() -> None:
    told = [finding(case=name, decision=WORSE) for name in ("\xe91", "\u0e91")]
    page = Read(report(Evidence([NEW], OLD, [], {NEW: judgement(*told)})))
    assert len({*page.ids}) == len(page.ids)
