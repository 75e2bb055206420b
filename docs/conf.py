"""The site: Sphinx reads the Markdown that GitHub shows, and the docstrings of the reference.

`nox -s docs` builds it from the root of the repository, so that a link between two pages is the
same in both places.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # for the docstrings: no framework is imported

project = "Adversarial training regression"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
root_doc = "README"
include_patterns = ["*.md", "docs/*.md"]
language = "en"
highlight_language = "none"  # of blocks that name none: commands and what they print

myst_heading_anchors = 4  # those that GitHub gives
myst_enable_extensions = ["html_image"]
default_role = "py:obj"  # of `names` in docstrings
autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_preserve_defaults = True
python_maximum_signature_line_length = 80
napoleon_use_ivar = True

html_theme = "furo"
html_title = "Does this upgrade break adversarial training?"
html_show_sourcelink = False
html_copy_source = False
html_extra_path = ["site"]  # the first page by the name that servers and readers look for
html_theme_options = {"navigation_with_keys": True}
linkcheck_timeout = 20

NAVIGATION = {
    "Start": ["docs/reading", "docs/reading-a-failure", "docs/README"],
    "Before an upgrade": ["docs/gate", "docs/report", "docs/bisect", "docs/ci"],
    "Your network": ["docs/diagnose", "docs/reports", "docs/fixes"],
    "What is known": ["docs/science", "docs/results", "docs/trends", "docs/faults"],
    "Releases": ["docs/releases", "docs/traps"],
    "Look up": ["docs/data", "docs/cluster", "docs/gpu", "docs/stored", "docs/reference"],
    "Take part": ["CONTRIBUTING", "SECURITY", "CHANGELOG"],
}
"""The pages by what a reader wants. A page that is missing here is a warning, and so an error."""


def navigated(_: Any, page: str, source: list[str]) -> None:
    """Put the navigation behind the first page, where GitHub's readers do not see it."""
    if page == root_doc:
        trees = (
            "\n".join(["", "```{toctree}", ":hidden:", f":caption: {caption}", *pages, "```", ""])
            for caption, pages in NAVIGATION.items()
        )
        source[0] += "".join(trees)


def reachable(_: Any, page: str, template: str, context: dict[str, Any], tree: Any) -> None:
    """Let the keyboard scroll wide code and tables, and screen readers tell a caption's rank."""
    del page, template, tree
    body = context.get("body", "").replace("<pre>", '<pre tabindex="0">')
    wide = '<div class="table-wrapper'
    context["body"] = body.replace(wide, f'<div tabindex="0" {wide[5:]}')
    captions = context.get("furo_navigation_tree", "")
    context["furo_navigation_tree"] = captions.replace(
        'role="heading"', 'role="heading" aria-level="2"'
    )


def setup(app: Any) -> None:
    """Let Sphinx call the functions above: the second one after furo has made its part."""
    app.connect("source-read", navigated)
    app.connect("html-page-context", reachable, priority=900)
