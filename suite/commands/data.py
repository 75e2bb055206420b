"""`data`: GTSRB's official archives downloaded into the cache and verified."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from suite.data import download_gtsrb


def main(arguments: Sequence[str]) -> int:
    """Download GTSRB if it is not there yet and say where it lies."""
    argparse.ArgumentParser(prog="nox -s data --").parse_args(arguments)
    print(download_gtsrb())
    return 0
