"""Tests of the checks themselves: each finds the fault that it is for, and passes a good page."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.browser import checks
from tests.browser.conftest import Open

GOOD = """<!doctype html><html lang=en><meta charset=utf-8><title>A page</title>
<meta http-equiv=Content-Security-Policy content="default-src 'none'; style-src 'unsafe-inline'">
<style>a:focus-visible, summary:focus-visible, button:focus-visible {outline: 2px solid}</style>
<main><h1>A page</h1><p><a href="#more">More</a> <button>Do</button>
<details><summary>Shown on demand</summary><a href="#deep">Deep</a></details>
<div style="overflow-x: auto" role=region aria-label=Wide tabindex=0><table style="width: 3000px">
<caption>Numbers</caption><tr><th scope=col>a<th scope=col>b<tr><td>1<td>2</table></div>
<p id=more>Here.</main></html>"""


@pytest.fixture
def shown(open_page: Open, tmp_path: Path) -> Open:
    """Give a function that opens a page of a text, some of it replaced."""

    def opened(old: str = "", new: str = "", **options: object) -> object:
        path = tmp_path / "page.html"
        assert old in GOOD
        path.write_text(GOOD.replace(old, new, 1) if old else GOOD, encoding="utf-8")
        return open_page(path, **options)

    return opened


def test_a_good_page_has_no_fault(shown: Open) -> None:
    found = shown(width=360)
    assert found.faults() == []
    assert checks.sideways(found.page) == []
    assert checks.barriers(found.page) == []
    assert checks.unnamed(found.page) == []
    assert checks.unreached(found.page) == []
    assert checks.hidden_tables(found.page) == []
    assert checks.shift(found.page) == 0
    assert [stop["markup"].split()[0] for stop in checks.tabbed(found.page)][:2] == [
        "<a",
        "<button>Do</button>",
    ]


@pytest.mark.parametrize(
    ("added", "complaint"),
    [
        ("<img alt='' src='https://example.com/x.png'>", "https://example.com/x.png"),
        ("<script>1</script>", "script-src-elem: inline"),
        ("<link rel=stylesheet href=other.css>", "other.css"),
    ],
)
def test_requests_and_what_the_policy_blocks_are_faults(
    shown: Open, added: str, complaint: str
) -> None:
    assert any(complaint in fault for fault in shown("</main>", f"{added}</main>").faults())


def test_what_is_asked_for_is_refused_and_noted_without_a_policy_too(
    open_page: Open, tmp_path: Path
) -> None:
    page = tmp_path / "page.html"
    page.write_text("<script>fetch('https://example.com/');console.error('bad');no()</script>")
    found = open_page(page)
    found.page.wait_for_timeout(200)
    assert found.requests == ["https://example.com/"]
    assert any("bad" in text for text in found.complaints)
    assert any("no is not defined" in text for text in found.complaints)


def test_a_wide_page_is_found_also_where_it_is_cut_off(shown: Open) -> None:
    wide = "<p style='width: 700px'>wide</p></main>"
    ends = "P  ends at 708 px"
    found = checks.sideways(shown("</main>", wide, width=360).page)
    assert found == ["the page is 708 px wide", ends]
    cut = f"{wide}<style>body {{overflow-x: hidden}}</style>"
    assert ends in checks.sideways(shown("</main>", cut, width=360).page)


def test_pale_text_and_a_picture_without_words_are_barriers(shown: Open) -> None:
    added = "<p style='color: #ddd'>pale</p><img src='data:,x'></main>"
    found = {fault.partition(":")[0] for fault in checks.barriers(shown("</main>", added).page)}
    assert {"color-contrast", "image-alt"} <= found


def test_what_has_no_name_is_found(shown: Open) -> None:
    assert checks.unnamed(shown("<caption>Numbers</caption>").page) == ["table"]
    assert checks.unnamed(shown("</main>", "<svg role=img></svg></main>").page) == ["image"]


@pytest.mark.parametrize(
    ("old", "new", "fault"),
    [
        ("</main>", "<a href='#more' style='outline: none'>x</a></main>", "focus unseen"),
        ("<button>", "<button tabindex=1>", "out of order"),
        ("<button>", "<button style='position: fixed; top: -99px'>", "out of sight"),
    ],
)
def test_what_the_keyboard_comes_to_in_a_wrong_way_is_found(
    shown: Open, old: str, new: str, fault: str
) -> None:
    assert any(text.startswith(fault) for text in checks.unreached(shown(old, new).page))


def test_what_throws_the_focus_back_is_never_reached(open_page: Open, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    lax = GOOD.replace("default-src 'none'; ", "")
    page.write_text(lax.replace("<button>", "<button onfocus='this.blur()'>"), encoding="utf-8")
    assert any(text.startswith("never") for text in checks.unreached(open_page(page).page))


def test_a_table_that_is_folded_away_is_hidden(shown: Open) -> None:
    folded = "<details class=numbers><summary>s</summary><table><tr><td>1</table></details></main>"
    assert len(checks.hidden_tables(shown("</main>", folded).page)) == 1
    case = f"<details>{folded}</details>"
    assert checks.hidden_tables(shown("</main>", case).page) == []


def test_parts_that_move_are_counted(open_page: Open, tmp_path: Path) -> None:
    page = tmp_path / "page.html"
    page.write_text("<div id=x></div><p style='height: 300px'>moves")
    opened = open_page(page).page
    assert checks.shift(opened) == 0  # drawn: what moves before that moves unseen
    opened.evaluate("() => { x.style.height = '500px'; }")
    assert checks.shift(opened) > 0.1


def test_characters_that_act_are_named() -> None:
    assert checks.live("a\u202eb\x1b\n") == ["0x1b", "0x202e"]
