"""Fixtures of the browser's tests: pages opened in the Chromium that is installed.

``nox -s browser`` runs these tests in an environment of their own; `nox -s tests` passes them over.
Nothing is downloaded: Playwright drives the machine's own Chromium, and axe-core lies in its
package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

if TYPE_CHECKING:
    from typing import TypeAlias

collect_ignore_glob: list[str] = []

try:
    from playwright.sync_api import Browser, Page, sync_playwright
except ImportError:  # the environment is not that of the session
    collect_ignore_glob = ["test_*.py"]
    Browser = Page = Any

NAMES = ("chromium", "chromium-browser", "google-chrome")
NO_CHROMIUM = (
    f"nox -s browser opens the pages in Chromium: found none of {', '.join(NAMES)} on the PATH, "
    "expected one. Install it with: apt-get install chromium"
)
PICTURES = "test_screenshots.py"
WATCH = """
window.watched = {policy: [], shift: 0};
addEventListener('securitypolicyviolation', found =>
  watched.policy.push(`${found.violatedDirective}: ${found.blockedURI || found.sample}`));
new PerformanceObserver(list => {
  for (const entry of list.getEntries()) watched.shift += entry.value;
}).observe({type: 'layout-shift', buffered: true});
"""
"""Counts what the page's policy blocks, and by how much its parts move while it loads."""


class Opened(NamedTuple):
    """A page in the browser.

    Attributes:
        page: It.
        complaints: Errors and warnings that the page wrote to the console or raised, so far.
        requests: Addresses that it asked for, but for its own; each was refused.
    """

    page: Page
    complaints: list[str]
    requests: list[str]

    def faults(self) -> list[str]:
        """List all that the page did which it must not."""
        policy: list[str] = self.page.evaluate("() => window.watched?.policy ?? []")
        return [*self.complaints, *self.requests, *policy]


Open: TypeAlias = "Callable[..., Opened]"


def chromium() -> str | None:
    """Find the browser that is installed."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--screenshots", action="store_true", help="make the pictures of the docs, and nothing else"
    )


def pytest_configure() -> None:
    if not collect_ignore_glob and chromium() is None:
        raise pytest.UsageError(NO_CHROMIUM)


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Choose between the tests and what makes pictures, which is no test."""
    asked = config.getoption("--screenshots", default=False)
    other = (collection_path.name == PICTURES) is not asked
    return True if collection_path.match("test_*.py") and other else None


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Start the browser once for all tests."""
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium())
        yield started
        started.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Open]:
    """Give a function that opens a file as a reader would, with no network at all.

    Its options are those of Playwright's contexts, such as ``color_scheme="dark"``.
    """
    contexts = []

    def opened(path: Path, *, width: int = 1440, **options: Any) -> Opened:
        context = browser.new_context(viewport={"width": width, "height": 900}, **options)
        contexts.append(context)
        page, complaints, requests = context.new_page(), [], []
        address = path.resolve().as_uri()

        def refuse(route: Any) -> None:
            if route.request.url.partition("#")[0] == address:
                route.continue_()
            else:
                requests.append(route.request.url)
                route.abort()

        def hear(message: Any) -> None:
            if message.type in ("error", "warning"):
                complaints.append(message.text)

        context.route("**/*", refuse)
        page.on("console", hear)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.add_init_script(WATCH)
        page.goto(address)
        return Opened(page, complaints, requests)

    yield opened
    for context in contexts:
        context.close()
