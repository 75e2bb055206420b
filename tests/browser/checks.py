"""What every page is checked for: each function gives what is wrong, in words; nothing, if fine."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Any

from axe_playwright_python.sync_playwright import Axe

if TYPE_CHECKING:
    from playwright.sync_api import Page

GRAVE = ("serious", "critical")
NAMED = frozenset(
    (
        "alertdialog", "button", "checkbox", "combobox", "complementary", "dialog", "figure",
        "form", "graphics-document", "grid", "image", "img", "link", "listbox", "menuitem",
        "navigation", "radio", "region", "searchbox", "slider", "spinbutton", "SvgRoot", "switch",
        "tab", "table", "textbox",
    )
)  # fmt: skip
"""Roles of which a screen reader says the name: without one it says nothing worth hearing."""

REACHED = (
    "a[href], button, input, select, textarea, summary, audio[controls], video[controls], "
    "[contenteditable], [tabindex]"
)
"""What the Tab key must come to, unless it is disabled, hidden or a radio button not chosen."""

OVERFLOWING = """() => {
  const width = document.documentElement.clientWidth, found = [];
  const page = [document.documentElement, document.body];
  const kept = element => {
    for (let above = element.parentElement; above && !page.includes(above);
         above = above.parentElement)
      if (getComputedStyle(above).overflowX !== 'visible') return true;
    return false;
  };
  if (document.documentElement.scrollWidth > width)
    found.push(`the page is ${document.documentElement.scrollWidth} px wide`);
  for (const element of document.body.querySelectorAll('*')) {
    const box = element.getBoundingClientRect();
    if (box.width && box.right > width + 1 && element.checkVisibility() && !kept(element))
      found.push(`${element.tagName} ${element.id} ends at ${Math.round(box.right)} px`);
  }
  return found;
}"""

WAITING = """selector => [...document.querySelectorAll(selector)].filter(element =>
  element.tabIndex >= 0 && !element.disabled && element.type !== 'hidden'
  && !element.closest('[inert]')
  && element.checkVisibility({visibilityProperty: true})
  && !(element.type === 'radio' && element.name && !element.checked
       && document.querySelector(`input[name="${CSS.escape(element.name)}"]:checked`))
).map(element => element.outerHTML.slice(0, 120))"""

FOCUSED = """() => {
  const element = document.activeElement, style = getComputedStyle(element);
  if (!element || element === document.body || element === document.documentElement) return null;
  const box = element.getBoundingClientRect();
  return {
    markup: element.outerHTML.slice(0, 120),
    shown: element.matches(':focus-visible') && style.outlineStyle !== 'none'
      && parseFloat(style.outlineWidth) >= 1,
    inside: box.bottom > 0 && box.top < innerHeight,
  };
}"""

SHIFT = """() => new Promise(done => requestAnimationFrame(() => requestAnimationFrame(() =>
  setTimeout(() => done(watched.shift), 0))))"""
"""Tells it only after all that has changed is drawn, however busy the machine is."""


def sideways(page: Page) -> list[str]:
    """Name what makes the page wider than its window; what scrolls by itself does not."""
    found: list[str] = page.evaluate(OVERFLOWING)
    return found


def shift(page: Page) -> float:
    """Measure by how much of the window the page's parts moved, as the browser counts it."""
    page.wait_for_timeout(300)  # ms
    return float(page.evaluate(SHIFT))


def barriers(page: Page) -> list[str]:
    """List what axe-core calls serious or critical, and where it is."""
    found = Axe().run(page).response["violations"]
    return [
        f"{fault['id']}: {node['html'][:120]} ({node['failureSummary'][:240]})"
        for fault in found
        if fault["impact"] in GRAVE
        for node in fault["nodes"]
    ]


def tree(page: Page) -> list[tuple[str, str]]:
    """Give the role and name of all that a screen reader comes upon, in its order."""
    session = page.context.new_cdp_session(page)
    nodes: list[dict[str, Any]] = session.send("Accessibility.getFullAXTree")["nodes"]
    session.detach()
    return [
        (node["role"]["value"], node.get("name", {}).get("value", "").strip())
        for node in nodes
        if not node["ignored"]
    ]


def unnamed(page: Page) -> list[str]:
    """List the roles that need a name and have none."""
    return [role for role, name in tree(page) if role in NAMED and not name]


def tabbed(page: Page, *, most: int = 2000) -> list[dict[str, Any]]:
    """Press Tab from the top to the end, and give each stop: its markup, and what is seen of it."""
    page.evaluate("() => { document.activeElement?.blur(); scrollTo(0, 0); }")
    stops: list[dict[str, Any]] = []
    for _ in range(most):
        page.keyboard.press("Tab")
        stop = page.evaluate(FOCUSED)
        if stop is None:
            break
        stops.append(stop)
    return stops


def unreached(page: Page) -> list[str]:
    """Name what Tab comes to not at all, out of order or unseen."""
    waiting: list[str] = page.evaluate(WAITING, REACHED)
    stops = tabbed(page)
    reached = [stop["markup"] for stop in stops if stop["markup"] in waiting]
    faults = [f"never reached: {markup}" for markup in waiting if markup not in reached]
    if not faults and reached != waiting:
        faults.append(f"out of order: {reached} instead of {waiting}")
    faults += [f"focus unseen: {stop['markup']}" for stop in stops if not stop["shown"]]
    return faults + [f"out of sight: {stop['markup']}" for stop in stops if not stop["inside"]]


def hidden_tables(page: Page) -> list[str]:
    """Name the tables that are not to be seen now, but for those of cases that are folded away."""
    found: list[str] = page.evaluate(
        "() => [...document.querySelectorAll('table')].filter(table =>"
        " !table.closest('details:not([open]):not(.numbers)') && (!table.checkVisibility()"
        " || !table.getBoundingClientRect().height)).map(table => table.outerHTML.slice(0, 120))"
    )
    return found


def live(text: str) -> list[str]:
    """Name the characters of a text that do something instead of being seen."""
    signs = {sign for sign in text if unicodedata.category(sign) in ("Cc", "Cf", "Co", "Cs")}
    return sorted(hex(ord(sign)) for sign in signs - {"\n", "\t"})
