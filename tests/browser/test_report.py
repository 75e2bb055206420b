"""Tests of what a reader does with the report: filter, follow links, choose, with many records."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from tests.browser import checks
from tests.browser.conftest import Open
from tests.browser.pages import every_row, ten_thousand, usual

LARGEST = 5_000_000  # bytes of a page that goes by mail
SOON_S = 20.0  # until a page of 10,000 records can be used, on a slow machine


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return usual(tmp_path_factory.mktemp("usual"))


def test_filters_show_what_fits_and_count_it(report: Path, open_page: Open) -> None:
    page = open_page(report).page
    rows = page.locator("#cells tbody tr")
    every = rows.count()
    assert page.locator("[data-filters] output").inner_text() == f"{every} of {every} cases shown"
    page.keyboard.press("Tab")
    page.locator("[name=text]").focus()
    page.keyboard.type("LeNet5-intended")
    fitting = [row for row in rows.all() if row.is_visible()]
    assert 0 < len(fitting) < every
    assert all("lenet5-intended" in row.inner_text() for row in fitting)
    told = page.locator("[data-filters] output").inner_text()
    assert told == f"{len(fitting)} of {every} cases shown"


def test_a_question_in_capitals_is_found(report: Path, tmp_path: Path, open_page: Open) -> None:
    loud = tmp_path / "loud.html"
    text = report.read_text(encoding="utf-8")
    for place in ('data-question="{}"', '<option value="{0}">{0}'):
        assert place.format("training") in text
        text = text.replace(place.format("training"), place.format("Training"))
    loud.write_text(text, encoding="utf-8")
    page = open_page(loud).page
    page.locator("[name=question]").select_option("Training")
    assert page.locator("#cells tbody tr:visible").count() > 0


def test_a_plot_that_cannot_be_drawn_leaves_the_others_alone(
    report: Path, tmp_path: Path, open_page: Open
) -> None:
    odd = tmp_path / "odd.html"
    text = report.read_text(encoding="utf-8")
    start = text.index('id="trends"')  # of which the first is open
    assert "data-options='{" in text[start:]
    odd.write_text(text[:start] + text[start:].replace("data-options='{", "data-options='", 1))
    opened = open_page(odd, reduced_motion="reduce")
    opened.page.locator("#cost").scroll_into_view_if_needed()
    opened.page.wait_for_selector("[aria-labelledby=cost] .drawing svg")
    told = opened.page.locator(".drawing", has_text="This plot cannot be drawn").all()
    assert len(told) == len(opened.faults()) == 1


def test_a_cell_opens_its_evidence_and_takes_the_focus_there(report: Path, open_page: Open) -> None:
    opened = open_page(report, reduced_motion="reduce")
    page = opened.page
    link = page.locator("#cells tbody td a").first
    target = link.get_attribute("href")
    link.focus()
    page.keyboard.press("Enter")
    page.wait_for_timeout(300)  # ms
    assert page.locator(f"[id='{target[1:]}'] > summary").is_visible()
    assert page.evaluate("() => document.activeElement.tagName") == "SUMMARY"
    assert opened.faults() == []


def test_every_link_leads_somewhere(report: Path, open_page: Open) -> None:
    page = open_page(report).page
    astray = page.evaluate(
        "() => [...document.querySelectorAll('a[href^=\"#\"]')].map(link =>"
        " link.getAttribute('href').slice(1)).filter(id => !document.getElementById(id))"
    )
    assert astray == []


def test_eighteen_releases_fit_a_mail_and_a_phone(tmp_path: Path, open_page: Open) -> None:
    page = every_row(tmp_path)
    assert page.stat().st_size < LARGEST
    opened = open_page(page, width=360)
    assert checks.sideways(opened.page) == []
    assert opened.page.locator("#cells thead th").count() == 19
    assert opened.faults() == []


def test_ten_thousand_records_can_be_read_and_filtered(tmp_path: Path, open_page: Open) -> None:
    path = ten_thousand(tmp_path)
    before = time.perf_counter()
    page = open_page(path).page
    page.locator("[name=text]").fill("net-123")
    assert page.locator("#cells tbody tr:visible").count() == 1
    assert time.perf_counter() - before < SOON_S
