"""`data`: download GTSRB's official archives into the cache and verify them."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from suite.data import download_gtsrb


def main(arguments: Sequence[str]) -> int:
    """Download GTSRB if it is not in the cache yet, and print the folder."""
    argparse.ArgumentParser(prog="nox -s data --").parse_args(arguments)
    print(download_gtsrb())
    return 0
