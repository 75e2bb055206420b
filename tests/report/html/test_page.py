"""Tests of suite.report.html.page: one file that fetches nothing, under a policy that holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from itertools import count
from pathlib import Path

import pytest

from suite.report.html import page
from suite.report.html.page import ASSETS, HERE, embedded, environment, policy, render
from suite.report.html.table import POINTS, Table

VENDOR = HERE / "vendor"
BUNDLE = "0110290f9c5cf40f8ffb33917ac14192a2f375361e98f3081fbe051e1e29ad57"
"""Of vendor/plot.js, which `nox -s report-assets` makes bit for bit."""

HOSTILE = "</script><img src=x onerror=alert(1)>\"'&\x1b[2J\u202e\ud800\x00"


class Inline(HTMLParser):
    """Collects what is within styles and scripts, and every address that a page names."""

    def __init__(self, text: str) -> None:
        """Read a page."""
        super().__init__()
        self.found: list[str] = []
        self.addresses: list[str] = []
        self.handlers: list[str] = []
        self.meta: dict[str, str] = {}
        self._within = False
        self.feed(text)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attributes}
        self._within = tag in ("style", "script")
        self.addresses += [v for n, v in given.items() if n in ("src", "href", "action", "data")]
        self.handlers += [name for name in given if name.startswith("on") or name == "style"]
        if tag == "meta" and "http-equiv" in given:
            self.meta[given["http-equiv"]] = given["content"]

    def handle_data(self, text: str) -> None:
        if self._within:
            self.found.append(text)
            self._within = False


def table(*cells: str) -> Table:
    """Make a table that holds some cells everywhere."""
    text = "".join(cells)
    options = {"choose": [text], text: [text, float("nan")]}
    return Table(text, (text, text), [(text, text)], POINTS, options, text)


def shown(found: Table) -> str:
    """Write a page with one table."""
    source = "{% extends 'base.html' %}{% block main %}{{ parts.figure(table) }}{% endblock %}"
    template = environment().from_string(source)
    return template.render(**embedded(), policy=policy(), number=count().__next__, table=found)


def test_the_policy_names_the_digest_of_each_style_and_script_and_nothing_else() -> None:
    read = Inline(render("base.html"))
    stated = re.findall(r"'sha256-([^']+)'", read.meta["Content-Security-Policy"])
    assert stated == [
        base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in read.found
    ]
    assert len(stated) == len(ASSETS)
    assert not re.search("unsafe|http|\\*|self", read.meta["Content-Security-Policy"])
    assert read.meta["Content-Security-Policy"].startswith("default-src 'none'; ")


def test_a_page_fetches_nothing_and_has_no_handler_or_style_that_the_policy_would_block() -> None:
    read = Inline(shown(table("plain")))
    assert not read.handlers
    assert all(address.startswith(("#", "data:")) for address in read.addresses)
    assert "eval(" not in "".join(read.found)
    assert "new Function" not in "".join(read.found)


def test_text_of_strangers_is_shown_and_does_nothing() -> None:
    text = shown(table(HOSTILE))
    assert "<img" not in text
    assert "&lt;img src=x onerror=alert(1)&gt;" in text
    assert len(Inline(text).found) == len(ASSETS)
    head, body = text.split("<body>")
    body = body.partition("<script>")[0]
    assert not set(body) & {"\x1b", "\u202e", "\ud800", "\x00"}
    assert "\\x1b[2J" in body
    text.encode("utf-8")
    assert head


def test_options_of_a_plot_are_json_that_a_script_reads_back() -> None:
    options = re.search(r"data-options='([^']*)'", shown(table("a'b<c>&")))
    assert options
    assert json.loads(options[1])["a'b<c>&"] == ["a'b<c>&", None]


def test_a_template_that_names_what_it_is_not_given_is_an_error() -> None:
    with pytest.raises(Exception, match="undefined"):
        environment().from_string("{{ nothing }}").render()


def test_an_asset_that_would_end_its_own_element_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "page.js"
    path.write_text("'</script>'", encoding="utf-8")
    monkeypatch.setitem(ASSETS, "script", path)
    monkeypatch.setattr(page, "embedded", embedded.__wrapped__)
    with pytest.raises(ValueError, match="must end or hide no element"):
        policy()


def test_the_bundle_is_the_one_that_was_built() -> None:
    assert hashlib.sha256((VENDOR / "plot.js").read_bytes()).hexdigest() == BUNDLE


def test_every_page_holds_the_licence_of_what_it_embeds() -> None:
    licences = (VENDOR / "LICENCES.txt").read_text(encoding="utf-8").strip()
    assert licences in embedded()["library"]
    for name in ("@observablehq/plot", "d3-shape", "d3-geo", "isoformat"):
        assert f"{name} " in licences


def test_what_the_bundle_is_built_from_is_pinned_by_digest() -> None:
    lock = json.loads((VENDOR / "package-lock.json").read_text(encoding="utf-8"))
    asked = json.loads((VENDOR / "package.json").read_text(encoding="utf-8"))
    packages = {name: entry for name, entry in lock["packages"].items() if name}
    assert all(entry["integrity"].startswith("sha512-") for entry in packages.values())
    assert not any("resolved" in entry for entry in packages.values())
    wanted = {**asked["dependencies"], **asked["devDependencies"]}
    assert {n: packages[f"node_modules/{n}"]["version"] for n in wanted} == wanted
