"""`data`: download GTSRB's official archives into the cache and check what they hold."""

from __future__ import annotations

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

from suite.data import download_gtsrb, load_gtsrb
from suite.data.cache import cache_root
from suite.data.gtsrb import PROVEN_PX
from suite.errors import DataError
from suite.judge.staleness import DATA, brief
from suite.report.text import printable


def main(arguments: Sequence[str]) -> int:
    """Download GTSRB if it is not in the cache yet, check every image, and print the folder.

    Raises:
        DataError: If it cannot be had, or is not the official set.
    """
    parser = argparse.ArgumentParser(
        prog="nox -s data --", description="Download GTSRB's official archives and check them."
    )
    parser.add_argument(
        "--verify",
        action="store_true",
        help="read the archives that are used (GTSRB_ROOT, else the download) whole, once more",
    )
    options = parser.parse_args(arguments)
    given = os.environ.get("GTSRB_ROOT") if options.verify else None
    folder = Path(given) if given else download_gtsrb()
    found = load_gtsrb(folder, size_px=PROVEN_PX, verify=options.verify)
    expected = DATA["gtsrb", str(PROVEN_PX)]
    if found.digest != expected:  # the archives were checked when they were decoded
        raise DataError(
            f"the cache holds other images than were decoded: {brief(found.digest)}, expected "
            f"{brief(expected)}. Delete {cache_root() / 'data'}, which is made anew, and try again."
        )
    images = f"{len(found.train.labels):,} training and {len(found.test.labels):,} test images"
    print(
        f"{printable(str(folder))}\n{images}, the official ones by their pixels at {PROVEN_PX} px"
    )
    return 0
