"""Tests of the report's and the diagnosis' pages as a reader meets them, in a real browser.

Each page is one of usual numbers or of records made odd on purpose; all of them are checked for
all that holds of any page.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.browser import checks
from tests.browser.conftest import Open
from tests.browser.pages import PAGES

if TYPE_CHECKING:
    from playwright.sync_api import Page

WIDTHS = (360, 768, 1440)  # pixels: a phone, a tablet, a screen
STILL = 0.01  # of the window: what moves less is not seen

Made = Callable[[str], Path]


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Give a function that writes a page by its name, once."""
    known: dict[str, Path] = {}

    def write(name: str) -> Path:
        if name not in known:
            known[name] = PAGES[name](tmp_path_factory.mktemp(name))
        return known[name]

    return write


every_page = pytest.mark.parametrize("name", PAGES)


def unfold(page: Page) -> None:
    """Open some of what is folded, as a reader does: the first cases, and all tables to be seen."""
    page.evaluate(
        "() => { for (const part of [...document.querySelectorAll('main details')].slice(0, 60))"
        " part.open = true;"
        " for (const part of document.querySelectorAll('.numbers'))"
        " part.open ||= part.checkVisibility(); }"
    )
    for _ in range(40):  # plots are drawn as they come near
        page.mouse.wheel(0, 2000)
        page.wait_for_timeout(20)  # ms
    page.evaluate("() => scrollTo(0, 0)")


@every_page
@pytest.mark.parametrize("width", WIDTHS)
def test_it_asks_for_nothing_breaks_no_policy_and_is_no_wider_than_the_window(
    made: Made, open_page: Open, name: str, width: int
) -> None:
    opened = open_page(made(name), width=width)
    assert checks.shift(opened.page) < STILL
    unfold(opened.page)
    assert opened.faults() == []
    assert checks.sideways(opened.page) == []


@every_page
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_no_serious_barrier(
    made: Made, open_page: Open, name: str, width: int, scheme: str
) -> None:
    page = open_page(made(name), width=width, color_scheme=scheme).page
    unfold(page)
    assert checks.barriers(page) == []


@every_page
def test_the_keyboard_alone_reaches_everything_in_order_and_is_seen(
    made: Made, open_page: Open, name: str
) -> None:
    page = open_page(made(name), reduced_motion="reduce").page  # else it scrolls for a while
    assert checks.unreached(page) == []


@every_page
def test_a_screen_reader_is_told_names_landmarks_and_tables(
    made: Made, open_page: Open, name: str
) -> None:
    page = open_page(made(name)).page
    unfold(page)
    assert checks.unnamed(page) == []
    found = checks.tree(page)
    roles = [role for role, _ in found]
    for landmark in ("banner", "navigation", "main", "contentinfo"):
        assert roles.count(landmark) == 1
    assert page.locator("h1").count() == 1
    assert page.title()
    captions = page.locator("figure[data-plot] > figcaption > span:first-child").all_inner_texts()
    captions = [text.strip() for text in captions if text]  # of what is folded, none is shown
    named = {role: [name for own, name in found if own == role] for role in ("image", "table")}
    for names in named.values():  # a plot and its table go by one name
        assert [text for text in captions if text not in names] == []


@every_page
def test_without_a_script_the_answer_and_the_tables_are_there(
    made: Made, open_page: Open, name: str
) -> None:
    page = open_page(made(name), java_script_enabled=False).page
    assert page.locator("h1").inner_text()
    assert page.locator(".drawing").locator("visible=true").count() == 0
    assert page.locator("[data-copy]").locator("visible=true").count() == 0
    for kind in ("details.case", "details.cell", "details.numbers"):
        for summary in page.locator(f"{kind} > summary").locator("visible=true").all()[:2]:
            summary.click()
    shown = page.locator("main table").locator("visible=true")
    assert shown.count() >= min(2, page.locator("main table").count())
    assert shown.last.locator("td, th").count() > 1


@every_page
def test_on_paper_every_table_is_there(made: Made, open_page: Open, name: str) -> None:
    page = open_page(made(name)).page
    page.emulate_media(media="print")
    assert checks.hidden_tables(page) == []
    assert page.locator("nav").is_hidden()
    page.emulate_media(media="screen")


@pytest.mark.parametrize("name", ["hostile", "hostile_diagnosis"])
def test_hostile_names_are_text(made: Made, open_page: Open, name: str) -> None:
    page = open_page(made(name)).page
    unfold(page)
    assert page.evaluate("() => window.planted") is None
    text = page.locator("html").evaluate("element => element.textContent")
    assert checks.live(text.replace("\r", "")) == []
    assert page.locator("main b:not(.legend b), main img:not([src^='data:'])").count() == 0
    assert "{{ 7 * 7 }}" in text
    assert "\\u202eabc" in text
    titles = page.locator("svg title, svg text").all_text_contents()
    assert checks.live("".join(titles)) == []
