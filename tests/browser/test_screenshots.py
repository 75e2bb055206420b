"""Makes the pictures that stand beside the docs: ``nox -s browser -- --screenshots``."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from PIL import Image

from suite.commands.report import main as write_report
from tests.browser.conftest import Open
from tests.browser.pages import ROOT, diagnosed

IMAGES = ROOT / "docs" / "images"
COLOURS = 96  # of the palette
MOST_BYTES = 60_000


def baselines(folder: Path) -> Path:
    """Write the report of the stored baselines, as the repository has them."""
    (folder / "none").mkdir()
    page = folder / "report.html"
    write_report(["--records", str(folder / "none"), "--output", str(page)])
    return page


@pytest.mark.parametrize("make", [baselines, diagnosed], ids=["report", "diagnosis"])
def test_pictures_are_made_and_small(
    make: object, tmp_path: Path, open_page: Open, monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    monkeypatch.chdir(ROOT)
    path = make(tmp_path)
    for width, scheme in ((360, "light"), (768, "dark"), (1440, "light")):
        page = open_page(path, width=width, color_scheme=scheme).page
        page.wait_for_timeout(1000)  # ms: what is seen is drawn
        picture = Image.open(io.BytesIO(page.screenshot())).convert("RGB")
        target = IMAGES / f"{request.node.callspec.id}-{width}.png"
        target.parent.mkdir(parents=True, exist_ok=True)
        picture.quantize(COLOURS).save(target, optimize=True)
        assert target.stat().st_size < MOST_BYTES
