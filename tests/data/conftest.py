"""A private cache, and forged data sets of three classes in the official layout."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from suite.data import Dataset
from suite.data.download import TEST_ARCHIVE, TRAINING_ARCHIVE, TRUTH_ARCHIVE
from suite.data.gtsrb import Expected, load_verified
from suite.data.sources import TEST_FOLDER, TRAINING_FOLDER

if TYPE_CHECKING:
    from typing import TypeAlias

HEADER = "Filename;Width;Height;Roi.X1;Roi.Y1;Roi.X2;Roi.Y2;ClassId"
SIZE = (6, 4)
Forged: TypeAlias = "dict[str, dict[str, bytes]]"  # stack-tests read this on Python 3.7


@pytest.fixture(autouse=True)
def _private_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SUITE_CACHE", str(tmp_path / "cache"))


EXPECTED = Expected(train_counts=(4, 1, 1), test_counts=(1, 2, 0), tracks=4, test_labels_sha256="")


@pytest.fixture
def expected() -> Expected:
    """Return what `forged` holds: class 0 has two tracks of two images, the others one of one."""
    return EXPECTED


@pytest.fixture
def forged() -> Forged:
    """Return every archive's members; each image has a colour of its own, ``(class, track, n)``."""
    return forge()


def forge() -> Forged:
    """Make every archive's members."""
    training: dict[str, bytes] = {}
    one = ["00000_00000"]
    four = ["00000_00000", "00000_00001", "00001_00000", "00001_00001"]
    for label, frames in enumerate([four, one, one]):
        folder = f"{TRAINING_FOLDER}/{label:05d}"
        rows = [f"{frame}.ppm;6;4;0;0;5;3;{label}" for frame in frames]
        training[f"{folder}/GT-{label:05d}.csv"] = "\r\n".join([HEADER, *rows, ""]).encode()
        for frame in frames:
            training[f"{folder}/{frame}.ppm"] = _ppm(200 + label, int(frame[:5]), int(frame[-1]))
    test = {f"{TEST_FOLDER}/{number:05d}.ppm": _ppm(100, number, 7) for number in range(3)}
    test[f"{TEST_FOLDER}/GT-final_test.test.csv"] = b"Filename;Width;Height\n"
    rows = [f"{number:05d}.ppm;6;4;0;0;5;3;{label}" for number, label in enumerate([1, 0, 1])]
    truth = {"GT-final_test.csv": "\n".join([HEADER, *rows, ""]).encode()}
    return {TRAINING_ARCHIVE: training, TEST_ARCHIVE: test, TRUTH_ARCHIVE: truth}


def _ppm(red: int, green: int, blue: int) -> bytes:
    return b"P6\n%d %d\n255\n" % SIZE + bytes((red, green, blue)) * (SIZE[0] * SIZE[1])


@pytest.fixture
def write_archives(tmp_path: Path) -> Callable[[Forged], Path]:
    """Return a function that writes the archives and returns their folder."""

    return lambda forged: pack(forged, tmp_path / "archives")


def pack(forged: Forged, root: Path) -> Path:
    """Write the archives into a new folder."""
    root.mkdir()
    for name, members in forged.items():
        with zipfile.ZipFile(root / name, "w") as archive:
            for member, content in members.items():
                archive.writestr(member, content)
    return root


@pytest.fixture
def write_tree(tmp_path: Path) -> Callable[[Forged], Path]:
    """Return a function that writes the archives' content extracted and returns its folder."""

    return lambda forged: unpack(forged, tmp_path / "tree")


def unpack(forged: Forged, root: Path) -> Path:
    """Write the content of the archives into a folder."""
    for members in forged.values():
        for member, content in members.items():
            (root / member).parent.mkdir(parents=True, exist_ok=True)
            (root / member).write_bytes(content)
    return root


@pytest.fixture
def load(
    expected: Expected, write_archives: Callable[[Forged], Path]
) -> Callable[[Forged], Dataset]:
    """Return a function that writes the archives and loads them at 4x4 pixels."""
    return lambda forged: load_verified(write_archives(forged), size_px=4, expected=expected)


def edit(members: dict[str, bytes], name: str, old: bytes, new: bytes) -> None:
    """Replace the first `old` in one member of an archive; it must be there."""
    assert old in members[name]
    members[name] = members[name].replace(old, new, 1)
