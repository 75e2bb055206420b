"""The page: templates, style and script put together into one file under a strict policy."""

from __future__ import annotations

import base64
import hashlib
from functools import lru_cache
from itertools import count
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from suite.report.answer import ALIKE
from suite.report.html.table import shown
from suite.report.text import printable

HERE = Path(__file__).parent
ASSETS = {
    "style": HERE / "assets" / "page.css",
    "library": HERE / "vendor" / "plot.js",
    "script": HERE / "assets" / "page.js",
}
"""What is embedded in every page, by its name in `templates/base.html`."""

POLICY = (
    "default-src 'none'; img-src data:; style-src {style}; script-src {library} {script}; "
    "base-uri 'none'; form-action 'none'"
)
"""Nothing is fetched, and nothing runs but what the digests name: no markup of strangers can."""


def render(template: str, **content: Any) -> str:
    """Write a page of a template, such as ``report.html``, that extends ``base.html``.

    Whatever is put into it is shown as text: markup is escaped, and what controls, turns or hides
    text is written as in Python's source (`suite.report.text.printable`).

    Args:
        template: Name of a file in ``templates/``.
        content: What the template names.
    """
    page = environment().get_template(template)
    return page.render(**embedded(), policy=policy(), number=count(1).__next__, **content)


@lru_cache(maxsize=None)
def embedded() -> dict[str, str]:
    """Read style and scripts.

    Raises:
        ValueError: If one would end its own element.
    """
    found = {name: path.read_text(encoding="utf-8") for name, path in ASSETS.items()}
    for name, text in found.items():
        if "</" in text or "<!--" in text:
            raise ValueError(f"{ASSETS[name]} must end or hide no element. Received: </ or <!--")
    return found


def policy() -> str:
    """Write the content security policy that allows what is embedded, by digest, and no more."""
    return POLICY.format(**{name: digest(text) for name, text in embedded().items()})


def digest(text: str) -> str:
    """Compute the digest of an inline element as a policy states it."""
    found = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return f"'sha256-{found}'"


@lru_cache(maxsize=None)
def environment() -> Environment:
    """Make the environment of the templates: everything is escaped, what is missing is an error."""
    made = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_final,
    )
    made.filters["shown"] = shown
    made.globals["ALIKE"] = ALIKE
    return made


def _final(value: Any) -> Any:
    """Make text safe to show; markup of the templates themselves passes."""
    return printable(value) if type(value) is str else value
